// Package cms writes and reads the one part of the Cryptographic Message
// Syntax that code signing uses: SignedData of RFC 5652, with one digest
// algorithm, detached or with content, and the RFC 3161 timestamp tokens that
// travel inside it.
//
// # Format
//
// A message is DER throughout:
//
//	ContentInfo ::= SEQUENCE {
//	    contentType  OBJECT IDENTIFIER,          -- 1.2.840.113549.1.7.2, signedData
//	    content      [0] EXPLICIT SignedData }
//
//	SignedData ::= SEQUENCE {
//	    version           INTEGER,               -- 1; 3 when it carries a TSTInfo
//	    digestAlgorithms  SET OF AlgorithmIdentifier,
//	    encapContentInfo  SEQUENCE { eContentType OBJECT IDENTIFIER,
//	                                 eContent [0] EXPLICIT ANY OPTIONAL },
//	    certificates      [0] IMPLICIT SET OF Certificate OPTIONAL,
//	    signerInfos       SET OF SignerInfo }
//
//	SignerInfo ::= SEQUENCE {
//	    version             INTEGER,             -- 1, or 3 with a subject key identifier
//	    sid                 IssuerAndSerialNumber or [0] SubjectKeyIdentifier,
//	    digestAlgorithm     AlgorithmIdentifier,
//	    signedAttrs         [0] IMPLICIT SET OF Attribute OPTIONAL,
//	    signatureAlgorithm  AlgorithmIdentifier,
//	    signature           OCTET STRING,
//	    unsignedAttrs       [1] IMPLICIT SET OF Attribute OPTIONAL }
//
// Without signedAttrs the signature is over the content's digest, which is
// what the Linux module loader takes. With signedAttrs it is over the digest
// of their DER encoding, tagged as a SET (0x31) rather than [0]; they then
// hold exactly one content-type and one message-digest attribute, and stand in
// DER order (RFC 5652, 5.3 and 5.4), which Windows insists on.
//
// # Algorithms
//
// An RSA signature is PKCS #1 v1.5 and its algorithm is written as
// rsaEncryption: Linux answers ENOPKG to sha256WithRSAEncryption. An ECDSA
// signature is written as ecdsa-with-SHA256, 384 or 512 (RFC 5754, 3.3).
// Digest algorithm parameters are absent, as sign-file writes them, or NULL,
// as Authenticode does; a reader takes both.
//
// # Strictness
//
// [Parse] takes DER and no BER in all that is named above: minimal lengths, no
// indefinite ones, no bytes after an element; the values of attributes and the
// content are for those who know their types. It checks structure, and that the
// version is the one that RFC 5652, 5.1 computes from the rest. [SignedData.Verify] checks one signer
// and returns its certificate only if every rule above holds. Neither builds a
// certificate chain: trust is the caller's.
package cms

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	_ "crypto/sha1" // read in old countersignatures, where the caller flags it as weak
	_ "crypto/sha256"
	_ "crypto/sha512"
	"encoding/asn1"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Object identifiers. They are functions of nothing and never written to.
var (
	OIDData              = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}         // RFC 5652, 4
	OIDSignedData        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}         // RFC 5652, 5.1
	OIDContentType       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}         // RFC 5652, 11.1
	OIDMessageDigest     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}         // RFC 5652, 11.2
	OIDSigningTime       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 5}         // RFC 5652, 11.3
	OIDTSTInfo           = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 4}  // RFC 3161, 2.4.2
	OIDSigningCert       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 12} // RFC 2634, 5.4
	OIDSigningCertV2     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 47} // RFC 5035, 3
	OIDCountersignature  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 6}         // PKCS #9, the form of timestamps before RFC 3161
	OIDTimestampToken    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 14} // RFC 3161, appendix A
	OIDSpcTimestampToken = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 3, 3, 1}     // the same in Authenticode
	oidRSA               = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}         // rsaEncryption
	oidECPublicKey       = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}             // RFC 5480, 2.1.1: of a key, not of a signature
	oidECDSASHA1         = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 1}             // RFC 3279, 2.2.3
	oidECDSASHA256       = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}          // RFC 5754, 3.3
	oidECDSASHA384       = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}          //
	oidECDSASHA512       = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 4}          //
	oidRSASHA1           = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 5}         // RFC 8017, appendix A.2.4
	oidRSASHA256         = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}        //
	oidRSASHA384         = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 12}        //
	oidRSASHA512         = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 13}        //
	oidSHA1              = asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}                 // RFC 3370, 2.1
	oidSHA256            = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}     // RFC 5754, 2.2
	oidSHA384            = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}     //
	oidSHA512            = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3}     //
)

// maxRSABits bounds the time of a verification, which grows with the square of
// the modulus: a key of 262,144 bits would take seconds. crypto/tls stops at the
// same size.
const maxRSABits = 8192

