package sip

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"
	"testing"
)

// zipParts is a signed package taken apart at its signature.
type zipParts struct {
	before, local, data, after []byte
	entries                    []zipEntry // the signature is the last
	end                        []byte     // end records
}

func takeZIP(t testing.TB, b []byte) *zipParts {
	t.Helper()
	z, err := readZIP(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	e := z.entries[len(z.entries)-1]
	local := e.offset + zipLocalSize + int64(len(e.name))
	e.record = bytes.Clone(e.record)
	z.entries[len(z.entries)-1] = e
	return &zipParts{b[:e.offset:e.offset], bytes.Clone(b[e.offset:local]), bytes.Clone(b[local : local+e.compressed]), nil, z.entries, z.end}
}

func (p *zipParts) record() *[]byte { return &p.entries[len(p.entries)-1].record }

// both changes a field of the local header, and the one of the directory that is two
// bytes further.
func (p *zipParts) both(at int, with ...byte) {
	copy(p.local[at:], with)
	copy((*p.record())[at+2:], with)
}

// content gives the signature another content, deflated, and mends its CRC and
// lengths.
func (p *zipParts) content(content, deflated []byte) {
	var sums []byte
	for _, v := range []int{int(crc32.ChecksumIEEE(content)), len(deflated), len(content)} {
		sums = binary.LittleEndian.AppendUint32(sums, uint32(v))
	}
	p.data = deflated
	p.both(14, sums...)
}

func (p *zipParts) join() []byte {
	b := bytes.Join([][]byte{p.before, p.local, p.data, p.after}, nil)
	z := &zipFile{end: p.end}
	return append(b, z.tail(p.entries, int64(len(b)))...)
}

func deflate(t testing.TB, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(content)
	w.Close()
	return b.Bytes()
}

// TestFreeZIP writes into each place of an MSIX package that no digest covers, and
// has it found.
func TestFreeZIP(t *testing.T) {
	t.Parallel()
	for name, b := range map[string][]byte{"with ZIP64": signed(t, "a.msix", sample(t, "App1_1.0.3.0_x64.appx")), "without": signed(t, "a.msix", smallMSIX(t))} {
		good := func() []byte {
			s, err := Open("a.msix", bytes.NewReader(b), int64(len(b)))
			if err != nil {
				t.Fatal(err)
			}
			der, err := s.Signature()
			if err != nil {
				t.Fatal(err)
			}
			return append([]byte(msixPrefix), der...)
		}()
		for _, test := range []struct {
			name, want string
			edit       func(p *zipParts)
		}{
			{"nothing", "", func(p *zipParts) {}},
			{"time", "", func(p *zipParts) { p.both(10, 1, 2, 0x21, 3) }},
			{"a data descriptor", "", func(p *zipParts) {
				p.both(6, zipDescriptor)
				p.after = append([]byte(zipDataMagic), p.local[14:26]...)
				clear(p.local[14:26])
			}},
			{"a data descriptor of 24 bytes", "", func(p *zipParts) {
				p.both(6, zipDescriptor)
				p.after = append([]byte(zipDataMagic), p.local[14:22]...)
				p.after = append(append(p.after, 0, 0, 0, 0), p.local[22:26]...)
				p.after = append(p.after, 0, 0, 0, 0)
				clear(p.local[14:26])
			}},
			{"a wrong data descriptor", "descriptor", func(p *zipParts) {
				p.both(6, zipDescriptor)
				p.after = append([]byte(zipDataMagic), p.local[14:26]...)
				p.after[5] ^= 1
				clear(p.local[14:26])
			}},
			{"sums beside a data descriptor", "local header", func(p *zipParts) {
				p.both(6, zipDescriptor)
				p.after = append([]byte(zipDataMagic), p.local[14:26]...)
			}},
			{"a gap", "7 bytes between", func(p *zipParts) { p.after = []byte("payload") }},
			{"a gap of zeros", "1 bytes between", func(p *zipParts) { p.after = []byte{0} }},
			{"a comment", "comment", func(p *zipParts) {
				(*p.record())[32] = 7
				*p.record() = append(*p.record(), "payload"...)
			}},
			{"an extra field", "extra", func(p *zipParts) {
				(*p.record())[30] = 8
				*p.record() = append(*p.record(), "\xfe\xca\x04\x00evil"...)
			}},
			{"a ZIP64 field for nothing", "extra", func(p *zipParts) {
				(*p.record())[30] = 12
				*p.record() = append(*p.record(), "\x01\x00\x08\x00payload!"...)
			}},
			{"an extra field of the local header", "local header", func(p *zipParts) {
				p.local[28] = 8
				p.local = append(p.local, "\xfe\xca\x04\x00evil"...)
			}},
			{"attributes", "attributes", func(p *zipParts) { (*p.record())[39] = 1 }},
			{"disk", "disk", func(p *zipParts) { (*p.record())[35] = 1 }},
			{"flags", "flags", func(p *zipParts) { p.both(7, 8) }},
			{"flags of the local header", "local header", func(p *zipParts) { p.local[7] = 8 }},
			{"time of the local header", "local header", func(p *zipParts) { p.local[10]++ }},
			{"name in the local header", "local header", func(p *zipParts) { p.local[zipLocalSize] ^= 1 }},
			{"versions", "versions", func(p *zipParts) { (*p.record())[5] = 3 }},
			{"behind the deflate stream", "follow", func(p *zipParts) { p.content(good, append(deflate(t, good), "payload"...)) }},
			{"a zero behind the deflate stream", "follow", func(p *zipParts) { p.content(good, append(deflate(t, good), 0)) }},
			{"empty blocks", "deflated", func(p *zipParts) {
				p.content(good, append(bytes.Repeat([]byte{0, 0, 0, 0xff, 0xff}, 5000), deflate(t, good)...))
			}},
			{"behind the signature", "hide", func(p *zipParts) {
				more := append(bytes.Clone(good), "payload"...)
				p.content(more, deflate(t, more))
			}},
			{"length of the local header", "local header", func(p *zipParts) { p.local[22] ^= 1 }},
			{"an entry twice", "twice", func(p *zipParts) {
				first := p.entries[0]
				first.record = bytes.Replace(first.record, []byte(first.name), []byte(strings.ToUpper(first.name)), 1)
				p.entries = append([]zipEntry{first}, p.entries...)
			}},
		} {
			p := takeZIP(t, b)
			test.edit(p)
			bad := p.join()
			s, err := Open("a.msix", bytes.NewReader(bad), int64(len(bad)))
			if err == nil {
				err = s.(Container).CheckFree()
			}
			var free *FreeError
			var format *FormatError
			switch {
			case test.want == "":
				if err != nil {
					t.Errorf("%s, %s: %v", name, test.name, err)
				}
			case !errors.As(err, &free) && !errors.As(err, &format) || !strings.Contains(err.Error(), test.want):
				t.Errorf("%s, %s: got %v, want %q", name, test.name, err, test.want)
			}
		}
	}
}

// TestZIPEnd changes each byte of the end records: none is without effect.
func TestZIPEnd(t *testing.T) {
	t.Parallel()
	for name, b := range map[string][]byte{"with ZIP64": signed(t, "a.msix", sample(t, "App1_1.0.3.0_x64.appx")), "without": signed(t, "a.msix", smallMSIX(t))} {
		digest := func(b []byte) ([]byte, error) {
			s, err := Open("a.msix", bytes.NewReader(b), int64(len(b)))
			if err != nil {
				return nil, err
			}
			if err := s.(Container).CheckFree(); err != nil {
				return nil, err
			}
			return s.Digest(hashOf(s))
		}
		want, err := digest(b)
		if err != nil {
			t.Fatal(err)
		}
		p := takeZIP(t, b)
		for i := len(b) - len(p.end); i < len(b); i++ {
			for bit := range 8 {
				bad := bytes.Clone(b)
				bad[i] ^= 1 << bit
				if got, err := digest(bad); err == nil && bytes.Equal(got, want) {
					t.Errorf("%s: bit %d of byte %d from the end has no effect", name, bit, len(b)-i)
				}
			}
		}
		// MakeAppx writes 0xffff as the numbers of disks.
		appx := bytes.Clone(b)
		copy(appx[len(b)-zipEndSize+4:], "\xff\xff\xff\xff")
		if got, err := digest(appx); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: with disk numbers as MakeAppx writes them: %v", name, err)
		}
		again := signed(t, "a.msix", appx)
		if string(again[len(again)-zipEndSize+4:][:4]) != "\x00\x00\x00\x00" {
			t.Errorf("%s: signing left disk numbers", name)
		}
	}
}
