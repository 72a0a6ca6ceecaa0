package cms

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"math/big"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// TSTInfo is what a timestamp authority signs (RFC 3161, 2.4.2):
//
//	TSTInfo ::= SEQUENCE {
//	    version         INTEGER,                 -- 1
//	    policy          OBJECT IDENTIFIER,
//	    messageImprint  SEQUENCE { hashAlgorithm AlgorithmIdentifier,
//	                               hashedMessage OCTET STRING },
//	    serialNumber    INTEGER,
//	    genTime         GeneralizedTime,
//	    accuracy        SEQUENCE OPTIONAL,
//	    ordering        BOOLEAN DEFAULT FALSE,
//	    nonce           INTEGER OPTIONAL,
//	    tsa             [0] GeneralName OPTIONAL,
//	    extensions      [1] IMPLICIT Extensions OPTIONAL }
type TSTInfo struct {
	Policy   asn1.ObjectIdentifier
	Hash     crypto.Hash
	Imprint  []byte
	Serial   *big.Int
	Time     time.Time     // to the second when written; a fraction is read
	Accuracy time.Duration // whole seconds when written; not read back
	Nonce    *big.Int      // nil when absent
}

// Token is a timestamp token whose signature has been verified. Whether its
// signer is to be trusted is for [Token.Chain].
type Token struct {
	TSTInfo
	Signer       *x509.Certificate
	Certificates []*x509.Certificate
	Attributed   int         // bytes of attribute certificates that are not for the signer's clock, or of a second one
	Extra        int         // bytes that nothing vouches for, as in SignedData, or in unsigned attributes
	Signed       crypto.Hash // the digest algorithm of the token's own signature
	InOrder      bool        // the signed attributes stand in DER order
}

// SignToken returns the DER of a token over info, signed by the key of
// chain[0]. The chain is embedded when certReq, as RFC 3161, 2.4.1 asks, and
// the signing certificate is bound by a signing-certificate-v2 attribute.
func SignToken(info TSTInfo, signer crypto.Signer, chain []*x509.Certificate, certReq bool) ([]byte, error) {
	tst, err := info.marshal()
	if err != nil {
		return nil, err
	}
	binding, err := SigningCertificate(chain[0])
	if err != nil {
		return nil, err
	}
	content := crypto.SHA256.New()
	content.Write(tst)
	m := Message{
		Version:     3,
		ContentType: OIDTSTInfo,
		Digest:      content.Sum(nil),
		Hash:        crypto.SHA256,
		Attributes:  []Attribute{binding},
	}
	if m.Content, err = asn1.Marshal(tst); err != nil {
		return nil, err
	}
	if certReq {
		m.Certificates = chain
	}
	return m.Sign(signer, chain[0], nil)
}

// SigningCertificate returns the attribute signing-certificate-v2, which binds a
// signature to the certificate that it was made for: a SigningCertificateV2 with
// one ESSCertIDv2, whose hashAlgorithm is the DEFAULT, SHA-256, and therefore
// absent (RFC 5035, 4).
func SigningCertificate(c *x509.Certificate) (Attribute, error) {
	h := crypto.SHA256.New()
	h.Write(c.Raw)
	var b cryptobyte.Builder
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1OctetString(h.Sum(nil)) })
		})
	})
	value, err := b.Bytes()
	return Attribute{OIDSigningCertV2, [][]byte{value}}, err
}

func (t TSTInfo) marshal() ([]byte, error) {
	hash, err := HashOID(t.Hash)
	if err != nil {
		return nil, err
	}
	var b cryptobyte.Builder
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(1)
		b.AddASN1ObjectIdentifier(t.Policy)
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			addAlgorithm(b, hash, true)
			b.AddASN1OctetString(t.Imprint)
		})
		b.AddASN1BigInt(t.Serial)
		b.AddASN1GeneralizedTime(t.Time.UTC().Truncate(time.Second))
		if s := int64(t.Accuracy / time.Second); s > 0 {
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1Int64(s) })
		}
		if t.Nonce != nil {
			b.AddASN1BigInt(t.Nonce)
		}
	})
	return b.Bytes()
}

