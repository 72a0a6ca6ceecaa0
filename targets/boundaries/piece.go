package boundaries

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/hallmark-build/hallmark/signing"
	"github.com/hallmark-build/hallmark/signing/cms"
	"github.com/hallmark-build/hallmark/signing/key"
)

// A piece is a file in memory, with the signatures that stand beside it.
type piece struct {
	name   string
	mode   fs.FileMode
	data   []byte
	beside map[string][]byte // by what the signature's file adds to the name
}

func readPiece(file string) (piece, error) {
	info, err := os.Stat(file)
	if err != nil {
		return piece{}, err
	}
	data, err := os.ReadFile(file)
	return piece{name: filepath.Base(file), mode: info.Mode().Perm(), data: data}, err
}

// clone returns a piece that can be changed.
func (p piece) clone() piece {
	p.data = bytes.Clone(p.data)
	p.beside = maps.Clone(p.beside)
	for suffix, data := range p.beside {
		p.beside[suffix] = bytes.Clone(data)
	}
	return p
}

// write puts the piece into a folder and returns the path of its file. Files of
// the same content share their bytes on the disk, in pool.
func (p piece) write(dir, pool string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	file := filepath.Join(dir, p.name)
	if err := pooled(file, pool, p.data, p.mode); err != nil {
		return "", err
	}
	for suffix, data := range p.beside {
		if err := pooled(file+suffix, pool, data, 0o644); err != nil {
			return "", err
		}
	}
	return file, nil
}

