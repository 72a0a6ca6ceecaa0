package sip

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"testing"
)

// bomb is an entry whose content is opening and then size bytes of one kind, all of
// it deflated to a thousandth.
func bomb(t testing.TB, name, opening string, size int) (e zipEntry, local []byte) {
	t.Helper()
	const step = 1 << 20
	fill := bytes.Repeat([]byte("a"), step)
	pack := func(b []byte) []byte {
		var out bytes.Buffer
		w, err := flate.NewWriter(&out, flate.BestCompression)
		if err != nil {
			t.Fatal(err)
		}
		w.Write(b)
		w.Flush()
		return out.Bytes()
	}
	crc, chunk := crc32.ChecksumIEEE([]byte(opening)), pack(fill)
	packed := pack([]byte(opening))
	for range size / step {
		crc = crc32.Update(crc, crc32.IEEETable, fill)
		packed = append(packed, chunk...)
	}
	packed = append(packed, 1, 0, 0, 0xff, 0xff) // an empty last block
	e, head, err := newEntry(name, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	local = head[:zipLocalSize+len(name)]
	for _, at := range []struct {
		b  []byte
		at int
	}{{local, 14}, {e.record, 16}} {
		for i, v := range []uint32{crc, uint32(len(packed)), uint32(len(opening) + size/step*step)} {
			binary.LittleEndian.PutUint32(at.b[at.at+4*i:], v)
		}
	}
	return e, append(local, packed...)
}

// TestBomb reads packages that inflate to a thousand times their length, and bounds
// the memory that this takes.
func TestBomb(t *testing.T) {
	const types, blockMap = `<Types></Types>`, `<BlockMap HashMethod="http://www.w3.org/2001/04/xmlenc#sha256"/>`
	comment := `<?xml version="1.0"?><!--`
	for _, test := range []struct {
		name, opening string
		mb            int
	}{
		{msixBlockMap, comment, 1 << 10}, {msixBlockMap, comment, 3 << 10}, {msixBlockMap, comment, 100}, {msixBlockMap, comment, 3},
		{msixBlockMap, blockMap[:len(blockMap)-2] + ` a="`, 100},
		{msixTypes, comment, 1 << 10}, {msixTypes, comment, 3}, {msixCatalog, "", 1 << 10}, {msixCatalog, "", 15},
		{msixManifest, comment, 1 << 10}, {msixManifest, comment, 2}, {msixSignature, msixPrefix, 1 << 10}, {msixSignature, msixPrefix, 1},
	} {
		t.Run(fmt.Sprintf("%s, %d MB", test.name, test.mb), func(t *testing.T) {
			w := &zipWriter{w: new(bytes.Buffer)}
			for _, part := range [][2]string{{msixBlockMap, blockMap}, {msixTypes, types}, {msixManifest, `<Package/>`}} {
				if part[0] != test.name {
					w.add(part[0], []byte(part[1]))
				}
			}
			e, local := bomb(t, test.name, test.opening, test.mb<<20)
			w.w.Write(local)
			w.entries, w.at = append(w.entries, e.moved(w.at)), w.at+int64(len(local))
			if test.name != msixSignature {
				w.add(msixSignature, []byte(msixPrefix+"\x30\x00"))
			}
			if w.err != nil {
				t.Fatal(w.err)
			}
			z := &zipFile{end: append([]byte(zipEndMagic), make([]byte, zipEndSize-4)...)}
			b := append(w.w.(*bytes.Buffer).Bytes(), z.tail(w.entries, w.at)...)

			before := allocated()
			s, err := Open("a.msix", bytes.NewReader(b), int64(len(b)))
			if err == nil {
				if _, err = s.(Publisher).Publisher(); err == nil {
					err = s.(Container).CheckFree()
				}
			}
			if err == nil {
				_, err = s.Digest(hashOf(s))
			}
			if n := allocated() - before; n > 24<<20 {
				t.Errorf("%d MB were allocated for a file of %d bytes", n>>20, len(b))
			}
			if test.mb > 200 && err == nil {
				t.Error("accepted")
			}
		})
	}
}
