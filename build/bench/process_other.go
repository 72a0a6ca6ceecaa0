//go:build !linux && !windows

package bench

import (
	"errors"
	"os/exec"
	"syscall"
	"time"
)

// measure runs a command.
func measure(cmd *exec.Cmd, pinned []int) (usage, error) {
	u := usage{start: time.Now(), self: -1}
	if len(pinned) > 0 {
		return u, errors.New("pinning to processors: only linux can do it here")
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	err := cmd.Run()
	u.wall = time.Since(u.start).Seconds()
	if s := cmd.ProcessState; s != nil {
		u.cpu = s.UserTime().Seconds() + s.SystemTime().Seconds()
	}
	return u, err
}

func settle() {}
