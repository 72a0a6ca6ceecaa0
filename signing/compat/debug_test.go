package compat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// needDelve skips without Delve, which is built by `mage setup`.
func needDelve(t *testing.T) {
	t.Helper()
	if _, err := dlv().key(); err != nil {
		if os.Getenv("HALLMARK_STRICT") == "1" {
			t.Fatal(err)
		}
		t.Skip("SKIP: ", err)
	}
}

// debugged builds the program of DebuggedSource.
func (w *world) debugged(goos, name string) string {
	w.t.Helper()
	w.write("debugged/"+DebuggedFile, []byte(DebuggedSource()))
	w.write("debugged/go.mod", []byte("module debugged\n\ngo 1.24\n"))
	command(w.t, w.path("debugged"), []string{"GOOS=" + goos, "GOARCH=amd64", "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false", "GOWORK=off"},
		"go", "build", "-trimpath", "-o", w.path(name), ".")
	return w.path(name)
}

func TestDebug(t *testing.T) {
	t.Parallel()
	needDelve(t)
	need(t, "objcopy", "binutils")
	w := newWorldless(t)
	s := w.sample()
	file := w.debugged("linux", "plain")
	before := must(Debug(t.Context(), DebugTarget{File: file, Rounds: 3}))(t)
	if hits, runs := before.Hits(); hits != runs || runs != 3*4*20 || len(before.Unset) != 0 {
		t.Errorf("%d hits in %d runs of lines, no breakpoint on %v", hits, runs, before.Unset)
	}
	if len(before.Views) != 3 {
		t.Errorf("%d views", len(before.Views))
	}
	for i, v := range before.Views {
		if v.Own != 67+i || v.Seen != v.Own || !v.Memory || v.Torn || v.Seconds <= 0 {
			t.Errorf("view %d: %+v", i, v)
		}
	}

	signature := bytes.Repeat([]byte("signature"), 100)
	w.executable("signed", appendSignature(w.read("plain"), signature))
	for _, name := range []string{"split", "lost", "other"} {
		if err := SplitDebug(t.Context(), file, w.path(name)); err != nil {
			t.Fatal(err)
		}
		w.executable(name, appendSignature(w.read(name), signature))
	}
	if err := os.Remove(w.path("lost.debug")); err != nil {
		t.Fatal(err)
	}
	w.write("other.debug", flipped(w.read("other.debug"), 5000)) // the link carries its checksum
	judge := DebugJudge(s, before)
	for name, want := range map[string]string{"plain": "accept", "signed": "accept", "split": "accept", "lost": "refuse", "other": "refuse"} {
		r := Run(t.Context(), []Judge{judge}, []Case{{File: w.path(name), Scheme: Debugs}}, Trust{}, 1)[0]
		if r.Got != want || r.Command == "" || r.Version == "" || r.Path == "" {
			t.Errorf("%s: %+v", name, r)
		}
	}
	s.Dirs = nil
	if r := Run(t.Context(), []Judge{DebugJudge(s, before)}, []Case{{File: file, Scheme: Debugs}}, Trust{}, 1)[0]; r.Status != Skip {
		t.Errorf("a file of others: %+v", r)
	}

	if n := must(TornReads(t.Context(), file, 200))(t); n == 0 {
		t.Error("no read of a running program's memory is torn: then the debugger's prove nothing")
	}
}

// A program that is none of ours does not pass for one that was debugged.
func TestDebugOther(t *testing.T) {
	t.Parallel()
	needDelve(t)
	w := newWorldless(t)
	w.program("linux", "hello") // without debug information
	_, err := Debug(t.Context(), DebugTarget{File: w.path("hello")})
	var refusal *RefusalError
	if !errors.As(err, &refusal) {
		t.Errorf("no debug information: %v", err)
	}
	_, err = Debug(t.Context(), DebugTarget{File: w.executable("text", []byte("text"))})
	if !errors.As(err, &refusal) {
		t.Errorf("no program: %v\n%+v", err, errors.Unwrap(err))
	}
}

