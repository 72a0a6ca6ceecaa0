package build

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/sync/errgroup"
)

// Source is what a release is built from; [ReadSource] reads it once a run.
type Source struct {
	Dir      string    // the module's folder, absolute
	Module   string    // its path
	Version  string    // from git describe, without a leading v; "0.0.0" when there is no git checkout
	Revision string    // full commit hash; empty when there is no git checkout
	Time     time.Time // of the commit, UTC
	Modified bool      // files differ from the commit, or are not known to git
	Digest   string    // hex SHA-256 of all files
}

// abbrevCommit is the length of a commit hash in a version. Git's own default grows with the repository, so that a
// shallow clone and a full one would name the same commit differently.
const abbrevCommit = 12

// ReadSource reads what a release of the module in dir is built from.
//
// Version, Revision, Time and Modified come from git. Without a git checkout, or with one that has no commit,
// the version is "0.0.0" and the time is SOURCE_DATE_EPOCH, or the start of 1980, the oldest that a zip archive holds.
// A checkout without a tag that looks like a version (v1.2.3, 1.2.3) has the version "0.0.0-gCOMMIT".
//
// Digest covers the name, the execute permission and the content of every file in the module's folder, in the folders
// that its go.mod or the go.work in use replace modules with, and in the modules of the go.work. The folders
// named by skip (relative to dir; the dist folder) are left out of the digest and of Modified, as are .git, .hg
// and files whose names begin with .hallmark-.
func ReadSource(ctx context.Context, dir string, skip ...string) (Source, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Source{}, fmt.Errorf("reading the source: %w", err)
	}
	src := Source{Dir: dir}
	roots, module, err := sourceRoots(dir)
	if err != nil {
		return Source{}, fmt.Errorf("reading the source: %w", err)
	}
	src.Module = module
	skipped := make(map[string]bool)
	for _, s := range skip {
		if !filepath.IsAbs(s) {
			s = filepath.Join(dir, s)
		}
		skipped[filepath.Clean(s)] = true
	}

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return src.readGit(ctx, skipped) })
	var digest string
	g.Go(func() (err error) {
		digest, err = digestTrees(ctx, dir, roots, skipped)
		return err
	})
	if err := g.Wait(); err != nil {
		return Source{}, fmt.Errorf("reading the source: %w", err)
	}
	src.Digest = digest
	return src, nil
}

// sourceRoots returns the folders whose files go into the module's programs, except for those that go.sum fixes:
// the module itself, its local replacements, and what the workspace adds.
func sourceRoots(dir string) (roots []string, module string, err error) {
	mod, err := readModFile(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", fmt.Errorf("there is no go.mod in %s; run in the folder of the module", dir)
	}
	if err != nil {
		return nil, "", err
	}
	roots = append([]string{dir}, localReplaces(dir, mod.Replace)...)
	work := workFile(dir)
	if work == "" {
		return roots, mod.Module.Mod.Path, nil
	}
	data, err := os.ReadFile(work)
	if err != nil {
		return nil, "", err
	}
	ws, err := modfile.ParseWork(work, data, nil)
	if err != nil {
		return nil, "", err
	}
	base := filepath.Dir(work)
	roots = append(roots, work)
	if _, err := os.Stat(work + ".sum"); err == nil {
		roots = append(roots, work+".sum")
	}
	roots = append(roots, localReplaces(base, ws.Replace)...)
	for _, use := range ws.Use {
		member := resolve(base, use.Path)
		roots = append(roots, member)
		m, err := readModFile(member)
		if err != nil {
			return nil, "", fmt.Errorf("workspace %s: %w", work, err)
		}
		roots = append(roots, localReplaces(member, m.Replace)...)
	}
	return roots, mod.Module.Mod.Path, nil
}

// readModFile reads the go.mod in dir, which names a module.
func readModFile(dir string) (*modfile.File, error) {
	file := filepath.Join(dir, "go.mod")
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	mod, err := modfile.Parse(file, data, nil)
	if err != nil {
		return nil, err
	}
	if mod.Module == nil {
		return nil, fmt.Errorf("%s names no module", file)
	}
	return mod, nil
}

// localReplaces returns the folders that stand for modules.
func localReplaces(base string, replaces []*modfile.Replace) []string {
	var dirs []string
	for _, r := range replaces {
		if r.New.Version == "" {
			dirs = append(dirs, resolve(base, r.New.Path))
		}
	}
	return dirs
}

func resolve(base, path string) string {
	path = filepath.FromSlash(path)
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(base, path)
}

// workFile returns the go.work that the go command uses in dir, or "": GOWORK names it, or it is in dir or above.
// (GOWORK cannot be set by go env -w.)
func workFile(dir string) string {
	switch w := os.Getenv("GOWORK"); {
	case w == "off":
		return ""
	case w != "":
		return w
	}
	return findUp(dir, "go.work")
}

