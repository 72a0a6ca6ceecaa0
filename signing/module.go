package signing

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Distributions ship kernel modules compressed, as NAME.ko.xz, .ko.zst or
// .ko.gz. The signature is appended to the module before it is compressed, and
// kernels decompress first; so does this verifier. What it verifies is what
// `xz -d`, `zstd -d` or `gzip -d` print, kmod passes on, and the kernel itself
// decompresses (kernel/module/decompress.c). What any of them refuses is
// malformed. The kernel reads the first stream, frame or member only, and stops
// there without a look at what follows, where the programs go on; so a file has
// one, from its first byte to its last. The rule trailing refuses anything else:
// a second one, an empty one, a skippable frame, padding. The rule format refuses
// fields of a header that no writer of modules sets and no reader looks at.
//
// The container itself is not signed. The same module can be compressed in many
// ways; HARDENING.md lists what is free.

const (
	maxModule = 1 << 30 // decompressed; the largest of Debian's has 10 MB, with debugging information 100

	// A module of zeros has the ratio of its compressor, several thousand; real
	// ones have three to ten. What exceeds both limits is not decompressed.
	maxModuleRatio = 256
	freeModule     = 16 << 20

	maxDictionary = 64 << 20 // of xz, as far as there is content for it: that of xz -9
	maxWindow     = 8 << 20  // of zstd: that of zstd -19
	maxSegment    = 64 << 20 // content of a zstd frame without a window

	xzMagic       = "\xfd7zXZ\x00"
	zstdMagic     = "\x28\xb5\x2f\xfd"
	skippableZstd = "\x2a\x4d\x18" // after 50 to 5f: a skippable frame
	gzipMagic     = "\x1f\x8b"
)

// compression returns how a kernel module is compressed, told by its name and its
// first bytes; empty if it is not.
func compression(file string, r io.ReaderAt) string {
	var head [6]byte
	n, _ := r.ReadAt(head[:], 0) // a shorter file is of no format
	for _, c := range []struct{ suffix, magic string }{{"xz", xzMagic}, {"zst", zstdMagic}, {"gz", gzipMagic}} {
		if strings.HasSuffix(file, ".ko."+c.suffix) && (strings.HasPrefix(string(head[:n]), c.magic) || c.suffix == "zst" && isSkippable(head[:n])) {
			return c.suffix
		}
	}
	return ""
}

// isSkippable reports whether a zstd frame with this beginning is one that
// carries anything but content.
func isSkippable(head []byte) bool {
	return len(head) >= 4 && head[0]&0xf0 == 0x50 && string(head[1:4]) == skippableZstd
}

// moduleLimit is how long a module may be that is decompressed from size bytes.
func moduleLimit(size int64) int64 {
	return min(maxModule, max(freeModule, min(size, maxModule)*maxModuleRatio))
}

func tooLong(length, size int64) error {
	return fail(Unsupported, RuleFormat, 0, "%d bytes decompress to %d or more, at most %d are read", size, length, moduleLimit(size))
}

// decompressed has f read a file, and a compressed kernel module as it was before
// it was compressed: from a temporary file, so that memory does not grow with it.
func decompressed(ctx context.Context, file string, r io.ReaderAt, size int64, f func(r io.ReaderAt, size int64) error) error {
	kind := compression(file, r)
	if kind == "" {
		return f(r, size)
	}
	temp, err := os.CreateTemp("", "hallmark-*.ko")
	if err != nil {
		return fmt.Errorf("decompressing: %w", err)
	}
	defer temp.Close()
	defer os.Remove(temp.Name())
	n, err := decompress(kind, contextReaderAt{ctx, r}, size, temp)
	var e *Error
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &e):
		e.Err = fmt.Errorf("%s: %w", kind, e.Err)
		return e
	case err != nil:
		return err
	}
	return f(temp, n)
}

// decompress writes what a container holds to w and returns its length. Errors
// are *Error, but those of r and w.
func decompress(kind string, r io.ReaderAt, size int64, w io.Writer) (int64, error) {
	switch kind {
	case "xz":
		return decompressXZ(r, size, w)
	case "zst":
		return decompressZstd(r, size, w)
	}
	return decompressGzip(r, size, w)
}

// contained copies what a decompressor yields, up to the limit. Errors of the
// decompressor are malformed input, unless they are of the file below it.
func contained(w io.Writer, z io.Reader, size int64) (int64, error) {
	failing := &failingWriter{w: w}
	n, err := io.Copy(failing, io.LimitReader(z, moduleLimit(size)+1))
	var e *Error
	switch {
	case failing.err != nil:
		return n, failing.err
	case errors.As(err, &e):
		return n, e
	case err != nil:
		return n, fail(Malformed, RuleFormat, 0, "%w", err)
	case n > moduleLimit(size):
		return n, tooLong(n, size)
	}
	return n, nil
}

// failingWriter remembers an error of the writer below it.
type failingWriter struct {
	w   io.Writer
	err error
}

func (f *failingWriter) Write(b []byte) (int, error) {
	n, err := f.w.Write(b)
	f.err = err
	return n, err
}

// decompressGzip reads a file of one member (RFC 1952) with no optional field
// but a name, which is all that the kernel skips.
func decompressGzip(r io.ReaderAt, size int64, w io.Writer) (int64, error) {
	in := io.NewSectionReader(r, 0, size)
	br := bufio.NewReaderSize(in, 64<<10)
	if err := checkGzipHeader(r, size); err != nil {
		return 0, err
	}
	z, err := gzip.NewReader(br)
	if err != nil {
		return 0, fail(Malformed, RuleFormat, 0, "%w", err)
	}
	z.Multistream(false)
	n, err := contained(w, z, size)
	if err != nil {
		return n, err
	}
	at, err := in.Seek(0, io.SeekCurrent)
	if err != nil {
		return n, err
	}
	if end := at - int64(br.Buffered()); end != size {
		return n, fail(Malformed, RuleTrailing, end, "%d bytes follow the first member, and kernels stop there", size-end)
	}
	return n, nil
}

