package compat

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Builds are builds of DebuggedSource: as they were built, and what has become of
// them, by a name for each ("appended", "stripped, with symbol file").
type Builds struct {
	ELF      string            // for this machine, with its debug information
	ELFAfter map[string]string // what it has become
	PE       string            // windows/amd64; empty: none
	PEAfter  map[string]string
	Rounds   int // for each debugging; 25 of them are 2000 breakpoints. 0: 5
}

// Observation is what debugger and profiler made of one file.
type Observation struct {
	Case      string     `json:"case"`
	Debugging *Debugging `json:"debugging,omitempty"` // nil: it was not asked, or Err says why there is none
	Profiling *Profiling `json:"profiling,omitempty"`
	Windows   bool       `json:"windows,omitempty"` // a Windows program, under Wine
	Worse     string     `json:"worse,omitempty"`   // what could be seen of the file as it was built, and cannot any more
	Err       string     `json:"err,omitempty"`     // why something is missing
}

// Evidence is what the claims about debugging and profiling are weighed by.
type Evidence struct {
	Observations []Observation `json:"observations"`
	Restamped    *Profiling    `json:"restamped,omitempty"` // of the Windows program, its places looked up in a copy with another time stamp
	TornReads    int           `json:"tornReads"`           // memory that was not of one moment, read without a debugger
	Reads        int           `json:"reads"`               // of so many; 0: it could not be read
	WSL          bool          `json:"wsl"`
	Seccomp      bool          `json:"seccomp"` // programs here run under a seccomp filter
}

// asBuilt is the case of a file before anything was done to it.
const asBuilt = "as built"

// Observe debugs and profiles all builds, one after the other: they would disturb
// each other's times. The error is ctx's; what went wrong otherwise is in the
// evidence.
func Observe(ctx context.Context, b Builds) (Evidence, error) {
	e := Evidence{}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		e.WSL = strings.Contains(strings.ToLower(string(release)), "microsoft")
	}
	if status, err := os.ReadFile("/proc/self/status"); err == nil {
		e.Seccomp = regexp.MustCompile(`(?m)^Seccomp:\s+2$`).Match(status)
	}
	if b.ELF != "" {
		before := e.elf(ctx, asBuilt, b.ELF, b, nil)
		for _, name := range slices.Sorted(maps.Keys(b.ELFAfter)) {
			e.elf(ctx, name, b.ELFAfter[name], b, before)
		}
		const reads = 200
		if n, err := TornReads(ctx, b.ELF, reads); err == nil {
			e.TornReads, e.Reads = n, reads
		}
	}
	if b.PE != "" {
		e.pe(ctx, asBuilt, b.PE, b.PE)
		for _, name := range slices.Sorted(maps.Keys(b.PEAfter)) {
			e.pe(ctx, name, b.PE, b.PEAfter[name])
		}
		if p, err := profileRestamped(ctx, b.PE); err == nil {
			e.Restamped = &p
		}
	}
	if ctx.Err() != nil {
		return e, context.Cause(ctx)
	}
	return e, nil
}

// elf debugs and profiles one file, and returns what debugging it gave.
func (e *Evidence) elf(ctx context.Context, name, file string, b Builds, before *Debugging) *Debugging {
	ctx, cancel := context.WithTimeout(ctx, Limit)
	defer cancel()
	o := Observation{Case: name}
	d, err := Debug(ctx, DebugTarget{File: file, Rounds: b.Rounds})
	if err == nil {
		o.Debugging = &d
		if before != nil {
			o.Worse = d.worse(*before)
		}
	}
	p, profileErr := Profile(ctx, file, file)
	if profileErr == nil {
		o.Profiling = &p
	}
	if err := errors.Join(err, profileErr); err != nil {
		o.Err = err.Error()
	}
	e.Observations = append(e.Observations, o)
	return o.Debugging
}

// pe profiles the program as it was built, and looks its places up in what it has
// become.
func (e *Evidence) pe(ctx context.Context, name, recorded, symbols string) {
	ctx, cancel := context.WithTimeout(ctx, Limit)
	defer cancel()
	o := Observation{Case: name, Windows: true}
	p, err := Profile(ctx, recorded, symbols)
	if err == nil {
		o.Profiling = &p
	} else {
		o.Err = err.Error()
	}
	e.Observations = append(e.Observations, o)
}

