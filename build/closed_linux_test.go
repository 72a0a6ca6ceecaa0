package build

import (
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// TestClosedFolder checks that a folder that may not be read, the data of a database say, is passed over and named in the
// digest.
func TestClosedFolder(t *testing.T) {
	t.Parallel()
	dir := copyModule(t, "hello")
	data := filepath.Join(dir, "data")
	write(t, filepath.Join(data, "x"), "x")
	if err := os.Chmod(data, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(data, 0o700) })
	if os.Getuid() == 0 {
		runtime.LockOSThread()
		for _, p := range []string{filepath.Dir(filepath.Dir(dir)), filepath.Dir(dir), dir} {
			if err := os.Chmod(p, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := syscall.Setfsuid(65534); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := syscall.Setfsuid(0); err == nil {
				runtime.UnlockOSThread()
			}
		}()
	}
	roots, err := findRoots(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := &sourceFiles{dir: dir, roots: roots, have: make(map[string]bool)}
	err = s.walk(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range s.files {
		if f.name == "data" && f.mode == "closed" {
			return
		}
	}
	t.Error("the folder has no line in the digest")
}
