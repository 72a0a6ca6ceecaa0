package cms

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

func selfSigned(t testing.TB, usage asn1.ObjectIdentifier) (*rsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	eku, err := asn1.Marshal([]asn1.ObjectIdentifier{usage})
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(77), Subject: pkix.Name{CommonName: "cms test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), SubjectKeyId: []byte("key id"),
		KeyUsage:        x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: eku}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return k, c
}

var (
	oidCodeSigning  = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 3}
	oidTimeStamping = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 8}
)

func sum(h crypto.Hash, b []byte) []byte {
	d := h.New()
	d.Write(b)
	return d.Sum(nil)
}

// TestOpenSSL exchanges messages with OpenSSL in both directions, with and
// without signed attributes, and has damaged twins refused by both.
func TestOpenSSL(t *testing.T) {
	t.Parallel()
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		if os.Getenv("HALLMARK_STRICT") != "" {
			t.Fatal("openssl is missing")
		}
		t.Skip("SKIP: openssl is missing: install the Debian package openssl")
	}
	k, c := selfSigned(t, oidCodeSigning)
	dir := t.TempDir()
	file := func(name string, b []byte) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	keyPEM := file("key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
	certPEM := file("cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	data := []byte("what is signed")
	content := file("data", data)
	digest := func(h crypto.Hash) ([]byte, error) { return sum(h, data), nil }

	for name, m := range map[string]Message{
		"bare":       {Bare: true},
		"attributes": {},
		"null":       {NullParams: true},
	} {
		for _, h := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
			m.ContentType, m.Hash, m.Digest, m.Certificates = OIDData, h, sum(h, data), []*x509.Certificate{c}
			der, err := m.Sign(k, c, nil)
			if err != nil {
				t.Fatal(err)
			}
			verify := func(content, sig string) error {
				return exec.Command(openssl, "cms", "-verify", "-binary", "-inform", "DER", "-in", sig, "-content", content,
					"-CAfile", certPEM, "-purpose", "any", "-out", os.DevNull).Run()
			}
			ours := file("ours.der", der)
			if err := verify(content, ours); err != nil {
				t.Errorf("%s, %v: openssl refuses ours: %v", name, h, err)
			}
			if err := verify(file("other", []byte("what is not signed")), ours); err == nil {
				t.Errorf("%s, %v: openssl accepts other content", name, h)
			}
			sd, err := Parse(der)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := sd.Verify(0, digest); err != nil || !got.Equal(c) {
				t.Errorf("%s, %v: %v", name, h, err)
			}
			var forged *SignatureError
			if _, err := sd.Verify(0, func(h crypto.Hash) ([]byte, error) { return sum(h, []byte("x")), nil }); !errors.As(err, &forged) {
				t.Errorf("%s, %v: other content gives %v", name, h, err)
			}
		}
	}
	for name, flags := range map[string][]string{
		"attributes": nil, "bare": {"-noattr"}, "key id": {"-keyid"}, "no certificate": {"-nocerts"},
	} {
		out := filepath.Join(dir, "theirs.der")
		args := append([]string{"cms", "-sign", "-binary", "-md", "sha256", "-outform", "DER", "-in", content, "-signer", certPEM, "-inkey", keyPEM, "-out", out}, flags...)
		if b, err := exec.Command(openssl, args...).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, b)
		}
		der, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		sd, err := Parse(der)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := sd.Verify(0, digest, c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := sd.Verify(0, digest); (name == "no certificate") != errors.Is(err, ErrNoCertificate) {
			t.Errorf("%s, nobody known: %v", name, err)
		}
	}
}

