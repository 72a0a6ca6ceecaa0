package sip

import (
	"bytes"
	"crypto"
	"encoding/asn1"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"os"
)

// MSIX packages and their bundles are ZIP files with a block map, which holds
// digests of the content block by block. The signature is the last entry,
// AppxSignature.p7x, "PKCX" and the DER; what is signed as messageDigest is
//
//	"APPX"
//	"AXPC" digest of the file up to the signature's local header
//	"AXCD" digest of the central directory and its end records as they would
//	       be if the file ended before the signature
//	"AXCT" digest of the content of [Content_Types].xml, uncompressed
//	"AXBM" of AppxBlockMap.xml
//	"AXCI" of AppxMetadata/CodeIntegrity.cat, if there is one
//
// all by the algorithm that the block map uses. The content types must name the
// signature; the writer adds that, and signs the catalog of the programs in the
// package anew; what it changes goes to the end.
// Windows installs a package only if its manifest names the signer's subject as
// Publisher: see [Publisher].
type msix struct {
	*zipFile
	hash      crypto.Hash
	bundle    bool
	p7x       *zipEntry
	signature []byte
}

const (
	formatMSIX      = "MSIX"
	msixSignature   = "AppxSignature.p7x"
	msixTypes       = "[Content_Types].xml"
	msixBlockMap    = "AppxBlockMap.xml"
	msixCatalog     = "AppxMetadata/CodeIntegrity.cat"
	msixManifest    = "AppxManifest.xml"
	msixBundle      = "AppxMetadata/AppxBundleManifest.xml"
	msixGUID        = "\x4b\xdf\xc5\x0a\x07\xce\xe2\x4d\xb7\x6e\x23\xc8\x39\xa0\x9f\xd1"
	msixBundleGUID  = "\xb3\x58\x5f\x0f\xde\xaa\x9a\x4b\xa4\x34\x95\x74\x2d\x92\xec\xeb"
	msixPrefix      = "PKCX"
	signatureType   = `<Override PartName="/AppxSignature.p7x" ContentType="application/vnd.ms-appx.signature"/>`
	maxContentTypes = 4 << 20
	maxManifest     = 2 << 20
	maxInnerCatalog = 16 << 20
	maxBlockMap     = 128 << 20 // of a package of 100 GB
	maxBlockMapHead = 64 << 10  // up to its first element
)

// A Publisher is a subject that names its signer.
type Publisher interface {
	// Publisher returns the distinguished name that the signer's certificate must
	// have as its subject.
	Publisher() (string, error)
}

var _ Publisher = (*msix)(nil)

func openMSIX(r io.ReaderAt, size int64) (Subject, error) {
	z, err := readZIP(r, size)
	if err != nil {
		return nil, err
	}
	m := &msix{zipFile: z, p7x: z.find(msixSignature), bundle: z.find(msixBundle) != nil}
	if z.find(msixBlockMap) == nil || z.find(msixTypes) == nil {
		return nil, ErrUnknown // another kind of ZIP file
	}
	if m.hash, err = m.blockMapHash(); err != nil {
		return nil, err
	}
	if m.p7x == nil {
		return m, nil
	}
	if m.p7x.name != z.entries[len(z.entries)-1].name {
		return nil, malformedZIP(m.p7x.offset, "the signature is not the last entry")
	}
	b, err := z.read(m.p7x, maxSignature)
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(b, []byte(msixPrefix)) {
		return nil, malformedZIP(m.p7x.offset, "the signature does not begin with %s", msixPrefix)
	}
	m.signature, err = trimPadding(formatMSIX, b[len(msixPrefix):], 1)
	return m, err
}

// blockMapHash returns the digest algorithm of the block map.
func (m *msix) blockMapHash() (crypto.Hash, error) {
	r, err := m.open(m.find(msixBlockMap), maxBlockMap)
	if err != nil {
		return 0, err
	}
	d := xml.NewDecoder(io.LimitReader(r, maxBlockMapHead))
	for {
		token, err := d.Token()
		if err != nil {
			return 0, malformedZIP(0, "reading the first %d bytes of %s: %v", maxBlockMapHead, msixBlockMap, err)
		}
		start, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		for _, a := range start.Attr {
			if a.Name.Local != "HashMethod" {
				continue
			}
			switch a.Value {
			case "http://www.w3.org/2001/04/xmlenc#sha256":
				return crypto.SHA256, nil
			case "http://www.w3.org/2001/04/xmldsig-more#sha384":
				return crypto.SHA384, nil
			case "http://www.w3.org/2001/04/xmlenc#sha512":
				return crypto.SHA512, nil
			}
			return 0, malformedZIP(0, "the block map's digest method %q is not known", a.Value)
		}
		return 0, malformedZIP(0, "the block map names no digest method")
	}
}

func (m *msix) Hash() crypto.Hash { return m.hash }

func (*msix) Format() string { return formatMSIX }

func (m *msix) Data() (asn1.ObjectIdentifier, []byte) {
	if m.bundle {
		return oidSpcSipInfo, sipInfo(0x1010000, msixBundleGUID)
	}
	return oidSpcSipInfo, sipInfo(0x1010000, msixGUID)
}

func (m *msix) Signature() ([]byte, error) { return m.signature, nil }

