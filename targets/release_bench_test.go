package targets_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/tools/txtar"
)

// BenchmarkRelease measures what a release of fzf costs above compiling it:
// four targets with archives, packages, signatures and all verification, in
// CPU seconds of all processes, against the bare `go build` of the same
// targets two at a time. Both sides take turns. It reports the median of each
// side and of the ratio.
//
//	go test ./targets -run '^$' -bench Release -benchtime 6x
func BenchmarkRelease(b *testing.B) {
	bin := b.TempDir()
	compile := exec.Command("go", "tool", "mage", "-compile", filepath.Join(bin, "mage"))
	compile.Dir = ".."
	if out, err := compile.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	dir := filepath.Join(b.TempDir(), "fzf")
	if err := fetchModule("github.com/junegunn/fzf@v0.65.2", "h1:Uz6Qey1K4JoGNMskYlwRDnGuCEu/sAh+NxQ4YdX3yn0=", dir); err != nil {
		b.Fatal(err)
	}
	script, err := txtar.ParseFile("../testdata/programs/fzf.txtar")
	if err != nil {
		b.Fatal(err)
	}
	for _, f := range script.Files {
		name := map[string]string{"gitignore": ".gitignore"}[f.Name]
		if name == "" {
			name = f.Name
		}
		if err := os.WriteFile(filepath.Join(dir, name), f.Data, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	r := &releaseBench{
		dir: dir, mage: filepath.Join(bin, "mage"), out: filepath.Join(b.TempDir(), "bare"),
		env: append(os.Environ(), "GOFLAGS=", "CI=true", "XDG_CONFIG_HOME="+b.TempDir(), "CGO_ENABLED=0"),
	}
	r.git(b, "init", "-q")
	r.commit(b)
	r.git(b, "tag", "v0.65.2")

	for _, s := range []struct {
		name    string
		prepare func(b *testing.B, cache *string)
	}{
		{"nothing-changed", func(*testing.B, *string) {}},
		{"warm-cache", func(b *testing.B, _ *string) { r.clean(b) }},
		{"line-edited", func(b *testing.B, _ *string) {
			name := filepath.Join(dir, "src", "options.go")
			text, err := os.ReadFile(name)
			if err != nil {
				b.Fatal(err)
			}
			text = append(text, "\nfunc added"+strings.ReplaceAll(time.Now().Format("150405.000000000"), ".", "")+"() int { return 1 }\n"...)
			if err := os.WriteFile(name, text, 0o644); err != nil {
				b.Fatal(err)
			}
			r.commit(b)
		}},
		{"cold-cache", func(b *testing.B, cache *string) { r.clean(b); *cache = b.TempDir() }},
	} {
		b.Run(s.name, func(b *testing.B) {
			r.bare(b, "")
			r.release(b, "")
			var bare, release, ratio []float64
			for b.Loop() {
				// Each side has what it needs to do prepared for it alone: an edit
				// that the other side has compiled would be in the cache.
				var cache string
				s.prepare(b, &cache)
				cpuBare := r.bare(b, cache)
				cache = ""
				s.prepare(b, &cache)
				cpuRelease := r.release(b, cache)
				bare, release = append(bare, cpuBare), append(release, cpuRelease)
				ratio = append(ratio, cpuRelease/cpuBare)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(bare), "bare-cpu-s")
			b.ReportMetric(median(release), "release-cpu-s")
			b.ReportMetric(median(ratio), "ratio")
		})
	}
}

type releaseBench struct {
	dir, mage, out string
	env            []string
}

// bare compiles the four targets two at a time and returns the CPU seconds.
func (r *releaseBench) bare(b *testing.B, cache string) float64 {
	b.Helper()
	var total float64
	for _, pair := range [][2]string{{"windows/amd64", "windows/arm64"}, {"linux/amd64", "linux/arm64"}} {
		var wg sync.WaitGroup
		var cpu [2]float64
		for i, platform := range pair {
			wg.Go(func() {
				goos, goarch, _ := strings.Cut(platform, "/")
				cpu[i] = r.run(b, []string{"GOOS=" + goos, "GOARCH=" + goarch}, cache, "go", "build", "-trimpath", "-buildvcs=true",
					"-ldflags=-s -w -X main.version=0.65.2", "-o", filepath.Join(r.out, goos+"_"+goarch, "fzf"), ".")
			})
		}
		wg.Wait()
		total += cpu[0] + cpu[1]
	}
	return total
}

func (r *releaseBench) release(b *testing.B, cache string) float64 {
	b.Helper()
	return r.run(b, nil, cache, r.mage, "release")
}

// run returns the CPU seconds of a command and of all that it started.
func (r *releaseBench) run(b *testing.B, env []string, cache, name string, args ...string) float64 {
	b.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = r.dir, append(slices.Clone(r.env), env...)
	if cache != "" {
		cmd.Env = append(cmd.Env, "GOCACHE="+cache)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Errorf("%s: %v\n%s", name, err, out)
	}
	return (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
}

// clean removes what both sides made.
func (r *releaseBench) clean(b *testing.B) {
	b.Helper()
	for _, dir := range []string{r.out, filepath.Join(r.dir, "dist")} {
		if err := os.RemoveAll(dir); err != nil {
			b.Fatal(err)
		}
	}
}

func (r *releaseBench) git(b *testing.B, args ...string) {
	b.Helper()
	cmd := exec.Command("git", append([]string{"-c", "user.name=Ann", "-c", "user.email=ann@example.com"}, args...)...)
	cmd.Dir = r.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("git %s: %v\n%s", args[0], err, out)
	}
}

func (r *releaseBench) commit(b *testing.B) {
	b.Helper()
	r.git(b, "add", "-A")
	r.git(b, "commit", "-q", "-m", "change")
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
