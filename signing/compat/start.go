package compat

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Runs is the scheme of judges that start a file: a signature that keeps a
// program from running is none. They are asked about programs and libraries,
// signed in whichever way or not at all.
const Runs = "run"

// Sample says which files may be run and what they do. Nothing else is run:
// the judges execute what they are given.
type Sample struct {
	Dirs   []string // files below these folders are the caller's own; others are a LimitError
	Words  string   // a program prints these
	Title  string   // of the window that a program for windows opens
	Symbol string   // a library exports this function; SYMBOL(20, 22) is 42
	Shots  string   // folder, which must be there, for pictures of windows; empty: none are kept
}

// RunJudges returns the judges of scheme Runs. Each starts one kind of file,
// told by the header, and says of others that they are beyond its limits;
// RunJudge tells which one to ask.
//
// To accept is to have seen the sample do what it does. To refuse is what a
// loader or kernel answers in words or error numbers that are known here. A
// program that ends by a signal or a fault has crashed.
func RunJudges(s Sample) []Judge {
	return []Judge{s.native(), s.qemuUser(), s.wine(), s.wineWindow()}
}

// Names of the judges of RunJudges.
const (
	runNative = "native"
	runQemu   = "qemu-aarch64"
	runWine   = "wine"
	runWindow = "wine-window"
)

// RunJudge returns the name of the judge of RunJudges that runs files like
// this one; empty: none does.
func RunJudge(file string) (string, error) {
	k, err := readKind(file)
	return k.judge(), err
}

// kind is what a file's header says that it is.
type kind struct {
	format   string // "elf", "pe", or empty
	machine  uint16 // of the format's own numbers
	library  bool
	windowed bool
}

// judge returns the name of the judge that runs it.
func (k kind) judge() string {
	machine := elf.Machine(k.machine)
	switch {
	case k.format == "pe" && k.machine != 0 && k.machine != peAMD64:
		return ""
	case k.format == "pe" && k.windowed && !k.library:
		return runWindow
	case k.format == "pe":
		return runWine
	case k.format == "elf" && machine == elf.EM_AARCH64 && runtime.GOARCH != "arm64":
		if k.library {
			return ""
		}
		return runQemu
	}
	// A header that nobody knows is for the kernel to refuse.
	return runNative
}

const peAMD64 = 0x8664

// readKind reads the header as far as it is there. What is damaged is left at
// zero: whether such a file starts is what a judge is asked.
func readKind(file string) (kind, error) {
	f, err := os.Open(file)
	if err != nil {
		return kind{}, err
	}
	defer f.Close()
	head := make([]byte, 4096)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return kind{}, err
	}
	head = head[:n]
	switch {
	case bytes.HasPrefix(head, []byte(elf.ELFMAG)):
		return readELFKind(f, head), nil
	case bytes.HasPrefix(head, []byte("MZ")):
		return readPEKind(head), nil
	}
	return kind{}, nil
}

// readELFKind tells libraries from position-independent executables, both
// ET_DYN, by what only the latter have: an interpreter or the flag DF_1_PIE.
func readELFKind(r io.ReaderAt, head []byte) kind {
	k := kind{format: "elf"}
	if len(head) >= 20 {
		k.machine = binary.LittleEndian.Uint16(head[18:])
	}
	f, err := elf.NewFile(r)
	if err != nil || f.Type != elf.ET_DYN {
		return k
	}
	flags, err := f.DynValue(elf.DT_FLAGS_1)
	pie := err == nil && slices.ContainsFunc(flags, func(v uint64) bool { return v&uint64(elf.DF_1_PIE) != 0 })
	interp := slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
	k.library = !pie && !interp
	return k
}

