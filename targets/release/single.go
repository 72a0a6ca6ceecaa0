package release

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hallmark-build/hallmark/signing"
)

// TrustOverride names PEM files to trust instead of those of hallmark.yaml.
// Empty means the configuration's.
type TrustOverride struct{ CA, TSA string }

// SignFile signs a file that was built elsewhere, where it stands: the new
// file replaces it in one rename, or nothing changes. hallmark.yaml is used
// where there is one, and not needed.
func SignFile(ctx context.Context, o Options, file string, t TrustOverride) (err error) {
	ctx, stop := interruptible(ctx)
	defer stop()
	defer func() { err = interrupted(ctx, err) }()
	c, err := loadOptional(o, t)
	if err != nil {
		return err
	}
	if _, err := c.Sign.For(file); err != nil {
		return fileError(err)
	}
	s, err := openSigner(ctx, "", c, o)
	if err != nil {
		return err
	}
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
}

// VerifyFile verifies one file by our own verifier. The certificates to trust
// are t's, else those of hallmark.yaml's trust, else the identity's own root.
func VerifyFile(ctx context.Context, o Options, file string, t TrustOverride) error {
	c, err := loadOptional(o, t)
	if err != nil {
		return err
	}
	scheme, err := c.Sign.For(file)
	if err != nil {
		return fileError(err)
	}
	trust := signing.Trust{}
	if c.Trust.CA != "" && c.Trust.TSA != "" {
		if trust, err = trustFiles(c, o); err != nil {
			return err
		}
	} else {
		s, err := openSigner(ctx, "", c, o)
		if err != nil {
			return fmt.Errorf("nobody to trust is named, so the identity's own root is meant, but: %w; name certificates with -ca=FILE and -tsaCA=FILE", err)
		}
		trust = s.anchors.trust()
	}
	sig, err := scheme.Verify(ctx, file, trust)
	if err != nil {
		return err
	}
	o.Progress.Printf("%s: good: %s", file, signatureLine(sig))
	return nil
}

func loadOptional(o Options, t TrustOverride) (*Config, error) {
	c := &Config{}
	if exists(filepath.Join(o.dir(), ConfigFile)) {
		var err error
		if c, err = Load(o.dir()); err != nil {
			return nil, err
		}
	}
	c.fill()
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
	return c, nil
}

func trustFiles(c *Config, o Options) (signing.Trust, error) {
	var t signing.Trust
	for _, f := range []struct {
		key, file string
		pool      **x509.CertPool
	}{{"trust.ca", c.Trust.CA, &t.Roots}, {"trust.tsa", c.Trust.TSA, &t.TSARoots}} {
		data, err := readPEM(f.key, o.path(f.file))
		if err != nil {
			return t, err
		}
		*f.pool = x509.NewCertPool()
		if !(*f.pool).AppendCertsFromPEM(data) {
			return t, usage("%s: %s holds no certificate that can be read", f.key, f.file)
		}
	}
	return t, nil
}

// fileError makes a missing file a wrong wish, not a failed verification.
func fileError(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return &UsageError{err}
	}
	return err
}

func signatureLine(sig *signing.Signature) string {
	parts := []string{sig.Scheme, sig.Hash.String(), "by " + sig.Signer.Subject.String()}
	if !sig.Time.IsZero() {
		parts = append(parts, "at "+sig.Time.UTC().Format(time.RFC3339))
	}
	return strings.Join(parts, ", ")
}
