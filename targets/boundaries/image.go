package boundaries

import (
	"bytes"
	"debug/elf"
	"debug/pe"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Where things are in a PE file: the PE header's offset is at 0x3c; behind its
// four bytes and the 20 of the COFF header comes the optional header, with
// CheckSum at 64 and the data directories at 96 (PE32) or 112 (PE32+), of which
// the fifth names the certificate table.
type peTable struct {
	header       int // offset of "PE\0\0"
	checksum     int // offset of CheckSum
	directory    int // offset of the certificate table's entry
	offset, size int // of the certificate table
}

func tableOf(b []byte) (peTable, error) {
	var t peTable
	if len(b) < 0x40 || string(b[:2]) != "MZ" {
		return t, errors.New("not a PE file")
	}
	t.header = int(binary.LittleEndian.Uint32(b[0x3c:]))
	if t.header > len(b)-24-160 || string(b[t.header:t.header+4]) != "PE\x00\x00" {
		return t, errors.New("not a PE file")
	}
	optional := t.header + 24
	t.checksum = optional + 64
	t.directory = optional + 112 + 4*8
	if binary.LittleEndian.Uint16(b[optional:]) == 0x10b {
		t.directory -= 16
	}
	t.offset = int(binary.LittleEndian.Uint32(b[t.directory:]))
	t.size = int(binary.LittleEndian.Uint32(b[t.directory+4:]))
	if t.offset > len(b) || t.size > len(b)-t.offset {
		return t, errors.New("the certificate table is not in the file")
	}
	if t.size > 0 && t.size < 8 {
		return t, errors.New("the certificate table is too short")
	}
	return t, nil
}

// withTable returns a signed PE file with another signature in its certificate
// table, and the checksum of the result.
func withTable(b, der []byte) ([]byte, error) {
	t, err := tableOf(b)
	if err != nil {
		return nil, err
	}
	if t.size == 0 {
		return nil, errNone
	}
	entry := make([]byte, (8+len(der)+7)&^7)
	binary.LittleEndian.PutUint32(entry, uint32(len(entry)))
	binary.LittleEndian.PutUint16(entry[4:], 0x0200)
	binary.LittleEndian.PutUint16(entry[6:], 2)
	copy(entry[8:], der)
	b = append(bytes.Clone(b[:t.offset]), entry...)
	binary.LittleEndian.PutUint32(b[t.directory+4:], uint32(len(entry)))
	fixChecksum(b, t)
	return b, nil
}

// fixChecksum sets CheckSum: the one's complement sum of the file's 16-bit
// words, with that field zero, plus the file's length.
func fixChecksum(b []byte, t peTable) {
	binary.LittleEndian.PutUint32(b[t.checksum:], 0)
	var s uint32
	for i := 0; i < len(b); i += 2 {
		w := uint32(b[i])
		if i+1 < len(b) {
			w |= uint32(b[i+1]) << 8
		}
		s += w
		s = s&0xffff + s>>16
	}
	binary.LittleEndian.PutUint32(b[t.checksum:], s+uint32(len(b)))
}

// A region is a part of a file of which one byte is flipped.
type region struct {
	name   string
	beside string // "": in the file; else the suffix of the signature's file
	at     int
}

// regions lists the parts of a signed piece: those of the file by its own
// structure, then those of the signature.
func (p piece) regions(f format, s scheme) ([]region, error) {
	var found []region
	var err error
	switch f {
	case formatPE:
		found, err = peRegions(p.data)
	case formatELF:
		found, err = elfRegions(p.data)
	default:
		found = []region{{"start", "", 3}, {"middle", "", len(p.data) / 2}, {"end", "", len(p.data) - 1}}
	}
	if err != nil {
		return nil, err
	}
	more, err := p.signatureRegions(s)
	return append(found, more...), err
}

func peRegions(b []byte) ([]region, error) {
	t, err := tableOf(b)
	if err != nil {
		return nil, err
	}
	f, err := pe.NewFile(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	optional := int(f.SizeOfOptionalHeader)
	found := []region{
		{"dos-stub", "", 0x50},
		{"coff-header", "", t.header + 8},               // TimeDateStamp
		{"optional-header", "", t.header + 24 + 44},     // MajorImageVersion
		{"checksum", "", t.checksum},                    //
		{"section-table", "", t.header + 24 + optional}, // name of the first section
	}
	seen := map[string]bool{}
	end := 0
	for _, sec := range f.Sections {
		end = max(end, int(sec.Offset+sec.Size))
		name := sectionKind(sec.Name)
		if sec.Size == 0 || seen[name] {
			continue
		}
		seen[name] = true
		found = append(found, region{name, "", int(sec.Offset) + int(min(sec.Size, sec.VirtualSize))/2})
	}
	stop := len(b)
	if t.size > 0 {
		stop = t.offset
	}
	if stop > end+8 { // less is the padding before the certificate table
		found = append(found, region{"overlay", "", (end + stop) / 2})
	}
	return found, nil
}

func elfRegions(b []byte) ([]region, error) {
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	found := []region{
		{"header", "", 9},           // e_ident padding, at which no loader looks
		{"program-headers", "", 68}, // flags of the first
		{"section-headers", "", int(binary.LittleEndian.Uint64(b[40:])) + 64},
	}
	seen := map[string]bool{}
	for _, sec := range f.Sections {
		name := sectionKind(sec.Name)
		if sec.Type == elf.SHT_NULL || sec.Type == elf.SHT_NOBITS || sec.FileSize == 0 || seen[name] || name == "hallmark.sig" {
			continue
		}
		switch name {
		case "text", "rodata", "data", "gopclntab", "note", "symtab", "strtab", "shstrtab", "debug", "dynamic":
		default:
			continue
		}
		seen[name] = true
		found = append(found, region{name, "", int(sec.Offset + sec.FileSize/2)})
	}
	return found, nil
}

// sectionKind gives sections that are alike one name.
func sectionKind(name string) string {
	name = strings.TrimPrefix(name, ".")
	for _, prefix := range []string{"debug", "zdebug", "note"} {
		if strings.HasPrefix(name, prefix) {
			return strings.TrimPrefix(prefix, "z")
		}
	}
	if strings.HasPrefix(name, "/") { // a long name in a COFF string table; Go's linker uses it for DWARF
		return "debug"
	}
	return strings.ToLower(name)
}

// signatureRegions lists the parts of the signature.
func (p piece) signatureRegions(s scheme) ([]region, error) {
	switch s.name {
	case "ima", "ima-verity":
		return []region{{"ima-digest", s.suffix(), 2}, {"ima-keyid", s.suffix(), 4}, {"signature", s.suffix(), 100}}, nil
	case "bundle":
		// In base64: a digit in the middle of a number stays one when its last bit is flipped.
		b := p.beside[s.suffix()]
		var found []region
		for name, label := range map[string]string{"signature": `"signature"`, "certificate": `"rawBytes"`, "timestamp": `"signedTimestamp"`} {
			i := bytes.Index(b, []byte(label))
			if i < 0 {
				return nil, fmt.Errorf("the bundle has no %s", label)
			}
			found = append(found, region{name, s.suffix(), digitAfter(b, i+len(label)+200)})
		}
		return found, nil
	}
	der, err := p.message(s)
	if err != nil {
		return nil, err
	}
	in, base := p.data, 0
	if s.suffix() != "" {
		in = der
	}
	if base = bytes.LastIndex(in, der); base < 0 {
		return nil, errors.New("the message is not in the file")
	}
	parts, err := messageParts(der)
	if err != nil {
		return nil, err
	}
	var found []region
	for _, part := range parts {
		found = append(found, region{part.name, s.suffix(), base + part.at})
	}
	switch s.name {
	case "authenticode", "page-hashes":
		t, err := tableOf(p.data)
		if err != nil {
			return nil, err
		}
		// Not its padding: whether there is any changes with the timestamp's length.
		found = append(found, region{"table-revision", "", t.offset + 4})
	case "appended":
		end := len(p.data) - trailerSize
		found = append(found, region{"trailer-type", "", end + 2}, region{"trailer-length", "", end + 11}, region{"trailer-marker", "", end + 12 + 5})
	}
	return found, nil
}

// digitAfter returns the offset of a letter or digit at or after i.
func digitAfter(b []byte, i int) int {
	for ; i < len(b)-1; i++ {
		if c := b[i]; c >= 'b' && c <= 'x' {
			return i
		}
	}
	return i
}
