package compat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// marked returns the processes that were started with the variable, given as
// NAME=VALUE, in their environment. Those that have ended have none.
func marked(variable string) []int {
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	var found []int
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil || !slices.ContainsFunc(bytes.Split(data, []byte{0}), func(kv []byte) bool { return string(kv) == variable }) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil && pid != os.Getpid() {
			found = append(found, pid)
		}
	}
	return found
}

// killMarked kills them, wherever in the tree of processes they have got to,
// until there are none.
func killMarked(variable string) {
	for range 100 {
		found := marked(variable)
		if len(found) == 0 {
			return
		}
		for _, pid := range found {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// lock waits until no other process has the file locked. The lock ends with
// the process, or by the function that is returned.
func lock(ctx context.Context, file string) (unlock func(), err error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("locking %s: %w", file, err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("waiting for %s, which another process has locked: %w", file, context.Cause(ctx))
		case <-time.After(100 * time.Millisecond):
		}
	}
}
