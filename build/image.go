package build

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A peImage is the head of a Windows program: everything before the content of its first section.
//
// The layout (Microsoft, "PE Format"): a DOS header, whose word at 0x3c is the offset of the signature "PE\0\0"; the
// COFF file header (20 bytes); the optional header, which ends in the data directories; the section table (40
// bytes an entry), with room up to SizeOfHeaders. Sections follow one another in the file and in memory. Behind them there
// may be the COFF symbol table with its string table, where long section names are.
type peImage struct {
	head     []byte // SizeOfHeaders bytes
	size     int64  // of the file
	coff     int    // offset of the file header
	opt      int    // offset of the optional header
	dirs     int    // offset of the data directories
	numDirs  int
	sections int // offset of the section table
}

type dataDirectory struct{ RVA, Size uint32 }

// Data directories, by index.
const (
	directoryResource = 2
	directorySecurity = 4
	directoryDebug    = 6
)

// Offsets of fields in the headers.
const (
	coffSections    = 2  // NumberOfSections
	coffSymbols     = 8  // PointerToSymbolTable
	coffOptional    = 16 // SizeOfOptionalHeader
	optData         = 8  // SizeOfInitializedData
	optSectionAlign = 32
	optFileAlign    = 36
	optImageSize    = 56
	optHeadersSize  = 60
	optCheckSum     = 64

	sectionSize = 40 // of an entry of the section table
	secVSize    = 8  // VirtualSize
	secRVA      = 12 // VirtualAddress
	secRawSize  = 16 // SizeOfRawData
	secRaw      = 20 // PointerToRawData
	secFlags    = 36 // Characteristics

	debugSize = 28 // of an entry of the debug directory
	debugRaw  = 24 // PointerToRawData

	// IMAGE_SCN_CNT_INITIALIZED_DATA | IMAGE_SCN_MEM_READ
	sectionReadable = 0x40000040
)

func (p *peImage) u16(off int) uint16 { return binary.LittleEndian.Uint16(p.head[off:]) }
func (p *peImage) u32(off int) uint32 { return binary.LittleEndian.Uint32(p.head[off:]) }

func (p *peImage) set32(off int, v uint32) { binary.LittleEndian.PutUint32(p.head[off:], v) }
func (p *peImage) add32(off int, v uint32) { p.set32(off, p.u32(off)+v) }

func (p *peImage) numSections() int { return int(p.u16(p.coff + coffSections)) }

// section returns the offset of an entry of the section table.
func (p *peImage) section(i int) int { return p.sections + i*sectionSize }

// inFile tells whether the section has content in the file; one that is zero at the start has none.
func (p *peImage) inFile(s int) bool { return p.u32(s+secRaw) > 0 && p.u32(s+secRawSize) > 0 }

func (p *peImage) directory(i int) dataDirectory {
	if i >= p.numDirs {
		return dataDirectory{}
	}
	return dataDirectory{p.u32(p.dirs + i*8), p.u32(p.dirs + i*8 + 4)}
}

