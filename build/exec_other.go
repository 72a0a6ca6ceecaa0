//go:build !unix

package build

import "os/exec"

// Without process groups, a cancelled command is killed alone.
func ownGroup(*exec.Cmd)  {}
func killGroup(*exec.Cmd) {}
