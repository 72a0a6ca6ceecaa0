// Package tsa obtains timestamps by the Time-Stamp Protocol of RFC 3161, from
// servers on the network or from one in this process.
//
// # Protocol
//
// A client sends the digest of what it wants stamped:
//
//	TimeStampReq ::= SEQUENCE {
//	    version         INTEGER,                 -- 1
//	    messageImprint  SEQUENCE { hashAlgorithm AlgorithmIdentifier,
//	                               hashedMessage OCTET STRING },
//	    reqPolicy       OBJECT IDENTIFIER OPTIONAL,
//	    nonce           INTEGER OPTIONAL,
//	    certReq         BOOLEAN DEFAULT FALSE,
//	    extensions      [0] IMPLICIT Extensions OPTIONAL }
//
// and is answered with
//
//	TimeStampResp ::= SEQUENCE {
//	    status          SEQUENCE {
//	        status        INTEGER,               -- 0 granted, 1 granted with mods, 2 rejection …
//	        statusString  SEQUENCE OF UTF8String OPTIONAL,
//	        failInfo      BIT STRING OPTIONAL },
//	    timeStampToken  ContentInfo OPTIONAL }   -- present if status is 0 or 1
//
// Over HTTP (section 3.4) the request is the body of a POST of type
// application/timestamp-query, and the answer has type
// application/timestamp-reply. The token is a CMS SignedData over a TSTInfo,
// which package cms reads and writes.
//
// # What a client checks
//
// No token leaves this package unless all of the following hold: the answer
// is DER with nothing after it; the status is granted or granted with mods;
// the token's signature, which is not over SHA-1, its signing-certificate
// attribute and its signer's sole extended key usage timeStamping hold; the message imprint
// is of the same algorithm and the same bytes as asked; the nonce is the one
// sent; the time is within [MaxSkew] of this machine's, and within the
// validity of the signer's certificate; and, if roots are given, the chain
// leads to one of them.
package tsa

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/hallmark-build/hallmark/signing/cms"
)

// MaxSkew is by how much the time in a token may differ from this machine's
// clock. A larger difference means that one of the two is wrong, and with a
// wrong clock here the certificates cannot be judged either.
const MaxSkew = 5 * time.Minute

// PKIStatus values (RFC 3161, 2.4.2).
const (
	statusGranted         = 0
	statusGrantedWithMods = 1
	statusRejection       = 2
	statusWaiting         = 3
)

// PKIFailureInfo bits (RFC 3161, 2.4.2).
const (
	failBadAlg              = 0
	failBadRequest          = 2
	failBadDataFormat       = 5
	failTimeNotAvailable    = 14
	failUnacceptedPolicy    = 15
	failUnacceptedExtension = 16
	failAddInfoNotAvailable = 17
	failSystemFailure       = 25
)

func failName(bit int) string {
	switch bit {
	case failBadAlg:
		return "badAlg"
	case failBadRequest:
		return "badRequest"
	case failBadDataFormat:
		return "badDataFormat"
	case failTimeNotAvailable:
		return "timeNotAvailable"
	case failUnacceptedPolicy:
		return "unacceptedPolicy"
	case failUnacceptedExtension:
		return "unacceptedExtension"
	case failAddInfoNotAvailable:
		return "addInfoNotAvailable"
	case failSystemFailure:
		return "systemFailure"
	}
	return fmt.Sprintf("failInfo bit %d", bit)
}

// RejectedError is a server's refusal, in the words of the protocol.
type RejectedError struct {
	Status int    // PKIStatus
	Fail   []int  // PKIFailureInfo bits that are set
	Text   string // statusString, without control characters
}

func (e *RejectedError) Error() string {
	s := fmt.Sprintf("the server refused (status %d", e.Status)
	for _, bit := range e.Fail {
		s += ", " + failName(bit)
	}
	s += ")"
	if e.Text != "" {
		s += fmt.Sprintf(": %q", e.Text)
	}
	return s
}

// temporary says that asking again may help.
func (e *RejectedError) temporary() bool {
	for _, bit := range e.Fail {
		if bit == failTimeNotAvailable || bit == failSystemFailure {
			return true
		}
	}
	return e.Status == statusWaiting
}

// TokenError is an answer that is no timestamp of what was asked.
type TokenError struct {
	Part string // answer, signature, imprint, nonce, time or chain
	Err  error
}

func (e *TokenError) Error() string { return "bad timestamp: " + e.Part + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *TokenError) Unwrap() error { return e.Err }

// request is a TimeStampReq.
type request struct {
	hash    crypto.Hash
	imprint []byte
	policy  asn1.ObjectIdentifier // nil when absent
	nonce   *big.Int              // nil when absent
	certReq bool
}

