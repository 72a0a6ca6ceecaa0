//go:build !linux

package targets_test

import "github.com/rogpeppe/go-internal/testscript"

func answer(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Fatalf("answer: no terminal can be made on this system")
}
