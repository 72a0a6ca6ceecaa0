package signing

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/sassoftware/relic/v7/lib/authenticode"
	"github.com/sassoftware/relic/v7/lib/signappx"

	"github.com/hallmark-build/hallmark/signing/cms"
	"github.com/hallmark-build/hallmark/signing/sip"
)

// relicSample returns the path of a file of relic's own tests.
func relicSample(t testing.TB, name string) string {
	t.Helper()
	return filepath.Join(relicDir(), "functest", "packages", name)
}

var relicDir = sync.OnceValue(func() string {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/sassoftware/relic/v7").Output()
	if err != nil {
		panic(err)
	}
	return strings.TrimSpace(string(out))
})

// publisherWorld is a world whose signer is the publisher of a package.
func publisherWorld(t testing.TB) *world {
	return newWorld(t, newRSA(t), func(c *x509.Certificate) {
		codeSigning(c)
		c.Subject = pkix.Name{}
		for _, a := range []struct {
			oid   []int
			value string
		}{{[]int{2, 5, 4, 3}, "ralph"}, {[]int{2, 5, 4, 5}, "1234"}, {[]int{2, 5, 4, 6}, "CC"}, {[]int{2, 5, 4, 7}, "ralph"}, {[]int{2, 5, 4, 8}, "ralph"},
			{[]int{2, 5, 4, 9}, "ralph"}, {[]int{2, 5, 4, 10}, "ralph"}, {[]int{2, 5, 4, 11}, "ralph"}, {[]int{2, 5, 4, 12}, "ralph"}, {[]int{2, 5, 4, 17}, "ralph"}} {
			c.Subject.ExtraNames = append(c.Subject.ExtraNames, pkix.AttributeTypeAndValue{Type: a.oid, Value: a.value})
		}
	})
}

// TestSIPJudges signs each format and asks strangers about it, and about a twin
// with one bit flipped in what is signed.
func TestSIPJudges(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		file  string
		relic func(f *os.File) error // nil: relic's verifier does not read it
		harm  string                 // where to flip a bit; the middle of the file without
	}{
		{"dummy.msi", func(f *os.File) error { _, err := authenticode.VerifyMSI(f, false); return err }, ""},
		{"dummy.cab", func(f *os.File) error { _, err := authenticode.VerifyCab(f, false); return err }, "dummy.wxs"},
		{"hello.ps1", relicScript, "hello"},
		{"hello.ps1xml", relicScript, "version"},
		{"hello.mof", relicScript, "classflags"},
		{"App1_1.0.3.0_x64.appx", relicAppx, ""},
	} {
		t.Run(test.file, func(t *testing.T) {
			t.Parallel()
			w := sharedWorld()
			if strings.HasSuffix(test.file, ".appx") {
				w = publisherWorld(t)
			}
			src := copyFile(t, relicSample(t, test.file), 0o640)
			good := mustSign(t, SIP{Description: "Notes", URL: "https://notes.example"}, src, w.key, w.tsa)
			again := mustSign(t, SIP{}, mustSign(t, SIP{}, good, w.key, w.tsa), w.key, nil)
			if once := mustSign(t, SIP{}, src, w.key, nil); string(readFile(t, once)) != string(readFile(t, again)) {
				t.Error("signing again did not give the same file")
			}
			b := readFile(t, good)
			at := len(b) / 3
			if test.harm != "" {
				at = strings.Index(strings.ToLower(string(b)), strings.ToLower(test.harm))
			}
			b[at] ^= 1
			bad := writeFile(t, filepath.Base(good), b, 0o640)

			sig, err := SIP{}.Verify(t.Context(), good, w.trust())
			if err != nil || sig.Description != "Notes" || sig.URL != "https://notes.example" || sig.Time.IsZero() {
				t.Errorf("ours: %+v, %v", sig, err)
			}
			if _, err := (SIP{}).Verify(t.Context(), bad, w.trust()); err == nil {
				t.Error("we accept the damaged twin")
			}
			if _, err := (SIP{}).Verify(t.Context(), src, w.trust()); err == nil {
				t.Error("we accept the unsigned file")
			}
			if s, err := (Config{}).For(good); err != nil || s.Name() != "authenticode" {
				t.Errorf("no scheme: %v, %v", s, err)
			}
			for file, want := range map[string]bool{good: true, bad: false} {
				f, err := os.Open(file)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				if err := test.relic(f); (err == nil) != want {
					t.Errorf("relic on %s: %v", file, err)
				}
				if !osslReads(t, file) {
					continue // relic has judged
				}
				out, err := osslVerify(t, w, file)
				if (err == nil) != want {
					t.Errorf("osslsigncode on %s: %v\n%s", file, err, out)
				}
			}
		})
	}
}

