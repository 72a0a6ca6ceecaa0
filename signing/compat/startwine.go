package compat

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// starter is the guest program of c/start.c where prepare has put it.
const starter = `C:\windows\system32\start-judged.exe`

// wineArgs are start.c's arguments for a file.
func (s Sample) wineArgs(k kind, file string) ([]string, error) {
	path, err := winePath(file)
	if k.library {
		return []string{starter, "load", path, s.Symbol}, err
	}
	return []string{starter, "run", path}, err
}

// wine runs Windows programs, and loads libraries.
func (s Sample) wine() Judge {
	w := wineTool()
	return Judge{
		Name: runWine, Scheme: Runs,
		Limits:  "Wine's loader, kernel and libraries are not Windows': they look at no signature, and Wine 8 gets a bcryptprimitives.dll of ours.",
		FindKey: w.key, Find: w.find,
		Verify: func(ctx context.Context, file string, _ Trust) error {
			k, err := s.allow(runWine, file)
			if err != nil {
				return err
			}
			args, err := s.wineArgs(k, file)
			if err != nil {
				return err
			}
			a, err := w.guest(ctx, args...)
			if err != nil {
				return err
			}
			return w.readStart(a, k, s.expected(k))
		},
		Command: s.wineCommand,
	}
}

func (s Sample) wineCommand(file string, _ Trust) string {
	w := wineTool()
	key, err := w.key()
	if err != nil {
		return ""
	}
	template, err := w.template()
	if err != nil {
		return ""
	}
	k, err := readKind(file)
	if err != nil {
		return ""
	}
	args, err := s.wineArgs(k, file)
	if err != nil {
		return ""
	}
	return "WINEDEBUG=-all WINEPREFIX=" + quote(template) + " " + line(append([]string{key.Path}, args...)...)
}

// Answers of Windows that mean that it does not start a file at all: a loader's
// statuses (ntstatus.h), and CreateProcess' errors (winerror.h).
func loaderStatus(status uint64) string {
	switch status {
	case 0xC000007B:
		return "STATUS_INVALID_IMAGE_FORMAT"
	case 0xC0000135:
		return "STATUS_DLL_NOT_FOUND"
	case 0xC0000138:
		return "STATUS_ORDINAL_NOT_FOUND"
	case 0xC0000139:
		return "STATUS_ENTRYPOINT_NOT_FOUND"
	case 0xC0000142:
		return "STATUS_DLL_INIT_FAILED"
	}
	return ""
}

func loaderError(number string, k kind) string {
	switch {
	case (number == "2" || number == "3") && k.machine == 0:
		return "there is no PE header, and nothing to run it as a program for DOS"
	case number == "5":
		return "ERROR_ACCESS_DENIED"
	case number == "11":
		return "ERROR_BAD_FORMAT"
	case number == "126":
		return "ERROR_MOD_NOT_FOUND"
	case number == "127":
		return "ERROR_PROC_NOT_FOUND"
	case number == "193":
		return "ERROR_BAD_EXE_FORMAT"
	case number == "216":
		return "ERROR_EXE_MACHINE_TYPE_MISMATCH"
	case number == "1114":
		return "ERROR_DLL_INIT_FAILED"
	}
	return ""
}

// readStart reads the answer of start.c, which ends with one of the lines that
// are named there, and of the file that it has started.
func (w wine) readStart(a answer, k kind, words string) error {
	m := regexp.MustCompile(`(?m)^start: (error|exit|no symbol) (\w+)\r?$`).FindAllStringSubmatch(a.stderr, -1)
	if len(m) == 0 {
		// A library runs inside the starter, and takes it along.
		if fault := regexp.MustCompile(`(?m)^wine: Unhandled .*$`).FindString(a.stderr); fault != "" {
			return &CrashError{Tool: w.name, Reason: short(fault), Output: a.quote()}
		}
		return w.unclear(a, fmt.Sprintf("exit code %d, and not a word of how the file was started", a.exit))
	}
	what, value := m[len(m)-1][1], m[len(m)-1][2]
	if what == "no symbol" {
		return w.refuse(a, "the library does not export the function: "+value)
	}
	if what == "error" {
		if reason := loaderError(value, k); reason != "" {
			return w.refuse(a, "it is not started: "+reason)
		}
		return w.unclear(a, "it is not started: error "+value)
	}
	status, err := strconv.ParseUint(value, 16, 32)
	if err != nil {
		return w.unclear(a, "exit status "+value)
	}
	if reason := loaderStatus(status); reason != "" {
		return w.refuse(a, "the loader gives up: "+reason)
	}
	// Statuses with the highest bit are exceptions that nobody handled.
	if status >= 0x80000000 {
		return &CrashError{Tool: w.name, Reason: fmt.Sprintf("exception %#X", status), Output: a.quote()}
	}
	a.exit = int(status)
	return w.read(a, nil, words)
}

// windowTime is how long a program may take until its window is drawn; a warm
// start takes about a second.
const windowTime = 45 * time.Second

// wineWindow runs Windows programs for windows on a screen that is not there.
func (s Sample) wineWindow() Judge {
	w := wineTool()
	return Judge{
		Name: runWindow, Scheme: Runs,
		Limits: "Wine as above, drawing on Xvfb. A window of the expected title must be there, by xdotool's word, and something must be drawn in it; what it shows is for the eye, in the picture that is kept.",
		FindKey: func() (Key, error) {
			for _, p := range []program{xvfb(), xdotool()} {
				if _, err := p.key(); err != nil {
					return Key{}, err
				}
			}
			return w.key()
		},
		Find: w.find,
		Verify: func(ctx context.Context, file string, _ Trust) error {
			k, err := s.allow(runWindow, file)
			if err != nil {
				return err
			}
			return s.watch(ctx, w, k, file)
		},
		Command: func(file string, trust Trust) string {
			return "DISPLAY=${DISPLAY:-:0} " + s.wineCommand(file, trust)
		},
	}
}

// watch starts the program and looks at the screen until its window is drawn.
func (s Sample) watch(ctx context.Context, w wine, k kind, file string) (err error) {
	screen, err := openScreen(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, screen.close()) }()
	r, err := w.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	r.env = append(slices.Clone(r.env), "DISPLAY="+screen.display)
	args, err := s.wineArgs(k, file)
	if err != nil {
		return err
	}

	type outcome struct {
		answer
		err error
	}
	run, stop := context.WithCancel(ctx)
	ended := make(chan outcome, 1)
	go func() {
		a, err := r.run(run, "", nil, args...)
		ended <- outcome{a, err}
	}()
	end := func() outcome {
		stop()
		killMarked("WINEPREFIX=" + r.dir) // the program outlives its starter, and would hold the pipes
		return <-ended
	}
	for deadline := time.Now().Add(windowTime); ; {
		picture, err := screen.window(ctx, s.Title)
		if err == nil && picture != nil {
			end()
			if s.Shots == "" {
				return nil
			}
			return writePNG(s.shot(file), picture)
		}
		if err != nil {
			end()
			return err
		}
		select {
		case o := <-ended:
			stop()
			if o.err != nil {
				return o.err
			}
			if err := w.readStart(o.answer, k, ""); !strings.Contains(err.Error(), "did not print") {
				return err
			}
			return w.unclear(o.answer, fmt.Sprintf("it ended without a window of the title %q", s.Title))
		case <-ctx.Done():
			return end().err
		case <-time.After(100 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return w.unclear(end().answer, fmt.Sprintf("it runs, but no window of the title %q is drawn within %v", s.Title, windowTime))
		}
	}
}
