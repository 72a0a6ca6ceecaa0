package signing

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

// An xz file (The .xz File Format 1.2.1) of one stream:
//
//	stream header  fd 37 7a 58 5a 00, 0, kind of check; CRC-32 of these two
//	blocks         as many as the compressor made: xz -T makes one of every 3 MiB
//	               header size/4-1 uint8, flags uint8: 0 one filter, 0x40 and 0x80 sizes follow;
//	               sizes, filter 0x21, length 1, dictionary size uint8; zeros; CRC-32
//	               LZMA2 chunks, up to one that is 0; zeros up to a multiple of 4; check
//	index          0, count, of each block length without its zeros, and of its content; zeros; CRC-32
//	stream footer  CRC-32, index size/4-1 uint32, 0, kind of check, "YZ"
//
// The index is read first: it says where each block lies, and how much memory
// and space is needed at most. Every field is then checked; of the data LZMA2
// alone is left to a library.
const (
	xzHeader   = 12
	xzFooter   = 12
	maxXZIndex = 1 << 20 // some 100,000 blocks
	xzFilter   = 0x21    // LZMA2
)

// xzBlock is a block as the index has it.
type xzBlock struct {
	at       int64
	unpadded int64 // header, data and check
	content  int64
}

// xzCheck returns the check over each block's content; nil for none.
func xzCheck(kind byte) (h hash.Hash, size int64, ok bool) {
	switch kind {
	case 0:
		return nil, 0, true
	case 1:
		return reversed{crc32.NewIEEE()}, 4, true
	case 4:
		return reversed{crc64.New(crc64.MakeTable(crc64.ECMA))}, 8, true
	case 10:
		return sha256.New(), sha256.Size, true
	}
	return nil, 0, false
}

// reversed is a CRC whose sum is little-endian.
type reversed struct{ hash.Hash }

func (r reversed) Sum(b []byte) []byte {
	sum := r.Hash.Sum(nil)
	for i := range sum {
		b = append(b, sum[len(sum)-1-i])
	}
	return b
}

// decompressXZ writes what an xz file holds to w and returns its length.
func decompressXZ(r io.ReaderAt, size int64, w io.Writer) (int64, error) {
	kind, blocks, err := readXZIndex(r, size)
	if err != nil {
		return 0, err
	}
	var n int64
	for _, b := range blocks {
		check, checkSize, _ := xzCheck(kind)
		if err := b.decompress(r, check, checkSize, w); err != nil {
			return n, err
		}
		n += b.content
	}
	return n, nil
}

// readXZIndex reads header, footer and index of the one stream that a file is,
// and returns the kind of check and where the blocks lie.
func readXZIndex(r io.ReaderAt, size int64) (kind byte, blocks []xzBlock, err error) {
	bad := func(at int64, format string, args ...any) (byte, []xzBlock, error) {
		return 0, nil, fail(Malformed, RuleFormat, at, format, args...)
	}
	if size < xzHeader+8+xzFooter {
		return bad(0, "%d bytes are not an xz file", size)
	}
	var head, foot [xzHeader]byte
	if err := readAt(r, head[:], 0, size); err != nil {
		return 0, nil, err
	}
	if err := readAt(r, foot[:], size-xzFooter, size); err != nil {
		return 0, nil, err
	}
	le := binary.LittleEndian
	_, _, known := xzCheck(head[7])
	switch {
	case string(head[:6]) != xzMagic:
		return bad(0, "not an xz file")
	case head[6] != 0 || crc32.ChecksumIEEE(head[6:8]) != le.Uint32(head[8:]):
		return bad(6, "the stream's header is damaged")
	case !known:
		return bad(7, "check of the unknown kind %d", head[7])
	case binary.LittleEndian.Uint32(foot[8:]) == 0:
		return 0, nil, fail(Malformed, RuleTrailing, size-4, "zeros follow the stream, and kernels stop there")
	case string(foot[10:]) != "YZ":
		return bad(size-xzFooter, "it does not end with the footer of a stream: it is cut short, or something follows")
	case crc32.ChecksumIEEE(foot[4:10]) != le.Uint32(foot[:]) || foot[8] != 0 || foot[9] != head[7]:
		return bad(size-xzFooter, "the stream's footer is damaged")
	}
	length := (int64(le.Uint32(foot[4:])) + 1) * 4
	at := size - xzFooter - length
	if length > maxXZIndex || at < xzHeader {
		return bad(size-xzFooter+4, "an index of %d bytes", length)
	}
	index := make([]byte, length)
	if err := readAt(r, index, at, size); err != nil {
		return 0, nil, err
	}
	blocks, err = parseXZIndex(index, at, size)
	return head[7], blocks, err
}

