package boundaries

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hallmark-build/hallmark/build/quote"
	"github.com/hallmark-build/hallmark/signing/compat"
)

// conclude holds the answers against the expectations, and writes the map.
func (r *run) conclude(ctx context.Context, cells []*cell, js []compat.Judge) (*Map, error) {
	m := &Map{Format: Format, Made: time.Now().UTC().Truncate(time.Second), Machine: r.machine(ctx)}
	for _, x := range cells {
		m.Cells = append(m.Cells, r.judge(x))
	}
	if r.observed != nil {
		js = append(js, compat.DebugJudge(r.sample(), compat.Debugging{}), compat.ProfileJudge(r.sample()))
	}
	m.Judges = describe(ctx, js, m.Cells)
	for _, j := range m.Judges {
		if isKernel(j.Name) && j.Version != "" && !slices.Contains(m.Machine.Kernels, j.Version) {
			m.Machine.Kernels = append(m.Machine.Kernels, j.Version)
		}
	}
	m.Claims = r.claims(m.Cells)
	m.Notes = notes()
	fail := &FailedError{}
	if r.Filter != "" {
		m.Incomplete = "only the cells of the filter " + r.Filter
	} else {
		for _, rule := range r.rules.dead() {
			fail.Faults = append(fail.Faults, rule.String())
		}
	}
	m.Notes = append(m.Notes, m.allow(r.Judging.Allowed, time.Now())...)
	if before, err := Read(r.Out); err == nil {
		m.Notes = append(m.Notes, upgrades(before.Judges, m.Judges)...)
	}
	for _, c := range m.Cells {
		switch c.Status {
		case compat.Fail:
			fail.Unexpected++
		case compat.Skip:
			fail.Skipped++
		}
	}
	file, err := m.Write(r.Out)
	if err != nil {
		return nil, err
	}
	drawn, err := m.WriteReports(r.Out)
	if err != nil {
		return nil, err
	}
	r.summary(m, fail, append(drawn, file))
	if !r.Strict {
		fail.Skipped = 0
	}
	if fail.Unexpected+fail.Skipped+len(fail.Faults) > 0 {
		return m, fail
	}
	return m, nil
}

// judge makes the cell of an answer.
func (r *run) judge(x *cell) Cell {
	sp := x.c.spec
	c := Cell{Artifact: sp.artifact.name, Scheme: sp.scheme.name, Key: sp.key, Digest: sp.digest, Operation: sp.op,
		Result: x.answer.Result, Figures: x.answer.Figures, Screenshot: x.answer.Screenshot, Inputs: x.inputs}
	c.Case = sp.String()
	c.Judge = x.judge.Name
	rule := r.rules.of(sp, x.judge.Name)
	if rule == nil {
		c.Want, c.Status, c.Reason = Accept, compat.Fail, "nothing is expected of this cell: write a line into expectations.txt"
		return c
	}
	rule.decided++
	c.Want, c.Why = rule.want, rule.why
	switch {
	case c.Got == "" && c.Status == compat.Skip: // there is no judge to ask, or no such operation
	case c.Got == c.Want:
		c.Status = compat.Pass
	default:
		c.Status = compat.Fail
		if c.Reason == "" {
			c.Reason = "it answers " + c.Got + " where " + c.Want + " is expected"
		}
	}
	if c.Got == Accept && c.Status == compat.Pass {
		c.Reason = ""
	}
	return c
}

// describe lists the judges that were asked.
func describe(ctx context.Context, js []compat.Judge, cells []Cell) []Judge {
	list := make([]Judge, len(js))
	var wg sync.WaitGroup
	for i, j := range js {
		wg.Go(func() {
			d := Judge{Name: j.Name, Scheme: j.Scheme, Limits: j.Limits}
			var err error
			if j.FindKey != nil {
				var k compat.Key
				if k, err = j.FindKey(); err == nil {
					d.Path = k.Path
				}
			}
			if err == nil && j.Find != nil {
				d.Version, err = j.Find(ctx)
			}
			if err != nil {
				d.Missing = err.Error()
			}
			list[i] = d
		})
	}
	wg.Wait()
	return slices.DeleteFunc(list, func(j Judge) bool {
		return !slices.ContainsFunc(cells, func(c Cell) bool { return c.Judge == j.Name && c.Result.Scheme == j.Scheme })
	})
}

// summary prints what came out.
func (r *run) summary(m *Map, fail *FailedError, files []string) {
	skipped := map[string]int{}
	pass, shown := 0, 0
	for _, c := range m.Cells {
		switch c.Status {
		case compat.Pass:
			pass++
		case compat.Skip:
			skipped[c.Judge+": "+c.Reason]++
		case compat.Fail:
			if shown++; shown <= maxShown {
				r.print("UNEXPECTED %s: %s: want %s (%s), got %s: %s", c.Case, c.Judge, c.Want, c.Why, c.Got, c.Reason)
			}
		}
	}
	if shown > maxShown {
		r.print("… and %d more", shown-maxShown)
	}
	for _, what := range slices.Sorted(maps.Keys(skipped)) {
		r.print("SKIP %s (%d cells)", what, skipped[what])
	}
	for _, f := range fail.Faults {
		r.print("DEAD expectation, %s: it decided no cell", f)
	}
	for _, c := range m.Claims {
		r.print("claim %s: %s: %s", c.ID, c.Verdict, c.Why)
	}
	names := independent(m.Cells)
	r.print("%d independent judges answered: %s", len(names), join(names))
	r.print("%d cells: %d as expected, %d unexpected, %d skipped; %.0f s", len(m.Cells), pass, fail.Unexpected, fail.Skipped, time.Since(r.start).Seconds())
	for _, file := range files {
		r.print("%s", file)
	}
}

// maxShown is how many unexpected cells are printed; boundaries.json has all.
const maxShown = 40

func (r *run) print(format string, args ...any) {
	if r.Log != nil {
		quote.Fprintf(r.Log, format+"\n", args...)
	}
}

func join(names []string) string {
	s := ""
	for i, n := range names {
		if i > 0 {
			s += ", "
		}
		s += n
	}
	return s
}

// notes say what the map leaves out.
func notes() []string {
	return []string{
		"The same question is asked once: where a round trip gives back the same bytes, the judge's word for them stands in both cells.",
		"upx is not in Debian 12's main archive, so no file was packed by it.",
		"binutils of Debian reads no PE file for arm64: strip and objcopy are left out there.",
		"sbverify is not asked about files that binutils laid out anew: where the certificate table ends behind the end of the file it reads on, and refuses or crashes by chance.",
		"Kernels, mono and Wine are given every operation on one artifact of a scheme, and on the others the untouched, the unsigned and a changed one.",
		"A clock that is behind is made by signing in the future: no judge's clock was touched.",
	}
}
