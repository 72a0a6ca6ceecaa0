package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/perf/benchfmt"
)

// The units of a result of KindRace, beside sec/op and peak-B.
const (
	UnitPlanted = "planted" // races that the program has on purpose, and that were run
	UnitRaces   = "races"   // those of which there was a report
	UnitReports = "reports" // reports of data races
)

// The scenarios of a result of KindRace. Those of the workloads are called like their benchmarks.
const (
	scenarioPlanted = "planted races" // the test that runs every planted race once
	scenarioGoTest  = "go test"       // the whole command: link, vet, tests and benchmarks of a package that is compiled
)

// A workload is a benchmark of testdata/race, and how many operations a run has: some tenths of a second's worth with the
// detector, and the same on every machine.
type workload struct {
	name string
	ops  int
}

func workloads() []workload {
	return []workload{{"Channels", 400_000}, {"Mutex", 1_000_000}, {"Sort", 600}, {"Allocate", 400}}
}

// goTestOps is the number of operations of each benchmark in a run of the whole command.
const goTestOps = 1500

// Race measures what the race detector costs and what it finds, on a program of ours: time and memory of four kinds of
// concurrent work with the detector and without, and how many planted races it reports.
//
// When ctx ends, the result has what was measured, and says that it is incomplete; if that is nothing, the error is the
// context's.
func Race(ctx context.Context, o RunOptions) (*Result, error) {
	r := &Result{Kind: KindRace, Started: time.Now().UTC().Truncate(time.Second), Method: o.method()}
	dir, err := os.MkdirTemp("", "hallmark-race-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	b := raceBench{dir: dir, src: filepath.Join(dir, "race"), found: make(map[string]int)}
	program, err := ownProgram(ctx, "race", b.src)
	if err != nil {
		return nil, err
	}
	program.Description = "four kinds of concurrent work, and planted data races: certain ones, and ones that show in some orders of the scheduler only"
	r.Programs = []Program{program}
	if r.Machine, err = ReadMachine(ctx, map[string]string{"source": b.src}); err != nil {
		return nil, err
	}
	for _, detector := range []string{"off", "on"} {
		o.log("compiling the tests, detector %s", detector)
		b.add(ctx, detector)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	r.Incomplete = measureRounds(ctx, o.log, r.Method, b.trials)
	if err := r.finish(ctx, b.trials); err != nil {
		return nil, err
	}
	r.Notes = b.notes()
	r.Claims = []Claim{{ID: "C10", Text: "go test -race: Linux 8.3 s, 1.2 GB, 7 races found; Windows 14.9 s, 2.4 GB, 4 found", Verdict: NotMeasurable,
		Why: "one machine says nothing of another: run mage benchRace on both, and mage benchCompare on their results"}}
	return r, nil
}

// A raceBench is a run of Race.
type raceBench struct {
	dir, src string
	trials   []*trial

	planted plantedRaces   // as the test lists them
	found   map[string]int // by name: runs with the detector in which it was reported
	runs    int            // of those
	strange int            // reports of no planted race
}

// env is the environment of the tests: with the detector's defaults, whatever the user has set.
func (b *raceBench) env(ctx context.Context) []string {
	return childEnv(ctx, "GORACE=", "GOFLAGS=", "GOWORK=off", "PWD="+b.src)
}

// add compiles the tests with the detector on or off, and adds the trials that run them.
func (b *raceBench) add(ctx context.Context, detector string) {
	binary := filepath.Join(b.dir, "detector-"+detector+".test")
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	flags := []string{}
	if detector == "on" {
		flags = append(flags, "-race")
	}
	status, reason, output := Measured, "", ""
	compile := command{args: append([]string{"go", "test", "-c", "-o", binary}, flags...), dir: b.src, env: b.env(ctx)}
	if _, err := compile.run(ctx); err != nil {
		status, reason = Failed, firstLine(err.Error())
		if c, ok := errors.AsType[*commandError](err); ok {
			output = c.output
			// "go: -race requires cgo; …", "go: -race is only supported on …": the go command has not begun.
			if why, ok := strings.CutPrefix(strings.TrimSpace(c.output), "go: -race "); ok {
				status, reason, output = Impossible, "-race "+firstLine(why), ""
			}
		}
	}
	add := func(scenario string, run func(context.Context) (Sample, error)) {
		s := &Series{Status: status, Reason: reason, Output: output,
			Dimensions: Dimensions{{"program", "race"}, {"scenario", scenario}, {"detector", detector}}}
		b.trials = append(b.trials, &trial{series: s, unit: UnitWall, run: run, stopped: status != Measured})
	}
	add(scenarioGoTest, func(ctx context.Context) (Sample, error) {
		args := append([]string{"go", "test", "-count=1", "-bench=.", fmt.Sprintf("-benchtime=%dx", goTestOps)}, flags...)
		return b.test(ctx, command{args: args, dir: b.src, env: b.env(ctx)}, detector)
	})
	add(scenarioPlanted, func(ctx context.Context) (Sample, error) {
		return b.test(ctx, command{args: []string{binary, "-test.run=^TestPlanted$"}, dir: b.src, env: b.env(ctx)}, detector)
	})
	for _, w := range workloads() {
		add(w.name, func(ctx context.Context) (Sample, error) {
			return runWorkload(ctx, command{args: []string{binary, "-test.run=^$", "-test.bench=^Benchmark" + w.name + "$",
				fmt.Sprintf("-test.benchtime=%dx", w.ops)}, dir: b.src, env: b.env(ctx)})
		})
	}
}

// test runs the planted races once, and counts what is reported. With the detector the tests fail, as they should.
func (b *raceBench) test(ctx context.Context, c command, detector string) (Sample, error) {
	u, out, err := c.output(ctx)
	if ctx.Err() != nil {
		return nil, err
	}
	exit, failed := errors.AsType[*exec.ExitError](err)
	if err != nil && !(failed && exit.ExitCode() == 1 && detector == "on") {
		return nil, &commandError{name: c.args[0], output: tail(out), err: err}
	}
	planted := parsePlanted(out)
	if len(planted.certain)+len(planted.chance) == 0 {
		return nil, &commandError{name: c.args[0], output: tail(out), err: errors.New("the tests did not run the planted races")}
	}
	reports := parseReports(out)
	seen := make(map[string]bool)
	for _, r := range reports {
		if planted.has(r.planted) {
			seen[r.planted] = true
		} else {
			b.strange++
		}
	}
	if detector == "on" {
		b.runs++
		b.planted = planted
		for name := range seen {
			b.found[name]++
		}
	}
	s := Sample{UnitWall: u.wall, UnitCPU: u.cpu, UnitPlanted: float64(len(planted.certain) + len(planted.chance)), UnitRaces: float64(len(seen)), UnitReports: float64(len(reports))}
	s.addPeak(parsePeak(out), u, c.args[0] == "go")
	return s, nil
}

// addPeak notes the peak memory where it is known: what the process itself has said, if it did. Of other processes that
// took part, the kernel's count is taken if it is larger.
func (s Sample) addPeak(said int64, u usage, others bool) {
	peak := said
	if said == 0 || others {
		peak = max(said, u.peak)
	}
	if peak > 0 {
		s[UnitPeak] = float64(peak)
	}
}

// runWorkload runs one benchmark and takes the time of an operation from what it prints.
func runWorkload(ctx context.Context, c command) (Sample, error) {
	u, out, err := c.output(ctx)
	if ctx.Err() != nil {
		return nil, err
	}
	if err == nil {
		for results := benchfmt.NewReader(bytes.NewReader(out), "test"); results.Scan(); {
			if res, ok := results.Result().(*benchfmt.Result); ok {
				if v, ok := res.Value(UnitWall); ok && v > 0 {
					s := Sample{UnitWall: v}
					s.addPeak(parsePeak(out), u, false)
					return s, nil
				}
			}
		}
		err = errors.New("the benchmark printed no time")
	}
	return nil, &commandError{name: filepath.Base(c.args[0]), output: tail(out), err: err}
}

// notes says which races were found how often.
func (b *raceBench) notes() []string {
	if b.runs == 0 {
		return nil
	}
	var notes []string
	all, missed := 0, []string{}
	for _, name := range b.planted.certain {
		if b.found[name] == b.runs {
			all++
		} else {
			missed = append(missed, fmt.Sprintf("%s in %d", name, b.found[name]))
		}
	}
	words := fmt.Sprintf("of the %d certain races, %d were reported in each of the %d runs with the detector, warm-ups included", len(b.planted.certain), all, b.runs)
	if len(missed) > 0 {
		words += "; not in all: " + strings.Join(missed, ", ")
	}
	notes = append(notes, words)
	var chance []string
	for _, name := range b.planted.chance {
		chance = append(chance, fmt.Sprintf("%s in %d", name, b.found[name]))
	}
	notes = append(notes, fmt.Sprintf("of the %d races that show in some orders of the scheduler only: %s", len(chance), strings.Join(chance, ", ")))
	if b.strange > 0 {
		notes = append(notes, fmt.Sprintf("%d reports name no planted race", b.strange))
	}
	return notes
}
