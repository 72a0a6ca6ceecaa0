package dist

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// zeros is a stream of n zeros.
func zeros(n int64) io.Reader { return io.LimitReader(zeroReader{}, n) }

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestBombs reads small files that unpack to much, as every format can, under a limit of memory. Each must be refused,
// after no more than unpackLimit.
func TestBombs(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIP: decompresses gigabytes in -short")
	}
	const huge = maxSmall + 64<<20
	compress := func(name string, write func(io.Writer)) []byte {
		var b bytes.Buffer
		var w io.WriteCloser = gzip.NewWriter(&b)
		if name == "zstd" {
			var err error
			if w, err = zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest)); err != nil {
				t.Fatal(err)
			}
		}
		write(w)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	oneFile := func(w io.Writer) {
		tw := tar.NewWriter(w)
		tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "a", Size: huge, Mode: 0o644})
		io.Copy(tw, zeros(huge))
		tw.Close()
	}
	// Headers without end: each says something about an entry that never comes.
	headers := func(w io.Writer) {
		var one bytes.Buffer
		tw := tar.NewWriter(&one)
		tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "a", Mode: 0o644, PAXRecords: map[string]string{"X.y": string(bytes.Repeat([]byte("y"), 900<<10))}})
		pax := one.Bytes()[:one.Len()-512]
		for range (huge + maxEntries*2048) / len(pax) {
			w.Write(pax)
		}
	}
	padding := func(w io.Writer) {
		tar.NewWriter(w).Close()
		io.Copy(w, zeros(64<<20))
	}
	many := func(w io.Writer) {
		tw := tar.NewWriter(w)
		for i := range maxEntries + 2 {
			tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("f%d", i), Mode: 0o644})
		}
		tw.Close()
	}
	longNames := func(w io.Writer) {
		tw := tar.NewWriter(w)
		for i := range 20_000 {
			tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("%05d/%s", i, bytes.Repeat([]byte("n/"), 1900)) + "n", Mode: 0o644})
		}
		tw.Close()
	}
	zipFile := func(write func(*zip.Writer)) []byte {
		var b bytes.Buffer
		zw := zip.NewWriter(&b)
		write(zw)
		if err := zw.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	debOf := func(control, data []byte, name string) []byte {
		b := []byte(arMagic)
		for _, m := range []struct {
			name string
			body []byte
		}{{"debian-binary", []byte("2.0\n")}, {"control.tar.gz", control}, {name, data}} {
			b = fmt.Appendf(b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n%s", m.name, 0, 0, 0, "100644", len(m.body), m.body)
			if len(m.body)%2 == 1 {
				b = append(b, '\n')
			}
		}
		return b
	}
	control := compress("gzip", func(w io.Writer) {
		tw := tar.NewWriter(w)
		tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "./control", Mode: 0o644, ModTime: time.Unix(0, 0)})
		tw.Close()
	})
	if _, err := walkBytes(debOf(control, compress("gzip", func(w io.Writer) { tar.NewWriter(w).Close() }), "data.tar.gz")); err != nil {
		t.Fatalf("the deb that the bombs are made of: %v", err)
	}
	overlap := []byte{0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 1, 0, 0, 0} // 65535 tags, each over all of 16 MB
	for range 0xffff {
		overlap = append(overlap, 0, 0, 3, 0xe7, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff)
	}
	overlap = append(overlap, make([]byte, 16<<20)...)
	for name, b := range map[string][]byte{
		"gzip: one file":     compress("gzip", oneFile),
		"zstd: one file":     compress("zstd", oneFile),
		"gzip: headers":      compress("gzip", headers),
		"zstd: headers":      compress("zstd", headers),
		"gzip: padding":      compress("gzip", padding),
		"zstd: padding":      compress("zstd", padding),
		"gzip: many entries": compress("gzip", many),
		"gzip: long names":   compress("gzip", longNames),
		"deb: control":       debOf(compress("gzip", oneFile), nil, "data.tar"),
		"deb: data, gzip":    debOf(control, compress("gzip", oneFile), "data.tar.gz"),
		"deb: data, zstd":    debOf(control, compress("zstd", oneFile), "data.tar.zst"),
		"apk: control": compress("gzip", func(w io.Writer) {
			tw := tar.NewWriter(w)
			tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: ".PKGINFO", Mode: 0o644, Size: huge})
			io.Copy(tw, zeros(huge))
			tw.Close()
		}),
		"zip: one file": zipFile(func(zw *zip.Writer) {
			w, _ := zw.Create("a")
			io.Copy(w, zeros(huge))
		}),
		"zip: many entries": zipFile(func(zw *zip.Writer) {
			for i := range maxEntries + 2 {
				zw.CreateHeader(&zip.FileHeader{Name: fmt.Sprintf("f%d", i), Method: zip.Store})
			}
		}),
		"rpm: overlapping tags": append(append(make([]byte, 0, 17<<20), append([]byte{0xed, 0xab, 0xee, 0xdb, 3, 0}, make([]byte, 90)...)...), overlap...),
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			peak, err := peakOf(func() error {
				_, err := walkDiscard(b)
				return errors.Join(err, signaturesOf(b))
			})
			var fe *FormatError
			if !errors.As(err, &fe) {
				t.Errorf("%d bytes: %v", len(b), err)
			}
			if peak > 160<<20 {
				t.Errorf("%d MB of memory for a file of %d bytes", peak>>20, len(b))
			}
			t.Logf("%d bytes refused after %v with %d MB: %v", len(b), time.Since(start).Round(time.Millisecond), peak>>20, err)
		})
	}
}

