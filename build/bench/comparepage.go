package bench

import (
	"fmt"
	"slices"
	"strings"
)

// HTML draws the pairing as a page that needs nothing else: no network, no script.
func (p *Pairing) HTML() ([]byte, error) {
	v := page{
		Title:    fmt.Sprintf("%s: %s", kindTitle(p.A.Kind), p.headline()),
		Subtitle: fmt.Sprintf("A: %s of %s · B: %s of %s", p.NameA, p.A.Started.Format("2 January 2006, 15:04 MST"), p.NameB, p.B.Started.Format("2 January 2006, 15:04 MST")),
		Facts:    p.Differs,
		Claims:   p.Claims,
		Machines: []machineTable{{"Machine of A", p.A.Machine.rows()}, {"Machine of B", p.B.Machine.rows()}},
		Notes:    p.Notes,
		Method:   "A: " + p.A.Method.String() + " B: " + p.B.Method.String(),
		Columns:  "~: the data carry no difference. " + pNote,
	}
	for _, prog := range p.A.Programs {
		if slices.ContainsFunc(p.B.Programs, func(q Program) bool { return q.Name == prog.Name }) {
			v.Programs = append(v.Programs, prog)
		}
	}
	common := p.common()
	for _, unit := range p.Units() {
		if isPhaseUnit(unit) {
			continue // drawn with the whole
		}
		g, err := p.drawUnit(unit, common)
		if err != nil {
			return nil, err
		}
		v.Groups = append(v.Groups, g)
	}
	for _, u := range append(slices.Clone(p.OnlyA), p.OnlyB...) {
		v.Unmeasured = append(v.Unmeasured, unmeasured{Name: u.Dimensions.words(), Status: "not compared", Reason: u.Reason})
	}
	return v.render()
}

// drawUnit draws one unit of all pairs: a chart for each program and scenario, which differ too much for one axis, and a
// row of the table for each pair.
func (p *Pairing) drawUnit(unit string, common Dimensions) (pageGroup, error) {
	g := pageGroup{Title: capital(unitTitle(unit)), Common: common.words()}
	stacked := p.A.Kind == KindToolchains && unit == UnitWall
	var scenarios []Dimensions
	for _, r := range p.Of(unit) {
		if s := r.scenario(); !slices.ContainsFunc(scenarios, func(d Dimensions) bool { return slices.Equal(d, s) }) {
			scenarios = append(scenarios, s)
		}
	}
	for _, s := range scenarios {
		f := figure{Caption: strings.TrimPrefix(s.words()+": medians and 95 % intervals.", ": ")}
		bars, used := p.unitBars(unit, s, append(slices.Clone(common), s...), stacked)
		for n, part := range parts() {
			if used[n] && stacked {
				f.Legend = append(f.Legend, legend{n, part.title})
			}
		}
		if err := f.draw(bars, unit); err != nil {
			return pageGroup{}, fmt.Errorf("drawing %s: %w", unit, err)
		}
		g.Figures = append(g.Figures, f)
	}
	g.Tables = []table{p.unitTable(unit, common)}
	if stacked {
		for _, ph := range parts() {
			if t := p.unitTable(ph.phase.Unit(), common); len(t.Rows) > 0 {
				t.Caption = capital(unitTitle(ph.phase.Unit()))
				g.Tables = append(g.Tables, t)
			}
		}
	}
	return g, nil
}

// scenario returns the dimensions that say what was run, not by what.
func (r Row) scenario() Dimensions {
	return slices.DeleteFunc(slices.Clone(r.Dimensions), func(d Dimension) bool { return d.Key != "program" && d.Key != "scenario" })
}

// unitBars makes two bars of each pair in a scenario, by phase if stacked, and tells which segments can be seen.
func (p *Pairing) unitBars(unit string, scenario, common Dimensions, stacked bool) (bars []bar, used []bool) {
	used = make([]bool, len(parts()))
	rows := p.Of(unit)
	for _, q := range p.pairs {
		i := slices.IndexFunc(rows, func(r Row) bool { return slices.Equal(r.Dimensions, q.dimensions) })
		if i < 0 || !slices.Equal(rows[i].scenario(), scenario) {
			continue
		}
		name := rows[i].name(common)
		if slices.Equal(rows[i].scenario(), rows[i].Dimensions) {
			name = "" // the caption has it all
		}
		for _, side := range []struct {
			letter  string
			s       *Series
			segment int
		}{{"A", q.a, 1}, {"B", q.b, 3}} {
			total := Summarize(side.s.Values(unit))
			b := bar{Label: side.letter + "  " + name, Value: formatSummary(unit, total), Segments: make([]float64, side.segment+1), Total: total}
			b.Segments[side.segment] = total.Median
			if stacked {
				b.Segments = segments(side.s)
				for n, v := range b.Segments {
					used[n] = used[n] || v > visible*total.Median
				}
			}
			bars = append(bars, b)
		}
	}
	return bars, used
}

// unitTable has a row for each pair that has the unit.
func (p *Pairing) unitTable(unit string, common Dimensions) table {
	t := table{Head: []string{"", "A", "B", "B to A", "Runs"}}
	for _, r := range p.Of(unit) {
		d := comparisonCell(unit, r.Comparison)
		d.Detail = "p" + formatP(r.Adjusted)
		t.Rows = append(t.Rows, []pageCell{{Value: r.name(common)}, summaryCell(unit, r.A), summaryCell(unit, r.B), d,
			{Value: fmt.Sprintf("%d+%d", r.A.N, r.B.N)}})
	}
	return t
}
