package signing

import (
	"bytes"
	"context"
	"crypto"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/saferwall/pe"
	"github.com/sassoftware/relic/v7/lib/authenticode"
)

// TestAuthenticodeJudges has strangers judge a signed Go program, and refuse
// its damaged twin.
func TestAuthenticodeJudges(t *testing.T) {
	t.Parallel()
	w := sharedWorld()
	scheme := Authenticode{Description: "Größe 測定", URL: "https://example.com/notes"}
	good := mustSign(t, scheme, goProgram(t, "windows", "amd64", "-s -w"), w.key, w.tsa)
	b, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	b[0x400] ^= 1
	bad := writeFile(t, "bad.exe", b, 0o755)
	ca, tsaCA := pemFile(t, w.ca.cert), pemFile(t, w.tsaCA.cert)

	judges := map[string]func(t *testing.T, file string) error{
		"osslsigncode": func(t *testing.T, file string) error {
			out, err := run(t, lookTool(t, "osslsigncode", "osslsigncode"), "verify", "-CAfile", ca, "-TSA-CAfile", tsaCA, "-in", file)
			if err == nil {
				for _, want := range []string{"Timestamp Server Signature verification: ok", "Größe 測定", "https://example.com/notes", "Number of verified signatures: 1"} {
					if !strings.Contains(out, want) {
						return errors.New("no " + want + " in " + out)
					}
				}
			}
			return err
		},
		"sbverify": func(t *testing.T, file string) error {
			_, err := run(t, lookTool(t, "sbverify", "sbsigntool"), "--cert", ca, file)
			return err
		},
		"relic": func(t *testing.T, file string) error {
			f, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			sigs, err := authenticode.VerifyPE(f, false)
			if err == nil && (len(sigs) != 1 || sigs[0].CounterSignature == nil) {
				return errors.New("no signature with a timestamp")
			}
			return err
		},
		"saferwall": func(t *testing.T, file string) error {
			// It trusts the system's roots and nobody else, and those are read
			// once in a process.
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSaferwallChild$")
			cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+ca, "SSL_CERT_DIR="+t.TempDir(), childFile+"="+file)
			out, err := cmd.CombinedOutput()
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		},
		"ours": func(t *testing.T, file string) error {
			sig, err := scheme.Verify(t.Context(), file, w.trust())
			if err == nil && (sig.Description != scheme.Description || sig.URL != scheme.URL || sig.Time.IsZero()) {
				return errors.New("description, URL or time lost")
			}
			return err
		},
	}
	for name, judge := range judges {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := judge(t, good); err != nil {
				t.Errorf("refused the good file: %v", err)
			}
			if err := judge(t, bad); err == nil {
				t.Error("accepted the damaged twin")
			}
		})
	}
}

// childFile names the environment variable that tells TestSaferwallChild what
// to judge.
const childFile = "HALLMARK_TEST_SAFERWALL_FILE"

// TestSaferwallChild is saferwall/pe's verdict on one file, in a process of its
// own. It is part of TestAuthenticodeJudges.
func TestSaferwallChild(t *testing.T) {
	name := os.Getenv(childFile)
	if name == "" {
		return
	}
	f, err := pe.New(name, &pe.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Parse(); err != nil {
		t.Fatal(err)
	}
	if c := f.Certificates.Certificates; len(c) != 1 || !c[0].SignatureValid || !c[0].Verified {
		t.Fatalf("not valid: %+v", c)
	}
}

// TestAuthenticodeKeys signs with each kind of key and digest that osslsigncode
// and we both know.
func TestAuthenticodeKeys(t *testing.T) {
	t.Parallel()
	src := sample(t, "impbyord.exe")
	for name, signer := range map[string]crypto.Signer{
		"RSA": newRSA(t), "P-256": newECDSA(t, elliptic.P256()), "P-384": newECDSA(t, elliptic.P384()), "P-521": newECDSA(t, elliptic.P521()),
	} {
		w := newWorld(t, signer, codeSigning)
		for _, h := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
			t.Run(name+"/"+h.String(), func(t *testing.T) {
				t.Parallel()
				file := mustSign(t, Authenticode{Hash: h}, src, w.key, w.tsa)
				sig, err := Authenticode{}.Verify(t.Context(), file, w.trust())
				if err != nil || sig.Hash != h {
					t.Fatalf("%v, %v", sig, err)
				}
				out, err := run(t, lookTool(t, "osslsigncode", "osslsigncode"), "verify",
					"-CAfile", pemFile(t, w.ca.cert), "-TSA-CAfile", pemFile(t, w.tsaCA.cert), "-in", file)
				if err != nil {
					t.Errorf("osslsigncode: %v\n%s", err, out)
				}
			})
		}
	}
}

