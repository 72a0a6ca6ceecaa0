package cms

import (
	"crypto/x509"
	"errors"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// ParseCertificate is [x509.ParseCertificate] for a certificate from a file that
// nobody trusts yet. RFC 5280, 4.1: "Certificate ::= SEQUENCE { tbsCertificate,
// signatureAlgorithm, signatureValue }". crypto/x509 ignores what follows the
// third element in the sequence, and no signature covers it.
func ParseCertificate(der []byte) (*x509.Certificate, error) {
	input := cryptobyte.String(der)
	var certificate cryptobyte.String
	if !input.ReadASN1(&certificate, casn1.SEQUENCE) || !input.Empty() || !certificate.SkipASN1(casn1.SEQUENCE) ||
		!certificate.SkipASN1(casn1.SEQUENCE) || !certificate.SkipASN1(casn1.BIT_STRING) || !certificate.Empty() {
		return nil, errors.New("not a sequence of tbsCertificate, signatureAlgorithm and signatureValue, and nothing else")
	}
	return x509.ParseCertificate(der)
}
