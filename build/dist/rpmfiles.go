package dist

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"slices"
)

// An rpm can carry a signature of each of its files, for the attribute security.ima: rpm's plugin for IMA
// (rpm-plugin-ima) sets it when the package is installed. They are in the signature header, so nothing that signs the
// package covers them, and adding them breaks no other signature (rpm, lib/rpmsignfiles, sign/rpmsignfiles.c):
//
//	274 FILESIGNATURES       string array: hex, for each file in the order of BASENAMES; empty: none
//	275 FILESIGNATURELENGTH  int32: bytes of one, in binary
//
// All have one length, as rpm before 4.19 reads no others.
const (
	sigTagFileSignatures      = 274
	sigTagFileSignatureLength = 275
	tagRegionSignatures       = 62 // the pseudo-entry that says which entries belong together
	tagDirIndexes             = 1116
	tagBaseNames              = 1117
	tagDirNames               = 1118

	typeInt32       = 4
	typeBinary      = 7
	typeStringArray = 8
)

// openRPM reads the headers of an rpm.
func openRPM(f *os.File) (*rpmFile, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	w := newWalker(f.Name(), f, info.Size())
	w.format = RPM
	return w.rpmFile()
}

// AddFileSignatures puts signatures of files into an rpm, whole or not at all, in the place of those that it has.
// signature returns that of a file by its installed name, or nil if it has none; the content of security.ima. They must
// be of one length. It returns how many there are.
func AddFileSignatures(file string, signature func(name string) ([]byte, error)) (n int, err error) {
	f, _, err := openRegular(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	rpm, err := openRPM(f)
	if err != nil {
		return 0, err
	}
	names, err := rpm.header.files()
	if err != nil {
		return 0, fmt.Errorf("%s: %w", file, err)
	}
	var list []byte
	length := 0
	for _, name := range names {
		b, err := signature(name)
		if err != nil {
			return 0, err
		}
		if len(b) > 0 {
			if n++; n > 1 && len(b) != length {
				return 0, fmt.Errorf("%s: signatures of %d and of %d bytes: rpm takes files' signatures of one length only, which those of an RSA key have", file, length, len(b))
			}
			length = len(b)
		}
		list = append(append(list, hex.EncodeToString(b)...), 0)
	}
	if n == 0 {
		return 0, nil
	}
	entries, err := rpm.sig.entries()
	if err != nil {
		return 0, fmt.Errorf("%s: %w", file, err)
	}
	entries = slices.DeleteFunc(entries, func(e rpmEntry) bool {
		return e.tag == tagRegionSignatures || e.tag == sigTagFileSignatures || e.tag == sigTagFileSignatureLength
	})
	entries = append(entries,
		rpmEntry{sigTagFileSignatures, typeStringArray, uint32(len(names)), list},
		rpmEntry{sigTagFileSignatureLength, typeInt32, 1, binary.BigEndian.AppendUint32(nil, uint32(length))})
	lead := make([]byte, 96)
	if _, err := f.ReadAt(lead, 0); err != nil {
		return 0, err
	}
	return n, replace(file, func(w io.Writer) error {
		made := marshalRPMHeader(entries)
		if _, err := w.Write(append(append(lead, made...), make([]byte, -len(made)&7)...)); err != nil {
			return err
		}
		_, err := io.Copy(w, io.NewSectionReader(f, rpm.headerAt, 1<<62))
		return err
	})
}

// FileSignatures returns the signatures of an rpm's files, by their installed names.
func FileSignatures(file string) (map[string][]byte, error) {
	f, _, err := openRegular(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	rpm, err := openRPM(f)
	if err != nil {
		return nil, err
	}
	entries, err := rpm.sig.entries()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if !slices.ContainsFunc(entries, func(e rpmEntry) bool { return e.tag == sigTagFileSignatures }) {
		return nil, nil
	}
	names, err := rpm.header.files()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	list, err := rpm.sig.strings(sigTagFileSignatures)
	if err != nil || len(list) != len(names) {
		return nil, fmt.Errorf("%s: %d signatures of %d files (%v)", file, len(list), len(names), err)
	}
	found := make(map[string][]byte)
	for i, text := range list {
		if text == "" {
			continue
		}
		if found[names[i]], err = hex.DecodeString(text); err != nil {
			return nil, fmt.Errorf("%s: the signature of %s: %w", file, names[i], err)
		}
	}
	return found, nil
}

// files returns the installed names.
func (h rpmHeader) files() ([]string, error) {
	bases, err := h.strings(tagBaseNames)
	if err != nil {
		return nil, err
	}
	dirs, err := h.strings(tagDirNames)
	if err != nil {
		return nil, err
	}
	entries, err := h.entries()
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(entries, func(e rpmEntry) bool { return e.tag == tagDirIndexes && e.kind == typeInt32 })
	if i < 0 || len(entries[i].data) != 4*len(bases) {
		return nil, fmt.Errorf("%d file names without as many folders", len(bases))
	}
	if len(bases) > maxEntries {
		return nil, fmt.Errorf("more than %d files", maxEntries)
	}
	var names []string
	total := 0
	for j, base := range bases {
		dir := binary.BigEndian.Uint32(entries[i].data[4*j:])
		if int64(dir) >= int64(len(dirs)) {
			return nil, fmt.Errorf("file %q is in folder %d of %d", base, dir, len(dirs))
		}
		if total += len(dirs[dir]) + len(base); total > maxNames || len(dirs[dir])+len(base) > maxName {
			return nil, fmt.Errorf("file names of more than %d bytes each, or %d in all", maxName, maxNames)
		}
		names = append(names, dirs[dir]+base)
	}
	return names, nil
}

// strings returns a tag of type string array.
func (h rpmHeader) strings(tag uint32) ([]string, error) {
	entries, err := h.entries()
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.tag != tag || e.kind != typeStringArray {
			continue
		}
		var list []string
		for part := range bytes.SplitSeq(e.data[:len(e.data)-1], []byte{0}) {
			list = append(list, string(part))
		}
		return list, nil
	}
	return nil, fmt.Errorf("tag %d is missing", tag)
}

// rpmEntry is one entry of a header with its value.
type rpmEntry struct {
	tag, kind, count uint32
	data             []byte
}

// entries takes a header apart.
func (h rpmHeader) entries() ([]rpmEntry, error) {
	var all []rpmEntry
	var total int64 // of all values: those of an honest header do not overlap
	for i := 0; i+16 <= len(h.index); i += 16 {
		at := h.index[i:]
		e := rpmEntry{tag: binary.BigEndian.Uint32(at), kind: binary.BigEndian.Uint32(at[4:]), count: binary.BigEndian.Uint32(at[12:])}
		offset := int64(binary.BigEndian.Uint32(at[8:]))
		if offset > int64(len(h.store)) || e.count == 0 || int64(e.count) > int64(len(h.store)) {
			return nil, fmt.Errorf("tag %d points outside of its header", e.tag)
		}
		rest := h.store[offset:]
		var length int64
		switch e.kind {
		case 1, 2, typeBinary: // CHAR, INT8
			length = int64(e.count)
		case 3: // INT16
			length = 2 * int64(e.count)
		case typeInt32:
			length = 4 * int64(e.count)
		case 5: // INT64
			length = 8 * int64(e.count)
		case 6, typeStringArray, 9: // STRING, I18NSTRING
			for range e.count {
				end := bytes.IndexByte(rest[length:], 0)
				if end < 0 {
					return nil, fmt.Errorf("tag %d is not ended", e.tag)
				}
				length += int64(end) + 1
			}
		default:
			return nil, fmt.Errorf("tag %d is of type %d", e.tag, e.kind)
		}
		if total += length; total > int64(len(h.store)) {
			return nil, fmt.Errorf("the values of its tags overlap")
		}
		if length > int64(len(rest)) {
			return nil, fmt.Errorf("tag %d points outside of its header", e.tag)
		}
		e.data = rest[:length]
		all = append(all, e)
	}
	return all, nil
}

// marshalRPMHeader writes a signature header: the pseudo-entry of its region first, its trailer last.
func marshalRPMHeader(entries []rpmEntry) []byte {
	slices.SortStableFunc(entries, func(a, b rpmEntry) int { return int(a.tag) - int(b.tag) })
	be := binary.BigEndian
	var index, store []byte
	add := func(tag, kind, offset, count uint32) {
		for _, v := range []uint32{tag, kind, offset, count} {
			index = be.AppendUint32(index, v)
		}
	}
	add(tagRegionSignatures, typeBinary, 0, 16)
	for _, e := range entries {
		align := map[uint32]int{3: 2, typeInt32: 4, 5: 8}[e.kind]
		if align > 0 {
			store = append(store, make([]byte, -len(store)&(align-1))...)
		}
		add(e.tag, e.kind, uint32(len(store)), e.count)
		store = append(store, e.data...)
	}
	be.PutUint32(index[8:], uint32(len(store)))
	for _, v := range []uint32{tagRegionSignatures, typeBinary, -uint32(len(index)), 16} {
		store = be.AppendUint32(store, v)
	}
	out := []byte{0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0}
	out = be.AppendUint32(be.AppendUint32(out, uint32(len(index)/16)), uint32(len(store)))
	return append(append(out, index...), store...)
}
