package signing

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// casesDir holds signed files that verifiers have judged wrongly, with the
// roots of their signers.
const casesDir = "../testdata/signatures"

// casePool reads the certificates of a PEM file of casesDir.
func casePool(t testing.TB, name string) *x509.CertPool {
	t.Helper()
	pem, err := os.ReadFile(filepath.Join(casesDir, name))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatalf("%s has no certificates", name)
	}
	return pool
}

// caseTrust trusts the signer and the timestamp authority of casesDir, on a day
// on which all of their certificates and lists were valid.
func caseTrust(t testing.TB) Trust {
	t.Helper()
	return Trust{Roots: casePool(t, "ca.pem"), TSARoots: casePool(t, "tsa.pem"), Now: time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC)}
}

// signatureCase is what the verifier must answer for a file of casesDir.
type signatureCase struct {
	file string
	off  []Rule // the policy
	good bool
	kind Kind // of the refusal
	rule Rule
}

// signatureCases lists the files with their verdicts. A row for each policy.
var signatureCases = []signatureCase{
	{file: "a00_control.exe", good: true},
	{file: "d00_control.ko.xz", good: true},
	{file: "s00_control.ps1", good: true},
	{file: "x00_control.msix", good: true},
	{file: "y00_control.cab", good: true},
	{file: "z00_control.msi", good: true},

	{file: "d01_two_streams.ko.xz", kind: Malformed, rule: RuleTrailing},
	{file: "d04_two_blocks.ko.xz", kind: Unsigned, rule: RulePresent},
	{file: "d05_signed_in_two_blocks.ko.xz", good: true},
	{file: "s04_lf.ps1", kind: Tampered, rule: RuleDigest},
	{file: "v01_noex_renamed.msi", kind: Untrusted, rule: RuleMetadata},
	{file: "v01_noex_renamed.msi", off: []Rule{RuleMetadata}, good: true},
	{file: "x01_p7x_central_comment.msix", kind: Malformed, rule: RulePadding},
	{file: "x04_slack_before_directory.msix", kind: Malformed, rule: RulePadding},
	{file: "x11_local_name.msix", kind: Malformed, rule: RulePadding},
	{file: "z04_second_DigitalSignature_first.msi", kind: Malformed, rule: RuleFormat},
	{file: "z10_storage_named_ex.msi", kind: Malformed, rule: RuleFormat},
	{file: "z30_clsid_of_streams.msi", kind: Malformed, rule: RulePadding},

	{file: "cat3100.cat", kind: Untrusted, rule: RuleTimestamp},
	{file: "cat3100.cat", off: []Rule{RuleTimestamp}, good: true},
	{file: "e_negserial.exe", kind: Malformed, rule: RuleDER},
	{file: "f12_type_sbsign_old.exe", kind: Malformed, rule: RuleDataType},
	{file: "f12_type_sbsign_old.exe", off: []Rule{RuleDataType}, good: true},
	{file: "m01_attribute_cert_2000.exe", kind: Malformed, rule: RuleCertificate},
	{file: "d05_payload_as_countersignature.exe", kind: Malformed, rule: RuleUnsigned},
	{file: "y22_payload_countersignature.cab", kind: Malformed, rule: RuleUnsigned},
	{file: "h01_8_nested_9th_bad.exe", kind: Malformed, rule: RuleTable},
	{file: "k02_ansi_in_cn.exe", good: true},
	{file: "k04_screen_takeover.exe", kind: Untrusted, rule: RuleChain},
}

// TestCases holds the verdict on each file of signatureCases, and that Inspect
// has the same one.
func TestCases(t *testing.T) {
	t.Parallel()
	for _, c := range signatureCases {
		name := c.file
		for _, r := range c.off {
			name += " without " + string(r)
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(casesDir, c.file)
			trust := caseTrust(t)
			trust.Policy.Off = c.off
			scheme, err := Config{}.For(file)
			if err == nil {
				_, err = scheme.Verify(t.Context(), file, trust)
			}
			checkCase(t, c, err)
			checkInspection(t, file, trust, err)
		})
	}
}

func checkCase(t *testing.T, c signatureCase, err error) {
	t.Helper()
	if c.good {
		if err != nil {
			t.Errorf("refused: %v", err)
		}
		return
	}
	if err == nil {
		t.Fatal("accepted")
	}
	var e *Error
	if !errors.As(err, &e) || e.Kind != c.kind || e.Rule != c.rule {
		t.Errorf("got %v, want %v (rule %s)", err, c.kind, c.rule)
	}
}

// checkInspection demands that Inspect gives the verdict that a scheme has given.
func checkInspection(t *testing.T, file string, trust Trust, verdict error) {
	t.Helper()
	report, err := Inspect(t.Context(), file, trust)
	if err == nil {
		err = report.Err
		for _, s := range report.Signatures {
			if verdict == nil && !s.Good() {
				t.Errorf("Inspect: signature %s of an accepted file is not good", s.Name)
			}
		}
	}
	if fmt.Sprint(err) != fmt.Sprint(verdict) {
		t.Errorf("Inspect says %v, the scheme %v", err, verdict)
	}
}
