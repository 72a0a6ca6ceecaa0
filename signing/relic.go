package signing

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hallmark-build/hallmark/signing/key"
)

// A relic server answers with a binary patch (application/x-binary-patch),
// numbers big-endian:
//
//	version  uint32  1
//	count    uint32
//	count times: offset int64, old size uint32, new size uint32
//	the new bytes of each, one after another
//
// Each says that so many old bytes at an offset of the file give way to the new
// ones. PE files then lack their checksum, which is left to the client.
const (
	patchHeader = 8
	patchEntry  = 16
	maxPatches  = 1 << 10
)

type patch struct {
	offset, old int64
	bytes       []byte
}

// parsePatch reads a binary patch of a file of size bytes.
func parsePatch(b []byte, size int64) ([]patch, error) {
	if len(b) < patchHeader || binary.BigEndian.Uint32(b) != 1 {
		return nil, errors.New("the server's answer is no binary patch of version 1")
	}
	count := int64(binary.BigEndian.Uint32(b[4:]))
	if count > maxPatches || int64(len(b)) < patchHeader+count*patchEntry {
		return nil, fmt.Errorf("a binary patch of %d parts is cut off or too large", count)
	}
	entries, data := b[patchHeader:patchHeader+count*patchEntry], b[patchHeader+count*patchEntry:]
	var patches []patch
	for ; len(entries) > 0; entries = entries[patchEntry:] {
		p := patch{offset: int64(binary.BigEndian.Uint64(entries)), old: int64(binary.BigEndian.Uint32(entries[8:]))}
		n := int64(binary.BigEndian.Uint32(entries[12:]))
		if n > int64(len(data)) || p.offset < 0 || p.offset > size || p.old > size-p.offset {
			return nil, errors.New("a part of the binary patch goes past the end of the file or of the patch")
		}
		p.bytes, data = data[:n], data[n:]
		patches = append(patches, p)
	}
	if len(data) > 0 {
		return nil, fmt.Errorf("%d bytes after the binary patch", len(data))
	}
	slices.SortStableFunc(patches, func(a, b patch) int { return cmp.Compare(a.offset, b.offset) })
	for i := 1; i < len(patches); i++ {
		if patches[i-1].offset+patches[i-1].old > patches[i].offset {
			return nil, errors.New("parts of the binary patch overlap")
		}
	}
	return patches, nil
}

// apply writes the patched file.
func apply(patches []patch, src io.ReaderAt, size int64, dst io.Writer) error {
	at := int64(0)
	for _, p := range append(slices.Clip(patches), patch{offset: size}) {
		if _, err := io.Copy(dst, io.NewSectionReader(src, at, p.offset-at)); err != nil {
			return err
		}
		if _, err := dst.Write(p.bytes); err != nil {
			return err
		}
		at = p.offset + p.old
	}
	return nil
}

// SignByRelic has a relic server sign a PE file or a cabinet where it stands. The
// signature is the server's own: digest, chain and timestamp are of its
// configuration, so trust decides whether the file is replaced at all. relic 7
// writes the signed attributes out of order, which Windows refuses and so does
// [RuleDER]; a server of that version needs a policy without this rule.
func (c Config) SignByRelic(ctx context.Context, file string, r *key.Relic, trust Trust) (*Signature, error) {
	scheme, err := c.For(file)
	if err != nil {
		return nil, err
	}
	params := url.Values{"digest": {strings.ToUpper(cmp.Or(c.Hash, "sha256"))}}
	kind := ""
	switch s := scheme.(type) {
	case Authenticode:
		kind = "pe-coff"
		if s.PageHashes {
			params.Set("page-hashes", "true")
		}
	case SIP:
		kind = "cab"
	}
	in, info, err := openRegular(file)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	magic := make([]byte, 4)
	if _, err := in.ReadAt(magic, 0); kind == "" || kind == "cab" && (err != nil || string(magic) != "MSCF") {
		return nil, &Error{Kind: Unsupported, File: file, Rule: RuleFormat, Err: errors.New("a relic server is asked for signatures of PE files and cabinets only: sign this with a key by pkcs11: or kms:")}
	}
	if c.Description != "" {
		params.Set("description", c.Description)
	}
	if c.URL != "" {
		params.Set("desc-url", c.URL)
	}
	answer, contentType, err := r.Sign(ctx, kind, filepath.Base(file), params, io.NewSectionReader(in, 0, info.Size()), info.Size())
	if err != nil {
		return nil, err
	}
	if contentType != "application/x-binary-patch" {
		return nil, fmt.Errorf("%s answered with %q and no binary patch: is it a relic server?", r, contentType)
	}
	patches, err := parsePatch(answer, info.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r, err)
	}
	out, err := newOutput(file)
	if err != nil {
		return nil, err
	}
	defer out.discard()
	if err := apply(patches, in, info.Size(), out); err != nil {
		return nil, fmt.Errorf("writing %s: %w", file, err)
	}
	if kind == "pe-coff" {
		if err := fixChecksum(out.File); err != nil {
			return nil, inFile(err, file)
		}
	}
	if err := out.keep(in, info); err != nil {
		return nil, err
	}
	if err := out.Sync(); err != nil {
		return nil, err
	}
	sig, err := scheme.Verify(ctx, out.Name(), trust)
	if err != nil {
		var e *Error
		if errors.As(err, &e) {
			e.File = file
			if e.Rule == RuleDER {
				e.Err = fmt.Errorf("%w; relic 7 signs so, and hallmark takes it only with trust: {off: [der]}", e.Err)
			}
		}
		return nil, fmt.Errorf("the signature by %s is not accepted, so the file was left as it was: %w", r, err)
	}
	return sig, out.replace()
}

// fixChecksum sets the checksum of a PE file that somebody else has signed.
func fixChecksum(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	p, err := readPE(f, info.Size())
	if err != nil {
		return err
	}
	sum := new(peChecksum)
	block := make([]byte, 1<<16)
	for at := int64(0); at < info.Size(); at += int64(len(block)) {
		n, err := f.ReadAt(block, at)
		if err != nil && err != io.EOF {
			return err
		}
		sum.add(block[:n])
	}
	var field [4]byte
	if err := readAt(f, field[:], p.checksum, p.size); err != nil {
		return err
	}
	sum.swap(binary.LittleEndian.Uint32(field[:]), 0)
	binary.LittleEndian.PutUint32(field[:], sum.value())
	_, err = f.WriteAt(field[:], p.checksum)
	return err
}
