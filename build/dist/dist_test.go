package dist

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// need returns the path of a foreign tool, or skips the test: fails it when HALLMARK_STRICT is 1.
func need(t testing.TB, tool, pkg string) string {
	t.Helper()
	p, err := exec.LookPath(tool)
	if err != nil {
		if os.Getenv("HALLMARK_STRICT") == "1" {
			t.Fatalf("%s missing: apt package %s", tool, pkg)
		}
		t.Skipf("SKIP: %s missing: apt package %s", tool, pkg)
	}
	return p
}

func run(t testing.TB, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return string(out)
}

func when() time.Time { return time.Date(2024, 5, 6, 7, 8, 9, 123456789, time.FixedZone("x", 3600)) }

// program is content that compresses partly, with what a stripping packager would take away: an appended signature.
func program(size int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := append([]byte("\x7fELF\x02\x01\x01\x00"), make([]byte, size)...)
	for i := 8; i < len(b); i++ {
		b[i] = byte(r.IntN(256)) & byte(i>>8)
	}
	return append(b, "~Module signature appended~\n"...)
}

// sample writes files of several kinds below a new folder.
func sample(t testing.TB, programSize int) []File {
	t.Helper()
	dir := t.TempDir()
	var files []File
	add := func(name string, mode, onDisk fs.FileMode, extra bool, b []byte) {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, b, onDisk); err != nil {
			t.Fatal(err)
		}
		files = append(files, File{Name: name, Path: p, Mode: mode, Extra: extra})
	}
	add("notes", 0o755, 0o700, false, program(programSize))
	add("README.md", 0o644, 0o600, true, []byte("# Notes\n"))
	add("docs/empty", 0o644, 0o644, true, nil)
	add("docs/größe [1]*.txt", 0o600, 0o644, true, bytes.Repeat([]byte("abc "), 999))
	add("docs/example.sh", 0o755, 0o755, true, []byte("#!/bin/sh\n"))
	return files
}

func config() Config {
	return Config{Maintainer: "Nora Notes <nora@example.org>", Vendor: "Notes Ltd", Homepage: "https://example.org/notes",
		License: "Apache-2.0", Description: "Keeps notes\n\nIn two paragraphs."}
}

// write makes one output of any format.
func write(t testing.TB, format, dst string, files []File) {
	t.Helper()
	var err error
	switch format {
	case Zip:
		err = WriteZip(dst, files, when())
	case TarGz:
		err = WriteTarGz(dst, files, when())
	default:
		err = WritePackage(dst, Package{Name: "notes", Version: "v1.2.3-rc.1", Arch: "amd64", Format: format, Config: config(), Files: files, ModTime: when()})
	}
	if err != nil {
		t.Fatal(err)
	}
}

type entry struct {
	mode fs.FileMode
	body string
}

func read(file string) (map[string]entry, error) {
	got := map[string]entry{}
	err := Walk(file, func(name string, mode fs.FileMode, r io.Reader) error {
		b, err := io.ReadAll(r)
		got[name] = entry{mode, string(b)}
		return err
	})
	return got, err
}

// expected is what Walk gives for files in a format.
func expected(t testing.TB, format string, files []File) map[string]entry {
	t.Helper()
	want := map[string]entry{}
	for _, f := range files {
		b, err := os.ReadFile(f.Path)
		if err != nil {
			t.Fatal(err)
		}
		name := f.Name
		if format != Zip && format != TarGz {
			name = strings.TrimPrefix(Package{}.place("notes", f), "/")
		}
		mode := fs.FileMode(0o644)
		if f.Mode&0o111 != 0 {
			mode = 0o755
		}
		want[name] = entry{mode, string(b)}
	}
	return want
}

func TestRoundTrip(t *testing.T) {
	for _, format := range Formats() {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			files := sample(t, 300_000)
			dst := filepath.Join(t.TempDir(), "out"+Extension(format))
			write(t, format, dst, files)
			got, err := read(dst)
			if err != nil {
				t.Fatal(err)
			}
			if want := expected(t, format, files); !maps.Equal(got, want) {
				for _, m := range []map[string]entry{got, want} {
					for _, k := range slices.Sorted(maps.Keys(m)) {
						t.Log(k, m[k].mode, len(m[k].body))
					}
				}
				t.Fatal("what was read is not what was written")
			}
			info, err := os.Stat(dst)
			if err != nil || info.Mode() != 0o644 {
				t.Errorf("mode of the output: %v %v", info.Mode(), err)
			}
			left, err := filepath.Glob(filepath.Join(filepath.Dir(dst), ".*"))
			if err != nil || len(left) > 0 {
				t.Errorf("left behind: %v %v", left, err)
			}
			// Content that nobody reads is checked all the same.
			if err := Walk(dst, func(string, fs.FileMode, io.Reader) error { return nil }); err != nil {
				t.Error(err)
			}
			stop := errors.New("stop")
			if err := Walk(dst, func(string, fs.FileMode, io.Reader) error { return stop }); err != stop {
				t.Errorf("Walk returns %v, not what its function did", err)
			}
		})
	}
}

