package bench

import (
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hallmark-build/hallmark/build"
)

// tool skips the test when a program is missing.
func tool(t *testing.T, name, packages string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		report := t.Skipf
		if os.Getenv("HALLMARK_STRICT") == "1" {
			report = t.Fatalf
		}
		report("SKIP: %s missing: apt package %s", name, packages)
	}
	return path
}

// wrapper writes a C compiler that runs gcc after a line of shell.
func wrapper(t *testing.T, name, line string) Extra {
	t.Helper()
	gcc := tool(t, "x86_64-linux-gnu-gcc", "gcc")
	file := filepath.Join(t.TempDir(), name)
	script := fmt.Sprintf("#!/bin/sh\n%s\nexec %s \"$@\"\n", line, gcc)
	if err := os.WriteFile(file, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return Extra{Name: name, CC: file, Targets: []string{"linux/amd64"}}
}

// planted is how long the slow compiler sleeps when it compiles the program's C file, and not when the cgo tool asks it
// about types: enough to be told from the noise of a machine on
// which other tests run.
const planted = 2.0

// TestToolchains measures gcc as it is, gcc with a sleep before it compiles a file, and one that fails when it links. The
// sleep must be found in the phase of C compilation, and in no other; the failure is told, and keeps nobody from being
// measured.
func TestToolchains(t *testing.T) {
	t.Parallel()
	slow := wrapper(t, "slow", fmt.Sprintf(`case "$*" in *checksum.c*) sleep %v;; esac`, planted))
	failing := wrapper(t, "failing", `case "$*" in *go.o*) echo "collect2: out of order" >&2; exit 1;; esac`)
	var lines []string
	r, err := Toolchains(t.Context(), ToolchainOptions{
		Config: Config{Targets: []string{"linux/amd64"}, Compilers: []string{"gcc", "slow", "failing"}, Linkers: []string{"bfd"}, Extra: []Extra{slow, failing},
			Scenarios: []Scenario{CChanged}, Budget: "1s"},
		Size: Quick, Seed: 7, Log: func(format string, arg ...any) { lines = append(lines, fmt.Sprintf(format, arg...)) },
	})
	if err != nil {
		t.Fatal(err)
	}
	find := func(compiler string) *Series {
		for i := range r.Series {
			if r.Series[i].Dimensions.Get("compiler") == compiler {
				return &r.Series[i]
			}
		}
		t.Fatalf("%s is not in the result; said: %q, notes %q", compiler, lines, r.Notes)
		return nil
	}
	gcc, sleepy, failed := find("gcc"), find("slow"), find("failing")
	if failed.Status != Failed || !strings.Contains(failed.Output, "out of order") || len(failed.Samples) > 0 {
		t.Errorf("the failing compiler: %+v", failed)
	}
	if len(gcc.Samples) < MinRuns || len(sleepy.Samples) < MinRuns {
		t.Fatalf("%d and %d runs", len(gcc.Samples), len(sleepy.Samples))
	}
	if c := Compare(gcc.Values(PhaseCC.Unit()), sleepy.Values(PhaseCC.Unit())); !c.Real || c.Ratio() < 1 {
		t.Errorf("the slow compiler is not found: %s", c)
	}
	// The quickest of the runs: other load makes a phase longer, never shorter than the sleep that is in it.
	for _, p := range Phases() {
		if least := slices.Min(sleepy.Values(p.Unit())); (least > planted*0.9) != (p == PhaseCC) {
			t.Errorf("phase %s took at least %.2f s; the compiler sleeps %v s", p, least, planted)
		}
	}
	if least := slices.Min(gcc.Values(PhaseCC.Unit())); least > planted/2 {
		t.Errorf("gcc took at least %.2f s, as if it slept too", least)
	}
	// What the phases add up to.
	for _, s := range gcc.Samples {
		wall, cpu := 0.0, 0.0
		for _, p := range Phases() {
			wall += s[p.Unit()]
			cpu += s[p.CPUUnit()]
		}
		if math.Abs(wall-s[UnitWall]) > 0.01*s[UnitWall] || math.Abs(cpu-s[UnitCPU]) > 0.05*s[UnitCPU] {
			t.Errorf("phases of %.3f s and %.3f s of CPU in a build of %.3f s and %.3f s: %v", wall, cpu, s[UnitWall], s[UnitCPU], s)
		}
		if s[PhaseCC.Unit()] <= 0 || s[PhaseCgo.Unit()] <= 0 || s[PhaseLink.Unit()] <= 0 || s[PhaseCompile.Unit()] <= 0 || s[UnitPeak] < 1<<20 {
			t.Errorf("a phase is missing: %v", s)
		}
	}
	if r.Method.Seed != 7 || len(r.Programs) != 1 || r.Programs[0].Name != "small" || r.Machine.Cores == 0 {
		t.Errorf("%+v %+v", r.Method, r.Programs)
	}
	benchstat(t, r, gcc)
}

// benchstat has benchstat read the result, which must find our median.
func benchstat(t *testing.T, r *Result, s *Series) {
	text, err := r.GoBenchmarks()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "r.txt")
	if err := os.WriteFile(file, text, 0o666); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "go", "run", "golang.org/x/perf/cmd/benchstat", "-format=csv", file).Output()
	if err != nil {
		t.Fatalf("benchstat: %v", err)
	}
	m := Summarize(s.Values(UnitWall))
	for line := range strings.Lines(string(out)) {
		name, rest, _ := strings.Cut(line, ",")
		var median float64
		if strings.HasPrefix(name, "Build/"+s.Dimensions.String()) {
			if fmt.Sscanf(rest, "%g", &median); math.Abs(median-m.Median) > 1e-6*m.Median {
				t.Errorf("benchstat's median is %v, ours %v", median, m.Median)
			}
			return
		}
	}
	t.Errorf("benchstat does not list %s:\n%s", s.Dimensions, out)
}

