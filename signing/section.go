package signing

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/hallmark-build/hallmark/signing/cms"
	"github.com/hallmark-build/hallmark/signing/key"
)

// Section signs an ELF file with a section, .hallmark.sig, for those who want to
// see the signature with readelf and take it out with objcopy --dump-section.
// No kernel looks at it: [Appended] and [Verity] are for kernels.
//
// Adding a section with objcopy is no signature scheme: it lays the file out
// anew, and nothing gives the signed bytes back. Here the file stays as it is,
// but for four fields of its header, and everything else follows it:
//
//	the original, with e_shoff, e_shentsize, e_shnum and e_shstrndx changed
//	zeros up to a multiple of 8
//	content of .hallmark.sig:
//	    "hallmark section 1\n" and five zeros
//	    length of the original             uint64, as all numbers in the byte order of the file
//	    its e_shoff                        uint64
//	    its e_shentsize, e_shnum and e_shstrndx, uint16 each, and 2 zeros
//	    DER of a detached CMS over the original, as [Appended] has it
//	zeros up to a multiple of 8
//	the section names: those of the original, and ".hallmark.sig"
//	zeros up to a multiple of 8
//	the section headers: those of the original, that of the names changed to
//	where they are now, and that of .hallmark.sig, of type SHT_PROGBITS
//
// So the signature comes off without a trace: cut the file at the original
// length and put the four fields back. The verifier does that, makes the signed
// file again from what it has, and demands that it is equal: every byte is
// either signed or has the one value that it can have.
type Section struct {
	Hash crypto.Hash // 0 means SHA-256
}

var _ Scheme = Section{}

// Name implements [Scheme].
func (Section) Name() string { return "section" }

// SectionName is the name of the section that holds the signature.
const SectionName = ".hallmark.sig"

const (
	sectionMagic   = "hallmark section 1\n\x00\x00\x00\x00\x00"
	sectionPrefix  = len(sectionMagic) + 8 + 8 + 8
	maxSectionMeta = 16 << 20 // section names, and section headers
	shtProgbits    = 1
	shnXindex      = 0xffff
	shnLoreserve   = 0xff00
)

// sections is what the scheme must know of an ELF file.
type sections struct {
	order    binary.ByteOrder
	wide     bool // ELFCLASS64
	shoff    uint64
	shnum    uint16
	shstrndx uint16
	counts   [6]byte // e_shentsize, e_shnum, e_shstrndx as they are in the file
	headers  []byte  // of the sections
	names    []byte
}

// fields returns where e_shoff and e_shnum lie; e_shentsize precedes the latter
// and e_shstrndx follows it.
func (s *sections) fields() (shoff, shnum int64) {
	if s.wide {
		return 40, 60
	}
	return 32, 48
}

func (s *sections) entrySize() int {
	if s.wide {
		return 64
	}
	return 40
}

// setWord writes a number of the class's size.
func (s *sections) setWord(b []byte, v uint64) {
	if s.wide {
		s.order.PutUint64(b, v)
	} else {
		s.order.PutUint32(b, uint32(v))
	}
}

func (s *sections) word(b []byte) uint64 {
	if s.wide {
		return s.order.Uint64(b)
	}
	return uint64(s.order.Uint32(b))
}

// readSections reads section headers and names of a file that checkELF accepts.
func readSections(r io.ReaderAt, size int64) (*sections, error) {
	if err := checkELF(r, size); err != nil {
		return nil, err
	}
	var h [64]byte
	if err := readAt(r, h[:min(size, 64)], 0, size); err != nil {
		return nil, err
	}
	s := &sections{order: binary.ByteOrder(binary.LittleEndian), wide: h[4] == 2}
	if h[5] == 2 {
		s.order = binary.BigEndian
	}
	shoff, shnum := s.fields()
	s.shoff, s.shnum, s.shstrndx = s.word(h[shoff:]), s.order.Uint16(h[shnum:]), s.order.Uint16(h[shnum+2:])
	copy(s.counts[:], h[shnum-2:])
	if s.shnum == 0 {
		if s.shoff != 0 {
			return nil, fail(Unsupported, RuleFormat, shnum, "more than 65,279 sections")
		}
		s.shstrndx = 0
		return s, nil
	}
	if s.shnum >= shnLoreserve-1 || s.shstrndx == shnXindex {
		return nil, fail(Unsupported, RuleFormat, shnum, "%d sections; there is no room for one more", s.shnum)
	}
	if int(s.shstrndx) >= int(s.shnum) {
		return nil, fail(Malformed, RuleFormat, shnum+2, "the names of the sections are in section %d of %d", s.shstrndx, s.shnum)
	}
	s.headers = make([]byte, int(s.shnum)*s.entrySize())
	if err := readAt(r, s.headers, int64(s.shoff), size); err != nil {
		return nil, err
	}
	if s.shstrndx == 0 {
		return s, nil
	}
	offset, length := s.place(int(s.shstrndx))
	if length < 0 || length > maxSectionMeta { // a section of type NOBITS may claim anything
		return nil, fail(Unsupported, RuleFormat, 0, "the names of the sections have %d bytes", length)
	}
	s.names = make([]byte, length)
	return s, readAt(r, s.names, offset, size)
}

