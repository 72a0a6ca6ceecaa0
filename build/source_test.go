package build

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// gitRun runs git in a repository of its own, without the settings of the user.
func gitRun(t *testing.T, dir string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		need(t, "git", "git")
	}
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=A", "GIT_COMMITTER_EMAIL=a@example.com",
		"GIT_AUTHOR_DATE=2024-05-06T07:08:09Z", "GIT_COMMITTER_DATE=2024-05-06T07:08:09Z")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o666); err != nil {
		t.Fatal(err)
	}
}

func readSource(t *testing.T, dir string) Source {
	t.Helper()
	src, err := ReadSource(t.Context(), dir, "dist")
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func TestReadSourceGit(t *testing.T) {
	t.Parallel()
	dir := copyModule(t, "hello")
	gitRun(t, dir, "init", "-q")
	if src := readSource(t, dir); src.Version != "0.0.0" || src.Revision != "" || src.Modified {
		t.Errorf("a repository without a commit gives %+v", src)
	}

	gitRun(t, dir, "add", ".")
	gitRun(t, dir, "commit", "-q", "-m", "first")
	head := gitRun(t, dir, "rev-parse", "HEAD")
	src := readSource(t, dir)
	if src.Module != "example.com/hello" || src.Revision != head || src.Modified || src.Version != "0.0.0-g"+head[:12] {
		t.Errorf("a repository without a tag gives %+v", src)
	}
	if want := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC); src.Time != want {
		t.Errorf("time is %v, want %v", src.Time, want)
	}

	gitRun(t, dir, "tag", "release")
	gitRun(t, dir, "tag", "v1.2.3")
	if src := readSource(t, dir); src.Version != "1.2.3" {
		t.Errorf("version is %q", src.Version)
	}
	gitRun(t, dir, "commit", "-q", "--allow-empty", "-m", "second")
	head = gitRun(t, dir, "rev-parse", "HEAD")
	if src := readSource(t, dir); src.Version != "1.2.3-1-g"+head[:12] {
		t.Errorf("version is %q", src.Version)
	}

	// What a release writes does not make the source another one.
	clean := readSource(t, dir)
	write(t, filepath.Join(dir, "dist", "manifest.json"), "{}")
	if src := readSource(t, dir); src != clean {
		t.Errorf("the dist folder changes the source from %+v to %+v", clean, src)
	}
	write(t, filepath.Join(dir, "new.txt"), "new")
	if src := readSource(t, dir); !src.Modified || src.Version != clean.Version+"-dirty" || src.Digest == clean.Digest {
		t.Errorf("a new file gives %+v", src)
	}
}

func TestReadSourceDigest(t *testing.T) {
	t.Parallel()
	base := copyModule(t, "hello")
	want := readSource(t, base)
	if want.Version != "0.0.0" || want.Revision != "" || want.Time.Year() != 1980 {
		t.Errorf("without git the source is %+v", want)
	}
	if other := readSource(t, copyModule(t, "hello")); other.Digest != want.Digest {
		t.Error("the digest depends on the folder")
	}
	for name, change := range map[string]struct {
		do   func(dir string) error
		same bool
	}{
		"nothing":     {func(string) error { return nil }, true},
		"time":        {func(dir string) error { return os.Chtimes(dir+"/main.go", time.Unix(1, 0), time.Unix(1, 0)) }, true},
		"permission":  {func(dir string) error { return os.Chmod(dir+"/main.go", 0o600) }, true},
		"temporary":   {func(dir string) error { return os.WriteFile(dir+"/.hallmark-1", nil, 0o600) }, true},
		"git":         {func(dir string) error { return os.MkdirAll(dir+"/sub/.hg/x", 0o700) }, true},
		"executable":  {func(dir string) error { return os.Chmod(dir+"/main.go", 0o700) }, false},
		"content":     {func(dir string) error { return os.WriteFile(dir+"/main.go", []byte("package main"), 0o600) }, false},
		"new file":    {func(dir string) error { return os.WriteFile(dir+"/x", nil, 0o600) }, false},
		"renamed":     {func(dir string) error { return os.Rename(dir+"/lib/lib.go", dir+"/lib/lib2.go") }, false},
		"link":        {func(dir string) error { return os.Symlink("main.go", dir+"/x") }, false},
		"broken link": {func(dir string) error { return os.Symlink("nowhere", dir+"/x") }, false},
	} {
		dir := copyModule(t, "hello")
		if err := change.do(dir); err != nil {
			t.Fatal(err)
		}
		if got := readSource(t, dir).Digest; (got == want.Digest) != change.same {
			t.Errorf("%s: the digest is the same: %t, want %t", name, got == want.Digest, change.same)
		}
	}
}

// TestReadSourceElsewhere checks that what lies outside the module's folder and goes into its programs counts.
func TestReadSourceElsewhere(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"replace", "workspace", "workspace replace", "link"} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			dir, lib := filepath.Join(root, "app"), filepath.Join(root, "lib")
			write(t, filepath.Join(dir, "go.mod"), "module example.com/app\n\ngo 1.22\n")
			write(t, filepath.Join(lib, "go.mod"), "module example.com/lib\n\ngo 1.22\n")
			write(t, filepath.Join(lib, "lib.go"), "package lib\n")
			switch name {
			case "replace":
				write(t, filepath.Join(dir, "go.mod"), "module example.com/app\n\ngo 1.22\n\nreplace example.com/lib => ../lib\n")
			case "workspace":
				write(t, filepath.Join(root, "go.work"), "go 1.22\n\nuse ./app\nuse ./lib\n")
			case "workspace replace":
				write(t, filepath.Join(root, "go.work"), "go 1.22\n\nuse ./app\n\nreplace example.com/lib => ./lib\n")
			case "link":
				if err := os.Symlink("../lib/lib.go", filepath.Join(dir, "lib.go")); err != nil {
					t.Fatal(err)
				}
			}
			before := readSource(t, dir)
			write(t, filepath.Join(lib, "lib.go"), "package lib // changed\n")
			if after := readSource(t, dir); after.Digest == before.Digest {
				t.Error("a change outside the module's folder does not show")
			}
		})
	}
}

func TestReadSourceErrors(t *testing.T) {
	t.Parallel()
	if _, err := ReadSource(t.Context(), t.TempDir()); err == nil || !strings.Contains(err.Error(), "there is no go.mod in") {
		t.Errorf("a folder without a module: %v", err)
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "go.mod"), "modul x\n")
	if _, err := ReadSource(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "go.mod:1") {
		t.Errorf("a broken go.mod: %v", err)
	}
	dir = copyModule(t, "hello")
	write(t, filepath.Join(dir, ".git"), "gitdir: /nonexistent\n")
	if _, err := ReadSource(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "git status") {
		t.Errorf("a broken repository: %v", err)
	}
}
