package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Replay is the scenario of a link line that is run again by itself, without the go command and its linker, which compares
// the C linkers alone. It is not asked for by name: a run with Relink holds it.
const Replay Scenario = "replay"

// replayCost is what running the link line takes, relative to a relink.
const replayCost = 0.3

// A link is the C linker's command of one toolchain, with the objects that it links.
type link struct {
	job     *job
	series  *Series
	command command
	output  string
	failed  bool
}

// replays tells whether the job's link line is run by itself.
func (s *session) replays(c *job) bool {
	return c.scenario == Relink && c.toolchain.cc != nil && c.toolchain.variant == variant{} && s.options.Size != Quick &&
		(s.options.Size == Full || c.source == s.sources[len(s.sources)-1])
}

// replay measures the link lines of all toolchains, interleaved as builds are.
func (s *session) replay(ctx context.Context) error {
	var links []*link
	for _, c := range s.jobs {
		if !s.replays(c) || c.series.Status != Measured {
			continue
		}
		l, err := s.linkLine(ctx, c)
		if err != nil {
			if ctx.Err() != nil {
				return err
			}
			s.note("%s: no replay: %v", c.dimensions, err)
			continue
		}
		links = append(links, l)
	}
	if len(links) == 0 {
		return nil
	}
	s.log("running the link lines by themselves")
	for n := range 1 + s.options.runs() {
		s.random.Shuffle(len(links), func(i, j int) { links[i], links[j] = links[j], links[i] })
		for _, l := range links {
			if l.failed {
				continue
			}
			sample, err := l.once(ctx)
			if ctx.Err() != nil {
				s.result.Incomplete = "interrupted while the link lines were run by themselves"
				return context.Cause(ctx)
			}
			if err != nil {
				l.failed = true
				s.note("%s: %v", l.series.Dimensions, err)
				continue
			}
			if n == 1 {
				s.series = append(s.series, l.series)
			}
			if n > 0 { // the first is the warm-up
				l.series.Samples = append(l.series.Samples, sample)
			}
		}
	}
	return nil
}

// linkLine relinks the job's program so that cmd/link tells the C linker's command and keeps its objects.
func (s *session) linkLine(ctx context.Context, c *job) (*link, error) {
	dir := filepath.Join(c.work, "link")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	run := c.command
	run.env = append(slices.Clone(run.env), "GOCACHE="+c.group.cache, "GOTMPDIR="+c.group.temp)
	run.args = slices.Clone(run.args)
	for i, a := range run.args {
		if flags, ok := strings.CutPrefix(a, "-ldflags="); ok {
			run.args[i] = "-ldflags=" + flags + " -v -tmpdir=" + dir
		}
	}
	run.args = append(run.args, "-o", filepath.Join(dir, "built"), c.source.Package)
	_, out, err := run.output(ctx)
	if err != nil {
		return nil, &commandError{name: "go build", output: tail(out), err: err}
	}
	args, err := hostLink(out)
	if err != nil {
		return nil, err
	}
	l := &link{job: c, output: outputName(dir, c.toolchain.platform)}
	at := slices.Index(args, "-o")
	if at < 0 || at+1 == len(args) {
		return nil, errors.New("the link line names no output")
	}
	args[at+1] = l.output
	if args[0], err = lookIn(lastValue(run.env, "PATH"), args[0]); err != nil {
		return nil, err
	}
	l.command = command{args: args, dir: c.source.Dir, env: run.env, pinned: s.options.Pin}
	l.series = &Series{Dimensions: c.dimensions.With("scenario", string(Replay)), Status: Measured, Tools: c.series.Tools}
	return l, nil
}

// once links.
func (l *link) once(ctx context.Context) (Sample, error) {
	if err := os.Remove(l.output); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	u, err := l.command.run(ctx)
	if err != nil {
		return nil, err
	}
	if err := l.job.check(l.output); err != nil {
		return nil, err
	}
	s := Sample{UnitWall: u.wall, UnitCPU: u.cpu}
	if u.peak > 0 {
		s[UnitPeak] = float64(u.peak)
	}
	return s, nil
}

// hostLink finds the C linker's command in what cmd/link -v prints: a line of "host link:", then each argument as Go
// quotes strings, separated by spaces.
func hostLink(output []byte) ([]string, error) {
	for line := range bytes.Lines(output) {
		_, rest, ok := strings.Cut(string(line), "host link:")
		if !ok {
			continue
		}
		var args []string
		for rest = strings.TrimSpace(rest); rest != ""; rest = strings.TrimSpace(rest) {
			q, err := strconv.QuotedPrefix(rest)
			if err != nil {
				return nil, fmt.Errorf("the link line cannot be read at %.40q", rest)
			}
			arg, err := strconv.Unquote(q)
			if err != nil {
				return nil, fmt.Errorf("the link line cannot be read at %.40q", rest)
			}
			args, rest = append(args, arg), rest[len(q):]
		}
		if len(args) < 2 {
			return nil, errors.New("the link line is empty")
		}
		return args, nil
	}
	return nil, errors.New("cmd/link has called no C linker")
}

// lookIn finds a program in the folders of a PATH that is not this process's.
func lookIn(path, name string) (string, error) {
	if filepath.Base(name) != name {
		return name, nil
	}
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, name)
		if p, err := exec.LookPath(file); err == nil && filepath.IsAbs(p) {
			return p, nil
		}
	}
	return "", &exec.Error{Name: name, Err: exec.ErrNotFound}
}
