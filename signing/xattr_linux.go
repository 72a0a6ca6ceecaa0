package signing

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// SetIMA sets the extended attribute security.ima of a file to a signature that
// [IMA] has written. It takes root (CAP_SYS_ADMIN), and a file system that keeps
// such attributes: ext4, XFS, btrfs, tmpfs do.
func SetIMA(file string, signature []byte) error {
	if _, err := parseIMA(signature); err != nil {
		return inFile(err, file)
	}
	f, _, err := openRegular(file)
	if err != nil {
		return err
	}
	defer f.Close()
	switch err := unix.Fsetxattr(int(f.Fd()), imaAttribute, signature, 0); {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%s: setting %s takes root: %w", file, imaAttribute, err)
	case errors.Is(err, unix.ENOTSUP):
		return fmt.Errorf("%s: this file system keeps no attribute %s: ship the .sig file, and set it where the program is installed: %w", file, imaAttribute, err)
	case err != nil:
		return fmt.Errorf("%s: setting %s: %w", file, imaAttribute, err)
	}
	return nil
}

// ReadIMA returns the signature in a file's attribute security.ima; nil without
// one. A digest, which a kernel that is told to writes there itself, is none.
func ReadIMA(file string) ([]byte, error) {
	b := make([]byte, 64<<10) // the largest attribute that Linux has
	n, err := unix.Getxattr(file, imaAttribute, b)
	switch {
	case errors.Is(err, unix.ENODATA), errors.Is(err, unix.ENOTSUP):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("%s: reading %s: %w", file, imaAttribute, err)
	}
	if _, err := parseIMA(b[:n]); isUnsigned(err) {
		return nil, nil
	}
	return b[:n], nil
}