// TestRefused has mingw's gcc asked for lld where it cannot find it: it links with GNU ld and says nothing.
func TestRefused(t *testing.T) {
	t.Parallel()
	ld := tool(t, "x86_64-w64-mingw32-ld", "binutils-mingw-w64-x86-64")
	tool(t, "x86_64-w64-mingw32-gcc", "gcc-mingw-w64-x86-64")
	if _, err := os.Stat(ld + ".lld"); err == nil {
		t.Skipf("mingw's gcc finds %s.lld", ld)
	}
	p := build.Platform{OS: "windows", Arch: "amd64"}
	compilers, _ := build.Compilers(t.Context(), p)
	i := 0
	for compilers[i].Name != "mingw" {
		i++
	}
	cc := compilers[i]
	// In a run it is not even tried.
	if _, err := cc.Linker(t.Context(), "lld"); err == nil || !strings.Contains(err.Error(), ld+".lld") {
		t.Errorf("asked for lld: %v", err)
	}
	s := testSession(t)
	c := testJob(t, s, &toolchain{platform: p, compiler: "mingw", linker: "lld", cc: &cc, ld: build.Linker{Name: "lld"}}, Relink)
	_, err := s.once(t.Context(), c, false)
	if err == nil {
		t.Fatal("a program linked by GNU ld passed for one linked by LLD")
	}
	if c.fail(err); c.series.Status != Refused || !strings.Contains(c.series.Reason, "linked by bfd, not by lld as asked for") {
		t.Errorf("%+v", c.series)
	}
	// Its twin, asked for what it does.
	c.toolchain.linker, c.series = "bfd", &Series{}
	if _, err := s.once(t.Context(), c, false); err != nil {
		t.Error(err)
	}
}

// testSession opens a session without a plan.
func testSession(t *testing.T) *session {
	t.Helper()
	root := t.TempDir()
	s := &session{root: root, result: &Result{Machine: Machine{Cores: 2}}, noted: map[string]bool{}, options: ToolchainOptions{Log: t.Logf, Size: Quick}}
	list, err := ownPrograms(t.Context(), filepath.Join(root, "src"))
	if err != nil {
		t.Fatal(err)
	}
	small := &list[0]
	if err := small.inspect(t.Context(), build.Platform{OS: "linux", Arch: "amd64"}, filepath.Join(root, "modules")); err != nil {
		t.Fatal(err)
	}
	if !small.hasC || filepath.Base(small.goSrc) != "main.go" || filepath.Base(small.cSrc) != "checksum.c" {
		t.Fatalf("%+v", small)
	}
	s.sources = []*Source{small}
	return s
}