// TestRPMHeaderBomb reads a header whose 65535 tags all claim the same 16 MB.
func TestRPMHeaderBomb(t *testing.T) {
	h := rpmHeader{store: make([]byte, 16<<20)}
	for range 0xffff {
		h.index = append(h.index, 0, 0, 3, 0xe7, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff)
	}
	if _, err := h.entries(); err == nil || !strings.Contains(err.Error(), "overlap") {
		t.Errorf("%v", err)
	}
	long := bytes.Repeat([]byte("d"), 8<<20)
	list := func(tag, count uint32, data []byte) rpmEntry { return rpmEntry{tag, typeStringArray, count, data} }
	const files = 10_000
	b := marshalRPMHeader([]rpmEntry{
		{tagDirIndexes, typeInt32, files, make([]byte, 4*files)}, list(tagBaseNames, files, bytes.Repeat([]byte("b\x00"), files)), list(tagDirNames, 1, append(long, 0)),
	})
	big, _, err := newWalker("bomb", bytes.NewReader(b), int64(len(b))).rpmHeader(0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := big.files(); err == nil || !strings.Contains(err.Error(), "file names of more than") {
		t.Errorf("10,000 names of 8 MB: %v", err)
	}
}

func walkDiscard(b []byte) (int64, error) {
	var total int64
	err := walk("bomb", bytes.NewReader(b), int64(len(b)), func(_ string, _ fs.FileMode, r io.Reader) error {
		n, err := io.Copy(io.Discard, r)
		total += n
		return err
	})
	return total, err
}

func signaturesOf(b []byte) error {
	format, err := packageFormat(bytes.NewReader(b))
	if err != nil || format == "" {
		return err
	}
	_, err = signatures("bomb", format, bytes.NewReader(b), int64(len(b)), func(_ []byte, signed io.Reader) error {
		_, err := io.Copy(io.Discard, signed)
		return err
	})
	return err
}

// peakOf returns how much the heap grew at most while f ran.
func peakOf(f func() error) (int64, error) {
	defer debug.SetGCPercent(debug.SetGCPercent(20))
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	var peak atomic.Int64
	done, ended := make(chan bool), make(chan bool)
	go func() {
		defer close(ended)
		for {
			var now runtime.MemStats
			runtime.ReadMemStats(&now)
			peak.Store(max(peak.Load(), int64(now.HeapAlloc)-int64(before.HeapAlloc)))
			select {
			case <-done:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	err := f()
	close(done)
	<-ended
	return peak.Load(), err
}
