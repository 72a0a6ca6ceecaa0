//go:build !unix

package dist

import "testing"

// cpuSeconds is not measured here.
func cpuSeconds() float64 { return 0 }

func fifo(t *testing.T, _ string) {
	t.Helper()
	t.Skip("SKIP: no FIFO here")
}