// newRequest asks for a timestamp of a digest, with the signer's certificates
// and a fresh nonce. The nonce has 63 bits: enough that no earlier answer fits
// it, and few enough for every server.
func newRequest(h crypto.Hash, digest []byte) (*request, error) {
	switch h {
	case crypto.SHA256, crypto.SHA384, crypto.SHA512:
	default:
		return nil, fmt.Errorf("timestamp: digest algorithm %v is not supported: use SHA-256, SHA-384 or SHA-512", h)
	}
	if len(digest) != h.Size() {
		return nil, fmt.Errorf("timestamp: %d bytes are no digest of %v, which has %d", len(digest), h, h.Size())
	}
	nonce, err := rand.Int(rand.Reader, new(big.Int).SetUint64(1<<63-1))
	if err != nil {
		return nil, err
	}
	return &request{hash: h, imprint: digest, nonce: nonce.Add(nonce, big.NewInt(1)), certReq: true}, nil
}

func (r *request) marshal() ([]byte, error) {
	oid, err := cms.HashOID(r.hash)
	if err != nil {
		return nil, err
	}
	var b cryptobyte.Builder
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(1)
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(oid)
				b.AddASN1NULL()
			})
			b.AddASN1OctetString(r.imprint)
		})
		if r.policy != nil {
			b.AddASN1ObjectIdentifier(r.policy)
		}
		if r.nonce != nil {
			b.AddASN1BigInt(r.nonce)
		}
		if r.certReq {
			b.AddASN1Boolean(true)
		}
	})
	return b.Bytes()
}

// requestError is a request that gets no timestamp, with the bit that says why.
type requestError struct {
	bit  int
	text string
}

func (e *requestError) Error() string { return e.text }

// parseRequest reads a TimeStampReq, which must be DER with nothing after it.
func parseRequest(der []byte) (*request, error) {
	malformed := func(text string) (*request, error) { return nil, &requestError{failBadDataFormat, text} }
	s := cryptobyte.String(der)
	var body, imprint, algorithm cryptobyte.String
	if !s.ReadASN1(&body, casn1.SEQUENCE) || !s.Empty() {
		return malformed("the request is not one DER sequence")
	}
	var version int
	if !body.ReadASN1Integer(&version) {
		return malformed("the request has no version")
	}
	if version != 1 {
		return nil, &requestError{failBadRequest, "the version of the request is not 1"}
	}
	r := &request{}
	var oid asn1.ObjectIdentifier
	if !body.ReadASN1(&imprint, casn1.SEQUENCE) || !imprint.ReadASN1(&algorithm, casn1.SEQUENCE) ||
		!algorithm.ReadASN1ObjectIdentifier(&oid) || !imprint.ReadASN1Bytes(&r.imprint, casn1.OCTET_STRING) || !imprint.Empty() {
		return malformed("the message imprint is malformed")
	}
	// RFC 5754, 2: parameters are absent; NULL must be taken too.
	var null cryptobyte.String
	if !algorithm.Empty() && (!algorithm.ReadASN1(&null, casn1.NULL) || !null.Empty() || !algorithm.Empty()) {
		return nil, &requestError{failBadAlg, "the digest algorithm has parameters"}
	}
	var err error
	if r.hash, err = cms.HashOf(oid); err != nil || r.hash == crypto.SHA1 {
		return nil, &requestError{failBadAlg, "the digest algorithm is not one of SHA-256, SHA-384 and SHA-512"}
	}
	if len(r.imprint) != r.hash.Size() {
		return malformed("the imprint does not have the length of its digest algorithm")
	}
	if body.PeekASN1Tag(casn1.OBJECT_IDENTIFIER) && !body.ReadASN1ObjectIdentifier(&r.policy) {
		return malformed("the policy is malformed")
	}
	if body.PeekASN1Tag(casn1.INTEGER) {
		r.nonce = new(big.Int)
		if !body.ReadASN1Integer(r.nonce) {
			return malformed("the nonce is malformed")
		}
	}
	if body.PeekASN1Tag(casn1.BOOLEAN) {
		// X.690, 11.5: a value equal to the default is not encoded. Some
		// clients do encode it; it does no harm.
		if !body.ReadASN1Boolean(&r.certReq) {
			return malformed("certReq is malformed")
		}
	}
	if body.PeekASN1Tag(casn1.Tag(0).ContextSpecific().Constructed()) {
		// Section 2.4.1: a server that does not recognize an extension,
		// critical or not, must not issue a token. It knows none.
		return nil, &requestError{failUnacceptedExtension, "the request has extensions"}
	}
	if !body.Empty() {
		return malformed("the request has unknown elements")
	}
	return r, nil
}

// rejection is a TimeStampResp without a token.
func rejection(bit int, text string) []byte {
	var b cryptobyte.Builder
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1Int64(statusRejection)
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1(casn1.UTF8String, func(b *cryptobyte.Builder) { b.AddBytes([]byte(text)) })
			})
			b.AddASN1(casn1.BIT_STRING, func(b *cryptobyte.Builder) {
				// X.690, 11.2.2: a named bit list ends with its
				// last bit that is set.
				bits := make([]byte, bit/8+1)
				bits[bit/8] = 0x80 >> (bit % 8)
				b.AddUint8(uint8(7 - bit%8))
				b.AddBytes(bits)
			})
		})
	})
	return b.BytesOrPanic() // fixed shape: it cannot fail
}