// readPEKind reads Machine and Characteristics of the COFF header, and
// Subsystem, which is at the same place in PE32 and PE32+.
func readPEKind(head []byte) kind {
	const dll, gui = 0x2000, 2
	k := kind{format: "pe"}
	if len(head) < 64 {
		return k
	}
	at := int64(binary.LittleEndian.Uint32(head[60:]))
	if at+96 > int64(len(head)) || string(head[at:at+4]) != "PE\x00\x00" {
		return k
	}
	coff := head[at+4:]
	k.machine = binary.LittleEndian.Uint16(coff)
	k.library = binary.LittleEndian.Uint16(coff[18:])&dll != 0
	k.windowed = binary.LittleEndian.Uint16(coff[20+68:]) == gui
	return k
}

// allow returns a LimitError unless the file is the caller's own and of the
// judge's kind.
func (s Sample) allow(judge, file string) (kind, error) {
	real, err := filepath.EvalSymlinks(file)
	if err != nil {
		return kind{}, err
	}
	if real, err = filepath.Abs(real); err != nil {
		return kind{}, err
	}
	own := slices.ContainsFunc(s.Dirs, func(dir string) bool {
		dir, err := filepath.EvalSymlinks(dir)
		if err == nil {
			dir, err = filepath.Abs(dir)
		}
		rel, relErr := filepath.Rel(dir, real)
		return err == nil && relErr == nil && filepath.IsLocal(rel)
	})
	if !own {
		return kind{}, &LimitError{Judge: judge, Limit: "it runs files of the map's own making only, and this is none"}
	}
	k, err := readKind(real)
	if err != nil {
		return k, err
	}
	if asked := k.judge(); asked != judge {
		limit := "no judge here runs such a file"
		if asked != "" {
			limit = "this kind of file is run by " + asked
		}
		return k, &LimitError{Judge: judge, Limit: limit}
	}
	if k.library && s.Symbol == "" {
		return k, &LimitError{Judge: judge, Limit: "no function of the library is named to call"}
	}
	return k, nil
}

// expected are the words that the file prints.
func (s Sample) expected(k kind) string {
	if k.library {
		return s.Symbol + "(20, 22) = 42"
	}
	return s.Words
}

