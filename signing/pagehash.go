package signing

import (
	"bytes"
	"crypto"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Page hashes let Windows check a program page by page as it is loaded, where
// that is demanded (IMAGE_DLLCHARACTERISTICS_FORCE_INTEGRITY, protected
// processes). They are a table:
//
//	offset in the file  uint32, little-endian
//	digest              of the page, filled with zeros
//
// with an entry for the headers, without the two fields that signing changes;
// one for each page of each section, in the order of the section headers; and an
// entry of zeros for the end of the last section. A page is as long as
// SectionAlignment. The table is kept in the SpcPeImageData (spc.go) as
//
//	file [0] { [1] SpcSerializedObject { classId a6b586d5-…, serializedData } }
//	serializedData ::= OCTET STRING of SET { SEQUENCE { type, SET { OCTET STRING table } } }
//
// with the type 1.3.6.1.4.1.311.2.3.1 for SHA-1 and .2 for SHA-256. This writer
// makes the latter, whatever the signature's own digest is, as Windows knows no
// other; osslsigncode does the same with its SHA-256 ones.
var (
	oidPageHashesV1 = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 3, 1}
	oidPageHashesV2 = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 3, 2}
)

const (
	maxPage       = 1 << 20 // SectionAlignment; it is 4 KiB nearly always
	pageHashClass = "\xa6\xb5\x86\xd5\xb4\xa1\x24\x66\xae\x05\xa2\x17\xda\x8e\x60\xd6"
	maxPages      = 1 << 20 // of 4 KiB: a file of 4 GiB
)

// page is a part of the file with an entry in the table.
type page struct{ start, end int64 }

// pageTable hashes pages while the file goes by.
type pageTable struct {
	hash  crypto.Hash
	size  int64  // of a page
	pages []page // the headers first, then in the order of the sections
	last  int64  // end of the last section
	order []int  // of pages, as they come in the file
	next  int    // in order: the page that is being hashed
	skip  [2]page
	d     hash.Hash
	rows  []byte // of the table, in the order of pages
	zeros []byte // a page of them
}

// newPageTable lays out the table of a file.
func newPageTable(p *peFile, r io.ReaderAt, h crypto.Hash) (*pageTable, error) {
	var fields [32]byte // SectionAlignment, at 32 of the optional header, to SizeOfHeaders, at 60
	opt := p.checksum - checksumInOptional
	if err := readAt(r, fields[:], opt+32, p.size); err != nil {
		return nil, err
	}
	t := &pageTable{hash: h, size: int64(binary.LittleEndian.Uint32(fields[:])), d: h.New(),
		skip: [2]page{{p.checksum, p.checksum + 4}, {p.certDir, p.certDir + 8}}}
	headers := int64(binary.LittleEndian.Uint32(fields[28:]))
	if t.size < 512 || t.size > maxPage || headers < p.afterHeaders || headers > t.size || headers > p.end() {
		return nil, fail(Unsupported, RulePageHash, opt+32, "no page hashes for headers of %d bytes and pages of %d: the headers must fit a page, and that 1 MiB", headers, t.size)
	}
	var count, total int64
	for _, s := range p.sections {
		total += s.end - s.start
		count += (s.end - s.start + t.size - 1) / t.size
	}
	if total > p.end() || count >= maxPages {
		return nil, fail(Unsupported, RulePageHash, opt, "no page hashes for sections that overlap, or more than %d pages", maxPages)
	}
	t.pages = append(make([]page, 0, count+1), page{0, headers})
	for _, s := range p.sections {
		if s.start == s.end {
			continue
		}
		if s.end > p.end() {
			return nil, fail(Malformed, RuleFormat, opt, "a section ends at %#x, the image at %#x", s.end, p.end())
		}
		for at := s.start; at < s.end; at += t.size {
			t.pages = append(t.pages, page{at, min(at+t.size, s.end)})
		}
		t.last = s.end
	}
	t.rows, t.zeros = make([]byte, len(t.pages)*t.row(), (len(t.pages)+1)*t.row()), make([]byte, t.size)
	t.order = make([]int, len(t.pages))
	for i := range t.order {
		t.order[i] = i
	}
	slices.SortStableFunc(t.order, func(a, b int) int { return int(t.pages[a].start - t.pages[b].start) })
	for i, n := range t.order[1:] {
		if t.pages[n].start < t.pages[t.order[i]].end {
			return nil, fail(Unsupported, RulePageHash, opt, "no page hashes for sections that overlap at %#x", t.pages[n].start)
		}
	}
	return t, nil
}

