package build

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// ignoringModule returns a module in a git checkout in which git ignores much of what a build reads, and more that it
// does not.
func ignoringModule(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"go.mod":      "module example.com/app\n\ngo 1.22\n",
		".gitignore":  "*.log\n*_gen.go\n/out/\n/web/dist/\n/internal/pb/\n/tool/\n/.cache/\n*.syso\nword.txt\n",
		"main.go":     "package main\n\nimport (\n\t\"embed\"\n\n\t_ \"example.com/app/internal/pb\"\n)\n\n//go:embed all:web/dist \"word.txt\"\nvar Web embed.FS\n\nfunc main() {}\n",
		"win_gen.go":  "//go:build windows\n\npackage main\n\nimport _ \"example.com/app/tool/winonly\"\n",
		"tag_gen.go":  "//go:build special\n\npackage main\n",
		"app.syso":    "", // empty objects do not link: removed by the tests that build
		"word.txt":    "word",
		"main_gen.go": "package main\n",
		// Ignored, and read.
		"web/dist/index.html":     "page",
		"web/dist/.hidden":        "hidden",
		"internal/pb/pb.go":       "package pb\n\nimport _ \"example.com/app/tool/deep\"\n",
		"tool/deep/deep.go":       "package deep\n",
		"tool/winonly/winonly.go": "package winonly\n",
		// Ignored, and not read.
		"release.log":           "log",
		"out/other.go":          "package other\n",
		"out/notes.txt":         "notes",
		"tool/readme.md":        "text",
		"tool/unused/unused.go": "package unused\n",
		"internal/pb/x_test.go": "package pb\n",
		".cache/x":              "cache",
	} {
		write(t, filepath.Join(dir, filepath.FromSlash(name)), content)
	}
	gitRun(t, dir, "init", "-q")
	gitRun(t, dir, "add", ".")
	gitRun(t, dir, "commit", "-q", "-m", "first")
	return dir
}

