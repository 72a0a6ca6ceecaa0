//go:build unix

package compat

import (
	"os/exec"
	"syscall"
)

// ownGroup starts the program as the leader of a process group, so that its
// children can be killed with it, at the end of the context too.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}

// killGroup ends what a finished program has left running. A group without
// members is ESRCH, which is the usual case and no error.
func killGroup(cmd *exec.Cmd) {
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
}

// ownSession is ownGroup, and makes the group a session too: so whatever the
// program starts is in another session than this process, and has no terminal.
func ownSession(cmd *exec.Cmd) {
	ownGroup(cmd)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
}
