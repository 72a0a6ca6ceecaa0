package targets

import (
	"context"

	"github.com/hallmark-build/hallmark/targets/release"
)

// BenchToolchains times C compilers, linkers and Go versions by phase, and says which differences are real.
//
// It builds the program of hallmark.yaml, or its own programs where there is
// none, and ends within six minutes on two cores.
func BenchToolchains(ctx context.Context,
	// within a minute: relinking and a changed Go file alone
	quick *bool,
	// everything, cold builds of all toolchains included: hours
	full *bool,
	// hallmark's own programs, in spite of a hallmark.yaml
	samples *bool,
	// measure only series whose dimensions match: 'linker=(bfd|lld)'
	filter *string,
	// the result's files, without extension
	out *string,
	// of the random order, to repeat a run
	seed *int,
	// processors to run on: 0,1
	pin *string,
) error {
	return release.Exit(release.BenchToolchains(ctx, stdout(), release.Terminal(), toolchains(quick, full, samples, filter, out, seed, pin)))
}

func toolchains(quick, full, samples *bool, filter, out *string, seed *int, pin *string) release.ToolchainOptions {
	t := release.ToolchainOptions{Quick: isSet(quick), Full: isSet(full), Samples: isSet(samples), Filter: text(filter), Out: text(out), Pin: text(pin)}
	if seed != nil {
		t.Seed = uint64(*seed)
	}
	return t
}

func isSet(b *bool) bool { return b != nil && *b }
