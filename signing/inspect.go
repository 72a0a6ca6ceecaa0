package signing

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/hallmark-build/hallmark/signing/cms"
)

// Report is what is in a file, signature by signature.
type Report struct {
	File       string
	Format     string // PE, ELF, or that of a [SIP] file
	Signatures []Inspected
	Err        error // the verdict on all of them: nil, or an *Error
}

// Inspected is one signature of a file: an entry of a certificate table, one that
// is nested in it, an appended one, a section.
type Inspected struct {
	Name      string // "1" for the first entry, "1.2" for the second one nested in it
	Scheme    string
	Signature *Signature // nil if nothing of it could be verified
	Embedded  []*x509.Certificate
	Verdicts  []Verdict // one for each rule, in the order of [Rules]
}

// Good reports whether no rule was broken.
func (i Inspected) Good() bool {
	return i.Signature != nil && !slices.ContainsFunc(i.Verdicts, func(v Verdict) bool { return v.State == Broken })
}

// State is how a signature stands to a rule.
type State int

const (
	Unchecked State = iota // another rule's breach made it impossible, or nothing to check it with was given
	Held
	Broken
	Off // by the policy
)

func (s State) String() string { return [...]string{"unchecked", "held", "broken", "off"}[s] }

// Verdict is a signature's stand to one rule.
type Verdict struct {
	Rule  Rule
	State State
	Err   error // of a broken one, an *Error; of an unchecked one, what was missing, or nil
}

