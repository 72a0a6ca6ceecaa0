package compat

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
)

// sha256sum judges a SHA256SUMS file against the files beside it.
func sha256sum() Judge {
	p := program{
		name: "sha256sum", pkg: "coreutils",
		version: []string{"--version"}, match: regexp.MustCompile(`(?m)^sha256sum .*?(\d+\.\d+\S*)`),
	}
	args := func(file string) []string {
		return []string{"--check", "--strict", argument(filepath.Base(file))}
	}
	return Judge{
		Name: p.name, Scheme: Sums,
		Limits:  "It checks the listed files against their SHA-256 sums. It does not check who wrote the list, nor that every file of the folder is listed.",
		FindKey: p.key, Find: p.find,
		Verify: func(ctx context.Context, file string, _ Trust) error {
			a, err := p.run(ctx, filepath.Dir(file), nil, args(file)...)
			if err != nil {
				return err
			}
			return p.readSums(a)
		},
		Command: func(file string, _ Trust) string {
			return line("cd", argument(filepath.Dir(file))) + " && " + line(append([]string{p.name}, args(file)...)...)
		},
	}
}

// readSums reads the answer: a line "NAME: OK" or "NAME: FAILED…" for each
// entry on the standard output, warnings on the other.
func (p program) readSums(a answer) error {
	var ok, failed int
	var first string
	for l := range strings.Lines(a.stdout) {
		l = strings.TrimRight(l, "\n")
		switch {
		case strings.HasSuffix(l, ": OK"):
			ok++
		case strings.HasSuffix(l, ": FAILED"), strings.HasSuffix(l, ": FAILED open or read"):
			if failed++; failed == 1 {
				first = l
			}
		default:
			return p.unclear(a, fmt.Sprintf("unknown line %q", l))
		}
	}
	switch {
	case a.exit == 0 && failed == 0 && ok > 0:
		return nil
	case a.exit == 1 && failed > 0:
		return p.refuse(a, fmt.Sprintf("%s (%d of %d)", first, failed, ok+failed))
	case a.exit == 1 && (strings.Contains(a.stderr, "no properly formatted") || strings.Contains(a.stderr, "improperly formatted")):
		return p.refuse(a, last(a.stderr))
	}
	return p.unclear(a, fmt.Sprintf("exit code %d with %d OK and %d FAILED", a.exit, ok, failed))
}
