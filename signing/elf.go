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
	e := elfFile{r: r, size: size, order: order}
	switch h[4] { // EI_CLASS
	case 1:
		return e.check(int64(order.Uint32(h[28:])), int64(order.Uint32(h[32:])), h[42:], elf32)
	case 2:
		if n < 64 {
			return fail(Malformed, RuleFormat, 0, "ELF header cut short")
		}
		return e.check(int64(order.Uint64(h[32:])), int64(order.Uint64(h[40:])), h[54:], elf64)
	}
	return fail(Malformed, RuleFormat, 4, "class %d is neither 32 nor 64 bits", h[4])
}

type elfFile struct {
	r     io.ReaderAt
	size  int64
	order binary.ByteOrder
}

// elfLayout is where a program header and a section header keep what they
// point at: offset and size in the file, and the section's type.
type elfLayout struct {
	phSize, phOffset, phFileSize      int64
	shSize, shType, shOffset, shBytes int64
	word                              int // bytes of an offset
}

var (
	elf32 = elfLayout{phSize: 32, phOffset: 4, phFileSize: 16, shSize: 40, shType: 4, shOffset: 16, shBytes: 20, word: 4}
	elf64 = elfLayout{phSize: 56, phOffset: 8, phFileSize: 32, shSize: 64, shType: 4, shOffset: 24, shBytes: 32, word: 8}
)

const (
	shtNull   = 0
	shtNobits = 8      // occupies no bytes in the file
	pnXnum    = 0xffff // the real count is in section 0
)

// check takes the offsets of the program and section header tables and the
// four half-words e_phentsize, e_phnum, e_shentsize, e_shnum.
func (e elfFile) check(phoff, shoff int64, counts []byte, l elfLayout) error {
	half := func(i int) int64 { return int64(e.order.Uint16(counts[2*i:])) }
	if n := half(1); n != pnXnum {
		if err := e.each("program", phoff, half(0), n, l.phSize, func(h []byte) (offset, size int64) {
			return e.word(h[l.phOffset:], l.word), e.word(h[l.phFileSize:], l.word)
		}); err != nil {
			return err
		}
	}
	return e.each("section", shoff, half(2), half(3), l.shSize, func(h []byte) (offset, size int64) {
		if t := e.order.Uint32(h[l.shType:]); t == shtNull || t == shtNobits {
			return 0, 0
		}
		return e.word(h[l.shOffset:], l.word), e.word(h[l.shBytes:], l.word)
	})
}

func (e elfFile) word(b []byte, n int) int64 {
	if n == 4 {
		return int64(e.order.Uint32(b))
	}
	return int64(e.order.Uint64(b)) // a negative one is refused as too far
}

// each demands that a table of n headers, and what each of them points at, lies
// in the file.
func (e elfFile) each(what string, at, entry, n, want int64, extent func(header []byte) (offset, size int64)) error {
	if n == 0 {
		return nil
	}
	if entry != want {
		return fail(Malformed, RuleFormat, 0, "%s headers of %d bytes, must be %d", what, entry, want)
	}
	if at < 0 || at > e.size || n*entry > e.size-at {
		return fail(Malformed, RuleFormat, 0, "%s headers end behind the file of %d bytes: it was cut short", what, e.size)
	}
	table := make([]byte, n*entry)
	if err := readAt(e.r, table, at, e.size); err != nil {
		return err
	}
	for i := range n {
		offset, size := extent(table[i*entry : (i+1)*entry])
		if size != 0 && (offset < 0 || size < 0 || offset > e.size || size > e.size-offset) {
			return fail(Malformed, RuleFormat, at+i*entry, "%s %d ends at %#x, the file at %#x: it was cut short", what, i, uint64(offset)+uint64(size), e.size)
		}
	}
	return nil
}
