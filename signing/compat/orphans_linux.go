package compat

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// clockTick is the unit of times in /proc, USER_HZ, which is 100 on all of Go's
// architectures.
const clockTick = 10 * time.Millisecond

// adoptOrphans makes this process the parent of every process whose own parent
// has ended and that descends from it (prctl(2), PR_SET_CHILD_SUBREAPER), so that
// none gets out of sight by setsid and a double fork. It reports whether the
// kernel does so. If not, orphans go to init, and killOrphans finds those that
// have kept their environment.
func adoptOrphans() bool {
	return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == nil
}

// killOrphans kills what a program that has ended leaves, in whatever session and
// process group, with all descendants. Of the processes that have become
// children of this one it takes those with the mark of the program in their
// environment, and those of another session than ours that have started since
// the program did and have no mark at all: a judge hides nothing by clearing the
// environment. What another judge started has that one's mark, and what else
// this process started is in its session.
func killOrphans(mark string, started time.Time, adopts bool) {
	session, _ := unix.Getsid(0)
	self, _ := os.Readlink("/proc/self/exe")
	since := startTime(started)
	for range 100 {
		var found []int
		again := false
		for _, pid := range childrenOf(os.Getpid()) {
			// Between fork and exec a child of this process, another judge's, is
			// this program still, in a session of its own, and within exec it is
			// the other one without an environment. So first the program is
			// looked at, then where its environment is, then the marks in that.
			exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
			s, ok := readStat(pid)
			if !ok || s.state == 'Z' || s.session == session {
				continue
			}
			if exe == self || s.environment == 0 {
				again = true
				continue
			}
			marks := marksOf(pid)
			if slices.Contains(marks, mark) || len(marks) == 0 && s.started >= since {
				found = append(found, pid)
			}
		}
		adopted := slices.Clone(found)
		if !adopts {
			found = append(found, marked(mark)...)
		}
		if len(found) == 0 && !again {
			return
		}
		for _, pid := range found {
			killTree(pid)
		}
		for _, pid := range adopted {
			reap(pid)
		}
		time.Sleep(time.Millisecond)
	}
}

// killTree kills a process and its descendants, which it stops first, so that
// none is started meanwhile.
func killTree(pid int) {
	_ = syscall.Kill(pid, syscall.SIGSTOP)
	for _, child := range childrenOf(pid) {
		killTree(child)
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
}

// reap takes the exit status of an adopted process that was killed.
func reap(pid int) {
	for range 100 {
		if got, err := syscall.Wait4(pid, nil, syscall.WNOHANG, nil); err != syscall.EINTR && (got != 0 || err != nil) {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// childrenOf returns the children of a process, of all its threads. They are in
// /proc/PID/task/TID/children (CONFIG_PROC_CHILDREN); a kernel without it has the
// parents in /proc/PID/stat.
func childrenOf(pid int) []int {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	var children []int
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for _, field := range strings.Fields(string(data)) {
			if child, err := strconv.Atoi(field); err == nil {
				children = append(children, child)
			}
		}
	}
	if len(files) > 0 {
		return children
	}
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range all {
		child, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		if s, ok := readStat(child); ok && s.parent == pid {
			children = append(children, child)
		}
	}
	return children
}

// processStat is what /proc/PID/stat says; see proc(5).
type processStat struct {
	state                  byte
	parent, group, session int
	started                int64  // clock ticks since the machine started
	environment            uint64 // address of the environment's end, also of an empty one; 0 until exec has put all of it there
}

func readStat(pid int) (s processStat, ok bool) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return s, false
	}
	// The second field is the program's name in parentheses, which may hold anything.
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(fields) < 49 {
		return s, false
	}
	s.state = fields[0][0]
	s.parent, _ = strconv.Atoi(fields[1])
	s.group, _ = strconv.Atoi(fields[2])
	s.session, _ = strconv.Atoi(fields[3])
	s.environment, _ = strconv.ParseUint(fields[48], 10, 64)
	s.started, err = strconv.ParseInt(fields[19], 10, 64)
	return s, err == nil
}

// startTime returns a time in clock ticks since the machine started, rounded down.
func startTime(t time.Time) int64 {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return 0
	}
	return (now.Nano() - time.Since(t).Nanoseconds()) / int64(clockTick)
}

// marksOf returns the marks of judges' runs in a process's environment.
func marksOf(pid int) []string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return nil
	}
	var marks []string
	for kv := range bytes.SplitSeq(data, []byte{0}) {
		if bytes.HasPrefix(kv, []byte(markVariable+"=")) {
			marks = append(marks, string(kv))
		}
	}
	return marks
}
