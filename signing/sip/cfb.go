package sip

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"unicode"
)

// A compound file (MS-CFB) is a file system in a file, of sectors of 512 or
// 4096 bytes:
//
//	header      where the tables begin; fills the first sector's place
//	FAT         for each sector the next one of its chain; its own sectors are
//	            listed in the header and, from the 110th on, in the DIFAT chain
//	directory   a chain of 128-byte entries: storages and streams; the children
//	            of a storage are a red-black tree
//	mini stream a chain, the root entry's own, cut into sectors of 64 bytes for
//	            streams shorter than 4096, with the mini FAT as their FAT
//
// The reader takes no sector twice, so that no chain can run in circles, and
// holds nothing but tables in memory. The writer lays the whole file out anew:
// what no entry leads to is left behind.
const (
	cfbMagic      = "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
	cfbHeader     = 512
	cfbEntrySize  = 128
	miniShift     = 6
	miniCutoff    = 4096
	inHeader      = 109 // FAT sectors that the header lists
	endOfChain    = 0xfffffffe
	freeSector    = 0xffffffff
	fatSector     = 0xfffffffd
	difatSector   = 0xfffffffc
	noEntry       = 0xffffffff
	typeStorage   = 1
	typeStream    = 2
	typeRoot      = 5
	maxStorages   = 16      // nested; Windows Installer uses 2
	maxEntries    = 1 << 17 // of a directory; large packages have some thousands
	maxNameLength = 64      // bytes, with the zero at the end
	maxCompound   = 2 << 30 // bytes; Windows Installer reads no larger package
	rootName      = "Root Entry"
)

type compound struct {
	r       io.ReaderAt
	size    int64
	shift   uint // log2 of a sector's bytes
	version uint16
	fat     []uint32
	miniFAT []uint32
	mini    []uint32 // sectors of the mini stream
	used    []bool   // sectors that belong to something
	usedMin []bool   // the same, of mini sectors
	root    *node
	entries []*node // all of the directory
	inTree  []bool  // which of them the root leads to

	header     [cfbHeader]byte
	tables     map[uint32]uint32 // what the FAT must hold for its own sectors and those of the DIFAT
	spare      []uint32          // entries of the DIFAT that list nothing
	difatEnd   uint32            // what ends the DIFAT's chain
	dirSectors uint32
	unsorted   *node // an entry that is not where a search of the tree would find it
}

// node is a storage or stream.
type node struct {
	entry [cfbEntrySize]byte
	kids  []*node // of a storage, in the order of the tree

	length  int64    // of a stream
	sectors []uint32 // of a stream, in r or in the mini stream
	inMini  bool
	content []byte // of a new stream
}

func (n *node) kind() byte { return n.entry[66] }

// name returns the UTF-16 of the name, little-endian, with the zero.
func (n *node) name() []byte { return n.entry[:binary.LittleEndian.Uint16(n.entry[64:])] }

func (n *node) is(name string) bool {
	return bytes.Equal(n.name(), append(utf16LE(name), 0, 0))
}

// text returns the name for messages.
func (n *node) text() string {
	b := n.name()
	return decodeUTF16LE(b[:max(0, len(b)-2)])
}

func malformedCFB(at int64, format string, args ...any) error {
	return &FormatError{Format: "MSI", Offset: at, Detail: fmt.Sprintf(format, args...)}
}

func readCompound(r io.ReaderAt, size int64) (*compound, error) {
	if size > maxCompound {
		return nil, malformedCFB(0, "%d bytes: a package has at most %d", size, int64(maxCompound))
	}
	var h [cfbHeader]byte
	if err := readFull(r, h[:], 0, size); err != nil {
		return nil, malformedCFB(0, "header cut short")
	}
	u16 := func(at int) uint16 { return binary.LittleEndian.Uint16(h[at:]) }
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(h[at:]) }
	c := &compound{r: r, size: size, version: u16(26), shift: uint(u16(30)), header: h, tables: make(map[uint32]uint32)}
	if string(h[:8]) != cfbMagic || u16(28) != 0xfffe ||
		!(c.version == 3 && c.shift == 9 || c.version == 4 && c.shift == 12) || u16(32) != miniShift || u32(56) != miniCutoff {
		return nil, malformedCFB(24, "not a compound file of version 3 or 4")
	}
	c.used = make([]bool, max(0, (size-1)>>c.shift)) // the last sector may be cut short
	if err := c.readFAT(h[76:], u32(44), u32(68), u32(72)); err != nil {
		return nil, err
	}
	var err error
	if c.miniFAT, err = c.table(u32(60), u32(64)); err != nil {
		return nil, err
	}
	return c, c.readDirectory(u32(48))
}

