package release

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-build/hallmark/build"
	"github.com/hallmark-build/hallmark/build/dist"
	"github.com/hallmark-build/hallmark/signing"
	"github.com/hallmark-build/hallmark/signing/compat"
	"github.com/hallmark-build/hallmark/signing/key"
)

func TestPlanParcels(t *testing.T) {
	t.Parallel()
	bins := []Entry{
		{Path: "bin/windows_amd64/notes.exe", Platform: "windows/amd64"},
		{Path: "bin/linux_amd64/notes", Platform: "linux/amd64"},
		{Path: "bin/linux_amd64/aide", Platform: "linux/amd64"},
		{Path: "bin/linux_amd64_gcc/notes", Platform: "linux/amd64", Toolchain: "gcc"},
	}
	for _, test := range []struct {
		formats []string
		want    string
	}{
		{nil, ""},
		{[]string{"zip"}, "n_1_linux_amd64.zip n_1_linux_amd64_gcc.zip n_1_windows_amd64.zip"},
		{[]string{"tar.gz"}, "n_1_linux_amd64.tar.gz n_1_linux_amd64_gcc.tar.gz n_1_windows_amd64.tar.gz"},
		{[]string{"zip", "tar.gz"}, "n_1_linux_amd64.tar.gz n_1_linux_amd64_gcc.tar.gz n_1_windows_amd64.zip"},
		{[]string{"archlinux"}, "n_1_linux_amd64.pkg.tar.zst n_1_linux_amd64_gcc.pkg.tar.zst"},
	} {
		parcels, err := planParcels("n", "1", test.formats, bins)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range parcels {
			got = append(got, p.path)
			if strings.HasPrefix(p.path, "n_1_linux_amd64.") && (len(p.bins) != 2 || p.bins[0].Path != "bin/linux_amd64/aide") {
				t.Errorf("%s holds %v", p.path, p.bins)
			}
			e := Entry{Path: p.path}
			if members := membersOf(e, bins2(bins)); len(members) != len(p.bins) {
				t.Errorf("%s: found again %d of %d programs", p.path, len(members), len(p.bins))
			}
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%v: %v", test.formats, got)
		}
	}
}

func bins2(bins []Entry) []Entry {
	out := slices.Clone(bins)
	for i := range out {
		out[i].Kind = KindBinary
	}
	return out
}

func TestCarries(t *testing.T) {
	t.Parallel()
	bins := []Entry{{Path: "bin/a/notes", SHA256: "aa"}}
	for _, test := range []struct {
		contents []Content
		want     string
	}{
		{[]Content{{"usr/bin/notes", "0755", "aa"}}, ""},
		{[]Content{{"usr/bin/notes", "0755", "bb"}}, "not in it as it was signed"},
		{[]Content{{"usr/bin/other", "0755", "aa"}}, "not in it as it was signed"},
		{[]Content{{"usr/bin/notes", "0644", "aa"}}, "cannot be executed"},
		{nil, "not in it"},
	} {
		err := carries(Entry{Contents: test.contents}, bins)
		if got := fmt.Sprint(err); (err == nil) != (test.want == "") || !strings.Contains(got, test.want) && err != nil {
			t.Errorf("%v: %v", test.contents, err)
		}
	}
}

func TestFilesLeaveOutIdentityAndDist(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"docs/a.txt", "docs/sign", "dist/old.zip"} {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(name), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	c := &Config{Name: "n", Dist: "dist", Shipping: dist.Config{Files: []string{"*"}}}
	for _, ref := range []string{"pfx:docs/sign", "pfx:./docs/../docs/sign", "pem:docs/missing+docs/sign"} {
		c.Identity = ref
		_, err := newPacker(t.Context(), "own", c, Options{Dir: dir}, "1", time.Unix(1e9, 0))
		if exitCode(err) != ExitUsage || !strings.Contains(err.Error(), "docs/sign belongs to the identity") {
			t.Errorf("%s: %v", ref, err)
		}
	}
	c.Identity = Development
	k, err := newPacker(t.Context(), "own", c, Options{Dir: dir}, "1", time.Unix(1e9, 0))
	if err != nil || len(k.extra) != 2 || k.extra[0].Name != "docs/a.txt" {
		t.Fatalf("%+v, %v", k, err)
	}
	contents := []Content{{"usr/share/doc/n/a.txt", "0644", k.sums[0]}, {"usr/share/doc/n/sign", "0644", k.sums[1]}}
	if err := k.carriesExtra(Entry{Contents: contents}); err != nil {
		t.Error(err)
	}
	contents[0].SHA256 = sumBytes([]byte("edited while it was packed"))
	if err := k.carriesExtra(Entry{Contents: contents}); err == nil || !strings.Contains(err.Error(), "a.txt was changed while") {
		t.Errorf("an edited file: %v", err)
	}
}