// checkGzipHeader refuses what no reader looks at: all flags but that of the
// name, other extra flags than those of the levels, and names that no module has.
func checkGzipHeader(r io.ReaderAt, size int64) error {
	const fixed, maxName = 10, 255
	head := make([]byte, min(size, fixed+maxName+1))
	if err := readAt(r, head, 0, size); err != nil {
		return err
	}
	if len(head) < fixed {
		return fail(Malformed, RuleFormat, 0, "a header of %d bytes", len(head))
	}
	const name = 1 << 3
	switch flags, extra := head[3], head[8]; {
	case head[2] != 8:
		return fail(Malformed, RuleFormat, 2, "compression method %d, must be 8 (deflate)", head[2])
	case flags&^name != 0:
		return fail(Malformed, RuleFormat, 3, "flags %#02x: of the optional fields kernels know the name alone", flags)
	case extra != 0 && extra != 2 && extra != 4:
		return fail(Malformed, RuleFormat, 8, "extra flags %#02x, must be 0, 2 or 4", extra)
	case flags == 0:
		return nil
	}
	text, _, ok := strings.Cut(string(head[fixed:]), "\x00")
	if !ok || !strings.HasSuffix(text, ".ko") || strings.ContainsFunc(text, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-+", r))
	}) {
		return fail(Malformed, RuleFormat, fixed, "the name in the header is not that of a module: compress it with gzip -n")
	}
	return nil
}

// decompressZstd reads a file of one frame (RFC 8878).
func decompressZstd(r io.ReaderAt, size int64, w io.Writer) (int64, error) {
	content, err := checkZstdFrame(r, size)
	if err != nil {
		return 0, err
	}
	z, err := zstd.NewReader(io.NewSectionReader(r, 0, size), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(maxSegment))
	if err != nil {
		return 0, fail(Malformed, RuleFormat, 0, "%w", err)
	}
	defer z.Close()
	n, err := contained(w, z, size)
	if err == nil && content >= 0 && n != content {
		err = fail(Malformed, RuleFormat, 0, "%d bytes, and the header says %d", n, content)
	}
	return n, err
}

// checkZstdFrame walks the blocks of the first frame, which must end where the
// file ends, and returns the length of its content; -1 if the header does not
// say.
func checkZstdFrame(r io.ReaderAt, size int64) (content int64, err error) {
	head := make([]byte, min(size, 18)) // the longest header
	if err := readAt(r, head, 0, size); err != nil {
		return 0, err
	}
	if isSkippable(head) {
		return 0, fail(Malformed, RuleTrailing, 0, "it begins with a skippable frame, which nothing covers")
	}
	if len(head) < 6 || string(head[:4]) != zstdMagic {
		return 0, fail(Malformed, RuleFormat, 0, "not a zstd frame")
	}
	descriptor, at := head[4], 5
	single := descriptor&(1<<5) != 0
	switch {
	case descriptor&(1<<3|1<<4) != 0:
		return 0, fail(Malformed, RuleFormat, 4, "reserved bits are set in the frame's header")
	case descriptor&3 != 0:
		return 0, fail(Malformed, RuleFormat, 4, "the frame needs a dictionary")
	}
	if !single {
		window := int64(1) << (10 + head[at]>>3)
		if window += window / 8 * int64(head[at]&7); window > maxWindow {
			return 0, fail(Unsupported, RuleFormat, int64(at), "a window of %d bytes, up to %d are read: compress the module with zstd -19 or less", window, maxWindow)
		}
		at++
	}
	content = -1
	if n := [...]int{0, 2, 4, 8}[descriptor>>6]; n > 0 || single {
		n = max(n, 1)
		if at+n > len(head) {
			return 0, fail(Malformed, RuleFormat, int64(at), "the frame's header is cut short")
		}
		var v uint64
		for i := range n {
			v |= uint64(head[at+i]) << (8 * i)
		}
		if n == 2 {
			v += 256
		}
		at += n
		if limit := uint64(moduleLimit(size)); v > limit || single && v > maxSegment {
			return 0, tooLong(int64(min(v, 1<<62)), size)
		}
		content = int64(v)
	}
	return content, walkZstdBlocks(r, size, int64(at), descriptor&(1<<2) != 0)
}

// walkZstdBlocks demands that the blocks that begin at an offset, and the
// checksum that follows the last of them, end where the file ends.
func walkZstdBlocks(r io.ReaderAt, size, at int64, checksum bool) error {
	for last := false; !last; {
		var h [3]byte
		if err := readAt(r, h[:], at, size); err != nil {
			return cutShort(err, at)
		}
		v := int64(h[0]) | int64(h[1])<<8 | int64(h[2])<<16
		length := v >> 3
		switch v >> 1 & 3 {
		case 1: // one byte, repeated
			length = 1
		case 3:
			return fail(Malformed, RuleFormat, at, "a block of the reserved type")
		}
		last = v&1 != 0
		at += 3 + length
	}
	if checksum {
		at += 4
	}
	switch {
	case at > size:
		return fail(Malformed, RuleFormat, size, "the frame is cut short")
	case at < size:
		return fail(Malformed, RuleTrailing, at, "%d bytes follow the first frame, and kernels stop there", size-at)
	}
	return nil
}

// cutShort words the end of the file where there must be more.
func cutShort(err error, at int64) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return fail(Malformed, RuleFormat, at, "it is cut short")
	}
	return err
}