// HashOID returns the object identifier of a digest algorithm.
func HashOID(h crypto.Hash) (asn1.ObjectIdentifier, error) {
	switch h {
	case crypto.SHA1:
		return oidSHA1, nil
	case crypto.SHA256:
		return oidSHA256, nil
	case crypto.SHA384:
		return oidSHA384, nil
	case crypto.SHA512:
		return oidSHA512, nil
	}
	return nil, fmt.Errorf("digest algorithm %v is not supported: use SHA-256, SHA-384 or SHA-512", h)
}

// HashOf is the reverse of [HashOID].
func HashOf(oid asn1.ObjectIdentifier) (crypto.Hash, error) {
	for _, h := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512, crypto.SHA1} {
		if known, _ := HashOID(h); known.Equal(oid) {
			return h, nil
		}
	}
	return 0, fmt.Errorf("digest algorithm %v is not one of SHA-1, SHA-256, SHA-384 and SHA-512", oid)
}

// signatureAlgorithm returns the AlgorithmIdentifier that a signature made by
// pub with digest h is written with.
func signatureAlgorithm(pub crypto.PublicKey, h crypto.Hash) (oid asn1.ObjectIdentifier, null bool, err error) {
	switch pub.(type) {
	case *rsa.PublicKey:
		return oidRSA, true, nil
	case *ecdsa.PublicKey:
		switch h {
		case crypto.SHA256:
			return oidECDSASHA256, false, nil
		case crypto.SHA384:
			return oidECDSASHA384, false, nil
		case crypto.SHA512:
			return oidECDSASHA512, false, nil
		}
		return nil, false, fmt.Errorf("ECDSA with %v has no identifier here: use SHA-256, SHA-384 or SHA-512", h)
	}
	return nil, false, fmt.Errorf("key type %T is not supported: use RSA or ECDSA", pub)
}

// verifySignature checks a signature whose algorithm is named by alg.
func verifySignature(pub crypto.PublicKey, alg asn1.ObjectIdentifier, h crypto.Hash, digest, signature []byte) error {
	switch pub.(type) {
	case *rsa.PublicKey:
		want := map[crypto.Hash]asn1.ObjectIdentifier{
			crypto.SHA1: oidRSASHA1, crypto.SHA256: oidRSASHA256, crypto.SHA384: oidRSASHA384, crypto.SHA512: oidRSASHA512,
		}[h]
		if !alg.Equal(oidRSA) && !alg.Equal(want) {
			return &FormatError{"signatureAlgorithm", fmt.Sprintf("%v does not belong to an RSA key with %v", alg, h)}
		}
	case *ecdsa.PublicKey:
		want := map[crypto.Hash]asn1.ObjectIdentifier{
			crypto.SHA1: oidECDSASHA1, crypto.SHA256: oidECDSASHA256, crypto.SHA384: oidECDSASHA384, crypto.SHA512: oidECDSASHA512,
		}[h]
		if !alg.Equal(want) && !alg.Equal(oidECPublicKey) { // for the latter see NamesKey
			return &FormatError{"signatureAlgorithm", fmt.Sprintf("%v does not belong to an ECDSA key with %v", alg, h)}
		}
	}
	return VerifyDigest(pub, h, digest, signature)
}

// VerifyDigest checks a signature over a digest that was made with h: RSA with
// the padding of PKCS #1 v1.5, or ECDSA in DER.
func VerifyDigest(pub crypto.PublicKey, h crypto.Hash, digest, signature []byte) error {
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		if pub.N.BitLen() > maxRSABits {
			return fmt.Errorf("an RSA key of %d bits is larger than the %d that are accepted", pub.N.BitLen(), maxRSABits)
		}
		return rsa.VerifyPKCS1v15(pub, h, digest, signature)
	case *ecdsa.PublicKey:
		if !ecdsa.VerifyASN1(pub, digest, signature) {
			return fmt.Errorf("ECDSA verification error")
		}
		return nil
	}
	return fmt.Errorf("key type %T is not supported: use RSA or ECDSA", pub)
}

// Attribute is one attribute of a SignerInfo: a type, and the DER encoding of
// each of its values.
type Attribute struct {
	Type   asn1.ObjectIdentifier
	Values [][]byte
}

// derLess is the order of a DER SET OF: by the encodings as octet strings, a
// shorter one padded with zeros (X.690, 11.6).
func derLess(a, b []byte) int { return bytes.Compare(a, b) }

// ContentDigest is the digest function of a message that carries its content:
// it hashes the value octets of eContent, without tag and length (RFC 5652,
// 5.4).
func (sd *SignedData) ContentDigest(h crypto.Hash) ([]byte, error) {
	element := cryptobyte.String(sd.Content)
	var value cryptobyte.String
	if !element.ReadAnyASN1(&value, new(casn1.Tag)) {
		return nil, &FormatError{"eContent", "absent"}
	}
	d := h.New()
	d.Write(value)
	return d.Sum(nil), nil
}