// Inspect tells what is in a PE, ELF or other signed file and what each rule says
// of each of its signatures. Where a rule that a policy can turn off is broken,
// the others are asked without it. Whether the file is accepted is not counted
// from these: it is asked of each scheme's Verify, as by [VerifyEverywhere]. The
// error is of reading the file; a file that cannot be parsed at all is one too.
func Inspect(ctx context.Context, file string, trust Trust) (*Report, error) {
	f, info, err := openRegular(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	report := &Report{File: file}
	var magic [4]byte
	readAt(f, magic[:], 0, info.Size()) // a shorter file is of no format
	switch {
	case string(magic[:2]) == "MZ":
		report.Format = "PE"
		err = inspectPE(ctx, f, info.Size(), trust, report)
	case string(magic[:]) == "\x7fELF":
		report.Format = "ELF"
		err = inspectELF(ctx, f, info.Size(), trust, report)
	case isSubject(file, f, info.Size()):
		report.Format = "Authenticode"
		err = inspectSubject(ctx, file, f, info.Size(), trust, report)
	case compression(file, f) != "":
		report.Format = "ELF, compressed"
		err = decompressed(ctx, file, f, info.Size(), func(r io.ReaderAt, size int64) error {
			return inspectELF(ctx, r, size, trust, report)
		})
	default:
		_, err = Config{}.For(file)
	}
	if err == nil {
		err = report.conclude(ctx, trust)
	}
	if err != nil {
		return nil, inFile(err, file)
	}
	return report, nil
}

// conclude asks for the verdict on the file. An error that is no verdict, as of
// reading, is returned.
func (r *Report) conclude(ctx context.Context, trust Trust) error {
	found, err := verifyInside(ctx, r.File, trust)
	for _, s := range found {
		err = graver(err, s.Err)
	}
	var e *Error
	if err != nil && !errors.As(err, &e) {
		return err
	}
	r.Err = err
	return nil
}

// judge asks about each rule: it verifies with the policy, and again without each
// rule that was broken, until what is left holds or cannot be left out.
func judge(trust Trust, verify func(Trust) (*Signature, error)) (*Signature, []Verdict) {
	broken := make(map[Rule]error)
	trust.Policy.Off = slices.Clone(trust.Policy.Off)
	off := slices.Clone(trust.Policy.Off)
	var sig *Signature
	for {
		var err error
		if sig, err = verify(trust); err == nil {
			break
		}
		var e *Error
		if !errors.As(err, &e) {
			e = &Error{Kind: Malformed, Rule: RuleFormat, Err: err}
		}
		broken[e.Rule] = e
		if slices.Contains(trust.Policy.Off, e.Rule) || !CanBeOff(e.Rule) {
			break
		}
		trust.Policy.Off = append(trust.Policy.Off, e.Rule)
	}
	var verdicts []Verdict
	for _, r := range Rules() {
		v := Verdict{Rule: r.Rule, State: Held, Err: broken[r.Rule]}
		switch {
		case v.Err != nil:
			v.State = Broken
		case slices.Contains(off, r.Rule):
			v.State = Off
		case sig == nil:
			v.State = Unchecked
		case r.Rule == RuleRevoked && len(sig.unlisted) > 0:
			v.State, v.Err = Unchecked, fmt.Errorf("no revocation list by %q was given", sig.unlisted)
		}
		verdicts = append(verdicts, v)
	}
	return sig, verdicts
}

func inspectPE(ctx context.Context, r io.ReaderAt, size int64, trust Trust, report *Report) error {
	p, err := readPE(r, size)
	if err != nil {
		return err
	}
	if p.tableOffset == 0 {
		return nil
	}
	table := make([]byte, p.tableSize)
	if err := readAt(r, table, p.tableOffset, size); err != nil {
		return err
	}
	lenient := trust
	lenient.Policy.Off = append(slices.Clone(trust.Policy.Off), RulePadding)
	ders, err := readTable(table, p.tableOffset, lenient)
	if err != nil {
		return nil // the verdict says so
	}
	digests := make(map[crypto.Hash][]byte)
	pages := make(map[crypto.Hash][]byte)
	var sum *peChecksum
	for i, der := range ders {
		report.inspectCMS(fmt.Sprint(i+1), Authenticode{}.Name(), der, 0, trust, func(der []byte, trust Trust) (*Signature, error) {
			if _, err := readTable(table, p.tableOffset, trust); err != nil {
				return nil, err
			}
			v := &peVerifier{ctx: ctx, file: p, r: r, trust: trust, digests: digests, pages: pages, sum: sum, single: true}
			sig, err := v.verify(der, 0)
			sum = v.sum
			if err == nil {
				err = v.checkChecksum(table)
			}
			if err != nil {
				return nil, err
			}
			return sig, nil
		})
	}
	return nil
}

// inspectCMS adds a signature and those that are nested in it.
func (r *Report) inspectCMS(name, scheme string, der []byte, depth int, trust Trust, verify func([]byte, Trust) (*Signature, error)) {
	if depth > maxNested || len(r.Signatures) == maxSignatures {
		return
	}
	one := Inspected{Name: name, Scheme: scheme}
	one.Signature, one.Verdicts = judge(trust, func(t Trust) (*Signature, error) { return verify(der, t) })
	sd, err := cms.Parse(der)
	if err == nil {
		one.Embedded = sd.Certificates
	}
	r.Signatures = append(r.Signatures, one)
	if err != nil {
		return
	}
	n := 0
	for _, a := range sd.Signers[0].Unsigned {
		if !a.Type.Equal(oidSpcNestedSignature) {
			continue
		}
		for _, nested := range a.Values {
			n++
			r.inspectCMS(fmt.Sprintf("%s.%d", name, n), scheme, nested, depth+1, trust, verify)
		}
	}
}

func inspectELF(ctx context.Context, r io.ReaderAt, size int64, trust Trust, report *Report) error {
	for _, s := range []struct {
		scheme string
		take   func() ([]byte, error)
		verify func(context.Context, io.ReaderAt, int64, Trust) (*Signature, error)
	}{
		{Appended{}.Name(), func() ([]byte, error) { der, _, err := readTrailer(r, size); return der, err }, verifyAppended},
		{Section{}.Name(), func() ([]byte, error) { der, _, err := takeSection(r, size); return der, err }, verifySection},
	} {
		der, err := s.take()
		if err != nil {
			continue // there is none, or the verdict says what is wrong
		}
		report.inspectCMS("1", s.scheme, der, 0, trust, func(_ []byte, t Trust) (*Signature, error) { return s.verify(ctx, r, size, t) })
	}
	return nil
}

func inspectSubject(ctx context.Context, file string, r io.ReaderAt, size int64, trust Trust, report *Report) error {
	one := Inspected{Name: "1", Scheme: SIP{}.Name()}
	one.Signature, one.Verdicts = judge(trust, func(t Trust) (*Signature, error) { return verifySIP(ctx, file, r, size, t) })
	if !slices.ContainsFunc(one.Verdicts, func(v Verdict) bool { return v.Rule == RulePresent && v.State == Broken }) {
		report.Signatures = append(report.Signatures, one)
	}
	return nil
}
