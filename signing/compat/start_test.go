package compat

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"image/png"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// sampleSource is a program that prints, or, without a standard output, shows a
// message box.
const sampleSource = `package main

import (
	"syscall"
	"unsafe"
)

func main() {
	text := []byte("sum of 20 and 22: 42\n")
	if out, err := syscall.GetStdHandle(syscall.STD_OUTPUT_HANDLE); err == nil {
		if n, err := syscall.Write(out, text); n > 0 && err == nil {
			return
		}
	}
	message, _ := syscall.UTF16PtrFromString(string(text))
	title, _ := syscall.UTF16PtrFromString("hallmark's (sample)")
	syscall.NewLazyDLL("user32.dll").NewProc("MessageBoxW").Call(0, uintptr(unsafe.Pointer(message)), uintptr(unsafe.Pointer(title)), 0)
}
`

// sampleC is the same for C, as a program and as a library.
const sampleC = `#include <stdio.h>
#ifdef _WIN32
__declspec(dllexport)
#endif
int Add(int a, int b) { return a + b; }
int main(void) { printf("sum of 20 and 22: %d\n", Add(20, 22)); return 0; }
`

// goSample compiles sampleSource for Windows, with linker flags.
func goSample(t *testing.T, w *world, name, ldflags string) {
	t.Helper()
	w.write("windows/main.go", []byte(sampleSource))
	w.write("windows/go.mod", []byte("module sample\n\ngo 1.24\n"))
	command(t, w.path("windows"), []string{"GOOS=windows", "GOARCH=amd64", "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false", "GOWORK=off"},
		"go", "build", "-ldflags=-s -w "+ldflags, "-o", w.path(name), ".")
}

// cSample compiles sampleC.
func cSample(t *testing.T, w *world, compiler, pkg, name string, options ...string) {
	t.Helper()
	need(t, compiler, pkg)
	w.write("sample.c", []byte(sampleC))
	command(t, w.dir, nil, compiler, append(options, "-s", "-o", name, "sample.c")...)
}

func (w *world) sample() Sample {
	return Sample{Dirs: []string{w.dir}, Words: "sum of 20 and 22: 42", Title: "hallmark's (sample)", Symbol: "Add", Shots: w.dir}
}

// executable writes a damaged twin.
func (w *world) executable(name string, data []byte) string {
	file := w.write(name, data)
	if err := os.Chmod(file, 0o755); err != nil {
		w.t.Fatal(err)
	}
	return file
}

// put changes a number in a copy.
func put(data []byte, at int, value []byte) []byte {
	data = bytes.Clone(data)
	copy(data[at:], value)
	return data
}

// start asks the judge that RunJudge names, and holds its answer against want:
// the beginning of Got.
func start(t *testing.T, s Sample, file, want string) Result {
	t.Helper()
	name := must(RunJudge(file))(t)
	for _, j := range RunJudges(s) {
		if j.Name != name {
			continue
		}
		r := Run(t.Context(), []Judge{j}, []Case{{File: file, Scheme: Runs}}, Trust{}, 1)[0]
		got := r.Got
		if r.Status == Skip {
			got = "skip: " + r.Reason
		}
		if !strings.HasPrefix(got, want) || want == "" {
			t.Errorf("%s: %s says %q, want %q: %s\n%s", filepath.Base(file), name, got, want, r.Reason, r.Output)
		}
		if r.Status != Skip && (r.Version == "" || r.Command == "" || name != runNative && r.Path == "") {
			t.Errorf("%s: version %q, path %q, command %q: none may be empty", name, r.Version, r.Path, r.Command)
		}
		return r
	}
	t.Fatalf("%s: no judge %q", file, name)
	return Result{}
}

