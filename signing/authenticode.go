package signing

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"os"

	"github.com/hallmark-build/hallmark/signing/cms"
	"github.com/hallmark-build/hallmark/signing/key"
)

// Authenticode signs PE files (Microsoft, "Windows Authenticode Portable
// Executable Signature Format", 2008, and the PE Format specification).
//
// The signature is a PKCS #7 SignedData in the certificate table, the part of
// the file that data directory 4 points to, by file offset:
//
//	certificate table = one or more WIN_CERTIFICATE, each at a multiple of 8
//	WIN_CERTIFICATE   = dwLength          uint32   with header and padding
//	                    wRevision         uint16   0x0200
//	                    wCertificateType  uint16   0x0002, PKCS #7 SignedData
//	                    bCertificate      DER, then zeros up to dwLength
//
// What is signed is an SpcIndirectDataContent (spc.go) with the digest of the
// file from its first byte to the certificate table, without three ranges:
// the CheckSum field, data directory entry 4, and the table itself. A file
// whose length is no multiple of 8 is padded with zeros, which are digested.
//
// The writer puts the table at the end, sets the CheckSum, embeds the key's
// chain, and signs the attributes SpcStatementType (individual), SpcSpOpusInfo
// and the two that CMS demands, in DER order. The timestamp is the unsigned
// attribute 1.3.6.1.4.1.311.3.3.1. Without a timestamp an RSA signature of the
// same file by the same key has always the same bytes.
//
// With PageHashes it also signs a digest of each page (pagehash.go).
//
// The verifier wants every signature of the file to hold, the nested ones
// (1.3.6.1.4.1.311.2.4.1) too, whatever the primary one says.
type Authenticode struct {
	Description string      // name of the program, shown by Windows; may be empty
	URL         string      // where to learn more; may be empty
	Hash        crypto.Hash // 0 means SHA-256
	PageHashes  bool        // also sign a digest of every page, see pagehash.go
}

var _ Scheme = Authenticode{}

// Name implements [Scheme].
func (Authenticode) Name() string { return "authenticode" }

const (
	winCertRevision   = 0x0200
	winCertPKCS7      = 0x0002
	maxNested         = 4 // levels; signtool makes one
	maxSignatures     = 8 // in one file
	maxPESize         = math.MaxUint32
	maxCMSPaddingSize = 7
)

// Sign implements [Scheme].
func (a Authenticode) Sign(ctx context.Context, src, dst string, k *key.Key, ts Timestamper) (*Signature, error) {
	return signTo(ctx, a, src, dst, k, ts)
}

func (a Authenticode) make(ctx context.Context, src, dst string, k *key.Key, ts Timestamper, trust Trust) (*output, *Signature, error) {
	h := cmp.Or(a.Hash, crypto.SHA256)
	return makeOutput(ctx, a, src, dst, trust, func(in *os.File, size int64, out *output) error {
		if size > maxPESize-maxTableSize {
			return fail(Unsupported, RuleFormat, 0, "%d bytes: a PE file ends below 4 GiB", size)
		}
		p, err := readPEToSign(in, size)
		if err != nil {
			return err
		}
		var pages *pageTable
		if a.PageHashes {
			if pages, err = newPageTable(p, in, crypto.SHA256); err != nil {
				return err
			}
		}
		digest := h.New()
		w, err := out.copyOf(in, p.end())
		if err != nil {
			return fmt.Errorf("copying %s: %w", src, err)
		}
		sum, err := p.scan(ctx, in, w, digest, pages)
		if err != nil {
			return fmt.Errorf("copying %s: %w", src, err)
		}
		der, err := a.sign(ctx, digest.Sum(nil), pages, h, k, ts)
		if err != nil {
			return fmt.Errorf("%s: %w", src, err)
		}
		if err := p.attach(out.File, certificateTable(der), sum); err != nil {
			return fmt.Errorf("writing %s: %w", dst, err)
		}
		return nil
	})
}

// sign returns the DER of a signature over a file's digest, and over its page
// hashes unless pages is nil.
func (a Authenticode) sign(ctx context.Context, digest []byte, pages *pageTable, h crypto.Hash, k *key.Key, ts Timestamper) ([]byte, error) {
	var table []byte
	if pages != nil {
		var err error
		if table, err = pages.table(); err != nil {
			return nil, err
		}
	}
	content, err := marshalIndirectData(h, digest, table)
	if err != nil {
		return nil, err
	}
	return a.signContent(ctx, oidSpcIndirectData, content, h, k, ts)
}

