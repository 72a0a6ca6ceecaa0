package release

import (
	"os"
	"path/filepath"
	"testing"
)

// FuzzRecover opens a dist folder in which somebody has left manifests of any
// content, as of a run that was killed: nothing outside of the folder, and no
// file in it that is not ours, may be touched.
func FuzzRecover(f *testing.F) {
	f.Add([]byte(`{}`), []byte(``))
	f.Add([]byte(`{"schema":1,"artifacts":[{"path":"../outside"}]}`), []byte(`{"schema":1,"artifacts":[{"path":"mine"},{"path":"../outside"}]}`))
	f.Fuzz(func(t *testing.T, stage, manifest []byte) {
		top := t.TempDir()
		dir := filepath.Join(top, "dist")
		kept := map[string]string{filepath.Join(top, "outside"): "outside", filepath.Join(dir, "mine"): "mine"}
		for name, content := range map[string][]byte{
			filepath.Join(dir, stageDir, stageMark): []byte(stageText), filepath.Join(dir, stageDir, ManifestFile): stage,
			filepath.Join(dir, stageDir, "new", "mine"): []byte("theirs"), filepath.Join(dir, ManifestFile): manifest,
		} {
			if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, content, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		for name, content := range kept {
			if err := os.WriteFile(name, []byte(content), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		if w, err := openWorkspace(testOptions(dir), dir, false); err == nil {
			w.close()
		}
		for name, content := range kept {
			if b, err := os.ReadFile(name); err != nil || string(b) != content {
				t.Errorf("%s was touched: %q, %v", filepath.Base(name), b, err)
			}
		}
	})
}
