//go:build !unix

package release

import "os"

// lockDir does nothing where folders cannot be locked.
func lockDir(*os.File) (bool, error) { return true, nil }

func unlockDir(*os.File) {}