func osslVerify(t *testing.T, w *world, file string, more ...string) (string, error) {
	return run(t, lookTool(t, "osslsigncode", "osslsigncode"), append([]string{"verify",
		"-CAfile", pemFile(t, w.ca.cert), "-TSA-CAfile", pemFile(t, w.tsaCA.cert), "-in", file}, more...)...)
}

// osslReads reports whether the osslsigncode that is here reads a kind of file:
// MSIX since 2.6, scripts since 2.8. Debian 12 has 2.5.
func osslReads(t *testing.T, file string) bool {
	out, _ := run(t, lookTool(t, "osslsigncode", "osslsigncode"), "--version")
	var major, minor int
	if _, err := fmt.Sscanf(out, "osslsigncode %d.%d", &major, &minor); err != nil {
		t.Fatalf("osslsigncode --version: %v\n%s", err, out)
	}
	since := map[string]int{".appx": 6, ".ps1": 8, ".psm1": 8, ".psd1": 8, ".ps1xml": 8, ".psc1": 8, ".cdxml": 8, ".mof": 8}[filepath.Ext(file)]
	return major > 2 || minor >= since
}

func relicScript(f *os.File) error {
	style, _ := authenticode.GetSigStyle(f.Name())
	_, err := authenticode.VerifyPowershell(f, style, false)
	return err
}

func relicAppx(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	_, err = signappx.Verify(f, info.Size(), false)
	return err
}

// TestCatalog signs a catalog of a file's digest; osslsigncode then finds the
// file in it.
func TestCatalog(t *testing.T) {
	t.Parallel()
	w := sharedWorld()
	program := goProgram(t, "windows", "amd64", "-s -w")
	src, imprint := catalogOf(t, program)
	if _, err := (SIP{}).Verify(t.Context(), src, w.trust()); err == nil {
		t.Error("we accept the unsigned catalog")
	} else {
		wantError(t, err, Unsigned, RulePresent)
	}
	good := mustSign(t, SIP{}, src, w.key, w.tsa)
	if _, err := (SIP{}).Verify(t.Context(), good, w.trust()); err != nil {
		t.Error(err)
	}
	if out, err := osslVerify(t, w, program, "-catalog", good); err != nil {
		t.Errorf("osslsigncode: %v\n%s", err, out)
	}
	b := readFile(t, good)
	b[bytes.Index(b, imprint)] ^= 1
	bad := writeFile(t, "files.cat", b, 0o644)
	if _, err := (SIP{}).Verify(t.Context(), bad, w.trust()); err == nil {
		t.Error("we accept the damaged twin")
	}
	if _, err := osslVerify(t, w, program, "-catalog", bad); err == nil {
		t.Error("osslsigncode accepts the damaged twin")
	}
}

// catalogOf is an unsigned catalog of one program, and the program's digest.
func catalogOf(t testing.TB, program string) (catalog string, imprint []byte) {
	t.Helper()
	f, err := os.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	digest, err := authenticode.DigestPE(f, crypto.SHA256, false)
	if err != nil {
		t.Fatal(err)
	}
	indirect, err := digest.GetIndirect()
	if err != nil {
		t.Fatal(err)
	}
	list := authenticode.NewCatalog(crypto.SHA256)
	if err := list.Add(indirect); err != nil {
		t.Fatal(err)
	}
	content, err := list.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, "files.cat", unsignedCatalogOf(content), 0o644), digest.Imprint
}

func smallCatalog(t testing.TB) string {
	catalog, _ := catalogOf(t, goProgram(t, "windows", "amd64", "-s -w"))
	return catalog
}

