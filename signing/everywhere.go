package signing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// FileSignature is one signature of a file, and whether it holds.
type FileSignature struct {
	Scheme    string
	Place     string     // the file that holds it: the signed one, or a detached signature
	Attribute string     // of Place; empty means that its content is the signature
	Signature *Signature // nil if it does not hold
	Err       error      // why
}

// VerifyEverywhere verifies each signature of a file: in it, in the detached
// signatures beside it, and in its extended attributes. Which schemes are meant
// is told by what is there, never by a configuration. The file is good if there
// is at least one signature and all of them hold.
//
// Without any signature the error is an *Error of kind [Unsigned], or
// [Unsupported] for a file of a kind that carries none in itself. The notes name
// files that look like a detached signature and were not looked at.
func VerifyEverywhere(ctx context.Context, file string, trust Trust) (found []FileSignature, notes []string, err error) {
	inner, innerErr := verifyInside(ctx, file, trust)
	if innerErr != nil && !isNothing(innerErr) {
		return nil, nil, innerErr
	}
	found = inner
	for _, d := range DetachedSchemes() {
		place := file + d.Suffix()
		if _, err := os.Lstat(place); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if note, err := foreignSignature(d, place); err != nil {
			return nil, nil, err
		} else if note != "" {
			notes = append(notes, note)
			continue
		}
		sig, err := d.Verify(ctx, file, place, trust)
		found = append(found, FileSignature{Scheme: d.Name(), Place: place, Signature: sig, Err: err})
	}
	attribute, err := ReadIMA(file)
	if err != nil {
		return nil, nil, err
	}
	if attribute != nil {
		sig, err := IMA{}.VerifyAttribute(ctx, file, trust)
		found = append(found, FileSignature{Scheme: IMA{}.Name(), Place: file, Attribute: imaAttribute, Signature: sig, Err: err})
	}
	for _, s := range found {
		var e *Error
		if s.Err != nil && !errors.As(s.Err, &e) {
			return nil, nil, s.Err // it could not be read
		}
	}
	if len(found) == 0 {
		return nil, notes, innerErr
	}
	return found, notes, nil
}

// verifyInside returns what the signatures in a file say. The error is
// [Unsigned] or [Unsupported] if there is none.
func verifyInside(ctx context.Context, file string, trust Trust) ([]FileSignature, error) {
	schemes, err := insideSchemes(file)
	if err != nil {
		return nil, err
	}
	var found []FileSignature
	for _, s := range schemes {
		sig, err := s.Verify(ctx, file, trust)
		if len(schemes) == 1 && isUnsigned(err) {
			return nil, err
		}
		found = append(found, FileSignature{Scheme: s.Name(), Place: file, Signature: sig, Err: err})
	}
	return found, nil
}

// insideSchemes returns the schemes by which a file is signed inside, told by
// its content: both of an ELF file that has both, and that of its kind for a
// file without a signature.
func insideSchemes(file string) ([]Scheme, error) {
	s, err := Config{}.For(file)
	if err != nil {
		return nil, err
	}
	if _, ok := s.(Appended); !ok {
		return []Scheme{s}, nil
	}
	f, info, err := openRegular(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if compression(file, f) != "" || !hasSection(f, info.Size()) {
		return []Scheme{s}, nil
	}
	if _, err := findTrailer(f, info.Size()); isUnsigned(err) {
		return []Scheme{Section{}}, nil
	}
	return []Scheme{s, Section{}}, nil
}

// hasSection reports whether an ELF file has a section of signatures at its
// end, good or bad.
func hasSection(r io.ReaderAt, size int64) bool {
	_, _, err := takeSection(r, size)
	var e *Error
	return err == nil || errors.As(err, &e) && e.Rule == RuleTable
}

// isNothing reports whether a file has no signature inside: it could have one,
// or is of no kind that can.
func isNothing(err error) bool {
	var e *Error
	return errors.As(err, &e) && (e.Kind == Unsigned || e.Kind == Unsupported)
}

// foreignSignature returns a note about a file whose name is that of a detached
// signature of ours and whose content is another program's: GnuPG, OpenSSH,
// signify, minisign and cosign write FILE.sig, too, where IMA's begins with a
// control character.
func foreignSignature(d Detached, place string) (note string, err error) {
	if d.Name() != (IMA{}).Name() {
		return "", nil
	}
	f, info, err := openRegular(place)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var first [1]byte
	if info.Size() == 0 || readAt(f, first[:], 0, info.Size()) != nil {
		return "", nil
	}
	switch b := first[0]; {
	case b >= 0x80:
		return fmt.Sprintf("%s is an OpenPGP signature and was not looked at: verify it with gpg --verify", place), nil
	case b >= 0x20:
		return fmt.Sprintf("%s is not an IMA signature and was not looked at: verify it with the program that made it", place), nil
	}
	return "", nil
}
