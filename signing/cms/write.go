package cms

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

const (
	tagContext0 = casn1.Tag(0xa0) // [0], constructed
	tagContext1 = casn1.Tag(0xa1) // [1], constructed
	tagContext2 = casn1.Tag(0xa2) // [2], constructed
	tagContext3 = casn1.Tag(0xa3) // [3], constructed
	tagKeyID    = casn1.Tag(0x80) // [0] IMPLICIT OCTET STRING
)

// Message is what is to be signed and how. The zero values of the optional
// fields give the dialect of the kernel's sign-file; Authenticode sets
// NullParams, a timestamp sets Version 3.
type Message struct {
	Version      int                   // of SignedData; 0 means 1
	ContentType  asn1.ObjectIdentifier // eContentType
	Content      []byte                // DER that stands inside eContent's [0]; nil for a detached signature
	Digest       []byte                // digest of the content octets, by Hash
	Hash         crypto.Hash           // SHA-256, SHA-384 or SHA-512
	NullParams   bool                  // digest AlgorithmIdentifiers carry NULL
	Attributes   []Attribute           // further signed attributes; content-type and message-digest are added
	Bare         bool                  // no signed attributes: the signature is over Digest itself
	Certificates []*x509.Certificate   // to embed; may be empty
}

// Sign returns the DER of a ContentInfo with one signer, whose certificate is
// leaf. countersign, when not nil, is given the signature value and returns
// the unsigned attributes, such as a timestamp token over it.
func (m Message) Sign(signer crypto.Signer, leaf *x509.Certificate, countersign func(signature []byte) ([]Attribute, error)) ([]byte, error) {
	if len(m.Digest) != m.Hash.Size() {
		return nil, fmt.Errorf("digest of %d bytes for %v", len(m.Digest), m.Hash)
	}
	if m.Bare && (len(m.Attributes) > 0 || !m.ContentType.Equal(OIDData)) {
		// RFC 5652, 5.3: "signedAttrs [...] MUST be present if the content type
		// of the EncapsulatedContentInfo value being signed is not id-data".
		return nil, errors.New("a signature without signed attributes is for plain data only")
	}
	hashOID, err := HashOID(m.Hash)
	if err != nil {
		return nil, err
	}
	sigOID, sigNull, err := signatureAlgorithm(signer.Public(), m.Hash)
	if err != nil {
		return nil, err
	}

	var signedAttrs []byte // DER of a SET
	toSign := m.Digest
	if !m.Bare {
		if signedAttrs, err = m.signedAttributes(); err != nil {
			return nil, err
		}
		h := m.Hash.New()
		h.Write(signedAttrs)
		toSign = h.Sum(nil)
	}
	signature, err := signer.Sign(rand.Reader, toSign, m.Hash)
	if err != nil {
		return nil, fmt.Errorf("signing with the key of %q: %w", leaf.Subject, err)
	}
	var unsigned []Attribute
	if countersign != nil {
		if unsigned, err = countersign(signature); err != nil {
			return nil, err
		}
	}

	version := int64(max(m.Version, 1))
	var b cryptobyte.Builder
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(OIDSignedData)
		b.AddASN1(tagContext0, func(b *cryptobyte.Builder) {
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1Int64(version)
				b.AddASN1(casn1.SET, func(b *cryptobyte.Builder) {
					addAlgorithm(b, hashOID, m.NullParams)
				})
				b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1ObjectIdentifier(m.ContentType)
					if m.Content != nil {
						b.AddASN1(tagContext0, func(b *cryptobyte.Builder) { b.AddBytes(m.Content) })
					}
				})
				if len(m.Certificates) > 0 {
					raw := make([][]byte, len(m.Certificates))
					for i, c := range m.Certificates {
						raw[i] = c.Raw
					}
					addSet(b, tagContext0, raw)
				}
				b.AddASN1(casn1.SET, func(b *cryptobyte.Builder) {
					b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
						b.AddASN1Int64(1)
						b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
							b.AddBytes(leaf.RawIssuer)
							b.AddASN1BigInt(leaf.SerialNumber)
						})
						addAlgorithm(b, hashOID, m.NullParams)
						if signedAttrs != nil {
							body := cryptobyte.String(signedAttrs)
							var set cryptobyte.String
							body.ReadASN1(&set, casn1.SET)
							b.AddASN1(tagContext0, func(b *cryptobyte.Builder) { b.AddBytes(set) })
						}
						addAlgorithm(b, sigOID, sigNull)
						b.AddASN1OctetString(signature)
						if len(unsigned) > 0 {
							raw := make([][]byte, len(unsigned))
							for i, a := range unsigned {
								raw[i] = a.marshal()
							}
							addSet(b, tagContext1, raw)
						}
					})
				})
			})
		})
	})
	return b.Bytes()
}

// signedAttributes returns the DER of the signed attributes as a SET.
func (m Message) signedAttributes() ([]byte, error) {
	contentType, err := asn1.Marshal(m.ContentType)
	if err != nil {
		return nil, fmt.Errorf("content type: %w", err)
	}
	digest, err := asn1.Marshal(m.Digest)
	if err != nil {
		return nil, fmt.Errorf("message digest: %w", err)
	}
	all := append(slices.Clone(m.Attributes),
		Attribute{OIDContentType, [][]byte{contentType}},
		Attribute{OIDMessageDigest, [][]byte{digest}})
	raw := make([][]byte, len(all))
	for i, a := range all {
		raw[i] = a.marshal()
	}
	var b cryptobyte.Builder
	addSet(&b, casn1.SET, raw)
	return b.Bytes()
}

func (a Attribute) marshal() []byte {
	var b cryptobyte.Builder
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(a.Type)
		addSet(b, casn1.SET, a.Values)
	})
	return b.BytesOrPanic() // only an invalid identifier can fail, and those are constants
}

func addAlgorithm(b *cryptobyte.Builder, oid asn1.ObjectIdentifier, null bool) {
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oid)
		if null {
			b.AddASN1NULL()
		}
	})
}

// addSet writes elements as a SET OF in DER order.
func addSet(b *cryptobyte.Builder, tag casn1.Tag, elements [][]byte) {
	sorted := slices.SortedFunc(slices.Values(elements), derLess)
	b.AddASN1(tag, func(b *cryptobyte.Builder) {
		for _, e := range sorted {
			b.AddBytes(e)
		}
	})
}