// parseImage reads the head of a Windows program of the given size.
func parseImage(r io.ReaderAt, size int64) (*peImage, error) {
	fault := func(format string, args ...any) (*peImage, error) {
		return nil, fmt.Errorf("no sound Windows program: "+format, args...)
	}
	var dos [64]byte
	if _, err := r.ReadAt(dos[:], 0); err != nil || dos[0] != 'M' || dos[1] != 'Z' {
		return fault("no DOS header")
	}
	signature := binary.LittleEndian.Uint32(dos[0x3c:])
	// Signature, file header, and the optional header up to the number of its directories.
	var fixed [4 + 20 + 112]byte
	if _, err := r.ReadAt(fixed[:], int64(signature)); err != nil || string(fixed[:4]) != "PE\x00\x00" {
		return fault("no PE signature at offset %#x", signature)
	}
	p := &peImage{size: size, coff: int(signature) + 4, opt: int(signature) + 24}
	opt := fixed[24:]
	switch magic := binary.LittleEndian.Uint16(opt); magic {
	case 0x10b:
		p.dirs = p.opt + 96
		p.numDirs = int(binary.LittleEndian.Uint32(opt[92:]))
	case 0x20b:
		p.dirs = p.opt + 112
		p.numDirs = int(binary.LittleEndian.Uint32(opt[108:]))
	default:
		return fault("optional header of kind %#x", magic)
	}
	headers := binary.LittleEndian.Uint32(opt[optHeadersSize:])
	if headers > 1<<20 || int64(headers) > size {
		return fault("headers of %d bytes in a file of %d", headers, size)
	}
	p.head = make([]byte, headers)
	if _, err := r.ReadAt(p.head, 0); err != nil {
		return fault("reading the headers: %v", err)
	}
	if int64(signature)+int64(len(fixed)) > int64(headers) {
		return fault("headers of %d bytes do not hold themselves", headers)
	}
	p.sections = p.opt + int(p.u16(p.coff+coffOptional))
	if p.numDirs > 16 || p.dirs+p.numDirs*8 > p.sections || p.section(p.numSections()) > len(p.head) {
		return fault("headers of %d bytes do not hold %d directories and %d sections", headers, p.numDirs, p.numSections())
	}
	for _, off := range []int{optFileAlign, optSectionAlign} {
		if a := p.u32(p.opt + off); a == 0 || a&(a-1) != 0 || a > 1<<16 {
			return fault("alignment of %d", a)
		}
	}
	for i := range p.numSections() {
		s := p.section(i)
		if end := int64(p.u32(s+secRaw)) + int64(p.u32(s+secRawSize)); end > size && p.inFile(s) {
			return fault("section %d ends at %d in a file of %d bytes", i, end, size)
		}
	}
	return p, nil
}

func roundUp(n, align uint32) uint32 { return (n + align - 1) &^ (align - 1) }

// appendSection writes the program, read from in, with a further section .rsrc, whose content is given by data for the address
// at which it comes to lie. The section stands behind all others in memory and in the file, before the symbol table, if
// there is one behind the sections. When the section table has no room for it, the headers grow, and everything
// behind them moves.
func (p *peImage) appendSection(out io.ReadWriteSeeker, in io.ReaderAt, data func(rva uint32) []byte) error {
	fileAlign, sectionAlign := p.u32(p.opt+optFileAlign), p.u32(p.opt+optSectionAlign)
	if p.directory(directorySecurity) != (dataDirectory{}) {
		return errors.New("the program is signed; resources have to be added before")
	}
	if p.numDirs <= directoryResource {
		return fmt.Errorf("the program has %d data directories, none for resources", p.numDirs)
	}
	if p.size >= 1<<31 {
		return fmt.Errorf("the program has %d bytes, more than Windows loads", p.size)
	}

	oldHeaders := uint32(len(p.head))
	rawEnd, memoryEnd := oldHeaders, uint32(0)
	rawStart, memoryStart := uint32(p.size), ^uint32(0)
	for i := range p.numSections() {
		s := p.section(i)
		memoryStart = min(memoryStart, p.u32(s+secRVA))
		memoryEnd = max(memoryEnd, p.u32(s+secRVA)+cmp.Or(p.u32(s+secVSize), p.u32(s+secRawSize)))
		if p.inFile(s) {
			rawStart = min(rawStart, p.u32(s+secRaw))
			rawEnd = max(rawEnd, p.u32(s+secRaw)+p.u32(s+secRawSize))
		}
	}
	if rawStart < oldHeaders {
		return fmt.Errorf("a section begins at %d, within headers of %d bytes", rawStart, oldHeaders)
	}
	if memoryEnd >= 1<<31 {
		return fmt.Errorf("the sections end at %#x in memory, beyond what an image can have", memoryEnd)
	}
	rva := roundUp(memoryEnd, sectionAlign)
	content := data(rva)
	size := uint32(len(content))
	rawSize := roundUp(size, fileAlign)

	// Room in the section table.
	var grown uint32
	entry := p.section(p.numSections())
	if entry+sectionSize > len(p.head) {
		grown = fileAlign
		if oldHeaders+grown > memoryStart {
			return fmt.Errorf("the section table has no room, and headers of %d bytes cannot grow before a section at %#x", oldHeaders, memoryStart)
		}
		p.head = append(p.head, make([]byte, grown)...)
		p.set32(p.opt+optHeadersSize, oldHeaders+grown)
	}
	raw := roundUp(rawEnd, fileAlign)      // in the old file
	tail := raw + rawSize - rawEnd + grown // by how much moves what is behind the sections
	moved := func(off uint32) uint32 {
		if off >= rawEnd {
			return off + tail
		}
		return off + grown
	}

	debug, err := p.movedDebug(in, moved)
	if err != nil {
		return err
	}
	for i := range p.numSections() {
		if s := p.section(i); p.inFile(s) {
			p.add32(s+secRaw, grown)
		}
	}
	if symbols := p.u32(p.coff + coffSymbols); symbols > 0 {
		p.set32(p.coff+coffSymbols, moved(symbols))
	}
	clear(p.head[entry : entry+sectionSize])
	copy(p.head[entry:], ".rsrc")
	p.set32(entry+secVSize, size)
	p.set32(entry+secRVA, rva)
	p.set32(entry+secRawSize, rawSize)
	p.set32(entry+secRaw, raw+grown)
	p.set32(entry+secFlags, sectionReadable)
	binary.LittleEndian.PutUint16(p.head[p.coff+coffSections:], uint16(p.numSections()+1))
	p.set32(p.dirs+directoryResource*8, rva)
	p.set32(p.dirs+directoryResource*8+4, size)
	p.add32(p.opt+optData, rawSize)
	p.set32(p.opt+optImageSize, roundUp(rva+size, sectionAlign))
	checksum := p.u32(p.opt+optCheckSum) != 0
	p.set32(p.opt+optCheckSum, 0)

	w := bufio.NewWriterSize(out, 1<<18)
	w.Write(p.head) // a bufio.Writer keeps its error for Flush
	if _, err := io.Copy(w, io.NewSectionReader(in, int64(oldHeaders), int64(rawEnd-oldHeaders))); err != nil {
		return err
	}
	w.Write(make([]byte, raw-rawEnd))
	w.Write(content)
	w.Write(make([]byte, rawSize-size))
	if _, err := io.Copy(w, io.NewSectionReader(in, int64(rawEnd), p.size-int64(rawEnd))); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for off, value := range debug {
		if err := put32(out, int64(off), value); err != nil {
			return err
		}
	}
	if !checksum {
		return nil // Go's linker and LLD leave it 0; a signature will need it, and is made with it
	}
	sum, err := peChecksum(out)
	if err != nil {
		return err
	}
	return put32(out, int64(p.opt+optCheckSum), sum)
}

