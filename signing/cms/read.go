package cms

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Limits on what a message may hold. Real ones have one signer, two to five
// certificates and up to ten attributes; a file that asks for more is an
// attack on the reader.
const (
	maxSigners      = 8
	maxCertificates = 64
	maxAttributes   = 64
	maxCertificate  = 64 << 10 // bytes; a parsed certificate takes ten times its size
)

// FormatError says that a message is not the DER that the package comment
// describes.
type FormatError struct {
	Part   string // the element of the structure, as RFC 5652 names it
	Detail string
}

func (e *FormatError) Error() string { return "malformed CMS: " + e.Part + ": " + e.Detail }

// SignatureError says that a well-formed message does not hold: a digest or a
// signature differs.
type SignatureError struct {
	Detail string
	Err    error // of the public-key operation, or nil
}

func (e *SignatureError) Error() string {
	if e.Err != nil {
		return e.Detail + ": " + e.Err.Error()
	}
	return e.Detail
}

func (e *SignatureError) Unwrap() error { return e.Err }

// ErrNoCertificate says that the signer's certificate is neither in the
// message nor among those that the caller knows.
var ErrNoCertificate = errors.New("the signer's certificate is not in the signature")

// SignedData is a parsed message. Nothing in it is true until [SignedData.Verify].
type SignedData struct {
	Version      int
	ContentType  asn1.ObjectIdentifier
	Content      []byte // DER inside eContent's [0], nil when detached
	Certificates []*x509.Certificate
	Attributed   int // bytes of attribute certificates, which are passed over
	Extra        int // bytes of revocation lists and of certificates of unknown kinds, passed over too
	Signers      []SignerInfo
	Hash         crypto.Hash // the digest algorithm of the message and of every signer

	attributed [][]byte // attribute certificates
	kinds      [4]bool  // which of the tagged kinds of certificates there are
}

// SignerInfo is one parsed signer.
type SignerInfo struct {
	Issuer     []byte   // DER of the issuer's name; nil with a KeyID
	Serial     *big.Int // nil with a KeyID
	KeyID      []byte   // subject key identifier; nil with Issuer and Serial
	Hash       crypto.Hash
	Attributes []Attribute // signed; nil when there are none
	Algorithm  asn1.ObjectIdentifier
	Signature  []byte
	Unsigned   []Attribute
	rawAttrs   []byte // DER of the signed attributes, tagged as a SET
	InOrder    bool   // the signed attributes stand in DER order
}

// Parse reads one ContentInfo that holds SignedData and fills der entirely.
func Parse(der []byte) (*SignedData, error) {
	switch {
	case bytes.HasPrefix(der, []byte("-----BEGIN ")):
		return nil, &FormatError{"ContentInfo", "this is PEM, and DER is read: convert it with openssl cms -cmsout -inform PEM -outform DER"}
	case bytes.HasPrefix(der, []byte{byte(casn1.SEQUENCE), 0x80}):
		return nil, &FormatError{"ContentInfo", "this is BER, with indefinite lengths, as openssl cms -stream writes it, and DER is read: sign without -stream"}
	}
	input := cryptobyte.String(der)
	var info, wrapped, body cryptobyte.String
	if !input.ReadASN1(&info, casn1.SEQUENCE) {
		return nil, &FormatError{"ContentInfo", "not a DER sequence"}
	}
	if !input.Empty() {
		return nil, &FormatError{"ContentInfo", fmt.Sprintf("%d bytes after it", len(input))}
	}
	var oid asn1.ObjectIdentifier
	if !info.ReadASN1ObjectIdentifier(&oid) || !oid.Equal(OIDSignedData) {
		return nil, &FormatError{"contentType", "not signedData"}
	}
	if !info.ReadASN1(&wrapped, tagContext0) || !info.Empty() ||
		!wrapped.ReadASN1(&body, casn1.SEQUENCE) || !wrapped.Empty() {
		return nil, &FormatError{"content", "not one [0] SignedData"}
	}
	return parseSignedData(body)
}

