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
//   - [Section] for ELF files, too: in a section that comes off without a trace.
//
// What signs beside a file implements [Detached]: [Verity] and [IMA] in the
// kernel's forms, [P7S] and [Bundle] for any file. Packages of distributions are
// signed from inside, by a [PackageKey].
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
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hallmark-build/hallmark/signing/key"
	"github.com/hallmark-build/hallmark/signing/sip"
)

// Parallel is how many files are to be signed at a time: more than a machine has
// processors, as signing waits for disks, timestamp servers and tokens. Each takes
// some 4 MB of memory, whatever the file's size.
const Parallel = 8

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
	Roots    *x509.CertPool // anchors of signers; nil trusts nobody
	TSARoots *x509.CertPool // anchors of timestamp authorities; nil trusts none
	CRLs     []*x509.RevocationList
	Anchors  []*x509.Certificate // the certificates of Roots and TSARoots, to find issuers among without the rule weak-digest; they are trusted by the pools alone
	Known    []*x509.Certificate // signers and intermediates that files need not embed
	Pinned   []*x509.Certificate // signers that are trusted without a chain, usage or timestamp, while they are valid
	Now      time.Time           // zero means the present
	Policy   Policy

	anyTSA bool // the chain of the timestamp was checked by the caller: a scheme's check of its own output
}

// Policy changes what is demanded. Its zero value demands everything.
type Policy struct {
	Off []Rule // not enforced
}

func (t Trust) enforces(r Rule) bool { return !slices.Contains(t.Policy.Off, r) }

// pins reports whether a signer is trusted by being named.
func (t Trust) pins(c *x509.Certificate) bool { return slices.ContainsFunc(t.Pinned, c.Equal) }

// known returns the signers and intermediates that files need not embed.
func (t Trust) known() []*x509.Certificate { return slices.Concat(t.Known, t.Pinned) }

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
	PageHashes  bool   // Authenticode: each page is covered, too
	Description string // Authenticode's program name
	URL         string // Authenticode's more-info link

	unlisted []string // issuers in both chains whose revocation lists were not given
}

// Config is the part of hallmark.yaml that says how to sign.
type Config struct {
	Description string   `yaml:"description"` // shown by Windows in the elevation prompt
	URL         string   `yaml:"url"`         // shown beside it
	Hash        string   `yaml:"hash"`        // sha256, sha384 or sha512; empty means sha256
	PageHashes  bool     `yaml:"page_hashes"` // of PE files: Windows can then check each page as it loads it
	ELF         []string `yaml:"elf"`         // schemes for ELF files: appended or section, then verity, ima or ima-verity; empty means appended
	Files       []string `yaml:"files"`       // schemes for archives and packages: p7s, bundle
	Sums        []string `yaml:"sums"`        // schemes for SHA256SUMS: p7s, bundle
	Packages    []string `yaml:"packages"`    // formats whose packages are signed from inside: deb, rpm, apk
}

// imaVerity is the name in a configuration of IMA signatures over the fs-verity
// digest.
const imaVerity = "ima-verity"

// Validate reports what cannot be asked for.
func (c Config) Validate() error {
	var errs []error
	if _, err := c.hash(); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, c.validateELF(), validateFiles("sign.files", c.Files), validateFiles("sign.sums", c.Sums), validatePackages(c.Packages))
	for _, r := range c.URL {
		if r > 0x7e || r < 0x21 {
			errs = append(errs, fmt.Errorf("sign.url: %q holds a character that an IA5String URL cannot", c.URL))
			break
		}
	}
	return errors.Join(errs...)
}

func (c Config) hash() (crypto.Hash, error) {
	switch c.Hash {
	case "", "sha256":
		return crypto.SHA256, nil
	case "sha384":
		return crypto.SHA384, nil
	case "sha512":
		return crypto.SHA512, nil
	}
	return 0, fmt.Errorf("sign.hash: %q is none of sha256, sha384, sha512", c.Hash)
}

// validateELF demands one scheme that a program carries in itself, and what goes
// together with it. What stands beside a program is made last, over the result.
func (c Config) validateELF() error {
	if len(c.ELF) == 0 {
		return nil
	}
	seen := map[string]bool{}
	for _, name := range c.ELF {
		switch name {
		case Appended{}.Name(), Section{}.Name(), Verity{}.Name(), IMA{}.Name(), imaVerity:
		default:
			return fmt.Errorf("sign.elf: unknown scheme %q: there are appended, section, verity, ima and ima-verity", name)
		}
		if seen[name] {
			return fmt.Errorf("sign.elf: %s twice", name)
		}
		seen[name] = true
	}
	switch {
	case seen["appended"] && seen["section"]:
		return errors.New("sign.elf: appended and section do not go together: each would be the last thing in the file; name one")
	case !seen["appended"] && !seen["section"]:
		return errors.New("sign.elf: name appended or section too: the program is to carry its signature, whatever stands beside it")
	case seen["ima"] && seen[imaVerity]:
		return errors.New("sign.elf: ima and ima-verity do not go together: a file has one security.ima; name one")
	case (seen["verity"] || seen[imaVerity]) && c.Hash == "sha384":
		return errors.New("sign.elf: fs-verity has SHA-256 and SHA-512: choose another sign.hash, or leave verity out")
	}
	return nil
}

