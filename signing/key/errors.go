package key

import (
	"fmt"
	"time"
)

// RefError is a reference that names no identity. It never repeats a part of
// the reference that could be a secret.
type RefError struct {
	Reason string // what is wrong
	Hint   string // what to write instead
}

func (e *RefError) Error() string { return "identity: " + e.Reason + ": " + e.Hint }

// FileError is a file that cannot be read, or that does not hold one private
// key and its certificate.
type FileError struct {
	File string
	Err  error  // what is wrong; fs.ErrNotExist if the file is missing
	Hint string // what to do; may be empty
}

func (e *FileError) Error() string {
	s := fmt.Sprintf("identity: %s: %v", e.File, e.Err)
	if e.Hint != "" {
		s += ": " + e.Hint
	}
	return s
}

// Unwrap returns the cause.
func (e *FileError) Unwrap() error { return e.Err }

// PasswordError is a file that the password did not open.
type PasswordError struct {
	File    string
	Missing bool  // no password was given at all
	Err     error // why none could be had, if asking for it failed
}

func (e *PasswordError) Error() string {
	switch {
	case e.Err != nil:
		return fmt.Sprintf("identity: %s needs a password, and asking for it failed: %v: set HALLMARK_PASSWORD", e.File, e.Err)
	case e.Missing:
		return fmt.Sprintf("identity: %s needs a password and none was given: set HALLMARK_PASSWORD", e.File)
	}
	return fmt.Sprintf("identity: wrong password for %s, or the file is damaged: check HALLMARK_PASSWORD", e.File)
}

// Unwrap returns why the password could not be had, or nil.
func (e *PasswordError) Unwrap() error { return e.Err }

// MismatchError is a private key to which no certificate of the file belongs.
type MismatchError struct {
	File    string
	Subject string // of the first certificate there
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("identity: %s: the private key does not match the certificate of %q: give the key that the certificate was issued for", e.File, e.Subject)
}

// ExpiredError is a certificate of the chain that is not valid now.
type ExpiredError struct {
	File, Subject            string
	NotBefore, NotAfter, Now time.Time
	Hint                     string // what to do; empty = renew it, or set the clock
}

func (e *ExpiredError) Error() string {
	what, hint := "expired at "+e.NotAfter.UTC().Format(time.RFC3339), "renew it"
	if e.Now.Before(e.NotBefore) {
		what, hint = "is not valid before "+e.NotBefore.UTC().Format(time.RFC3339), "wait, or set this machine's clock"
	}
	if e.Hint != "" {
		hint = e.Hint
	}
	return fmt.Sprintf("identity: %s: the certificate of %q %s: %s", e.File, e.Subject, what, hint)
}

// UsageError is a certificate that is not for signing code.
type UsageError struct {
	File, Subject string
	Lacks         string // the usage that is missing
}

func (e *UsageError) Error() string {
	return fmt.Sprintf("identity: %s: the certificate of %q lacks the %s: use a code-signing certificate", e.File, e.Subject, e.Lacks)
}

// AlgorithmError is a key of a kind that verifiers do not take.
type AlgorithmError struct {
	File, Algorithm, Reason string
}

func (e *AlgorithmError) Error() string {
	return fmt.Sprintf("identity: %s: %s is refused, because %s: use RSA-3072 or ECDSA P-256", e.File, e.Algorithm, e.Reason)
}
