package signing

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"os"
	"testing"

	"github.com/hallmark-build/hallmark/signing/cms"
)

// TestOtherUse has each scheme whose signature is over the file alone judge files
// that are what another signature of the same key is over.
func TestOtherUse(t *testing.T) {
	t.Parallel()
	w := sharedWorld()
	trust := w.trust()
	trust.Known = append(trust.Known, w.key.Leaf())
	trust.Policy.Off = append(trust.Policy.Off, RuleTimestamp)
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: w.key.Leaf().Subject}, w.key.Signer)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.ParseCertificateRequest(request)
	if err != nil {
		t.Fatal(err)
	}
	// SET { SEQUENCE { contentType, SET { data } } }, of 24 bytes
	attributes := []byte("\x31\x1a\x30\x18\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x09\x03\x31\x0b\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01")
	digest := make([]byte, 32)
	verity := append([]byte("FSVerity\x01\x00\x20\x00"), digest...)
	for _, c := range []struct {
		name    string
		file    []byte
		refused bool
	}{
		{"signed attributes", attributes, true},
		{"signed part of a certificate", w.key.Leaf().RawTBSCertificate, true},
		{"signed part of a request", csr.RawTBSCertificateRequest, true},
		{"fsverity digest", verity, true},
		{"IMA's digest", append([]byte{6, 4}, digest...), true},
		{"signed attributes and a byte", append(attributes[:len(attributes):len(attributes)], 0), false},
		{"certificate", w.key.Leaf().Raw, false},
		{"request", request, false},
		{"private key", pkcs8(t, w), false},
		{"text that begins like a set", []byte("1234567890 is a text of an odd length\n"), false},
		{"nothing", nil, false},
	} {
		for _, d := range []Detached{P7S{}, IMA{}, Bundle{}} {
			file := writeFile(t, "file", c.file, 0o644)
			if d.Name() == "p7s" {
				sum := sha256.Sum256(c.file)
				der, err := cms.Message{ContentType: cms.OIDData, Digest: sum[:], Hash: crypto.SHA256, Bare: true, Certificates: w.key.Chain}.Sign(w.key, w.key.Leaf(), nil)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file+d.Suffix(), der, 0o644); err != nil {
					t.Fatal(err)
				}
				_, err = d.Verify(t.Context(), file, file+d.Suffix(), trust)
				checkRefusal(t, d.Name()+": "+c.name, err, c.refused)
				continue
			}
			_, err := d.Sign(t.Context(), file, file+d.Suffix(), w.key, nil)
			checkRefusal(t, d.Name()+": "+c.name, err, c.refused)
		}
	}
}

func pkcs8(t *testing.T, w *world) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(w.key.Signer)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func checkRefusal(t *testing.T, what string, err error, refused bool) {
	t.Helper()
	if refused && ruleOf(err) != string(RuleContent) || !refused && err != nil {
		t.Errorf("%s: %v", what, err)
	}
}
