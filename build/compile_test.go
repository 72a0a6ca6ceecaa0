package build

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestCompile builds with every toolchain, from two folders, and compares: each file is what was asked for, and the
// same bytes come of the same source.
func TestCompile(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ module, spec string }{
		{"hello", "windows/amd64"}, {"hello", "windows/arm64"}, {"hello", "windows/386"},
		{"hello", "linux/amd64"}, {"hello", "linux/arm64"}, {"hello", "linux/386"}, {"hello", "linux/amd64/v3"},
		{"cgo", "linux/amd64 gcc"}, {"cgo", "linux/arm64 gcc"}, {"cgo", "linux/386 gcc"},
		{"cgo", "linux/amd64 clang"}, {"cgo", "linux/arm64 clang"}, {"cgo", "linux/386 clang"},
		{"cgo", "windows/amd64 mingw"}, {"cgo", "windows/386 mingw"},
		{"cgo", "windows/amd64 clang-mingw"}, {"cgo", "windows/386 clang-mingw"},
		{"cxx", "linux/amd64 gcc"}, {"cxx", "linux/amd64 clang"},
		{"cxx", "windows/amd64 mingw"}, {"cxx", "windows/amd64 clang-mingw"},
	} {
		t.Run(test.module+" "+test.spec, func(t *testing.T) {
			t.Parallel()
			var sums []string
			for range 2 {
				b := newBuilder(t, copyModule(t, test.module))
				tg := target(t, test.module, test.spec)
				if err := b.Check(t.Context(), tg); err != nil && !errors.As(err, new(*MissingError)) {
					t.Fatal(err)
				}
				bin := compile(t, b, tg)
				sums = append(sums, bin.SHA256)
				if info, err := os.Stat(bin.Path); err != nil || info.Size() != bin.Size || info.Mode()&0o111 == 0 || bin.GoVersion != runtime.Version() {
					t.Errorf("binary %+v, file %v, %v", bin, info, err)
				}
				if left, _ := filepath.Glob(filepath.Join(filepath.Dir(bin.Path), ".*")); left != nil {
					t.Errorf("left behind: %v", left)
				}
				if tg.Platform.OS == runtime.GOOS && tg.Platform.Arch == runtime.GOARCH && tg.Platform.Variant == "" {
					want := map[string]string{"hello": "hello none\n", "cgo": "sum 3\n", "cxx": "length 4\n"}[test.module]
					if out, err := exec.Command(bin.Path).CombinedOutput(); err != nil || string(out) != want {
						t.Errorf("the program says %q, %v; want %q", out, err, want)
					}
				}
				if name := b.Toolchain(tg); tg.clang() && !strings.Contains(name, " + lld ") || name == "" {
					t.Errorf("toolchain is %q", name)
				} else {
					t.Log(name)
				}
			}
			if sums[0] != sums[1] {
				t.Errorf("two folders give two digests: %s", sums)
			}
		})
	}
}

// TestOldClang builds with Debian 12's default clang, which does not find mingw's libraries by itself.
func TestOldClang(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"clang-14", "ld.lld-14"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Logf("%s is not there: nothing to do, newer ones are used", name)
			return
		}
	}
	for _, module := range []string{"cgo", "cxx"} {
		var sums []string
		for range 2 {
			b := newBuilder(t, copyModule(t, module))
			b.newestClang = 14
			tg := target(t, module, "windows/amd64 clang-mingw")
			sums = append(sums, compile(t, b, tg).SHA256)
			if name := b.Toolchain(tg); !strings.HasPrefix(name, "clang 14") || !strings.Contains(name, "lld 14") {
				t.Errorf("toolchain is %q", name)
			}
		}
		if sums[0] != sums[1] {
			t.Errorf("%s: two folders give two digests: %s", module, sums)
		}
	}
}

