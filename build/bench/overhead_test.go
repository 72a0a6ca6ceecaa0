package bench

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hallmark-build/hallmark/build"
)

// relinkJob prepares a relink of the small program by gcc and GNU ld.
func relinkJob(b *testing.B) (*session, *job) {
	p := build.Platform{OS: "linux", Arch: "amd64"}
	compilers, _ := build.Compilers(b.Context(), p)
	if len(compilers) == 0 || compilers[0].Name != "gcc" {
		b.Skip("SKIP: gcc missing: apt package gcc")
	}
	cc := compilers[0]
	ld, err := cc.Linker(b.Context(), "bfd")
	if err != nil {
		b.Skip(err)
	}
	root := b.TempDir()
	s := &session{root: root, result: &Result{Machine: Machine{Cores: 2}}, noted: map[string]bool{}, options: ToolchainOptions{Log: b.Logf, Size: Quick}}
	list, err := ownPrograms(b.Context(), filepath.Join(root, "src"))
	if err != nil {
		b.Fatal(err)
	}
	s.sources = []*Source{&list[0]}
	if err := list[0].inspect(b.Context(), p, filepath.Join(root, "modules")); err != nil {
		b.Fatal(err)
	}
	s.options.Scenarios = []Scenario{Relink}
	if err := s.planProgram(b.Context(), s.sources[0], &toolchain{platform: p, compiler: "gcc", linker: "bfd", cc: &cc, ld: ld}, nil); err != nil {
		b.Fatal(err)
	}
	c := s.jobs[0]
	for range 2 {
		if _, err := s.once(b.Context(), c, false); err != nil {
			b.Fatal(err)
		}
	}
	return s, c
}

// bare returns the same build as the job's without us: plain go build, started as any program starts another.
func (c *job) bare(ctx context.Context) *exec.Cmd {
	args := append(slices.Clone(c.command.args[1:]), "-o", c.output(), c.source.Package)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = c.source.Dir
	cmd.Env = append(slices.Clone(c.command.env), "GOCACHE="+c.group.cache, "GOTMPDIR="+c.group.temp)
	return cmd
}

// BenchmarkTimedRun shows what a timed run costs beyond the same go build without us, by pairs of which either comes first
// in turn:
//
//	go test ./build/bench -run '^$' -bench TimedRun -benchtime 40x
//
// cost-% is the median of the pairs' differences in CPU time, which other load spoils less; wall-% the same of wall-clock
// time. lo-% and hi-% are the ends of the 95 % interval of cost-%.
func BenchmarkTimedRun(b *testing.B) {
	s, c := relinkJob(b)
	var cpu, wall []float64
	for i := 0; b.Loop(); i++ {
		var ours Sample
		var theirs usage
		runs := []func(){
			func() {
				var err error
				if ours, err = s.once(b.Context(), c, false); err != nil {
					b.Fatal(err)
				}
			},
			func() {
				if err := os.Remove(c.output()); err != nil {
					b.Fatal(err)
				}
				var err error
				if theirs, err = measure(c.bare(b.Context()), nil); err != nil {
					b.Fatal(err)
				}
			},
		}
		runs[i%2]()
		runs[1-i%2]()
		cpu = append(cpu, 100*(ours[UnitCPU]/theirs.cpu-1))
		wall = append(wall, 100*(ours[UnitWall]/theirs.wall-1))
	}
	sum := Summarize(cpu)
	b.ReportMetric(sum.Median, "cost-%")
	if sum.Known {
		b.ReportMetric(sum.Lo, "lo-%")
		b.ReportMetric(sum.Hi, "hi-%")
	}
	b.ReportMetric(Summarize(wall).Median, "wall-%")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkHyperfine has hyperfine time the same build as we do, and tells both medians:
//
//	go test ./build/bench -run '^$' -bench Hyperfine -benchtime 20x
//
// agree is 1 when hyperfine's median lies in our 95 % interval.
func BenchmarkHyperfine(b *testing.B) {
	hyperfine, err := exec.LookPath("hyperfine")
	if err != nil {
		b.Skip("SKIP: hyperfine missing: apt package hyperfine")
	}
	s, c := relinkJob(b)
	for b.Loop() {
		sample, err := s.once(b.Context(), c, false)
		if err != nil {
			b.Fatal(err)
		}
		c.series.Samples = append(c.series.Samples, sample)
	}
	bare := c.bare(b.Context())
	quoted := make([]string, len(bare.Args))
	for i, a := range bare.Args {
		quoted[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
	}
	report := filepath.Join(b.TempDir(), "hyperfine.json")
	cmd := exec.Command(hyperfine, "--runs", strconv.Itoa(max(10, b.N)), "--warmup", "1", "--style", "none", "--export-json", report,
		"--prepare", "rm -f "+c.output(), strings.Join(quoted, " "))
	cmd.Dir, cmd.Env = bare.Dir, bare.Env
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("hyperfine: %v: %s", err, out)
	}
	data, err := os.ReadFile(report)
	if err != nil {
		b.Fatal(err)
	}
	var theirs struct{ Results []struct{ Median float64 } }
	if err := json.Unmarshal(data, &theirs); err != nil || len(theirs.Results) != 1 {
		b.Fatalf("hyperfine's report: %v: %s", err, data)
	}
	ours := Summarize(c.series.Values(UnitWall))
	median := theirs.Results[0].Median
	agree := 0.0
	if ours.Lo <= median && median <= ours.Hi {
		agree = 1
	}
	b.ReportMetric(ours.Median, "ours-sec")
	b.ReportMetric(median, "hyperfine-sec")
	b.ReportMetric(100*math.Abs(median/ours.Median-1), "apart-%")
	b.ReportMetric(agree, "agree")
	b.ReportMetric(0, "ns/op")
}
