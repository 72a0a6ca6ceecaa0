package bench

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// plan makes a job of everything that is to be measured, and a series of everything else that was asked for.
func (s *session) plan(ctx context.Context, toolchains []*toolchain) error {
	v := s.options.varied()
	newest := newestClangs(toolchains)
	for _, t := range toolchains {
		if why := s.unusable[t.place.Name]; why != "" && t.reason == "" {
			t.reason = why
		} else if p, ok := s.places[t.place.Name]; ok {
			t.place = p
		}
		if t.reason != "" {
			d := t.dimensions("any", "any", v)
			if s.matches(d) {
				s.series = append(s.series, &Series{Dimensions: d, Status: Impossible, Reason: t.reason, Tools: t.tools(s.goVersion)})
			}
		}
	}
	for _, src := range s.sources {
		if !src.hasC {
			s.note("%s holds no C, so that C compilers and linkers make no difference to it", src.Name)
		}
		if src.hasC && src.cSrc == "" && slices.Contains(s.scenarios(src), CChanged) {
			s.note("%s has all its C in modules of the cache, which do not change: no scenario c-changed", src.Name)
		}
		for _, t := range toolchains {
			if t.reason != "" || t.cc != nil && !src.hasC {
				continue
			}
			at, err := s.sourceAt(src, t.place)
			if err != nil {
				return err
			}
			if err := s.planProgram(ctx, at, t, newest); err != nil {
				return err
			}
		}
	}
	if len(s.jobs) == 0 {
		return fmt.Errorf("there is nothing to measure: no toolchain of this machine is left by the configuration's bench: section and -filter")
	}
	return nil
}

// matches tells whether the filter lets a series through.
func (s *session) matches(d Dimensions) bool {
	return s.options.Filter == nil || s.options.Filter.MatchString(d.String())
}

// planProgram adds the jobs of one program and toolchain.
func (s *session) planProgram(ctx context.Context, src *Source, t *toolchain, newest map[string]bool) error {
	for _, scenario := range s.scenarios(src) {
		d := t.dimensions(src.Name, scenario, s.options.varied())
		switch {
		case scenario == CChanged && (t.cc == nil || src.cSrc == ""), scenario == GoChanged && src.goSrc == "":
			continue
		case !s.matches(d), !s.worthwhile(scenario, t):
			continue
		}
		c := &job{dimensions: d, source: src, toolchain: t, scenario: scenario, work: filepath.Join(s.root, fmt.Sprintf("c%d", len(s.jobs)))}
		c.penalty = penalty(c, newest)
		c.group = s.groupOf(src, t)
		c.group.jobs = append(c.group.jobs, c)
		for _, dir := range []string{filepath.Dir(c.output()), c.group.cache, c.group.temp} {
			if err := os.MkdirAll(dir, 0o777); err != nil {
				return err
			}
		}
		var err error
		if c.command, err = t.goCommand(ctx, src, filepath.Join(c.work, "cc")); err != nil {
			return err
		}
		c.series = &Series{Dimensions: d, Status: Measured, Tools: t.tools(s.goVersion)}
		s.series = append(s.series, c.series)
		s.jobs = append(s.jobs, c)
	}
	return nil
}

// scenarios lists what is measured of a program.
func (s *session) scenarios(src *Source) []Scenario {
	switch {
	case len(s.options.Scenarios) > 0:
		return s.options.Scenarios
	case s.options.Size == Quick, s.options.Size == Default && src.real:
		return []Scenario{GoChanged, Relink}
	}
	return Scenarios()
}

// worthwhile tells whether a toolchain has something to say in a scenario. What does not depend on the linker is
// measured with one only, except in a full run.
func (s *session) worthwhile(scenario Scenario, t *toolchain) bool {
	if s.options.Size == Full || len(s.options.Linkers) > 0 || t.usual() {
		return true
	}
	v := t.variant
	return scenario == Relink && v == variant{ldflags: v.ldflags}
}

// usual tells whether the linker is the one that belongs to the compiler.
func (t *toolchain) usual() bool {
	return t.linker == "go" || t.linker == "bfd" && !strings.HasPrefix(t.compiler, "clang") || t.linker == "lld" && strings.HasPrefix(t.compiler, "clang")
}

// newestClangs returns the clang of the highest number for each platform, as platform and name.
func newestClangs(list []*toolchain) map[string]bool {
	newest := make(map[string]bool)
	seen := make(map[string]bool)
	for _, t := range list {
		// They come in falling order.
		if p := t.platform.String(); strings.HasPrefix(t.compiler, "clang") && !seen[p] {
			seen[p] = true
			newest[p+" "+t.compiler] = true
		}
	}
	return newest
}

// penalty ranks the jobs by what is lost without them: what has the highest is left out first when time is short.
func penalty(c *job, newest map[string]bool) int {
	n := 1
	if c.scenario == Relink {
		n = 0
	}
	t := c.toolchain
	clang := strings.HasPrefix(t.compiler, "clang")
	switch {
	case t.linker == "gold":
		n += 4
	case clang && t.linker == "bfd" && t.platform.OS == "windows":
		n++ // tells the linker's part from the compiler's
	case clang && t.linker != "lld":
		n += 3
	case !t.usual():
		n++
	}
	if t.platform.Arch != runtime.GOARCH {
		n += 5
	}
	if clang && !newest[t.platform.String()+" "+t.compiler] {
		n += 6
	}
	if t.cc == nil && (c.scenario != Relink || c.source.real) {
		n += 3
	}
	if c.source.real {
		n++
	}
	return n
}

