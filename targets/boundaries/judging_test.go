package boundaries

import (
	"testing"
	"time"

	"github.com/hallmark-build/hallmark/signing/compat"
)

func TestAllow(t *testing.T) {
	t.Parallel()
	m := synthetic()
	day := time.Date(2026, 3, 4, 0, 0, 0, 0, time.UTC)
	allowed := []compat.Allowed{
		{Judge: "wine", Case: "dll/*/*/*/clock-back", Reason: "it knows no clock", Until: "2027-01-31"},
		{Judge: "saferwall", Got: "crashed", Reason: "reported", Until: "2020-01-31"},
		{Judge: "relic", Scheme: "authenticode", Reason: "issue 99", Until: "2027-01-31"},
		{Judge: "evmctl", Reason: "no need", Until: "2027-01-31"},
		{Judge: "not in the map", Reason: "of a release", Until: "2027-01-31"},
	}
	notes := m.allow(allowed, day)
	if len(notes) != 1 || notes[0] != "Allowed until 2027-01-31 and not needed here: evmctl (no need)." {
		t.Errorf("%q", notes)
	}
	for i := range m.Cells {
		c := &m.Cells[i]
		switch {
		case c.Judge == "wine" && c.Operation == "clock-back" && c.Artifact == "dll":
			if c.Status != compat.Differ || c.Allowed.Reason != "it knows no clock" {
				t.Errorf("%v %+v", c.Status, c.Allowed)
			}
		case c.Judge == "saferwall" && c.Operation == "upx" && c.Artifact == "pe-arm64":
			if c.Status != compat.Fail || c.Reason != "saferwall crashed: signal: segmentation fault; it was allowed until 2020-01-31 (reported): look at it again, and set another day or mend it" {
				t.Errorf("%v %s", c.Status, c.Reason)
			}
		case c.Judge == "relic" && c.Operation == "edit-resource":
			if c.Status != compat.Differ || c.Allowed.Reason != "issue 99" {
				t.Errorf("%v %+v", c.Status, c.Allowed)
			}
		case c.Status == compat.Differ:
			t.Errorf("%s by %s is allowed", cellName(c), c.Judge)
		}
	}
	// Without the allowance it has failed again.
	if m.allow(nil, day); m.total().unexpected != 8 || m.total().allowed != 0 {
		t.Errorf("%+v", m.total())
	}
}
