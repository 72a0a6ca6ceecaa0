package dist

import (
	"archive/tar"
	"archive/zip"
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
)

// deflateLevel is klauspost's level 6. On Go executables it is 1.4 % larger than Go's own level 6 and 2.4 % larger
// than gzip -6, for a quarter of the one's and a fifth of the other's CPU; level 7 wins 0.9 % for 1.7 times the CPU.
const deflateLevel = 6

// zipEpoch is the earliest time that a zip entry can hold (APPNOTE 4.4.6, MS-DOS dates).
func zipEpoch() time.Time { return time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC) }

// wholeSeconds is what every format here can hold, in UTC.
func wholeSeconds(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

// WriteZip writes a zip of files to dst. A modTime before 1980 becomes 1980.
func WriteZip(dst string, files []File, modTime time.Time) error {
	sorted, err := sortedCopy(files, true)
	if err != nil {
		return fmt.Errorf("packing %s: %w", dst, err)
	}
	modTime = wholeSeconds(modTime)
	if modTime.Before(zipEpoch()) {
		modTime = zipEpoch()
	}
	return replace(dst, func(w io.Writer) error {
		zw := zip.NewWriter(w)
		zw.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, deflateLevel) })
		for _, f := range sorted {
			h := &zip.FileHeader{Name: f.Name, Method: zip.Deflate, Modified: modTime}
			h.SetMode(f.perm())
			out, err := zw.CreateHeader(h)
			if err != nil {
				return err
			}
			if err := copyFile(out, f); err != nil {
				return err
			}
		}
		return zw.Close()
	})
}

// WriteTarGz writes a tar.gz of files to dst.
func WriteTarGz(dst string, files []File, modTime time.Time) error {
	sorted, err := sortedCopy(files, false)
	if err != nil {
		return fmt.Errorf("packing %s: %w", dst, err)
	}
	modTime = wholeSeconds(modTime)
	return replace(dst, func(w io.Writer) error {
		// The gzip header stays empty: its time field would hold 32 bits only, and 0 means "no time" (RFC 1952 2.3.1).
		zw, err := gzip.NewWriterLevel(w, deflateLevel)
		if err != nil {
			return err
		}
		tw := tar.NewWriter(zw)
		for _, f := range sorted {
			if err := addToTar(tw, f, modTime); err != nil {
				return err
			}
		}
		if err := tw.Close(); err != nil {
			return err
		}
		return zw.Close()
	})
}

func addToTar(tw *tar.Writer, f File, modTime time.Time) error {
	in, info, err := f.open()
	if err != nil {
		return err
	}
	defer in.Close()
	h := &tar.Header{Typeflag: tar.TypeReg, Name: f.Name, Size: info.Size(), Mode: int64(f.perm()), ModTime: modTime, Uname: "root", Gname: "root"}
	if err := tw.WriteHeader(h); err != nil {
		return fmt.Errorf("%s: %w", f.Name, err)
	}
	n, err := io.Copy(tw, in)
	if err != nil {
		return fmt.Errorf("copying %s: %w", f.Path, err)
	}
	if n != info.Size() {
		return fmt.Errorf("%s changed while it was read: %d of %d bytes", f.Path, n, info.Size())
	}
	return nil
}

func copyFile(w io.Writer, f File) error {
	in, _, err := f.open()
	if err != nil {
		return err
	}
	defer in.Close()
	if _, err := io.Copy(w, in); err != nil {
		return fmt.Errorf("copying %s: %w", f.Path, err)
	}
	return nil
}
