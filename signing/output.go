package signing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hallmark-build/hallmark/signing/key"
)

// output is a file that is written beside its place and put there by a rename,
// so that nobody ever sees half of it.
type output struct {
	*os.File
	dst  string
	done bool
}

// newOutput creates a file beside dst, with nobody else's permissions yet. When
// dst is a symbolic link, the file that it leads to will be replaced and the
// link stays.
func newOutput(dst string) (*output, error) {
	real, err := filepath.EvalSymlinks(dst)
	if errors.Is(err, fs.ErrNotExist) {
		real, err = dst, nil
	}
	if err != nil {
		return nil, err
	}
	// Scripts are told by their extension, so it stays.
	f, err := os.CreateTemp(filepath.Dir(real), temporaryPrefix+"*"+filepath.Ext(real))
	if err != nil {
		return nil, fmt.Errorf("creating a file beside %s: %w", dst, err)
	}
	if err := lockOutput(f); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		f.Close()
		os.Remove(f.Name())
		return nil, fmt.Errorf("creating a file beside %s: locking it: %w", dst, err)
	}
	return &output{File: f, dst: real}, nil
}

// temporaryPrefix begins the names of outputs, and of no other file: [Sweep] takes
// one without a lock for one that a killed run left, and other writers lock none.
const temporaryPrefix = ".hallmark-sign-"

// IsTemporary reports whether a file's name is that of an output which is not in
// its place yet: a run that was killed may have left it.
func IsTemporary(name string) bool {
	number, ok := strings.CutPrefix(name, temporaryPrefix)
	number = strings.TrimSuffix(number, filepath.Ext(number))
	return ok && number != "" && strings.Trim(number, "0123456789") == ""
}

// keep gives the output the mode and extended attributes of the file that it is
// made from and, as far as we may, its owner. A set-user-ID bit is kept for the
// same owner only. It is called after the last write.
func (o *output) keep(in *os.File, from fs.FileInfo) error {
	mode := from.Mode().Perm() | from.Mode()&fs.ModeSticky
	if ownedLike(o.File, from) {
		mode |= from.Mode() & (fs.ModeSetuid | fs.ModeSetgid)
	}
	if err := o.Chmod(mode); err != nil {
		return err
	}
	return copyAttributes(o.File, in)
}

// copyOf returns where the first size bytes of in are to be written: nowhere (nil)
// if the file system has shared them with the output, which costs neither time
// nor space (btrfs, XFS, bcachefs; ioctl_ficlone(2)).
func (o *output) copyOf(in *os.File, size int64) (io.Writer, error) {
	if !shareBlocks(o.File, in) {
		return o, nil
	}
	return nil, o.Truncate(size)
}

// replace puts the output in its place. It is there when replace returns nil;
// whether a power cut would undo the renaming depends on the file system, so
// the folder is flushed as well as may be.
func (o *output) replace() error {
	if err := o.Close(); err != nil {
		return fmt.Errorf("writing %s: %w", o.dst, err)
	}
	if err := os.Rename(o.Name(), o.dst); err != nil {
		return err
	}
	o.done = true
	syncDir(filepath.Dir(o.dst))
	return nil
}

// discard removes an output that was not put in place.
func (o *output) discard() {
	if !o.done {
		o.Close()
		os.Remove(o.Name())
	}
}

// check gives a signed output its mode, flushes it, and at the same time
// verifies what was written.
func (o *output) check(ctx context.Context, s Scheme, in *os.File, like fs.FileInfo, trust Trust) (*Signature, error) {
	if err := o.keep(in, like); err != nil {
		return nil, fmt.Errorf("writing %s: %w", o.dst, err)
	}
	flushed := make(chan error, 1)
	go func() { flushed <- o.Sync() }()
	sig, err := s.Verify(ctx, o.Name(), trust)
	if flush := <-flushed; flush != nil {
		return nil, fmt.Errorf("writing %s: %w", o.dst, flush)
	}
	if err != nil {
		var e *Error
		if errors.As(err, &e) {
			e.File = o.dst
		}
		return nil, fmt.Errorf("the new signature is not accepted, so it was not put in place: %w", err)
	}
	return sig, nil
}

// maker is a scheme that signs to an output that is not in place yet.
type maker interface {
	Scheme
	make(ctx context.Context, src, dst string, k *key.Key, ts Timestamper, trust Trust) (*output, *Signature, error)
}

// signTo is the Sign of every scheme.
func signTo(ctx context.Context, m maker, src, dst string, k *key.Key, ts Timestamper) (*Signature, error) {
	out, sig, err := m.make(ctx, src, dst, k, ts, ownTrust(k, ts))
	if err != nil {
		return nil, err
	}
	defer out.discard()
	if err := out.replace(); err != nil {
		return nil, err
	}
	return sig, nil
}

// makeOutput opens src, has write sign it into a new file beside dst, and
// checks that file. Nothing is left behind by a failure.
func makeOutput(ctx context.Context, s Scheme, src, dst string, trust Trust, write func(in *os.File, size int64, out *output) error) (_ *output, _ *Signature, err error) {
	in, info, err := openRegular(src)
	if err != nil {
		return nil, nil, err
	}
	defer in.Close()
	out, err := newOutput(dst)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			out.discard()
		}
	}()
	if err := write(in, info.Size(), out); err != nil {
		return nil, nil, inFile(err, src)
	}
	sig, err := out.check(ctx, s, in, info, trust)
	return out, sig, err
}
