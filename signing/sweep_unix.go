//go:build unix

package signing

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// lockOutput marks a file that is being written. The lock ends with the process,
// so what a killed one left has none.
func lockOutput(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }

// Sweep removes from a folder what killed runs left there: regular files of this
// user, with the name that [IsTemporary] knows, that nobody is writing.
// The file named keep, which may be empty, stays: somebody asked for it.
func Sweep(dir, keep string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if e.Name() != keep && IsTemporary(e.Name()) && e.Type().IsRegular() {
			errs = append(errs, sweep(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

func sweep(file string) error {
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || !info.Mode().IsRegular() || int(st.Uid) != os.Geteuid() {
		return nil
	}
	if lockOutput(f) != nil {
		return nil // somebody is writing it
	}
	return os.Remove(file)
}
