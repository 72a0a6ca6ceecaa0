package build

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestReadSourceSkip checks that a skipped file is left out alone: what else stands in its folder counts, for the digest
// and for git.
func TestReadSourceSkip(t *testing.T) {
	t.Parallel()
	dir := copyModule(t, "hello")
	write(t, filepath.Join(dir, "dist", "index.html"), "page")
	gitRun(t, dir, "init", "-q")
	gitRun(t, dir, "add", ".")
	gitRun(t, dir, "commit", "-q", "-m", "first")
	read := func() Source {
		t.Helper()
		src, err := ReadSource(t.Context(), dir, "dist/manifest.json", "dist/bin/linux_amd64/hello", "dist/.stage")
		if err != nil {
			t.Fatal(err)
		}
		return src
	}
	clean := read()
	write(t, filepath.Join(dir, "dist", "manifest.json"), "{}")
	write(t, filepath.Join(dir, "dist", "bin", "linux_amd64", "hello"), "program")
	write(t, filepath.Join(dir, "dist", ".stage", "x"), "x")
	if src := read(); src != clean {
		t.Errorf("what hallmark wrote changes the source from %+v to %+v", clean, src)
	}
	if err := clean.Changed(t.Context()); err != nil {
		t.Error(err)
	}
	write(t, filepath.Join(dir, "dist", "index.html"), "another page")
	if src := read(); src.Digest == clean.Digest || !src.Modified {
		t.Errorf("a source in the dist folder does not count: %+v", src)
	}
	if err := clean.Changed(t.Context()); !errors.As(err, new(*ChangedError)) {
		t.Errorf("Changed: %v", err)
	}
	write(t, filepath.Join(dir, "dist", "index.html"), "page")
	gitRun(t, dir, "config", "status.showUntrackedFiles", "no")
	write(t, filepath.Join(dir, "dist", "other.html"), "page")
	if src := read(); !src.Modified {
		t.Error("a new file does not count when git is set to hide such files")
	}
}

// TestReadSourceLinkedFolders checks that folders elsewhere count to which links lead, and that circles end.
func TestReadSourceLinkedFolders(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	dir, lib := filepath.Join(root, "app"), filepath.Join(root, "lib")
	write(t, filepath.Join(dir, "go.mod"), "module example.com/app\n\ngo 1.22\n")
	write(t, filepath.Join(lib, "include", "lib.h"), "int lib;\n")
	for link, target := range map[string]string{"app/lib": "../lib", "app/same": "../lib/include", "lib/app": "../app", "lib/self": ".", "entry": "app"} {
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	before := readSource(t, dir)
	if src := readSource(t, filepath.Join(root, "entry")); src != before {
		t.Errorf("through a link the source is %+v, want %+v", src, before)
	}
	write(t, filepath.Join(lib, "include", "lib.h"), "long lib;\n")
	if readSource(t, dir).Digest == before.Digest {
		t.Error("a change in a linked folder does not show")
	}
	// A dist folder that is a link elsewhere.
	if err := os.Symlink(t.TempDir(), filepath.Join(dir, "dist")); err != nil {
		t.Fatal(err)
	}
	read := func() Source {
		src, err := ReadSource(t.Context(), dir, "dist/bin/x")
		if err != nil {
			t.Fatal(err)
		}
		return src
	}
	before = read()
	write(t, filepath.Join(dir, "dist", "bin", "x"), "program")
	if read() != before {
		t.Error("what is skipped in a linked folder counts")
	}
}

// TestReadSourceNested checks the tags of modules in folders of a repository, and a way to them through a link.
func TestReadSourceNested(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write(t, filepath.Join(root, "go.mod"), "module example.com/m\n\ngo 1.22\n")
	write(t, filepath.Join(root, "sub", "go.mod"), "module example.com/m/sub\n\ngo 1.22\n")
	write(t, filepath.Join(root, "sub", "v2", "go.mod"), "module example.com/m/sub/v2\n\ngo 1.22\n")
	write(t, filepath.Join(root, "other", "go.mod"), "module example.com/m/other\n\ngo 1.22\n")
	gitRun(t, root, "init", "-q")
	gitRun(t, root, "add", ".")
	gitRun(t, root, "commit", "-q", "-m", "first")
	head := gitRun(t, root, "rev-parse", "HEAD")
	for _, tag := range []string{"v1.0.0", "sub/v0.3.0", "sub/v2.5.0"} {
		gitRun(t, root, "tag", tag)
	}
	for folder, want := range map[string]string{".": "1.0.0", "sub/v2": "2.5.0", "other": "0.0.0-g" + head[:12]} {
		if src := readSource(t, filepath.Join(root, folder)); src.Version != want {
			t.Errorf("version of %s is %q, want %q", folder, src.Version, want)
		}
	}
	gitRun(t, root, "tag", "-d", "sub/v2.5.0")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(filepath.Join(root, "sub"), link); err != nil {
		t.Fatal(err)
	}
	if src := readSource(t, link); src.Version != "0.3.0" || src.Revision != head {
		t.Errorf("through a link the source is %+v", src)
	}
}