// TestAuthenticodeReplace checks what signing leaves alone: mode, an equal
// signature, a link; and that an RSA signature without timestamp is
// reproducible, whatever signature was there before.
func TestAuthenticodeReplace(t *testing.T) {
	t.Parallel()
	w := sharedWorld()
	src := copyFile(t, sample(t, "impbyord.exe"), 0o751)
	once := mustSign(t, Authenticode{}, src, w.key, nil)
	twice := mustSign(t, Authenticode{}, once, w.key, nil)
	stamped := mustSign(t, Authenticode{}, mustSign(t, Authenticode{}, src, w.key, w.tsa), w.key, nil)
	a, b, c := readFile(t, once), readFile(t, twice), readFile(t, stamped)
	if !bytes.Equal(a, b) || !bytes.Equal(a, c) {
		t.Error("signing again did not give the same file")
	}
	info, err := os.Stat(once)
	if err != nil || info.Mode().Perm() != 0o751 {
		t.Errorf("mode %v, want 0751 (%v)", info.Mode(), err)
	}

	trust, cfg := w.trust(), Config{Description: "Notes"}
	link := filepath.Join(t.TempDir(), "link.exe")
	if err := os.Symlink(src, link); err != nil {
		t.Fatal(err)
	}
	if _, changed, err := cfg.SignInPlace(t.Context(), link, w.key, w.tsa, trust); err != nil || !changed {
		t.Fatalf("first: changed=%v, %v", changed, err)
	}
	if target, err := os.Readlink(link); err != nil || target != src {
		t.Errorf("the link was replaced: %q, %v", target, err)
	}
	before := readFile(t, src)
	if _, changed, err := cfg.SignInPlace(t.Context(), link, w.key, w.tsa, trust); err != nil || changed {
		t.Fatalf("second: changed=%v, %v", changed, err)
	}
	if !bytes.Equal(before, readFile(t, src)) {
		t.Error("a file that was signed already was changed")
	}
	cfg.Description = "Other"
	if _, changed, err := cfg.SignInPlace(t.Context(), link, w.key, w.tsa, trust); err != nil || !changed {
		t.Fatalf("new description: changed=%v, %v", changed, err)
	}
	onlyFile(t, filepath.Dir(src), filepath.Base(src))
}

