package signing

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hallmark-build/hallmark/signing/key"
)

// output is a file that is written beside its place and put there by a rename,
// so that nobody ever sees half of it.
type output struct {
	*os.File
	done bool
}

// newOutput creates a file in dst's folder with nobody else's permissions yet.
func newOutput(dst string) (*output, error) {
	f, err := os.CreateTemp(filepath.Dir(dst), ".hallmark-*")
	if err != nil {
		return nil, fmt.Errorf("creating a file beside %s: %w", dst, err)
	}
	return &output{File: f}, nil
}

// keep gives the output the mode of the file that it is made from and, as far
// as we may, its owner.
func (o *output) keep(from fs.FileInfo) error {
	chownLike(o.File, from)
	return o.Chmod(from.Mode().Perm() | from.Mode()&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky))
}

// replace renames the output to dst. When dst is a symbolic link the file that
// it leads to is replaced and the link stays.
func (o *output) replace(dst string) error {
	real, err := filepath.EvalSymlinks(dst)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		real = dst
	}
	if err := o.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("writing %s: %w", dst, err)
	}
	if err := os.Rename(o.Name(), real); err != nil {
		return err
	}
	o.done = true
	return syncDir(filepath.Dir(real))
}

// discard removes an output that was not put in place.
func (o *output) discard() {
	o.Close()
	if !o.done {
		os.Remove(o.Name())
	}
}

// finish gives a signed output its mode, flushes it and at the same time
// verifies what was written, and only then puts it in place.
func finish(ctx context.Context, s Scheme, out *output, like fs.FileInfo, dst string, k *key.Key, ts Timestamper) (*Signature, error) {
	if err := out.keep(like); err != nil {
		return nil, fmt.Errorf("writing %s: %w", dst, err)
	}
	flushed := make(chan error, 1)
	go func() { flushed <- out.Sync() }()
	roots := x509.NewCertPool()
	roots.AddCert(k.Root())
	self := Trust{Roots: roots, Known: k.Chain, anyTSA: true}
	if ts == nil {
		self.Policy.Off = []Rule{RuleTimestamp}
	}
	sig, err := s.Verify(ctx, out.Name(), self)
	if flush := <-flushed; flush != nil {
		return nil, fmt.Errorf("writing %s: %w", dst, flush)
	}
	if err != nil {
		return nil, fmt.Errorf("verifying what was just signed: %w", err)
	}
	return sig, out.replace(dst)
}
