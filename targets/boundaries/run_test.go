package boundaries

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-build/hallmark/signing/compat"
)

// TestSmallMap makes a small part of the map, twice: the second time nothing is
// made nor heard again. `mage boundaries` makes the whole.
func TestSmallMap(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	o := Options{
		Filter: "artifact=pe-console,elf-static scheme=authenticode,appended,verity,ima key=rsa3072,p256 digest=sha256 " +
			"operation=none,unsigned,append,strip,flip-text,flip-signature,other-signature,wrong-root,no-timestamp,expired-timestamped " +
			"judge!=linux-*,wine*,wintrust,chktrust",
		Out: t.TempDir(), Work: t.TempDir(), Log: &log,
	}
	m, err := Run(t.Context(), o)
	if err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	if m.Incomplete == "" {
		t.Error("a filtered map says that it is whole")
	}
	operations, skipped := map[string]int{}, map[string]string{}
	for _, c := range m.Cells {
		operations[c.Operation]++
		if c.Status == compat.Skip {
			skipped[c.Judge] = c.Reason
		}
	}
	for _, op := range []string{none, "unsigned", "append", "flip-text", "flip-signature", "other-signature", "wrong-root", "no-timestamp", "expired-timestamped"} {
		if operations[op] == 0 {
			t.Errorf("no cell of %s", op)
		}
	}
	for judge, reason := range skipped {
		if os.Getenv("HALLMARK_STRICT") != "" {
			t.Errorf("%s: %s", judge, reason)
		} else {
			t.Logf("SKIP %s: %s", judge, reason)
		}
	}
	before, err := filepath.Glob(filepath.Join(o.Work, "world-*"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range again.Cells {
		if c.Status != compat.Skip && c.Seconds != m.Cells[i].Seconds {
			t.Errorf("%s was heard again by %s", c.Case, c.Judge)
		}
	}
	after, err := filepath.Glob(filepath.Join(o.Work, "world-*"))
	if err != nil {
		t.Fatal(err)
	}
	// Claim C6 is measured in each run, which needs keys.
	if len(after) > len(before)+2 {
		t.Errorf("worlds %v, then %v", before, after)
	}
}

// What a cell is held to: each way of being wrong fails.
func TestExpectationsOfCells(t *testing.T) {
	t.Parallel()
	rules, err := parseExpectations("# comment\n\n* * * * none * accept it is good\n* * * * none deaf* cannot it does not read it\n* appended * * flip-* * refuse a bit differs\n")
	if err != nil {
		t.Fatal(err)
	}
	sp := func(op string) spec {
		return spec{artifact: artifact{name: "elf"}, scheme: scheme{name: "appended", judges: "appended"}, key: baseKey, digest: baseDigest, op: op}
	}
	for _, test := range []struct {
		op, judge, got string
		was, want      compat.Status
		unmet          string
	}{
		{none, "a", Accept, compat.Pass, compat.Pass, ""},
		{none, "a", Refuse, compat.Pass, compat.Fail, "refuse"},
		{none, "a", Cannot, compat.Skip, compat.Fail, "cannot"},
		{none, "a", "crashed: signal", compat.Fail, compat.Fail, "crashed"},
		{none, "deaf", Cannot, compat.Skip, compat.Pass, ""},
		{none, "deaf", Accept, compat.Pass, compat.Fail, "accept"},
		{"flip-text", "a", Refuse, compat.Fail, compat.Pass, ""},
		{"flip-text", "a", Accept, compat.Pass, compat.Fail, "accept"},
		{"flip-text", "a", "", compat.Skip, compat.Skip, ""},
		{"unheard-of", "a", Accept, compat.Pass, compat.Fail, "nothing is expected"},
	} {
		r := &run{rules: rules}
		x := &cell{c: &fileCase{spec: sp(test.op)}, judge: compat.Judge{Name: test.judge, Scheme: "appended"}}
		x.answer.Result = compat.Result{Got: test.got, Status: test.was}
		c := r.judge(x)
		if c.Status != test.want || !strings.Contains(c.Reason, test.unmet) {
			t.Errorf("%s, %s, %s: %v %q, want %v", test.op, test.judge, test.got, c.Status, c.Reason, test.want)
		}
	}
	if dead := rules.dead(); len(dead) != 0 {
		t.Errorf("dead: %v", dead)
	}
	unused, err := parseExpectations("* * * * none * accept it is good\n* bundle * * * * refuse nobody asks\n")
	if err != nil {
		t.Fatal(err)
	}
	r := &run{rules: unused, Options: Options{Out: t.TempDir()}, start: time.Now()}
	x := &cell{c: &fileCase{spec: sp(none)}, judge: compat.Judge{Name: "a", Scheme: "appended"}, done: true}
	x.answer.Result = compat.Result{Got: Accept}
	_, err = r.conclude(t.Context(), []*cell{x}, nil)
	var failed *FailedError
	if !errors.As(err, &failed) || len(failed.Faults) != 1 || !strings.Contains(failed.Faults[0], "bundle") {
		t.Errorf("a dead expectation: %v", err)
	}
}

func TestExpectationsFile(t *testing.T) {
	t.Parallel()
	if _, err := parseExpectations(expected); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"* * * * none * accept", "* * * * none * perhaps why", "[ * * * none * accept why", "* * a,,b * none * accept why"} {
		if _, err := parseExpectations(bad); err == nil || !strings.Contains(err.Error(), "line 1") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzExpectations(f *testing.F) {
	f.Add(expected)
	f.Fuzz(func(t *testing.T, text string) {
		rules, err := parseExpectations(text)
		if err == nil {
			rules.of(spec{op: none}, "a")
		}
	})
}

func TestFilter(t *testing.T) {
	t.Parallel()
	sp := spec{artifact: artifact{name: "pe-gui"}, scheme: scheme{name: "authenticode"}, key: "p256", digest: "sha256", op: "flip-text"}
	for text, want := range map[string]bool{
		"": true, "artifact=pe-*": true, "artifact=elf-*": false, "artifact!=elf-*": true, "artifact!=pe-*": false,
		"operation=none,flip-*": true, "operation=none": false, "key=p256 digest=sha512": false, "judge=nobody": true,
	} {
		f, err := parseFilter(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.wants(sp); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
	for text, want := range map[string]bool{"operation=none": false, "operation=f*": true, "operation=*": true, "operation=flip-text": true, "operation!=none": true, "operation=strip": false, "scheme=section": false} {
		f, err := parseFilter(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.wantsFlips(sp); got != want {
			t.Errorf("flips with %q: %v", text, got)
		}
	}
	for _, bad := range []string{"pe", "colour=red", "artifact=", "artifact=["} {
		if _, err := parseFilter(bad); err == nil {
			t.Errorf("%q is let pass", bad)
		}
	}
}

// An interrupted run leaves a line that was cut short.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "verdicts")
	v, err := openVerdicts(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, inputs := range []string{"a", "b"} {
		if err := v.put(inputs, verdict{Result: compat.Result{Got: inputs}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data[:len(data)-5], 0o644); err != nil {
		t.Fatal(err)
	}
	if v, err = openVerdicts(name); err != nil {
		t.Fatal(err)
	}
	if _, ok := v.get("b"); ok {
		t.Error("half a line counts")
	}
	if err := errors.Join(v.put("c", verdict{}), v.close()); err != nil {
		t.Fatal(err)
	}
	if v, err = openVerdicts(name); err != nil {
		t.Fatal(err)
	}
	defer v.close()
	for inputs, want := range map[string]bool{"a": true, "b": false, "c": true} {
		if one, ok := v.get(inputs); ok != want || ok && inputs == "a" && one.Result.Got != "a" {
			t.Errorf("%s: %v, %+v", inputs, ok, one)
		}
	}
}

func FuzzPieces(f *testing.F) {
	f.Add([]byte("MZ"))
	f.Add(appendTrailer([]byte("content"), []byte("signature")))
	f.Fuzz(func(t *testing.T, data []byte) {
		p := piece{data: data, beside: map[string][]byte{".p7s": data, ".verity.p7s": data}}
		for _, s := range schemes() {
			p.message(s)
		}
		tableOf(data)
		peRegions(data)
		elfRegions(data)
		appendInTable(data)
	})
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	out := t.TempDir()
	_, err := Run(ctx, Options{Filter: "artifact=elf-static", Out: out, Work: t.TempDir()})
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "again to go on") {
		t.Errorf("%v", err)
	}
	if _, err := Read(out); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a record of nothing: %v", err)
	}
}
