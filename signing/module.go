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
	"github.com/ulikunitz/xz/lzma"
)

// Distributions ship kernel modules compressed, as NAME.ko.xz, .ko.zst or
// .ko.gz. The signature is appended to the module before it is compressed, and
// kernels decompress first; so does this verifier. Nothing covers the container
// itself: names and times in a gzip header, the checks and the index that follow
// the data in an xz file.
//
// Of xz (The .xz File Format 1.2.1) that is read which `make modules_install`
// and kmod write: one block with the one filter LZMA2,
//
//	stream header  fd 37 7a 58 5a 00, 2 bytes of flags, CRC-32
//	block header   size/4-1 uint8, flags uint8: 0 one filter, 0x40 and 0x80 sizes follow
//	               sizes, filter 0x21, length 1, dictionary size uint8; zeros; CRC-32
//	LZMA2 chunks, up to one that is 0

const (
	maxModule     = 1 << 30 // decompressed; the largest of Debian's has 10 MB, with debugging information 100
	maxDictionary = 8 << 20 // kernels are built with 1 MiB for modules (XZ_DEC)
	xzMagic       = "\xfd7zXZ\x00"
	zstdMagic     = "\x28\xb5\x2f\xfd"
	gzipMagic     = "\x1f\x8b"
)

// compression returns how a kernel module is compressed, told by its name and its
// first bytes; empty if it is not.
func compression(file string, r io.ReaderAt) string {
	var head [6]byte
	n, _ := r.ReadAt(head[:], 0) // a shorter file is of no format
	for _, c := range []struct{ suffix, magic string }{{"xz", xzMagic}, {"zst", zstdMagic}, {"gz", gzipMagic}} {
		if strings.HasSuffix(file, ".ko."+c.suffix) && strings.HasPrefix(string(head[:n]), c.magic) {
			return c.suffix
		}
	}
	return ""
}

// decompressed has f read a file, and a compressed kernel module as it was before
// it was compressed: from a temporary file, so that memory does not grow with it.
func decompressed(ctx context.Context, file string, r io.ReaderAt, size int64, f func(r io.ReaderAt, size int64) error) error {
	kind := compression(file, r)
	if kind == "" {
		return f(r, size)
	}
	plain, err := decompressor(kind, bufio.NewReaderSize(io.NewSectionReader(contextReaderAt{ctx, r}, 0, size), 64<<10))
	if err != nil {
		return fail(Malformed, RuleFormat, 0, "%s: %w", kind, err)
	}
	defer plain.Close()
	temp, err := os.CreateTemp("", "hallmark-*.ko")
	if err != nil {
		return fmt.Errorf("decompressing: %w", err)
	}
	defer temp.Close()
	defer os.Remove(temp.Name())
	n, err := io.Copy(temp, io.LimitReader(plain, maxModule+1))
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fail(Malformed, RuleFormat, 0, "%s: %w", kind, err)
	case n > maxModule:
		return fail(Unsupported, RuleFormat, 0, "the module has more than %d bytes when it is decompressed", maxModule)
	}
	return f(temp, n)
}

func decompressor(kind string, r *bufio.Reader) (io.ReadCloser, error) {
	switch kind {
	case "xz":
		return newXZ(r)
	case "zst":
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxDictionary))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return gzip.NewReader(r)
}

// newXZ reads an xz file of one block.
func newXZ(r *bufio.Reader) (io.ReadCloser, error) {
	head := make([]byte, 12+2)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	if string(head[:6]) != xzMagic || head[12] == 0 {
		return nil, errors.New("not an xz file with content")
	}
	flags := head[13]
	block := make([]byte, (int(head[12])+1)*4-2)
	if _, err := io.ReadFull(r, block); err != nil {
		return nil, err
	}
	if flags&0x3f != 0 {
		return nil, errors.New("a filter beside LZMA2, which kernels are built without: compress it with xz --lzma2=dict=1MiB")
	}
	for bit := byte(0x40); bit != 0; bit <<= 1 { // compressed and uncompressed size
		if flags&bit == 0 {
			continue
		}
		n := 0
		for n < len(block) && n < 9 && block[n]&0x80 != 0 {
			n++
		}
		block = block[min(n+1, len(block)):]
	}
	if len(block) < 3+4 || block[0] != 0x21 || block[1] != 1 || block[2] > 40 {
		return nil, errors.New("the block is not compressed by LZMA2")
	}
	dictionary := uint64(2|block[2]&1) << (block[2]/2 + 11)
	if dictionary > maxDictionary {
		return nil, fmt.Errorf("a dictionary of %d bytes; modules have up to %d: compress it with xz --lzma2=dict=1MiB", dictionary, maxDictionary)
	}
	z, err := lzma.Reader2Config{DictCap: int(dictionary)}.NewReader2(r)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(z), nil
}
