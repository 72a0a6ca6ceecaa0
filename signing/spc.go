package signing

import (
	"crypto"
	"encoding/asn1"
	"errors"
	"fmt"
	"unicode/utf16"

	"github.com/hallmark-build/hallmark/signing/cms"
	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Authenticode's own structures. [0] and [1] of a CHOICE are EXPLICIT, those
// inside SpcString and SpcLink IMPLICIT:
//
//	SpcIndirectDataContent ::= SEQUENCE {
//	    data           SEQUENCE { type   OBJECT IDENTIFIER,   -- SpcPeImageData
//	                              value  SpcPeImageData },
//	    messageDigest  SEQUENCE { digestAlgorithm AlgorithmIdentifier,
//	                              digest          OCTET STRING } }
//	SpcPeImageData ::= SEQUENCE { flags BIT STRING, file [0] SpcLink }
//	SpcLink        ::= CHOICE { url [0] IA5STRING, moniker [1], file [2] SpcString }
//	SpcString      ::= CHOICE { unicode [0] BMPSTRING, ascii [1] IA5STRING }
//	SpcSpOpusInfo  ::= SEQUENCE { programName [0] SpcString OPTIONAL,
//	                              moreInfo    [1] SpcLink OPTIONAL }
var (
	oidSpcIndirectData    = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 4}
	oidSpcStatementType   = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 11}
	oidSpcSpOpusInfo      = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 12}
	oidSpcPEImageData     = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 15}
	oidSpcIndividual      = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 21}
	oidSpcNestedSignature = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 4, 1}
)

const (
	explicit0 = casn1.Tag(0xa0)
	explicit1 = casn1.Tag(0xa1)
	explicit2 = casn1.Tag(0xa2)
	implicit0 = casn1.Tag(0x80)
	implicit1 = casn1.Tag(0x81)
)

func cryptobyteString(b []byte) cryptobyte.String { return b }

// marshalIndirectData returns the DER of an SpcIndirectDataContent for a PE
// file with the given digest. Like signtool's, its file name is empty.
func marshalIndirectData(h crypto.Hash, digest []byte) ([]byte, error) {
	oid, err := cms.HashOID(h)
	if err != nil {
		return nil, err
	}
	var b cryptobyte.Builder
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(oidSpcPEImageData)
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1BitString(nil)
				b.AddASN1(explicit0, func(b *cryptobyte.Builder) { addSpcString(b, explicit2, "") })
			})
		})
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(oid)
				b.AddASN1NULL()
			})
			b.AddASN1OctetString(digest)
		})
	})
	return b.Bytes()
}

// addSpcString writes an SpcString inside an EXPLICIT tag.
func addSpcString(b *cryptobyte.Builder, tag casn1.Tag, s string) {
	b.AddASN1(tag, func(b *cryptobyte.Builder) {
		b.AddASN1(implicit0, func(b *cryptobyte.Builder) {
			for _, unit := range utf16.Encode([]rune(s)) {
				b.AddUint16(unit)
			}
		})
	})
}

// parseIndirectData returns the digest that an SpcIndirectDataContent holds.
func parseIndirectData(der []byte) (crypto.Hash, []byte, error) {
	s := cryptobyteString(der)
	var body, data, image, info, alg, params cryptobyte.String
	var kind, hashOID asn1.ObjectIdentifier
	var digest []byte
	if !s.ReadASN1(&body, casn1.SEQUENCE) || !s.Empty() || !body.ReadASN1(&data, casn1.SEQUENCE) {
		return 0, nil, errors.New("not an SpcIndirectDataContent")
	}
	if !data.ReadASN1ObjectIdentifier(&kind) || !kind.Equal(oidSpcPEImageData) {
		return 0, nil, fmt.Errorf("data type %v is not SpcPeImageData: this is the signature of another kind of file", kind)
	}
	if !data.ReadASN1(&image, casn1.SEQUENCE) || !data.Empty() {
		return 0, nil, errors.New("no SpcPeImageData")
	}
	if !body.ReadASN1(&info, casn1.SEQUENCE) || !body.Empty() || !info.ReadASN1(&alg, casn1.SEQUENCE) ||
		!alg.ReadASN1ObjectIdentifier(&hashOID) ||
		!alg.Empty() && (!alg.ReadASN1(&params, casn1.NULL) || !params.Empty() || !alg.Empty()) ||
		!info.ReadASN1Bytes(&digest, casn1.OCTET_STRING) || !info.Empty() {
		return 0, nil, errors.New("messageDigest is not a DigestInfo")
	}
	h, err := cms.HashOf(hashOID)
	if err != nil {
		return 0, nil, err
	}
	if len(digest) != h.Size() {
		return 0, nil, fmt.Errorf("digest of %d bytes for %v", len(digest), h)
	}
	return h, digest, nil
}

// spcAttributes returns the signed attributes that Authenticode adds to those
// of CMS.
func spcAttributes(description, url string) ([]cms.Attribute, error) {
	var statement, opus cryptobyte.Builder
	statement.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(oidSpcIndividual) })
	opus.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		if description != "" {
			addSpcString(b, explicit0, description)
		}
		if url != "" {
			b.AddASN1(explicit1, func(b *cryptobyte.Builder) {
				b.AddASN1(implicit0, func(b *cryptobyte.Builder) { b.AddBytes([]byte(url)) })
			})
		}
	})
	s, err := statement.Bytes()
	if err != nil {
		return nil, err
	}
	o, err := opus.Bytes()
	if err != nil {
		return nil, fmt.Errorf("description or url: %w", err)
	}
	return []cms.Attribute{{Type: oidSpcStatementType, Values: [][]byte{s}}, {Type: oidSpcSpOpusInfo, Values: [][]byte{o}}}, nil
}

// parseOpusInfo returns the program name and the URL of an SpcSpOpusInfo,
// empty where it has none.
func parseOpusInfo(der []byte) (description, url string, err error) {
	if der == nil {
		return "", "", nil
	}
	s := cryptobyteString(der)
	var body, name, info, value cryptobyte.String
	var hasName, hasInfo bool
	if !s.ReadASN1(&body, casn1.SEQUENCE) || !s.Empty() ||
		!body.ReadOptionalASN1(&name, &hasName, explicit0) ||
		!body.ReadOptionalASN1(&info, &hasInfo, explicit1) || !body.Empty() {
		return "", "", errors.New("not an SpcSpOpusInfo")
	}
	switch {
	case !hasName:
	case name.PeekASN1Tag(implicit0) && name.ReadASN1(&value, implicit0) && len(value)%2 == 0:
		units := make([]uint16, 0, len(value)/2)
		for !value.Empty() {
			var unit uint16
			value.ReadUint16(&unit)
			units = append(units, unit)
		}
		description = string(utf16.Decode(units))
	case name.ReadASN1(&value, implicit1):
		description = string(value)
	default:
		return "", "", errors.New("SpcSpOpusInfo: the program name is not a string")
	}
	if hasInfo && info.ReadASN1(&value, implicit0) {
		url = string(value)
	}
	return description, url, nil
}
