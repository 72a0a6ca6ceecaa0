package bench

import (
	"bytes"
	_ "embed" // the page's template
	"fmt"
	"html/template"
	"slices"
	"strings"

	"github.com/hallmark-build/hallmark/build/quote"
)

//go:embed page.html
var pageTemplate string

// A page is what page.html shows: of one result, or of two side by side.
type page struct {
	Title, Subtitle string
	Incomplete      string
	Programs        []Program
	Claims          []Claim
	Facts           []Differ // what differs between the sides of a pairing
	Groups          []pageGroup
	Unmeasured      []unmeasured
	Machines        []machineTable
	Tools           [][4]string // role, name, version, path
	Notes           []string
	Method          string
	Columns         string // what the columns of differences mean
}

// A pageGroup is the series of one program and scenario.
type pageGroup struct {
	Title   string
	Common  string // dimensions that all its series have
	common  Dimensions
	Figures []figure
	Tables  []table
}

// A figure is a chart, drawn for two widths.
type figure struct {
	Caption      string
	Legend       []legend // of the segments, when there are several
	Wide, Narrow template.HTML
}

// A legend is the colour of a segment: the class of the style sheet, and its name.
type legend struct {
	N    int
	Name string
}

// A table holds cells by row; the first of each row names it.
type table struct {
	Caption string
	Head    []string
	Rows    [][]pageCell
}

// A pageCell is a value with what qualifies it.
type pageCell struct {
	Value, Detail string
	Class         string // better, worse, same, base
}

type unmeasured struct {
	Name, Status, Reason, Output string
}

type machineTable struct {
	Title string
	Rows  [][2]string
}

// HTML draws the result as a page that needs nothing else: no network, no script.
func (r *Result) HTML() ([]byte, error) {
	p := page{
		Title:      kindTitle(r.Kind),
		Subtitle:   r.Started.Format("2 January 2006, 15:04 MST") + " · " + r.Machine.String(),
		Incomplete: r.Incomplete,
		Programs:   r.Programs,
		Claims:     r.Claims,
		Machines:   []machineTable{{"Machine", r.Machine.rows()}},
		Notes:      r.Notes,
		Method:     r.Method.String() + fmt.Sprintf(" The run took %s.", duration(r.Elapsed)),
		Columns:    columnWords(r.Kind),
	}
	for _, g := range groupSeries(r.Series) {
		drawn, err := drawGroup(r.Kind, g)
		if err != nil {
			return nil, err
		}
		p.Groups = append(p.Groups, drawn)
	}
	for i := range r.Series {
		s := &r.Series[i]
		if s.Status != Measured {
			p.Unmeasured = append(p.Unmeasured, unmeasured{s.Dimensions.words(), string(s.Status), s.Reason, s.Output})
		}
		for _, t := range s.Tools {
			if row := [4]string{t.Role, t.Name, t.Version, t.Path}; !slices.Contains(p.Tools, row) {
				p.Tools = append(p.Tools, row)
			}
		}
	}
	slices.SortFunc(p.Tools, func(a, b [4]string) int {
		return strings.Compare(strings.Join(a[:], "\x00"), strings.Join(b[:], "\x00"))
	})
	return p.render()
}

// kindTitle says what a kind of result is.
func kindTitle(k Kind) string {
	switch k {
	case KindToolchains:
		return "Benchmark of toolchains"
	case KindRace:
		return "Benchmark of the race detector"
	case KindServe:
		return "Benchmark of a net/http server"
	}
	return "Benchmark of " + string(k)
}

// columnWords explains the tables.
func columnWords(k Kind) string {
	s := fmt.Sprintf("± is the 95 %% confidence interval of the median, which is known from %d runs on.", MinRuns)
	const test = ", by a Mann-Whitney U test; ~ says that the data carry none (p ≥ 0.05)."
	switch k {
	case KindToolchains:
		return s + " Differences are to the same target's build by GCC with GNU ld" + test
	case KindRace:
		return s + " Differences are to the run without the detector" + test
	}
	return s
}

func (p page) render() ([]byte, error) {
	t, err := template.New("page").Parse(pageTemplate)
	if err != nil {
		return nil, fmt.Errorf("the page's template: %w", err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, p); err != nil {
		return nil, fmt.Errorf("drawing the page: %w", err)
	}
	return quote.HTML(b.Bytes()), nil
}

// rows describes a machine, a property a line.
func (m Machine) rows() [][2]string {
	rows := [][2]string{
		{"system", machineKind(m)},
		{"distribution", m.Distribution},
		{"kernel", m.Kernel},
		{"CPU", m.CPU},
		{"cores", fmt.Sprint(m.Cores)},
		{"memory", formatValue("B", float64(m.Memory))},
		{"frequency governor", m.Governor},
		{"Go", m.Go},
		{"load before and after", loadWords(m.LoadBefore) + ", " + loadWords(m.LoadAfter)},
	}
	if m.Memory == 0 {
		rows[5][1] = ""
	}
	for _, f := range m.FileSystems {
		rows = append(rows, [2]string{"file system of " + f.Role, f.Type})
	}
	return slices.DeleteFunc(rows, func(r [2]string) bool { return r[1] == "" })
}

func loadWords(load float64) string {
	if load < 0 {
		return "not known"
	}
	return fmt.Sprintf("%.2f", load)
}

// String says in sentences how the samples were taken.
func (m Method) String() string {
	var s []string
	say := func(format string, args ...any) { s = append(s, fmt.Sprintf(format, args...)) }
	runs := fmt.Sprintf("%d", m.MinRuns)
	if m.MaxRuns > m.MinRuns {
		runs = fmt.Sprintf("%d to %d", m.MinRuns, m.MaxRuns)
	}
	say("Each series was run %s times, after %d not counted.", runs, m.Warmups)
	if m.Interleaved {
		say("Each round ran every series once, in random order (seed %d).", m.Seed)
	}
	if m.Width > 0 && m.MaxRuns > m.MinRuns {
		say("A series was not run again once its interval was narrower than %.0f %% of its median.", 100*m.Width)
	}
	if m.Budget > 0 {
		say("More runs than the fewest were made within %s.", duration(m.Budget))
	}
	if m.Pinned != "" {
		say("Pinned: %s.", m.Pinned)
	}
	if m.Size != "" {
		say("Size of the run: %s.", m.Size)
	}
	return strings.Join(s, " ")
}

// duration returns seconds as a person says them.
func duration(seconds float64) string {
	if seconds < 120 {
		return fmt.Sprintf("%.0f s", seconds)
	}
	return fmt.Sprintf("%.0f min", seconds/60)
}
