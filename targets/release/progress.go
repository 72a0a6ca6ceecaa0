package release

import (
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/hallmark-build/hallmark/build/quote"
)

// Progress tells a person what is going on. On a terminal one line is drawn
// again and again; elsewhere each finished piece of work gets a line of its
// own, so that the log of a CI job reads from top to bottom. A nil *Progress is
// silent.
type Progress struct {
	out   io.Writer
	live  bool
	width func() int

	mu          sync.Mutex
	stage       string
	total, done int
	running     []string
	drawn       bool
}

// NewProgress writes to f: a live line if f is a terminal on which a line can
// be drawn again, and neither CI nor TERM=dumb says otherwise; else plain
// lines.
func NewProgress(f *os.File, getenv func(string) string) *Progress {
	fd := int(f.Fd())
	dumb := getenv("TERM") == "dumb" || getenv("TERM") == ""
	return &Progress{
		out:  f,
		live: term.IsTerminal(fd) && !dumb && getenv("CI") == "",
		width: func() int {
			if w, _, err := term.GetSize(fd); err == nil && w > 0 {
				return w
			}
			return 80
		},
	}
}

// Plain writes plain lines to w.
func Plain(w io.Writer) *Progress { return &Progress{out: w} }

// Printf writes one line that stays. The operands are quoted: none can end the
// line or act on the terminal.
func (p *Progress) Printf(format string, args ...any) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
	quote.Fprintf(p.out, format+"\n", args...)
	p.draw()
}

// begin starts a stage with a number of pieces.
func (p *Progress) begin(stage string, total int) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stage, p.total, p.done, p.running = stage, total, 0, nil
	p.draw()
}

// start begins a piece. The function returned ends it, with what came of it.
func (p *Progress) start(item string) (end func(note string)) {
	if p == nil {
		return func(string) {}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running = append(p.running, item)
	p.draw()
	begun := time.Now()
	return func(note string) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.done++
		if i := slices.Index(p.running, item); i >= 0 {
			p.running = slices.Delete(p.running, i, i+1)
		}
		if !p.live && note != "" {
			quote.Fprintf(p.out, "%-8s %s  %s  %s\n", p.stage, item, note, seconds(time.Since(begun)))
		}
		p.draw()
	}
}

// end takes the live line away.
func (p *Progress) end() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
	p.stage, p.running = "", nil
}

func (p *Progress) erase() {
	if p.drawn {
		io.WriteString(p.out, "\r\x1b[K")
		p.drawn = false
	}
}

func (p *Progress) draw() {
	if !p.live || p.stage == "" {
		return
	}
	line := p.stage
	if p.total > 0 {
		line = fmt.Sprintf("%s %d/%d", p.stage, p.done, p.total)
	}
	if len(p.running) > 0 {
		line += "  " + strings.Join(p.running, ", ")
	}
	// A line as wide as the terminal would wrap on some.
	io.WriteString(p.out, "\r\x1b[K"+cut(quote.Text(line), p.width()-1))
	p.drawn = true
}

// cut shortens a line to a number of columns.
func cut(s string, columns int) string {
	if utf8.RuneCountInString(s) <= columns {
		return s
	}
	if columns < 1 {
		return ""
	}
	return string([]rune(s)[:columns-1]) + "…"
}

// seconds writes a duration for people.
func seconds(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}

// size writes a number of bytes for people.
func size(n int64) string {
	const unit = 1024
	switch {
	case n < unit:
		return fmt.Sprintf("%d B", n)
	case n < unit*unit:
		return fmt.Sprintf("%.1f KiB", float64(n)/unit)
	case n < unit*unit*unit:
		return fmt.Sprintf("%.1f MiB", float64(n)/unit/unit)
	}
	return fmt.Sprintf("%.2f GiB", float64(n)/unit/unit/unit)
}

// plural counts things in words: "1 file", "2 files".
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// stopwatch times the stages.
type stopwatch struct {
	laps  []Timing
	begun time.Time
	last  time.Time
}

func newStopwatch() *stopwatch {
	now := time.Now()
	return &stopwatch{begun: now, last: now}
}

func (s *stopwatch) lap(stage string) {
	now := time.Now()
	s.laps = append(s.laps, Timing{stage, math.Round(now.Sub(s.last).Seconds()*1000) / 1000})
	s.last = now
}

func (s *stopwatch) total() time.Duration { return time.Since(s.begun) }
