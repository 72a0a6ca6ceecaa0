package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/hallmark-build/hallmark/build/dist"
	"github.com/hallmark-build/hallmark/signing"
)

// verifyEverywhere is signing.VerifyEverywhere, which knows no packages, for
// deb, rpm and apk too.
func verifyEverywhere(ctx context.Context, file string, trust signing.Trust) ([]signing.FileSignature, []string, error) {
	format, err := dist.PackageFormat(file)
	if err != nil || format == "" {
		return signing.VerifyEverywhere(ctx, file, trust)
	}
	sig, inside := verifyPackage(ctx, file, format, trust)
	var e *signing.Error
	if inside != nil && !errors.As(inside, &e) {
		return nil, nil, inside
	}
	found, notes, err := signing.VerifyEverywhere(ctx, file, trust)
	if kindOf(err) == signing.Unsupported || kindOf(err) == signing.Unsigned {
		found, err = nil, nil // there is no signature beside it
	}
	if err != nil {
		return nil, nil, err
	}
	if e != nil && e.Kind == signing.Unsigned {
		if len(found) == 0 {
			return nil, notes, inside
		}
		return found, notes, nil
	}
	inner := signing.FileSignature{Scheme: format, Place: file, Signature: sig, Err: inside}
	return append([]signing.FileSignature{inner}, found...), notes, nil
}

// kindOf is the kind of an error of package signing; -1 for others and for none.
func kindOf(err error) signing.Kind {
	var e *signing.Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return -1
}

// inspectFile is signing.Inspect, which knows no packages. The signatures of a
// package are those that verifyEverywhere finds.
func inspectFile(ctx context.Context, file string, trust signing.Trust) (*signing.Report, error) {
	if format, err := dist.PackageFormat(file); err == nil && format != "" {
		return &signing.Report{File: file, Format: format + " package"}, nil
	}
	return signing.Inspect(ctx, file, trust)
}

// verifyPackage verifies a deb, rpm or apk: each signature that it carries, of
// which there must be one at least, that nothing lies outside of them, and in an
// rpm the IMA signatures of its files. An error about the package is a
// *signing.Error.
func verifyPackage(ctx context.Context, file, format string, trust signing.Trust) (sig *signing.Signature, err error) {
	n, err := dist.Signatures(file, format, func(signature []byte, signed io.Reader) error {
		one, err := signing.VerifyPackage(format, signature, contextReader{ctx, signed}, trust)
		if err == nil && sig != nil && !one.Signer.Equal(sig.Signer) {
			err = &signing.Error{Kind: signing.Malformed, Rule: signing.RuleSignature, Err: fmt.Errorf("two signers: %q and %q", sig.Signer.Subject, one.Signer.Subject)}
		}
		sig = one
		return err
	})
	if err == nil && n == 0 {
		err = &signing.Error{Kind: signing.Unsigned, Rule: signing.RulePresent, Err: fmt.Errorf("the %s carries no signature", format)}
	}
	if err == nil && format == dist.RPM {
		err = verifyFileSignatures(ctx, file, trust)
	}
	if err != nil {
		return nil, packageError(file, err)
	}
	return sig, nil
}

// packageError gives an error about a package its kind.
func packageError(file string, err error) error {
	var e *signing.Error
	if errors.As(err, &e) {
		named := *e
		named.File = file
		return &named
	}
	var format *dist.FormatError
	if !errors.As(err, &format) {
		return err
	}
	e = &signing.Error{Kind: signing.Malformed, File: file, Rule: signing.RuleFormat, Offset: max(format.Offset, 0), Err: fmt.Errorf("%s: %w", format.Format, format.Err)}
	if errors.Is(err, dist.ErrChanged) {
		e.Kind, e.Rule = signing.Tampered, signing.RuleDigest
	}
	return e
}

// verifyFileSignatures verifies the IMA signatures of an rpm's files, which the
// package's own signatures do not cover.
func verifyFileSignatures(ctx context.Context, file string, trust signing.Trust) error {
	found, err := dist.FileSignatures(file)
	if err != nil || len(found) == 0 {
		return err
	}
	tmp, err := os.CreateTemp("", ".hallmark-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	err = dist.Walk(file, func(name string, _ fs.FileMode, r io.Reader) error {
		signature, ok := found["/"+name]
		if !ok {
			return nil
		}
		delete(found, "/"+name)
		if err := tmp.Truncate(0); err != nil {
			return err
		}
		if _, err := tmp.Seek(0, io.SeekStart); err != nil {
			return err
		}
		size, err := io.Copy(tmp, contextReader{ctx, r})
		if err != nil {
			return err
		}
		_, err = signing.IMA{}.VerifyReader(ctx, tmp, size, signature, trust)
		var e *signing.Error
		if errors.As(err, &e) {
			e.Err = fmt.Errorf("the IMA signature of /%s in the rpm: %w", name, e.Err)
		}
		return err
	})
	if err != nil {
		return err
	}
	for name := range found {
		return &signing.Error{Kind: signing.Malformed, Rule: signing.RuleFormat, Err: fmt.Errorf("the rpm has an IMA signature of %q, which is not a file in it", strings.TrimPrefix(name, "/"))}
	}
	return nil
}