// unsignedCatalogOf wraps a trust list as makecat does: without a signer.
func unsignedCatalogOf(list []byte) []byte {
	var b cryptobyte.Builder
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(cms.OIDSignedData)
		b.AddASN1(explicit0, func(b *cryptobyte.Builder) {
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1Int64(1)
				b.AddASN1(casn1.SET, func(*cryptobyte.Builder) {})
				b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1ObjectIdentifier(oidCertTrustList)
					b.AddASN1(explicit0, func(b *cryptobyte.Builder) { b.AddBytes(list) })
				})
				b.AddASN1(casn1.SET, func(*cryptobyte.Builder) {})
			})
		})
	})
	return b.BytesOrPanic()
}

// TestPublisher refuses to sign a package for somebody else.
func TestPublisher(t *testing.T) {
	t.Parallel()
	dst := filepath.Join(t.TempDir(), "a.appx")
	_, err := SIP{}.Sign(t.Context(), relicSample(t, "App1_1.0.3.0_x64.appx"), dst, sharedWorld().key, nil)
	wantError(t, err, Untrusted, RuleUsage)
	name := func(values ...string) pkix.Name {
		var n pkix.Name
		for _, v := range values {
			n.Names = append(n.Names, pkix.AttributeTypeAndValue{Value: v})
		}
		return n
	}
	if !sameName(`CN="Notes, Ltd", O=Notes, S=Bavaria, C=DE`, name("DE", "Bavaria", "Notes", "Notes, Ltd")) || !sameName(`CN=a\, b`, name("a, b")) {
		t.Error("equal names differ")
	}
	if sameName("CN=a", name("b")) || sameName("CN=a, O=b", name("a")) || sameName("", name("a")) {
		t.Error("different names are the same")
	}
}

