package mutation

import (
	"fmt"
	"strings"
)

// Replace puts tables into a part of a document, which lies between the lines
// "<!-- PART: generated -->" and "<!-- PART: end -->".
func Replace(doc, part, tables string) (string, error) {
	begin, end := fmt.Sprintf("<!-- %s: generated -->\n", part), fmt.Sprintf("<!-- %s: end -->\n", part)
	before, rest, ok := strings.Cut(doc, begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return "", fmt.Errorf("there are no lines %q and %q", strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	return before + begin + "\n" + tables + "\n" + end + after, nil
}

// Difference returns the lines that only one of two documents has.
func Difference(was, is string) string {
	var b strings.Builder
	for _, d := range []struct{ sign, in, from string }{{"-", is, was}, {"+", was, is}} {
		has := map[string]bool{}
		for line := range strings.Lines(d.in) {
			has[line] = true
		}
		for line := range strings.Lines(d.from) {
			if !has[line] {
				b.WriteString(d.sign + line)
			}
		}
	}
	return b.String()
}
