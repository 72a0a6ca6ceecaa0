package targets

import (
	"context"

	"github.com/hallmark-build/hallmark/targets/release"
)

// BenchCompare sets two results of benchmarks side by side: of two machines, two toolchains or two runs.
//
// It compares only what both measured of the same program, and calls a
// difference only what the data carry; the rest prints ~.
func BenchCompare(ctx context.Context,
	a, b string,
	// file of a page to draw, too
	html *string,
) error {
	return release.Exit(release.BenchCompare(ctx, stdout(), a, b, text(html)))
}

// BenchPage draws the page of a benchmark's result again, from the result file alone.
func BenchPage(ctx context.Context, result, html string) error {
	return release.Exit(release.BenchPage(ctx, result, html))
}

// BenchRace measures what the race detector costs and finds: time, memory, planted races.
//
// The program is hallmark's own. Give the results of two machines to benchCompare.
func BenchRace(ctx context.Context,
	// the result's files, without extension
	out *string,
	// runs of each series, at least
	runs *int,
	// how long more runs are made of what is still uncertain: 5m
	more *string,
	// of the random order, to repeat a run
	seed *int,
) error {
	return release.Exit(release.BenchRace(ctx, stdout(), release.Terminal(), running(out, runs, more, seed)))
}

// BenchServe measures a net/http program under load: requests per second, latency, CPU time and memory.
//
// The program is hallmark's own. Give the results of two machines to benchCompare.
func BenchServe(ctx context.Context,
	// the result's files, without extension
	out *string,
	// runs of each series, at least
	runs *int,
	// how long more runs are made of what is still uncertain: 5m
	more *string,
	// of the random order, to repeat a run
	seed *int,
) error {
	return release.Exit(release.BenchServe(ctx, stdout(), release.Terminal(), running(out, runs, more, seed)))
}

func running(out *string, runs *int, more *string, seed *int) release.RunOptions {
	t := release.RunOptions{Out: text(out), More: text(more)}
	if runs != nil {
		t.Runs = *runs
	}
	if seed != nil {
		t.Seed = uint64(*seed)
	}
	return t
}