// profileRestamped profiles a Windows program, and looks its places up in a copy
// that differs in the TimeDateStamp of the COFF header, where Go writes 0.
func profileRestamped(ctx context.Context, exe string) (_ Profiling, err error) {
	ctx, cancel := context.WithTimeout(ctx, Limit)
	defer cancel()
	data, err := os.ReadFile(exe)
	if err != nil {
		return Profiling{}, err
	}
	const lfanew, stamp = 0x3c, 8
	if len(data) < lfanew+4 || int64(binary.LittleEndian.Uint32(data[lfanew:]))+stamp+4 > int64(len(data)) {
		return Profiling{}, fmt.Errorf("%s has no PE header", exe)
	}
	binary.LittleEndian.PutUint32(data[int64(binary.LittleEndian.Uint32(data[lfanew:]))+stamp:], 0x5eadbeef)
	dir, err := os.MkdirTemp("", "hallmark-restamped-*")
	if err != nil {
		return Profiling{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	restamped := filepath.Join(dir, filepath.Base(exe))
	if err := os.WriteFile(restamped, data, 0o644); err != nil {
		return Profiling{}, err
	}
	return Profile(ctx, exe, restamped)
}

// Verdicts on claims. What it depends on, and what cannot be measured, is in Why.
const (
	Confirmed     = "confirmed"
	Refuted       = "refuted"
	Depends       = "depends"
	NotMeasurable = "not measurable here"
)

// Finding is what was found of a claim of the article that the project began
// with.
type Finding struct {
	Claim   string `json:"claim"` // "C7"
	Verdict string `json:"verdict"`
	Why     string `json:"why"` // with the figures
}

// Findings weighs C3 by the results of RunJudges (others are passed over), and C7,
// C8 and C9 by evidence.
func Findings(results []Result, e Evidence) []Finding {
	return []Finding{c3(results), e.c7(), e.c8(), e.c9()}
}

// c3: cross-compiling (GOOS=windows go build, -H windowsgui) gives valid PE and
// ELF from one tree. Only files that are expected to run count.
func c3(results []Result) Finding {
	ran, all := map[string]int{}, map[string]int{}
	var failed []string
	for _, r := range results {
		if r.Scheme != Runs || r.Want != Accept.String() || r.Status == Skip {
			continue
		}
		all[r.Judge]++
		if r.Got == Accept.String() {
			ran[r.Judge]++
		} else {
			failed = append(failed, r.Case+" ("+r.Judge+": "+r.Got+")")
		}
	}
	var figures []string
	for _, judge := range []struct{ name, words string }{
		{runNative, "Linux programs and libraries ran on this machine"},
		{runQemu, "for arm64 under qemu"},
		{runWine, "Windows programs and libraries under Wine"},
		{runWindow, "of those opened their window"},
	} {
		if all[judge.name] > 0 {
			figures = append(figures, fmt.Sprintf("%d of %d %s", ran[judge.name], all[judge.name], judge.words))
		}
	}
	f := Finding{Claim: "C3", Why: strings.Join(figures, ", ")}
	switch {
	case all[runNative] == 0 || all[runWine] == 0 || all[runWindow] == 0:
		f.Verdict = NotMeasurable
		f.Why = "it takes Linux, Wine, and Wine with a screen to run all three kinds; so far: " + f.Why
	case len(failed) > 0:
		f.Verdict = Depends
		f.Why += "; not: " + short(strings.Join(failed, ", "))
	default:
		f.Verdict = Confirmed
		f.Why += "; it depends on Go, not on WSL2"
	}
	return f
}

// c7: Delve hits 99.27 % of breakpoints on WSL2 (ptrace under seccomp) and 99.91 %
// with a WinDbg back end; memory snapshots can be torn.
func (e Evidence) c7() Finding {
	f := Finding{Claim: "C7"}
	hits, runs, torn, wrong, views := 0, 0, 0, 0, 0
	var worse, version []string
	for _, o := range e.Observations {
		if o.Debugging == nil {
			continue
		}
		h, r := o.Debugging.Hits()
		hits, runs = hits+h, runs+r
		for _, v := range o.Debugging.Views {
			views++
			if v.Torn {
				torn++
			}
			if !v.Memory {
				wrong++
			}
		}
		if o.Worse != "" {
			worse = append(worse, o.Case+": "+o.Worse)
		}
		version = append(version, o.Debugging.Debugger)
	}
	if runs == 0 {
		f.Verdict, f.Why = NotMeasurable, "no program was debugged: "+e.missing(false)
		return f
	}
	place := "on Linux, not WSL2"
	if e.WSL {
		place = "on WSL2"
	}
	if e.Seccomp {
		place += ", under seccomp"
	}
	// When all of n were hit, the share of misses is below 3/n with 95 % confidence.
	f.Why = fmt.Sprintf("%s %s hit %d of %d breakpoints (%.2f %%; misses below %.2f %% at 95 %% confidence) in %d programs, unsigned, signed and stripped",
		version[0], place, hits, runs, 100*float64(hits)/float64(runs), 100*(float64(runs-hits)+3)/float64(runs), len(version))
	f.Why += fmt.Sprintf("; of %d snapshots of memory under it %d were torn and %d wrong", views, torn, wrong)
	if e.Reads > 0 {
		f.Why += fmt.Sprintf(", of %d read while the program ran %d were torn", e.Reads, e.TornReads)
	}
	if len(worse) > 0 {
		f.Why += "; worse than before: " + short(strings.Join(worse, ", "))
	}
	missed := 100 * float64(runs-hits) / float64(runs)
	switch {
	case len(worse) > 0 || torn > 0 || wrong > 0:
		f.Verdict = Depends
	case e.WSL && missed >= 0.5:
		f.Verdict = Confirmed
	case e.WSL && 100*(float64(runs-hits)+3)/float64(runs) < 0.73:
		f.Verdict = Refuted
	default:
		f.Verdict = Depends
		if !e.WSL {
			f.Why += "; WSL2's own rate, and WinDbg, are not measurable here"
		}
	}
	return f
}

// c8: with more than 50 goroutines the debugger's view is 92.3 % right and 410 to
// 690 ms late, because it polls every 500 ms.
func (e Evidence) c8() Finding {
	f := Finding{Claim: "C8"}
	right, views := 0, 0
	least, most := 0, 0
	var seconds []float64
	for _, o := range e.Observations {
		if o.Debugging == nil {
			continue
		}
		for _, v := range o.Debugging.Views {
			if v.Own <= 50 {
				continue
			}
			if views == 0 || v.Own < least {
				least = v.Own
			}
			most = max(most, v.Own)
			views++
			if v.Seen == v.Own {
				right++
			}
			seconds = append(seconds, v.Seconds)
		}
	}
	if views == 0 {
		f.Verdict, f.Why = NotMeasurable, "no program was debugged: "+e.missing(false)
		return f
	}
	slices.Sort(seconds)
	median := seconds[len(seconds)/2]
	f.Why = fmt.Sprintf("at %d of %d stops with %d to %d goroutines Delve listed exactly those that the program counted; the list was there %.1f ms after the stop (median, at most %.1f ms), made when asked for, with the program stopped",
		right, views, least, most, 1000*median, 1000*seconds[len(seconds)-1])
	share := float64(right) / float64(views)
	switch {
	case share > 0.99 && median < 0.2:
		f.Verdict = Refuted
	case share < 0.95 && median > 0.3:
		f.Verdict = Confirmed
	default:
		f.Verdict = Depends
		f.Why += "; it depends on the machine's load"
	}
	return f
}

// c9: a Go CPU profile on Windows loses symbols unless the debug file's signature
// matches the executable's time stamp.
func (e Evidence) c9() Finding {
	f := Finding{Claim: "C9"}
	var windows, linux []string
	lost := 0
	carried := true
	for _, o := range e.Observations {
		if o.Profiling == nil {
			continue
		}
		p := *o.Profiling
		words := fmt.Sprintf("%s %d of %d", o.Case, p.Right, p.Frames)
		if p.Right != p.Frames {
			lost++
		}
		if o.Windows {
			windows = append(windows, words)
			carried = carried && p.Carried == p.Frames
		} else {
			linux = append(linux, words)
		}
	}
	if len(windows) == 0 {
		f.Verdict, f.Why = NotMeasurable, "no Windows program was profiled: "+e.missing(true)
		return f
	}
	if carried {
		f.Why = "the profile that a Windows program writes (under Wine) has all names in it; "
	}
	f.Why += "with these taken out, the places found again in the file were: " + strings.Join(windows, ", ")
	if r := e.Restamped; r != nil {
		f.Why += fmt.Sprintf(", in a copy with another time stamp %d of %d", r.Right, r.Frames)
		if r.Right != r.Frames {
			lost++
		}
	}
	if len(linux) > 0 {
		f.Why += "; of Linux programs: " + strings.Join(linux, ", ")
	}
	switch {
	case lost > 0:
		f.Verdict = Depends
	case len(windows) < 2 || e.Restamped == nil:
		f.Verdict = NotMeasurable
		f.Why += "; no file was signed, or none with another time stamp looked at"
	default:
		f.Verdict = Refuted
	}
	return f
}

// missing says why there are no observations.
func (e Evidence) missing(windows bool) string {
	for _, o := range e.Observations {
		if o.Windows == windows && o.Err != "" {
			return o.Err
		}
	}
	return "there was none"
}
