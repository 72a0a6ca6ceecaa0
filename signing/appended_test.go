package signing

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-build/hallmark/signing/cms"
)

// splitAppended takes a signed file apart for foreign tools, by hand.
func splitAppended(t testing.TB, file string) (content, der string) {
	t.Helper()
	b := readFile(t, file)
	end := len(b) - 28
	size := int(binary.BigEndian.Uint32(b[end-4:]))
	return writeFile(t, "content", b[:end-12-size], 0o644), writeFile(t, "sig.der", b[end-12-size:end-12], 0o644)
}

// TestAppendedJudges has OpenSSL judge a signed Go program and its timestamp,
// runs it, and has its damaged twin refused.
func TestAppendedJudges(t *testing.T) {
	t.Parallel()
	for name, signer := range map[string]crypto.Signer{"RSA": newRSA(t), "P-256": newECDSA(t, elliptic.P256())} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, signer, codeSigning)
			good := mustSign(t, Appended{}, goProgram(t, "linux", "amd64", "-s -w"), w.key, w.tsa)
			openssl := lookTool(t, "openssl", "openssl")
			judge := func(content, der string) (string, error) {
				return run(t, openssl, "cms", "-verify", "-binary", "-inform", "DER", "-in", der, "-content", content,
					"-CAfile", pemFile(t, w.ca.cert), "-purpose", "any", "-out", os.DevNull)
			}
			content, der := splitAppended(t, good)
			if out, err := judge(content, der); err != nil {
				t.Errorf("openssl cms: %v\n%s", err, out)
			}
			b := readFile(t, content)
			b[len(b)/2] ^= 1
			if _, err := judge(writeFile(t, "bad", b, 0o644), der); err == nil {
				t.Error("openssl cms accepts the damaged twin")
			}

			sd, err := cms.Parse(readFile(t, der))
			if err != nil {
				t.Fatal(err)
			}
			token := writeFile(t, "token", sd.Signers[0].UnsignedAttribute(cms.OIDTimestampToken), 0o644)
			data := writeFile(t, "signature", sd.Signers[0].Signature, 0o644)
			if out, err := run(t, openssl, "ts", "-verify", "-in", token, "-token_in", "-data", data, "-CAfile", pemFile(t, w.tsaCA.cert)); err != nil {
				t.Errorf("openssl ts: %v\n%s", err, out)
			}
			if out, err := exec.CommandContext(t.Context(), good).CombinedOutput(); err != nil || string(out) != "hello\n" {
				t.Errorf("the signed program does not run: %v %q", err, out)
			}
		})
	}
}

// TestAppendedEqualsSignFile compares with the kernel's own program, byte by
// byte.
func TestAppendedEqualsSignFile(t *testing.T) {
	t.Parallel()
	found, _ := filepath.Glob("/usr/lib/linux-kbuild-*/scripts/sign-file")
	if len(found) == 0 {
		found, _ = filepath.Glob("/usr/src/linux-headers-*/scripts/sign-file")
	}
	if len(found) == 0 {
		missing(t, "sign-file", "linux-kbuild-6.1")
	}
	w := sharedWorld()
	src := copyFile(t, "/bin/true", 0o755)
	for _, h := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		theirs := filepath.Join(t.TempDir(), "theirs")
		name := strings.ToLower(strings.ReplaceAll(h.String(), "-", ""))
		if out, err := run(t, found[0], name, keyFile(t, w.key.Signer), pemFile(t, w.key.Leaf()), src, theirs); err != nil {
			t.Fatalf("sign-file: %v\n%s", err, out)
		}
		ours := mustSign(t, Appended{Hash: h, NoCerts: true}, src, w.key, nil)
		if !bytes.Equal(readFile(t, ours), readFile(t, theirs)) {
			t.Errorf("%v: differs from sign-file", h)
		}
		trust := w.trust()
		trust.Policy.Off = []Rule{RuleTimestamp}
		if _, err := (Appended{}).Verify(t.Context(), theirs, trust); err == nil {
			t.Error("verified by a signer that we cannot know")
		} else {
			wantError(t, err, UnknownSigner, RuleChain)
		}
		trust.Known = w.key.Chain
		if _, err := (Appended{}).Verify(t.Context(), theirs, trust); err != nil {
			t.Error(err)
		}
	}
}

