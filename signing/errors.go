package signing

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hallmark-build/hallmark/signing/cms"
)

// Kind tells failures of verification apart. Tools give each its own exit
// code.
type Kind int

const (
	Unsupported   Kind = iota // no scheme for this kind of file
	Unsigned                  // well formed, and without a signature
	Tampered                  // the signature is for other content, or was changed itself
	Untrusted                 // holds, but the signer, its usage or its strength is not accepted
	Expired                   // holds, and was good once; there is no timestamp from that time
	Malformed                 // file or signature break their format
	UnknownSigner             // not verified: the signer's certificate is neither in the signature nor known
)

func (k Kind) String() string {
	return [...]string{"unsupported", "unsigned", "tampered", "untrusted", "expired", "malformed", "unknown signer"}[k]
}

// Rule names one thing that Verify demands.
type Rule string

const (
	RuleFormat      Rule = "format"              // the file is a well-formed PE or ELF
	RulePresent     Rule = "present"             // there is a signature
	RuleTable       Rule = "table"               // certificate table or trailer: bounds, alignment, revision, type
	RulePadding     Rule = "padding"             // nothing hides in the table's padding (CVE-2013-3900)
	RuleTrailing    Rule = "trailing"            // nothing follows the signature
	RuleChecksum    Rule = "checksum"            // the PE checksum is right
	RuleDER         Rule = "der"                 // the signature is DER, its attributes in order
	RuleContent     Rule = "content"             // the signed content is of the scheme's type and length
	RuleDataType    Rule = "data-type"           // a PE file's content is called SpcPeImageData
	RuleDigest      Rule = "digest"              // the file's digest is the signed one
	RulePageHash    Rule = "page-hashes"         // where there are page hashes, they are those of the file
	RuleMetadata    Rule = "msi-metadata"        // an MSI package's signature covers names and lengths
	RuleSignature   Rule = "signature"           // the signature verifies with the signer's key
	RuleWeak        Rule = "weak-digest"         // no SHA-1
	RuleWeakKey     Rule = "weak-key"            // no RSA key under 2048 bits
	RuleUsage       Rule = "usage"               // the signer's certificate is for code signing
	RuleChain       Rule = "chain"               // the signer's chain ends in a trusted root
	RuleRevoked     Rule = "revocation"          // no given revocation list has a certificate of the chain, at the time of the timestamp
	RuleValidity    Rule = "validity"            // at the time of the timestamp, or now
	RuleTimestamp   Rule = "timestamp"           // there is an RFC 3161 timestamp
	RuleLegacy      Rule = "timestamp-legacy"    // it is no PKCS #9 countersignature, the form before RFC 3161
	RuleTSA         Rule = "timestamp-chain"     // its chain ends in a trusted root
	RuleFuture      Rule = "timestamp-future"    // it is not from the future
	RuleBinding     Rule = "timestamp-digest"    // it is over this very signature
	RuleCertificate Rule = "certificates"        // every embedded certificate belongs to the signer's chain
	RuleUnsigned    Rule = "unsigned-attributes" // nothing unknown outside the signature's cover
)

// Error says why a file was not accepted.
type Error struct {
	Kind   Kind
	File   string
	Rule   Rule
	Offset int64 // of the offending bytes in the file; 0 when there is no one place
	Err    error
}

func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File + ": ")
	}
	fmt.Fprintf(&b, "%v", e.Kind)
	if e.Rule != "" {
		fmt.Fprintf(&b, " (rule %s)", e.Rule)
	}
	if e.Offset > 0 {
		fmt.Fprintf(&b, " at offset %#x", e.Offset)
	}
	return b.String() + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// fail is a shorthand for an *Error whose File is filled in by the caller.
func fail(k Kind, r Rule, offset int64, format string, args ...any) *Error {
	return &Error{Kind: k, Rule: r, Offset: offset, Err: fmt.Errorf(format, args...)}
}

// graver returns the error that says more against a file: one that does not
// hold before one whose signer is not accepted; of two alike, the first.
func graver(a, b error) error {
	if b != nil && (a == nil || signatureHeld(a) && !signatureHeld(b)) {
		return b
	}
	return a
}

// signatureHeld reports whether an error is about the signer alone.
func signatureHeld(err error) bool {
	var e *Error
	return errors.As(err, &e) && (e.Kind == Untrusted || e.Kind == Expired)
}

// inFile names the file in an error that is ours.
func inFile(err error, file string) error {
	var e *Error
	if errors.As(err, &e) && e.File == "" {
		e.File = file
	}
	return err
}

// fromCMS gives an error of package cms its kind.
func fromCMS(err error, offset int64) error {
	var format *cms.FormatError
	var usage *cms.UsageError
	var sig *cms.SignatureError
	switch {
	case errors.As(err, &format):
		return &Error{Kind: Malformed, Rule: RuleDER, Offset: offset, Err: err}
	case errors.As(err, &sig):
		return &Error{Kind: Tampered, Rule: RuleSignature, Offset: offset, Err: err}
	case errors.As(err, &usage):
		return &Error{Kind: Untrusted, Rule: RuleTSA, Offset: offset, Err: err}
	case errors.Is(err, cms.ErrNoCertificate):
		return &Error{Kind: UnknownSigner, Rule: RuleChain, Offset: offset, Err: fmt.Errorf("%w: name it with -signer=FILE", err)}
	}
	return err
}

// fromChain gives an error of building a chain as it was at a moment its kind.
func fromChain(err error, rule Rule, at time.Time) error {
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) {
		switch invalid.Reason {
		case x509.Expired: // or not yet valid
			if c := invalid.Cert; c != nil && at.Before(c.NotBefore) {
				return fail(Untrusted, RuleValidity, 0, "the certificate of %q is valid from %s on, and the signature is judged as of %s, before that: check this machine's clock, or the timestamp's",
					c.Subject, c.NotBefore.UTC().Format(time.RFC3339), at.UTC().Format(time.RFC3339))
			}
			return &Error{Kind: Expired, Rule: RuleValidity, Err: err}
		case x509.IncompatibleUsage:
			return &Error{Kind: Untrusted, Rule: RuleUsage, Err: err}
		}
	}
	return &Error{Kind: Untrusted, Rule: rule, Err: err}
}
