package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/hallmark-build/hallmark/build/environ"
)

// killDelay is how long a command that was asked to stop may take, before it is killed.
const killDelay = 3 * time.Second

// maxOutput bounds what is kept of a failing compiler's words, in bytes: the end, where the reason is.
const maxOutput = 4 << 10

// A usage is what a command and all that it ran has used.
type usage struct {
	wall  float64 // seconds
	cpu   float64 // seconds of user and system time
	self  float64 // those of the command's own process; -1: not known
	peak  int64   // bytes, largest resident set of one process; 0: not known
	start time.Time
}

// A command is a program to be measured.
type command struct {
	args   []string
	dir    string
	env    []string
	pinned []int // processors; nil: all
}

// A commandError is a command that failed, with the end of what it said.
type commandError struct {
	name   string
	output string
	err    error
}

func (e *commandError) Error() string { return fmt.Sprintf("%s: %v\n%s", e.name, e.err, e.output) }
func (e *commandError) Unwrap() error { return e.err }

// run runs a command to its end and measures it. Its output goes to a file, which costs it no more than a terminal does.
// When ctx ends, so does the command with all that it started, and the error is the context's.
func (c command) run(ctx context.Context) (usage, error) {
	u, output, err := c.output(ctx)
	if err == nil || ctx.Err() != nil {
		return u, err
	}
	return u, &commandError{name: strings.Join(c.args[:min(2, len(c.args))], " "), output: tail(output), err: err}
}

// output is run, and returns what the command wrote.
func (c command) output(ctx context.Context) (usage, []byte, error) {
	out, err := os.CreateTemp("", "hallmark-output-")
	if err != nil {
		return usage{}, nil, err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	cmd := exec.CommandContext(ctx, c.args[0], c.args[1:]...)
	cmd.Dir, cmd.Env = c.dir, c.env
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = killDelay
	u, err := measure(cmd, c.pinned)
	if ctx.Err() != nil {
		return u, nil, context.Cause(ctx)
	}
	output, readErr := os.ReadFile(out.Name())
	return u, output, errors.Join(err, readErr)
}

// tail returns the end of an output, from the beginning of a line.
func tail(output []byte) string {
	output = bytes.TrimSpace(output)
	if len(output) > maxOutput {
		output = output[len(output)-maxOutput:]
		if i := bytes.IndexByte(output, '\n'); i >= 0 {
			output = output[i+1:]
		}
		return "…\n" + string(bytes.ToValidUTF8(output, nil))
	}
	return string(bytes.ToValidUTF8(output, nil))
}

// childEnv returns the environment for tools, and the programs that they have made; their words in English.
func childEnv(ctx context.Context, more ...string) []string {
	return append(environ.Tools(ctx, "LC_ALL=C"), more...)
}