// pooled writes a file, or links to one in pool with the same content and mode.
func pooled(file, pool string, data []byte, mode fs.FileMode) error {
	if pool == "" {
		return errors.Join(os.WriteFile(file, data, mode), os.Chmod(file, mode))
	}
	sum := sha256.Sum256(data)
	stock := filepath.Join(pool, fmt.Sprintf("%s-%04o", hex.EncodeToString(sum[:16]), mode))
	if _, err := os.Stat(stock); errors.Is(err, fs.ErrNotExist) {
		f, err := os.CreateTemp(pool, "new-*")
		if err != nil {
			return err
		}
		_, err = f.Write(data)
		if err := errors.Join(err, f.Chmod(mode), f.Close(), os.Rename(f.Name(), stock)); err != nil {
			return errors.Join(err, os.Remove(f.Name()))
		}
	} else if err != nil {
		return err
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Link(stock, file)
}

// fingerprint is the digest of all that a judge can see of a piece on disk: name,
// mode and bytes, of the file and of what stands beside it.
func (p piece) fingerprint() string {
	h := sha256.New()
	fmt.Fprintf(h, "%q %o %x\n", p.name, p.mode, sha256.Sum256(p.data))
	for _, suffix := range slices.Sorted(maps.Keys(p.beside)) {
		fmt.Fprintf(h, "%q %x\n", suffix, sha256.Sum256(p.beside[suffix]))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// signed returns the piece signed by a scheme.
func (p piece) signed(ctx context.Context, s scheme, h crypto.Hash, k *key.Key, ts signing.Timestamper) (piece, error) {
	dir, err := os.MkdirTemp("", "hallmark-boundaries-*")
	if err != nil {
		return piece{}, err
	}
	defer os.RemoveAll(dir)
	file, err := p.write(dir, "")
	if err != nil {
		return piece{}, err
	}
	if d := s.detached(h); d != nil {
		out := file + d.Suffix()
		if _, err := d.Sign(ctx, file, out, k, ts); err != nil {
			return piece{}, err
		}
		data, err := os.ReadFile(out)
		p = p.clone()
		if p.beside == nil {
			p.beside = map[string][]byte{}
		}
		p.beside[d.Suffix()] = data
		return p, err
	}
	if _, err := s.embedded(h).Sign(ctx, file, file, k, ts); err != nil {
		return piece{}, err
	}
	q, err := readPiece(file)
	q.beside = p.beside
	return q, err
}

// A scheme is one way of signing, as the map has it.
type scheme struct {
	name   string // as the map shows it
	judges string // scheme of the judges that are asked
	takes  func(artifact) bool
}

func schemes() []scheme {
	is := func(f format) func(artifact) bool { return func(a artifact) bool { return a.format == f } }
	// Of what does not look into a file, one of each format is enough.
	any := func(a artifact) bool {
		return a.format == formatPackage || a.name == "elf-static" || a.name == "pe-console"
	}
	return []scheme{
		{"authenticode", "authenticode", is(formatPE)},
		{"page-hashes", "authenticode", func(a artifact) bool { return a.name == "pe-console" || a.name == "pe-mingw" }},
		{"appended", "appended", is(formatELF)},
		{"section", "section", is(formatELF)},
		{"verity", "verity", is(formatELF)},
		{"ima", "ima", is(formatELF)},
		{"ima-verity", "ima", func(a artifact) bool { return a.name == "elf-static" }},
		{"p7s", "p7s", any},
		{"bundle", "bundle", any},
	}
}

// detached returns the scheme as one that signs beside a file, or nil.
func (s scheme) detached(h crypto.Hash) signing.Detached {
	switch s.name {
	case "verity":
		return signing.Verity{Hash: h}
	case "ima":
		return signing.IMA{Hash: h}
	case "ima-verity":
		return signing.IMA{Hash: h, Verity: true}
	case "p7s":
		return signing.P7S{Hash: h}
	case "bundle":
		return signing.Bundle{}
	}
	return nil
}

// embedded returns the scheme as one that signs into a file.
func (s scheme) embedded(h crypto.Hash) signing.Scheme {
	switch s.name {
	case "authenticode":
		return signing.Authenticode{Hash: h, Description: "Sample"}
	case "page-hashes":
		return signing.Authenticode{Hash: h, Description: "Sample", PageHashes: true}
	case "appended":
		return signing.Appended{Hash: h}
	case "section":
		return signing.Section{Hash: h}
	}
	return nil
}

// suffix is what the scheme's signature beside a file adds to its name.
func (s scheme) suffix() string {
	if d := s.detached(0); d != nil {
		return d.Suffix()
	}
	return ""
}

// errNone says that a piece has no such part.
var errNone = errors.New("there is none")

// message returns the CMS of a signed piece.
func (p piece) message(s scheme) ([]byte, error) {
	switch s.name {
	case "authenticode", "page-hashes":
		t, err := tableOf(p.data)
		if err != nil {
			return nil, err
		}
		return firstDER(p.data[t.offset+8 : t.offset+t.size])
	case "appended":
		n, err := trailerLength(p.data)
		if err != nil {
			return nil, err
		}
		end := len(p.data) - trailerSize
		return p.data[end-n : end], nil
	case "section":
		i := bytes.LastIndex(p.data, []byte("hallmark section 1\n\x00\x00\x00\x00\x00"))
		if i < 0 {
			return nil, errNone
		}
		return firstDER(p.data[i+24+24:])
	case "verity", "p7s":
		return p.beside[s.suffix()], nil
	}
	return nil, errNone
}

// withMessage returns the piece with another CMS in the place of its own.
func (p piece) withMessage(s scheme, der []byte) (piece, error) {
	p = p.clone()
	switch s.name {
	case "authenticode", "page-hashes":
		var err error
		p.data, err = withTable(p.data, der)
		return p, err
	case "appended":
		n, err := trailerLength(p.data)
		if err != nil {
			return p, err
		}
		p.data = appendTrailer(p.data[:len(p.data)-trailerSize-n], der)
		return p, nil
	case "verity", "p7s":
		p.beside[s.suffix()] = der
		return p, nil
	}
	return p, fmt.Errorf("%s: its message is not replaced here", s.name)
}

func firstDER(b []byte) ([]byte, error) {
	// A tag, 0x82 and two bytes of length: signatures are of 256 to 65535 bytes.
	if len(b) < 4 || b[0] != 0x30 || b[1] != 0x82 {
		return nil, errors.New("no DER of a signature's size")
	}
	n := 4 + int(binary.BigEndian.Uint16(b[2:]))
	if n > len(b) {
		return nil, errors.New("DER cut short")
	}
	return b[:n], nil
}

// The trailer of an appended signature, as the Linux kernel has it.
const (
	trailerMagic = "~Module signature appended~\n"
	trailerSize  = 12 + len(trailerMagic)
)

func trailerLength(b []byte) (int, error) {
	if len(b) < trailerSize || !bytes.HasSuffix(b, []byte(trailerMagic)) {
		return 0, errNone
	}
	n := int(binary.BigEndian.Uint32(b[len(b)-len(trailerMagic)-4:]))
	if n > len(b)-trailerSize {
		return 0, errors.New("the trailer's length is more than the file")
	}
	return n, nil
}

// appendTrailer returns content with a message and its trailer after it.
func appendTrailer(content, der []byte) []byte {
	header := [12]byte{2: 2} // id_type PKEY_ID_PKCS7
	binary.BigEndian.PutUint32(header[8:], uint32(len(der)))
	return slices.Concat(content, der, header[:], []byte(trailerMagic))
}

// resigned returns the piece with the content of its signature signed anew by
// another identity or at another time, and nothing verified: what no honest
// signer would hand out.
func (p piece) resigned(ctx context.Context, s scheme, k *key.Key, ts signing.Timestamper, edit func(*cms.Message)) (piece, error) {
	der, err := p.message(s)
	if err != nil {
		return p, err
	}
	sd, err := cms.Parse(der)
	if err != nil {
		return p, err
	}
	si := sd.Signers[0]
	m := cms.Message{ContentType: sd.ContentType, Content: sd.Content, Hash: sd.Hash, Bare: si.Attributes == nil, Certificates: k.Chain}
	token := cms.OIDTimestampToken
	switch s.name {
	case "authenticode", "page-hashes":
		m.NullParams, token = true, cms.OIDSpcTimestampToken
		if m.Digest, err = sd.ContentDigest(sd.Hash); err != nil {
			return p, err
		}
	case "appended":
		n, err := trailerLength(p.data)
		if err != nil {
			return p, err
		}
		m.Digest = hashOf(sd.Hash, p.data[:len(p.data)-trailerSize-n])
	case "verity":
		digest, err := signing.Verity{Hash: sd.Hash}.Digest(ctx, bytes.NewReader(p.data), int64(len(p.data)))
		if err != nil {
			return p, err
		}
		m.Digest = hashOf(sd.Hash, formatVerity(sd.Hash, digest))
	default:
		m.Digest = hashOf(sd.Hash, p.data)
	}
	for _, a := range si.Attributes {
		if !a.Type.Equal(cms.OIDContentType) && !a.Type.Equal(cms.OIDMessageDigest) && !a.Type.Equal(cms.OIDSigningCertV2) {
			m.Attributes = append(m.Attributes, a)
		}
	}
	if s.name == "p7s" {
		binding, err := cms.SigningCertificate(k.Leaf())
		if err != nil {
			return p, err
		}
		m.Attributes = append(m.Attributes, binding)
	}
	if edit != nil {
		edit(&m)
	}
	var stamp func([]byte) ([]cms.Attribute, error)
	if ts != nil {
		stamp = func(signature []byte) ([]cms.Attribute, error) {
			t, err := ts.Timestamp(ctx, m.Hash, hashOf(m.Hash, signature))
			return []cms.Attribute{{Type: token, Values: [][]byte{t}}}, err
		}
	}
	if der, err = m.Sign(k, k.Leaf(), stamp); err != nil {
		return p, err
	}
	return p.withMessage(s, der)
}

// formatVerity is struct fsverity_formatted_digest (include/uapi/linux/fsverity.h).
func formatVerity(h crypto.Hash, digest []byte) []byte {
	algorithm := uint16(1)
	if h == crypto.SHA512 {
		algorithm = 2
	}
	b := binary.LittleEndian.AppendUint16([]byte("FSVerity"), algorithm)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(digest)))
	return append(b, digest...)
}

func hashOf(h crypto.Hash, b []byte) []byte {
	d := h.New()
	d.Write(b)
	return d.Sum(nil)
}

func hashFile(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:]), nil
}
