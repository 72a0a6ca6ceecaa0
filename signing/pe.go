package signing

import (
	"encoding/binary"
	"io"
)

// peFile is where the parts of a PE file lie that Authenticode treats apart
// (Microsoft, PE Format, "Process for Generating the Authenticode PE Image
// Hash"). Offsets are from the start of the file. Section contents do not
// matter: every byte that is not listed here is digested, in file order, gaps
// and overlays included.
type peFile struct {
	size         int64 // of the file
	checksum     int64 // offset of the 4-byte CheckSum
	certDir      int64 // offset of the 8-byte certificate table directory entry
	tableOffset  int64 // of the certificate table; 0 when there is none
	tableSize    int64 // its length in bytes
	afterHeaders int64 // end of the section headers
	sections     []page
}

// end is where the signed content ends.
func (p *peFile) end() int64 {
	if p.tableOffset != 0 {
		return p.tableOffset
	}
	return p.size
}

const (
	dosHeaderSize      = 64
	coffHeaderSize     = 24 // with the "PE\0\0" before it
	sectionHeaderSize  = 40
	checksumInOptional = 64
	maxSections        = 4096 // the Windows loader stops at 96; objcopy makes more
	certDirIndex       = 4
	maxTableSize       = 16 << 20 // a certificate table with hundreds of nested signatures would be smaller
	winCertHeader      = 8        // WIN_CERTIFICATE without its certificate
)

// readPE finds the parts of a PE file and refuses one whose header does not
// describe the file that is there.
func readPE(r io.ReaderAt, size int64) (*peFile, error) { return parsePE(r, size, false) }

// readPEToSign is readPE for a file that is to be signed: a certificate table that
// does not end where the file does is not the table of this file, but content, which
// the new signature covers. So do osslsigncode and signtool. Such files are a signed
// stub with a payload behind it, and the uninstaller that a signed NSIS installer
// writes: its header is the installer's.
func readPEToSign(r io.ReaderAt, size int64) (*peFile, error) { return parsePE(r, size, true) }

func parsePE(r io.ReaderAt, size int64, toSign bool) (*peFile, error) {
	var dos [dosHeaderSize]byte
	if err := readAt(r, dos[:], 0, size); err != nil {
		return nil, fail(Malformed, RuleFormat, 0, "DOS header: %w", err)
	}
	if string(dos[:2]) != "MZ" {
		return nil, fail(Unsupported, RuleFormat, 0, "not a PE file: it does not start with MZ")
	}
	pe := int64(binary.LittleEndian.Uint32(dos[60:]))
	if pe < 4 || pe%4 != 0 {
		return nil, fail(Malformed, RuleFormat, 60, "PE header at %#x, which is not a multiple of 4", pe)
	}
	var coff [coffHeaderSize]byte
	if err := readAt(r, coff[:], pe, size); err != nil {
		return nil, fail(Malformed, RuleFormat, 60, "PE header: %w", err)
	}
	if string(coff[:4]) != "PE\x00\x00" {
		return nil, fail(Malformed, RuleFormat, pe, "a DOS program, or damaged: there is no PE signature")
	}
	sections := int64(binary.LittleEndian.Uint16(coff[6:]))
	optSize := int64(binary.LittleEndian.Uint16(coff[20:]))
	opt := make([]byte, optSize)
	if err := readAt(r, opt, pe+coffHeaderSize, size); err != nil {
		return nil, fail(Malformed, RuleFormat, pe+20, "optional header: %w", err)
	}
	dirs, err := dataDirectories(opt, pe+coffHeaderSize)
	if err != nil {
		return nil, err
	}
	p := &peFile{
		size:         size,
		checksum:     pe + coffHeaderSize + checksumInOptional,
		certDir:      pe + coffHeaderSize + dirs + certDirIndex*8,
		afterHeaders: pe + coffHeaderSize + optSize + sections*sectionHeaderSize,
	}
	if sections > maxSections || p.afterHeaders > size {
		return nil, fail(Malformed, RuleFormat, pe+6, "%d section headers do not fit the file of %d bytes", sections, size)
	}
	entry := opt[dirs+certDirIndex*8:]
	p.tableOffset = int64(binary.LittleEndian.Uint32(entry))
	p.tableSize = int64(binary.LittleEndian.Uint32(entry[4:]))
	if toSign && p.tableOffset+p.tableSize != size && !p.cutShort(r) {
		p.tableOffset, p.tableSize = 0, 0
	}
	if err := p.checkTable(); err != nil {
		return nil, err
	}
	return p, p.checkSections(r, pe+coffHeaderSize+optSize, int(sections))
}

