package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/hallmark-build/hallmark/build"
)

// A job is one series to be measured: a program, built by a toolchain, in a scenario.
type job struct {
	dimensions Dimensions
	source     *Source
	toolchain  *toolchain
	scenario   Scenario

	group   *warmCache
	command command // go build, without the output and what the scenario adds
	work    string  // a folder of its own

	series   *Series
	cost     float64 // seconds that one run takes, estimated or measured
	penalty  int     // what is left out first when time is short
	finished bool    // the interval is narrow enough
	foreign  []float64
}

// A warmCache is what toolchains share that differ in the linker alone.
type warmCache struct {
	name  string
	cache string // GOCACHE
	temp  string // GOTMPDIR
	jobs  []*job
	ready bool
}

// A refusal is a program that another linker made than the one asked for.
type refusal struct{ asked, got string }

func (e *refusal) Error() string {
	return fmt.Sprintf("linked by %s, not by %s as asked for: the C compiler takes another linker without a word when it does not find one", e.got, e.asked)
}

// once builds the job's program once and returns what the build took. instrumented runs are made with the shim.
func (s *session) once(ctx context.Context, c *job, instrumented bool) (_ Sample, err error) {
	cache := c.group.cache
	if c.scenario == Cold {
		if cache, err = os.MkdirTemp(filepath.Dir(cache), "cold-"); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, removeAll(cache)) }()
	}
	output := c.output()
	if c.scenario != Nothing {
		if err := os.Remove(output); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	graph := filepath.Join(c.work, "graph.json")
	run := c.command
	run.pinned = s.options.Pin
	run.env = append(slices.Clone(run.env), "GOCACHE="+cache, "GOTMPDIR="+c.group.temp)
	log := filepath.Join(c.work, "shim.log")
	if instrumented {
		if run, err = c.toolchain.shimmed(run, s.shim, filepath.Join(c.work, "shim"), log); err != nil {
			return nil, err
		}
	}
	run.args = append(slices.Clone(run.args), "-debug-actiongraph="+graph, "-o", output)
	if file := c.changes(); file != "" {
		s.changes++
		overlay, err := change(file, s.options.Seed<<20|s.changes, c.work)
		if err != nil {
			return nil, fmt.Errorf("changing %s: %w", file, err)
		}
		run.args = append(run.args, "-overlay="+overlay)
	}
	run.args = append(run.args, c.source.Package)
	if c.cost > 2 {
		settle()
	}

	busy, _ := cpuTimes()
	u, err := run.run(ctx)
	if err != nil {
		return nil, err
	}
	if busy2, _ := cpuTimes(); busy >= 0 && u.wall > 0 && !instrumented {
		others := max(0, busy2-busy-u.cpu) / (u.wall * float64(s.result.Machine.Cores))
		c.foreign = append(c.foreign, others)
	}
	if err := c.check(output); err != nil {
		return nil, err
	}
	if instrumented {
		data, err := os.ReadFile(log)
		if err != nil {
			return nil, err
		}
		records, err := readShimLog(data)
		if err != nil {
			return nil, err
		}
		sample := profileSample(records)
		sample[UnitWall], sample[UnitCPU] = u.wall, u.cpu
		return sample, nil
	}
	f, err := os.Open(graph)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	actions, err := readGraph(f)
	if err != nil {
		return nil, err
	}
	if c.toolchain.cc != nil && c.scenario == Cold && !tellsCgo(actions) {
		s.note("the go command of %s does not tell what belongs to cgo: its phase compile holds the compilation of C", c.dimensions)
	}
	return timedSample(u, actions), nil
}

// timedSample returns the sample of a timed run.
func timedSample(u usage, actions []action) Sample {
	wall, cpu := phaseTimes(actions)
	s := Sample{UnitWall: u.wall, UnitCPU: u.cpu}
	if u.peak > 0 {
		s[UnitPeak] = float64(u.peak)
	}
	restWall, restCPU := u.wall, u.cpu
	for _, p := range Phases() {
		if p == PhaseOther {
			continue
		}
		s[p.Unit()], s[p.CPUUnit()] = wall[p], cpu[p]
		restWall -= wall[p]
		restCPU -= cpu[p]
	}
	s[PhaseOther.Unit()] = max(0, restWall)
	s[PhaseOther.CPUUnit()] = max(0, restCPU)
	if u.self >= 0 {
		s[UnitUnaccounted] = restCPU - u.self
	}
	return s
}

// changes returns the file that the scenario changes, "" for none.
func (c *job) changes() string {
	switch c.scenario {
	case GoChanged:
		return c.source.goSrc
	case CChanged:
		return c.source.cSrc
	}
	return ""
}

// output is where the program is written.
func (c *job) output() string {
	dir := filepath.Join(c.work, "out")
	if c.toolchain.place.Output != "" {
		dir = filepath.Join(c.toolchain.place.Output, filepath.Base(c.work))
	}
	return outputName(dir, c.toolchain.platform)
}

// check tells whether the linker that was asked for has made the program.
func (c *job) check(output string) error {
	got, err := build.LinkerOf(output)
	if err != nil {
		return err
	}
	if got != c.toolchain.linker {
		return &refusal{asked: c.toolchain.linker, got: got}
	}
	return nil
}

// fail ends a job whose build failed.
func (c *job) fail(err error) {
	c.finished = true
	c.series.Status, c.series.Reason = Failed, err.Error()
	if ce, ok := errors.AsType[*commandError](err); ok {
		c.series.Reason, c.series.Output = ce.name+": "+ce.err.Error(), ce.output
	}
	if r, ok := errors.AsType[*refusal](err); ok {
		c.series.Status, c.series.Reason = Refused, r.Error()
	}
}

// enough tells whether more runs are of use.
func (c *job) enough(width float64) bool {
	limit := maxRuns
	if c.cost > 5 {
		limit = 12
	}
	n := len(c.series.Samples)
	return n >= limit || Summarize(c.series.Values(UnitWall)).Width() <= width
}

// removeAll removes a folder of a cache, whose files may be read-only.
func removeAll(dir string) error {
	if err := os.RemoveAll(dir); err == nil {
		return nil
	}
	filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			os.Chmod(path, 0o700)
		}
		return nil
	})
	return os.RemoveAll(dir)
}

// seedOf is how a seed is printed and read.
func seedOf(seed uint64) string { return strconv.FormatUint(seed, 10) }
