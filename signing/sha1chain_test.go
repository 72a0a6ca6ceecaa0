package signing

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/hallmark-build/hallmark/signing/key"
)

// TestSHA1Chain has links that are signed with SHA-1 count without the rule
// weak-digest, whoever embeds which certificate, and nothing that crypto/x509
// would refuse for another reason.
func TestSHA1Chain(t *testing.T) {
	t.Parallel()
	w := sharedWorld()
	weak := func(edit func(*x509.Certificate)) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			edit(c)
			c.SignatureAlgorithm = x509.SHA1WithRSA
		}
	}
	src := sample(t, "impbyord.exe")
	root := issue(t, "Root", newRSA(t), nil, authority)
	other := issue(t, "Root", newRSA(t), nil, authority) // of the same name
	pool := func(certs ...*issued) *x509.CertPool {
		p := x509.NewCertPool()
		for _, c := range certs {
			p.AddCert(c.cert)
		}
		return p
	}
	for _, test := range []struct {
		name         string
		middle, leaf func(*x509.Certificate)
		roots        []*issued
		kind         Kind
		rule         Rule // empty: accepted
	}{
		{"all", weak(authority), weak(codeSigning), []*issued{root}, 0, ""},
		{"the signer", authority, weak(codeSigning), []*issued{root}, 0, ""},
		{"the authority", weak(authority), codeSigning, []*issued{root}, 0, ""},
		{"a root of the same name", weak(authority), codeSigning, []*issued{other}, Untrusted, RuleChain},
		{"an authority that is none", weak(codeSigning), codeSigning, []*issued{root}, Untrusted, RuleChain},
		{"an authority for servers", weak(func(c *x509.Certificate) {
			authority(c)
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}), codeSigning, []*issued{root}, Untrusted, RuleChain},
		{"an authority with name constraints", weak(func(c *x509.Certificate) {
			authority(c)
			c.PermittedDNSDomains, c.PermittedDNSDomainsCritical = []string{"example.com"}, true
		}), codeSigning, []*issued{root}, Untrusted, RuleChain},
		{"an authority that has expired", weak(func(c *x509.Certificate) {
			authority(c)
			c.NotAfter = time.Now().Add(-time.Hour)
		}), codeSigning, []*issued{root}, Expired, RuleValidity},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			middle := issue(t, "Middle", newRSA(t), root, test.middle)
			leaf := issue(t, "Leaf", newRSA(t), middle, test.leaf)
			k := &key.Key{Signer: leaf.Signer, Chain: []*x509.Certificate{leaf.cert, middle.cert}}
			file := writeFile(t, "signed.exe", withoutVerifying(t, src, k, w.tsa), 0o644)
			trust := Trust{Roots: pool(test.roots...), TSARoots: pool(w.tsaCA), Anchors: []*x509.Certificate{root.cert, other.cert}}
			if _, err := (Authenticode{}).Verify(t.Context(), file, trust); err == nil {
				t.Error("accepted with the rule")
			}
			trust.Policy.Off = []Rule{RuleWeak}
			_, err := Authenticode{}.Verify(t.Context(), file, trust)
			if test.rule == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantError(t, err, test.kind, test.rule)
		})
	}
}

// withoutVerifying signs a PE file by a key that no verifier may accept.
func withoutVerifying(t *testing.T, src string, k *key.Key, ts Timestamper) []byte {
	t.Helper()
	b := readFile(t, src)
	signed := readFile(t, mustSign(t, Authenticode{}, src, sharedWorld().key, ts))
	p, err := readPE(mustOpen(t, src), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	d := crypto.SHA256.New()
	if _, err := p.scan(t.Context(), mustOpen(t, src), nil, d, nil); err != nil {
		t.Fatal(err)
	}
	der, err := Authenticode{}.sign(t.Context(), d.Sum(nil), nil, crypto.SHA256, k, ts)
	if err != nil {
		t.Fatal(err)
	}
	return changePE(t, signed, func([]byte) []byte { return der })
}

// TestRealSHA1 judges real files whose chains are signed with SHA-1.
func TestRealSHA1(t *testing.T) {
	t.Parallel()
	off := []Rule{RuleWeak, RuleLegacy, RuleChain, RuleTSA, RuleValidity, RuleWeakKey}
	for _, name := range []string{"brave.exe", "mfc140u.dll"} {
		trust := Trust{Policy: Policy{Off: off}}
		if _, err := (Authenticode{}).Verify(t.Context(), sample(t, name), trust); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		trust.Policy.Off = off[1:]
		_, err := Authenticode{}.Verify(t.Context(), sample(t, name), trust)
		wantError(t, err, Untrusted, RuleWeak)
		b := readFile(t, sample(t, name))
		b[len(b)/4] ^= 1
		trust.Policy.Off = off
		_, err = verifyBytes(t, Authenticode{}, b, trust)
		wantError(t, err, Tampered, RuleDigest)
	}
	// With the roots of this machine, where it has them.
	data, err := os.ReadFile("/etc/ssl/certs/ca-certificates.crt")
	if err != nil {
		t.Skipf("SKIP: this machine has no root certificates: %v", err)
	}
	trust := Trust{Roots: x509.NewCertPool(), Policy: Policy{Off: []Rule{RuleWeak, RuleLegacy}}}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			trust.Roots.AddCert(c)
			trust.Anchors = append(trust.Anchors, c)
		}
	}
	trust.TSARoots = trust.Roots
	if !slices.ContainsFunc(trust.Anchors, func(c *x509.Certificate) bool { return c.Subject.CommonName == "DigiCert Assured ID Root CA" }) {
		t.Skip("SKIP: this machine does not know the root of brave.exe")
	}
	if _, err := (Authenticode{}).Verify(t.Context(), sample(t, "brave.exe"), trust); err != nil {
		t.Errorf("brave.exe with this machine's roots: %v", err)
	}
}
