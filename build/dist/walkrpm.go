package dist

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// The tags of an rpm that Walk reads (rpmtag.h).
const (
	tagPayloadFormat      = 1124 // cpio
	tagPayloadCompressor  = 1125 // zstd, gzip
	tagPayloadDigest      = 5092 // hex digest of the compressed payload
	tagPayloadDigestAlgo  = 5093 // 8: SHA-256
	payloadDigestAlgoSHA2 = 8
)

// rpm reads an RPM v4 package: lead (96 bytes, historical), signature header, padded to 8 bytes, header, compressed
// cpio. The signature header must hold the header's SHA-256, and the header the payload's: so every byte behind the
// signature header is covered.
func (w *walker) rpm() error {
	f, err := w.rpmFile()
	if err != nil {
		return err
	}
	if err := w.checkRPMEdges(f); err != nil {
		return err
	}
	if err := w.checkRPMHeader(f); err != nil {
		return err
	}
	return w.rpmPayload(f.header, f.payload)
}

func (w *walker) rpmPayload(header rpmHeader, at int64) error {
	if format, err := header.text(tagPayloadFormat); err != nil || format != "cpio" {
		return w.errorf(at, "payload format %q, where cpio is known", format)
	}
	want, err := header.text(tagPayloadDigest)
	if err != nil {
		return w.errorf(at, "payload digest: %w", err)
	}
	if algo, err := header.number(tagPayloadDigestAlgo); err != nil || algo != payloadDigestAlgoSHA2 {
		return w.errorf(at, "the payload digest is not a SHA-256")
	}
	h := sha256.New()
	in := bufio.NewReaderSize(&hashReader{r: w.section(at), h: h}, bufferSize)
	out, done, err := w.rpmDecompressor(header, in)
	if err != nil {
		return w.errorf(at, "%w", err)
	}
	defer done()
	if err := w.cpio(out); err != nil {
		return err
	}
	if _, err := in.ReadByte(); err != io.EOF {
		return w.errorf(-1, "after the payload: %w", trailing(err))
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		return w.errorf(at, "the payload's SHA-256 is not the one in the header")
	}
	return nil
}

// rpmDecompressor unpacks a payload. done is to be called when it is not needed any more.
func (w *walker) rpmDecompressor(header rpmHeader, in io.Reader) (out io.Reader, done func(), err error) {
	switch compressor, err := header.text(tagPayloadCompressor); {
	case err == nil && compressor == "zstd":
		zr, err := newZstd(in)
		if err != nil {
			return nil, nil, err
		}
		return w.inflated(zr), zr.Close, nil
	case err == nil && compressor == "gzip":
		zr, err := gzip.NewReader(in)
		if err != nil {
			return nil, nil, err
		}
		zr.Multistream(false)
		return w.inflated(zr), func() {}, nil
	default:
		return nil, nil, fmt.Errorf("payload compressor %q, where zstd and gzip are known", compressor)
	}
}

type hashReader struct {
	r io.Reader
	h hash.Hash
}

func (r *hashReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.h.Write(p[:n])
	return n, err
}

// rpmHeader is a header structure: 16-byte index entries (tag, type, offset, count; big-endian) and a store.
type rpmHeader struct{ index, store []byte }

// rpmHeader reads the header structure at an offset: 8e ad e8 01, four reserved bytes, the number of index entries,
// the size of the store. It returns the offset behind it too.
func (w *walker) rpmHeader(at int64) (rpmHeader, int64, error) {
	intro := make([]byte, 16)
	if _, err := w.r.ReadAt(intro, at); err != nil {
		return rpmHeader{}, 0, w.errorf(at, "a header is cut off")
	}
	if !bytes.Equal(intro[:8], []byte{0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0}) {
		return rpmHeader{}, 0, w.errorf(at, "no header begins here")
	}
	tags, size := int64(binary.BigEndian.Uint32(intro[8:])), int64(binary.BigEndian.Uint32(intro[12:]))
	if tags == 0 || tags > maxTags || size > maxHeader || 16*tags+size > w.size-at-16 {
		return rpmHeader{}, 0, w.errorf(at, "a header of %d tags and %d bytes is cut off or too large", tags, size)
	}
	b := make([]byte, 16*tags+size)
	if _, err := w.r.ReadAt(b, at+16); err != nil {
		return rpmHeader{}, 0, w.errorf(at, "%w", err)
	}
	return rpmHeader{index: b[:16*tags], store: b[16*tags:]}, at + 16 + int64(len(b)), nil
}

