package release

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
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
