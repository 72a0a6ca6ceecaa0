package bench

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-build/hallmark/targets/page/pagetest"
)

// synthetic makes a result of builds whose phases are known: those of series n are base×factor(n), in spread of a
// hundredth. All of it comes from the seed.
func synthetic(seed uint64) *Result {
	rnd := rand.New(rand.NewPCG(seed, 1))
	r := &Result{
		Kind: KindToolchains, Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Elapsed: 347,
		Programs: []Program{{Name: "small", Description: "a program of ours with <b>cgo</b>", Digest: strings.Repeat("ab", 32)}},
		Machine: Machine{OS: "linux", Arch: "amd64", Distribution: "Debian GNU/Linux 12 (bookworm)", Kernel: "6.1.0-40-amd64", CPU: "Example CPU @ 2.40GHz", Cores: 2,
			Memory: 8 << 30, Go: "go1.26.8", FileSystems: []FileSystem{{"source", "ext4"}, {"GOCACHE", "tmpfs"}}, LoadBefore: 0.25, LoadAfter: 2.5},
		Method: Method{Size: "default", Seed: seed, MinRuns: 6, MaxRuns: 20, Warmups: 1, Width: 0.05, Confidence: 0.95, Budget: 360, Interleaved: true},
		Notes:  []string{"the load before the run was 0.25"},
	}
	toolchains := []struct {
		target, compiler, linker string
		factor, host             float64
	}{
		{"windows/amd64", "mingw", "bfd", 1, 3.1}, {"windows/amd64", "clang 19", "lld", 0.9, 0.3},
		{"linux/amd64", "gcc", "bfd", 1.02, 3.2}, {"linux/amd64", "gcc", "mold", 1.02, 0.6}, {"linux/amd64", "clang 19 with link-time optimization", "lld", 1.2, 0.5},
	}
	for _, scenario := range []struct {
		name string
		work float64
	}{{"cold", 8}, {"relink", 0.2}} {
		for _, t := range toolchains {
			s := Series{Dimensions: Dimensions{{"program", "small"}, {"scenario", scenario.name}, {"target", t.target}, {"compiler", t.compiler}, {"linker", t.linker}, {"go", "go1.26.8"}},
				Status: Measured, Tools: []Tool{{"compiler", t.compiler, "12.2.0", "/usr/bin/cc"}, {"linker", t.linker, "2.40", ""}}}
			for range 8 {
				s.Samples = append(s.Samples, syntheticBuild(rnd, scenario.work*t.factor, t.host))
				s.Profile = append(s.Profile, Sample{PhaseGoLink.Unit(): 2.5, PhaseProbes.Unit(): 0.1, PhaseHostLink.Unit(): t.host, PhaseHostLink.PeakUnit(): 1 << 28})
			}
			r.Series = append(r.Series, s)
		}
	}
	d := r.Series[0].Dimensions
	r.Series = append(r.Series,
		Series{Dimensions: d.With("linker", "lld"), Status: Refused, Reason: "bfd linked it, though lld was asked for: mingw gcc falls back when x86_64-w64-mingw32-ld.lld is missing"},
		Series{Dimensions: d.With("compiler", "clang 14"), Status: Impossible, Reason: "it does not find the libgcc of MinGW"},
		Series{Dimensions: d.With("compiler", "cc 1"), Status: Failed, Reason: "the C compiler failed", Output: "main.c:1:1: error: <unknown> type"})
	r.Claims = []Claim{
		{"C2-faster", "Clang builds faster", Confirmed, "small cold: 3.1 s against 9.7 s"},
		{"C2-share", "with a smaller share of linking", Depends, "in relink, not in cold"},
		{"C2-lld", "because of LLD", Refuted, "with bfd, too"},
		{"C1", "WSL2 is faster", NotMeasurable, "this machine has no WSL"},
		{"C0", "nothing", Undecided, "p = 0.4"}}
	return r
}

// syntheticBuild is a sample in which phases add up to the whole.
func syntheticBuild(rnd *rand.Rand, work, host float64) Sample {
	m := Sample{UnitPeak: 512 << 20}
	for _, p := range []struct {
		phase   Phase
		seconds float64
	}{{PhaseCgo, 0.1 * work}, {PhaseCC, 0.5 * work}, {PhaseCompile, 0.4 * work}, {PhaseLink, 2.6 + host}, {PhaseOther, 0.1}} {
		v := p.seconds * (1 + 0.01*rnd.Float64())
		m[p.phase.Unit()], m[p.phase.CPUUnit()] = v, v*1.1
		m[UnitWall] += v
		m[UnitCPU] += v * 1.1
	}
	return m
}

