package bench

import (
	"fmt"
	"slices"
	"strings"
)

// alpha bounds the share of differences, of all that a comparison calls real, that are there by chance only.
const alpha = 1 - confidence

// A Pairing sets two results side by side: two machines, two toolchains, or two runs of the same.
type Pairing struct {
	A, B         *Result
	NameA, NameB string   // of their files
	Differs      []Differ // what A and B differ in, apart from their samples
	Rows         []Row    // in the order of A's series; those of one unit are a family
	OnlyA, OnlyB []Unpaired
	Claims       []Claim
	Notes        []string // doubts
	ByMachine    bool     // the machines differ
	pairs        []pair
	busy         string   // why wall-clock times cannot be compared; "" when they can
	compared     []Differ // those of Differs that are dimensions: they do not keep series apart
}

// A pair of series that are alike in all that is not compared.
type pair struct {
	dimensions Dimensions // that both have
	a, b       *Series
}

// A Differ is a property in which the two sides differ as a whole: "compiler", "gcc", "clang-19".
type Differ struct{ Key, A, B string }

// A Row is one unit of two series that are compared.
type Row struct {
	Dimensions Dimensions // that both have
	Unit       string
	Comparison
	Adjusted float64 // P, corrected for the number of rows of this unit by the method of Benjamini and Hochberg
}

// An Unpaired series has no like, or was not measured, on the other side or on either.
type Unpaired struct {
	Dimensions Dimensions
	Reason     string
}

// A MismatchError is a pair of results that measure different things.
type MismatchError struct {
	NameA, NameB string
	Reason       string
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("%s and %s cannot be compared: %s", e.NameA, e.NameB, e.Reason)
}

// Pair sets two results side by side. It returns a *[MismatchError] if they are of different kinds, programs or
// scenarios.
//
// Series are paired by their dimensions. A dimension, other than the program and the scenario, that has one value in
// all of A and another in all of B is what is compared, and does not keep series apart.
func Pair(nameA string, a *Result, nameB string, b *Result) (*Pairing, error) {
	mismatch := func(format string, args ...any) error {
		return &MismatchError{nameA, nameB, fmt.Sprintf(format, args...)}
	}
	if a.Kind != b.Kind {
		return nil, mismatch("one is of %s, the other of %s", a.Kind, b.Kind)
	}
	if err := samePrograms(a, b, mismatch); err != nil {
		return nil, err
	}
	if sa, sb := valuesOf(a, "scenario"), valuesOf(b, "scenario"); !intersects(sa, sb) {
		return nil, mismatch("they have no scenario in common: one measures %s, the other %s", strings.Join(sa, ", "), strings.Join(sb, ", "))
	}
	p := &Pairing{A: a, B: b, NameA: nameA, NameB: nameB}
	p.findDifferences()
	p.pairSeries()
	if len(p.Rows) == 0 {
		return nil, mismatch("they have no series in common; one has %s, the other %s", firstSeries(p.OnlyA), firstSeries(p.OnlyB))
	}
	adjust(p.Rows)
	p.refuseBusy()
	p.doubts()
	p.Claims = p.claims()
	return p, nil
}

// samePrograms refuses results without a program in common, and programs that share only their name.
func samePrograms(a, b *Result, mismatch func(string, ...any) error) error {
	names := func(r *Result) string {
		var s []string
		for _, p := range r.Programs {
			s = append(s, p.Name)
		}
		return strings.Join(s, ", ")
	}
	common := false
	for _, p := range a.Programs {
		for _, q := range b.Programs {
			if p.Name != q.Name {
				continue
			}
			if p.Digest != q.Digest {
				return mismatch("the program %s has other sources in each (%.12s and %.12s): measure both from one version", p.Name, p.Digest, q.Digest)
			}
			common = true
		}
	}
	if !common {
		return mismatch("they have no program in common: one is of %s, the other of %s", names(a), names(b))
	}
	return nil
}

// valuesOf lists the values of a dimension, "" for the series that lack it, in the order of the series.
func valuesOf(r *Result, key string) []string {
	var vs []string
	for _, s := range r.Series {
		if v := s.Dimensions.Get(key); s.Status == Measured && !slices.Contains(vs, v) {
			vs = append(vs, v)
		}
	}
	return vs
}

func intersects(a, b []string) bool {
	return slices.ContainsFunc(a, func(v string) bool { return slices.Contains(b, v) })
}

