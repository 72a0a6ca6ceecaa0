package sip

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

var _ Container = (*msix)(nil)

// CoversNames implements [Container]: the digest of the central directory covers
// the names.
func (*msix) CoversNames() bool { return true }

// CheckFree implements [Container]. The digests are of the file as it is without
// the signature's entry, so that entry must have the one form that signtool and
// osslsigncode give it: no extra field, comment or attribute, the same in its local
// header and in the central directory, and nothing behind its data. What remains is
// its time, and how its data are deflated. The end records must say what is there.
func (m *msix) CheckFree() error {
	if m.p7x == nil {
		return nil
	}
	for _, check := range []func() error{m.checkRecord, m.checkLocal, m.checkDeflated, m.checkEnd} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (m *msix) notFree(at int64, format string, args ...any) error {
	return &FreeError{Format: formatMSIX, Offset: at, Detail: "the signature's entry: " + fmt.Sprintf(format, args...)}
}

const (
	zipMadeBy20   = 20 // version 2.0 of MS-DOS, as relic writes it
	zipMadeBy45   = 45
	zipDescriptor = 8 // flag: CRC and lengths follow the data
)

// checkRecord looks at the signature's record in the central directory.
func (m *msix) checkRecord() error {
	r, le := m.p7x.record, binary.LittleEndian
	at, name := m.directory, len(m.p7x.name)
	for _, e := range m.entries[:len(m.entries)-1] {
		at += int64(len(e.record))
	}
	var wide []byte
	for _, f := range []struct {
		at    int
		value int64
	}{{24, m.p7x.size}, {20, m.p7x.compressed}, {42, m.p7x.offset}} {
		if le.Uint32(r[f.at:]) == math.MaxUint32 {
			wide = le.AppendUint64(wide, uint64(f.value))
		}
	}
	if wide != nil {
		wide = append([]byte{zip64Extra, 0, byte(len(wide)), 0}, wide...)
	}
	made, needed, flags := le.Uint16(r[4:]), le.Uint16(r[6:]), le.Uint16(r[8:])
	switch {
	case made != zipMadeBy20 && made != zipMadeBy45 || needed != zipMadeBy20 && needed != zipMadeBy45:
		return m.notFree(at+4, "versions %#x and %#x", made, needed)
	case flags&^zipDescriptor != 0:
		return m.notFree(at+8, "flags %#x", flags)
	case le.Uint16(r[32:]) != 0:
		return m.notFree(at+32, "a comment of %d bytes", le.Uint16(r[32:]))
	case len(bytes.Trim(r[34:42], "\x00")) > 0:
		return m.notFree(at+34, "a disk number or attributes")
	case !bytes.Equal(r[zipCentralSize+name:], wide):
		return m.notFree(at+30, "an extra field that it does not need")
	}
	return nil
}

// checkLocal demands that the local header repeats the record, and that the data,
// with their descriptor if the flag is set, end where the directory begins.
func (m *msix) checkLocal() error {
	e, r, le := m.p7x, m.p7x.record, binary.LittleEndian
	h := make([]byte, zipLocalSize+len(e.name))
	if err := readFull(m.r, h, e.offset, m.size()); err != nil {
		return m.notFree(e.offset, "its local header is cut short")
	}
	want := append([]byte(zipLocalMagic), r[6:16]...) // version, flags, method, time
	var descriptor []byte
	if sums := m.sums(false); le.Uint16(r[8:])&zipDescriptor == 0 {
		want = append(want, sums...)
	} else {
		want = append(want, make([]byte, len(sums))...)
		descriptor = append([]byte(zipDataMagic), m.sums(e.next-e.compressed-e.offset-int64(len(h)) == 24)...)
	}
	want = le.AppendUint16(want, uint16(len(e.name)))
	want = append(le.AppendUint16(want, 0), e.name...)
	if !bytes.Equal(h, want) {
		return m.notFree(e.offset, "its local header is not that of the central directory")
	}
	end := e.offset + int64(len(h)) + e.compressed
	if e.next-end != int64(len(descriptor)) {
		return m.notFree(end, "%d bytes between its data and the central directory", e.next-end)
	}
	is := make([]byte, len(descriptor))
	if err := readFull(m.r, is, end, m.size()); err != nil || !bytes.Equal(is, descriptor) {
		return m.notFree(end, "its data descriptor is not that of the central directory")
	}
	return nil
}

// sums returns CRC and lengths of the signature, in 4 bytes each, or the lengths
// in 8.
func (m *msix) sums(wide bool) []byte {
	e, le := m.p7x, binary.LittleEndian
	b := le.AppendUint32(nil, e.crc)
	if wide {
		return le.AppendUint64(le.AppendUint64(b, uint64(e.compressed)), uint64(e.size))
	}
	return le.AppendUint32(le.AppendUint32(b, uint32(e.compressed)), uint32(e.size))
}

// checkDeflated demands that the deflate stream ends with the data, and that it is
// no longer than storing would be.
func (m *msix) checkDeflated() error {
	e := m.p7x
	start := e.offset + zipLocalSize + int64(len(e.name))
	if e.method == zipStore {
		return nil // [zipFile.open] has held the length against that of the data
	}
	raw := bufio.NewReader(io.NewSectionReader(m.r, start, e.compressed)) // flate reads no byte too many from an io.ByteReader
	if n, err := io.Copy(io.Discard, io.LimitReader(flate.NewReader(raw), e.size+1)); err != nil || n != e.size {
		return m.notFree(start, "its data cannot be inflated to %d bytes", e.size)
	}
	if n, err := io.Copy(io.Discard, raw); err != nil || n > 0 {
		return m.notFree(start+e.compressed-n, "%d bytes follow the deflated data", n)
	}
	const stored = 1 << 14 // bytes of a stored block, as zlib makes them, with 5 before them
	if most := e.size + 5*(e.size/stored+2); e.compressed > most {
		return m.notFree(start, "%d bytes are deflated to %d", e.size, e.compressed)
	}
	return nil
}

// checkEnd demands of the end records that they say what is there. Numbers of disks
// may be 0xffff, see [zipFile.tail].
func (m *msix) checkEnd() error {
	want := m.tail(m.entries, m.directory)
	want = want[len(want)-len(m.end):]
	last, is := want[len(want)-zipEndSize:], m.end[len(m.end)-zipEndSize:]
	if string(is[4:8]) == "\xff\xff\xff\xff" {
		copy(last[4:8], is[4:8])
	}
	for i := range want {
		if want[i] != m.end[i] {
			at := m.size() - int64(len(m.end)) + int64(i)
			return &FreeError{Format: formatMSIX, Offset: at, Detail: "the end of the central directory does not say what is there"}
		}
	}
	return nil
}

// size is that of the file.
func (m *msix) size() int64 {
	size := m.directory + int64(len(m.end))
	for _, e := range m.entries {
		size += int64(len(e.record))
	}
	return size
}
