// Package targets_test holds the tests of the repository as a whole: which
// package may import which, and what the CI files may do.
package targets_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// pkg is what go list tells of a package.
type pkg struct {
	ImportPath   string
	Dir          string
	GoFiles      []string
	Imports      []string
	TestImports  []string
	XTestImports []string
	Module       *struct{ Path string }
}

// golist runs go list -json in the root of the module.
func golist(t *testing.T, args ...string) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-json=ImportPath,Dir,GoFiles,Imports,TestImports,XTestImports,Module"}, args...)...)
	cmd.Dir = root(t)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var found []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return found
		} else if err != nil {
			t.Fatal(err)
		}
		found = append(found, p)
	}
}

// root is the folder of the module.
func root(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(strings.TrimSpace(string(out))))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// allowed says which packages of the module a package may import, both without
// the module's path. A package that is not listed may import nothing of ours:
// a new package is a new line here.
func allowed() map[string][]string {
	return map[string][]string{
		"build":                   {"build/environ"},
		"build/host":              {"build/environ"},
		"build/environ":           {},
		"build/quote":             {},
		"build/bench":             {"build", "build/environ", "build/host", "build/quote"},
		"build/dist":              {"build", "build/host"},
		"signing/cms":             {},
		"signing/key":             {},
		"signing/compat":          {},
		"signing/compat/guest":    {},
		"signing/compat/debugged": {},
		"signing/compat/ask":      {"signing/compat"},
		"signing/sip":             {},
		"signing/mutation":        {},
		"signing":                 {"signing/key", "signing/cms", "signing/sip"},
		"signing/tsa":             {"signing/key", "signing/cms"},
		"targets/release":         {"build", "build/environ", "build/host", "build/quote", "build/bench", "build/dist", "signing", "signing/cms", "signing/key", "signing/tsa", "signing/compat", "targets/page"},
		// Where the trees meet a second time.
		"targets/boundaries":    {"build", "build/environ", "build/host", "build/quote", "build/dist", "signing", "signing/cms", "signing/key", "signing/tsa", "signing/compat", "targets/release", "targets/page"},
		"targets/page":          {"build/quote", "signing/compat"},
		"targets/page/pagetest": {},
		"targets":               {"targets/release", "targets/boundaries", "build/host", "build/quote"},
		"":                      {"targets"}, // the magefile
	}
}

// arrows returns the imports that the design does not have. Tests may look at
// more than the package they test, but never across from build to signing or
// back, and those of compat at nothing of ours: its judges are strangers.
func arrows(module string, pkgs []pkg) []string {
	var found []string
	ours := func(path string) (string, bool) {
		if path == module {
			return "", true
		}
		return strings.CutPrefix(path, module+"/")
	}
	tree := func(rel string) string { first, _, _ := strings.Cut(rel, "/"); return first }
	across := func(from, to string) bool {
		return tree(from) == "build" && tree(to) == "signing" || tree(from) == "signing" && tree(to) == "build"
	}
	for _, p := range pkgs {
		from, ok := ours(p.ImportPath)
		if !ok {
			continue
		}
		for _, path := range p.Imports {
			to, ok := ours(path)
			if !ok {
				continue
			}
			if across(from, to) {
				found = append(found, fmt.Sprintf("%s imports %s: the trees meet in targets/release and targets/boundaries only", from, to))
			}
			if !slices.Contains(allowed()[from], to) {
				found = append(found, fmt.Sprintf("%s may not import %s", from, to))
			}
		}
		for _, path := range slices.Concat(p.TestImports, p.XTestImports) {
			to, ok := ours(path)
			if !ok || to == from {
				continue
			}
			if across(from, to) {
				found = append(found, fmt.Sprintf("a test of %s imports %s: the trees meet in targets/release and targets/boundaries only", from, to))
			}
			if from == "signing/compat" {
				found = append(found, fmt.Sprintf("a test of %s imports %s: a judge is no judge of itself", from, to))
			}
		}
	}
	return found
}

const module = "github.com/hallmark-build/hallmark"

func TestArrows(t *testing.T) {
	t.Parallel()
	pkgs := golist(t, "-e", "./...")
	if len(pkgs) < 5 {
		t.Fatalf("go list finds %d packages", len(pkgs))
	}
	for _, f := range arrows(module, pkgs) {
		t.Error(f)
	}
}