// ParseToken reads a timestamp token and checks everything but the chain of
// its signer: that it is one signature over a TSTInfo, that the signature and
// the signing-certificate attribute hold, and that the certificate is for
// timestamping and nothing else.
func ParseToken(der []byte) (*Token, error) {
	sd, err := Parse(der)
	if err != nil {
		return nil, err
	}
	if !sd.ContentType.Equal(OIDTSTInfo) {
		return nil, &FormatError{"timestamp token", fmt.Sprintf("content type %v is not TSTInfo", sd.ContentType)}
	}
	if sd.Version != sd.properVersion() {
		return nil, &FormatError{"timestamp token", fmt.Sprintf("version %d, must be %d", sd.Version, sd.properVersion())}
	}
	// RFC 3161, 2.4.2: "The time-stamp token MUST NOT contain any signatures
	// other than the signature of the TSA."
	if len(sd.Signers) != 1 {
		return nil, &FormatError{"timestamp token", fmt.Sprintf("%d signers, must be one", len(sd.Signers))}
	}
	signer, err := sd.Verify(0, sd.ContentDigest)
	if err != nil {
		return nil, fmt.Errorf("timestamp token: %w", err)
	}
	if sd.Signers[0].NamesKey() {
		return nil, &FormatError{"timestamp token", "the signature's algorithm is that of a key"}
	}
	if len(sd.Signers[0].Attribute(OIDSigningCert))+len(sd.Signers[0].Attribute(OIDSigningCertV2)) == 0 {
		return nil, &FormatError{"signing-certificate attribute", "absent"}
	}
	if err := CheckSigningCertificate(&sd.Signers[0], signer); err != nil {
		return nil, err
	}
	if err := checkTimestampUsage(signer); err != nil {
		return nil, err
	}
	content := cryptobyte.String(sd.Content)
	var tst cryptobyte.String
	if !content.ReadASN1(&tst, casn1.OCTET_STRING) {
		return nil, &FormatError{"timestamp token", "content is not an octet string"}
	}
	info, err := parseTSTInfo(tst)
	if err != nil {
		return nil, err
	}
	token := &Token{TSTInfo: *info, Signer: signer, Certificates: sd.Certificates, Extra: sd.Extra, Signed: sd.Hash, InOrder: sd.Signers[0].InOrder}
	for i, der := range sd.attributed {
		if i > 0 || !isClockCertificate(der, signer) {
			token.Attributed += len(der)
		}
	}
	for _, a := range sd.Signers[0].Unsigned {
		for _, v := range a.Values {
			token.Extra += len(v)
		}
	}
	return token, nil
}

func parseTSTInfo(s cryptobyte.String) (*TSTInfo, error) {
	info := &TSTInfo{Serial: new(big.Int)}
	bad := func(part string) (*TSTInfo, error) { return nil, &FormatError{"TSTInfo", part} }
	var body, imprint, genTime cryptobyte.String
	var version int
	if !s.ReadASN1(&body, casn1.SEQUENCE) || !s.Empty() {
		return bad("not one sequence")
	}
	if !body.ReadASN1Integer(&version) || version != 1 {
		return bad("version is not 1")
	}
	if !body.ReadASN1ObjectIdentifier(&info.Policy) {
		return bad("no policy")
	}
	if !body.ReadASN1(&imprint, casn1.SEQUENCE) {
		return bad("no messageImprint")
	}
	var err error
	if info.Hash, err = readHash(&imprint, "messageImprint"); err != nil {
		return nil, err
	}
	if !imprint.ReadASN1Bytes(&info.Imprint, casn1.OCTET_STRING) || !imprint.Empty() || len(info.Imprint) != info.Hash.Size() {
		return bad("messageImprint does not fit its digest algorithm")
	}
	if !body.ReadASN1Integer(info.Serial) {
		return bad("no serialNumber")
	}
	if !body.ReadASN1(&genTime, casn1.GeneralizedTime) {
		return bad("no genTime")
	}
	if info.Time, err = parseGenTime(string(genTime)); err != nil {
		return bad(err.Error())
	}
	if body.PeekASN1Tag(casn1.SEQUENCE) && !skipAccuracy(&body) {
		return bad("bad accuracy")
	}
	if body.PeekASN1Tag(casn1.BOOLEAN) && !body.ReadASN1Boolean(new(bool)) {
		return bad("bad ordering")
	}
	if body.PeekASN1Tag(casn1.INTEGER) {
		info.Nonce = new(big.Int)
		if !body.ReadASN1Integer(info.Nonce) {
			return bad("bad nonce")
		}
	}
	if !body.SkipOptionalASN1(tagContext0) {
		return bad("bad tsa")
	}
	if body.PeekASN1Tag(tagContext1) {
		if err := checkExtensions(&body); err != nil {
			return nil, err
		}
	}
	if !body.Empty() {
		return bad("unknown elements at the end")
	}
	return info, nil
}

