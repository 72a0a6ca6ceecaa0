package build

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheckVersion(t *testing.T) {
	for _, v := range []string{"1.2.3", "1.2.3-rc.1", "1.2.3+meta", "0.0.0-g0123456789ab-dirty", "1.2.3-4-gabc", "20261128", "1.2.3rc1", "1.0~beta2"} {
		if err := CheckVersion(v); err != nil {
			t.Errorf("%q: %v", v, err)
		}
	}
	for _, v := range []string{"", "v", "abc", "-1", "1.2.3 ", "1/2", `1\2`, "1..2", "1.2.3\x1b[31m", "1.2.3\u202e", "1.2.3;id", "$(id)", "1.2.3\n", "1.2.3-", ".1", strings.Repeat("1", 129)} {
		if CheckVersion(v) == nil {
			t.Errorf("%q is taken for a version", v)
		}
	}
}

func TestHighestTag(t *testing.T) {
	for _, c := range []struct {
		tags, prefix, job, want string
	}{
		{"v1.9.0 v1.10.0", "", "", "1.10.0"},
		{"v1.2.3-rc.1 v1.2.3", "", "", "1.2.3"},
		{"v1 v1.2 v1.2.3", "", "", "1.2.3"},
		{"v1 latest nightly", "", "", ""},
		{"v2.0.0 v1.0.0", "", "v1.0.0", "1.0.0"},
		{"v2.0.0", "", "v3.0.0", "2.0.0"}, // the job's tag is elsewhere
		{"v2.0.0", "", "v2", "2.0.0"},
		{"v1.2.3+b v01.2.3 v1.2.3junk v1.2.3-$(id)", "", "", "1.2.3+b"},
		{"cli/v1.2.3 v9.9.9 lib/v3.0.0", "cli/", "", "1.2.3"},
		{"1.2.3", "", "", "1.2.3"},
	} {
		got, ok := highestTag(strings.Fields(c.tags), c.prefix, c.job)
		if got != c.want || ok != (c.want != "") {
			t.Errorf("%s of the job %q with prefix %q: %q, want %q", c.tags, c.job, c.prefix, got, c.want)
		}
	}
}

func TestTagsOfACheckout(t *testing.T) {
	t.Setenv("GITHUB_REF_TYPE", "")
	t.Setenv("CI_COMMIT_TAG", "")
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module example.com/tags\n\ngo 1.26\n", "main.go": "package main\n\nfunc main() {}\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	gitRun(t, dir, "init", "-q")
	gitRun(t, dir, "add", "-A")
	gitRun(t, dir, "commit", "-q", "-m", "one")
	version := func() string {
		t.Helper()
		src, err := ReadSource(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		return src.Version
	}
	gitRun(t, dir, "tag", "v1")
	gitRun(t, dir, "tag", "v1.2.x")
	if v := version(); !strings.HasPrefix(v, "0.0.0-g") {
		t.Errorf("tags that are no versions give %q", v)
	}
	gitRun(t, dir, "tag", "v1.10.0")
	gitRun(t, dir, "tag", "-a", "-m", "annotated", "v1.9.0")
	if v := version(); v != "1.10.0" {
		t.Errorf("two tags on one commit give %q", v)
	}
	t.Setenv("GITHUB_REF_TYPE", "tag")
	t.Setenv("GITHUB_REF_NAME", "v1.9.0")
	if v := version(); v != "1.9.0" {
		t.Errorf("in a job for v1.9.0 the version is %q", v)
	}
	t.Setenv("GITHUB_REF_TYPE", "branch")
	t.Setenv("CI_COMMIT_TAG", "v7.0.0") // on no commit
	if v := version(); v != "1.10.0" {
		t.Errorf("a job's tag that is not here gives %q", v)
	}
	t.Run("failing git", func(t *testing.T) {
		real, err := exec.LookPath("git")
		if err != nil {
			t.Fatal(err)
		}
		bin := t.TempDir()
		script := "#!/bin/sh\n[ \"$1\" != tag ] || exit 1\nexec " + real + " \"$@\"\n"
		if err := os.WriteFile(filepath.Join(bin, "git"), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
		if src, err := ReadSource(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "git tag") {
			t.Errorf("the tags cannot be read: version %q, %v", src.Version, err)
		}
	})
	gitRun(t, dir, "commit", "-q", "--allow-empty", "-m", "two")
	gitRun(t, dir, "tag", "-a", "-m", "moves", "v2.0")
	gitRun(t, dir, "commit", "-q", "--allow-empty", "-m", "three")
	if v := version(); !strings.HasPrefix(v, "1.10.0-2-g") {
		t.Errorf("two commits later it is %q", v)
	}
}
