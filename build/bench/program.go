package bench

import (
	"cmp"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hallmark-build/hallmark/build"
)

// A Source is a program to build.
type Source struct {
	Name        string
	Description string
	Dir         string // of the module
	Package     string // "./cmd/notes"
	Digest      string // hex SHA-256 of the sources
	Tags        []string
	LDFlags     []string // of every build
	GUI         bool

	real bool // the project's own second program: only what its size allows
	own  bool // written out by us: it may be copied to where a place wants it
	// Its C is compiled without optimization, where no scenario times that: it takes most of the time of a default run
	// otherwise.
	quickC bool
	goSrc  string
	cSrc   string // file to change for CChanged; "" when there is none
	hasC   bool
}

//go:embed testdata/small testdata/sqlite testdata/race testdata/serve
var programs embed.FS

// ownPrograms writes the project's own programs into folders below dir: a small one, and one with a large C file, which
// needs a module from the network, or the module cache.
func ownPrograms(ctx context.Context, dir string) ([]Source, error) {
	var list []Source
	for _, p := range []Source{
		{Name: "small", Description: "90 lines of Go and C that need no package but the runtime"},
		{Name: "sqlite", Description: "database/sql with github.com/mattn/go-sqlite3, a C file of nine megabytes", real: true},
	} {
		p.Dir, p.Package, p.own = filepath.Join(dir, p.Name), ".", true
		if err := writeProgram(p.Name, p.Dir); err != nil {
			return nil, fmt.Errorf("writing the program %s: %w", p.Name, err)
		}
		src, err := build.ReadSource(ctx, p.Dir)
		if err != nil {
			return nil, err
		}
		p.Digest = src.Digest
		list = append(list, p)
	}
	return list, nil
}

// writeProgram writes out an embedded program. Its go.mod is called go.mod.txt here, because a folder with a go.mod is
// not embedded.
func writeProgram(name, dir string) error {
	root := path.Join("testdata", name)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	entries, err := fs.ReadDir(programs, root)
	if err != nil {
		return err
	}
	for _, e := range entries {
		data, err := fs.ReadFile(programs, path.Join(root, e.Name()))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, strings.TrimSuffix(e.Name(), ".txt")), data, 0o666); err != nil {
			return err
		}
	}
	return nil
}

// listed is a package as go list -json tells it.
type listed struct {
	Dir, ImportPath, Name string
	Standard              bool
	DepOnly               bool
	GoFiles, CgoFiles     []string
	CFiles, CXXFiles      []string
	Error                 *struct{ Err string }
}

// inspect finds which files of a program can be changed, and whether it holds C, as a build with C for the platform
// sees it. It fetches modules that are missing.
func (s *Source) inspect(ctx context.Context, p build.Platform, modCache string) error {
	args := []string{"go", "list", "-deps", "-json=Dir,ImportPath,Name,Standard,DepOnly,GoFiles,CgoFiles,CFiles,CXXFiles,Error"}
	if len(s.Tags) > 0 {
		args = append(args, "-tags="+strings.Join(s.Tags, ","))
	}
	c := command{args: append(args, s.Package), dir: s.Dir, env: childEnv(ctx, "PWD="+s.Dir, "GOOS="+p.OS, "GOARCH="+p.Arch, "CGO_ENABLED=1")}
	// Once for the modules that are missing: what go says of downloads stands among the list.
	if _, err := c.run(ctx); err != nil {
		return fmt.Errorf("fetching the modules of %s: %w", s.Name, err)
	}
	_, out, err := c.output(ctx)
	if err != nil {
		return &commandError{name: "go list", output: tail(out), err: err}
	}
	// What is in the module cache does not change, and go refuses to have it changed by an overlay.
	cached := func(dir string) bool {
		rel, err := filepath.Rel(modCache, dir)
		return err == nil && filepath.IsLocal(rel)
	}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var l listed
		if err := d.Decode(&l); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return fmt.Errorf("reading go list: %w", err)
		}
		if l.Standard {
			continue
		}
		if len(l.CgoFiles) > 0 {
			s.hasC = true
		}
		if !l.DepOnly {
			if l.Error != nil {
				return fmt.Errorf("%s: %s", s.Name, l.Error.Err)
			}
			if l.Name != "main" {
				return fmt.Errorf("%s: %s is package %s, no main package", s.Name, s.Package, l.Name)
			}
			if files := slices.Concat(l.GoFiles, l.CgoFiles); len(files) > 0 {
				s.goSrc = filepath.Join(l.Dir, cmp.Or(mainFile(l.GoFiles), files[0]))
			}
		}
		for _, f := range slices.Concat(l.CFiles, l.CXXFiles) {
			file := filepath.Join(l.Dir, f)
			if !cached(l.Dir) {
				s.cSrc = cmp.Or(s.cSrc, file)
			}
		}
	}
	return nil
}

// mainFile returns main.go if it is among the files.
func mainFile(files []string) string {
	if slices.Contains(files, "main.go") {
		return "main.go"
	}
	return ""
}

// change writes a changed copy of a source file and an overlay that puts it in the file's place, so that the user's own
// files stay as they are. No two numbers give the same object file.
func change(file string, n uint64, dir string) (overlay string, err error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	addition := fmt.Sprintf("\nint hallmark_bench_%d(void) { return %d; }\n", n, n&0x7fffffff)
	if strings.HasSuffix(file, ".go") {
		addition = fmt.Sprintf("\nvar hallmarkBench%d = %d\n", n, n&0x7fffffff)
	}
	changed := filepath.Join(dir, filepath.Base(file))
	if err := os.WriteFile(changed, append(data, addition...), 0o666); err != nil {
		return "", err
	}
	list, err := json.Marshal(struct{ Replace map[string]string }{map[string]string{file: changed}})
	if err != nil {
		return "", err
	}
	overlay = filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, list, 0o666)
}
