package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// runs makes samples around a value: n of them, in steps of a thousandth.
func runs(unit string, value float64, n int) []Sample {
	var s []Sample
	for i := range n {
		s = append(s, Sample{unit: value * (1 + 0.001*float64(i))})
	}
	return s
}

// builds makes a result with one series for each scenario, each of a value.
func builds(values map[string]float64, change func(*Result)) *Result {
	r := &Result{Kind: KindToolchains, Programs: []Program{{Name: "small", Digest: "d1"}}, Machine: Machine{OS: "linux", Arch: "amd64", Cores: 2}}
	for _, scenario := range []string{"cold", "relink", "nothing"} {
		if v, ok := values[scenario]; ok {
			r.Series = append(r.Series, Series{Dimensions: Dimensions{{"program", "small"}, {"scenario", scenario}, {"compiler", "gcc"}}, Status: Measured, Samples: runs(UnitWall, v, 8)})
		}
	}
	if change != nil {
		change(r)
	}
	return r
}

func mustPair(t *testing.T, a, b *Result) *Pairing {
	t.Helper()
	p, err := Pair("a.json", a, "b.json", b)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPair(t *testing.T) {
	t.Parallel()
	a := builds(map[string]float64{"cold": 10, "relink": 2, "nothing": 1}, nil)
	b := builds(map[string]float64{"cold": 10, "relink": 3}, func(r *Result) {
		r.Series = append(r.Series, Series{Dimensions: Dimensions{{"program", "small"}, {"scenario", "nothing"}, {"compiler", "gcc"}}, Status: Failed, Reason: "no space"},
			Series{Dimensions: Dimensions{{"program", "small"}, {"scenario", "edit"}, {"compiler", "gcc"}}, Status: Measured, Samples: runs(UnitWall, 1, 6)})
	})
	p := mustPair(t, a, b)
	if len(p.Rows) != 2 || p.Rows[0].Delta() != "~" || p.Rows[1].Delta() != "+50.0%" {
		t.Errorf("rows %v", p.Rows)
	}
	if len(p.OnlyA) != 1 || p.OnlyA[0].Reason != "failed in B: no space" || len(p.OnlyB) != 1 || p.OnlyB[0].Reason != "not in A" {
		t.Errorf("only A %v, only B %v", p.OnlyA, p.OnlyB)
	}
	var out bytes.Buffer
	if err := p.Text(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"+50.0%", "~", "cold", "failed in B: no space", "scenario=edit", "p=1.000", "8+8", "3.01 s", "±"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, &out)
		}
	}
}

// What is compared is named, and does not keep series apart, but what was not measured does not get lost in it.
func TestPairByDimension(t *testing.T) {
	t.Parallel()
	other := func(compiler, missing string) func(*Result) {
		return func(r *Result) {
			for i := range r.Series {
				r.Series[i].Dimensions = r.Series[i].Dimensions.With("compiler", compiler)
			}
			d := r.Series[0].Dimensions.With("compiler", missing)
			r.Series = append(r.Series, Series{Dimensions: d, Status: Impossible, Reason: missing + " is not installed"})
		}
	}
	a := builds(map[string]float64{"cold": 10}, other("gcc", "clang"))
	b := builds(map[string]float64{"cold": 8}, other("clang", "gcc"))
	p := mustPair(t, a, b)
	if len(p.Rows) != 1 || p.Rows[0].Delta() != "-20.0%" || p.Rows[0].Dimensions.Get("compiler") != "" {
		t.Errorf("rows %v", p.Rows)
	}
	if want := (Differ{"compiler", "gcc", "clang"}); !slices.Contains(p.Differs, want) {
		t.Errorf("differs %v", p.Differs)
	}
	if len(p.OnlyA) != 1 || !strings.Contains(p.OnlyA[0].Reason, "clang is not installed") || len(p.OnlyB) != 1 || !strings.Contains(p.OnlyB[0].Reason, "gcc is not installed") {
		t.Errorf("only A %v, only B %v", p.OnlyA, p.OnlyB)
	}
	if p.ByMachine || p.headline() != "two compilers" {
		t.Errorf("compared: %s", p.headline())
	}
	b.Machine.OS = "windows"
	if p := mustPair(t, a, b); !p.ByMachine || p.headline() != "two machines" {
		t.Errorf("compared: %s", p.headline())
	}
}

