package targets

import (
	"context"
	"os"

	"github.com/hallmark-build/hallmark/build/quote"
	"github.com/hallmark-build/hallmark/targets/boundaries"
	"github.com/hallmark-build/hallmark/targets/release"
)

// Boundaries makes the map of compatibility boundaries: which verifier accepts what, after which operation, for which key.
//
// It takes minutes; what was heard in an earlier run is not heard again. The
// exit code is 1 if a cell is not as expected.
func Boundaries(ctx context.Context,
	// words FIELD=PATTERN for artifact, scheme, key, digest, operation, judge: only these cells
	filter *string,
	// take over nothing from an earlier run
	fresh *bool,
	// folder of the map and its reports; default dist/boundaries
	out *string,
	// what cannot be judged on this machine is a failure; so is it with HALLMARK_STRICT
	strict *bool,
) error {
	judging, err := release.Judging(release.Options{})
	if err != nil {
		return release.Exit(err)
	}
	_, err = boundaries.Run(ctx, boundaries.Options{
		Judging: judging,
		Filter:  text(filter), Fresh: fresh != nil && *fresh, Out: text(out), Log: quote.Writer(os.Stderr),
		Strict: strict != nil && *strict || os.Getenv("HALLMARK_STRICT") != "",
	})
	return release.Exit(err)
}
