//go:build unix

package key

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestReadRegular reads a file, also through a link, and refuses at once what
// is not a regular one, or too long.
func TestReadRegular(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(at("file"), []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{os.Symlink("file", at("link")), os.Symlink("fifo", at("hidden")), syscall.Mkfifo(at("fifo"), 0o600), os.Mkdir(at("folder"), 0o700)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("unix", at("socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, name := range []string{"file", "link"} {
		if b, err := ReadRegular(at(name), 7); err != nil || string(b) != "content" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	if _, err := ReadRegular(at("file"), 6); err == nil || !strings.Contains(err.Error(), "7 bytes") {
		t.Errorf("a file over the limit: %v", err)
	}
	if _, err := ReadRegular(at("missing"), 7); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	for name, kind := range map[string]string{at("fifo"): "a FIFO", at("hidden"): "a FIFO", at("socket"): "a socket", at("folder"): "a folder", "/dev/zero": "a device"} {
		done := make(chan error, 1)
		go func() {
			_, err := ReadRegular(name, 7)
			done <- err
		}()
		select {
		case err := <-done:
			if !errors.Is(err, ErrNotRegular) || !strings.Contains(err.Error(), kind) {
				t.Errorf("%s: %v, want a word about %s", name, err, kind)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s: still waiting", name)
		}
	}
}
