package dist

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
)

// An apk is up to three gzip members one behind the other: signature, control, data. The signature's own member is
// covered by nothing, and a compressed stream can be written in many ways. So hallmark stores it uncompressed, which can
// be written in one way, and takes no other.

const apkSignPrefix = ".SIGN.RSA."

// maxKeyName bounds the name of an apk's key, which apk looks up below /etc/apk/keys and nothing covers.
const maxKeyName = 64

// checkKeyName accepts the name of a key, as it follows .SIGN.RSA.
func checkKeyName(name string) error {
	if len(name) > maxKeyName || !regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9@._+-]*\.rsa\.pub$`).MatchString(name) {
		return fmt.Errorf("%q is not the name of an apk key: up to %d letters, digits and @._+-, with .rsa.pub at the end", name, maxKeyName)
	}
	return nil
}

// apkSignatureMember is the gzip member that holds a signature, the only form that is taken: a header without time and
// flags (RFC 1952), one stored block (RFC 1951 section 3.2.4), and in it one ustar entry without the zero blocks at the
// end of an archive.
func apkSignatureMember(keyName string, signature []byte) ([]byte, error) {
	if err := checkKeyName(keyName); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: apkSignPrefix + keyName, Mode: 0o644, Size: int64(len(signature)),
		ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}); err != nil {
		return nil, err
	}
	if _, err := tw.Write(signature); err != nil {
		return nil, err
	}
	if err := tw.Flush(); err != nil {
		return nil, err
	}
	content := b.Bytes()
	if len(content) > 0xffff {
		return nil, fmt.Errorf("a signature of %d bytes is too long for an apk", len(signature))
	}
	le := binary.LittleEndian
	out := []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 1}
	out = le.AppendUint16(out, uint16(len(content)))
	out = le.AppendUint16(out, ^uint16(len(content)))
	out = append(out, content...)
	return le.AppendUint32(le.AppendUint32(out, crc32.ChecksumIEEE(content)), uint32(len(content))), nil
}

// storeSignature replaces the first gzip member of an apk, which holds this signature, by apkSignatureMember.
func storeSignature(apk []byte, keyName string, signature []byte) ([]byte, error) {
	if !strings.HasSuffix(keyName, ".rsa.pub") {
		keyName += ".rsa.pub"
	}
	member, err := apkSignatureMember(keyName, signature)
	if err != nil {
		return nil, err
	}
	in := bytes.NewReader(apk) // an io.ByteReader: no byte more than the member is read
	zr, err := gzip.NewReader(in)
	if err != nil {
		return nil, err
	}
	zr.Multistream(false)
	if _, err := io.Copy(io.Discard, io.LimitReader(zr, maxControl)); err != nil {
		return nil, err
	}
	return append(member, apk[len(apk)-in.Len():]...), nil
}

// apkMembers are the gzip members of an apk.
type apkMembers struct {
	keyName   string // of the signature
	signature []byte // nil: not signed
	control   int64  // offset of the control member
	data      int64  // offset of what follows it, the data
	info      []byte // .PKGINFO
}

// apkMembers reads the signature and the control member.
func (w *walker) apkMembers() (*apkMembers, error) {
	counted := &countReader{r: w.section(0)}
	in := bufio.NewReaderSize(counted, bufferSize)
	zr, err := gzip.NewReader(in)
	if err != nil {
		return nil, w.errorf(0, "%w", err)
	}
	m := &apkMembers{}
	for {
		zr.Multistream(false)
		if err := w.apkMember(zr, m); err != nil {
			return nil, err
		}
		end := counted.n - int64(in.Buffered())
		if m.info != nil {
			m.data = end
			return m, nil
		}
		if m.signature == nil || m.control > 0 {
			return nil, w.errorf(m.control, "a gzip member that is neither the signature nor has .PKGINFO")
		}
		m.control = end
		if err := zr.Reset(in); err != nil {
			return nil, w.errorf(end, "the control member: %w", err)
		}
	}
}

// apkMember reads one member to its end: a signature and nothing else, or control files. Such a tar has no zero blocks
// at its end.
func (w *walker) apkMember(zr io.Reader, m *apkMembers) error {
	limited := &io.LimitedReader{R: zr, N: maxControl}
	files, signed := 0, m.signature != nil
	err := w.tar(limited, false, func(name string, r io.Reader) (taken bool, err error) {
		files++
		switch keyName, isSignature := strings.CutPrefix(name, apkSignPrefix); {
		case !strings.HasPrefix(name, "."):
			return false, fmt.Errorf("a file of the payload among the control files")
		case isSignature && (signed || files > 1):
			return false, fmt.Errorf("a signature where none belongs")
		case isSignature:
			m.keyName = keyName
			m.signature, err = readAtMost(r, maxSignature)
		case strings.HasPrefix(name, ".SIGN."):
			return false, fmt.Errorf("a signature of another kind than %s, which is known here", apkSignPrefix)
		case m.signature != nil && !signed:
			return false, fmt.Errorf("a further file beside the signature")
		case name == ".PKGINFO":
			m.info, err = readAtMost(r, maxPkgInfo)
		default:
			_, err = io.Copy(io.Discard, r)
		}
		return true, err
	})
	if err != nil {
		return err
	}
	if err := onlyZeros(limited, maxPadding); err != nil {
		return w.errorf(-1, "after the control files: %w", err)
	}
	if limited.N == 0 {
		return w.errorf(-1, "control files of more than %d bytes", maxControl)
	}
	return nil
}

// apkData compares the data, which runs to the end of the file, with the digest in .PKGINFO.
func (w *walker) apkData(m *apkMembers) error {
	want, err := dataHash(m.info)
	if err != nil {
		return w.errorf(-1, "%w", err)
	}
	h := sha256.New()
	if _, err := io.Copy(h, w.section(m.data)); err != nil {
		return w.errorf(m.data, "%w", err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		return w.errorf(m.data, "the data is not what .PKGINFO says: SHA-256 %s, not %s: %w", got, want, ErrChanged)
	}
	return nil
}

func dataHash(info []byte) (string, error) {
	found := ""
	for line := range bytes.Lines(info) {
		v, ok := strings.CutPrefix(strings.TrimSpace(string(line)), "datahash = ")
		if ok && found != "" {
			return "", fmt.Errorf(".PKGINFO has two datahashes")
		}
		if ok {
			found = v
		}
	}
	if found == "" {
		return "", fmt.Errorf(".PKGINFO has no datahash")
	}
	return found, nil
}

// apk reads an Alpine package: signature, control, data. The control member's .PKGINFO holds the SHA-256 of the
// compressed data member, which runs to the end of the file.
func (w *walker) apk() error {
	m, err := w.apkMembers()
	if err != nil {
		return err
	}
	if err := w.apkData(m); err != nil {
		return err
	}
	in := bufio.NewReaderSize(w.section(m.data), bufferSize)
	zr, err := gzip.NewReader(in)
	if err != nil {
		return w.errorf(m.data, "the data: %w", err)
	}
	zr.Multistream(false)
	out := w.inflated(zr)
	if err := w.tar(out, true, nil); err != nil {
		return err
	}
	if err := onlyZeros(out, maxPadding); err != nil {
		return w.errorf(-1, "after the end of the tar: %w", err)
	}
	if _, err := in.ReadByte(); err != io.EOF {
		return w.errorf(w.size, "bytes after the data: %w", trailing(err))
	}
	return nil
}

func (w *walker) apkSignature(fn func([]byte, io.Reader) error) error {
	m, err := w.apkMembers()
	if err != nil || m.signature == nil {
		return err
	}
	if err := fn(m.signature, io.NewSectionReader(w.r, m.control, m.data-m.control)); err != nil {
		return err
	}
	member, err := apkSignatureMember(m.keyName, m.signature)
	if err != nil {
		return w.errorf(0, "%w", err)
	}
	if int64(len(member)) != m.control {
		return w.errorf(0, "the gzip member of the signature, which nothing covers, has %d bytes, and %d as hallmark writes it", m.control, len(member))
	}
	if err := w.sameBytes(0, member, "the gzip member of the signature"); err != nil {
		return err
	}
	return w.apkData(m)
}

func readAtMost(r io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("longer than %d bytes", limit)
	}
	return b, err
}
