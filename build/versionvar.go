package build

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// checkVersionVar tells whether the variable is there that the linker is to set, which says nothing when it is not. It
// looks in the module's own packages only.
func (b *Builder) checkVersionVar(t Target) error {
	dot := strings.LastIndexByte(t.VersionVar, '.')
	if dot < 0 {
		return nil
	}
	pkg, name := t.VersionVar[:dot], t.VersionVar[dot+1:]
	fault := func(format string, args ...any) error {
		return &ConfigError{Key: "version of program " + t.Program, Err: fmt.Errorf(format, args...)}
	}
	path := pkg
	if pkg == "main" {
		path = b.pattern(t.Package)
	} else if pkg != b.src.Module && !strings.HasPrefix(pkg, b.src.Module+"/") {
		return nil
	}
	dir, ok := b.packageDir(path)
	if !ok {
		return nil
	}
	found, err := readNames(dir)
	if err != nil || found.pkg == "" {
		return nil // may be a package of another module; if it is none, the compiler tells
	}
	if found.pkg == "main" && pkg != "main" {
		return fault("%s is a main package, which the linker calls main: write main.%s", pkg, name)
	}
	switch {
	case slices.Contains(found.vars, name):
		return nil
	case slices.Contains(found.others, name):
		return fault("%s in package %s is no variable: declare it as var %s string", name, pkg, name)
	}
	if near := nearest(name, found.vars); near != "" {
		return fault("package %s has no variable %s (did you mean %s?)", pkg, name, near)
	}
	return fault("package %s has no variable %s: declare it as var %s string", pkg, name, name)
}

// packageNames is what a package declares.
type packageNames struct {
	pkg    string
	vars   []string // those that may be strings
	others []string // constants, functions and types
}

// readNames reads what the Go files of a folder declare, for any platform. A file that cannot be read is an error.
func readNames(dir string) (packageNames, error) {
	var found packageNames
	entries, err := os.ReadDir(dir)
	if err != nil {
		return found, err
	}
	for _, e := range entries {
		n := e.Name()
		if e.IsDir() || filepath.Ext(n) != ".go" || strings.HasSuffix(n, "_test.go") || strings.HasPrefix(n, "_") || strings.HasPrefix(n, ".") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, n), nil, parser.SkipObjectResolution)
		if err != nil {
			return found, err
		}
		if found.pkg == "" {
			found.pkg = f.Name.Name
		} else if found.pkg != f.Name.Name {
			return found, errors.New("more than one package") // build constraints tell them apart
		}
		for _, d := range f.Decls {
			found.add(d)
		}
	}
	return found, nil
}

func (p *packageNames) add(d ast.Decl) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil {
			p.others = append(p.others, d.Name.Name)
		}
	case *ast.GenDecl:
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				p.others = append(p.others, s.Name.Name)
			case *ast.ValueSpec:
				for _, id := range s.Names {
					if d.Tok == token.VAR {
						p.vars = append(p.vars, id.Name)
					} else {
						p.others = append(p.others, id.Name)
					}
				}
			}
		}
	}
}
