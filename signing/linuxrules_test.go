package signing

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hallmark-build/hallmark/signing/cms"
)

// TestLinuxRules has what kernels accept, by the schemes that kernels look at, and
// every rule of ours refuse it.
func TestLinuxRules(t *testing.T) {
	t.Parallel()
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	changed := func(edit func(*x509.Certificate)) *world {
		return newWorld(t, newRSA(t), func(c *x509.Certificate) { codeSigning(c); edit(c) })
	}
	for _, test := range []struct {
		name string
		w    *world
		hash crypto.Hash
		kind Kind
		rule Rule
	}{
		{"expired", changed(func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().AddDate(-2, 0, 0), time.Now().AddDate(-1, 0, 0)
		}), crypto.SHA256, Expired, RuleValidity},
		{"not yet valid", changed(func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().AddDate(1, 0, 0), time.Now().AddDate(2, 0, 0)
		}), crypto.SHA256, Untrusted, RuleValidity},
		{"for web servers", changed(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), crypto.SHA256, Untrusted, RuleUsage},
		{"for nothing in particular", changed(func(c *x509.Certificate) { c.ExtKeyUsage = nil }), crypto.SHA256, Untrusted, RuleUsage},
		{"for encipherment", changed(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }), crypto.SHA256, Untrusted, RuleUsage},
		{"SHA-1", changed(func(*x509.Certificate) {}), crypto.SHA1, Untrusted, RuleWeak},
		{"RSA of 1024 bits", newWorld(t, short, codeSigning), crypto.SHA256, Untrusted, RuleWeakKey},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			src := writeFile(t, "tiny", tinyELF(), 0o755)
			trust := test.w.trust()
			trust.Known = test.w.key.Chain
			_, err := Appended{}.Verify(t.Context(), writeFile(t, "signed", append(tinyELF(), appendTrailer(bareCMS(t, test.w, test.hash, tinyELF()))...), 0o755), trust)
			wantError(t, err, test.kind, test.rule)

			if test.hash != crypto.SHA1 { // fs-verity has none
				digest, err := Verity{}.Digest(t.Context(), mustOpen(t, src), int64(len(tinyELF())))
				if err != nil {
					t.Fatal(err)
				}
				formatted, err := formatVerity(test.hash, digest)
				if err != nil {
					t.Fatal(err)
				}
				_, err = Verity{}.Verify(t.Context(), src, writeFile(t, "p7s", bareCMS(t, test.w, test.hash, formatted), 0o644), trust)
				wantError(t, err, test.kind, test.rule)
			}

			d := test.hash.New()
			d.Write(tinyELF())
			signature, err := test.w.key.Sign(rand.Reader, d.Sum(nil), test.hash)
			if err != nil {
				t.Fatal(err)
			}
			id, err := imaKeyID(test.w.key.Leaf())
			if err != nil {
				t.Fatal(err)
			}
			ima := append([]byte{imaDigitalSignature, 2, map[crypto.Hash]byte{crypto.SHA1: 2, crypto.SHA256: 4}[test.hash]}, id...)
			ima = append(append(ima, byte(len(signature)>>8), byte(len(signature))), signature...)
			_, err = IMA{}.Verify(t.Context(), src, writeFile(t, "sig", ima, 0o644), trust)
			wantError(t, err, test.kind, test.rule)
		})
	}
}

// bareCMS signs content as kernels take it, and the signature's time now.
func bareCMS(t *testing.T, w *world, h crypto.Hash, content []byte) []byte {
	t.Helper()
	d := h.New()
	d.Write(content)
	der, err := cms.Message{ContentType: cms.OIDData, Bare: true, Hash: h, Digest: d.Sum(nil), Certificates: w.key.Chain}.Sign(
		w.key, w.key.Leaf(), countersigner(t.Context(), w.tsa, crypto.SHA256, cms.OIDTimestampToken))
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func mustOpen(t *testing.T, name string) *os.File {
	t.Helper()
	f, err := os.Open(filepath.Clean(name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
