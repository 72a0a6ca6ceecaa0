package signing

import (
	"encoding/binary"
	"io"
)

// checkELF refuses what is no ELF file, and one that was cut short: its
// program and section headers, and what they point at, must lie within size
// (System V ABI, chapters 4 and 5).
func checkELF(r io.ReaderAt, size int64) error {
	var h [64]byte
	n := min(int64(len(h)), size)
	if err := readAt(r, h[:n], 0, size); err != nil {
		return err
	}
	if n < 52 || string(h[:4]) != "\x7fELF" {
		return fail(Unsupported, RuleFormat, 0, "not an ELF file")
	}
	var order binary.ByteOrder
	switch h[5] { // EI_DATA
	case 1:
		order = binary.LittleEndian
	case 2:
		order = binary.BigEndian
	default:
		return fail(Malformed, RuleFormat, 5, "data encoding %d is neither little- nor big-endian", h[5])
	}
	switch h[4] { // EI_CLASS
	case 1:
		word := func(at int) int64 { return int64(order.Uint32(h[at:])) }
		return checkELFTables(size, word(28), word(32), order, h[42:])
	case 2:
		if n < 64 {
			break
		}
		word := func(at int) int64 { return int64(order.Uint64(h[at:])) }
		return checkELFTables(size, word(32), word(40), order, h[54:])
	default:
		return fail(Malformed, RuleFormat, 4, "class %d is neither 32 nor 64 bits", h[4])
	}
	return fail(Malformed, RuleFormat, 0, "ELF header cut short")
}

// checkELFTables takes the offsets of the program and section header tables
// and the four half-words e_phentsize, e_phnum, e_shentsize, e_shnum.
func checkELFTables(size, phoff, shoff int64, order binary.ByteOrder, counts []byte) error {
	half := func(i int) int64 { return int64(order.Uint16(counts[2*i:])) }
	for _, t := range []struct {
		name       string
		start, len int64
	}{{"program", phoff, half(0) * half(1)}, {"section", shoff, half(2) * half(3)}} {
		if t.len > 0 && (t.start < 0 || t.start > size || t.len > size-t.start) {
			return fail(Malformed, RuleFormat, 0, "%s headers end behind the file of %d bytes: it was cut short", t.name, size)
		}
	}
	return nil
}
