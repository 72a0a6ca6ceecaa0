package compat

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// peSignature is what has to be known of the first Authenticode signature of a
// file to ask some judges about it: those that compute the digest and leave the
// comparing to the caller, and those that cannot say that they do not know an
// algorithm or a timestamp. It is read, not judged.
type peSignature struct {
	hash   string // of the signed digest: "sha256" and so on; an object identifier where it is none of SHA-2
	digest string // that was signed, in lower-case hexadecimal
	rsa    bool   // the signer's key is an RSA key
	stamp  bool   // it has an RFC 3161 timestamp
	behind bool   // the certificate table lies behind SizeOfImage, which some take for the file's size

	until time.Time // when the first of its certificates expires; zero if it has none
}

// late reports whether a judge that looks at no timestamp cannot but refuse:
// a certificate has expired, and a timestamp says that it was good once.
func (s peSignature) late() bool {
	return s.stamp && !s.until.IsZero() && time.Now().After(s.until)
}

// knownLimit makes a *LimitError of the refusal of a judge that says that it
// cannot read the file, where the reader of this package finds a signature in it
// (unread is the error of that): then it is a PE file, and the judge is what
// falls short. A broken file stays refused.
func (s peSignature) knownLimit(err, unread error) error {
	var refusal *RefusalError
	if unread != nil || !errors.As(err, &refusal) || !refusal.unread {
		return err
	}
	limit := refusal.Reason
	if s.behind {
		limit += " (its certificate table lies behind SizeOfImage, as in files of MinGW that keep their symbols)"
	}
	return &LimitError{Judge: refusal.Judge, Limit: limit}
}

// errUnsigned says that a PE file has no certificate table.
var errUnsigned = errors.New("no signature found")

// maxTable bounds what is read of a certificate table.
const maxTable = 4 << 20

// readPESignature reads the first signature of a PE file. Its place is in the
// fifth entry of the data directories, a file offset and a length:
//
//	file offset 0x3c   4 bytes: offset of "PE\0\0"
//	+24                optional header; its first 2 bytes are 0x10b (PE32) or 0x20b (PE32+)
//	+24+56             4 bytes: SizeOfImage, the size in memory
//	+24+128 or +144    4 bytes offset and 4 bytes length of the certificate table
//
// and there stands a WIN_CERTIFICATE: 4 bytes length, 2 bytes revision, 2 bytes
// type (2 for PKCS#7), and the message. All numbers are little-endian.
func readPESignature(r io.ReaderAt) (peSignature, error) {
	at := func(offset int64, n int) ([]byte, error) {
		b := make([]byte, n)
		if _, err := r.ReadAt(b, offset); err != nil {
			return nil, fmt.Errorf("reading %d bytes at offset %d: %w", n, offset, err)
		}
		return b, nil
	}
	b, err := at(0x3c, 4)
	if err != nil {
		return peSignature{}, err
	}
	header := int64(binary.LittleEndian.Uint32(b))
	if b, err = at(header, 26); err != nil {
		return peSignature{}, err
	}
	if string(b[:4]) != "PE\x00\x00" {
		return peSignature{}, errors.New("not a PE file")
	}
	entry := header + 24 + 128
	if magic := binary.LittleEndian.Uint16(b[24:]); magic == 0x20b {
		entry += 16
	} else if magic != 0x10b {
		return peSignature{}, fmt.Errorf("the optional header's magic is %#x", magic)
	}
	if b, err = at(entry, 8); err != nil {
		return peSignature{}, err
	}
	table, size := int64(binary.LittleEndian.Uint32(b)), binary.LittleEndian.Uint32(b[4:])
	if table == 0 || size == 0 {
		return peSignature{}, errUnsigned
	}
	if b, err = at(table, 8); err != nil {
		return peSignature{}, err
	}
	length := binary.LittleEndian.Uint32(b)
	if length < 8 || length > size || length > maxTable {
		return peSignature{}, fmt.Errorf("the first certificate has %d bytes, in a table of %d", length, size)
	}
	if b, err = at(table+8, int(length)-8); err != nil {
		return peSignature{}, err
	}
	s, err := readAuthenticode(b)
	if err != nil {
		return peSignature{}, err
	}
	if b, err = at(header+24+56, 4); err != nil {
		return peSignature{}, err
	}
	s.behind = table > int64(binary.LittleEndian.Uint32(b))
	return s, nil
}

