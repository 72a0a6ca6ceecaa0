//go:build unix

package boundaries

import (
	"fmt"
	"os"
	"syscall"
)

// lock takes the working folder for one run.
func lock(name string) (release func(), err error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s is taken: another run is making the map; wait for it", name)
	}
	return func() { f.Close() }, nil
}