func (m *msix) Publisher() (string, error) {
	name := msixManifest
	if m.bundle {
		name = msixBundle
	}
	e := m.find(name)
	if e == nil {
		return "", malformedZIP(0, "no %s", name)
	}
	b, err := m.read(e, maxManifest)
	if err != nil {
		return "", err
	}
	var manifest struct {
		Identity struct {
			Publisher string `xml:",attr"`
		}
	}
	if err := xml.Unmarshal(b, &manifest); err != nil {
		return "", malformedZIP(e.offset, "reading %s: %v", name, err)
	}
	return manifest.Identity.Publisher, nil
}

func (m *msix) Digest(h crypto.Hash) ([]byte, error) {
	if m.p7x == nil {
		return nil, malformedZIP(0, "there is no signature")
	}
	return m.digest(h, m.r, m.p7x.offset, m.entries[:len(m.entries)-1], nil)
}

// digest makes the signed digest of the first length bytes of r, which hold
// entries. changed has the contents that differ from those in the file.
func (m *msix) digest(h crypto.Hash, r io.ReaderAt, length int64, entries []zipEntry, changed map[string][]byte) ([]byte, error) {
	if h != m.hash {
		return nil, malformedZIP(0, "the block map has %v digests, and the signature must have them too, not %v", m.hash, h)
	}
	out := []byte("APPX")
	add := func(tag string, content io.Reader) error {
		d := h.New()
		if _, err := io.Copy(d, content); err != nil {
			return err
		}
		out = d.Sum(append(out, tag...))
		return nil
	}
	if err := add("AXPC", io.NewSectionReader(r, 0, length)); err != nil {
		return nil, err
	}
	if err := add("AXCD", bytes.NewReader(m.tail(entries, length))); err != nil {
		return nil, err
	}
	for _, part := range []struct {
		tag, name string
		most      int64
	}{{"AXCT", msixTypes, maxContentTypes}, {"AXBM", msixBlockMap, maxBlockMap}, {"AXCI", msixCatalog, maxInnerCatalog}} {
		e := m.find(part.name)
		if e == nil {
			continue // the catalog: openMSIX demands the others
		}
		content, err := io.Reader(bytes.NewReader(changed[part.name])), error(nil)
		if changed[part.name] == nil {
			content, err = m.open(e, part.most)
		}
		if err == nil {
			err = add(part.tag, content)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return out, nil
}

func (m *msix) Sign(dst *os.File, h crypto.Hash, by Signer) error {
	changed, err := m.change(by)
	if err != nil {
		return err
	}
	w := &zipWriter{w: dst}
	for _, e := range m.entries {
		if e.name != msixSignature && changed[e.name] == nil {
			w.keep(m.r, e)
		}
	}
	for _, name := range []string{msixTypes, msixCatalog} {
		if changed[name] != nil {
			w.add(name, changed[name])
		}
	}
	if w.err != nil {
		return w.err
	}
	digest, err := m.digest(h, dst, w.at, w.entries, changed)
	if err != nil {
		return err
	}
	der, err := by.SignDigest(digest)
	if err != nil {
		return err
	}
	w.add(msixSignature, append([]byte(msixPrefix), der...))
	if w.err != nil {
		return w.err
	}
	if w.at > math.MaxUint32 && len(m.end) == zipEndSize {
		return malformedZIP(0, "a package of more than 4 GiB without ZIP64 records")
	}
	_, err = dst.Write(m.tail(w.entries, w.at))
	return err
}

// change returns the contents that signing changes, by their names.
func (m *msix) change(by Signer) (map[string][]byte, error) {
	changed := make(map[string][]byte)
	types, err := m.read(m.find(msixTypes), maxContentTypes)
	if err != nil {
		return nil, err
	}
	if changed[msixTypes], err = addType(types); err != nil {
		return nil, err
	}
	if e := m.find(msixCatalog); e != nil {
		catalog, err := m.read(e, maxInnerCatalog)
		if err != nil {
			return nil, err
		}
		if changed[msixCatalog], err = by.SignCatalog(catalog); err != nil {
			return nil, err
		}
	}
	return changed, nil
}

// addType returns content types that name the signature; nil if they do.
func addType(types []byte) ([]byte, error) {
	if bytes.Contains(types, []byte(`"/AppxSignature.p7x"`)) {
		return nil, nil
	}
	i := bytes.LastIndex(types, []byte("</Types>"))
	if i < 0 {
		return nil, malformedZIP(0, "%s does not end in </Types>", msixTypes)
	}
	return bytes.Join([][]byte{types[:i], types[i:]}, []byte(signatureType)), nil
}

// zipWriter writes entries one after the other; its first error stops it.
type zipWriter struct {
	w       io.Writer
	entries []zipEntry
	at      int64
	err     error
}

// keep copies an entry as it is.
func (w *zipWriter) keep(r io.ReaderAt, e zipEntry) {
	if w.err != nil {
		return
	}
	length := e.next - e.offset
	n, err := io.Copy(w.w, io.NewSectionReader(r, e.offset, length))
	if err == nil && n < length {
		err = io.ErrUnexpectedEOF
	}
	if e.offset != w.at {
		e = e.moved(w.at)
	}
	w.entries, w.at, w.err = append(w.entries, e), w.at+n, err
}

func (w *zipWriter) add(name string, content []byte) {
	if w.err != nil {
		return
	}
	e, b, err := newEntry(name, content, w.at)
	if err == nil {
		_, err = w.w.Write(b)
	}
	w.entries, w.at, w.err = append(w.entries, e), w.at+int64(len(b)), err
}