func TestPairRefused(t *testing.T) {
	t.Parallel()
	all := map[string]float64{"cold": 10}
	for _, c := range []struct {
		name string
		b    *Result
		want string
	}{
		{"kind", builds(all, func(r *Result) { r.Kind = KindRace }), "a.json and b.json cannot be compared: one is of toolchains, the other of race"},
		{"sources", builds(all, func(r *Result) { r.Programs[0].Digest = "d2" }), "the program small has other sources in each"},
		{"program", builds(all, func(r *Result) { r.Programs[0].Name = "large" }), "no program in common: one is of small, the other of large"},
		{"no programs", builds(all, func(r *Result) { r.Programs = nil }), "no program in common"},
		{"scenario", builds(map[string]float64{"relink": 1}, nil), "no scenario in common: one measures cold, the other relink"},
		{"nothing measured", builds(all, func(r *Result) { r.Series[0].Status = Failed }), "no scenario in common"},
		{"series", builds(all, func(r *Result) {
			s := r.Series[0]
			s.Dimensions = s.Dimensions.With("compiler", "tcc")
			r.Series = []Series{s, {Dimensions: s.Dimensions.With("compiler", "icc"), Status: Measured, Samples: s.Samples}}
		}), "no series in common"},
	} {
		p, err := Pair("a.json", builds(all, nil), "b.json", c.b)
		if _, ok := errors.AsType[*MismatchError](err); !ok || p != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// Of a hundred rows without a difference, five have p < 0.05 on average. The correction calls none of them real, and
// leaves the one that is.
func TestPairCorrected(t *testing.T) {
	t.Parallel()
	p := Pairing{}
	for i := range 100 {
		p.Rows = append(p.Rows, Row{Unit: UnitWall, Comparison: Comparison{P: float64(i+1) / 100, Real: i < 4}})
	}
	p.Rows = append(p.Rows, Row{Unit: UnitWall, Comparison: Comparison{P: 1e-5}}, Row{Unit: UnitPeak, Comparison: Comparison{P: 0.04}})
	adjust(p.Rows)
	var significant []string
	for i, r := range p.Rows {
		if r.Real {
			significant = append(significant, fmt.Sprint(i))
		}
		if r.Adjusted < r.P || r.Adjusted > 1 {
			t.Errorf("row %d: p %v, corrected %v", i, r.P, r.Adjusted)
		}
	}
	if got := strings.Join(significant, " "); got != "100 101" {
		t.Errorf("real are rows %s", got)
	}
	if got, want := p.Rows[100].Adjusted, 1e-5*101; got < want*0.999 || got > want*1.001 {
		t.Errorf("corrected %v, want %v", got, want)
	}
}

// On a machine that was busy, wall-clock times carry no difference, whatever their samples say; CPU times do.
func TestPairBusy(t *testing.T) {
	t.Parallel()
	busy := func(load float64, factor float64) *Result {
		r := builds(map[string]float64{"cold": 10 * factor}, func(r *Result) { r.Machine.LoadBefore = load; r.Machine.WSL = 2 })
		for _, s := range r.Series[0].Samples {
			s[UnitCPU], s[PhaseLink.Unit()] = s[UnitWall]/factor*1.5, s[UnitWall]/2
		}
		if factor > 1 {
			for _, s := range r.Series[0].Samples {
				s[UnitCPU] *= 1.2
			}
			r.Machine.OS, r.Machine.WSL = "windows", 0
		}
		return r
	}
	for _, load := range []float64{-1, 2, 2.5} {
		p := mustPair(t, busy(0, 1), busy(load, 3))
		for _, row := range p.Rows {
			if want := row.Unit == UnitCPU || load <= 2; row.Real != want {
				t.Errorf("load %v: %s: %s", load, row.Unit, row.Comparison)
			}
		}
		if verdict := p.Claims[0].Verdict; (verdict == Undecided) != (load > 2) {
			t.Errorf("load %v: %+v", load, p.Claims[0])
		}
		if noted := strings.Contains(strings.Join(p.Notes, "\n"), "measure again on machines that are idle"); noted != (load > 2) {
			t.Errorf("load %v: notes %q", load, p.Notes)
		}
	}
}

func TestPairClaims(t *testing.T) {
	t.Parallel()
	wsl := func(r *Result) { r.Machine.WSL = 2 }
	windows := func(r *Result) { r.Machine.OS = "windows" }
	for _, c := range []struct {
		name    string
		a, b    *Result
		verdict Verdict
		why     string
	}{
		{"as claimed", builds(map[string]float64{"cold": 8.8}, wsl), builds(map[string]float64{"cold": 10}, windows), Confirmed, "cold"},
		{"the other way round", builds(map[string]float64{"cold": 10}, windows), builds(map[string]float64{"cold": 8.8}, wsl), Confirmed, "cold"},
		{"slower", builds(map[string]float64{"cold": 12}, wsl), builds(map[string]float64{"cold": 10}, windows), Refuted, "1.20 (1.19 to 1.21)"},
		{"the same", builds(map[string]float64{"cold": 10}, wsl), builds(map[string]float64{"cold": 10}, windows), Refuted, ""},
		{"some", builds(map[string]float64{"cold": 8.8, "relink": 2}, wsl), builds(map[string]float64{"cold": 10, "relink": 2}, windows), Depends, "relink"},
		{"few runs", builds(map[string]float64{"cold": 8.8}, func(r *Result) { wsl(r); r.Series[0].Samples = r.Series[0].Samples[:3] }), builds(map[string]float64{"cold": 10}, windows), Undecided, "no interval"},
		{"two of a kind", builds(map[string]float64{"cold": 8.8}, nil), builds(map[string]float64{"cold": 10}, nil), NotMeasurable, "it is about other machines"},
	} {
		p := mustPair(t, c.a, c.b)
		if len(p.Claims) == 0 || p.Claims[0].Verdict != c.verdict || !strings.Contains(p.Claims[0].Why, c.why) {
			t.Errorf("%s: %+v", c.name, p.Claims)
		}
	}
}

// The parts of claim C2 that need two machines pair other toolchains than those of one name.
func TestPairC2(t *testing.T) {
	t.Parallel()
	side := func(target, compiler, linker string, wall, link float64, change func(*Machine)) *Result {
		r := builds(map[string]float64{"cold": wall}, nil)
		r.Series[0].Dimensions = Dimensions{{"program", "small"}, {"target", target}, {"compiler", compiler}, {"linker", linker}, {"scenario", "cold"}}
		for _, s := range r.Series[0].Samples {
			s[PhaseLink.Unit()] = s[UnitWall] * link
		}
		// What both have, so that they can be compared at all.
		d := Dimensions{{"program", "small"}, {"target", "linux/arm64"}, {"compiler", "none"}, {"linker", "none"}, {"scenario", "cold"}}
		r.Series = append(r.Series, Series{Dimensions: d, Status: Measured, Samples: runs(UnitWall, 1, 6)})
		change(&r.Machine)
		return r
	}
	wsl := side("linux/amd64", "clang-16", "lld", 4.2, 0.31, func(m *Machine) { m.WSL = 2 })
	windows := side("windows/amd64", "mingw", "bfd", 9.7, 0.20, func(m *Machine) { m.OS = "windows" })
	verdicts := map[string]Verdict{}
	for _, c := range mustPair(t, windows, wsl).Claims {
		verdicts[c.ID] = c.Verdict
	}
	if verdicts["C2-machine"] != Confirmed || verdicts["C2-machine-share"] != Refuted || verdicts["C1-build"] != Refuted {
		t.Errorf("verdicts %v", verdicts)
	}
}

func TestPairPage(t *testing.T) {
	t.Parallel()
	a, b := synthetic(1), synthetic(2)
	b.Machine.OS, b.Machine.Kernel, b.Incomplete = "windows", "10.0.26100", "interrupted"
	for i := range b.Series {
		for _, s := range b.Series[i].Samples {
			s[UnitWall] *= 1.5
		}
	}
	p := mustPair(t, a, b)
	html, err := p.HTML()
	if err != nil {
		t.Fatal(err)
	}
	if file := os.Getenv("PAGE_OUT"); file != "" {
		os.WriteFile(file+"2.html", html, 0o644)
	}
	checkPage(t, html)
	for _, want := range []string{"What differs", "windows/amd64", "not compared", "B is incomplete: interrupted", "C1-build", "Machine of B", "clang 14", "10.0.26100"} {
		if !bytes.Contains(html, []byte(want)) {
			t.Errorf("the page lacks %q", want)
		}
	}
}
