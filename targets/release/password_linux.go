package release

import (
	"bytes"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// protectMemory keeps the memory of this process out of core dumps, and from
// other processes of the same user: those can then neither trace it nor read its
// /proc/PID/environ (prctl(2), PR_SET_DUMPABLE). Programs that it starts leave no
// core dump either, but can be traced. Both are done as far as the kernel lets us.
func protectMemory() {
	unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}

// scrub overwrites the value of a variable where the kernel put it, from where
// /proc/PID/environ shows it, as far as the kernel lets us.
func scrub(name string) {
	start, end := environment()
	if start <= 0 || end <= start || end-start > maxEnvironment {
		return
	}
	mem, err := os.OpenFile("/proc/self/mem", os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer mem.Close()
	block := make([]byte, end-start)
	defer clear(block)
	if _, err := mem.ReadAt(block, start); err != nil {
		return
	}
	at := start
	for _, kv := range bytes.SplitAfter(block, []byte{0}) {
		if value, ok := bytes.CutPrefix(kv, []byte(name+"=")); ok {
			value = bytes.TrimSuffix(value, []byte{0})
			mem.WriteAt(make([]byte, len(value)), at+int64(len(name)+1))
		}
		at += int64(len(kv))
	}
}

// maxEnvironment is more than Linux gives arguments and environment together by
// default (execve(2)).
const maxEnvironment = 8 << 20

// environment returns where the initial environment is in memory: fields 50 and
// 51 of /proc/self/stat (proc(5)). Both are zero if that cannot be read.
func environment() (start, end int64) {
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0, 0
	}
	// The name of the program, field 2, may hold anything but ends with the last ")".
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 49 {
		return 0, 0
	}
	number := func(field int) int64 {
		n, _ := strconv.ParseInt(string(fields[field-3]), 10, 64) // zero if it is no number
		return n
	}
	return number(50), number(51)
}
