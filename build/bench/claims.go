package bench

import (
	"fmt"
	"slices"
	"strings"
)

// Claim C2 comes from an article that compares development on WSL2 with that on native Windows: a build with CGO takes
// 4.2 s with Clang 16 on WSL2, 31 % of it linking, and 9.7 s with MinGW-w64 11 on Windows, 58 % of it linking, because LLD
// links in parallel and GNU ld does not, and because of the file systems. It names neither the program nor the scenario.
// Here it is taken apart, and each part is held against what was measured on one machine.
func toolchainClaims(r *Result) []Claim {
	claims := []Claim{
		verdictOver(r, "C2-faster", "Clang with LLD builds for Linux faster than MinGW-w64 with GNU ld builds for Windows", claimFaster),
		verdictOver(r, "C2-faster-windows", "Clang with LLD builds faster than MinGW-w64 with GNU ld, both for Windows", claimFasterWindows),
		verdictOver(r, "C2-share", "Linking is a smaller share of the build with Clang and LLD (31 %) than with MinGW-w64 and GNU ld (58 %)", claimShare),
		verdictOver(r, "C2-lld", "The difference comes from LLD: with the compiler as it is, LLD instead of GNU ld makes most of it", claimLLD),
	}
	return append(claims, Claim{ID: "C2-machine", Text: "WSL2 with ext4 builds faster than native Windows with DrvFs", Verdict: NotMeasurable,
		Why: "one run sees one machine: measure on both, and give both results to benchCompare"})
}

// A finding is what one program in one scenario says of a claim.
type finding struct {
	holds, decided bool
	text           string
}

// verdictOver asks every program and scenario, and puts the findings together.
func verdictOver(r *Result, id, text string, ask func(r *Result, program string, s Scenario) (finding, bool)) Claim {
	c := Claim{ID: id, Text: text}
	var yes, no, open []string
	for _, p := range r.Programs {
		for _, s := range Scenarios() {
			f, ok := ask(r, p.Name, s)
			if !ok {
				continue
			}
			words := fmt.Sprintf("%s, %s: %s", p.Name, s, f.text)
			switch {
			case !f.decided:
				open = append(open, words)
			case f.holds:
				yes = append(yes, words)
			default:
				no = append(no, words)
			}
		}
	}
	part := func(word string, list []string) string {
		if len(list) == 0 {
			return ""
		}
		return word + strings.Join(list, "; ")
	}
	if len(yes)+len(no)+len(open) == 0 {
		c.Verdict, c.Why = NotMeasurable, "the toolchains that it compares were not both measured"
		return c
	}
	c.Verdict = verdictOf(len(yes), len(no))
	parts := slices.DeleteFunc([]string{part("holds for ", yes), part("does not hold for ", no), part("the data do not decide ", open)}, func(s string) bool { return s == "" })
	c.Why = strings.Join(parts, ". ")
	return c
}

// pick returns a plain series; a compiler ends in a hyphen when any of its versions does, the newest first.
func pick(r *Result, program string, s Scenario, target, compiler, linker string) *Series {
	for i := range r.Series {
		x := &r.Series[i]
		d := x.Dimensions
		name := d.Get("compiler")
		if x.Status != Measured || d.Get("program") != program || d.Get("scenario") != string(s) || d.Get("target") != target || d.Get("linker") != linker ||
			name != compiler && !(strings.HasSuffix(compiler, "-") && strings.HasPrefix(name, compiler)) {
			continue
		}
		plain := true
		for _, x := range d.Without("program", "scenario", "target", "compiler", "linker") {
			plain = plain && (x.Value == "default" || x.Value == "off" || x.Value == "none")
		}
		if plain {
			return x
		}
	}
	return nil
}

const (
	forWindows = "windows/amd64"
	forLinux   = "linux/amd64"
)

func claimFaster(r *Result, program string, s Scenario) (finding, bool) {
	return faster(pick(r, program, s, forWindows, "mingw", "bfd"), pick(r, program, s, forLinux, "clang-", "lld"))
}

func claimFasterWindows(r *Result, program string, s Scenario) (finding, bool) {
	return faster(pick(r, program, s, forWindows, "mingw", "bfd"), pick(r, program, s, forWindows, "clang-", "lld"))
}

// faster tells whether b takes less time than a.
func faster(a, b *Series) (finding, bool) {
	if a == nil || b == nil {
		return finding{}, false
	}
	c := Compare(a.Values(UnitWall), b.Values(UnitWall))
	return finding{holds: c.Ratio() < 1, decided: c.Real, text: fmt.Sprintf("%s against %s, %s", seconds(c.B), seconds(c.A), c)}, true
}

func claimShare(r *Result, program string, s Scenario) (finding, bool) {
	a, b := pick(r, program, s, forWindows, "mingw", "bfd"), pick(r, program, s, forLinux, "clang-", "lld")
	if a == nil || b == nil || s == Nothing {
		return finding{}, false
	}
	c := Compare(a.Shares(PhaseLink), b.Shares(PhaseLink))
	return finding{holds: c.Ratio() < 1, decided: c.Real, text: fmt.Sprintf("%s against %s, %s", percent(c.B.Median), percent(c.A.Median), c)}, true
}

// claimLLD compares on one target what changing the linker alone makes with what changing both compiler and linker makes.
func claimLLD(r *Result, program string, s Scenario) (finding, bool) {
	if s == Nothing {
		return finding{}, false
	}
	old, both := pick(r, program, s, forWindows, "mingw", "bfd"), pick(r, program, s, forWindows, "clang-", "lld")
	with := pick(r, program, s, forWindows, "clang-", "bfd")
	from, to, what := with, both, "clang with GNU ld to clang with LLD"
	if lld := pick(r, program, s, forWindows, "mingw", "lld"); lld != nil {
		from, to, what = old, lld, "mingw with GNU ld to mingw with LLD"
	}
	if old == nil || both == nil || from == nil || to == nil {
		return finding{}, false
	}
	all, linker := Compare(old.Values(UnitWall), both.Values(UnitWall)), Compare(from.Values(UnitWall), to.Values(UnitWall))
	f := finding{text: fmt.Sprintf("mingw with GNU ld to clang with LLD %s, %s %s", all, what, linker)}
	gain, part := all.A.Median-all.B.Median, linker.A.Median-linker.B.Median
	switch {
	case !all.Real || gain <= 0:
		// There is no gain to explain; what the linker does stands in the text.
		f.text += ", so there is no gain to explain"
	case linker.Real:
		f.decided, f.holds = true, part > gain/2
		f.text += fmt.Sprintf(", %s of the gain", percent(part/gain))
	default:
		f.text += ", so the linker's part is not proven"
	}
	return f, true
}

// Shares returns for each timed run the part of its wall-clock time that a phase took, 0 to 1.
func (s *Series) Shares(p Phase) []float64 {
	var shares []float64
	for _, m := range s.Samples {
		if part, ok := m[p.Unit()]; ok && m[UnitWall] > 0 {
			shares = append(shares, part/m[UnitWall])
		}
	}
	return shares
}

// seconds prints a median with its interval: "0.52 s ±3%".
func seconds(s Summary) string {
	return fmt.Sprintf("%s s %s", significant(s.Median), s.Spread())
}

// significant prints a number of seconds with three digits.
func significant(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

// verdictOf weighs how often a claim holds against how often it does not, where
// the data decide.
func verdictOf(holds, not int) Verdict {
	switch {
	case holds > 0 && not > 0:
		return Depends
	case holds > 0:
		return Confirmed
	case not > 0:
		return Refuted
	}
	return Undecided
}
