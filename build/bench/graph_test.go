package bench

import (
	"math"
	"strings"
	"testing"
	"time"
)

// overlapping is a build of four seconds: cgo alone for one, then C and Go side by side for one, Go alone for one, a
// second in which nothing runs.
const overlapping = `[
 {"ID":0,"Mode":"link","TimeStart":"2026-01-02T03:04:09Z","TimeDone":"2026-01-02T03:04:10Z","Cmd":["link"],"CmdReal":1,"CmdUser":800000000,"CmdSys":100000000},
 {"ID":1,"Mode":"build","Package":"p","TimeStart":"2026-01-02T03:04:06Z","TimeDone":"2026-01-02T03:04:08Z","CmdUser":1500000000},
 {"ID":2,"Mode":"cgo compile a.c","TimeStart":"2026-01-02T03:04:06Z","TimeDone":"2026-01-02T03:04:07Z","CmdUser":700000000,"CmdSys":100000000},
 {"ID":3,"Mode":"cgo run","TimeStart":"2026-01-02T03:04:05Z","TimeDone":"2026-01-02T03:04:06Z","CmdSys":300000000},
 {"ID":4,"Mode":"build check cache","TimeStart":"2026-01-02T03:04:05Z","TimeDone":"2026-01-02T03:04:10Z"},
 {"ID":5,"Mode":"nop"}]`

func TestPhaseTimes(t *testing.T) {
	t.Parallel()
	actions, err := readGraph(strings.NewReader(overlapping))
	if err != nil {
		t.Fatal(err)
	}
	wall, cpu := phaseTimes(actions)
	for p, want := range map[Phase][2]float64{
		PhaseCgo:     {1, .3},
		PhaseCC:      {.5, .8},
		PhaseCompile: {1.5, 1.5},
		PhaseLink:    {1, .9},
	} {
		if w, c := wall[p], cpu[p]; math.Abs(w-want[0]) > 1e-9 || math.Abs(c-want[1]) > 1e-9 {
			t.Errorf("%s: %v s, %v s of CPU; want %v and %v", p, w, c, want[0], want[1])
		}
	}
	if len(wall) != 4 || !tellsCgo(actions) || tellsCgo(actions[:2]) {
		t.Errorf("%v", wall)
	}
}

func TestGraphRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, old, new, want string }{
		{"ends before it starts", `"TimeDone":"2026-01-02T03:04:08Z"`, `"TimeDone":"2026-01-02T03:04:01Z"`, "action 1 (build) starts at"},
		{"lasts for ages", `"TimeDone":"2026-01-02T03:04:08Z"`, `"TimeDone":"2027-01-02T03:04:08Z"`, "action 1 (build) starts at"},
		{"no end", `,"TimeDone":"2026-01-02T03:04:08Z"`, ``, "action 1 (build) starts at"},
		{"negative CPU", `1500000000`, `-1`, "action 1 (build) used"},
		{"cut short", overlapping[300:], "", "unexpected EOF"},
		{"no list", overlapping, "{}", "action graph"},
		{"two values", `"nop"}]`, `"nop"}] []`, "more than one"},
		{"no time", `"2026-01-02T03:04:06Z"`, `"soon"`, "soon"},
	} {
		if _, err := readGraph(strings.NewReader(strings.Replace(overlapping, c.old, c.new, 1))); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want one that says %q", c.name, err, c.want)
		}
	}
}

func FuzzGraph(f *testing.F) {
	f.Add([]byte(overlapping))
	f.Add([]byte(`[{"Mode":"build","TimeStart":"0001-01-01T00:00:00Z","TimeDone":"9999-01-01T00:00:00Z"}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		actions, err := readGraph(strings.NewReader(string(data)))
		if err != nil {
			return
		}
		wall, cpu := phaseTimes(actions)
		// All phases together last no longer than from the first start to the last end.
		var first, last time.Time
		for _, a := range actions {
			if a.TimeStart.IsZero() {
				continue
			}
			if first.IsZero() || a.TimeStart.Before(first) {
				first = a.TimeStart
			}
			if a.TimeDone.After(last) {
				last = a.TimeDone
			}
		}
		var sum float64
		for p, d := range wall {
			if d < 0 || cpu[p] < 0 {
				t.Fatalf("%s: %v, %v", p, d, cpu[p])
			}
			sum += d
		}
		if span := last.Sub(first).Seconds(); sum > span+1e-3+math.Abs(span)*1e-9 {
			t.Fatalf("phases of %v s in a build of %v s", sum, span)
		}
	})
}
