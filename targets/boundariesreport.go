package targets

import (
	"fmt"

	"github.com/hallmark-build/hallmark/targets/boundaries"
	"github.com/hallmark-build/hallmark/targets/release"
)

// BoundariesReport draws report.html and report.md of a map of boundaries again, from its record alone.
//
// The record is boundaries.json, or the folder that it stands in.
func BoundariesReport(record string) error {
	files, err := boundaries.Draw(record)
	for _, f := range files {
		fmt.Fprintln(stdout(), f)
	}
	return release.Exit(err)
}
