package cms

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"math/big"
	"testing"
)

// TestParseCertificate refuses what a certificate carries behind its signature.
func TestParseCertificate(t *testing.T) {
	t.Parallel()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	good, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := ParseCertificate(good); err != nil || !bytes.Equal(c.Raw, good) {
		t.Fatalf("%v, %v", c, err)
	}
	var outer asn1.RawValue
	if _, err := asn1.Unmarshal(good, &outer); err != nil {
		t.Fatal(err)
	}
	payload, err := asn1.Marshal([]byte("a payload"))
	if err != nil {
		t.Fatal(err)
	}
	longer, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: append(bytes.Clone(outer.Bytes), payload...)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x509.ParseCertificate(longer); err != nil {
		t.Logf("crypto/x509 refuses it now: %v", err)
	}
	for name, der := range map[string][]byte{"in the sequence": longer, "behind it": append(bytes.Clone(good), payload...)} {
		if _, err := ParseCertificate(der); err == nil {
			t.Errorf("accepted with a payload %s", name)
		}
	}
}
