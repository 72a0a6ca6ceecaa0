package release

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/hallmark-build/hallmark/signing"
)

// besideOf returns the schemes that sign an artifact beside it.
func besideOf(c signing.Config, e Entry) []signing.Detached {
	switch e.Kind {
	case KindBinary:
		if strings.HasPrefix(e.Platform, "linux/") {
			return c.BesideELF()
		}
	case KindArchive, KindPackage:
		return c.BesideFiles()
	case KindSums:
		return c.BesideSums()
	}
	return nil
}

// besidePaths returns where the signatures of an artifact will stand.
func besidePaths(c signing.Config, e Entry) []string {
	var paths []string
	for _, d := range besideOf(c, e) {
		paths = append(paths, e.Path+d.Suffix())
	}
	return paths
}

// signBeside makes the signatures that stand beside artifacts. One of the
// previous release is kept if it is over the same file by the same identity.
func signBeside(ctx context.Context, s *signer, entries []Entry, w *workspace, p *Progress) ([]Entry, error) {
	type task struct {
		of     Entry
		scheme signing.Detached
	}
	var signed []Entry
	var todo []task
	for _, e := range entries {
		for _, d := range besideOf(s.config, e) {
			path := e.Path + d.Suffix()
			if old := w.reusable(path); old != nil && old.Of == e.Path && old.SignKey == s.keyBeside(d, e) {
				signed = append(signed, *old)
				continue
			}
			todo = append(todo, task{e, d})
		}
	}
	p.begin("sign", len(todo))
	defer p.end()
	made := make([]Entry, len(todo))
	indexes := make([]int, len(todo))
	for i := range indexes {
		indexes[i] = i
	}
	err := each(ctx, signing.Parallel, indexes, func(ctx context.Context, i int) error {
		of, d := todo[i].of, todo[i].scheme
		e := Entry{Path: of.Path + d.Suffix(), Kind: KindSignature, Of: of.Path, Platform: of.Platform, Toolchain: of.Toolchain, SignKey: s.keyBeside(d, of)}
		done := p.start(e.Path)
		sig, err := signDetached(ctx, s, d, of, &e, w)
		if err != nil {
			done("failed")
			return &fileFailure{path: e.Path, text: strings.TrimPrefix(err.Error(), of.Path+": "), err: err}
		}
		done(d.Name())
		e.Signature = describeSignature(sig)
		made[i] = e
		return nil
	})
	return append(signed, made...), failures("signing", err)
}

// signDetached signs a private copy of an artifact, and stages the signature.
func signDetached(ctx context.Context, s *signer, d signing.Detached, of Entry, e *Entry, w *workspace) (*signing.Signature, error) {
	src, err := w.keep(ctx, "signed"+d.Suffix(), of.Path, w.file(of.Path), of.SHA256)
	if err != nil {
		return nil, err
	}
	defer os.Remove(src)
	dst, err := w.privatePath("signed"+d.Suffix(), e.Path)
	if err != nil {
		return nil, err
	}
	sig, err := d.Sign(ctx, src, dst, s.key, s.stamps)
	if err == nil {
		err = describeFile(ctx, dst, e)
	}
	if err != nil {
		return nil, ofArtifact(of.Path, src, err)
	}
	return sig, w.adopt(ctx, dst, e.Path)
}

// keyBeside is the digest of the inputs of a signature beside an artifact.
func (s *signer) keyBeside(d signing.Detached, of Entry) string {
	k := newDigest("beside 1")
	k.add(s.digest, d.Name(), d.Suffix(), of.SHA256)
	return k.sum()
}

// signaturesOf returns the signatures beside artifacts that the configuration
// demands, and refuses what has been changed since they were made.
func signaturesOf(c *Config, w *workspace, of []Entry) ([]Entry, error) {
	var found []Entry
	var errs []error
	for _, signed := range of {
		for _, rel := range besidePaths(c.Sign, signed) {
			file := filepath.Join(c.Dist, filepath.FromSlash(rel))
			e := w.prev.Entry(rel)
			switch {
			case e == nil || e.Kind != KindSignature || e.Of != signed.Path:
				errs = append(errs, &signing.Error{Kind: signing.Unsigned, File: file, Err: errors.New("it was not made: run `mage sign` again")})
			case w.intact(rel) == nil:
				errs = append(errs, tampered(file, "not what was made: %w: run `mage sign` again", w.harm(rel)))
			default:
				found = append(found, *e)
			}
		}
	}
	return found, errors.Join(errs...)
}

// samePrograms demands that whoever signs what was packed is who signed the
// programs in it: a stage that runs on another machine could open another
// identity, a development one for example, without anybody noticing.
func (s *signer) samePrograms(m *Manifest) error {
	if m.Identity == nil || m.Identity.Fingerprint == s.identity().Fingerprint {
		return nil
	}
	return usage("the programs were signed by %s, and this identity is %s: package with the identity that signed, or sign neither sums nor packages (sign: {sums: [], files: [], packages: []})",
		m.Identity.Subject, s.key.Leaf().Subject)
}

// signs reports whether packing makes signatures.
func (c *Config) signs() bool { return len(c.Sign.Sums)+len(c.Sign.Files)+len(c.Sign.Packages) > 0 }

// openInside prepares the identity for signing packages from inside, if any are
// to be, and says beforehand which it cannot sign.
func (s *signer) openInside(c *Config) (err error) {
	if len(c.Sign.Packages) == 0 {
		return nil
	}
	user := c.Shipping.Maintainer
	if user == "" {
		user = c.Name
	}
	if s.inside, err = signing.NewPackageKey(s.key, user); err != nil {
		return usage("sign.packages: %w", err)
	}
	for _, format := range c.Sign.Packages {
		if err := s.inside.Takes(format); err != nil {
			return usage("sign.packages: %w", err)
		}
		switch format {
		case signing.PackageAPK:
			s.anchors.apk, err = s.inside.APK()
		default:
			s.anchors.pgp, err = s.inside.OpenPGP()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// shipsSigner reports whether a configuration names a scheme whose signatures hold
// no chain, so that verifiers must be given it.
func (c *Config) shipsSigner() bool {
	if len(c.Sign.Packages) > 0 {
		return true
	}
	for _, names := range [][]string{c.Sign.ELF, c.Sign.Files, c.Sign.Sums} {
		for _, name := range names {
			if name == (signing.Bundle{}).Name() || strings.HasPrefix(name, signing.IMA{}.Name()) {
				return true
			}
		}
	}
	return false
}
