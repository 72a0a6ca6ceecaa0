package bench

import (
	"fmt"
	"slices"
	"strings"
)

// groupSeries puts the measured series of one program and scenario together, in the order in which they come.
func groupSeries(series []Series) [][]*Series {
	var groups [][]*Series
	place := make(map[[2]string]int)
	for i := range series {
		s := &series[i]
		if s.Status != Measured {
			continue
		}
		key := [2]string{s.Dimensions.Get("program"), s.Dimensions.Get("scenario")}
		n, ok := place[key]
		if !ok {
			n = len(groups)
			place[key] = n
			groups = append(groups, nil)
		}
		groups[n] = append(groups[n], s)
	}
	return groups
}

// newGroup names the group of series that differ in neither program nor scenario, and what all of them have in common.
func newGroup(series []*Series) pageGroup {
	first := series[0].Dimensions
	g := pageGroup{Title: strings.Trim(first.Get("program")+": "+first.Get("scenario"), ": ")}
	if len(series) > 1 {
		g.common = slices.DeleteFunc(first.Without("program", "scenario"), func(d Dimension) bool {
			return slices.ContainsFunc(series, func(s *Series) bool { return !slices.Contains(s.Dimensions, d) })
		})
		g.Common = g.common.words()
	}
	return g
}

// name tells a series from the others of its group.
func (g *pageGroup) name(s *Series) string {
	d := slices.DeleteFunc(s.Dimensions.Without("program", "scenario"), func(d Dimension) bool { return slices.Contains(g.common, d) })
	if w := d.words(); w != "" {
		return w
	}
	return s.Dimensions.words()
}

// drawGroup draws the charts and tables of a group.
func drawGroup(kind Kind, series []*Series) (pageGroup, error) {
	g := newGroup(series)
	var err error
	if kind == KindToolchains {
		var f figure
		f, err = phaseFigure(series, g.name)
		g.Figures = []figure{f}
	} else {
		g.Figures, err = unitFigures(figureUnits(kind, series[0]), series, g.name)
	}
	if err != nil {
		return pageGroup{}, fmt.Errorf("drawing %s: %w", g.Title, err)
	}
	g.Tables = []table{mainTable(kind, series, g.name)}
	if t := phaseTable(series, g.name); len(t.Rows) > 0 {
		g.Tables = append(g.Tables, t)
	}
	return g, nil
}

// A part is a segment of a stacked bar.
type part struct {
	phase Phase
	title string
}

// parts lists the segments of a build in the order in which they are drawn. Where instrumented runs tell what the link is
// made of, its parts stand in its place.
func parts() []part {
	return []part{
		{PhaseCgo, "cgo tool"},
		{PhaseCC, "C compile"},
		{PhaseCompile, "Go compile"},
		{PhaseLink, "link"},
		{PhaseGoLink, "Go link"},
		{PhaseProbes, "linker probes"},
		{PhaseHostLink, "C linker"},
		{PhaseOther, "go command"},
	}
}

// segments returns the medians of a series' phases, as parts lists them. The medians of phases do not add up to the
// median of the whole, so they are scaled to it.
func segments(s *Series) []float64 {
	vs := make([]float64, len(parts()))
	split := 0.0
	for i, p := range parts() {
		if slices.Contains(LinkPhases(), p.phase) {
			vs[i] = Summarize(s.ProfileValues(p.phase.Unit())).Median
			split += vs[i]
		} else {
			vs[i] = Summarize(s.Values(p.phase.Unit())).Median
		}
	}
	// The instrumented runs cost more than they measure: only the proportions of what they say are taken.
	for i, p := range parts() {
		if split > 0 && slices.Contains(LinkPhases(), p.phase) {
			vs[i] *= vs[3] / split
		}
	}
	if split > 0 {
		vs[3] = 0
	}
	sum := 0.0
	for _, v := range vs {
		sum += v
	}
	whole := Summarize(s.Values(UnitWall)).Median
	if sum == 0 {
		vs[len(vs)-1] = whole
		return vs
	}
	for i := range vs {
		vs[i] *= whole / sum
	}
	return vs
}

// visible is the part of a build below which a phase is not worth a colour or a column.
const visible = 0.001

