package mutation

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// Compare holds a part of a document to the tables of results: it lies between
// the lines "<!-- PART: generated -->" and "<!-- PART: end -->". With update it
// writes the tables instead. A result that is nil, because its test was not
// asked for, makes comparing impossible, and is no error.
func Compare(file, part string, results []*Result, update bool) error {
	if slices.Contains(results, nil) {
		return nil
	}
	was, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var tables []string
	for _, r := range results {
		tables = append(tables, r.Markdown())
	}
	is, err := replace(string(was), part, strings.Join(tables, "\n"))
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", file, err)
	case is == string(was):
		return nil
	case update:
		return os.WriteFile(file, []byte(is), 0o644)
	}
	return fmt.Errorf("%s does not have the tables that are seen; -update writes them:\n%s", file, difference(string(was), is))
}

func replace(doc, part, tables string) (string, error) {
	begin, end := fmt.Sprintf("<!-- %s: generated -->\n", part), fmt.Sprintf("<!-- %s: end -->\n", part)
	before, rest, ok := strings.Cut(doc, begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return "", fmt.Errorf("there are no lines %q and %q", strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	return before + begin + "\n" + tables + "\n" + end + after, nil
}

// difference returns the lines that only one of two documents has.
func difference(was, is string) string {
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
