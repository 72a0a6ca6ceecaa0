package signing

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// smallModule assembles what a kernel module is to modinfo: a relocatable file
// with a section .modinfo.
func smallModule(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	source, module := filepath.Join(dir, "small.s"), filepath.Join(dir, "small.ko")
	if err := os.WriteFile(source, []byte(".section .modinfo,\"a\"\n.asciz \"license=GPL\"\n.asciz \"description=a small one\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := run(t, lookTool(t, "as", "binutils"), "-o", module, source); err != nil {
		t.Fatalf("as: %v\n%s", err, out)
	}
	return module
}

// modinfo is in a folder that few users have on PATH.
func modinfo(t testing.TB, module string) string {
	t.Helper()
	tool, err := exec.LookPath("modinfo")
	for _, place := range []string{"/usr/sbin/modinfo", "/sbin/modinfo"} {
		if _, e := os.Stat(place); err != nil && e == nil {
			tool, err = place, nil
		}
	}
	if err != nil {
		missing(t, "modinfo", "kmod")
	}
	out, err := run(t, tool, module)
	if err != nil {
		t.Fatalf("modinfo: %v\n%s", err, out)
	}
	return out
}

// TestModuleJudges has modinfo read the signer and the digest of a module, also
// through compression, and takes the signature off again.
func TestModuleJudges(t *testing.T) {
	t.Parallel()
	w := sharedWorld()
	src := smallModule(t)
	for h, name := range map[crypto.Hash]string{crypto.SHA256: "sha256", crypto.SHA384: "sha384", crypto.SHA512: "sha512"} {
		c := Config{Hash: name, ELF: []string{"section"}}
		scheme, err := c.For(src)
		if err != nil || scheme != (Appended{Hash: h}) {
			t.Fatalf("%+v, %v: modules are signed for the module loader, whatever programs have", scheme, err)
		}
		good := mustSign(t, scheme, src, w.key, w.tsa)
		out := modinfo(t, good)
		for _, want := range []string{"sig_id:         PKCS#7\n", "signer:         " + w.key.Leaf().Issuer.CommonName + "\n", "sig_hashalgo:   " + name + "\n"} {
			if !strings.Contains(out, want) {
				t.Errorf("modinfo does not say %q:\n%s", want, out)
			}
		}
		if _, err := scheme.Verify(t.Context(), good, w.trust()); err != nil {
			t.Error(err)
		}
		plain := filepath.Join(t.TempDir(), "plain.ko")
		if err := Unsign(t.Context(), good, plain); err != nil || !bytes.Equal(readFile(t, plain), readFile(t, src)) {
			t.Errorf("the module is another one when its signature is taken off: %v", err)
		}
	}
}

// compress returns b as each of the kernel's compressors leaves it, ours for
// those that are not here.
func compress(t testing.TB, kind string, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	switch kind {
	case "xz":
		z, err := xz.WriterConfig{DictCap: 1 << 20, CheckSum: xz.CRC32}.NewWriter(&out)
		if err != nil {
			t.Fatal(err)
		}
		z.Write(b)
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
	case "zst":
		z, err := zstd.NewWriter(&out)
		if err != nil {
			t.Fatal(err)
		}
		z.Write(b)
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
	case "gz":
		z := gzip.NewWriter(&out)
		z.Write(b)
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

// TestCompressedModule verifies modules through each compression, refuses their
// damaged twins, and signs none that is compressed.
func TestCompressedModule(t *testing.T) {
	t.Parallel()
	w := sharedWorld()
	signed := readFile(t, mustSign(t, Appended{}, writeFile(t, "x.ko", tinyELF(), 0o644), w.key, w.tsa))
	bad := bytes.Clone(signed)
	bad[20] ^= 1
	stranger := append(bytes.Clone(signed), 0)
	for _, kind := range []string{"xz", "zst", "gz"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			file := writeFile(t, "x.ko."+kind, compress(t, kind, signed), 0o644)
			scheme, err := Config{}.For(file)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := scheme.Verify(t.Context(), file, w.trust()); err != nil {
				t.Error(err)
			}
			report, err := Inspect(t.Context(), file, w.trust())
			if err != nil || len(report.Signatures) != 1 || !report.Signatures[0].Good() {
				t.Errorf("inspecting: %+v, %v", report, err)
			}
			_, err = scheme.Verify(t.Context(), writeFile(t, "x.ko."+kind, compress(t, kind, bad), 0o644), w.trust())
			wantError(t, err, Tampered, RuleSignature)
			_, err = scheme.Verify(t.Context(), writeFile(t, "x.ko."+kind, compress(t, kind, stranger), 0o644), w.trust())
			wantError(t, err, Unsigned, RulePresent)
			whole := readFile(t, file)
			_, err = scheme.Verify(t.Context(), writeFile(t, "x.ko."+kind, whole[:len(whole)/2], 0o644), w.trust())
			wantError(t, err, Malformed, RuleFormat)
			_, err = scheme.Sign(t.Context(), file, file, w.key, nil)
			wantError(t, err, Unsupported, RuleFormat)
			_, err = Config{}.For(writeFile(t, "notes.tar."+kind, whole, 0o644))
			wantError(t, err, Unsupported, RuleFormat)
		})
	}
}

// TestOldTrailers names the kinds of signature that kernels took before 4.3, and
// replaces and removes them, also from within a stack.
func TestOldTrailers(t *testing.T) {
	t.Parallel()
	w := sharedWorld()
	src := writeFile(t, "x.ko", tinyELF(), 0o644)
	want := readFile(t, mustSign(t, Appended{}, src, w.key, nil))
	for kind, name := range map[byte]string{0: "OpenPGP", 1: "X.509"} {
		signer, id, signature := "Magrathea: Glacier signing key", []byte{1, 2, 3, 4}, bytes.Repeat([]byte{7}, 258)
		fields := [trailerSize]byte{1, 4, kind, byte(len(signer)), byte(len(id))}
		binary.BigEndian.PutUint32(fields[8:], uint32(len(signature)))
		old := append(append(append(append(append(tinyELF(), signer...), id...), signature...), fields[:]...), trailerMagic...)
		file := writeFile(t, "old.ko", old, 0o644)
		_, err := Appended{}.Verify(t.Context(), file, w.trust())
		wantError(t, err, Malformed, RuleTable)
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%v does not name %s", err, name)
		}
		for _, b := range [][]byte{old, append(bytes.Clone(old), want[len(tinyELF()):]...)} {
			file := writeFile(t, "old.ko", b, 0o644)
			if got := readFile(t, mustSign(t, Appended{}, file, w.key, nil)); !bytes.Equal(got, want) {
				t.Errorf("%s: it was not replaced", name)
			}
			if err := Unsign(t.Context(), file, file); err != nil || !bytes.Equal(readFile(t, file), tinyELF()) {
				t.Errorf("%s: it was not taken off: %v", name, err)
			}
		}
		_, err = Appended{}.Verify(t.Context(), writeFile(t, "stack.ko", append(bytes.Clone(old), want[len(tinyELF()):]...), 0o644), w.trust())
		wantError(t, err, Malformed, "")
	}
}

