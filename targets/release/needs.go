package release

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/hallmark-build/hallmark/build"
)

// dependencyNotes says of each package with programs that load libraries what
// these need, since the package does not declare it: where it is missing, the
// package is installed without a word and the program does not start.
func dependencyNotes(entries []Entry, w *workspace) []string {
	said := map[string]bool{}
	var notes []string
	for _, p := range entries {
		where := strings.TrimSpace(p.Platform + " " + p.Toolchain)
		if p.Kind != KindPackage || said[where] {
			continue
		}
		said[where] = true
		for _, e := range entries {
			if e.Kind != KindBinary || e.Platform != p.Platform || e.Toolchain != p.Toolchain {
				continue
			}
			libraries, glibc, err := build.Needs(w.file(e.Path))
			switch {
			case err != nil:
				notes = append(notes, fmt.Sprintf("%s: what it needs is not known: %v", e.Path, err))
			case len(libraries) > 0:
				notes = append(notes, needsNote(path.Base(e.Path), where, libraries, glibc))
			}
		}
	}
	slices.Sort(notes)
	return notes
}

func needsNote(program, where string, libraries []string, glibc string) string {
	for i, l := range libraries {
		libraries[i] = fmt.Sprintf("%q", l)
	}
	version := ""
	if glibc != "" {
		version = fmt.Sprintf(" and the GNU C library %s or newer", glibc)
	}
	return fmt.Sprintf("the packages for %s declare no dependencies, and %s needs %s%s: tell users what to install, or build it without C",
		where, program, strings.Join(libraries, ", "), version)
}
