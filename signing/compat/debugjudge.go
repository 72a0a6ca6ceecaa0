package compat

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

// SplitDebug copies an ELF file to dst without symbols and debug information, and
// those to dst.debug, with a link from one to the other: what a release does
// that strips and can still be debugged. It needs binutils.
func SplitDebug(ctx context.Context, src, dst string) error {
	p := program{name: "objcopy", pkg: "binutils"}
	for _, args := range [][]string{
		{"--only-keep-debug", argument(src), argument(dst + ".debug")},
		{"--strip-all", argument(src), argument(dst)},
		{"--add-gnu-debuglink=" + dst + ".debug", argument(dst)},
	} {
		a, err := p.run(ctx, "", nil, args...)
		if err != nil {
			return err
		}
		if a.exit != 0 {
			return p.unclear(a, "splitting off the debug information: "+last(a.stderr))
		}
	}
	return nil
}

// DebugJudge returns the judge of scheme Debugs. It accepts a build of
// DebuggedSource iff every breakpoint that was hit before, in the same build
// unsigned, is hit by as great a share, every goroutine seen and memory right.
// Like those of RunJudges it runs the caller's own files only.
func DebugJudge(s Sample, before Debugging) Judge {
	p := dlv()
	return Judge{
		Name: "delve", Scheme: Debugs,
		Limits:  "Breakpoints by line, goroutines, and memory by address; variables and stacks are not looked at, and Windows programs are not debugged here.",
		FindKey: p.key, Find: p.find,
		Verify: func(ctx context.Context, file string, _ Trust) error {
			k, err := s.allow(runNative, file)
			if err != nil {
				return err
			}
			if k.library || k.format != "elf" {
				return &LimitError{Judge: p.name, Limit: "it debugs this machine's programs"}
			}
			after, err := Debug(ctx, DebugTarget{File: file, Rounds: len(before.Views)})
			if err != nil {
				return err
			}
			if worse := after.worse(before); worse != "" {
				return &RefusalError{Judge: p.name, Reason: worse}
			}
			return nil
		},
		Command: func(file string, _ Trust) string {
			return line(p.name, "exec", file, "--", strconv.Itoa(len(before.Views)))
		},
	}
}

// worse says what could be seen before, and not any more; empty: nothing.
func (d Debugging) worse(before Debugging) string {
	now := map[int]DebuggedLine{}
	for _, l := range d.Lines {
		now[l.Line] = l
	}
	for _, l := range before.Lines {
		switch n, ok := now[l.Line]; {
		case l.Hits == 0:
		case !ok:
			return fmt.Sprintf("no breakpoint can be set on line %d", l.Line)
		case n.Runs*l.Hits > n.Hits*l.Runs:
			return fmt.Sprintf("the breakpoint on line %d is hit %d times in %d, where it was %d in %d", l.Line, n.Hits, n.Runs, l.Hits, l.Runs)
		}
	}
	if len(d.Views) != len(before.Views) {
		return fmt.Sprintf("it is stopped in %d rounds of %d", len(d.Views), len(before.Views))
	}
	for i, v := range d.Views {
		b := before.Views[i]
		switch {
		case b.Seen == b.Own && v.Seen != v.Own:
			return fmt.Sprintf("round %d: %d goroutines of %d are seen", i, v.Seen, v.Own)
		case b.Memory && !v.Memory:
			return fmt.Sprintf("round %d: memory at a known address is not what the program wrote", i)
		case !b.Torn && v.Torn:
			return fmt.Sprintf("round %d: memory that is being written is read torn", i)
		}
	}
	return ""
}

// Profiles is the scheme of the judge that asks whether a profile's places can
// still be found in a file.
const Profiles = "profile"

// ProfileJudge returns the judge of scheme Profiles. It accepts a build of
// DebuggedSource iff go tool pprof finds every place of a CPU profile of it in the
// file, and the same as the program said. Like those of RunJudges it runs the
// caller's own files only.
func ProfileJudge(s Sample) Judge {
	p := pprofTool("")
	p.version, p.match = []string{"version"}, regexp.MustCompile(`go version go(\S+)`)
	return Judge{
		Name: "pprof", Scheme: Profiles,
		Limits:  "Windows programs are profiled under Wine. Lines are compared; the names of inlined functions are not.",
		FindKey: p.key, Find: p.find,
		Verify: func(ctx context.Context, file string, _ Trust) error {
			k, err := readKind(file)
			if err != nil {
				return err
			}
			if _, err := s.allow(k.judge(), file); err != nil {
				return err
			}
			found, err := Profile(ctx, file, file)
			if err == nil && found.Right != found.Frames {
				err = &RefusalError{Judge: "pprof", Reason: fmt.Sprintf("of %d places %d are found", found.Frames, found.Right), Output: short(fmt.Sprint(found.Wrong))}
			}
			return err
		},
		Command: func(file string, _ Trust) string {
			return line(argument(file), "profile", "cpu.pprof") + " && " + line("go", "tool", "pprof", "-raw", argument(file), "cpu.pprof")
		},
	}
}

// TornReads reads memory that a build of DebuggedSource is writing, so often,
// without stopping the program, and returns how often what it read was not of one
// moment: what a debugger would see that did not stop it. It reads as Delve is asked
// to, part by part, which takes it about as long. Linux only.
func TornReads(ctx context.Context, file string, reads int) (count int, err error) {
	path, err := filepath.Abs(file)
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, path, "wait")
	cmd.Env = environment()
	cmd.WaitDelay = waitDelay
	ownGroup(cmd)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer func() { killGroup(cmd); _ = cmd.Wait() }()
	var m []string
	for in := bufio.NewScanner(out); m == nil && in.Scan(); {
		m = regexp.MustCompile(`^debugged: moving (\d{1,18}) (\d{1,7})$`).FindStringSubmatch(in.Text())
	}
	if m == nil {
		return 0, errors.New("the program does not say where its memory is")
	}
	at, _ := strconv.ParseInt(m[1], 10, 64)
	size, _ := strconv.Atoi(m[2])
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	defer memory.Close()
	data := make([]byte, size)
	for range reads {
		for i := 0; i < size; i += delvePart {
			if _, err := memory.ReadAt(data[i:min(i+delvePart, size)], at+int64(i)); err != nil {
				return 0, err
			}
			time.Sleep(100 * time.Microsecond)
		}
		if torn(data) {
			count++
		}
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
	}
	return count, nil
}
