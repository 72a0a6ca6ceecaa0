package sip

import (
	"bufio"
	"encoding/binary"
	"io"
	"math/bits"
)

// layout is a compound file about to be written, sector by sector: the streams,
// the mini stream, the mini FAT, the directory, the FAT and the DIFAT.
type layout struct {
	c       *compound
	nodes   []*node // in the order of their entries
	fat     []uint32
	miniFAT []uint32
	minis   []*node // streams that live in the mini stream
}

// write writes the compound file anew, with the tree as it is now.
func (c *compound) write(w io.Writer) error {
	l := &layout{c: c}
	l.number(c.root)
	var big []*node
	var miniSize int64
	for _, n := range l.nodes[1:] {
		if n.kind() != typeStream {
			continue
		}
		switch {
		case n.length == 0:
			l.place(n, endOfChain)
		case n.length < miniCutoff:
			l.place(n, uint32(len(l.miniFAT)))
			l.miniFAT = extend(l.miniFAT, (n.length+1<<miniShift-1)>>miniShift)
			l.minis, miniSize = append(l.minis, n), int64(len(l.miniFAT))<<miniShift
		default:
			l.place(n, l.allocate(n.length))
			big = append(big, n)
		}
	}
	root := c.root
	root.length = miniSize
	l.place(root, l.allocate(miniSize))
	miniFAT := l.allocate(int64(len(l.miniFAT)) * 4)
	directory := l.allocate(int64(len(l.nodes)) * cfbEntrySize)
	header := l.finish(miniFAT, directory)

	out := bufio.NewWriterSize(w, 1<<16)
	s := &sectorWriter{w: out, size: c.sectorSize()}
	s.bytes(header)
	s.pad(0)
	for _, n := range big {
		s.stream(c, n, c.sectorSize())
	}
	for _, n := range l.minis {
		s.stream(c, n, 1<<miniShift)
	}
	s.pad(0)
	s.words(l.miniFAT, freeSector)
	for _, n := range l.nodes {
		s.bytes(n.entry[:])
	}
	s.empty()
	s.words(l.fat, freeSector)
	s.difat(l)
	if s.err != nil {
		return s.err
	}
	return out.Flush()
}

// number gives each node its place in the directory and rebuilds the trees of
// siblings.
func (l *layout) number(parent *node) {
	if len(l.nodes) == 0 {
		l.nodes = []*node{parent}
	}
	sortKids(parent.kids)
	first := uint32(len(l.nodes))
	l.nodes = append(l.nodes, parent.kids...)
	black := bits.Len(uint(len(parent.kids)+1)) - 1 // levels that are full
	binary.LittleEndian.PutUint32(parent.entry[76:], siblings(parent.kids, first, black))
	for _, n := range parent.kids {
		if n.kind() == typeStorage {
			l.number(n)
		}
	}
}

// siblings makes a balanced search tree of sorted nodes, whose entries begin at
// first, and returns its root. Full levels are black, and what lies below them
// red, which is a red-black tree.
func siblings(kids []*node, first uint32, black int) uint32 {
	if len(kids) == 0 {
		return noEntry
	}
	middle := len(kids) / 2
	n := kids[middle]
	n.entry[67] = 0
	if black > 0 {
		n.entry[67] = 1
	}
	binary.LittleEndian.PutUint32(n.entry[68:], siblings(kids[:middle], first, black-1))
	binary.LittleEndian.PutUint32(n.entry[72:], siblings(kids[middle+1:], first+uint32(middle)+1, black-1))
	return first + uint32(middle)
}

// place writes where a stream begins, and how long it is, into its entry.
func (l *layout) place(n *node, first uint32) {
	binary.LittleEndian.PutUint32(n.entry[116:], first)
	binary.LittleEndian.PutUint64(n.entry[120:], uint64(n.length))
}

// extend appends a chain of n sectors to a table.
func extend(table []uint32, n int64) []uint32 {
	for range n {
		table = append(table, uint32(len(table))+1)
	}
	if n > 0 {
		table[len(table)-1] = endOfChain
	}
	return table
}

// allocate takes the next sectors for length bytes.
func (l *layout) allocate(length int64) uint32 {
	if length == 0 {
		return endOfChain
	}
	first := uint32(len(l.fat))
	l.fat = extend(l.fat, l.c.count(length))
	return first
}

