package bench

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hallmark-build/hallmark/build"
)

// ToolchainOptions say what [Toolchains] measures, and how.
type ToolchainOptions struct {
	Config
	Size     Size     // "" is Default
	Programs []Source // none: the project's own
	Targets  []string // platforms when Config names none
	Filter   *regexp.Regexp
	Seed     uint64                          // of the order of runs; 0: one is drawn
	Pin      []int                           // processors to run on; none: all
	Log      func(format string, arg ...any) // lines for whoever waits; nil: none
}

// A session is one run of [Toolchains].
type session struct {
	options   ToolchainOptions
	result    *Result
	root      string // folder of all that is written
	shim      string // program for instrumented runs; "" when it could not be compiled
	goVersion string
	modCache  string
	sources   []*Source
	groups    []*warmCache
	series    []*Series
	jobs      []*job // to be measured, in the order of the result
	changes   uint64
	random    *rand.Rand
	noted     map[string]bool
	places    map[string]Place  // opened, by name
	unusable  map[string]string // why a place could not be opened
	closers   []func() error
	deadline  time.Time // zero: none
}

// Toolchains builds programs by all toolchains of this machine, again and again, and returns what that took.
//
// When ctx ends, the result holds what was measured until then, says that it is incomplete, and the error is nil. A
// toolchain that fails is a series that says so.
func Toolchains(ctx context.Context, o ToolchainOptions) (_ *Result, err error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o.Size = cmp.Or(o.Size, Default)
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	if o.Seed == 0 {
		o.Seed = rand.Uint64N(1 << 40)
	}
	s := &session{options: o, random: rand.New(rand.NewPCG(o.Seed, 1)), noted: map[string]bool{}, places: map[string]Place{}, unusable: map[string]string{},
		result: &Result{Format: FormatVersion, Kind: KindToolchains, Started: time.Now().UTC().Truncate(time.Second)}}
	if s.root, err = os.MkdirTemp("", "hallmark-bench-"); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.closePlaces(), removeAll(s.root)) }()
	begin := time.Now()
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	s.result.Machine.LoadBefore = loadAverage()
	err = s.measure(ctx)
	if ctx.Err() != nil {
		s.result.Incomplete = cmp.Or(s.result.Incomplete, "interrupted")
		err = nil
	}
	s.result.Elapsed = time.Since(begin).Seconds()
	s.result.Machine.LoadAfter = loadAverage()
	s.conclude()
	return s.result, err
}

// log prints a line for whoever waits.
func (s *session) log(format string, arg ...any) { s.options.Log(format, arg...) }

// note adds a note to the result, once.
func (s *session) note(format string, arg ...any) {
	text := fmt.Sprintf(format, arg...)
	if !s.noted[text] {
		s.noted[text] = true
		s.result.Notes = append(s.result.Notes, text)
	}
}

// open reads machine, programs and toolchains.
func (s *session) open(ctx context.Context) error {
	env, err := goEnv(ctx, "GOVERSION", "GOMODCACHE", "GOCACHE")
	if err != nil {
		return err
	}
	s.goVersion, s.modCache = env["GOVERSION"], env["GOMODCACHE"]
	list := slices.Clone(s.options.Programs)
	if len(list) == 0 {
		if list, err = ownPrograms(ctx, filepath.Join(s.root, "src")); err != nil {
			return err
		}
		if s.options.Size == Quick {
			list = list[:1]
		}
	}
	host := build.Platform{OS: "linux", Arch: "amd64"}
	platforms, err := s.platforms()
	if err != nil {
		return err
	}
	if len(platforms) > 0 {
		host = platforms[len(platforms)-1]
	}
	for i := range list {
		src := &list[i]
		if err := src.inspect(ctx, host, s.modCache); err != nil {
			if !src.real || ctx.Err() != nil {
				return err
			}
			s.note("%s is left out: %v", src.Name, err)
			continue
		}
		if src.real && s.options.Size == Default && !slices.ContainsFunc(s.scenarios(src), func(x Scenario) bool { return x == Cold || x == CChanged }) {
			src.quickC = true
			src.Description += "; its C compiled without optimization, which is not timed here"
			sum := sha256.Sum256([]byte(src.Digest + " CGO_CFLAGS=-g -O0"))
			src.Digest = hex.EncodeToString(sum[:]) // so that nobody compares it with the optimized one
		}
		s.sources = append(s.sources, src)
		s.result.Programs = append(s.result.Programs, Program{Name: src.Name, Description: src.Description, Digest: src.Digest})
	}
	machine, err := ReadMachine(ctx, map[string]string{"source": s.sources[0].Dir, "output": s.root, "GOCACHE": s.root, "GOTMPDIR": s.root})
	if err != nil {
		return err
	}
	s.result.Machine = machine
	c := s.options.Config
	s.result.Method = Method{Size: string(s.options.Size), Seed: s.options.Seed, MinRuns: c.runs(), MaxRuns: maxRuns, Warmups: 1, Width: c.width(),
		Confidence: confidence, Budget: s.budget().Seconds(), Interleaved: true}
	if len(s.options.Pin) > 0 {
		s.result.Method.Pinned = strings.Trim(fmt.Sprint(s.options.Pin), "[]")
	}
	s.openPlaces(ctx)
	toolchains, err := findToolchains(ctx, c, platforms)
	if err != nil {
		return err
	}
	if s.shim, err = buildShim(ctx, filepath.Join(s.root, "shim")); err != nil && ctx.Err() == nil {
		s.note("no instrumented runs: %v", err)
	}
	return s.plan(ctx, toolchains)
}

// budget returns how long the run may take, 0 without limit.
func (s *session) budget() time.Duration {
	if d, err := time.ParseDuration(s.options.Budget); err == nil {
		return d
	}
	return s.options.Size.budget()
}

// platforms returns the platforms to build for.
func (s *session) platforms() ([]build.Platform, error) {
	names := s.options.Config.Targets
	if len(names) == 0 {
		names = s.options.Targets
	}
	if len(names) == 0 {
		names = []string{"windows/amd64", "linux/amd64"}
		if s.options.Size != Quick {
			names = append(names, "linux/arm64")
		}
	}
	var list []build.Platform
	for _, n := range names {
		p, err := build.ParsePlatform(n)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(list, p) {
			list = append(list, p)
		}
	}
	return list, nil
}

// goEnv returns settings of the go command.
func goEnv(ctx context.Context, names ...string) (map[string]string, error) {
	c := command{args: append([]string{"go", "env", "-json"}, names...), env: childEnv(ctx)}
	_, out, err := c.output(ctx)
	if err != nil {
		return nil, fmt.Errorf("go env: %w: %s", err, tail(out))
	}
	env := make(map[string]string)
	if err := json.Unmarshal(out, &env); err != nil {
		return nil, fmt.Errorf("reading go env: %w", err)
	}
	return env, nil
}