// testJob plans one job of the small program.
func testJob(t *testing.T, s *session, tc *toolchain, scenario Scenario) *job {
	t.Helper()
	s.options.Scenarios = []Scenario{scenario}
	if err := s.planProgram(t.Context(), s.sources[0], tc, nil); err != nil {
		t.Fatal(err)
	}
	return s.jobs[len(s.jobs)-1]
}

// TestProfile has the shim see what the kernel counts: its records and the go command's own time make the whole, and what
// it calls the link's parts make the link.
func TestProfile(t *testing.T) {
	t.Parallel()
	tool(t, "x86_64-linux-gnu-gcc", "gcc")
	p := build.Platform{OS: "linux", Arch: "amd64"}
	compilers, _ := build.Compilers(t.Context(), p)
	cc := compilers[0]
	ld, err := cc.Linker(t.Context(), "bfd")
	if err != nil {
		t.Fatal(err)
	}
	s := testSession(t)
	if s.shim, err = buildShim(t.Context(), filepath.Join(s.root, "shim")); err != nil {
		t.Fatal(err)
	}
	c := testJob(t, s, &toolchain{platform: p, compiler: cc.Name, linker: "bfd", cc: &cc, ld: ld}, CChanged)
	if _, err := s.once(t.Context(), c, false); err != nil {
		t.Fatal(err)
	}
	sample, err := s.once(t.Context(), c, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []Phase{PhaseCgo, PhaseCC, PhaseCompile, PhaseLink, PhaseGoLink, PhaseProbes, PhaseHostLink} {
		if sample[p.Unit()] <= 0 || sample[p.CPUUnit()] <= 0 || sample[p.PeakUnit()] < 1<<20 {
			t.Errorf("%s: %v s, %v s of CPU, %v bytes", p, sample[p.Unit()], sample[p.CPUUnit()], sample[p.PeakUnit()])
		}
	}
	parts := 0.0
	for _, p := range LinkPhases() {
		parts += sample[p.CPUUnit()]
	}
	if link := sample[PhaseLink.CPUUnit()]; math.Abs(parts-link) > 0.02*link {
		t.Errorf("the link took %v s of CPU, its parts %v s", link, parts)
	}
	// The link line by itself makes a program that the same linker made, and runs.
	c.scenario = Relink
	l, err := s.linkLine(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if sample, err := l.once(t.Context()); err != nil || sample[UnitWall] <= 0 {
		t.Errorf("%v, %v", sample, err)
	}
	if out, err := exec.CommandContext(t.Context(), l.output).CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "checksum by C ") {
		t.Errorf("what was linked says %q, %v", out, err)
	}
}

// TestInterrupted ends a run after its first rounds.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := Toolchains(ctx, ToolchainOptions{
		Config: Config{Targets: []string{"linux/amd64"}, Compilers: []string{"none"}, Scenarios: []Scenario{Relink, Nothing}},
		Size:   Quick, Log: func(format string, arg ...any) {
			if line := fmt.Sprintf(format, arg...); strings.HasPrefix(line, "round 3 ") {
				cancel()
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.Incomplete != "interrupted after 2 of 6 rounds" || len(r.Series) != 2 {
		t.Fatalf("incomplete: %q, %d series", r.Incomplete, len(r.Series))
	}
	for _, s := range r.Series {
		if s.Status != Measured || len(s.Samples) != 2 {
			t.Errorf("%s: %s, %d samples", s.Dimensions, s.Status, len(s.Samples))
		}
	}
	file := filepath.Join(t.TempDir(), "r.json")
	if err := r.Write(file); err != nil {
		t.Fatal(err)
	}
	if again, err := Read(file); err != nil || again.Incomplete != r.Incomplete {
		t.Errorf("%v", err)
	}
	if text := string(r.Text()); !strings.HasPrefix(text, "INCOMPLETE: interrupted after 2 of 6 rounds") {
		t.Errorf("the table begins with %.80q", text)
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "hallmark-bench-*", "caches", "small_linux_amd64_none*")); len(left) > 0 {
		t.Logf("other runs at the same time, or left behind: %q", left)
	}
}
