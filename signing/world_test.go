package signing

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hallmark-build/hallmark/signing/cms"
	"github.com/hallmark-build/hallmark/signing/key"
)

// world is a certificate authority, a signer and a timestamp authority, made
// in memory.
type world struct {
	ca, tsaCA *issued
	key       *key.Key
	tsa       *testTSA
}

type issued struct {
	crypto.Signer
	cert *x509.Certificate
}

// testTSA timestamps without a network.
type testTSA struct {
	signer crypto.Signer
	chain  []*x509.Certificate
	at     time.Time // zero means now
	err    error
}

func (t *testTSA) Timestamp(_ context.Context, h crypto.Hash, digest []byte) ([]byte, error) {
	if t.err != nil {
		return nil, t.err
	}
	at := t.at
	if at.IsZero() {
		at = time.Now()
	}
	return cms.SignToken(cms.TSTInfo{
		Policy: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 1}, Hash: h, Imprint: digest, Serial: big.NewInt(time.Now().UnixNano()), Time: at,
	}, t.signer, t.chain, true)
}

func newRSA(t testing.TB) crypto.Signer {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newECDSA(t testing.TB, c elliptic.Curve) crypto.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// issue makes a certificate for signer, changed by edit, signed by parent or by
// itself.
func issue(t testing.TB, name string, signer crypto.Signer, parent *issued, edit func(*x509.Certificate)) *issued {
	t.Helper()
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	c := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name, Organization: []string{"hallmark tests"}},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
	spki, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	var parts struct {
		Algorithm asn1.RawValue
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(spki, &parts); err != nil {
		t.Fatal(err)
	}
	id := sha1.Sum(parts.Key.Bytes) // RFC 5280, 4.2.1.2, method 1
	c.SubjectKeyId = id[:]
	edit(c)
	if parent == nil {
		parent = &issued{signer, c}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent.cert, signer.Public(), parent.Signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &issued{signer, cert}
}

func authority(c *x509.Certificate) {
	c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
	c.NotBefore = c.NotBefore.AddDate(-10, 0, 0)
	c.NotAfter = c.NotAfter.AddDate(10, 0, 0)
}

func codeSigning(c *x509.Certificate) {
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
}

func timestamping(t testing.TB) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		// Critical, which x509 does not write by itself.
		value, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
		if err != nil {
			t.Fatal(err)
		}
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: value}}
		c.NotBefore = c.NotBefore.AddDate(-5, 0, 0)
	}
}

func newWorld(t testing.TB, signer crypto.Signer, edit func(*x509.Certificate)) *world {
	t.Helper()
	ca := issue(t, "Test CA", newRSA(t), nil, authority)
	leaf := issue(t, "Test Signer", signer, ca, edit)
	tsaCA := issue(t, "Test TSA CA", newRSA(t), nil, authority)
	tsa := issue(t, "Test TSA", newRSA(t), tsaCA, timestamping(t))
	return &world{
		ca: ca, tsaCA: tsaCA,
		key: &key.Key{Signer: signer, Chain: []*x509.Certificate{leaf.cert, ca.cert}, Ref: "test"},
		tsa: &testTSA{signer: tsa, chain: []*x509.Certificate{tsa.cert, tsaCA.cert}},
	}
}

// sharedWorld is one RSA world for the tests that need no other: making keys
// is what they would spend their time on.
var sharedWorld = sync.OnceValue(func() *world {
	t := new(fatalOnly)
	return newWorld(t, newRSA(t), codeSigning)
})

// fatalOnly is the part of testing.TB that newWorld needs outside a test.
type fatalOnly struct{ testing.TB }

func (*fatalOnly) Helper()           {}
func (*fatalOnly) Fatal(args ...any) { panic(args) }

func (w *world) trust() Trust {
	roots, tsaRoots := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(w.ca.cert)
	tsaRoots.AddCert(w.tsaCA.cert)
	return Trust{Roots: roots, TSARoots: tsaRoots}
}

// pemFile writes certificates where a foreign tool can read them.
func pemFile(t testing.TB, certs ...*x509.Certificate) string {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "*.pem")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, c := range certs {
		if err := pem.Encode(f, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}); err != nil {
			t.Fatal(err)
		}
	}
	return f.Name()
}

func keyFile(t testing.TB, signer crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// missing skips a test for want of a foreign tool, and fails it where all of
// them are to be installed.
func missing(t testing.TB, tool, debianPackage string) {
	t.Helper()
	if os.Getenv("HALLMARK_STRICT") != "" {
		t.Fatalf("%s is missing: install the Debian package %s", tool, debianPackage)
	}
	t.Skipf("SKIP: %s is missing: install the Debian package %s", tool, debianPackage)
}

func lookTool(t testing.TB, tool, debianPackage string) string {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		missing(t, tool, debianPackage)
	}
	return path
}

// run runs a foreign tool and returns what it printed.
func run(t testing.TB, name string, args ...string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	return string(out), err
}

// sample returns the path of a file of the module github.com/saferwall/pe.
func sample(t testing.TB, name string) string {
	t.Helper()
	return filepath.Join(samplesDir(), name)
}

var samplesDir = sync.OnceValue(func() string {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/saferwall/pe").Output()
	if err != nil {
		panic(err)
	}
	return filepath.Join(string(out[:len(out)-1]), "test")
})

// copyFile copies a file into a folder of the test's own, with a mode.
func copyFile(t testing.TB, from string, mode os.FileMode) string {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, filepath.Base(from), b, mode)
}

func writeFile(t testing.TB, name string, b []byte, mode os.FileMode) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(to, b, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(to, mode); err != nil {
		t.Fatal(err)
	}
	return to
}

// goProgram builds a small program for a platform and returns its path.
func goProgram(t testing.TB, goos, goarch string, ldflags string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":  "module hello\ngo 1.26\n",
		"main.go": "package main\nfunc main() { println(\"hello\") }\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags="+ldflags, "-o", "hello.bin", ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return filepath.Join(dir, "hello.bin")
}

// wantError demands an *Error of a kind and, unless it is empty, of a rule.
func wantError(t *testing.T, err error, kind Kind, rule Rule) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want an *Error of kind %v, rule %s", err, kind, rule)
	}
	if e.Kind != kind || rule != "" && e.Rule != rule {
		t.Fatalf("got kind %v, rule %s (%v), want %v, %s", e.Kind, e.Rule, e, kind, rule)
	}
}

func mustSign(t testing.TB, s Scheme, src string, k *key.Key, ts Timestamper) string {
	t.Helper()
	dst := filepath.Join(t.TempDir(), filepath.Base(src))
	if _, err := s.Sign(t.Context(), src, dst, k, ts); err != nil {
		t.Fatal(err)
	}
	return dst
}
