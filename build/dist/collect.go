package dist

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// File is one file of an archive or a package.
type File struct {
	Name  string      // slash path inside; in a package an absolute path (/lib/systemd/system/x.service) is taken as it is
	Path  string      // on disk
	Root  string      // folder that Path is in and that no link on the way may leave; "": links are followed anywhere
	Mode  fs.FileMode // only whether it is executable counts: 0755 or 0644
	Extra bool        // from Config.Files: goes to /usr/share/doc in a package, even when it is executable
}

// perm is the mode that an entry gets: a checkout's umask must not show in the output.
func (f File) perm() fs.FileMode {
	if f.Mode&0o111 != 0 {
		return 0o755
	}
	return 0o644
}

// open opens a file that must be regular. It follows no link out of f.Root.
func (f File) open() (*os.File, fs.FileInfo, error) {
	if f.Root == "" {
		return openRegular(f.Path)
	}
	rel, err := filepath.Rel(f.Root, f.Path)
	if err != nil {
		return nil, nil, err
	}
	root, err := os.OpenRoot(f.Root)
	if err != nil {
		return nil, nil, err
	}
	defer root.Close()
	return openWith(rel, root.Stat, root.OpenFile)
}

// WriteTo writes the content of f, as archives and packages get it.
func (f File) WriteTo(w io.Writer) (int64, error) {
	in, _, err := f.open()
	if err != nil {
		return 0, err
	}
	defer in.Close()
	return io.Copy(w, in)
}