// readAuthenticode reads a PKCS#7 message whose content is a digest: an
// SpcIndirectDataContent of a type and the DigestInfo. What follows the message
// is padding.
func readAuthenticode(der []byte) (peSignature, error) {
	var ci struct {
		Type    asn1.ObjectIdentifier
		Content struct {
			Version      int
			Digests      asn1.RawValue
			Encapsulated struct {
				Type    asn1.ObjectIdentifier
				Content struct {
					Data   asn1.RawValue
					Digest struct {
						Algorithm struct {
							Algorithm  asn1.ObjectIdentifier
							Parameters asn1.RawValue `asn1:"optional"`
						}
						Digest []byte
					}
				} `asn1:"explicit,tag:0"`
			}
			Certificates asn1.RawValue `asn1:"optional,tag:0"`
			CRLs         asn1.RawValue `asn1:"optional,tag:1"`
			Signers      []signerInfo  `asn1:"set"`
		} `asn1:"explicit,tag:0"`
	}
	if _, err := asn1.Unmarshal(der, &ci); err != nil {
		return peSignature{}, fmt.Errorf("reading the signature: %w", err)
	}
	if len(ci.Content.Signers) != 1 {
		return peSignature{}, fmt.Errorf("reading the signature: it has %d signers", len(ci.Content.Signers))
	}
	var s peSignature
	digest := ci.Content.Encapsulated.Content.Digest
	s.digest, s.hash = hex.EncodeToString(digest.Digest), digest.Algorithm.Algorithm.String()
	if name, ok := map[string]string{"2.16.840.1.101.3.4.2.1": "sha256", "2.16.840.1.101.3.4.2.2": "sha384", "2.16.840.1.101.3.4.2.3": "sha512"}[s.hash]; ok {
		s.hash = name
	}
	var algorithm struct {
		Algorithm  asn1.ObjectIdentifier
		Parameters asn1.RawValue `asn1:"optional"`
	}
	if _, err := asn1.Unmarshal(ci.Content.Signers[0].SignatureAlgorithm.FullBytes, &algorithm); err != nil {
		return peSignature{}, fmt.Errorf("reading the signature algorithm: %w", err)
	}
	// pkcs-1: rsaEncryption and what combines it with a hash.
	pkcs1, id := asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1}, algorithm.Algorithm
	s.rsa = len(id) == len(pkcs1)+1 && id[:len(pkcs1)].Equal(pkcs1)
	// Of certificates that x509 cannot read, judges have the word.
	if certs, err := x509.ParseCertificates(ci.Content.Certificates.Bytes); err == nil {
		for _, c := range certs {
			if s.until.IsZero() || c.NotAfter.Before(s.until) {
				s.until = c.NotAfter
			}
		}
	}
	for rest := ci.Content.Signers[0].Unsigned.Bytes; len(rest) > 0; {
		var attr struct {
			Type   asn1.ObjectIdentifier
			Values asn1.RawValue
		}
		var err error
		if rest, err = asn1.Unmarshal(rest, &attr); err != nil {
			return peSignature{}, fmt.Errorf("reading unsigned attributes: %w", err)
		}
		// SPC_RFC3161_OBJID
		s.stamp = s.stamp || attr.Type.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 3, 3, 1})
	}
	return s, nil
}

// lookAtPE is readPESignature of a file. Where it cannot be read the zero value
// says nothing, and the judge has the word.
func lookAtPE(file string) (peSignature, error) {
	f, err := os.Open(file)
	if err != nil {
		return peSignature{}, err
	}
	defer f.Close()
	return readPESignature(f)
}