// skipAccuracy skips an Accuracy: seconds, [0] milliseconds, [1] microseconds,
// each optional.
func skipAccuracy(s *cryptobyte.String) bool {
	var body cryptobyte.String
	return s.ReadASN1(&body, casn1.SEQUENCE) && body.SkipOptionalASN1(casn1.INTEGER) &&
		body.SkipOptionalASN1(casn1.Tag(0).ContextSpecific()) && body.SkipOptionalASN1(casn1.Tag(1).ContextSpecific()) && body.Empty()
}

// checkExtensions reads the extensions of a TSTInfo. None is known here, so a
// critical one makes the token unusable (RFC 5280, 4.2).
func checkExtensions(s *cryptobyte.String) error {
	var list cryptobyte.String
	if !s.ReadASN1(&list, tagContext1) || list.Empty() {
		return &FormatError{"TSTInfo", "extensions are not a list"}
	}
	for !list.Empty() {
		var extension, value cryptobyte.String
		var oid asn1.ObjectIdentifier
		critical := false
		if !list.ReadASN1(&extension, casn1.SEQUENCE) || !extension.ReadASN1ObjectIdentifier(&oid) ||
			extension.PeekASN1Tag(casn1.BOOLEAN) && !extension.ReadASN1Boolean(&critical) ||
			!extension.ReadASN1(&value, casn1.OCTET_STRING) || !extension.Empty() {
			return &FormatError{"TSTInfo", "a malformed extension"}
		}
		if critical {
			return &FormatError{"TSTInfo", fmt.Sprintf("a critical extension %v, which is not understood here", oid)}
		}
	}
	return nil
}

// parseGenTime reads the form that RFC 3161, 2.4.2 prescribes:
// YYYYMMDDhhmmss[.s...]Z.
func parseGenTime(s string) (time.Time, error) {
	whole, fraction, found := strings.Cut(strings.TrimSuffix(s, "Z"), ".")
	if !strings.HasSuffix(s, "Z") || len(whole) != 14 || found && (fraction == "" || strings.HasSuffix(fraction, "0")) {
		return time.Time{}, fmt.Errorf("genTime %q is not YYYYMMDDhhmmss[.s]Z", s)
	}
	t, err := time.Parse("20060102150405", strings.TrimSuffix(s, "Z"))
	if err != nil {
		return time.Time{}, fmt.Errorf("genTime %q is not a time", s)
	}
	return t.UTC(), nil
}

