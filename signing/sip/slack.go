package sip

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
)

// A Container is a subject with room that no digest covers, in which a payload
// could hide: an MSI package stays signed when a program is put into its free
// sectors or appended as further ones (CVE-2020-1464 lives from that).
type Container interface {
	// CheckFree demands that all of that room holds what an empty place holds. The
	// error is a *FreeError, or of reading.
	CheckFree() error

	// CoversNames reports whether the signature covers the names, lengths and times
	// of what is in the container, not only the contents.
	CoversNames() bool
}

// FreeError says where a file holds something that its signature does not cover.
type FreeError struct {
	Format string
	Offset int64 // in the file; 0 when there is no one place
	Detail string
}

func (e *FreeError) Error() string { return e.Format + ": " + e.Detail }

func notFree(at int64, format string, args ...any) error {
	return &FreeError{Format: formatMSI, Offset: at, Detail: fmt.Sprintf(format, args...)}
}

var _ Container = (*msi)(nil)

// CoversNames implements [Container].
func (m *msi) CoversNames() bool { return m.extended != nil }

// CheckFree implements [Container]. It looks into the header, the tables and the
// directory, behind the ends of streams, and into sectors and mini sectors that
// belong to nothing.
func (m *msi) CheckFree() error {
	c := m.compound
	for _, check := range []func() error{c.checkHeader, c.checkTables, m.checkEntries, c.checkSectors, c.checkMini, func() error { return c.checkEnds(c.root) }} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// absent reports whether a stream's first sector says that there is none: writers
// have 0 or the end of a chain there.
func absent(sector uint32) bool { return sector == 0 || sector == endOfChain }

// checkHeader holds the fields of the header that reading ignores against
// MS-CFB, 2.2.
func (c *compound) checkHeader() error {
	h, le := c.header[:], binary.LittleEndian
	for _, zero := range [][2]int{{8, 24}, {34, 40}, {52, 56}} { // class, reserved, transaction
		if len(bytes.Trim(h[zero[0]:zero[1]], "\x00")) > 0 {
			return notFree(int64(zero[0]), "a field of the header is not zero that must be")
		}
	}
	directories := uint32(0)
	if c.version == 4 {
		directories = c.dirSectors
	}
	switch minor := le.Uint16(h[24:]); {
	case minor != 0x3e && minor != 0x3b: // the second by the first writers of the format
		return notFree(24, "minor version %#x, must be 0x3e", minor)
	case le.Uint32(h[40:]) != directories:
		return notFree(40, "the header says %d directory sectors, must be %d", le.Uint32(h[40:]), directories)
	case le.Uint32(h[64:]) == 0 && le.Uint32(h[60:]) != endOfChain:
		return notFree(60, "the header names a first sector of the mini FAT, and none is there")
	case c.difatEnd != endOfChain:
		return notFree(68, "the list of FAT sectors does not end where its chain does")
	}
	listed := min(int64(le.Uint32(h[44:])), inHeader)
	if slices.ContainsFunc(h[76+4*listed:], func(b byte) bool { return b != 0xff }) {
		return notFree(76+4*listed, "the header's list of FAT sectors has something behind its end")
	}
	return c.checkZeros(cfbHeader, max(cfbHeader, c.sectorSize())) // the rest of the header's sector
}

// checkTables looks into those entries of FAT, mini FAT and DIFAT that no chain
// goes through.
func (c *compound) checkTables() error {
	for _, entry := range c.spare {
		if entry != freeSector {
			return notFree(0, "an unused entry of the DIFAT is %#x", entry)
		}
	}
	for s, want := range c.tables {
		if int64(s) >= int64(len(c.fat)) || c.fat[s] != want {
			return notFree(c.offset(s), "the FAT does not say that sector %#x is its own", s)
		}
	}
	for _, t := range []struct {
		name  string
		table []uint32
		used  []bool
	}{{"FAT", c.fat, c.used}, {"mini FAT", c.miniFAT, c.usedMin}} {
		for i, entry := range t.table {
			behind := i - len(t.used)
			if behind < 0 && t.used[i] || entry == freeSector || entry == endOfChain && (behind == 0 || t.name == "FAT" && c.rangeLock(i)) {
				continue // osslsigncode ends a chain right behind the last mini sector that nothing begins
			}
			return notFree(0, "entry %#x of the %s is %#x, and belongs to nothing", i, t.name, entry)
		}
	}
	return nil
}

// rangeLock reports whether a sector is the one that files of version 4 leave free
// for locks (MS-CFB, 2.8).
func (c *compound) rangeLock(sector int) bool {
	return c.version == 4 && c.offset(uint32(sector)) == 0x7fffff00&^(c.sectorSize()-1)
}

// checkEntries holds the directory against MS-CFB, 2.6: the fields that no digest
// covers must have their one value.
func (m *msi) checkEntries() error {
	if n := m.unsorted; n != nil {
		return notFree(0, "directory entry %q is out of order, where a search does not find it", n.text())
	}
	var unused *node // the first one
	for i, n := range m.entries {
		var err error
		switch {
		case !m.inTree[i]:
			unused = cmp.Or(unused, n)
			err = checkUnused(n, unused)
		case n == m.root:
			err = m.checkRoot()
		default:
			err = m.checkEntry(n)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkUnused demands that an unused entry is empty. The links of all of them are
// zeros, or all NOSTREAM.
func checkUnused(n, first *node) error {
	e, le := n.entry[:], binary.LittleEndian
	for at := 68; at < 80; at += 4 {
		if link := le.Uint32(e[at:]); link != le.Uint32(first.entry[68:]) || link != noEntry && link != 0 {
			return notFree(0, "an unused directory entry has a link")
		}
	}
	if len(bytes.Trim(e[:68], "\x00"))+len(bytes.Trim(e[80:], "\x00")) > 0 {
		return notFree(0, "an unused directory entry is not empty")
	}
	return nil
}

func (m *msi) checkRoot() error {
	e, le := m.root.entry[:], binary.LittleEndian
	name := append(utf16LE(rootName), 0, 0)
	switch {
	case int(le.Uint16(e[64:])) != len(name) || !bytes.Equal(e[:len(name)], name):
		return notFree(0, "the root is not named %s", rootName)
	case len(bytes.Trim(e[len(name):64], "\x00")) > 0:
		return notFree(0, "something follows the name of the root")
	case le.Uint32(e[68:]) != noEntry || le.Uint32(e[72:]) != noEntry:
		return notFree(0, "the root has siblings")
	case le.Uint64(e[100:]) != 0:
		return notFree(0, "the root has a time of creation, which the file system keeps")
	case m.root.length == 0 && !absent(le.Uint32(e[116:])):
		return notFree(0, "the root names a first sector of the mini stream, and none is there")
	case m.root.length&(1<<miniShift-1) != 0:
		return notFree(0, "the mini stream has %d bytes, which is not a number of sectors", m.root.length)
	}
	return m.checkCommon(m.root)
}

func (m *msi) checkEntry(n *node) error {
	e, le := n.entry[:], binary.LittleEndian
	zero := func(from, to int) bool { return len(bytes.Trim(e[from:to], "\x00")) == 0 }
	switch {
	case n.kind() == typeStorage && (!absent(le.Uint32(e[116:])) || !zero(120, 128)):
		return notFree(0, "storage %q has a content of its own", n.text())
	case n.kind() == typeStorage:
	case le.Uint32(e[76:]) != noEntry:
		return notFree(0, "stream %q has a child", n.text())
	case !zero(80, 96):
		return notFree(0, "stream %q has a class", n.text())
	case !zero(100, 116):
		return notFree(0, "stream %q has times", n.text())
	case !zero(96, 100) && (m.extended == nil || n.is(msiSignature) || n.is(msiSignatureEx)):
		return notFree(0, "stream %q has state bits that no digest covers", n.text())
	case n.length == 0 && !absent(le.Uint32(e[116:])):
		return notFree(0, "stream %q is empty and has a first sector", n.text())
	}
	if !zero(int(le.Uint16(e[64:])), 64) {
		return notFree(0, "something follows the name of %q", n.text())
	}
	return m.checkCommon(n)
}

// checkCommon looks at the fields that all entries have alike.
func (m *msi) checkCommon(n *node) error {
	if n.entry[67] > 1 {
		return notFree(0, "a directory entry is neither red nor black")
	}
	if m.version == 3 && binary.LittleEndian.Uint32(n.entry[124:]) != 0 {
		return notFree(0, "the upper half of a length is not zero")
	}
	return nil
}

// checkSectors demands that sectors which belong to nothing are zeros, and that
// none of them stands behind the last one that belongs to something.
func (c *compound) checkSectors() error {
	last := len(c.used) - 1
	for last >= 0 && !c.used[last] {
		last--
	}
	if end := c.offset(uint32(last + 1)); end < c.size {
		return notFree(end, "%d bytes are appended that belong to nothing", c.size-end)
	}
	for s := 0; s < last; s++ {
		run := s
		for !c.used[run] {
			run++
		}
		if err := c.checkZeros(c.offset(uint32(s)), c.offset(uint32(run))); err != nil {
			return err
		}
		s = run
	}
	return nil
}

// checkMini is the same for the mini stream, and looks behind its end.
func (c *compound) checkMini() error {
	for s, used := range c.usedMin {
		if used {
			continue
		}
		in := int64(s) << miniShift
		at := c.offset(c.mini[in>>c.shift]) + in&(c.sectorSize()-1)
		if err := c.checkZeros(at, at+1<<miniShift); err != nil {
			return err
		}
	}
	if len(c.mini) == 0 {
		return nil
	}
	last := len(c.mini) - 1
	at := c.offset(c.mini[last])
	return c.checkZeros(at+c.root.length-int64(last)<<c.shift, min(at+c.sectorSize(), c.size))
}

// checkEnds looks behind the ends of the streams of a storage, in their last
// sectors.
func (c *compound) checkEnds(storage *node) error {
	for _, n := range storage.kids {
		if n.kind() == typeStorage {
			if err := c.checkEnds(n); err != nil {
				return err
			}
			continue
		}
		if len(n.sectors) == 0 {
			continue
		}
		last := len(n.sectors) - 1
		at, length := c.place(n, last)
		left := n.length - int64(last)*length
		if err := c.checkZeros(at+left, min(at+length, c.size)); err != nil {
			return err
		}
	}
	return nil
}

// checkZeros demands zeros from at to end.
func (c *compound) checkZeros(at, end int64) error {
	b := make([]byte, max(0, min(end-at, copySize)))
	for at < end {
		n := min(int64(len(b)), end-at)
		if err := readFull(c.r, b[:n], at, c.size); err != nil {
			return err
		}
		if i := slices.IndexFunc(b[:n], func(x byte) bool { return x != 0 }); i >= 0 {
			return notFree(at+int64(i), "bytes hide in a free place of the container, which no digest covers (as in CVE-2020-1464)")
		}
		at += n
	}
	return nil
}
