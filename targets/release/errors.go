package release

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hallmark-build/hallmark/build"
	"github.com/hallmark-build/hallmark/build/bench"
	"github.com/hallmark-build/hallmark/build/dist"
	"github.com/hallmark-build/hallmark/build/host"
	"github.com/hallmark-build/hallmark/build/quote"
	"github.com/hallmark-build/hallmark/signing"
	"github.com/hallmark-build/hallmark/signing/key"
)

// Exit codes of the commands. They tell a script why a command failed without
// its having to read the words.
const (
	ExitFailed    = 1 // a stage failed: compiling, a timestamp server, the disk, a judge
	ExitUsage     = 2 // the configuration, the identity or the machine is not ready; nothing was started
	ExitUnsigned  = 3 // a file has no signature
	ExitTampered  = 4 // a file is not what was signed
	ExitUntrusted = 5 // the signature holds, but its signer is not trusted
	ExitExpired   = 6 // the certificate has expired and no timestamp shows that it was good
	ExitMalformed = 7 // a file or signature breaks its format, or is neither PE nor ELF
	ExitUnknown   = 8 // the signature was not verified: its signer's certificate is not at hand
)

// Problem is one thing wrong in a configuration file.
type Problem struct {
	Line int // in the file; 0 when it is about no one line
	Text string
}

// ConfigError holds everything that is wrong in a configuration file.
type ConfigError struct {
	File     string
	Problems []Problem
}

// Error lists the problems, one a line, as FILE:LINE: TEXT.
func (e *ConfigError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		if p.Line > 0 {
			lines[i] = fmt.Sprintf("%s:%d: %s", e.File, p.Line, p.Text)
		} else {
			lines[i] = fmt.Sprintf("%s: %s", e.File, p.Text)
		}
	}
	return strings.Join(lines, "\n")
}

// UsageError is a wish that cannot be met as things stand: nothing was begun.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *UsageError) Unwrap() error { return e.Err }

func usage(format string, args ...any) error {
	return &UsageError{fmt.Errorf(format, args...)}
}

// ExitError is an error with the exit code that its command ends with. It is
// the last before the screen, and quotes what the error holds.
type ExitError struct {
	Code int
	Err  error
}

func (e *ExitError) Error() string { return shown(e.Err) }

// Unwrap returns the cause.
func (e *ExitError) Unwrap() error { return e.Err }

// ExitStatus is what mage asks an error for.
func (e *ExitError) ExitStatus() int { return e.Code }

// shown is the text of an error for a terminal or a log. Each error of a joined
// one and each problem of a configuration gets a line; further lines of their
// texts, which may come from anywhere, are marked.
func shown(err error) string {
	switch e := err.(type) {
	case *ExitError:
		return shown(e.Err)
	case *UsageError:
		return shown(e.Err)
	case *ConfigError:
		lines := make([]string, len(e.Problems))
		for i, p := range e.Problems {
			lines[i] = quote.Block((&ConfigError{e.File, []Problem{p}}).Error())
		}
		return strings.Join(lines, "\n")
	case interface{ Unwrap() []error }:
		list := e.Unwrap()
		if err.Error() != errors.Join(list...).Error() { // fmt.Errorf with several %w
			break
		}
		lines := make([]string, len(list))
		for i, one := range list {
			lines[i] = shown(one)
		}
		return strings.Join(lines, "\n")
	}
	return quote.Block(err.Error())
}

// Exit gives an error its exit code. Exit(nil) is nil.
func Exit(err error) error {
	if err == nil {
		return nil
	}
	var exit *ExitError
	if errors.As(err, &exit) {
		return &ExitError{Code: exit.Code, Err: err}
	}
	return &ExitError{Code: exitCode(err), Err: err}
}

func exitCode(err error) int {
	var (
		signature *signing.Error
		config    *ConfigError
		building  *build.ConfigError
		shipping  *dist.ConfigError
		use       *UsageError
		missing   *build.MissingError
		tool      *host.MissingError
		mismatch  *bench.MismatchError
		version   *bench.FormatError
		broken    *bench.MalformedError
	)
	switch {
	case errors.Is(err, context.Canceled):
		return ExitFailed
	case errors.As(err, &signature):
		return kindCode(signature.Kind)
	case errors.As(err, &config), errors.As(err, &building), errors.As(err, &shipping), errors.As(err, &use), errors.As(err, &missing), errors.As(err, &tool), isKeyError(err),
		errors.As(err, &mismatch), errors.As(err, &version):
		return ExitUsage
	case errors.As(err, &broken):
		return ExitMalformed
	}
	return ExitFailed
}

func kindCode(k signing.Kind) int {
	switch k {
	case signing.Unsigned:
		return ExitUnsigned
	case signing.Tampered:
		return ExitTampered
	case signing.Untrusted:
		return ExitUntrusted
	case signing.Expired:
		return ExitExpired
	case signing.UnknownSigner:
		return ExitUnknown
	}
	return ExitMalformed
}

// isKeyError reports whether the identity could not be opened.
func isKeyError(err error) bool {
	var (
		file      *key.FileError
		password  *key.PasswordError
		mismatch  *key.MismatchError
		algorithm *key.AlgorithmError
		expired   *key.ExpiredError
		usage     *key.UsageError
		ref       *key.RefError
	)
	return errors.As(err, &file) || errors.As(err, &password) || errors.As(err, &mismatch) || errors.As(err, &algorithm) ||
		errors.As(err, &expired) || errors.As(err, &usage) || errors.As(err, &ref)
}

// fileFailure is what went wrong with one file, in words that do not name it,
// so that the same failure of many files can be told once.
type fileFailure struct {
	path  string
	text  string
	block bool // text has lines of its own
	err   error
}

func (f *fileFailure) Error() string { return f.path + ": " + f.text }

// Unwrap returns the cause.
func (f *fileFailure) Unwrap() error { return f.err }

// groupedFailure is one failure of several files.
type groupedFailure struct {
	doing string
	paths []string
	first *fileFailure
}

func (g *groupedFailure) Error() string {
	var b strings.Builder
	if g.doing != "" {
		b.WriteString(g.doing + " ")
	}
	b.WriteString(strings.Join(g.paths, ", "))
	if g.first.block {
		b.WriteString(" failed:\n")
	} else {
		b.WriteString(": ")
	}
	b.WriteString(g.first.text)
	return b.String()
}

// Unwrap returns the cause for the first of the files.
func (g *groupedFailure) Unwrap() error { return g.first.err }

// failures tells each of the failures in a joined error once, with all the
// files that it befell.
func failures(doing string, err error) error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return err
	}
	var kept []error
	groups := map[string]*groupedFailure{}
	said := map[string]bool{}
	for _, e := range joined.Unwrap() {
		var f *fileFailure
		switch {
		case !errors.As(e, &f):
			if !said[e.Error()] {
				said[e.Error()] = true
				kept = append(kept, e)
			}
		case groups[f.text] != nil:
			groups[f.text].paths = append(groups[f.text].paths, f.path)
		default:
			groups[f.text] = &groupedFailure{doing, []string{f.path}, f}
			kept = append(kept, groups[f.text])
		}
	}
	return errors.Join(kept...)
}
