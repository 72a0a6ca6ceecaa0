package compat

import (
	"bytes"
	"fmt"
)

// member is one file of an initramfs.
type member struct {
	name string // without a slash at the beginning
	mode uint32 // as stat has it
	data []byte
}

// initramfs writes a cpio archive of the format "newc", as the kernel unpacks
// it into its first root file system
// (Documentation/driver-api/early-userspace/buffer-format.rst):
//
//	for each file
//	    "070701"
//	    13 fields of 8 hexadecimal digits: inode, mode, uid, gid, links, mtime,
//	        size of the data, major and minor of the device it is on, major and
//	        minor of the device it is, length of the name with its NUL, check (0)
//	    name, NUL, zeros up to a multiple of 4
//	    data, zeros up to a multiple of 4
//	the same for the name "TRAILER!!!", which ends the archive
//
// It is not compressed: the kernel takes it as it is, and would take longer to
// unpack it in emulation.
func initramfs(members []member) []byte {
	var b bytes.Buffer
	pad := func() {
		for b.Len()%4 != 0 {
			b.WriteByte(0)
		}
	}
	for i, m := range append(members, member{name: "TRAILER!!!"}) {
		links := 1
		if m.mode&0o170000 == 0o040000 {
			links = 2
		}
		b.WriteString("070701")
		for _, field := range []int{i + 1, int(m.mode), 0, 0, links, 0, len(m.data), 0, 0, 0, 0, len(m.name) + 1, 0} {
			fmt.Fprintf(&b, "%08x", field)
		}
		b.WriteString(m.name + "\x00")
		pad()
		b.Write(m.data)
		pad()
	}
	return b.Bytes()
}
