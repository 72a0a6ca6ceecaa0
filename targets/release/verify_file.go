package release

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hallmark-build/hallmark/build/quote"
	"github.com/hallmark-build/hallmark/signing"
	"github.com/hallmark-build/hallmark/signing/key"
)

// Verification is what VerifyFile prints as JSON.
type Verification struct {
	Good  bool           `json:"good"`
	Trust []string       `json:"trust"` // whom was trusted, and why
	Files []VerifiedFile `json:"files"`
	Error *Failure       `json:"error,omitempty"` // why nothing was verified
}

// VerifiedFile is one file of a Verification. It is good if it has a signature
// and all that it has hold.
type VerifiedFile struct {
	File       string              `json:"file"`
	Good       bool                `json:"good"`
	LeftOut    bool                `json:"left_out,omitempty"` // found in a folder, and of a kind that carries no signature
	Signatures []VerifiedSignature `json:"signatures"`
	Notes      []string            `json:"notes,omitempty"`
	Error      *Failure            `json:"error,omitempty"`

	err error
}

// VerifiedSignature is one signature of a file.
type VerifiedSignature struct {
	Scheme string     `json:"scheme"`
	Place  string     `json:"place"` // the file that holds it
	Good   bool       `json:"good"`
	Signer string     `json:"signer,omitempty"`
	Hash   string     `json:"hash,omitempty"`
	Digest string     `json:"digest,omitempty"`
	Time   *time.Time `json:"time,omitempty"`
	TSA    string     `json:"tsa,omitempty"`
	Error  *Failure   `json:"error,omitempty"`
}

// Failure is an error for machines.
type Failure struct {
	Kind   string `json:"kind"`           // of signing.Kind, or usage, or failed
	Rule   string `json:"rule,omitempty"` // that was broken
	Offset *int64 `json:"offset,omitempty"`
	Exit   int    `json:"exit"` // the exit code that stands for it
	Text   string `json:"text"`
}

func failureOf(err error) *Failure {
	if err == nil {
		return nil
	}
	f := &Failure{Kind: "failed", Exit: exitCode(err), Text: err.Error()}
	var e *signing.Error
	if errors.As(err, &e) {
		f.Kind, f.Rule = e.Kind.String(), string(e.Rule)
		if e.Offset > 0 {
			f.Offset = &e.Offset
		}
	} else if f.Exit == ExitUsage {
		f.Kind = "usage"
	}
	return f
}

// VerifyFile verifies files by our own verifier: the signatures in each, those
// beside it, and those in its attributes; there must be one, and all must hold.
// It opens no identity and reads no hallmark.yaml that t does not name.
//
// The path may be a pattern (path.Match), a folder, which means every file in it
// and in its folders, or @FILE for a file with one path a line (@- is the
// standard input). In a folder, files of kinds that carry no signature are left
// out, and counted. The error of several files has the exit code of the worst.
func VerifyFile(ctx context.Context, o Options, out io.Writer, path string, asJSON bool, t TrustOverride) (err error) {
	ctx, stop := interruptible(ctx)
	defer stop()
	defer func() { err = interrupted(ctx, err) }()
	if asJSON {
		o.Progress = nil
	}
	v, err := verifyFiles(ctx, o, path, t)
	if !asJSON {
		return err
	}
	v.Good, v.Error = err == nil, nil
	if len(v.Files) == 0 {
		v.Error = failureOf(err)
	}
	return errors.Join(printJSON(out, v), err)
}

func verifyFiles(ctx context.Context, o Options, path string, t TrustOverride) (Verification, error) {
	v := Verification{Trust: []string{}, Files: []VerifiedFile{}}
	files, walked, err := subjects(path)
	if err != nil {
		return v, err
	}
	a, said, err := openVerifier(o, t)
	if err != nil {
		return v, err
	}
	v.Trust = said
	for _, line := range said {
		o.Progress.Printf("trusted: %s", line)
	}
	v.Files = make([]VerifiedFile, len(files))
	indexes := make([]int, len(files))
	for i := range indexes {
		indexes[i] = i
	}
	err = each(ctx, signing.Parallel, indexes, func(ctx context.Context, i int) error {
		f := verifyOne(ctx, files[i], a)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		f.LeftOut = walked && f.carriesNone()
		v.Files[i] = f
		f.print(o.Progress, len(files) > 1)
		return nil
	})
	if err != nil {
		v.Files = []VerifiedFile{}
		return v, err
	}
	if len(files) == 1 && !walked {
		return v, v.Files[0].err
	}
	return v, v.summarize(o.Progress, path)
}

// verifyOne verifies all signatures of a file.
func verifyOne(ctx context.Context, file string, a anchors) VerifiedFile {
	v := VerifiedFile{File: file, Signatures: []VerifiedSignature{}}
	found, notes, err := verifyEverywhere(ctx, file, a.trust())
	v.Notes, v.err = notes, err
	for _, s := range found {
		one := VerifiedSignature{Scheme: s.Scheme, Place: s.Place, Good: s.Err == nil, Error: failureOf(s.Err)}
		if s.Attribute != "" {
			one.Place += ": " + s.Attribute
		}
		if sig := s.Signature; sig != nil {
			one.Signer, one.Hash, one.Digest = sig.Signer.Subject.String(), sig.Hash.String(), fmt.Sprintf("%x", sig.Digest)
			if !sig.Time.IsZero() {
				at := sig.Time.UTC()
				one.Time, one.TSA = &at, sig.TSA.Subject.String()
			}
		}
		v.err = worse(v.err, s.Err)
		v.Signatures = append(v.Signatures, one)
	}
	v.Good, v.Error = v.err == nil, failureOf(v.err)
	return v
}

