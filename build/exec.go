package build

import (
	"context"
	"errors"
	"io/fs"
	"os/exec"
	"sync"
	"time"
)

// killDelay is how long a command that was asked to stop may take, before it is killed. The go command uses the time to
// remove its work folder.
const killDelay = 3 * time.Second

// command prepares a command that ends, with everything that it started, when ctx does.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = killDelay
	ownGroup(cmd)
	return cmd
}

// runCommand runs a command that command prepared.
func runCommand(ctx context.Context, cmd *exec.Cmd) error {
	err := cmd.Run()
	if ctx.Err() != nil {
		killGroup(cmd)
		return context.Cause(ctx)
	}
	return err
}

// isNotFound tells whether a command could not be run because there is no such program.
func isNotFound(err error) bool {
	return errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist)
}

// A memo holds what has been computed for a key. A failure is not held: the next caller tries again.
type memo[K comparable, V any] struct {
	mu sync.Mutex
	m  map[K]*memoEntry[V]
}

type memoEntry[V any] struct {
	mu    sync.Mutex
	known bool
	v     V
}

// get returns the value for k, computing it with f if need be. Callers with the same key wait for each other.
func (m *memo[K, V]) get(k K, f func() (V, error)) (V, error) {
	m.mu.Lock()
	if m.m == nil {
		m.m = make(map[K]*memoEntry[V])
	}
	e := m.m[k]
	if e == nil {
		e = new(memoEntry[V])
		m.m[k] = e
	}
	m.mu.Unlock()

	e.mu.Lock()
	defer e.mu.Unlock()
	if e.known {
		return e.v, nil
	}
	v, err := f()
	if err == nil {
		e.v, e.known = v, true
	}
	return v, err
}
