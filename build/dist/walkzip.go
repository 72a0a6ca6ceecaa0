package dist

import (
	"archive/zip"
	"bufio"
	"encoding/binary"
	"io"
	"slices"
	"strings"

	"github.com/klauspost/compress/flate"
)

// zip reads a zip by its central directory, after comparing that with the local headers: an entry that only one of
// the two has, or that is called otherwise in the other, would be another file for another program.
func (w *walker) zip() error {
	if err := w.zipCount(); err != nil {
		return err
	}
	zr, err := zip.NewReader(w.r, w.size)
	if err != nil {
		return w.errorf(-1, "%w", err)
	}
	zr.RegisterDecompressor(zip.Deflate, func(r io.Reader) io.ReadCloser { return flate.NewReader(r) })
	if err := w.localHeaders(zr.File); err != nil {
		return err
	}
	for _, f := range zr.File {
		name, isDir := strings.CutSuffix(f.Name, "/")
		size := int64(f.UncompressedSize64)
		if err := w.enter(name, isDir, size); err != nil {
			return w.errorf(-1, "%w", err)
		}
		if isDir {
			if size != 0 {
				return w.errorf(-1, "the folder %q has content", name)
			}
			continue
		}
		if !f.Mode().IsRegular() {
			return w.errorf(-1, "%q is a link, a device or another special entry", name)
		}
		r, err := f.Open()
		if err != nil {
			return w.errorf(-1, "%q: %w", name, err)
		}
		err = w.visit(name, f.Mode(), size, r)
		r.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// zipCount counts the entries of the central directory before memory is allocated for them: the record at the end, which
// must end the file, says where the directory is.
func (w *walker) zipCount() error {
	size, start, at, err := w.endRecord()
	if err != nil {
		return err
	}
	if size < 0 || start < 0 || start > at || size > at-start || size > maxDirectory {
		return w.errorf(at, "a central directory of %d bytes at %d, which is outside of the file or too large", size, start)
	}
	in := bufio.NewReaderSize(io.NewSectionReader(w.r, start, size), bufferSize)
	header := make([]byte, 46)
	for n := 0; ; n++ {
		if _, err := io.ReadFull(in, header); err != nil || string(header[:4]) != "PK\x01\x02" {
			return nil // zip.NewReader says what is wrong with it
		}
		if n == maxEntries {
			return w.errorf(start, "more than %d entries", maxEntries)
		}
		le := binary.LittleEndian
		skip := int(le.Uint16(header[28:])) + int(le.Uint16(header[30:])) + int(le.Uint16(header[32:]))
		if _, err := in.Discard(skip); err != nil {
			return nil
		}
	}
}

// localHeaders goes through the file from its beginning: local header, data, data descriptor (APPNOTE 4.3.7 to 4.3.9),
// one behind the other and nothing between, up to the central directory. Each must be one of files.
func (w *walker) localHeaders(files []*zip.File) error {
	const descriptorFlag, encryptedFlag = 8, 1
	type entry struct {
		*zip.File
		data int64
	}
	entries := make([]entry, len(files))
	for i, f := range files {
		offset, err := f.DataOffset()
		if err != nil {
			return w.errorf(-1, "%q: %w", f.Name, err)
		}
		entries[i] = entry{f, offset}
	}
	slices.SortFunc(entries, func(a, b entry) int { return int(min(max(a.data-b.data, -1), 1)) })
	header := make([]byte, 30)
	var at int64
	for _, f := range entries {
		if _, err := w.r.ReadAt(header, at); err != nil || string(header[:4]) != "PK\x03\x04" {
			return w.errorf(at, "no local header where that of %q should be", f.Name)
		}
		flags, method := binary.LittleEndian.Uint16(header[6:]), binary.LittleEndian.Uint16(header[8:])
		nameLen, extraLen := binary.LittleEndian.Uint16(header[26:]), binary.LittleEndian.Uint16(header[28:])
		name := make([]byte, nameLen)
		if _, err := w.r.ReadAt(name, at+30); err != nil || string(name) != f.Name {
			return w.errorf(at, "the local header says %q, the central directory %q", name, f.Name)
		}
		if flags != f.Flags || method != f.Method || f.data != at+30+int64(nameLen)+int64(extraLen) {
			return w.errorf(at, "local header and central directory of %q differ", f.Name)
		}
		if flags&encryptedFlag != 0 {
			return w.errorf(at, "%q is encrypted", f.Name)
		}
		if flags&descriptorFlag == 0 {
			if crc := binary.LittleEndian.Uint32(header[14:]); crc != f.CRC32 {
				return w.errorf(at, "local header and central directory of %q differ", f.Name)
			}
		}
		compressed := int64(f.CompressedSize64)
		if compressed < 0 || compressed > w.size-f.data {
			return w.errorf(at, "%q goes past the end of the file", f.Name)
		}
		at = f.data + compressed
		if flags&descriptorFlag != 0 {
			n, err := w.descriptor(at, f.File)
			if err != nil {
				return err
			}
			at += n
		}
	}
	return w.directoryAt(at)
}

// directoryAt checks that the central directory begins at offset and that the end records follow it at once and end
// the file: nothing can hide before, between or after (APPNOTE 4.3.14 to 4.3.16).
func (w *walker) directoryAt(offset int64) error {
	size, start, at, err := w.endRecord()
	if err != nil {
		return err
	}
	if start != offset || size != at-start {
		return w.errorf(at, "the central directory is said to be at %d with %d bytes, and the entries end at %d", start, size, offset)
	}
	return nil
}

// endRecord reads the end records, without a comment: the size and the beginning of the central directory, and where
// the records themselves begin.
func (w *walker) endRecord() (size, start, at int64, err error) {
	const endLen, locatorLen, end64Len, unknown32 = 22, 20, 56, 0xffffffff
	at = w.size - endLen
	end := make([]byte, endLen)
	if _, err := w.r.ReadAt(end, max(at, 0)); err != nil || string(end[:4]) != "PK\x05\x06" || binary.LittleEndian.Uint16(end[20:]) != 0 {
		return 0, 0, 0, w.errorf(max(at, 0), "bytes or a comment after the end of the central directory")
	}
	size, start = int64(binary.LittleEndian.Uint32(end[12:])), int64(binary.LittleEndian.Uint32(end[16:]))
	if size == unknown32 || start == unknown32 {
		at -= locatorLen + end64Len
		end64 := make([]byte, end64Len+locatorLen)
		if _, err := w.r.ReadAt(end64, max(at, 0)); err != nil || string(end64[:4]) != "PK\x06\x06" || string(end64[end64Len:end64Len+4]) != "PK\x06\x07" ||
			int64(binary.LittleEndian.Uint64(end64[end64Len+8:])) != at {
			return 0, 0, 0, w.errorf(max(at, 0), "no zip64 end record where it should be")
		}
		size, start = int64(binary.LittleEndian.Uint64(end64[40:])), int64(binary.LittleEndian.Uint64(end64[48:]))
	}
	return size, start, at, nil
}

// descriptor checks a data descriptor: signature, CRC-32, compressed and uncompressed size; the sizes have 8 bytes
// when one of them needs it.
func (w *walker) descriptor(at int64, f *zip.File) (int64, error) {
	want := binary.LittleEndian.AppendUint32([]byte("PK\x07\x08"), f.CRC32)
	if f.CompressedSize64 > 0xffffffff || f.UncompressedSize64 > 0xffffffff {
		want = binary.LittleEndian.AppendUint64(want, f.CompressedSize64)
		want = binary.LittleEndian.AppendUint64(want, f.UncompressedSize64)
	} else {
		want = binary.LittleEndian.AppendUint32(want, uint32(f.CompressedSize64))
		want = binary.LittleEndian.AppendUint32(want, uint32(f.UncompressedSize64))
	}
	got := make([]byte, len(want))
	if _, err := w.r.ReadAt(got, at); err != nil || string(got) != string(want) {
		return 0, w.errorf(at, "the data descriptor of %q does not match the central directory", f.Name)
	}
	return int64(len(want)), nil
}
