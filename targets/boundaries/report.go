package boundaries

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hallmark-build/hallmark/signing/compat"
	"github.com/hallmark-build/hallmark/targets/page"
)

//go:embed report.html
var reportText string

// view is what report.html draws.
type view struct {
	page.Head
	Warnings   []string
	Unexpected findings
	Allowed    findings
	Glance     glance
	Legend     []page.Mark
	Claims     []claimView
	Matrices   []page.Matrix
	Keys       []page.Matrix
	Measured   []measured
	Gallery    []shot
	Judges     []judgeView
	Made       []page.Fact
	Foot       string
}

// finding is a story to be read first.
type finding struct {
	Panel string
	Mark  page.Mark
	What  string
	Why   string
	also  int // cells of the same story
	name  string
}

// findings are stories of which the first are shown, and the others on demand.
type findings struct{ First, More []finding }

// manyFindings is how many stories are shown at first, so that the map itself
// is not far.
const manyFindings = 10

func shown(f []finding) findings {
	n := min(len(f), manyFindings)
	return findings{f[:n], f[n:]}
}

// glance is the map in one table: operations by schemes, with counts.
type glance struct {
	Schemes []page.Fact // name, anchor
	Rows    []glanceRow
}

type glanceRow struct {
	Label string
	Cells []glanceCell
}

type glanceCell struct {
	Href  string
	Chips []chip
}

type chip struct{ Class, Text, Title string }

type claimView struct {
	Claim
	Class string
}

type measured struct{ Panel, What, Judge, Figures string }

type shot struct {
	Panel, Caption string
	Picture        template.URL
}

type judgeView struct {
	Name, Version, Path, Missing string
	Schemes                      string
	Limits                       []page.Fact
	Chips                        []chip
	Time                         string
}

// HTML draws the map: one file, which needs no other and runs no script.
// Screenshots are read from files, the folder that the record stands in.
func (m *Map) HTML(w io.Writer, files fs.FS) error {
	d := drawing{Map: m, files: files, panel: map[*Cell]string{}}
	return page.Draw(w, reportText, d.view())
}

// drawing is one report in the making.
type drawing struct {
	*Map
	files    fs.FS
	panel    map[*Cell]string // where a cell's story is
	anchors  map[string]string
	pictures []string // what could not be shown
}

func (d *drawing) view() *view {
	operations, keys := d.tables()
	v := &view{Head: d.head(), Warnings: slices.Clone(d.Notes)}
	d.anchors = map[string]string{}
	for i, t := range operations {
		v.Matrices = append(v.Matrices, d.matrix(fmt.Sprintf("m%d", i), t))
	}
	for i, t := range keys {
		x := d.matrix(fmt.Sprintf("k%d", i), t)
		x.Title, x.Corner = t.scheme+": keys and digests", "key, digest"
		v.Keys = append(v.Keys, x)
	}
	if d.Incomplete != "" {
		v.Warnings = append([]string{"This map is not whole: " + d.Incomplete}, v.Warnings...)
	}
	var unexpected, allowed []finding
	v.Glance, v.Legend = d.glance(operations), page.Legend(slices.Concat(v.Matrices, v.Keys)...)
	for i := range d.Cells {
		c := &d.Cells[i]
		switch c.Status {
		case compat.Pass, compat.Skip:
		case compat.Differ:
			allowed = d.find(allowed, c)
		default:
			unexpected = d.find(unexpected, c)
		}
		if len(c.Figures) > 0 {
			v.Measured = append(v.Measured, measured{d.panel[c], cellName(c), c.Judge, figures(c.Figures)})
		}
		if c.Screenshot != "" {
			if p := d.picture(c); p != "" {
				v.Gallery = append(v.Gallery, shot{d.panel[c], cellName(c) + ", " + c.Judge, p})
			}
		}
	}
	v.Unexpected, v.Allowed = shown(unexpected), shown(allowed)
	for _, c := range d.Claims {
		class := ""
		switch {
		case strings.HasPrefix(c.Verdict, "confirmed"):
			class = "yes"
		case strings.HasPrefix(c.Verdict, "refuted"):
			class = "dark"
		}
		v.Claims = append(v.Claims, claimView{c, class})
	}
	v.Judges = d.judges()
	v.Warnings = append(v.Warnings, d.pictures...)
	v.Made = d.made()
	v.Foot = fmt.Sprintf("Drawn from %s alone. `mage boundaries` makes the map, `mage boundariesReport` draws it again.", MapFile)
	return v
}

