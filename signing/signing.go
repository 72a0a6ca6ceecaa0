// Package signing signs executables in the way their platform checks, and
// verifies such signatures more strictly than the platform does.
//
// Each scheme is a value that implements [Scheme]:
//
//   - [Authenticode] for PE files: PKCS #7 in the certificate table, which
//     Windows checks. The format is described at the top of authenticode.go.
//   - [SIP] for what else carries an Authenticode signature: MSI, CAB and MSIX
//     packages, security catalogs, PowerShell files. See package sip.
//   - [Appended] for ELF files: a detached CMS and a trailer after the last
//     byte, which the Linux module loader checks. See appended.go.
//
// One key signs with all of them. [Config.For] chooses the scheme by a file's
// first bytes.
//
// A scheme's Verify returns a [Signature] only if every [Rule] held; otherwise
// an [*Error] that says which rule broke, of what [Kind] that is, and, for a
// malformed file, at which offset.
package signing

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/hallmark-build/hallmark/signing/key"
)

// A Scheme is one way of signing a file.
type Scheme interface {
	// Name is what manifests, reports and configurations call the scheme.
	Name() string

	// Sign writes a signed copy of src to dst, replacing signatures of this
	// scheme that src has. src is never edited, unless it is dst: then the new
	// file replaces it in one rename. dst keeps src's mode; it appears whole and
	// verified, or not at all. With a nil ts there is no timestamp.
	Sign(ctx context.Context, src, dst string, k *key.Key, ts Timestamper) (*Signature, error)

	// Verify returns the file's signature if every rule held, else an *Error.
	Verify(ctx context.Context, file string, trust Trust) (*Signature, error)
}

// A Timestamper obtains an RFC 3161 token over digest, which was made with h.
// The token it returns is the DER of a ContentInfo, already checked against
// the request.
type Timestamper interface {
	Timestamp(ctx context.Context, h crypto.Hash, digest []byte) (token []byte, err error)
}

// Trust is what a verifier believes beforehand.
type Trust struct {
	Roots    *x509.CertPool      // anchors of signers; nil trusts nobody
	TSARoots *x509.CertPool      // anchors of timestamp authorities; nil trusts none
	Known    []*x509.Certificate // signers and intermediates that files need not embed
	Now      time.Time           // zero means the present
	Policy   Policy

	anyTSA bool // the chain of the timestamp was checked by the caller: a scheme's check of its own output
}

// Policy changes what is demanded. Its zero value demands everything.
type Policy struct {
	Off []Rule // not enforced
}

func (t Trust) enforces(r Rule) bool { return !slices.Contains(t.Policy.Off, r) }

func (t Trust) now() time.Time {
	if t.Now.IsZero() {
		return time.Now()
	}
	return t.Now
}

// Signature is a signature that held.
type Signature struct {
	Scheme      string
	Signer      *x509.Certificate
	Chain       []*x509.Certificate // signer first, anchor last
	Hash        crypto.Hash
	Digest      []byte    // of the file, by the scheme's rules
	Time        time.Time // from the timestamp; zero without one
	TSA         *x509.Certificate
	Description string // Authenticode's program name
	URL         string // Authenticode's more-info link
}

// Config is the part of hallmark.yaml that says how to sign.
type Config struct {
	Description string   `yaml:"description"` // shown by Windows in the elevation prompt
	URL         string   `yaml:"url"`         // shown beside it
	ELF         []string `yaml:"elf"`         // schemes for ELF files; empty means appended
}

// Validate reports what cannot be asked for.
func (c Config) Validate() error {
	for _, name := range c.ELF {
		if name != (Appended{}).Name() {
			return fmt.Errorf("sign.elf: unknown scheme %q: %q is the one there is", name, Appended{}.Name())
		}
	}
	if len(c.ELF) > 1 {
		return errors.New("sign.elf: the same scheme twice")
	}
	for _, r := range c.URL {
		if r > 0x7e || r < 0x21 {
			return fmt.Errorf("sign.url: %q holds a character that an IA5String URL cannot", c.URL)
		}
	}
	return nil
}

// For returns the scheme for a file, told by its first bytes, and for a script
// by the extension of its name: MZ is a PE file, 0x7f ELF an ELF file, others are
// for [SIP]. Anything else is an *Error of kind Unsupported.
func (c Config) For(file string) (Scheme, error) { return c.maker(file) }

func (c Config) maker(file string) (maker, error) {
	f, _, err := openRegular(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var magic [4]byte
	n, err := f.ReadAt(magic[:], 0)
	switch {
	case err != nil && err != io.EOF:
		return nil, err
	case n >= 2 && string(magic[:2]) == "MZ":
		return Authenticode{Description: c.Description, URL: c.URL}, nil
	case n == 4 && string(magic[:]) == "\x7fELF":
		return Appended{}, nil
	}
	if info, err := f.Stat(); err == nil && isSubject(file, f, info.Size()) {
		return SIP{Description: c.Description, URL: c.URL}, nil
	}
	return nil, &Error{Kind: Unsupported, File: file, Rule: RuleFormat,
		Err: fmt.Errorf("neither a PE file (starts with MZ) nor an ELF file (starts with 0x7f ELF), nor an MSI, CAB, CAT, MSIX or PowerShell file: its first bytes are %q; sign the executable itself, not what it is packed in", magic[:n])}
}

// SignInPlace signs a file where it stands. When the file already holds what
// would be made, a signature by this key's certificate with a timestamp if ts
// is given, it is left as it is and changed is false. trust is asked about the
// old signature and about the new one; the file is replaced only by one that
// it accepts.
func (c Config) SignInPlace(ctx context.Context, file string, k *key.Key, ts Timestamper, trust Trust) (sig *Signature, changed bool, err error) {
	scheme, err := c.maker(file)
	if err != nil {
		return nil, false, err
	}
	old, err := scheme.Verify(ctx, file, trust)
	if err == nil && old.Signer.Equal(k.Leaf()) && old.Hash == crypto.SHA256 && old.Time.IsZero() == (ts == nil) {
		if a, ok := scheme.(Authenticode); !ok || a.Description == old.Description && a.URL == old.URL {
			return old, false, nil
		}
	}
	out, _, err := scheme.make(ctx, file, file, k, ts)
	if err != nil {
		return nil, false, err
	}
	defer out.discard()
	if sig, err = scheme.Verify(ctx, out.Name(), trust); err != nil {
		var e *Error
		if errors.As(err, &e) {
			e.File = file
		}
		return nil, false, fmt.Errorf("the new signature is not accepted, so the file was left as it was: %w", err)
	}
	if err := out.replace(); err != nil {
		return nil, false, err
	}
	return sig, true, nil
}
