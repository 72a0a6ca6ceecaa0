package bench

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/hallmark-build/hallmark/build/quote"
)

// Text writes the pairing for a terminal.
func (p *Pairing) Text(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	quote.Fprintf(w, "%s: %s\n\n", kindTitle(p.A.Kind), p.headline())
	for _, side := range []struct {
		letter, name string
		r            *Result
	}{{"A", p.NameA, p.A}, {"B", p.NameB, p.B}} {
		quote.Fprintf(w, "%s\t%s\t%s\t%s\n", side.letter, side.name, side.r.Started.Format("2006-01-02 15:04"), side.r.Machine)
	}
	if len(p.Differs) > 0 {
		quote.Fprintf(w, "\ncompared\tA\tB\n")
		for _, d := range p.Differs {
			quote.Fprintf(w, "%s\t%s\t%s\n", d.Key, orNone(d.A), orNone(d.B))
		}
	}
	common := p.common()
	if len(common) > 0 {
		quote.Fprintf(w, "\nin all rows: %s\n", common)
	}
	for _, unit := range p.Units() {
		quote.Fprintf(w, "\n%s\tA\t\tB\t\tB to A\t\truns\n", unitTitle(unit))
		for _, r := range p.Of(unit) {
			quote.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\tp%s\t%d+%d\n", r.name(common), formatValue(unit, r.A.Median), spread(r.A),
				formatValue(unit, r.B.Median), spread(r.B), r.Delta(), formatP(r.Adjusted), r.A.N, r.B.N)
		}
	}
	quote.Fprintf(w, "\n~: the data carry no difference. %s\n", pNote)
	for _, side := range []struct {
		title string
		list  []Unpaired
	}{{"not compared of A", p.OnlyA}, {"not compared of B", p.OnlyB}} {
		for i, u := range side.list {
			if i == 0 {
				quote.Fprintf(w, "\n%s\twhy\n", side.title)
			}
			quote.Fprintf(w, "%s\t%s\n", u.Dimensions, firstLine(u.Reason))
		}
	}
	if len(p.Claims) > 0 {
		quote.Fprintf(w, "\n")
	}
	for _, c := range p.Claims {
		quote.Fprintf(w, "claim %s, %s: %s: %s\n", c.ID, c.Text, c.Verdict, c.Why)
	}
	for i, n := range p.Notes {
		if i == 0 {
			quote.Fprintf(w, "\n")
		}
		quote.Fprintf(w, "note: %s\n", n)
	}
	return w.Flush()
}

// pNote says what the p-values of a comparison are.
const pNote = "p is that of a Mann-Whitney U test, corrected for the number of rows (Benjamini-Hochberg); ± is the 95 % interval of the median."

// headline says which programs are compared, and by what.
func (p *Pairing) headline() string {
	by := "two runs"
	switch {
	case p.ByMachine:
		by = "two machines"
	case len(p.compared) > 0:
		by = "two " + p.compared[0].Key + "s"
	case len(p.Differs) > 0:
		by = "two " + p.Differs[0].Key + "s"
	}
	return by
}

// common returns the dimensions that are the same in all rows.
func (p *Pairing) common() Dimensions {
	if len(p.Rows) == 0 {
		return nil
	}
	c := slices.Clone(p.Rows[0].Dimensions)
	return slices.DeleteFunc(c, func(d Dimension) bool {
		return slices.ContainsFunc(p.Rows, func(r Row) bool { return !slices.Contains(r.Dimensions, d) })
	})
}

// name tells a row from the others: its values, without those that all have.
func (r Row) name(common Dimensions) string {
	d := slices.DeleteFunc(slices.Clone(r.Dimensions), func(d Dimension) bool { return slices.Contains(common, d) })
	if len(d) == 0 {
		d = r.Dimensions
	}
	return d.words()
}

// words joins the values of dimensions for a reader: "small linux/amd64 gcc cold".
func (d Dimensions) words() string {
	var s []string
	for _, x := range d {
		switch {
		case x.Value == "":
		case x.Value == "on" || x.Value == "off": // say nothing by themselves
			s = append(s, x.Key+" "+x.Value)
		case x.Key == "compiler" && x.Value == "none":
			s = append(s, "without C")
		case x.Key == "linker" && x.Value == "go":
			s = append(s, "Go linker")
		default:
			s = append(s, x.Value)
		}
	}
	return strings.Join(s, " ")
}

// String describes a machine in a line.
func (m Machine) String() string {
	parts := []string{machineKind(m)}
	for _, s := range []string{m.Distribution, m.Kernel, m.CPU, fmt.Sprintf("%d cores", m.Cores), m.Go, m.fileSystems()} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, ", ")
}

// formatP returns what is known of a p-value: "=0.012", "<0.001".
func formatP(p float64) string {
	if p < 0.001 {
		return "<0.001"
	}
	return fmt.Sprintf("=%.3f", p)
}

func orNone(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}