func (c *compound) sectorSize() int64 { return 1 << c.shift }

// claim marks a sector as taken.
func (c *compound) claim(sector uint32) error {
	if int64(sector) >= int64(len(c.used)) {
		return malformedCFB(0, "sector %#x is not in the file", sector)
	}
	if c.used[sector] {
		return malformedCFB(c.offset(sector), "sector %#x is used twice", sector)
	}
	c.used[sector] = true
	return nil
}

func (c *compound) offset(sector uint32) int64 { return (int64(sector) + 1) << c.shift }

// words reads a sector of numbers. What the file lacks of its last sector is
// free.
func (c *compound) words(sector uint32) ([]uint32, error) {
	if err := c.claim(sector); err != nil {
		return nil, err
	}
	b := make([]byte, c.sectorSize())
	if err := readFull(c.r, b, c.offset(sector), c.size); err != nil {
		return nil, malformedCFB(c.offset(sector), "table cut short")
	}
	words := make([]uint32, len(b)/4)
	for i := range words {
		words[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return words, nil
}

// readFAT gathers the FAT from the sectors that the header and the DIFAT list.
func (c *compound) readFAT(listed []byte, count, difat, difatCount uint32) error {
	if int64(count) > int64(len(c.used)) {
		return malformedCFB(44, "%d FAT sectors in a file of %d sectors", count, len(c.used))
	}
	var sectors []uint32
	for i := range min(count, inHeader) {
		sectors = append(sectors, binary.LittleEndian.Uint32(listed[4*i:]))
	}
	for range difatCount {
		words, err := c.words(difat)
		if err != nil {
			return err
		}
		c.tables[difat] = difatSector
		last := len(words) - 1
		listed := min(last, int(count)-len(sectors))
		sectors = append(sectors, words[:listed]...)
		c.spare = append(c.spare, words[listed:last]...)
		difat = words[last]
	}
	c.difatEnd = difat
	if len(sectors) != int(count) {
		return malformedCFB(44, "%d FAT sectors are listed, the header says %d", len(sectors), count)
	}
	c.fat = make([]uint32, 0, int64(len(sectors))*c.sectorSize()/4)
	for _, s := range sectors {
		words, err := c.words(s)
		if err != nil {
			return err
		}
		c.tables[s] = fatSector
		c.fat = append(c.fat, words...)
	}
	return nil
}

// chain follows a chain of sectors. want is the number of them; -1 means up to
// the end.
func (c *compound) chain(first uint32, want int64) ([]uint32, error) {
	if want > int64(len(c.used)) {
		return nil, malformedCFB(0, "a stream of %d sectors in a file of %d", want, len(c.used))
	}
	sectors := make([]uint32, 0, max(0, want))
	for s := first; s != endOfChain; s = c.fat[s] {
		if want >= 0 && int64(len(sectors)) == want {
			return nil, malformedCFB(0, "a chain is longer than its stream")
		}
		if err := c.claim(s); err != nil {
			return nil, err
		}
		if int64(s) >= int64(len(c.fat)) {
			return nil, malformedCFB(0, "sector %#x is not in the FAT", s)
		}
		sectors = append(sectors, s)
	}
	if want >= 0 && int64(len(sectors)) != want {
		return nil, malformedCFB(0, "a chain ends before its stream")
	}
	return sectors, nil
}

// table reads a chain of numbers.
func (c *compound) table(first, count uint32) ([]uint32, error) {
	if count == 0 {
		return nil, nil
	}
	sectors, err := c.chain(first, int64(count))
	if err != nil {
		return nil, err
	}
	var table []uint32
	for _, s := range sectors {
		c.used[s] = false // words claims it again
		words, err := c.words(s)
		if err != nil {
			return nil, err
		}
		table = append(table, words...)
	}
	return table, nil
}

// readDirectory reads the entries and the tree that they form.
func (c *compound) readDirectory(first uint32) error {
	sectors, err := c.chain(first, -1)
	if err != nil {
		return err
	}
	perSector := int(c.sectorSize() / cfbEntrySize)
	if len(sectors) == 0 || len(sectors)*perSector > maxEntries {
		return malformedCFB(48, "a directory of %d sectors", len(sectors))
	}
	c.dirSectors = uint32(len(sectors))
	d := &directory{c: c, nodes: make([]*node, 0, len(sectors)*perSector)}
	sector := make([]byte, c.sectorSize())
	for _, s := range sectors {
		if err := readFull(c.r, sector, c.offset(s), c.size); err != nil {
			return malformedCFB(c.offset(s), "directory cut short")
		}
		for i := range perSector {
			n := &node{}
			copy(n.entry[:], sector[i*cfbEntrySize:])
			d.nodes = append(d.nodes, n)
		}
	}
	d.seen = make([]bool, len(d.nodes))
	c.root = d.nodes[0]
	if c.root.kind() != typeRoot {
		return malformedCFB(c.offset(first), "the first entry is not the root")
	}
	if c.root.length, err = c.streamLength(c.root); err != nil {
		return err
	}
	if c.root.length > 0 {
		if c.mini, err = c.chain(binary.LittleEndian.Uint32(c.root.entry[116:]), c.count(c.root.length)); err != nil {
			return err
		}
	}
	c.usedMin = make([]bool, min(int64(len(c.miniFAT)), c.root.length>>miniShift))
	d.seen[0] = true
	c.entries, c.inTree = d.nodes, d.seen
	return d.children(c.root, 0)
}

func (c *compound) count(length int64) int64 { return (length + c.sectorSize() - 1) >> c.shift }

// streamLength reads a length; version 3 leaves the upper half undefined.
func (c *compound) streamLength(n *node) (int64, error) {
	length := binary.LittleEndian.Uint64(n.entry[120:])
	if c.version == 3 {
		length &= 0xffffffff
	}
	if length > uint64(c.size) {
		return 0, malformedCFB(0, "a stream of %d bytes in a file of %d", length, c.size)
	}
	return int64(length), nil
}

type directory struct {
	c     *compound
	nodes []*node
	seen  []bool
}

// children gathers what is below a storage, in the order of the tree: what is
// left of an entry, the entry, what is right of it.
func (d *directory) children(parent *node, depth int) error {
	if depth > maxStorages {
		return malformedCFB(0, "storages nested deeper than %d", maxStorages)
	}
	var path []uint32
	for id := binary.LittleEndian.Uint32(parent.entry[76:]); id != noEntry || len(path) > 0; {
		if id != noEntry {
			if int64(id) >= int64(len(d.nodes)) || d.seen[id] {
				return malformedCFB(0, "directory entry %#x is not there, or is used twice", id)
			}
			d.seen[id] = true
			path = append(path, id)
			id = binary.LittleEndian.Uint32(d.nodes[id].entry[68:])
			continue
		}
		id, path = path[len(path)-1], path[:len(path)-1]
		n := d.nodes[id]
		if err := d.open(n, id, depth); err != nil {
			return err
		}
		parent.kids = append(parent.kids, n)
		id = binary.LittleEndian.Uint32(n.entry[72:])
	}
	return d.checkNames(parent.kids)
}

// open reads what an entry leads to.
func (d *directory) open(n *node, id uint32, depth int) error {
	if l := binary.LittleEndian.Uint16(n.entry[64:]); l < 4 || l > maxNameLength || l%2 != 0 || n.entry[l-2] != 0 || n.entry[l-1] != 0 {
		return malformedCFB(0, "directory entry %#x has a bad name", id)
	}
	switch n.kind() {
	case typeStorage:
		return d.children(n, depth+1)
	case typeStream:
		return d.c.openStream(n)
	}
	return malformedCFB(0, "directory entry %#x is of type %d", id, n.kind())
}

// checkNames demands that no two entries of a storage have one name, which would
// leave it to the reader which one it takes. Names are compared without regard to
// case, as MS-CFB, 2.6.4, does.
func (d *directory) checkNames(kids []*node) error {
	for i := 1; i < len(kids); i++ {
		if compareNames(kids[i-1], kids[i]) >= 0 && d.c.unsorted == nil {
			d.c.unsorted = kids[i]
		}
	}
	sorted := slices.Clone(kids)
	sortKids(sorted)
	for i := 1; i < len(sorted); i++ {
		if compareNames(sorted[i-1], sorted[i]) == 0 {
			return malformedCFB(0, "a storage has two entries named %q", sorted[i].text())
		}
	}
	return nil
}

// openStream finds the sectors of a stream.
func (c *compound) openStream(n *node) (err error) {
	if n.length, err = c.streamLength(n); err != nil || n.length == 0 {
		return err
	}
	first := binary.LittleEndian.Uint32(n.entry[116:])
	if n.length >= miniCutoff {
		n.sectors, err = c.chain(first, c.count(n.length))
		return err
	}
	n.inMini = true
	want := (n.length + 1<<miniShift - 1) >> miniShift
	for s := first; s != endOfChain; s = c.miniFAT[s] {
		if int64(s) >= int64(len(c.usedMin)) || c.usedMin[s] || int64(len(n.sectors)) == want {
			return malformedCFB(0, "a mini chain leads astray at sector %#x", s)
		}
		c.usedMin[s] = true
		n.sectors = append(n.sectors, s)
	}
	if int64(len(n.sectors)) != want {
		return malformedCFB(0, "a mini chain ends before its stream")
	}
	return nil
}

// copyStream writes the content of a stream to w, neighbouring sectors at once.
func (c *compound) copyStream(w io.Writer, n *node) error {
	if n.content != nil {
		_, err := w.Write(n.content)
		return err
	}
	left, b := n.length, make([]byte, min(n.length, copySize))
	for i := 0; i < len(n.sectors); {
		at, run := c.place(n, i)
		j := i + 1
		for ; j < len(n.sectors); j++ {
			next, length := c.place(n, j)
			if next != at+run {
				break
			}
			run += length
		}
		run = min(run, left)
		left -= run
		for end := at + run; at < end; {
			part := b[:min(int64(len(b)), end-at)]
			if err := readFull(c.r, part, at, c.size); err == io.ErrUnexpectedEOF {
				return malformedCFB(at, "a stream is cut short")
			} else if err != nil {
				return err
			}
			if _, err := w.Write(part); err != nil {
				return err
			}
			at += int64(len(part))
		}
		i = j
	}
	return nil
}

// place returns where sector i of a stream lies in the file.
func (c *compound) place(n *node, i int) (at, length int64) {
	s := n.sectors[i]
	if !n.inMini {
		return c.offset(s), c.sectorSize()
	}
	in := int64(s) << miniShift
	return c.offset(c.mini[in>>c.shift]) + in&(c.sectorSize()-1), 1 << miniShift
}

// copySize is how much of a stream is in memory at a time.
const copySize = 1 << 16

// sortKids puts entries into the order of MS-CFB, 2.6.4.
func sortKids(kids []*node) { slices.SortFunc(kids, compareNames) }

// compareNames orders names as MS-CFB, 2.6.4, does: shorter names first, those of
// one length by their upper-case code units.
func compareNames(a, b *node) int {
	x, y := a.name(), b.name()
	if len(x) != len(y) {
		return len(x) - len(y)
	}
	for i := 0; i < len(x); i += 2 {
		u, v := upper(binary.LittleEndian.Uint16(x[i:])), upper(binary.LittleEndian.Uint16(y[i:]))
		if u != v {
			return int(u) - int(v)
		}
	}
	return 0
}

func upper(u uint16) uint16 {
	if r := unicode.ToUpper(rune(u)); r <= 0xffff {
		return uint16(r)
	}
	return u
}
