package bench

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func sampleResult() *Result {
	d := Dimensions{{"program", "small"}, {"target", "linux/amd64"}, {"linker", "lld"}}
	return &Result{
		Format: FormatVersion, Kind: KindToolchains, Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Elapsed: 12.5,
		Programs: []Program{{Name: "small", Digest: strings.Repeat("ab", 32)}},
		Machine:  Machine{OS: "linux", Arch: "amd64", Cores: 2, Go: "go1.26.8", LoadBefore: -1, FileSystems: []FileSystem{{"GOCACHE", "ext4"}}},
		Method:   Method{Seed: 1, MinRuns: 6, Confidence: 0.95, Interleaved: true},
		Claims:   []Claim{{ID: "C2", Text: "t", Verdict: Undecided, Why: "w"}},
		Series: []Series{
			{Dimensions: d, Status: Measured, Tools: []Tool{{Role: "linker", Name: "LLD", Version: "19.1.7"}},
				Samples: []Sample{{"sec/op": 0.5, "peak-B": 1 << 20}, {"sec/op": 0.25}}, Profile: []Sample{{"hostlink-sec/op": 0.125}}},
			{Dimensions: d.With("linker", "mold"), Status: Impossible, Reason: "not installed"},
		},
		Notes: []string{"n"},
	}
}

func TestResultFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "new", "r.json")
	want := sampleResult()
	if err := want.Write(file); err != nil {
		t.Fatal(err)
	}
	got, err := Read(file)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read back:\n%+v\nwant:\n%+v", got, want)
	}
	entries, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(entries) != 1 {
		t.Errorf("beside the result there are %v, %v", entries, err)
	}
}

func TestResultRefused(t *testing.T) {
	t.Parallel()
	data, err := sampleResult().Encode()
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for _, c := range []struct{ name, old, new, want string }{
		{"version", `"format": 1`, `"format": 2`, "r.json: a benchmark result of format 2; this hallmark reads format 1"},
		{"no version", `"format": 1`, `"formal": 1`, "no format number"},
		{"cut short", text[len(text)/2:], "", "unexpected end"},
		{"unknown member", `"notes"`, `"remarks"`, `unknown key "remarks"`},
		{"another case", `"notes"`, `"NOTES"`, `unknown key "NOTES": it is written "notes"`},
		{"doubled", `"notes"`, `"kind": "race", "notes"`, `"kind" stands there twice`},
		{"something after it", "\n}\n", "\n}\n{}", "after top-level value"},
		{"status", `"impossible"`, `"perhaps"`, `status "perhaps"`},
		{"verdict", `"undecided"`, `"surely"`, `verdict "surely"`},
		{"twice", `"value": "mold"`, `"value": "lld"`, "two series"},
		{"unit", `"peak-B"`, `"peak B"`, "unit"},
		{"number", `0.25`, `1e999`, "not a benchmark result"},
		{"empty", text, "", "unexpected end"},
	} {
		changed := strings.Replace(text, c.old, c.new, 1)
		if changed == text {
			t.Errorf("%s: nothing was damaged", c.name)
		}
		r, err := Decode("r.json", []byte(changed))
		if err == nil || r != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want one that says %q", c.name, err, c.want)
		}
		_, version := errors.AsType[*FormatError](err)
		_, malformed := errors.AsType[*MalformedError](err)
		if version != (c.name == "version") || version == malformed {
			t.Errorf("%s: error of type %T", c.name, err)
		}
	}
}

func TestWriteKeepsOld(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "r.json")
	if err := sampleResult().Write(file); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(file)
	bad := sampleResult()
	bad.Series[0].Samples[0]["sec/op"] = math.NaN()
	if err := bad.Write(file); err == nil {
		t.Error("a result with NaN was written")
	}
	if after, _ := os.ReadFile(file); string(after) != string(before) {
		t.Error("the old result is gone")
	}
}

func FuzzDecode(f *testing.F) {
	data, err := sampleResult().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"format":1,"kind":"race","series":[{"dimensions":[],"status":"failed"}]}`))
	f.Add([]byte(`{"format":7}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Decode("f", data)
		if err != nil {
			return
		}
		again, err := r.Encode()
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		r2, err := Decode("f", again)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		third, err := r2.Encode()
		if err != nil || string(third) != string(again) {
			t.Fatalf("another result after a second time: %v\n%s\n%s", err, again, third)
		}
	})
}

func TestDimensions(t *testing.T) {
	t.Parallel()
	d := Dimensions{{"target", "linux/amd64"}, {"ldflags", "-s -w"}, {"go", ""}}
	if got, want := d.String(), "target=linux-amd64/ldflags=-s--w/go="; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	e := d.With("go", "1.25").With("race", "on")
	if d.Get("go") != "" || e.Get("go") != "1.25" || e.Get("race") != "on" || len(e.Without("race", "go")) != 2 {
		t.Errorf("%v, %v", d, e)
	}
}