func firstSeries(list []Unpaired) string {
	if len(list) == 0 {
		return "none"
	}
	return list[0].Dimensions.String()
}

// findDifferences fills in Differs.
func (p *Pairing) findDifferences() {
	add := func(key, a, b string) bool {
		if a != b {
			p.Differs = append(p.Differs, Differ{key, a, b})
		}
		return a != b
	}
	for _, key := range p.keys() {
		va, vb := valuesOf(p.A, key), valuesOf(p.B, key)
		if key != "program" && key != "scenario" && len(va) == 1 && len(vb) == 1 && add(key, va[0], vb[0]) {
			p.compared = append(p.compared, p.Differs[len(p.Differs)-1])
		}
	}
	ma, mb := p.A.Machine, p.B.Machine
	for _, d := range []Differ{
		{"machine", machineKind(ma), machineKind(mb)},
		{"kernel", ma.Kernel, mb.Kernel},
		{"CPU", ma.CPU, mb.CPU},
		{"cores", fmt.Sprint(ma.Cores), fmt.Sprint(mb.Cores)},
		{"memory", formatValue("B", float64(ma.Memory)), formatValue("B", float64(mb.Memory))},
		{"file systems", ma.fileSystems(), mb.fileSystems()},
	} {
		if add(d.Key, d.A, d.B) {
			p.ByMachine = true
		}
	}
	add("go command", ma.Go, mb.Go)
}

// keys lists the names of all dimensions, in the order in which they come.
func (p *Pairing) keys() []string {
	var keys []string
	for _, r := range []*Result{p.A, p.B} {
		for _, s := range r.Series {
			for _, d := range s.Dimensions {
				if !slices.Contains(keys, d.Key) {
					keys = append(keys, d.Key)
				}
			}
		}
	}
	return keys
}

// machineKind says on what a run took place, as far as the claims care: "linux/amd64 (WSL 2)".
func machineKind(m Machine) string {
	s := m.OS + "/" + m.Arch
	if m.WSL > 0 {
		s += fmt.Sprintf(" (WSL %d)", m.WSL)
	}
	return s
}

func (m Machine) fileSystems() string {
	var s []string
	for _, f := range m.FileSystems {
		s = append(s, f.Role+" "+f.Type)
	}
	return strings.Join(s, ", ")
}

// pairSeries fills in Rows, OnlyA and OnlyB.
func (p *Pairing) pairSeries() {
	of := func(r *Result) map[string]*Series {
		m := make(map[string]*Series)
		for i := range r.Series {
			m[p.key(r.Series[i].Dimensions, r)] = &r.Series[i]
		}
		return m
	}
	inA, inB := of(p.A), of(p.B)
	for i := range p.A.Series {
		s := &p.A.Series[i]
		t := inB[p.key(s.Dimensions, p.A)]
		why := unpaired(s, t, "A", "B")
		if why != "" {
			p.OnlyA = append(p.OnlyA, Unpaired{s.Dimensions, why})
			continue
		}
		shared := p.shared(s.Dimensions, p.A)
		p.pairs = append(p.pairs, pair{shared, s, t})
		for _, unit := range s.Units() {
			if b := t.Values(unit); len(b) > 0 && !isDetail(unit) {
				p.Rows = append(p.Rows, Row{Dimensions: shared, Unit: unit, Comparison: Compare(s.Values(unit), b)})
			}
		}
	}
	for i := range p.B.Series {
		s := &p.B.Series[i]
		// What is in both was told above.
		if t := inA[p.key(s.Dimensions, p.B)]; t == nil {
			p.OnlyB = append(p.OnlyB, Unpaired{s.Dimensions, unpaired(s, nil, "B", "A")})
		}
	}
}

// shared returns the dimensions of a series of one side without those that are compared. A series that was not measured
// may have another value there, and keeps it.
func (p *Pairing) shared(d Dimensions, side *Result) Dimensions {
	for _, c := range p.compared {
		v := c.A
		if side == p.B {
			v = c.B
		}
		if d.Get(c.Key) == v {
			d = d.Without(c.Key)
		}
	}
	return d
}

// key is what a series must share with one of the other side: the dimensions in any order, so that the results of two
// versions of this program can be compared.
func (p *Pairing) key(d Dimensions, side *Result) string {
	d = slices.Clone(p.shared(d, side))
	slices.SortFunc(d, func(a, b Dimension) int { return strings.Compare(a.Key, b.Key) })
	return fmt.Sprintf("%q", d)
}

