//go:build unix

package release

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// A pattern does not mean what a killed run of ours left beside the files.
func TestPatternLeavesOutLeftovers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good, left := filepath.Join(dir, "notes.exe"), filepath.Join(dir, ".hallmark-sign-42.exe")
	for _, file := range []string{good, left} {
		if err := os.WriteFile(file, []byte("MZ"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files, err := toSign(filepath.Join(dir, "*.exe"))
	if err != nil || !slices.Equal(files, []string{good}) {
		t.Errorf("%q, %v", files, err)
	}
	if exists(left) {
		t.Error("what a killed run left is still there")
	}
	// A file that is named is signed, whatever its name.
	if err := os.WriteFile(left, []byte("MZ"), 0o600); err != nil {
		t.Fatal(err)
	}
	if files, err := toSign(left); err != nil || !slices.Equal(files, []string{left}) || !exists(left) {
		t.Errorf("named: %q, %v, still there: %v", files, err, exists(left))
	}
	os.Remove(good)
	if err := os.WriteFile(left, []byte("MZ"), 0o600); err != nil {
		t.Fatal(err)
	}
	if files, err := toSign(filepath.Join(dir, "*.exe")); err == nil {
		t.Errorf("only a leftover: %q", files)
	}
}