// find adds a cell to findings: once for each story.
func (d *drawing) find(findings []finding, c *Cell) []finding {
	for i := range findings {
		if f := &findings[i]; f.Panel == d.panel[c] {
			f.also++
			f.What = fmt.Sprintf("%s, and %d more", f.name, f.also)
			return findings
		}
	}
	name := c.Judge + ": " + cellName(c)
	return append(findings, finding{Panel: d.panel[c], Mark: page.MarkOf(c.Got, c.Status), What: name, Why: reasonOf(c), name: name})
}

func (d *drawing) head() page.Head {
	total := d.total()
	answered, judges := d.answers()
	h := page.Head{
		Title:    "Where signatures stop being accepted",
		Subtitle: "A map of compatibility boundaries: what was signed, what happened to it, and what each judge said.",
		Verdict:  d.verdict(), Good: total.unexpected == 0 && total.skipped == 0 && d.Incomplete == "" && total.cells > 0,
		Cards: []page.Card{
			{Figure: fmt.Sprintf("%d of %d", answered, judges), Text: "independent judges answered"},
			{Figure: strconv.Itoa(total.cells), Text: "cells of the map"},
			{Figure: strconv.Itoa(total.expected()), Text: "as expected"},
			{Figure: strconv.Itoa(total.unexpected), Text: "not as expected"},
			{Figure: strconv.Itoa(total.skipped), Text: "could not be asked"},
		},
	}
	if total.unexpected > 0 {
		h.Cards[3].Class = "bad"
	}
	if total.allowed > 0 {
		h.Cards = append(h.Cards, page.Card{Figure: strconv.Itoa(total.allowed), Text: "allowed for a time", Class: "allowed"})
	}
	return h
}

func (m *Map) total() (s tally) {
	for i := range m.Cells {
		s.add(&m.Cells[i])
	}
	return s
}

// verdict is the map in one sentence.
func (m *Map) verdict() string {
	s := m.total()
	text := fmt.Sprintf("All %d cells are as expected.", s.cells)
	switch {
	case s.cells == 0:
		return "The map is empty."
	case s.unexpected > 0:
		text = fmt.Sprintf("%d of %d cells are not as expected.", s.unexpected, s.cells)
	case s.skipped > 0:
		text = fmt.Sprintf("%d cells are as expected; %d could not be asked.", s.expected(), s.skipped)
	case s.allowed > 0:
		text = fmt.Sprintf("%d cells are as expected, and %d are not, which is allowed for a time.", s.expected(), s.allowed)
	}
	if m.Incomplete != "" {
		text += " The map is not whole: " + m.Incomplete + "."
	}
	return text
}

func (d *drawing) made() []page.Fact {
	facts := []page.Fact{{Name: "made", Value: d.Made.UTC().Format("2006-01-02 15:04 MST")}, {Name: "machine", Value: d.Machine.What}, {Name: "its kernel", Value: d.Machine.Kernel}}
	if len(d.Machine.Kernels) > 0 {
		facts = append(facts, page.Fact{Name: "kernels as judges", Value: strings.Join(d.Machine.Kernels, "\n")})
	}
	for _, name := range slices.Sorted(maps.Keys(d.Machine.Versions)) {
		facts = append(facts, page.Fact{Name: name, Value: d.Machine.Versions[name]})
	}
	return slices.DeleteFunc(facts, func(f page.Fact) bool { return f.Value == "" })
}