// groupOf returns the group of a program and a toolchain.
func (s *session) groupOf(src *Source, t *toolchain) *warmCache {
	name := src.Name + "_" + t.group()
	for _, g := range s.groups {
		if g.name == name {
			return g
		}
	}
	base, temp := filepath.Join(s.root, "caches"), filepath.Join(s.root, "tmp")
	if t.place.Cache != "" {
		base = t.place.Cache
	}
	if t.place.Temp != "" {
		temp = t.place.Temp
	}
	g := &warmCache{name: name, cache: filepath.Join(base, name), temp: temp}
	s.groups = append(s.groups, g)
	return g
}

// What runs cost relative to one of the small program, as measured on two cores with the toolchains of Debian 12. They only
// serve to say beforehand how long it will take.
const (
	realCold   = 8.0 // a cold build of the real program to one of the small
	realQuick  = 3.0 // the same without optimization of C
	realRelink = 2.2 // a relink likewise
	realChange = 2.8 // a change of a Go file, to a relink of the small
	goChange   = 1.3 // the same of the small
	cChange    = 1.8 // a change of a C file
	nothing    = 0.4 // of nothing
	shimCost   = 1.1 // an instrumented run to a timed one
)

// estimate sets the cost of every job, when a cold build and a relink of the first program have taken so long.
func (s *session) estimate(cold, relink float64) {
	for _, c := range s.jobs {
		r := relink
		k := cold
		change := goChange
		if c.source.real {
			k, change, r = cold*realCold, realChange/realRelink, relink*realRelink
		}
		switch c.scenario {
		case Cold:
			c.cost = k
		case GoChanged:
			c.cost = r * change
		case CChanged:
			c.cost = r * cChange
		case Nothing:
			c.cost = r * nothing
		default:
			c.cost = r
		}
	}
}

// total returns how long the run will take in seconds: preparing the groups, a warm-up and the runs of each job, and the
// instrumented runs.
func (s *session) total(cold float64) float64 {
	sum := 0.0
	for _, g := range s.groups {
		if len(g.jobs) == 0 || g.ready {
			continue
		}
		// They are prepared side by side, of which a C file that keeps one processor busy gains most.
		cores := float64(max(1, s.result.Machine.Cores))
		switch src := g.jobs[0].source; {
		case src.real && src.quickC:
			sum += cold * realQuick / min(1.4, cores)
		case src.real:
			sum += cold * realCold / min(1.7, cores)
		default:
			sum += cold / min(1.2, cores)
		}
	}
	for _, c := range s.jobs {
		sum += c.cost * (float64(s.warmUps(c)+s.options.runs()) + shimCost*float64(s.profileRuns(c)))
		if s.replays(c) {
			sum += c.cost * (1 + replayCost*float64(1+s.options.runs()))
		}
	}
	return sum
}

// margin is the part of the budget that may be planned: runs differ.
const margin = 0.95

// trim leaves out what is least missed, until the rest fits into the budget. What the user has named is not left out.
func (s *session) trim(cold float64) {
	budget := s.budget().Seconds()
	if budget == 0 || s.total(cold) <= budget*margin {
		return
	}
	if o := s.options; o.Filter != nil || len(o.Scenarios)+len(o.Compilers)+len(o.Linkers) > 0 {
		s.note("what was asked for takes longer than the %s of the budget", s.budget())
		return
	}
	var left []string
	for s.total(cold) > budget*margin {
		worst := slices.MaxFunc(s.jobs, func(a, b *job) int { return cmp.Or(cmp.Compare(a.penalty, b.penalty), cmp.Compare(a.cost, b.cost)) })
		if worst.penalty == 0 {
			s.note("this machine takes longer than %s, even for what is left", s.budget())
			break
		}
		s.drop(worst)
		left = append(left, worst.dimensions.String())
	}
	if len(left) > 0 {
		slices.Sort(left)
		s.note("left out to end within %s, %d series: %s", s.budget(), len(left), strings.Join(left, ", "))
	}
}

// drop takes a job out of the run.
func (s *session) drop(c *job) {
	is := func(x *job) bool { return x == c }
	s.jobs = slices.DeleteFunc(s.jobs, is)
	c.group.jobs = slices.DeleteFunc(c.group.jobs, is)
	s.series = slices.DeleteFunc(s.series, func(x *Series) bool { return x == c.series })
}

// profileRuns returns how many instrumented runs a job gets.
func (s *session) profileRuns(c *job) int {
	switch {
	case s.shim == "" || c.scenario == Nothing:
		return 0
	case s.options.Size == Full && c.scenario == Relink:
		return 3
	case s.options.Size == Full, c.scenario == Relink, c.scenario == CChanged:
		return 1
	}
	return 0
}

// warmUps returns how many runs come before those that count. Where time is short, a cold build has none but the one that
// fills the cache of its group.
func (s *session) warmUps(c *job) int {
	if c.scenario == Cold && s.options.Size != Full {
		return 0
	}
	return 1
}

// roughly prints a duration for whoever waits: "48s", "5m20s".
func roughly(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	if d < time.Minute {
		return d.Round(time.Second).String()
	}
	return d.Round(10 * time.Second).String()
}