// TestIgnoredFiles checks that of the files that git ignores those count that a build may read, and no others, and that
// the error names the file.
func TestIgnoredFiles(t *testing.T) {
	t.Parallel()
	dir := ignoringModule(t)
	before := readSource(t, dir)
	if before.Modified {
		t.Fatalf("the source is modified: %+v", before)
	}
	for name, counts := range map[string]bool{
		"main.go": true, "win_gen.go": true, "tag_gen.go": true, "main_gen.go": true, "new_gen.go": true, "app.syso": true, "word.txt": true,
		"web/dist/index.html": true, "web/dist/.hidden": true, "web/dist/new/page.html": true,
		"internal/pb/pb.go": true, "internal/pb/new.s": true, "tool/deep/deep.go": true, "tool/winonly/winonly.go": true, "untracked.txt": true,
		"release.log": false, "out/other.go": false, "out/notes.txt": false, "out/new.go": false, "tool/readme.md": false, "tool/unused/unused.go": false,
		"internal/pb/x_test.go": false, "internal/pb/data.bin": false, "_x_gen.go": false, ".cache/x": false, ".cache/y/z.h": false,
	} {
		file := filepath.Join(dir, filepath.FromSlash(name))
		old, oldErr := os.ReadFile(file)
		write(t, file, string(old)+"// changed\n")
		err := before.Changed(t.Context())
		var changed *ChangedError
		switch {
		case !counts && err != nil:
			t.Errorf("%s: %v", name, err)
		case counts && !errors.As(err, &changed):
			t.Errorf("%s changed: %v", name, err)
		case counts && !strings.Contains(err.Error(), name+" changed") && !strings.Contains(err.Error(), name+" is new"):
			t.Errorf("the error does not name %s: %v", name, err)
		}
		if oldErr == nil {
			write(t, file, string(old))
		} else if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	if err := before.Changed(t.Context()); err != nil {
		t.Errorf("with all files as before: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "internal", "pb", "pb.go")); err != nil {
		t.Fatal(err)
	}
	if err := before.Changed(t.Context()); err == nil || !strings.Contains(err.Error(), "internal/pb/pb.go is gone") {
		t.Errorf("a file that was removed: %v", err)
	}
}

// TestIgnoredFilesAsGoList checks that no file is missing that go list says a build reads, for several platforms and tags.
func TestIgnoredFilesAsGoList(t *testing.T) {
	t.Parallel()
	dir := ignoringModule(t)
	src := readSource(t, dir)
	found := 0
	for _, platform := range []string{"linux/amd64", "windows/amd64", "linux/arm64"} {
		for _, tags := range []string{"", "special"} {
			goos, arch, _ := strings.Cut(platform, "/")
			cmd := exec.Command("go", "list", "-deps", "-json", "-tags="+tags, ".")
			cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOOS="+goos, "GOARCH="+arch, "CGO_ENABLED=0", "GOFLAGS=", "PWD="+dir)
			out, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); {
				var p struct {
					Dir                                                              string
					Standard                                                         bool
					GoFiles, CgoFiles, CFiles, HFiles, SFiles, SysoFiles, EmbedFiles []string
				}
				if err := d.Decode(&p); err != nil {
					t.Fatal(err)
				}
				if p.Standard {
					continue
				}
				for _, name := range slices.Concat(p.GoFiles, p.CgoFiles, p.CFiles, p.HFiles, p.SFiles, p.SysoFiles, p.EmbedFiles) {
					rel, err := filepath.Rel(dir, filepath.Join(p.Dir, name))
					if err != nil {
						t.Fatal(err)
					}
					found++
					if !strings.Contains(src.listing, ` "`+filepath.ToSlash(rel)+"\"\n") {
						t.Errorf("%s %q: %s is read by a build and does not count", platform, tags, rel)
					}
				}
			}
		}
	}
	if found < 30 {
		t.Errorf("go list names %d files", found)
	}
}

// TestHiddenFolder checks a folder that is taken as if git ignored it, without git.
func TestHiddenFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "go.mod"), "module example.com/app\n\ngo 1.22\n")
	write(t, filepath.Join(dir, "main.go"), "package main\n\nimport _ \"embed\"\n\n//go:embed dist/page.html\nvar page string\n\nfunc main() {}\n")
	write(t, filepath.Join(dir, "dist", "page.html"), "page")
	before, err := SourceConfig{Ignored: []string{"dist"}}.Read(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "dist", "other.html"), "other")
	if err := before.Changed(t.Context()); err != nil {
		t.Error(err)
	}
	write(t, filepath.Join(dir, "dist", "page.html"), "changed")
	if err := before.Changed(t.Context()); err == nil || !strings.Contains(err.Error(), "dist/page.html changed") {
		t.Errorf("an embedded file changed: %v", err)
	}
}

// TestIgnoredForC checks that with cgo every ignored file counts that a C compiler may read, and without it none
// outside the packages.
func TestIgnoredForC(t *testing.T) {
	t.Parallel()
	for _, cgo := range []bool{true, false} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "go.mod"), "module example.com/app\n\ngo 1.22\n")
		write(t, filepath.Join(dir, ".gitignore"), "/third_party/\n")
		imports := "import \"C\"\n"
		if !cgo {
			imports = ""
		}
		write(t, filepath.Join(dir, "main.go"), "package main\n\n"+imports+"\nfunc main() {}\n")
		write(t, filepath.Join(dir, "third_party", "lib", "x.h"), "int x;\n")
		write(t, filepath.Join(dir, "third_party", "lib", "x.md"), "x\n")
		gitRun(t, dir, "init", "-q")
		gitRun(t, dir, "add", ".")
		gitRun(t, dir, "commit", "-q", "-m", "first")
		before := readSource(t, dir)
		write(t, filepath.Join(dir, "third_party", "lib", "x.h"), "long x;\n")
		if changed := before.Changed(t.Context()) != nil; changed != cgo {
			t.Errorf("cgo %t: a change of an ignored header counts: %t", cgo, changed)
		}
		before = readSource(t, dir)
		write(t, filepath.Join(dir, "third_party", "lib", "x.md"), "y\n")
		if err := before.Changed(t.Context()); err != nil {
			t.Errorf("cgo %t: %v", cgo, err)
		}
	}
}