// The damaged twin: a graph with every arrow that must not be.
func TestArrowsTwins(t *testing.T) {
	t.Parallel()
	good := []pkg{
		{ImportPath: module + "/build", Imports: []string{"fmt", "golang.org/x/mod"}},
		{ImportPath: module + "/signing", Imports: []string{module + "/signing/key"}, TestImports: []string{module + "/signing/tsa"}},
		{ImportPath: module + "/targets/release", Imports: []string{module + "/build", module + "/signing/compat"}},
		{ImportPath: module + "/signing/compat", XTestImports: []string{module + "/signing/compat"}},
		{ImportPath: "example.com/other", Imports: []string{module + "/build"}},
	}
	if found := arrows(module, good); len(found) != 0 {
		t.Errorf("the good graph: %q", found)
	}
	for _, bad := range [][2]string{
		{"build", "signing"}, {"build/dist", "signing/key"}, {"build/host", "build"}, {"build", "build/host"}, {"build/bench", "build/dist"},
		{"signing", "build"}, {"signing/tsa", "build/host"}, {"signing/key", "signing/cms"}, {"signing/cms", "signing"}, {"signing", "signing/tsa"},
		{"signing/compat", "signing"}, {"signing/compat", "signing/cms"}, {"signing", "signing/compat"},
		{"targets", "signing/key"}, {"targets", "build"}, {"build", "targets/release"}, {"build/new", "build"},
	} {
		if len(arrows(module, []pkg{{ImportPath: module + "/" + bad[0], Imports: []string{"fmt", module + "/" + bad[1]}}})) == 0 {
			t.Errorf("%s → %s is let pass", bad[0], bad[1])
		}
	}
	for _, bad := range [][2]string{{"build", "signing/key"}, {"signing", "build"}, {"signing/compat", "signing"}} {
		for _, p := range []pkg{{TestImports: []string{module + "/" + bad[1]}}, {XTestImports: []string{module + "/" + bad[1]}}} {
			p.ImportPath = module + "/" + bad[0]
			if len(arrows(module, []pkg{p})) == 0 {
				t.Errorf("a test of %s → %s is let pass", bad[0], bad[1])
			}
		}
	}
}

// inits returns the init functions of a Go file.
func inits(name string, src any) ([]string, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
			found = append(found, fset.Position(f.Pos()).String())
		}
	}
	return found, nil
}

// Nothing runs because a package is imported.
func TestNoInit(t *testing.T) {
	t.Parallel()
	for _, p := range golist(t, "-e", "./...") {
		// Every platform's files, not only those of this one.
		files, err := filepath.Glob(filepath.Join(p.Dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			found, err := inits(file, nil)
			if err != nil {
				t.Error(err)
			}
			for _, f := range found {
				t.Errorf("%s: func init", f)
			}
		}
	}
	if found, err := inits("bad.go", "package p\n\ntype T struct{}\n\nfunc (T) init() {}\n\nfunc init() {}\n"); err != nil || len(found) != 1 {
		t.Errorf("the damaged twin: %q, %v", found, err)
	}
}

// forbidden are packages that must not be linked into the magefile's program,
// with the reason.
func forbidden() map[string]string {
	return map[string]string{
		"golang.org/x/crypto/openpgp":                    "GO-2026-5932, which will not be mended",
		"github.com/sassoftware/relic/v7/lib/certloader": "it links golang.org/x/crypto/openpgp",
	}
}

// linked returns what of forbidden, or below it, is in a list of packages.
func linked(paths []string) []string {
	var found []string
	for _, path := range paths {
		for bad, why := range forbidden() {
			if path == bad || strings.HasPrefix(path, bad+"/") {
				found = append(found, path+": "+why)
			}
		}
	}
	return found
}

func TestForbiddenPackages(t *testing.T) {
	t.Parallel()
	if found := linked([]string{"fmt", "golang.org/x/crypto/openpgp/packet"}); len(found) != 1 {
		t.Errorf("the damaged twin: %q", found)
	}
	var paths []string
	for _, p := range golist(t, "-deps", "./targets") {
		paths = append(paths, p.ImportPath)
	}
	for _, f := range linked(paths) {
		t.Error(f)
	}
}