func TestStartNative(t *testing.T) {
	t.Parallel()
	w := newWorldless(t)
	s := w.sample()
	cSample(t, w, "gcc", "gcc libc6-dev", "dynamic")
	cSample(t, w, "gcc", "gcc libc6-dev", "fixed", "-static", "-no-pie")
	cSample(t, w, "gcc", "gcc libc6-dev", "libsample.so", "-shared", "-fPIC")
	for _, name := range []string{"dynamic", "fixed", "libsample.so"} {
		checkCommand(t, start(t, s, w.path(name), "accept"))
	}
	// A signature behind the file changes nothing.
	start(t, s, w.executable("signed", appendSignature(w.read("fixed"), []byte("signature"))), "accept")
	start(t, s, w.executable("signed.so", appendSignature(w.read("libsample.so"), []byte("signature"))), "accept")

	// Offsets in the ELF header: e_machine 18, e_entry 24, e_phoff 32.
	fixed, library := w.read("fixed"), w.read("libsample.so")
	start(t, s, w.executable("machine", put(fixed, 18, []byte{byte(elf.EM_ARM), 0})), "refuse")
	start(t, s, w.executable("text", []byte("no program")), "refuse")
	start(t, s, w.executable("short", fixed[:100]), "refuse")
	start(t, s, w.executable("program headers", put(fixed, 32, bytes.Repeat([]byte{0xff}, 8))), "refuse")
	start(t, s, w.executable("interpreter", bytes.Replace(w.read("dynamic"), []byte("/lib64/ld-linux"), []byte("/lib99/ld-linux"), 1)), "refuse")
	start(t, s, w.executable("needed", bytes.Replace(w.read("dynamic"), []byte("libc.so.6"), []byte("libc.so.9"), 1)), "refuse")
	start(t, s, w.write("not executable", fixed), "refuse")
	start(t, s, w.executable("short.so", library[:100]), "refuse")
	start(t, s, w.executable("symbol.so", bytes.ReplaceAll(library, []byte("\x00Add\x00"), []byte("\x00Bad\x00"))), "refuse")
	start(t, s, w.executable("entry", put(fixed, 24, []byte{1, 0, 0, 0, 0, 0, 0, 0})), "crashed: signal: segmentation fault")
	entry := int(binary.LittleEndian.Uint64(fixed[24:]) - 0x400000)
	start(t, s, w.executable("instruction", put(fixed, entry, []byte{0x0f, 0x0b})), "crashed: signal: illegal instruction")
	start(t, s, w.executable("words", bytes.Replace(fixed, []byte("sum of"), []byte("mus of"), 1)), "unclear: the file ran, but did not print")
}

// What is not the caller's own is not started.
func TestStartOwn(t *testing.T) {
	t.Parallel()
	w := newWorldless(t)
	ran := w.path("ran")
	file := w.executable("other/file", []byte("#!/bin/sh\ntouch "+quote(ran)+"\necho 'sum of 20 and 22: 42'\n"))
	if err := os.MkdirAll(w.path("own"), 0o755); err != nil {
		t.Fatal(err)
	}
	link := w.path("own/link")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	s := w.sample()
	for _, dirs := range [][]string{nil, {w.path("own")}, {w.path("oth")}, {w.path("absent")}} {
		s.Dirs = dirs
		for _, file := range []string{file, link, w.path("own/../other/file")} {
			start(t, s, file, "skip: native: it runs files of the map's own making only")
		}
	}
	if _, err := os.Stat(ran); err == nil {
		t.Fatal("it ran")
	}
	s.Dirs = []string{w.path("other")}
	start(t, s, file, "accept")
	if _, err := os.Stat(ran); err != nil {
		t.Error("the twin did not run")
	}
}

func TestStartQemu(t *testing.T) {
	t.Parallel()
	need(t, runQemu, "qemu-user")
	w := newWorldless(t)
	s := w.sample()
	cSample(t, w, "aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu libc6-dev-arm64-cross", "dynamic")
	cSample(t, w, "aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu libc6-dev-arm64-cross", "fixed", "-static", "-no-pie")
	checkCommand(t, start(t, s, w.path("dynamic"), "accept"))
	checkCommand(t, start(t, s, w.path("fixed"), "accept"))
	fixed := w.read("fixed")
	start(t, s, w.executable("class", put(fixed, 4, []byte{1})), "refuse")
	start(t, s, w.executable("entry", put(fixed, 24, []byte{4, 0, 0, 0, 0, 0, 0, 0})), "crashed: signal: segmentation fault")
}

