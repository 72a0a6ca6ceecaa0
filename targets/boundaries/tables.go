package boundaries

import (
	"cmp"
	"slices"
	"strings"

	"github.com/hallmark-build/hallmark/signing/compat"
)

// ownJudge is the name of our own verifier in the map. It is no stranger.
const ownJudge = "hallmark"

// asSigned is the operation that is none.
const asSigned = "none"

// A table is what the map says of one scheme of signatures. Artifacts that
// every judge answered alike share a row.
type table struct {
	scheme  string
	columns []column
	lines   []line
}

// column is one judge with the scheme that it was asked about.
type column struct{ judge, scheme string }

// line is one row: artifacts that were answered alike.
type line struct {
	operation   string
	also        []string // operations of the same kind that were answered alike
	key, digest string
	base        bool // key and digest are those of most of the scheme's cells
	artifacts   []string
	all         bool // there are no other artifacts in this row's operation
	cells       [][]*Cell
}

// signed is by which key and digest a cell was signed.
type signed struct{ key, digest string }

// tables arranges the map by scheme: first what was done to signed files, for
// the key that most were signed by, then all keys and digests on files as they
// were signed. Schemes, operations and artifacts stay in the record's order.
func (m *Map) tables() (operations, keys []table) {
	for _, scheme := range distinct(m.Cells, func(c *Cell) string { return c.Scheme }) {
		var cells []*Cell
		for i := range m.Cells {
			if m.Cells[i].Scheme == scheme {
				cells = append(cells, &m.Cells[i])
			}
		}
		base := mostly(cells)
		isKey := func(c *Cell) bool { return c.Operation == asSigned && signedBy(c) != base }
		if t := m.table(scheme, base, cells, func(c *Cell) bool { return !isKey(c) }); len(t.lines) > 0 {
			operations = append(operations, t)
		}
		if slices.ContainsFunc(cells, isKey) {
			keys = append(keys, m.table(scheme, base, cells, func(c *Cell) bool { return c.Operation == asSigned }))
		}
	}
	return operations, keys
}

func signedBy(c *Cell) signed { return signed{c.Key, c.Digest} }

// mostly returns by what most cells were signed; of equals the first.
func mostly(cells []*Cell) signed {
	count := map[signed]int{}
	var best signed
	for _, c := range cells {
		count[signedBy(c)]++
	}
	for _, c := range cells {
		if count[signedBy(c)] > count[best] {
			best = signedBy(c)
		}
	}
	return best
}

func (m *Map) table(scheme string, base signed, cells []*Cell, in func(*Cell) bool) table {
	cells = slices.DeleteFunc(slices.Clone(cells), func(c *Cell) bool { return !in(c) })
	t := table{scheme: scheme, columns: m.columns(scheme, cells)}
	at := func(c *Cell) column { return column{c.Judge, c.Result.Scheme} }
	type place struct {
		operation string
		signed    signed
	}
	places := distinctOf(cells, func(c *Cell) place { return place{c.Operation, signedBy(c)} })
	operations := distinctOf(cells, func(c *Cell) string { return c.Operation })
	slices.SortStableFunc(places, func(a, b place) int { // the operation's rows together, the usual key first
		return cmp.Or(slices.Index(operations, a.operation)-slices.Index(operations, b.operation), first(b.signed == base)-first(a.signed == base))
	})
	for _, p := range places {
		here := slices.DeleteFunc(slices.Clone(cells), func(c *Cell) bool { return place{c.Operation, signedBy(c)} != p })
		start := len(t.lines)
		known := map[string]int{} // answers to row
		for _, artifact := range distinctOf(here, func(c *Cell) string { return c.Artifact }) {
			row := make([][]*Cell, len(t.columns))
			var answers strings.Builder
			for i, col := range t.columns {
				for _, c := range here {
					if c.Artifact == artifact && at(c) == col {
						row[i] = append(row[i], c)
						answers.WriteString(answerOf(c) + " ")
					}
				}
				answers.WriteByte('|')
			}
			k, ok := known[answers.String()]
			if !ok {
				k = len(t.lines)
				known[answers.String()] = k
				t.lines = append(t.lines, line{operation: p.operation, key: p.signed.key, digest: p.signed.digest, base: p.signed == base, cells: make([][]*Cell, len(t.columns))})
			}
			t.lines[k].artifacts = append(t.lines[k].artifacts, artifact)
			for i := range row {
				t.lines[k].cells[i] = append(t.lines[k].cells[i], row[i]...)
			}
		}
		if len(t.lines) == start+1 {
			t.lines[start].all = true
		}
		// Where a byte is flipped in many places to the same effect, one row tells it.
		for i := range t.lines[:start] {
			if len(t.lines) == start+1 && t.lines[i].alike(t.lines[start]) {
				t.lines[i].merge(t.lines[start])
				t.lines = t.lines[:start]
			}
		}
	}
	return t
}

