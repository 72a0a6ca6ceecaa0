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
	"strconv"
	"strings"

	gobuild "go/build"

	"github.com/hallmark-build/hallmark/build/environ"
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
// too old for the module, a version variable that is not there (*[ConfigError]), an icon or a manifest that cannot be read.
func (b *Builder) Check(ctx context.Context, t Target) error {
	var errs []error
	if _, err := b.compiler(t); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, b.checkGo(ctx, t), b.checkPackage(ctx, t), b.checkVersionVar(t), b.checkResources(t))
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

// packageDir returns the folder of a package that is in the module's folder or named by its own.
func (b *Builder) packageDir(pattern string) (dir string, ok bool) {
	switch rest, inModule := strings.CutPrefix(pattern, b.src.Module); {
	case filepath.IsAbs(pattern):
		return pattern, true
	case strings.HasPrefix(pattern, "."):
		return filepath.Join(b.src.Dir, filepath.FromSlash(pattern)), true
	case inModule && (rest == "" || rest[0] == '/'):
		return filepath.Join(b.src.Dir, filepath.FromSlash(rest)), true
	}
	return "", false
}

// checkPackage tells whether the target's package is a main package. For one in the module's folder it reads the files
// itself, which saves a go command; but only the go command has the last word on what it would not build.
func (b *Builder) checkPackage(ctx context.Context, t Target) error {
	pattern := b.pattern(t.Package)
	dir, ok := b.packageDir(pattern)
	var fault error
	if ok {
		if fault = b.readPackage(ctx, t, dir); fault == nil {
			return nil
		}
	}
	name, err := b.goList(ctx, t, pattern)
	switch {
	case err == nil && name == "main":
		return nil
	case fault == nil && err == nil:
		fault = fmt.Errorf("is package %s, no main package", name)
	case fault == nil:
		fault = err
	case errors.As(fault, new(notMainError)):
		fault = fmt.Errorf("%w%s", fault, b.mainPackages(ctx, t))
	}
	return &PackageError{Program: t.Program, Package: t.Package, Err: fault}
}

// readPackage tells what keeps the folder from being a main package, as far as its files show it.
func (b *Builder) readPackage(ctx context.Context, t Target, dir string) error {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return notMainError("there is no such folder")
	}
	build, err := b.goContext(ctx, t)
	if err != nil {
		return nil // checkGo tells
	}
	pkg, err := build.ImportDir(dir, 0)
	var none *gobuild.NoGoError
	var mixed *gobuild.MultiplePackageError
	switch {
	case errors.As(err, &none) && len(pkg.IgnoredGoFiles) > 0:
		if build.CgoEnabled = true; !t.cgo() {
			if _, err := build.ImportDir(dir, 0); err == nil {
				possible := "gcc or clang"
				if t.Platform.OS == "windows" {
					possible = "mingw or clang-mingw"
				}
				return fmt.Errorf(`needs C, its files import "C": give the target %s a toolchain: %s`, t.Platform, possible)
			}
		}
		return fmt.Errorf("build constraints leave no Go files for %s", t)
	case errors.As(err, &none):
		return notMainError("the folder holds no Go files")
	case errors.As(err, &mixed):
		return err
	case err == nil && pkg.Name != "main":
		return notMainError(fmt.Sprintf("is package %s, no main package", pkg.Name))
	}
	return nil // any other fault is one of the program's, which the compiler tells better
}

// A notMainError is the fault of a folder in the place of which another one may be meant.
type notMainError string

func (e notMainError) Error() string { return string(e) }

// goContext returns the settings that select the files of a package.
func (b *Builder) goContext(ctx context.Context, t Target) (gobuild.Context, error) {
	build := gobuild.Default
	env, err := b.goEnv(ctx, t.Go)
	if err != nil {
		return build, err
	}
	build.GOOS, build.GOARCH, build.CgoEnabled, build.BuildTags = t.Platform.OS, t.Platform.Arch, t.cgo(), t.Tags
	if len(t.Tags) == 0 {
		build.BuildTags = goTags(env)
	}
	if minor, ok := strings.CutPrefix(version.Lang(env["GOVERSION"]), "go1."); ok {
		if n, err := strconv.Atoi(minor); err == nil {
			build.ReleaseTags = nil
			for i := 1; i <= n; i++ {
				build.ReleaseTags = append(build.ReleaseTags, "go1."+strconv.Itoa(i))
			}
		}
	}
	return build, nil
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
	cmd.Env = environ.Tools(ctx, t.Platform.environment()...)
	cgo := "CGO_ENABLED=0"
	if t.cgo() {
		cgo = "CGO_ENABLED=1"
	}
	cmd.Env = append(append(cmd.Env, pinned(t.Go)...), "PWD="+b.src.Dir, cgo)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := runCommand(ctx, cmd); err != nil {
		return nil, fmt.Errorf("go list: %w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.Bytes(), nil
}
