package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hallmark-build/hallmark/build"
)

// FormatVersion is the version of the JSON that [Write] writes, and the only one that [Read] reads.
const FormatVersion = 1

// maxResult bounds the size of a result file, in bytes. A full run has some hundred KiB.
const maxResult = 64 << 20

// Kind says what was measured.
type Kind string

// The kinds of results.
const (
	KindToolchains Kind = "toolchains" // building and linking a program
	KindRace       Kind = "race"       // go test -race
	KindServe      Kind = "serve"      // a net/http program under load
)

// A Result is the record of one run of a benchmark. Every report is drawn from it alone.
//
// It is one JSON object in a file of its own. Its first member, format, is [FormatVersion]; a file of another version
// is refused with a *[FormatError], because units and dimensions may mean something else in it. Numbers are plain
// JSON numbers in the unit that stands beside them; times of day are RFC 3339.
type Result struct {
	Format     int       `json:"format"`
	Kind       Kind      `json:"kind"`
	Started    time.Time `json:"started"`
	Elapsed    float64   `json:"elapsed"`              // seconds, all preparation included
	Incomplete string    `json:"incomplete,omitempty"` // why not everything was measured that was planned; "" when it was
	Programs   []Program `json:"programs"`             // what was built or run; a series names one by its dimension "program"
	Machine    Machine   `json:"machine"`
	Method     Method    `json:"method"`
	Claims     []Claim   `json:"claims,omitempty"`
	Series     []Series  `json:"series"`
	Notes      []string  `json:"notes,omitempty"` // doubts and observations: noise, what was left out
}

// A Program is what was built or run.
type Program struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Digest      string `json:"digest"` // hex SHA-256 of its sources, by which two results are known to be of the same program
}

// A Machine is where the run took place.
type Machine struct {
	OS           string       `json:"os"`
	Arch         string       `json:"arch"`
	Distribution string       `json:"distribution,omitempty"`
	Kernel       string       `json:"kernel,omitempty"`
	WSL          int          `json:"wsl"` // 0 (none), 1 or 2
	CPU          string       `json:"cpu,omitempty"`
	Cores        int          `json:"cores"`  // that this process may use
	Memory       int64        `json:"memory"` // bytes; 0: not known
	Go           string       `json:"go"`     // version of the go command in use: "go1.26.8"
	FileSystems  []FileSystem `json:"fileSystems,omitempty"`
	LoadBefore   float64      `json:"loadBefore"` // runnable processes before the run, averaged over a minute; -1: not known
	LoadAfter    float64      `json:"loadAfter"`  // the same behind it, to which the run itself adds
	Governor     string       `json:"governor,omitempty"`
}

// A FileSystem is where one of the folders of a build is.
type FileSystem struct {
	Role string `json:"role"` // source, output, GOCACHE, GOTMPDIR
	Type string `json:"type"` // as the kernel names it: ext4, tmpfs, 9p
}

// Method says how the samples were taken.
type Method struct {
	Size        string  `json:"size,omitempty"` // quick, default, full
	Seed        uint64  `json:"seed"`           // of the order in which series are measured
	MinRuns     int     `json:"minRuns"`        // timed runs of each series
	MaxRuns     int     `json:"maxRuns"`        //
	Warmups     int     `json:"warmups"`        // runs before them, which are not in the samples
	Width       float64 `json:"width"`          // of the confidence interval, relative to the median, at which no more runs are made
	Confidence  float64 `json:"confidence"`     // 0.95
	Budget      float64 `json:"budget"`         // seconds, after which no more runs are made than MinRuns
	Interleaved bool    `json:"interleaved"`    // each round measures every series once, in random order
	Pinned      string  `json:"pinned,omitempty"`
}

// Verdict says what a run makes of a claim.
type Verdict string

// The verdicts.
const (
	Confirmed     Verdict = "confirmed"
	Refuted       Verdict = "refuted"
	Undecided     Verdict = "undecided"           // the data do not carry a decision
	Depends       Verdict = "depends"             // it holds in some of what was measured, and not in the rest; Why says in what
	NotMeasurable Verdict = "not measurable here" // the machine lacks what the claim is about
)

