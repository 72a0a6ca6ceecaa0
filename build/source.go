package build

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/modfile"
	modpath "golang.org/x/mod/module"
	"golang.org/x/sync/errgroup"

	"github.com/hallmark-build/hallmark/build/environ"
)

// Source is what a release is built from; [ReadSource] reads it once a run.
type Source struct {
	Dir      string    // the module's folder, absolute
	Module   string    // its path
	Version  string    // from git describe, without a leading v; "0.0.0" when there is no git checkout
	Revision string    // full commit hash; empty when there is no git checkout
	Time     time.Time // of the commit, UTC
	Modified bool      // files differ from the commit, or are not known to git
	Digest   string    // hex SHA-256 of all files that count, their names and their modes

	listing   string // of which Digest is the digest: a line for each file
	unstamped bool   // the go command would stamp the revision of another repository
	config    string // the SourceConfig, so that sources can be compared
}

// A SourceConfig says what belongs to a source, beyond what the module's own files say.
type SourceConfig struct {
	Skip     []string // files and folders to leave out; slash paths relative to the module
	Packages []string // packages that are built; they count even if git ignores their folders
	Ignored  []string // folders that are taken as if git ignored them; slash paths relative to the module
}

// A ChangedError is a source that is no longer what [ReadSource] read.
type ChangedError struct {
	Dir  string // the module's folder
	What string // what changed: "main.go changed", "the commit changed"
}

func (e *ChangedError) Error() string {
	return fmt.Sprintf("the sources changed while they were built: %s (in %s); run again, and let git ignore a file that does not belong to them", e.What, e.Dir)
}

// Changed reads the source again, leaving out what [ReadSource] left out, and returns a *[ChangedError] if it is another
// one. A program that was compiled in between is then of neither.
func (src Source) Changed(ctx context.Context) error {
	var c SourceConfig
	if err := json.Unmarshal([]byte(src.config), &c); err != nil {
		return err
	}
	now, err := c.Read(ctx, src.Dir)
	switch {
	case err != nil:
		return err
	case now.Digest != src.Digest:
		return &ChangedError{Dir: src.Dir, What: compareListings(src.listing, now.listing)}
	case now.Revision != src.Revision:
		return &ChangedError{Dir: src.Dir, What: "the commit changed"}
	}
	return nil
}

// abbrevCommit is the length of a commit hash in a version. Git's own default grows with the repository, so that a
// shallow clone and a full one would name the same commit differently.
const abbrevCommit = 12

// ReadSource reads what a release of the module in dir is built from.
//
// Version, Revision, Time and Modified come from git. Without a git checkout, or with one that has no commit,
// the version is "0.0.0" and the time is SOURCE_DATE_EPOCH, or the start of 1980, the oldest that a zip archive holds.
// Of several tags on a commit the highest version counts, or in a CI job the job's own. A checkout without a tag that
// is a version (v1.2.3, 1.2.3) has the version "0.0.0-gCOMMIT". For a module in a folder sub of the checkout the tags are sub/v1.2.3, as for the go command (go.dev/ref/mod#vcs-version).
//
// Digest covers the name, the execute permission and the content of every file in the module's folder, in the folders
// that its go.mod or the go.work in use replace modules with, in the modules of the go.work, and in folders elsewhere
// to which symbolic links in any of these lead. What skip lists is left out of the digest and of Modified, as are .git,
// .hg, the caches of the go command and files whose names begin with .hallmark-. An entry of skip is a slash path
// relative to dir. A folder is left out with all that is in it, a file alone: of a dist folder, list what hallmark wrote
// there, because the rest of it may be a source as good as any (//go:embed dist/index.html).
//
// What git ignores counts only if a build may read it: see sourceFiles.needed. A file that git neither tracks nor ignores
// counts, because the go command then stamps the program as modified. Without a git checkout every file counts.
//
// Folders and files that may not be read cannot go into a program either; the digest holds their names.
func ReadSource(ctx context.Context, dir string, skip ...string) (Source, error) {
	return SourceConfig{Skip: skip}.Read(ctx, dir)
}

// Read does what [ReadSource] does.
func (c SourceConfig) Read(ctx context.Context, dir string) (Source, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Source{}, fmt.Errorf("reading the source: %w", err)
	}
	// The repository and the go.work are above where the folder is, not above a link to it.
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return Source{}, fmt.Errorf("reading the source: %w", err)
	}
	config, err := json.Marshal(c)
	if err != nil {
		return Source{}, fmt.Errorf("reading the source: %w", err)
	}
	src := Source{Dir: dir, config: string(config)}
	roots, err := findRoots(dir)
	if err != nil {
		return Source{}, fmt.Errorf("reading the source: %w", err)
	}
	src.Module = roots.modules[0].path
	skipped := make(map[string]bool)
	for _, s := range c.Skip {
		s = resolve(dir, s)
		skipped[s] = true
		// Trees are walked by where they are.
		skipped[filepath.Join(realPath(filepath.Dir(s)), filepath.Base(s))] = true
	}

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return src.readGit(ctx, skipped) })
	var listing string
	g.Go(func() (err error) {
		listing, err = listSource(ctx, dir, roots, skipped, c)
		return err
	})
	if err := g.Wait(); err != nil {
		return Source{}, fmt.Errorf("reading the source: %w", err)
	}
	sum := sha256.Sum256([]byte(listing))
	src.listing, src.Digest = listing, hex.EncodeToString(sum[:])
	return src, nil
}

