package release

import (
	"bytes"
	_ "embed"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hallmark-build/hallmark/signing/compat"
	"github.com/hallmark-build/hallmark/targets/page"
)

// PageFile is the name of the report as a page, in the dist folder.
const PageFile = "report.html"

//go:embed page.html
var pageText string

// pageView is what page.html draws.
type pageView struct {
	page.Head
	Development bool
	Warnings    []string
	Failed      []pageFinding
	Allowed     []pageFinding
	Skipped     []string
	Verdicts    page.Matrix
	Legend      []page.Mark
	Origin      []page.Fact
	Files       []pageFile
	Judges      []pageJudge
	Timings     []page.Fact
	Commands    string
	Foot        string
}

type pageFinding struct {
	Panel string
	Mark  page.Mark
	What  string
	Why   string
}

type pageFile struct {
	ID    string
	Path  string
	Size  string
	Line  string
	Facts []page.Fact
}

type pageJudge struct {
	Judge
	Chips []page.Card // figure, text and class of a mark
}

// kinds names the kinds of artifacts as people call them, in the report's order.
func kinds() []struct {
	kind Kind
	name string
} {
	return []struct {
		kind Kind
		name string
	}{{KindBinary, "program"}, {KindArchive, "archive"}, {KindPackage, "package"}, {KindSums, "sums"}, {KindSignature, "signature"}, {KindTrust, "trusted certificates"}}
}

