package sip

import (
	"bytes"
	"encoding/binary"
)

// A Container is a subject with room that no digest covers, in which a payload
// could hide: an MSI package stays signed when a program is put into its free
// sectors or appended as further ones (CVE-2020-1464 lives from that).
type Container interface {
	// Hidden returns where the first byte lies in that room that is not what an
	// empty place holds; -1 if there is none.
	Hidden() (offset int64, err error)
}

var _ Container = (*msi)(nil)

// Hidden looks behind the ends of streams, into sectors and mini sectors that
// belong to nothing, and into the ends of the tables: the FAT is full of free
// entries behind the file's last sector, everything else of zeros.
func (m *msi) Hidden() (int64, error) {
	c := m.compound
	for s, used := range c.used {
		if at := c.offset(uint32(s)); !used {
			if at, err := c.notFilled(at, min(at+c.sectorSize(), c.size), 0); at >= 0 || err != nil {
				return at, err
			}
		}
	}
	if c.shift > 9 { // behind the header
		if at, err := c.notFilled(cfbHeader, c.sectorSize(), 0); at >= 0 || err != nil {
			return at, err
		}
	}
	if at, err := c.tablesEnd(); at >= 0 || err != nil {
		return at, err
	}
	if at, err := c.behind(c.root.length, c.mini); at >= 0 || err != nil {
		return at, err
	}
	for s, used := range c.usedMin {
		in := int64(s) << miniShift
		if at := c.offset(c.mini[in>>c.shift]) + in&(c.sectorSize()-1); !used {
			if at, err := c.notFilled(at, at+1<<miniShift, 0); at >= 0 || err != nil {
				return at, err
			}
		}
	}
	return m.hiddenIn(c.root)
}

// tablesEnd looks into the ends of the FAT, the mini FAT, the header's list of FAT
// sectors, and the directory with its names. Where a table lies is not at hand, so
// the offset is that of the header.
func (c *compound) tablesEnd() (int64, error) {
	for _, rest := range [][]uint32{c.fat[min(len(c.used), len(c.fat)):], c.miniFAT[min(len(c.usedMin), len(c.miniFAT)):]} {
		for i, sector := range rest {
			if sector != freeSector && (i > 0 || sector != endOfChain) { // osslsigncode ends a chain there that nothing begins
				return 0, nil
			}
		}
	}
	var count [4]byte
	if err := readFull(c.r, count[:], 44, c.size); err != nil {
		return 0, err
	}
	listed := min(int64(binary.LittleEndian.Uint32(count[:])), inHeader)
	if at, err := c.notFilled(76+4*listed, cfbHeader, 0xff); at >= 0 || err != nil {
		return at, err
	}
	for i, n := range c.entries {
		length := binary.LittleEndian.Uint16(n.entry[64:])
		if length > maxNameLength {
			return 0, nil
		}
		free := n.entry[length:64]
		if !c.inTree[i] {
			free = append(bytes.Clone(n.entry[:68]), n.entry[80:]...)
			for at := 68; at < 80; at += 4 { // links: zeros or NOSTREAM
				if link := binary.LittleEndian.Uint32(n.entry[at:]); link != noEntry {
					free = binary.LittleEndian.AppendUint32(free, link)
				}
			}
		}
		if len(bytes.Trim(free, "\x00")) > 0 {
			return 0, nil
		}
	}
	return -1, nil
}

// hiddenIn looks behind the streams of a storage.
func (m *msi) hiddenIn(storage *node) (int64, error) {
	for _, n := range storage.kids {
		if n.kind() == typeStorage {
			if at, err := m.hiddenIn(n); at >= 0 || err != nil {
				return at, err
			}
			continue
		}
		if len(n.sectors) == 0 {
			continue
		}
		last := len(n.sectors) - 1
		at, length := m.place(n, last)
		left := n.length - int64(last)*length
		if at, err := m.notFilled(at+left, min(at+length, m.size), 0); at >= 0 || err != nil {
			return at, err
		}
	}
	return -1, nil
}

// behind looks behind a stream of regular sectors.
func (c *compound) behind(length int64, sectors []uint32) (int64, error) {
	if len(sectors) == 0 {
		return -1, nil
	}
	last := len(sectors) - 1
	at := c.offset(sectors[last])
	return c.notFilled(at+length-int64(last)<<c.shift, min(at+c.sectorSize(), c.size), 0)
}

// notFilled returns the offset of the first byte from at to end that is another
// one than fill; -1 if there is none.
func (c *compound) notFilled(at, end int64, fill byte) (int64, error) {
	b, want := make([]byte, 512), bytes.Repeat([]byte{fill}, 512)
	for at < end {
		n := min(int64(len(b)), end-at)
		if err := readFull(c.r, b[:n], at, c.size); err != nil {
			return 0, err
		}
		if !bytes.Equal(b[:n], want[:n]) {
			for i := range n {
				if b[i] != fill {
					return at + i, nil
				}
			}
		}
		at += n
	}
	return -1, nil
}