// movedDebug returns the words of the debug directory that are offsets in the file: from their place in the new file to
// their new value. It is called before the section table is changed.
func (p *peImage) movedDebug(in io.ReaderAt, moved func(uint32) uint32) (map[uint32]uint32, error) {
	dir := p.directory(directoryDebug)
	words := make(map[uint32]uint32)
	for i := range p.numSections() {
		s := p.section(i)
		start := p.u32(s + secRVA)
		if dir.Size == 0 || !p.inFile(s) || dir.RVA < start || dir.RVA-start >= p.u32(s+secRawSize) {
			continue
		}
		at := p.u32(s+secRaw) + dir.RVA - start
		for n := range dir.Size / debugSize {
			off := at + n*debugSize + debugRaw
			var word [4]byte
			if _, err := in.ReadAt(word[:], int64(off)); err != nil {
				return nil, fmt.Errorf("the debug directory at %#x: %w", at, err)
			}
			if v := binary.LittleEndian.Uint32(word[:]); v > 0 {
				words[moved(off)] = moved(v)
			}
		}
		break
	}
	return words, nil
}

func put32(out io.WriteSeeker, off int64, v uint32) error {
	if _, err := out.Seek(off, io.SeekStart); err != nil {
		return err
	}
	_, err := out.Write(binary.LittleEndian.AppendUint32(nil, v))
	return err
}

// peChecksum returns the checksum of a PE file in which the field for it is 0: the sum of its 16-bit words, the carry
// added again, plus the length of the file.
func peChecksum(f io.ReadSeeker) (uint32, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	var sum, length uint32
	for r := bufio.NewReaderSize(f, 1<<18); ; {
		var word [2]byte
		n, err := io.ReadFull(r, word[:])
		sum += uint32(binary.LittleEndian.Uint16(word[:]))
		sum = sum&0xffff + sum>>16
		length += uint32(n)
		switch {
		case err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF):
			return sum + length, nil
		case err != nil:
			return 0, err
		}
	}
}