// unpaired says why a series of one side cannot be compared to the other's; "" if it can.
func unpaired(s, t *Series, here, there string) string {
	reason := func(s *Series, side string) string {
		switch {
		case s == nil:
			return "not in " + side
		case s.Status != Measured:
			return strings.TrimSuffix(fmt.Sprintf("%s in %s: %s", s.Status, side, s.Reason), ": ")
		case len(s.Samples) == 0:
			return "no timed runs in " + side
		}
		return ""
	}
	var why []string
	for _, r := range []string{reason(s, here), reason(t, there)} {
		if r != "" {
			why = append(why, r)
		}
	}
	return strings.Join(why, "; ")
}

// adjust corrects the p-values of each unit for their number: of forty rows without any difference, two would show one
// at 0.05. The step-up procedure of Benjamini and Hochberg (1995) bounds the share of false ones among those called
// real; when nothing differs at all, that is the probability that any row says so.
func adjust(rows []Row) {
	families := make(map[string][]*Row)
	for i := range rows {
		r := &rows[i]
		families[r.Unit] = append(families[r.Unit], r)
	}
	for _, rows := range families {
		slices.SortFunc(rows, func(a, b *Row) int {
			switch {
			case a.P < b.P:
				return -1
			case a.P > b.P:
				return 1
			}
			return 0
		})
		least := 1.0
		for i := len(rows) - 1; i >= 0; i-- {
			least = min(least, rows[i].P*float64(len(rows))/float64(i+1))
			rows[i].Adjusted = least
			rows[i].Real = least < alpha
		}
	}
}

// refuseBusy calls no difference of wall-clock times when more than the processors can run was waiting for them before one
// of the runs began: such times are about what else ran. CPU times and memory bear it.
func (p *Pairing) refuseBusy() {
	for _, side := range []struct {
		name string
		m    Machine
	}{{"A", p.A.Machine}, {"B", p.B.Machine}} {
		if cores := max(side.m.Cores, 1); side.m.LoadBefore > float64(cores) {
			p.busy = fmt.Sprintf("the load average was %.1f on %d processors before %s: wall-clock times are about what else ran", side.m.LoadBefore, cores, side.name)
		}
	}
	for i := range p.Rows {
		if p.busy != "" && isWallClock(p.Rows[i].Unit) {
			p.Rows[i].Real = false
		}
	}
}

// doubts fills in Notes.
func (p *Pairing) doubts() {
	note := func(format string, args ...any) { p.Notes = append(p.Notes, fmt.Sprintf(format, args...)) }
	if p.A.Started.Equal(p.B.Started) && !p.ByMachine {
		note("both files are of the same run")
	}
	if p.busy != "" {
		note("%s, so no difference of them is called; measure again on machines that are idle", p.busy)
	}
	few := 0
	for _, r := range p.Rows {
		if min(r.Comparison.A.N, r.Comparison.B.N) < MinRuns {
			few++
		}
	}
	if few > 0 {
		note("%d of %d rows have fewer than %d runs on one side: their medians have no 95 %% interval", few, len(p.Rows), MinRuns)
	}
	for _, side := range []struct {
		name string
		r    *Result
	}{{"A", p.A}, {"B", p.B}} {
		if side.r.Incomplete != "" {
			note("%s is incomplete: %s", side.name, side.r.Incomplete)
		}
		for _, n := range side.r.Notes {
			note("%s: %s", side.name, n)
		}
	}
	// Linux counts pages in memory, Windows what is committed, of which some was never touched.
	if p.A.Machine.OS != p.B.Machine.OS && slices.Contains(p.Units(), UnitPeak) {
		note("peak memory is what each kernel counts: resident pages on Linux, committed memory on Windows")
	}
	note("the test sees how runs vary within A and within B, not what else has changed on a machine between them: confirm a small difference by a second pair of runs")
}

// Units lists the units that are compared, the most important first.
func (p *Pairing) Units() []string {
	var units []string
	for _, r := range p.Rows {
		if !slices.Contains(units, r.Unit) {
			units = append(units, r.Unit)
		}
	}
	sortUnits(units)
	return units
}

// Of lists the rows of one unit.
func (p *Pairing) Of(unit string) []Row {
	var rows []Row
	for _, r := range p.Rows {
		if r.Unit == unit {
			rows = append(rows, r)
		}
	}
	return rows
}
