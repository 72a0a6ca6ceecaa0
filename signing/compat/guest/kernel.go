//go:build linux && amd64

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// Numbers of <linux/fsverity.h>, <linux/keyctl.h>, <asm/unistd_64.h> and
// <asm-generic/ioctls.h> that package syscall lacks.
const (
	fsIOCEnableVerity = 0x40806685 // _IOW('f', 133, struct fsverity_enable_arg)

	sysFinitModule = 313

	keyctlJoinSession = 1
	keySpecSession    = -3

	tcgets, tcsets = 0x5401, 0x5402
	opost          = 1 // c_oflag
)

// enableArg is struct fsverity_enable_arg.
type enableArg struct {
	version, hash, block, saltSize uint32
	salt                           uint64
	sigSize, _                     uint32
	sig                            uint64
	_                              [11]uint64
}

// enableVerity builds the Merkle tree of a file and makes it read-only for
// good; with signatures required, the kernel verifies this one first.
func enableVerity(file string, algorithm uint32, signature []byte) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	arg := enableArg{version: 1, hash: algorithm, block: 4096}
	if len(signature) > 0 {
		arg.sigSize, arg.sig = uint32(len(signature)), uint64(uintptr(unsafe.Pointer(&signature[0])))
	}
	_, _, e := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), fsIOCEnableVerity, uintptr(unsafe.Pointer(&arg)))
	return kernelSays(e)
}

func loadModule(f *os.File) error {
	var none byte
	_, _, e := syscall.Syscall(sysFinitModule, f.Fd(), uintptr(unsafe.Pointer(&none)), 0)
	return kernelSays(e)
}

// findKeyring returns the serial number of a keyring that the kernel made.
// /proc/keys lists it as "1b8f9c0d I------ 1 perm 1f0b0000 0 0 keyring .fs-verity: empty".
func findKeyring(name string) (int, error) {
	keys, err := os.ReadFile("/proc/keys")
	if err != nil {
		return 0, err
	}
	for l := range strings.Lines(string(keys)) {
		f := strings.Fields(l)
		if len(f) > 8 && f[7] == "keyring" && f[8] == name+":" {
			id, err := strconv.ParseUint(f[0], 16, 31)
			return int(id), err
		}
	}
	return 0, fmt.Errorf("the kernel has no keyring %s", name)
}

// newKeyring makes a keyring where the kernel's request_key finds it, for this
// thread and what it starts: below a session keyring of their own.
func newKeyring(name string) (int, error) {
	if _, _, e := syscall.Syscall(syscall.SYS_KEYCTL, keyctlJoinSession, 0, 0); e != 0 {
		return 0, e
	}
	return addKey("keyring", name, nil, keySpecSession)
}

func addKey(kind, description string, payload []byte, ring int) (int, error) {
	k, err := syscall.BytePtrFromString(kind)
	if err != nil {
		return 0, err
	}
	d, err := syscall.BytePtrFromString(description)
	if err != nil {
		return 0, err
	}
	var p unsafe.Pointer
	if len(payload) > 0 {
		p = unsafe.Pointer(&payload[0])
	}
	id, _, e := syscall.Syscall6(syscall.SYS_ADD_KEY, uintptr(unsafe.Pointer(k)), uintptr(unsafe.Pointer(d)), uintptr(p), uintptr(len(payload)), uintptr(ring), 0)
	return int(id), kernelSays(e)
}

// addCertificates gives a keyring what it is to trust. A certificate that this
// kernel cannot read (ECDSA, for one) is left out: what it signed is then
// refused, as on any machine with this kernel.
func addCertificates(ring int, certificates [][]byte) error {
	for _, der := range certificates {
		_, err := addKey("asymmetric", "", der, ring)
		if err != nil && !errors.Is(err, syscall.EBADMSG) && !errors.Is(err, syscall.ENOPKG) && !errors.Is(err, syscall.EINVAL) {
			return fmt.Errorf("adding a certificate to a keyring: %w", err)
		}
	}
	return nil
}

// mountDisk waits for the disk, which the kernel finds in its own time.
func mountDisk() error {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		err := syscall.Mount("/dev/nvme0n1", disk, "ext4", 0, "")
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// openPort opens a serial port and keeps it from turning \n into \r\n.
func openPort(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	var termios [64]byte // struct termios; c_oflag is its second word
	if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), tcgets, uintptr(unsafe.Pointer(&termios))); e == 0 {
		termios[4] &^= opost
		syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), tcsets, uintptr(unsafe.Pointer(&termios)))
	}
	_, err = f.WriteString("\n") // the firmware has left the cursor where it liked
	return f, err
}

// openLog opens the kernel's log behind its present end.
func openLog() (fd int, err error) {
	if fd, err = syscall.Open("/dev/kmsg", syscall.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0); err == nil {
		_, err = syscall.Seek(fd, 0, io.SeekEnd)
	}
	if err != nil {
		return 0, fmt.Errorf("opening /dev/kmsg: %w", err)
	}
	return fd, nil
}

// log returns what the kernel has logged since the last call, the end of it.
// A read gives one record: "6,340,5690716,-;text", then lines with properties.
func (g *guest) log() []string {
	const most = 6
	var lines []string
	buf := make([]byte, 8192)
	for {
		n, err := syscall.Read(g.kmsg, buf)
		if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.EINTR) { // records were overwritten; go on
			continue
		}
		if err != nil || n <= 0 {
			break
		}
		record, _, _ := bytes.Cut(buf[:n], []byte("\n"))
		if _, text, ok := bytes.Cut(record, []byte(";")); ok {
			lines = append(lines, string(text))
		}
	}
	return lines[max(0, len(lines)-most):]
}

func kernelSays(e syscall.Errno) error {
	if e != 0 {
		return e
	}
	return nil
}

// errno names the errno in an error, empty if there is none.
func errno(err error) string {
	var e syscall.Errno
	if !errors.As(err, &e) {
		return ""
	}
	names := map[syscall.Errno]string{
		syscall.EPERM: "EPERM", syscall.ENOENT: "ENOENT", syscall.EIO: "EIO", syscall.ENOEXEC: "ENOEXEC", syscall.ENOMEM: "ENOMEM",
		syscall.EACCES: "EACCES", syscall.EBUSY: "EBUSY", syscall.EEXIST: "EEXIST", syscall.EINVAL: "EINVAL", syscall.EFBIG: "EFBIG",
		syscall.ENOSPC: "ENOSPC", syscall.ENODATA: "ENODATA", syscall.ENOPKG: "ENOPKG", syscall.EBADMSG: "EBADMSG", syscall.ELIBBAD: "ELIBBAD",
		syscall.EMSGSIZE: "EMSGSIZE", syscall.EOPNOTSUPP: "EOPNOTSUPP", syscall.ENOTTY: "ENOTTY", syscall.ETXTBSY: "ETXTBSY",
		syscall.ENOKEY: "ENOKEY", syscall.EKEYEXPIRED: "EKEYEXPIRED", syscall.EKEYREVOKED: "EKEYREVOKED", syscall.EKEYREJECTED: "EKEYREJECTED",
		syscall.ERANGE: "ERANGE", syscall.E2BIG: "E2BIG", syscall.ENOSYS: "ENOSYS", syscall.EROFS: "EROFS", syscall.ESTALE: "ESTALE",
	}
	if name := names[e]; name != "" {
		return name
	}
	return fmt.Sprintf("errno %d", int(e))
}
