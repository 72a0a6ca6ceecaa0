//go:build unix

package release

import (
	"errors"
	"os"
	"syscall"
)

// lockDir takes the folder for this process, until f is closed or the process
// ends however it may. It reports false if another process has it. File
// systems without locks are used without.
func lockDir(f *os.File) (bool, error) {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil, errors.Is(err, syscall.ENOTSUP), errors.Is(err, syscall.ENOLCK), errors.Is(err, syscall.ENOSYS), errors.Is(err, syscall.EINVAL):
			return true, nil
		case errors.Is(err, syscall.EWOULDBLOCK):
			return false, nil
		case !errors.Is(err, syscall.EINTR):
			return false, &os.PathError{Op: "lock", Path: f.Name(), Err: err}
		}
	}
}

// unlockDir gives the folder back now. Closing would do so only once a child
// that is being started, and holds the same file until it executes its
// program, has let go of it.
func unlockDir(f *os.File) { syscall.Flock(int(f.Fd()), syscall.LOCK_UN) }