// checkPattern reports what is wrong with a pattern as such.
func checkPattern(p string) error {
	if !doublestar.ValidatePattern(p) {
		return fmt.Errorf("%q is not a valid pattern: a bracket or a brace is not closed", p)
	}
	if p == "" || path.IsAbs(p) || strings.Contains(p, `\`) || !fs.ValidPath(path.Clean(p)) || slices.Contains(strings.Split(p, "/"), "..") {
		return fmt.Errorf("%q must be a slash path inside the module's folder", p)
	}
	return nil
}

// Collect finds the files of c.Files below dir, sorted by name, each once. Their names are their paths relative to
// dir. The patterns are doublestar's: "*" is any text without a slash (a leading dot is not special), "**" as a whole
// element is any number of folders, none included, and a folder means all that is in it.
//
// A link is followed to a file inside dir. One that leaves dir is a *ConfigError, and so are a link to a folder that
// a pattern would have to walk through, what is not a regular file, a private key, which nobody wants to publish, and a
// pattern that finds nothing. Left out are .git, files whose names begin with .hallmark-, and the slash paths of skip,
// with all that is in them: the dist folder.
func (c Config) Collect(dir string, skip ...string) ([]File, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	all := &collector{dir: dir, root: root, fsys: root.FS(), skip: skip, found: map[string]File{}}
	for i, pattern := range c.Files {
		wrong := func(err error) error { return &ConfigError{Key: fmt.Sprintf("files[%d]", i), Msg: err.Error()} }
		if err := checkPattern(pattern); err != nil {
			return nil, wrong(err)
		}
		all.matched, all.skipped = 0, 0
		if err := all.pattern(path.Clean(pattern)); err != nil {
			return nil, wrong(err)
		}
		switch {
		case all.matched > 0:
		case all.skipped > 0:
			return nil, wrong(fmt.Errorf("%q finds nothing in %s but what is never packed, such as the dist folder", pattern, dir))
		default:
			return nil, wrong(fmt.Errorf("%q finds nothing in %s", pattern, dir))
		}
	}
	return sortedFiles(all.found), nil
}

// collector finds the files of patterns below a folder.
type collector struct {
	dir              string
	root             *os.Root
	fsys             fs.FS // root's
	skip             []string
	found            map[string]File
	matched, skipped int // by the pattern at hand
}

func (c *collector) skips(name string) bool {
	base := path.Base(name)
	return base == ".git" || strings.HasPrefix(base, ".hallmark-") ||
		slices.ContainsFunc(c.skip, func(s string) bool { s = path.Clean(s); return name == s || strings.HasPrefix(name, s+"/") })
}

// pattern takes what one pattern finds. Only the folders below its fixed beginning are read.
func (c *collector) pattern(pattern string) error {
	base, rest := doublestar.SplitPattern(pattern)
	base = path.Clean(base)
	if !strings.ContainsAny(pattern, "*?[{") {
		return c.named(pattern)
	}
	deep := strings.Contains(rest, "**") || strings.ContainsAny(rest, "{")
	levels := strings.Count(rest, "/")
	return c.walk(base, func(name string) (match, descend bool) {
		match = doublestar.MatchUnvalidated(pattern, name)
		below := strings.Count(strings.TrimPrefix(name, base+"/"), "/")
		return match, deep || name == "." || name == base || below < levels
	})
}

// walk visits the entries below a folder. want tells whether an entry is meant, and whether entries in it can be.
func (c *collector) walk(base string, want func(name string) (match, descend bool)) error {
	entries, err := fs.ReadDir(c.fsys, base)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return c.refuse(base, err)
	}
	for _, d := range entries {
		name := path.Join(base, d.Name())
		match, descend := want(name)
		if !match && !descend {
			continue
		}
		if c.skips(name) {
			if match {
				c.skipped++
			}
			continue
		}
		switch {
		case match:
			err = c.named(name)
		case d.IsDir():
			err = c.walk(name, want)
		case d.Type()&fs.ModeSymlink != 0 && descend:
			err = c.link(name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// link refuses a link to a folder that a pattern would have to walk through. Such links can be loops, and readers of a
// pattern expect what is behind them.
func (c *collector) link(name string) error {
	info, err := c.root.Stat(filepath.FromSlash(name))
	if err == nil && info.IsDir() {
		return fmt.Errorf("%s is a link to a folder, which a pattern does not walk through: name the folder that it leads to", name)
	}
	return nil // it is no folder in here, so nothing in it is meant
}

// named takes a file, or all that is in a folder.
func (c *collector) named(name string) error {
	if c.skips(name) {
		c.skipped++
		return nil
	}
	info, err := c.root.Stat(filepath.FromSlash(name))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := c.root.Lstat(filepath.FromSlash(name)); err == nil {
			return fmt.Errorf("%s is a link that leads nowhere", name)
		}
		return nil
	}
	if err != nil {
		return c.refuse(name, err)
	}
	if !info.IsDir() {
		return c.take(name)
	}
	if link, err := c.root.Lstat(filepath.FromSlash(name)); err == nil && link.Mode()&fs.ModeSymlink != 0 {
		return fmt.Errorf("%s is a link to a folder: name the folder that it leads to", name)
	}
	return c.walk(name, func(string) (match, descend bool) { return true, true })
}

func (c *collector) take(name string) error {
	f := File{Name: name, Path: filepath.Join(c.dir, filepath.FromSlash(name)), Root: c.dir, Extra: true}
	if err := checkName(name); err != nil {
		return err
	}
	in, info, err := f.open()
	if err != nil {
		return c.refuse(name, err)
	}
	defer in.Close()
	f.Mode = info.Mode()
	f.Mode = f.perm()
	switch private, err := isPrivateKey(f.Path, in); {
	case err != nil:
		return err
	case private:
		return fmt.Errorf("%s holds a private key: it would be published; name the files to ship without it", name)
	}
	c.matched++
	c.found[name] = f
	return nil
}

// refuse says why a path was not opened.
func (c *collector) refuse(name string, err error) error {
	if errors.Is(err, errNotRegular) {
		return fmt.Errorf("%s is not a regular file", name)
	}
	if leaves(err) {
		return fmt.Errorf("%s is a link that leads out of the module's folder: copy the file into the module", name)
	}
	return err
}
