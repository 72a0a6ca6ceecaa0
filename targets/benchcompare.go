package targets

import (
	"context"
	"os"

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
	return release.Exit(release.BenchCompare(ctx, os.Stdout, a, b, text(html)))
}

// BenchPage draws the page of a benchmark's result again, from the result file alone.
func BenchPage(ctx context.Context, result, html string) error {
	return release.Exit(release.BenchPage(ctx, result, html))
}