// carriesNone reports whether a file is of a kind that carries no signature.
func (v VerifiedFile) carriesNone() bool {
	var e *signing.Error
	return errors.As(v.err, &e) && e.Kind == signing.Unsupported && len(v.Signatures) == 0
}

// print tells a person about a file, and why it is bad where the command's
// error does not.
func (v VerifiedFile) print(p *Progress, many bool) {
	for _, n := range v.Notes {
		p.Printf("%s: note: %s", v.File, n)
	}
	if v.LeftOut {
		return
	}
	for _, s := range v.Signatures {
		if s.Good {
			p.Printf("%s: good: %s", s.Place, s.line())
		} else if many || len(v.Signatures) > 1 {
			p.Printf("%s: NOT GOOD: %s: %s", s.Place, s.Scheme, strings.TrimPrefix(s.Error.Text, s.Place+": "))
		}
	}
	if len(v.Signatures) == 0 && many {
		p.Printf("%s: NOT GOOD: %s", v.File, strings.TrimPrefix(v.Error.Text, v.File+": "))
	}
}

func (s VerifiedSignature) line() string {
	parts := []string{s.Scheme, s.Hash, "by " + s.Signer}
	if s.Time != nil {
		parts = append(parts, "at "+s.Time.Format(time.RFC3339))
	}
	return strings.Join(parts, ", ")
}

// summarize counts the files by verdict. The error is that of the worst.
func (v Verification) summarize(p *Progress, path string) error {
	counts, leftOut := map[string]int{}, 0
	var worst error
	for _, f := range v.Files {
		switch {
		case f.LeftOut:
			leftOut++
		case f.Good:
			counts["good"]++
		default:
			counts[f.Error.Kind]++
			worst = worse(worst, f.err)
		}
	}
	judged := len(v.Files) - leftOut
	text := plural(judged, "file") + ":"
	for _, kind := range []string{"good", "tampered", "malformed", "failed", "usage", "unknown signer", "untrusted", "expired", "unsigned", "unsupported"} {
		if n := counts[kind]; n > 0 {
			text += fmt.Sprintf(" %d %s,", n, kind)
		}
	}
	text = strings.TrimSuffix(text, ",")
	if leftOut > 0 {
		text += fmt.Sprintf("; %d left out, of kinds that carry no signature", leftOut)
	}
	p.Printf("%s", text)
	if judged == 0 {
		return usage("%s: no file there is of a kind that carries a signature", path)
	}
	if worst == nil {
		return nil
	}
	return fmt.Errorf("%d of %s are not good; the worst: %w", judged-counts["good"], plural(judged, "file"), worst)
}

// worse returns the error that matters more: of a file that was changed, that
// breaks its format, that could not be read, whose signer is not trusted, whose
// certificate has expired, that is unsigned.
func worse(a, b error) error {
	rank := func(err error) int {
		if err == nil {
			return -1
		}
		return slices.Index([]int{ExitUnsigned, ExitExpired, ExitUntrusted, ExitUnknown, ExitUsage, ExitFailed, ExitMalformed, ExitTampered}, exitCode(err))
	}
	if rank(b) > rank(a) {
		return b
	}
	return a
}

// subjects returns the files that the path of VerifyFile means, and whether they
// were found in a folder.
func subjects(path string) (files []string, walked bool, err error) {
	if list, ok := strings.CutPrefix(path, "@"); ok && !exists(path) {
		files, err = listed(list)
		return files, false, err
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		files, err := walk(path)
		return files, true, err
	}
	if files, err = matching(path); err != nil {
		return nil, false, err
	}
	if len(files) > 1 {
		files = slices.DeleteFunc(files, isBeside)
	}
	for _, f := range files {
		if err := checkFile(f); err != nil {
			return nil, false, err
		}
	}
	return files, false, nil
}

// maxList is how long a list of files may be.
const maxList = 64 << 20

// listed reads a file with one path a line.
func listed(name string) ([]string, error) {
	var in io.Reader = os.Stdin
	if name != "-" {
		f, info, err := key.OpenRegular(name)
		if err != nil {
			return nil, &UsageError{err}
		}
		defer f.Close()
		if info.Size() > maxList {
			return nil, usage("%s: a list of %d bytes; at most %d are read", name, info.Size(), maxList)
		}
		in = f
	}
	var files []string
	lines := bufio.NewScanner(io.LimitReader(in, maxList))
	for lines.Scan() {
		if line := strings.TrimSuffix(lines.Text(), "\r"); line != "" {
			if err := checkFile(line); err != nil {
				return nil, err
			}
			files = append(files, line)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, usage("%s: %w", name, err)
	}
	if len(files) == 0 {
		return nil, usage("%s: the list names no file", name)
	}
	return files, nil
}

// walk returns the files of a folder and of its folders: not the detached
// signatures beside another, which are verified with that. A link stands for the
// file that it leads to; links to folders are not followed, and those that lead
// nowhere, as /lib/modules has them, hold nothing. What is neither a file nor a
// link is an error: nobody could say what it holds.
func walk(dir string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(dir, func(file string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		if e.Type()&fs.ModeSymlink != 0 {
			if info, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) || err == nil && info.IsDir() {
				return nil
			}
		}
		if isBeside(file) {
			return nil
		}
		files = append(files, file)
		return checkFile(file)
	})
	if err != nil {
		return nil, &UsageError{err}
	}
	if len(files) == 0 {
		return nil, usage("%s: there is no file in this folder", dir)
	}
	return files, nil
}

func isBeside(file string) bool {
	return slices.ContainsFunc(signing.DetachedSchemes(), func(d signing.Detached) bool {
		of, ok := strings.CutSuffix(file, d.Suffix())
		return ok && exists(of)
	})
}

func printJSON(out io.Writer, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := out.Write(quote.JSON(b.Bytes()))
	return err
}
