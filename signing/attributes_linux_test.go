package signing

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A capability of revision 2 (capability.h): CAP_NET_BIND_SERVICE, permitted and effective.
const netBind = "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// An access control list (posix_acl_xattr.h), version 2: owner rwx, user 65534 r--,
// group r-x, mask r-x, others r-x.
const acl = "\x02\x00\x00\x00" +
	"\x01\x00\x07\x00\xff\xff\xff\xff" + "\x02\x00\x04\x00\xfe\xff\x00\x00" +
	"\x04\x00\x05\x00\xff\xff\xff\xff" + "\x10\x00\x05\x00\xff\xff\xff\xff" + "\x20\x00\x05\x00\xff\xff\xff\xff"

// What is signed or unsigned in place keeps its attributes, but for signatures
// over what it was before.
func TestAttributesAreKept(t *testing.T) {
	t.Parallel()
	w := sharedWorld()
	file := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(file, tinyELF(), 0o755); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"user.note": "mine"}
	if os.Geteuid() == 0 {
		want["security.capability"], want["system.posix_acl_access"] = netBind, acl
	} else {
		t.Log("SKIP of capabilities: setting one takes root")
	}
	for name, value := range want {
		if err := unix.Setxattr(file, name, []byte(value), 0); errors.Is(err, unix.ENOTSUP) {
			t.Skipf("%s: this file system has no extended attributes: %v", name, err)
		} else if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if os.Geteuid() == 0 {
		if err := unix.Setxattr(file, imaAttribute, []byte("\x03\x02old"), 0); err != nil {
			t.Fatal(err)
		}
	}
	check := func(after string) {
		t.Helper()
		for name, value := range want {
			b := make([]byte, 256)
			n, err := unix.Getxattr(file, name, b)
			if err != nil || string(b[:n]) != value {
				t.Errorf("after %s: %s is %q, %v", after, name, b[:max(n, 0)], err)
			}
		}
		if _, err := unix.Getxattr(file, imaAttribute, make([]byte, 256)); !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.ENOTSUP) {
			t.Errorf("after %s: the old security.ima is still there: %v", after, err)
		}
	}
	if _, err := (Appended{}).Sign(t.Context(), file, file, w.key, nil); err != nil {
		t.Fatal(err)
	}
	check("signing")
	if err := Unsign(t.Context(), file, file); err != nil {
		t.Fatal(err)
	}
	check("unsigning")
}

// An attribute that the new place cannot have stops the work before anything is
// in place.
func TestAttributesThatCannotBeKept(t *testing.T) {
	t.Parallel()
	src, err := os.Create(filepath.Join(t.TempDir(), "src"))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if err := unix.Fsetxattr(int(src.Fd()), "user.note", []byte("mine"), 0); err != nil {
		t.Skipf("this file system has no extended attributes: %v", err)
	}
	r, w, err := os.Pipe() // which takes no attributes
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if err := copyAttributes(w, src); err == nil || !strings.Contains(err.Error(), "user.note") {
		t.Errorf("got %v, want an error that names the attribute", err)
	}
}

// What a killed run left is removed; what is being written, and what is not ours, is not.
func TestSweep(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	left := filepath.Join(dir, ".hallmark-sign-123456")
	for _, name := range []string{left, filepath.Join(dir, ".hallmark-sign-notes"), filepath.Join(dir, ".hallmark-12.exe"), filepath.Join(dir, ".hallmark-sign-5.exe")} {
		if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/dev/null", filepath.Join(dir, ".hallmark-sign-7.exe")); err != nil {
		t.Fatal(err)
	}
	out, err := newOutput(filepath.Join(dir, "program.exe"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.discard()
	if err := Sweep(dir, ".hallmark-sign-5.exe"); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	slices.Sort(names)
	want := []string{".hallmark-12.exe", ".hallmark-sign-5.exe", ".hallmark-sign-7.exe", ".hallmark-sign-notes", filepath.Base(out.Name())}
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Errorf("left are %q, want %q", names, want)
	}
}
