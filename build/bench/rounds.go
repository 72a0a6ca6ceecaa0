package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hallmark-build/hallmark/build"
)

// A trial is one series that is measured in rounds with others.
type trial struct {
	series  *Series
	unit    string // whose interval decides when there are enough runs
	run     func(context.Context) (Sample, error)
	stopped bool
}

// measureRounds measures every trial once a round, each round in an order of its own, so that what changes on the machine
// meanwhile meets all of them alike. After the warm-ups, of which it says how long all will take, come m.MinRuns rounds;
// then, as long as the budget lasts, more of those trials whose interval is still wider than m.Width, up to m.MaxRuns.
//
// A trial that fails ends with its series failed, and the rest go on. It returns why not all was measured, "" if it was.
func measureRounds(ctx context.Context, log func(string, ...any), m Method, trials []*trial) (incomplete string) {
	order := rand.New(rand.NewPCG(m.Seed, 0))
	begun := time.Now()
	for round := -m.Warmups; round < max(m.MinRuns, m.MaxRuns); round++ {
		var due []*trial
		for _, t := range trials {
			if !t.stopped && (round < m.MinRuns || t.wide(m)) {
				due = append(due, t)
			}
		}
		if len(due) == 0 {
			return ""
		}
		if round >= m.MinRuns && time.Since(begun).Seconds() > m.Budget {
			return ""
		}
		order.Shuffle(len(due), func(i, j int) { due[i], due[j] = due[j], due[i] })
		for _, t := range due {
			sample, err := t.run(ctx)
			switch {
			case ctx.Err() != nil:
				return fmt.Sprintf("interrupted in round %d of %d", max(round, 0)+1, m.MinRuns)
			case err != nil:
				t.fail(err)
			case round >= 0:
				t.series.Samples = append(t.series.Samples, sample)
			}
		}
		switch {
		case round == -1:
			each := time.Since(begun) / time.Duration(m.Warmups)
			log("warmed up; %d rounds of %d series take about %s; seed %d", m.MinRuns, len(due), duration((each * time.Duration(m.MinRuns)).Seconds()), m.Seed)
		case round >= 0:
			log("round %d of %d: %d series, %s since the start", round+1, max(m.MinRuns, round+1), len(due), duration(time.Since(begun).Seconds()))
		}
	}
	return ""
}

// wide tells whether more runs could still say more.
func (t *trial) wide(m Method) bool {
	return Summarize(t.series.Values(t.unit)).Width() > m.Width
}

// fail ends a trial. What it had measured is kept, but is no result.
func (t *trial) fail(err error) {
	t.stopped = true
	t.series.Status, t.series.Reason = Failed, firstLine(err.Error())
	if c, ok := err.(*commandError); ok {
		t.series.Output = c.output
	}
}

// finish collects the trials' series. One that an interruption left without a sample is called failed; when that are all,
// the context's error is returned.
func (r *Result) finish(ctx context.Context, trials []*trial) error {
	measured := false
	for _, t := range trials {
		if t.series.Status == Measured && len(t.series.Samples) == 0 {
			t.series.Status, t.series.Reason = Failed, "no run was finished before the end"
		}
		measured = measured || t.series.Status == Measured
		r.Series = append(r.Series, *t.series)
	}
	r.Elapsed = time.Since(r.Started).Seconds()
	r.Machine.LoadAfter = loadAverage()
	if !measured && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// RunOptions say how much [Race] and [Serve] measure. The zero value is the default run.
type RunOptions struct {
	Log    func(format string, arg ...any) // lines for whoever waits; nil: none
	Runs   int                             // of each series at least; 0: MinRuns
	Budget time.Duration                   // for more runs than that; 0: none
	Seed   uint64                          // of the order of runs; 0: one is drawn
}

// method fills in the rest.
func (o RunOptions) method() Method {
	m := Method{Seed: o.Seed, MinRuns: o.Runs, Warmups: 1, Width: defaultWidth, Confidence: confidence, Budget: o.Budget.Seconds(), Interleaved: true}
	if m.Seed == 0 {
		m.Seed = rand.Uint64N(1<<40) + 1 // any reader of JSON keeps as much
	}
	if m.MinRuns == 0 {
		m.MinRuns = MinRuns
	}
	m.MaxRuns = max(m.MinRuns, maxRuns)
	if m.Budget == 0 {
		m.MaxRuns = m.MinRuns
	}
	return m
}

// log prints a line for whoever waits.
func (o RunOptions) log(format string, arg ...any) {
	if o.Log != nil {
		o.Log(format, arg...)
	}
}

// ownProgram writes one of the programs that are run, not only built, into a folder, and says what it is.
func ownProgram(ctx context.Context, name, dir string) (Program, error) {
	if err := writeProgram(name, dir); err != nil {
		return Program{}, fmt.Errorf("writing the program %s: %w", name, err)
	}
	src, err := build.ReadSource(ctx, dir)
	if err != nil {
		return Program{}, err
	}
	return Program{Name: name, Digest: src.Digest}, nil
}
