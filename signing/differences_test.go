package signing

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/sassoftware/relic/v7/lib/authenticode"
)

// TestDifferences holds DIFFERENCES.md to the truth: our verdict on each
// signature of the signed samples of saferwall/pe, beside those of osslsigncode
// and relic. The roots of these signers are not at hand, so rules about chains
// are off, and osslsigncode is asked about the digest alone.
func TestDifferences(t *testing.T) {
	t.Parallel()
	tool := lookTool(t, "osslsigncode", "osslsigncode")
	files, err := filepath.Glob(filepath.Join(samplesDir(), "*"))
	if err != nil {
		t.Fatal(err)
	}
	trust := Trust{Policy: Policy{Off: []Rule{RuleChain, RuleTSA, RuleValidity}}}
	var rows []string
	for _, file := range files {
		if strings.HasSuffix(file, ".7z") {
			continue // malware
		}
		report, err := Inspect(t.Context(), file, trust)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Kind == Unsupported {
				continue
			}
			rows = append(rows, fmt.Sprintf("| %s | refused: %s | %s | %s |", filepath.Base(file), e.Rule, ossl(t, tool, file), relicPE(file)))
			continue
		}
		if len(report.Signatures) == 0 && isUnsigned(report.Err) {
			continue
		}
		var verdicts []string
		if len(report.Signatures) == 0 && report.Err != nil {
			var e *Error
			errors.As(report.Err, &e)
			verdicts = append(verdicts, "refused: "+string(e.Rule))
		}
		for _, s := range report.Signatures {
			verdicts = append(verdicts, s.Name+" "+brokenRules(s))
		}
		rows = append(rows, fmt.Sprintf("| %s | %s | %s | %s |", filepath.Base(file), strings.Join(verdicts, "; "), ossl(t, tool, file), relicPE(file)))
	}
	sort.Strings(rows)
	if len(rows) < 10 {
		t.Fatalf("%d samples", len(rows))
	}
	got := strings.Join(rows, "\n")
	doc, err := os.ReadFile("DIFFERENCES.md")
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for line := range strings.Lines(string(doc)) {
		if strings.HasPrefix(line, "| ") && strings.Contains(line, ".") && !strings.HasPrefix(line, "| file") {
			listed = append(listed, strings.TrimSpace(line))
		}
	}
	sort.Strings(listed)
	if want := strings.Join(listed, "\n"); got != want {
		t.Errorf("DIFFERENCES.md is not what is seen:\n%s", got)
	}
}

// brokenRules says what was refused of a signature.
func brokenRules(s Inspected) string {
	var rules []string
	for _, v := range s.Verdicts {
		if v.State == Broken {
			rules = append(rules, string(v.Rule))
		}
	}
	if len(rules) == 0 {
		return "good"
	}
	return "refused: " + strings.Join(rules, ", ")
}

// ossl is osslsigncode's verdict on the digest.
func ossl(t *testing.T, tool, file string) string {
	out, _ := run(t, tool, "verify", "-in", file)
	switch {
	case strings.Contains(out, "MISMATCH"):
		return "mismatch"
	case strings.Contains(out, "message digest"):
		return "digest good"
	}
	return "unread"
}

func relicPE(file string) string {
	f, err := os.Open(file)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	verdict := "good"
	func() {
		defer func() {
			if recover() != nil {
				verdict = "panics"
			}
		}()
		if _, err := authenticode.VerifyPE(f, false); err != nil {
			verdict = "refused"
		}
	}()
	return verdict
}
