package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
)

// takenFile is where Setup puts the file of Tool.Take: hallmark/tools/NAME/FILE
// below the user's cache folder. Package compat looks there too.
func (s system) takenFile(t Tool) string {
	return filepath.Join(s.cache, "hallmark", "tools", t.Name, path.Base(t.Take))
}

// takeFiles takes the one file that is needed from packages that would bring
// many others with them, as kernels are fetched: by apt, which holds the package
// to the signed lists of the archive, and without root. Where there is no apt,
// or its archive has not the package, it says so, and that is no error.
func (s system) takeFiles(ctx context.Context, out io.Writer, tools []Tool) error {
	return s.fetchEach(ctx, out, tools, func(t Tool) bool { return t.Take != "" }, s.takeFile)
}

func (s system) takeFile(ctx context.Context, out io.Writer, t Tool) error {
	for _, name := range []string{"apt-get", "apt-cache", "dpkg-deb"} {
		if lookIn(s.pathDirs(), []string{name}) == "" {
			return &absentError{name + " is not here, which would fetch it"}
		}
	}
	to := s.takenFile(t)
	root := filepath.Dir(filepath.Dir(to))
	if err := os.MkdirAll(root, 0o777); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(root, ".new-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	a := kernelApt{system: s, dir: dir}
	known, err := aptGet{system: s, cache: lookIn(s.pathDirs(), []string{"apt-cache"})}.known(ctx, []Tool{t})
	if err != nil {
		return err
	}
	if !known[t.Packages[0]] {
		return &absentError{"apt has no package " + t.Packages[0]}
	}
	fmt.Fprintf(out, "setup: fetching %s, which is not installed, for one file of it\n", t.Packages[0])
	if _, err := a.run(ctx, "apt-get", "download", "-q", t.Packages[0]); err != nil {
		return err
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(found) != 1 {
		return fmt.Errorf("apt-get download left %d packages, not one", len(found))
	}
	made := filepath.Join(dir, "made")
	if err := os.Mkdir(made, 0o755); err != nil {
		return err
	}
	if err := a.extract(ctx, found[0], t.Take, filepath.Join(made, path.Base(t.Take))); err != nil {
		return err
	}
	if err := os.Rename(made, filepath.Dir(to)); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}