// matrix draws a table, and the panels of its cells.
func (d *drawing) matrix(id string, t table) page.Matrix {
	x := page.Matrix{ID: id, Title: t.scheme, Corner: "what happened to the file", Note: "Where no kind of file is named, all were answered alike."}
	for _, c := range t.columns {
		col := page.Column{Name: c.judge, Group: c.scheme, Title: c.judge + ", asked about " + c.scheme}
		if slices.ContainsFunc(t.columns, func(o column) bool { return o.judge == c.judge && o != c }) {
			col.Name += " (" + c.scheme + ")"
		}
		x.Columns = append(x.Columns, col)
	}
	before := ""
	for r, l := range t.lines {
		row := page.Row{ID: fmt.Sprintf("%s-%d", id, r), Sub: l.places()}
		if !l.all {
			row.Sub = l.who()
		}
		if label := l.label(id); label != before {
			row.Label, row.First, before = label, r > 0, label
			if key := t.scheme + "\x00" + operationKind(l.operation); id[0] == 'm' && d.anchors[key] == "" {
				d.anchors[key] = row.ID
			}
		}
		for k, cells := range l.cells {
			tile := page.Tile{}
			if len(cells) > 0 {
				p := d.story(fmt.Sprintf("%s-%d", row.ID, k), row.ID, t.scheme, l, cells)
				tile = page.Tile{Mark: p.Mark, Panel: p.ID, Title: p.Title + ": " + p.Mark.Word}
				x.Panels = append(x.Panels, p)
			}
			row.Tiles = append(row.Tiles, tile)
		}
		x.Rows = append(x.Rows, row)
	}
	x.Edges()
	return x
}

func (l line) label(id string) string {
	if id[0] == 'k' || !l.base {
		by := strings.TrimSpace(l.key + " " + l.digest)
		if id[0] == 'k' {
			return by
		}
		return l.name() + ", " + by
	}
	return l.name()
}

// words makes words of an operation's name.
func words(operation string) string {
	if operation == asSigned {
		return "as signed"
	}
	return strings.ReplaceAll(operation, "-", " ")
}

// who names the artifacts of a row.
func (l line) who() string {
	if l.all && len(l.artifacts) > 3 {
		return fmt.Sprintf("all %d kinds of files", len(l.artifacts))
	}
	return strings.Join(l.artifacts, ", ")
}

// story is the panel of cells that were answered alike.
func (d *drawing) story(id, back, scheme string, l line, cells []*Cell) page.Panel {
	c := worst(cells)
	p := page.Panel{ID: id, Back: back, Mark: page.MarkOf(c.Got, c.Status), Title: c.Judge + ", " + l.name()}
	by := strings.TrimSpace(l.key + " " + l.digest)
	p.Sub = strings.Join(slices.DeleteFunc([]string{scheme, by, l.who()}, func(s string) bool { return s == "" }), " · ")
	fact := func(name, value string) {
		if value != "" {
			p.Facts = append(p.Facts, page.Fact{Name: name, Value: value})
		}
	}
	fact("answer", p.Mark.Word)
	fact("reason", distinctText(cells, func(c *Cell) string { return c.Reason }))
	if c.Allowed != nil {
		fact("allowed", fmt.Sprintf("until %s: %s", c.Allowed.Until, c.Allowed.Reason))
	}
	fact("expected", distinctText(cells, func(c *Cell) string { return c.Want }))
	fact("because", distinctText(cells, func(c *Cell) string { return c.Why }))
	fact("judge", strings.TrimSpace(c.Judge+" "+c.Version))
	fact("program", c.Path)
	for _, c := range cells {
		if d.panel[c] == "" {
			d.panel[c] = id
		}
		r := page.Run{Name: fileName(c, l), Command: c.Command, Seconds: c.Seconds, Figures: figures(c.Figures)}
		if c.Screenshot != "" {
			r.Picture = d.picture(c)
		}
		p.Runs = append(p.Runs, r)
	}
	p.Says = sayings(cells, l)
	return p
}

