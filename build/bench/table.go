package bench

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/hallmark-build/hallmark/build/quote"
)

// A grid is a table of words, the first row of which is its head. Columns after the first text columns stand at the right.
type grid struct {
	text int // columns that stand at the left
	rows [][]string
}

// Text returns the result as tables for a terminal.
func (r *Result) Text() []byte { return r.write(form{plainGrid, "", quote.Fprintf}) }

// Markdown returns the result as a page of tables.
func (r *Result) Markdown() []byte {
	return r.write(form{markdownGrid, "## ", quote.Markdownf})
}

// A form is how a result is written: its tables, its headings, and how what
// results hold, which may come from another machine, is quoted.
type form struct {
	draw    func(*bytes.Buffer, grid)
	heading string
	print   func(w io.Writer, format string, args ...any) (int, error)
}

// title writes a heading.
func (f form) title(b *bytes.Buffer, s string) { f.print(b, "%s%s\n\n", quote.Raw(f.heading), s) }

func (r *Result) write(f form) []byte {
	var b bytes.Buffer
	if r.Incomplete != "" {
		f.print(&b, "INCOMPLETE: %s\n\n", r.Incomplete)
	}
	if r.Kind == KindToolchains {
		r.writeToolchains(&b, f)
	} else {
		r.writeGroups(&b, f)
	}
	if g := r.unmeasured(); len(g.rows) > 1 {
		f.title(&b, "Not measured")
		f.draw(&b, g)
		b.WriteByte('\n')
	}
	for _, s := range r.Series {
		if s.Output != "" {
			f.print(&b, "%s said:\n\n    %s\n\n", s.Dimensions, quote.Raw(strings.ReplaceAll(quote.Lines(s.Output), "\n", "\n    ")))
		}
	}
	if len(r.Claims) > 0 {
		f.title(&b, "Claims")
		for _, c := range r.Claims {
			f.print(&b, "- %s. %s: %s. %s\n", c.ID, c.Text, strings.ToUpper(string(c.Verdict)), c.Why)
		}
		b.WriteByte('\n')
	}
	f.title(&b, "Method")
	for _, line := range r.methodLines() {
		f.print(&b, "- %s\n", line)
	}
	for _, n := range r.Notes {
		f.print(&b, "- %s\n", n)
	}
	return b.Bytes()
}

// writeToolchains writes the tables of builds.
func (r *Result) writeToolchains(b *bytes.Buffer, f form) {
	for _, p := range r.Programs {
		for _, s := range append(Scenarios(), Replay) {
			list := r.chosen(p.Name, s)
			if len(list) == 0 {
				continue
			}
			f.title(b, fmt.Sprintf("%s, %s: %s", p.Name, s, describeScenario(s)))
			f.draw(b, timeGrid(list))
			b.WriteByte('\n')
			if g := profileGrid(list); len(g.rows) > 1 {
				f.print(b, "The link of instrumented runs, in seconds and MiB, the largest process of each:\n\n")
				f.draw(b, g)
				b.WriteByte('\n')
			}
		}
	}
}

// writeGroups writes the tables of other kinds, as the page has them.
func (r *Result) writeGroups(b *bytes.Buffer, f form) {
	for _, series := range groupSeries(r.Series) {
		group := newGroup(series)
		t := mainTable(r.Kind, series, group.name)
		g := grid{text: 1, rows: [][]string{t.Head}}
		for _, row := range t.Rows {
			var words []string
			for _, c := range row {
				words = append(words, strings.TrimSpace(c.Value+" "+c.Detail))
			}
			g.rows = append(g.rows, words)
		}
		f.title(b, group.Title)
		f.draw(b, g)
		b.WriteByte('\n')
	}
}

// describeScenario says in words what was done before the build.
func describeScenario(s Scenario) string {
	return map[Scenario]string{
		Cold: "an empty GOCACHE", GoChanged: "one Go file of the main package changed", CChanged: "one C file changed",
		Relink: "nothing changed, the output deleted", Nothing: "nothing changed, the output there",
		Replay: "the C linker's command alone",
	}[s]
}

