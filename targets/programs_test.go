package targets_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"
)

// fetch puts the sources of a module into a folder, as a checkout would be:
// `fetch MODULE@VERSION SUM FOLDER`. SUM is the h1 checksum of the module.
func fetch(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: fetch MODULE@VERSION SUM FOLDER")
	}
	ts.Check(fetchModule(args[0], args[1], ts.MkAbs(args[2]), "GOMODCACHE="+ts.Getenv("GOMODCACHE")))
}

// fetchModule copies a module's sources, whose checksum must be sum, to dir.
func fetchModule(module, sum, dir string, env ...string) error {
	cmd := exec.Command("go", "mod", "download", "-json", module)
	cmd.Dir = os.TempDir()
	// The checksum is known: not every module that proxies serve is in the
	// checksum database.
	cmd.Env = append(os.Environ(), append(env, "GOFLAGS=-mod=mod", "GONOSUMDB=*")...)
	out, err := cmd.Output()
	var got struct{ Dir, Sum, Error string }
	if json.Unmarshal(out, &got); err != nil || got.Dir == "" {
		return fmt.Errorf("go mod download %s: %w: %s", module, err, got.Error)
	}
	if got.Sum != sum {
		return fmt.Errorf("%s has the checksum %s, want %s", module, got.Sum, sum)
	}
	if err := os.CopyFS(dir, os.DirFS(got.Dir)); err != nil {
		return err
	}
	return filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		mode := os.FileMode(0o644)
		if e.IsDir() {
			mode = 0o755
		}
		return os.Chmod(path, mode)
	})
}

// extract takes the appended signature off a file, without our own code:
// `extract FILE CONTENT SIGNATURE`.
func extract(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: extract FILE CONTENT SIGNATURE")
	}
	b, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	end := len(b) - len("~Module signature appended~\n")
	if end < 12 || string(b[end:]) != "~Module signature appended~\n" {
		ts.Fatalf("%s has no appended signature", args[0])
	}
	start := end - 12 - int(binary.BigEndian.Uint32(b[end-4:]))
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), b[:start], 0o644))
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), b[start:end-12], 0o644))
}