// signContent returns the DER of a signature over a content, which is DER of a
// type.
func (a Authenticode) signContent(ctx context.Context, contentType asn1.ObjectIdentifier, content []byte, h crypto.Hash, k *key.Key, ts Timestamper) ([]byte, error) {
	sd := cms.SignedData{Content: content}
	contentDigest, err := sd.ContentDigest(h)
	if err != nil {
		return nil, err
	}
	attributes, err := spcAttributes(a.Description, a.URL)
	if err != nil {
		return nil, err
	}
	return cms.Message{
		ContentType:  contentType,
		Content:      content,
		Digest:       contentDigest,
		Hash:         h,
		NullParams:   true,
		Attributes:   attributes,
		Certificates: k.Chain,
	}.Sign(k, k.Leaf(), countersigner(ctx, ts, h, cms.OIDSpcTimestampToken))
}

// certificateTable wraps a signature in its WIN_CERTIFICATE.
func certificateTable(der []byte) []byte {
	size := (winCertHeader + len(der) + 7) &^ 7
	table := make([]byte, size)
	binary.LittleEndian.PutUint32(table, uint32(size))
	binary.LittleEndian.PutUint16(table[4:], winCertRevision)
	binary.LittleEndian.PutUint16(table[6:], winCertPKCS7)
	copy(table[winCertHeader:], der)
	return table
}

// scan reads the signed content of a file once: it feeds digest and, if that is
// not nil, pages, sums up the checksum of the file as it will be with both header
// fields zero, and writes a copy to w if that is not nil. Zeros pad the content
// to a multiple of 8.
func (p *peFile) scan(ctx context.Context, r io.ReaderAt, w io.Writer, digest hash.Hash, pages *pageTable) (*peChecksum, error) {
	sum := new(peChecksum)
	err := pump(ctx, r, p.end(), 8, func(b []byte) error {
		if pages != nil {
			pages.write(b, sum.size)
		}
		sum.add(b)
		if w == nil {
			return nil
		}
		_, err := w.Write(b)
		return err
	}, func(b []byte, at int64) { p.digestBlock(b, at, digest) })
	if err != nil {
		return nil, err
	}
	for _, field := range []int64{p.checksum, p.certDir, p.certDir + 4} {
		var was [4]byte
		if err := readAt(r, was[:], field, p.size); err != nil {
			return nil, err
		}
		sum.swap(binary.LittleEndian.Uint32(was[:]), 0)
	}
	return sum, nil
}

// digestBlock digests the block that starts at offset at, without the fields
// that signing changes.
func (p *peFile) digestBlock(b []byte, at int64, digest hash.Hash) {
	for _, skip := range [...]struct{ start, end int64 }{{p.checksum, p.checksum + 4}, {p.certDir, p.certDir + 8}} {
		start, end := min(max(skip.start-at, 0), int64(len(b))), min(max(skip.end-at, 0), int64(len(b)))
		digest.Write(b[:start])
		b, at = b[end:], at+end
	}
	digest.Write(b)
}

// attach appends a certificate table to a copy of the content and sets the
// header fields that depend on it. sum is of the copy with those fields zero.
func (p *peFile) attach(f *os.File, table []byte, sum *peChecksum) error {
	return p.finish(f, uint32(sum.size), table, sum)
}

// finish is attach with the offset of the table, which is 0 without one.
func (p *peFile) finish(f *os.File, offset uint32, table []byte, sum *peChecksum) error {
	if _, err := f.WriteAt(table, sum.size); err != nil {
		return err
	}
	var entry [8]byte
	binary.LittleEndian.PutUint32(entry[:], offset)
	binary.LittleEndian.PutUint32(entry[4:], uint32(len(table)))
	if _, err := f.WriteAt(entry[:], p.certDir); err != nil {
		return err
	}
	sum.add(table)
	sum.swap(0, offset)
	sum.swap(0, uint32(len(table)))
	var checksum [4]byte
	binary.LittleEndian.PutUint32(checksum[:], sum.value())
	_, err := f.WriteAt(checksum[:], p.checksum)
	return err
}

// Verify implements [Scheme].
func (Authenticode) Verify(ctx context.Context, file string, trust Trust) (*Signature, error) {
	return verifyFile(ctx, file, trust, verifyPE)
}

