// Package mutation changes signed files in the ways that need no key, at every
// boundary of their structure, and records what a verifier says of each.
//
// A [Subject] is a good file and a map of it: [Region] after region, each of a
// byte class such as "CheckSum" or "certificates". [Run] flips bits in every
// region, zeroes and fills it, inserts in front of it, deletes, duplicates and
// exchanges it, cuts the file there, and appends to the file. A format adds
// changes of its own whose length fields are right again, as an attacker would
// leave them: a further entry of a table, a further element of a DER structure
// (see [Edits]).
//
// A change that is accepted is an error, unless the subject lists the byte class
// and the change as [Open], with the reason why nothing can cover it. What is
// listed and yet always refused is an error too.
package mutation

import (
	"bytes"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
)

// A Region is a range of bytes of one class. Several may have the same name.
type Region struct {
	Name     string
	From, To int
}

// The changes that [Run] makes in every region.
const (
	Flip      = "flip"      // one bit
	Zero      = "zero"      // all bytes
	Fill      = "fill"      // all bytes, with 0xff
	Insert    = "insert"    // zeros or letters in front of it
	Delete    = "delete"    // its first or last byte, or all of it
	Duplicate = "duplicate" // a copy behind it
	Exchange  = "exchange"  // with the next region
	Truncate  = "truncate"  // the file ends at, in or before it
	Append    = "append"    // zeros, letters, a region or the file behind the file
)

// A Mutant is a changed file.
type Mutant struct {
	Region string // the byte class that the change concerns
	Change string
	Bytes  []byte
	Deep   bool // only for a full run
	At     int  // where, for messages

	make func() []byte // makes Bytes when they are asked for
}

// Open is a byte class that some changes can alter without being noticed.
type Open struct {
	Region  string
	Changes []string
	Reason  string
}

// A Subject is a good file.
type Subject struct {
	Name    string
	File    []byte
	Regions []Region // from the first byte to the last, without gaps
	Edits   iter.Seq[Mutant]
	Verify  func(b []byte) error
	Rule    func(err error) string // how the table names the reason of a refusal
	Open    []Open
	// Harmless, if it is not nil, reports why an accepted change of a listed region
	// matters after all: because another reader finds another content.
	Harmless func(b []byte) error
}

// A Row of the table says what covers a byte class.
type Row struct {
	Region string
	Rules  []string // of the verifier, by which changes are refused
	Open   []Open
}

// A Result is what became of a subject's mutants.
type Result struct {
	Name       string
	Tried      int
	Accepted   int // all of them listed, if there are no problems
	Rows       []Row
	Problems   []string
	regions    []string // in the order of the file
	rules      map[string]map[string]bool
	acceptable map[string]bool // region and change
	seen       map[string]bool // of acceptable
	unlisted   map[string]int  // the first of each is told
	skipped    map[string]bool
}

// maxProblems bounds how many are told of one subject.
const maxProblems = 200

func (r *Result) problem(format string, args ...any) {
	if len(r.Problems) < maxProblems {
		r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
	}
}

// Run tries all mutants of a subject, or of a large region some only unless full
// is set. The table does not depend on full.
func Run(s Subject, full bool) *Result {
	r := &Result{Name: s.Name, rules: map[string]map[string]bool{}, acceptable: map[string]bool{}, seen: map[string]bool{}, unlisted: map[string]int{}, skipped: map[string]bool{}}
	for _, o := range s.Open {
		for _, c := range o.Changes {
			r.acceptable[o.Region+"\x00"+c] = true
		}
	}
	if err := s.check(); err != nil {
		r.problem("%v", err)
		return r
	}
	for _, g := range s.Regions {
		r.row(g.Name)
	}
	for m := range s.mutants(full) {
		if m.Deep && !full {
			r.skipped[m.Region+"\x00"+m.Change] = true
			continue
		}
		if m.make != nil {
			m.Bytes = m.make()
		}
		if !bytes.Equal(m.Bytes, s.File) {
			r.try(s, m)
		}
	}
	for _, o := range s.Open {
		for _, c := range o.Changes {
			if key := o.Region + "\x00" + c; !r.seen[key] && !r.skipped[key] {
				r.problem("%s of %q is listed as not noticed, and always is: take it off the list", c, o.Region)
			}
		}
	}
	for _, name := range r.regions {
		row := Row{Region: name, Rules: slices.Sorted(maps.Keys(r.rules[name]))}
		for _, o := range s.Open {
			if o.Region == name {
				row.Open = append(row.Open, o)
			}
		}
		r.Rows = append(r.Rows, row)
	}
	return r
}