// A Claim is a sentence about toolchains or machines that somebody made, held against the run.
type Claim struct {
	ID      string  `json:"id"` // C2-faster
	Text    string  `json:"text"`
	Verdict Verdict `json:"verdict"`
	Why     string  `json:"why"` // with figures
}

// Status says what became of a series.
type Status string

// The states of a series.
const (
	Measured   Status = "measured"
	Failed     Status = "failed"     // it did not build; Reason and Output say why
	Impossible Status = "impossible" // it was not tried, for the reason given
	Refused    Status = "refused"    // it built, but by other tools than asked for
)

// A Series is one combination of what was varied, with its samples.
type Series struct {
	Dimensions Dimensions `json:"dimensions"`
	Status     Status     `json:"status"`
	Reason     string     `json:"reason,omitempty"`
	Output     string     `json:"output,omitempty"` // the compiler's own words, bounded
	Tools      []Tool     `json:"tools,omitempty"`
	Samples    []Sample   `json:"samples,omitempty"` // timed runs, in the order in which they were made, warm-ups left out
	Profile    []Sample   `json:"profile,omitempty"` // instrumented runs, which cost more than they measure
}

// A Sample is what one run has measured: values by unit, the units named as in the Go benchmark format. Units that end
// in sec/op are seconds, peak-B bytes. See phases.go for those of a build.
type Sample map[string]float64

// A Tool is a program that took part.
type Tool struct {
	Role    string `json:"role"` // compiler, linker, go
	Name    string `json:"name"` // clang
	Version string `json:"version,omitempty"`
	Path    string `json:"path,omitempty"`
}

// A Dimension is one thing that was varied, and what it was in a series.
type Dimension struct {
	Key   string `json:"key"` // program, target, compiler, linker, go, scenario, race, …
	Value string `json:"value"`
}

// Dimensions tell one series from another, the most important first.
type Dimensions []Dimension

// Get returns the value of a dimension, "" when the series has none of that name.
func (d Dimensions) Get(key string) string {
	for _, x := range d {
		if x.Key == key {
			return x.Value
		}
	}
	return ""
}

// With returns a copy in which one dimension has another value; it is appended when there is none.
func (d Dimensions) With(key, value string) Dimensions {
	c := slices.Clone(d)
	for i := range c {
		if c[i].Key == key {
			c[i].Value = value
			return c
		}
	}
	return append(c, Dimension{key, value})
}

// Without returns a copy that lacks the dimensions named.
func (d Dimensions) Without(keys ...string) Dimensions {
	return slices.DeleteFunc(slices.Clone(d), func(x Dimension) bool { return slices.Contains(keys, x.Key) })
}

// String returns the form in which a benchmark's name holds dimensions: "program=small/target=linux-amd64/linker=lld". A
// slash, a space or an equals sign in a value becomes a hyphen.
func (d Dimensions) String() string {
	parts := make([]string, len(d))
	for i, x := range d {
		parts[i] = x.Key + "=" + strings.Map(func(r rune) rune {
			if strings.ContainsRune("/= \t\n", r) {
				return '-'
			}
			return r
		}, x.Value)
	}
	return strings.Join(parts, "/")
}

// Find returns the series with these dimensions, nil if there is none.
func (r *Result) Find(d Dimensions) *Series {
	for i := range r.Series {
		if slices.Equal(r.Series[i].Dimensions, d) {
			return &r.Series[i]
		}
	}
	return nil
}

// Values returns one unit of all timed runs that have it, in their order.
func (s *Series) Values(unit string) []float64 { return values(s.Samples, unit) }

// ProfileValues returns one unit of all instrumented runs that have it.
func (s *Series) ProfileValues(unit string) []float64 { return values(s.Profile, unit) }

func values(samples []Sample, unit string) []float64 {
	var vs []float64
	for _, m := range samples {
		if v, ok := m[unit]; ok {
			vs = append(vs, v)
		}
	}
	return vs
}

// Units returns the names of all units of the timed runs, sorted.
func (s *Series) Units() []string { return units(s.Samples) }

// ProfileUnits returns the names of all units of the instrumented runs, sorted.
func (s *Series) ProfileUnits() []string { return units(s.Profile) }

func units(samples []Sample) []string {
	seen := make(map[string]bool)
	var names []string
	for _, m := range samples {
		for u := range m {
			if !seen[u] {
				seen[u] = true
				names = append(names, u)
			}
		}
	}
	slices.Sort(names)
	return names
}

