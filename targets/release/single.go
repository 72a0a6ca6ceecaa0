package release

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hallmark-build/hallmark/signing"
	"github.com/hallmark-build/hallmark/signing/key"
)

// SignFile signs a file that was built elsewhere, where it stands: the new
// file replaces it in one rename, or nothing changes. hallmark.yaml is used
// where there is one, and not needed. With a scheme to sign beside the file, that
// stays as it is, and the signature gets a file of its own. With xattr, and the
// scheme ima, the file's attribute security.ima gets it too.
//
// The path may be a pattern (path.Match), which means every file that it fits:
// they are signed several at a time, with the identity opened once, and a file
// that cannot be signed keeps none of the others from it.
func SignFile(ctx context.Context, o Options, file, beside string, xattr bool, t TrustOverride) (err error) {
	ctx, stop := interruptible(ctx)
	defer stop()
	defer func() { err = interrupted(ctx, err) }()
	c, err := loadOptional(o, t)
	if err != nil {
		return err
	}
	files, err := toSign(file)
	if err != nil {
		return err
	}
	if xattr && beside != (signing.IMA{}).Name() {
		return usage("-xattr is for IMA signatures: give -beside=ima too")
	}
	if beside != "" {
		return signFilesBeside(ctx, c, o, files, beside, xattr)
	}
	for _, f := range files {
		if _, err := c.Sign.For(f); err != nil {
			return err
		}
	}
	if ref := o.identity(c); key.IsRelic(ref) {
		if len(files) > 1 {
			return usage("%s: a relic server signs one file at a time", file)
		}
		return signFileByRelic(ctx, c, o, files[0], ref)
	}
	s, err := openSigner(ctx, "", c, o)
	if err != nil {
		return err
	}
	return each(ctx, signing.Parallel, files, func(ctx context.Context, file string) error {
		sig, changed, err := c.Sign.SignInPlace(ctx, file, s.key, s.stamps, s.anchors.trust())
		if err != nil {
			return err
		}
		state := "signed"
		if !changed {
			state = "is signed already, and was left as it is"
		}
		o.Progress.Printf("%s: %s: %s", file, state, signatureLine(sig))
		return nil
	})
}

// toSign returns the files that a path or a pattern means, without what killed
// runs left in their folders, which is removed.
func toSign(pattern string) ([]string, error) {
	files, err := matching(pattern)
	if err != nil {
		return nil, err
	}
	swept := make(map[string]bool)
	var kept []string
	for _, f := range files {
		if err := checkFile(f); err != nil {
			return nil, err
		}
		dir := filepath.Dir(f)
		if !swept[dir] {
			swept[dir] = true
			named := ""
			if f == pattern {
				named = filepath.Base(f)
			}
			if err := signing.Sweep(dir, named); err != nil {
				return nil, usage("removing what a killed run left in %s: %w", dir, err)
			}
		}
		if f == pattern || !signing.IsTemporary(filepath.Base(f)) {
			kept = append(kept, f)
		}
	}
	if len(kept) == 0 {
		return nil, usage("%s: no file fits this pattern, but what a killed run left", pattern)
	}
	return kept, nil
}

// matching returns the files that a path or a pattern means. A file whose own
// name looks like a pattern is that file.
func matching(pattern string) ([]string, error) {
	if exists(pattern) || !strings.ContainsAny(pattern, "*?[") {
		return []string{pattern}, nil
	}
	found, err := filepath.Glob(pattern)
	if err != nil {
		return nil, usage("%s: %w", pattern, err)
	}
	var files []string
	for _, name := range found {
		if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() {
			files = append(files, name)
		}
	}
	if len(files) == 0 {
		return nil, usage("%s: no file fits this pattern", pattern)
	}
	return files, nil
}

// signFileByRelic has a server sign the file as a whole. What is trusted must be
// named: the server's certificate is not known beforehand.
func signFileByRelic(ctx context.Context, c *Config, o Options, file, ref string) error {
	r, err := key.OpenRelic(ref, key.Options{Dir: o.KeyDir, Password: o.Password})
	if err != nil {
		return err
	}
	if c.Trust.CA == "" {
		return usage("name the roots to trust for the server's signature: -ca=FILE, or trust: {ca: FILE} in %s", ConfigFile)
	}
	var a anchors
	if err := errors.Join(a.openCA(c, o, nil), a.openTSA(c, o, nil), a.openRules(c, o)); err != nil {
		return err
	}
	if a, err = a.pools(); err != nil {
		return err
	}
	sig, err := c.Sign.SignByRelic(ctx, file, r, a.trust())
	if err != nil {
		return err
	}
	o.Progress.Printf("%s: signed by %s: %s", file, r, signatureLine(sig))
	return nil
}

func signFilesBeside(ctx context.Context, c *Config, o Options, files []string, scheme string, xattr bool) error {
	d := signing.DetachedByName(scheme)
	if d == nil {
		return usage("-beside=%s: there are p7s, bundle, verity and ima", scheme)
	}
	s, err := openSigner(ctx, "", c, o)
	if err != nil {
		return err
	}
	return each(ctx, signing.Parallel, files, func(ctx context.Context, file string) error {
		sig, err := d.Sign(ctx, file, file+d.Suffix(), s.key, s.stamps)
		if err != nil {
			return err
		}
		o.Progress.Printf("%s: written: %s", file+d.Suffix(), signatureLine(sig))
		if !xattr {
			return nil
		}
		b, err := key.ReadRegular(file+d.Suffix(), maxExchanged)
		if err == nil {
			err = signing.SetIMA(file, b)
		}
		if err == nil {
			o.Progress.Printf("%s: security.ima is set", file)
		}
		return err
	})
}

// loadOptional returns the hallmark.yaml of a command that signs; without one
// its defaults.
func loadOptional(o Options, t TrustOverride) (*Config, error) {
	c := &Config{}
	if exists(filepath.Join(o.dir(), ConfigFile)) {
		var err error
		if c, err = loadForFiles(o.dir()); err != nil {
			return nil, err
		}
	}
	c.fill()
	if err := o.takeStamps(c); err != nil {
		return nil, err
	}
	// What a person writes on the command line is relative to where they are.
	for _, f := range []struct {
		given string
		to    *string
	}{{t.CA, &c.Trust.CA}, {t.TSA, &c.Trust.TSA}} {
		if f.given == "" {
			continue
		}
		abs, err := filepath.Abs(f.given)
		if err != nil {
			return nil, err
		}
		*f.to = abs
	}
	if t.CRL != "" {
		abs, err := filepath.Abs(t.CRL)
		if err != nil {
			return nil, err
		}
		c.Trust.CRL = []string{abs}
	}
	return c, nil
}

// checkFile tells a wrong wish from a failed verification.
func checkFile(file string) error {
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(file, "-"):
		return usage("%s stands where the file belongs: options follow the file, as in FILE -ca=ca.pem", file)
	case err != nil:
		return &UsageError{err}
	case info.IsDir():
		return usage("%s is a folder: name a file", file)
	case !info.Mode().IsRegular():
		return usage("%s: %w: name a file that can be read twice", file, key.ErrNotRegular)
	}
	return nil
}

func signatureLine(sig *signing.Signature) string {
	parts := []string{sig.Scheme, sig.Hash.String(), "by " + sig.Signer.Subject.String()}
	if !sig.Time.IsZero() {
		parts = append(parts, "at "+sig.Time.UTC().Format(time.RFC3339))
	}
	return strings.Join(parts, ", ")
}