// chosen returns the measured series of a program in a scenario.
func (r *Result) chosen(program string, s Scenario) []*Series {
	var list []*Series
	for i := range r.Series {
		x := &r.Series[i]
		if x.Status == Measured && len(x.Samples) > 0 && x.Dimensions.Get("program") == program && x.Dimensions.Get("scenario") == string(s) {
			list = append(list, x)
		}
	}
	return list
}

// baseline returns what a series is compared with: gcc's or mingw's with GNU ld, for the same target and else alike.
func baseline(list []*Series, s *Series) *Series {
	rest := s.Dimensions.Without("compiler", "linker")
	for _, x := range list {
		if c := x.Dimensions.Get("compiler"); (c == "gcc" || c == "mingw") && x.Dimensions.Get("linker") == "bfd" && slices.Equal(x.Dimensions.Without("compiler", "linker"), rest) {
			return x
		}
	}
	return nil
}

// timeGrid is the table of timed runs.
func timeGrid(list []*Series) grid {
	names := list[0].Dimensions.Without("program", "scenario")
	head := make([]string, 0, 16)
	for _, d := range names {
		head = append(head, d.Key)
	}
	g := grid{text: len(head)}
	phases := slices.DeleteFunc(Phases(), func(p Phase) bool {
		return !slices.ContainsFunc(list, func(s *Series) bool { return Summarize(s.Values(p.Unit())).Median > 0 })
	})
	head = append(head, "seconds", "±", "vs GNU ld", "p", "CPU")
	for _, p := range phases {
		head = append(head, string(p))
	}
	if len(phases) > 0 {
		head = append(head, "linking")
	}
	g.rows = append(g.rows, append(head, "peak MiB", "runs"))
	for _, s := range list {
		var row []string
		for _, d := range s.Dimensions.Without("program", "scenario") {
			row = append(row, d.Value)
		}
		wall := Summarize(s.Values(UnitWall))
		row = append(row, significant(wall.Median), strings.TrimPrefix(wall.Spread(), "±"))
		if base := baseline(list, s); base == nil || base == s {
			row = append(row, "", "")
		} else {
			c := Compare(base.Values(UnitWall), s.Values(UnitWall))
			row = append(row, c.Delta(), fmt.Sprintf("%.3f", c.P))
		}
		row = append(row, significant(Summarize(s.Values(UnitCPU)).Median))
		for _, p := range phases {
			row = append(row, significant(Summarize(s.Values(p.Unit())).Median))
		}
		if len(phases) > 0 {
			row = append(row, percent(Summarize(s.Shares(PhaseLink)).Median))
		}
		g.rows = append(g.rows, append(row, mebibytes(Summarize(s.Values(UnitPeak)).Median), fmt.Sprint(wall.N)))
	}
	return g
}

// profileGrid is the table of the link in instrumented runs; it has a head alone when there were none.
func profileGrid(list []*Series) grid {
	var head []string
	for _, d := range list[0].Dimensions.Without("program", "scenario") {
		head = append(head, d.Key)
	}
	g := grid{text: len(head)}
	head = append(head, "Go linker", "MiB", "probes", "C linker", "MiB", "its share", "runs")
	g.rows = append(g.rows, head)
	for _, s := range list {
		host := Summarize(s.ProfileValues(PhaseHostLink.Unit()))
		if host.N == 0 {
			continue
		}
		var row []string
		for _, d := range s.Dimensions.Without("program", "scenario") {
			row = append(row, d.Value)
		}
		median := func(unit string) float64 { return Summarize(s.ProfileValues(unit)).Median }
		row = append(row, significant(median(PhaseGoLink.Unit())), mebibytes(median(PhaseGoLink.PeakUnit())), significant(median(PhaseProbes.Unit())),
			significant(host.Median), mebibytes(median(PhaseHostLink.PeakUnit())), percent(host.Median/median(UnitWall)), fmt.Sprint(host.N))
		g.rows = append(g.rows, row)
	}
	return g
}

// unmeasured lists what was not measured, and why.
func (r *Result) unmeasured() grid {
	g := grid{text: 3, rows: [][]string{{"series", "status", "reason"}}}
	for _, s := range r.Series {
		if s.Status != Measured {
			g.rows = append(g.rows, []string{s.Dimensions.String(), string(s.Status), s.Reason})
		}
	}
	return g
}

