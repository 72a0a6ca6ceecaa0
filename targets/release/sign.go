package release

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/hallmark-build/hallmark/signing"
)

// signAll gives every binary its signature, in a new file. A signature of the
// previous release is kept if it is over the same program by the same
// identity, so that nobody asks a timestamp server twice for the same thing.
func signAll(ctx context.Context, s *signer, bins []binary, w *workspace, p *Progress) ([]Entry, error) {
	entries := make([]Entry, len(bins))
	var todo []int
	for i, b := range bins {
		key := s.keyFor(b.Unsigned)
		if old := w.reusable(b.Path); old != nil && old.Signature != nil && old.SignKey == key {
			entries[i] = *old
			entries[i].BuildKey, entries[i].Go = b.BuildKey, b.Go
			continue
		}
		todo = append(todo, i)
	}
	p.begin("sign", len(todo))
	defer p.end()
	err := each(ctx, signing.Parallel, todo, func(ctx context.Context, i int) error {
		b := bins[i]
		done := p.start(b.Path)
		e, err := signOne(ctx, s, b, w)
		if err != nil {
			done("failed")
			return &fileFailure{path: b.Path, text: strings.TrimPrefix(err.Error(), b.Path+": "), err: err}
		}
		done(e.Signature.Scheme)
		entries[i] = e
		return nil
	})
	return entries, failures("signing", err)
}

func signOne(ctx context.Context, s *signer, b binary, w *workspace) (Entry, error) {
	e := b.Entry
	src, err := w.keep(ctx, "unsigned", b.Path, b.file, b.SHA256)
	if err != nil {
		return e, err
	}
	defer os.Remove(src)
	scheme, err := s.config.For(src)
	if err != nil {
		return e, ofArtifact(b.Path, src, err)
	}
	dst, err := w.privatePath("signed", b.Path)
	if err != nil {
		return e, err
	}
	sig, err := scheme.Sign(ctx, src, dst, s.key, s.stamps)
	if err != nil {
		return e, ofArtifact(b.Path, src, err)
	}
	if err := describeFile(ctx, dst, &e); err != nil {
		return e, err
	}
	e.Signature = describeSignature(sig)
	e.SignKey = s.keyFor(b.Unsigned)
	return e, w.adopt(ctx, dst, b.Path)
}

// ofArtifact makes an error about a private copy one about the artifact.
func ofArtifact(rel, private string, err error) error {
	text := strings.TrimPrefix(strings.ReplaceAll(withoutFile(err).Error(), private, rel), rel+": ")
	return &fileFailure{path: rel, text: text, err: err}
}

// withoutFile takes the name of a file out of an error: the one who reports it
// names the artifact.
func withoutFile(err error) error {
	var s *signing.Error
	if errors.As(err, &s) {
		s.File = ""
	}
	return err
}

// describeFile fills in what a file's bytes and mode say.
func describeFile(ctx context.Context, file string, e *Entry) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	e.Size, e.Mode = info.Size(), formatMode(info.Mode())
	e.SHA256, err = hashFile(ctx, file)
	return err
}

func describeSignature(sig *signing.Signature) *Signature {
	out := &Signature{Scheme: sig.Scheme, Signer: sig.Signer.Subject.String(), Hash: sig.Hash.String()}
	if !sig.Time.IsZero() {
		t := sig.Time.UTC()
		out.Time = &t
	}
	if sig.TSA != nil {
		out.TSA = sig.TSA.Subject.String()
	}
	return out
}

func join(names []string) string { return strings.Join(names, ", ") }
