package boundaries

import (
	_ "embed"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// expected is what every cell of the map is expected to be.
//
//go:embed expectations.txt
var expected string

// A rule says what is expected of the cells that it matches, and why. Of several
// the last one counts.
type rule struct {
	line     int
	patterns [6][]string // in the order of fields
	want     string
	why      string
	decided  int // cells
}

// expectations are the rules, in the order of the file.
type expectations []*rule

// parseExpectations reads the rules: a line for each, of six patterns, the
// verdict and the reason. What follows a # at the beginning of a line is a
// comment.
func parseExpectations(text string) (expectations, error) {
	var rules expectations
	var errs []error
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		words := strings.Fields(line)
		if len(words) < 8 {
			errs = append(errs, fmt.Errorf("expectations, line %d: %d words; a rule has six patterns (%s), accept, refuse or cannot, and a reason", n, len(words), strings.Join(fields(), ", ")))
			continue
		}
		r := &rule{line: n, want: words[6], why: strings.Join(words[7:], " ")}
		for i := range r.patterns {
			r.patterns[i] = strings.Split(words[i], ",")
			for _, p := range r.patterns[i] {
				if _, err := path.Match(p, ""); err != nil || p == "" {
					errs = append(errs, fmt.Errorf("expectations, line %d: %s %q is no pattern", n, fields()[i], p))
				}
			}
		}
		if !slices.Contains([]string{Accept, Refuse, Cannot}, r.want) {
			errs = append(errs, fmt.Errorf("expectations, line %d: %q is none of accept, refuse, cannot", n, r.want))
		}
		rules = append(rules, r)
	}
	return rules, errors.Join(errs...)
}

// of returns the rule for a cell, or nil.
func (e expectations) of(sp spec, judge string) *rule {
	for _, r := range slices.Backward(e) {
		ok := true
		for i, field := range fields() {
			value := sp.value(field)
			if field == "judge" {
				value = judge
			}
			if !matches(r.patterns[i], value) {
				ok = false
				break
			}
		}
		if ok {
			return r
		}
	}
	return nil
}

// dead returns the rules that decided no cell.
func (e expectations) dead() []*rule {
	var found []*rule
	for _, r := range e {
		if r.decided == 0 {
			found = append(found, r)
		}
	}
	return found
}

func (r *rule) String() string {
	var words []string
	for _, p := range r.patterns {
		words = append(words, strings.Join(p, ","))
	}
	return fmt.Sprintf("line %d: %s %s", r.line, strings.Join(words, " "), r.want)
}