// parseXZIndex returns the blocks of an index that begins at an offset, which
// must fill the file up to there.
func parseXZIndex(index []byte, at, size int64) ([]xzBlock, error) {
	bad := fail(Malformed, RuleFormat, at, "the index is damaged")
	body := index[:len(index)-4]
	if body[0] != 0 || crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(index[len(body):]) {
		return nil, bad
	}
	body = body[1:]
	count, body, ok := xzNumber(body)
	if !ok || count > uint64(len(body)) {
		return nil, bad
	}
	blocks := make([]xzBlock, count)
	next, total := int64(xzHeader), int64(0)
	for i := range blocks {
		var unpadded, content uint64
		if unpadded, body, ok = xzNumber(body); ok {
			content, body, ok = xzNumber(body)
		}
		if !ok || unpadded < 5 || unpadded > uint64(size) {
			return nil, bad
		}
		if content > uint64(moduleLimit(size)) || total+int64(content) > moduleLimit(size) {
			return nil, tooLong(total+int64(min(content, 1<<40)), size)
		}
		blocks[i] = xzBlock{next, int64(unpadded), int64(content)}
		next += (int64(unpadded) + 3) &^ 3
		total += int64(content)
	}
	if len(body) > 3 || len(bytes.Trim(body, "\x00")) > 0 {
		return nil, bad
	}
	if next != at {
		return nil, fail(Malformed, RuleTrailing, min(next, size), "the index is of %d bytes before it, and there are %d: another stream, or what belongs to none, and kernels read the first stream alone", next, at)
	}
	return blocks, nil
}

// xzNumber reads a variable-length integer, which has one form only.
func xzNumber(b []byte) (v uint64, rest []byte, ok bool) {
	for i, c := range b[:min(len(b), 9)] {
		v |= uint64(c&0x7f) << (7 * i)
		if c&0x80 == 0 {
			return v, b[i+1:], c != 0 || i == 0
		}
	}
	return 0, nil, false
}

// decompress writes the content of a block to w, and checks all of the block.
func (b xzBlock) decompress(r io.ReaderAt, check hash.Hash, checkSize int64, w io.Writer) error {
	whole := (b.unpadded + 3) &^ 3
	end := b.at + whole
	header, dictionary, err := b.readHeader(r, checkSize, end)
	if err != nil {
		return err
	}
	data, dataEnd := b.at+header, b.at+b.unpadded-checkSize
	if err := checkLZMA2(r, data, dataEnd, b.content); err != nil {
		return err
	}
	if b.content > 0 {
		chunks := &lzma2Reader{r: r, at: data, end: dataEnd, chunk: lzma2Chunk{next: data}}
		if err := b.decode(chunks, dictionary, check, w); err != nil {
			return err
		}
	}
	// Zeros lie between the data and the check.
	tail := make([]byte, whole-b.unpadded+checkSize)
	if err := readAt(r, tail, end-int64(len(tail)), end); err != nil {
		return err
	}
	var sum []byte
	if check != nil {
		sum = check.Sum(nil)
	}
	if want := append(make([]byte, whole-b.unpadded), sum...); !bytes.Equal(tail, want) {
		return fail(Malformed, RuleFormat, end-int64(len(tail)), "the check over a block does not fit its content")
	}
	return nil
}

// readHeader returns the length of a block's header and the dictionary that
// decoding takes.
func (b xzBlock) readHeader(r io.ReaderAt, checkSize, end int64) (length, dictionary int64, err error) {
	bad := func(format string, args ...any) (int64, int64, error) {
		return 0, 0, fail(Malformed, RuleFormat, b.at, format, args...)
	}
	var first [1]byte
	if err := readAt(r, first[:], b.at, end); err != nil {
		return 0, 0, cutShort(err, b.at)
	}
	length = (int64(first[0]) + 1) * 4
	data := b.unpadded - length - checkSize
	if first[0] == 0 || data < 1 {
		return bad("a block's header of %d bytes in a block of %d", length, b.unpadded)
	}
	h := make([]byte, length)
	if err := readAt(r, h, b.at, end); err != nil {
		return 0, 0, cutShort(err, b.at)
	}
	flags, body := h[1], h[2:length-4]
	if crc32.ChecksumIEEE(h[:length-4]) != binary.LittleEndian.Uint32(h[length-4:]) || flags&0x3c != 0 {
		return bad("a block's header is damaged")
	}
	for _, size := range []struct {
		flag byte
		want int64
	}{{0x40, data}, {0x80, b.content}} {
		if flags&size.flag == 0 {
			continue
		}
		v, rest, ok := xzNumber(body)
		if !ok || v != uint64(size.want) {
			return bad("a block's header contradicts the index")
		}
		body = rest
	}
	if flags&3 != 0 || len(body) > 0 && body[0] != xzFilter {
		return 0, 0, fail(Unsupported, RuleFormat, b.at, "a filter beside LZMA2, which kernels are built without: compress the module with xz --lzma2=dict=1MiB")
	}
	if len(body) < 3 || body[1] != 1 || body[2] > 40 || len(bytes.Trim(body[3:], "\x00")) > 0 {
		return bad("a block's header is damaged")
	}
	dictionary = min(1<<32-1, int64(2|body[2]&1)<<(body[2]/2+11))
	dictionary = max(lzma.MinDictCap, min(dictionary, b.content)) // no distance exceeds the content
	if dictionary > maxDictionary {
		return 0, 0, fail(Unsupported, RuleFormat, b.at, "a dictionary of %d bytes, up to %d are used: compress the module with xz -9 or less", dictionary, maxDictionary)
	}
	return length, dictionary, nil
}