// TestDamage flips every byte of a message: either it does not parse, or it
// does not verify, or what changed is one of the few places that no signature
// covers, which the schemes check themselves.
func TestDamage(t *testing.T) {
	t.Parallel()
	k, c := selfSigned(t, oidCodeSigning)
	data := []byte("what is signed")
	der, err := Message{ContentType: OIDData, Hash: crypto.SHA256, Digest: sum(crypto.SHA256, data)}.Sign(k, c, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range der {
		twin := bytes.Clone(der)
		twin[i] ^= 1
		sd, err := Parse(twin)
		if err != nil {
			continue
		}
		if _, err := sd.Verify(0, func(h crypto.Hash) ([]byte, error) { return sum(h, data), nil }, c); err == nil {
			t.Errorf("byte %d of %d is not covered", i, len(der))
		}
	}
}

func newToken(t testing.TB, usage asn1.ObjectIdentifier, edit func(*TSTInfo)) ([]byte, *x509.Certificate) {
	t.Helper()
	k, c := selfSigned(t, usage)
	info := TSTInfo{
		Policy: asn1.ObjectIdentifier{1, 2, 3}, Hash: crypto.SHA256, Imprint: sum(crypto.SHA256, []byte("x")),
		Serial: big.NewInt(5), Time: time.Now(), Accuracy: time.Second, Nonce: big.NewInt(9),
	}
	if edit != nil {
		edit(&info)
	}
	der, err := SignToken(info, k, []*x509.Certificate{c}, true)
	if err != nil {
		t.Fatal(err)
	}
	return der, c
}

func TestToken(t *testing.T) {
	t.Parallel()
	der, c := newToken(t, oidTimeStamping, nil)
	token, err := ParseToken(der)
	if err != nil {
		t.Fatal(err)
	}
	if token.Nonce.Int64() != 9 || token.Serial.Int64() != 5 || time.Since(token.Time) > time.Minute || !token.Signer.Equal(c) {
		t.Errorf("%+v", token)
	}
	roots := x509.NewCertPool()
	roots.AddCert(c)
	if _, err := token.Chain(roots); err != nil {
		t.Error(err)
	}
	if _, err := token.Chain(x509.NewCertPool()); err == nil {
		t.Error("a chain without a root")
	}
	wrong, _ := newToken(t, oidCodeSigning, nil)
	var usage *UsageError
	if _, err := ParseToken(wrong); !errors.As(err, &usage) {
		t.Errorf("a code-signing certificate may timestamp: %v", err)
	}
	undetected := 0
	for i := range der {
		twin := bytes.Clone(der)
		twin[i] ^= 1
		if got, err := ParseToken(twin); err == nil {
			if _, err := got.Chain(roots); err == nil {
				undetected++
				t.Logf("byte %d of %d is not covered", i, len(der))
			}
		}
	}
	if undetected > 0 {
		t.Errorf("%d flips undetected", undetected)
	}
}

func TestGenTime(t *testing.T) {
	t.Parallel()
	for s, ok := range map[string]bool{
		"20261122211832Z": true, "20261122211832.5Z": true, "20261122211832.125Z": true,
		"20261122211832": false, "20261122211832.Z": false, "20261122211832.50Z": false, "202611222118Z": false,
		"20261122211832+0100": false, "20261322211832Z": false, "": false,
	} {
		if _, err := parseGenTime(s); (err == nil) != ok {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// TestExtensionsOfTSTInfo reads the end of a TSTInfo, where extensions stand.
func TestExtensionsOfTSTInfo(t *testing.T) {
	t.Parallel()
	info := TSTInfo{Policy: asn1.ObjectIdentifier{1, 2, 3}, Hash: crypto.SHA256, Imprint: make([]byte, 32), Serial: big.NewInt(1), Time: time.Now(), Accuracy: time.Second}
	der, err := info.marshal()
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		end  string
		good bool
	}{
		"none":                 {"", true},
		"one":                  {"\xa1\x0a\x30\x08\x06\x02\x2a\x03\x04\x02\x05\x00", true},
		"one that is critical": {"\xa1\x0d\x30\x0b\x06\x02\x2a\x03\x01\x01\xff\x04\x02\x05\x00", false},
		"an empty list":        {"\xa1\x00", false},
		"a payload":            {"\xa1\x09\x04\x07payload", false},
		"one with more in it":  {"\xa1\x0c\x30\x0a\x06\x02\x2a\x03\x04\x02\x05\x00\x05\x00", false},
	} {
		changed := append(bytes.Clone(der), test.end...)
		changed[1] += byte(len(test.end))
		if _, err := parseTSTInfo(changed); (err == nil) != test.good {
			t.Errorf("%s: %v", name, err)
		}
	}
	bad := bytes.Replace(der, []byte("\x30\x03\x02\x01\x01"), []byte("\x30\x03\x04\x01\x01"), 1)
	if bytes.Equal(bad, der) {
		t.Fatal("no accuracy")
	}
	if _, err := parseTSTInfo(bad); err == nil {
		t.Error("an accuracy of another type is read")
	}
}
