package targets_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// askAgain runs every command that the manifest of a dist folder prints, each in a
// new folder with a copy of what is published, and demands that it succeeds. With
// ! it damages the artifact first, in each byte of a few, and demands that the
// command fails. A command may hold no path of this machine.
//
//	askagain dist JUDGE...
//
// demands besides that each of the judges has a command.
func askAgain(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 0 {
		ts.Fatalf("usage: askagain DIST [JUDGE...]")
	}
	dist := ts.MkAbs(args[0])
	var manifest struct {
		Artifacts []struct{ Path, Of string }
		Results   []struct{ Judge, Case, Command, Got string }
	}
	data, err := os.ReadFile(filepath.Join(dist, "manifest.json"))
	ts.Check(err)
	ts.Check(json.Unmarshal(data, &manifest))
	of := map[string]string{}
	for _, a := range manifest.Artifacts {
		of[a.Path] = a.Of
	}
	asked := map[string]bool{}
	for _, r := range manifest.Results {
		if r.Command == "" || asked[r.Command] {
			continue
		}
		asked[r.Command], asked[r.Judge] = true, true
		for _, name := range []string{"WORK", "HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "HALLMARK_MODULE"} {
			if path := ts.Getenv(name); path != "" && path != "/" && strings.Contains(r.Command, path) {
				ts.Fatalf("%s of %s holds a path of this machine, %s: %s", r.Judge, r.Case, path, r.Command)
			}
		}
		dir, err := os.MkdirTemp(ts.Getenv("WORK"), "ask-*")
		ts.Check(err)
		ts.Check(os.CopyFS(filepath.Join(dir, "copy"), os.DirFS(dist)))
		if neg {
			file := r.Case
			if of[file] != "" {
				file = of[file] // what the signature is of
			}
			file = filepath.Join(dir, "copy", filepath.FromSlash(file))
			content, err := os.ReadFile(file)
			ts.Check(err)
			for i := 1; i < 64; i++ {
				content[len(content)*i/64] ^= 0x11
			}
			ts.Check(os.WriteFile(file, content, 0o644))
		}
		cmd := exec.Command("sh", "-c", r.Command)
		cmd.Dir = filepath.Join(dir, "copy")
		cmd.Env = []string{"PATH=" + ts.Getenv("PATH"), "HOME=" + dir, "XDG_CACHE_HOME=" + ts.Getenv("XDG_CACHE_HOME"), "LC_ALL=C"}
		out, err := cmd.CombinedOutput()
		if (err != nil) != neg {
			ts.Fatalf("%s of %s says %q; its command, damaged %t: %v\n%s\n%s", r.Judge, r.Case, r.Got, neg, err, r.Command, out)
		}
		ts.Check(os.RemoveAll(dir))
	}
	for _, judge := range args[1:] {
		if !asked[judge] {
			ts.Fatalf("%s prints no command", judge)
		}
	}
}
