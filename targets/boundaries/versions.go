package boundaries

import (
	"fmt"
	"slices"
)

// upgrades names the judges that have another version now than in an earlier
// map: where the two maps differ, that may be why.
func upgrades(before, now []Judge) []string {
	var notes []string
	for _, j := range now {
		i := slices.IndexFunc(before, func(b Judge) bool { return b.Name == j.Name && b.Scheme == j.Scheme })
		if i < 0 || j.Version == "" || before[i].Version == "" || before[i].Version == j.Version {
			continue
		}
		note := fmt.Sprintf("%s is version %s; the map before was made with %s.", j.Name, j.Version, before[i].Version)
		if !slices.Contains(notes, note) {
			notes = append(notes, note)
		}
	}
	return notes
}
