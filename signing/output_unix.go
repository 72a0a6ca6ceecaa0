//go:build unix

package signing

import (
	"io/fs"
	"os"
	"syscall"
)

// ownedLike gives f the owner and group of from, which only root may, and
// reports whether it has them now.
func ownedLike(f *os.File, from fs.FileInfo) bool {
	want, ok := from.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	f.Chown(int(want.Uid), int(want.Gid)) // its result is looked at
	info, err := f.Stat()
	if err != nil {
		return false
	}
	have, ok := info.Sys().(*syscall.Stat_t)
	return ok && have.Uid == want.Uid && have.Gid == want.Gid
}

// syncDir makes a rename in dir survive a power cut, where the file system can.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		d.Sync()
		d.Close()
	}
}