// TestIgnoredElsewhere checks a module that is ignored as a whole, one that a go.mod replaces with an ignored folder, an
// ignored go.work, and an ignored main package.
func TestIgnoredElsewhere(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write(t, filepath.Join(root, ".gitignore"), "/ignored/\n/app/vendored/\n/app/tools/\n/app/go.work\n")
	app := filepath.Join(root, "app")
	write(t, filepath.Join(app, "go.mod"), "module example.com/app\n\ngo 1.22\n\nreplace example.com/lib => ./vendored/lib\n")
	write(t, filepath.Join(app, "go.work"), "go 1.22\n\nuse .\n")
	write(t, filepath.Join(app, "main.go"), "package main\n\nimport _ \"example.com/lib/sub\"\n\nfunc main() {}\n")
	lib := filepath.Join(app, "vendored", "lib")
	write(t, filepath.Join(lib, "go.mod"), "module example.com/lib\n\ngo 1.22\n")
	write(t, filepath.Join(lib, "sub", "sub.go"), "package sub\n")
	tool := filepath.Join(app, "tools", "gen")
	write(t, filepath.Join(tool, "main.go"), "package main\n\nfunc main() {}\n")
	ignored := filepath.Join(root, "ignored")
	write(t, filepath.Join(ignored, "go.mod"), "module example.com/ignored\n\ngo 1.22\n")
	write(t, filepath.Join(ignored, "main.go"), "package main\n\nfunc main() {}\n")
	gitRun(t, root, "init", "-q")
	gitRun(t, root, "add", ".")
	gitRun(t, root, "commit", "-q", "-m", "first")
	for _, c := range []struct {
		dir, file string
		packages  []string
		counts    bool
	}{
		{app, filepath.Join(lib, "sub", "sub.go"), nil, true},
		{app, filepath.Join(lib, "go.mod"), nil, true},
		{app, filepath.Join(app, "go.work"), nil, true},
		{app, filepath.Join(tool, "main.go"), nil, false},
		{app, filepath.Join(tool, "main.go"), []string{"./tools/gen"}, true},
		{app, filepath.Join(tool, "main.go"), []string{"tools/gen"}, true},
		{app, filepath.Join(tool, "main.go"), []string{"example.com/app/tools/gen"}, true},
		{ignored, filepath.Join(ignored, "main.go"), nil, true},
	} {
		before, err := SourceConfig{Packages: c.packages}.Read(t.Context(), c.dir)
		if err != nil {
			t.Fatal(err)
		}
		old, err := os.ReadFile(c.file)
		if err != nil {
			t.Fatal(err)
		}
		write(t, c.file, string(old)+"// changed\n")
		if err := before.Changed(t.Context()); (err != nil) != c.counts {
			t.Errorf("%s built from %s %q: %v", c.file, c.dir, c.packages, err)
		}
		write(t, c.file, string(old))
	}
}