// digits are what differs between the same words about different files.
var digits = regexp.MustCompile(`[0-9A-Fa-f]{16,}|\d+`)

// sayings groups what was printed: the same words about different files are
// shown once, for the first.
func sayings(cells []*Cell, l line) []page.Saying {
	var said []page.Saying
	known := map[string]int{}
	for _, c := range cells {
		if c.Output == "" {
			continue
		}
		key := digits.ReplaceAllString(strings.NewReplacer(c.Case, "F", c.Artifact, "A").Replace(c.Output), "0")
		if i, ok := known[key]; ok {
			said[i].Of += ", " + fileName(c, l)
			continue
		}
		known[key] = len(said)
		said = append(said, page.Saying{Of: fileName(c, l), Text: c.Output})
	}
	if len(said) == 1 && len(cells) == 1 {
		said[0].Of = ""
	}
	return said
}

// fileName tells the files of a story apart.
func fileName(c *Cell, l line) string {
	if len(l.also) > 0 {
		return c.Artifact + ", " + words(c.Operation)
	}
	return c.Artifact
}

func (d *drawing) picture(c *Cell) template.URL {
	u, err := page.Picture(d.files, c.Screenshot)
	if err != nil {
		note := "A screenshot is not shown: " + err.Error()
		if !slices.Contains(d.pictures, note) {
			d.pictures = append(d.pictures, note)
		}
		return ""
	}
	return u
}

// distinctText joins the different values of f, a line each.
func distinctText(cells []*Cell, f func(*Cell) string) string {
	return strings.TrimSpace(strings.Join(distinctOf(cells, f), "\n"))
}

func figures(f map[string]float64) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(f)) {
		out = append(out, name+" "+strconv.FormatFloat(f[name], 'g', 6, 64))
	}
	return strings.Join(out, ", ")
}

func cellName(c *Cell) string {
	parts := []string{c.Artifact, c.Scheme, strings.TrimSpace(c.Key + " " + c.Digest), words(c.Operation)}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ", ")
}

// reasonOf says why a cell is as it is.
func reasonOf(c *Cell) string {
	text := fmt.Sprintf("expected %s, got %s", c.Want, c.Got)
	if c.Got == "" {
		text = fmt.Sprintf("expected %s, got nothing", c.Want)
	}
	for _, s := range []string{c.Reason, c.Why} {
		if s != "" {
			text += "; " + s
		}
	}
	if c.Allowed != nil {
		text += fmt.Sprintf("; allowed until %s: %s", c.Allowed.Until, c.Allowed.Reason)
	}
	return text
}

// ReportFile and SummaryFile are the names of the reports in the output folder.
const (
	ReportFile  = "report.html"
	SummaryFile = "report.md"
)

// WriteReports draws the reports of the map into the folder of its record, each
// whole or not at all, and returns their paths.
func (m *Map) WriteReports(dir string) ([]string, error) {
	var page bytes.Buffer
	if err := m.HTML(&page, os.DirFS(dir)); err != nil {
		return nil, err
	}
	var paths []string
	for _, f := range []struct {
		name string
		data []byte
	}{{ReportFile, page.Bytes()}, {SummaryFile, m.Markdown()}} {
		file := filepath.Join(dir, f.name)
		if err := writeFile(file, f.data); err != nil {
			return nil, fmt.Errorf("writing the report: %w", err)
		}
		paths = append(paths, file)
	}
	return paths, nil
}

// Draw draws the reports again from a record, which is named by its file or by
// its folder, and returns their paths.
func Draw(record string) ([]string, error) {
	dir := record
	if filepath.Base(record) == MapFile {
		dir = filepath.Dir(record)
	}
	m, err := Read(dir)
	if err != nil {
		return nil, err
	}
	return m.WriteReports(dir)
}