// place returns where a section lies in the file.
func (s *sections) place(i int) (offset, length int64) {
	h := s.headers[i*s.entrySize():]
	if s.wide {
		return int64(s.order.Uint64(h[24:])), int64(s.order.Uint64(h[32:]))
	}
	return int64(s.order.Uint32(h[16:])), int64(s.order.Uint32(h[20:]))
}

// put writes name, type, offset and length of a section.
func (s *sections) put(h []byte, name, kind uint32, offset, length uint64) {
	s.order.PutUint32(h, name)
	s.order.PutUint32(h[4:], kind)
	at, word := 16, 4
	if s.wide {
		at, word = 24, 8
	}
	s.setWord(h[at:], offset)
	s.setWord(h[at+word:], length)
	s.setWord(h[s.entrySize()-2*word:], 1) // sh_addralign
}

// patch changes the header of the original, which begins h, for a section table
// at shoff, and returns what follows the original's size bytes.
func (s *sections) patch(h []byte, size int64, der []byte) (tail []byte) {
	content := append([]byte(sectionMagic), make([]byte, sectionPrefix-len(sectionMagic))...)
	s.order.PutUint64(content[len(sectionMagic):], uint64(size))
	s.order.PutUint64(content[len(sectionMagic)+8:], s.shoff)
	copy(content[len(sectionMagic)+16:], s.counts[:])
	content = append(content, der...)

	at := func() uint64 { return uint64(size) + uint64(len(tail)) }
	pad := func() { tail = append(tail, make([]byte, -(size+int64(len(tail)))&7)...) }
	pad()
	contentAt := at()
	tail = append(tail, content...)
	pad()
	headers, names := bytes.Clone(s.headers), s.names
	if len(headers) == 0 {
		headers = make([]byte, s.entrySize()) // SHN_UNDEF
	}
	strings := s.shstrndx
	if len(names) == 0 {
		names = []byte{0}
	}
	namesAt := at()
	newName := uint32(len(names))
	names = append(bytes.Clone(names), SectionName+"\x00"...)
	tail = append(tail, names...)
	pad()
	if strings == 0 {
		strings = uint16(len(headers) / s.entrySize())
		h := make([]byte, s.entrySize())
		s.put(h, 0, 3, namesAt, uint64(len(names))) // SHT_STRTAB
		headers = append(headers, h...)
	} else {
		s.move(headers[int(strings)*s.entrySize():], namesAt, uint64(len(names)))
	}
	own := make([]byte, s.entrySize())
	s.put(own, newName, shtProgbits, contentAt, uint64(len(content)))
	headers = append(headers, own...)
	table := at()
	tail = append(tail, headers...)
	shoff, shnum := s.fields()
	s.setWord(h[shoff:], table)
	s.order.PutUint16(h[shnum-2:], uint16(s.entrySize()))
	s.order.PutUint16(h[shnum:], uint16(len(headers)/s.entrySize()))
	s.order.PutUint16(h[shnum+2:], strings)
	return tail
}

// move changes where a section lies.
func (s *sections) move(h []byte, offset, length uint64) {
	if s.wide {
		s.order.PutUint64(h[24:], offset)
		s.order.PutUint64(h[32:], length)
		return
	}
	s.order.PutUint32(h[16:], uint32(offset))
	s.order.PutUint32(h[20:], uint32(length))
}

// restored is a file whose header has been put back, up to its original length.
type restored struct {
	r      io.ReaderAt
	header []byte
	size   int64
}

func (o restored) ReadAt(b []byte, off int64) (int, error) {
	if off >= o.size {
		return 0, io.EOF
	}
	short := int64(len(b)) > o.size-off
	n, err := o.r.ReadAt(b[:min(int64(len(b)), o.size-off)], off)
	if off < int64(len(o.header)) {
		copy(b[:n], o.header[off:])
	}
	if err == nil && short {
		err = io.EOF
	}
	return n, err
}

// takeSection finds the signature in a file and returns the original.
func takeSection(r io.ReaderAt, size int64) (der []byte, original *restored, err error) {
	s, err := readSections(r, size)
	if err != nil {
		return nil, nil, err
	}
	last := int(s.shnum) - 1
	none := fail(Unsigned, RulePresent, 0, "no section %s at the end", SectionName)
	if last < 1 {
		return nil, nil, none
	}
	name := int64(s.order.Uint32(s.headers[last*s.entrySize():]))
	if name >= int64(len(s.names)) || !bytes.Equal(s.names[name:], []byte(SectionName+"\x00")) {
		return nil, nil, none
	}
	offset, length := s.place(last)
	if length <= int64(sectionPrefix) || length > maxAppendedSize {
		return nil, nil, fail(Malformed, RuleTable, offset, "section %s of %d bytes", SectionName, length)
	}
	content := make([]byte, length)
	if err := readAt(r, content, offset, size); err != nil {
		return nil, nil, err
	}
	was := content[len(sectionMagic):]
	originalSize := s.order.Uint64(was)
	if string(content[:len(sectionMagic)]) != sectionMagic || originalSize < 52 || originalSize > uint64(offset) {
		return nil, nil, fail(Malformed, RuleTable, offset, "section %s does not begin as it must", SectionName)
	}
	header := make([]byte, min(64, originalSize))
	if err := readAt(r, header, 0, size); err != nil {
		return nil, nil, err
	}
	shoff, shnum := s.fields()
	s.setWord(header[shoff:], s.order.Uint64(was[8:]))
	copy(header[shnum-2:shnum+4], was[16:22])
	return content[sectionPrefix:], &restored{r, header, int64(originalSize)}, nil
}

