//go:build !linux

package release

// protectMemory is for Linux.
func protectMemory() {}

// scrub is for Linux.
func scrub(string) {}
