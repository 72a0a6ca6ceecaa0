package dist

import (
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCollectSkips checks that everything in a folder is everything but the dist folder and what is hallmark's or git's.
func TestCollectSkips(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"README.md", "out/dist/notes.exe", "out/a.txt", ".git/config", ".hallmark-1", "out/.hallmark-2"} {
		writeFile(t, filepath.Join(dir, filepath.FromSlash(name)), "x")
	}
	files, err := Config{Files: []string{"*"}}.Collect(dir, "out/dist")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name)
	}
	if got := strings.Join(names, " "); got != "README.md out/a.txt" {
		t.Errorf("found %s", got)
	}
	for _, pattern := range []string{"out/dist", "out/dist/*", ".git"} {
		if _, err := (Config{Files: []string{pattern}}).Collect(dir, "out/dist"); !errors.As(err, new(*ConfigError)) {
			t.Errorf("%s: %v", pattern, err)
		}
	}
}

func TestCollectRefusesKeys(t *testing.T) {
	key := string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: []byte("no key, but of its form")}))
	cert := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("no certificate")}))
	for name, test := range map[string]struct {
		content string
		refused bool
	}{
		"id.pfx": {"x", true}, "ID.P12": {"x", true}, "key.pem": {key, true}, "both.txt": {cert + "and\n" + key, true},
		"cert.pem": {cert, false}, "how.md": {"Begin with -----BEGIN PRIVATE KEY----- and then\n-----BEGIN PRIVATE KEY-----\n...\n", false},
	} {
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, name), test.content)
		_, err := Config{Files: []string{"*"}}.Collect(dir)
		if refused := errors.As(err, new(*ConfigError)) && strings.Contains(err.Error(), name+" holds a private key: it would be published"); refused != test.refused || !refused && err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func writeFile(t *testing.T, file, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o666); err != nil {
		t.Fatal(err)
	}
}
