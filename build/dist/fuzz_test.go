package dist

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func FuzzWalkZip(f *testing.F)       { fuzzFormat(f, Zip) }
func FuzzWalkTarGz(f *testing.F)     { fuzzFormat(f, TarGz) }
func FuzzWalkDeb(f *testing.F)       { fuzzFormat(f, Deb) }
func FuzzWalkRPM(f *testing.F)       { fuzzFormat(f, RPM) }
func FuzzWalkAPK(f *testing.F)       { fuzzFormat(f, APK) }
func FuzzWalkArchLinux(f *testing.F) { fuzzFormat(f, ArchLinux) }

func fuzzFormat(f *testing.F, format string) {
	f.Add(seed(f, format))
	f.Fuzz(walkAny)
}

func seed(f *testing.F, format string) []byte {
	f.Helper()
	dst := filepath.Join(f.TempDir(), "seed")
	write(f, format, dst, sample(f, 100))
	b, err := os.ReadFile(dst)
	if err != nil {
		f.Fatal(err)
	}
	return b
}

// The checksums around them keep the fuzzer away from the inner formats: here they stand alone.

func FuzzCpio(f *testing.F) {
	rpm := seed(f, RPM)
	at := bytes.LastIndex(rpm, []byte{0x28, 0xb5, 0x2f, 0xfd})
	zr, err := zstd.NewReader(nil)
	if err != nil {
		f.Fatal(err)
	}
	defer zr.Close()
	cpio, err := zr.DecodeAll(rpm[at:], nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(cpio)
	f.Fuzz(func(t *testing.T, b []byte) {
		walkInner(t, b, func(w *walker, r io.Reader) error { return w.cpio(r) })
	})
}

func FuzzTar(f *testing.F) {
	zr, err := zstd.NewReader(nil)
	if err != nil {
		f.Fatal(err)
	}
	defer zr.Close()
	tar, err := zr.DecodeAll(seed(f, ArchLinux), nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(tar)
	f.Fuzz(func(t *testing.T, b []byte) {
		walkInner(t, b, func(w *walker, r io.Reader) error { return w.tar(r, true, nil) })
	})
}

func walkInner(t *testing.T, b []byte, inner func(*walker, io.Reader) error) {
	var total int64
	w := newWalker("fuzz", bytes.NewReader(b), int64(len(b)))
	w.fn = func(name string, _ fs.FileMode, r io.Reader) error {
		if !fs.ValidPath(name) {
			t.Errorf("name %q", name)
		}
		n, err := io.Copy(io.Discard, r)
		total += n
		return err
	}
	if err := inner(w, bytes.NewReader(b)); err == nil && total > int64(len(b)) {
		t.Errorf("%d bytes out of %d", total, len(b))
	}
}

// walkAny holds for any bytes: no panic, a FormatError or clean names.
func walkAny(t *testing.T, b []byte) {
	var total int64
	err := walk("fuzz", bytes.NewReader(b), int64(len(b)), func(name string, mode fs.FileMode, r io.Reader) error {
		if !fs.ValidPath(name) || strings.Contains(name, `\`) || mode != mode.Perm() {
			t.Errorf("name %q, mode %v", name, mode)
		}
		n, err := io.Copy(io.Discard, io.LimitReader(r, 8<<20))
		if total += n; err == nil && total >= 8<<20 {
			return errors.New("enough")
		}
		return err
	})
	var fe *FormatError
	if err != nil && !errors.As(err, &fe) && err.Error() != "enough" {
		t.Errorf("%T: %v", err, err)
	}
}
