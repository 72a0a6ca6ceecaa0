package sip

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"strings"
)

// zipFile is a ZIP file (APPNOTE.TXT) as MSIX has it: entries without gaps from
// the first byte on, the central directory right behind them, and its end
// record, with or without ZIP64, right behind that and without comment.
type zipFile struct {
	r         io.ReaderAt
	entries   []zipEntry // in the order of the central directory, which is that of the file
	directory int64      // offset
	end       []byte     // the end records: ZIP64 end, its locator, end; or the last alone
}

type zipEntry struct {
	record     []byte // of the central directory
	name       string
	method     uint16
	crc        uint32
	compressed int64 // bytes
	size       int64 // bytes
	offset     int64 // of the local header
	next       int64 // offset of what follows
}

const (
	zipLocalMagic   = "PK\x03\x04"
	zipCentralMagic = "PK\x01\x02"
	zipEndMagic     = "PK\x05\x06"
	zip64EndMagic   = "PK\x06\x06"
	zip64LocMagic   = "PK\x06\x07"
	zipDataMagic    = "PK\x07\x08"
	zipLocalSize    = 30
	zipCentralSize  = 46
	zipEndSize      = 22
	zip64EndSize    = 56
	zip64LocSize    = 20
	zip64Extra      = 1
	zipStore        = 0
	zipDeflate      = 8
	zip1980         = 0x21     // 1 January 1980, the first day of ZIP
	maxDirectory    = 32 << 20 // bytes
	maxZIPEntries   = 1 << 18
	maxRatio        = 200     // of lengths inflated and deflated: XML with digests has less than 4
	freeRatio       = 4 << 20 // bytes; what inflates to less may do so from anything
)

func malformedZIP(at int64, format string, args ...any) error {
	return &FormatError{Format: formatMSIX, Offset: at, Detail: fmt.Sprintf(format, args...)}
}

func readZIP(r io.ReaderAt, size int64) (*zipFile, error) {
	z := &zipFile{r: r}
	tail := make([]byte, min(size, zip64EndSize+zip64LocSize+zipEndSize))
	if err := readFull(r, tail, size-int64(len(tail)), size); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	end := tail[max(0, len(tail)-zipEndSize):]
	if len(end) < zipEndSize || string(end[:4]) != zipEndMagic || le.Uint16(end[20:]) != 0 {
		return nil, malformedZIP(0, "the file does not end in a ZIP end record without comment")
	}
	z.end = end
	length, count := int64(le.Uint32(end[12:])), int64(le.Uint16(end[10:]))
	z.directory = int64(le.Uint32(end[16:]))
	if len(tail) > zip64EndSize && string(tail[:4]) == zip64EndMagic && string(tail[zip64EndSize:][:4]) == zip64LocMagic {
		z.end = tail
		length, count, z.directory = int64(le.Uint64(tail[40:])), int64(le.Uint64(tail[32:])), int64(le.Uint64(tail[48:]))
		if int64(le.Uint64(tail[zip64EndSize+8:])) != size-int64(len(tail)) {
			return nil, malformedZIP(size-zipEndSize-zip64LocSize, "the ZIP64 end record is elsewhere")
		}
	}
	if count > maxZIPEntries {
		return nil, malformedZIP(size-zipEndSize, "%d entries; at most %d are read", count, maxZIPEntries)
	}
	if z.directory < 0 || length < 0 || length > maxDirectory || z.directory != size-int64(len(z.end))-length {
		return nil, malformedZIP(size-zipEndSize, "the central directory does not lie between the entries and its end record")
	}
	directory := make([]byte, length)
	if err := readFull(r, directory, z.directory, size); err != nil {
		return nil, err
	}
	return z, z.readEntries(directory, count)
}

