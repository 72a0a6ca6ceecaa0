package release

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/hallmark-build/hallmark/build/bench"
	"github.com/hallmark-build/hallmark/build/quote"
)

// RunOptions say how much [BenchRace] and [BenchServe] measure, and where the
// result goes.
type RunOptions struct {
	Out  string // path of the files without their extensions; empty: in the user's cache folder
	Runs int    // of each series, at least; 0: as many as carry an interval
	More string // how long more runs are made of what is still wide, "5m"; empty: not at all
	Seed uint64 // of the order; 0 draws one
}

// BenchRace measures what the race detector costs and finds, on hallmark's own
// program.
//
// What was measured before an interruption is kept too; the error then says so.
func BenchRace(ctx context.Context, out io.Writer, o Options, t RunOptions) error {
	return t.run(ctx, out, o, bench.Race)
}

// BenchServe measures a net/http program of hallmark's own under load.
//
// What was measured before an interruption is kept too; the error then says so.
func BenchServe(ctx context.Context, out io.Writer, o Options, t RunOptions) error {
	return t.run(ctx, out, o, bench.Serve)
}

func (t RunOptions) run(ctx context.Context, out io.Writer, o Options, measure func(context.Context, bench.RunOptions) (*bench.Result, error)) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	b := bench.RunOptions{Runs: t.Runs, Seed: t.Seed}
	if t.Runs < 0 || t.Runs > 1000 {
		return usage("-runs: %d runs of each series cannot be made; %d carry an interval", t.Runs, bench.MinRuns)
	}
	if t.More != "" {
		var err error
		if b.Budget, err = time.ParseDuration(t.More); err != nil || b.Budget <= 0 {
			return usage("-more: %q is no time: give one as 5m", t.More)
		}
	}
	b.Log = func(format string, arg ...any) {
		quote.Fprintf(out, "%s  %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, arg...))
	}
	r, err := measure(ctx, b)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(out, "\n%s", r.Text()); err != nil {
		return err
	}
	return finishBenchmark(out, o, t.Out, r)
}
