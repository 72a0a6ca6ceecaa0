package boundaries

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/hallmark-build/hallmark/build"
	"github.com/hallmark-build/hallmark/signing"
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
	b, err := debugBuilds(t.Context(), filepath.Join(t.TempDir(), "debugged"), k)
	if err != nil {
		t.Fatal(err)
	}
	b.Rounds = rounds
	e, err := compat.Observe(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	if len(e.Observations) != 8 {
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
	for _, f := range compat.Findings(nil, e) {
		if want := map[string]string{"C3": compat.NotMeasurable, "C8": compat.Refuted, "C9": compat.Refuted}[f.Claim]; want != "" && f.Verdict != want {
			t.Errorf("%s is %s, want %s: %s", f.Claim, f.Verdict, want, f.Why)
		}
		t.Logf("%s: %s: %s", f.Claim, f.Verdict, f.Why)
	}
}

// debugBuilds builds the program of compat.DebuggedSource as a release is built, for
// this machine and for Windows, signs it by each scheme that signs inside the
// file, and takes its symbols off into a file beside it.
func debugBuilds(ctx context.Context, dir string, k *key.Key) (compat.Builds, error) {
	b := compat.Builds{ELFAfter: map[string]string{}, PEAfter: map[string]string{}}
	if err := os.RemoveAll(dir); err != nil {
		return b, err
	}
	source := filepath.Join(dir, "source")
	if err := os.MkdirAll(source, 0o755); err != nil {
		return b, err
	}
	for name, text := range map[string]string{"go.mod": "module example.com/debugged\n\ngo 1.24\n", compat.DebuggedFile: compat.DebuggedSource()} {
		if err := os.WriteFile(filepath.Join(source, name), []byte(text), 0o644); err != nil {
			return b, err
		}
	}
	src, err := build.ReadSource(ctx, source)
	if err != nil {
		return b, err
	}
	src.Revision, src.Modified = "", false // whichever checkout the folder may be in
	builder, err := build.NewBuilder(ctx, src)
	if err != nil {
		return b, err
	}
	compile := func(name string, p build.Platform) (string, error) {
		bin, err := builder.Compile(ctx, build.Target{Program: "debugged", Package: ".", Platform: p, Toolchain: "none"}, filepath.Join(dir, name))
		return bin.Path, err
	}
	if b.ELF, err = compile("debugged", build.Platform{OS: "linux", Arch: runtime.GOARCH}); err != nil {
		return b, err
	}
	if b.PE, err = compile("debugged.exe", build.Platform{OS: "windows", Arch: "amd64"}); err != nil {
		return b, err
	}
	stripped := filepath.Join(dir, "stripped")
	if err := compat.SplitDebug(ctx, b.ELF, stripped); err != nil {
		return b, err
	}
	b.ELFAfter["stripped, with a symbol file"] = stripped
	for _, job := range []struct {
		scheme    signing.Scheme
		src, name string
		after     map[string]string
	}{
		{signing.Appended{}, b.ELF, "appended", b.ELFAfter},
		{signing.Section{}, b.ELF, "section", b.ELFAfter},
		{signing.Appended{}, stripped, "stripped, appended", b.ELFAfter},
		{signing.Section{}, stripped, "stripped, section", b.ELFAfter},
		{signing.Authenticode{}, b.PE, "authenticode", b.PEAfter},
	} {
		dst := filepath.Join(dir, job.name)
		if _, err := job.scheme.Sign(ctx, job.src, dst, k, nil); err != nil {
			return b, err
		}
		job.after[job.name] = dst
	}
	return b, nil
}

// lacking skips for want of a tool, or fails in a strict run.
func lacking(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv("HALLMARK_STRICT") == "1" {
		t.Fatal(reason)
	}
	t.Skip("SKIP: ", reason)
}
