package bench

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const exampleReport = `planted certain plantedMap
half a line==================
WARNING: DATA RACE
Write at 0x00c000012345 by goroutine 8:
  example.com/race.plantedCounter.func2()
      /src/race.go:75 +0x44

Previous write at 0x00c000012345 by goroutine 7:
  example.com/race.plantedCounter.func1()
      /src/race.go:75 +0x33

Goroutine 8 (running) created at:
  example.com/race.inTurn()
      /src/race.go:50 +0xfc
==================
planted certain plantedCounter
planted chance plantedPool
planted certain plantedCounter
not planted certain this
--- FAIL: TestPlanted
    testing.go:1712: plantedMap( is named outside of a report
==================
WARNING: DATA RACE
Read at 0x00c000012346 by goroutine 9:
  example.com/other.unplanted()
`

func TestParseReports(t *testing.T) {
	t.Parallel()
	reports := parseReports([]byte(exampleReport))
	if want := []raceReport{{"plantedCounter"}, {""}}; !slices.Equal(reports, want) {
		t.Errorf("reports %v, want %v", reports, want)
	}
	planted := parsePlanted([]byte(exampleReport))
	if !slices.Equal(planted.certain, []string{"plantedMap", "plantedCounter"}) || !slices.Equal(planted.chance, []string{"plantedPool"}) {
		t.Errorf("planted %v", planted)
	}
}

func FuzzParseReports(f *testing.F) {
	f.Add([]byte(exampleReport))
	f.Add([]byte("WARNING: DATA RACE\n==================\n  a.plantedX()\nplanted chance\n"))
	f.Fuzz(func(t *testing.T, output []byte) {
		reports := parseReports(output)
		if n := bytes.Count(output, []byte("WARNING: DATA RACE")); len(reports) > n {
			t.Errorf("%d reports of %d", len(reports), n)
		}
		p := parsePlanted(output)
		names := slices.Concat(p.certain, p.chance)
		slices.Sort(names)
		if len(slices.Compact(slices.Clone(names))) != len(names) {
			t.Errorf("a race twice: %q", names)
		}
	})
}

// The detector finds every certain race, each time, and nothing that was not planted; without it nothing is reported.
func TestPlantedRaces(t *testing.T) {
	t.Parallel()
	if out, err := exec.CommandContext(t.Context(), "go", "env", "CGO_ENABLED").Output(); err != nil || strings.TrimSpace(string(out)) != "1" {
		t.Skip("the race detector needs a C compiler, and there is none")
	}
	dir := t.TempDir()
	b := raceBench{dir: dir, src: filepath.Join(dir, "race"), found: map[string]int{}}
	if p, err := ownProgram(t.Context(), "race", b.src); err != nil || len(p.Digest) != 64 {
		t.Fatalf("%v, %v", p, err)
	}
	for _, detector := range []string{"off", "on"} {
		b.add(t.Context(), detector)
	}
	of := func(scenario, detector string) *trial {
		for _, tr := range b.trials {
			if tr.series.Dimensions.Get("scenario") == scenario && tr.series.Dimensions.Get("detector") == detector {
				return tr
			}
		}
		t.Fatalf("no trial of %s, detector %s", scenario, detector)
		return nil
	}
	const certain, chance = 12, 4
	for range 3 {
		s, err := of(scenarioPlanted, "on").run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if s[UnitRaces] < certain || s[UnitRaces] > certain+chance || s[UnitReports] < s[UnitRaces] || s[UnitWall] <= 0 {
			t.Errorf("sample %v", s)
		}
	}
	if len(b.planted.certain) != certain || len(b.planted.chance) != chance {
		t.Errorf("planted are %v", b.planted)
	}
	for _, name := range b.planted.certain {
		if b.found[name] != 3 {
			t.Errorf("%s was found in %d of 3 runs", name, b.found[name])
		}
	}
	if b.strange != 0 {
		t.Errorf("%d reports of races that were not planted", b.strange)
	}
	s, err := of(scenarioPlanted, "off").run(t.Context())
	if err != nil || s[UnitRaces] != 0 || s[UnitReports] != 0 {
		t.Errorf("without the detector: %v, %v", s, err)
	}
	if words := strings.Join(b.notes(), "\n"); !strings.Contains(words, "of the 12 certain races, 12 were reported in each of the 3 runs") {
		t.Errorf("notes:\n%s", words)
	}
	if s, err := of("Sort", "off").run(t.Context()); err != nil || s[UnitWall] <= 0 || s[UnitWall] > 10 {
		t.Errorf("a workload: %v, %v", s, err)
	}
}