// decode writes the content of LZMA2 chunks to w and check.
func (b xzBlock) decode(chunks *lzma2Reader, dictionary int64, check hash.Hash, w io.Writer) error {
	z, err := lzma.Reader2Config{DictCap: int(dictionary)}.NewReader2(chunks)
	if err != nil {
		return fail(Malformed, RuleFormat, b.at, "%w", err)
	}
	out := w
	if check != nil {
		out = io.MultiWriter(w, check)
	}
	failing := &failingWriter{w: out}
	n, err := io.Copy(failing, io.LimitReader(z, b.content+1))
	switch {
	case failing.err != nil:
		return failing.err
	case err != nil:
		return fail(Malformed, RuleFormat, b.at, "%w", err)
	case n != b.content || chunks.at != chunks.end:
		return fail(Malformed, RuleFormat, b.at, "a block is not as long as the index says")
	}
	return nil
}

// lzma2Chunk is an LZMA2 chunk:
//
//	control uint8: 0 end, 1 and 2 not compressed, 0x80 to 0xff compressed
//	length of the content-1: 16 bits; of compressed chunks also 5 bits of control
//	length of the data-1: 16 bits; of compressed chunks only
//	properties uint8: from control 0xc0
type lzma2Chunk struct {
	last       bool
	compressed bool
	data, next int64 // where its data and the next chunk begin
	content    int64
}

func readLZMA2Chunk(r io.ReaderAt, at, end int64) (c lzma2Chunk, err error) {
	var buf [6]byte
	h := buf[:min(6, end-at)]
	if err := readAt(r, h, at, end); err != nil {
		return c, err
	}
	length := lzma2HeaderLength(h)
	if length == 0 || length > len(h) {
		return c, fail(Malformed, RuleFormat, at, "a damaged LZMA2 chunk")
	}
	c.data = at + int64(length)
	if h[0] == 0 {
		c.last, c.next = true, c.data
		return c, nil
	}
	c.content = int64(binary.BigEndian.Uint16(h[1:])) + 1
	c.next = c.data + c.content
	if h[0] >= 0x80 {
		c.compressed = true
		c.content += int64(h[0]&0x1f) << 16
		c.next = c.data + int64(binary.BigEndian.Uint16(h[3:])) + 1
	}
	return c, nil
}

// checkLZMA2 reads the headers of the chunks from one offset to another, of
// which the last must end there, and demands that their content adds up.
func checkLZMA2(r io.ReaderAt, at, end, content int64) error {
	for {
		c, err := readLZMA2Chunk(r, at, end)
		if err != nil {
			return err
		}
		if c.last && c.next == end && content == 0 {
			return nil
		}
		if content -= c.content; c.last || c.next >= end || content < 0 {
			return fail(Malformed, RuleFormat, at, "the LZMA2 chunks do not end where the block does")
		}
		at = c.next
	}
}

// lzma2HeaderLength returns the length of the header of a chunk; 0 for one that
// cannot be.
func lzma2HeaderLength(h []byte) int {
	switch {
	case len(h) == 0 || h[0] > 2 && h[0] < 0x80:
		return 0
	case h[0] == 0:
		return 1
	case h[0] < 0x80:
		return 3
	case h[0] < 0xc0:
		return 5
	}
	if len(h) > 5 && (h[5] >= 9*5*5 || h[5]%9+h[5]/9%5 > 4) { // lc+lp
		return 0
	}
	return 6
}

// lzma2Reader reads LZMA2 chunks. The decoder takes the data of a compressed
// chunk byte by byte, and headers and other data in larger reads. When it has
// decoded a chunk, it takes data that are left over for the next header; xz and
// the kernel refuse such a chunk, and so must this reader.
type lzma2Reader struct {
	r       io.ReaderAt
	at, end int64
	chunk   lzma2Chunk // in which at lies
	buf     []byte
	bufAt   int64
}

func (l *lzma2Reader) Read(b []byte) (int, error) {
	if l.at >= l.end {
		return 0, io.EOF
	}
	if l.at >= l.chunk.next {
		var err error
		if l.chunk, err = readLZMA2Chunk(l.r, l.at, l.end); err != nil {
			return 0, err
		}
	}
	if len(b) > 1 && l.chunk.compressed && l.at >= l.chunk.data {
		return 0, fail(Malformed, RuleFormat, l.at, "%d bytes of an LZMA2 chunk are left over", l.chunk.next-l.at)
	}
	if l.at < l.bufAt || l.at >= l.bufAt+int64(len(l.buf)) {
		l.buf = append(l.buf[:0], make([]byte, min(64<<10, l.end-l.at))...)
		if err := readAt(l.r, l.buf, l.at, l.end); err != nil {
			return 0, err
		}
		l.bufAt = l.at
	}
	n := copy(b, l.buf[l.at-l.bufAt:])
	l.at += int64(n)
	return n, nil
}