// findUp returns the path of the named file in dir or in the nearest folder above it, or "".
func findUp(dir, name string) string {
	for {
		file := filepath.Join(dir, name)
		if _, err := os.Lstat(file); err == nil {
			return file
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
}

// readGit fills in what git knows.
func (src *Source) readGit(ctx context.Context, skip map[string]bool) error {
	src.Version = "0.0.0"
	src.Time = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
	if s := os.Getenv("SOURCE_DATE_EPOCH"); s != "" {
		sec, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return fmt.Errorf("SOURCE_DATE_EPOCH %q is no number of seconds", s)
		}
		src.Time = time.Unix(sec, 0).UTC()
	}
	if findUp(src.Dir, ".git") == "" {
		return nil
	}

	var status, commit, describe string
	g, ctx := errgroup.WithContext(ctx)
	run := func(out *string, args ...string) {
		g.Go(func() (err error) {
			*out, err = git(ctx, src.Dir, args...)
			return err
		})
	}
	args := []string{"status", "--porcelain=v2", "--branch", "--no-renames", "--", ":(top)"}
	for s := range skip {
		if rel, err := filepath.Rel(src.Dir, s); err == nil && filepath.IsLocal(rel) {
			args = append(args, ":(exclude,literal)"+filepath.ToSlash(rel))
		}
	}
	run(&status, args...)
	// These two fail, with many words, in a repository without a commit; then status says so.
	g.Go(func() error {
		commit, _ = git(ctx, src.Dir, "log", "-1", "--no-show-signature", "--format=%ct", "HEAD")
		return nil
	})
	g.Go(func() error {
		describe, _ = git(ctx, src.Dir, "describe", "--tags", "--always", "--abbrev="+strconv.Itoa(abbrevCommit),
			"--match", "v[0-9]*", "--match", "[0-9]*", "HEAD")
		return nil
	})
	if err := g.Wait(); err != nil {
		return err
	}

	for line := range strings.Lines(status) {
		line = strings.TrimSuffix(line, "\n")
		switch oid, ok := strings.CutPrefix(line, "# branch.oid "); {
		case ok && oid == "(initial)":
			return nil
		case ok:
			src.Revision = oid
		case line != "" && line[0] != '#':
			src.Modified = true
		}
	}
	sec, err := strconv.ParseInt(strings.TrimSpace(commit), 10, 64)
	if src.Revision == "" || err != nil {
		return fmt.Errorf("git tells no commit in %s; look at what git log says there", src.Dir)
	}
	src.Time = time.Unix(sec, 0).UTC()
	src.Version = describedVersion(strings.TrimSpace(describe), src.Revision)
	if src.Modified {
		src.Version += "-dirty"
	}
	return nil
}

// describedVersion turns the words of git describe into a version: a tag loses its v, a bare commit becomes 0.0.0-g….
func describedVersion(describe, revision string) string {
	v := strings.TrimPrefix(describe, "v")
	if bare := len(describe) >= abbrevCommit && strings.HasPrefix(revision, describe); bare || describe == "" {
		return "0.0.0-g" + revision[:min(abbrevCommit, len(revision))]
	}
	return v
}

// git runs a git command that only reads.
func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := command(ctx, "git", args...)
	cmd.Dir = dir
	cmd.Env = append(childEnv(), "LC_ALL=C", "GIT_OPTIONAL_LOCKS=0", "GIT_PAGER=cat")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := runCommand(ctx, cmd); err != nil {
		if isNotFound(err) {
			return "", &MissingError{Tool: "git", Package: "git"}
		}
		return "", fmt.Errorf("git %s in %s: %w: %s", args[0], dir, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.String(), nil
}

// A sourceFile is a line of the digest.
type sourceFile struct {
	name string // relative to the module, with slashes
	path string
	mode string // file, exec or link
	sum  [sha256.Size]byte
}

// digestTrees returns the hex SHA-256 over the files of the roots, each of which is a folder or a file. The digest does
// not depend on where the module lies, on the order of folders, on times, or on permissions other than to execute.
func digestTrees(ctx context.Context, dir string, roots []string, skip map[string]bool) (string, error) {
	var files []*sourceFile
	for _, root := range withoutNested(roots) {
		found, err := listTree(dir, root, skip)
		if err != nil {
			return "", err
		}
		files = append(files, found...)
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
		return slices.ContainsFunc(roots, func(other string) bool {
			rel, err := filepath.Rel(other, r)
			return other != r && err == nil && filepath.IsLocal(rel)
		})
	})
}

// listTree lists the files that count in a root.
func listTree(dir, root string, skip map[string]bool) ([]*sourceFile, error) {
	var files []*sourceFile
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if skip[path] || name == ".git" || name == ".hg" || strings.HasPrefix(name, ".hallmark-") {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		link := d.Type()&fs.ModeSymlink != 0
		if !d.Type().IsRegular() && !link {
			return nil
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		f := &sourceFile{name: filepath.ToSlash(rel), path: path, mode: "file"}
		if link {
			f.mode = "link"
		}
		files = append(files, f)
		return nil
	})
	return files, err
}

// digest reads the file. A link counts with its text and, when it leads to a file, with the content of that, because
// the go command follows it.
func (f *sourceFile) digest(h hash.Hash, buf []byte) error {
	h.Reset()
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
