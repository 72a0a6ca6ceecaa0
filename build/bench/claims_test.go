package bench

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// noisy returns n samples around a median, each a few per cent off; the same every time.
func noisy(r *rand.Rand, median, spread float64, n int) []float64 {
	vs := make([]float64, n)
	for i := range vs {
		vs[i] = median * (1 + spread*r.NormFloat64())
	}
	return vs
}

// TestDecisions holds the statistics against draws of which the truth is known: the same toolchain twice is called
// different no more often than the level of the test allows, and a slowdown of a tenth is found.
func TestDecisions(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	const draws = 4000
	false6, found6 := 0, 0
	for range draws {
		a := noisy(r, 1, 0.02, 6)
		if Compare(a, noisy(r, 1, 0.02, 6)).Real {
			false6++
		}
		if c := Compare(a, noisy(r, 1.1, 0.02, 6)); c.Real && c.Ratio() > 1 {
			found6++
		}
	}
	if part := float64(false6) / draws; part > 0.05 {
		t.Errorf("%.3f of the comparisons of a toolchain with itself called a difference", part)
	}
	if part := float64(found6) / draws; part < 0.99 {
		t.Errorf("a slowdown of a tenth was found in %.3f of the draws", part)
	}
}

func TestOutliers(t *testing.T) {
	t.Parallel()
	got := Outliers([]float64{1, 1.01, 0.99, 1.02, 3, 1.05})
	for i, out := range got {
		if out != (i == 4) {
			t.Errorf("%v", got)
		}
	}
}

// claimResult makes a result in which a build takes the given seconds, and the given part of them for the link.
func claimResult(series map[string][2]float64) *Result {
	r := &Result{Kind: KindToolchains, Programs: []Program{{Name: "p"}}}
	random := rand.New(rand.NewPCG(5, 6))
	for _, name := range slices.Sorted(maps.Keys(series)) { // target compiler linker scenario
		v, f := series[name], strings.Fields(name)
		s := Series{Dimensions: Dimensions{{"program", "p"}, {"scenario", f[3]}, {"target", f[0]}, {"compiler", f[1]}, {"linker", f[2]}}, Status: Measured}
		for _, w := range noisy(random, v[0], 0.01, 8) {
			s.Samples = append(s.Samples, Sample{UnitWall: w, PhaseLink.Unit(): w * v[1] * (1 + 0.001*random.NormFloat64())})
		}
		r.Series = append(r.Series, s)
	}
	return r
}

func TestClaims(t *testing.T) {
	t.Parallel()
	verdicts := func(r *Result) map[string]Claim {
		m := make(map[string]Claim)
		for _, c := range toolchainClaims(r) {
			m[c.ID] = c
		}
		return m
	}
	check := func(name string, r *Result, want map[string]Verdict) {
		t.Helper()
		got := verdicts(r)
		for id, v := range want {
			if got[id].Verdict != v {
				t.Errorf("%s: %s is %s, want %s: %s", name, id, got[id].Verdict, v, got[id].Why)
			}
		}
	}
	relink := map[string][2]float64{
		"windows/amd64 mingw bfd relink": {2, .8}, "windows/amd64 clang-19 bfd relink": {1.8, .7},
		"windows/amd64 clang-19 lld relink": {1, .5}, "linux/amd64 clang-19 lld relink": {1, .5},
	}
	check("as claimed", claimResult(relink), map[string]Verdict{
		"C2-faster": Confirmed, "C2-faster-windows": Confirmed, "C2-share": Confirmed, "C2-lld": Confirmed, "C2-machine": NotMeasurable})
	why := verdicts(claimResult(relink))["C2-lld"].Why
	if !strings.Contains(why, "p, relink") || !strings.Contains(why, "of the gain") {
		t.Errorf("the figures are missing: %s", why)
	}

	relink["windows/amd64 clang-19 bfd relink"] = [2]float64{1.1, .5} // the compiler makes the gain
	check("by the compiler", claimResult(relink), map[string]Verdict{"C2-lld": Refuted})

	relink["windows/amd64 clang-19 lld relink"], relink["linux/amd64 clang-19 lld relink"] = [2]float64{3, .9}, [2]float64{3, .9}
	check("the other way", claimResult(relink), map[string]Verdict{"C2-faster": Refuted, "C2-share": Refuted, "C2-lld": Undecided})

	relink["windows/amd64 mingw bfd cold"], relink["linux/amd64 clang-19 lld cold"] = [2]float64{40, .02}, [2]float64{30, .01}
	check("by the scenario", claimResult(relink), map[string]Verdict{"C2-faster": Depends, "C2-share": Depends})

	check("the same", claimResult(map[string][2]float64{"windows/amd64 mingw bfd relink": {1, .5}, "linux/amd64 clang-19 lld relink": {1.0005, .5}}),
		map[string]Verdict{"C2-faster": Undecided, "C2-lld": NotMeasurable})
	check("nothing", &Result{Programs: []Program{{Name: "p"}}}, map[string]Verdict{"C2-faster": NotMeasurable})
}

// TestVariantsApart has claims rest on plain builds alone.
func TestVariantsApart(t *testing.T) {
	t.Parallel()
	r := claimResult(map[string][2]float64{"windows/amd64 mingw bfd relink": {1, .5}, "linux/amd64 clang-19 lld relink": {2, .5}})
	for i := range r.Series {
		r.Series[i].Dimensions = r.Series[i].Dimensions.With("race", "on")
	}
	if c := toolchainClaims(r)[0]; c.Verdict != NotMeasurable {
		t.Errorf("%+v", c)
	}
}

func TestTables(t *testing.T) {
	t.Parallel()
	r := claimResult(map[string][2]float64{"windows/amd64 mingw bfd relink": {2, .8}, "windows/amd64 mingw lld relink": {1, .5}})
	r.Series = append(r.Series, Series{Dimensions: Dimensions{{"program", "any"}, {"target", "windows/amd64"}, {"linker", "mold"}}, Status: Impossible, Reason: "mold makes no | programs"},
		Series{Dimensions: Dimensions{{"program", "p"}, {"linker", "x"}}, Status: Failed, Reason: "exit status 1", Output: "first line\nsecond line"})
	r.Claims = toolchainClaims(r)
	text, page := string(r.Text()), string(r.Markdown())
	for _, want := range []string{"windows/amd64  mingw     lld", "-49.8%", "impossible", "mold makes no | programs", "    first line\n    second line", "NOT MEASURABLE HERE"} {
		if !strings.Contains(text, want) {
			t.Errorf("the text lacks %q:\n%s", want, text)
		}
	}
	if !strings.Contains(page, `mold makes no \| programs`) || !strings.Contains(page, "## p, relink") {
		t.Errorf("the page:\n%s", page)
	}
}
