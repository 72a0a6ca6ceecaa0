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
// file with the given digest and page hashes. Without these its file name is
// empty, like signtool's.
func marshalIndirectData(h crypto.Hash, digest, pages []byte) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1BitString(nil)
		b.AddASN1(explicit0, func(b *cryptobyte.Builder) {
			if pages != nil {
				addPageHashes(b, pages)
			} else {
				addSpcString(b, explicit2, "")
			}
		})
	})
	value, err := b.Bytes()
	if err != nil {
		return nil, err
	}
	return marshalIndirect(oidSpcPEImageData, value, h, digest)
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

// peData is what an SpcIndirectDataContent says of a PE file.
type peData struct {
	hash     crypto.Hash
	digest   []byte
	pageHash crypto.Hash // 0 without page hashes
	pages    []byte      // table of page hashes
	misnamed bool        // the type is not SpcPeImageData, but what old versions of sbsign wrote
}

// parseIndirectData reads the SpcIndirectDataContent of a PE file.
func parseIndirectData(der []byte) (*peData, error) {
	kind, value, h, digest, err := parseIndirect(der)
	if err != nil {
		return nil, err
	}
	misnamed := kind.Equal(oidSpcIndividual)
	if !kind.Equal(oidSpcPEImageData) && !misnamed {
		return nil, fmt.Errorf("data type %v is not SpcPeImageData: this is the signature of another kind of file", kind)
	}
	if len(digest) != h.Size() {
		return nil, fmt.Errorf("digest of %d bytes for %v", len(digest), h)
	}
	d := &peData{hash: h, digest: digest, misnamed: misnamed}
	s := cryptobyteString(value)
	var image, flags, link cryptobyte.String
	if !s.ReadASN1(&image, casn1.SEQUENCE) || !s.Empty() {
		return nil, errors.New("no SpcPeImageData")
	}
	// Some signers leave the parts out; page hashes are all that matters here.
	if !image.Empty() && (!image.ReadASN1(&flags, casn1.BIT_STRING) || !image.Empty() && (!image.ReadASN1(&link, explicit0) || !image.Empty())) {
		return nil, errors.New("not an SpcPeImageData")
	}
	d.pageHash, d.pages, err = parsePageHashes(link)
	return d, err
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
