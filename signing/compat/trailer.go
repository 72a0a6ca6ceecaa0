package compat

import (
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"time"
)

// An appended signature, as the Linux kernel's scripts/sign-file writes it and
// kernel/module_signature.c reads it, is at the end of any file:
//
//	content
//	CMS SignedData, DER, detached: over content
//	struct module_signature, 12 bytes:
//	    algo        1 byte, 0
//	    hash        1 byte, 0
//	    id_type     1 byte, 2 (PKEY_ID_PKCS7)
//	    signer_len  1 byte, 0
//	    key_id_len  1 byte, 0
//	    pad         3 bytes, 0
//	    sig_len     4 bytes, big-endian: length of the CMS
//	"~Module signature appended~\n", 28 bytes
//
// Only the outermost counts: content may itself end in such a trailer.
const (
	marker       = "~Module signature appended~\n"
	headerSize   = 12
	idTypePKCS7  = 2
	maxSignature = 1 << 20 // a CMS with an RSA-4096 chain and a timestamp is about 15 KB
)

// trailer is where the parts of a signed file are.
type trailer struct {
	content   int64 // length of the content, from the start of the file
	signature int64 // length of the CMS, which follows the content
}

// errNoTrailer says that a file does not end in the marker: it is unsigned.
var errNoTrailer = errors.New("no appended signature: the file does not end in the marker")

// trailerError is a trailer that is not as the format wants it.
type trailerError struct {
	offset int64 // in the file, of the field that is wrong
	what   string
}

func (e *trailerError) Error() string {
	return fmt.Sprintf("appended signature at offset %d: %s", e.offset, e.what)
}

// readTrailer reads the end of a file of the given size. It returns
// errNoTrailer, a *trailerError, or the error of r.
func readTrailer(r io.ReaderAt, size int64) (trailer, error) {
	start := size - int64(len(marker)) - headerSize
	if size < int64(len(marker)) {
		return trailer{}, errNoTrailer
	}
	end := make([]byte, len(marker))
	if _, err := r.ReadAt(end, size-int64(len(marker))); err != nil && err != io.EOF {
		return trailer{}, fmt.Errorf("reading the marker: %w", err)
	}
	if string(end) != marker {
		return trailer{}, errNoTrailer
	}
	if start < 0 {
		return trailer{}, &trailerError{0, "the file is too short for the header before the marker"}
	}
	var h [headerSize]byte
	if _, err := r.ReadAt(h[:], start); err != nil && err != io.EOF {
		return trailer{}, fmt.Errorf("reading the header: %w", err)
	}
	if h[2] != idTypePKCS7 {
		return trailer{}, &trailerError{start + 2, fmt.Sprintf("id_type is %d, not %d", h[2], idTypePKCS7)}
	}
	for _, i := range []int{0, 1, 3, 4, 5, 6, 7} {
		if h[i] != 0 {
			return trailer{}, &trailerError{start + int64(i), fmt.Sprintf("byte is %#02x, not 0", h[i])}
		}
	}
	length := int64(binary.BigEndian.Uint32(h[8:]))
	switch {
	case length == 0:
		return trailer{}, &trailerError{start + 8, "sig_len is 0"}
	case length >= start: // the kernel wants at least one byte of content
		return trailer{}, &trailerError{start + 8, fmt.Sprintf("sig_len is %d, with %d bytes before it", length, start)}
	case length > maxSignature:
		return trailer{}, &trailerError{start + 8, fmt.Sprintf("sig_len is %d, more than %d", length, maxSignature)}
	}
	return trailer{content: start - length, signature: length}, nil
}

// signer is what a timestamp of a SignerInfo is about.
type signer struct {
	signature []byte // the signature value, which the token is over
	token     []byte // DER of the timestamp token; nil if there is none
}

// readSigners finds the signature values and timestamp tokens in a CMS
// SignedData (RFC 5652, section 5; RFC 3161, appendix A). It looks, and does
// not judge: that is for openssl.
func readSigners(der []byte) ([]signer, error) {
	var ci struct {
		Type    asn1.ObjectIdentifier
		Content struct {
			Version      int
			Digests      asn1.RawValue
			Encapsulated asn1.RawValue
			Certificates asn1.RawValue `asn1:"optional,tag:0"`
			CRLs         asn1.RawValue `asn1:"optional,tag:1"`
			Signers      []signerInfo  `asn1:"set"`
		} `asn1:"explicit,tag:0"`
	}
	if rest, err := asn1.Unmarshal(der, &ci); err != nil {
		return nil, fmt.Errorf("reading SignedData: %w", err)
	} else if len(rest) != 0 {
		return nil, fmt.Errorf("reading SignedData: %d bytes after its end", len(rest))
	}
	if !ci.Type.Equal(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}) {
		return nil, fmt.Errorf("reading SignedData: content type is %v", ci.Type)
	}
	var found []signer
	for i, si := range ci.Content.Signers {
		s := signer{signature: si.Signature}
		rest := si.Unsigned.Bytes
		for len(rest) > 0 {
			var attr struct {
				Type   asn1.ObjectIdentifier
				Values []asn1.RawValue `asn1:"set"`
			}
			var err error
			if rest, err = asn1.Unmarshal(rest, &attr); err != nil {
				return nil, fmt.Errorf("reading unsigned attributes of signer %d: %w", i, err)
			}
			// id-aa-timeStampToken
			if !attr.Type.Equal(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 14}) {
				continue
			}
			if s.token != nil || len(attr.Values) != 1 {
				return nil, fmt.Errorf("reading unsigned attributes of signer %d: more or less than one timestamp token", i)
			}
			s.token = attr.Values[0].FullBytes
		}
		found = append(found, s)
	}
	return found, nil
}

// tokenTime reads the time in a timestamp token: SignedData whose content is a
// TSTInfo (RFC 3161, section 2.4.2). It is the zero time where it cannot be
// read; whether the token is any good is for openssl.
func tokenTime(der []byte) time.Time {
	var ci struct {
		Type    asn1.ObjectIdentifier
		Content struct {
			Version      int
			Digests      asn1.RawValue
			Encapsulated struct {
				Type    asn1.ObjectIdentifier
				Content []byte `asn1:"explicit,tag:0"`
			}
		} `asn1:"explicit,tag:0"`
	}
	var info struct {
		Version int
		Policy  asn1.ObjectIdentifier
		Imprint asn1.RawValue
		Serial  *big.Int
		Time    asn1.RawValue
	}
	if _, err := asn1.Unmarshal(der, &ci); err != nil {
		return time.Time{}
	}
	if _, err := asn1.Unmarshal(ci.Content.Encapsulated.Content, &info); err != nil || info.Time.Tag != asn1.TagGeneralizedTime {
		return time.Time{}
	}
	// time.Parse takes a fraction of a second that the layout does not have.
	t, err := time.Parse("20060102150405Z0700", string(info.Time.Bytes))
	if err != nil {
		return time.Time{}
	}
	return t
}

type signerInfo struct {
	Version            int
	ID                 asn1.RawValue
	Digest             asn1.RawValue
	Signed             asn1.RawValue `asn1:"optional,tag:0"`
	SignatureAlgorithm asn1.RawValue
	Signature          []byte
	Unsigned           asn1.RawValue `asn1:"optional,tag:1"`
}