// needWine skips without Wine or what it takes to run programs in it.
func needWine(t *testing.T) {
	t.Helper()
	need(t, "x86_64-w64-mingw32-gcc", "gcc-mingw-w64-x86-64")
	if _, err := wineTool().key(); err != nil {
		if os.Getenv("HALLMARK_STRICT") == "1" {
			t.Fatal(err)
		}
		t.Skip("SKIP: ", err)
	}
}

func TestStartWine(t *testing.T) {
	t.Parallel()
	needWine(t)
	w := newWorldless(t)
	s := w.sample()
	goSample(t, w, "go.exe", "")
	cSample(t, w, "x86_64-w64-mingw32-gcc", "gcc-mingw-w64-x86-64", "c.exe")
	cSample(t, w, "x86_64-w64-mingw32-gcc", "gcc-mingw-w64-x86-64", "c.dll", "-shared")
	checkCommand(t, start(t, s, w.path("go.exe"), "accept"))
	start(t, s, w.path("c.dll"), "accept")
	start(t, s, w.write("it's $HOME.exe", w.read("c.exe")), "accept")

	exe, dll := w.read("c.exe"), w.read("c.dll")
	pe := int(binary.LittleEndian.Uint32(exe[60:]))
	start(t, s, w.write("half.exe", exe[:len(exe)/2]), "refuse")
	start(t, s, w.write("signature.exe", put(exe, pe, []byte("PX"))), "refuse")
	start(t, s, w.write("import.exe", bytes.ReplaceAll(exe, []byte("KERNEL32.dll"), []byte("KERNEL99.dll"))), "refuse")
	start(t, s, w.write("half.dll", dll[:len(dll)/2]), "refuse")
	start(t, s, w.write("entry.exe", put(exe, pe+24+16, []byte{0, 0xff, 0xff, 0x7f})), "crashed: exception 0XC0000005")
	start(t, s, w.write("words.exe", bytes.ReplaceAll(exe, []byte("sum of"), []byte("mus of"))), "unclear: the file ran, but did not print")
	arm := w.write("arm64.exe", put(exe, pe+4, []byte{0x64, 0xaa}))
	if name := must(RunJudge(arm))(t); name != "" {
		t.Errorf("a program for arm64 is run by %q", name)
	}
}

func TestStartWindow(t *testing.T) {
	t.Parallel()
	needWine(t)
	need(t, "Xvfb", "xvfb")
	need(t, "xdotool", "xdotool")
	w := newWorldless(t)
	s := w.sample()
	goSample(t, w, "window.exe", "-H=windowsgui")
	file := w.path("window.exe")
	if s.Shot(file) != "" {
		t.Error("a picture before there is one")
	}
	start(t, s, file, "accept")
	m := must(png.Decode(bytes.NewReader(must(os.ReadFile(s.Shot(file)))(t))))(t)
	if size := m.Bounds().Size(); size.X < 100 || size.X >= screenWidth || size.Y < 60 || size.Y >= screenHeight {
		t.Errorf("the picture is %v", m.Bounds())
	}

	exe := w.read("window.exe")
	pe := int(binary.LittleEndian.Uint32(exe[60:]))
	start(t, s, w.write("entry.exe", put(exe, pe+24+16, []byte{0, 0xff, 0xff, 0x7f})), "crashed: exception 0XC0000005")
	// The title is in the program as UTF-8. Another one is not the window
	// looked for; the program would show it for ever.
	w.write("title.exe", bytes.ReplaceAll(exe, []byte("hallmark's (sample)"), []byte("hallmark's [sample]")))
	k := must(readKind(w.path("title.exe")))(t)
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
	defer cancel()
	var crash *CrashError
	if err := s.watch(ctx, wineTool(), k, w.path("title.exe")); !errors.As(err, &crash) {
		t.Errorf("another title: %v", err)
	}
}

