package compat

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// script writes an executable shell script into dir.
func script(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
}

// askUser puts one file before one judge of a user's.
func askUser(t *testing.T, dir string, u UserJudge, want Want, limit time.Duration) Result {
	t.Helper()
	c := Config{Judges: []UserJudge{u}}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "a b.exe")
	if err := os.WriteFile(file, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	schemes := c.FileSchemes("bin/a b.exe")
	if len(schemes) != 1 {
		t.Fatalf("schemes %q", schemes)
	}
	results := run(t.Context(), c.UserJudges(dir), []Case{{File: file, Scheme: schemes[0], Want: want}}, Trust{}, 1, limit)
	if len(results) != 1 {
		t.Fatalf("%d results", len(results))
	}
	return results[0]
}

// What a user's judge answers is read as any judge's is: three answers, and
// what is none of them is a failure whatever was expected.
func TestUserJudgeAnswers(t *testing.T) {
	t.Parallel()
	words := UserJudge{Accept: Reading{Output: "^clean$"}, Refuse: Reading{Exit: []int{0, 3}, Output: "(?i)found: .*"}}
	for name, test := range map[string]struct {
		script string
		judge  UserJudge
		got    string // beginning
		reason string // part
	}{
		"exit 0":             {"exit 0", UserJudge{}, "accept", ""},
		"exit 1":             {"echo 'bad thing' >&2; exit 1", UserJudge{}, "refuse", "bad thing"},
		"exit 1 in silence":  {"exit 1", UserJudge{}, "refuse", "exit code 1"},
		"exit 2":             {"echo usage; exit 2", UserJudge{}, "unclear: exit code 2 reads neither", ""},
		"rubbish":            {"echo rubbish; exit 0", words, "unclear: exit code 0 reads neither", ""},
		"words":              {"echo clean", words, "accept", ""},
		"words of refusal":   {"echo FOUND: x", words, "refuse", "FOUND: x"},
		"both":               {"echo clean; echo found: x >&2", words, "unclear: exit code 0 reads as accepted and as refused", ""},
		"other codes":        {"exit 7", UserJudge{Accept: Reading{Exit: []int{7}}}, "accept", ""},
		"signal":             {"kill -SEGV $$", UserJudge{}, "crashed: signal: segmentation fault", ""},
		"signal in a shell":  {"exit 134", UserJudge{}, "crashed: exit code 134", ""},
		"hangs":              {"sleep 300 & echo $! >>pids; echo $$ >>pids; sleep 300", UserJudge{Timeout: "300ms"}, "crashed: no answer within the time limit", ""},
		"leaves children":    {"sleep 300 & echo $! >>pids; exit 0", UserJudge{}, "crashed: it ended, but left children", ""},
		"prints without end": {"exec yes rubbish", UserJudge{Timeout: "300ms"}, "crashed: no answer within the time limit", ""},
		"prints too much":    {"head -c 2000000 /dev/zero", UserJudge{}, "unclear: it printed more than", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			script(t, dir, "judge", test.script)
			u := test.judge
			u.Name, u.Files, u.Command = "mine", "*.exe", []string{"./judge", "{file}"}
			for _, want := range []Want{Accept, Refuse} {
				r := askUser(t, dir, u, want, Limit)
				if !strings.HasPrefix(r.Got, test.got) || !strings.Contains(r.Reason, test.reason) {
					t.Errorf("got %q, reason %q", r.Got, r.Reason)
				}
				if pass := r.Got == want.String(); pass != (r.Status == Pass) || !pass && r.Status != Fail {
					t.Errorf("%q where %v is expected is %v", r.Got, want, r.Status)
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

func TestUserJudgeMissing(t *testing.T) {
	t.Parallel()
	r := askUser(t, t.TempDir(), UserJudge{Name: "mine", Files: "*.exe", Command: []string{"no-such-judge", "{file}"}}, Accept, Limit)
	if r.Status != Skip || r.Reason != "no-such-judge is not installed" {
		t.Errorf("%v: %q", r.Status, r.Reason)
	}
	dir := t.TempDir()
	script(t, dir, "judge", "exit 0")
	for _, version := range []string{"echo rubbish; exit 3", "kill -ABRT $$", "exit 0"} {
		script(t, dir, "version", version)
		u := UserJudge{Name: "mine", Files: "*.exe", Command: []string{"./judge", "{file}"}, Version: []string{"./version"}}
		if r := askUser(t, dir, u, Refuse, Limit); r.Status != Fail || !strings.HasPrefix(r.Got, "crashed: ") && !strings.HasPrefix(r.Got, "unclear: ") {
			t.Errorf("%s: %v %q", version, r.Status, r.Got)
		}
	}
	for text, want := range map[string]string{"mine 1.4.2-rc1 (2026)": "1.4.2-rc1", "build of Tuesday\nmore": "build of Tuesday"} {
		script(t, dir, "version", "echo '"+text+"'")
		u := UserJudge{Name: "mine", Files: "*.exe", Command: []string{"./judge", "{file}"}, Version: []string{"./version"}}
		if r := askUser(t, dir, u, Accept, Limit); r.Status != Pass || r.Version != want {
			t.Errorf("%q: %v, version %q", text, r.Status, r.Version)
		}
	}
}

// A user's judge gets its words as they stand, no shell reads them, it runs in
// the module's folder, and sees no more of the environment than the others.
func TestUserJudgeIsGiven(t *testing.T) {
	t.Setenv("HALLMARK_PASSWORD", "secret")
	t.Setenv("HTTPS_PROXY", "http://user:pass@proxy")
	dir := t.TempDir()
	script(t, dir, "judge", `printf '%s\n' "$@" >args; pwd -P >>args; env >env; test -f "$4"`)
	ca := newWorld(t).path("root.pem")
	file := filepath.Join(dir, "it's $HOME.exe")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	u := UserJudge{Name: "mine", Scheme: Authenticode, Command: []string{"./judge", "$HOME `id`", "--ca={ca}", "{tsa}", "{file}"}}
	c := Config{Judges: []UserJudge{u}}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	results := Run(t.Context(), c.UserJudges(dir), []Case{{File: file, Scheme: Authenticode}}, Trust{CAFile: ca}, 1)
	if len(results) != 1 || results[0].Status != Pass {
		t.Fatalf("%+v", results)
	}
	here := must(filepath.EvalSymlinks(dir))(t)
	want := strings.Join([]string{"$HOME `id`", "--ca=" + ca, "", file, here, ""}, "\n")
	if got := string(must(os.ReadFile(filepath.Join(dir, "args")))(t)); got != want {
		t.Errorf("it was given\n%s\nwant\n%s", got, want)
	}
	env := string(must(os.ReadFile(filepath.Join(dir, "env")))(t))
	if strings.Contains(env, "secret") || strings.Contains(env, "proxy") || !strings.Contains(env, "LC_ALL=C\n") {
		t.Errorf("it sees\n%s", env)
	}
	if want := "./judge '$HOME `id`' --ca=" + quote(ca) + " '' " + quote(file); results[0].Command != want {
		t.Errorf("command\n%s\nwant\n%s", results[0].Command, want)
	}
}

// Verdicts stand while neither the command nor a file that it names changes.
func TestUserJudgeDefinition(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	script(t, dir, "check.sh", "exit 0")
	of := func(u UserJudge) string {
		return Config{Judges: []UserJudge{u}}.UserJudges(dir)[0].Definition()
	}
	u := UserJudge{Name: "mine", Files: "*.exe", Command: []string{"sh", "check.sh", "{file}"}}
	first := of(u)
	if of(u) != first {
		t.Error("the same judge has two definitions")
	}
	seen := []string{first}
	for what, change := range map[string]func(*UserJudge){
		"files":   func(u *UserJudge) { u.Files = "*.deb" },
		"command": func(u *UserJudge) { u.Command = []string{"sh", "check.sh", "-x", "{file}"} },
		"words":   func(u *UserJudge) { u.Command = []string{"sh", "check.sh {file}"} },
		"accept":  func(u *UserJudge) { u.Accept.Exit = []int{3} },
		"refuse":  func(u *UserJudge) { u.Refuse.Output = "x" },
		"timeout": func(u *UserJudge) { u.Timeout = "1s" },
		"script":  func(*UserJudge) { script(t, dir, "check.sh", "exit  0") },
	} {
		if what == "script" {
			continue
		}
		v := u
		change(&v)
		if d := of(v); slices.Contains(seen, d) {
			t.Errorf("another %s, the same definition", what)
		} else {
			seen = append(seen, d)
		}
	}
	script(t, dir, "check.sh", "exit  0")
	if of(u) == first {
		t.Error("another script, the same definition")
	}
}

func TestUserJudgeProblems(t *testing.T) {
	t.Parallel()
	good := UserJudge{Name: "mine", Files: "*.exe", Command: []string{"judge", "{file}"}}
	allow := Allowed{Judge: "mine", Reason: "because", Until: "2027-01-31"}
	if err := (Config{Judges: []UserJudge{good}, Allowed: []Allowed{allow}}).Validate(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*UserJudge, *Allowed){
		`judges[0].name: missing`:                                   func(u *UserJudge, _ *Allowed) { u.Name = " " },
		`judges[0].name: "sbverify" is the name of another judge`:   func(u *UserJudge, _ *Allowed) { u.Name = "sbverify" },
		`judges[0].name: "hallmark" is the name of another judge`:   func(u *UserJudge, _ *Allowed) { u.Name = "hallmark" },
		`judges[0].files: a judge has a scheme or files, not both`:  func(u *UserJudge, _ *Allowed) { u.Scheme = Authenticode },
		`judges[0].files: missing: say what it judges`:              func(u *UserJudge, _ *Allowed) { u.Files = "" },
		`judges[0].files: "[" is not a pattern`:                     func(u *UserJudge, _ *Allowed) { u.Files = "[" },
		`judges[0].scheme: no scheme "pe": there are apk, append`:   func(u *UserJudge, _ *Allowed) { u.Files, u.Scheme = "", "pe" },
		`judges[0].command: missing`:                                func(u *UserJudge, _ *Allowed) { u.Command = nil },
		`judges[0].command: its first word is not the name`:         func(u *UserJudge, _ *Allowed) { u.Command[0] = "{file}" },
		`judges[0].command: no word has {file}`:                     func(u *UserJudge, _ *Allowed) { u.Command[1] = "file" },
		`judges[0].command: no placeholder {flie}`:                  func(u *UserJudge, _ *Allowed) { u.Command[1] = "{flie}{file}" },
		`judges[0].version: its first word`:                         func(u *UserJudge, _ *Allowed) { u.Version = []string{""} },
		`judges[0].accept.output: error parsing regexp`:             func(u *UserJudge, _ *Allowed) { u.Accept.Output = "(" },
		`judges[0].refuse.exit: 139 is not an exit code by which`:   func(u *UserJudge, _ *Allowed) { u.Refuse.Exit = []int{139} },
		`judges[0].accept: exit code 1 is to mean both`:             func(u *UserJudge, _ *Allowed) { u.Accept.Exit = []int{0, 1} },
		`judges[0].refuse: exit code 0 is to mean both`:             func(u *UserJudge, _ *Allowed) { u.Refuse.Exit = []int{0} },
		`judges[0].timeout: "2 minutes" is not a time`:              func(u *UserJudge, _ *Allowed) { u.Timeout = "2 minutes" },
		`judges[0].timeout: "2h" is not a time`:                     func(u *UserJudge, _ *Allowed) { u.Timeout = "2h" },
		`allowed[0].judge: missing`:                                 func(_ *UserJudge, a *Allowed) { a.Judge = "" },
		`allowed[0].judge: no judge "hallmark": there are osslsign`: func(_ *UserJudge, a *Allowed) { a.Judge = "hallmark" },
		`allowed[0].case: "[" is not a pattern`:                     func(_ *UserJudge, a *Allowed) { a.Case = "[" },
		`allowed[0].got: "fail" is none of`:                         func(_ *UserJudge, a *Allowed) { a.Got = "fail" },
		`allowed[0].reason: missing`:                                func(_ *UserJudge, a *Allowed) { a.Reason = "" },
		`allowed[0].until: "soon" is not a day`:                     func(_ *UserJudge, a *Allowed) { a.Until = "soon" },
	} {
		u, a := good, allow
		u.Command = slices.Clone(u.Command)
		change(&u, &a)
		err := Config{Judges: []UserJudge{u}, Allowed: []Allowed{a}}.Validate()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if err := (Config{Judges: []UserJudge{good, good}}).Validate(); err == nil || !strings.Contains(err.Error(), `judges[1].name: "mine" is the name of another judge`) {
		t.Errorf("twice the same name: %v", err)
	}
}

func TestFileSchemes(t *testing.T) {
	t.Parallel()
	c := Config{Judges: []UserJudge{{Files: "*.exe"}, {Files: "bin/*/*.exe"}, {Scheme: Authenticode}, {Files: "*.exe"}, {Files: "*.deb"}}}
	for name, want := range map[string][]string{
		"bin/a/x.exe": {"files *.exe", "files bin/*/*.exe"}, "x.exe": {"files *.exe"}, "x.deb": {"files *.deb"}, "exe": nil,
	} {
		if got := c.FileSchemes(name); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestAllow(t *testing.T) {
	t.Parallel()
	failed := func(judge, name, got string) Result {
		return Result{Judge: judge, Scheme: Authenticode, Case: name, Got: got, Status: Fail, Reason: "because"}
	}
	at := func(day string) time.Time { return must(time.Parse(time.RFC3339, day))(t) }
	a := Allowed{Judge: "j", Case: "bin/*/x.exe", Reason: "known", Until: "2027-01-31"}
	for name, test := range map[string]struct {
		allowed Allowed
		result  Result
		now     string
		want    Status
		unused  int
		reason  string
	}{
		"allowed":             {a, failed("j", "bin/a/x.exe", "refuse"), "2027-01-31T23:59:59Z", Differ, 0, "because"},
		"expired":             {a, failed("j", "bin/a/x.exe", "refuse"), "2027-02-01T00:00:00Z", Fail, 0, "because; it was allowed until 2027-01-31 (known): look at it again"},
		"last element":        {Allowed{Judge: "j", Case: "x.exe", Until: "2027-01-31"}, failed("j", "bin/a/x.exe", "accept"), "2026-01-01T00:00:00Z", Differ, 0, ""},
		"every case":          {Allowed{Judge: "j", Until: "2027-01-31"}, failed("j", "y", "accept"), "2026-01-01T00:00:00Z", Differ, 0, ""},
		"another judge":       {a, failed("k", "bin/a/x.exe", "refuse"), "2026-01-01T00:00:00Z", Fail, 1, ""},
		"another case":        {a, failed("j", "bin/a/y.exe", "refuse"), "2026-01-01T00:00:00Z", Fail, 1, ""},
		"another scheme":      {Allowed{Judge: "j", Scheme: Sums, Until: "2027-01-31"}, failed("j", "x", "refuse"), "2026-01-01T00:00:00Z", Fail, 1, ""},
		"a crash is no word":  {a, failed("j", "bin/a/x.exe", "crashed: signal: aborted"), "2026-01-01T00:00:00Z", Fail, 1, ""},
		"a crash, as said":    {Allowed{Judge: "j", Got: "crashed", Until: "2027-01-31"}, failed("j", "x", "crashed: signal: aborted"), "2026-01-01T00:00:00Z", Differ, 0, ""},
		"another than said":   {Allowed{Judge: "j", Got: "refuse", Until: "2027-01-31"}, failed("j", "x", "accept"), "2026-01-01T00:00:00Z", Fail, 1, ""},
		"not asked at all":    {Allowed{Judge: "j", Until: "2027-01-31"}, failed("j", "x", ""), "2026-01-01T00:00:00Z", Fail, 1, ""},
		"passed all the same": {a, Result{Judge: "j", Case: "bin/a/x.exe", Got: "accept", Status: Pass}, "2026-01-01T00:00:00Z", Pass, 1, ""},
	} {
		results := []Result{test.result}
		for range 2 { // the second time changes nothing
			unused := Allow(results, []Allowed{test.allowed}, at(test.now))
			r := results[0]
			if r.Status != test.want || len(unused) != test.unused || !strings.Contains(r.Reason, test.reason) || strings.Count(r.Reason, "until") > 1 {
				t.Errorf("%s: %v, %d unused, reason %q", name, r.Status, len(unused), r.Reason)
			}
			if (r.Allowed != nil) != (test.want == Differ) {
				t.Errorf("%s: allowance %+v", name, r.Allowed)
			}
		}
	}
	// What was allowed and is so no more, has failed.
	results := []Result{failed("j", "bin/a/x.exe", "refuse")}
	Allow(results, []Allowed{a}, at("2026-01-01T00:00:00Z"))
	Allow(results, nil, at("2026-01-01T00:00:00Z"))
	if results[0].Status != Fail || results[0].Allowed != nil {
		t.Errorf("%+v", results[0])
	}
	// Of two allowances the one that still holds counts.
	b := a
	b.Until = "2028-01-31"
	if Allow(results, []Allowed{a, b}, at("2027-06-01T00:00:00Z")); results[0].Status != Differ || results[0].Allowed.Until != b.Until {
		t.Errorf("%+v", results[0])
	}
}

// A judge that crashes has not refused, whatever is wrapped around it.
func TestUserJudgeNotAFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "judge"), []byte("not a program"), 0o700); err != nil {
		t.Fatal(err)
	}
	u := UserJudge{Name: "mine", Files: "*.exe", Command: []string{"./judge", "{file}"}}
	if r := askUser(t, dir, u, Refuse, Limit); r.Status != Fail || !strings.HasPrefix(r.Got, "unclear: ") {
		t.Errorf("%v %q", r.Status, r.Got)
	}
	var missing *MissingError
	if _, err := (program{name: filepath.Join(dir, "absent")}).key(); !errors.As(err, &missing) {
		t.Errorf("%v", err)
	}
}
