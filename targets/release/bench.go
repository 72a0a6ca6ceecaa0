package release

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hallmark-build/hallmark/signing/compat"
)

// bench lists who judged: the judges that results name, with what their
// acceptance says nothing about.
func (c *court) bench(results []compat.Result) []Judge {
	found := map[string]*Judge{}
	for _, r := range results {
		if r.Judge == "" || r.Scheme == schemeRecord {
			continue
		}
		j := found[r.Judge]
		if j == nil {
			j = &Judge{Name: r.Judge}
			found[r.Judge] = j
		}
		if r.Version != "" {
			j.Version = r.Version
		}
		if !slices.Contains(j.Schemes, r.Scheme) {
			j.Schemes = append(j.Schemes, r.Scheme)
		}
	}
	var judges []Judge
	for _, name := range slices.Sorted(maps.Keys(found)) {
		j := found[name]
		slices.Sort(j.Schemes)
		for _, judge := range c.judges {
			if judge.Name == name && judge.Limits != "" && slices.Contains(j.Schemes, judge.Scheme) && !slices.Contains(j.Limits, judge.Limits) {
				j.Limits = append(j.Limits, judge.Limits)
			}
		}
		judges = append(judges, *j)
	}
	return judges
}

// notes names the allowances that are of no use here.
func (c *court) notes() []string {
	var lines []string
	for _, a := range c.unused {
		lines = append(lines, fmt.Sprintf("allowed: %s: nothing failed that this is about: take it out of %s", describeAllowed(a), ConfigFile))
	}
	return lines
}

func describeAllowed(a compat.Allowed) string {
	what := []string{a.Judge}
	if a.Scheme != "" {
		what = append(what, a.Scheme)
	}
	if a.Case != "" {
		what = append(what, a.Case)
	}
	return fmt.Sprintf("%s, until %s (%s)", strings.Join(what, ", "), a.Until, a.Reason)
}

// upgrades names the judges that have another version than the one that judged
// before.
func upgrades(before, now []Judge) []string {
	var lines []string
	for _, j := range now {
		i := slices.IndexFunc(before, func(b Judge) bool { return b.Name == j.Name })
		if i >= 0 && before[i].Version != "" && j.Version != "" && before[i].Version != j.Version && j.Name != ourJudge {
			lines = append(lines, fmt.Sprintf("%s is version %s; the release was judged by %s", j.Name, j.Version, before[i].Version))
		}
	}
	return lines
}

// allowances groups the differences that are allowed.
func allowances(results []compat.Result) []string {
	count := map[string]int{}
	for _, r := range results {
		if r.Status == compat.Differ && r.Allowed != nil {
			got, _, _ := strings.Cut(r.Got, ":")
			count[fmt.Sprintf("%s: %s, which is allowed until %s: %s", r.Judge, got, r.Allowed.Until, r.Allowed.Reason)]++
		}
	}
	var lines []string
	for _, what := range slices.Sorted(maps.Keys(count)) {
		lines = append(lines, fmt.Sprintf("ALLOWED %s (%s)", what, plural(count[what], "file")))
	}
	return lines
}