// granted is a TimeStampResp with a token.
func granted(token []byte) []byte {
	var b cryptobyte.Builder
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1Int64(statusGranted) })
		b.AddBytes(token)
	})
	return b.BytesOrPanic()
}

// parseResponse reads a TimeStampResp and returns its token, unchecked.
func parseResponse(der []byte) ([]byte, error) {
	malformed := func(text string) ([]byte, error) { return nil, &TokenError{"answer", errors.New(text)} }
	s := cryptobyte.String(der)
	var body, info cryptobyte.String
	if !s.ReadASN1(&body, casn1.SEQUENCE) {
		return malformed("it is not a TimeStampResp in DER")
	}
	if !s.Empty() {
		return malformed(fmt.Sprintf("%d bytes follow the TimeStampResp", len(s)))
	}
	e := &RejectedError{}
	if !body.ReadASN1(&info, casn1.SEQUENCE) || !info.ReadASN1Integer(&e.Status) {
		return malformed("it has no status")
	}
	if info.PeekASN1Tag(casn1.SEQUENCE) {
		var texts, text cryptobyte.String
		if !info.ReadASN1(&texts, casn1.SEQUENCE) {
			return malformed("its status text is malformed")
		}
		for !texts.Empty() {
			if !texts.ReadASN1(&text, casn1.UTF8String) {
				return malformed("its status text is malformed")
			}
			e.Text = strings.TrimSpace(e.Text + " " + string(text))
		}
		e.Text = printable(e.Text)
	}
	if info.PeekASN1Tag(casn1.BIT_STRING) {
		var bits asn1.BitString
		if !info.ReadASN1BitString(&bits) || bits.BitLength > 64 {
			return malformed("its failInfo is malformed")
		}
		for i := range bits.BitLength {
			if bits.At(i) == 1 {
				e.Fail = append(e.Fail, i)
			}
		}
	}
	if !info.Empty() {
		return malformed("its status has unknown elements")
	}
	if e.Status != statusGranted && e.Status != statusGrantedWithMods {
		// "When the status contains [...] any other value, a
		// timeStampToken MUST NOT be present."
		return nil, e
	}
	var token cryptobyte.String
	if !body.ReadASN1Element(&token, casn1.SEQUENCE) {
		return malformed("it grants a token and holds none")
	}
	if !body.Empty() {
		return malformed("it has unknown elements")
	}
	return token, nil
}

// check parses the answer to r and returns the token, if it is good at now.
func (r *request) check(answer []byte, now time.Time, roots *x509.CertPool) ([]byte, error) {
	der, err := parseResponse(answer)
	if err != nil {
		return nil, err
	}
	token, err := cms.ParseToken(der)
	if err != nil {
		return nil, &TokenError{"signature", err}
	}
	if token.Signed == crypto.SHA1 {
		return nil, &TokenError{"signature", errors.New("it is over a SHA-1 digest, which can be forged")}
	}
	if token.Hash != r.hash {
		return nil, &TokenError{"imprint", fmt.Errorf("it is a digest by %v, and %v was sent", token.Hash, r.hash)}
	}
	if !bytes.Equal(token.Imprint, r.imprint) {
		return nil, &TokenError{"imprint", errors.New("it is the digest of something else")}
	}
	if token.Nonce == nil {
		return nil, &TokenError{"nonce", errors.New("it is missing")}
	}
	if token.Nonce.Cmp(r.nonce) != 0 {
		return nil, &TokenError{"nonce", errors.New("it is not the one that was sent")}
	}
	if d := token.Time.Sub(now); d > MaxSkew || d < -MaxSkew {
		return nil, &TokenError{"time", fmt.Errorf("%s differs from this machine's clock by %s, more than %s: set the clock",
			token.Time.Format(time.RFC3339), d.Abs().Round(time.Second), MaxSkew)}
	}
	if token.Time.Before(token.Signer.NotBefore) || token.Time.After(token.Signer.NotAfter) {
		return nil, &TokenError{"time", fmt.Errorf("%s is outside the validity of the certificate of %q",
			token.Time.Format(time.RFC3339), token.Signer.Subject)}
	}
	if roots != nil {
		if _, err := token.Chain(roots); err != nil {
			return nil, &TokenError{"chain", fmt.Errorf("%q is not trusted: %w", token.Signer.Subject, err)}
		}
	}
	return der, nil
}

// maxText bounds what a server can make us print.
const maxText = 200

// printable makes text of a server fit for one line of an error.
func printable(s string) string {
	s = strings.ToValidUTF8(s, "?")
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxText {
		cut := maxText
		for !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + "…"
	}
	return s
}
