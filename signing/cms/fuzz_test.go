package cms

import (
	"crypto"
	"crypto/x509"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/metrics"
	"strings"
	"testing"
)

// maxAllocated is how much memory the reading of one message may ask for, all
// together.
const maxAllocated = 64 << 20

// bounded runs f and fails if it allocates more than maxAllocated.
func bounded(t *testing.T, f func()) {
	t.Helper()
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	before := sample[0].Value.Uint64()
	f()
	metrics.Read(sample)
	if n := sample[0].Value.Uint64() - before; n > maxAllocated {
		t.Errorf("%d MB were allocated", n>>20)
	}
}

// realMessages are the signatures of signed samples of the module
// github.com/saferwall/pe: the first entry of each certificate table.
func realMessages(f *testing.F) [][]byte {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/saferwall/pe").Output()
	if err != nil {
		f.Fatal(err)
	}
	var messages [][]byte
	for _, name := range []string{"WdBoot.sys", "putty.exe", "acpi.sys", "mfc140u.dll", "brave.exe", "liblzo2-2.dll"} {
		b, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "test", name))
		if err != nil {
			f.Fatal(err)
		}
		le := binary.LittleEndian
		directories := int(le.Uint32(b[60:])) + 24 + 96
		if le.Uint16(b[directories-96:]) == 0x20b {
			directories += 16
		}
		table := le.Uint32(b[directories+4*8:])
		der := b[table+8:] // 30 82, two bytes of length
		messages = append(messages, der[:4+int(binary.BigEndian.Uint16(der[2:]))])
	}
	return messages
}

func FuzzParse(f *testing.F) {
	k, c := selfSigned(f, oidCodeSigning)
	for _, m := range []Message{{Bare: true}, {}, {NullParams: true, Certificates: []*x509.Certificate{c}, Content: []byte{4, 1, 'x'}}} {
		m.ContentType, m.Hash, m.Digest = OIDData, crypto.SHA256, sum(crypto.SHA256, []byte("x"))
		der, err := m.Sign(k, c, nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(der)
	}
	for _, der := range realMessages(f) {
		f.Add(der)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		bounded(t, func() {
			sd, err := Parse(b)
			if err != nil {
				return
			}
			for i := range sd.Signers {
				sd.Verify(i, sd.ContentDigest, c)
				CheckSigningCertificate(&sd.Signers[i], c)
				for _, a := range sd.Signers[i].Unsigned {
					for _, v := range a.Values {
						ParseToken(v)
						ParseCountersignature(v, sd.Signers[i].Signature, sd.Certificates)
					}
				}
			}
		})
	})
}

func FuzzParseToken(f *testing.F) {
	der, _ := newToken(f, oidTimeStamping, nil)
	f.Add(der)
	for _, real := range realMessages(f) {
		if sd, err := Parse(real); err == nil {
			if token := sd.Signers[0].UnsignedAttribute(OIDSpcTimestampToken); token != nil {
				f.Add(token)
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		bounded(t, func() {
			if token, err := ParseToken(b); err == nil && len(token.Imprint) != token.Hash.Size() {
				t.Error("an imprint that does not fit its digest")
			}
			if token, err := TokenOfResponse(b); err == nil && len(token) == 0 {
				t.Error("an empty token")
			}
		})
	})
}

// FuzzEdit changes messages of others: what comes out must still be one.
func FuzzEdit(f *testing.F) {
	k, c := selfSigned(f, oidCodeSigning)
	der, err := Message{ContentType: OIDData, Hash: crypto.SHA256, Digest: sum(crypto.SHA256, []byte("x"))}.Sign(k, c, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(der)
	for _, der := range realMessages(f) {
		f.Add(der)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		bounded(t, func() {
			Content(b)
			before, err := Parse(b)
			if err != nil {
				before = nil
			}
			for _, edit := range []func([]byte) ([]byte, error){
				func(b []byte) ([]byte, error) { return AddUnsigned(b, Attribute{OIDSigningTime, [][]byte{{5, 0}}}) },
				func(b []byte) ([]byte, error) { return RemoveUnsigned(b, OIDSpcTimestampToken) },
				func(b []byte) ([]byte, error) { return AddCertificates(b, []*x509.Certificate{c}) },
			} {
				out, err := edit(b)
				if err != nil || before == nil || len(before.Certificates) > maxCertificates-1 || len(before.Signers[0].Unsigned) > maxAttributes-1 {
					continue
				}
				if _, err := Parse(out); err != nil {
					t.Errorf("what was changed cannot be read: %v", err)
				}
			}
		})
	})
}

// FuzzClockCertificate reads attribute certificates, seeded with a real one. Its
// owner is the certificate that it was made for, or nobody.
func FuzzClockCertificate(f *testing.F) {
	var signer *x509.Certificate
	for _, der := range realMessages(f) {
		sd, err := Parse(der)
		if err != nil {
			f.Fatal(err)
		}
		token, err := ParseToken(sd.Signers[0].UnsignedAttribute(OIDSpcTimestampToken))
		if err != nil {
			continue // without one, or a countersignature
		}
		inner, err := Parse(sd.Signers[0].UnsignedAttribute(OIDSpcTimestampToken))
		if err != nil {
			f.Fatal(err)
		}
		for _, der := range inner.attributed {
			f.Add(der)
			signer = token.Signer
		}
	}
	_, other := selfSigned(f, oidCodeSigning)
	if signer == nil {
		f.Fatal("no attribute certificate")
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		bounded(t, func() {
			if isClockCertificate(der, other) {
				t.Error("it is for a certificate that it does not name")
			}
			if isClockCertificate(der, signer) && len(der) > maxAttributeCert {
				t.Error("too large")
			}
		})
	})
}

// FuzzTSTInfo reads what a timestamp authority signs.
func FuzzTSTInfo(f *testing.F) {
	for _, der := range realMessages(f) {
		sd, err := Parse(der)
		if err != nil {
			f.Fatal(err)
		}
		inner, err := Parse(sd.Signers[0].UnsignedAttribute(OIDSpcTimestampToken))
		if err != nil {
			continue
		}
		f.Add(inner.Content[2:])
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		bounded(t, func() { parseTSTInfo(der) })
	})
}
