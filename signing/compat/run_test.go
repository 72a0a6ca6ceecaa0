package compat

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// fake puts a shell script in front of every judge's program on PATH.
func fake(t *testing.T, script string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, name := range []string{"osslsigncode", "sbverify", "openssl", "sha256sum", "fsverity", "evmctl", "cosign",
		"relic", "pedumper", "mono"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\nDIR="+quote(dir)+"\n"+script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	return dir
}

// versions answers the question for the version as the real programs do.
const versions = `case "$0 $*" in
*osslsigncode" "--version) echo "osslsigncode 2.9, using:"; exit;;
*sbverify" "--version) echo "sbverify 0.9.4"; exit;;
*openssl" "version) echo "OpenSSL 3.0.13 30 Jan 2024"; exit;;
*sha256sum" "--version) echo "sha256sum (GNU coreutils) 9.1"; exit;;
*fsverity" "--version) echo "fsverity v1.5"; exit;;
*evmctl" "--version) echo "evmctl 1.4"; exit;;
*cosign" "version) echo "GitVersion:    v2.6.2"; exit;;
*relic" "--version) echo "relic version v7.6.2"; exit;;
*mono" "--version) echo "Mono JIT compiler version 6.8.0.105"; exit;;
esac
`

// faked returns the judges whose program is a script in dir. The others are
// named here, with the reason.
func faked(t *testing.T, dir string) []Judge {
	t.Helper()
	others := map[string]string{
		"wintrust": "it runs in a prefix of Wine", "chktrust": "its program for mono may not be there",
		"pesign": "it is asked only about what is signed", "hash-to-efi-sig-list": "it is asked only about what is signed", "modinfo": "of kernel modules",
		"dpkg-deb": "of packages", "debsig-verify": "of packages", "rpmkeys": "of packages", "openssl-apk": "of packages",
	}
	var judges []Judge
	for _, j := range Judges() {
		if others[j.Name] != "" || strings.HasPrefix(j.Name, "osslsigncode-") { // the one of the machine itself
			continue
		}
		if k, err := j.FindKey(); err != nil || filepath.Dir(k.Path) != dir {
			t.Fatalf("%s is not the script: %v, %v", j.Name, k.Path, err)
		}
		judges = append(judges, j)
	}
	return judges
}

// everyScheme is one case for every judge, of files that need no signature of
// worth: what is tested is what becomes of the programs' answers.
func everyScheme(t *testing.T, want Want) []Case {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, appendSignature([]byte("content"), []byte("signature")), 0o600); err != nil {
		t.Fatal(err)
	}
	for suffix, signature := range map[string]string{suffixP7S: "signature", suffixVerity: "signature", suffixBundle: "{}", suffixIMA: "\x03\x02\x04signature"} {
		if err := os.WriteFile(file+suffix, []byte(signature), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var cases []Case
	for _, scheme := range []string{Authenticode, Appended, Sums, P7S, Verity, IMA, Bundle} {
		cases = append(cases, Case{File: file, Name: scheme, Scheme: scheme, Want: want})
	}
	return cases
}

// A judge that gives no verdict fails, whatever was expected of it.
func TestNoVerdict(t *testing.T) {
	trust := Trust{CAFile: newWorld(t).path("root.pem")}
	trust.SignerFile = trust.CAFile
	trust.TSAFile = trust.CAFile
	for name, test := range map[string]struct {
		script string
		got    string // beginning of Got
	}{
		"hangs":               {versions + "sleep 300 & echo $! >>$DIR/pids; echo $$ >>$DIR/pids; sleep 300", "crashed: no answer within the time limit"},
		"hangs deaf":          {versions + "trap '' TERM INT HUP; while :; do sleep 1; done", "crashed: no answer within the time limit"},
		"prints without end":  {versions + "exec yes rubbish", "crashed: no answer within the time limit"},
		"leaves children":     {versions + "sleep 300 & echo $! >>$DIR/pids; echo 'Signature verification OK'; exit 0", "crashed: it ended, but left children"},
		"aborts":              {versions + "echo 'Signature verification failed'; kill -ABRT $$", "crashed: signal: aborted"},
		"segmentation fault":  {versions + "kill -SEGV $$", "crashed: signal: segmentation fault"},
		"aborts in a wrapper": {versions + "exit 134", "crashed: exit code 134"},
		"rubbish, exit 0":     {versions + "echo rubbish; exit 0", "unclear: "},
		"rubbish, exit 1":     {versions + "echo rubbish; exit 1", "unclear: "},
		"rubbish, exit 2":     {versions + "echo rubbish; exit 2", "unclear: "},
		"rubbish, exit 4":     {versions + "echo rubbish >&2; exit 4", "unclear: "},
		"silence, exit 0":     {versions + "exit 0", "unclear: "},
		"silence, exit 1":     {versions + "exit 1", "unclear: "},
		"usage":               {versions + "echo 'Usage: me' >&2; exit 255", "unclear: "},
		"too much":            {versions + "head -c 2000000 /dev/zero", "unclear: it printed more than"},
		"rubbish as version":  {"echo rubbish", "unclear: asked for its version"},
		"version crashes":     {"kill -ABRT $$", "crashed: signal: aborted"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := fake(t, test.script)
			for _, want := range []Want{Accept, Refuse} {
				limit := Limit
				if strings.Contains(test.got, "time limit") {
					limit = 2 * time.Second
				}
				judges := faked(t, dir)
				results := run(t.Context(), judges, everyScheme(t, want), trust, 8, limit)
				if len(results) != len(judges) {
					t.Errorf("%d results", len(results))
				}
				for _, r := range results {
					if r.Judge == "saferwall" && name == "rubbish as version" {
						continue // it prints none: it is built at one
					}
					if r.Status != Fail || !strings.HasPrefix(r.Got, test.got) {
						t.Errorf("%s: %v, got %q, want %q", r.Judge, r.Status, r.Got, test.got)
					}
					if r.Reason == "" {
						t.Errorf("%s: no reason", r.Judge)
					}
				}
				if want == Accept && limit != Limit {
					break // once is slow enough
				}
			}
			pids, _ := os.ReadFile(filepath.Join(dir, "pids"))
			for _, pid := range strings.Fields(string(pids)) {
				if alive(pid) {
					t.Errorf("process %s still runs", pid)
				}
			}
		})
	}
}

// alive waits a little for a killed process to be gone; one that nobody has
// reaped is.
func alive(pid string) bool {
	for range 100 {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil || bytes.Contains(stat, []byte(") Z ")) {
			return false
		}
		time.Sleep(20 * time.Millisecond)
	}
	return true
}

func TestAbsent(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	want := map[string]string{
		"osslsigncode":     "osslsigncode is not installed (apt package osslsigncode)",
		"sbverify":         "sbverify is not installed (apt package sbsigntool)",
		"openssl-cms":      "openssl is not installed (apt package openssl)",
		"sha256sum":        "sha256sum is not installed (apt package coreutils)",
		"openssl-p7s":      "openssl is not installed (apt package openssl)",
		"fsverity+openssl": "fsverity is not installed (apt package fsverity)",
		"evmctl":           "evmctl is not installed (apt package ima-evm-utils)",
		"cosign":           "cosign is not installed (apt package none: `mage setup` builds it)",
	}
	missing := regexp.MustCompile(`is not installed \(apt package [^)]+\)$`)
	for _, r := range Run(t.Context(), Judges(), everyScheme(t, Accept), Trust{}, 1) {
		if r.Judge == "modinfo" || r.Judge == "chktrust" { // found without PATH
			continue
		}
		if r.Status != Skip || r.Got != "" || want[r.Judge] != "" && r.Reason != want[r.Judge] || !missing.MatchString(r.Reason) {
			t.Errorf("%s: %v, got %q, reason %q", r.Judge, r.Status, r.Got, r.Reason)
		}
		delete(want, r.Judge)
	}
	for judge := range want {
		t.Errorf("%s was not asked", judge)
	}
}

// No password, identity or proxy reaches a judge, and none may speak another
// language than English.
func TestEnvironment(t *testing.T) {
	t.Setenv("HALLMARK_PASSWORD", "secret")
	t.Setenv("HALLMARK_IDENTITY", "pfx:release.pfx")
	t.Setenv("HTTP_PROXY", "http://user:pass@proxy")
	t.Setenv("LC_ALL", "de_DE.UTF-8")
	t.Setenv("LC_MESSAGES", "de_DE.UTF-8")
	dir := fake(t, versions+"env | cut -d= -f1,2 >>$DIR/env; exit 0")
	Run(t.Context(), Judges(), everyScheme(t, Accept), Trust{}, 1)
	env := must(os.ReadFile(filepath.Join(dir, "env")))(t)
	known := regexp.MustCompile(`^(PATH|LC_ALL|TZ|TMPDIR|HALLMARK_JUDGE_RUN|PWD|OLDPWD|SHLVL|_)=|^(HOME|XDG_CONFIG_HOME)=.*/hallmark-chktrust-`) // the shell adds some, mono is given an empty home
	for l := range strings.Lines(string(env)) {
		if !known.MatchString(l) {
			t.Errorf("a judge sees %q", l)
		}
	}
	if !strings.Contains(string(env), "LC_ALL=C\n") {
		t.Errorf("LC_ALL is not C:\n%s", env)
	}
}

// FindKey tells an upgraded program from the old one without running it.
func TestFindKey(t *testing.T) {
	dir := fake(t, "touch $DIR/ran; exit 1")
	for i, j := range faked(t, dir) {
		before := must(j.FindKey())(t)
		if again := must(j.FindKey())(t); again.String() != before.String() {
			t.Errorf("%s: %v, then %v", j.Name, before, again)
		}
		if filepath.Dir(before.Path) != dir {
			t.Errorf("%s: found at %s", j.Name, before.Path)
		}
		if err := os.Chtimes(before.Path, time.Time{}, time.Unix(1e9+int64(i), 0)); err != nil {
			t.Fatal(err)
		}
		if after := must(j.FindKey())(t); after.String() == before.String() {
			t.Errorf("%s: %v is the key of two programs", j.Name, after)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "ran")); err == nil {
		t.Error("FindKey ran a program")
	}
}

// stub is a judge in this process.
func stub(name string, verify func(context.Context) error) Judge {
	return Judge{Name: name, Scheme: "stub", Verify: func(ctx context.Context, _ string, _ Trust) error { return verify(ctx) }}
}

func TestRun(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	judges := []Judge{
		stub("accepts", func(context.Context) error { return nil }),
		stub("refuses", func(context.Context) error {
			return fmt.Errorf("wrapped: %w", &RefusalError{Judge: "refuses", Reason: "because"})
		}),
		stub("crashes", func(context.Context) error { return &CrashError{Tool: "crashes", Reason: "signal: aborted"} }),
		stub("panics", func(context.Context) error { panic("oh") }),
		stub("limited", func(context.Context) error { return &LimitError{Judge: "limited", Limit: "RSA only"} }),
		stub("errs", func(context.Context) error { return errors.New("some error") }),
	}
	cases := []Case{
		{File: file, Name: "good", Scheme: "stub", Want: Accept},
		{File: file, Name: "bad", Scheme: "stub", Want: Refuse},
		{File: file, Name: "foreign", Scheme: "stub", Want: Cannot},
		{File: file, Name: "own trust", Scheme: "stub", Want: Accept, Trust: &Trust{CAFile: file}},
		{File: file + "-absent", Name: "absent", Scheme: "stub", Want: Refuse},
		{File: filepath.Dir(file), Name: "folder", Scheme: "stub", Want: Refuse},
		{File: file, Name: "orphan", Scheme: "unheard of", Want: Refuse},
	}
	var lines []string
	results := Run(t.Context(), judges, cases, Trust{}, 3)
	for _, r := range results {
		if r.Case == "absent" || r.Case == "folder" || r.Case == "own trust" {
			if r.Status != Fail || !strings.HasPrefix(r.Got, "unclear: ") {
				t.Errorf("%s, %s: %v %q", r.Case, r.Judge, r.Status, r.Got)
			}
			continue
		}
		lines = append(lines, fmt.Sprintf("%s %s %v %s", r.Case, r.Judge, r.Status, r.Got))
	}
	want := []string{
		"good accepts pass accept", "good refuses fail refuse", "good crashes fail crashed: signal: aborted",
		"good panics fail crashed: panic: oh", "good limited skip cannot", "good errs fail unclear: some error",
		"bad accepts fail accept", "bad refuses pass refuse", "bad crashes fail crashed: signal: aborted",
		"bad panics fail crashed: panic: oh", "bad limited skip cannot", "bad errs fail unclear: some error",
		"foreign accepts fail accept", "foreign refuses fail refuse", "foreign crashes fail crashed: signal: aborted",
		"foreign panics fail crashed: panic: oh", "foreign limited pass cannot", "foreign errs fail unclear: some error",
		"orphan  fail unclear: not judged",
	}
	if !reflect.DeepEqual(lines, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}

	data := must(json.Marshal(results))(t)
	var back []Result
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(back, results) {
		t.Errorf("results do not survive JSON:\n%s", data)
	}
	if err := json.Unmarshal([]byte(`[{"status":"passed"}]`), &back); err == nil {
		t.Error("an unknown status is taken")
	}
}

// Judges of one batch are asked once, about what can be asked.
func TestRunBatch(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var calls atomic.Int32
	batch := func(verify func(questions []Question) []error) *Batch {
		return &Batch{Limit: time.Minute, Verify: func(ctx context.Context, questions []Question, _ Trust) []error {
			calls.Add(1)
			if end, ok := ctx.Deadline(); !ok || time.Until(end) > time.Minute {
				t.Errorf("the call has until %v", end)
			}
			return verify(questions)
		}}
	}
	answers := batch(func(questions []Question) []error {
		var all []error
		for _, q := range questions {
			if q.File != file {
				t.Errorf("asked about %s", q.File)
			}
			if q.Judge == "strict" {
				all = append(all, &RefusalError{Judge: q.Judge, Reason: "because"})
			} else {
				all = append(all, nil)
			}
		}
		return all
	})
	few := batch(func(questions []Question) []error { return make([]error, len(questions)-1) })
	panics := batch(func([]Question) []error { panic("oh") })
	missing := func() (Key, error) { return Key{}, &MissingError{Tool: "absent", Package: "none"} }
	judges := []Judge{
		{Name: "strict", Scheme: "a", Batch: answers}, {Name: "mild", Scheme: "a", Batch: answers}, {Name: "other", Scheme: "b", Batch: answers},
		{Name: "absent", Scheme: "a", Batch: answers, FindKey: missing},
		{Name: "few", Scheme: "c", Batch: few}, {Name: "panics", Scheme: "c", Batch: panics},
	}
	cases := []Case{
		{File: file, Name: "one", Scheme: "a"}, {File: file + "-absent", Name: "two", Scheme: "a", Want: Refuse},
		{File: file, Name: "three", Scheme: "b", Want: Refuse}, {File: file, Name: "four", Scheme: "c"},
	}
	var lines []string
	for _, r := range Run(t.Context(), judges, cases, Trust{}, 2) {
		got, _, _ := strings.Cut(r.Got, " open ")
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %s %v %s", r.Case, r.Judge, r.Status, got)))
	}
	want := []string{
		"one strict fail refuse", "one mild pass accept", "one absent skip",
		"two strict fail unclear:", "two mild fail unclear:", "two absent skip",
		"three other fail accept",
		"four few fail unclear: it gave 0 answers to 1 questions", "four panics fail crashed: panic: oh",
	}
	if !reflect.DeepEqual(lines, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	if calls.Load() != 3 {
		t.Errorf("%d calls of 3 batches", calls.Load())
	}
}

// At most so many judges at a time as asked for, and none after the context.
func TestRunBounds(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cases := make([]Case, 40)
	for i := range cases {
		cases[i] = Case{File: file, Scheme: "stub"}
	}
	var now, most atomic.Int32
	ctx, cancel := context.WithCancelCause(t.Context())
	j := stub("counts", func(context.Context) error {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		time.Sleep(time.Millisecond)
		return nil
	})
	for _, r := range Run(ctx, []Judge{j}, cases, Trust{}, 3) {
		if r.Status != Pass {
			t.Errorf("%v: %s", r.Status, r.Got)
		}
	}
	if most.Load() > 3 {
		t.Errorf("%d at a time", most.Load())
	}
	cancel(errors.New("interrupted by the user"))
	for _, r := range Run(ctx, []Judge{j}, cases, Trust{}, 3) {
		if r.Status != Fail || r.Reason != "interrupted by the user" {
			t.Errorf("%v: %s", r.Status, r.Reason)
		}
	}
}

func TestQuote(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]string{
		"": "''", "a-b_c/d.e=f": "a-b_c/d.e=f", "two words": "'two words'", "it's": `'it'\''s'`, "$HOME": "'$HOME'", "-n": "-n", "é": "'é'",
	} {
		if got := quote(word); got != want {
			t.Errorf("quote(%q) = %s, want %s", word, got, want)
		}
	}
}
