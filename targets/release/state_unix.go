//go:build unix

package release

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// onlyOurs refuses a file or folder that another user owns or can write.
func onlyOurs(path string, info fs.FileInfo) error {
	if s, ok := info.Sys().(*syscall.Stat_t); ok && int(s.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to another user", path)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s can be written by others: `chmod go-w %s`", path, path)
	}
	return nil
}

// sweepPrivate removes the private folders of runs that were killed: those of
// this user that no process has locked.
func sweepPrivate() {
	found, _ := filepath.Glob(filepath.Join(os.TempDir(), privatePattern))
	for _, dir := range found {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() || onlyOurs(dir, info) != nil {
			continue
		}
		f, err := os.Open(dir)
		if err != nil {
			continue
		}
		if now, err := f.Stat(); err == nil && os.SameFile(info, now) {
			if ok, err := lockDir(f); ok && err == nil {
				os.RemoveAll(dir)
			}
		}
		f.Close()
	}
}
