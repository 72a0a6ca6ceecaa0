package release

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// put stages a file and returns its entry.
func put(t *testing.T, w *workspace, rel, text string) Entry {
	t.Helper()
	file, err := w.create(rel)
	if err != nil {
		t.Fatal(err)
	}
	if err := writeFile(file, []byte(text)); err != nil {
		t.Fatal(err)
	}
	return Entry{Path: rel, Kind: KindTrust, Size: int64(len(text)), SHA256: sumBytes([]byte(text)), Mode: "0644"}
}

func manifestOf(entries ...Entry) *Manifest {
	return &Manifest{Schema: Schema, Name: "notes", Version: "1", Artifacts: entries}
}

// testOptions keep the record of a dist folder beside it.
func testOptions(dir string) Options {
	return Options{Dir: filepath.Dir(dir), StateDir: filepath.Join(filepath.Dir(filepath.Dir(dir)), "state")}
}

func open(t *testing.T, dir string) *workspace {
	t.Helper()
	w, err := openWorkspace(testOptions(dir), dir, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.inspect(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w
}

// released makes a dist folder with two files in it.
func released(t *testing.T, dir string) {
	t.Helper()
	w := open(t, dir)
	defer w.close()
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	if err := w.publish(t.Context(), manifestOf(put(t, w, "bin/a/one", "1"), put(t, w, "two", "2"))); err != nil {
		t.Fatal(err)
	}
}

// tree lists every file of a folder with its content.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && p == dir {
			return nil
		}
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		if d.IsDir() {
			all = append(all, rel+"/")
			return nil
		}
		data, err := os.ReadFile(p)
		all = append(all, rel+"="+string(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func names(t *testing.T, dir string) string {
	var out []string
	for _, f := range tree(t, dir) {
		name, _, _ := strings.Cut(f, "=")
		out = append(out, name)
	}
	return strings.Join(out, " ")
}

func TestPublish(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "dist")
	released(t, dir)
	if got := names(t, dir); got != "./ .gitignore bin/ bin/a/ bin/a/one manifest.json report.html report.md two" {
		t.Fatalf("published %s", got)
	}
	// A foreign file beside ours stays, a stale one of ours goes, with its folder.
	if err := os.WriteFile(filepath.Join(dir, "mine"), []byte("m"), 0o644); err != nil {
		t.Fatal(err)
	}
	w := open(t, dir)
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	if err := w.publish(t.Context(), manifestOf(put(t, w, "two", "II"), put(t, w, "bin/b/three", "3"))); err != nil {
		t.Fatal(err)
	}
	w.close()
	if got := names(t, dir); got != "./ .gitignore bin/ bin/b/ bin/b/three manifest.json mine report.html report.md two" {
		t.Fatalf("published %s", got)
	}
}

func TestUnchanged(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "dist")
	released(t, dir)
	before := tree(t, dir)
	w := open(t, dir)
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	m := manifestOf(slices.Clone(w.prev.Artifacts)...)
	m.Timings = []Timing{{"check", 3}}
	if !w.unchanged(m) {
		t.Error("changed, though it says the same")
	}
	m.Version = "2"
	if w.unchanged(m) {
		t.Error("another version is no change")
	}
	w.close()
	if after := tree(t, dir); !slices.Equal(before, after) {
		t.Errorf("touched:\n%v\n%v", before, after)
	}
}

func TestFailureLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "dist")
	w := open(t, dir)
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	put(t, w, "bin/a/one", "half")
	w.close()
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a failed first run left %s", names(t, dir))
	}

	released(t, dir)
	before := tree(t, dir)
	w = open(t, dir)
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	put(t, w, "bin/a/one", "half")
	w.close()
	if after := tree(t, dir); !slices.Equal(before, after) {
		t.Errorf("a failed run changed:\n%v\n%v", before, after)
	}
}

