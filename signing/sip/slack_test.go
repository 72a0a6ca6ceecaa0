package sip

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// cfbFile is a compound file whose places are found for edits.
type cfbFile struct {
	b     []byte
	shift uint16
}

func parseCFB(b []byte) cfbFile {
	return cfbFile{bytes.Clone(b), binary.LittleEndian.Uint16(b[30:])}
}

func (f cfbFile) sector(n uint32) int { return (int(n) + 1) << f.shift }

func (f cfbFile) u32(at int) uint32 { return binary.LittleEndian.Uint32(f.b[at:]) }

// fat returns where entry n of the FAT lies, whose sectors the header and the first
// sector of the DIFAT list.
func (f cfbFile) fat(n int) int {
	per := 1 << f.shift / 4
	list := 76 + 4*(n/per)
	if n/per >= inHeader {
		list = f.sector(f.u32(68)) + 4*(n/per-inHeader)
	}
	return f.sector(f.u32(list)) + 4*(n%per)
}

// entry returns where the directory entry of a name lies.
func (f cfbFile) entry(t *testing.T, name string) int {
	t.Helper()
	for s := f.u32(48); s != endOfChain; s = f.u32(f.fat(int(s))) {
		at := f.sector(s)
		for end := at + 1<<f.shift; at < end; at += cfbEntrySize {
			if length := int(binary.LittleEndian.Uint16(f.b[at+64:])); length >= 2 && length <= 64 && decodeUTF16LE(f.b[at:at+length-2]) == name || length == 0 && name == "" {
				return at
			}
		}
	}
	t.Fatalf("no entry %q", name)
	return 0
}

// checkFree opens an MSI file, and looks for what its signature does not cover.
func checkFree(b []byte) error {
	s, err := Open("a.msi", bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return err
	}
	return s.(Container).CheckFree()
}

// storages is an MSI file of version 3 with a storage and a DIFAT, as bigMSI, and
// an empty stream.
func storages(t *testing.T) []byte { return signed(t, "a.msi", bigMSI(t)) }

// TestFreePlaces writes into each place of an MSI file that no digest covers, and has it
// found. The first column is what is written to.
func TestFreePlaces(t *testing.T) {
	t.Parallel()
	small, big := signed(t, "a.msi", sample(t, "dummy.msi")), storages(t)
	for _, b := range [][]byte{small, big} {
		if err := checkFree(b); err != nil {
			t.Fatalf("the untouched file: %v", err)
		}
	}
	type edit struct {
		name string
		at   func(f cfbFile) int
	}
	fixed := func(at int) func(cfbFile) int { return func(cfbFile) int { return at } }
	field := func(name string, offset int) func(cfbFile) int {
		return func(f cfbFile) int { return f.entry(t, name) + offset }
	}
	edits := []edit{
		{"class of the header", fixed(8)}, {"minor version", fixed(25)}, {"reserved", fixed(34)}, {"count of directory sectors", fixed(43)},
		{"transaction", fixed(52)}, {"first sector of no DIFAT", nil}, {"list of FAT sectors", nil},
		{"root's name", field(rootName, 2)}, {"behind the root's name", field(rootName, 40)}, {"root's sibling", field(rootName, 68)},
		{"root's creation", field(rootName, 100)}, {"root's colour", field(rootName, 67)}, {"root's length", field(rootName, 127)}, {"root's length, by a byte", field(rootName, 120)},
		{"signature's class", field(msiSignature, 80)}, {"signature's child", field(msiSignature, 76)}, {"signature's state", field(msiSignature, 96)},
		{"signature's times", field(msiSignature, 100)}, {"signature's colour", field(msiSignature, 67)}, {"behind a name", field(msiSignatureEx, 60)},
		{"Ex's state", field(msiSignatureEx, 99)}, {"unused entry's name", field("", 0)}, {"unused entry's start", field("", 116)}, {"unused entry's link", field("", 70)},
	}
	for _, b := range [][]byte{small, big} {
		f := parseCFB(b)
		for _, e := range edits {
			var at int
			switch {
			case e.name == "first sector of no DIFAT" && f.u32(72) == 0:
				at = 68
			case e.name == "list of FAT sectors" && f.u32(44) < inHeader:
				at = cfbHeader - 1
			case e.at == nil, strings.HasPrefix(e.name, "unused") && f.shift == 9: // its directory is full
				continue
			default:
				at = e.at(f)
			}
			bad := bytes.Clone(b)
			bad[at] ^= 0x41
			wantFree(t, fmt.Sprintf("%s, sectors of %d", e.name, 1<<f.shift), bad)
		}
	}
	f := parseCFB(big)
	difat := f.sector(f.u32(68))
	for name, at := range map[string]int{
		"class of a stream": f.entry(t, "big") + 80, "child of a stream": f.entry(t, "big") + 76, "times of a stream": f.entry(t, "big") + 115,
		"upper half of a length": f.entry(t, "edge") + 124, "start of a storage": f.entry(t, "Storage") + 116, "length of a storage": f.entry(t, "Storage") + 120,
		"start of an empty stream": f.entry(t, "empty") + 117, "unused entry of the DIFAT": difat + 500,
	} {
		bad := bytes.Clone(big)
		bad[at] ^= 0x42
		wantFree(t, name, bad)
	}
}

