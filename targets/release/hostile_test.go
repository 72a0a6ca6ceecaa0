package release

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
)

// hostileText is what a value may hold to imitate our own lines, to hide text
// and to leave its place in a page.
const hostileText = "x\x1b[2J\x1b[Hgood\r\ngood.exe: good: authenticode, by CN=Microsoft\n::error::y ##[error]z \u202eexe.\u2066\u200b\u2028`a` | <script>alert(1)</script> \x9b1m"

// checkShown fails if text acts on a terminal, a CI system or a browser, or has
// a line that begins with one of ours.
func checkShown(t *testing.T, what, text string) {
	t.Helper()
	for i, r := range text {
		if r != '\n' && r != '\t' && !unicode.IsGraphic(r) || unicode.Is(unicode.Cf, r) {
			t.Errorf("%s: %U is shown: %q", what, r, text[max(0, i-40):min(len(text), i+40)])
			return
		}
	}
	for line := range strings.Lines(text) {
		for _, fake := range []string{"good.exe: good", "HF.exe: "} {
			if strings.HasPrefix(line, fake) && fake != "signature 1: authenticode, good" {
				t.Errorf("%s: a value begins a line: %q", what, line)
			}
		}
		if strings.HasPrefix(strings.TrimSpace(line), "::") || strings.Contains(line, "##[") {
			t.Errorf("%s: a command to a CI system: %q", what, line)
		}
	}
}

func TestScreenTakeover(t *testing.T) {
	t.Parallel()
	trust := TrustOverride{CA: "../../testdata/signatures/ca.pem", TSA: "../../testdata/signatures/tsa.pem"}
	for _, name := range []string{"a00_control.exe", "k02_ansi_in_cn.exe", "k04_screen_takeover.exe"} {
		file := "../../testdata/signatures/" + name
		hostile := name != "a00_control.exe"
		var out bytes.Buffer
		o := Options{Dir: t.TempDir(), KeyDir: t.TempDir(), Progress: Plain(&out)}
		err := VerifyFile(t.Context(), o, &out, file, false, trust)
		text := out.String()
		if err != nil {
			text += Exit(err).Error() + "\n"
		}
		checkShown(t, "verifyFile "+name, text)
		if n := strings.Count(text, "\n"); n != 3 { // whom it trusts for what, and the verdict
			t.Errorf("verifyFile %s prints %d lines: %q", name, n, text)
		}

		out.Reset()
		Inspect(t.Context(), o, &out, file, false, trust)
		checkShown(t, "inspect "+name, out.String())
		if n := strings.Count(out.String(), "\nsignature "); n != 1 {
			t.Errorf("inspect %s shows %d signatures: %q", name, n, &out)
		}
		if got := strings.Contains(out.String(), `\x1b[`); got != hostile {
			t.Errorf("inspect %s: the sequence is shown as text: %v", name, got)
		}

		out.Reset()
		Inspect(t.Context(), o, &out, file, true, trust)
		checkShown(t, "inspect -json "+name, out.String())
		var i Inspection
		if err := json.Unmarshal(out.Bytes(), &i); err != nil || len(i.Signatures) != 1 {
			t.Fatalf("inspect -json %s: %v: %s", name, err, &out)
		}
		if got := strings.Contains(i.Signatures[0].Signer+i.Signatures[0].Description, "\x1b"); got != hostile {
			t.Errorf("inspect -json %s: the value is kept: %v", name, got)
		}
	}
}

// hostileManifest is one in which every text is hostile.
func hostileManifest() *Manifest {
	m := manyFiles()
	h := func(s *string) { *s = hostileText }
	h(&m.Name)
	h(&m.Version)
	h(&m.Source.Module)
	h(&m.Source.Revision)
	h(&m.Source.Digest)
	h(&m.Identity.Subject)
	h(&m.Identity.Issuer)
	h(&m.Go)
	h(&m.Machine)
	m.Timestamp, m.Notes = []string{hostileText}, []string{hostileText}
	for i := range m.Artifacts {
		e := &m.Artifacts[i]
		for _, s := range []*string{&e.Path, &e.Platform, &e.Toolchain, &e.SHA256, &e.Mode} {
			h(s)
		}
		e.Path = fmt.Sprint(i) + e.Path
		if e.Signature != nil {
			h(&e.Signature.Signer)
			h(&e.Signature.Scheme)
			h(&e.Signature.TSA)
		}
	}
	for i := range m.Results {
		r := &m.Results[i]
		for _, s := range []*string{&r.Case, &r.Judge, &r.Version, &r.Reason, &r.Output, &r.Command, &r.Path} {
			h(s)
		}
	}
	for i := range m.Timings {
		h(&m.Timings[i].Stage)
	}
	return m
}

func TestReportsOfHostileManifest(t *testing.T) {
	t.Parallel()
	m := hostileManifest()
	md := string(m.Report())
	outside, commands, _ := strings.Cut(md, "## Ask again")
	checkShown(t, "report.md", outside)
	if strings.Contains(outside, "<script") || strings.Contains(commands, "\x1b") || strings.Count(commands, "```") != 2 {
		t.Error("report.md has a script, or a command leaves its block")
	}
	columns := 0
	for line := range strings.Lines(outside) {
		if !strings.HasPrefix(line, "| ") {
			columns = 0
			continue
		}
		n := strings.Count(strings.ReplaceAll(line, `\|`, ""), "|")
		if columns != 0 && n != columns {
			t.Errorf("a value breaks out of a table of %d columns: %q", columns, line)
		}
		columns = n
	}
	page, err := m.Page()
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range string(page) {
		if r != '\n' && r != '\t' && !unicode.IsGraphic(r) || unicode.Is(unicode.Cf, r) {
			t.Fatalf("report.html: %U: %q", r, page[max(0, i-40):i+20])
		}
	}
	if bytes.Contains(page, []byte("<script")) {
		t.Error("report.html has a script")
	}
	var out bytes.Buffer
	summarize(Plain(&out), m, hostileText, 0)
	checkShown(t, "the summary", out.String())
}

func TestErrorsOfHostileTexts(t *testing.T) {
	t.Parallel()
	inner := errors.New(hostileText)
	for what, err := range map[string]error{
		"plain":         inner,
		"wrapped":       fmt.Errorf("a: %w", inner),
		"joined":        errors.Join(inner, fmt.Errorf("b: %w", inner)),
		"several":       fmt.Errorf("%w: %w", inner, errors.Join(inner, inner)),
		"usage":         usage("%s", hostileText),
		"configuration": &ConfigError{hostileText, []Problem{{1, hostileText}, {0, hostileText}}},
		"grouped":       &groupedFailure{"signing", []string{hostileText, "b"}, &fileFailure{"b", hostileText, true, inner}},
	} {
		checkShown(t, what, Exit(err).Error())
	}
	got := Exit(errors.Join(errors.New("a"), &ConfigError{"f", []Problem{{1, "b"}, {2, "c"}}})).Error()
	if want := "a\nf:1: b\nf:2: c"; got != want {
		t.Errorf("our own lines: %q, want %q", got, want)
	}
	var out bytes.Buffer
	p := Plain(&out)
	p.begin(hostileText, 1)
	p.start(hostileText)(hostileText)
	p.Printf("%s: %v", filepath.Base(hostileText), inner)
	checkShown(t, "progress", out.String())
	if n := strings.Count(out.String(), "\n"); n != 2 {
		t.Errorf("two lines are %d: %q", n, &out)
	}
}
