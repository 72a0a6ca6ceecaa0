package sip

import (
	"crypto"
	"encoding/asn1"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// A cabinet (MS-CAB, 2.1) begins with CFHEADER:
//
//	 0  signature "MSCF"        20  reserved            30  flags (4: reserve present)
//	 4  reserved                24  version             32  setID
//	 8  cbCabinet, its length   26  cFolders            34  iCabinet
//	12  reserved                28  cFiles              36  cbCFHeader uint16, cbCFFolder, cbCFData uint8,
//	16  coffFiles                                           and abReserve, if reserve is present
//
// then CFFOLDER entries of 8 bytes (offset of the data, blocks, compression),
// CFFILE entries from coffFiles on, and the data. A signed cabinet has 20
// reserved bytes: 00 00 10 00, the offset of the signature, which is cbCabinet,
// its length, and 8 zeros; the signature follows the cabinet, padded to 8.
//
// Digested is the header as it is when signed, without the first reserved
// field, iCabinet and all of the reserve but its last four bytes, and then
// everything from the folders up to the signature. The reader demands of what is
// left out that it has the one value that the writer gives it.
type cab struct {
	r         io.ReaderAt
	header    [36]byte // as it is when signed
	folders   []byte   // as they are when signed
	from, end int64    // of what follows the folders, in r
	signature []byte
}

const (
	formatCAB     = "CAB"
	cabMagic      = "MSCF"
	cabHeader     = 36
	cabReserved   = 20
	cabFolder     = 8
	cabMaxFolders = 0xffff
	flagPrevious  = 1
	flagNext      = 2
	flagReserve   = 4
)

func malformedCAB(at int64, format string, args ...any) error {
	return &FormatError{Format: formatCAB, Offset: at, Detail: fmt.Sprintf(format, args...)}
}

func openCAB(r io.ReaderAt, size int64) (Subject, error) {
	c := &cab{r: r}
	h := c.header[:]
	if err := readFull(r, h, 0, size); err != nil {
		return nil, malformedCAB(0, "header cut short")
	}
	le := binary.LittleEndian
	total, files, flags := int64(le.Uint32(h[8:])), int64(le.Uint32(h[16:])), le.Uint16(h[30:])
	switch {
	case flags&(flagPrevious|flagNext) != 0:
		return nil, malformedCAB(30, "one of a set of cabinets, which are not signed one by one")
	case flags&^flagReserve != 0:
		return nil, malformedCAB(30, "unknown flags %#x", flags)
	case le.Uint32(h[4:]) != 0 || le.Uint16(h[34:]) != 0:
		return nil, malformedCAB(4, "fields that no signature covers are not zero")
	}
	at, signed := int64(cabHeader), false
	if flags&flagReserve != 0 {
		var err error
		if at, signed, err = c.readReserve(size, total); err != nil {
			return nil, err
		}
	}
	end := at + int64(le.Uint16(h[26:]))*cabFolder
	if end > files || files > total || total > size || !signed && total != size {
		return nil, malformedCAB(8, "folders end at %d, files begin at %d, the cabinet ends at %d, the file at %d", end, files, total, size)
	}
	c.folders = make([]byte, end-at)
	if err := readFull(r, c.folders, at, size); err != nil {
		return nil, err
	}
	c.from, c.end = end, total
	if !signed {
		c.shift(cabHeader + 4 + cabReserved - at)
	}
	return c, nil
}

// readReserve reads the reserve, and the signature that it points to. It
// returns where the folders begin.
func (c *cab) readReserve(size, total int64) (at int64, signed bool, err error) {
	var sizes [4]byte
	if err := readFull(c.r, sizes[:], cabHeader, size); err != nil {
		return 0, false, malformedCAB(cabHeader, "header cut short")
	}
	if sizes[2] != 0 || sizes[3] != 0 {
		return 0, false, malformedCAB(cabHeader+2, "folders and data have reserves too, whose meaning is not known")
	}
	reserve := make([]byte, binary.LittleEndian.Uint16(sizes[:]))
	if err := readFull(c.r, reserve, cabHeader+4, size); err != nil {
		return 0, false, malformedCAB(cabHeader, "header cut short")
	}
	at = cabHeader + 4 + int64(len(reserve))
	if strings.Trim(string(reserve), "\x00") == "" {
		return at, false, nil // kept free for a signature
	}
	if len(reserve) != cabReserved || string(reserve[:4]) != "\x00\x00\x10\x00" || strings.Trim(string(reserve[12:]), "\x00") != "" {
		return 0, false, malformedCAB(cabHeader+4, "the header has a reserve that is not for a signature")
	}
	start, length := int64(binary.LittleEndian.Uint32(reserve[4:])), int64(binary.LittleEndian.Uint32(reserve[8:]))
	if start != total || start+length != size || length > maxSignature {
		return 0, false, malformedCAB(cabHeader+8, "the signature is at %d, %d bytes long; the cabinet ends at %d, the file at %d", start, length, total, size)
	}
	b := make([]byte, length)
	if err := readFull(c.r, b, start, size); err != nil {
		return 0, false, err
	}
	c.signature, err = trimPadding(formatCAB, b, 8)
	return at, true, err
}

// shift makes room for the reserve of a signature.
func (c *cab) shift(by int64) {
	add := func(b []byte) { binary.LittleEndian.PutUint32(b, uint32(int64(binary.LittleEndian.Uint32(b))+by)) }
	add(c.header[8:])
	add(c.header[16:])
	binary.LittleEndian.PutUint16(c.header[30:], flagReserve)
	for i := 0; i < len(c.folders); i += cabFolder {
		add(c.folders[i:])
	}
}

func (*cab) Hash() crypto.Hash { return 0 }

func (*cab) Format() string { return formatCAB }

// Data returns the SpcLink that signtool writes: file "<<<Obsolete>>>".
func (*cab) Data() (asn1.ObjectIdentifier, []byte) {
	var b cryptobyte.Builder
	b.AddASN1(casn1.Tag(2).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.Tag(0).ContextSpecific(), func(b *cryptobyte.Builder) {
			for _, r := range "<<<Obsolete>>>" {
				b.AddUint16(uint16(r))
			}
		})
	})
	return oidSpcCabData, b.BytesOrPanic()
}

func (c *cab) Signature() ([]byte, error) { return c.signature, nil }

func (c *cab) Digest(h crypto.Hash) ([]byte, error) {
	d := h.New()
	d.Write(c.header[:4])
	d.Write(c.header[8:34])
	d.Write(make([]byte, 4)) // the end of the reserve
	d.Write(c.folders)
	if _, err := io.Copy(d, io.NewSectionReader(c.r, c.from, c.end-c.from)); err != nil {
		return nil, err
	}
	return d.Sum(nil), nil
}

func (c *cab) Sign(dst *os.File, h crypto.Hash, by Signer) error {
	digest, err := c.Digest(h)
	if err != nil {
		return err
	}
	der, err := by.SignDigest(digest)
	if err != nil {
		return err
	}
	der = append(der, make([]byte, -len(der)&7)...)
	le := binary.LittleEndian
	b := append([]byte(nil), c.header[:]...)
	b = append(b, cabReserved, 0, 0, 0, 0, 0, 0x10, 0)
	b = append(b, c.header[8:12]...)
	b = le.AppendUint32(b, uint32(len(der)))
	b = append(b, make([]byte, 8)...)
	if _, err := dst.Write(append(b, c.folders...)); err != nil {
		return err
	}
	if _, err := io.Copy(dst, io.NewSectionReader(c.r, c.from, c.end-c.from)); err != nil {
		return err
	}
	_, err = dst.Write(der)
	return err
}
