package signing

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// maxAttribute is the largest value, and the longest list of names, that Linux
// has (limits.h: XATTR_SIZE_MAX, XATTR_LIST_MAX).
const maxAttribute = 64 << 10

// copyAttributes gives dst the extended attributes of src: capabilities, access
// control lists, the user's own. It is called after the last write, since the
// kernel takes capabilities from a file that is written.
//
// Not copied are security.ima and security.evm, which are signatures over the old
// content, and what a file system makes up itself (system.*, but for the access
// control list). The labels of SELinux and SMACK are copied where the policy
// lets us; otherwise the new file has the folder's, as any new file has. Every
// other attribute that cannot be set is an error.
func copyAttributes(dst, src *os.File) error {
	names, err := attributeNames(src)
	if err != nil {
		return err
	}
	value := make([]byte, maxAttribute)
	for _, name := range names {
		label := name == "security.selinux" || strings.HasPrefix(name, "security.SMACK64")
		switch {
		case name == imaAttribute, name == "security.evm":
			continue
		case strings.HasPrefix(name, "system.") && name != "system.posix_acl_access":
			continue
		}
		n, err := unix.Fgetxattr(int(src.Fd()), name, value)
		if errors.Is(err, unix.ENODATA) {
			continue // removed since it was listed
		}
		if err == nil {
			err = unix.Fsetxattr(int(dst.Fd()), name, value[:n], 0)
		}
		if err != nil && !label {
			return fmt.Errorf("the attribute %s of the file cannot be kept: %w: sign as root, on a file system that has such attributes, or remove it first with `setfattr -x %s FILE`", name, err, name)
		}
	}
	return nil
}

func attributeNames(f *os.File) ([]string, error) {
	list := make([]byte, maxAttribute)
	n, err := unix.Flistxattr(int(f.Fd()), list)
	switch {
	case errors.Is(err, unix.ENOTSUP):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("listing the file's extended attributes: %w", err)
	}
	return strings.FieldsFunc(string(list[:n]), func(r rune) bool { return r == 0 }), nil
}