// row is the length of an entry of the table.
func (t *pageTable) row() int { return 4 + t.hash.Size() }

// write takes the block of the file that begins at offset at.
func (t *pageTable) write(b []byte, at int64) {
	for t.next < len(t.order) {
		i := t.order[t.next]
		g := t.pages[i]
		from, to := max(g.start-at, 0), min(g.end-at, int64(len(b)))
		if from < to {
			t.digest(b[from:to], at+from)
		}
		if g.end > at+int64(len(b)) {
			return
		}
		t.d.Write(t.zeros[:t.size-(g.end-g.start)])
		row := t.rows[i*t.row() : (i+1)*t.row()]
		binary.LittleEndian.PutUint32(row, uint32(g.start))
		t.d.Sum(row[:4])
		t.d.Reset()
		t.next++
	}
}

// digest takes a part of a page, without the fields that signing changes.
func (t *pageTable) digest(b []byte, at int64) {
	for _, s := range t.skip {
		start, end := min(max(s.start-at, 0), int64(len(b))), min(max(s.end-at, 0), int64(len(b)))
		t.d.Write(b[:start])
		b, at = b[end:], at+end
	}
	t.d.Write(b)
}

// table returns the table, once the whole file has gone by.
func (t *pageTable) table() ([]byte, error) {
	if t.next < len(t.order) {
		return nil, errors.New("a page of the file was not read")
	}
	b := binary.LittleEndian.AppendUint32(t.rows, uint32(t.last))
	return append(b, make([]byte, t.hash.Size())...), nil
}

// addPageHashes writes the SpcLink that holds a table.
func addPageHashes(b *cryptobyte.Builder, table []byte) {
	var set cryptobyte.Builder
	set.AddASN1(casn1.SET, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(oidPageHashesV2)
			b.AddASN1(casn1.SET, func(b *cryptobyte.Builder) { b.AddASN1OctetString(table) })
		})
	})
	b.AddASN1(explicit1, func(b *cryptobyte.Builder) {
		b.AddASN1OctetString([]byte(pageHashClass))
		b.AddASN1OctetString(set.BytesOrPanic())
	})
}

// parsePageHashes returns the table in the SpcLink of an SpcPeImageData, which
// fills link. Without page hashes the link is a file name, and the table nil.
func parsePageHashes(link cryptobyte.String) (crypto.Hash, []byte, error) {
	var moniker, class, serialized, set, attribute, values, table cryptobyte.String
	var kind asn1.ObjectIdentifier
	if !link.PeekASN1Tag(explicit1) {
		return 0, nil, nil
	}
	bad := errors.New("not the page hashes of an SpcPeImageData")
	if !link.ReadASN1(&moniker, explicit1) || !link.Empty() ||
		!moniker.ReadASN1(&class, casn1.OCTET_STRING) || !bytes.Equal(class, []byte(pageHashClass)) ||
		!moniker.ReadASN1(&serialized, casn1.OCTET_STRING) || !moniker.Empty() ||
		!serialized.ReadASN1(&set, casn1.SET) || !serialized.Empty() ||
		!set.ReadASN1(&attribute, casn1.SEQUENCE) || !set.Empty() ||
		!attribute.ReadASN1ObjectIdentifier(&kind) || !attribute.ReadASN1(&values, casn1.SET) || !attribute.Empty() ||
		!values.ReadASN1(&table, casn1.OCTET_STRING) || !values.Empty() {
		return 0, nil, bad
	}
	switch {
	case kind.Equal(oidPageHashesV1):
		return crypto.SHA1, table, nil
	case kind.Equal(oidPageHashesV2):
		return crypto.SHA256, table, nil
	}
	return 0, nil, fmt.Errorf("page hashes of an unknown kind %v", kind)
}