// A program that does not compile makes failed series, with the compiler's words; one that the detector cannot be
// compiled for, impossible ones.
func TestRaceNotCompiled(t *testing.T) {
	t.Parallel()
	src := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module m\n", "a_test.go": "package m\n\nfunc f() { undefined() }\n"} {
		if err := os.WriteFile(filepath.Join(src, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	b := raceBench{dir: t.TempDir(), src: src, found: map[string]int{}}
	b.add(t.Context(), "off")
	for _, tr := range b.trials {
		if s := tr.series; s.Status != Failed || !strings.Contains(s.Output, "undefined") || s.Reason == "" {
			t.Errorf("%+v", *s)
		}
	}
	r := Result{Kind: KindRace, Method: RunOptions{Runs: 1}.method()}
	if why := measureRounds(t.Context(), func(string, ...any) {}, r.Method, b.trials); why != "" {
		t.Error(why)
	}
	if err := r.finish(t.Context(), b.trials); err != nil || len(r.Series) != len(b.trials) {
		t.Errorf("%v, %d series", err, len(r.Series))
	}
	if _, err := r.Encode(); err != nil {
		t.Error(err)
	}
}

// Each round measures every trial once, not always in one order; one that fails leaves the rest alone; what was measured
// when the context ends is kept.
func TestMeasureRounds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var order []string
	mk := func(name string, run func(n int) error) *trial {
		n := 0
		return &trial{series: &Series{Status: Measured, Dimensions: Dimensions{{"scenario", name}}}, unit: UnitWall, run: func(context.Context) (Sample, error) {
			order = append(order, name)
			n++
			return Sample{UnitWall: float64(n)}, run(n)
		}}
	}
	ok := func(int) error { return nil }
	trials := []*trial{mk("a", ok), mk("b", ok), mk("c", ok), mk("d", func(n int) error {
		switch n {
		case 4:
			return &commandError{name: "cc", output: "its words", err: os.ErrInvalid}
		}
		return nil
	})}
	m := RunOptions{Seed: 1, Runs: 8}.method()
	log := func(string, ...any) {}
	if why := measureRounds(ctx, log, m, trials); why != "" {
		t.Error(why)
	}
	if got := trials[0].series.Values(UnitWall); len(got) != 8 || got[0] != 2 {
		t.Errorf("samples %v: the warm-up is among them, or runs are missing", got)
	}
	if s := trials[3].series; s.Status != Failed || s.Output != "its words" || len(s.Samples) != 2 {
		t.Errorf("%+v", *s)
	}
	firsts := map[string]bool{}
	for i := 0; i < 16; i += 4 {
		round := slices.Clone(order[i : i+4])
		firsts[round[0]] = true
		slices.Sort(round)
		if strings.Join(round, "") != "abcd" {
			t.Errorf("a round of %v", round)
		}
	}
	if len(firsts) < 2 {
		t.Errorf("always in one order: %v", order)
	}

	trials = []*trial{mk("a", ok), mk("b", func(n int) error {
		if n == 4 {
			cancel()
		}
		return nil
	}), mk("c", func(int) error { return nil })}
	r := Result{Kind: KindRace, Method: m}
	r.Incomplete = measureRounds(ctx, log, m, trials)
	if err := r.finish(ctx, trials); err != nil || r.Incomplete == "" || len(r.Series) != 3 || len(r.Find(Dimensions{{"scenario", "b"}}).Samples) != 2 {
		t.Errorf("interrupted: %v, %q, %+v", err, r.Incomplete, r.Series)
	}
	r = Result{Kind: KindRace, Method: m}
	r.Incomplete = measureRounds(ctx, log, m, []*trial{mk("a", ok)})
	if err := r.finish(ctx, []*trial{mk("a", ok)}); err != context.Canceled {
		t.Errorf("interrupted before anything was measured: %v", err)
	}
}

// More runs are made, within the budget, of what is still wide, and of nothing else.
func TestMeasureUntilNarrow(t *testing.T) {
	t.Parallel()
	n := 0
	noisy := &trial{series: &Series{Status: Measured}, unit: UnitWall, run: func(context.Context) (Sample, error) { n++; return Sample{UnitWall: float64(1 + n%2)}, nil }}
	still := &trial{series: &Series{Status: Measured}, unit: UnitWall, run: func(context.Context) (Sample, error) { return Sample{UnitWall: 1}, nil }}
	m := RunOptions{Seed: 1, Budget: 1e15}.method()
	measureRounds(t.Context(), func(string, ...any) {}, m, []*trial{noisy, still})
	if len(still.series.Samples) != MinRuns || len(noisy.series.Samples) != maxRuns {
		t.Errorf("%d and %d runs", len(still.series.Samples), len(noisy.series.Samples))
	}
}
