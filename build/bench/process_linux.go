package bench

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ticks is the number of clock ticks a second in /proc/PID/stat: 100 on all architectures that Go runs on.
const ticks = 100

// measure runs a command that is the leader of its own process group.
func measure(cmd *exec.Cmd, pinned []int) (usage, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	u := usage{start: time.Now(), self: -1}
	if err := startPinned(cmd, pinned); err != nil {
		return u, err
	}
	// As long as nobody has waited for it, /proc tells the process's own time from that of its children.
	for {
		if err := unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != unix.EINTR {
			break
		}
	}
	u.wall = time.Since(u.start).Seconds()
	if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid)); err == nil {
		u.self = ownTime(stat)
	}
	err := cmd.Wait()
	if err != nil {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // no such group: nothing is left
	}
	if s := cmd.ProcessState; s != nil {
		u.cpu = s.UserTime().Seconds() + s.SystemTime().Seconds()
		if r, ok := s.SysUsage().(*syscall.Rusage); ok {
			u.peak = r.Maxrss << 10
		}
	}
	return u, err
}

// startPinned starts the command on some processors only: a child inherits those of the thread that starts it.
func startPinned(cmd *exec.Cmd, pinned []int) error {
	if len(pinned) == 0 {
		return cmd.Start()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return fmt.Errorf("pinning: %w", err)
	}
	for _, cpu := range pinned {
		set.Set(cpu)
	}
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("pinning to processors %v: %w", pinned, err)
	}
	defer unix.SchedSetaffinity(0, &before)
	return cmd.Start()
}

// ownTime reads the seconds that a process itself has used from its /proc/PID/stat: utime and stime, the 14th and 15th
// field, in clock ticks (proc(5)). It returns -1 when they are not there.
func ownTime(stat []byte) float64 {
	// The second field is the program's name in parentheses, which may hold anything.
	i := bytes.LastIndexByte(stat, ')')
	if i < 0 {
		return -1
	}
	f := bytes.Fields(stat[i+1:])
	if len(f) < 13 {
		return -1
	}
	user, err1 := strconv.ParseUint(string(f[11]), 10, 62)
	system, err2 := strconv.ParseUint(string(f[12]), 10, 62)
	if err1 != nil || err2 != nil {
		return -1
	}
	return float64(user+system) / ticks
}

// settle writes to the disk what earlier runs left in memory, so that it is not written while the next one is timed.
func settle() { unix.Sync() }
