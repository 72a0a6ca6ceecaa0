package bench

import (
	"fmt"
	"strings"
)

// The claims that two results can decide are ratios between two kinds of machines. A figure that was printed with n
// digits stands for all that round to it, so each claim is a range.

// claims holds the pair against the claims that bear on its kind.
func (p *Pairing) claims() []Claim {
	switch p.A.Kind {
	case KindToolchains:
		times, shares := p.c2Rows()
		return []Claim{
			p.claim("C1-build", "go build in WSL2 takes 12 % less time than on native Windows", isWSL2, isWindows, p.Of(UnitWall), 0.875, 0.885),
			p.claim("C2-machine", "with CGO, a build by Clang in WSL2 takes 4.2 s and one by MinGW-w64 on native Windows 9.7 s", isWSL2, isWindows, times, 4.15/9.75, 4.25/9.65),
			p.claim("C2-machine-share", "of these, 31 % and 58 % are linking", isWSL2, isWindows, shares, 30.5/58.5, 31.5/57.5),
		}
	case KindRace:
		command := func(unit string) []Row {
			var rows []Row
			for _, r := range p.Of(unit) {
				if r.Dimensions.Get("detector") == "on" && (unit == UnitRaces || r.Dimensions.Get("scenario") == scenarioGoTest) {
					rows = append(rows, r)
				}
			}
			return rows
		}
		return []Claim{
			p.claim("C10-time", "go test -race takes 8.3 s on Linux and 14.9 s on Windows", isLinux, isWindows, command(UnitWall), 8.25/14.95, 8.35/14.85),
			p.claim("C10-memory", "go test -race takes 1.2 GB on Linux and 2.4 GB on Windows", isLinux, isWindows, command(UnitPeak), 1.15/2.45, 1.25/2.35),
			p.claim("C10-found", "go test -race finds 7 races on Linux and 4 of them on Windows", isLinux, isWindows, command(UnitRaces), 7.0/4, 7.0/4),
		}
	case KindServe:
		return []Claim{p.claim("C1-http", "HTTP throughput in WSL2 is 8 to 15 % higher than on native Windows", isWSL2, isWindows, p.saturated(), 1.08, 1.15)}
	}
	return nil
}

func isWSL2(m Machine) bool    { return m.OS == "linux" && m.WSL == 2 }
func isLinux(m Machine) bool   { return m.OS == "linux" }
func isWindows(m Machine) bool { return m.OS == "windows" }

// c2Rows pairs what claim C2 compares, in each program and scenario: Clang with LLD for Linux on the side that is Linux, and
// MinGW-w64 with GNU ld for Windows on the other. Its rows are of the time, and of the share of linking.
func (p *Pairing) c2Rows() (times, shares []Row) {
	of := func(r *Result, program string, s Scenario) *Series {
		if r.Machine.OS == "windows" {
			return pick(r, program, s, "windows/amd64", "mingw", "bfd")
		}
		return pick(r, program, s, "linux/amd64", "clang-", "lld")
	}
	for _, program := range p.A.Programs {
		for _, s := range Scenarios() {
			a, b := of(p.A, program.Name, s), of(p.B, program.Name, s)
			if a == nil || b == nil {
				continue
			}
			d := Dimensions{{"program", program.Name}, {"scenario", string(s)}}
			times = append(times, Row{Dimensions: d, Unit: UnitWall, Comparison: Compare(a.Values(UnitWall), b.Values(UnitWall))})
			shares = append(shares, Row{Dimensions: d, Unit: "share", Comparison: Compare(a.Shares(PhaseLink), b.Shares(PhaseLink))})
		}
	}
	adjust(times)
	adjust(shares)
	return times, shares
}

// saturated are the rows in which requests are made as fast as they are answered.
func (p *Pairing) saturated() []Row {
	var rows []Row
	for _, l := range loads() {
		for _, r := range p.Of(UnitRequests) {
			if l.rate == 0 && r.Dimensions.Get("scenario") == l.name {
				rows = append(rows, r)
			}
		}
	}
	return rows
}

// claim decides whether this machine's median over that one's lies in [lo, hi] in the rows given.
func (p *Pairing) claim(id, text string, this, that func(Machine) bool, rows []Row, lo, hi float64) Claim {
	c := Claim{ID: id, Text: text, Verdict: NotMeasurable}
	a, b := p.A.Machine, p.B.Machine
	thisName, thatName := machineKind(a), machineKind(b)
	turned := this(b) && that(a)
	switch {
	case turned:
		thisName, thatName = thatName, thisName
	case !this(a) || !that(b):
		c.Why = fmt.Sprintf("it is about other machines than A (%s) and B (%s)", machineKind(a), machineKind(b))
		return c
	case len(rows) == 0:
		c.Why = "no series of it is in both"
		return c
	case p.busy != "" && rows[0].Unit != UnitPeak && rows[0].Unit != UnitRaces:
		c.Verdict, c.Why = Undecided, p.busy
		return c
	}
	var holds, not, open []string
	for _, r := range rows {
		v := r.ratio(turned)
		words := fmt.Sprintf("%s %s", r.Dimensions.words(), v)
		switch {
		case !v.known:
			open = append(open, words)
		case v.hi < lo || v.lo > hi:
			not = append(not, words)
		case r.Real:
			holds = append(holds, words)
		default: // the interval has both the claim and no difference in it
			open = append(open, words)
		}
	}
	c.Verdict = verdictOf(len(holds), len(not))
	claimed := digits(lo)
	if digits(hi) != claimed {
		claimed += " to " + digits(hi)
	}
	why := []string{fmt.Sprintf("claimed is a ratio of %s between %s and %s", claimed, thisName, thatName)}
	for _, part := range []struct {
		words string
		list  []string
	}{{"it lies in the interval of", holds}, {"not in that of", not}, {"not decided is", open}} {
		if len(part.list) > 0 {
			why = append(why, part.words+" "+strings.Join(part.list, ", "))
		}
	}
	c.Why = strings.Join(why, "; ")
	return c
}

// A ratioInterval is the ratio of two medians with the bounds that their intervals put on it.
type ratioInterval struct {
	ratio, lo, hi float64
	known         bool
}

func (r ratioInterval) String() string {
	if !r.known {
		return digits(r.ratio) + " (no interval)"
	}
	return fmt.Sprintf("%s (%s to %s)", digits(r.ratio), digits(r.lo), digits(r.hi))
}

// ratio returns A over B, or B over A when turned. The bounds hold if both intervals do, with a probability of at least
// .95² = .90.
func (r Row) ratio(turned bool) ratioInterval {
	a, b := r.A, r.B
	if turned {
		a, b = b, a
	}
	v := ratioInterval{known: a.Known && b.Known && b.Lo > 0}
	if b.Median != 0 {
		v.ratio = a.Median / b.Median
	}
	if v.known {
		v.lo, v.hi = a.Lo/b.Hi, a.Hi/b.Lo
	}
	return v
}
