package bench

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// isSeconds tells whether a unit's values are seconds.
func isSeconds(unit string) bool { return unit == "sec/op" || strings.HasSuffix(unit, "-sec/op") }

// isWallClock tells whether a unit depends on what else the machine does.
func isWallClock(unit string) bool {
	return unit == UnitRequests || unit == UnitAnswered || isSeconds(unit) && !strings.HasSuffix(unit, "cpu-sec/op")
}

// isBytes tells whether a unit's values are bytes.
func isBytes(unit string) bool {
	return unit == "B" || unit == "B/op" || strings.HasSuffix(unit, "-B")
}

// moreIsBetter tells whether larger values of a unit are the better ones.
func moreIsBetter(unit string) bool {
	return strings.HasSuffix(unit, "/s") || unit == UnitRaces || unit == UnitReports || unit == UnitAnswered
}

// formatValue returns a value with its unit, to three significant digits: "1.23 s", "310 ms", "24.5 MiB", "1.20k".
func formatValue(unit string, v float64) string {
	type step struct {
		size float64
		name string
	}
	steps := []step{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}, {1, ""}}
	switch {
	case isSeconds(unit):
		steps = []step{{1, " s"}, {1e-3, " ms"}, {1e-6, " µs"}, {1e-9, " ns"}}
	case isBytes(unit):
		steps = []step{{1 << 30, " GiB"}, {1 << 20, " MiB"}, {1 << 10, " KiB"}, {1, " B"}}
	case v == math.Trunc(v) && math.Abs(v) < 10000:
		return fmt.Sprintf("%.0f", v)
	}
	if v == 0 {
		return "0"
	}
	s := steps[len(steps)-1]
	for _, t := range steps {
		if math.Abs(v) >= t.size*0.9995 {
			s = t
			break
		}
	}
	return digits(v/s.size) + s.name
}

// digits returns three significant digits, and all digits before the point.
func digits(v float64) string {
	switch a := math.Abs(v); {
	case a >= 99.95:
		return fmt.Sprintf("%.0f", v)
	case a >= 9.995:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// unitTitles says in words what the units are, in the order of reports.
func unitTitles() [][2]string {
	titles := [][2]string{
		{UnitRequests, "requests per second"},
		{UnitWall, "time"},
		{UnitP50, "latency, median"},
		{UnitP90, "latency, 90th percentile"},
		{UnitP99, "latency, 99th percentile"},
		{UnitLongest, "latency, longest"},
		{UnitCPU, "CPU time"},
		{UnitPeak, "peak memory"},
		{UnitPlanted, "races planted"},
		{UnitRaces, "planted races found"},
		{UnitReports, "reports of races"},
		{UnitAnswered, "requests answered"},
		{UnitUnserved, "requests not answered"},
	}
	for _, p := range parts() {
		titles = append(titles, [2]string{p.phase.Unit(), "time of phase " + p.title})
	}
	return titles
}

// isDetail tells whether a unit says nothing for itself: it belongs to a phase whose wall-clock time is told.
func isDetail(unit string) bool {
	return unit == UnitUnaccounted || slices.ContainsFunc(slices.Concat(Phases(), LinkPhases()), func(p Phase) bool {
		return unit == p.CPUUnit() || unit == p.PeakUnit()
	})
}

// unitTitle says in words what a unit is; a unit that has no words speaks for itself.
func unitTitle(unit string) string {
	for _, t := range unitTitles() {
		if t[0] == unit {
			return t[1]
		}
	}
	return unit
}

// sortUnits puts units into the order of reports, those without words last, by name.
func sortUnits(units []string) {
	titles := unitTitles()
	place := func(unit string) int {
		if i := slices.IndexFunc(titles, func(t [2]string) bool { return t[0] == unit }); i >= 0 {
			return i
		}
		return len(titles)
	}
	slices.SortStableFunc(units, func(a, b string) int {
		if d := place(a) - place(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
}
