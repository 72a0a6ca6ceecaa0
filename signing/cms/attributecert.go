package cms

import (
	"bytes"
	"crypto/sha1"
	"crypto/x509"
	"encoding/asn1"
	"time"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Microsoft's timestamp tokens carry an attribute certificate (RFC 5755) for the
// clock of the authority, which is issued daily by the maker of the clock:
//
//	AttributeCertificate ::= [1] IMPLICIT SEQUENCE {
//	    acinfo  SEQUENCE {
//	        version      INTEGER,            -- 1, for v2
//	        holder       SEQUENCE {
//	            entityName        [1] { [4] { Name } },
//	            objectDigestInfo  [2] { ENUMERATED 1, AlgorithmIdentifier, BIT STRING } },
//	        issuer       [0] { SEQUENCE { [4] { Name } } },
//	        signature    AlgorithmIdentifier,
//	        serial       INTEGER,
//	        validity     SEQUENCE { GeneralizedTime, GeneralizedTime },
//	        attributes   SEQUENCE OF SEQUENCE { type, SET OF value } },
//	    signatureAlgorithm  AlgorithmIdentifier,
//	    signature           BIT STRING }
//
// The digest is the SHA-1 of the authority's certificate, which binds the two.
// Who issues these is published nowhere, so the signature cannot be verified, nor
// are the issuer's name, the serial number and the values of the attributes
// known: that leaves at most maxAttributeCert bytes to whoever handles the token.
const maxAttributeCert = 1 << 10

// oidClock is the arc of the attributes that these certificates have.
var oidClock = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 601, 10, 4}

// isClockCertificate reports whether der is an attribute certificate for signer
// in the form above, without anything else in it.
func isClockCertificate(der []byte, signer *x509.Certificate) bool {
	s := cryptobyte.String(der)
	var whole, info, signature cryptobyte.String
	if len(der) > maxAttributeCert || !s.ReadASN1(&whole, tagContext1) || !s.Empty() ||
		!whole.ReadASN1(&info, casn1.SEQUENCE) || !skipAlgorithm(&whole) || !whole.ReadASN1(&signature, casn1.BIT_STRING) || !whole.Empty() {
		return false
	}
	switch len(signature) {
	case 1 + 128, 1 + 256, 1 + 384, 1 + 512: // RSA
	default:
		return false
	}
	var version int
	var holder, issuer, names, validity, attributes cryptobyte.String
	if !info.ReadASN1Integer(&version) || version != 1 ||
		!info.ReadASN1(&holder, casn1.SEQUENCE) || !isHolder(holder, signer) ||
		!info.ReadASN1(&issuer, tagContext0) || !issuer.ReadASN1(&names, casn1.SEQUENCE) || !issuer.Empty() ||
		!skipAlgorithm(&info) || !info.SkipASN1(casn1.INTEGER) ||
		!info.ReadASN1(&validity, casn1.SEQUENCE) || !info.ReadASN1(&attributes, casn1.SEQUENCE) || !info.Empty() {
		return false
	}
	if _, ok := directoryName(&names); !ok || !names.Empty() {
		return false
	}
	var from, to time.Time
	if !validity.ReadASN1GeneralizedTime(&from) || !validity.ReadASN1GeneralizedTime(&to) || !validity.Empty() || to.Before(from) {
		return false
	}
	for !attributes.Empty() {
		var attribute, values cryptobyte.String
		var oid asn1.ObjectIdentifier
		if !attributes.ReadASN1(&attribute, casn1.SEQUENCE) || !attribute.ReadASN1ObjectIdentifier(&oid) ||
			!attribute.ReadASN1(&values, casn1.SET) || !attribute.Empty() || len(oid) <= len(oidClock) || !oid[:len(oidClock)].Equal(oidClock) {
			return false
		}
	}
	return true
}

// isHolder reports whether the holder of an attribute certificate is the owner
// of signer, by name and digest.
func isHolder(holder cryptobyte.String, signer *x509.Certificate) bool {
	var names, object, bits cryptobyte.String
	var kind int
	if !holder.ReadASN1(&names, tagContext1) || !holder.ReadASN1(&object, tagContext2) || !holder.Empty() {
		return false
	}
	const publicKeyCert = 1
	if !object.ReadASN1Enum(&kind) || kind != publicKeyCert || !skipAlgorithm(&object) || !object.ReadASN1(&bits, casn1.BIT_STRING) || !object.Empty() {
		return false
	}
	name, ok := directoryName(&names)
	sum := sha1.Sum(signer.Raw)
	return ok && names.Empty() && bytes.Equal(name, signer.RawSubject) && bytes.Equal(bits, append([]byte{0}, sum[:]...))
}

// directoryName reads a GeneralName that is a Name.
func directoryName(names *cryptobyte.String) (cryptobyte.String, bool) {
	var wrapped, name cryptobyte.String
	ok := names.ReadASN1(&wrapped, casn1.Tag(4).ContextSpecific().Constructed()) && wrapped.ReadASN1Element(&name, casn1.SEQUENCE) && wrapped.Empty()
	return name, ok
}

// skipAlgorithm skips an AlgorithmIdentifier with NULL or no parameters.
func skipAlgorithm(s *cryptobyte.String) bool {
	var body, params cryptobyte.String
	return s.ReadASN1(&body, casn1.SEQUENCE) && body.SkipASN1(casn1.OBJECT_IDENTIFIER) &&
		(body.Empty() || body.ReadASN1(&params, casn1.NULL) && params.Empty() && body.Empty())
}
