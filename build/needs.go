package build

import (
	"debug/elf"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Needs lists the libraries that an ELF program loads when it starts (DT_NEEDED), sorted, and the newest version of the
// GNU C library whose symbols it uses, such as 2.34; "" if it uses none. A program without C needs nothing.
func Needs(file string) (libraries []string, glibc string, err error) {
	f, err := elf.Open(file)
	if err != nil {
		return nil, "", err
	}
	defer f.Close()
	if libraries, err = f.DynString(elf.DT_NEEDED); err != nil {
		return nil, "", fmt.Errorf("%s: the libraries that it needs: %w", file, err)
	}
	slices.Sort(libraries)
	if len(libraries) == 0 {
		return nil, "", nil
	}
	versions, err := f.DynamicVersionNeeds()
	if err != nil {
		return nil, "", fmt.Errorf("%s: the versions that it needs: %w", file, err)
	}
	for _, library := range versions {
		for _, need := range library.Needs {
			if version, ok := strings.CutPrefix(need.Dep, "GLIBC_"); ok && newer(version, glibc) {
				glibc = version
			}
		}
	}
	return libraries, glibc, nil
}

// newer compares two versions of the GNU C library, numbers with dots; GLIBC_PRIVATE and such are none.
func newer(a, b string) bool {
	x, ok := numbers(a)
	y, _ := numbers(b)
	return ok && slices.Compare(x, y) > 0
}

func numbers(version string) (list []int, ok bool) {
	for part := range strings.SplitSeq(version, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return nil, false
		}
		list = append(list, n)
	}
	return list, true
}