// alike reports whether two rows are of one kind of operation on the same
// artifacts, and were answered alike.
func (l line) alike(o line) bool {
	if l.operation == o.operation || operationKind(l.operation) != operationKind(o.operation) || l.key != o.key || l.digest != o.digest ||
		!l.all || !o.all || !slices.Equal(l.artifacts, o.artifacts) {
		return false
	}
	answers := func(cells []*Cell) []string {
		return slices.Compact(slices.Sorted(slices.Values(distinctOf(cells, answerOf))))
	}
	return slices.EqualFunc(l.cells, o.cells, func(a, b []*Cell) bool { return slices.Equal(answers(a), answers(b)) })
}

func (l *line) merge(o line) {
	l.also = append(l.also, o.operation)
	for i := range l.cells {
		l.cells[i] = append(l.cells[i], o.cells[i]...)
	}
}

// operationKind is the operation without the place where it was done: a byte
// is flipped in many regions.
func operationKind(operation string) string {
	kind, _, ok := strings.Cut(operation, "-")
	if ok && kind == "flip" {
		return "flip-a-byte"
	}
	return operation
}

// name is what was done, in words.
func (l line) name() string {
	if len(l.also) > 0 {
		return words(operationKind(l.operation))
	}
	return words(l.operation)
}

// places are the regions of operations that share a row.
func (l line) places() string {
	if len(l.also) == 0 {
		return ""
	}
	var out []string
	for _, op := range append([]string{l.operation}, l.also...) {
		_, place, _ := strings.Cut(op, "-")
		out = append(out, words(place))
	}
	return strings.Join(out, ", ")
}

func first(b bool) int {
	if b {
		return 1
	}
	return 0
}

// answerOf is what makes two cells alike in a table.
func answerOf(c *Cell) string {
	got, _, _ := strings.Cut(c.Got, ":")
	return got + " " + c.Status.String()
}

// columns are the judges of cells, those asked about the scheme itself first.
func (m *Map) columns(scheme string, cells []*Cell) []column {
	columns := distinctOf(cells, func(c *Cell) column { return column{c.Judge, c.Result.Scheme} })
	groups := distinctOf(cells, func(c *Cell) string { return c.Result.Scheme })
	rank := func(c column) int {
		i := slices.IndexFunc(m.Judges, func(j Judge) bool { return j.Name == c.judge && j.Scheme == c.scheme })
		if i < 0 {
			i = slices.IndexFunc(m.Judges, func(j Judge) bool { return j.Name == c.judge })
		}
		if i < 0 {
			return len(m.Judges)
		}
		return i
	}
	slices.SortStableFunc(columns, func(a, b column) int {
		return cmp.Or(first(b.scheme == scheme)-first(a.scheme == scheme), slices.Index(groups, a.scheme)-slices.Index(groups, b.scheme), rank(a)-rank(b))
	})
	return columns
}

// distinct lists the values of f over cells, in the order of their first.
func distinct[V comparable](cells []Cell, f func(*Cell) V) []V {
	var out []V
	seen := map[V]bool{}
	for i := range cells {
		if v := f(&cells[i]); !seen[v] {
			seen[v] = true
			out = append(out, v)
		}
	}
	return out
}

func distinctOf[V comparable](cells []*Cell, f func(*Cell) V) []V {
	var out []V
	seen := map[V]bool{}
	for _, c := range cells {
		if v := f(c); !seen[v] {
			seen[v] = true
			out = append(out, v)
		}
	}
	return out
}

// worst returns the cell that a tile of several shows: one that failed before
// one that did not.
func worst(cells []*Cell) *Cell {
	gravity := func(c *Cell) int {
		return slices.Index([]compat.Status{compat.Pass, compat.Skip, compat.Differ, compat.Fail}, c.Status)
	}
	return slices.MaxFunc(cells, func(a, b *Cell) int { return gravity(a) - gravity(b) })
}

// tally counts cells.
type tally struct{ cells, accepted, refused, cannot, unexpected, allowed, skipped int }

func (s *tally) add(c *Cell) {
	s.cells++
	switch got, _, _ := strings.Cut(c.Got, ":"); {
	case c.Status == compat.Skip:
		s.skipped++
	case c.Status == compat.Differ:
		s.allowed++
	case c.Status != compat.Pass:
		s.unexpected++
	case got == Accept:
		s.accepted++
	case got == Cannot:
		s.cannot++
	default:
		s.refused++
	}
}

// expected is how many cells are as expected.
func (s tally) expected() int { return s.accepted + s.refused + s.cannot }

// answers counts what the judges but our own gave as verdicts.
func (m *Map) answers() (answered, judges int) {
	names, said := map[string]bool{}, map[string]bool{}
	for _, j := range m.Judges {
		if j.Name != ownJudge {
			names[j.Name] = true
		}
	}
	for i := range m.Cells {
		c := &m.Cells[i]
		if c.Judge == ownJudge || c.Judge == "" {
			continue
		}
		names[c.Judge] = true
		if c.Got == Accept || c.Got == Refuse {
			said[c.Judge] = true
		}
	}
	return len(said), len(names)
}
