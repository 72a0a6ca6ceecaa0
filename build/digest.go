package build

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// A sourceFile is a line of the digest.
type sourceFile struct {
	name string // relative to the module, with slashes
	path string
	mode string // file, exec or link; closed if it may not be read
	sum  [sha256.Size]byte
	uses *goUses // of a Go file that is not a test; nil if nobody asked
}

// withoutNested removes the roots that lie within another one, so that no file is read twice.
func withoutNested(roots []string) []string {
	roots = slices.Clone(roots)
	slices.Sort(roots)
	roots = slices.Compact(roots)
	return slices.DeleteFunc(slices.Clone(roots), func(r string) bool {
		return slices.ContainsFunc(roots, func(other string) bool { return other != r && within(other, r) })
	})
}

// within tells whether path is dir or in it.
func within(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

// closed tells whether a folder that cannot be listed cannot be searched either. Then nothing in it goes into a program:
// the compilers may do what we may.
func closed(dir string, err error) bool {
	if !errors.Is(err, fs.ErrPermission) {
		return false
	}
	_, err = os.Lstat(dir + string(filepath.Separator) + ".") // not joined, which would remove the dot
	return errors.Is(err, fs.ErrPermission)
}

// realPath returns the path without links; what does not exist stays as it is.
func realPath(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	parent := filepath.Dir(path)
	if parent == path {
		return path
	}
	return filepath.Join(realPath(parent), filepath.Base(path))
}

// digest reads the file, and, if scan is set, what a Go file uses. A link counts with its text and, when it leads to a
// file, with the content of that, because the go command follows it.
func (f *sourceFile) digest(h hash.Hash, buf []byte, scan bool) error {
	h.Reset()
	if f.mode == "closed" {
		return nil
	}
	if f.mode == "link" {
		text, err := os.Readlink(f.path)
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%q\n", filepath.ToSlash(text))
		if info, err := os.Stat(f.path); err != nil || !info.Mode().IsRegular() {
			h.Sum(f.sum[:0])
			return nil
		}
	}
	r, err := os.Open(f.path)
	if errors.Is(err, fs.ErrPermission) {
		f.mode = "closed"
		return nil
	}
	if err != nil {
		return err
	}
	defer r.Close()
	info, err := r.Stat()
	if err != nil {
		return err
	}
	if f.mode == "file" && info.Mode()&0o111 != 0 {
		f.mode = "exec"
	}
	// The wrapper hides *os.File's WriterTo, which would not use the buffer.
	var content io.Reader = struct{ io.Reader }{r}
	var text bytes.Buffer
	if scan = scan && isProgramText(f.path) && info.Size() <= maxScanned; scan {
		content = io.TeeReader(content, &text)
	}
	if _, err := io.CopyBuffer(h, content, buf); err != nil {
		return err
	}
	h.Sum(f.sum[:0])
	if scan {
		f.uses = scanGo(text.Bytes())
	}
	return nil
}
