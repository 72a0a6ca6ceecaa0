package build

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheckVersionVar(t *testing.T) {
	t.Parallel()
	dir := copyModule(t, "hello")
	write(t, filepath.Join(dir, "about", "about.go"), "package about\n\nconst Fixed = \"1\"\n\nvar Release, Commit string\n")
	b := newBuilder(t, dir)
	for name, want := range map[string]string{
		"": "", "main.version": "", "example.com/hello/about.Commit": "", "example.org/other.Version": "", "example.com/hello/nowhere.Version": "",
		"main.nosuch":                     "package main has no variable nosuch",
		"main.Version":                    "did you mean version?",
		"example.com/hello/about.Realese": "did you mean Release?",
		"example.com/hello/about.Fixed":   "is no variable",
		"example.com/hello.version":       "write main.version",
	} {
		tg := target(t, "hello", "linux/amd64")
		tg.VersionVar = name
		err := b.Check(t.Context(), tg)
		if want == "" && err != nil || want != "" && (!errors.As(err, new(*ConfigError)) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", name, err, want)
		}
	}
}

// TestCheckAsGo checks that what the go command builds is not refused, and that C without a toolchain is told as such.
func TestCheckAsGo(t *testing.T) {
	dir := copyModule(t, "hello")
	write(t, filepath.Join(dir, "tagged", "main.go"), "//go:build special\n\npackage main\n\nfunc main() {}\n")
	write(t, filepath.Join(dir, "old", "main.go"), "//go:build !go1.18\n\npackage main\n\nfunc main() {}\n")
	write(t, filepath.Join(dir, "c", "main.go"), "package main\n\nimport \"C\"\n\nfunc main() {}\n")
	check := func(pkg, spec string) error {
		tg := target(t, "hello", spec)
		tg.Package = pkg
		return newBuilder(t, dir).Check(t.Context(), tg)
	}
	if err := check("./tagged", "linux/amd64"); !errors.As(err, new(*PackageError)) {
		t.Errorf("without the tag: %v", err)
	}
	for spec, want := range map[string]string{"linux/amd64": "gcc or clang", "windows/amd64": "mingw or clang-mingw"} {
		if err := check("./c", spec); err == nil || !strings.Contains(err.Error(), "needs C") || !strings.Contains(err.Error(), want) {
			t.Errorf("C without a toolchain: %v", err)
		}
	}
	t.Setenv("GOFLAGS", "-tags=special")
	if err := check("./tagged", "linux/amd64"); err != nil {
		t.Errorf("with the tag in GOFLAGS: %v", err)
	}
	b := newBuilder(t, dir)
	tg := target(t, "hello", "linux/amd64")
	tg.Go = "1.17.1"
	b.envs.get(tg.Go, func() (map[string]string, error) { return map[string]string{"GOVERSION": "go1.17.1"}, nil })
	if err := b.readPackage(t.Context(), tg, filepath.Join(dir, "old")); err != nil {
		t.Errorf("with an older Go: %v", err)
	}
}
