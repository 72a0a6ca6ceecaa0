package bench

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hallmark-build/hallmark/build"
)

// Config is the section bench of hallmark.yaml: what [Toolchains] measures besides what it finds by itself. What is left
// out is chosen by the [Size] of the run.
type Config struct {
	Program   string     `yaml:"program"`   // name of one of the release's programs; default: the first
	Targets   []string   `yaml:"targets"`   // platforms; default: those of the release
	Compilers []string   `yaml:"compilers"` // none, gcc, mingw, clang-19, …; default: all that are found
	Extra     []Extra    `yaml:"extra"`     // further compilers
	Linkers   []string   `yaml:"linkers"`   // bfd, gold, lld, mold; default: all
	Go        []string   `yaml:"go"`        // further Go versions, "1.25.3"
	Scenarios []Scenario `yaml:"scenarios"` // cold, go-changed, c-changed, relink, nothing
	LDFlags   []string   `yaml:"ldflags"`   // further sets of linker flags, "-s -w", each measured beside none
	Race      bool       `yaml:"race"`      // with -race too
	LTO       bool       `yaml:"lto"`       // with link-time optimization of C too
	Parallel  []int      `yaml:"parallel"`  // numbers of targets built side by side
	Places    []Place    `yaml:"places"`    // further file systems
	Runs      int        `yaml:"runs"`      // at least, of each; default 6
	Width     float64    `yaml:"width"`     // of the interval relative to the median at which to stop; default 0.05
	Budget    string     `yaml:"budget"`    // "10m", instead of the size's
}

// An Extra is a compiler that is not found by its name.
type Extra struct {
	Name    string   `yaml:"name"`
	CC      string   `yaml:"cc"`      // a program that takes gcc's arguments, by path or name
	Targets []string `yaml:"targets"` // platforms that it compiles for
}

// A Place is where the folders of a build are, each of which may be on a file system of its own. A folder that is not
// named is where it is without the place.
type Place struct {
	Name    string `yaml:"name"`
	Source  string `yaml:"source"`
	Output  string `yaml:"output"`
	Cache   string `yaml:"cache"`   // GOCACHE
	Temp    string `yaml:"temp"`    // GOTMPDIR
	Latency string `yaml:"latency"` // "100us": instead of in the folders named, on a FUSE mount that adds as much to each call; linux only
}

// A Scenario is what was done to the sources and the cache before the build that is timed.
type Scenario string

// The scenarios.
const (
	Cold      Scenario = "cold"       // an empty GOCACHE
	GoChanged Scenario = "go-changed" // one Go file of the main package changed
	CChanged  Scenario = "c-changed"  // one C file changed
	Relink    Scenario = "relink"     // nothing changed, and no output there
	Nothing   Scenario = "nothing"    // nothing changed, and the output there
)

// Scenarios lists all, in the order of what they do.
func Scenarios() []Scenario { return []Scenario{Cold, GoChanged, CChanged, Relink, Nothing} }

// Size says how much is measured.
type Size string

// The sizes.
const (
	Quick   Size = "quick"   // one minute: relinking and one changed Go file, of the first program
	Default Size = "default" // six minutes: all scenarios of the first program, two of the real one
	Full    Size = "full"    // as long as it takes: everything of all
)

// budget returns how long a run of the size may take on two cores, 0 without limit.
func (s Size) budget() time.Duration {
	switch s {
	case Quick:
		return time.Minute
	case Full:
		return 0
	}
	return 6 * time.Minute
}

// Defaults of a Config.
const (
	defaultWidth = 0.05
	maxRuns      = 30 // of each series; a median of more is not worth the wait
)

func (c Config) runs() int      { return max(cmp.Or(c.Runs, MinRuns), 2) }
func (c Config) width() float64 { return cmp.Or(c.Width, defaultWidth) }

// Validate reports all that is wrong with the values, each beginning with the key that it is about.
func (c Config) Validate() error {
	var errs []error
	fault := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("bench."+key+": "+format, args...))
	}
	platforms := func(key string, names []string) {
		for i, s := range names {
			if _, err := build.ParsePlatform(s); err != nil {
				fault(fmt.Sprintf("%s[%d]", key, i), "%w", err)
			}
		}
	}
	platforms("targets", c.Targets)
	for i, x := range c.Extra {
		key := fmt.Sprintf("extra[%d]", i)
		if !regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]*$`).MatchString(x.Name) || x.Name == "none" {
			fault(key+".name", "%q cannot name a compiler: use letters, digits, dots and dashes", x.Name)
		}
		if x.CC == "" {
			fault(key+".cc", "is missing: give the path of the compiler")
		}
		if len(x.Targets) == 0 {
			fault(key+".targets", "is empty: name the platforms that the compiler compiles for")
		}
		platforms(key+".targets", x.Targets)
	}
	for i, l := range c.Linkers {
		if !slices.Contains(build.Linkers(), l) {
			fault(fmt.Sprintf("linkers[%d]", i), "%q is unknown; possible: %s", l, strings.Join(build.Linkers(), ", "))
		}
	}
	for i, s := range c.Scenarios {
		if !slices.Contains(Scenarios(), s) {
			fault(fmt.Sprintf("scenarios[%d]", i), "%q is unknown; possible: cold, go-changed, c-changed, relink, nothing", s)
		}
	}
	for i, v := range c.Go {
		if !regexp.MustCompile(`^1\.[0-9]+(\.[0-9]+|rc[0-9]+)$`).MatchString(v) {
			fault(fmt.Sprintf("go[%d]", i), "%q is no Go version; give one as 1.25.3", v)
		}
	}
	for i, n := range c.Parallel {
		if n < 1 || n > 64 {
			fault(fmt.Sprintf("parallel[%d]", i), "%d targets cannot be built side by side", n)
		}
	}
	for i, s := range c.LDFlags {
		if _, _, err := build.Plain(build.Platform{OS: "linux", Arch: "amd64"}, []string{s}); err != nil || strings.TrimSpace(s) == "" {
			fault(fmt.Sprintf("ldflags[%d]", i), "%q are no linker flags", s)
		}
	}
	names := map[string]bool{"": true}
	for i, p := range c.Places {
		key := fmt.Sprintf("places[%d]", i)
		if names[p.Name] {
			fault(key+".name", "%q: give each place a name of its own", p.Name)
		}
		names[p.Name] = true
		if p == (Place{Name: p.Name}) {
			fault(key, "names no folder: give source, output, cache or temp")
		}
		if d, err := time.ParseDuration(p.Latency); p.Latency != "" && (err != nil || d <= 0 || d > time.Second) {
			fault(key+".latency", "%q is no latency: give one as 100us", p.Latency)
		}
	}
	if c.Runs != 0 && (c.Runs < MinRuns || c.Runs > 1000) {
		fault("runs", "%d: fewer than %d runs carry no interval", c.Runs, MinRuns)
	}
	if c.Width < 0 || c.Width >= 1 {
		fault("width", "%v is no part of the median: give 0.05 for 5 %%", c.Width)
	}
	if d, err := time.ParseDuration(c.Budget); c.Budget != "" && (err != nil || d <= 0) {
		fault("budget", "%q is no time: give one as 10m", c.Budget)
	}
	return errors.Join(errs...)
}