// CheckSigningCertificate holds the signer's certificate against the digest of
// it that the signature covers (RFC 5035; for timestamps RFC 3161, 2.4.1, with
// RFC 5816 for version 2), if there is one. Without it a signature could be
// passed off as another certificate's with the same key.
func CheckSigningCertificate(si *SignerInfo, signer *x509.Certificate) error {
	bad := func(detail string) error { return &FormatError{"signing-certificate attribute", detail} }
	value, hash := si.Attribute(OIDSigningCertV2), crypto.SHA256
	v2 := value != nil
	if !v2 {
		if value = si.Attribute(OIDSigningCert); value == nil {
			return nil
		}
		hash = crypto.SHA1
	}
	s := cryptobyte.String(value)
	var body, certs, first cryptobyte.String
	if !s.ReadASN1(&body, casn1.SEQUENCE) || !s.Empty() || !body.ReadASN1(&certs, casn1.SEQUENCE) || !certs.ReadASN1(&first, casn1.SEQUENCE) {
		return bad("not a list of certificate digests")
	}
	if v2 && first.PeekASN1Tag(casn1.SEQUENCE) {
		var err error
		if hash, err = readHash(&first, "signing-certificate attribute"); err != nil {
			return err
		}
	}
	var sum []byte
	if !first.ReadASN1Bytes(&sum, casn1.OCTET_STRING) {
		return bad("no certificate digest")
	}
	h := hash.New()
	h.Write(signer.Raw)
	if !bytes.Equal(sum, h.Sum(nil)) {
		return &SignatureError{Detail: fmt.Sprintf("the timestamp was signed for another certificate than that of %q", signer.Subject)}
	}
	return nil
}

// checkTimestampUsage obeys RFC 3161, 2.3: "The corresponding certificate MUST
// contain only one instance of the extended key usage field extension [...]
// with KeyPurposeID having value: id-kp-timeStamping." That the extension
// "MUST be critical" is not demanded: Microsoft's own authorities left it out
// for years.
func checkTimestampUsage(c *x509.Certificate) error {
	if len(c.ExtKeyUsage) != 1 || c.ExtKeyUsage[0] != x509.ExtKeyUsageTimeStamping || len(c.UnknownExtKeyUsage) != 0 {
		return &UsageError{c, "its extended key usage is not timeStamping alone"}
	}
	if c.KeyUsage != 0 && c.KeyUsage&(x509.KeyUsageDigitalSignature|x509.KeyUsageContentCommitment) == 0 {
		return &UsageError{c, "its key usage has no digitalSignature"}
	}
	return nil
}

// UsageError says that a certificate was used for what it is not made for.
type UsageError struct {
	Certificate *x509.Certificate
	Detail      string
}

func (e *UsageError) Error() string {
	return fmt.Sprintf("%q may not sign timestamps: %s", e.Certificate.Subject, e.Detail)
}

// Chain builds the token's certificate chain up to one of roots, as it was at
// the token's own time, leaf first.
func (t *Token) Chain(roots *x509.CertPool) ([]*x509.Certificate, error) {
	pool := x509.NewCertPool()
	for _, c := range t.Certificates {
		pool.AddCert(c)
	}
	chains, err := t.Signer.Verify(x509.VerifyOptions{
		Roots:         roots,
		Intermediates: pool,
		CurrentTime:   t.Time,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping},
	})
	if err != nil {
		return nil, err
	}
	return chains[0], nil
}

// TimestampResponse wraps a token in the TimeStampResp that an authority sends:
//
//	TimeStampResp ::= SEQUENCE { status PKIStatusInfo, timeStampToken ContentInfo OPTIONAL }
//	PKIStatusInfo ::= SEQUENCE { status INTEGER, ... }   -- 0, granted
func TimestampResponse(token []byte) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1Int64(0) })
		b.AddBytes(token)
	})
	return b.Bytes()
}

// TokenOfResponse returns the token in a TimeStampResp that grants it.
func TokenOfResponse(der []byte) ([]byte, error) {
	s := cryptobyte.String(der)
	var body, status, token cryptobyte.String
	var granted int
	if !s.ReadASN1(&body, casn1.SEQUENCE) || !s.Empty() || !body.ReadASN1(&status, casn1.SEQUENCE) || !status.ReadASN1Integer(&granted) || !status.Empty() ||
		granted != 0 || !body.ReadASN1Element(&token, casn1.SEQUENCE) || !body.Empty() {
		return nil, &FormatError{"TimeStampResp", "not a granted response with a token"}
	}
	return token, nil
}
