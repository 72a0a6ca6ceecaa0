//go:build unix

package key

import "syscall"

// nonBlocking keeps open(2) from waiting for the writer of a FIFO. It does not
// change how a regular file is read.
const nonBlocking = syscall.O_NONBLOCK
