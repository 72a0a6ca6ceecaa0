package dist

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"path/filepath"
	"slices"
)

// WriteSums writes the SHA-256 of every named file below dir to dst, in the format that `sha256sum -c` reads: hex, two
// spaces, name; sorted by name. Names are slash paths relative to dir, which is where the list is to be checked from.
func WriteSums(dst, dir string, names []string) error {
	sorted := slices.Clone(names)
	slices.Sort(sorted)
	for i, name := range sorted {
		// sha256sum escapes backslashes and line breaks in names: checkName leaves none.
		if err := checkName(name); err != nil {
			return fmt.Errorf("writing %s: %w", dst, err)
		}
		if i > 0 && sorted[i-1] == name {
			return fmt.Errorf("writing %s: %q is listed twice", dst, name)
		}
	}
	return replace(dst, func(w io.Writer) error {
		out := bufio.NewWriter(w)
		for _, name := range sorted {
			sum, err := sumFile(filepath.Join(dir, filepath.FromSlash(name)))
			if err != nil {
				return err
			}
			fmt.Fprintf(out, "%s  %s\n", sum, name)
		}
		return out.Flush()
	})
}

func sumFile(file string) (string, error) {
	f, _, err := openRegular(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("reading %s: %w", file, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