// kernels returns the images of Debian's kernels, each with a module of it, that
// setup has put into the user's cache.
func kernels(t testing.TB) map[string]string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Skipf("SKIP: %v", err)
	}
	modules, err := filepath.Glob(filepath.Join(cache, "hallmark", "kernels", "*", "dummy.ko*"))
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]string)
	for _, m := range modules {
		found[filepath.Join(filepath.Dir(m), "vmlinuz")] = m
	}
	if len(found) == 0 {
		missing(t, "a Debian kernel", "linux-image-cloud-amd64, of which `mage setup` unpacks the kernel into the user's cache")
	}
	return found
}

// buildKey takes the certificate that a kernel checks its modules with out of its
// image (Documentation/arch/x86/boot.rst: setup_sects, payload_offset,
// payload_length).
func buildKey(t testing.TB, vmlinuz string) *x509.Certificate {
	t.Helper()
	b := readFile(t, vmlinuz)
	le := binary.LittleEndian
	at := (int(b[0x1f1])+1)*512 + int(le.Uint32(b[0x248:]))
	payload := b[at : at+int(le.Uint32(b[0x24c:]))-4] // its length follows
	tool := []string{"xz", "-dc", "--single-stream"}
	switch {
	case bytes.HasPrefix(payload, []byte(zstdMagic)):
		tool = []string{lookTool(t, "zstd", "zstd"), "-dc"}
	case bytes.HasPrefix(payload, []byte{0x02, 0x21, 0x4c, 0x18}):
		tool = []string{lookTool(t, "lz4", "lz4"), "-dc"}
	}
	cmd := exec.CommandContext(t.Context(), tool[0], tool[1:]...)
	cmd.Stdin = bytes.NewReader(payload)
	image, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", tool, err)
	}
	for rest := image; ; {
		i := bytes.Index(rest, []byte{0x30, 0x82})
		if i < 0 || len(rest) < i+8 {
			t.Fatal("the kernel's image holds no certificate of its build")
		}
		rest = rest[i:]
		n := 4 + int(binary.BigEndian.Uint16(rest[2:]))
		if rest[4] == 0x30 && rest[5] == 0x82 && n <= len(rest) {
			if c, err := x509.ParseCertificate(rest[:n]); err == nil && strings.Contains(c.Subject.CommonName, "kernel key") {
				return c
			}
		}
		rest = rest[1:]
	}
}

