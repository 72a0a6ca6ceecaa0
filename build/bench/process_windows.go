package bench

import (
	"errors"
	"fmt"
	"os/exec"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// jobAccounting is JOBOBJECT_BASIC_ACCOUNTING_INFORMATION; times are in units of 100 ns.
type jobAccounting struct {
	TotalUserTime, TotalKernelTime           int64
	ThisPeriodUserTime, ThisPeriodKernelTime int64
	PageFaults, Processes, Active, Ended     uint32
}

// measure runs a command in a job object, which counts what all of its processes use. (The times of a process on Windows
// leave out those of its children.)
func measure(cmd *exec.Cmd, pinned []int) (usage, error) {
	u := usage{start: time.Now(), self: -1}
	if len(pinned) > 0 {
		return u, errors.New("pinning to processors: only linux can do it here")
	}
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return u, fmt.Errorf("creating a job object: %w", err)
	}
	defer windows.CloseHandle(job)
	cmd.Cancel = func() error { return errors.Join(windows.TerminateJobObject(job, 1), cmd.Process.Kill()) }
	u.start = time.Now()
	if err := cmd.Start(); err != nil {
		return u, err
	}
	// The go command reads its settings before it starts anything, so nothing escapes in between.
	h, err := windows.OpenProcess(windows.PROCESS_SET_QUOTA|windows.PROCESS_TERMINATE, false, uint32(cmd.Process.Pid))
	if err == nil {
		err = windows.AssignProcessToJobObject(job, h)
		windows.CloseHandle(h)
	}
	if err != nil {
		cmd.Process.Kill()
		return u, errors.Join(fmt.Errorf("assigning to a job object: %w", err), cmd.Wait())
	}
	err = cmd.Wait()
	u.wall = time.Since(u.start).Seconds()
	var a jobAccounting
	if e := windows.QueryInformationJobObject(job, windows.JobObjectBasicAccountingInformation,
		uintptr(unsafe.Pointer(&a)), uint32(unsafe.Sizeof(a)), nil); e == nil {
		u.cpu = float64(a.TotalUserTime+a.TotalKernelTime) / 1e7
	}
	if s := cmd.ProcessState; u.cpu == 0 && s != nil { // Wine does not count for jobs
		u.cpu = s.UserTime().Seconds() + s.SystemTime().Seconds()
	}
	var x windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION
	if e := windows.QueryInformationJobObject(job, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&x)), uint32(unsafe.Sizeof(x)), nil); e == nil {
		u.peak = int64(x.PeakProcessMemoryUsed)
	}
	return u, err
}

func settle() {}
