package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	pathpkg "path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// A sourceFile is a line of the digest.
type sourceFile struct {
	name string // relative to the module, with slashes
	path string
	mode string // file, exec or link; closed if it may not be read
	sum  [sha256.Size]byte
}

// digestTrees returns the hex SHA-256 over the files of the roots, each of which is a folder or a file. The digest does
// not depend on where the module lies, on the order of folders, on times, or on permissions other than to execute.
func digestTrees(ctx context.Context, dir string, roots []string, skip map[string]bool) (string, error) {
	files, err := listTrees(dir, roots, skip)
	if err != nil {
		return "", err
	}
	workers := runtime.GOMAXPROCS(0)
	g, ctx := errgroup.WithContext(ctx)
	for w := range workers {
		g.Go(func() error {
			h, buf := sha256.New(), make([]byte, 64<<10)
			for i := w; i < len(files); i += workers {
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := files[i].digest(h, buf); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return "", err
	}
	slices.SortFunc(files, func(a, b *sourceFile) int { return strings.Compare(a.name, b.name) })
	h := sha256.New()
	for _, f := range files {
		fmt.Fprintf(h, "%s %x %q\n", f.mode, f.sum, f.name)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
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

// maxLinked bounds the files behind links to folders outside the roots: a link to / is no source.
const maxLinked = 100_000

// A sourceTree is a folder, or a file, that is digested.
type sourceTree struct {
	path string // no link leads to it
	name string // of it in the digest
	link string // by which it was found; "" for a root
}

// listTrees lists the files that count in the roots, and in folders elsewhere to which links in them lead: the go command
// and C compilers take a link for the folder. No folder is listed twice, so that links may form a circle.
func listTrees(dir string, roots []string, skip map[string]bool) ([]*sourceFile, error) {
	var trees []sourceTree
	var real []string
	for _, root := range roots {
		real = append(real, realPath(root))
	}
	for _, root := range withoutNested(real) {
		rel, err := filepath.Rel(dir, root)
		if err != nil {
			return nil, err
		}
		trees = append(trees, sourceTree{path: root, name: filepath.ToSlash(rel)})
	}
	var files []*sourceFile
	linked := 0
	for i := 0; i < len(trees); i++ {
		tree := trees[i]
		err := filepath.WalkDir(tree.path, func(path string, d fs.DirEntry, err error) error {
			rel, relErr := filepath.Rel(tree.path, path)
			if relErr != nil {
				return relErr
			}
			name := pathpkg.Join(tree.name, filepath.ToSlash(rel))
			if err != nil && d != nil && d.IsDir() && closed(path, err) {
				files = append(files, &sourceFile{name: name, path: path, mode: "closed"})
				return nil
			}
			if errors.Is(err, fs.ErrPermission) {
				return fmt.Errorf("%w; make it readable, or move it out of the module", err)
			}
			if err != nil {
				return err
			}
			base := d.Name()
			if skip[path] || base == ".git" || base == ".hg" || strings.HasPrefix(base, ".hallmark-") {
				if d.IsDir() {
					return fs.SkipDir
				}
				return nil
			}
			if d.IsDir() && rel != "." && slices.ContainsFunc(trees, func(t sourceTree) bool { return t.path == path }) {
				return fs.SkipDir
			}
			link := d.Type()&fs.ModeSymlink != 0
			if !d.Type().IsRegular() && !link {
				return nil
			}
			if tree.link != "" {
				if linked++; linked > maxLinked {
					return fmt.Errorf("the link %s leads to more than %d files outside the module, too many to tell when they change; remove it or let it lead to less",
						tree.link, maxLinked)
				}
			}
			f := &sourceFile{name: name, path: path, mode: "file"}
			files = append(files, f)
			if !link {
				return nil
			}
			f.mode = "link"
			target, err := filepath.EvalSymlinks(path)
			if err != nil {
				return nil // leads nowhere
			}
			if info, err := os.Stat(target); err != nil || !info.IsDir() || skip[target] {
				return nil
			}
			if !slices.ContainsFunc(trees, func(t sourceTree) bool { return within(t.path, target) }) {
				trees = append(trees, sourceTree{path: target, name: name, link: path})
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return files, nil
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

// digest reads the file. A link counts with its text and, when it leads to a file, with the content of that, because
// the go command follows it.
func (f *sourceFile) digest(h hash.Hash, buf []byte) error {
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
	if _, err := io.CopyBuffer(h, struct{ io.Reader }{r}, buf); err != nil {
		return err
	}
	h.Sum(f.sum[:0])
	return nil
}