// TestAuthenticodeFailure checks that a signature that cannot be made leaves
// nothing behind.
func TestAuthenticodeFailure(t *testing.T) {
	t.Parallel()
	w := sharedWorld()
	src := copyFile(t, sample(t, "impbyord.exe"), 0o755)
	before := readFile(t, src)
	down := &testTSA{err: errors.New("no server answered")}
	if _, _, err := (Config{}).SignInPlace(t.Context(), src, w.key, down, w.trust()); err == nil || !strings.Contains(err.Error(), "no server answered") {
		t.Errorf("got %v", err)
	}
	if _, _, err := (Config{}).SignInPlace(t.Context(), src, w.key, w.tsa, Trust{}); err == nil {
		t.Error("replaced a file by one that is not trusted")
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (Authenticode{}).Sign(cancelled, src, src, w.key, w.tsa); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if !bytes.Equal(before, readFile(t, src)) {
		t.Error("the file was changed")
	}
	onlyFile(t, filepath.Dir(src), filepath.Base(src))
}

// TestAuthenticodeRefuses gives the verifier one flaw at a time.
func TestAuthenticodeRefuses(t *testing.T) {
	t.Parallel()
	w := sharedWorld()
	src := sample(t, "impbyord.exe")
	good := readFile(t, mustSign(t, Authenticode{}, src, w.key, w.tsa))
	table := int(binary.LittleEndian.Uint32(good[certDirOf(good):]))
	der := int64(0)
	if element, _, err := splitDER(good[table+8:]); err == nil {
		der = int64(len(element))
	}
	edit := func(f func(b []byte) []byte) []byte { return f(bytes.Clone(good)) }
	expired := newWorld(t, newRSA(t), func(c *x509.Certificate) {
		codeSigning(c)
		c.NotBefore, c.NotAfter = time.Now().AddDate(-2, 0, 0), time.Now().AddDate(-1, 0, 0)
	})
	noUsage := newWorld(t, newRSA(t), func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})

	for _, c := range []struct {
		name string
		file []byte
		edit func(*Trust)
		kind Kind
		rule Rule
	}{
		{name: "unsigned", file: readFile(t, src), kind: Unsigned, rule: RulePresent},
		{name: "content", file: edit(func(b []byte) []byte { b[0x200] ^= 1; return b }), kind: Tampered, rule: RuleDigest},
		{name: "checksum", file: edit(func(b []byte) []byte { b[certDirOf(b)-64-24] ^= 1; return b }), kind: Tampered},
		{name: "cut short", file: good[:len(good)-8], kind: Malformed, rule: RuleTable},
		{name: "data after the table", file: append(bytes.Clone(good), make([]byte, 8)...), kind: Malformed, rule: RuleTrailing},
		{name: "padding", file: hidden(good, table), kind: Malformed, rule: RulePadding},
		{name: "revision", file: edit(func(b []byte) []byte { b[table+5] = 1; return b }), kind: Malformed, rule: RuleTable},
		{name: "type", file: edit(func(b []byte) []byte { b[table+6] = 1; return b }), kind: Malformed, rule: RuleTable},
		{name: "signature bits", file: edit(func(b []byte) []byte { b[table+8+int(der)/2] ^= 1; return b })},
		{name: "not DER", file: edit(func(b []byte) []byte { b[table+9] = 0x80; return b }), kind: Malformed, rule: RuleDER},
		{name: "unknown root", file: good, edit: func(t *Trust) { t.Roots = x509.NewCertPool() }, kind: Untrusted, rule: RuleChain},
		{name: "nobody trusted", file: good, edit: func(t *Trust) { t.Roots = nil }, kind: Untrusted, rule: RuleChain},
		{name: "unknown TSA", file: good, edit: func(t *Trust) { t.TSARoots = x509.NewCertPool() }, kind: Untrusted, rule: RuleTSA},
		{name: "no TSA trusted", file: good, edit: func(t *Trust) { t.TSARoots = nil }, kind: Untrusted, rule: RuleTSA},
		{name: "clock set back", file: good, edit: func(t *Trust) { t.Now = time.Now().Add(-time.Hour) }, kind: Untrusted, rule: RuleFuture},
		{name: "no timestamp", file: readFile(t, mustSign(t, Authenticode{}, src, w.key, nil)), kind: Untrusted, rule: RuleTimestamp},
		{
			name: "expired, no timestamp", file: readFile(t, signExpired(t, expired, src, nil)),
			edit: func(t *Trust) { *t = expired.trust(); t.Policy.Off = []Rule{RuleTimestamp} }, kind: Expired, rule: RuleValidity,
		},
		{
			name: "expired before the timestamp", file: readFile(t, signExpired(t, expired, src, expired.tsa)),
			edit: func(t *Trust) { *t = expired.trust() }, kind: Expired, rule: RuleValidity,
		},
		{name: "usage", file: rawSign(t, noUsage, src), edit: func(t *Trust) { *t = noUsage.trust() }, kind: Untrusted, rule: RuleUsage},
		{name: "another's timestamp", file: rawSign(t, &world{key: w.key, tsa: &testTSA{signer: w.tsa.signer, chain: w.tsa.chain}}, src, wrongImprint), kind: Tampered, rule: RuleBinding},
		{name: "signed by a TSA certificate without the usage", file: rawSign(t, &world{key: w.key, tsa: &testTSA{signer: w.key.Signer, chain: w.key.Chain}}, src), kind: Untrusted, rule: RuleTSA},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			trust := w.trust()
			if c.edit != nil {
				c.edit(&trust)
			}
			sig, err := Authenticode{}.Verify(t.Context(), writeFile(t, "x.exe", c.file, 0o644), trust)
			if err == nil {
				t.Fatalf("accepted: %+v", sig)
			}
			if c.rule != "" {
				wantError(t, err, c.kind, c.rule)
			} else if e := new(Error); !errors.As(err, &e) {
				t.Fatalf("not an *Error: %v", err)
			}
		})
	}
	t.Run("an expired certificate with a timestamp from its time", func(t *testing.T) {
		then := *expired.tsa
		then.at = time.Now().AddDate(-1, -6, 0)
		if _, err := (Authenticode{}).Verify(t.Context(), signExpired(t, expired, src, &then), expired.trust()); err != nil {
			t.Error(err)
		}
	})
}