// start executes a file, again while some process that is just being started
// still holds it open for writing (ETXTBSY, golang/go#22315).
func (p program) start(ctx context.Context, path string, args ...string) (answer, error) {
	for i := 0; ; i++ {
		a, err := p.execute(ctx, path, filepath.Dir(path), nil, args...)
		if i == 10 || !errors.Is(err, syscall.ETXTBSY) {
			return a, err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// loaderWords are what loaders print. A kernel's refusals are error numbers.
//
//	ld.so:   FILE: error while loading shared libraries: …
//	         Inconsistency detected by ld.so: …
//	load.c:  load: FILE: file too short
//	qemu:    qemu-aarch64: FILE: Invalid ELF image for this architecture
//	         Error while loading FILE: Exec format error
const loaderWords = `(?m)^.*(?:error while loading shared libraries: |Inconsistency detected by ld\.so: |^load: |Invalid ELF image for this architecture|Error while loading ).*$`

// faults are what Go's runtime prints when it meets one.
const faults = `(?m)^(?:\[signal SIG\w+: |Exception 0x[0-9a-f]+ |fatal error: |runtime: unexpected return pc).*$`

// read turns what a started file did into a verdict.
func (p program) read(a answer, err error, words string) error {
	var errno syscall.Errno
	if a.exit == -1 && errors.As(err, &errno) && errno != syscall.ETXTBSY {
		return &RefusalError{Judge: p.name, Reason: "the kernel does not execute it: " + errno.Error()}
	}
	if err != nil {
		return err
	}
	if fault := regexp.MustCompile(faults).FindString(a.stderr); fault != "" {
		return &CrashError{Tool: p.name, Reason: short(fault), Output: a.quote()}
	}
	if refusal := regexp.MustCompile(loaderWords).FindString(a.stderr); refusal != "" && a.exit != 0 {
		return p.refuse(a, refusal)
	}
	switch {
	case a.exit != 0:
		return p.unclear(a, fmt.Sprintf("the file ran, and ended with exit code %d", a.exit))
	case words == "" || !strings.Contains(a.stdout, words):
		return p.unclear(a, fmt.Sprintf("the file ran, but did not print %q", words))
	}
	return nil
}

// native runs files on this machine.
func (s Sample) native() Judge {
	p := program{name: runNative}
	return Judge{
		Name: p.name, Scheme: Runs,
		Limits: "This machine's kernel and C library run the file, or a small C program loads it. Nothing of the signature is looked at: what the kernel enforces is asked elsewhere.",
		Find: func(context.Context) (string, error) {
			release, err := os.ReadFile("/proc/sys/kernel/osrelease")
			if err != nil {
				return "", &MissingError{Tool: "Linux", Package: "none: other systems do not run these files"}
			}
			return strings.TrimSpace(string(release)), nil
		},
		Verify: func(ctx context.Context, file string, _ Trust) error {
			k, err := s.allow(p.name, file)
			if err != nil {
				return err
			}
			path, err := filepath.Abs(file)
			if err != nil {
				return err
			}
			if !k.library {
				a, err := p.start(ctx, path)
				return p.read(a, err, s.expected(k))
			}
			dir, err := os.MkdirTemp("", "hallmark-load-*")
			if err != nil {
				return err
			}
			defer os.RemoveAll(dir)
			loader := filepath.Join(dir, "load")
			gcc := program{name: "gcc", pkg: "gcc libc6-dev"}
			if err := gcc.compile(ctx, "load.c", loader, "-ldl"); err != nil {
				return err
			}
			a, err := p.start(ctx, loader, path, s.Symbol)
			return p.read(a, err, s.expected(k))
		},
		Command: func(file string, _ Trust) string {
			if path, err := filepath.Abs(file); err == nil {
				file = path
			}
			if k, err := readKind(file); err == nil && k.library {
				const source = `#include <dlfcn.h>
#include <stdio.h>
int main(int n, char **a) { int (*f)(int, int) = dlsym(dlopen(a[1], RTLD_NOW), a[2]); return f ? !printf("%d\n", f(20, 22)) : !!puts(dlerror()); }`
				return line("printf", "%s", source) + " | gcc -x c -o load - -ldl && " + line("./load", file, s.Symbol)
			}
			return line(file)
		},
	}
}

// aarch64Root is where Debian's cross compilers have the C library of arm64.
const aarch64Root = "/usr/aarch64-linux-gnu"

// qemuUser runs Linux programs for arm64 by emulation.
func (s Sample) qemuUser() Judge {
	p := program{
		name: runQemu, pkg: "qemu-user", places: []string{"/usr/bin/qemu-aarch64-static"},
		version: []string{"--version"}, match: regexp.MustCompile(`qemu-aarch64 version (\S+)`),
	}
	args := func(file string) []string { return []string{"-L", aarch64Root, file} }
	return Judge{
		Name: p.name, Scheme: Runs,
		Limits:  "QEMU loads the program and emulates the processor; system calls are this machine's. Dynamic programs get the C library of Debian's cross compiler.",
		FindKey: p.key, Find: p.find,
		Verify: func(ctx context.Context, file string, _ Trust) error {
			k, err := s.allow(p.name, file)
			if err != nil {
				return err
			}
			path, err := filepath.Abs(file)
			if err != nil {
				return err
			}
			a, err := p.run(ctx, filepath.Dir(path), nil, args(path)...)
			return p.read(a, err, s.expected(k))
		},
		Command: func(file string, _ Trust) string {
			return line(append([]string{p.name}, args(argument(file))...)...)
		},
	}
}

// shot is where the picture of a file's window is kept.
func (s Sample) shot(file string) string {
	sum := sha256.Sum256([]byte(file))
	return filepath.Join(s.Shots, fmt.Sprintf("%s-%x.png", filepath.Base(file), sum[:4]))
}

// Shot returns the picture (PNG) of the window that the file opened when it was
// last judged; empty: there is none.
func (s Sample) Shot(file string) string {
	if s.Shots == "" {
		return ""
	}
	if _, err := os.Stat(s.shot(file)); err != nil {
		return ""
	}
	return s.shot(file)
}
