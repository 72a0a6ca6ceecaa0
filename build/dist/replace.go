package dist

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// bufferSize is what collects small writes into one call; deflate hands out a few hundred bytes at a time.
const bufferSize = 128 << 10

// replace makes dst (mode 0644) from what write puts out, whole or not at all: beside, synced, renamed.
func replace(dst string, write func(io.Writer) error) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(dst), ".hallmark-*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", dst, err)
	}
	defer func() {
		if err != nil {
			tmp.Close()
			os.Remove(tmp.Name())
		}
	}()
	w := newSticky(tmp)
	if err := write(w); err != nil {
		return fmt.Errorf("writing %s: %w", dst, err)
	}
	if err := w.finish(); err != nil {
		return fmt.Errorf("writing %s: %w", dst, err)
	}
	if err := tmp.Chmod(0o644); err != nil {
		return fmt.Errorf("writing %s: %w", dst, err)
	}
	if err := tmp.Sync(); err != nil {
		return fmt.Errorf("writing %s: %w", dst, err)
	}
	if err := tmp.Close(); err != nil {
		return fmt.Errorf("writing %s: %w", dst, err)
	}
	if err := os.Rename(tmp.Name(), dst); err != nil {
		return fmt.Errorf("writing %s: %w", dst, err)
	}
	return nil
}

// sticky remembers the first error: nfpm's archlinux packager drops the ones that its deferred Close calls return,
// and a full disk must not end in a short package.
type sticky struct {
	w   *bufio.Writer
	err error
}

func newSticky(w io.Writer) *sticky { return &sticky{w: bufio.NewWriterSize(w, bufferSize)} }

// finish writes out what is buffered and returns the first error of all.
func (s *sticky) finish() error {
	if s.err != nil {
		return s.err
	}
	return s.w.Flush()
}

func (s *sticky) Write(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.w.Write(p)
	s.err = err
	return n, err
}
