package boundaries

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/hallmark-build/hallmark/build/quote"
	"github.com/hallmark-build/hallmark/signing/compat"
)

// Summary draws the map in one short table of Markdown, for a README: how files
// were signed across, what happened to them down. Operations with the same
// answers share a row.
func (m *Map) Summary() []byte {
	var b bytes.Buffer
	answered, judges := m.answers()
	quote.Markdownf(&b, "%s %d of %d independent judges answered.\n\n", m.verdict(), answered, judges)
	schemes := distinct(m.Cells, func(c *Cell) string { return c.Scheme })
	sums := map[[2]string]*tally{}
	for i := range m.Cells {
		c := &m.Cells[i]
		key := [2]string{operationKind(c.Operation), c.Scheme}
		if sums[key] == nil {
			sums[key] = &tally{}
		}
		sums[key].add(c)
	}
	var rows []string // answers
	labels := map[string][]string{}
	for _, op := range distinct(m.Cells, func(c *Cell) string { return operationKind(c.Operation) }) {
		var row []string
		for _, s := range schemes {
			text := ""
			if sums[[2]string{op, s}] != nil {
				text = sums[[2]string{op, s}].signs()
			}
			row = append(row, text)
		}
		answers := strings.Join(row, " | ")
		if labels[answers] == nil {
			rows = append(rows, answers)
		}
		labels[answers] = append(labels[answers], words(op))
	}
	b.WriteString("| after signing |")
	for _, s := range schemes {
		quote.Markdownf(&b, " %s |", s)
	}
	b.WriteString("\n|" + strings.Repeat(" --- |", len(schemes)+1) + "\n")
	for _, answers := range rows {
		quote.Markdownf(&b, "| %s | %s |\n", strings.Join(labels[answers], ", "), quote.Raw(answers))
	}
	b.WriteString("\n✓ accepted, ✕ refused, – cannot read it, all as expected; ! unexpected, ~ unexpected and allowed for a time, ? not asked. " +
		"A number tells how many, where judges or files differ.\n")
	return b.Bytes()
}

// signs are the chips in text. Where all cells agree their number says nothing.
func (s tally) signs() string {
	chips := s.chips()
	var out []string
	for _, c := range chips {
		sign, n, _ := strings.Cut(c.Text, " ")
		if len(chips) > 1 || c.Class == "bad" {
			sign += n
		}
		if c.Class == "bad" {
			sign = "**" + sign + "**"
		}
		if c.Class == "allowed" { // not struck out
			sign = `\` + sign
		}
		out = append(out, sign)
	}
	return strings.Join(out, " ")
}

// Markdown draws the whole map: what HTML shows, but for the stories of cells
// that are as expected, which the record has.
func (m *Map) Markdown() []byte {
	var b bytes.Buffer
	b.WriteString("# Where signatures stop being accepted\n\n")
	b.Write(m.Summary())
	for _, n := range m.Notes {
		quote.Markdownf(&b, "\n> %s\n", n)
	}
	m.stories(&b, "Not as expected", func(c *Cell) bool { return c.Status == compat.Fail })
	m.stories(&b, "Allowed for a time", func(c *Cell) bool { return c.Status == compat.Differ })
	if len(m.Claims) > 0 {
		b.WriteString("\n## Claims\n\n| claim | verdict | why |\n| --- | --- | --- |\n")
		for _, c := range m.Claims {
			quote.Markdownf(&b, "| **%s** %s | %s | %s |\n", c.ID, c.Text, c.Verdict, c.Why)
		}
	}
	operations, keys := m.tables()
	for _, t := range operations {
		t.markdown(&b, t.scheme, "after signing", line.name)
	}
	for _, t := range keys {
		t.markdown(&b, t.scheme+": keys and digests", "key, digest", func(l line) string { return strings.TrimSpace(l.key + " " + l.digest) })
	}
	m.markdownFigures(&b)
	m.markdownJudges(&b)
	return b.Bytes()
}

// stories writes the cells that somebody has to look at, with their commands:
// of one judge's same answers to one kind of operation the first.
func (m *Map) stories(b *bytes.Buffer, title string, in func(*Cell) bool) {
	type story struct{ judge, scheme, operation, answer string }
	of := func(c *Cell) story { return story{c.Judge, c.Scheme, operationKind(c.Operation), answerOf(c)} }
	count := map[story]int{}
	var firsts []*Cell
	for i := range m.Cells {
		if c := &m.Cells[i]; in(c) {
			if count[of(c)]++; count[of(c)] == 1 {
				firsts = append(firsts, c)
			}
		}
	}
	for i, c := range firsts {
		if i == 0 {
			quote.Markdownf(b, "\n## %s\n", title)
		}
		if i == manyStories {
			quote.Markdownf(b, "\n… and %d more, which %s shows.\n", len(firsts)-i, ReportFile)
			return
		}
		more := ""
		if n := count[of(c)] - 1; n > 0 {
			more = fmt.Sprintf(", and %d more", n)
		}
		quote.Markdownf(b, "\n- **%s** %s: %s%s: %s\n", c.Judge, c.Version, cellName(c), more, reasonOf(c))
		for _, text := range []string{c.Command, c.Output} {
			if text != "" {
				b.WriteString("\n" + indented(quote.Lines(text)) + "\n")
			}
		}
	}
}

// manyStories is how many are written out.
const manyStories = 40

// indented makes a block of code of text, whatever fences are in it.
func indented(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i, l := range lines {
		lines[i] = "      " + l
	}
	return strings.Join(lines, "\n")
}

func (t table) markdown(b *bytes.Buffer, title, corner string, label func(line) string) {
	quote.Markdownf(b, "\n## %s\n\n| %s | files |", title, corner)
	for _, c := range t.columns {
		name := c.judge
		if slices.ContainsFunc(t.columns, func(o column) bool { return o.judge == c.judge && o != c }) {
			name += " (" + c.scheme + ")"
		}
		quote.Markdownf(b, " %s |", name)
	}
	b.WriteString("\n|" + strings.Repeat(" --- |", len(t.columns)+2) + "\n")
	for _, l := range t.lines {
		name := label(l)
		if places := l.places(); places != "" {
			name += " (" + places + ")"
		}
		quote.Markdownf(b, "| %s | %s |", name, l.who())
		for _, cells := range l.cells {
			text := ""
			if len(cells) > 0 {
				var s tally
				s.add(worst(cells))
				text = s.signs()
			}
			b.WriteString(" " + text + " |")
		}
		b.WriteString("\n")
	}
}

func (m *Map) markdownFigures(b *bytes.Buffer) {
	first := true
	for i := range m.Cells {
		c := &m.Cells[i]
		if len(c.Figures) == 0 {
			continue
		}
		if first {
			b.WriteString("\n## Measured\n\n| file | by | figures |\n| --- | --- | --- |\n")
			first = false
		}
		quote.Markdownf(b, "| %s | %s | %s |\n", cellName(c), c.Judge, figures(c.Figures))
	}
}

func (m *Map) markdownJudges(b *bytes.Buffer) {
	b.WriteString("\n## Judges\n\n| judge | asked about | version | what it does not check |\n| --- | --- | --- | --- |\n")
	for _, j := range m.Judges {
		version := j.Version
		if j.Missing != "" {
			version = j.Missing
		}
		quote.Markdownf(b, "| %s | %s | %s | %s |\n", j.Name, j.Scheme, version, j.Limits)
	}
	b.WriteString("\n## How it was made\n\n| | |\n| --- | --- |\n")
	for _, f := range (&drawing{Map: m}).made() {
		quote.Markdownf(b, "| %s | %s |\n", f.Name, f.Value)
	}
}