// Page draws report.html from the manifest, and from nothing else: one file
// that needs no other and runs no script.
func (m *Manifest) Page() ([]byte, error) {
	var b bytes.Buffer
	if err := page.Draw(&b, pageText, m.pageView()); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func (m *Manifest) pageView() *pageView {
	t := count(m.Results)
	v := &pageView{Head: m.pageHead(t), Warnings: m.Notes, Skipped: skips(m.Results), Development: m.Identity != nil && m.Identity.Development}
	v.Verdicts = m.pageMatrix(v)
	v.Legend = page.Legend(v.Verdicts)
	v.Origin = m.facts()
	v.Files = m.pageFiles()
	for _, j := range m.Judges {
		t := count(slices.DeleteFunc(slices.Clone(m.Results), func(r compat.Result) bool { return r.Judge != j.Name }))
		v.Judges = append(v.Judges, pageJudge{j, t.chips()})
	}
	for _, l := range m.Timings {
		v.Timings = append(v.Timings, page.Fact{Name: l.Stage, Value: page.Seconds(l.Seconds)})
	}
	var commands []string
	for _, r := range m.Results {
		if r.Command != "" && !slices.Contains(commands, r.Command) {
			commands = append(commands, r.Command)
		}
	}
	v.Commands = strings.Join(commands, "\n")
	v.Foot = "Drawn from manifest.json alone. The commands run in this folder; `mage verify` asks all judges again."
	return v
}

func (m *Manifest) pageHead(t tally) page.Head {
	h := page.Head{
		Title:   m.Name + " " + m.Version,
		Verdict: strings.NewReplacer("**", "", " (see below)", "").Replace(m.verdictLine()),
		Good:    t.pass > 0 && t.fail == 0 && t.skip == 0,
	}
	add := func(n int, text, class string) {
		if n == 0 {
			class = ""
		}
		h.Cards = append(h.Cards, page.Card{Figure: strconv.Itoa(n), Text: text, Class: class})
	}
	add(len(m.Artifacts), "files", "")
	if len(m.Results) > 0 {
		strangers := map[string]bool{}
		for _, r := range m.Results {
			if r.Judge != ourJudge && (r.Got == compat.Accept.String() || r.Got == compat.Refuse.String()) {
				strangers[r.Judge] = true
			}
		}
		add(len(strangers), "independent judges answered", "")
		add(t.pass, "checks passed", "")
		add(t.fail, "failed", "bad")
		add(t.skip, "could not be made", "")
		if t.allowed > 0 {
			add(t.allowed, "allowed for a time", "allowed")
		}
	}
	for _, f := range m.facts() {
		if f.Name == "signed by" || f.Name == "revision" {
			h.Facts = append(h.Facts, f)
		}
	}
	return h
}

// pageMatrix draws the verdicts: files down, judges across.
func (m *Manifest) pageMatrix(v *pageView) page.Matrix {
	x := page.Matrix{ID: "v", Title: "Verdicts", Corner: "file"}
	judges := make([]string, 0, len(m.Judges))
	for _, j := range m.Judges {
		if j.Name == ourJudge {
			continue
		}
		judges = append(judges, j.Name)
	}
	for _, r := range m.Results { // our own last, and whoever the manifest does not list
		if r.Judge != ourJudge && !slices.Contains(judges, r.Judge) {
			judges = append(judges, r.Judge)
		}
	}
	if slices.ContainsFunc(m.Results, func(r compat.Result) bool { return r.Judge == ourJudge }) {
		judges = append(judges, ourJudge)
	}
	for _, j := range judges {
		group := "strangers"
		if j == ourJudge {
			group = "own"
		}
		x.Columns = append(x.Columns, page.Column{Name: j, Group: group, Title: j})
	}
	of := map[string][]compat.Result{}
	var names []string
	for _, r := range m.Results {
		if of[r.Case] == nil {
			names = append(names, r.Case)
		}
		of[r.Case] = append(of[r.Case], r)
	}
	slices.SortStableFunc(names, func(a, b string) int { return m.rank(a) - m.rank(b) })
	before := ""
	for i, name := range names {
		row := page.Row{ID: fmt.Sprintf("v-%d", i), Label: path.Base(name), Sub: strings.TrimSuffix(strings.TrimSuffix(name, path.Base(name)), "/")}
		if kind := m.kindName(name); kind != before {
			row.First, before = i > 0, kind
		}
		for k, judge := range judges {
			results := slices.DeleteFunc(slices.Clone(of[name]), func(r compat.Result) bool { return r.Judge != judge })
			tile := page.Tile{}
			if len(results) > 0 {
				p := m.pagePanel(fmt.Sprintf("%s-%d", row.ID, k), row.ID, name, results)
				tile = page.Tile{Mark: p.Mark, Panel: p.ID, Title: p.Title + ": " + p.Mark.Word}
				x.Panels = append(x.Panels, p)
				for _, r := range results {
					f := pageFinding{Panel: p.ID, Mark: page.MarkOf(r.Got, r.Status), What: r.Judge + ": " + r.Case, Why: r.Reason}
					switch r.Status {
					case compat.Pass, compat.Skip:
					case compat.Differ:
						if r.Allowed != nil {
							f.Why = fmt.Sprintf("allowed until %s: %s; the judge: %s", r.Allowed.Until, r.Allowed.Reason, r.Reason)
						}
						v.Allowed = append(v.Allowed, f)
					default:
						v.Failed = append(v.Failed, f)
					}
				}
			}
			row.Tiles = append(row.Tiles, tile)
		}
		x.Rows = append(x.Rows, row)
	}
	x.Edges()
	return x
}

// rank orders files by their kind.
func (m *Manifest) rank(name string) int {
	if e := m.Entry(name); e != nil {
		for i, k := range kinds() {
			if k.kind == e.Kind {
				return i
			}
		}
	}
	return len(kinds())
}

func (m *Manifest) kindName(name string) string {
	if i := m.rank(name); i < len(kinds()) {
		return kinds()[i].name
	}
	return "file"
}

// pagePanel is what one judge said of one file; if of several things about it,
// the gravest is shown first.
func (m *Manifest) pagePanel(id, back, name string, results []compat.Result) page.Panel {
	slices.SortStableFunc(results, func(a, b compat.Result) int { return gravity(b) - gravity(a) })
	r := results[0]
	p := page.Panel{ID: id, Back: back, Title: r.Judge + ": " + path.Base(name), Sub: name, Mark: page.MarkOf(r.Got, r.Status)}
	fact := func(name, value string) {
		if value != "" {
			p.Facts = append(p.Facts, page.Fact{Name: name, Value: value})
		}
	}
	for _, r := range results {
		fact("verdict", page.MarkOf(r.Got, r.Status).Word)
		fact("reason", r.Reason)
		if r.Allowed != nil {
			fact("allowed", fmt.Sprintf("until %s: %s", r.Allowed.Until, r.Allowed.Reason))
		}
		fact("checks", r.Scheme)
		p.Runs = append(p.Runs, page.Run{Name: "Ask again, in the folder of this report", Command: r.Command, Seconds: r.Seconds})
		if r.Output != "" {
			p.Says = append(p.Says, page.Saying{Text: r.Output})
		}
	}
	fact("judge", strings.TrimSpace(r.Judge+" "+r.Version))
	fact("program", r.Path)
	if e := m.Entry(name); e != nil {
		fact("SHA-256", e.SHA256)
	}
	return p
}

func gravity(r compat.Result) int {
	return slices.Index([]compat.Status{compat.Pass, compat.Skip, compat.Differ, compat.Fail}, r.Status)
}

func (m *Manifest) pageFiles() []pageFile {
	entries := slices.Clone(m.Artifacts)
	slices.SortStableFunc(entries, func(a, b Entry) int { return m.rank(a.Path) - m.rank(b.Path) })
	var files []pageFile
	for i, e := range entries {
		f := pageFile{ID: fmt.Sprintf("f-%d", i), Path: e.Path, Size: size(e.Size)}
		fact := func(name, value string) {
			if value != "" {
				f.Facts = append(f.Facts, page.Fact{Name: name, Value: value})
			}
		}
		line := []string{m.kindName(e.Path), e.Platform}
		if e.Toolchain != "none" {
			line = append(line, e.Toolchain)
		}
		if e.Signature != nil {
			line = append(line, e.Signature.Scheme)
		} else if e.Kind == KindBinary {
			line = append(line, "not signed")
		}
		f.Line = strings.Join(slices.DeleteFunc(line, func(s string) bool { return s == "" }), " · ")
		fact("SHA-256", e.SHA256)
		fact("size", fmt.Sprintf("%d bytes", e.Size))
		fact("mode", e.Mode)
		fact("signs", e.Of)
		fact("compiled by", e.Go)
		fact("SHA-256 unsigned", e.Unsigned)
		if s := e.Signature; s != nil {
			fact("signed by", s.Signer)
			fact("digest", s.Hash)
			if s.Time != nil {
				fact("timestamp", s.Time.UTC().Format(time.RFC3339))
			}
			fact("timestamp by", s.TSA)
		}
		var contents []string
		for _, c := range e.Contents {
			contents = append(contents, fmt.Sprintf("%s %s %s", c.Mode, c.Name, c.SHA256))
		}
		fact("holds", strings.Join(contents, "\n"))
		files = append(files, f)
	}
	return files
}

// chips are the counts that are not zero.
func (t tally) chips() []page.Card {
	var out []page.Card
	for _, c := range []struct {
		n            int
		class, words string
	}{{t.fail, "bad", "failed"}, {t.allowed, "allowed", "allowed"}, {t.pass, "yes", "passed"}, {t.skip, "", "not made"}} {
		if c.n > 0 {
			out = append(out, page.Card{Figure: strconv.Itoa(c.n), Text: c.words, Class: c.class})
		}
	}
	return out
}

// pages are the files that are drawn from the manifest, by name.
func (m *Manifest) pages() (map[string][]byte, error) {
	html, err := m.Page()
	if err != nil {
		return nil, err
	}
	return map[string][]byte{ReportFile: m.Report(), PageFile: html}, nil
}

// pageNames are the names of pages.
func pageNames() []string { return []string{ReportFile, PageFile} }

// isRecord reports whether a path is that of the manifest or of a page.
func isRecord(rel string) bool { return rel == ManifestFile || slices.Contains(pageNames(), rel) }