func validatePackages(formats []string) error {
	for i, f := range formats {
		if !slices.Contains(PackageFormats(), f) {
			return fmt.Errorf("sign.packages: %q carries no signature: there are %s", f, strings.Join(PackageFormats(), ", "))
		}
		if slices.Contains(formats[:i], f) {
			return fmt.Errorf("sign.packages: %s twice", f)
		}
	}
	return nil
}

func validateFiles(key string, names []string) error {
	for i, name := range names {
		if name != (P7S{}).Name() && name != (Bundle{}).Name() {
			return fmt.Errorf("%s: unknown scheme %q: there are p7s and bundle", key, name)
		}
		if slices.Contains(names[:i], name) {
			return fmt.Errorf("%s: %s twice", key, name)
		}
	}
	return nil
}

// BesideELF returns the schemes that sign an ELF file beside it, in the order in
// which they are made, after the one that is in it.
func (c Config) BesideELF() []Detached {
	h, _ := c.hash() // Validate has looked
	var schemes []Detached
	if slices.Contains(c.ELF, Verity{}.Name()) {
		schemes = append(schemes, Verity{Hash: h})
	}
	if slices.Contains(c.ELF, IMA{}.Name()) {
		schemes = append(schemes, IMA{Hash: h})
	}
	if slices.Contains(c.ELF, imaVerity) {
		schemes = append(schemes, IMA{Hash: h, Verity: true})
	}
	return schemes
}

// BesideFiles returns the schemes for archives and packages.
func (c Config) BesideFiles() []Detached { return c.beside(c.Files) }

// BesideSums returns the schemes for SHA256SUMS.
func (c Config) BesideSums() []Detached { return c.beside(c.Sums) }

func (c Config) beside(names []string) []Detached {
	h, _ := c.hash()
	var schemes []Detached
	for _, d := range []Detached{P7S{Hash: h}, Bundle{}} {
		if slices.Contains(names, d.Name()) {
			schemes = append(schemes, d)
		}
	}
	return schemes
}

// DetachedByName returns the scheme that verifies what a scheme of that name
// signed; nil for an unknown name.
func DetachedByName(name string) Detached {
	for _, d := range DetachedSchemes() {
		if d.Name() == name {
			return d
		}
	}
	return nil
}

// DetachedSchemes returns all schemes that sign beside a file.
func DetachedSchemes() []Detached { return []Detached{Verity{}, IMA{}, P7S{}, Bundle{}} }

// For returns the scheme for a file, told by its first bytes, and for a script
// by the extension of its name: MZ is a PE file, 0x7f ELF an ELF file, others are
// for [SIP]. Anything else is an *Error of kind Unsupported.
func (c Config) For(file string) (Scheme, error) { return c.maker(file) }

func (c Config) maker(file string) (maker, error) {
	h, err := c.hash()
	if err != nil {
		return nil, err
	}
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
		return Authenticode{Description: c.Description, URL: c.URL, Hash: h, PageHashes: c.PageHashes}, nil
	case n == 4 && string(magic[:]) == "\x7fELF" && slices.Contains(c.ELF, Section{}.Name()) && filepath.Ext(file) != ".ko":
		return Section{Hash: h}, nil
	case n == 4 && string(magic[:]) == "\x7fELF":
		return Appended{Hash: h}, nil // for modules always: it is what the module loader knows
	case compression(file, f) != "":
		return Appended{Hash: h}, nil
	}
	if info, err := f.Stat(); err == nil && isSubject(file, f, info.Size()) {
		s := SIP{Description: c.Description, URL: c.URL}
		if c.Hash != "" {
			s.Hash = h
		}
		return s, nil
	}
	if err := sip.ScriptHost(file); err != nil {
		return nil, inFile(fromSIP(err), file)
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
	h, err := c.hash()
	if err != nil {
		return nil, false, err
	}
	old, err := scheme.Verify(ctx, file, trust)
	if err == nil && old.Signer.Equal(k.Leaf()) && (old.Hash == h || c.Hash == "" && old.Hash.Size() > h.Size()) && old.Time.IsZero() == (ts == nil) {
		if a, ok := scheme.(Authenticode); !ok || a.Description == old.Description && a.URL == old.URL && a.PageHashes == old.PageHashes {
			return old, false, nil
		}
	}
	out, sig, err := scheme.make(ctx, file, file, k, ts, trust)
	if err != nil {
		return nil, false, err
	}
	defer out.discard()
	if err := out.replace(); err != nil {
		return nil, false, err
	}
	return sig, true, nil
}
