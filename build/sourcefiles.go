package build

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	pathpkg "path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// maxLinked bounds the files behind links to folders outside the roots, and those of embedded folders: a link to / is not
// a source.
const maxLinked = 100_000

// A sourceTree is a folder, or a file, that is digested.
type sourceTree struct {
	path string // no link leads to it
	name string // of it in the digest
	link string // by which it was found; "" for a root
	git  bool   // git tells which of its files count
}

// sourceFiles finds the files of a source.
type sourceFiles struct {
	dir     string // the module's
	roots   sourceRoots
	skip    map[string]bool
	trees   []sourceTree
	known   map[string]bool // files and folders that git tracks or does not ignore
	files   []*sourceFile
	have    map[string]bool // paths of files
	hidden  map[string]bool // folders to take as if git ignored them
	ignored []string        // files and folders that git ignores
	linked  int             // files counted against maxLinked

	packages map[string]bool     // folders whose ignored files have been taken
	imports  map[string][]string // from an import path to the folders that it may name
	cgo      bool                // ignored files for C compilers have been taken
}

// listSource returns a line for each file of the source: its mode, its SHA-256 and its name. The lines do not depend on
// where the module lies, on the order of folders, on times, or on permissions other than to execute.
func listSource(ctx context.Context, dir string, roots sourceRoots, skip map[string]bool, c SourceConfig) (string, error) {
	s := &sourceFiles{dir: dir, roots: roots, skip: withCaches(skip, roots), known: make(map[string]bool), have: make(map[string]bool),
		packages: make(map[string]bool), imports: make(map[string][]string), hidden: make(map[string]bool)}
	for _, path := range c.Ignored {
		s.hidden[realPath(resolve(dir, path))] = true
	}
	if err := s.walk(ctx); err != nil {
		return "", err
	}
	for batch := s.files; len(batch) > 0; {
		if err := digestFiles(ctx, batch, len(s.ignored) > 0); err != nil {
			return "", err
		}
		n := len(s.files)
		if err := s.needed(batch, c.Packages); err != nil {
			return "", err
		}
		batch = s.files[n:]
	}
	slices.SortFunc(s.files, func(a, b *sourceFile) int { return strings.Compare(a.name, b.name) })
	var list strings.Builder
	for _, f := range s.files {
		fmt.Fprintf(&list, "%s %x %q\n", f.mode, f.sum, f.name)
	}
	return list.String(), nil
}