func TestProfile(t *testing.T) {
	t.Parallel()
	w := newWorldless(t)
	file := w.debugged("linux", "plain")
	signed := w.executable("signed", appendSignature(w.read("plain"), []byte("signature")))
	w.program("linux", "hello")
	for symbols, want := range map[string]bool{file: true, signed: true, w.path("hello"): false} {
		p := must(Profile(t.Context(), file, symbols))(t)
		if p.Frames == 0 || p.Carried != p.Frames || (p.Right == p.Frames) != want || p.Right+len(p.Wrong) != p.Carried {
			t.Errorf("%s: %+v", filepath.Base(symbols), p)
		}
	}
	s := w.sample()
	r := Run(t.Context(), []Judge{ProfileJudge(s)}, []Case{{File: signed, Scheme: Profiles}}, Trust{}, 1)[0]
	if r.Got != "accept" || r.Version == "" || r.Path == "" {
		t.Errorf("%+v", r)
	}
	s.Dirs = nil
	if r := Run(t.Context(), []Judge{ProfileJudge(s)}, []Case{{File: signed, Scheme: Profiles}}, Trust{}, 1)[0]; r.Status != Skip {
		t.Errorf("a file of others: %+v", r)
	}
}

func TestProfileWine(t *testing.T) {
	t.Parallel()
	needWine(t)
	w := newWorldless(t)
	p := must(profileRestamped(t.Context(), w.debugged("windows", "plain.exe")))(t)
	if p.Frames == 0 || p.Right != p.Frames {
		t.Errorf("%+v", p)
	}
}

func TestTorn(t *testing.T) {
	t.Parallel()
	words := func(v ...uint64) (b []byte) {
		for _, w := range v {
			b = binary.LittleEndian.AppendUint64(b, w)
		}
		return b
	}
	for _, whole := range [][]byte{words(0, 0), words(7, 7, 7), words(7, 7, 6), words(7, 6, 6), words(0, 1<<64-1)} {
		if torn(whole) {
			t.Errorf("%v is of one moment", whole)
		}
	}
	for _, twin := range [][]byte{words(7, 8), words(7, 6, 7), words(7, 5), words(7, 6, 5), words(7, 7, 9)} {
		if !torn(twin) {
			t.Errorf("%v is not of one moment", twin)
		}
	}
}

func TestWorse(t *testing.T) {
	t.Parallel()
	make := func() Debugging {
		return Debugging{
			Lines: []DebuggedLine{{Line: 1, Hits: 4, Runs: 4}, {Line: 2, Hits: 3, Runs: 4}},
			Views: []DebuggedView{{Seen: 67, Own: 67, Memory: true}},
		}
	}
	if worse := make().worse(make()); worse != "" {
		t.Error(worse)
	}
	for name, spoil := range map[string]func(*Debugging){
		"a line less":      func(d *Debugging) { d.Lines = d.Lines[1:] },
		"a hit less":       func(d *Debugging) { d.Lines[0].Hits = 3 },
		"a goroutine less": func(d *Debugging) { d.Views[0].Seen = 66 },
		"a goroutine more": func(d *Debugging) { d.Views[0].Seen = 68 },
		"other memory":     func(d *Debugging) { d.Views[0].Memory = false },
		"torn memory":      func(d *Debugging) { d.Views[0].Torn = true },
		"a view less":      func(d *Debugging) { d.Views = nil },
	} {
		d := make()
		spoil(&d)
		if d.worse(make()) == "" {
			t.Errorf("%s is not worse", name)
		}
		if worse := make().worse(d); worse != "" && name != "a view less" {
			t.Errorf("without %s it is worse: %s", name, worse)
		}
	}
}

// evidence is such as Observe gives on a good day, with changes.
func evidence(change func(*Evidence)) Evidence {
	d := func() *Debugging {
		return &Debugging{Debugger: "dlv 1", Lines: []DebuggedLine{{1, 2000, 2000}}, Views: []DebuggedView{{Seen: 67, Own: 67, Seconds: 0.004, Memory: true}}}
	}
	p := func() *Profiling { return &Profiling{Frames: 40, Carried: 40, Right: 40} }
	e := Evidence{
		Observations: []Observation{
			{Case: asBuilt, Debugging: d(), Profiling: p()}, {Case: "appended", Debugging: d(), Profiling: p()},
			{Case: asBuilt, Windows: true, Profiling: p()}, {Case: "authenticode", Windows: true, Profiling: p()},
		},
		Restamped: p(), TornReads: 20, Reads: 200, WSL: true,
	}
	if change != nil {
		change(&e)
	}
	return e
}

