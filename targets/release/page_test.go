package release

import (
	"fmt"
	"html"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-build/hallmark/signing/compat"
	"github.com/hallmark-build/hallmark/targets/page/pagetest"
)

// manyFiles is a manifest with every kind of file and of answer.
func manyFiles() *Manifest {
	m := sampleManifest()
	m.Results, m.Artifacts = nil, nil
	m.Judges = []Judge{
		{Name: "hallmark", Version: "1.0", Schemes: []string{"appended", "contents"}},
		{Name: "osslsigncode", Version: "2.9", Schemes: []string{"authenticode"}, Limits: []string{"It looks at <no> revocation list."}},
		{Name: "sbverify", Schemes: []string{"authenticode"}},
	}
	m.Notes = []string{"allowed: sbverify, until 2027-01-31 (old): nothing failed that this is about"}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	add := func(path string, kind Kind, scheme string) {
		e := Entry{Path: path, Kind: kind, Size: 1 << 20, SHA256: strings.Repeat("ab", 32), Mode: "0755"}
		if scheme != "" {
			e.Signature = &Signature{Scheme: scheme, Signer: "CN=Notes", Hash: "SHA-256", Time: &at, TSA: "CN=TSA"}
		}
		if kind == KindArchive {
			e.Contents = []Content{{"notes", "0755", strings.Repeat("cd", 32)}}
		}
		m.Artifacts = append(m.Artifacts, e)
		m.Results = append(m.Results, compat.Result{Judge: "hallmark", Version: "1.0", Scheme: scheme, Case: path, Want: "accept", Got: "accept", Status: compat.Pass, Seconds: .01})
	}
	for i := range 12 {
		add(fmt.Sprintf("bin/windows_amd64_%d/a-program-with-a-long-name-%d.exe", i, i), KindBinary, "authenticode")
		add(fmt.Sprintf("notes_1.2.3_windows_amd64_%d.zip", i), KindArchive, "")
	}
	add("SHA256SUMS", KindSums, "")
	add("trust/ca.pem", KindTrust, "")
	exe := m.Artifacts[0].Path
	m.Results = append(m.Results,
		compat.Result{Judge: "osslsigncode", Version: "2.9", Scheme: "authenticode", Case: exe, Want: "accept", Got: "refuse", Status: compat.Fail, Reason: "the digest is not <the> signed one",
			Output: "Current digest: AA\nFailed\x1b[31m", Command: "osslsigncode verify -in '" + exe + "'", Seconds: .05},
		compat.Result{Judge: "osslsigncode", Version: "2.9", Scheme: "authenticode", Case: m.Artifacts[2].Path, Want: "accept", Got: "refuse", Status: compat.Differ, Reason: "old",
			Allowed: &compat.Allowed{Judge: "osslsigncode", Reason: "it is mended next week", Until: "2027-01-31"}},
		compat.Result{Judge: "sbverify", Scheme: "authenticode", Case: exe, Want: "accept", Status: compat.Skip, Reason: "sbverify is not installed"},
		compat.Result{Judge: "hallmark", Version: "1.0", Scheme: schemeRecord, Case: "stray.zip", Want: "accept", Status: compat.Skip, Reason: "not judged: not in the manifest"})
	return m
}

func TestPage(t *testing.T) {
	t.Parallel()
	m := manyFiles()
	data, err := m.Page()
	if err != nil {
		t.Fatal(err)
	}
	text := html.UnescapeString(string(data))
	for _, want := range []string{
		"<title>notes 1.2.3</title>", "FAILED: 1 check failed, 26 passed, 2 could not be made. 1 failure allowed for a time.", "Development signatures.",
		"allowed: sbverify, until 2027-01-31", "osslsigncode: " + m.Artifacts[0].Path, "the digest is not <the> signed one", `Failed\x1b[31m`,
		"osslsigncode verify -in '" + m.Artifacts[0].Path + "'", "allowed until 2027-01-31: it is mended next week; the judge: old",
		"SKIP sbverify: sbverify is not installed (1 file)", "SKIP stray.zip: not judged", "It looks at <no> revocation list.", "CN=TSA", strings.Repeat("cd", 32), "<b>1</b><span>independent judges answered",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in the page", want)
		}
	}
	for _, e := range m.Artifacts {
		if !strings.Contains(text, "<b>"+e.Path+"</b>") {
			t.Errorf("%s is not in the page", e.Path)
		}
	}
	if strings.Contains(string(data), "<the>") {
		t.Error("a judge's words are read as HTML")
	}
	m.Results, m.Judges, m.Identity, m.Timings = nil, nil, nil, nil
	if data, err = m.Page(); err != nil || !strings.Contains(string(data), "Nothing has been verified yet.") || strings.Contains(string(data), "Development signatures") {
		t.Errorf("of a release that nobody judged: %v", err)
	}
}

func TestPageInBrowser(t *testing.T) {
	t.Parallel()
	data, err := manyFiles().Page()
	if err != nil {
		t.Fatal(err)
	}
	if look := pagetest.Check(t, data); look.Panels < 29 {
		t.Errorf("%d panels", look.Panels)
	}
}
