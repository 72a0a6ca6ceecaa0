//go:build unix

package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestCancel checks that nothing outlives a compilation that is given up, and that nothing is written.
func TestCancel(t *testing.T) {
	out := fakeGo(t, `trap "" INT; sleep 600 & echo $! > $OUT/pid.new; mv $OUT/pid.new $OUT/pid; wait; sleep 600`)
	b := newBuilder(t, copyModule(t, "hello"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	pid := 0
	go func() {
		defer cancel()
		for range 1000 {
			if data, err := os.ReadFile(filepath.Join(out, "pid")); err == nil {
				pid, _ = strconv.Atoi(strings.TrimSpace(string(data)))
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	dst := filepath.Join(t.TempDir(), "hello")
	_, err := b.Compile(ctx, target(t, "hello", "linux/amd64"), dst)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	if pid == 0 {
		t.Fatal("the command did not start")
	}
	// A killed process stays a zombie until somebody waits for it, which is not us.
	for range 500 {
		data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err = syscall.Kill(pid, 0); err != nil || strings.Contains(string(data), ") Z ") {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && !strings.Contains(string(data), ") Z ") {
		t.Errorf("process %d lives on", pid)
	}
	if entries, _ := os.ReadDir(filepath.Dir(dst)); len(entries) > 0 {
		t.Errorf("left behind: %v", entries)
	}
}
