// Package sip reads and writes the files other than PE images that Windows
// checks Authenticode signatures in. Windows calls the part of itself that
// knows one such format a subject interface package, and names it in the
// signature by a GUID.
//
// What is signed is an SpcIndirectDataContent (Microsoft, "Windows Authenticode
// Portable Executable Signature Format"): a type, a value and a digest. This
// package says for each format what these are, where the signature lies, and
// how a signed file is written; it neither makes nor judges signatures.
//
//	format      type and value                             digest over               signature
//	MSI         SpcSipInfo {f1100c00-0000-0000-c000-…46}   streams and directory     stream "\5DigitalSignature"
//	CAB         SpcCabData, SpcLink file "<<<Obsolete>>>"  header, folders, data     after the cabinet
//	PowerShell  SpcSipInfo {603bcc1f-4b59-4e08-b724-…51}   text in UTF-16            comment at the end, base64
//	MSIX, APPX  SpcSipInfo {0ac5df4b-ce07-4de2-b76e-…d1}   five parts of the ZIP     entry AppxSignature.p7x
//	its bundle  SpcSipInfo {0f5f58b3-aade-4b9a-a434-…eb}   the same                  the same
//
//	SpcSipInfo ::= SEQUENCE { version INTEGER, guid OCTET STRING,
//	                          INTEGER, INTEGER, INTEGER, INTEGER, INTEGER }  -- five zeros
//
// Each format is described at the top of its file.
package sip

import (
	"crypto"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// A Subject is an open file of one of the formats.
type Subject interface {
	// Format is the format's name as people know it.
	Format() string

	// Data returns the type, and the DER of the value, of the data element of
	// the SpcIndirectDataContent.
	Data() (kind asn1.ObjectIdentifier, value []byte)

	// Hash returns the digest algorithm that a signature must use; 0 means any.
	Hash() crypto.Hash

	// Signature returns the DER of the file's signature; nil without one. The error is
	// a *TamperedError: there is one, in a form that its format does not have. Such a
	// file can be signed again.
	Signature() ([]byte, error)

	// Digest returns what a signature in this file, made with h, must hold as
	// its messageDigest. For MSIX that is several digests with their names.
	Digest(h crypto.Hash) ([]byte, error)

	// Sign writes a signed copy of the file to dst, which is empty, with
	// signatures that s makes. A signature that the file has is replaced.
	Sign(dst *os.File, h crypto.Hash, s Signer) error
}

// An Unsigner is a subject that can be written without its signature.
type Unsigner interface {
	// Unsign writes the file as it was before it was signed. Without a signature that
	// is the file.
	Unsign(dst io.Writer) error
}

// A Signer makes signatures.
type Signer interface {
	// SignDigest returns the DER of a signature over a messageDigest.
	SignDigest(digest []byte) (der []byte, err error)

	// SignCatalog returns a security catalog that is signed anew.
	SignCatalog(catalog []byte) (signed []byte, err error)
}

// ErrUnknown says that a file is of none of the formats.
var ErrUnknown = errors.New("not an MSI, CAB, MSIX or PowerShell file")

// FormatError says where a file breaks its format.
type FormatError struct {
	Format string
	Offset int64 // in the file; 0 when there is no one place
	Detail string
}

func (e *FormatError) Error() string { return e.Format + ": " + e.Detail }

// TamperedError says that a file contradicts a digest in itself.
type TamperedError struct {
	Format string
	Detail string
}

func (e *TamperedError) Error() string { return e.Format + ": " + e.Detail }

// maxSignature is how long a signature may be. With a chain and a timestamp it
// is about 12 KiB.
const maxSignature = 1 << 20

// Open reads what it must of a file. Scripts are told by the extension of
// name, everything else by its first bytes. Errors are ErrUnknown,
// *FormatError, and those of r.
func Open(name string, r io.ReaderAt, size int64) (Subject, error) {
	if style, ok := styles[strings.ToLower(filepath.Ext(name))]; ok {
		return openScript(r, size, style)
	}
	if err := ScriptHost(name); err != nil {
		return nil, err
	}
	var magic [8]byte
	n, err := r.ReadAt(magic[:min(size, 8)], 0)
	if n < int(min(size, 8)) {
		return nil, err
	}
	switch {
	case string(magic[:]) == cfbMagic:
		return openMSI(r, size)
	case string(magic[:4]) == cabMagic:
		return openCAB(r, size)
	case string(magic[:4]) == zipLocalMagic:
		return openMSIX(r, size)
	}
	return nil, ErrUnknown
}

// ScriptHost returns an ErrUnknown that names the format if a file of that name is a
// file of Windows Script Host; nil for others.
func ScriptHost(name string) error {
	switch ext := strings.ToLower(filepath.Ext(name)); ext {
	case ".js", ".jse", ".vbs", ".vbe", ".wsf":
		return fmt.Errorf("%w: %s is a file of Windows Script Host, whose signatures are neither made nor read", ErrUnknown, ext)
	}
	return nil
}

// IsScript reports whether a file of that name is read as a script.
func IsScript(name string) bool {
	_, ok := styles[strings.ToLower(filepath.Ext(name))]
	return ok
}

var (
	oidSpcCabData = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 25}
	oidSpcSipInfo = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 30}
)

// sipInfo returns the DER of an SpcSipInfo.
func sipInfo(version int64, guid string) []byte {
	var b cryptobyte.Builder
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(version)
		b.AddASN1OctetString([]byte(guid))
		for range 5 {
			b.AddASN1Int64(0)
		}
	})
	return b.BytesOrPanic()
}

// readFull fills b from an offset that a file of size bytes must contain.
func readFull(r io.ReaderAt, b []byte, off, size int64) error {
	if off < 0 || off > size || int64(len(b)) > size-off {
		return io.ErrUnexpectedEOF
	}
	if n, err := r.ReadAt(b, off); n < len(b) {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF // it has become shorter meanwhile
		}
		return err
	}
	return nil
}

// trimPadding cuts zeros behind a DER element that fills a place with a length
// of its own. More of them than alignment asks for, or anything else, is
// refused: nothing covers it.
func trimPadding(format string, b []byte, align int) ([]byte, error) {
	s, element := cryptobyte.String(b), cryptobyte.String(nil)
	if !s.ReadAnyASN1Element(&element, nil) {
		return nil, &FormatError{Format: format, Detail: "the signature is not a DER element"}
	}
	if len(s) >= align || strings.Trim(string(s), "\x00") != "" {
		return nil, &FormatError{Format: format, Detail: fmt.Sprintf("%d bytes hide after the signature", len(s))}
	}
	return element, nil
}
