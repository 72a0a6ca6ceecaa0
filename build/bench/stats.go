package bench

import (
	"fmt"
	"math"
	"slices"

	"golang.org/x/perf/benchmath"
)

// confidence is the level of every interval, and 1-confidence that of every test.
const confidence = 0.95

// MinRuns is the number of runs from which on the median has a 95 % confidence interval: its ends are the smallest and
// the largest of n samples, between which the median lies with a probability of 1 - 2·2⁻ⁿ, .969 for six.
const MinRuns = 6

// A Summary is the median of some samples and its confidence interval, by order statistics alone.
type Summary struct {
	N      int
	Median float64
	Lo, Hi float64 // the 95 % interval; meaningless unless Known
	Known  bool    // there are at least MinRuns samples
}

// Summarize returns the median and its 95 % confidence interval.
func Summarize(values []float64) Summary {
	if len(values) == 0 {
		return Summary{}
	}
	s := benchmath.AssumeNothing.Summary(sample(values), confidence)
	known := !math.IsInf(s.Lo, 0) && !math.IsInf(s.Hi, 0)
	sum := Summary{N: len(values), Median: s.Center, Known: known}
	if known {
		sum.Lo, sum.Hi = s.Lo, s.Hi
	}
	return sum
}

// sample copies the values, because benchmath sorts them.
func sample(values []float64) *benchmath.Sample {
	return benchmath.NewSample(slices.Clone(values), &benchmath.DefaultThresholds)
}

// Width returns the width of the interval relative to the median, +Inf when it is not known.
func (s Summary) Width() float64 {
	if !s.Known || s.Median == 0 {
		return math.Inf(1)
	}
	return (s.Hi - s.Lo) / math.Abs(s.Median)
}

// Spread returns "±3%" for the farther end of the interval, "±∞" when it is not known.
func (s Summary) Spread() string {
	switch {
	case !s.Known:
		return "±∞"
	case s.Median == 0:
		return "±?"
	}
	return fmt.Sprintf("±%.0f%%", 100*max(s.Hi-s.Median, s.Median-s.Lo)/math.Abs(s.Median))
}

// A Comparison is the outcome of a Mann-Whitney U test of two sets of samples.
type Comparison struct {
	A, B Summary
	P    float64 // probability of samples at least as different, were there no difference
	Real bool    // P is below 0.05
}

// Compare tests whether b differs from a.
func Compare(a, b []float64) Comparison {
	c := Comparison{A: Summarize(a), B: Summarize(b), P: 1}
	if len(a) == 0 || len(b) == 0 {
		return c
	}
	t := benchmath.AssumeNothing.Compare(sample(a), sample(b))
	c.P, c.Real = t.P, t.P < t.Alpha
	return c
}

// Delta returns B's median relative to A's as "-12.3%", or "~" when the data do not carry a difference.
func (c Comparison) Delta() string {
	switch {
	case !c.Real:
		return "~"
	case c.A.Median == 0:
		return "?"
	}
	return fmt.Sprintf("%+.1f%%", 100*(c.B.Median/c.A.Median-1))
}

// Ratio returns B's median divided by A's, NaN when that is not defined.
func (c Comparison) Ratio() float64 {
	if c.A.Median == 0 {
		return math.NaN()
	}
	return c.B.Median / c.A.Median
}

// String returns the difference with what it rests on: "-12.3% (p=0.002 n=6+6)".
func (c Comparison) String() string {
	return fmt.Sprintf("%s (p=%.3f n=%d+%d)", c.Delta(), c.P, c.A.N, c.B.N)
}
