package dist

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
)

// maxSignature bounds a signature in a package: an OpenPGP one by an RSA-4096 key
// has some 600 bytes, armored 900.
const maxSignature = 64 << 10

// ErrChanged says that a digest in a package, which its signature covers, is not that of the content.
var ErrChanged = errors.New("the content is not what was packed")

// PackageFormat tells whether a file is a package that can carry a signature (Deb, RPM or APK) by its beginning;
// "" if it is none.
func PackageFormat(file string) (string, error) {
	f, _, err := openRegular(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return packageFormat(f)
}

func packageFormat(f io.ReadSeeker) (string, error) {
	magic := make([]byte, 8+len("debian-binary"))
	n, err := io.ReadFull(f, magic)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return "", err
	}
	magic = magic[:n]
	switch {
	case bytes.HasPrefix(magic, []byte(arMagic+"debian-binary")):
		return Deb, nil
	case bytes.HasPrefix(magic, []byte{0xed, 0xab, 0xee, 0xdb}):
		return RPM, nil
	case !bytes.HasPrefix(magic, []byte{0x1f, 0x8b, 8}):
		return "", nil
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	zr, err := gzip.NewReader(f)
	if err != nil {
		return "", nil
	}
	name := make([]byte, 100)
	if _, err := io.ReadFull(zr, name); err != nil || !isAPK(name) {
		return "", nil
	}
	return APK, nil
}

// isAPK tells an apk from another tar.gz by the name of the first entry.
func isAPK(tar []byte) bool {
	return bytes.HasPrefix(tar, []byte(".PKGINFO\x00")) || bytes.HasPrefix(tar, []byte(".SIGN."))
}

// Signatures calls fn with each signature that a package carries, and with what
// the signature is over:
//
//	deb  the ar member _gpgorigin: OpenPGP over the contents of the members before it
//	rpm  tags 268 and 1002 of the signature header: OpenPGP over header, and over header and payload
//	apk  .SIGN.RSA.NAME in the first gzip member: PKCS #1 v1.5 with SHA-1 over the second, as it is compressed
//
// It returns how many there were; none is no error. When fn takes them all,
// Signatures verifies that the package holds nothing else: what the signatures do
// not cover must be as hallmark writes it, byte for byte, and the digests in what
// they cover must be those of the rest (else ErrChanged). The exceptions are
// listed in signing/HARDENING.md. What the files are called and whether they can
// be unpacked is Walk's question.
func Signatures(file, format string, fn func(signature []byte, signed io.Reader) error) (n int, err error) {
	f, info, err := openRegular(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return signatures(file, format, f, info.Size(), fn)
}

func signatures(file, format string, r io.ReaderAt, size int64, fn func(signature []byte, signed io.Reader) error) (n int, err error) {
	w := newWalker(file, r, size)
	w.format = format
	counted := func(signature []byte, signed io.Reader) error {
		n++
		return fn(signature, signed)
	}
	switch format {
	case Deb:
		err = w.debSignatures(counted)
	case RPM:
		err = w.rpmSignatures(counted)
	case APK:
		err = w.apkSignature(counted)
	default:
		return 0, fmt.Errorf("%s: packages of format %q carry no signature", file, format)
	}
	return n, err
}

// sameBytes compares a part of the file with what it must be.
func (w *walker) sameBytes(at int64, want []byte, what string) error {
	got := make([]byte, len(want))
	if _, err := w.r.ReadAt(got, at); err != nil {
		return w.errorf(at, "%s is cut off", what)
	}
	for i := range got {
		if got[i] != want[i] {
			return w.errorf(at+int64(i), "%s is not written as hallmark writes it, and no signature covers it", what)
		}
	}
	return nil
}