func TestPackKeyFollowsInputs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	readme := filepath.Join(dir, "README")
	if err := os.WriteFile(readme, []byte("a"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := &Config{Name: "n", Dist: "dist", Shipping: dist.Config{Packages: []string{"zip"}, Files: []string{"README"}}}
	keyOf := func(version string, at time.Time, sum string) string {
		k, err := newPacker(t.Context(), "own", c, Options{Dir: dir}, version, at)
		if err != nil {
			t.Fatal(err)
		}
		return k.keyFor(parcel{path: "p.zip", format: "zip", bins: []Entry{{Path: "b", Mode: "0755", SHA256: sum}}})
	}
	at := time.Unix(1e9, 0)
	first := keyOf("1", at, "aa")
	if keyOf("1", at, "aa") != first {
		t.Error("the same inputs have another key")
	}
	c.Shipping.Packages = append(c.Shipping.Packages, "tar.gz")
	if keyOf("1", at, "aa") != first {
		t.Error("a further format changes the others")
	}
	for what, k := range map[string]string{"version": keyOf("2", at, "aa"), "time": keyOf("1", at.Add(time.Second), "aa"), "program": keyOf("1", at, "bb")} {
		if k == first {
			t.Errorf("another %s has the same key", what)
		}
	}
	if err := os.WriteFile(readme, []byte("b"), 0o644); err != nil {
		t.Fatal(err)
	}
	if keyOf("1", at, "aa") == first {
		t.Error("another README has the same key")
	}
}

// fakeJudge accepts everything, and counts.
func fakeJudge(asked *[]string, k *compat.Key, answer error) compat.Judge {
	return compat.Judge{
		Name: "judge", Scheme: compat.Sums,
		FindKey: func() (compat.Key, error) { return *k, nil },
		Find:    func(context.Context) (string, error) { return "1", nil },
		Verify: func(_ context.Context, file string, _ compat.Trust) error {
			*asked = append(*asked, filepath.Base(file))
			return answer
		},
	}
}

func testAnchors(t *testing.T) anchors {
	t.Helper()
	k, err := key.OpenTSA(t.Context(), key.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	a, err := anchors{ca: encodePEM(k.Root()), tsa: encodePEM(k.Root()), shipCA: true}.pools()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestVerdictsAreReused(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "dist")
	var asked []string
	tool := compat.Key{Path: "/bin/judge", Size: 1}
	c := &court{own: "1", judges: []compat.Judge{fakeJudge(&asked, &tool, nil)}, anchors: testAnchors(t)}
	round := func(change func(w *workspace, e *Entry)) {
		t.Helper()
		asked = nil
		w := open(t, dir)
		defer w.close()
		if err := w.begin(); err != nil {
			t.Fatal(err)
		}
		var e Entry
		if old := w.reusable(sumsFile); old != nil {
			e = *old
		} else {
			e = put(t, w, sumsFile, "sums")
			e.Kind = KindSums
		}
		if change != nil {
			change(w, &e)
		}
		m := manifestOf(e)
		var err error
		if m.Results, err = c.judgeAll(t.Context(), m.Artifacts, w, nil); err != nil {
			t.Fatal(err)
		}
		if len(m.Results) != 1 || m.Results[0].Status != compat.Pass || m.Results[0].Version != "1" {
			t.Errorf("results: %+v", m.Results)
		}
		if !w.unchanged(m) {
			if err := w.publish(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, step := range []struct {
		name   string
		change func(w *workspace, e *Entry)
		asked  int
	}{
		{"the first time", nil, 1},
		{"nothing changed", nil, 0},
		{"another judge", func(*workspace, *Entry) { tool.Size++ }, 1},
		{"nothing changed since", nil, 0},
		{"other certificates", func(*workspace, *Entry) { c.anchors = testAnchors(t) }, 1},
		{"another file", func(w *workspace, e *Entry) { *e = put(t, w, sumsFile, "other"); e.Kind = KindSums }, 1},
		{"asked again", func(*workspace, *Entry) { c.again = true }, 1},
	} {
		round(step.change)
		if len(asked) != step.asked {
			t.Errorf("%s: asked %d times", step.name, len(asked))
		}
	}
}

func TestVerdictFails(t *testing.T) {
	t.Parallel()
	w := open(t, filepath.Join(t.TempDir(), "dist"))
	defer w.close()
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	e := put(t, w, sumsFile, "sums")
	e.Kind = KindSums
	var asked []string
	c := &court{judges: []compat.Judge{fakeJudge(&asked, &compat.Key{}, &compat.RefusalError{Judge: "judge", Reason: "no good"})}, anchors: testAnchors(t)}
	results, err := c.judgeAll(t.Context(), []Entry{e}, w, nil)
	var v *VerdictError
	if !errors.As(err, &v) || len(v.Failed) != 1 || !strings.Contains(err.Error(), "SHA256SUMS: judge: no good") {
		t.Errorf("got %v", err)
	}
	if len(results) != 1 {
		t.Errorf("results: %v", results)
	}

	bin := put(t, w, "bin/a/notes", "\x7fELF, but no more")
	bin.Kind = KindBinary
	_, err = (&court{anchors: testAnchors(t)}).judgeAll(t.Context(), []Entry{bin}, w, nil)
	if got := Exit(err).(*ExitError).Code; got != ExitMalformed && got != ExitUnsigned {
		t.Errorf("exit code %d for %v", got, err)
	}
}

func TestStrict(t *testing.T) {
	t.Parallel()
	results := []compat.Result{
		{Judge: "sbverify", Case: "a", Status: compat.Skip, Reason: "sbverify is not installed"},
		{Judge: "sbverify", Case: "b", Status: compat.Skip, Reason: "sbverify is not installed"},
	}
	if err := strict(&Config{}, results); err != nil {
		t.Error(err)
	}
	err := strict(&Config{Strict: true}, results)
	if err == nil || !strings.Contains(err.Error(), "SKIP sbverify: sbverify is not installed (2 files)") {
		t.Errorf("got %v", err)
	}
}

func TestJudgesReady(t *testing.T) {
	t.Parallel()
	missing := func(scheme, tool string) compat.Judge {
		return compat.Judge{Scheme: scheme, FindKey: func() (compat.Key, error) { return compat.Key{}, &compat.MissingError{Tool: tool, Package: tool} }}
	}
	judges := []compat.Judge{missing(compat.Authenticode, "pe-judge"), missing(compat.Appended, "elf-judge"), {Scheme: compat.Sums}}
	linux := []build.Target{{Platform: build.Platform{OS: "linux", Arch: "amd64"}}}
	if err := judgesReady(&Config{}, linux, judges); err != nil {
		t.Errorf("not strict: %v", err)
	}
	err := judgesReady(&Config{Strict: true}, linux, judges)
	if exitCode(err) != ExitUsage || !strings.Contains(err.Error(), "elf-judge is not installed") || strings.Contains(err.Error(), "pe-judge") {
		t.Errorf("got %v", err)
	}
}

func TestExit(t *testing.T) {
	t.Parallel()
	if Exit(nil) != nil {
		t.Error("no error has an exit code")
	}
	for want, err := range map[int]error{
		ExitFailed:    errors.New("x"),
		ExitUsage:     fmt.Errorf("x: %w", &key.PasswordError{File: "f"}),
		ExitUnsigned:  &signing.Error{Kind: signing.Unsigned, Err: errors.New("x")},
		ExitTampered:  errors.Join(&signing.Error{Kind: signing.Tampered, Err: errors.New("x")}),
		ExitUntrusted: &signing.Error{Kind: signing.Untrusted, Err: errors.New("x")},
		ExitUnknown:   &signing.Error{Kind: signing.UnknownSigner, Err: errors.New("x")},
		ExitExpired:   &signing.Error{Kind: signing.Expired, Err: errors.New("x")},
		ExitMalformed: &signing.Error{Kind: signing.Unsupported, Err: errors.New("x")},
	} {
		status, ok := Exit(err).(interface{ ExitStatus() int })
		if !ok || status.ExitStatus() != want {
			t.Errorf("%v: not %d", err, want)
		}
	}
	if got := Exit(&UsageError{&signing.Error{Kind: signing.Unsigned, Err: errors.New("x")}}).(*ExitError).Code; got != ExitUnsigned {
		t.Errorf("got %d", got)
	}
}

func TestFailuresAreGrouped(t *testing.T) {
	t.Parallel()
	mistake := &build.CompileError{Output: "main.go:1: broken", Err: errors.New("exit status 1")}
	err := failures("compiling", errors.Join(
		compileFailure("bin/a/x", mistake), compileFailure("bin/b/x", mistake),
		compileFailure("bin/c/x", &build.CompileError{Output: "main.go:2: other"}), errors.New("disk"), errors.New("disk")))
	want := "compiling bin/a/x, bin/b/x failed:\nmain.go:1: broken\ncompiling bin/c/x failed:\nmain.go:2: other\ndisk"
	if err.Error() != want {
		t.Errorf("got\n%v", err)
	}
	var c *build.CompileError
	if !errors.As(err, &c) {
		t.Error("the compile error is lost")
	}
}

func TestReadTests(t *testing.T) {
	t.Parallel()
	stream := `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:12: SKIP: rpm missing: apt package rpm\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"--- SKIP: TestA (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:1: wrong\n"}
{"Action":"fail","Package":"p","Test":"TestB"}
{"Action":"output","Package":"p","Test":"TestC","Output":"chatter\n"}
{"Action":"pass","Package":"p","Test":"TestC"}
{"Action":"output","Package":"p","Output":"FAIL\n"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
{"Action":"fail","Package":"p"}
{"ImportPath":"q","Action":"build-output","Output":"q.go:1: syntax error\n"}
{"Action":"output","Package":"r","Output":"?   \tr\t[no test files]\n"}
{"Action":"skip","Package":"r"}
not JSON
`
	var out bytes.Buffer
	n, err := readTests(strings.NewReader(stream), &out)
	if err != nil || n != 1 {
		t.Errorf("%d skipped, %v", n, err)
	}
	text := out.String()
	for _, want := range []string{"SKIP p TestA: rpm missing: apt package rpm\n", "b_test.go:1: wrong", "FAIL\tp\t0.1s", "q.go:1: syntax error", "not JSON", "1 skipped:"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "chatter") {
		t.Errorf("a test that passed is quoted:\n%s", text)
	}
}

func TestProgressPlain(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := Plain(&out)
	p.begin("compile", 2)
	done := p.start("bin/a/notes")
	p.start("bin/b/notes")("")
	done("1.0 MiB")
	p.end()
	p.Printf("%s", "over")
	if got := out.String(); !strings.HasPrefix(got, "compile  bin/a/notes  1.0 MiB  0.0") || !strings.HasSuffix(got, "over\n") || strings.ContainsAny(got, "\r\x1b") {
		t.Errorf("got %q", got)
	}
	var silent *Progress
	silent.begin("x", 1)
	silent.start("x")("x")
	silent.end()
	silent.Printf("x")
}

func TestProgressLive(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := &Progress{out: &out, live: true, width: func() int { return 20 }}
	p.begin("compile", 2)
	p.start("bin/a/a-long-name-of-a-program")("1 MiB")
	p.Printf("a line that stays")
	p.end()
	text := out.String()
	for line := range strings.SplitSeq(text, "\r\x1b[K") {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 19 {
			t.Errorf("%d columns: %q", n, line)
		}
	}
	if !strings.Contains(text, "\r\x1b[Ka line that stays\n") || !strings.HasSuffix(text, "\r\x1b[K") || !strings.Contains(text, "compile 1/2") {
		t.Errorf("got %q", text)
	}
}

func TestResolveRef(t *testing.T) {
	t.Parallel()
	o := Options{Dir: "/m"}
	for ref, want := range map[string]string{
		"dev": "dev", "pfx:a.pfx": "pfx:/m/a.pfx", "pfx:/a.pfx": "pfx:/a.pfx", "pem:c.pem+k.pem": "pem:/m/c.pem+/m/k.pem", "pem:b.pem": "pem:/m/b.pem", "pkcs11:x": "pkcs11:x",
	} {
		if got := o.resolveRef(ref); got != want {
			t.Errorf("%s: %s", ref, got)
		}
	}
	if got := (Options{}).resolveRef("pfx:a"); got != "pfx:a" {
		t.Errorf("in the current folder: %s", got)
	}
}

func TestReadPEMRefusesKeys(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "x.pem")
	for text, want := range map[string]string{
		"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n": "only certificates belong there",
		"x": "holds no PEM certificate",
	} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := readPEM("trust.ca", file); exitCode(err) != ExitUsage || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v", err)
		}
	}
	if _, err := readPEM("trust.ca", file+"x"); exitCode(err) != ExitUsage {
		t.Errorf("missing: %v", err)
	}
}