// phaseFigure is the chart of a build's phases.
func phaseFigure(series []*Series, name func(*Series) string) (figure, error) {
	f := figure{Caption: "Wall-clock time by phase: medians. A whisker is the 95 % interval of the whole."}
	used := make([]bool, len(parts()))
	var bars []bar
	split := false
	for _, s := range series {
		total := Summarize(s.Values(UnitWall))
		if total.N == 0 {
			continue
		}
		b := bar{Label: name(s), Value: formatSummary(UnitWall, total), Segments: segments(s), Total: total}
		for i, v := range b.Segments {
			used[i] = used[i] || v > visible*total.Median
			split = split || v > 0 && parts()[i].phase == PhaseGoLink
		}
		bars = append(bars, b)
	}
	for i, p := range parts() {
		if used[i] {
			f.Legend = append(f.Legend, legend{i, p.title})
		}
	}
	if split {
		f.Caption += " The link is split in the proportions of the instrumented runs."
	}
	return f, f.draw(bars, UnitWall)
}

// draw draws the bars for both widths.
func (f *figure) draw(bars []bar, unit string) (err error) {
	if f.Wide, err = drawBars(wideChart, bars, unit); err != nil {
		return err
	}
	// There is no room for more than the median; the table has the rest.
	bars = slices.Clone(bars)
	for i := range bars {
		bars[i].Value = formatValue(unit, bars[i].Total.Median)
	}
	f.Narrow, err = drawBars(narrowChart, bars, unit)
	return err
}

// figureUnits lists what a group is about. Under a constant load all handlers answer as often.
func figureUnits(kind Kind, s *Series) []string {
	if kind == KindRace {
		return []string{UnitWall, UnitPeak, UnitRaces}
	}
	for _, l := range loads() {
		if l.rate > 0 && l.name == s.Dimensions.Get("scenario") {
			return []string{UnitP50, UnitP99}
		}
	}
	return []string{UnitRequests, UnitP99}
}

// unitFigures are a chart for each of the units that are there.
func unitFigures(units []string, series []*Series, name func(*Series) string) ([]figure, error) {
	var figures []figure
	for _, unit := range units {
		var bars []bar
		for _, s := range series {
			if total := Summarize(s.Values(unit)); total.N > 0 && (unit != UnitRaces || total.Median > 0) {
				bars = append(bars, bar{Label: name(s), Value: formatSummary(unit, total), Segments: []float64{0, total.Median}, Total: total})
			}
		}
		if len(bars) == 0 {
			continue
		}
		f := figure{Caption: capital(unitTitle(unit)) + ": medians and 95 % intervals."}
		if err := f.draw(bars, unit); err != nil {
			return nil, err
		}
		figures = append(figures, f)
	}
	return figures, nil
}

// formatSummary returns a median with its interval: "1.23 s ±2%".
func formatSummary(unit string, s Summary) string {
	return strings.TrimSpace(formatValue(unit, s.Median) + " " + spread(s))
}

// mainTable has a row for each series, with the difference of its first unit to the first row's.
func mainTable(kind Kind, series []*Series, name func(*Series) string) table {
	var units []string
	for _, s := range series {
		for _, u := range s.Units() {
			if !slices.Contains(units, u) && !isPhaseUnit(u) && !isDetail(u) {
				units = append(units, u)
			}
		}
	}
	sortUnits(units)
	t := table{Head: []string{""}}
	if len(units) == 0 {
		return t
	}
	// That one handler takes longer than another is no news.
	differences := len(series) > 1 && kind != KindServe
	shares := false
	for _, s := range series {
		shares = shares || Summarize(s.Shares(PhaseLink)).N > 0
	}
	for i, u := range units {
		t.Head = append(t.Head, capital(unitTitle(u)))
		if i == 0 && differences {
			t.Head = append(t.Head, differenceTitle(kind))
		}
	}
	if shares {
		t.Head = append(t.Head, "Share of linking")
	}
	t.Head = append(t.Head, "Runs")
	for _, s := range series {
		cells := []pageCell{{Value: name(s)}}
		for i, u := range units {
			cells = append(cells, summaryCell(u, Summarize(s.Values(u))))
			if i == 0 && differences {
				cells = append(cells, differenceCell(u, base(kind, series, s), s))
			}
		}
		if shares {
			cells = append(cells, shareCell(Summarize(s.Shares(PhaseLink))))
		}
		t.Rows = append(t.Rows, append(cells, pageCell{Value: fmt.Sprint(len(s.Samples))}))
	}
	return t
}

