package signing

import (
	"bytes"
	"crypto/elliptic"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"path/filepath"
	"testing"

	"github.com/hallmark-build/hallmark/signing/cms"
)

// TestKinds holds that Untrusted and Expired are said only of signatures that
// hold themselves: each file is broken and its signer is not trusted either.
func TestKinds(t *testing.T) {
	t.Parallel()
	w := sharedWorld()
	stranger := w.trust()
	stranger.Roots = casePool(t, "tsa.pem")
	for _, r := range rewriters(t) {
		t.Run(r.name, func(t *testing.T) {
			flip := func(der []byte) []byte {
				sd, err := cms.Parse(der)
				if err != nil {
					t.Fatal(err)
				}
				der = bytes.Clone(der)
				at := bytes.LastIndex(der, sd.Signers[0].Signature[:64]) // in front of the timestamp
				der[at+32] ^= 1
				return der
			}
			trust := r.trust
			trust.Roots = stranger.Roots
			wantError(t, r.again(t, trust, func(der []byte) []byte { return der }), Untrusted, RuleChain)
			wantError(t, r.again(t, trust, flip), Tampered, RuleSignature)
		})
	}
	t.Run("a broken nested signature of an untrusted one", func(t *testing.T) {
		src := mustSign(t, Authenticode{}, sample(t, "impbyord.exe"), w.key, w.tsa)
		dst := filepath.Join(t.TempDir(), "nested.exe")
		if _, err := (Authenticode{}).Append(t.Context(), src, dst, w.key, w.tsa, w.trust()); err != nil {
			t.Fatal(err)
		}
		b := readFile(t, dst)
		_, err := verifyBytes(t, Authenticode{}, b, stranger)
		wantError(t, err, Untrusted, "")
		b = changePE(t, b, func(der []byte) []byte {
			sd, err := cms.Parse(der)
			if err != nil {
				t.Fatal(err)
			}
			nested, err := cms.Parse(sd.Signers[0].UnsignedAttribute(oidSpcNestedSignature))
			if err != nil {
				t.Fatal(err)
			}
			der = bytes.Clone(der)
			der[bytes.Index(der, nested.Signers[0].Signature)] ^= 1
			return der
		})
		_, err = verifyBytes(t, Authenticode{}, b, stranger)
		wantError(t, err, Tampered, RuleSignature)
	})
	t.Run("a wrong checksum", func(t *testing.T) {
		b := readFile(t, filepath.Join(casesDir, "a00_control.exe"))
		p, err := readPE(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		binary.LittleEndian.PutUint32(b[p.checksum:], binary.LittleEndian.Uint32(b[p.checksum:])+1)
		_, err = verifyBytes(t, Authenticode{}, b, caseTrust(t))
		wantError(t, err, Malformed, RuleChecksum)
	})
}

// TestKeyAlgorithm writes the algorithm of an ECDSA signature as relic does: as
// that of a key.
func TestKeyAlgorithm(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newECDSA(t, elliptic.P256()), codeSigning)
	signed := readFile(t, mustSign(t, Authenticode{}, sample(t, "impbyord.exe"), w.key, w.tsa))
	rewritten := func(oid asn1.ObjectIdentifier) []byte {
		der, err := asn1.Marshal(oid)
		if err != nil {
			t.Fatal(err)
		}
		return rewritePE(t, signed, func(m *element) {
			const algorithm = 4 // of SignerInfo's parts
			m.signedData().last().parts[0].parts[algorithm].parts = takeApart(t, der)
		})
	}
	b := rewritten(asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1})
	_, err := verifyBytes(t, Authenticode{}, b, w.trust())
	wantError(t, err, Malformed, RuleDER)
	trust := w.trust()
	trust.Policy.Off = []Rule{RuleDER}
	if _, err := verifyBytes(t, Authenticode{}, b, trust); err != nil {
		t.Errorf("without the rule: %v", err)
	}
	// ecdsa-with-SHA384 does not fit the digest.
	_, err = verifyBytes(t, Authenticode{}, rewritten(asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}), trust)
	wantError(t, err, Malformed, RuleDER)
	b[bytes.LastIndex(b, []byte("impbyord"))] ^= 1
	_, err = verifyBytes(t, Authenticode{}, b, trust)
	wantError(t, err, Tampered, RuleDigest)
}

// TestEntryOffset holds that an error in the second entry of a certificate table
// says where that is.
func TestEntryOffset(t *testing.T) {
	t.Parallel()
	b := readFile(t, filepath.Join(casesDir, "a00_control.exe"))
	p, err := readPE(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	bad := certificateTable([]byte{0x30, 3, 2, 1, 1})
	b = append(b, bad...)
	binary.LittleEndian.PutUint32(b[p.certDir+4:], uint32(p.tableSize)+uint32(len(bad)))
	_, err = verifyBytes(t, Authenticode{}, b, caseTrust(t))
	wantError(t, err, Malformed, RuleDER)
	var e *Error
	if errors.As(err, &e); e.Offset != p.tableOffset+p.tableSize {
		t.Errorf("offset %#x, want %#x", e.Offset, p.tableOffset+p.tableSize)
	}
}
