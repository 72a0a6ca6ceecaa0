package cms

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/asn1"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// A message's certificates and its unsigned attributes are outside of what its
// signature covers, so that they can be added later. Everything else keeps its
// bytes.

// AddUnsigned returns a message with one more unsigned attribute at its only
// signer; if it has one of that type, the values are added to it.
func AddUnsigned(der []byte, a Attribute) ([]byte, error) {
	return edit(der, func(p *parts) error {
		attributes, err := readUnsigned(p.unsigned)
		if err != nil {
			return err
		}
		found := false
		for i := range attributes {
			if attributes[i].Type.Equal(a.Type) {
				attributes[i].Values, found = append(attributes[i].Values, a.Values...), true
			}
		}
		if !found {
			attributes = append(attributes, a)
		}
		p.unsigned = nil
		for _, a := range attributes {
			p.unsigned = append(p.unsigned, a.marshal())
		}
		return nil
	})
}

// RemoveUnsigned returns a message without unsigned attributes of a type.
func RemoveUnsigned(der []byte, oid asn1.ObjectIdentifier) ([]byte, error) {
	return edit(der, func(p *parts) error {
		attributes, err := readUnsigned(p.unsigned)
		if err != nil {
			return err
		}
		p.unsigned = nil
		for _, a := range attributes {
			if !a.Type.Equal(oid) {
				p.unsigned = append(p.unsigned, a.marshal())
			}
		}
		return nil
	})
}

// AddCertificates returns a message with further certificates, those that it has
// left out.
func AddCertificates(der []byte, certs []*x509.Certificate) ([]byte, error) {
	return edit(der, func(p *parts) error {
		for _, c := range certs {
			has := false
			for _, raw := range p.certificates {
				has = has || bytes.Equal(raw, c.Raw)
			}
			if !has {
				p.certificates = append(p.certificates, c.Raw)
			}
		}
		return nil
	})
}

// parts is a message with one signer, cut where something can be added.
type parts struct {
	start        []byte   // version, digestAlgorithms and encapContentInfo
	certificates [][]byte // elements
	crls         []byte   // element; empty without
	signer       []byte   // of the SignerInfo all but the unsigned attributes
	unsigned     [][]byte // elements
}

func edit(der []byte, change func(*parts) error) ([]byte, error) {
	if _, err := Parse(der); err != nil {
		return nil, err
	}
	p, err := cut(der)
	if err != nil {
		return nil, err
	}
	if err := change(p); err != nil {
		return nil, err
	}
	return p.join()
}

func cut(der []byte) (*parts, error) {
	p := new(parts)
	bad := &FormatError{"signedData", "not one signer's"}
	s := cryptobyte.String(der)
	var info, wrapped, body, version, algorithms, encap, certificates, signers, signer cryptobyte.String
	if !s.ReadASN1(&info, casn1.SEQUENCE) || !info.SkipASN1(casn1.OBJECT_IDENTIFIER) || !info.ReadASN1(&wrapped, tagContext0) || !wrapped.ReadASN1(&body, casn1.SEQUENCE) ||
		!body.ReadASN1Element(&version, casn1.INTEGER) || !body.ReadASN1Element(&algorithms, casn1.SET) || !body.ReadASN1Element(&encap, casn1.SEQUENCE) ||
		!body.ReadOptionalASN1(&certificates, new(bool), tagContext0) {
		return nil, bad
	}
	p.start = bytes.Join([][]byte{version, algorithms, encap}, nil)
	if body.PeekASN1Tag(tagContext1) && !body.ReadASN1Element((*cryptobyte.String)(&p.crls), tagContext1) {
		return nil, bad
	}
	if !body.ReadASN1(&signers, casn1.SET) || !body.Empty() || !signers.ReadASN1(&signer, casn1.SEQUENCE) || !signers.Empty() {
		return nil, bad
	}
	rest := signer
	var element, unsigned cryptobyte.String
	for !rest.Empty() && !rest.PeekASN1Tag(tagContext1) {
		if !rest.ReadAnyASN1Element(&element, nil) {
			return nil, bad
		}
	}
	p.signer = signer[:len(signer)-len(rest)]
	if !rest.ReadOptionalASN1(&unsigned, new(bool), tagContext1) || !rest.Empty() {
		return nil, bad
	}
	for _, set := range []struct {
		from cryptobyte.String
		to   *[][]byte
	}{{certificates, &p.certificates}, {unsigned, &p.unsigned}} {
		for !set.from.Empty() {
			if !set.from.ReadAnyASN1Element(&element, nil) {
				return nil, bad
			}
			*set.to = append(*set.to, element)
		}
	}
	return p, nil
}

