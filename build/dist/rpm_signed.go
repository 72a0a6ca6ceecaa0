package dist

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
)

// The tags of an rpm's signature header that hallmark writes (rpmtag.h). Others are refused in a signed package: nothing
// covers them.
const (
	sigTagRSA         = 268  // OpenPGP over the header
	sigTagSHA256      = 273  // hex SHA-256 of the header
	sigTagSize        = 1000 // bytes of header and payload
	sigTagPGP         = 1002 // OpenPGP over header and payload
	sigTagPayloadSize = 1007 // bytes of all files, as rpmpack has it
)

const (
	rpmLeadSize = 96
	tagName     = 1000
	tagVersion  = 1001
	tagRelease  = 1002
	tagSize     = 1009 // bytes of all files
)

// rpmFile is an rpm, taken apart: lead (96 bytes, historical), signature header, padded to 8 bytes, header, compressed
// cpio.
type rpmFile struct {
	sig, header       rpmHeader
	sigEnd            int64 // end of the signature header
	headerAt, payload int64 // where they begin
}

func (w *walker) rpmFile() (*rpmFile, error) {
	f := &rpmFile{}
	var err error
	if f.sig, f.sigEnd, err = w.rpmHeader(rpmLeadSize); err != nil {
		return nil, err
	}
	f.headerAt = (f.sigEnd + 7) &^ 7
	f.header, f.payload, err = w.rpmHeader(f.headerAt)
	return f, err
}

// checkRPMHeader compares the header with the digest, and the file with the size, in the signature header.
func (w *walker) checkRPMHeader(f *rpmFile) error {
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(w.r, f.headerAt, f.payload-f.headerAt)); err != nil {
		return w.errorf(f.headerAt, "%w", err)
	}
	if want, err := f.sig.text(sigTagSHA256); err != nil || want != hex.EncodeToString(h.Sum(nil)) {
		return w.errorf(f.headerAt, "the header's SHA-256 is not the one in the signature header: %w", ErrChanged)
	}
	if n, err := f.sig.number(sigTagSize); err != nil || int64(n) != w.size-f.headerAt {
		return w.errorf(f.headerAt, "header and payload have %d bytes, and the signature header says %d: %w", w.size-f.headerAt, n, ErrChanged)
	}
	return nil
}

// checkRPMEdges checks what lies around the headers: the lead, and the zeros in front of the header.
func (w *walker) checkRPMEdges(f *rpmFile) error {
	lead, err := f.lead()
	if err != nil {
		return w.errorf(0, "%w", err)
	}
	if err := w.sameBytes(0, lead, "the lead"); err != nil {
		return err
	}
	return w.sameBytes(f.sigEnd, make([]byte, f.headerAt-f.sigEnd), "the padding of the signature header")
}

// lead is what rpmpack writes as the lead: version 3.0, a binary package, the number of no particular machine, name and
// version, Linux, a signature header. rpm has not looked at it since version 4.
func (f *rpmFile) lead() ([]byte, error) {
	const nameSize, afterName = 66, 10 + 66
	var parts [3]string
	for i, tag := range []uint32{tagName, tagVersion, tagRelease} {
		var err error
		if parts[i], err = f.header.text(tag); err != nil {
			return nil, err
		}
	}
	lead := make([]byte, rpmLeadSize)
	copy(lead, []byte{0xed, 0xab, 0xee, 0xdb, 3, 0, 0, 0, 0, 1})
	copy(lead[10:10+nameSize-1], fmt.Sprintf("%s-%s-%s", parts[0], parts[1], parts[2]))
	copy(lead[afterName:], []byte{0, 1, 0, 5})
	return lead, nil
}

func (w *walker) rpmSignatures(fn func([]byte, io.Reader) error) error {
	f, err := w.rpmFile()
	if err != nil {
		return err
	}
	var found []uint32
	for _, s := range []struct {
		tag uint32
		end int64
	}{{sigTagRSA, f.payload}, {sigTagPGP, w.size}} {
		value, ok, err := f.sig.binary(s.tag)
		if err != nil {
			return w.errorf(rpmLeadSize, "%w", err)
		}
		if !ok {
			continue
		}
		found = append(found, s.tag)
		if err := fn(value, io.NewSectionReader(w.r, f.headerAt, s.end-f.headerAt)); err != nil {
			return err
		}
	}
	if len(found) == 0 {
		return w.rpmUnsigned(f)
	}
	if len(found) != 2 {
		return w.errorf(rpmLeadSize, "one of the two signatures, which are tags %d and %d, is missing", sigTagRSA, sigTagPGP)
	}
	return w.rpmForm(f)
}