// TestStamp checks what git and the configuration put into a program.
func TestStamp(t *testing.T) {
	t.Parallel()
	dir := copyModule(t, "hello")
	gitRun(t, dir, "init", "-q")
	gitRun(t, dir, "add", ".")
	gitRun(t, dir, "commit", "-q", "-m", "first")
	gitRun(t, dir, "tag", "v1.2.3")
	b := newBuilder(t, dir)
	tg := target(t, "hello", "linux/"+runtime.GOARCH)
	tg.VersionVar, tg.Package = "main.version", "example.com/hello"
	bin := compile(t, b, tg)
	if out, err := exec.Command(bin.Path).CombinedOutput(); err != nil || string(out) != "hello 1.2.3\n" {
		t.Errorf("the program says %q, %v", out, err)
	}
	info, err := readBack(bin.Path, tg)
	if err != nil {
		t.Fatal(err)
	}
	got := buildSettings(info)
	if got["vcs.revision"] != b.src.Revision || got["vcs.modified"] != "false" || got["vcs.time"] != "2024-05-06T07:08:09Z" {
		t.Errorf("settings are %v, the source is %+v", got, b.src)
	}

	// A file that says something else of the source than the release does is not handed over.
	write(t, filepath.Join(dir, "new.txt"), "new")
	var m *MismatchError
	dst := filepath.Join(t.TempDir(), "hello")
	if _, err := b.Compile(t.Context(), tg, dst); !errors.As(err, &m) || m.Field != "vcs.modified" || m.File != dst {
		t.Errorf("a file that appears while building: %v", err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(dst)); len(entries) > 0 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestCompileErrors(t *testing.T) {
	t.Parallel()
	dir := copyModule(t, "hello")
	b := newBuilder(t, dir)
	linux := target(t, "hello", "linux/amd64")
	with := func(change func(*Target)) Target { tg := linux; change(&tg); return tg }
	missing := func(pkg string) func(*Target) { return func(tg *Target) { tg.Package = pkg } }
	windows := func(w Windows) Target {
		tg := target(t, "hello", "windows/amd64")
		tg.Windows = w
		return tg
	}
	write(t, filepath.Join(dir, "assets", "bad.png"), "no picture")
	write(t, filepath.Join(dir, "assets", "bad.ico"), "no icon")
	write(t, filepath.Join(dir, "assets", "bad.manifest"), "<assembly>")
	write(t, filepath.Join(dir, "assets", "other.manifest"), "<html/>")
	for name, test := range map[string]struct {
		target Target
		want   []string
		check  bool // Check finds it too
		as     any
	}{
		"no folder": {with(missing("./cmd/nots")), []string{"package ./cmd/nots of program hello", "no such folder", "./cmd/other", "main:", "hallmark.yaml"},
			true, new(*PackageError)},
		"no package": {with(missing("example.org/notes")), []string{"package example.org/notes of program hello"}, true, new(*PackageError)},
		"no Go":      {with(missing("./assets")), []string{"holds no Go files"}, true, new(*PackageError)},
		"no main":    {with(missing("./lib")), []string{"is package lib, no main package"}, true, new(*PackageError)},
		"standard":   {with(missing("fmt")), []string{"is package fmt, no main package"}, true, new(*PackageError)},
		"constraint": {with(func(tg *Target) { tg.Package = "./none" }), []string{"build constraints leave no Go files"}, true, new(*PackageError)},
		"broken":     {with(missing("./broken")), []string{"hello for linux/amd64 does not compile"}, false, new(*CompileError)},
		"no icon":    {windows(Windows{Icon: "assets/x.ico"}), []string{"windows icon assets/x.ico", "no such file"}, true, nil},
		"bad icon":   {windows(Windows{Icon: "assets/bad.ico"}), []string{"windows icon assets/bad.ico"}, true, nil},
		"bad png":    {windows(Windows{Icon: "assets/bad.png"}), []string{"windows icon assets/bad.png", ".ico or a .png"}, true, nil},
		"cut manifest": {windows(Windows{Manifest: "assets/bad.manifest"}), []string{"windows manifest assets/bad.manifest", "syntax error"},
			true, nil},
		"no manifest": {windows(Windows{Manifest: "assets/other.manifest"}), []string{"<assembly>"}, true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "constraint" {
				write(t, filepath.Join(dir, "none", "main_windows.go"), "package main\n\nfunc main() {}\n")
			}
			dst := filepath.Join(t.TempDir(), "out", "hello")
			check := b.Check(t.Context(), test.target)
			_, err := b.Compile(t.Context(), test.target, dst)
			if (check != nil) != test.check {
				t.Errorf("Check: %v", check)
			}
			errs := []error{err}
			if test.check {
				errs = append(errs, check)
			}
			for _, err := range errs {
				if err == nil || test.as != nil && !errors.As(err, test.as) {
					t.Fatalf("error is %T: %v", err, err)
				}
				for _, w := range test.want {
					if !strings.Contains(err.Error(), w) {
						t.Errorf("error %q lacks %q", err, w)
					}
				}
			}
			if entries, _ := os.ReadDir(filepath.Dir(dst)); len(entries) > 0 {
				t.Errorf("left behind: %v", entries)
			}
			if c := new(CompileError); errors.As(err, &c) && !strings.Contains(c.Output, "undefined: undefinedFunction") {
				t.Errorf("output is %q", c.Output)
			}
		})
	}
}

// TestMissing hides the compilers and asks what to install.
func TestMissing(t *testing.T) {
	b := newBuilder(t, copyModule(t, "cgo"))
	full := os.Getenv("PATH")
	for _, test := range []struct{ spec, tool, packages string }{
		{"linux/arm64 gcc", "aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu libc6-dev-arm64-cross"},
		{"linux/386 gcc", "i686-linux-gnu-gcc", "gcc-i686-linux-gnu libc6-dev-i386-cross"},
		{"linux/amd64 clang", "clang", "clang lld"},
		{"windows/amd64 mingw", "x86_64-w64-mingw32-gcc", "gcc-mingw-w64-x86-64"},
		{"windows/386 mingw", "i686-w64-mingw32-gcc", "gcc-mingw-w64-i686"},
		{"windows/amd64 clang-mingw", "clang", "clang lld"},
	} {
		tg := target(t, "cgo", test.spec)
		if tg.Platform.Arch == runtime.GOARCH && test.tool != "clang" && tg.Platform.OS == "linux" {
			continue
		}
		t.Setenv("PATH", t.TempDir())
		_, keyErr := b.Key(t.Context(), tg)
		_, compileErr := b.Compile(t.Context(), tg, filepath.Join(t.TempDir(), "x"))
		checkErr := b.Check(t.Context(), tg)
		t.Setenv("PATH", full)
		for _, err := range []error{keyErr, compileErr, checkErr} {
			var m *MissingError
			if !errors.As(err, &m) || m.Tool != test.tool || m.Package != test.packages || !strings.Contains(err.Error(), "apt-get install "+test.packages) {
				t.Errorf("%s: %v; want %s in %s", test.spec, err, test.tool, test.packages)
			}
		}
	}
	t.Setenv("PATH", t.TempDir())
	var m *MissingError
	if _, err := NewBuilder(t.Context(), b.src); !errors.As(err, &m) || m.Tool != "go" {
		t.Errorf("without go: %v", err)
	}
}

// TestMissingCXX builds C++ for a platform of which only the C compiler is there.
func TestMissingCXX(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("aarch64-linux-gnu-g++"); err == nil {
		t.Log("the C++ compiler is there: nothing to do")
		return
	}
	for _, toolchain := range []string{"gcc", "clang"} {
		b := newBuilder(t, copyModule(t, "cxx"))
		_, err := b.Compile(t.Context(), target(t, "cxx", "linux/arm64 "+toolchain), filepath.Join(t.TempDir(), "x"))
		var m *MissingError
		if !errors.As(err, &m) || !strings.Contains(err.Error(), toolchain) {
			t.Errorf("%s: %v", toolchain, err)
			continue
		}
		if m.Tool != "aarch64-linux-gnu-g++" {
			need(t, m.Tool, m.Package)
		}
		if !strings.Contains(err.Error(), "g++-aarch64-linux-gnu") {
			t.Errorf("%s: %v", toolchain, err)
		}
	}
}

func TestPinnedGo(t *testing.T) {
	t.Setenv("GOPROXY", "off")
	b := newBuilder(t, copyModule(t, "hello"))
	tg := target(t, "hello", "linux/amd64")
	tg.Go = strings.TrimPrefix(runtime.Version(), "go")
	if bin := compile(t, b, tg); bin.GoVersion != runtime.Version() {
		t.Errorf("Go version is %s", bin.GoVersion)
	}
	tg.Go = "1.21.99"
	if err := b.Check(t.Context(), tg); err == nil || !strings.Contains(err.Error(), "go 1.21.99 cannot be had") {
		t.Errorf("a version that does not exist: %v", err)
	}
	write(t, filepath.Join(b.src.Dir, "go.mod"), "module example.com/hello\n\ngo 1.99\n")
	tg.Go = strings.TrimPrefix(runtime.Version(), "go")
	if err := b.Check(t.Context(), tg); err == nil || !strings.Contains(err.Error(), "older than the go 1.99") {
		t.Errorf("a version that is too old: %v", err)
	}
}

func TestKey(t *testing.T) {
	t.Parallel()
	dir := copyModule(t, "hello")
	key := func(b *Builder, tg Target) string {
		t.Helper()
		k, err := b.Key(t.Context(), tg)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	tg := target(t, "hello", "windows/amd64")
	tg.Windows.Manifest = "assets/hello.manifest"
	want := key(newBuilder(t, dir), tg)
	if got := key(newBuilder(t, copyModule(t, "hello")), tg); got != want || len(got) != 64 {
		t.Errorf("the key depends on the folder: %s, %s", got, want)
	}
	keys := map[string]string{want: "unchanged"}
	differs := func(what, k string) {
		t.Helper()
		if other, ok := keys[k]; ok {
			t.Errorf("%s has the key of %s", what, other)
		}
		keys[k] = what
	}
	for what, change := range map[string]func(*Target){
		"platform": func(t *Target) { t.Platform.Arch = "arm64" },
		"variant":  func(t *Target) { t.Platform.Variant = "v2" },
		"GUI":      func(t *Target) { t.GUI = true },
		"flags":    func(t *Target) { t.LDFlags = []string{"-s"} },
		"tags":     func(t *Target) { t.Tags = []string{"x"} },
		"company":  func(t *Target) { t.Windows.Company = "x" },
		"name":     func(t *Target) { t.Program = "x" },
		"version":  func(t *Target) { t.VersionVar = "main.version" },
		"pin":      func(t *Target) { t.Go = strings.TrimPrefix(runtime.Version(), "go") },
	} {
		changed := tg
		change(&changed)
		differs(what, key(newBuilder(t, dir), changed))
	}
	for what, change := range map[string]func(*Source){
		"revision": func(s *Source) { s.Revision = "x" },
		"modified": func(s *Source) { s.Modified = true },
		"time":     func(s *Source) { s.Time = s.Time.Add(time.Second) },
	} {
		b := newBuilder(t, dir)
		change(&b.src)
		differs(what, key(b, tg))
	}
	b := newBuilder(t, dir)
	write(t, filepath.Join(dir, "assets", "hello.manifest"), "<assembly/>")
	differs("manifest", key(b, tg)) // the same digest of the source
	differs("source", key(newBuilder(t, dir), tg))
}

// TestKeyTools checks that another compiler gives another key.
func TestKeyTools(t *testing.T) {
	dir := copyModule(t, "cgo")
	bin := t.TempDir()
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	tg := target(t, "cgo", "windows/amd64 clang-mingw")
	keys := make(map[string]bool)
	for i, change := range []string{"", "x86_64-w64-mingw32-gcc", "clang-40", "ld.lld-40"} {
		if change != "" {
			file := filepath.Join(bin, change)
			write(t, file, "#!/bin/sh\n")
			if err := os.Chmod(file, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		k, err := newBuilder(t, dir).Key(t.Context(), tg)
		var missing *MissingError
		if errors.As(err, &missing) && missing.Tool != "ld.lld-40" && i == 0 {
			need(t, missing.Tool, missing.Package)
		}
		if err != nil {
			t.Fatal(err)
		}
		keys[k] = true
	}
	// clang-40 without its lld is passed over.
	if len(keys) != 3 {
		t.Errorf("%d keys of 3", len(keys))
	}
	t.Setenv("CPATH", "/nonexistent")
	k, err := newBuilder(t, dir).Key(t.Context(), tg)
	if err != nil || keys[k] {
		t.Errorf("CPATH does not show in the key, %v", err)
	}
}

// fakeGo puts a shell script in the place of the go command; $OUT is a folder for what it finds out.
func fakeGo(t *testing.T, build string) (out string) {
	t.Helper()
	bin, out := t.TempDir(), t.TempDir()
	real, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\nOUT=%s\nif [ \"$1\" != build ]; then exec %s \"$@\"; fi\n%s\n", out, real, build)
	write(t, filepath.Join(bin, "go"), script)
	if err := os.Chmod(filepath.Join(bin, "go"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	return out
}

// TestGoCommand looks at the arguments and the environment of the go command.
func TestGoCommand(t *testing.T) {
	for name, value := range map[string]string{
		"HALLMARK_PASSWORD": "secret", "HALLMARK_IDENTITY": "pfx:secret", "GOOS": "plan9", "GOARCH": "mips", "GOAMD64": "v4",
		"CC": "cc", "SOURCE_DATE_EPOCH": "1", "GOTOOLCHAIN": "local",
	} {
		if name != "GOOS" && name != "GOARCH" { // those would change what go env says
			t.Setenv(name, value)
		}
	}
	out := fakeGo(t, `env > $OUT/env; for a in "$@"; do echo "$a"; done > $OUT/args; which "$CC" > $OUT/cc; exit 1`)
	b := newBuilder(t, copyModule(t, "cgo"))
	b.src.Revision, b.src.Version, b.src.Time = "x", "1.2.3", time.Unix(1700000000, 0)
	tg := target(t, "cgo", "windows/amd64 clang-mingw")
	tg.GUI, tg.Tags, tg.VersionVar, tg.Go, tg.LDFlags = true, []string{"a", "b"}, "main.version", "", []string{"-s"}
	tg.Package = ""
	_, err := b.Compile(t.Context(), tg, filepath.Join(t.TempDir(), "x"))
	var missing *MissingError
	if errors.As(err, &missing) {
		need(t, missing.Tool, missing.Package)
	}
	var failed *CompileError
	if !errors.As(err, &failed) {
		t.Fatal(err)
	}
	read := func(name string) []string {
		data, err := os.ReadFile(filepath.Join(out, name))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(strings.TrimSpace(string(data)), "\n")
	}
	env := read("env")
	for _, want := range []string{"GOOS=windows", "GOARCH=amd64", "GOAMD64=v1", "CGO_ENABLED=1", "CC=x86_64-w64-windows-gnu-clang",
		"CXX=x86_64-w64-windows-gnu-clang++", "SOURCE_DATE_EPOCH=1700000000", "PWD=" + b.src.Dir, "GOTOOLCHAIN=local"} {
		if !slices.Contains(env, want) {
			t.Errorf("the environment lacks %s", want)
		}
	}
	if all := strings.Join(env, "\n"); strings.Contains(all, "secret") {
		t.Error("the environment holds a secret")
	}
	args := read("args")
	for _, want := range []string{"-trimpath", "-buildvcs=true", "-tags=a,b",
		"-ldflags=-X main.version=1.2.3 -H=windowsgui -linkmode=external -s -extldflags '-static -fuse-ld=lld'"} {
		if !slices.Contains(args, want) {
			t.Errorf("the arguments %q lack %s", args, want)
		}
	}
	if args[len(args)-1] != "." {
		t.Errorf("the package is %q", args[len(args)-1])
	}
	cc := read("cc")[0]
	if _, err := os.Stat(filepath.Dir(cc)); filepath.Base(cc) != "x86_64-w64-windows-gnu-clang" || !os.IsNotExist(err) {
		t.Errorf("the compiler was %s, and its folder is still there: %v", cc, err)
	}

	// Several at once share the processors.
	if args, err := b.goArguments(tg, 2, "x"); err != nil || !slices.Contains(args, "-p="+strconv.Itoa(max(1, runtime.GOMAXPROCS(0)/2))) {
		t.Errorf("two at once: %q, %v", args, err)
	}
	if args, _ := b.goArguments(tg, 1, "x"); slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "-p=") }) {
		t.Errorf("one alone: %q", args)
	}
}
