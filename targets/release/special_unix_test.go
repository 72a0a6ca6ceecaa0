//go:build unix

package release

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/hallmark-build/hallmark/signing/key"
)

// TestSpecialFiles gives a FIFO wherever a file is expected: each command
// refuses it at once.
func TestSpecialFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo.exe")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	cases := filepath.Join("..", "..", "testdata", "signatures")
	control, ca, tsa := filepath.Join(cases, "a00_control.exe"), filepath.Join(cases, "ca.pem"), filepath.Join(cases, "tsa.pem")
	copied := filepath.Join(dir, "copy.exe")
	data, err := os.ReadFile(control)
	if err == nil {
		err = os.WriteFile(copied, data, 0o600)
	}
	if err == nil {
		err = syscall.Mkfifo(copied+".p7s", 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Dir: dir, KeyDir: filepath.Join(dir, "keys")}
	for name, call := range map[string]func() error{
		"verifyFile": func() error {
			return VerifyFile(t.Context(), o, io.Discard, fifo, false, TrustOverride{CA: ca, TSA: tsa})
		},
		"verifyFile, -ca": func() error {
			return VerifyFile(t.Context(), o, io.Discard, control, false, TrustOverride{CA: fifo, TSA: tsa})
		},
		"verifyFile, -crl": func() error {
			return VerifyFile(t.Context(), o, io.Discard, control, false, TrustOverride{CA: ca, TSA: tsa, CRL: fifo})
		},
		"verifyFile, detached": func() error {
			return VerifyFile(t.Context(), o, io.Discard, copied, false, TrustOverride{CA: ca, TSA: tsa})
		},
		"inspect":            func() error { return Inspect(t.Context(), o, io.Discard, fifo, false, TrustOverride{CA: ca, TSA: tsa}) },
		"signFile":           func() error { return SignFile(t.Context(), o, fifo, "", false, TrustOverride{}) },
		"signFile, detached": func() error { return SignFile(t.Context(), o, fifo, "p7s", false, TrustOverride{}) },
		"unsign":             func() error { return Unsign(t.Context(), o, fifo) },
		"extract":            func() error { return Extract(t.Context(), o, fifo, filepath.Join(dir, "out")) },
		"signExtracted":      func() error { return SignExtracted(t.Context(), o, fifo, filepath.Join(dir, "out")) },
		"attach":             func() error { return Attach(t.Context(), o, copied, fifo, TrustOverride{CA: ca, TSA: tsa}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			done := make(chan error, 1)
			go func() { done <- call() }()
			select {
			case err := <-done:
				if !errors.Is(err, key.ErrNotRegular) {
					t.Errorf("got %v, want %v", err, key.ErrNotRegular)
				}
			case <-time.After(20 * time.Second):
				t.Error("still waiting")
			}
		})
	}
}