// rpmUnsigned refuses an rpm whose signatures are of kinds that are not known here, rather than to call it unsigned.
func (w *walker) rpmUnsigned(f *rpmFile) error {
	for tag, name := range map[uint32]string{267: "DSA or ECDSA", 278: "OpenPGP", 1005: "GPG"} {
		if _, _, _, err := f.sig.find(tag); err == nil {
			return w.errorf(rpmLeadSize, "a signature of another kind (%s, tag %d), where tags %d and %d are known", name, tag, sigTagRSA, sigTagPGP)
		}
	}
	return nil
}

// rpmForm checks what the signatures do not cover: the lead, the signature header, and the padding behind it.
func (w *walker) rpmForm(f *rpmFile) error {
	entries, err := f.sig.entries()
	if err != nil {
		return w.errorf(rpmLeadSize, "%w", err)
	}
	known := []uint32{tagRegionSignatures, sigTagRSA, sigTagSHA256, sigTagFileSignatures, sigTagFileSignatureLength, sigTagSize, sigTagPGP, sigTagPayloadSize}
	kept := entries[:0:0]
	for _, e := range entries {
		if !slices.Contains(known, e.tag) {
			return w.errorf(rpmLeadSize, "tag %d in the signature header, which nothing covers and hallmark does not write", e.tag)
		}
		if e.tag != tagRegionSignatures {
			kept = append(kept, e)
		}
	}
	if want := marshalRPMHeader(kept); int64(len(want)) != f.sigEnd-rpmLeadSize {
		return w.errorf(rpmLeadSize, "the signature header has %d bytes, and %d without what belongs to none of its tags", f.sigEnd-rpmLeadSize, len(want))
	} else if err := w.sameBytes(rpmLeadSize, want, "the signature header"); err != nil {
		return err
	}
	for i := 1; i < len(kept); i++ {
		if kept[i-1].tag == kept[i].tag {
			return w.errorf(rpmLeadSize, "tag %d is in the signature header twice", kept[i].tag)
		}
	}
	return errors.Join(w.checkRPMEdges(f), w.checkRPMHeader(f), w.checkPayload(f))
}

// checkPayload compares the payload with its digest in the header, and the size of all files in the one header with that in the other.
func (w *walker) checkPayload(f *rpmFile) error {
	want, err := f.header.text(tagPayloadDigest)
	if err != nil {
		return w.errorf(f.headerAt, "payload digest: %w", err)
	}
	if algo, err := f.header.number(tagPayloadDigestAlgo); err != nil || algo != payloadDigestAlgoSHA2 {
		return w.errorf(f.headerAt, "the payload digest is not a SHA-256")
	}
	h := sha256.New()
	if _, err := io.Copy(h, w.section(f.payload)); err != nil {
		return w.errorf(f.payload, "%w", err)
	}
	if hex.EncodeToString(h.Sum(nil)) != want {
		return w.errorf(f.payload, "the payload's SHA-256 is not the one in the header: %w", ErrChanged)
	}
	claimed, err := f.sig.number(sigTagPayloadSize)
	size, sizeErr := f.header.number(tagSize)
	if err != nil || sizeErr != nil || claimed != size {
		return w.errorf(rpmLeadSize, "the signature header says that the files have %d bytes, and the header %d (%v)", claimed, size, errors.Join(err, sizeErr))
	}
	return nil
}

// binary returns a tag of type bin (7), and whether it is there.
func (h rpmHeader) binary(tag uint32) ([]byte, bool, error) {
	kind, count, value, err := h.find(tag)
	var missing *missingTagError
	switch {
	case errors.As(err, &missing):
		return nil, false, nil
	case err != nil:
		return nil, false, err
	}
	if kind != typeBinary || int64(count) > int64(len(value)) || count > maxSignature {
		return nil, false, fmt.Errorf("tag %d is not a signature", tag)
	}
	return bytes.Clone(value[:count]), true, nil
}
