package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// Found is a tool and what this machine has of it.
type Found struct {
	Tool
	Path    string // of the program, "" if there is none
	Version string // "12.2.0"; "unknown" if it does not tell; "" when it is missing or was not asked
	Old     bool   // only one of Tool.Older was found
	Err     error  // a *MissingError when it is missing, or present without its headers
}

// MissingError says what of a tool is missing, and how to get it.
type MissingError struct {
	Tool   Tool
	Header string // the pattern without a match; "" when the program itself is missing
}

func (e *MissingError) Error() string {
	what := "missing"
	if e.Header != "" {
		what = "found, but not /" + e.Header
	}
	if e.Tool.Kernel != "" || e.Tool.Take != "" {
		return fmt.Sprintf("%s: %s (`mage setup` fetches it)", e.Tool.Name, what)
	}
	if e.Tool.Module != "" {
		return fmt.Sprintf("%s: %s (go install %s)", e.Tool.Name, what, e.Tool.Module)
	}
	return fmt.Sprintf("%s: %s (apt package %s)", e.Tool.Name, what, strings.Join(e.Tool.Packages, ", "))
}

// Limits of asking a program for its version.
const (
	versionTime   = 5 * time.Second // the slowest, clang from a cold disk, takes about one
	versionOutput = 64 << 10        // bytes; unzip -v prints the most, 3 KiB
)

func stdinIsTerminal() bool { return term.IsTerminal(int(os.Stdin.Fd())) }

// Find looks for tools and asks each for its version, in parallel. The results are in the order of tools.
func Find(ctx context.Context, tools []Tool) []Found { return here().find(ctx, tools) }

func (s system) find(ctx context.Context, tools []Tool) []Found {
	found := s.look(tools)
	var wg sync.WaitGroup
	slots := make(chan struct{}, runtime.NumCPU()+2)
	for i := range found {
		f := &found[i]
		if f.Path == "" || f.Version != "" {
			continue
		}
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			f.Version = s.version(ctx, f.Path, f.Tool.Version)
		})
	}
	wg.Wait()
	return found
}

// look finds tools by their files alone.
func (s system) look(tools []Tool) []Found {
	dirs := s.pathDirs()
	found := make([]Found, len(tools))
	for i, t := range tools {
		f := Found{Tool: t, Path: s.lookFor(dirs, t.Programs)}
		if f.Path == "" && t.Module != "" && s.cache != "" {
			f.Path = lookIn([]string{s.toolDir(t)}, t.Programs)
		}
		if f.Path == "" && t.Take != "" && s.cache != "" {
			if info, err := os.Stat(s.takenFile(t)); err == nil && info.Mode().IsRegular() {
				f.Path = s.takenFile(t)
			}
		}
		if k := s.kernels(t.Kernel); t.Kernel != "" && len(k) > 0 {
			f.Path = k[len(k)-1]
			f.Version = filepath.Base(filepath.Dir(f.Path))
		}
		if f.Path == "" {
			f.Path = lookIn(dirs, t.Older)
			f.Old = f.Path != "" && !llvmIsNew(f.Path)
		}
		if f.Path == "" {
			f.Err = &MissingError{Tool: t}
		} else if h := s.missingHeader(t.Headers); h != "" {
			f.Err = &MissingError{Tool: t, Header: h}
		}
		found[i] = f
	}
	return found
}

// pathDirs are the folders of PATH, without those of Windows: no tool is there, and over WSL's file server each look
// takes a millisecond.
func (s system) pathDirs() []string {
	var dirs []string
	windows := regexp.MustCompile(`^/mnt/[a-z](/|$)`)
	for _, d := range filepath.SplitList(s.getenv("PATH")) {
		if filepath.IsAbs(d) && !(s.goos == "linux" && windows.MatchString(d)) {
			dirs = append(dirs, d)
		}
	}
	return dirs
}

// lookFor looks in dirs for names, and under / for patterns.
func (s system) lookFor(dirs, names []string) string {
	for _, name := range names {
		if !strings.Contains(name, "/") {
			if p := lookIn(dirs, []string{name}); p != "" {
				return p
			}
		} else if m, err := fs.Glob(s.root, name); err == nil && len(m) > 0 {
			return "/" + m[len(m)-1]
		}
	}
	return ""
}

func lookIn(dirs, names []string) string {
	for _, name := range names {
		for _, dir := range dirs {
			p := filepath.Join(dir, name)
			info, err := os.Stat(p)
			if err == nil && info.Mode().IsRegular() && (info.Mode()&0o111 != 0 || runtime.GOOS == "windows") {
				return p
			}
		}
	}
	return ""
}

// llvmIsNew says whether a program without a number in its name is of LLVM 19 or newer, by the folder that it is a
// link into: /usr/lib/llvm-19/bin/clang. A program from elsewhere is taken as it is.
func llvmIsNew(file string) bool {
	real, err := filepath.EvalSymlinks(file)
	if err != nil {
		return true
	}
	m := regexp.MustCompile(`/llvm-([0-9]+)/`).FindStringSubmatch(filepath.ToSlash(real))
	return m == nil || len(m[1]) > 2 || m[1] >= "19" && len(m[1]) == 2
}

func (s system) missingHeader(patterns []string) string {
	if s.goos != "linux" {
		return ""
	}
	for _, p := range patterns {
		if m, err := fs.Glob(s.root, p); err != nil || len(m) == 0 {
			return p
		}
	}
	return ""
}

// version asks a program for its version. Whatever goes wrong, or whatever it says that is not one: "unknown".
func (s system) version(ctx context.Context, file string, args []string) string {
	const unknown = "unknown"
	if len(args) == 0 {
		return unknown
	}
	// The first number with a dot, "gcc (Debian 12.2.0-14) 12.2.0"; else the end of the first line, "gcc (GCC) 12-win32".
	dotted := regexp.MustCompile(`(?:^|[\s(])v?([0-9]{1,6}(?:\.[0-9A-Za-z]{1,20}){1,5})`)
	single := regexp.MustCompile(`^[^\n]*\s([0-9]{1,4}(?:-[a-z0-9]{1,10})?)\n`)
	ctx, cancel := context.WithTimeout(ctx, versionTime)
	defer cancel()
	out, err := s.output(ctx, file, args...)
	if err != nil {
		return unknown
	}
	if v := dotted.FindStringSubmatch(out); v != nil {
		return v[1]
	}
	if v := single.FindStringSubmatch(out); v != nil {
		return v[1]
	}
	return unknown
}

// output runs a program with a limit on what it may print, and returns standard output and error together.
func (s system) output(ctx context.Context, file string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, file, args...)
	cmd.Env = s.childEnv()
	// A grandchild that keeps the pipe open must not keep us waiting.
	cmd.WaitDelay = 500 * time.Millisecond
	out := &limited{n: versionOutput}
	cmd.Stdout, cmd.Stderr = out, out
	err := cmd.Run()
	return out.b.String(), err
}

var errTooMuch = errors.New("more output than expected")

// limited refuses what is written after n bytes, which ends the program that writes it.
type limited struct {
	b bytes.Buffer
	n int
}

func (l *limited) Write(p []byte) (int, error) {
	if l.b.Len()+len(p) > l.n {
		return 0, errTooMuch
	}
	return l.b.Write(p)
}