// readEntries reads the central directory, and demands that the entries are in
// its order and without gaps.
func (z *zipFile) readEntries(directory []byte, count int64) error {
	le := binary.LittleEndian
	seen := make(map[string]bool, min(max(count, 0), int64(len(directory)/zipCentralSize)))
	z.entries = make([]zipEntry, 0, min(max(count, 0), int64(len(directory)/zipCentralSize)))
	for at := z.directory; len(directory) > 0; {
		if len(directory) < zipCentralSize || string(directory[:4]) != zipCentralMagic {
			return malformedZIP(at, "not an entry of a central directory")
		}
		name, extra := int(le.Uint16(directory[28:])), int(le.Uint16(directory[30:]))
		length := zipCentralSize + name + extra + int(le.Uint16(directory[32:]))
		if len(directory) < length {
			return malformedZIP(at, "the central directory is cut short")
		}
		d := directory[:length:length]
		e := zipEntry{record: d, name: string(d[zipCentralSize:][:name]), method: le.Uint16(d[10:]), crc: le.Uint32(d[16:])}
		wide := wideFields(d[zipCentralSize+name:][:extra])
		for _, f := range []struct {
			at    int
			value *int64
		}{{24, &e.size}, {20, &e.compressed}, {42, &e.offset}} {
			if *f.value = int64(le.Uint32(d[f.at:])); *f.value == math.MaxUint32 {
				if len(wide) < 8 {
					return malformedZIP(at, "entry %q lacks its ZIP64 field", e.name)
				}
				*f.value, wide = int64(le.Uint64(wide)), wide[8:]
			}
		}
		if key := strings.ToLower(e.name); seen[key] { // Windows does not tell them apart
			return malformedZIP(at, "entry %q twice", e.name)
		} else {
			seen[key] = true
		}
		if z.entries = append(z.entries, e); len(z.entries) > maxZIPEntries {
			return malformedZIP(at, "more than %d entries", maxZIPEntries)
		}
		directory, at = directory[length:], at+int64(length)
	}
	if int64(len(z.entries)) != count || count == 0 {
		return malformedZIP(z.directory, "%d entries, the end record says %d", len(z.entries), count)
	}
	next := z.directory
	for i := len(z.entries) - 1; i >= 0; i-- {
		e := &z.entries[i]
		if e.next = next; e.offset < 0 || e.size < 0 || e.compressed < 0 || e.offset > next-zipLocalSize || e.compressed > next-e.offset {
			return malformedZIP(z.directory, "entry %q is not where the central directory says", e.name)
		}
		next = e.offset
	}
	if next != 0 {
		return malformedZIP(0, "%d bytes before the first entry", next)
	}
	return nil
}

// wideFields returns the content of the ZIP64 extra field.
func wideFields(extra []byte) []byte {
	for len(extra) >= 4 {
		kind, length := binary.LittleEndian.Uint16(extra), int(binary.LittleEndian.Uint16(extra[2:]))
		if length > len(extra)-4 {
			return nil
		}
		if kind == zip64Extra {
			return extra[4 : 4+length]
		}
		extra = extra[4+length:]
	}
	return nil
}

func (z *zipFile) find(name string) *zipEntry {
	for i := range z.entries {
		if z.entries[i].name == name {
			return &z.entries[i]
		}
	}
	return nil
}

// open reads an entry's content, up to its length, which is checked at the end
// together with its CRC. An entry of more than most bytes is refused, and one that
// inflates to far more than what digests in XML do.
func (z *zipFile) open(e *zipEntry, most int64) (io.Reader, error) {
	if e.size > most {
		return nil, malformedZIP(e.offset, "entry %q has %d bytes, at most %d are read", e.name, e.size, most)
	}
	if e.size > freeRatio && e.size/maxRatio > e.compressed {
		return nil, malformedZIP(e.offset, "entry %q inflates from %d to %d bytes, more than %d times", e.name, e.compressed, e.size, maxRatio)
	}
	var h [zipLocalSize]byte
	if err := readFull(z.r, h[:], e.offset, z.directory); err != nil {
		return nil, err
	}
	start := e.offset + zipLocalSize + int64(binary.LittleEndian.Uint16(h[26:])) + int64(binary.LittleEndian.Uint16(h[28:]))
	if string(h[:4]) != zipLocalMagic || start+e.compressed > e.next {
		return nil, malformedZIP(e.offset, "entry %q is not where the central directory says", e.name)
	}
	raw := io.NewSectionReader(z.r, start, e.compressed)
	switch e.method {
	case zipStore:
		return &checked{r: raw, e: e}, nil
	case zipDeflate:
		return &checked{r: flate.NewReader(raw), e: e}, nil
	}
	return nil, malformedZIP(e.offset, "entry %q is compressed by method %d", e.name, e.method)
}

// checked holds the content of an entry against its length and CRC.
type checked struct {
	r    io.Reader
	e    *zipEntry
	size int64
	crc  uint32
}