func verifyPE(ctx context.Context, r io.ReaderAt, size int64, trust Trust) (*Signature, error) {
	p, err := readPE(r, size)
	if err != nil {
		return nil, err
	}
	if p.tableOffset == 0 {
		return nil, fail(Unsigned, RulePresent, 0, "no certificate table")
	}
	table := make([]byte, p.tableSize)
	if err := readAt(r, table, p.tableOffset, size); err != nil {
		return nil, err
	}
	ders, err := readTable(table, p.tableOffset, trust)
	if err != nil {
		return nil, err
	}
	v := &peVerifier{ctx: ctx, file: p, r: r, trust: trust, digests: make(map[crypto.Hash][]byte), pages: make(map[crypto.Hash][]byte)}
	var primary *Signature
	var worst error
	at := p.tableOffset // of the entry
	for i, der := range ders {
		sig, err := v.verify(der, 0)
		var e *Error
		if errors.As(err, &e) && e.Kind == Malformed && e.Offset == 0 {
			e.Offset = at
		}
		at += (int64(binary.LittleEndian.Uint32(table[at-p.tableOffset:])) + 7) &^ 7
		worst = graver(worst, err)
		if i == 0 {
			primary = sig
		}
	}
	if worst == nil || signatureHeld(worst) {
		worst = graver(worst, v.checkChecksum(table))
	}
	if worst != nil {
		return nil, worst
	}
	return primary, nil
}

// readTable returns the signature in each entry of a certificate table that
// starts at offset at.
func readTable(table []byte, at int64, trust Trust) ([][]byte, error) {
	var ders [][]byte
	for len(table) > 0 {
		if len(ders) == maxSignatures {
			return nil, fail(Malformed, RuleTable, at, "more than %d entries", maxSignatures)
		}
		if len(table) < winCertHeader {
			return nil, fail(Malformed, RuleTable, at, "%d bytes after the last entry", len(table))
		}
		length := int64(binary.LittleEndian.Uint32(table))
		if length < winCertHeader || length > int64(len(table)) {
			return nil, fail(Malformed, RuleTable, at, "entry of %d bytes, with %d left", length, len(table))
		}
		if r := binary.LittleEndian.Uint16(table[4:]); r != winCertRevision {
			return nil, fail(Malformed, RuleTable, at+4, "revision %#04x, must be 0x0200", r)
		}
		if t := binary.LittleEndian.Uint16(table[6:]); t != winCertPKCS7 {
			return nil, fail(Malformed, RuleTable, at+6, "certificate type %#04x, must be 2 (PKCS #7)", t)
		}
		padded := min((length+7)&^7, int64(len(table)))
		der, padding, err := splitDER(table[winCertHeader:padded])
		if err != nil {
			return nil, fail(Malformed, RuleDER, at+winCertHeader, "%w", err)
		}
		if trust.enforces(RulePadding) {
			if len(padding) > maxCMSPaddingSize || len(bytes.Trim(padding, "\x00")) > 0 {
				return nil, fail(Malformed, RulePadding, at+winCertHeader+int64(len(der)),
					"%d bytes hide after the signature, in a place that no digest covers (CVE-2013-3900)", len(padding))
			}
		}
		ders = append(ders, der)
		table, at = table[padded:], at+padded
	}
	return ders, nil
}

// splitDER divides b after its first DER element.
func splitDER(b []byte) (element, rest []byte, err error) {
	s := cryptobyteString(b)
	if !s.ReadAnyASN1Element(&s, nil) {
		return nil, nil, errors.New("the signature is not a DER element")
	}
	return b[:len(s)], b[len(s):], nil
}

// peVerifier verifies the signatures of one file.
type peVerifier struct {
	ctx     context.Context
	file    *peFile
	r       io.ReaderAt
	trust   Trust
	digests map[crypto.Hash][]byte
	pages   map[crypto.Hash][]byte // tables of page hashes
	sum     *peChecksum            // of the content, header fields zero
	count   int
	single  bool // nested signatures are not looked into
}

