package release

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/hallmark-build/hallmark/build/quote"
	"github.com/hallmark-build/hallmark/signing"
)

// Inspection is what Inspect prints as JSON.
type Inspection struct {
	File       string               `json:"file"`
	Format     string               `json:"format"`
	Good       bool                 `json:"good"`  // the verdict of VerifyFile
	Trust      []string             `json:"trust"` // whom was trusted, and why
	Error      *Failure             `json:"error,omitempty"`
	Notes      []string             `json:"notes,omitempty"`
	Signatures []InspectedSignature `json:"signatures"`
}

// InspectedSignature is one signature of a file, in it or beside it.
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
	Verdict string `json:"verdict"`          // held, broken, off, unchecked
	Kind    string `json:"kind,omitempty"`   // of the error
	Offset  *int64 `json:"offset,omitempty"` // in the file
	Reason  string `json:"reason,omitempty"`
}

// Inspect prints what is in a file: each signature with its signer, chain, digest
// and timestamp, and what each rule says of it; as JSON for machines, also when
// nothing could be read. The verdict, and the error with its exit code, are those
// of VerifyFile.
func Inspect(ctx context.Context, o Options, out io.Writer, file string, asJSON bool, t TrustOverride) error {
	i, err := inspect(ctx, o, file, t)
	if !asJSON {
		if i.Format == "" {
			return err
		}
		_, printed := io.WriteString(out, i.text())
		return errors.Join(printed, err)
	}
	return errors.Join(printJSON(out, i), err)
}

func inspect(ctx context.Context, o Options, file string, t TrustOverride) (i Inspection, err error) {
	i = Inspection{File: file, Trust: []string{}, Signatures: []InspectedSignature{}}
	defer func() { i.Good, i.Error = err == nil, failureOf(err) }()
	if err := checkFile(file); err != nil {
		return i, err
	}
	a, said, err := openVerifier(o, t)
	if err != nil {
		return i, err
	}
	i.Trust = said
	verified := verifyOne(ctx, file, a)
	report, err := inspectFile(ctx, file, a.trust())
	if err != nil {
		if len(verified.Signatures) == 0 {
			return i, worse(verified.err, err)
		}
		report = &signing.Report{File: file, Format: "other file"}
	}
	i.Format, i.Notes = report.Format, verified.Notes
	for _, s := range report.Signatures {
		i.Signatures = append(i.Signatures, inspectedSignature(s))
	}
	for _, s := range verified.Signatures {
		if s.Place != file || len(report.Signatures) == 0 { // a package's are not in the report
			i.Signatures = append(i.Signatures, s.inspected())
		}
	}
	err = verified.err
	if err == nil && slices.ContainsFunc(i.Signatures, func(s InspectedSignature) bool { return !s.Good }) {
		err = fmt.Errorf("%s: not good: see above", file)
	}
	return i, err
}

// inspected is the record of a signature that the file does not hold.
func (s VerifiedSignature) inspected() InspectedSignature {
	one := InspectedSignature{Name: s.Place, Scheme: s.Scheme, Good: s.Good, Signer: s.Signer, Hash: s.Hash, Digest: s.Digest, Time: s.Time, TSA: s.TSA, Rules: []RuleRecord{}}
	if s.Error != nil {
		one.Rules = append(one.Rules, RuleRecord{Rule: s.Error.Rule, Verdict: signing.Broken.String(), Kind: s.Error.Kind, Offset: s.Error.Offset, Reason: s.Error.Text})
	}
	return one
}

func inspectedSignature(s signing.Inspected) InspectedSignature {
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
			var e *signing.Error
			if errors.As(v.Err, &e) {
				record.Kind, record.Reason = e.Kind.String(), fmt.Sprintf("%v: %v", e.Kind, e.Err)
				if e.Offset > 0 {
					record.Offset = &e.Offset
				}
			}
		}
		one.Rules = append(one.Rules, record)
	}
	return one
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
	quote.Fprintf(&b, "%s: %s, %s\n", i.File, i.Format, plural(len(i.Signatures), "signature"))
	for _, line := range i.Trust {
		quote.Fprintf(&b, "  %-12s %s\n", "trusted", line)
	}
	for _, line := range i.Notes {
		quote.Fprintf(&b, "  %-12s %s\n", "note", line)
	}
	if i.Error != nil {
		quote.Fprintf(&b, "  %s\n", i.Error.Text)
	}
	for _, s := range i.Signatures {
		verdict := "NOT GOOD"
		if s.Good {
			verdict = "good"
		}
		quote.Fprintf(&b, "\nsignature %s: %s, %s\n", s.Name, s.Scheme, verdict)
		for _, f := range []struct{ name, value string }{{"signer", s.Signer}, {"digest", strings.TrimSpace(s.Hash + " " + s.Digest)}, {"description", s.Description}, {"URL", s.URL}} {
			if f.value != "" {
				quote.Fprintf(&b, "  %-12s %s\n", f.name, f.value)
			}
		}
		if s.PageHashes {
			quote.Fprintf(&b, "  %-12s yes\n", "page hashes")
		}
		if s.Time != nil {
			quote.Fprintf(&b, "  %-12s %s by %s\n", "timestamp", s.Time.Format(time.RFC3339), s.TSA)
		}
		for _, c := range s.Chain {
			quote.Fprintf(&b, "  %-12s %s, until %s\n", "chain", c.Subject, c.NotAfter.Format(time.DateOnly))
		}
		for _, c := range s.Certificates {
			quote.Fprintf(&b, "  %-12s %s\n", "embedded", c.Subject)
		}
		for _, r := range s.Rules {
			quote.Fprintf(&b, "  %-9s %-20s %s\n", r.Verdict, r.Rule, r.Reason)
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
