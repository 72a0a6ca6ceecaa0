package dist

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// errNotRegular is for folders, FIFOs, devices and sockets where a file is expected.
var errNotRegular = errors.New("not a regular file")

// openRegular opens a file that must be regular: to open a FIFO would wait for somebody to write to it, and to open a
// device can have effects.
func openRegular(file string) (*os.File, fs.FileInfo, error) {
	return openWith(file, os.Stat, os.OpenFile)
}

func openWith(name string, stat func(string) (fs.FileInfo, error), open func(string, int, fs.FileMode) (*os.File, error)) (*os.File, fs.FileInfo, error) {
	info, err := stat(name)
	if err != nil {
		return nil, nil, err
	}
	notRegular := &fs.PathError{Op: "open", Path: name, Err: errNotRegular}
	if !info.Mode().IsRegular() {
		return nil, nil, notRegular
	}
	// Another file may have taken its place by now.
	f, err := open(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	if info, err = f.Stat(); err == nil && !info.Mode().IsRegular() {
		err = notRegular
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// leaves tells whether os.Root refused a path for leading out of it. The error has no name in package os.
func leaves(err error) bool {
	var p *fs.PathError
	return errors.As(err, &p) && strings.Contains(p.Err.Error(), "path escapes from parent")
}
