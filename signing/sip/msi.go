package sip

import (
	"bytes"
	"cmp"
	"crypto"
	"encoding/asn1"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"
	"unicode/utf16"
)

// An MSI file (Windows Installer package, also .msp and .mst) is a compound
// file. Its signature is the stream "\5DigitalSignature" in the root, and the
// signed digest is over, for each storage from the root on:
//
//	the content of each stream and, in the same way, each storage below it,
//	in the order of the UTF-16LE bytes of the names, without signature streams
//	the storage's CLSID, 16 bytes
//
// If the root has a stream "\5MsiDigitalSignatureEx", all that is preceded by
// that stream's content, which is a digest over the directory, in the same
// order, each storage before what is in it:
//
//	the name                        not of the root
//	the CLSID, of a storage; the length, 4 bytes, of a stream
//	the state bits, 4 bytes
//	times of creation and change    not of the root
//
// Without it names and lengths could be changed, so the writer always makes it.
// Neither digest covers the rest of the container: free sectors, what is
// behind the ends of streams, fields of directory entries, the shape of the trees.
// The writer leaves nothing there, and CheckFree looks whether somebody else did.
type msi struct {
	*compound
	signature []byte
	extended  []byte // content of MsiDigitalSignatureEx; nil without
}

const (
	formatMSI      = "MSI"
	msiSignature   = "\x05DigitalSignature"
	msiSignatureEx = "\x05MsiDigitalSignatureEx"
	msiGUID        = "\xf1\x10\x0c\x00\x00\x00\x00\x00\xc0\x00\x00\x00\x00\x00\x00\x46"
)

func openMSI(r io.ReaderAt, size int64) (Subject, error) {
	c, err := readCompound(r, size)
	if err != nil {
		return nil, err
	}
	m := &msi{compound: c}
	if b, err := m.read(msiSignature, maxSignature); err != nil {
		return nil, err
	} else if b != nil {
		if m.signature, err = trimPadding(formatMSI, b, 8); err != nil {
			return nil, err
		}
	}
	m.extended, err = m.read(msiSignatureEx, crypto.SHA512.Size())
	return m, err
}

// read returns the content of a stream in the root; nil without one. Names differ
// by more than case, so an entry that differs from name by case alone is what
// Windows takes for it.
func (m *msi) read(name string, most int) ([]byte, error) {
	want := newStream(name, nil)
	for _, n := range m.root.kids {
		if compareNames(n, want) != 0 {
			continue
		}
		if !n.is(name) || n.kind() != typeStream || n.length == 0 || n.length > int64(most) {
			return nil, malformedCFB(0, "%q is not a stream of that name with 1 to %d bytes", name, most)
		}
		var b bytes.Buffer
		if err := m.copyStream(&b, n); err != nil {
			return nil, err
		}
		return b.Bytes(), nil
	}
	return nil, nil
}

func (*msi) Hash() crypto.Hash { return 0 }

func (*msi) Format() string { return formatMSI }

func (*msi) Data() (asn1.ObjectIdentifier, []byte) { return oidSpcSipInfo, sipInfo(1, msiGUID) }

func (m *msi) Signature() ([]byte, error) { return m.signature, nil }

func (m *msi) Digest(h crypto.Hash) ([]byte, error) {
	if m.extended != nil && !bytes.Equal(m.extended, m.directoryDigest(h)) {
		return nil, &TamperedError{formatMSI, fmt.Sprintf("the directory's %v digest is not the one in MsiDigitalSignatureEx: names, lengths or times were changed after signing", h)}
	}
	return m.contentDigest(h, m.extended)
}

func (m *msi) contentDigest(h crypto.Hash, extended []byte) ([]byte, error) {
	d := h.New()
	d.Write(extended)
	if err := m.digestContent(d, m.root); err != nil {
		return nil, err
	}
	return d.Sum(nil), nil
}