// Two writes give the same bytes, with other file times, orders, cores and environment.
func TestDeterministic(t *testing.T) {
	files := sample(t, 3_000_000)
	for _, format := range Formats() {
		t.Run(format, func(t *testing.T) {
			a, b := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
			write(t, format, a, files)
			for _, f := range files {
				if err := os.Chtimes(f.Path, time.Now(), time.Unix(rand.Int64N(1e9), 0)); err != nil {
					t.Fatal(err)
				}
			}
			t.Setenv("SOURCE_DATE_EPOCH", "12345")
			t.Setenv("TZ", "Asia/Tokyo")
			other := slices.Clone(files)
			slices.Reverse(other)
			cores := runtime.GOMAXPROCS(1)
			write(t, format, b, other)
			runtime.GOMAXPROCS(cores)
			x, err := os.ReadFile(a)
			if err != nil {
				t.Fatal(err)
			}
			y, err := os.ReadFile(b)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(x, y) {
				t.Fatal("two writes differ")
			}
			if host, err := os.Hostname(); err == nil && len(host) > 5 && host != "localhost" && bytes.Contains(x, []byte(host)) {
				t.Error("the host's name is in the output")
			}
		})
	}
}

// Tools that we did not write unpack what we wrote, bit for bit.
func TestStrangersUnpack(t *testing.T) {
	files := sample(t, 200_000)
	tests := []struct {
		format, tool, pkg string
		unpack            func(t *testing.T, file, dir string)
	}{
		{Zip, "unzip", "unzip", func(t *testing.T, file, dir string) {
			run(t, dir, "unzip", "-tq", file)
			run(t, dir, "unzip", "-q", file)
		}},
		{TarGz, "tar", "tar", func(t *testing.T, file, dir string) {
			if out := run(t, dir, "tar", "--numeric-owner", "-tvzf", file); !strings.Contains(out, "-rwxr-xr-x 0/0") {
				t.Errorf("tar lists\n%s", out)
			}
			run(t, dir, "tar", "-xpzf", file)
		}},
		{Deb, "dpkg-deb", "dpkg", func(t *testing.T, file, dir string) {
			out := run(t, dir, "dpkg-deb", "-I", file)
			for _, want := range []string{"Package: notes", "Version: 1.2.3~rc.1", "Architecture: amd64", "Maintainer: Nora Notes <nora@example.org>", "Description: Keeps notes\n .\n In two paragraphs."} {
				if !strings.Contains(strings.ReplaceAll(out, "\n ", "\n"), want) {
					t.Errorf("dpkg-deb -I does not say %q:\n%s", want, out)
				}
			}
			if out := run(t, dir, "dpkg-deb", "-c", file); strings.Count(out, "root/root") != strings.Count(out, "\n") {
				t.Errorf("not all is root's:\n%s", out)
			}
			run(t, dir, "dpkg-deb", "-x", file, dir)
		}},
		{RPM, "rpm2archive", "rpm2cpio", func(t *testing.T, file, dir string) {
			need(t, "rpm", "rpm")
			db := "--dbpath=" + filepath.Join(t.TempDir(), "db")
			out := run(t, dir, "rpm", db, "-qp", "--qf", "%{NAME}|%{VERSION}|%{RELEASE}|%{ARCH}|%{BUILDHOST}|%{BUILDTIME}|%{LICENSE}|%{SUMMARY}|%{PACKAGER}|%{VENDOR}\n", file)
			want := fmt.Sprintf("notes|1.2.3~rc.1|1|x86_64|localhost|%d|Apache-2.0|Keeps notes|Nora Notes <nora@example.org>|Notes Ltd", when().Unix())
			if !strings.Contains(out, want) {
				t.Errorf("rpm -qp says %q, not %q", out, want)
			}
			if out := run(t, dir, "rpm", db, "-K", "--nosignature", file); !strings.Contains(out, "digests OK") {
				t.Errorf("rpm -K: %s", out)
			}
			// rpm2archive writes FILE.tgz.
			run(t, dir, "rpm2archive", file)
			run(t, dir, "tar", "-xpzf", file+".tgz")
		}},
		{APK, "tar", "tar", func(t *testing.T, file, dir string) {
			run(t, dir, "tar", "--warning=no-unknown-keyword", "-xpzf", file)
			if b, err := os.ReadFile(filepath.Join(dir, ".PKGINFO")); err != nil || !bytes.Contains(b, []byte("pkgver = 1.2.3_rc1-r0\narch = x86_64\n")) {
				t.Errorf(".PKGINFO: %v\n%s", err, b)
			}
		}},
		{ArchLinux, "zstd", "zstd", func(t *testing.T, file, dir string) {
			run(t, dir, "tar", "--zstd", "-xpf", file)
			if b, err := os.ReadFile(filepath.Join(dir, ".PKGINFO")); err != nil || !bytes.Contains(b, []byte("pkgver = 1.2.3rc.1-1\n")) {
				t.Errorf(".PKGINFO: %v\n%s", err, b)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.format, func(t *testing.T) {
			t.Parallel()
			need(t, tt.tool, tt.pkg)
			file := filepath.Join(t.TempDir(), "notes"+Extension(tt.format))
			write(t, tt.format, file, files)
			dir := t.TempDir()
			tt.unpack(t, file, dir)
			for name, want := range expected(t, tt.format, files) {
				p := filepath.Join(dir, filepath.FromSlash(name))
				b, err := os.ReadFile(p)
				if err != nil || string(b) != want.body {
					t.Errorf("%s: not what was packed (%v)", name, err)
				}
				info, err := os.Stat(p)
				if err != nil {
					continue
				}
				if info.Mode() != want.mode {
					t.Errorf("%s: mode %v, not %v", name, info.Mode(), want.mode)
				}
				if got := info.ModTime().Unix(); tt.format != RPM && got != when().Unix() {
					t.Errorf("%s: modified %d, not %d", name, got, when().Unix())
				}
			}
		})
	}
}

func TestNothingHalfMade(t *testing.T) {
	files := sample(t, 1000)
	gone := append(slices.Clone(files), File{Name: "gone", Path: filepath.Join(t.TempDir(), "gone")})
	twice := append(slices.Clone(files), files[0])
	outside := append(slices.Clone(files), File{Name: "../x", Path: files[0].Path})
	folder := append(slices.Clone(files), File{Name: "folder", Path: t.TempDir()})
	for _, format := range Formats() {
		for what, fs := range map[string][]File{"gone": gone, "twice": twice, "outside": outside, "folder": folder, "none": nil} {
			dir := t.TempDir()
			dst := filepath.Join(dir, "out")
			if err := os.WriteFile(dst, []byte("old"), 0o644); err != nil {
				t.Fatal(err)
			}
			var err error
			switch format {
			case Zip:
				err = WriteZip(dst, fs, when())
			case TarGz:
				err = WriteTarGz(dst, fs, when())
			default:
				err = WritePackage(dst, Package{Name: "notes", Version: "1", Arch: "amd64", Format: format, Config: config(), Files: fs, ModTime: when()})
			}
			if err == nil {
				t.Errorf("%s %s: no error", format, what)
			}
			list, _ := os.ReadDir(dir)
			if b, _ := os.ReadFile(dst); string(b) != "old" || len(list) != 1 {
				t.Errorf("%s %s: the old output is gone, or something is beside it: %v", format, what, list)
			}
		}
	}
}

func TestDiskFull(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("SKIP: no /dev/full")
	}
	// The writer that every format gets remembers a write that failed, even when the packager forgets it.
	files := sample(t, 500_000)
	for _, format := range []string{Deb, RPM, APK, ArchLinux} {
		info, packager, err := Package{Name: "notes", Version: "1", Arch: "arm64", Format: format, Config: config(), Files: files, ModTime: when()}.info()
		if err != nil {
			t.Fatal(err)
		}
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		w := newSticky(full)
		perr := packager.Package(info, w)
		if perr == nil && w.finish() == nil {
			t.Errorf("%s: no error on a full disk", format)
		}
		full.Close()
	}
}
