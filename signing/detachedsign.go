package signing

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/hallmark-build/hallmark/signing/cms"
	"github.com/hallmark-build/hallmark/signing/key"
)

// maxDetached is how long a signature in a file of its own may be.
const maxDetached = 1 << 20

// signDetached has write make the signature of a file, puts it into dst, and
// verifies it before it appears there.
func signDetached(ctx context.Context, d Detached, file, dst string, k *key.Key, ts Timestamper, write func(in io.ReaderAt, size int64) ([]byte, error)) (*Signature, error) {
	in, info, err := openRegular(file)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	b, err := write(contextReaderAt{ctx, in}, info.Size())
	if err != nil {
		return nil, inFile(err, file)
	}
	out, err := newOutput(dst)
	if err != nil {
		return nil, err
	}
	defer out.discard()
	_, err = out.Write(b)
	if err == nil {
		err = out.Chmod(0o644)
	}
	if err == nil {
		err = out.Sync()
	}
	if err != nil {
		return nil, fmt.Errorf("writing %s: %w", dst, err)
	}
	sig, err := d.Verify(ctx, file, out.Name(), ownTrust(k, ts))
	if err != nil {
		return nil, fmt.Errorf("verifying what was just signed: %w", err)
	}
	return sig, out.replace()
}

// ownTrust is what a signature that was just made must hold against.
func ownTrust(k *key.Key, ts Timestamper) Trust {
	roots := x509.NewCertPool()
	roots.AddCert(k.Root())
	self := Trust{Roots: roots, Known: k.Chain, anyTSA: true}
	if ts == nil {
		self.Policy.Off = []Rule{RuleTimestamp}
	}
	return self
}

// verifyDetached opens a file and its signature and has verify hold one against
// the other. Errors name the signature's file, unless they are about reading the
// signed one.
func verifyDetached(ctx context.Context, file, signature string, trust Trust, verify func(in io.ReaderAt, size int64, sig []byte) (*Signature, error)) (*Signature, error) {
	b, err := readSmall(signature)
	if err != nil {
		return nil, err
	}
	return verifyFile(ctx, file, trust, func(ctx context.Context, r io.ReaderAt, size int64, trust Trust) (*Signature, error) {
		sig, err := verify(contextReaderAt{ctx, r}, size, b)
		return sig, inFile(err, signature)
	})
}

// readSmall reads the file of a detached signature.
func readSmall(name string) ([]byte, error) {
	f, info, err := openRegular(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, &Error{Kind: Unsigned, File: name, Rule: RulePresent, Err: errors.New("there is no such file: the signature is missing")}
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info.Size() > maxDetached {
		return nil, &Error{Kind: Malformed, File: name, Rule: RuleTable, Err: fmt.Errorf("%d bytes; a signature has at most %d", info.Size(), maxDetached)}
	}
	b := make([]byte, info.Size())
	return b, readAt(f, b, 0, info.Size())
}

// parseBare reads a detached CMS as kernels take it: plain data, and no signed
// attributes. at is its offset in the file, for errors.
func parseBare(der []byte, at int64) (*cms.SignedData, error) {
	sd, err := cms.Parse(der)
	if err != nil {
		return nil, fromCMS(err, at)
	}
	si := &sd.Signers[0]
	switch {
	case !sd.ContentType.Equal(cms.OIDData) || sd.Content != nil:
		return nil, fail(Malformed, RuleContent, at, "the CMS is not detached plain data, so the kernel refuses it")
	case si.Attributes != nil:
		return nil, fail(Malformed, RuleContent, at, "the CMS has signed attributes, so the module loader refuses it")
	}
	return sd, nil
}
