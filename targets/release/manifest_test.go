package release

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-build/hallmark/signing/compat"
)

func sampleManifest() *Manifest {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return &Manifest{
		Schema: Schema, Name: "notes", Version: "1.2.3", Machine: "linux/amd64", Go: "go1.26.0",
		Source:    Source{Module: "example.com/notes", Revision: "abc", Time: at, Digest: strings.Repeat("0", 64)},
		Identity:  &Identity{Subject: "CN=Notes", Issuer: "CN=CA", Fingerprint: "ff", NotAfter: at, Development: true},
		Timestamp: []string{"dev"},
		Artifacts: []Entry{
			{Path: "SHA256SUMS", Kind: KindSums, Size: 10, SHA256: "aa", Mode: "0644"},
			{Path: "bin/linux_amd64/notes", Kind: KindBinary, Platform: "linux/amd64", Size: 3, SHA256: "bb", Mode: "0755", Unsigned: "cc",
				Signature: &Signature{Scheme: "appended", Signer: "CN=Notes", Hash: "SHA-256", Time: &at, TSA: "CN=TSA"}, BuildKey: "k", SignKey: "s"},
		},
		Results: []compat.Result{
			{Judge: "hallmark", Scheme: "appended", Case: "bin/linux_amd64/notes", Want: "accept", Got: "accept", Status: compat.Pass, Seconds: .1},
			{Judge: "openssl-cms", Version: "3.0", Scheme: "appended", Case: "bin/linux_amd64/notes", Want: "accept", Status: compat.Skip, Reason: "openssl is not installed"},
		},
		Timings: []Timing{{"compile", 1.5}},
	}
}

func TestManifestRoundTrip(t *testing.T) {
	t.Parallel()
	m := sampleManifest()
	data, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := parseManifest(data)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(m, again) {
		t.Errorf("read back differently:\n%+v\n%+v", m, again)
	}
	same, err := again.Encode()
	if err != nil || !bytes.Equal(data, same) {
		t.Errorf("written differently: %v", err)
	}
}

func TestManifestRefused(t *testing.T) {
	t.Parallel()
	good, err := sampleManifest().Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"unknown key":        {`"name":`, `"nome":`},
		"other schema":       {`"schema": 1`, `"schema": 2`},
		"path out":           {`"path": "SHA256SUMS"`, `"path": "../SHA256SUMS"`},
		"absolute path":      {`"path": "SHA256SUMS"`, `"path": "/etc/passwd"`},
		"path not clean":     {`"path": "SHA256SUMS"`, `"path": "a/../b"`},
		"the manifest":       {`"path": "SHA256SUMS"`, `"path": "manifest.json"`},
		"the report":         {`"path": "SHA256SUMS"`, `"path": "report.md"`},
		"the page":           {`"path": "SHA256SUMS"`, `"path": "report.html"`},
		"in the stage":       {`"path": "SHA256SUMS"`, `"path": ".stage/new/x"`},
		"empty path":         {`"path": "SHA256SUMS"`, `"path": ""`},
		"twice":              {`"path": "SHA256SUMS"`, `"path": "bin/linux_amd64/notes"`},
		"mode":               {`"mode": "0644"`, `"mode": "4755"`},
		"mode not octal":     {`"mode": "0644"`, `"mode": "rw"`},
		"unknown status":     {`"status": "pass"`, `"status": "fine"`},
		"another case":       {`"artifacts": [`, `"ARTIFACTS": [`},
		"both cases":         {`"artifacts": [`, `"ARTIFACTS": [], "artifacts": [`},
		"doubled":            {`"name":`, `"name": "x", "name":`},
		"something after it": {"\n}\n", "\n}\n{}"},
	} {
		t.Run(name, func(t *testing.T) {
			bad := strings.Replace(string(good), change[0], change[1], 1)
			if bad == string(good) {
				t.Fatal("the damage was not done")
			}
			if _, err := parseManifest([]byte(bad)); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func TestReadManifest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := ReadManifest(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, ManifestFile), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadManifest(dir); exitCode(err) != ExitUsage || !strings.Contains(err.Error(), "not written by this hallmark") {
		t.Errorf("foreign: %v", err)
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	m := sampleManifest()
	text := string(m.Report())
	for _, want := range []string{
		"# notes 1.2.3", "**Development signatures.**", "1 check passed, none failed; **1 could not be made**",
		"| revision | abc |", "| bin/linux_amd64/notes | 3 | linux/amd64 | appended, SHA-256 | 2026-01-02T03:04:05Z | `bb` |",
		"| openssl-cms | 3.0 | appended | skip | openssl is not installed |", "| compile | 1.50 |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	m.Identity, m.Results = nil, nil
	m.Source.Modified = true
	m.Artifacts[1].Signature = nil
	m.Name = "a|b\n# c"
	text = string(m.Report())
	for _, want := range []string{`# a\|b # c 1.2.3`, "Nothing has been verified yet.", "abc, with changes", "| signed by | nobody yet |", "| linux/amd64 | none |"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	m.Results = []compat.Result{{Case: "x", Judge: "j", Reason: "bad | worse"}}
	if text = string(m.Report()); !strings.Contains(text, "**FAILED:** 1 check failed") || !strings.Contains(text, `| **FAIL** | bad \| worse |`) {
		t.Errorf("failure not shown:\n%s", text)
	}
}

func FuzzManifest(f *testing.F) {
	good, err := sampleManifest().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"schema":1,"artifacts":[{"path":"a","mode":"0644"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parseManifest(data)
		if err != nil {
			return
		}
		for _, e := range m.Artifacts {
			if !filepath.IsLocal(e.Path) {
				t.Errorf("path %q leads out", e.Path)
			}
		}
		again, err := m.Encode()
		if err != nil {
			t.Skip("a time that JSON cannot hold")
		}
		if _, err := parseManifest(again); err != nil {
			t.Errorf("not read back: %v", err)
		}
		m.Report()
		if _, err := m.Page(); err != nil {
			t.Errorf("not drawn: %v", err)
		}
	})
}
