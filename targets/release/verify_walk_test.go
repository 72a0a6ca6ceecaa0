//go:build unix

package release

import (
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

// TestWalk checks that a file of a folder which is to be verified is not passed
// over because it is a link or not a regular file.
func TestWalk(t *testing.T) {
	t.Parallel()
	outside, dir := t.TempDir(), t.TempDir()
	write := func(file string) {
		if err := os.WriteFile(file, []byte("MZ"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	link := func(to, name string) string {
		name = filepath.Join(dir, name)
		if err := os.Symlink(to, name); err != nil {
			t.Fatal(err)
		}
		return name
	}
	write(filepath.Join(outside, "evil.exe"))
	write(filepath.Join(dir, "good.exe"))
	write(filepath.Join(dir, "good.exe.p7s"))
	evil := link(filepath.Join(outside, "evil.exe"), "evil.exe")
	link(outside, "sources")
	link(".", "again")
	link("missing", "nowhere")
	files, err := walk(dir)
	if want := []string{evil, filepath.Join(dir, "good.exe")}; err != nil || !slices.Equal(files, want) {
		t.Errorf("%q, %v; want %q", files, err, want)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if files, err := walk(dir); err == nil {
		t.Errorf("a FIFO: %q", files)
	}
}
