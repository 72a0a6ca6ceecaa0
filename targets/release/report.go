package release

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hallmark-build/hallmark/build/quote"
	"github.com/hallmark-build/hallmark/signing/compat"
	"github.com/hallmark-build/hallmark/targets/page"
)

// Report draws report.md from the manifest, and from nothing else.
func (m *Manifest) Report() []byte {
	var b bytes.Buffer
	quote.Markdownf(&b, "# %s %s\n\n", m.Name, m.Version)
	if m.Identity != nil && m.Identity.Development {
		b.WriteString("> **Development signatures.** The identity was made by hallmark on the machine of whoever ran it.\n" +
			"> Only those who are given its certificate (trust/ca.pem) can trust it. Do not publish this as a release.\n\n")
	}
	b.WriteString(m.verdictLine() + "\n\n")

	b.WriteString("| | |\n| --- | --- |\n")
	for _, f := range m.facts() {
		quote.Markdownf(&b, "| %s | %s |\n", f.Name, f.Value)
	}

	m.reportArtifacts(&b)
	m.reportResults(&b)

	if len(m.Timings) > 0 {
		b.WriteString("\n## Time\n\n| stage | seconds |\n| --- | ---: |\n")
		for _, t := range m.Timings {
			quote.Markdownf(&b, "| %s | %.2f |\n", t.Stage, t.Seconds)
		}
	}
	return b.Bytes()
}

// facts are who made and signed what, of those that are known.
func (m *Manifest) facts() []page.Fact {
	var facts []page.Fact
	row := func(name, value string) {
		if value != "" {
			facts = append(facts, page.Fact{Name: name, Value: value})
		}
	}
	row("module", m.Source.Module)
	if m.Source.Revision != "" {
		revision := m.Source.Revision
		if m.Source.Modified {
			revision += ", with changes that were not committed"
		}
		row("revision", revision)
	}
	row("time of the sources", m.Source.Time.UTC().Format(time.RFC3339))
	row("sources (SHA-256)", m.Source.Digest)
	if id := m.Identity; id != nil {
		if m.refused() {
			row("said to be signed by", id.Subject)
		} else {
			row("signed by", id.Subject)
		}
		row("issued by", id.Issuer)
		row("certificate (SHA-256)", id.Fingerprint)
		row("valid until", id.NotAfter.UTC().Format(time.RFC3339))
		row("timestamps from", strings.Join(m.Timestamp, ", "))
	} else {
		row("signed by", "nobody yet")
	}
	row("Go", m.Go)
	row("machine", m.Machine)
	return facts
}

// refused reports whether the last verification refused what the manifest says
// of the release as a whole, the signer among it.
func (m *Manifest) refused() bool {
	return slices.ContainsFunc(m.Results, func(r compat.Result) bool { return r.Case == ManifestFile && r.Status == compat.Fail })
}

func (m *Manifest) verdictLine() string {
	t := count(m.Results)
	line := fmt.Sprintf("All %d checks passed.", t.pass)
	switch {
	case len(m.Results) == 0:
		return "Nothing has been verified yet."
	case t.fail > 0:
		line = fmt.Sprintf("**FAILED:** %s failed, %d passed, %d could not be made.", plural(t.fail, "check"), t.pass, t.skip)
	case t.skip > 0:
		line = fmt.Sprintf("%s passed, none failed; **%d could not be made** (see below).", plural(t.pass, "check"), t.skip)
	case t.allowed > 0:
		line = fmt.Sprintf("%s passed, none failed.", plural(t.pass, "check"))
	}
	if t.allowed > 0 {
		line += fmt.Sprintf(" **%s allowed for a time** (see below).", plural(t.allowed, "failure"))
	}
	return line
}

func (m *Manifest) reportArtifacts(b *bytes.Buffer) {
	b.WriteString("\n## Files\n\n| file | size | platform | signature | timestamp | SHA-256 |\n| --- | ---: | --- | --- | --- | --- |\n")
	for _, e := range m.Artifacts {
		platform := e.Platform
		if e.Toolchain != "" && e.Toolchain != "none" {
			platform += " " + e.Toolchain
		}
		scheme, stamp := "", ""
		switch {
		case e.Signature != nil:
			scheme = e.Signature.Scheme + ", " + e.Signature.Hash
			if e.Signature.Time != nil {
				stamp = e.Signature.Time.UTC().Format(time.RFC3339)
			}
		case e.Kind == KindBinary:
			scheme = "none"
		}
		quote.Markdownf(b, "| %s | %d | %s | %s | %s | `%s` |\n", e.Path, e.Size, platform, scheme, stamp, e.SHA256)
	}
}

