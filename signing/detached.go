package signing

import (
	"context"

	"github.com/hallmark-build/hallmark/signing/key"
)

// A Detached scheme leaves the file as it is and puts its signature into a
// file of its own, which stands beside it.
type Detached interface {
	// Name is what manifests, reports and configurations call the scheme.
	Name() string

	// Suffix is what the signature's file adds to the name of the signed one,
	// with its dot.
	Suffix() string

	// Sign writes a signature of file to dst, which appears whole and verified,
	// or not at all. With a nil ts there is no timestamp.
	Sign(ctx context.Context, file, dst string, k *key.Key, ts Timestamper) (*Signature, error)

	// Verify returns the signature of file that the file signature holds, if
	// every rule held, else an *Error.
	Verify(ctx context.Context, file, signature string, trust Trust) (*Signature, error)
}
