package compat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// opensslCMS judges an appended signature: it is cut from the file, its
// timestamps are put before openssl ts, and it before openssl cms.
func opensslCMS() Judge {
	p := program{
		name: "openssl", pkg: "openssl",
		version: []string{"version"}, match: regexp.MustCompile(`(?m)^((?:OpenSSL|LibreSSL) \d\S*)`),
	}
	j := cmsJudge{p}
	return Judge{
		Name: "openssl-cms", Scheme: Appended,
		Limits: "The trailer is read by a reader of this package, not by openssl. openssl checks the signature over the content, the chain to a certificate of the CA file, and the timestamp's signature, imprint, usage and chain. " +
			"With a timestamp the chains are checked at its time, else now. " +
			"It does not check the signer's code-signing usage, and accepts what the kernel refuses: sha256WithRSAEncryption as signature algorithm, signed attributes, embedded content.",
		FindKey: p.key, Find: p.find,
		Verify:  j.verify,
		Command: j.command,
	}
}

type cmsJudge struct{ program }

// pieces are an appended signature's parts, cut from a file.
type pieces struct {
	trailer
	cms     []byte
	signers []signer
}

func cut(f *os.File) (pieces, error) {
	info, err := f.Stat()
	if err != nil {
		return pieces{}, err
	}
	t, err := readTrailer(f, info.Size())
	if err != nil {
		return pieces{}, err
	}
	cms := make([]byte, t.signature)
	if _, err := f.ReadAt(cms, t.content); err != nil {
		return pieces{}, fmt.Errorf("reading the signature: %w", err)
	}
	return pieces{trailer: t, cms: cms}, nil
}

func (j cmsJudge) verify(ctx context.Context, file string, trust Trust) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	p, err := cut(f)
	var malformed *trailerError
	switch {
	case errors.Is(err, errNoTrailer), errors.As(err, &malformed):
		return &RefusalError{Judge: j.name, Reason: err.Error()}
	case err != nil:
		return fmt.Errorf("cutting %s: %w", file, err)
	}

	// The content is piped: it may be large, and the file system of the
	// temporary folder small.
	return j.judge(ctx, p.cms, io.NewSectionReader(f, 0, p.content), trust)
}

// judge has openssl verify a detached CMS over a content, and its timestamps.
func (j cmsJudge) judge(ctx context.Context, cms []byte, content io.Reader, trust Trust) error {
	dir, err := os.MkdirTemp("", "hallmark-openssl-*")
	if err != nil {
		return fmt.Errorf("making a folder for the signature: %w", err)
	}
	defer os.RemoveAll(dir)
	sig := filepath.Join(dir, "signature.der")
	if err := os.WriteFile(sig, cms, 0o600); err != nil {
		return fmt.Errorf("writing the signature: %w", err)
	}

	// Where our look at the structure fails, openssl has the word: its refusal
	// is one. Its acceptance is none, for there may be a timestamp unseen.
	signers, unread := readSigners(cms)
	if unread != nil {
		signers = nil
	}
	var stamps []time.Time
	for i, s := range signers {
		if s.token == nil {
			continue
		}
		stamp, err := j.timestamp(ctx, dir, i, s, trust)
		if err != nil {
			return err
		}
		stamps = append(stamps, stamp)
	}
	var at time.Time
	if len(stamps) == len(signers) {
		at = latest(stamps)
	}

	a, err := j.run(ctx, "", content, cmsArgs(sig, "/dev/stdin", trust, at)...)
	if err != nil {
		return err
	}
	switch {
	case a.exit == 0 && last(a.stderr) == "CMS Verification successful":
		if unread != nil {
			return j.unclear(a, "it accepts a signature whose timestamp could not be looked for: "+unread.Error())
		}
		return nil
	case a.exit == 4 && strings.Contains(a.stderr, "CMS Verification failure"):
		return j.refuse(a, cause(a.stderr))
	case a.exit == 2 && strings.Contains(a.stderr, "Error reading SMIME Content Info"):
		return j.refuse(a, "the signature is not a CMS message: "+cause(a.stderr))
	}
	return j.unclear(a, fmt.Sprintf("openssl cms ends with exit code %d", a.exit))
}