// finish adds the sectors of FAT and DIFAT and returns the header.
func (l *layout) finish(miniFAT, directory uint32) []byte {
	per := int(l.c.sectorSize() / 4)
	content := len(l.fat)
	fats, difats := 0, 0
	for need := -1; need != fats+difats; {
		need = fats + difats
		fats = (content + need + per - 1) / per
		difats = (max(0, fats-inHeader) + per - 2) / (per - 1)
	}
	for range fats {
		l.fat = append(l.fat, fatSector)
	}
	for range difats {
		l.fat = append(l.fat, difatSector)
	}
	h := make([]byte, cfbHeader)
	copy(h, cfbMagic)
	le := binary.LittleEndian
	le.PutUint16(h[24:], 0x3e)
	le.PutUint16(h[26:], l.c.version)
	le.PutUint16(h[28:], 0xfffe)
	le.PutUint16(h[30:], uint16(l.c.shift))
	le.PutUint16(h[32:], miniShift)
	if l.c.version == 4 {
		le.PutUint32(h[40:], uint32(l.c.count(int64(len(l.nodes))*cfbEntrySize)))
	}
	le.PutUint32(h[44:], uint32(fats))
	le.PutUint32(h[48:], directory)
	le.PutUint32(h[56:], miniCutoff)
	le.PutUint32(h[60:], miniFAT)
	le.PutUint32(h[64:], uint32(l.c.count(int64(len(l.miniFAT))*4)))
	le.PutUint32(h[68:], endOfChain)
	if difats > 0 {
		le.PutUint32(h[68:], uint32(content+fats))
	}
	le.PutUint32(h[72:], uint32(difats))
	for i := range inHeader {
		sector := uint32(freeSector)
		if i < fats {
			sector = uint32(content + i)
		}
		le.PutUint32(h[76+4*i:], sector)
	}
	return h
}

// sectorWriter writes sectors; its first error stops it.
type sectorWriter struct {
	w    io.Writer
	size int64 // of a sector
	at   int64
	err  error
}

func (s *sectorWriter) Write(b []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.w.Write(b)
	s.at, s.err = s.at+int64(n), err
	return n, err
}

func (s *sectorWriter) bytes(b []byte) { s.Write(b) }

// pad fills the sector with a byte.
func (s *sectorWriter) pad(with byte) { s.padTo(s.size, with) }

func (s *sectorWriter) padTo(align int64, with byte) {
	if rest := s.at % align; rest != 0 {
		b := make([]byte, align-rest)
		for i := range b {
			b[i] = with
		}
		s.Write(b)
	}
}

func (s *sectorWriter) stream(c *compound, n *node, align int64) {
	if s.err == nil {
		if err := c.copyStream(s, n); err != nil {
			s.err = err
		}
	}
	s.padTo(align, 0)
}

// words writes a table and fills its last sector.
func (s *sectorWriter) words(table []uint32, fill uint32) {
	for _, w := range table {
		s.bytes(binary.LittleEndian.AppendUint32(nil, w))
	}
	for s.at%s.size != 0 {
		s.bytes(binary.LittleEndian.AppendUint32(nil, fill))
	}
}

// empty fills the directory's last sector with unused entries.
func (s *sectorWriter) empty() {
	var e [cfbEntrySize]byte
	for _, at := range []int{68, 72, 76} {
		binary.LittleEndian.PutUint32(e[at:], noEntry)
	}
	for s.at%s.size != 0 {
		s.bytes(e[:])
	}
}

// difat writes the sectors that list those FAT sectors that the header cannot.
func (s *sectorWriter) difat(l *layout) {
	var fats, difats []uint32
	for i, w := range l.fat {
		switch w {
		case fatSector:
			fats = append(fats, uint32(i))
		case difatSector:
			difats = append(difats, uint32(i))
		}
	}
	per := int(s.size/4) - 1
	for i := range difats {
		from := min(inHeader+i*per, len(fats))
		list := fats[from:min(from+per, len(fats))]
		for _, w := range list {
			s.bytes(binary.LittleEndian.AppendUint32(nil, w))
		}
		for range per - len(list) {
			s.bytes(binary.LittleEndian.AppendUint32(nil, freeSector))
		}
		next := uint32(endOfChain)
		if i+1 < len(difats) {
			next = difats[i+1]
		}
		s.bytes(binary.LittleEndian.AppendUint32(nil, next))
	}
}