// rawSign makes a signature without the signer's own check of it.
func rawSign(t *testing.T, w *world, src string, wrap ...func(Timestamper) Timestamper) []byte {
	t.Helper()
	var ts Timestamper = w.tsa
	for _, f := range wrap {
		ts = f(ts)
	}
	return readFile(t, signExpired(t, w, src, ts))
}

// signExpired signs as Sign does, without verifying the result.
func signExpired(t *testing.T, w *world, src string, ts Timestamper) string {
	t.Helper()
	in, info, err := openRegular(src)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	p, err := readPE(in, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(filepath.Join(t.TempDir(), "out.exe"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	digest := crypto.SHA256.New()
	sum, err := p.scan(t.Context(), in, out, digest, nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := Authenticode{}.sign(t.Context(), digest.Sum(nil), nil, crypto.SHA256, w.key, ts)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.attach(out, certificateTable(der), sum); err != nil {
		t.Fatal(err)
	}
	return out.Name()
}

// wrongImprint is a server that timestamps something else.
func wrongImprint(ts Timestamper) Timestamper { return otherDigest{ts} }

type otherDigest struct{ Timestamper }

func (o otherDigest) Timestamp(ctx context.Context, h crypto.Hash, digest []byte) ([]byte, error) {
	return o.Timestamper.Timestamp(ctx, h, make([]byte, len(digest)))
}

// hidden puts bytes where no digest covers them: inside the entry's length,
// after the signature (CVE-2013-3900).
func hidden(good []byte, table int) []byte {
	b := append(bytes.Clone(good), "hidden!!"...)
	size := binary.LittleEndian.Uint32(b[table:]) + 8
	binary.LittleEndian.PutUint32(b[table:], size)
	binary.LittleEndian.PutUint32(b[certDirOf(b)+4:], size)
	return b
}

func certDirOf(b []byte) int {
	p, err := readPE(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		// A test is damaging the table: the directory is where it was.
		pe := int(binary.LittleEndian.Uint32(b[60:]))
		return pe + 24 + 96 + 32
	}
	return int(p.certDir)
}

// TestAuthenticodeSamples holds our digest against signatures made by others:
// every intact file's digest is right, a modified one is refused.
func TestAuthenticodeSamples(t *testing.T) {
	t.Parallel()
	lenient := Trust{Policy: Policy{Off: []Rule{RuleTimestamp, RuleTSA, RuleChain, RuleUsage, RuleWeak, RuleUnsigned, RuleChecksum, RuleDER, RuleCertificate, RuleWeakKey, RuleLegacy}}}
	for name, tampered := range map[string]bool{
		"kernel32.dll": false, "KernelBase.dll": false, "WdBoot.sys": false, "mfc140u.dll": false, "brave.exe": false, "putty.exe": false, "putty_modified.exe": true,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Authenticode{}.Verify(t.Context(), sample(t, name), lenient)
			if tampered {
				wantError(t, err, Tampered, RuleDigest)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// onlyFile demands that a folder holds one file and nothing else.
func onlyFile(t *testing.T, dir, name string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != name {
		t.Errorf("left in the folder: %v (%v), want only %s", entries, err, name)
	}
}