// TestKilled stops a run at every step of its publishing, as SIGKILL would, and
// lets the next one go on.
func TestKilled(t *testing.T) {
	t.Parallel()
	prepare := func(t *testing.T, dir string) (*workspace, *Manifest) {
		released(t, dir)
		w := open(t, dir)
		if err := w.begin(); err != nil {
			t.Fatal(err)
		}
		return w, manifestOf(put(t, w, "bin/b/three", "3"), put(t, w, "two", "II"))
	}
	want := func(t *testing.T) []string {
		dir := filepath.Join(t.TempDir(), "dist")
		w, m := prepare(t, dir)
		if err := w.publish(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		w.close()
		return tree(t, dir)
	}(t)

	// What publish does, a rename at a time.
	steps := []func(*workspace) error{
		func(w *workspace) error { return w.root.MkdirAll(".stage/old", 0o777) },
		func(w *workspace) error { return w.root.Rename("bin/a/one", ".stage/old/0") },
		func(w *workspace) error { return w.root.MkdirAll("bin/b", 0o777) },
		func(w *workspace) error { return w.root.Rename(".stage/new/bin/b/three", "bin/b/three") },
		func(w *workspace) error { return w.root.Rename("two", ".stage/old/2") },
		func(w *workspace) error { return w.root.Rename(".stage/new/two", "two") },
		func(w *workspace) error { return w.root.Rename("report.md", ".stage/old/4") },
		func(w *workspace) error { return w.root.Rename(".stage/report.md", "report.md") },
	}
	for n := range len(steps) + 1 {
		dir := filepath.Join(t.TempDir(), "dist")
		w, m := prepare(t, dir)
		data, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		pages, err := m.pages()
		if err != nil {
			t.Fatal(err)
		}
		pages[ManifestFile] = data
		if err := w.record.write(sumBytes(data), w.sum); err != nil {
			t.Fatal(err)
		}
		for name, data := range pages {
			if err := writeFile(filepath.Join(dir, stageDir, name), data); err != nil {
				t.Fatal(err)
			}
		}
		for i, step := range steps[:n] {
			if err := step(w); err != nil {
				t.Fatalf("step %d: %v", i, err)
			}
		}
		w.root.Close() // the kill: no close of ours
		w.lock.Close()

		next := open(t, dir)
		if e := next.reusable("two"); e == nil || next.prev.Entry("bin/b/three") == nil {
			t.Errorf("killed after %d steps: the next run does not see the new release", n)
		}
		next.close()
		got := slices.DeleteFunc(tree(t, dir), func(s string) bool { return s == "bin/a/" })
		if !slices.Equal(got, want) {
			t.Errorf("killed after %d steps:\n%v\nwant\n%v", n, got, want)
		}
	}

	t.Run("before the commit", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "dist")
		w, _ := prepare(t, dir)
		before := slices.DeleteFunc(tree(t, dir), func(s string) bool { return strings.HasPrefix(s, stageDir) })
		if err := os.WriteFile(filepath.Join(dir, stageDir, ManifestFile), []byte(`{"schema":1,`), 0o644); err != nil {
			t.Fatal(err)
		}
		w.root.Close()
		w.lock.Close()
		open(t, dir).close()
		if after := tree(t, dir); !slices.Equal(before, after) {
			t.Errorf("not as before:\n%v\n%v", before, after)
		}
	})
}

// What was replaced after it was hashed is not published.
func TestPublishChanged(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(file string) error{
		"other bytes": func(file string) error { return os.WriteFile(file, []byte("3"), 0o644) },
		"longer":      func(file string) error { return os.WriteFile(file, []byte("22"), 0o644) },
		"gone":        os.Remove,
		"mode":        func(file string) error { return os.Chmod(file, 0o755) },
		"link inside": func(file string) error {
			return errors.Join(os.Rename(file, file+".real"), os.Symlink(filepath.Base(file)+".real", file))
		},
		"link": func(file string) error {
			return errors.Join(os.Rename(file, file+".real"), os.Symlink(file+".real", file))
		},
	} {
		for _, staged := range []bool{true, false} {
			dir := filepath.Join(t.TempDir(), "dist")
			released(t, dir)
			w := open(t, dir)
			if err := w.begin(); err != nil {
				t.Fatal(err)
			}
			e := *w.prev.Entry("two")
			if staged {
				e = put(t, w, "two", "2")
			}
			if err := change(w.file("two")); err != nil {
				t.Fatal(err)
			}
			err := w.publish(t.Context(), manifestOf(*w.prev.Entry("bin/a/one"), e))
			if exitCode(err) != ExitTampered || !strings.Contains(err.Error(), "two: tampered: it was changed while this run worked") {
				t.Errorf("%s, staged %v: %v", name, staged, err)
			}
			w.close()
		}
	}
}

