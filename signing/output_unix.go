//go:build unix

package signing

import (
	"io/fs"
	"os"
	"syscall"
)

// chownLike gives f the owner of from. Only root may give files away; anybody
// else keeps the file as their own, as any editor does.
func chownLike(f *os.File, from fs.FileInfo) {
	if st, ok := from.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		f.Chown(int(st.Uid), int(st.Gid))
	}
}

// syncDir makes a rename in dir survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