// sourceRoots is where the files are that go into the module's programs, except for those that go.sum fixes.
type sourceRoots struct {
	paths   []string      // folders and files
	modules []localModule // the module itself is the first
}

// A localModule is a module whose files are in a folder that is not the module cache.
type localModule struct{ path, dir string }

func (r *sourceRoots) add(path, dir string) {
	r.paths = append(r.paths, dir)
	r.modules = append(r.modules, localModule{path, realPath(dir)})
}

// addReplaces adds the folders that stand for modules.
func (r *sourceRoots) addReplaces(base string, replaces []*modfile.Replace) {
	for _, rep := range replaces {
		if rep.New.Version == "" {
			r.add(rep.Old.Path, resolve(base, rep.New.Path))
		}
	}
}

// findRoots returns the module in dir, its local replacements, and what the workspace adds.
func findRoots(dir string) (sourceRoots, error) {
	var roots sourceRoots
	mod, err := readModFile(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return roots, fmt.Errorf("there is no go.mod in %s; run in the folder of the module", dir)
	}
	if err != nil {
		return roots, err
	}
	roots.add(mod.Module.Mod.Path, dir)
	roots.addReplaces(dir, mod.Replace)
	work := workFile(dir)
	if work == "" {
		return roots, nil
	}
	data, err := os.ReadFile(work)
	if err != nil {
		return roots, err
	}
	ws, err := modfile.ParseWork(work, data, nil)
	if err != nil {
		return roots, err
	}
	base := filepath.Dir(work)
	roots.paths = append(roots.paths, work)
	if _, err := os.Stat(work + ".sum"); err == nil {
		roots.paths = append(roots.paths, work+".sum")
	}
	roots.addReplaces(base, ws.Replace)
	for _, use := range ws.Use {
		member := resolve(base, use.Path)
		m, err := readModFile(member)
		if err != nil {
			return roots, fmt.Errorf("workspace %s: %w", work, err)
		}
		roots.add(m.Module.Mod.Path, member)
		roots.addReplaces(member, m.Replace)
	}
	return roots, nil
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
	repository := findUp(src.Dir, ".git")
	if repository == "" {
		return nil
	}
	// In a submodule or a linked worktree .git is a file. The go command takes no notice of it (golang.org/issue/58218),
	// and stamps the revision of a repository further up, or none.
	if info, err := os.Stat(repository); err == nil {
		src.unstamped = !info.IsDir()
	}
	prefix, patterns := tagPatterns(filepath.Dir(repository), src.Dir, src.Module)

	var status, commit, version string
	var versionErr error
	g, ctx := errgroup.WithContext(ctx)
	run := func(out *string, args ...string) {
		g.Go(func() (err error) {
			*out, err = git(ctx, src.Dir, args...)
			return err
		})
	}
	args := []string{"status", "--porcelain=v2", "--branch", "--no-renames", "--untracked-files=normal", "--", ":(top)"}
	for s := range skip {
		if rel, err := filepath.Rel(src.Dir, s); err == nil && filepath.IsLocal(rel) {
			args = append(args, ":(exclude,literal)"+filepath.ToSlash(rel))
		}
	}
	run(&status, args...)
	// These two fail, with many words, in a repository without a commit; then status says so first.
	g.Go(func() error {
		commit, _ = git(ctx, src.Dir, "log", "-1", "--no-show-signature", "--format=%ct", "HEAD")
		return nil
	})
	g.Go(func() error {
		version, versionErr = describe(ctx, src.Dir, prefix, patterns, jobTag(os.Getenv))
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
	if versionErr != nil {
		return versionErr
	}
	src.Time = time.Unix(sec, 0).UTC()
	src.Version = version
	if version == "" {
		src.Version = "0.0.0-g" + src.Revision[:min(abbrevCommit, len(src.Revision))]
	}
	if src.Modified {
		src.Version += "-dirty"
	}
	return nil
}

// tagPatterns returns what the tags begin with that are versions of the module in dir, and the patterns of git describe
// that find them. A last folder v2 of a module …/v2 is no part of it.
func tagPatterns(repository, dir, module string) (prefix string, patterns []string) {
	rel, err := filepath.Rel(repository, dir)
	if err != nil || rel == "." {
		return "", []string{"v[0-9]*", "[0-9]*"}
	}
	prefix, version := filepath.ToSlash(rel)+"/", "v[0-9]*"
	if _, major, ok := modpath.SplitPathVersion(module); ok && strings.HasPrefix(major, "/") && strings.HasSuffix("/"+prefix, major+"/") {
		prefix, version = strings.TrimSuffix(prefix, major[1:]+"/"), major[1:]+".[0-9]*"
	}
	return prefix, []string{globEscape(prefix) + version}
}

// git runs a git command that only reads.
func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := command(ctx, "git", args...)
	cmd.Dir = dir
	cmd.Env = environ.Tools(ctx, "LC_ALL=C", "GIT_OPTIONAL_LOCKS=0", "GIT_PAGER=cat")
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
