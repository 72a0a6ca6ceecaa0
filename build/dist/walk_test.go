package dist

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func walkBytes(b []byte) (map[string]entry, error) {
	got := map[string]entry{}
	err := walk("twin", bytes.NewReader(b), int64(len(b)), func(name string, mode fs.FileMode, r io.Reader) error {
		body, err := io.ReadAll(r)
		got[name] = entry{mode, string(body)}
		return err
	})
	return got, err
}

// bodies leaves the modes out: a zip's have no checksum.
func bodies(m map[string]entry) map[string]string {
	out := map[string]string{}
	for k, v := range m {
		out[k] = v.body
	}
	return out
}

// Every archive has damaged twins. Each is refused, or, where the flipped bit says nothing about the content (a time,
// an owner in a header without a checksum), gives exactly the same files.
func TestDamagedTwins(t *testing.T) {
	for _, format := range Formats() {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			dst := filepath.Join(t.TempDir(), "good")
			write(t, format, dst, sample(t, 3000))
			good, err := os.ReadFile(dst)
			if err != nil {
				t.Fatal(err)
			}
			want, err := walkBytes(good)
			if err != nil {
				t.Fatal(err)
			}
			refused, same := 0, 0
			for i := 0; i < len(good); i++ {
				twin := bytes.Clone(good)
				twin[i] ^= 1 << (i % 8)
				got, err := walkBytes(twin)
				switch {
				case err != nil:
					refused++
					var fe *FormatError
					if !errors.As(err, &fe) || fe.File != "twin" {
						t.Fatalf("byte %d flipped: %T is no FormatError: %v", i, err, err)
					}
				case maps.Equal(bodies(got), bodies(want)):
					same++
				default:
					t.Fatalf("byte %d of %d flipped: other content accepted", i, len(good))
				}
			}
			t.Logf("%d bytes: %d flips refused, %d without meaning for the content", len(good), refused, same)
			if limit := map[string]int{Zip: 300, TarGz: 16, Deb: 120, RPM: 250, APK: 30, ArchLinux: 40}[format]; same > limit {
				t.Errorf("%d flips are accepted, more than the %d that headers without checksums and zstd's several ways to say the same explain", same, limit)
			}
			for n := 0; n < len(good); n++ {
				if _, err := walkBytes(good[:n]); err == nil {
					t.Fatalf("cut off after %d of %d bytes: accepted", n, len(good))
				}
			}
			for _, tail := range [][]byte{{0}, []byte("x"), make([]byte, 1024), good} {
				if _, err := walkBytes(append(bytes.Clone(good), tail...)); err == nil {
					t.Errorf("%d bytes appended: accepted", len(tail))
				}
			}
			if _, err := walkBytes(append([]byte{0}, good...)); err == nil {
				t.Error("a byte before it: accepted")
			}
		})
	}
}

