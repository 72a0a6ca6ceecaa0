package bench

import (
	"fmt"
	"math"
	"slices"
)

// conclude completes the result: series, noise, claims.
func (s *session) conclude() {
	for _, x := range s.series {
		if x.Status == Measured && len(x.Samples) == 0 {
			x.Status, x.Reason = Failed, "no run was finished before the end"
		}
		s.result.Series = append(s.result.Series, *x)
	}
	s.noise()
	s.accounts()
	s.result.Claims = toolchainClaims(s.result)
}

// Thresholds of what is called noise.
const (
	busyOthers = 0.10 // part of all processors that others used during a run
)

// noise notes what spoils the figures: other load, a changing frequency, outliers.
func (s *session) noise() {
	r := s.result
	var all []float64
	outliers, loaded := 0, 0
	for _, c := range s.jobs {
		all = append(all, c.foreign...)
		for i, out := range Outliers(c.series.Values(UnitWall)) {
			if !out {
				continue
			}
			outliers++
			if i < len(c.foreign) && c.foreign[i] > busyOthers {
				loaded++
			}
		}
	}
	if m := Summarize(all); m.N > 0 && m.Median > busyOthers {
		s.note("noise: other processes used %.0f %% of the machine during a run (median of %d runs): the times hold for a busy machine, and intervals are wide", 100*m.Median, m.N)
	}
	if outliers > 0 {
		s.note("%d runs are outliers, in %d of which other processes used more than %.0f %% of the machine; medians bear them", outliers, loaded, 100*busyOthers)
	}
	if r.Machine.LoadBefore > 0.5*float64(max(1, r.Machine.Cores)) {
		s.note("noise: the load average was %.1f before the run, on %d processors", r.Machine.LoadBefore, r.Machine.Cores)
	}
	switch r.Machine.Governor {
	case "", "performance":
	default:
		s.note("noise: the frequency of the processors is set by the governor %s, so it follows the load", r.Machine.Governor)
	}
	s.note("page cache: every series is warmed up by a run that does not count, so sources and tools are read from memory, not from the disk")
}

// Outliers tells which values lie further from the median than three standard deviations, these estimated by the median
// absolute deviation, and than 10 %.
func Outliers(values []float64) []bool {
	out := make([]bool, len(values))
	m := Summarize(values)
	if m.N < 3 {
		return out
	}
	deviations := make([]float64, len(values))
	for i, v := range values {
		deviations[i] = math.Abs(v - m.Median)
	}
	limit := max(3*1.4826*Summarize(deviations).Median, 0.10*math.Abs(m.Median))
	for i, v := range values {
		out[i] = math.Abs(v-m.Median) > limit
	}
	return out
}

// accounts notes how well the phases add up to the CPU time of the build, what the kernel counts for the go command's own
// process being the check on what no action has used.
func (s *session) accounts() {
	worst, where := 0.0, ""
	n := 0
	for i := range s.result.Series {
		x := &s.result.Series[i]
		rest, cpu := Summarize(x.Values(UnitUnaccounted)), Summarize(x.Values(UnitCPU))
		if rest.N == 0 || cpu.Median == 0 {
			continue
		}
		n++
		if part := math.Abs(rest.Median) / cpu.Median; part > worst {
			worst, where = part, x.Dimensions.String()
		}
	}
	if n > 0 {
		s.note("of the CPU time of a build, at most %.1f %% (%s) is neither an action's nor the go command's own: tools that it asks for their versions, counted as other",
			100*worst, where)
	}
}

// overhead returns what instrumented runs take beyond timed ones, as a part of these, over all series that have both.
func overhead(r *Result) (part float64, ok bool) {
	var parts []float64
	for i := range r.Series {
		x := &r.Series[i]
		p, t := Summarize(x.ProfileValues(UnitCPU)), Summarize(x.Values(UnitCPU))
		if p.N > 0 && t.N > 0 && t.Median > 0 {
			parts = append(parts, p.Median/t.Median-1)
		}
	}
	if len(parts) == 0 {
		return 0, false
	}
	slices.Sort(parts)
	return Summarize(parts).Median, true
}

// percent prints a part as "31 %".
func percent(part float64) string { return fmt.Sprintf("%.0f %%", 100*part) }
