package build

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// fullTable is the number of sections with which the section table of a testImage has no room left.
const fullTable = 4

// testImage returns a small PE file of n sections, with a debug directory and a symbol table behind the sections.
func testImage(n int) []byte {
	const stub, fileAlign, sectionAlign, table = 0x40, 0x200, 0x1000, 0x40 + 4 + 20 + 240
	le := binary.LittleEndian
	headers := int(roundUp(uint32(table+n*sectionSize), fileAlign))
	img := make([]byte, headers+n*fileAlign)
	copy(img, "MZ")
	le.PutUint32(img[0x3c:], stub)
	copy(img[stub:], "PE\x00\x00")
	coff, opt := stub+4, stub+24
	le.PutUint16(img[coff:], pe.IMAGE_FILE_MACHINE_AMD64)
	le.PutUint16(img[coff+2:], uint16(n))
	le.PutUint32(img[coff+8:], uint32(len(img))) // symbols
	le.PutUint32(img[coff+12:], 1)
	le.PutUint16(img[coff+16:], 240)
	le.PutUint16(img[coff+18:], pe.IMAGE_FILE_EXECUTABLE_IMAGE)
	le.PutUint16(img[opt:], 0x20b)
	le.PutUint32(img[opt+optSectionAlign:], sectionAlign)
	le.PutUint32(img[opt+optFileAlign:], fileAlign)
	le.PutUint32(img[opt+optImageSize:], uint32((n+1)*sectionAlign))
	le.PutUint32(img[opt+optHeadersSize:], uint32(headers))
	le.PutUint32(img[opt+optCheckSum:], 1)
	le.PutUint32(img[opt+108:], 16)
	le.PutUint32(img[opt+112+directoryDebug*8:], sectionAlign)
	le.PutUint32(img[opt+112+directoryDebug*8+4:], debugSize)
	for i := range n {
		s, raw := img[table+i*sectionSize:], headers+i*fileAlign
		copy(s, fmt.Sprintf(".s%d", i))
		le.PutUint32(s[secVSize:], 100)
		le.PutUint32(s[secRVA:], uint32((i+1)*sectionAlign))
		le.PutUint32(s[secRawSize:], fileAlign)
		le.PutUint32(s[secRaw:], uint32(raw))
		copy(img[raw+0x100:], fmt.Sprintf("content %d", i))
	}
	le.PutUint32(img[headers+debugRaw:], uint32(headers+0x100))
	var symbol [18]byte
	copy(symbol[:], "\x00\x00\x00\x00\x04\x00\x00\x00") // named by the string table
	le.PutUint16(symbol[12:], 1)
	img = append(img, symbol[:]...)
	img = le.AppendUint32(img, 4+12)
	return append(img, "a_long_name\x00"...)
}

// withSection returns the image with a .rsrc section of the content.
func withSection(img, content []byte) ([]byte, error) {
	p, err := parseImage(bytes.NewReader(img), int64(len(img)))
	if err != nil {
		return nil, err
	}
	var out memoryFile
	if err := p.appendSection(&out, bytes.NewReader(img), func(uint32) []byte { return content }); err != nil {
		return nil, err
	}
	return out.data, nil
}

// A memoryFile is a file in memory.
type memoryFile struct {
	data []byte
	off  int
}

func (f *memoryFile) Write(p []byte) (int, error) {
	if end := f.off + len(p); end > len(f.data) {
		f.data = append(f.data, make([]byte, end-len(f.data))...)
	}
	f.off += copy(f.data[f.off:], p)
	return len(p), nil
}

func (f *memoryFile) Read(p []byte) (int, error) {
	if f.off >= len(f.data) {
		return 0, io.EOF
	}
	n := copy(p, f.data[f.off:])
	f.off += n
	return n, nil
}

func (f *memoryFile) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekStart {
		return 0, errors.ErrUnsupported
	}
	f.off = int(offset)
	return offset, nil
}