// TestAppendedReplace checks that signing again replaces, also what sign-file
// or a stack of signatures left, and keeps the mode.
func TestAppendedReplace(t *testing.T) {
	t.Parallel()
	w := sharedWorld()
	src := copyFile(t, "/bin/true", 0o751)
	once := mustSign(t, Appended{}, src, w.key, nil)
	twice := mustSign(t, Appended{}, once, w.key, nil)
	if !bytes.Equal(readFile(t, once), readFile(t, twice)) {
		t.Error("signing again did not give the same file")
	}
	stack := append(readFile(t, once), appendTrailer([]byte("0\x00"))...)
	stacked := writeFile(t, "stacked", stack, 0o755)
	trust := w.trust()
	trust.Policy.Off = []Rule{RuleTimestamp}
	_, err := Appended{}.Verify(t.Context(), stacked, trust)
	wantError(t, err, Malformed, RuleTrailing)
	if !bytes.Equal(readFile(t, mustSign(t, Appended{}, stacked, w.key, nil)), readFile(t, once)) {
		t.Error("a stack of signatures was not replaced")
	}
	if info, err := os.Stat(once); err != nil || info.Mode().Perm() != 0o751 {
		t.Errorf("mode %v, want 0751 (%v)", info.Mode(), err)
	}
	if _, changed, err := (Config{}).SignInPlace(t.Context(), src, w.key, w.tsa, w.trust()); err != nil || !changed {
		t.Fatalf("first: changed=%v, %v", changed, err)
	}
	before := readFile(t, src)
	if _, changed, err := (Config{}).SignInPlace(t.Context(), src, w.key, w.tsa, w.trust()); err != nil || changed {
		t.Fatalf("second: changed=%v, %v", changed, err)
	}
	if !bytes.Equal(before, readFile(t, src)) {
		t.Error("a file that was signed already was changed")
	}
	onlyFile(t, filepath.Dir(src), "true")
}

// TestAppendedRefuses gives the verifier one flaw at a time.
func TestAppendedRefuses(t *testing.T) {
	t.Parallel()
	w := sharedWorld()
	src := writeFile(t, "tiny", tinyELF(), 0o755)
	good := readFile(t, mustSign(t, Appended{}, src, w.key, w.tsa))
	edit := func(f func(b []byte) []byte) []byte { return f(bytes.Clone(good)) }
	trailer := len(good) - 40
	digest := crypto.SHA256.New()
	digest.Write(tinyELF())
	sum := digest.Sum(nil)
	build := func(m cms.Message) []byte {
		m.Hash, m.Digest, m.Certificates = crypto.SHA256, sum, append(w.key.Chain, m.Certificates...)
		if m.ContentType == nil {
			m.ContentType = cms.OIDData
		}
		der, err := m.Sign(w.key, w.key.Leaf(), countersigner(t.Context(), w.tsa, crypto.SHA256, cms.OIDTimestampToken))
		if err != nil {
			t.Fatal(err)
		}
		return append(tinyELF(), appendTrailer(der)...)
	}
	future := *w.tsa
	future.at = time.Now().Add(time.Hour)

	for _, c := range []struct {
		name string
		file []byte
		kind Kind
		rule Rule
	}{
		{"unsigned", tinyELF(), Unsigned, RulePresent},
		{"text", []byte("#!/bin/sh\n"), Unsigned, RulePresent},
		{"signed text", append([]byte("#!/bin/sh\n"), good[len(tinyELF()):]...), Unsupported, RuleFormat},
		{"content", edit(func(b []byte) []byte { b[16] ^= 1; return b }), Tampered, RuleSignature},
		{"program header", edit(func(b []byte) []byte { b[100] ^= 1; return b }), Tampered, RuleSignature},
		{"a byte added", edit(func(b []byte) []byte { return append(b[:120:120], append([]byte{0}, b[120:]...)...) }), Tampered, RuleSignature},
		{"data after the trailer", append(bytes.Clone(good), 0), Unsigned, RulePresent},
		{"id type", edit(func(b []byte) []byte { b[trailer+2] = 1; return b }), Malformed, RuleTable},
		{"reserved byte", edit(func(b []byte) []byte { b[trailer+5] = 1; return b }), Malformed, RuleTable},
		{"length too long", edit(func(b []byte) []byte { b[trailer+8] = 1; return b }), Malformed, RuleTable},
		{"length too short", edit(func(b []byte) []byte { b[trailer+11]--; return b }), Malformed, RuleDER},
		{"signed attributes", build(cms.Message{}), Malformed, RuleContent},
		{"content inside", build(cms.Message{Bare: true, Content: []byte{4, 1, 'x'}}), Malformed, RuleContent},
		{"a stranger's certificate", build(cms.Message{Bare: true, Certificates: []*x509.Certificate{w.tsaCA.cert}}), Malformed, RuleCertificate},
		{"timestamp from the future", readFile(t, mustSignUnchecked(t, src, w, &future)), Untrusted, RuleFuture},
		{"no timestamp", readFile(t, mustSign(t, Appended{}, src, w.key, nil)), Untrusted, RuleTimestamp},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			sig, err := Appended{}.Verify(t.Context(), writeFile(t, "x", c.file, 0o755), w.trust())
			if err == nil {
				t.Fatalf("accepted: %+v", sig)
			}
			wantError(t, err, c.kind, c.rule)
		})
	}
}

func mustSignUnchecked(t *testing.T, src string, w *world, ts Timestamper) string {
	t.Helper()
	content := readFile(t, src)
	digest := crypto.SHA256.New()
	digest.Write(content)
	der, err := cms.Message{
		ContentType: cms.OIDData, Bare: true, Hash: crypto.SHA256, Digest: digest.Sum(nil), Certificates: w.key.Chain,
	}.Sign(w.key, w.key.Leaf(), countersigner(t.Context(), ts, crypto.SHA256, cms.OIDTimestampToken))
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, "signed", append(content, appendTrailer(der)...), 0o755)
}

