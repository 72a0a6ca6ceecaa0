package key

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const secret = "correct horse" // what every encrypted file of the tests is opened with

// openssl runs the judge, which also makes the files.
func openssl(t testing.TB, args ...string) []byte {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		const missing = "SKIP: openssl missing: apt package openssl"
		if os.Getenv("HALLMARK_STRICT") == "1" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return out
}

// world is a root, an intermediate and leaves, made once and in memory.
type world struct {
	rsaKey, otherKey  *rsa.PrivateKey
	ecKey             *ecdsa.PrivateKey
	rootKey, interKey *ecdsa.PrivateKey
	root, inter, leaf *x509.Certificate
	ecLeaf            *x509.Certificate
}

var theWorld = sync.OnceValue(func() *world {
	w := &world{}
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	var err error
	w.rsaKey, err = rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	w.otherKey, err = rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	for _, k := range []**ecdsa.PrivateKey{&w.ecKey, &w.rootKey, &w.interKey} {
		*k, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(err)
	}
	w.root = w.issue("root", func(c *x509.Certificate) { ca(c) }, nil, w.rootKey, w.rootKey.Public())
	w.inter = w.issue("intermediate", func(c *x509.Certificate) { ca(c) }, w.root, w.rootKey, w.interKey.Public())
	w.leaf = w.issueLeaf(w.rsaKey.Public(), nil)
	w.ecLeaf = w.issueLeaf(w.ecKey.Public(), nil)
	return w
})

func ca(c *x509.Certificate) {
	c.IsCA, c.BasicConstraintsValid = true, true
	c.KeyUsage, c.ExtKeyUsage = x509.KeyUsageCertSign, nil
}

func (w *world) issueLeaf(pub crypto.PublicKey, change func(*x509.Certificate)) *x509.Certificate {
	return w.issue("leaf", change, w.inter, w.interKey, pub)
}

func (w *world) issue(name string, change func(*x509.Certificate), parent *x509.Certificate, signer crypto.Signer, pub crypto.PublicKey) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		panic(err)
	}
	c := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	if change != nil {
		change(c)
	}
	if parent == nil {
		parent = c
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, pub, signer)
	if err != nil {
		panic(err)
	}
	c, err = x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return c
}

func certPEM(certs ...*x509.Certificate) []byte {
	var text []byte
	for _, c := range certs {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return text
}

func keyPEM(t testing.TB, k any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func write(t testing.TB, dir, name string, parts ...[]byte) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, bytes.Join(parts, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// withPassword is Options that count how often they are asked.
func withPassword(password string, asked *int) Options {
	return Options{Password: func(string) ([]byte, error) {
		if asked != nil {
			*asked++
		}
		return []byte(password), nil
	}}
}

// mustSign shows that the key works and is the leaf's.
func mustSign(t *testing.T, k *Key) {
	t.Helper()
	digest := make([]byte, 32)
	sig, err := k.Sign(rand.Reader, digest, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	switch pub := k.Leaf().PublicKey.(type) {
	case *rsa.PublicKey:
		err = rsa.VerifyPKCS1v15(pub, crypto.SHA256, digest, sig)
	case *ecdsa.PublicKey:
		if !ecdsa.VerifyASN1(pub, digest, sig) {
			t.Fatal("signature does not verify with the leaf")
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// refused opens ref and returns the message, which must hold no secret.
func refused(t *testing.T, ref string, o Options) error {
	t.Helper()
	k, err := Open(context.Background(), ref, o)
	if err == nil {
		t.Fatalf("%s was opened: %v", ref, k)
	}
	text := err.Error()
	for _, bad := range []string{secret, "hunter2"} {
		if strings.Contains(text, bad) {
			t.Fatalf("the error tells the secret: %v", err)
		}
	}
	if strings.ContainsAny(text, "\n") || strings.HasSuffix(text, ".") {
		t.Errorf("the error is not in the house style: %q", text)
	}
	return err
}
