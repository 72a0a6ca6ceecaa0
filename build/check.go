package build

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/version"
	"os"
	"path/filepath"
	"strings"

	gobuild "go/build"
)

// A PackageError is a program whose main package cannot be built as one.
type PackageError struct {
	Program, Package string // as in the configuration
	Err              error
}

func (e *PackageError) Error() string {
	return fmt.Sprintf("package %s of program %s: %v; correct main: of that program in hallmark.yaml", e.Package, e.Program, e.Err)
}
func (e *PackageError) Unwrap() error { return e.Err }

// Check tells, without compiling, what would keep the target from being built: a C compiler that is not installed
// (*[MissingError]), a main package that is not there or is none (*[PackageError]), a Go version that cannot be had or is
// too old for the module, an icon or a manifest that cannot be read.
func (b *Builder) Check(ctx context.Context, t Target) error {
	var errs []error
	if _, err := b.compiler(t); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, b.checkGo(ctx, t), b.checkPackage(ctx, t), b.checkResources(t))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%s: %w", t, err)
	}
	return nil
}

// checkGo tells whether the Go version of the target is there and new enough for the module.
func (b *Builder) checkGo(ctx context.Context, t Target) error {
	env, err := b.goEnv(ctx, t.Go)
	if err != nil || t.Go == "" {
		return err
	}
	mod, err := readModFile(b.src.Dir)
	if err != nil {
		return err
	}
	if mod.Go != nil && version.Compare(env["GOVERSION"], "go"+mod.Go.Version) < 0 {
		return fmt.Errorf("the target's go: %s is older than the go %s that go.mod asks for; raise one or lower the other", t.Go, mod.Go.Version)
	}
	return nil
}

// checkPackage tells whether the target's package is a main package. For one in the module's folder it reads the files
// itself, which saves a go command.
func (b *Builder) checkPackage(ctx context.Context, t Target) error {
	fault := func(err error) error { return &PackageError{Program: t.Program, Package: t.Package, Err: err} }
	pattern := b.pattern(t.Package)
	var dir string
	switch rest, inModule := strings.CutPrefix(pattern, b.src.Module); {
	case filepath.IsAbs(pattern):
		dir = pattern
	case strings.HasPrefix(pattern, "."):
		dir = filepath.Join(b.src.Dir, filepath.FromSlash(pattern))
	case inModule && (rest == "" || rest[0] == '/'):
		dir = filepath.Join(b.src.Dir, filepath.FromSlash(rest))
	default:
		name, err := b.goList(ctx, t, pattern)
		if err == nil && name != "main" {
			err = fmt.Errorf("is package %s, no main package", name)
		}
		if err != nil {
			return fault(err)
		}
		return nil
	}

	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return fault(errors.New("there is no such folder" + b.mainPackages(ctx, t)))
	}
	build := gobuild.Default
	build.GOOS, build.GOARCH, build.CgoEnabled, build.BuildTags = t.Platform.OS, t.Platform.Arch, t.cgo(), t.Tags
	pkg, err := build.ImportDir(dir, 0)
	var none *gobuild.NoGoError
	var mixed *gobuild.MultiplePackageError
	switch {
	case errors.As(err, &none) && len(pkg.IgnoredGoFiles) > 0:
		return fault(fmt.Errorf("build constraints leave no Go files for %s", t))
	case errors.As(err, &none):
		return fault(errors.New("the folder holds no Go files" + b.mainPackages(ctx, t)))
	case errors.As(err, &mixed):
		return fault(err)
	case err == nil && pkg.Name != "main":
		return fault(fmt.Errorf("is package %s, no main package%s", pkg.Name, b.mainPackages(ctx, t)))
	}
	return nil // any other fault is one of the program's, which the compiler tells better
}

// goList returns the name of a package outside the module's folder.
func (b *Builder) goList(ctx context.Context, t Target, pattern string) (string, error) {
	out, err := b.list(ctx, t, "-e", "-json=Name,Error", "--", pattern)
	if err != nil {
		return "", err
	}
	var pkg struct {
		Name  string
		Error *struct{ Err string }
	}
	if err := json.Unmarshal(out, &pkg); err != nil {
		return "", fmt.Errorf("reading go list: %w", err)
	}
	if pkg.Error != nil {
		return "", errors.New(pkg.Error.Err)
	}
	return pkg.Name, nil
}

// mainPackages lists the main packages of the module, for a message about one that is not there; "" if none is found.
func (b *Builder) mainPackages(ctx context.Context, t Target) string {
	out, err := b.list(ctx, t, "-e", "-f", `{{if eq .Name "main"}}{{.Dir}}{{end}}`, "./...")
	if err != nil {
		return ""
	}
	var found []string
	for dir := range strings.Lines(string(out)) {
		if rel, err := filepath.Rel(b.src.Dir, strings.TrimSpace(dir)); err == nil && rel != "." {
			found = append(found, "./"+filepath.ToSlash(rel))
		} else if err == nil {
			found = append(found, ".")
		}
	}
	if len(found) == 0 {
		return ""
	}
	return "; the module's main packages are " + strings.Join(found, ", ")
}

// list runs go list without looking at imports.
func (b *Builder) list(ctx context.Context, t Target, args ...string) ([]byte, error) {
	if len(t.Tags) > 0 {
		args = append([]string{"-tags=" + strings.Join(t.Tags, ",")}, args...)
	}
	cmd := command(ctx, "go", append([]string{"list", "-find"}, args...)...)
	cmd.Dir = b.src.Dir
	cmd.Env = append(childEnv(), t.Platform.environment()...)
	cmd.Env = append(append(cmd.Env, pinned(t.Go)...), "PWD="+b.src.Dir)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := runCommand(ctx, cmd); err != nil {
		return nil, fmt.Errorf("go list: %w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.Bytes(), nil
}
