package boundaries

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hallmark-build/hallmark/signing/compat"
)

// allow marks the cells that are not as expected and that a configuration
// allows for a time, and returns notes on allowances that have to do with
// judges of the map and yet met no cell. A release has its own cases: what is
// allowed there may have no use here.
func (m *Map) allow(allowed []compat.Allowed, now time.Time) []string {
	results := make([]compat.Result, len(m.Cells))
	for i := range m.Cells {
		results[i] = m.Cells[i].Result
	}
	unused := compat.Allow(results, allowed, now)
	for i := range m.Cells {
		m.Cells[i].Result = results[i]
	}
	var notes []string
	for _, a := range unused {
		here := func(c Cell) bool { return c.Judge == a.Judge && (a.Scheme == "" || a.Scheme == c.Result.Scheme) }
		if a.Case == "" && m.Incomplete == "" && slices.ContainsFunc(m.Cells, here) {
			notes = append(notes, fmt.Sprintf("Allowed until %s and not needed here: %s (%s).", a.Until, strings.TrimSpace(a.Judge+" "+a.Scheme), a.Reason))
		}
	}
	return notes
}
