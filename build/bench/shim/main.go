// Shim stands in front of the tools that the go command runs, and writes down what each has used. The benchmark compiles
// it when it needs it; see ../profile.go.
//
// By go build -toolexec it is called with a tool of Go and its arguments, by a C compiler's name with the compiler's.
// It runs the program, with the same output and exit code, and appends one line of JSON to the file that
// HALLMARK_SHIM_LOG names. A C compiler is looked for in the folders of HALLMARK_SHIM_PATH.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// record is one line of the log. Bytes and seconds; Peak is that of the program or of a program that it waited for.
type record struct {
	Tool   string // compile, asm, link, cgo, …; cc for a C compiler
	Under  string // the Go tool that ran it, "" for the go command
	Kind   string // of cc: compile, link, final, other; of a tool of Go: version, when it is asked for that
	Wall   float64
	CPU    float64
	Peak   int64
	Caller int64 // of cc under link: the peak of the Go linker until now
}

func main() {
	code, err := run(os.Args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "hallmark's shim:", err)
		code = 1
	}
	os.Exit(code)
}

func run(args []string) (int, error) {
	r := record{Under: os.Getenv("HALLMARK_SHIM_TOOL")}
	name := strings.TrimSuffix(filepath.Base(args[0]), ".exe")
	if name == "hallmark-shim" {
		if len(args) < 2 {
			return 1, errors.New("there is no tool to run")
		}
		args = args[1:]
		r.Tool = strings.TrimSuffix(filepath.Base(args[0]), ".exe")
		os.Setenv("HALLMARK_SHIM_TOOL", r.Tool)
		if len(args) == 2 && args[1] == "-V=full" {
			r.Kind = "version"
		}
	} else {
		r.Tool, r.Kind = "cc", kind(args[1:])
		if r.Under == "link" {
			r.Caller = peakOf(os.Getppid())
		}
		os.Setenv("PATH", os.Getenv("HALLMARK_SHIM_PATH"))
		path, err := exec.LookPath(name)
		if err != nil {
			return 1, err
		}
		args = append([]string{path}, args[1:]...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	start := time.Now()
	err := cmd.Run()
	r.Wall = time.Since(start).Seconds()
	state := cmd.ProcessState
	if state == nil {
		return 1, err
	}
	r.CPU = state.UserTime().Seconds() + state.SystemTime().Seconds()
	r.Peak = peak(state)
	line, err := json.Marshal(r)
	if err != nil {
		return 1, err
	}
	f, err := os.OpenFile(os.Getenv("HALLMARK_SHIM_LOG"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return 1, err
	}
	// One write, so that lines of tools that end at the same time do not mix.
	_, err = f.Write(append(line, '\n'))
	if err := errors.Join(err, f.Close()); err != nil {
		return 1, err
	}
	return state.ExitCode(), nil
}

// kind tells what a C compiler is asked for: final is the link that makes the program, from the object that cmd/link
// calls go.o.
func kind(args []string) string {
	output := false
	for _, a := range args {
		switch {
		case a == "-c":
			return "compile"
		case a == "-o":
			output = true
		case filepath.Base(a) == "go.o":
			return "final"
		case strings.HasPrefix(a, "@"):
			if list, err := os.ReadFile(a[1:]); err == nil && strings.Contains(string(list), "go.o") {
				return "final"
			}
		case a == "-###" || a == "--version" || a == "-E" || a == "-fsyntax-only" || strings.HasPrefix(a, "--print") || strings.HasPrefix(a, "-print"):
			return "other"
		case filepath.Base(a) == "trivial.c":
			return "other"
		}
	}
	if output {
		return "link"
	}
	return "other"
}

// peakOf returns the largest resident set that a living process has had, 0 where it is not known.
func peakOf(pid int) int64 {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmHWM:" {
			n, _ := strconv.ParseInt(f[1], 10, 50)
			return n << 10
		}
	}
	return 0
}
