//go:build !linux

package signing

import "os"

// copyAttributes does nothing: only Linux's attributes are known here.
func copyAttributes(_, _ *os.File) error { return nil }