// A FormatError is a result file of another format version.
type FormatError struct {
	File      string
	Got, Want int
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("%s: a benchmark result of format %d; this hallmark reads format %d: measure again, or use the hallmark that wrote it",
		e.File, e.Got, e.Want)
}

// A MalformedError is a file that is no benchmark result.
type MalformedError struct {
	File string
	Err  error
}

func (e *MalformedError) Error() string {
	return fmt.Sprintf("%s: not a benchmark result: %v", e.File, e.Err)
}
func (e *MalformedError) Unwrap() error { return e.Err }

// Read reads a result file. Errors are *[FormatError], *[MalformedError], or of the file system.
func Read(file string) (*Result, error) {
	data, err := build.ReadJSONFile(file)
	if err != nil {
		return nil, err
	}
	return Decode(file, data)
}

// Decode reads the content of a result file, which errors name as file.
func Decode(file string, data []byte) (*Result, error) {
	malformed := func(err error) (*Result, error) { return nil, &MalformedError{File: file, Err: err} }
	if len(data) > maxResult {
		return malformed(fmt.Errorf("it has more than %d bytes", maxResult))
	}
	// Before all else: another version may have other members.
	var head struct {
		Format *int `json:"format"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return malformed(err)
	}
	switch {
	case head.Format == nil:
		return malformed(errors.New("it has no format number"))
	case *head.Format != FormatVersion:
		return nil, &FormatError{File: file, Got: *head.Format, Want: FormatVersion}
	}
	r := new(Result)
	if err := build.DecodeJSON(data, r); err != nil {
		return malformed(err)
	}
	if err := r.validate(); err != nil {
		return malformed(err)
	}
	return r, nil
}

// validate tells what of a result cannot be.
func (r *Result) validate() error {
	if r.Kind == "" {
		return errors.New("it has no kind")
	}
	seen := make(map[string]bool)
	for _, s := range r.Series {
		// Two series that print alike could not be told apart in a report.
		name := s.Dimensions.String()
		if seen[name] {
			return fmt.Errorf("two series %s", name)
		}
		seen[name] = true
		switch s.Status {
		case Measured, Failed, Impossible, Refused:
		default:
			return fmt.Errorf("series %s has the status %q", name, s.Status)
		}
		if s.Status == Measured && len(s.Samples) == 0 && len(s.Profile) == 0 {
			return fmt.Errorf("series %s is called measured and has no samples", name)
		}
		for _, sample := range slices.Concat(s.Samples, s.Profile) {
			for unit, v := range sample {
				if unit == "" || strings.ContainsAny(unit, " \t\n") {
					return fmt.Errorf("series %s has a unit %q", name, unit)
				}
				if math.IsNaN(v) || math.IsInf(v, 0) {
					return fmt.Errorf("series %s has %v %s", name, v, unit)
				}
			}
		}
	}
	for _, c := range r.Claims {
		switch c.Verdict {
		case Confirmed, Refuted, Undecided, Depends, NotMeasurable:
		default:
			return fmt.Errorf("claim %s has the verdict %q", c.ID, c.Verdict)
		}
	}
	return nil
}

// Encode returns the content of a result file.
func (r *Result) Encode() ([]byte, error) {
	c := *r
	c.Format = FormatVersion
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("the benchmark's result: %w", err)
	}
	data, err := json.MarshalIndent(&c, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("the benchmark's result: %w", err)
	}
	return append(data, '\n'), nil
}

// Write writes a result file, whole or not at all.
func (r *Result) Write(file string) error {
	data, err := r.Encode()
	if err != nil {
		return err
	}
	return WriteFile(file, data)
}

// WriteFile writes a file (mode 0644) whole or not at all: beside, synced, renamed.
func WriteFile(file string, data []byte) (err error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), ".hallmark-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("writing %s: %w", file, err)
			tmp.Close()
			os.Remove(tmp.Name())
		}
	}()
	if _, err = tmp.Write(data); err != nil {
		return err
	}
	if err = tmp.Chmod(0o644); err != nil {
		return err
	}
	if err = tmp.Sync(); err != nil {
		return err
	}
	if err = tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), file)
}
