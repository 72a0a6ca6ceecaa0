package boundaries

import (
	"fmt"
	"sort"
	"strconv"
	"strings"

	"github.com/hallmark-build/hallmark/targets/page"
)

func (s tally) chips() []chip {
	var out []chip
	for _, c := range []struct {
		n                  int
		class, sign, title string
	}{
		{s.unexpected, "bad", "! ", "not as expected"}, {s.allowed, "allowed", "~ ", "allowed for a time"}, {s.accepted, "yes", "✓ ", "accepted, as expected"},
		{s.refused, "no", "✕ ", "refused, as expected"}, {s.cannot, "cannot", "– ", "cannot read it, as expected"}, {s.skipped, "skip", "? ", "not asked"},
	} {
		if c.n > 0 {
			out = append(out, chip{c.class, c.sign + strconv.Itoa(c.n), fmt.Sprintf("%d %s", c.n, c.title)})
		}
	}
	return out
}

// glance counts by operation and scheme.
func (d *drawing) glance(tables []table) glance {
	var g glance
	sums := map[[2]string]*tally{}
	for i := range d.Cells {
		c := &d.Cells[i]
		key := [2]string{operationKind(c.Operation), c.Scheme}
		if sums[key] == nil {
			sums[key] = &tally{}
		}
		sums[key].add(c)
	}
	for i, t := range tables {
		g.Schemes = append(g.Schemes, page.Fact{Name: t.scheme, Value: fmt.Sprintf("m%d", i)})
	}
	for _, op := range distinct(d.Cells, func(c *Cell) string { return operationKind(c.Operation) }) {
		row := glanceRow{Label: words(op)}
		for _, t := range tables {
			cell := glanceCell{}
			if s := sums[[2]string{op, t.scheme}]; s != nil {
				cell.Chips = s.chips()
				cell.Href = d.anchors[t.scheme+"\x00"+op]
			}
			row.Cells = append(row.Cells, cell)
		}
		g.Rows = append(g.Rows, row)
	}
	return g
}

func (d *drawing) judges() []judgeView {
	var out []judgeView
	index := map[string]int{}
	for _, j := range d.Judges {
		i, ok := index[j.Name]
		if !ok {
			i = len(out)
			index[j.Name] = i
			out = append(out, judgeView{Name: j.Name})
		}
		v := &out[i]
		v.Version, v.Path, v.Missing = orElse(v.Version, j.Version), orElse(v.Path, j.Path), orElse(v.Missing, j.Missing)
		v.Schemes = strings.TrimPrefix(v.Schemes+", "+j.Scheme, ", ")
		if j.Limits != "" {
			v.Limits = append(v.Limits, page.Fact{Name: j.Scheme, Value: j.Limits})
		}
	}
	for i := range out {
		var s tally
		var times []float64
		for k := range d.Cells {
			if c := &d.Cells[k]; c.Judge == out[i].Name {
				s.add(c)
				if c.Seconds > 0 {
					times = append(times, c.Seconds)
				}
			}
		}
		out[i].Chips = s.chips()
		if len(times) > 0 {
			sort.Float64s(times)
			out[i].Time = fmt.Sprintf("median %s, longest %s", page.Seconds(times[len(times)/2]), page.Seconds(times[len(times)-1]))
		}
	}
	return out
}

func orElse(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