// timestamp has openssl verify the token of one signer, and returns its time.
func (j cmsJudge) timestamp(ctx context.Context, dir string, i int, s signer, trust Trust) (time.Time, error) {
	token := filepath.Join(dir, fmt.Sprintf("token%d.der", i))
	value := filepath.Join(dir, fmt.Sprintf("value%d", i))
	for name, data := range map[string][]byte{token: s.token, value: s.signature} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			return time.Time{}, fmt.Errorf("writing the timestamp: %w", err)
		}
	}
	stamp := tokenTime(s.token)
	a, err := j.run(ctx, "", nil, tsArgs(token, value, trust, stamp)...)
	if err != nil {
		return time.Time{}, err
	}
	switch said := last(a.stdout); {
	case a.exit == 0 && said == "Verification: OK":
		return stamp, nil
	case a.exit == 1 && said == "Verification: FAILED":
		return time.Time{}, j.refuse(a, "the timestamp is not good: "+cause(a.stderr))
	}
	return time.Time{}, j.unclear(a, fmt.Sprintf("openssl ts ends with exit code %d", a.exit))
}

// command cuts with head and tail what verify cuts.
func (j cmsJudge) command(file string, trust Trust) string {
	const sig, content = "signature.der", "content"
	f, err := os.Open(trust.find(file))
	if err != nil {
		return ""
	}
	defer f.Close()
	p, err := cut(f)
	if err != nil {
		return line("tail", "-c", fmt.Sprint(headerSize+len(marker)), argument(file)) + " | od -c"
	}
	steps := []string{
		line("head", "-c", fmt.Sprint(p.content), argument(file)) + " > " + content,
		slice(argument(file), p.content, p.signature) + " > " + sig,
	}
	p.signers, _ = readSigners(p.cms)
	var stamps []time.Time
	for i, s := range p.signers {
		// Where the same bytes stand twice, either place has them.
		token, value := bytes.Index(p.cms, s.token), bytes.Index(p.cms, s.signature)
		if s.token == nil {
			continue
		}
		tokenFile, valueFile := fmt.Sprintf("token%d.der", i), fmt.Sprintf("value%d", i)
		stamp := tokenTime(s.token)
		steps = append(steps,
			slice(sig, int64(token), int64(len(s.token)))+" > "+tokenFile,
			slice(sig, int64(value), int64(len(s.signature)))+" > "+valueFile,
			line(append([]string{j.name}, tsArgs(tokenFile, valueFile, trust, stamp)...)...))
		stamps = append(stamps, stamp)
	}
	var at time.Time
	if len(stamps) == len(p.signers) {
		at = latest(stamps)
	}
	steps = append(steps, line(append([]string{j.name}, cmsArgs(sig, content, trust, at)...)...))
	return strings.Join(steps, " && ")
}

// slice is a shell command that prints a part of a file.
func slice(file string, offset, length int64) string {
	return line("tail", "-c", fmt.Sprintf("+%d", offset+1), file) + " | " + line("head", "-c", fmt.Sprint(length))
}

// cmsArgs are the arguments that verify a detached signature. "-purpose any"
// for openssl would else want the e-mail usage, and versions before 3.2 do not
// know the code-signing one.
func cmsArgs(sig, content string, trust Trust, at time.Time) []string {
	args := []string{"cms", "-verify", "-binary", "-inform", "DER", "-in", sig, "-content", content, "-out", os.DevNull, "-purpose", "any"}
	if trust.CAFile != "" {
		// Without -no-CApath the system's certificates would do as well.
		args = append(args, "-CAfile", argument(trust.CAFile), "-no-CApath", "-no-CAstore", "-partial_chain")
	}
	if !at.IsZero() {
		args = append(args, "-attime", fmt.Sprint(at.Unix()))
	}
	return args
}

// tsArgs are the arguments that verify a token over a signature value. The
// authority's chain is checked at the time of the token: tokens outlive
// certificates.
func tsArgs(token, value string, trust Trust, at time.Time) []string {
	ca := trust.TSAFile
	if ca == "" {
		ca = systemCAFile
	}
	args := []string{"ts", "-verify", "-in", token, "-token_in", "-data", value, "-CAfile", argument(ca), "-partial_chain"}
	if !at.IsZero() {
		args = append(args, "-attime", fmt.Sprint(at.Unix()))
	}
	return args
}

func latest(times []time.Time) time.Time {
	var t time.Time
	for _, u := range times {
		if u.After(t) {
			t = u
		}
	}
	return t
}

// cause finds what openssl's error lines say, the innermost cause first:
// "4040…:error:17000064:CMS routines:function:reason:file:line:data".
func cause(stderr string) string {
	for l := range strings.Lines(stderr) {
		fields := strings.SplitN(strings.TrimSpace(l), ":", 9)
		if len(fields) < 6 || fields[1] != "error" {
			continue
		}
		reason := fields[5]
		if len(fields) == 9 && fields[8] != "" {
			reason += ": " + fields[8]
		}
		return reason
	}
	if l := last(stderr); l != "" {
		return l
	}
	return "no cause given"
}