// check demands that the map is one of the file, and that the file is good.
func (s Subject) check() error {
	at := 0
	for _, g := range s.Regions {
		if g.From != at || g.To <= g.From {
			return fmt.Errorf("the map of regions has %q from %#x to %#x, and the one before it ends at %#x", g.Name, g.From, g.To, at)
		}
		at = g.To
	}
	if at != len(s.File) {
		return fmt.Errorf("the map of regions ends at %#x, the file at %#x", at, len(s.File))
	}
	if err := s.Verify(s.File); err != nil {
		return fmt.Errorf("the unchanged file is refused: %w", err)
	}
	return nil
}

func (r *Result) row(region string) map[string]bool {
	if r.rules[region] == nil {
		r.rules[region] = map[string]bool{}
		r.regions = append(r.regions, region)
	}
	return r.rules[region]
}

func (r *Result) try(s Subject, m Mutant) {
	r.Tried++
	rules := r.row(m.Region)
	err, crash := verify(s, m.Bytes)
	key := m.Region + "\x00" + m.Change
	switch {
	case crash != nil:
		r.problem("%s of %q at %#x: panic: %v", m.Change, m.Region, m.At, crash)
	case err != nil:
		if !m.Deep {
			rules[s.Rule(err)] = true
		}
	case !r.acceptable[key]:
		r.Accepted++
		if r.unlisted[key] == 0 {
			r.problem("%s of %q at %#x is accepted", m.Change, m.Region, m.At)
		}
		r.unlisted[key]++
	default:
		r.Accepted++
		r.seen[key] = true
		if s.Harmless == nil {
			return
		}
		if err := s.Harmless(m.Bytes); err != nil {
			r.problem("%s of %q at %#x is accepted as listed, and is not harmless: %v", m.Change, m.Region, m.At, err)
		}
	}
}

func verify(s Subject, b []byte) (err error, crash any) {
	defer func() { crash = recover() }()
	return s.Verify(b), nil
}

// mutants yields the changes of every region, then those of the format.
func (s Subject) mutants(full bool) iter.Seq[Mutant] {
	return func(yield func(Mutant) bool) {
		count, total := map[string]int{}, map[string]int{}
		for _, g := range s.Regions {
			total[g.Name]++
		}
		open := func(name string) bool {
			return slices.ContainsFunc(s.Open, func(o Open) bool { return o.Region == name && slices.Contains(o.Changes, Flip) })
		}
		for i, g := range s.Regions {
			n := count[g.Name]
			count[g.Name]++
			// Of many regions of one class the first two and the last stand for all.
			deep := n >= 2 && n < total[g.Name]-1 && !open(g.Name)
			if deep && !full {
				continue
			}
			for m := range s.region(i, open(g.Name), full) {
				m.Deep = m.Deep || deep
				if !yield(m) {
					return
				}
			}
		}
		end := s.Regions[len(s.Regions)-1].Name
		for _, more := range appendices() {
			if !yield(Mutant{Region: end, Change: Append, At: len(s.File), Bytes: slices.Concat(s.File, more)}) {
				return
			}
		}
		if !yield(Mutant{Region: end, Change: Append, At: len(s.File), Bytes: slices.Concat(s.File, s.File)}) || s.Edits == nil {
			return
		}
		for m := range s.Edits {
			if !yield(m) {
				return
			}
		}
	}
}

func appendices() [][]byte {
	var all [][]byte
	for _, n := range []int{1, 2, 4, 7, 8, 64, 512, 4096} {
		all = append(all, make([]byte, n), bytes.Repeat([]byte{'A'}, n))
	}
	return all
}

// samples is how many bytes of a region are flipped in a short run; in a region
// that is listed as open it is all of them.
const samples = 8

