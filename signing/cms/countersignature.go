package cms

import (
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

// ParseCountersignature reads a countersignature (RFC 5652, 11.4), which is a
// SignerInfo over a signature value, and verifies it with the certificate of its
// signer among certs. Authenticode had timestamps in that form before it had RFC
// 3161: the time is the signed attribute signing-time. What it returns is like a
// token, without what such a timestamp has not: a serial number, a policy, a
// nonce, certificates of its own. The chain of its signer is not checked.
func ParseCountersignature(der, signature []byte, certs []*x509.Certificate) (*Token, error) {
	s := cryptobyte.String(der)
	si, err := readSigner(&s)
	if err != nil {
		return nil, err
	}
	if !s.Empty() {
		return nil, &FormatError{"countersignature", "something follows it"}
	}
	at, err := signingTime(si.Attribute(OIDSigningTime))
	if err != nil {
		return nil, err
	}
	sd := &SignedData{ContentType: OIDData, Certificates: certs, Signers: []SignerInfo{*si}, Hash: si.Hash}
	signer, err := sd.Verify(0, func(h crypto.Hash) ([]byte, error) {
		d := h.New()
		d.Write(signature)
		return d.Sum(nil), nil
	})
	if err != nil {
		if signer = si.find(certs); signer == nil || !si.bareRSA(signer) || si.checkAttributes(OIDData, sumOf(si.Hash, signature)) != nil {
			return nil, err
		}
	}
	if si.NamesKey() {
		return nil, &FormatError{"countersignature", "the signature's algorithm is that of a key"}
	}
	if err := checkTimestampUsage(signer); err != nil {
		return nil, err
	}
	token := &Token{TSTInfo: TSTInfo{Time: at, Hash: si.Hash}, Signer: signer, Certificates: certs, Signed: si.Hash, InOrder: si.InOrder}
	for _, a := range si.Unsigned {
		for _, v := range a.Values {
			token.Extra += len(v)
		}
	}
	return token, nil
}

// bareRSA reports whether the signature is over the digest without the DigestInfo
// that PKCS #1 puts around it. Symantec's authority made such ones.
func (si *SignerInfo) bareRSA(signer *x509.Certificate) bool {
	pub, ok := signer.PublicKey.(*rsa.PublicKey)
	return ok && rsa.VerifyPKCS1v15(pub, 0, sumOf(si.Hash, si.rawAttrs), si.Signature) == nil
}

func sumOf(h crypto.Hash, b []byte) []byte {
	d := h.New()
	d.Write(b)
	return d.Sum(nil)
}

// signingTime reads the attribute signing-time: UTCTime up to 2049, later
// GeneralizedTime.
func signingTime(value []byte) (time.Time, error) {
	s := cryptobyte.String(value)
	var t time.Time
	if s.ReadASN1UTCTime(&t) && s.Empty() {
		return t.UTC(), nil
	}
	s = value
	if s.ReadASN1GeneralizedTime(&t) && s.Empty() {
		return t.UTC(), nil
	}
	return t, &FormatError{"countersignature", "no signing-time"}
}