func TestAppendSection(t *testing.T) {
	t.Parallel()
	content := []byte("the content of the new section")
	for n := 1; n <= fullTable; n++ {
		img := testImage(n)
		got, err := withSection(img, content)
		if err != nil {
			t.Fatal(err)
		}
		f, err := pe.NewFile(bytes.NewReader(got))
		if err != nil {
			t.Fatal(err)
		}
		if len(f.Sections) != n+1 || len(f.Symbols) != 1 || f.Symbols[0].Name != "a_long_name" {
			t.Errorf("%d sections and one are %d, symbols %v", n, len(f.Sections), f.Symbols)
		}
		for i, s := range f.Sections {
			data, err := s.Data()
			if err != nil {
				t.Fatal(err)
			}
			want, at := []byte(fmt.Sprintf("content %d", i)), 0x100
			if i == n {
				want, at = content, 0
			}
			if !bytes.HasPrefix(data[at:], want) || s.VirtualAddress != uint32(i+1)*0x1000 || s.Offset%0x200 != 0 {
				t.Errorf("%d sections: section %+v holds %q", n, s.SectionHeader, data)
			}
		}
		opt := f.OptionalHeader.(*pe.OptionalHeader64)
		if d := opt.DataDirectory[directoryResource]; int(d.VirtualAddress) != (n+1)*0x1000 || int(d.Size) != len(content) {
			t.Errorf("%d sections: resource directory %+v", n, d)
		}
		if int(opt.SizeOfImage) != (n+2)*0x1000 || f.Sections[0].Offset != opt.SizeOfHeaders {
			t.Errorf("%d sections: image of %#x, headers of %#x, first section at %#x", n, opt.SizeOfImage, opt.SizeOfHeaders, f.Sections[0].Offset)
		}
		first, _ := f.Sections[0].Data()
		if at := binary.LittleEndian.Uint32(first[debugRaw:]); !bytes.HasPrefix(got[at:], []byte("content 0")) {
			t.Errorf("%d sections: the debug directory points to %q", n, got[at:at+10])
		}
		if grown := opt.SizeOfHeaders > 0x200; grown != (n == fullTable) {
			t.Errorf("%d sections: headers of %d bytes", n, opt.SizeOfHeaders)
		}
	}
}

func TestParseImageRefuses(t *testing.T) {
	t.Parallel()
	const coff, opt = 0x44, 0x58
	good := testImage(2)
	for name, damage := range map[string]func(b []byte) []byte{
		"empty":              func([]byte) []byte { return nil },
		"short":              func(b []byte) []byte { return b[:0x50] },
		"cut headers":        func(b []byte) []byte { return b[:0x150] },
		"cut section":        func(b []byte) []byte { return b[:len(b)-0x200] },
		"no MZ":              func(b []byte) []byte { b[0] = 'Z'; return b },
		"no PE":              func(b []byte) []byte { b[0x40] = 'X'; return b },
		"signature far away": func(b []byte) []byte { b[0x3f] = 0xff; return b },
		"magic":              func(b []byte) []byte { b[opt] = 7; return b },
		"file alignment 0":   func(b []byte) []byte { clear(b[opt+optFileAlign : opt+optFileAlign+4]); return b },
		"alignment 3":        func(b []byte) []byte { b[opt+optSectionAlign] = 3; return b },
		"directories":        func(b []byte) []byte { b[opt+108] = 17; return b },
		"sections":           func(b []byte) []byte { b[coff+coffSections] = 200; return b },
		"optional header":    func(b []byte) []byte { b[coff+coffOptional+1] = 0xff; return b },
		"small headers":      func(b []byte) []byte { b[opt+optHeadersSize+1] = 0; return b },
		"huge headers":       func(b []byte) []byte { b[opt+optHeadersSize+3] = 0x7f; return b },
		"signed":             func(b []byte) []byte { b[opt+112+directorySecurity*8] = 8; return b },
		"one directory":      func(b []byte) []byte { b[opt+108] = 1; return b },
	} {
		if _, err := withSection(damage(bytes.Clone(good)), []byte("x")); err == nil {
			t.Errorf("%s: the file is taken", name)
		}
	}
}

// TestChecksum compares with a checksum that GNU ld has written. (LLD and Go leave it out.)
func TestChecksum(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("x86_64-w64-mingw32-gcc"); err != nil {
		need(t, "x86_64-w64-mingw32-gcc", "gcc-mingw-w64-x86-64")
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.c"), "int main(void) { return 0; }\n")
	exe := filepath.Join(dir, "a.exe")
	if out, err := exec.Command("x86_64-w64-mingw32-gcc", "-o", exe, filepath.Join(dir, "a.c")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	data, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	p, err := parseImage(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	want := p.u32(p.opt + optCheckSum)
	clear(data[p.opt+optCheckSum : p.opt+optCheckSum+4])
	got, err := peChecksum(bytes.NewReader(data))
	if err != nil || want == 0 || got != want {
		t.Errorf("checksum %#x, %v; GNU ld wrote %#x", got, err, want)
	}
}

// FuzzParseImage checks that no file makes appendSection panic, and that what it writes can be read.
func FuzzParseImage(f *testing.F) {
	f.Add(testImage(1))
	f.Add(testImage(fullTable))
	f.Add([]byte("MZ"))
	f.Add([]byte(strings.Repeat("MZPE\x00\x00", 50)))
	f.Fuzz(func(t *testing.T, img []byte) {
		out, err := withSection(img, []byte("content"))
		if err != nil {
			return
		}
		p, err := parseImage(bytes.NewReader(out), int64(len(out)))
		if err != nil {
			t.Fatalf("what appendSection wrote is not read: %v", err)
		}
		if p.directory(directoryResource).Size != 7 {
			t.Error("what appendSection wrote has no resources")
		}
	})
}