// TestForeignModules verifies modules as Debian ships them with the certificate
// that is in their kernel, and refuses their damaged twins.
func TestForeignModules(t *testing.T) {
	t.Parallel()
	keys := map[string]bool{}
	for vmlinuz, module := range kernels(t) {
		c := buildKey(t, vmlinuz)
		keys[c.PublicKeyAlgorithm.String()] = true
		trust := Trust{Roots: x509.NewCertPool(), Known: []*x509.Certificate{c}, Policy: Policy{Off: []Rule{RuleTimestamp, RuleUsage}}}
		trust.Roots.AddCert(c)
		scheme, err := Config{}.For(module)
		if err != nil {
			t.Fatal(err)
		}
		sig, err := scheme.Verify(t.Context(), module, trust)
		if err != nil {
			t.Errorf("%s: %v", module, err)
			continue
		}
		t.Logf("%s: %v, %v, by %v", filepath.Base(module), sig.Hash, c.PublicKeyAlgorithm, sig.Signer.Subject)
		strict := trust
		strict.Policy.Off = nil
		var e *Error
		if _, err := scheme.Verify(t.Context(), module, strict); !errors.As(err, &e) || e.Kind != Untrusted {
			t.Errorf("without a timestamp, and by a key for nothing in particular: %v", err)
		}
		var plain []byte
		f, err := os.Open(module)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := decompressed(t.Context(), module, f, int64(len(readFile(t, module))), func(r io.ReaderAt, size int64) error {
			plain = make([]byte, size)
			return readAt(r, plain, 0, size)
		}); err != nil {
			t.Fatal(err)
		}
		plain[len(plain)/3] ^= 1
		_, err = scheme.Verify(t.Context(), writeFile(t, "dummy.ko", plain, 0o644), trust)
		wantError(t, err, Tampered, RuleSignature)
		if out := modinfo(t, module); !strings.Contains(out, c.Issuer.CommonName) {
			t.Errorf("modinfo names another signer than %v:\n%s", c.Issuer, out)
		}
	}
	t.Logf("keys: %v", keys)
}

// TestModuleKeys signs with every kind of key that a kernel may have.
func TestModuleKeys(t *testing.T) {
	t.Parallel()
	for name, signer := range map[string]crypto.Signer{"P-256": newECDSA(t, elliptic.P256()), "P-384": newECDSA(t, elliptic.P384()), "P-521": newECDSA(t, elliptic.P521())} {
		w := newWorld(t, signer, codeSigning)
		for _, h := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
			good := mustSign(t, Appended{Hash: h}, writeFile(t, "x.ko", tinyELF(), 0o644), w.key, w.tsa)
			content, der := splitAppended(t, good)
			if out, err := run(t, lookTool(t, "openssl", "openssl"), "cms", "-verify", "-binary", "-inform", "DER", "-in", der, "-content", content,
				"-CAfile", pemFile(t, w.ca.cert), "-purpose", "any", "-out", os.DevNull); err != nil {
				t.Errorf("%s, %v: openssl: %v\n%s", name, h, err, out)
			}
		}
	}
}
