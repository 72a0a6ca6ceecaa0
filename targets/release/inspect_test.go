package release

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestInspectVerdict holds that inspect and verifyFile agree on each signed file
// of testdata, in their exit codes and words, and that the JSON says it too.
func TestInspectVerdict(t *testing.T) {
	t.Parallel()
	dir := filepath.Join("..", "..", "testdata", "signatures")
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	trust := TrustOverride{CA: filepath.Join(dir, "ca.pem"), TSA: filepath.Join(dir, "tsa.pem")}
	o := Options{Dir: t.TempDir(), KeyDir: t.TempDir()}
	code := func(err error) int {
		var e *ExitError
		if errors.As(Exit(err), &e) {
			return e.Code
		}
		return 0
	}
	seen := 0
	for _, f := range files {
		if ext := filepath.Ext(f.Name()); ext == ".md" || ext == ".pem" {
			continue
		}
		seen++
		file := filepath.Join(dir, f.Name())
		verified := VerifyFile(t.Context(), o, io.Discard, file, false, trust)
		for _, asJSON := range []bool{false, true} {
			var out bytes.Buffer
			inspected := Inspect(t.Context(), o, &out, file, asJSON, trust)
			if code(verified) != code(inspected) {
				t.Errorf("%s: verifyFile says %v, inspect %v", f.Name(), verified, inspected)
			}
			if !asJSON {
				continue
			}
			var i Inspection
			if err := json.Unmarshal(out.Bytes(), &i); err != nil {
				t.Errorf("%s: %v", f.Name(), err)
			}
			if i.Good != (inspected == nil) || i.Good != (i.Error == nil) || i.Error != nil && (i.Error.Kind == "" || i.Error.Rule == "") {
				t.Errorf("%s: the JSON says good=%v, %+v; the error is %v", f.Name(), i.Good, i.Error, inspected)
			}
		}
	}
	if seen < 20 {
		t.Errorf("%d files", seen)
	}
	if code(VerifyFile(t.Context(), o, io.Discard, filepath.Join(dir, "h01_8_nested_9th_bad.exe"), false, trust)) != ExitMalformed {
		t.Error("a file with nine signatures is accepted")
	}
}

// TestVerifyWeak judges a real file whose chains are signed with SHA-1, by roots
// that the command line names.
func TestVerifyWeak(t *testing.T) {
	t.Parallel()
	const system = "/etc/ssl/certs/ca-certificates.crt"
	if data, err := os.ReadFile(system); err != nil || !bytes.Contains(data, []byte("-----BEGIN")) {
		t.Skip("SKIP: this machine has no root certificates: install the Debian package ca-certificates")
	}
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/saferwall/pe").Output()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(strings.TrimSpace(string(out)), "test", "brave.exe")
	o := Options{Dir: t.TempDir(), KeyDir: t.TempDir()}
	for off, good := range map[string]bool{"": false, "timestamp-legacy": false, "weak-digest": false, "weak-digest,timestamp-legacy": true} {
		err := VerifyFile(t.Context(), o, io.Discard, file, false, TrustOverride{CA: system, TSA: system, Off: off})
		if (err == nil) != good {
			t.Errorf("without %q: %v", off, err)
		}
	}
}
