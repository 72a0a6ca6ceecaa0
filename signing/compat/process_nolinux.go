//go:build !linux

package compat

import (
	"context"
	"errors"
	"time"
)

// marked finds nothing: /proc is Linux's.
func marked(string) []int { return nil }

// killMarked does nothing here.
func killMarked(string) {}

// adoptOrphans does nothing here. A process that leaves the program's process
// group outlives it.
func adoptOrphans() bool { return false }

// killOrphans does nothing here.
func killOrphans(string, time.Time, bool) {}

// lock is for judges that run on Linux only.
func lock(context.Context, string) (func(), error) {
	return nil, errors.New("this judge needs Linux")
}