func parseSignedData(s cryptobyte.String) (*SignedData, error) {
	sd := new(SignedData)
	if !s.ReadASN1Integer(&sd.Version) || sd.Version < 1 || sd.Version > 5 || sd.Version == 2 {
		return nil, &FormatError{"version", "not 1, 3, 4 or 5"}
	}
	var algs, encap cryptobyte.String
	if !s.ReadASN1(&algs, casn1.SET) {
		return nil, &FormatError{"digestAlgorithms", "not a set"}
	}
	alg, err := readHash(&algs, "digestAlgorithms")
	if err != nil {
		return nil, err
	}
	if !algs.Empty() {
		return nil, &FormatError{"digestAlgorithms", "more than one"}
	}
	sd.Hash = alg
	if !s.ReadASN1(&encap, casn1.SEQUENCE) || !encap.ReadASN1ObjectIdentifier(&sd.ContentType) {
		return nil, &FormatError{"encapContentInfo", "not a sequence with a type"}
	}
	if !encap.Empty() {
		var content, probe cryptobyte.String
		if !encap.ReadASN1(&content, tagContext0) || !encap.Empty() {
			return nil, &FormatError{"eContent", "not one [0] element"}
		}
		sd.Content = bytes.Clone(content)
		if !content.ReadAnyASN1Element(&probe, new(casn1.Tag)) || !content.Empty() {
			return nil, &FormatError{"eContent", "not exactly one element"}
		}
	}
	if err := sd.readCertificates(&s); err != nil {
		return nil, err
	}
	var crls cryptobyte.String
	var hasCRLs bool
	if !s.ReadOptionalASN1(&crls, &hasCRLs, tagContext1) {
		return nil, &FormatError{"crls", "not a set"}
	}
	if hasCRLs && crls.Empty() {
		return nil, &FormatError{"crls", "empty"}
	}
	sd.Extra += len(crls)
	var signers cryptobyte.String
	if !s.ReadASN1(&signers, casn1.SET) || !s.Empty() {
		return nil, &FormatError{"signerInfos", "not the last element, a set"}
	}
	for !signers.Empty() {
		if len(sd.Signers) == maxSigners {
			return nil, &FormatError{"signerInfos", fmt.Sprintf("more than %d", maxSigners)}
		}
		si, err := readSigner(&signers)
		if err != nil {
			return nil, err
		}
		if si.Hash != sd.Hash {
			return nil, &FormatError{"digestAlgorithms", "does not list the signer's digest algorithm"}
		}
		if si.KeyID != nil && sd.Version == 1 {
			return nil, &FormatError{"sid", "a signer named by key identifier, which version 1 (PKCS #7) does not have"}
		}
		sd.Signers = append(sd.Signers, *si)
	}
	if len(sd.Signers) == 0 {
		return nil, &FormatError{"signerInfos", "empty"}
	}
	if want := sd.properVersion(); sd.Version != want && (sd.Version != 1 || sd.ContentType.Equal(OIDData)) {
		return nil, &FormatError{"version", fmt.Sprintf("%d, must be %d", sd.Version, want)}
	}
	return sd, nil
}

// properVersion is the version that RFC 5652, 5.1 computes. PKCS #7 knew only
// version 1, which Authenticode keeps.
func (sd *SignedData) properVersion() int {
	switch {
	case sd.kinds[3]:
		return 5
	case sd.kinds[2]:
		return 4
	case sd.kinds[1], !sd.ContentType.Equal(OIDData):
		return 3
	}
	for _, si := range sd.Signers {
		if si.KeyID != nil {
			return 3
		}
	}
	return 1
}