// tinyELF is the header of a 64-bit little-endian program with one empty
// program header, 128 bytes in all.
func tinyELF() []byte {
	b := make([]byte, 128)
	copy(b, "\x7fELF\x02\x01\x01")
	binary.LittleEndian.PutUint16(b[16:], 2)  // ET_EXEC
	binary.LittleEndian.PutUint16(b[18:], 62) // x86-64
	binary.LittleEndian.PutUint64(b[32:], 64) // e_phoff
	binary.LittleEndian.PutUint16(b[54:], 56) // e_phentsize
	binary.LittleEndian.PutUint16(b[56:], 1)  // e_phnum
	return b
}

// TestELFCutShort refuses to sign what is not all there.
func TestELFCutShort(t *testing.T) {
	t.Parallel()
	w := sharedWorld()
	for name, b := range map[string][]byte{
		"header": tinyELF()[:40], "program headers": tinyELF()[:100], "bad class": bytes.Replace(tinyELF(), []byte("\x02\x01\x01"), []byte("\x07\x01\x01"), 1),
		"a Go program's first half": half(readFile(t, goProgram(t, "linux", "amd64", ""))),
	} {
		src := writeFile(t, "x", b, 0o755)
		if _, err := (Appended{}).Sign(t.Context(), src, src, w.key, nil); err == nil {
			t.Errorf("%s: signed", name)
		}
		onlyFile(t, filepath.Dir(src), "x")
	}
	_, err := Config{}.For(writeFile(t, "x.txt", []byte("hello"), 0o644))
	wantError(t, err, Unsupported, RuleFormat)
}

func half(b []byte) []byte { return b[:len(b)/2] }

// TestFlips changes every single bit of a small signed PE file and of a small
// signed ELF file in turn. Strict verification refuses each of them. For PE the
// checksum, which anybody can compute anew, is left out of it.
func TestFlips(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newECDSA(t, elliptic.P256()), codeSigning)
	for _, c := range []struct {
		scheme Scheme
		src    string
		off    []Rule
	}{
		{Authenticode{Description: "Notes"}, sample(t, "impbyord.exe"), nil},
		{Authenticode{Description: "Notes"}, sample(t, "impbyord.exe"), []Rule{RuleChecksum}},
		{Appended{}, writeFile(t, "tiny", tinyELF(), 0o755), nil},
		{Section{}, writeFile(t, "tiny", tinyELF(), 0o755), nil},
	} {
		t.Run(fmt.Sprint(c.scheme.Name(), c.off), func(t *testing.T) {
			t.Parallel()
			b := readFile(t, mustSign(t, c.scheme, c.src, w.key, w.tsa))
			trust := w.trust()
			trust.Policy.Off = c.off
			field := 0
			if len(c.off) > 0 {
				field = checksumOf(t, b)
			}
			undetected := 0
			for i := range b {
				if field > 0 && i >= field && i < field+4 {
					continue // the rule's own four bytes
				}
				for bit := range 8 {
					b[i] ^= 1 << bit
					if _, err := verifyBytes(t, c.scheme, b, trust); err == nil {
						undetected++
						t.Logf("bit %d of byte %#x of %#x is not covered", bit, i, len(b))
					}
					b[i] ^= 1 << bit
				}
			}
			if undetected > 0 {
				t.Errorf("%d of %d flips undetected", undetected, 8*len(b))
			}
			if _, err := verifyBytes(t, c.scheme, b, trust); err != nil {
				t.Errorf("the intact file is refused: %v", err)
			}
		})
	}
}

func checksumOf(t *testing.T, b []byte) int {
	t.Helper()
	p, err := readPE(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return int(p.checksum)
}

func verifyBytes(t testing.TB, s Scheme, b []byte, trust Trust) (*Signature, error) {
	verify := verifyPE
	switch s.(type) {
	case Appended:
		verify = verifyAppended
	case Section:
		verify = verifySection
	}
	return verify(t.Context(), bytes.NewReader(b), int64(len(b)), trust)
}

// TestChecksum compares the sum with the definition, word by word.
func TestChecksum(t *testing.T) {
	t.Parallel()
	b := readFile(t, sample(t, "kernel32.dll"))
	c := new(peChecksum)
	c.add(b)
	sum := big.NewInt(0)
	for i := 0; i < len(b); i += 2 {
		sum.Add(sum, big.NewInt(int64(binary.LittleEndian.Uint16(b[i:]))))
	}
	for sum.BitLen() > 16 {
		low := new(big.Int).And(sum, big.NewInt(0xffff))
		sum.Add(sum.Rsh(sum, 16), low)
	}
	if want := uint32(sum.Uint64()) + uint32(len(b)); c.value() != want {
		t.Errorf("got %#x, want %#x", c.value(), want)
	}
}