// digest returns the file's Authenticode digest, and its page hashes if pageHash
// is not 0, from one pass over the file.
func (v *peVerifier) digest(h, pageHash crypto.Hash) (digest, pages []byte, err error) {
	if d, ok := v.digests[h]; ok && (pageHash == 0 || v.pages[pageHash] != nil) {
		return d, v.pages[pageHash], nil
	}
	var table *pageTable
	if pageHash != 0 {
		if table, err = newPageTable(v.file, v.r, pageHash); err != nil {
			return nil, nil, err
		}
	}
	d := h.New()
	sum, err := v.file.scan(v.ctx, v.r, nil, d, table)
	if err != nil {
		return nil, nil, err
	}
	v.sum, v.digests[h] = sum, d.Sum(nil)
	if table != nil {
		if v.pages[pageHash], err = table.table(); err != nil {
			return nil, nil, err
		}
	}
	return v.digests[h], v.pages[pageHash], nil
}

// verify checks one signature and those that are nested in it.
func (v *peVerifier) verify(der []byte, depth int) (*Signature, error) {
	if v.count++; v.count > maxSignatures || depth > maxNested {
		return nil, fail(Malformed, RuleTable, 0, "more than %d signatures, or nested deeper than %d", maxSignatures, maxNested)
	}
	sd, err := cms.Parse(der)
	if err != nil {
		return nil, fromCMS(err, 0)
	}
	if !sd.ContentType.Equal(oidSpcIndirectData) {
		return nil, fail(Malformed, RuleContent, 0, "content type %v is not SpcIndirectDataContent", sd.ContentType)
	}
	if sd.Version != 1 {
		return nil, fail(Malformed, RuleContent, 0, "SignedData version %d, must be 1 as in PKCS #7", sd.Version)
	}
	signed, err := parseIndirectData(sd.Content)
	if err != nil {
		return nil, fail(Malformed, RuleContent, 0, "%w", err)
	}
	if signed.misnamed && v.trust.enforces(RuleDataType) {
		return nil, fail(Malformed, RuleDataType, 0, "data type %v is not SpcPeImageData: old versions of sbsign wrote it, and Windows refuses it; firmware takes it", oidSpcIndividual)
	}
	if signed.hash != sd.Hash {
		return nil, fail(Malformed, RuleContent, 0, "the file's digest is %v, the signature's %v", signed.hash, sd.Hash)
	}
	if !v.trust.enforces(RulePageHash) {
		signed.pageHash, signed.pages = 0, nil
	}
	digest, pages, err := v.digest(signed.hash, signed.pageHash)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(signed.digest, digest) {
		return nil, fail(Tampered, RuleDigest, 0, "the signed %v digest is %x, the file's is %x: the file was changed after signing", signed.hash, signed.digest, digest)
	}
	if !bytes.Equal(signed.pages, pages) {
		return nil, fail(Tampered, RulePageHash, 0, "the signed page hashes are not those of the file")
	}
	sig, err := checkSigner(sd, sd.ContentDigest, v.trust, authenticodeAttributes(true))
	if err == nil {
		sig.Scheme, sig.Digest, sig.PageHashes = Authenticode{}.Name(), digest, pages != nil
		if sig.Description, sig.URL, err = parseOpusInfo(sd.Signers[0].Attribute(oidSpcSpOpusInfo)); err != nil {
			err = fail(Malformed, RuleContent, 0, "%w", err)
		}
	}
	if v.single && err == nil {
		return sig, nil
	}
	if v.single || err != nil && !signatureHeld(err) {
		return nil, err
	}
	for _, a := range sd.Signers[0].Unsigned {
		if !a.Type.Equal(oidSpcNestedSignature) {
			continue
		}
		for _, nested := range a.Values {
			_, nestedErr := v.verify(nested, depth+1)
			err = graver(err, nestedErr)
		}
	}
	if err != nil {
		return nil, err
	}
	return sig, nil
}

// checkChecksum recomputes the header's checksum, which covers the bytes of
// the certificate table that no signature can.
func (v *peVerifier) checkChecksum(table []byte) error {
	if !v.trust.enforces(RuleChecksum) {
		return nil
	}
	sum := *v.sum
	sum.add(table)
	sum.swap(0, uint32(v.file.tableOffset))
	sum.swap(0, uint32(v.file.tableSize))
	var stored [4]byte
	if err := readAt(v.r, stored[:], v.file.checksum, v.file.size); err != nil {
		return err
	}
	if is, want := binary.LittleEndian.Uint32(stored[:]), sum.value(); is != want {
		return fail(Malformed, RuleChecksum, v.file.checksum, "the header's checksum is %#08x, the file's is %#08x: it was not set after signing, or the certificate table was changed", is, want)
	}
	return nil
}