// original returns an ELF file without the signature that this scheme has put
// into it, bit for bit as it was before. It does not verify the signature.
func (Section) original(r io.ReaderAt, size int64) (*restored, error) {
	_, o, err := takeSection(r, size)
	return o, err
}

// Sign implements [Scheme].
func (s Section) Sign(ctx context.Context, src, dst string, k *key.Key, ts Timestamper) (*Signature, error) {
	return signTo(ctx, s, src, dst, k, ts)
}

func (s Section) make(ctx context.Context, src, dst string, k *key.Key, ts Timestamper, trust Trust) (*output, *Signature, error) {
	h := cmp.Or(s.Hash, crypto.SHA256)
	return makeOutput(ctx, s, src, dst, trust, func(in *os.File, size int64, out *output) error {
		if _, _, err := readTrailer(in, size); !isUnsigned(err) {
			return fail(Unsupported, RuleTrailing, 0, "the file ends in an appended signature, which would be signed with it: sign the file as it was built")
		}
		var r io.ReaderAt = in
		if o, err := s.original(in, size); err == nil {
			r, size = o, o.size
		} else if !isUnsigned(err) {
			return err
		}
		sections, err := readSections(r, size)
		if err != nil {
			return err
		}
		digest := h.New()
		if err := copyAndDigest(ctx, r, size, out, digest); err != nil {
			return fmt.Errorf("copying %s: %w", src, err)
		}
		der, err := cms.Message{ContentType: cms.OIDData, Digest: digest.Sum(nil), Hash: h, Bare: true, Certificates: k.Chain}.Sign(
			k, k.Leaf(), countersigner(ctx, ts, h, cms.OIDTimestampToken))
		if err != nil {
			return fmt.Errorf("%s: %w", src, err)
		}
		header := make([]byte, min(64, size))
		if err := readAt(r, header, 0, size); err != nil {
			return err
		}
		tail := sections.patch(header, size, der)
		if _, err = out.WriteAt(tail, size); err == nil {
			_, err = out.WriteAt(header, 0)
		}
		if err != nil {
			return fmt.Errorf("writing %s: %w", dst, err)
		}
		return nil
	})
}

// Verify implements [Scheme].
func (Section) Verify(ctx context.Context, file string, trust Trust) (*Signature, error) {
	return verifyFile(ctx, file, trust, verifySection)
}

func verifySection(ctx context.Context, r io.ReaderAt, size int64, trust Trust) (*Signature, error) {
	if _, _, err := readTrailer(r, size); !isUnsigned(err) {
		return nil, fail(Malformed, RuleTrailing, 0, "an appended signature follows, which was made later: sign again, with one scheme")
	}
	der, original, err := takeSection(r, size)
	if err != nil {
		return nil, err
	}
	sd, err := parseBare(der, original.size)
	if err != nil {
		return nil, err
	}
	if err := checkLayout(r, size, original, der); err != nil {
		return nil, err
	}
	var digest []byte
	sig, err := checkSigner(sd, func(h crypto.Hash) ([]byte, error) {
		d := h.New()
		if err := copyAndDigest(ctx, original, original.size, nil, d); err != nil {
			return nil, err
		}
		digest = d.Sum(nil)
		return digest, nil
	}, trust, tokenAttributes())
	if err != nil {
		return nil, tamperedContent(err, original.size)
	}
	sig.Scheme, sig.Digest = Section{}.Name(), digest
	return sig, nil
}

// checkLayout makes the parts that are not signed again, and compares.
func checkLayout(r io.ReaderAt, size int64, original *restored, der []byte) error {
	s, err := readSections(original, original.size)
	if err != nil {
		return err
	}
	header := bytes.Clone(original.header)
	tail := s.patch(header, original.size, der)
	if int64(len(tail)) != size-original.size {
		return fail(Malformed, RuleTrailing, original.size, "%d bytes after the original, must be %d", size-original.size, len(tail))
	}
	got := make([]byte, len(header)+len(tail))
	if err := errors.Join(readAt(r, got[:len(header)], 0, size), readAt(r, got[len(header):], original.size, size)); err != nil {
		return err
	}
	for i, want := range append(header, tail...) {
		if got[i] != want {
			at := int64(i)
			if i >= len(header) {
				at += original.size - int64(len(header))
			}
			return fail(Tampered, RuleTable, at, "a byte that the signature does not cover is %#02x, must be %#02x", got[i], want)
		}
	}
	return nil
}
