//go:build !linux

package bench

import (
	"errors"
	"time"
)

// mountSlow is for linux only.
func mountSlow(string, string, time.Duration) (func() error, error) {
	return nil, errors.New("a file system of a set latency is emulated on linux only")
}
