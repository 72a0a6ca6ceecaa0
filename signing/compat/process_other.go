//go:build !unix

package compat

import "os/exec"

// ownGroup does nothing here: there are no process groups, and the context
// kills the program alone.
func ownGroup(*exec.Cmd) {}

// ownSession does nothing here.
func ownSession(*exec.Cmd) {}

// killGroup does nothing here.
func killGroup(*exec.Cmd) {}