// dataDirectories returns the offset of the data directories in the optional
// header opt, which starts at offset at in the file, and demands one for the
// certificate table.
func dataDirectories(opt []byte, at int64) (int64, error) {
	if len(opt) < 2 {
		return 0, fail(Malformed, RuleFormat, at, "no optional header: an object file, not an image")
	}
	var dirs int64
	switch magic := binary.LittleEndian.Uint16(opt); magic {
	case 0x10b: // PE32
		dirs = 96
	case 0x20b: // PE32+
		dirs = 112
	default:
		return 0, fail(Malformed, RuleFormat, at, "optional header magic %#x is neither PE32 (0x10b) nor PE32+ (0x20b)", magic)
	}
	if int64(len(opt)) < dirs {
		return 0, fail(Malformed, RuleFormat, at, "optional header of %d bytes, at least %d are needed", len(opt), dirs)
	}
	count := int64(binary.LittleEndian.Uint32(opt[dirs-4:]))
	if count <= certDirIndex || int64(len(opt)) < dirs+(certDirIndex+1)*8 {
		return 0, fail(Malformed, RuleFormat, at+dirs-4, "%d data directories, so there is no place for a certificate table", count)
	}
	return dirs, nil
}

// checkTable holds the certificate table's place against the file: "the
// certificate table [...] must be at the end of the file", each entry at a
// multiple of 8.
func (p *peFile) checkTable() error {
	switch {
	case p.tableOffset == 0 && p.tableSize == 0:
		return nil
	case p.tableOffset < p.afterHeaders || p.tableOffset%8 != 0:
		return fail(Malformed, RuleTable, p.certDir, "certificate table at %#x, which is no multiple of 8 behind the headers", p.tableOffset)
	case p.tableSize < winCertHeader || p.tableSize > maxTableSize:
		return fail(Malformed, RuleTable, p.certDir+4, "certificate table of %d bytes, must be %d to %d", p.tableSize, winCertHeader, maxTableSize)
	case p.tableOffset+p.tableSize > p.size:
		return fail(Malformed, RuleTable, p.certDir, "certificate table ends at %#x, the file at %#x: it was cut short, or the header is another file's", p.tableOffset+p.tableSize, p.size)
	case p.tableOffset+p.tableSize < p.size:
		return fail(Malformed, RuleTrailing, p.tableOffset+p.tableSize, "%d bytes after the certificate table, which its signature does not cover: sign the file again, which covers them", p.size-p.tableOffset-p.tableSize)
	}
	return nil
}

// cutShort reports whether the file ends within its certificate table, rather than
// that the table is another file's: an entry of that length begins there.
func (p *peFile) cutShort(r io.ReaderAt) bool {
	var h [winCertHeader]byte
	if p.tableOffset+p.tableSize <= p.size || readAt(r, h[:], p.tableOffset, p.size) != nil {
		return false
	}
	return int64(binary.LittleEndian.Uint32(h[:])) <= p.tableSize && binary.LittleEndian.Uint16(h[4:]) == winCertRevision && binary.LittleEndian.Uint16(h[6:]) == winCertPKCS7
}

// checkSections demands that what sections keep in the file is there, and in
// front of the certificate table.
func (p *peFile) checkSections(r io.ReaderAt, at int64, n int) error {
	headers := make([]byte, n*sectionHeaderSize)
	if err := readAt(r, headers, at, p.size); err != nil {
		return fail(Malformed, RuleFormat, at, "section headers: %w", err)
	}
	for i := range n {
		h := headers[i*sectionHeaderSize:]
		size, offset := int64(binary.LittleEndian.Uint32(h[16:])), int64(binary.LittleEndian.Uint32(h[20:]))
		if offset != 0 && offset+size > p.end() {
			return fail(Malformed, RuleFormat, at+int64(i*sectionHeaderSize)+20,
				"section %d ends at %#x, the image at %#x: the file was cut short", i+1, offset+size, p.end())
		}
		if offset != 0 {
			p.sections = append(p.sections, page{offset, offset + size})
		}
	}
	return nil
}

// readAt fills b from an offset that a file of size bytes must contain.
func readAt(r io.ReaderAt, b []byte, off, size int64) error {
	if off < 0 || off+int64(len(b)) > size {
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

// peChecksum is the checksum of the optional header: the 16-bit one's
// complement sum of the file as little-endian words, without the CheckSum
// field itself, plus the file's length. Blocks are added in file order; all
// but the last have a length that is a multiple of 8.
type peChecksum struct {
	// sum is over 32-bit words, which may be folded at the end since 2^16 is 1
	// modulo 2^16-1; a file of 4 GiB cannot overflow it.
	sum  uint64
	size int64
}

func (c *peChecksum) add(b []byte) {
	c.size += int64(len(b))
	for len(b) >= 8 {
		w := binary.LittleEndian.Uint64(b)
		c.sum += w&0xffffffff + w>>32
		b = b[8:]
	}
	var tail [8]byte
	copy(tail[:], b)
	w := binary.LittleEndian.Uint64(tail[:])
	c.sum += w&0xffffffff + w>>32
}

// swap accounts for a 4-byte field, at a multiple of 4, that was added with
// one value and holds another.
func (c *peChecksum) swap(was, is uint32) { c.sum = c.sum - uint64(was) + uint64(is) }

func (c *peChecksum) value() uint32 {
	sum := c.sum
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return uint32(sum) + uint32(c.size)
}