// TestForeignSIP reads what osslsigncode signs, and finds the digest there that
// we compute.
func TestForeignSIP(t *testing.T) {
	t.Parallel()
	w := sharedWorld()
	tool := lookTool(t, "osslsigncode", "osslsigncode")
	for _, file := range []string{"dummy.msi", "dummy.cab", "hello.ps1", "hello.mof", "App1_1.0.3.0_x64.appx"} {
		if !osslReads(t, file) {
			continue
		}
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			w := w
			if strings.HasSuffix(file, ".appx") {
				w = publisherWorld(t)
			}
			for _, more := range [][]string{nil, {"-add-msi-dse"}} {
				if more != nil && file != "dummy.msi" {
					continue
				}
				dst := filepath.Join(t.TempDir(), file)
				out, err := run(t, tool, append([]string{"sign", "-certs", pemFile(t, w.key.Chain...), "-key", keyFile(t, w.key.Signer), "-h", "sha256",
					"-in", relicSample(t, file), "-out", dst}, more...)...)
				if err != nil {
					t.Fatalf("osslsigncode sign: %v\n%s", err, out)
				}
				trust := w.trust()
				trust.Policy.Off = []Rule{RuleTimestamp}
				if file == "dummy.msi" && more == nil { // names and lengths are not covered
					_, err := (SIP{}).Verify(t.Context(), dst, trust)
					wantError(t, err, Untrusted, RuleMetadata)
					trust.Policy.Off = append(trust.Policy.Off, RuleMetadata)
				}
				if _, err := (SIP{}).Verify(t.Context(), dst, trust); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestSIPFlips changes bytes of a signed file of each format in turn: every one of
// a small file, every few of a large one. Each must be refused, but for the
// places that HARDENING.md lists.
func TestSIPFlips(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		file      string
		uncovered func(b []byte, i int) bool
	}{
		{"dummy.cab", nil}, {"hello.ps1", nil}, {"hello.ps1xml", nil}, {"hello.mof", nil}, {"files.cat", nil},
		{"dummy.msi", func(b []byte, i int) bool {
			// Colours of the trees, and the root's time of change.
			directory := (int(binary.LittleEndian.Uint32(b[48:])) + 1) << binary.LittleEndian.Uint16(b[30:])
			in := i - directory
			return in >= 0 && in < 4096 && in%128 == 67 || in >= 108 && in < 116
		}},
		{"App1_1.0.3.0_x64.appx", nil},
	} {
		t.Run(test.file, func(t *testing.T) {
			t.Parallel()
			w, src := sharedWorld(), ""
			switch filepath.Ext(test.file) {
			case ".appx":
				w, src = publisherWorld(t), relicSample(t, test.file)
			case ".cat":
				src = smallCatalog(t)
			default:
				src = relicSample(t, test.file)
			}
			good, trust := readFile(t, mustSign(t, SIP{}, src, w.key, w.tsa)), w.trust()
			if _, err := verifySIPBytes(test.file, good, trust); err != nil {
				t.Fatal(err)
			}
			bad, undetected := bytes.Clone(good), 0
			for i := 0; i < len(good); i += 1 + len(good)/4096 {
				bad[i] ^= 1 << (i % 8)
				_, err := verifySIPBytes(test.file, bad, trust)
				bad[i] = good[i]
				if err == nil && (test.uncovered == nil || !test.uncovered(good, i)) {
					undetected++
					if undetected < 50 {
						t.Logf("the change of byte %#x of %#x went unnoticed", i, len(good))
					}
				}
			}
			if undetected > 0 {
				t.Errorf("%d of %d flips undetected", undetected, len(good))
			}
			if filepath.Ext(test.file) == ".msi" { // CVE-2020-1464: something appended
				more := append(bytes.Clone(good), make([]byte, 4096)...)
				copy(more[len(good)+100:], "PK")
				_, err := verifySIPBytes(test.file, more, trust)
				wantError(t, err, Malformed, RulePadding)
				trust.Policy.Off = []Rule{RulePadding}
				if _, err := verifySIPBytes(test.file, more, trust); err != nil {
					t.Errorf("the rule is off: %v", err)
				}
			}
		})
	}
}

func verifySIPBytes(name string, b []byte, trust Trust) (*Signature, error) {
	if isCatalog(bytes.NewReader(b), int64(len(b))) {
		return verifyCatalog(bytes.NewReader(b), int64(len(b)), trust)
	}
	subject, err := sip.Open(name, bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return nil, err
	}
	return verifySubject(subject, trust)
}

// TestUnsignedCatalog tells a catalog without a signer by its structure, and
// refuses one whose end is not what it must be.
func TestUnsignedCatalog(t *testing.T) {
	t.Parallel()
	none := unsignedCatalogOf([]byte("\x30\x00"))
	_, err := SIP{}.Verify(t.Context(), writeFile(t, "none.cat", none, 0o644), Trust{})
	wantError(t, err, Unsigned, RulePresent)
	for name, change := range map[string]func(m *element){
		"no set of signers":      func(m *element) { sd := m.signedData(); sd.parts = sd.parts[:len(sd.parts)-1] },
		"an empty set behind it": func(m *element) { sd := m.signedData(); sd.parts = append(sd.parts, &element{tag: 0x31}) },
	} {
		m := takeApart(t, none)[0]
		change(m)
		_, err := SIP{}.Verify(t.Context(), writeFile(t, "bad.cat", m.encode(t), 0o644), Trust{})
		if err == nil || isUnsigned(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestMakeAppx signs a package whose end record calls its disks 0xffff, as MakeAppx
// writes it: the signed one has zeros there, and osslsigncode accepts it. Both
// accept a signature with 0xffff there, over zeros.
func TestMakeAppx(t *testing.T) {
	t.Parallel()
	w := publisherWorld(t)
	const name, disks = "App1_1.0.3.0_x64.appx", 22 - 4 // from the end
	src := readFile(t, relicSample(t, name))
	copy(src[len(src)-disks:], "\xff\xff\xff\xff")
	good := mustSign(t, SIP{}, writeFile(t, name, src, 0o644), w.key, w.tsa)
	b := readFile(t, good)
	if string(b[len(b)-disks:][:4]) != "\x00\x00\x00\x00" {
		t.Error("the disks are not zeros")
	}
	copy(b[len(b)-disks:], "\xff\xff\xff\xff")
	same := writeFile(t, name, b, 0o644)
	bad := bytes.Clone(b)
	bad[len(bad)-disks] = 1
	for file, want := range map[string]bool{good: true, same: true, writeFile(t, name, bad, 0o644): false} {
		if _, err := (SIP{}).Verify(t.Context(), file, w.trust()); (err == nil) != want {
			t.Errorf("%s: %v", file, err)
		}
		if want && osslReads(t, file) {
			if out, err := osslVerify(t, w, file); err != nil {
				t.Errorf("osslsigncode on %s: %v\n%s", file, err, out)
			}
		}
	}
}