func (c *checked) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.size += int64(n)
	c.crc = crc32.Update(c.crc, crc32.IEEETable, b[:n])
	if c.size > c.e.size || err == io.EOF && (c.size < c.e.size || c.crc != c.e.crc) {
		return n, malformedZIP(c.e.offset, "entry %q does not have the length or CRC that is written for it", c.e.name)
	}
	return n, err
}

// read returns the content of an entry.
func (z *zipFile) read(e *zipEntry, most int64) ([]byte, error) {
	r, err := z.open(e, most)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// newEntry makes a deflated entry of a new content, and the bytes that stand for
// it at offset.
func newEntry(name string, content []byte, offset int64) (zipEntry, []byte, error) {
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.DefaultCompression)
	if err != nil {
		return zipEntry{}, nil, err
	}
	w.Write(content) // a bytes.Buffer takes everything
	w.Close()
	le := binary.LittleEndian
	e := zipEntry{name: name, method: zipDeflate, crc: crc32.ChecksumIEEE(content), offset: offset,
		size: int64(len(content)), compressed: int64(packed.Len())}
	var shared []byte // by local header and central directory
	shared = le.AppendUint16(shared, 20)
	shared = le.AppendUint16(shared, 0)
	shared = le.AppendUint16(shared, zipDeflate)
	shared = le.AppendUint16(shared, 0)
	shared = le.AppendUint16(shared, zip1980)
	shared = le.AppendUint32(shared, e.crc)
	shared = le.AppendUint32(shared, uint32(e.compressed))
	shared = le.AppendUint32(shared, uint32(e.size))
	shared = le.AppendUint16(shared, uint16(len(name)))
	shared = le.AppendUint16(shared, 0)
	e.record = append([]byte(zipCentralMagic), 20, 0)
	e.record = append(e.record, shared...)
	e.record = append(e.record, make([]byte, 14)...)
	e.record = append(e.record, name...)
	e.record = e.moved(offset).record
	local := append([]byte(zipLocalMagic), shared...)
	return e, append(append(local, name...), packed.Bytes()...), nil
}

// moved returns the entry at another offset.
func (e zipEntry) moved(offset int64) zipEntry {
	e.offset = offset
	e.record = bytes.Clone(e.record)
	le := binary.LittleEndian
	if field := e.record[42:]; le.Uint32(field) != math.MaxUint32 && offset < math.MaxUint32 {
		le.PutUint32(field, uint32(offset))
		return e
	}
	// Its offset is the last of the wide fields that readEntries found.
	name, extra := int(le.Uint16(e.record[28:])), int(le.Uint16(e.record[30:]))
	wide := wideFields(e.record[zipCentralSize+name:][:extra])
	for _, at := range []int{24, 20} {
		if le.Uint32(e.record[at:]) == math.MaxUint32 {
			wide = wide[8:]
		}
	}
	le.PutUint64(wide, uint64(offset))
	return e
}

// tail returns the central directory of entries at an offset, with its end
// records in the form that the file has. The numbers of disks in the last one are
// zeros: MakeAppx writes 0xffff there, and Windows and osslsigncode digest zeros.
func (z *zipFile) tail(entries []zipEntry, at int64) []byte {
	var b []byte
	for _, e := range entries {
		b = append(b, e.record...)
	}
	length, le := len(b), binary.LittleEndian
	end := bytes.Clone(z.end)
	last := end[len(end)-zipEndSize:]
	clear(last[4:8])
	if len(end) > zipEndSize {
		le.PutUint64(end[24:], uint64(len(entries)))
		le.PutUint64(end[32:], uint64(len(entries)))
		le.PutUint64(end[40:], uint64(length))
		le.PutUint64(end[48:], uint64(at))
		le.PutUint64(end[zip64EndSize+8:], uint64(at)+uint64(length))
	}
	for _, f := range []struct{ at, value int }{{8, len(entries)}, {10, len(entries)}} {
		if len(end) == zipEndSize || le.Uint16(last[f.at:]) != math.MaxUint16 {
			le.PutUint16(last[f.at:], uint16(f.value))
		}
	}
	for _, f := range []struct {
		at    int
		value int64
	}{{12, int64(length)}, {16, at}} {
		if len(end) == zipEndSize || le.Uint32(last[f.at:]) != math.MaxUint32 {
			le.PutUint32(last[f.at:], uint32(f.value))
		}
	}
	return append(b, end...)
}
