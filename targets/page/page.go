// Package page is what the reports of hallmark have in common: one HTML file
// that needs nothing else, is read on a phone as well as on a wide screen, in
// light and in dark, and runs no script.
//
// A report is made of a head ("open"), matrices ("matrix") and an end
// ("close"), which are templates of [Parse]. A matrix is a table of tiles: a
// row for what was judged, a column for each judge. Each tile has a colour and
// a sign, so that nothing depends on seeing colours, and is a link to a panel
// with the whole story: the command, what it printed, who expected what. The
// panels are hidden until the address names them (:target), which needs no
// script, costs no layout while they are hidden, and gives every answer an
// address of its own.
//
// The page forbids itself, by a Content-Security-Policy, to load or run
// anything: pictures are data in it.
package page

import (
	"bytes"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/hallmark-build/hallmark/build/quote"
	"github.com/hallmark-build/hallmark/signing/compat"
)

//go:embed page.html page.css
var files embed.FS

// Mark is how an answer is shown.
type Mark struct {
	Class string // of the style sheet: yes, no, cannot, bad, allowed, skip
	Glyph string // one sign
	Word  string // for those who see neither
}

// MarkOf returns the mark of an answer: got is "accept", "refuse", "cannot", or
// begins with "crashed" or "unclear"; status is how that stands to what was
// expected.
func MarkOf(got string, status compat.Status) Mark {
	got, _, _ = strings.Cut(got, ":")
	m := Mark{Glyph: "!", Word: got}
	switch got {
	case "accept":
		m = Mark{Class: "yes", Glyph: "✓", Word: "accepted"}
	case "refuse":
		m = Mark{Class: "no", Glyph: "✕", Word: "refused"}
	case "cannot":
		m = Mark{Class: "cannot", Glyph: "–", Word: "cannot read it"}
	case "unclear":
		m.Word = "no verdict"
	}
	switch status {
	case compat.Pass:
		m.Word += ", as expected"
	case compat.Differ:
		m.Class, m.Word = "allowed", m.Word+", which is allowed for a time"
	case compat.Skip:
		m = Mark{Class: "skip", Glyph: "?", Word: "not asked"}
		if got == "cannot" {
			m.Word = "not asked: it cannot read it"
		}
	default:
		if m.Glyph == "!" {
			m.Class = "bad mute"
		} else {
			m.Class = "bad"
		}
		m.Word = strings.TrimPrefix(m.Word+", unexpected", ", ")
	}
	return m
}

// Legend returns the marks that are in matrices, with what each means.
func Legend(matrices ...Matrix) []Mark {
	used := map[string]bool{}
	for _, m := range matrices {
		for _, r := range m.Rows {
			for _, t := range r.Tiles {
				class, _, _ := strings.Cut(t.Mark.Class, " ")
				used[class] = true
			}
		}
	}
	return slices.DeleteFunc([]Mark{
		{"yes", "✓", "accepted, as expected"},
		{"no", "✕", "refused, as expected"},
		{"cannot", "–", "cannot read it, as expected"},
		{"bad", "✓", "unexpected"},
		{"allowed", "✓", "unexpected, allowed for a time"},
		{"skip", "?", "not asked"},
	}, func(m Mark) bool { return !used[m.Class] })
}

// Head is what the head of a report shows.
type Head struct {
	Title    string
	Subtitle string
	Good     bool   // of the verdict
	Verdict  string // in one sentence
	Cards    []Card
	Facts    []Fact
}

// Card is a figure to be seen first.
type Card struct {
	Figure string
	Text   string
	Class  string // of a mark; empty: plain
}

// Fact is a line of a table with a name.
type Fact struct{ Name, Value string }

// Matrix is a table of tiles.
type Matrix struct {
	ID      string // anchors begin with it
	Title   string
	Note    string
	Corner  string // head of the row labels
	Columns []Column
	Rows    []Row
	Panels  []Panel
}

// Column is one judge.
type Column struct {
	Name  string
	Group string // a line is drawn where it changes
	Title string // shown when pointed at
	Edge  bool   // the group begins here; Edges sets it
}

// Row is one thing that was judged, or several that were judged alike.
type Row struct {
	ID    string
	Label string
	Sub   string
	First bool // of its label
	Tiles []Tile
}

// Tile is one answer; without a mark there was no question.
type Tile struct {
	Mark  Mark
	Panel string // ID of its panel
	Title string
	Edge  bool
}

// Panel is the story of a tile.
type Panel struct {
	ID    string
	Back  string // where closing it leads
	Title string
	Sub   string
	Mark  Mark
	Facts []Fact
	Runs  []Run    // one for each thing that was judged alike
	Says  []Saying // what the judge printed
}

// Run is one question to one judge.
type Run struct {
	Name    string
	Command string
	Seconds float64
	Figures string
	Picture template.URL
}

// Saying is what a judge printed, once for all that it printed it for.
type Saying struct {
	Of   string
	Text string
}

// Edges marks the tiles where a group of columns begins.
func (m *Matrix) Edges() {
	for i := range m.Columns {
		m.Columns[i].Edge = i > 0 && m.Columns[i].Group != m.Columns[i-1].Group
		for _, r := range m.Rows {
			if i < len(r.Tiles) {
				r.Tiles[i].Edge = m.Columns[i].Edge
			}
		}
	}
}

// Parse returns the templates of this package together with those in text,
// whose main one is called "page".
func Parse(text string) (*template.Template, error) {
	css, err := files.ReadFile("page.css")
	if err != nil {
		return nil, err
	}
	t := template.New("page").Funcs(template.FuncMap{
		"css":     func() template.CSS { return template.CSS(css) },
		"seconds": Seconds,
	})
	if t, err = t.ParseFS(files, "page.html"); err != nil {
		return nil, err
	}
	return t.New("page").Parse(text)
}

// Draw writes a report: the templates in text, over data. Its characters that
// cannot be seen, or that a browser or terminal obeys, stand as text.
func Draw(w io.Writer, text string, data any) error {
	t, err := Parse(text)
	if err != nil {
		return fmt.Errorf("drawing the report: %w", err)
	}
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, "page", data); err != nil {
		return fmt.Errorf("drawing the report: %w", err)
	}
	_, err = w.Write(quote.HTML(b.Bytes()))
	return err
}

// maxPicture bounds a picture that is put into a report.
const maxPicture = 4 << 20

// Picture returns a PNG file as data to stand in the page.
func Picture(files fs.FS, name string) (template.URL, error) {
	f, err := files.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxPicture+1))
	switch {
	case err != nil:
		return "", err
	case len(data) > maxPicture:
		return "", fmt.Errorf("%s: more than %d bytes", name, maxPicture)
	case !strings.HasPrefix(string(data), "\x89PNG\r\n\x1a\n"):
		return "", fmt.Errorf("%s: not a PNG file", name)
	}
	return template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(data)), nil
}

// Seconds writes a time for people.
func Seconds(s float64) string {
	switch {
	case s <= 0:
		return ""
	case s < 1:
		return fmt.Sprintf("%.0f ms", s*1000)
	case s < 100:
		return fmt.Sprintf("%.1f s", s)
	}
	return time.Duration(s * float64(time.Second)).Round(time.Second).String()
}
