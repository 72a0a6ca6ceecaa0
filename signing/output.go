package signing

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// output is a file that is written beside its place and put there by a rename,
// so that nobody ever sees half of it.
type output struct {
	*os.File
	done bool
}

// newOutput creates a file in dst's folder with nobody else's permissions yet.
func newOutput(dst string) (*output, error) {
	f, err := os.CreateTemp(filepath.Dir(dst), ".hallmark-*")
	if err != nil {
		return nil, fmt.Errorf("creating a file beside %s: %w", dst, err)
	}
	return &output{File: f}, nil
}

// keep gives the output the mode of the file that it is made from and, as far
// as we may, its owner.
func (o *output) keep(from fs.FileInfo) error {
	chownLike(o.File, from)
	return o.Chmod(from.Mode().Perm() | from.Mode()&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky))
}

// replace renames the output to dst. When dst is a symbolic link the file that
// it leads to is replaced and the link stays.
func (o *output) replace(dst string) error {
	real, err := filepath.EvalSymlinks(dst)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		real = dst
	}
	if err := o.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("writing %s: %w", dst, err)
	}
	if err := os.Rename(o.Name(), real); err != nil {
		return err
	}
	o.done = true
	return syncDir(filepath.Dir(real))
}

// discard removes an output that was not put in place.
func (o *output) discard() {
	o.Close()
	if !o.done {
		os.Remove(o.Name())
	}
}
