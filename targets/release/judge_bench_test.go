package release

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-build/hallmark/signing/compat"
)

// BenchmarkVerify measures what it costs to judge a release of four programs
// and four packages by every judge that is installed, against the slowest of
// them alone with all files that are its own. It reports the medians of both
// and of the ratio, and logs what each judge takes alone.
//
//	go test ./targets/release -run '^$' -bench Verify -benchtime 6x
func BenchmarkVerify(b *testing.B) {
	dir := b.TempDir()
	for name, text := range map[string]string{
		"go.mod":  "module example.com/notes\n\ngo 1.24\n",
		"main.go": "package main\n\nfunc main() { println(\"notes\") }\n",
		ConfigFile: `name: notes
version: 1.0.0
targets: [{platform: linux/amd64}, {platform: linux/arm64}, {platform: windows/amd64}, {platform: windows/arm64}]
packages: [deb, rpm]
maintainer: Ann Author <ann@example.com>
description: Notes
sign: {elf: [appended, verity, ima], files: [p7s, bundle], sums: [p7s, bundle], packages: [deb, rpm]}
`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	o := Options{Dir: dir, KeyDir: b.TempDir()}
	if err := Run(b.Context(), o); err != nil {
		b.Fatal(err)
	}
	c, err := Load(dir)
	if err != nil {
		b.Fatal(err)
	}
	w, err := openWorkspace(o, filepath.Join(dir, c.Dist), false)
	if err != nil {
		b.Fatal(err)
	}
	defer w.close()
	if err := w.inspect(b.Context()); err != nil {
		b.Fatal(err)
	}
	if err := w.begin(); err != nil {
		b.Fatal(err)
	}
	a, err := shippedAnchors(b.Context(), c, o, w)
	if err != nil {
		b.Fatal(err)
	}
	files := w.prev.of(KindBinary, KindPackage)
	if len(files) != 8 {
		b.Fatalf("%d programs and packages", len(files))
	}

	all := newCourt("own", c, o, a)
	all.again = true
	var names []string
	for _, j := range all.judges {
		if _, err := j.FindKey(); err != nil {
			b.Logf("%s is not here: %v", j.Name, err)
		} else if !slices.Contains(names, j.Name) {
			names = append(names, j.Name)
		}
	}
	// judge returns the seconds that a court takes, and how many verdicts it gave.
	judge := func(ct *court) (float64, int) {
		start := time.Now()
		results, err := ct.judgeAll(b.Context(), slices.Clone(w.prev.Artifacts), w, nil)
		if err != nil {
			b.Fatal(err)
		}
		return time.Since(start).Seconds(), count(results).pass
	}
	// alone returns the seconds that one judge takes for its files.
	alone := func(name string) (float64, int) {
		one := newCourt("own", c, o, a)
		one.judges = slices.DeleteFunc(one.judges, func(j compat.Judge) bool { return j.Name != name })
		todo := make([]int, 0, len(w.prev.Artifacts))
		for i, e := range w.prev.Artifacts {
			if slices.ContainsFunc(one.judges, func(j compat.Judge) bool { return slices.Contains(one.schemesOf(e), j.Scheme) }) {
				todo = append(todo, i)
			}
		}
		start := time.Now()
		found, err := one.askForeign(b.Context(), w.prev.Artifacts, todo, w)
		if err != nil {
			b.Fatal(err)
		}
		seconds, n := time.Since(start).Seconds(), 0
		for _, results := range found {
			n += count(results).pass
		}
		return seconds, n
	}
	took := map[string][]float64{}
	verdicts := map[string]int{}
	var whole, slowest, ratio []float64
	passed := 0
	for b.Loop() {
		var s, most float64
		s, passed = judge(all)
		for _, name := range names {
			t, n := alone(name)
			if verdicts[name] = n; n == 0 {
				continue
			}
			took[name] = append(took[name], t)
			most = max(most, t)
		}
		whole, slowest, ratio = append(whole, s), append(slowest, most), append(ratio, s/most)
	}
	var each []string
	for _, name := range names {
		if verdicts[name] > 0 {
			each = append(each, fmt.Sprintf("%s %.3f s for %d", name, middle(took[name]), verdicts[name]))
		}
	}
	b.Log("alone: " + strings.Join(each, "; ")) // in one line: the testing package cuts long logs short
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(passed), "verdicts")
	b.ReportMetric(middle(whole), "all-s")
	b.ReportMetric(middle(slowest), "slowest-s")
	b.ReportMetric(middle(ratio), "ratio")
}

// middle returns the median.
func middle(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
