package host

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTakeFiles(t *testing.T) {
	tool := Tool{Name: "judge", Programs: []string{"usr/lib/judge.exe"}, Packages: []string{"many"}, Take: "usr/lib/judge.exe", Purpose: "judging"}
	for _, test := range []struct {
		name, file, policy string
		says, fails        string
		there              bool
	}{
		{name: "good", file: "./usr/lib/judge.exe", policy: "many:\n  Candidate: 1\n", says: "fetching many, which is not installed", there: true},
		{name: "not in the archive", file: "./usr/lib/judge.exe", policy: "", says: "apt has no package many: without it: judging"},
		{name: "not in the package", file: "./usr/lib/other", policy: "many:\n  Candidate: 1\n", fails: "there is no usr/lib/judge.exe in it"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := room(t)
			r.sys.goarch, r.sys.cache = "amd64", t.TempDir()
			r.archive(test.file, false, false)
			r.program("apt-cache", "printf '"+strings.ReplaceAll(test.policy, "\n", `\n`)+"'")
			var out bytes.Buffer
			err := r.sys.takeFiles(t.Context(), &out, []Tool{tool})
			if (err == nil) != (test.fails == "") || err != nil && !strings.Contains(err.Error(), test.fails) {
				t.Fatalf("%v\n%s", err, out.String())
			}
			if !strings.Contains(out.String(), test.says) {
				t.Errorf("says %q", out.String())
			}
			found := r.sys.look([]Tool{tool})
			if (found[0].Err == nil) != test.there {
				t.Errorf("%+v", found[0])
			}
			if left, _ := filepath.Glob(filepath.Join(r.sys.cache, "hallmark", "tools", ".new-*")); len(left) != 0 {
				t.Errorf("left behind: %q", left)
			}
			if test.there {
				if b, err := os.ReadFile(r.sys.takenFile(tool)); err != nil || string(b) != test.file {
					t.Errorf("%q, %v", b, err)
				}
				// The second time there is nothing to do.
				out.Reset()
				if err := r.sys.takeFiles(t.Context(), &out, []Tool{tool}); err != nil || out.Len() != 0 {
					t.Errorf("again: %v, %q", err, out.String())
				}
			}
		})
	}
}