// digestFiles reads the files, several at once.
func digestFiles(ctx context.Context, files []*sourceFile, scan bool) error {
	workers := runtime.GOMAXPROCS(0)
	g, ctx := errgroup.WithContext(ctx)
	for w := range workers {
		g.Go(func() error {
			h, buf := sha256.New(), make([]byte, 64<<10)
			for i := w; i < len(files); i += workers {
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := files[i].digest(h, buf, scan); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// withCaches adds to what is skipped the folders in which the go command keeps what it made or fetched: they may lie in
// the module's folder, as GitLab's jobs must have them.
func withCaches(skip map[string]bool, roots sourceRoots) map[string]bool {
	all := make(map[string]bool)
	for path := range skip {
		all[path] = true
	}
	dirs := []string{os.Getenv("GOCACHE"), os.Getenv("GOMODCACHE"), os.Getenv("GOTMPDIR")}
	if cache, err := os.UserCacheDir(); err == nil {
		dirs = append(dirs, filepath.Join(cache, "go-build"))
	}
	gopaths := filepath.SplitList(os.Getenv("GOPATH"))
	if home, err := os.UserHomeDir(); err == nil {
		gopaths = append(gopaths, filepath.Join(home, "go"))
	}
	for _, gopath := range gopaths {
		dirs = append(dirs, filepath.Join(gopath, "pkg", "mod"), filepath.Join(gopath, "pkg", "sumdb"))
	}
	for _, dir := range dirs {
		if !filepath.IsAbs(dir) {
			continue
		}
		dir = realPath(dir)
		if !slices.ContainsFunc(roots.paths, func(root string) bool { return within(dir, realPath(root)) }) {
			all[dir] = true
		}
	}
	return all
}

// walk lists the files that count in the roots, and in folders elsewhere to which links in them lead: the go command and C
// compilers take a link for the folder. No folder is listed twice, so that links may form a circle. Files that git
// ignores are set aside.
func (s *sourceFiles) walk(ctx context.Context) error {
	var real []string
	for _, root := range s.roots.paths {
		real = append(real, realPath(root))
	}
	for _, root := range withoutNested(real) {
		rel, err := filepath.Rel(s.dir, root)
		if err != nil {
			return err
		}
		s.trees = append(s.trees, sourceTree{path: root, name: filepath.ToSlash(rel)})
	}
	for i := 0; i < len(s.trees); i++ {
		var err error
		if s.trees[i].git, err = s.askGit(ctx, s.trees[i].path); err != nil {
			return err
		}
		tree := s.trees[i]
		err = filepath.WalkDir(tree.path, func(path string, d fs.DirEntry, err error) error { return s.visit(ctx, tree, path, d, err) })
		if err != nil {
			return err
		}
	}
	return nil
}

// visit is called for every file and folder of a tree.
func (s *sourceFiles) visit(ctx context.Context, tree sourceTree, path string, d fs.DirEntry, err error) error {
	rel, relErr := filepath.Rel(tree.path, path)
	if relErr != nil {
		return relErr
	}
	name := pathpkg.Join(tree.name, filepath.ToSlash(rel))
	if err != nil && d != nil && d.IsDir() && closed(path, err) {
		s.files = append(s.files, &sourceFile{name: name, path: path, mode: "closed"})
		return nil
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w; make it readable, or move it out of the module", err)
	}
	if err != nil {
		return err
	}
	base := d.Name()
	pass := func() error {
		if d.IsDir() {
			return fs.SkipDir
		}
		return nil
	}
	if s.skip[path] || base == ".git" || base == ".hg" || strings.HasPrefix(base, ".hallmark-") {
		return pass()
	}
	if rel != "." && (s.hidden[path] || tree.git && !s.known[path]) {
		s.ignored = append(s.ignored, path)
		return pass()
	}
	if d.IsDir() {
		if rel == "." {
			return nil
		}
		if slices.ContainsFunc(s.trees, func(t sourceTree) bool { return t.path == path }) {
			return fs.SkipDir
		}
		if _, err := os.Lstat(filepath.Join(path, ".git")); err == nil && tree.git {
			_, err = s.askGit(ctx, path) // a submodule, or another repository
			return err
		}
		return nil
	}
	link := d.Type()&fs.ModeSymlink != 0
	if !d.Type().IsRegular() && !link {
		return nil
	}
	if tree.link != "" {
		if s.linked++; s.linked > maxLinked {
			return fmt.Errorf("the link %s leads to more than %d files outside the module, too many to tell when they change; remove it or let it lead to less",
				tree.link, maxLinked)
		}
	}
	f := &sourceFile{name: name, path: path, mode: "file"}
	s.files = append(s.files, f)
	s.have[path] = true
	if link {
		f.mode = "link"
		s.follow(path, name)
	}
	return nil
}

// follow adds the folder that a link leads to, unless its files are listed already.
func (s *sourceFiles) follow(path, name string) {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return // leads nowhere
	}
	if info, err := os.Stat(target); err != nil || !info.IsDir() || s.skip[target] {
		return
	}
	if !slices.ContainsFunc(s.trees, func(t sourceTree) bool { return within(t.path, target) }) {
		s.trees = append(s.trees, sourceTree{path: target, name: name, link: path})
	}
}

// askGit asks which files of a folder git does not ignore. It returns false if git cannot tell: there is no checkout, or
// git ignores the folder itself, or it fails, which readGit reports. Then all files count.
func (s *sourceFiles) askGit(ctx context.Context, dir string) (bool, error) {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() || findUp(dir, ".git") == "" {
		return false, nil
	}
	list, err := git(ctx, dir, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	if ctx.Err() != nil {
		return false, err
	}
	if err != nil || list == "" {
		return false, nil
	}
	for name := range strings.SplitSeq(list, "\x00") {
		if name == "" {
			continue
		}
		path := filepath.Join(dir, filepath.FromSlash(name)) // without the slash behind a repository's name
		for len(path) > len(dir) && !s.known[path] {
			s.known[path] = true
			path = filepath.Dir(path)
		}
	}
	return true, nil
}

// compareListings describes how the second listing differs from the first.
func compareListings(before, after string) string {
	lines := func(listing string) map[string]string {
		m := make(map[string]string)
		for line := range strings.Lines(listing) {
			if fields := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 3); len(fields) == 3 {
				m[fields[2]] = line
			}
		}
		return m
	}
	old, now := lines(before), lines(after)
	var changes []string
	for name, line := range now {
		switch was, ok := old[name]; {
		case !ok:
			changes = append(changes, plainName(name)+" is new")
		case was != line:
			changes = append(changes, plainName(name)+" changed")
		}
	}
	for name := range old {
		if _, ok := now[name]; !ok {
			changes = append(changes, plainName(name)+" is gone")
		}
	}
	slices.Sort(changes)
	const shown = 5
	if len(changes) > shown {
		changes = append(changes[:shown], fmt.Sprintf("%d more", len(changes)-shown))
	}
	return strings.Join(changes, ", ")
}

// plainName removes the quotes from a quoted name that needs none.
func plainName(quoted string) string {
	if inner := strings.TrimSuffix(strings.TrimPrefix(quoted, `"`), `"`); !strings.ContainsAny(inner, `\ ",`) {
		return inner
	}
	return quoted
}