func TestFindings(t *testing.T) {
	t.Parallel()
	results := func() []Result {
		var all []Result
		for _, judge := range []string{runNative, runQemu, runWine, runWindow} {
			all = append(all, Result{Judge: judge, Scheme: Runs, Want: "accept", Got: "accept", Status: Pass, Case: judge})
		}
		return append(all, Result{Judge: "openssl", Scheme: Appended, Want: "accept", Got: "refuse"}, Result{Judge: runWine, Scheme: Runs, Want: "refuse", Got: "refuse"})
	}
	for name, test := range map[string]struct {
		results []Result
		e       Evidence
		claim   string
		verdict string
		why     string // is in Why
	}{
		"all run":      {results(), evidence(nil), "C3", Confirmed, "1 of 1 Linux programs"},
		"no screen":    {results()[:3], evidence(nil), "C3", NotMeasurable, "1 of 1 Windows programs"},
		"one does not": {append(results(), Result{Judge: runWine, Case: "dll", Scheme: Runs, Want: "accept", Got: "crashed: x", Status: Fail}), evidence(nil), "C3", Depends, "dll (wine: crashed: x)"},

		"all hit on WSL":  {nil, evidence(nil), "C7", Refuted, "hit 4000 of 4000 breakpoints (100.00 %; misses below 0.07 %"},
		"all hit on less": {nil, evidence(func(e *Evidence) { e.WSL = false }), "C7", Depends, "20 were torn; WSL2's own rate"},
		"1 % missed": {nil, evidence(func(e *Evidence) {
			e.Observations[0].Debugging.Lines[0].Hits, e.Observations[1].Debugging.Lines[0].Hits = 1980, 1980
		}), "C7", Confirmed, "99.00 %"},
		"signing does harm": {nil, evidence(func(e *Evidence) { e.Observations[1].Worse = "line 9" }), "C7", Depends, "appended: line 9"},
		"a torn snapshot":   {nil, evidence(func(e *Evidence) { e.Observations[0].Debugging.Views[0].Torn = true }), "C7", Depends, "of 2 snapshots of memory under it 1 were torn"},
		"no debugger": {nil, evidence(func(e *Evidence) {
			e.Observations[0] = Observation{Case: asBuilt, Err: "dlv is not installed"}
			e.Observations = e.Observations[:1]
		}), "C7", NotMeasurable, "dlv is not installed"},

		"all seen": {nil, evidence(nil), "C8", Refuted, "at 2 of 2 stops with 67 to 67 goroutines"},
		"late and wrong": {nil, evidence(func(e *Evidence) {
			for _, o := range e.Observations[:2] {
				o.Debugging.Views[0].Seen, o.Debugging.Views[0].Seconds = 60, 0.5
			}
		}), "C8", Confirmed, "0 of 2"},
		"late": {nil, evidence(func(e *Evidence) {
			for _, o := range e.Observations[:2] {
				o.Debugging.Views[0].Seconds = 0.5
			}
		}), "C8", Depends, "500.0 ms"},
		"few goroutines": {nil, evidence(func(e *Evidence) {
			for _, o := range e.Observations[:2] {
				o.Debugging.Views[0].Own = 50
			}
		}), "C8", NotMeasurable, "there was none"},

		"all found":        {nil, evidence(nil), "C9", Refuted, "as built 40 of 40, authenticode 40 of 40, in a copy with another time stamp 40 of 40; of Linux programs"},
		"the stamp counts": {nil, evidence(func(e *Evidence) { e.Restamped.Right = 0 }), "C9", Depends, "another time stamp 0 of 40"},
		"some lost":        {nil, evidence(func(e *Evidence) { e.Observations[3].Profiling.Right = 39 }), "C9", Depends, "authenticode 39 of 40"},
		"no Windows":       {nil, evidence(func(e *Evidence) { e.Observations = e.Observations[:2] }), "C9", NotMeasurable, "no Windows program was profiled"},
		"unsigned":         {nil, evidence(func(e *Evidence) { e.Observations = e.Observations[:3] }), "C9", NotMeasurable, "no file was signed"},
	} {
		for _, f := range Findings(test.results, test.e) {
			if f.Claim == test.claim && (f.Verdict != test.verdict || !strings.Contains(f.Why, test.why)) {
				t.Errorf("%s: %s is %s: %s", name, f.Claim, f.Verdict, f.Why)
			}
		}
	}
}

func FuzzNameless(f *testing.F) {
	f.Add([]byte("\x1f\x8b"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if bare, err := nameless(data); err == nil {
			if _, err := nameless(bare); err != nil {
				t.Errorf("what it made is not read: %v", err)
			}
		}
	})
}