func TestPublishFails(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "dist")
	released(t, dir)
	before := tree(t, dir)
	w := open(t, dir)
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	m := manifestOf(put(t, w, "two", "II"), put(t, w, "zzz/three", "3"))
	// A file in the way of a folder, which nobody could have seen when the run began.
	if err := os.WriteFile(filepath.Join(dir, "zzz"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := w.finish(m); err == nil {
		t.Error("published into a file")
	}
	w.close()
	if err := os.Remove(filepath.Join(dir, "zzz")); err != nil {
		t.Fatal(err)
	}
	if after := tree(t, dir); !slices.Equal(before, after) {
		t.Errorf("not undone:\n%v\n%v", before, after)
	}
}

func TestForeignFiles(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "dist")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "one"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	w := open(t, dir)
	defer w.close()
	if err := w.own([]string{"two"}); err != nil {
		t.Error(err)
	}
	for _, rel := range []string{"one", "one/two"} {
		if err := w.own([]string{rel}); exitCode(err) != ExitUsage || !strings.Contains(err.Error(), "in the way") {
			t.Errorf("%s: %v", rel, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, ReportFile), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := w.own(nil); exitCode(err) != ExitUsage {
		t.Errorf("a report that is not ours: %v", err)
	}
}

func TestLock(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "dist")
	w := open(t, dir)
	if _, err := openWorkspace(testOptions(dir), dir, true); exitCode(err) != ExitUsage || !strings.Contains(err.Error(), "another hallmark is at work") {
		t.Errorf("a second run: %v", err)
	}
	w.close()
	open(t, dir).close()
}

func TestReusable(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(file string) error{
		"":          func(string) error { return nil },
		"content":   func(f string) error { return os.WriteFile(f, []byte("X"), 0o644) },
		"longer":    func(f string) error { return os.WriteFile(f, []byte("22"), 0o644) },
		"mode":      func(f string) error { return os.Chmod(f, 0o755) },
		"missing":   os.Remove,
		"is a link": func(f string) error { return errors.Join(os.Rename(f, f+"x"), os.Symlink(f+"x", f)) },
	} {
		dir := filepath.Join(t.TempDir(), "dist")
		released(t, dir)
		if err := damage(filepath.Join(dir, "two")); err != nil {
			t.Fatal(err)
		}
		w := open(t, dir)
		if got := w.reusable("two") != nil; got != (name == "") {
			t.Errorf("%q: reusable %v", name, got)
		}
		if w.reusable("bin/a/one") == nil {
			t.Errorf("%q: the other file is not reusable", name)
		}
		w.close()
	}
}

func TestClean(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "dist")
	released(t, dir)
	mine := filepath.Join(dir, "bin", "mine")
	if err := os.WriteFile(mine, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	w := open(t, dir)
	if n, err := w.clean(); err != nil || n != 5 {
		t.Errorf("%d removed, %v", n, err)
	}
	w.close()
	if got := names(t, dir); got != "./ bin/ bin/mine" {
		t.Errorf("left: %s", got)
	}
	if err := os.Remove(mine); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Dir(mine)); err != nil {
		t.Fatal(err)
	}
	released(t, dir)
	w = open(t, dir)
	if _, err := w.clean(); err != nil {
		t.Error(err)
	}
	w.close()
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty folder stays: %s", names(t, dir))
	}
}

// TestIgnored makes sure that a dist folder, in the making too, is no change
// of the sources for git.
func TestIgnored(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("git"); err != nil {
		if os.Getenv(EnvStrict) == "1" {
			t.Fatal("git missing: apt package git")
		}
		t.Skip("SKIP: git missing: apt package git")
	}
	repo := t.TempDir()
	git := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir = repo
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	git("init", "-q")
	dir := filepath.Join(repo, "dist")
	w := open(t, dir)
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	e := put(t, w, "one", "1")
	if got := git("status", "--porcelain"); got != "" {
		t.Errorf("while at work: %s", got)
	}
	if err := w.publish(t.Context(), manifestOf(e)); err != nil {
		t.Fatal(err)
	}
	w.close()
	if got := git("status", "--porcelain"); got != "" {
		t.Errorf("afterwards: %s", got)
	}
}

func TestEach(t *testing.T) {
	t.Parallel()
	errOdd := errors.New("odd")
	var err error = each(t.Context(), 2, []int{1, 2, 3, 4}, func(_ context.Context, i int) error {
		if i%2 == 1 {
			return errOdd
		}
		return nil
	})
	if err == nil || strings.Count(err.Error(), "odd") != 2 {
		t.Errorf("not all errors: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := each(ctx, 2, []int{1}, func(context.Context, int) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
}