// methodLines tells how and where it was measured.
func (r *Result) methodLines() []string {
	m := r.Machine
	machine := m.OS + "/" + m.Arch
	for _, s := range []string{m.Distribution, m.CPU} {
		if s != "" {
			machine += ", " + s
		}
	}
	if m.Kernel != "" {
		machine += ", kernel " + m.Kernel
	}
	if m.WSL > 0 {
		machine += fmt.Sprintf(", WSL %d", m.WSL)
	}
	machine += fmt.Sprintf(", %d processors, %s MiB, %s", m.Cores, mebibytes(float64(m.Memory)), m.Go)
	for _, f := range m.FileSystems {
		machine += fmt.Sprintf(", %s on %s", f.Role, f.Type)
	}
	x := r.Method
	method := fmt.Sprintf("%d warm-up and at least %d timed runs of each series, every round in another random order (seed %d), medians with %.0f %% confidence intervals",
		x.Warmups, x.MinRuns, x.Seed, 100*x.Confidence)
	if x.MaxRuns > x.MinRuns {
		method += fmt.Sprintf("; more runs until the interval is narrower than %.0f %% of the median", 100*x.Width)
	}
	if x.Budget > 0 {
		method += fmt.Sprintf(" or %.0f s are over", x.Budget)
	}
	if x.Pinned != "" {
		method += "; pinned to processors " + x.Pinned
	}
	lines := []string{machine, method, "differences by a Mann-Whitney U test at 5 %; ~ is a difference that the data do not prove"}
	if r.Kind == KindToolchains {
		lines = append(lines, "seconds of wall-clock time; phases share each moment among the actions of the go command that run in it, so they add up")
	}
	if part, ok := overhead(r); ok {
		lines = append(lines, fmt.Sprintf("instrumented runs are apart from timed ones, and take %.0f %% more CPU time than they (median over the series)", 100*part))
	}
	var tools []string
	for _, s := range r.Series {
		for _, t := range s.Tools {
			if text := strings.TrimSpace(t.Name + " " + t.Version); !slices.Contains(tools, text) {
				tools = append(tools, text)
			}
		}
	}
	if len(tools) > 0 {
		lines = append(lines, "tools: "+strings.Join(tools, ", "))
	}
	for _, p := range r.Programs {
		lines = append(lines, fmt.Sprintf("program %s: %s; sources %.12s", p.Name, p.Description, p.Digest))
	}
	return append(lines, fmt.Sprintf("%s, in %s", r.Started.Format("2006-01-02 15:04 MST"), roughly(r.Elapsed)))
}

// mebibytes prints bytes, "" for none.
func mebibytes(v float64) string {
	if v == 0 {
		return ""
	}
	return fmt.Sprintf("%.0f", v/(1<<20))
}

// quoted returns the grid with its cells quoted.
func (g grid) quoted(quote func(string) string) grid {
	rows := make([][]string, len(g.rows))
	for i, row := range g.rows {
		for _, s := range row {
			rows[i] = append(rows[i], quote(s))
		}
	}
	return grid{text: g.text, rows: rows}
}

// plainGrid draws a table for a terminal.
func plainGrid(b *bytes.Buffer, g grid) {
	g = g.quoted(quote.Text)
	widths := make([]int, len(g.rows[0]))
	for _, row := range g.rows {
		for i, s := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(s))
		}
	}
	for _, row := range g.rows {
		var line strings.Builder
		for i, s := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(s))
			if i < g.text {
				line.WriteString(s + pad + "  ")
			} else {
				line.WriteString(pad + s + "  ")
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}

// markdownGrid draws a table in Markdown.
func markdownGrid(b *bytes.Buffer, g grid) {
	for i, row := range g.quoted(quote.Markdown).rows {
		for _, s := range row {
			b.WriteString("| " + s + " ")
		}
		b.WriteString("|\n")
		if i > 0 {
			continue
		}
		for j := range row {
			if j < g.text {
				b.WriteString("| --- ")
			} else {
				b.WriteString("| ---: ")
			}
		}
		b.WriteString("|\n")
	}
}
