package build

import (
	"bytes"
	"context"
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

	skip string // as ReadSource was given it, joined by NUL
}

// A ChangedError is a source that is no longer what [ReadSource] read.
type ChangedError struct {
	Dir  string // the module's folder
	What string // what changed: "files", "commit"
}

func (e *ChangedError) Error() string {
	return fmt.Sprintf("the sources changed while they were built (%s in %s): run again", e.What, e.Dir)
}

// Changed reads the source again, leaving out what [ReadSource] left out, and returns a *[ChangedError] if it is another
// one. A program that was compiled in between is then of neither.
func (src Source) Changed(ctx context.Context) error {
	var skip []string
	if src.skip != "" {
		skip = strings.Split(src.skip, "\x00")
	}
	now, err := ReadSource(ctx, src.Dir, skip...)
	switch {
	case err != nil:
		return err
	case now.Digest != src.Digest:
		return &ChangedError{Dir: src.Dir, What: "files"}
	case now.Revision != src.Revision:
		return &ChangedError{Dir: src.Dir, What: "the commit"}
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
// A checkout without a tag that looks like a version (v1.2.3, 1.2.3) has the version "0.0.0-gCOMMIT". For a module in a
// folder sub of the checkout the tags are sub/v1.2.3, as for the go command (go.dev/ref/mod#vcs-version).
//
// Digest covers the name, the execute permission and the content of every file in the module's folder, in the folders
// that its go.mod or the go.work in use replace modules with, in the modules of the go.work, and in folders elsewhere
// to which symbolic links in any of these lead. What skip lists is left out of the digest and of Modified, as are .git,
// .hg and files whose names begin with .hallmark-. An entry of skip is a slash path relative to dir. A folder is left
// out with all that is in it, a file alone: of a dist folder, list what hallmark wrote there, because the rest of it may be
// a source as good as any (//go:embed dist/index.html).
//
// Folders and files that may not be read cannot go into a program either; the digest holds their names.
func ReadSource(ctx context.Context, dir string, skip ...string) (Source, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Source{}, fmt.Errorf("reading the source: %w", err)
	}
	// The repository and the go.work are above where the folder is, not above a link to it.
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return Source{}, fmt.Errorf("reading the source: %w", err)
	}
	src := Source{Dir: dir, skip: strings.Join(skip, "\x00")}
	roots, module, err := sourceRoots(dir)
	if err != nil {
		return Source{}, fmt.Errorf("reading the source: %w", err)
	}
	src.Module = module
	skipped := make(map[string]bool)
	for _, s := range skip {
		s = resolve(dir, s)
		skipped[s] = true
		// Trees are walked by where they are.
		skipped[filepath.Join(realPath(filepath.Dir(s)), filepath.Base(s))] = true
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
	repository := findUp(src.Dir, ".git")
	if repository == "" {
		return nil
	}
	prefix, patterns := tagPatterns(filepath.Dir(repository), src.Dir, src.Module)

	var status, commit, describe string
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
	// These two fail, with many words, in a repository without a commit; then status says so.
	g.Go(func() error {
		commit, _ = git(ctx, src.Dir, "log", "-1", "--no-show-signature", "--format=%ct", "HEAD")
		return nil
	})
	g.Go(func() error {
		args := []string{"describe", "--tags", "--always", "--abbrev=" + strconv.Itoa(abbrevCommit)}
		for _, p := range patterns {
			args = append(args, "--match", p)
		}
		describe, _ = git(ctx, src.Dir, append(args, "HEAD")...)
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
	src.Version = describedVersion(strings.TrimPrefix(strings.TrimSpace(describe), prefix), src.Revision)
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
	return prefix, []string{strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(prefix) + version}
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