func (p *parts) join() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(OIDSignedData)
		b.AddASN1(tagContext0, func(b *cryptobyte.Builder) {
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddBytes(p.start)
				if len(p.certificates) > 0 {
					addSet(b, tagContext0, p.certificates)
				}
				b.AddBytes(p.crls)
				b.AddASN1(casn1.SET, func(b *cryptobyte.Builder) {
					b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
						b.AddBytes(p.signer)
						if len(p.unsigned) > 0 {
							addSet(b, tagContext1, p.unsigned)
						}
					})
				})
			})
		})
	})
	return b.Bytes()
}

func readUnsigned(elements [][]byte) ([]Attribute, error) {
	if len(elements) == 0 {
		return nil, nil
	}
	var b cryptobyte.Builder
	b.AddASN1(tagContext1, func(b *cryptobyte.Builder) { b.AddBytes(bytes.Join(elements, nil)) })
	element, err := b.Bytes()
	if err != nil {
		return nil, err
	}
	attributes, _, err := readAttributes(element, tagContext1, "unsignedAttrs")
	return attributes, err
}

// Unsigned returns a message with a content and no signer: what is to be signed
// elsewhere.
func Unsigned(contentType asn1.ObjectIdentifier, content []byte, h crypto.Hash) ([]byte, error) {
	oid, err := HashOID(h)
	if err != nil {
		return nil, err
	}
	var b cryptobyte.Builder
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(OIDSignedData)
		b.AddASN1(tagContext0, func(b *cryptobyte.Builder) {
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1Int64(1)
				b.AddASN1(casn1.SET, func(b *cryptobyte.Builder) { addAlgorithm(b, oid, true) })
				b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1ObjectIdentifier(contentType)
					b.AddASN1(tagContext0, func(b *cryptobyte.Builder) { b.AddBytes(content) })
				})
				b.AddASN1(casn1.SET, func(*cryptobyte.Builder) {})
			})
		})
	})
	return b.Bytes()
}

// Content returns the content of a message and its type, whoever has signed it,
// or nobody.
func Content(der []byte) (asn1.ObjectIdentifier, []byte, error) {
	oid, content, _, err := outline(der)
	return oid, content, err
}

// Signed reports whether a message with a content has signers. Tools that make
// security catalogs leave the set empty.
func Signed(der []byte) (bool, error) {
	_, _, rest, err := outline(der)
	if err != nil {
		return false, err
	}
	var signers cryptobyte.String
	if !rest.SkipOptionalASN1(tagContext0) || !rest.SkipOptionalASN1(tagContext1) || !rest.ReadASN1(&signers, casn1.SET) || !rest.Empty() {
		return false, &FormatError{"signerInfos", "not the last element, a set"}
	}
	return !signers.Empty(), nil
}

// outline reads a message up to its content; rest is what follows that.
func outline(der []byte) (oid asn1.ObjectIdentifier, content []byte, rest cryptobyte.String, err error) {
	s := cryptobyte.String(der)
	var info, wrapped, body, encap, value cryptobyte.String
	if !s.ReadASN1(&info, casn1.SEQUENCE) || !info.ReadASN1ObjectIdentifier(&oid) || !oid.Equal(OIDSignedData) ||
		!info.ReadASN1(&wrapped, tagContext0) || !wrapped.ReadASN1(&body, casn1.SEQUENCE) ||
		!body.SkipASN1(casn1.INTEGER) || !body.SkipASN1(casn1.SET) || !body.ReadASN1(&encap, casn1.SEQUENCE) ||
		!encap.ReadASN1ObjectIdentifier(&oid) || !encap.ReadASN1(&value, tagContext0) || !encap.Empty() {
		return nil, nil, nil, &FormatError{"encapContentInfo", "there is no signedData with a content"}
	}
	return oid, value, body, nil
}