// find returns the type and the count of a tag, and the store from its value on.
func (h rpmHeader) find(tag uint32) (kind, count uint32, value []byte, err error) {
	for i := 0; i+16 <= len(h.index); i += 16 {
		e := h.index[i:]
		if binary.BigEndian.Uint32(e) != tag {
			continue
		}
		offset, count := binary.BigEndian.Uint32(e[8:]), binary.BigEndian.Uint32(e[12:])
		if int64(offset) >= int64(len(h.store)) || count == 0 {
			return 0, 0, nil, fmt.Errorf("tag %d points outside of its header", tag)
		}
		return binary.BigEndian.Uint32(e[4:]), count, h.store[offset:], nil
	}
	return 0, 0, nil, &missingTagError{tag}
}

// missingTagError is a tag that a header does not have.
type missingTagError struct{ tag uint32 }

func (e *missingTagError) Error() string { return fmt.Sprintf("tag %d is missing", e.tag) }

// text returns a tag of type string (6), or the first of a string array (8) or translated strings (9).
func (h rpmHeader) text(tag uint32) (string, error) {
	kind, _, value, err := h.find(tag)
	if err != nil {
		return "", err
	}
	end := bytes.IndexByte(value, 0)
	if kind != 6 && kind != 8 && kind != 9 || end < 0 {
		return "", fmt.Errorf("tag %d is not a string", tag)
	}
	return string(value[:end]), nil
}

// number returns the first value of a tag of type int32 (4).
func (h rpmHeader) number(tag uint32) (uint32, error) {
	kind, _, value, err := h.find(tag)
	if err != nil {
		return 0, err
	}
	if kind != 4 || len(value) < 4 {
		return 0, fmt.Errorf("tag %d is not a number", tag)
	}
	return binary.BigEndian.Uint32(value), nil
}

// cpio reads a "newc" archive (cpio(5)): per entry 070701, thirteen numbers of eight hex digits, the name with its
// NUL, zeros up to a multiple of four, the content, zeros up to a multiple of four; TRAILER!!! ends it.
func (w *walker) cpio(r io.Reader) error {
	const typeMask, typeRegular, typeDir = 0o170000, 0o100000, 0o040000
	header := make([]byte, 110)
	for n := 1; ; n++ {
		if _, err := io.ReadFull(r, header); err != nil {
			return w.errorf(-1, "the cpio header of entry %d: %w", n, err)
		}
		var field [13]int64
		for i := range field {
			number, err := strconv.ParseUint(string(header[6+8*i:14+8*i]), 16, 32)
			if err != nil || string(header[:6]) != "070701" {
				return w.errorf(-1, "entry %d has no valid cpio header", n)
			}
			field[i] = int64(number)
		}
		mode, size, nameLen := field[1], field[6], field[11]
		if nameLen < 2 || nameLen > maxName {
			return w.errorf(-1, "a cpio name of %d bytes", nameLen)
		}
		raw := make([]byte, nameLen+(4-(110+nameLen)%4)%4)
		if _, err := io.ReadFull(r, raw); err != nil {
			return w.errorf(-1, "a cpio name: %w", err)
		}
		name, padding, _ := strings.Cut(string(raw), "\x00")
		if int64(len(name)) != nameLen-1 || strings.Trim(padding, "\x00") != "" {
			return w.errorf(-1, "a cpio name %q that does not end where its header says", raw)
		}
		if name == "TRAILER!!!" {
			if size != 0 {
				return w.errorf(-1, "a cpio trailer with content")
			}
			if err := onlyZeros(r, maxPadding); err != nil {
				return w.errorf(-1, "after the end of the cpio: %w", err)
			}
			return nil
		}
		name = strings.TrimPrefix(strings.TrimPrefix(name, "."), "/")
		if err := w.enter(name, mode&typeMask == typeDir, size); err != nil {
			return w.errorf(-1, "%w", err)
		}
		switch mode & typeMask {
		case typeDir:
			if size != 0 {
				return w.errorf(-1, "the folder %q has content", name)
			}
			continue
		case typeRegular:
		default:
			return w.errorf(-1, "%q is a link, a device or another special entry (mode %o)", name, mode)
		}
		if err := w.visit(name, fs.FileMode(mode).Perm(), size, io.LimitReader(r, size)); err != nil {
			return err
		}
		pad := make([]byte, (4-size%4)%4)
		if _, err := io.ReadFull(r, pad); err != nil || len(bytes.Trim(pad, "\x00")) > 0 {
			return w.errorf(-1, "%q is not padded with zeros", name)
		}
	}
}
