package release

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hallmark-build/hallmark/build"
	"github.com/hallmark-build/hallmark/build/environ"
)

// openSource reads the state of the sources. In the dist folder only what
// hallmark made does not belong to them.
func openSource(ctx context.Context, c *Config, o Options) (build.Source, error) {
	if err := noSourcesIn(ctx, c, o); err != nil {
		return build.Source{}, err
	}
	made, err := madeIn(c, o)
	if err != nil {
		return build.Source{}, err
	}
	// Git ignores the dist folder from the first run on. Before that, and without git, what is in it counts no more.
	read := build.SourceConfig{Skip: made, Ignored: []string{filepath.ToSlash(c.Dist)}}
	for _, program := range c.Build.Programs {
		read.Packages = append(read.Packages, cmp.Or(program.Main, "."))
	}
	src, err := read.Read(ctx, o.dir())
	if err != nil {
		return src, &UsageError{err} // nothing was begun
	}
	if c.Version != "" {
		src.Version = c.Version
	}
	return src, nil
}

// madeIn lists what hallmark made in the dist folder, with slashes and relative
// to the module: by the manifest there, and by the one of a run that was killed
// while it published.
func madeIn(c *Config, o Options) ([]string, error) {
	dir := path.Clean(filepath.ToSlash(c.Dist))
	made := []string{path.Join(dir, stageDir), path.Join(dir, ignoreFile), path.Join(dir, ManifestFile)}
	for _, name := range pageNames() {
		made = append(made, path.Join(dir, name))
	}
	for _, folder := range []string{dir, path.Join(dir, stageDir)} {
		m, err := ReadManifest(o.path(filepath.FromSlash(folder)))
		if err != nil {
			if folder == dir && !errors.Is(err, fs.ErrNotExist) && !isNotDir(err) {
				return nil, err
			}
			continue
		}
		for _, e := range m.Artifacts {
			made = append(made, path.Join(dir, e.Path))
		}
	}
	slices.Sort(made)
	return slices.Compact(made), nil
}

// noSourcesIn refuses a dist folder that holds sources: they would be hidden
// from git by the .gitignore that is written there, and from those who look for
// sources. What was built and is committed is no source.
func noSourcesIn(ctx context.Context, c *Config, o Options) error {
	made, err := madeIn(c, o)
	if err != nil {
		return err
	}
	refuse := func(file, what string) error {
		return usage("dist: %s holds sources: %s %s: name a folder for the results alone with `dist:` in %s", c.Dist, file, what, ConfigFile)
	}
	dir := o.path(c.Dist)
	stage := filepath.Join(dir, stageDir)
	err = filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return nil // openWorkspace says what is wrong with the folder
		case file == stage:
			return fs.SkipDir
		case !d.IsDir() && (strings.HasSuffix(file, ".go") || d.Name() == "go.mod"):
			return refuse(file, "is a Go source")
		}
		return nil
	})
	if err != nil {
		return err
	}
	if _, err := os.Stat(dir); err != nil {
		return nil
	}
	git := exec.CommandContext(ctx, "git", "--literal-pathspecs", "ls-files", "-z", "--", filepath.ToSlash(c.Dist))
	git.Dir, git.Env = o.dir(), environ.Tools(ctx)
	out, err := git.Output()
	if err != nil {
		return ctx.Err() // no git, or no checkout: nothing is tracked
	}
	for file := range strings.SplitSeq(string(out), "\x00") {
		if file != "" && !slices.Contains(made, file) && path.Base(file) != ".gitkeep" && path.Base(file) != ignoreFile {
			return refuse(o.path(filepath.FromSlash(file)), "is tracked by git")
		}
	}
	return nil
}
