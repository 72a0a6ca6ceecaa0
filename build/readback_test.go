package build

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestReadBack holds each file against targets that it is not, and against itself when damaged.
func TestReadBack(t *testing.T) {
	t.Parallel()
	b := newBuilder(t, copyModule(t, "hello"))
	console := target(t, "hello", "windows/amd64")
	linux := target(t, "hello", "linux/amd64")
	exe, elf := compile(t, b, console).Path, compile(t, b, linux).Path
	with := func(tg Target, change func(*Target)) Target { change(&tg); return tg }
	for name, test := range map[string]struct {
		file   string
		target Target
		field  string
	}{
		"PE for linux":      {exe, linux, "format"},
		"ELF for windows":   {elf, console, "format"},
		"PE machine":        {exe, with(console, func(t *Target) { t.Platform.Arch = "arm64" }), "machine"},
		"PE 386":            {exe, with(console, func(t *Target) { t.Platform.Arch = "386" }), "machine"},
		"ELF machine":       {elf, with(linux, func(t *Target) { t.Platform.Arch = "arm64" }), "machine"},
		"subsystem":         {exe, with(console, func(t *Target) { t.GUI = true }), "subsystem"},
		"CGO":               {exe, with(console, func(t *Target) { t.Toolchain = "mingw" }), "CGO_ENABLED"},
		"PE linker":         {exe, with(console, func(t *Target) { t.Toolchain = "clang-mingw" }), "linker"},
		"ELF linker":        {elf, with(linux, func(t *Target) { t.Toolchain = "clang" }), "linker"},
		"variant":           {elf, with(linux, func(t *Target) { t.Platform.Variant = "v2" }), "GOAMD64"},
		"Go version":        {elf, with(linux, func(t *Target) { t.Go = "1.22.5" }), "Go version"},
		"no Go program":     {"/bin/true", target(t, "true", "linux/"+runtime.GOARCH), "Go build information"},
		"neither PE or ELF": {"readback_test.go", linux, "format"},
	} {
		var m *MismatchError
		if err := ReadBack(test.file, test.target); !errors.As(err, &m) || m.Field != test.field {
			t.Errorf("%s: %v; want a mismatch of the %s", name, err, test.field)
		}
	}
	if err := ReadBack(filepath.Join(t.TempDir(), "none"), linux); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}

	// Cut short at any of many places, a file is refused.
	for _, file := range []string{exe, elf} {
		tg := linux
		if file == exe {
			tg = console
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		cut := filepath.Join(t.TempDir(), "cut")
		for part := range 16 {
			write(t, cut, string(data[:len(data)*part/16]))
			var m *MismatchError
			if err := ReadBack(cut, tg); !errors.As(err, &m) {
				t.Errorf("%s cut to %d/16: %v", filepath.Base(file), part, err)
			}
		}
	}
}

// TestReadBackDLL checks that a program which needs the C compiler's own DLLs is refused.
func TestReadBackDLL(t *testing.T) {
	t.Parallel()
	dir := copyModule(t, "cxx")
	b := newBuilder(t, dir)
	tg := target(t, "cxx", "windows/amd64 mingw")
	c, err := b.compiler(tg)
	var missing *MissingError
	if errors.As(err, &missing) {
		need(t, missing.Tool, missing.Package)
	}
	if err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(t.TempDir(), "cxx.exe")
	cmd := exec.Command("go", "build", "-trimpath", "-o", exe, ".")
	cmd.Dir = dir
	if cmd.Env, _, err = b.environment(t.Context(), tg, c); err != nil {
		t.Fatal(err)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var m *MismatchError
	if err := ReadBack(exe, tg); !errors.As(err, &m) || !strings.Contains(m.Got, ".dll") {
		t.Errorf("a program linked without -static: %v", err)
	}
}

// TestSilentFallback checks that a linker which the compiler silently does not use is found out.
func TestSilentFallback(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("x86_64-w64-mingw32-ld.lld"); err == nil {
		t.Log("mingw's gcc has an lld here, and uses it")
		return
	}
	b := newBuilder(t, copyModule(t, "cgo"))
	tg := target(t, "cgo", "windows/amd64 mingw")
	tg.LDFlags = []string{"-extldflags=-fuse-ld=lld"}
	dst := filepath.Join(t.TempDir(), "cgo.exe")
	_, err := b.Compile(t.Context(), tg, dst)
	var missing *MissingError
	if errors.As(err, &missing) {
		need(t, missing.Tool, missing.Package)
	}
	var m *MismatchError
	var c *CompileError // a gcc that does look for it says so
	if !errors.As(err, &m) && !errors.As(err, &c) {
		t.Errorf("mingw's gcc without an lld: %v", err)
	}
	if m != nil && (m.Want != "LLD" || m.Got != "GNU ld") {
		t.Errorf("linkers are %s and %s", m.Want, m.Got)
	}
	if _, err := os.Stat(dst); !os.IsNotExist(err) {
		t.Errorf("the file is there: %v", err)
	}
}

// FuzzReadBack checks that no file makes the reader panic.
func FuzzReadBack(f *testing.F) {
	f.Add(testImage(2))
	f.Add([]byte("\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 100)))
	f.Add([]byte{})
	windows, linux := Target{Platform: Platform{OS: "windows", Arch: "amd64"}}, Target{Platform: Platform{OS: "linux", Arch: "amd64"}}
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		if err := (check{target: windows, size: r.Size()}).pe(r); err != nil && !errors.As(err, new(*MismatchError)) {
			t.Errorf("as PE: %v", err)
		}
		if err := (check{target: linux, size: r.Size()}).elf(r); err != nil && !errors.As(err, new(*MismatchError)) {
			t.Errorf("as ELF: %v", err)
		}
		if _, err := (check{target: linux, size: r.Size()}).buildInfo(r); err == nil {
			t.Log("a Go program")
		}
	})
}
