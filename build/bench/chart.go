package bench

import (
	"bytes"
	"fmt"
	"html/template"
	"image/color"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// A bar is one series in a chart: segments from the left, and the interval of their sum.
type bar struct {
	Label, Value string
	Segments     []float64
	Total        Summary
}

// Geometry of a chart, in CSS pixels at the width for which it is drawn.
const (
	wideChart   = 860 // for a desktop
	narrowChart = 360 // for a telephone
	barHeight   = 14.0
	barPitch    = 40 // from one bar to the next: a line of text, the bar, a gap
	chartMargin = 34 // for the axis
	tickPitch   = 90 // between the labels of the axis, at least
	lineHeight  = 14
	letterWidth = 7 // of most letters, at most
	valueWidth  = 90
)

// A tint is a colour of the page's style sheet, so that one drawing serves light and dark. In the drawing it stands as a
// grey, eight levels from the next so that rounding does no harm.
type tint uint8

// The tints.
const (
	tintInk   tint = 1 // text, intervals
	tintFaint tint = 2 // grid, axis
	tintSeg0  tint = 4 // the first segment
)

func (t tint) color() color.Color { g := uint8(8*t + 4); return color.RGBA{g, g, g, 255} }

// What gonum writes of fonts and colours.
var (
	svgBox   = regexp.MustCompile(`viewBox="[^"]*"`)
	svgFont  = regexp.MustCompile(`font-family:[^;"]*;font-variant:[^;"]*;font-weight:[^;"]*;font-style:[^;"]*;?`)
	svgColor = regexp.MustCompile(`#[0-9A-F]{6}`)
	svgEnd   = regexp.MustCompile(`<text ([^>]*)>` + endMark)
)

var trailingZeros = regexp.MustCompile(`(\.[0-9]*[1-9])0+|\.0+([^0-9]|$)`)

// css is the tint's name in the style sheet.
func (t tint) css() string {
	switch t {
	case tintInk:
		return "var(--ink)"
	case tintFaint:
		return "var(--line)"
	}
	return fmt.Sprintf("var(--s%d)", t-tintSeg0)
}

// drawBars draws horizontal bars, the first on top, as an SVG element without fonts, sizes or colours of its own. Values are
// in the unit given.
func drawBars(width int, bars []bar, unit string) (template.HTML, error) {
	if len(bars) == 0 {
		return "", nil
	}
	bars = slices.Clone(bars)
	p := plot.New()
	p.BackgroundColor = nil
	segments, longest := 0, 0.0
	for _, b := range bars {
		segments = max(segments, len(b.Segments))
		sum := 0.0
		for _, v := range b.Segments {
			sum += v
		}
		longest = max(longest, sum, b.Total.Hi)
	}
	// What no benchmark measures, but a file may hold, cannot be drawn to scale.
	longest = min(max(longest, 1e-12), 1e18)
	place := func(i int) float64 { return float64(len(bars) - 1 - i) }
	lines := 1
	for i, b := range bars {
		bars[i].Label = wrap(b.Label, (width-valueWidth)/letterWidth)
		lines = max(lines, 1+strings.Count(bars[i].Label, "\n"))
	}
	pitch := float64(barPitch + (lines-1)*lineHeight)

	grid := plotter.NewGrid()
	grid.Horizontal.Width = 0
	grid.Vertical = draw.LineStyle{Color: tintFaint.color(), Width: 1}
	p.Add(grid)
	var below *plotter.BarChart
	for n := range segments {
		values := make(plotter.Values, len(bars))
		for i, b := range bars {
			if n < len(b.Segments) {
				values[len(bars)-1-i] = max(b.Segments[n], 0)
			}
		}
		layer, err := plotter.NewBarChart(values, barHeight)
		if err != nil {
			return "", err
		}
		layer.Horizontal = true
		layer.Color = (tintSeg0 + tint(n)).color()
		layer.LineStyle.Width = 0
		if below != nil {
			layer.StackOn(below)
		}
		below = layer
		p.Add(layer)
	}
	if err := addIntervals(p, bars, place); err != nil {
		return "", err
	}
	if err := addLabels(p, bars, place, longest*1.02); err != nil {
		return "", err
	}
	p.X.Min, p.X.Max = 0, longest*1.02
	p.Y.Min, p.Y.Max = -barHeight/pitch, float64(len(bars)-1)+(pitch-barHeight)/pitch
	styleAxis(p, width, unit)

	c := vgsvg.New(vg.Length(width), vg.Length(pitch)*vg.Length(len(bars))+chartMargin)
	// The first label of the axis stands half to the left of it.
	p.Draw(draw.Crop(draw.New(c), 6, -6, 0, 0))
	var out bytes.Buffer
	if _, err := c.WriteTo(&out); err != nil {
		return "", err
	}
	return inlineSVG(out.String()), nil
}

// addIntervals draws the confidence interval of each bar's sum, where it is known.
func addIntervals(p *plot.Plot, bars []bar, place func(int) float64) error {
	var points plotter.XYs
	var errs plotter.XErrors
	for i, b := range bars {
		if b.Total.Known {
			points = append(points, plotter.XY{X: b.Total.Median, Y: place(i)})
			errs = append(errs, struct{ Low, High float64 }{b.Total.Median - b.Total.Lo, b.Total.Hi - b.Total.Median})
		}
	}
	if len(points) == 0 {
		return nil
	}
	e, err := plotter.NewXErrorBars(struct {
		plotter.XYs
		plotter.XErrors
	}{points, errs})
	if err != nil {
		return err
	}
	e.LineStyle = draw.LineStyle{Color: tintInk.color(), Width: 1.5}
	e.CapWidth = 8
	p.Add(e)
	return nil
}

// unboxed labels take part of the bars' width, instead of being given margins of their own.
type unboxed struct{ labels *plotter.Labels }

func (u unboxed) Plot(c draw.Canvas, p *plot.Plot) { u.labels.Plot(c, p) }

// wrap breaks a text between words into lines of at most n letters, as far as the words allow.
func wrap(s string, n int) string {
	var b strings.Builder
	length := 0
	for i, w := range strings.Fields(s) {
		letters := utf8.RuneCountInString(w)
		switch {
		case i == 0:
		case length+1+letters > n:
			b.WriteByte('\n')
			length = 0
		default:
			b.WriteByte(' ')
			length++
		}
		b.WriteString(w)
		length += letters
	}
	return b.String()
}

// endMark begins a text that is to end where it stands. The browser, which knows the width of its own font, puts it there.
const endMark = "\u2063"

// addLabels writes above each bar what it is, and on the right its value.
func addLabels(p *plot.Plot, bars []bar, place func(int) float64, right float64) error {
	labels := func(x float64, of func(bar) string) error {
		l := plotter.XYLabels{}
		for i, b := range bars {
			l.XYs = append(l.XYs, plotter.XY{X: x, Y: place(i)})
			l.Labels = append(l.Labels, of(b))
		}
		drawn, err := plotter.NewLabels(l)
		if err != nil {
			return err
		}
		for i := range drawn.TextStyle {
			drawn.TextStyle[i].Color = tintInk.color()
			drawn.TextStyle[i].Font.Size = 12
			drawn.TextStyle[i].Font.Variant = "Sans"
		}
		drawn.Offset.Y = barHeight/2 + 4
		p.Add(unboxed{drawn})
		return nil
	}
	if err := labels(0, func(b bar) string { return b.Label }); err != nil {
		return err
	}
	return labels(right, func(b bar) string { return endMark + b.Value })
}

// styleAxis gives the chart an axis of values at the bottom, and nothing else.
func styleAxis(p *plot.Plot, width int, unit string) {
	p.HideY()
	p.Y.Padding, p.X.Padding = 0, 4
	p.X.LineStyle = draw.LineStyle{Color: tintFaint.color(), Width: 1}
	p.X.Tick.LineStyle = p.X.LineStyle
	p.X.Tick.Length = 4
	p.X.Tick.Label.Color = tintInk.color()
	p.X.Tick.Label.Font = font.Font{Typeface: "Liberation", Variant: "Sans", Size: 11}
	p.X.Tick.Marker = plot.TickerFunc(func(_, hi float64) []plot.Tick {
		var ticks []plot.Tick
		scale := 1.0
		for isBytes(unit) && hi/scale >= 1024 {
			scale *= 1024 // round numbers of KiB, MiB, GiB
		}
		step := scale * tickStep(hi/scale, width/tickPitch)
		for v := 0.0; v <= hi; v += step {
			ticks = append(ticks, plot.Tick{Value: v, Label: formatTick(unit, v)})
		}
		return ticks
	})
}

// tickStep returns the smallest step of 1, 2 or 5 times a power of ten of which at most n lead to hi.
func tickStep(hi float64, n int) float64 {
	step := math.Pow(10, math.Floor(math.Log10(hi/float64(n))))
	for _, f := range []float64{1, 2, 5} {
		if hi/(f*step) <= float64(n) {
			return f * step
		}
	}
	return 10 * step
}

// formatTick returns a round value as briefly as it can be: "20 ms", "1.5k".
func formatTick(unit string, v float64) string {
	return trailingZeros.ReplaceAllString(formatValue(unit, v), "$1$2")
}

// inlineSVG makes of a document an element for a page: without a prologue and a size, coloured by the page.
func inlineSVG(svg string) template.HTML {
	if i := strings.Index(svg, "<svg"); i > 0 {
		svg = svg[i:]
	}
	open, rest, _ := strings.Cut(svg, ">")
	rest = svgFont.ReplaceAllString(rest, "")
	rest = svgEnd.ReplaceAllString(rest, `<text text-anchor="end" $1>`)
	rest = svgColor.ReplaceAllStringFunc(rest, func(hex string) string {
		g, err := strconv.ParseUint(hex[1:3], 16, 8)
		if err != nil {
			return hex
		}
		return tint(g / 8).css()
	})
	return template.HTML(`<svg xmlns="http://www.w3.org/2000/svg" aria-hidden="true" ` + svgBox.FindString(open) + ">" + rest)
}