func TestPage(t *testing.T) {
	t.Parallel()
	r := synthetic(1)
	r.Incomplete = "interrupted"
	html, err := r.HTML()
	if err != nil {
		t.Fatal(err)
	}
	if dir := os.Getenv("PAGE_OUT"); dir != "" {
		os.WriteFile(dir, html, 0o644)
	}
	checkPage(t, html)
	for _, want := range []string{
		"interrupted", "&lt;b&gt;cgo", "mingw", "p&lt;0.001", "Share of linking", "not measurable here", "depends",
		"bfd linked it", "it does not find the libgcc", "main.c:1:1: error: &lt;unknown&gt; type",
		"seed 1", "Debian GNU/Linux 12", "file system of GOCACHE", "the load before the run", "C linker", "linker probes",
	} {
		if !bytes.Contains(html, []byte(want)) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

// checkPage looks for what would make a page need more than itself, and reads each drawing as XML.
func checkPage(t *testing.T, html []byte) {
	t.Helper()
	for _, bad := range []string{"<script", "<link", "<img", "@import", "url(", "src=", "NaN", "Inf", "%!", "ZgotmplZ"} {
		if bytes.Contains(html, []byte(bad)) {
			t.Errorf("the page has %q", bad)
		}
	}
	for _, u := range regexp.MustCompile(`https?://[^"<\s]*`).FindAllString(string(html), -1) {
		if u != "http://www.w3.org/2000/svg" { // a name, not an address
			t.Errorf("the page names %s", u)
		}
	}
	drawings := regexp.MustCompile(`(?s)<svg.*?</svg>`).FindAll(html, -1)
	if len(drawings) == 0 {
		t.Error("the page has no chart")
	}
	for _, svg := range drawings {
		d := xml.NewDecoder(bytes.NewReader(svg))
		for {
			if _, err := d.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("a chart is not XML: %v", err)
			}
		}
	}
}

// A bar is as long as its value, the parts of a link as long as the instrumented runs say.
func TestChartGeometry(t *testing.T) {
	t.Parallel()
	bars := []bar{
		{Label: "a & <b>", Value: "1 s", Segments: []float64{1, 1}, Total: Summary{N: 6, Median: 2, Lo: 1.5, Hi: 2.5, Known: true}},
		{Label: "b", Value: "4 s", Segments: []float64{3, 1}, Total: Summary{N: 1, Median: 4}},
	}
	svg, err := drawBars(wideChart, bars, UnitWall)
	if err != nil {
		t.Fatal(err)
	}
	widths := map[string][]float64{}
	for _, m := range regexp.MustCompile(`d="M([\d.]+),[\d.]+L[\d.]+,[\d.]+L([\d.]+),[^"]*Z"\s*style="fill:var\(--s(\d)\)`).FindAllStringSubmatch(string(svg), -1) {
		var from, to float64
		fmt.Sscan(m[1], &from)
		fmt.Sscan(m[2], &to)
		widths[m[3]] = append(widths[m[3]], to-from)
	}
	// From the bottom: b is drawn first.
	if len(widths["0"]) != 2 || len(widths["1"]) != 2 {
		t.Fatalf("segments %v in\n%s", widths, svg)
	}
	for _, c := range []struct{ got, want float64 }{{widths["0"][0] / widths["0"][1], 3}, {widths["1"][0] / widths["1"][1], 1}, {widths["0"][1] / widths["1"][1], 1}} {
		if c.got < 0.99*c.want || c.got > 1.01*c.want {
			t.Errorf("a segment is %.3f times as long as another, want %v", c.got, c.want)
		}
	}
	if !strings.Contains(string(svg), "a &amp; &lt;b&gt;") {
		t.Error("a label is not escaped")
	}
	if n := strings.Count(string(svg), "stroke:var(--ink)"); n == 0 {
		t.Error("there is no whisker")
	}
	for _, c := range regexp.MustCompile(`#[0-9a-fA-F]{6}|font-family|pt"`).FindAllString(string(svg), -1) {
		t.Errorf("the chart has a %s of its own", c)
	}
}

func TestSegments(t *testing.T) {
	t.Parallel()
	s := Series{Samples: []Sample{{UnitWall: 10, PhaseCC.Unit(): 4, PhaseLink.Unit(): 6}},
		Profile: []Sample{{PhaseGoLink.Unit(): 6, PhaseProbes.Unit(): 0, PhaseHostLink.Unit(): 3}}}
	got := map[Phase]float64{}
	for i, v := range segments(&s) {
		got[parts()[i].phase] = v
	}
	if got[PhaseCC] != 4 || got[PhaseGoLink] != 4 || got[PhaseHostLink] != 2 || got[PhaseLink] != 0 {
		t.Errorf("segments %v", got)
	}
	s.Profile = nil
	if vs := segments(&s); vs[3] != 6 {
		t.Errorf("a link that is not split: %v", vs)
	}
	if vs := segments(&Series{Samples: []Sample{{UnitWall: 3}}}); vs[len(vs)-1] != 3 {
		t.Errorf("without phases: %v", vs)
	}
}

func TestFormatTick(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		unit string
		v    float64
		want string
	}{{UnitWall, 0, "0"}, {UnitWall, 1, "1 s"}, {UnitWall, 0.5, "500 ms"}, {UnitWall, 1.25, "1.25 s"}, {UnitWall, 2.5, "2.5 s"}, {UnitRequests, 10000, "10k"},
		{UnitRequests, 12500, "12.5k"}, {UnitPeak, 20 << 20, "20 MiB"}, {UnitRaces, 100, "100"}, {UnitWall, 100, "100 s"}} {
		if got := formatTick(c.unit, c.v); got != c.want {
			t.Errorf("%v %s: %q, want %q", c.v, c.unit, got, c.want)
		}
	}
	for _, hi := range []float64{1e-9, 0.3, 1, 14.1, 99, 1e9} {
		if step := tickStep(hi, 5); hi/step > 5.0001 || hi/step < 1.9 {
			t.Errorf("%v in steps of %v", hi, step)
		}
	}
}