func wantFree(t *testing.T, name string, b []byte) {
	t.Helper()
	var free *FreeError
	var format *FormatError
	if err := checkFree(b); !errors.As(err, &free) && !errors.As(err, &format) {
		t.Errorf("%s: got %v, want a FreeError", name, err)
	}
}

// TestFreeSectors adds sectors that belong to nothing, and gives the tables entries
// for them.
func TestFreeSectors(t *testing.T) {
	t.Parallel()
	b := signed(t, "a.msi", bigMSI(t))
	sectors := (len(b) - 1) >> 9
	for name, add := range map[string][]byte{
		"zeros": make([]byte, 512), "more zeros": make([]byte, 1<<20), "a payload": []byte("payload"), "one byte": {0},
	} {
		wantFree(t, name, append(bytes.Clone(b), add...))
	}
	f := parseCFB(b)
	for name, at := range map[string]int{"FAT entry of no sector": f.fat(sectors + 1), "the FAT's own entry": f.fat(int(f.u32(76)))} {
		bad := bytes.Clone(b)
		binary.LittleEndian.PutUint32(bad[at:], 0x4c495645)
		wantFree(t, name, bad)
	}
}

// TestNamesOfEntries has two entries of one name, a signature's name in another
// case, and entries that are not in the order of their names.
func TestNamesOfEntries(t *testing.T) {
	t.Parallel()
	rename := func(b []byte, from, to string) []byte {
		f := parseCFB(b)
		copy(f.b[f.entry(t, from):], utf16LE(to))
		return f.b
	}
	b := signed(t, "a.msi", bigMSI(t))
	for _, test := range []struct{ from, to, want string }{
		{"s01", "s02", "two entries"},
		{"s01", "S02", "two entries"},
		{msiSignature, "\x05digitalSignature", "not a stream of that name"},
		{"s01", "zzz", "out of order"},
	} {
		err := checkFree(rename(b, test.from, test.to))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q renamed to %q: got %v, want %q", test.from, test.to, err, test.want)
		}
	}
}

// TestSparseMSI refuses a file whose length alone would take gigabytes of tables,
// and reads the largest that is read with bounded memory.
func TestSparseMSI(t *testing.T) {
	b := signed(t, "a.msi", sample(t, "dummy.msi"))
	for _, size := range []int64{1 << 40, maxCompound} {
		f, err := os.Create(filepath.Join(t.TempDir(), "a.msi"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.Write(b); err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(size); err != nil {
			t.Skipf("SKIP: no sparse files here: %v", err)
		}
		before := allocated()
		s, err := Open("a.msi", f, size)
		if err == nil {
			err = s.(Container).CheckFree()
		}
		if err == nil {
			t.Errorf("%d bytes: accepted", size)
		}
		if n := allocated() - before; n > 64<<20 {
			t.Errorf("%d bytes: %d MB were allocated", size, n>>20)
		}
	}
}