func (sd *SignedData) readCertificates(s *cryptobyte.String) error {
	var set cryptobyte.String
	var present bool
	if !s.ReadOptionalASN1(&set, &present, tagContext0) {
		return &FormatError{"certificates", "not a set"}
	}
	if present && set.Empty() {
		return &FormatError{"certificates", "empty"}
	}
	for n := 0; !set.Empty(); n++ {
		if n == maxCertificates {
			return &FormatError{"certificates", fmt.Sprintf("more than %d", maxCertificates)}
		}
		var der cryptobyte.String
		var tag casn1.Tag
		if !set.ReadAnyASN1Element(&der, &tag) || tag != casn1.SEQUENCE && (tag < tagContext0 || tag > tagContext3) {
			return &FormatError{"certificates", "not a CertificateChoices"}
		}
		// RFC 5652, 10.2.2: a Certificate, [0] extendedCertificate, [1] and [2]
		// attribute certificates of version 1 and 2, [3] other.
		switch {
		case tag == casn1.SEQUENCE:
		case tag == tagContext1 || tag == tagContext2:
			sd.kinds[tag-tagContext0] = true
			sd.Attributed += len(der)
			sd.attributed = append(sd.attributed, der)
			continue
		default:
			sd.kinds[tag-tagContext0] = true
			sd.Extra += len(der)
			continue
		}
		if len(der) > maxCertificate {
			return &FormatError{"certificates", fmt.Sprintf("a certificate of %d bytes, at most %d are read", len(der), maxCertificate)}
		}
		c, err := ParseCertificate(der)
		if err != nil {
			if strings.Contains(err.Error(), "negative serial number") {
				err = fmt.Errorf("%w, which RFC 5280, 4.1.2.2 forbids and Go does not read: the signature cannot be verified until its certificate is issued anew", err)
			}
			return &FormatError{"certificates", fmt.Sprintf("certificate %d: %v", n+1, err)}
		}
		if k, ok := c.PublicKey.(*rsa.PublicKey); ok && k.N.BitLen() > maxRSABits {
			return &FormatError{"certificates", fmt.Sprintf("an RSA key of %d bits, at most %d are read", k.N.BitLen(), maxRSABits)}
		}
		sd.Certificates = append(sd.Certificates, c)
	}
	return nil
}

func readSigner(s *cryptobyte.String) (*SignerInfo, error) {
	si := &SignerInfo{InOrder: true}
	var body, sid cryptobyte.String
	var version int
	if !s.ReadASN1(&body, casn1.SEQUENCE) || !body.ReadASN1Integer(&version) {
		return nil, &FormatError{"signerInfo", "not a sequence with a version"}
	}
	switch {
	case version == 1 && body.ReadASN1(&sid, casn1.SEQUENCE):
		var issuer cryptobyte.String
		si.Serial = new(big.Int)
		if !sid.ReadASN1Element(&issuer, casn1.SEQUENCE) || !sid.ReadASN1Integer(si.Serial) || !sid.Empty() {
			return nil, &FormatError{"sid", "not an issuer and a serial number"}
		}
		si.Issuer = issuer
	case version == 3 && body.ReadASN1(&sid, tagKeyID):
		si.KeyID = sid
	default:
		return nil, &FormatError{"sid", fmt.Sprintf("does not fit signerInfo version %d", version)}
	}
	var err error
	if si.Hash, err = readHash(&body, "digestAlgorithm"); err != nil {
		return nil, err
	}
	if body.PeekASN1Tag(tagContext0) {
		var element cryptobyte.String
		if !body.ReadASN1Element(&element, tagContext0) {
			return nil, &FormatError{"signedAttrs", "not a set"}
		}
		// RFC 5652, 5.4: "A separate encoding of the signedAttrs field is
		// performed for message digest calculation. The IMPLICIT [0] tag in
		// the signedAttrs is not used for the DER encoding, rather an EXPLICIT
		// SET OF tag is used."
		si.rawAttrs = bytes.Clone(element)
		si.rawAttrs[0] = byte(casn1.SET)
		if si.Attributes, si.InOrder, err = readAttributes(element, tagContext0, "signedAttrs"); err != nil {
			return nil, err
		}
	}
	var alg, params cryptobyte.String
	if !body.ReadASN1(&alg, casn1.SEQUENCE) || !alg.ReadASN1ObjectIdentifier(&si.Algorithm) ||
		!alg.Empty() && (!alg.ReadASN1(&params, casn1.NULL) || !params.Empty() || !alg.Empty()) {
		return nil, &FormatError{"signatureAlgorithm", "not an identifier with NULL or no parameters"}
	}
	if !body.ReadASN1Bytes(&si.Signature, casn1.OCTET_STRING) {
		return nil, &FormatError{"signature", "not an octet string"}
	}
	if body.PeekASN1Tag(tagContext1) {
		var element cryptobyte.String
		if !body.ReadASN1Element(&element, tagContext1) {
			return nil, &FormatError{"unsignedAttrs", "not a set"}
		}
		if si.Unsigned, _, err = readAttributes(element, tagContext1, "unsignedAttrs"); err != nil {
			return nil, err
		}
	}
	if !body.Empty() {
		return nil, &FormatError{"signerInfo", fmt.Sprintf("%d bytes after its last element", len(body))}
	}
	return si, nil
}