// Archives that other programs would unpack outside of their folder, or as something else than a file.
func TestWalkRefuses(t *testing.T) {
	tgz := func(headers ...tar.Header) []byte {
		var b bytes.Buffer
		zw := gzip.NewWriter(&b)
		tw := tar.NewWriter(zw)
		for _, h := range headers {
			h.Size = int64(len("x"))
			if h.Typeflag != tar.TypeReg {
				h.Size = 0
			}
			if err := tw.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
			if h.Size > 0 {
				io.WriteString(tw, "x")
			}
		}
		tw.Close()
		zw.Close()
		return b.Bytes()
	}
	zipOf := func(change func(*zip.FileHeader), comment string, names ...string) []byte {
		var b bytes.Buffer
		zw := zip.NewWriter(&b)
		for _, n := range names {
			h := &zip.FileHeader{Name: n, Method: zip.Deflate}
			h.SetMode(0o644)
			if change != nil {
				change(h)
			}
			w, err := zw.CreateHeader(h)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasSuffix(n, "/") {
				io.WriteString(w, "content of "+n)
			}
		}
		zw.SetComment(comment)
		zw.Close()
		return b.Bytes()
	}
	good := zipOf(nil, "", "aaaa", "bbbb")
	otherLocal := bytes.Replace(bytes.Clone(good), []byte("aaaa"), []byte("cccc"), 1)
	hidden := append(bytes.Clone(zipOf(nil, "", "hidden")), good...)
	for name, b := range map[string][]byte{
		"empty":                       {},
		"text":                        []byte("hello, world"),
		"tar: ..":                     tgz(tar.Header{Typeflag: tar.TypeReg, Name: "../x"}),
		"tar: .. within":              tgz(tar.Header{Typeflag: tar.TypeReg, Name: "a/../../x"}),
		"tar: absolute":               tgz(tar.Header{Typeflag: tar.TypeReg, Name: "/etc/x"}),
		"tar: backslash":              tgz(tar.Header{Typeflag: tar.TypeReg, Name: `..\x`}),
		"tar: drive":                  tgz(tar.Header{Typeflag: tar.TypeReg, Name: "C:x"}),
		"tar: symlink":                tgz(tar.Header{Typeflag: tar.TypeSymlink, Name: "x", Linkname: "/etc"}),
		"tar: hard link":              tgz(tar.Header{Typeflag: tar.TypeLink, Name: "x", Linkname: "y"}),
		"tar: device":                 tgz(tar.Header{Typeflag: tar.TypeChar, Name: "x"}),
		"tar: twice":                  tgz(tar.Header{Typeflag: tar.TypeReg, Name: "x"}, tar.Header{Typeflag: tar.TypeReg, Name: "./x"}),
		"zip: ..":                     zipOf(nil, "", "../x"),
		"zip: absolute":               zipOf(nil, "", "/x"),
		"zip: backslash":              zipOf(nil, "", `a\x`),
		"zip: twice":                  zipOf(nil, "", "x", "x"),
		"zip: symlink":                zipOf(func(h *zip.FileHeader) { h.SetMode(fs.ModeSymlink | 0o777) }, "", "x"),
		"zip: comment":                zipOf(nil, "comment", "x"),
		"zip: encrypted":              zipOf(func(h *zip.FileHeader) { h.Flags |= 1 }, "", "x"),
		"zip: another name in local":  otherLocal,
		"zip: hidden entry before it": hidden,
	} {
		if got, err := walkBytes(b); err == nil {
			t.Errorf("%s: accepted: %v", name, got)
		} else if fe := (*FormatError)(nil); !errors.As(err, &fe) {
			t.Errorf("%s: %T is no FormatError: %v", name, err, err)
		}
	}
	if _, err := walkBytes(good); err != nil {
		t.Errorf("the good zip: %v", err)
	}
	if _, err := walkBytes(zipOf(nil, "", "folder/", "folder/x")); err != nil {
		t.Errorf("a zip with a folder: %v", err)
	}
	if err := Walk(filepath.Join(t.TempDir(), "none"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

// What unpacks to 200 MB is walked in a few.
func TestWalkMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIP: large files in -short")
	}
	big := filepath.Join(t.TempDir(), "big")
	f, err := os.Create(big)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(200 << 20); err != nil {
		t.Fatal(err)
	}
	f.Close()
	for _, format := range []string{Zip, TarGz, Deb, RPM} {
		dst := filepath.Join(t.TempDir(), "out")
		write(t, format, dst, []File{{Name: "notes", Path: big, Mode: 0o755}})
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		if err := Walk(dst, func(_ string, _ fs.FileMode, r io.Reader) error {
			_, err := io.Copy(io.Discard, r)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > 40<<20 {
			t.Errorf("%s: %d MB allocated", format, got>>20)
		}
	}
}

func benchmarkFiles(b *testing.B) ([]File, int64) {
	b.Helper()
	file := os.Getenv("HALLMARK_BENCH_PROGRAM") // a real program; this test's own by default
	if file == "" {
		file = os.Args[0]
	}
	info, err := os.Stat(file)
	if err != nil {
		b.Fatal(err)
	}
	return []File{{Name: "notes", Path: file, Mode: 0o755}}, info.Size()
}

func BenchmarkWrite(b *testing.B) {
	files, size := benchmarkFiles(b)
	for _, format := range Formats() {
		b.Run(format, func(b *testing.B) {
			b.SetBytes(size)
			dst := filepath.Join(b.TempDir(), "out")
			start := cpuSeconds()
			for b.Loop() {
				write(b, format, dst, files)
			}
			b.ReportMetric((cpuSeconds()-start)/float64(b.N), "cpu-s/op")
			if info, err := os.Stat(dst); err == nil {
				b.ReportMetric(float64(info.Size())/float64(size), "ratio")
			}
		})
	}
}

func BenchmarkWalk(b *testing.B) {
	files, size := benchmarkFiles(b)
	for _, format := range Formats() {
		b.Run(format, func(b *testing.B) {
			b.SetBytes(size)
			dst := filepath.Join(b.TempDir(), "out")
			write(b, format, dst, files)
			start := cpuSeconds()
			for b.Loop() {
				if err := Walk(dst, func(string, fs.FileMode, io.Reader) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric((cpuSeconds()-start)/float64(b.N), "cpu-s/op")
		})
	}
}
