package boundaries

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hallmark-build/hallmark/signing/compat"
	"github.com/hallmark-build/hallmark/signing/key"
)

// Our signatures take nothing from a debugger or a profiler.
func TestExamine(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("objcopy"); err != nil {
		lacking(t, "objcopy is not installed (apt package binutils)")
	}
	k, err := key.Open(t.Context(), "dev", key.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	const rounds = 3
	e, err := examine(t.Context(), filepath.Join(t.TempDir(), "debugged"), k, rounds)
	if err != nil {
		t.Fatal(err)
	}
	if len(e.Observations) != 9 {
		t.Errorf("%d observations", len(e.Observations))
	}
	for _, o := range e.Observations {
		if strings.Contains(o.Err, "is not installed") {
			lacking(t, o.Err)
		}
		if o.Err != "" || o.Worse != "" || o.Profiling == nil || o.Profiling.Right != o.Profiling.Frames || (o.Debugging == nil) != o.Windows {
			t.Errorf("%s: %q, %q, %+v", o.Case, o.Err, o.Worse, o.Profiling)
			continue
		}
		if o.Windows {
			continue
		}
		if hits, runs := o.Debugging.Hits(); hits != runs || hits != rounds*4*20 || len(o.Debugging.Views) != rounds {
			t.Errorf("%s: %d hits, %d runs, %d views", o.Case, hits, runs, len(o.Debugging.Views))
		}
		for _, v := range o.Debugging.Views {
			if v.Seen != v.Own || v.Own <= 50 || !v.Memory || v.Torn {
				t.Errorf("%s: %+v", o.Case, v)
			}
		}
	}
	for _, c := range debuggingClaims(nil, e) {
		if c.Text == "" || c.Why == "" {
			t.Errorf("%+v", c)
		}
		if want := map[string]string{"C3": compat.NotMeasurable, "C8": compat.Refuted, "C9": compat.Refuted}[c.ID]; want != "" && c.Verdict != want {
			t.Errorf("%s is %s, want %s: %s", c.ID, c.Verdict, want, c.Why)
		}
		t.Logf("%s: %s: %s", c.ID, c.Verdict, c.Why)
	}
}

// lacking skips for want of a tool, or fails in a strict run.
func lacking(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv("HALLMARK_STRICT") == "1" {
		t.Fatal(reason)
	}
	t.Skip("SKIP: ", reason)
}