// readAttributes reads a SET OF Attribute. Types are unique in it (RFC 5652,
// 11: the attributes defined there must not occur twice).
func readAttributes(element cryptobyte.String, tag casn1.Tag, part string) (attrs []Attribute, inOrder bool, err error) {
	var set cryptobyte.String
	if !element.ReadASN1(&set, tag) || set.Empty() {
		return nil, false, &FormatError{part, "empty"}
	}
	inOrder = true
	var last []byte
	for !set.Empty() {
		if len(attrs) == maxAttributes {
			return nil, false, &FormatError{part, fmt.Sprintf("more than %d", maxAttributes)}
		}
		var raw, body, values cryptobyte.String
		var a Attribute
		if !set.ReadASN1Element(&raw, casn1.SEQUENCE) {
			return nil, false, &FormatError{part, "not an attribute"}
		}
		if derLess(last, raw) > 0 {
			inOrder = false
		}
		last = raw
		if !raw.ReadASN1(&body, casn1.SEQUENCE) || !body.ReadASN1ObjectIdentifier(&a.Type) ||
			!body.ReadASN1(&values, casn1.SET) || !body.Empty() || values.Empty() {
			return nil, false, &FormatError{part, "not a type with a set of values"}
		}
		for !values.Empty() {
			var v cryptobyte.String
			if len(a.Values) == maxAttributes || !values.ReadAnyASN1Element(&v, new(casn1.Tag)) {
				return nil, false, &FormatError{part, fmt.Sprintf("bad values of %v", a.Type)}
			}
			a.Values = append(a.Values, v)
		}
		for _, earlier := range attrs {
			if earlier.Type.Equal(a.Type) {
				return nil, false, &FormatError{part, fmt.Sprintf("%v occurs twice", a.Type)}
			}
		}
		attrs = append(attrs, a)
	}
	return attrs, inOrder, nil
}

func readHash(s *cryptobyte.String, part string) (crypto.Hash, error) {
	var alg, params cryptobyte.String
	var oid asn1.ObjectIdentifier
	if !s.ReadASN1(&alg, casn1.SEQUENCE) || !alg.ReadASN1ObjectIdentifier(&oid) ||
		!alg.Empty() && (!alg.ReadASN1(&params, casn1.NULL) || !params.Empty() || !alg.Empty()) {
		return 0, &FormatError{part, "not an identifier with NULL or no parameters"}
	}
	h, err := HashOf(oid)
	if err != nil {
		return 0, &FormatError{part, err.Error()}
	}
	return h, nil
}

// NamesKey reports whether the signature's algorithm is written as that of an
// ECDSA key, id-ecPublicKey, instead of ecdsa-with-SHA256 and the like (RFC 5753,
// 2.1.1). The signature can hold all the same: relic writes such ones.
func (si *SignerInfo) NamesKey() bool { return si.Algorithm.Equal(oidECPublicKey) }

// Attribute returns the single value of a signed attribute, or nil.
func (si *SignerInfo) Attribute(oid asn1.ObjectIdentifier) []byte { return single(si.Attributes, oid) }

// UnsignedAttribute returns the single value of an unsigned attribute, or nil.
func (si *SignerInfo) UnsignedAttribute(oid asn1.ObjectIdentifier) []byte {
	return single(si.Unsigned, oid)
}