// A program under Wine that hangs, and its children, end with the limit, and
// Wine with them.
func TestWineEnds(t *testing.T) {
	t.Parallel()
	needWine(t)
	w := newWorldless(t)
	w.write("hang.c", []byte(`#include <windows.h>
#include <stdio.h>
int main(int argc, char **argv) {
	STARTUPINFOA s = {sizeof s};
	PROCESS_INFORMATION p;
	if (argc == 1)
		CreateProcessA(NULL, "cmd /c ping -n 600 127.0.0.1", NULL, NULL, FALSE, DETACHED_PROCESS, NULL, NULL, &s, &p);
	printf("started\n");
	fflush(stdout);
	Sleep(600000);
}
`))
	command(t, w.dir, nil, "x86_64-w64-mingw32-gcc", "-s", "-o", "hang.exe", "hang.c")
	tool := wineTool()
	if _, err := tool.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := must(tool.open(t.Context()))(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	path := must(winePath(w.path("hang.exe")))(t)
	a, err := r.run(ctx, "", nil, path)
	var crash *CrashError
	if !errors.As(err, &crash) || !strings.Contains(a.stdout, "started") {
		t.Errorf("it ends with %v, having said %q", err, a.stdout)
	}
	before := marked("WINEPREFIX=" + r.dir)
	if len(before) == 0 {
		t.Error("nothing to kill: the test proves nothing")
	}
	if err := r.close(); err != nil {
		t.Error(err)
	}
	if left := marked("WINEPREFIX=" + r.dir); len(left) != 0 {
		t.Errorf("left of %d: %v", len(before), left)
	}
	for _, pid := range before {
		if alive(strconv.Itoa(pid)) {
			t.Errorf("process %d is alive", pid)
		}
	}
	if _, err := os.Stat(r.dir); err == nil {
		t.Error("the folder is still there")
	}
}

// xwd is a dump of a screen of 3×2 in its smallest form.
func xwd() []byte {
	b := make([]byte, 100+12+2*16)
	for at, v := range map[int]uint32{0: 100, 4: 7, 8: 2, 12: 24, 16: 3, 20: 2, 44: 32, 48: 16, 56: 0xff0000, 60: 0xff00, 64: 0xff, 76: 1} {
		binary.BigEndian.PutUint32(b[at:], v)
	}
	copy(b[112+16+4:], []byte{3, 2, 1, 0})
	return b
}

func TestReadXWD(t *testing.T) {
	t.Parallel()
	m := must(readXWD(xwd()))(t)
	if r, g, b, _ := m.At(1, 1).RGBA(); r>>8 != 1 || g>>8 != 2 || b>>8 != 3 || !drawn(m, m.Bounds()) {
		t.Errorf("the pixel is %v", m.At(1, 1))
	}
	if drawn(m, m.Bounds().Add(m.Bounds().Size())) || drawn(m, m.Bounds().Inset(1)) {
		t.Error("one colour is no drawing")
	}
	for at, v := range map[int]uint32{0: 1 << 20, 4: 6, 8: 1, 12: 8, 16: 1 << 30, 20: 3, 28: 1, 44: 16, 48: 8, 56: 0xff, 76: 1 << 30} {
		if _, err := readXWD(put(xwd(), at, binary.BigEndian.AppendUint32(nil, v))); err == nil {
			t.Errorf("%d at offset %d is taken", v, at)
		}
	}
	if _, err := readXWD(xwd()[:143]); err == nil {
		t.Error("a dump without its last byte is taken")
	}
}

func FuzzReadXWD(f *testing.F) {
	f.Add(xwd())
	f.Fuzz(func(t *testing.T, data []byte) {
		if m, err := readXWD(data); (m == nil) == (err == nil) {
			t.Error(m, err)
		}
	})
}

func FuzzReadKind(f *testing.F) {
	f.Add([]byte("MZ"))
	f.Add([]byte(elf.ELFMAG))
	f.Fuzz(func(t *testing.T, data []byte) {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readKind(file); err != nil {
			t.Error(err)
		}
	})
}