// isPhaseUnit tells whether a unit belongs to a phase, and so to the second table.
func isPhaseUnit(unit string) bool {
	return slices.ContainsFunc(slices.Concat(Phases(), LinkPhases()), func(p Phase) bool {
		return unit == p.Unit() || unit == p.CPUUnit() || unit == p.PeakUnit()
	})
}

// spread is the interval, "" for a count that is always the same.
func spread(s Summary) string {
	if s.Known && s.Lo == s.Hi {
		return ""
	}
	return s.Spread()
}

func summaryCell(unit string, s Summary) pageCell {
	if s.N == 0 {
		return pageCell{Value: "–"}
	}
	return pageCell{Value: formatValue(unit, s.Median), Detail: spread(s)}
}

// base returns what a series of a group is compared with; nil when there is nothing.
func base(kind Kind, series []*Series, s *Series) *Series {
	if kind == KindToolchains {
		return baseline(series, s)
	}
	return series[0]
}

func differenceTitle(kind Kind) string {
	if kind == KindToolchains {
		return "Against GNU ld"
	}
	return "Difference"
}

func differenceCell(unit string, base, s *Series) pageCell {
	switch base {
	case nil:
		return pageCell{Value: "–", Class: "base"}
	case s:
		return pageCell{Value: "base", Class: "base"}
	}
	return comparisonCell(unit, Compare(base.Values(unit), s.Values(unit)))
}

// comparisonCell is a difference with its p-value, coloured by what is better.
func comparisonCell(unit string, c Comparison) pageCell {
	if c.A.N == 0 || c.B.N == 0 {
		return pageCell{Value: "–"}
	}
	d := pageCell{Value: c.Delta(), Detail: "p" + formatP(c.P), Class: "same"}
	if c.Real {
		d.Class = "worse"
		if c.B.Median > c.A.Median == moreIsBetter(unit) {
			d.Class = "better"
		}
	}
	return d
}

func shareCell(s Summary) pageCell {
	if s.N == 0 {
		return pageCell{Value: "–"}
	}
	c := pageCell{Value: fmt.Sprintf("%.0f %%", 100*s.Median)}
	if s.Known {
		c.Detail = fmt.Sprintf("%.0f to %.0f", 100*s.Lo, 100*s.Hi)
	}
	return c
}

// phaseTable has the phases of each build: wall-clock time, and CPU time below.
func phaseTable(series []*Series, name func(*Series) string) table {
	t := table{Caption: "Phases: wall-clock time, and below it CPU time. Those of the link's parts, and memory, are from the instrumented runs.", Head: []string{""}}
	var used []part
	for _, p := range parts() {
		if slices.ContainsFunc(series, func(s *Series) bool {
			of := s.Values
			if slices.Contains(LinkPhases(), p.phase) {
				of = s.ProfileValues
			}
			return Summarize(of(p.phase.Unit())).Median > visible*Summarize(s.Values(UnitWall)).Median
		}) {
			used = append(used, p)
			t.Head = append(t.Head, capital(p.title))
		}
	}
	if len(used) == 0 {
		return table{}
	}
	for _, s := range series {
		cells := []pageCell{{Value: name(s)}}
		for _, p := range used {
			cells = append(cells, phaseCell(s, p.phase))
		}
		t.Rows = append(t.Rows, cells)
	}
	return t
}

func phaseCell(s *Series, p Phase) pageCell {
	of := s.Values
	if slices.Contains(LinkPhases(), p) {
		of = s.ProfileValues
	}
	wall := Summarize(of(p.Unit()))
	if wall.N == 0 {
		return pageCell{Value: "–"}
	}
	c := pageCell{Value: formatValue(p.Unit(), wall.Median)}
	if cpu := Summarize(of(p.CPUUnit())); cpu.N > 0 {
		c.Detail = "CPU " + formatValue(p.CPUUnit(), cpu.Median)
	}
	if peak := Summarize(s.ProfileValues(p.PeakUnit())); peak.N > 0 {
		c.Detail = strings.TrimPrefix(c.Detail+", "+formatValue(p.PeakUnit(), peak.Median), ", ")
	}
	return c
}

func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