func single(attrs []Attribute, oid asn1.ObjectIdentifier) []byte {
	for _, a := range attrs {
		if a.Type.Equal(oid) && len(a.Values) == 1 {
			return a.Values[0]
		}
	}
	return nil
}

// Verify checks signer i against the content's digest, which digest computes
// for the message's algorithm. The signer's certificate is looked for in the
// message, then among known. It returns that certificate only if the digest,
// the signed attributes and the signature hold; errors are [*FormatError],
// [*SignatureError] or [ErrNoCertificate].
func (sd *SignedData) Verify(i int, digest func(crypto.Hash) ([]byte, error), known ...*x509.Certificate) (*x509.Certificate, error) {
	si := &sd.Signers[i]
	sum, err := digest(si.Hash)
	if err != nil {
		return nil, err
	}
	signed, sorted := sum, []byte(nil)
	if si.rawAttrs == nil {
		if !sd.ContentType.Equal(OIDData) {
			return nil, &FormatError{"signedAttrs", "absent, though the content is not plain data"}
		}
	} else {
		if err := si.checkAttributes(sd.ContentType, sum); err != nil {
			return nil, err
		}
		h := si.Hash.New()
		h.Write(si.rawAttrs)
		signed = h.Sum(nil)
		sorted = si.sortedDigest()
	}
	cert := si.find(sd.Certificates)
	if cert == nil {
		cert = si.find(known)
	}
	if cert == nil {
		return nil, ErrNoCertificate
	}
	err = verifySignature(cert.PublicKey, si.Algorithm, si.Hash, signed, si.Signature)
	if err != nil && sorted != nil {
		err = verifySignature(cert.PublicKey, si.Algorithm, si.Hash, sorted, si.Signature)
	}
	var format *FormatError
	if errors.As(err, &format) {
		return nil, format
	}
	if err != nil {
		return nil, &SignatureError{fmt.Sprintf("the signature does not verify with the key of %q", cert.Subject), err}
	}
	return cert, nil
}

// sortedDigest is the digest of signed attributes that are not in DER order, put
// into it: what is digested is the DER (RFC 5652, 5.4), but some signers digest
// what they write. It is nil for attributes in order.
func (si *SignerInfo) sortedDigest() []byte {
	if si.InOrder {
		return nil
	}
	raw := make([][]byte, len(si.Attributes))
	for i, a := range si.Attributes {
		raw[i] = a.marshal()
	}
	var b cryptobyte.Builder
	addSet(&b, casn1.SET, raw)
	h := si.Hash.New()
	h.Write(b.BytesOrPanic())
	return h.Sum(nil)
}

func (si *SignerInfo) checkAttributes(contentType asn1.ObjectIdentifier, sum []byte) error {
	var oid asn1.ObjectIdentifier
	value := cryptobyte.String(si.Attribute(OIDContentType))
	if !value.ReadASN1ObjectIdentifier(&oid) || !value.Empty() {
		return &FormatError{"signedAttrs", "no content-type attribute"}
	}
	if !oid.Equal(contentType) {
		return &SignatureError{Detail: fmt.Sprintf("the signed content type is %v, the message's is %v", oid, contentType)}
	}
	var md []byte
	value = si.Attribute(OIDMessageDigest)
	if !value.ReadASN1Bytes(&md, casn1.OCTET_STRING) || !value.Empty() {
		return &FormatError{"signedAttrs", "no message-digest attribute"}
	}
	if !bytes.Equal(md, sum) {
		return &SignatureError{Detail: fmt.Sprintf("the signed message digest is %x, the content's is %x", md, sum)}
	}
	return nil
}

func (si *SignerInfo) find(certs []*x509.Certificate) *x509.Certificate {
	for _, c := range certs {
		if si.KeyID != nil {
			if bytes.Equal(si.KeyID, c.SubjectKeyId) {
				return c
			}
		} else if si.Serial.Cmp(c.SerialNumber) == 0 && bytes.Equal(si.Issuer, c.RawIssuer) {
			return c
		}
	}
	return nil
}
