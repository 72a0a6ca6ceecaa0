package release

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestFilesLine checks that what is wrong with a pattern of files is said with its line, before anything is packed.
func TestFilesLine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config := "name: notes\ntargets:\n  - {platform: linux/amd64}\nfiles:\n  - README.md\n  - docs/**/*\n"
	for name, content := range map[string]string{ConfigFile: config, "README.md": "x", "docs/a.md": "x"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Dir: dir}
	k, err := newPacker(t.Context(), "", c, o, "1.0.0", time.Unix(1e9, 0))
	if err != nil || len(k.extra) != 2 {
		t.Fatalf("%v, %v", k, err)
	}
	if err := os.Symlink("/proc/self/environ", filepath.Join(dir, "docs", "env")); err != nil {
		t.Skipf("SKIP: no links here: %v", err)
	}
	for _, want := range []string{"a link", "nothing"} {
		_, err = newPacker(t.Context(), "", c, o, "1.0.0", time.Unix(1e9, 0))
		var wrong *ConfigError
		if !errors.As(err, &wrong) || len(wrong.Problems) != 1 || wrong.Problems[0].Line != 6 {
			t.Errorf("%s: %v", want, err)
		}
		if err := os.RemoveAll(filepath.Join(dir, "docs")); err != nil {
			t.Fatal(err)
		}
	}
}