func (m *Manifest) reportResults(b *bytes.Buffer) {
	if len(m.Results) == 0 {
		return
	}
	b.WriteString("\n## Verdicts\n\n| file | judge | version | checks | verdict | reason |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, r := range m.Results {
		verdict := quote.Raw(r.Status.String())
		if r.Status == compat.Fail {
			verdict = "**FAIL**"
		}
		reason := r.Reason
		if r.Allowed != nil {
			reason = fmt.Sprintf("allowed until %s: %s; the judge: %s", r.Allowed.Until, r.Allowed.Reason, r.Reason)
		}
		quote.Markdownf(b, "| %s | %s | %s | %s | %s | %s |\n", r.Case, r.Judge, r.Version, r.Scheme, verdict, reason)
	}
	for _, n := range m.Notes {
		quote.Markdownf(b, "\n> %s\n", n)
	}
	var commands []string
	for _, r := range m.Results {
		if r.Command != "" {
			commands = append(commands, r.Command)
		}
	}
	if len(commands) > 0 {
		b.WriteString("\n## Ask again\n\nIn this folder:\n\n" + quote.CodeBlock("sh", strings.Join(commands, "\n")))
	}
}

// tally counts results.
type tally struct{ pass, fail, skip, allowed int }

func count(results []compat.Result) (t tally) {
	for _, r := range results {
		switch r.Status {
		case compat.Pass:
			t.pass++
		case compat.Skip:
			t.skip++
		case compat.Differ:
			t.allowed++
		default:
			t.fail++
		}
	}
	return t
}

// summarize tells a person what a run has made.
func summarize(p *Progress, m *Manifest, dir string, total time.Duration) {
	if p == nil {
		return
	}
	p.Printf("")
	wide := 0
	for _, e := range m.Artifacts {
		wide = max(wide, len(e.Path))
	}
	var bytes int64
	for _, e := range m.Artifacts {
		note := string(e.Kind)
		if e.Kind == KindSignature {
			note = e.Signature.Scheme
		}
		if e.Kind == KindBinary {
			note = "not signed"
			if e.Signature != nil {
				note = e.Signature.Scheme
			}
		}
		p.Printf("  %-*s  %10s  %s", wide, e.Path, size(e.Size), note)
		bytes += e.Size
	}
	var times []string
	for _, t := range m.Timings {
		times = append(times, fmt.Sprintf("%s %s", t.Stage, seconds(time.Duration(t.Seconds*float64(time.Second)))))
	}
	p.Printf("")
	p.Printf("%s %s: %s, %s in %s", m.Name, m.Version, plural(len(m.Artifacts), "file"), size(bytes), dir)
	if id := m.Identity; id != nil && !m.refused() {
		who := id.Subject
		if id.Development {
			who += " (for development: nobody else trusts it)"
		}
		p.Printf("signed by %s", who)
	}
	for _, line := range judgeLines(m.Results) {
		p.Printf("%s", line)
	}
	for _, line := range slices.Concat(skips(m.Results), allowances(m.Results), m.Notes) {
		p.Printf("%s", line)
	}
	p.Printf("time: %s; total %s", strings.Join(times, ", "), seconds(total))
}

// judgeLines counts the verdicts of each judge.
func judgeLines(results []compat.Result) []string {
	byJudge := map[string][]compat.Result{}
	for _, r := range results {
		byJudge[r.Judge] = append(byJudge[r.Judge], r)
	}
	var lines []string
	for _, j := range slices.Sorted(maps.Keys(byJudge)) {
		t := count(byJudge[j])
		line := fmt.Sprintf("verified by %s: %d pass", j, t.pass)
		if v := byJudge[j][0].Version; v != "" {
			line = fmt.Sprintf("verified by %s %s: %d pass", j, v, t.pass)
		}
		if t.fail > 0 {
			line += fmt.Sprintf(", %d FAIL", t.fail)
		}
		if t.allowed > 0 {
			line += fmt.Sprintf(", %d allowed", t.allowed)
		}
		if t.skip > 0 {
			line += fmt.Sprintf(", %d skip", t.skip)
		}
		lines = append(lines, line)
	}
	return lines
}
