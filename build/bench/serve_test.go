package bench

import (
	"errors"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// Each handler answers each load; the counts of both sides agree, and the figures among themselves.
func TestServeOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	src := filepath.Join(dir, "serve")
	if _, err := ownProgram(t.Context(), "serve", src); err != nil {
		t.Fatal(err)
	}
	binary, err := buildServer(t.Context(), src, dir)
	if err != nil {
		t.Fatal(err)
	}
	const length = 300 * time.Millisecond
	for _, h := range handlers() {
		for _, l := range loads() {
			s, err := serveOnce(t.Context(), binary, h, l, length)
			if err != nil {
				t.Errorf("%s, %s: %v", h.name, l.name, err)
				continue
			}
			p := []float64{0, s[UnitP50], s[UnitP90], s[UnitP99], s[UnitLongest]}
			if !slices.IsSorted(p) || p[1] <= 0 || s[UnitCPU] <= 0 || s[UnitAnswered] < 1 || s[UnitUnserved] != 0 {
				t.Errorf("%s, %s: %v", h.name, l.name, s)
			}
			// Never more than was asked for, but for the request at each end.
			if most := float64(l.rate)*length.Seconds() + 2; l.rate > 0 && s[UnitAnswered] > most {
				t.Errorf("%s, %s: %v answers, at most %v were to be asked for", h.name, l.name, s[UnitAnswered], most)
			}
			if seconds := s[UnitAnswered] / s[UnitRequests]; math.IsNaN(seconds) || seconds < s[UnitLongest]*0.999 {
				t.Errorf("%s, %s: the run took %v s, one request of it %v s", h.name, l.name, seconds, s[UnitLongest])
			}
		}
	}
	if _, err := serveOnce(t.Context(), binary, handler{name: "nowhere", method: "GET"}, loads()[1], length); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("a handler that is not there: %v", err)
	}
	var failed *commandError
	if _, err := startServer(t.Context(), filepath.Join(dir, "missing")); !errors.As(err, &failed) {
		t.Errorf("a server that is not there: %v", err)
	}
}

func TestSummarizeHits(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var hits []*vegeta.Result
	for i := range 100 {
		hits = append(hits, &vegeta.Result{Code: 200, Timestamp: begin.Add(time.Duration(i) * 10 * time.Millisecond), Latency: time.Duration(100-i) * time.Millisecond})
	}
	hits = append(hits, &vegeta.Result{Code: 500, Error: "500", Timestamp: begin.Add(time.Hour), Latency: time.Hour})
	s, n := summarizeHits(hits)
	// The last answer is the 100th request's, sent after 990 ms and answered in one.
	want := Sample{UnitAnswered: 100, UnitUnserved: 1, UnitP50: 0.050, UnitP90: 0.090, UnitP99: 0.099, UnitLongest: 0.1, UnitRequests: 100 / 0.991}
	for unit, v := range want {
		if math.Abs(s[unit]-v) > 1e-9 {
			t.Errorf("%s is %v, want %v", unit, s[unit], v)
		}
	}
	if n != 100 || len(s) != len(want) {
		t.Errorf("%d answers, %v", n, s)
	}
	if s, n := summarizeHits(hits[100:]); n != 0 || s[UnitUnserved] != 1 {
		t.Errorf("no answers: %v", s)
	}
	if got := percentile([]float64{7}, 0.5); got != 7 {
		t.Errorf("the median of one value is %v", got)
	}
}