// TestCachesInside checks that what the go command keeps in the checkout does not count, with git and without, wherever
// the environment has it put that.
func TestCachesInside(t *testing.T) {
	for _, c := range []struct{ variable, value, file string }{
		{"GOCACHE", ".go/cache", ".go/cache/00/00a1-d"},
		{"GOMODCACHE", "mod", "mod/example.com/lib@v1.0.0/lib.go"},
		{"GOPATH", ".gopath", ".gopath/pkg/mod/example.com/lib@v1.0.0/lib.h"},
		{"HOME", "home", "home/go/pkg/mod/cache/download/x"},
		{"XDG_CACHE_HOME", ".cache", ".cache/go-build/00/00a1-a"},
	} {
		for _, checkout := range []bool{true, false} {
			t.Run(c.variable, func(t *testing.T) {
				dir := copyModule(t, "cgo")
				if checkout {
					write(t, filepath.Join(dir, ".gitignore"), "/"+c.value+"/\n")
					gitRun(t, dir, "init", "-q")
					gitRun(t, dir, "add", ".")
					gitRun(t, dir, "commit", "-q", "-m", "first")
				}
				if c.variable == "HOME" {
					t.Setenv("GOPATH", "")
					t.Setenv("XDG_CACHE_HOME", "")
				}
				t.Setenv(c.variable, filepath.Join(dir, filepath.FromSlash(c.value)))
				before := readSource(t, dir)
				write(t, filepath.Join(dir, filepath.FromSlash(c.file)), "x")
				if err := before.Changed(t.Context()); err != nil {
					t.Errorf("git %t: %v", checkout, err)
				}
				// The twin: the same file when it is in no cache.
				t.Setenv(c.variable, t.TempDir())
				if err := before.Changed(t.Context()); !checkout && err == nil {
					t.Error("a file that is in no cache does not count")
				}
			})
		}
	}
}

// TestNestedCheckouts builds in a submodule and in a worktree inside its checkout: there .git is a file, which the go
// command does not see, so that it would stamp the revision of the outer repository.
func TestNestedCheckouts(t *testing.T) {
	t.Parallel()
	lib := copyModule(t, "hello")
	gitRun(t, lib, "init", "-q")
	gitRun(t, lib, "add", ".")
	gitRun(t, lib, "commit", "-q", "-m", "inner")
	gitRun(t, lib, "tag", "v1.2.3")
	outer := copyModule(t, "hello")
	gitRun(t, outer, "init", "-q")
	gitRun(t, outer, "add", ".")
	gitRun(t, outer, "commit", "-q", "-m", "outer")
	gitRun(t, outer, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", lib, "sub")
	gitRun(t, outer, "commit", "-q", "-m", "with a submodule")
	gitRun(t, outer, "worktree", "add", "-q", ".worktrees/feature", "HEAD~1")
	write(t, filepath.Join(outer, ".gitignore"), "/.worktrees/\n")
	gitRun(t, outer, "add", ".")
	gitRun(t, outer, "commit", "-q", "-m", "ignore")

	for _, c := range []struct{ dir, version string }{{"sub", "1.2.3"}, {".worktrees/feature", ""}, {".", ""}} {
		dir := filepath.Join(outer, filepath.FromSlash(c.dir))
		head := gitRun(t, dir, "rev-parse", "HEAD")
		b := newBuilder(t, dir)
		if b.src.Revision != head || b.src.Modified || c.version != "" && b.src.Version != c.version {
			t.Errorf("%s: the source is %s %s modified %t, want %s %s", c.dir, b.src.Version, b.src.Revision, b.src.Modified, c.version, head)
		}
		bin, err := b.Compile(t.Context(), target(t, "hello", "linux/amd64"), filepath.Join(t.TempDir(), "hello"))
		if err != nil {
			t.Errorf("%s: %v", c.dir, err)
			continue
		}
		info, err := readBack(bin.Path, bin.Target)
		if err != nil {
			t.Fatal(err)
		}
		want := ""
		if c.dir == "." {
			want = head
		}
		if got := buildSettings(info)["vcs.revision"]; got != want {
			t.Errorf("%s: vcs.revision is %q, want %q", c.dir, got, want)
		}
		if err := b.src.Changed(t.Context()); err != nil {
			t.Errorf("%s: %v", c.dir, err)
		}
	}
	// The damaged twin: a file of the submodule changes, and the outer repository's source with it.
	b := newBuilder(t, outer)
	write(t, filepath.Join(outer, "sub", "lib", "lib.go"), "package lib // changed\n")
	if err := b.src.Changed(t.Context()); err == nil || !strings.Contains(err.Error(), "sub/lib/lib.go changed") {
		t.Errorf("a change in the submodule: %v", err)
	}
}
