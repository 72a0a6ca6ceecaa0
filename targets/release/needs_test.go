package release

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hallmark-build/hallmark/build"
)

// TestDependencyNotes checks that a package of a program that loads libraries is noted, once for each program.
func TestDependencyNotes(t *testing.T) {
	t.Parallel()
	libraries, glibc, err := build.Needs("/bin/sh")
	if err != nil || len(libraries) == 0 || glibc == "" {
		t.Skipf("SKIP: /bin/sh needs no GNU C library here: %q, %q, %v", libraries, glibc, err)
	}
	shell, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	w := &workspace{dir: t.TempDir(), staged: map[string]bool{}}
	entries := []Entry{
		{Path: "bin/linux_amd64_clang/notes", Kind: KindBinary, Platform: "linux/amd64", Toolchain: "clang"},
		{Path: "bin/linux_amd64/notes", Kind: KindBinary, Platform: "linux/amd64"},
		{Path: "notes.deb", Kind: KindPackage, Platform: "linux/amd64", Toolchain: "clang"},
		{Path: "notes.rpm", Kind: KindPackage, Platform: "linux/amd64", Toolchain: "clang"},
		{Path: "notes.zip", Kind: KindArchive, Platform: "linux/amd64"},
	}
	for _, e := range entries[:2] {
		file := filepath.Join(w.dir, filepath.FromSlash(e.Path))
		if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, shell, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	notes := dependencyNotes(entries, w)
	if len(notes) != 1 || !strings.Contains(notes[0], libraries[0]) || !strings.Contains(notes[0], glibc+" or newer") || !strings.Contains(notes[0], "linux/amd64 clang") {
		t.Errorf("%q", notes)
	}
	if notes := dependencyNotes(slicesWithout(entries, KindPackage), w); len(notes) != 0 {
		t.Errorf("without packages: %q", notes)
	}
	if err := os.WriteFile(w.file(entries[0].Path), shell[:200], 0o755); err != nil {
		t.Fatal(err)
	}
	if notes := dependencyNotes(entries, w); len(notes) != 1 || !strings.Contains(notes[0], "not known") {
		t.Errorf("a program that is cut off: %q", notes)
	}
}

func slicesWithout(entries []Entry, kind Kind) []Entry {
	var kept []Entry
	for _, e := range entries {
		if e.Kind != kind {
			kept = append(kept, e)
		}
	}
	return kept
}
