package boundaries

import (
	"slices"
	"testing"
)

func TestUpgrades(t *testing.T) {
	t.Parallel()
	before := []Judge{{Name: "a", Scheme: "s", Version: "1"}, {Name: "b", Scheme: "s", Version: "1"}, {Name: "c", Scheme: "s", Missing: "gone"}, {Name: "a", Scheme: "t", Version: "1"}}
	now := []Judge{{Name: "a", Scheme: "s", Version: "2"}, {Name: "b", Scheme: "s", Version: "1"}, {Name: "c", Scheme: "s", Version: "3"}, {Name: "d", Scheme: "s", Version: "1"}, {Name: "a", Scheme: "t", Version: "2"}}
	if got := upgrades(before, now); !slices.Equal(got, []string{"a is version 2; the map before was made with 1."}) {
		t.Errorf("%q", got)
	}
	if got := upgrades(nil, now); got != nil {
		t.Errorf("without an earlier map: %q", got)
	}
}