func (m *msi) digestContent(d io.Writer, storage *node) error {
	for _, n := range m.signed(storage) {
		var err error
		if n.kind() == typeStorage {
			err = m.digestContent(d, n)
		} else {
			err = m.copyStream(d, n)
		}
		if err != nil {
			return err
		}
	}
	_, err := d.Write(storage.entry[80:96])
	return err
}

func (m *msi) directoryDigest(h crypto.Hash) []byte {
	d := h.New()
	m.digestDirectory(d, m.root)
	return d.Sum(nil)
}

func (m *msi) digestDirectory(d io.Writer, storage *node) {
	digestEntry(d, storage)
	for _, n := range m.signed(storage) {
		if n.kind() == typeStorage {
			m.digestDirectory(d, n)
		} else {
			digestEntry(d, n)
		}
	}
}

func digestEntry(d io.Writer, n *node) {
	root := n.kind() == typeRoot
	if !root {
		d.Write(n.name()[:len(n.name())-2])
	}
	if n.kind() == typeStream {
		d.Write(binary.LittleEndian.AppendUint32(nil, uint32(n.length)))
	} else {
		d.Write(n.entry[80:96])
	}
	d.Write(n.entry[96:100])
	if !root {
		d.Write(n.entry[100:116])
	}
}

// signed returns what is digested of a storage, in its order: by the bytes of
// the names, and where one begins with all of the other, the longer first.
func (m *msi) signed(storage *node) []*node {
	var kids []*node
	for _, n := range storage.kids {
		if storage != m.root || !n.is(msiSignature) && !n.is(msiSignatureEx) {
			kids = append(kids, n)
		}
	}
	slices.SortFunc(kids, func(a, b *node) int {
		x, y := a.name(), b.name()
		shorter := min(len(x), len(y))
		return cmp.Or(bytes.Compare(x[:shorter], y[:shorter]), len(y)-len(x))
	})
	return kids
}

func (m *msi) Sign(dst *os.File, h crypto.Hash, by Signer) error {
	m.root.normalize()
	extended := m.directoryDigest(h)
	digest, err := m.contentDigest(h, extended)
	if err != nil {
		return err
	}
	der, err := by.SignDigest(digest)
	if err != nil {
		return err
	}
	kept := m.root.kids
	defer func() { m.root.kids = kept }()
	m.root.kids = append(m.signed(m.root), newStream(msiSignature, der), newStream(msiSignatureEx, extended))
	return m.write(dst)
}

// newStream is a stream with a content that is not in the file yet.
func newStream(name string, content []byte) *node {
	n := &node{content: content, length: int64(len(content))}
	encoded := utf16LE(name)
	copy(n.entry[:], encoded)
	binary.LittleEndian.PutUint16(n.entry[64:], uint16(len(encoded)+2))
	n.entry[66] = typeStream
	binary.LittleEndian.PutUint32(n.entry[76:], noEntry)
	return n
}

// normalize gives the fields of an entry, and of what is below it, that no digest
// covers the values that [msi.CheckFree] demands; links, beginnings and lengths are
// for the writer.
func (n *node) normalize() {
	e, le := n.entry[:], binary.LittleEndian
	switch n.kind() {
	case typeRoot:
		name := append(utf16LE(rootName), 0, 0)
		clear(e[:64])
		copy(e, name)
		le.PutUint16(e[64:], uint16(len(name)))
		le.PutUint32(e[68:], noEntry)
		le.PutUint32(e[72:], noEntry)
		clear(e[100:116])
	case typeStorage:
		clear(e[le.Uint16(e[64:]):64])
		clear(e[116:128])
	default:
		clear(e[le.Uint16(e[64:]):64])
		le.PutUint32(e[76:], noEntry)
		clear(e[80:96])
		clear(e[100:116])
	}
	for _, kid := range n.kids {
		kid.normalize()
	}
}

func utf16LE(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

func decodeUTF16LE(b []byte) string {
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return string(utf16.Decode(units))
}