// region yields the changes of region i.
func (s Subject) region(i int, all, full bool) iter.Seq[Mutant] {
	g, b := s.Regions[i], s.File
	size := g.To - g.From
	return func(yield func(Mutant) bool) {
		ok := true
		put := func(change string, at int, parts ...[]byte) {
			ok = ok && yield(Mutant{Region: g.Name, Change: change, At: at, Bytes: slices.Concat(parts...)})
		}
		step := max(1, (size-1)/(samples-1))
		for at := g.From; at < g.To && ok; at++ {
			light := all || (at-g.From)%step == 0 || at == g.To-1
			if !light && !full {
				continue
			}
			bits := []int{at % 8}
			if size <= 16 || all && size <= 512 {
				bits = []int{0, 1, 2, 3, 4, 5, 6, 7}
			}
			for _, bit := range bits {
				c := bytes.Clone(b)
				c[at] ^= 1 << bit
				ok = ok && yield(Mutant{Region: g.Name, Change: Flip, At: at, Bytes: c, Deep: !light})
			}
		}
		put(Zero, g.From, b[:g.From], make([]byte, size), b[g.To:])
		put(Fill, g.From, b[:g.From], bytes.Repeat([]byte{0xff}, size), b[g.To:])
		for _, n := range []int{1, 2, 8, 512} {
			put(Insert, g.From, b[:g.From], make([]byte, n), b[g.From:])
			put(Insert, g.From, b[:g.From], bytes.Repeat([]byte{'A'}, n), b[g.From:])
		}
		put(Delete, g.From, b[:g.From], b[g.To:])
		put(Delete, g.From, b[:g.From], b[g.From+1:])
		put(Delete, g.To-1, b[:g.To-1], b[g.To:])
		put(Duplicate, g.To, b[:g.To], b[g.From:])
		if i+1 < len(s.Regions) {
			next := s.Regions[i+1]
			put(Exchange, g.From, b[:g.From], b[next.From:next.To], b[g.From:g.To], b[next.To:])
		}
		put(Truncate, g.From, b[:g.From])
		put(Truncate, g.From+1, b[:g.From+1])
		put(Truncate, g.To-1, b[:g.To-1])
		put(Append, len(b), b, b[g.From:g.To])
	}
}

// A Map builds the regions of a file from its beginning.
type Map struct{ Regions []Region }

// Add appends n bytes of a class; none if n is 0. Neighbours of one class become
// one region.
func (m *Map) Add(name string, n int) {
	at := m.End()
	switch last := len(m.Regions) - 1; {
	case n == 0:
	case last >= 0 && m.Regions[last].Name == name:
		m.Regions[last].To += n
	default:
		m.Regions = append(m.Regions, Region{name, at, at + n})
	}
}

// To appends the bytes up to an offset.
func (m *Map) To(name string, end int) { m.Add(name, end-m.End()) }

// End is where the map ends.
func (m *Map) End() int {
	if len(m.Regions) == 0 {
		return 0
	}
	return m.Regions[len(m.Regions)-1].To
}

// A Painting builds the regions of a file in any order.
type Painting struct{ names []string }

// Paint begins with all bytes of one class.
func Paint(size int, name string) Painting {
	p := Painting{make([]string, size)}
	p.Add(name, 0, size)
	return p
}

// Add gives a range a class.
func (p Painting) Add(name string, from, to int) {
	for i := from; i < to; i++ {
		p.names[i] = name
	}
}

// AddNode gives the parts of a DER element their classes; it begins at an offset.
func (p Painting) AddNode(n *Node, at int) {
	m := Map{}
	n.Regions(&m)
	for _, r := range m.Regions {
		p.Add(r.Name, at+r.From, at+r.To)
	}
}

// Regions returns the map.
func (p Painting) Regions() []Region {
	var m Map
	for _, name := range p.names {
		m.Add(name, 1)
	}
	return m.Regions
}

// Markdown is the table of a result.
func (r *Result) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "### %s\n\n| bytes | a change is refused by | not noticed |\n| --- | --- | --- |\n", r.Name)
	for _, row := range r.Rows {
		var open []string
		for _, o := range row.Open {
			open = append(open, fmt.Sprintf("%s: %s", strings.Join(o.Changes, ", "), o.Reason))
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", row.Region, strings.Join(row.Rules, ", "), strings.Join(open, "; "))
	}
	return b.String()
}
