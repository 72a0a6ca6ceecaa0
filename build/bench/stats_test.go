package bench

import (
	"math"
	"slices"
	"testing"
)

func TestSummarize(t *testing.T) {
	t.Parallel()
	vs := []float64{3, 1, 2, 6, 5, 4}
	s := Summarize(vs)
	// The ends of six samples hold the median with 96.9 %.
	if want := (Summary{N: 6, Median: 3.5, Lo: 1, Hi: 6, Known: true}); s != want {
		t.Errorf("%+v, want %+v", s, want)
	}
	if !slices.Equal(vs, []float64{3, 1, 2, 6, 5, 4}) {
		t.Errorf("the samples were put in another order: %v", vs)
	}
	if s.Spread() != "±71%" || math.Abs(s.Width()-5/3.5) > 1e-12 {
		t.Errorf("spread %s, width %v", s.Spread(), s.Width())
	}
	few := Summarize(vs[:MinRuns-1])
	if few.Known || few.Spread() != "±∞" || !math.IsInf(few.Width(), 1) {
		t.Errorf("five samples carry an interval: %+v", few)
	}
	// Ten: the second and the ninth, 97.9 %.
	if ten := Summarize([]float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}); ten.Lo != 2 || ten.Hi != 9 || ten.Median != 5.5 {
		t.Errorf("%+v", ten)
	}
	if none := Summarize(nil); none != (Summary{}) {
		t.Errorf("%+v", none)
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	a := []float64{1.00, 1.01, 1.02, 1.03, 1.04, 1.05}
	slower := []float64{1.10, 1.11, 1.12, 1.13, 1.14, 1.15}
	for _, c := range []struct {
		name  string
		a, b  []float64
		delta string
		p     float64 // -1: any
	}{
		{"identical", a, a, "~", -1},
		{"all equal", []float64{1, 1, 1, 1, 1, 1}, []float64{1, 1, 1, 1, 1, 1}, "~", 1},
		{"mixed", a, []float64{1.005, 1.015, 1.0255, 1.035, 1.045, 1.055}, "~", -1},
		{"separated", a, slower, "+9.8%", 2.0 / 924}, // of the 924 orders of 6+6, the two that separate them
		{"other way", slower, a, "-8.9%", 2.0 / 924},
		{"three are too few", a[:3], slower[:3], "~", 0.1},
		{"none", nil, a, "~", 1},
	} {
		got := Compare(c.a, c.b)
		if got.Delta() != c.delta || c.p >= 0 && math.Abs(got.P-c.p) > 1e-9 {
			t.Errorf("%s: %s, want %s at p=%v", c.name, got, c.delta, c.p)
		}
	}
}
