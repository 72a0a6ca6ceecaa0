package release

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/hallmark-build/hallmark/signing"
)

// Inspection is what Inspect prints as JSON.
type Inspection struct {
	File       string               `json:"file"`
	Format     string               `json:"format"`
	Good       bool                 `json:"good"`
	Error      string               `json:"error,omitempty"`
	Signatures []InspectedSignature `json:"signatures"`
}

// InspectedSignature is one signature of a file.
type InspectedSignature struct {
	Name         string              `json:"name"` // 1, 1.1 for one nested in it
	Scheme       string              `json:"scheme"`
	Good         bool                `json:"good"`
	Signer       string              `json:"signer,omitempty"`
	Hash         string              `json:"hash,omitempty"`
	Digest       string              `json:"digest,omitempty"`
	PageHashes   bool                `json:"page_hashes,omitempty"`
	Description  string              `json:"description,omitempty"`
	URL          string              `json:"url,omitempty"`
	Time         *time.Time          `json:"time,omitempty"`
	TSA          string              `json:"tsa,omitempty"`
	Chain        []CertificateRecord `json:"chain,omitempty"`
	Certificates []CertificateRecord `json:"certificates,omitempty"` // embedded
	Rules        []RuleRecord        `json:"rules"`
}

// CertificateRecord tells of a certificate.
type CertificateRecord struct {
	Subject  string    `json:"subject"`
	Issuer   string    `json:"issuer"`
	Serial   string    `json:"serial"` // hex
	NotAfter time.Time `json:"not_after"`
}

// RuleRecord is a rule's verdict on a signature.
type RuleRecord struct {
	Rule    string `json:"rule"`
	Verdict string `json:"verdict"` // held, broken, off, unchecked
	Reason  string `json:"reason,omitempty"`
}

// Inspect prints what is in a file: each signature with its signer, chain, digest
// and timestamp, and what each rule says of it; as JSON for machines. The error
// is that of a file with a signature that does not hold, with the exit code that
// VerifyFile has for it.
func Inspect(ctx context.Context, o Options, out io.Writer, file string, asJSON bool, t TrustOverride) error {
	c, err := loadOptional(o, t)
	if err != nil {
		return err
	}
	if err := checkFile(file); err != nil {
		return err
	}
	a, err := anchorsFor(ctx, c, o)
	if err != nil {
		return err
	}
	report, err := signing.Inspect(ctx, file, a.trust())
	if err != nil {
		return err
	}
	i := inspection(report)
	if asJSON {
		enc := json.NewEncoder(out)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(i); err != nil {
			return err
		}
	} else if _, err := io.WriteString(out, i.text()); err != nil {
		return err
	}
	if i.Good {
		return nil
	}
	if report.Err != nil {
		return report.Err
	}
	scheme, err := c.Sign.For(file)
	if err != nil {
		return err
	}
	if _, err = scheme.Verify(ctx, file, a.trust()); err == nil {
		err = fmt.Errorf("%s: not good: see above", file)
	}
	return err
}

func inspection(r *signing.Report) Inspection {
	i := Inspection{File: r.File, Format: r.Format, Good: r.Err == nil && len(r.Signatures) > 0, Signatures: []InspectedSignature{}}
	if r.Err != nil {
		i.Error = r.Err.Error()
	}
	for _, s := range r.Signatures {
		one := InspectedSignature{Name: s.Name, Scheme: s.Scheme, Good: s.Good(), Certificates: certificateRecords(s.Embedded)}
		if sig := s.Signature; sig != nil {
			one.Signer, one.Hash, one.Digest = sig.Signer.Subject.String(), sig.Hash.String(), hex.EncodeToString(sig.Digest)
			one.PageHashes, one.Description, one.URL, one.Chain = sig.PageHashes, sig.Description, sig.URL, certificateRecords(sig.Chain)
			if !sig.Time.IsZero() {
				at := sig.Time.UTC()
				one.Time, one.TSA = &at, sig.TSA.Subject.String()
			}
		}
		for _, v := range s.Verdicts {
			record := RuleRecord{Rule: string(v.Rule), Verdict: v.State.String()}
			if v.Err != nil {
				record.Reason = v.Err.Error()
			}
			one.Rules = append(one.Rules, record)
		}
		i.Good = i.Good && one.Good
		i.Signatures = append(i.Signatures, one)
	}
	return i
}

func certificateRecords(certs []*x509.Certificate) []CertificateRecord {
	var records []CertificateRecord
	for _, c := range certs {
		records = append(records, CertificateRecord{c.Subject.String(), c.Issuer.String(), c.SerialNumber.Text(16), c.NotAfter.UTC()})
	}
	return records
}

// text draws an inspection for people.
func (i Inspection) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s, %s\n", i.File, i.Format, plural(len(i.Signatures), "signature"))
	if i.Error != "" {
		fmt.Fprintf(&b, "  %s\n", i.Error)
	}
	for _, s := range i.Signatures {
		verdict := "NOT GOOD"
		if s.Good {
			verdict = "good"
		}
		fmt.Fprintf(&b, "\nsignature %s: %s, %s\n", s.Name, s.Scheme, verdict)
		for _, f := range []struct{ name, value string }{{"signer", s.Signer}, {"digest", strings.TrimSpace(s.Hash + " " + s.Digest)}, {"description", s.Description}, {"URL", s.URL}} {
			if f.value != "" {
				fmt.Fprintf(&b, "  %-12s %s\n", f.name, f.value)
			}
		}
		if s.PageHashes {
			fmt.Fprintf(&b, "  %-12s yes\n", "page hashes")
		}
		if s.Time != nil {
			fmt.Fprintf(&b, "  %-12s %s by %s\n", "timestamp", s.Time.Format(time.RFC3339), s.TSA)
		}
		for _, c := range s.Chain {
			fmt.Fprintf(&b, "  %-12s %s, until %s\n", "chain", c.Subject, c.NotAfter.Format(time.DateOnly))
		}
		for _, c := range s.Certificates {
			fmt.Fprintf(&b, "  %-12s %s\n", "embedded", c.Subject)
		}
		for _, r := range s.Rules {
			fmt.Fprintf(&b, "  %-9s %-20s %s\n", r.Verdict, r.Rule, r.Reason)
		}
	}
	return b.String()
}

// Rules prints the rules of verification, what each demands, and what turning it
// off would let pass.
func Rules(out io.Writer) error {
	for _, r := range signing.Rules() {
		off := "always on"
		if r.Off {
			off = "off lets pass: " + r.Why
		}
		if _, err := fmt.Fprintf(out, "%-20s %s\n%-20s %s\n", r.Rule, r.Demands, "", off); err != nil {
			return err
		}
	}
	return nil
}