func TestFormatValue(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		unit string
		v    float64
		want string
	}{
		{UnitWall, 4.2149, "4.21 s"}, {UnitWall, 0.31, "310 ms"}, {UnitWall, 0.9996, "1.00 s"}, {UnitWall, 123.4, "123 s"}, {"p99-sec/op", 2.5e-6, "2.50 µs"},
		{UnitWall, 0, "0"}, {UnitPeak, 512 << 20, "512 MiB"}, {UnitPeak, 1.2 * (1 << 30), "1.20 GiB"}, {"requests/s", 12345.6, "12.3k"}, {"races", 12, "12"}, {"races", 12.5, "12.5"},
	} {
		if got := formatValue(c.unit, c.v); got != c.want {
			t.Errorf("%v %s: %q, want %q", c.v, c.unit, got, c.want)
		}
	}
}

// The pages fit a telephone and a desktop, in light and dark, and ask the network for nothing.
func TestPageInBrowser(t *testing.T) {
	t.Parallel()
	html, err := synthetic(1).HTML()
	if err != nil {
		t.Fatal(err)
	}
	pagetest.Check(t, html)
	pair, err := mustPair(t, synthetic(1), synthetic(2)).HTML()
	if err != nil {
		t.Fatal(err)
	}
	look, requests := pagetest.At(t, pair, pagetest.Phone)
	if len(look.Overflow) > 0 || len(requests) > 0 || look.Text < 200 {
		t.Errorf("%+v, requests %q", look, requests)
	}
}

// Whatever can be read can be drawn, and compared with itself.
func FuzzPage(f *testing.F) {
	for _, r := range []*Result{sampleResult(), {Kind: KindServe, Series: []Series{{Status: Measured, Samples: []Sample{{UnitRequests: 1e308, UnitP99: 5e-324, "x": -1}}}}}} {
		data, err := r.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Decode("f", data)
		if err != nil {
			return
		}
		html, err := r.HTML()
		if err != nil || !bytes.HasSuffix(html, []byte("</html>\n")) {
			t.Fatalf("%v, %d bytes", err, len(html))
		}
		r.Text()
		p, err := Pair("a", r, "b", r)
		if err != nil {
			return
		}
		for _, row := range p.Rows {
			if row.Real {
				t.Errorf("%s %s differs from itself: %s", row.Dimensions, row.Unit, row.Comparison)
			}
		}
		if _, err := p.HTML(); err != nil {
			t.Error(err)
		}
	})
}
