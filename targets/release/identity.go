package release

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hallmark-build/hallmark/signing"
	"github.com/hallmark-build/hallmark/signing/compat"
	"github.com/hallmark-build/hallmark/signing/key"
	"github.com/hallmark-build/hallmark/signing/tsa"
)

// Where the certificates stand in the dist folder, for those who verify.
const (
	trustCA  = "trust/ca.pem"
	trustTSA = "trust/tsa.pem"

	// For schemes whose signatures hold no chain.
	trustSigner = "trust/signer.pem"        // the signer's certificate and those between it and the root
	trustRoot   = "trust/trusted_root.json" // for cosign: the same with both roots
	trustPGP    = "trust/openpgp.asc"       // for rpm, gpg and debsig-verify
	trustAPK    = "trust/apk.rsa.pub"       // for /etc/apk/keys, where it is named after the release: NAME.rsa.pub
)

// maxTrustFile is how long a file of certificates or of revocation lists may
// be. The lists of large authorities have some 30 MB.
const maxTrustFile = 64 << 20

// signer is an opened identity with all that a signature of it depends on.
type signer struct {
	key     *key.Key
	stamps  signing.Timestamper
	config  signing.Config
	anchors anchors
	digest  string              // of what goes into every signature
	inside  *signing.PackageKey // signs packages from inside; nil: none is to be
}

// anchors are the certificates that a release is verified with.
type anchors struct {
	ca, tsa           []byte // PEM
	caFile, tsaFile   string // where they come from; empty: from the identity, so they are in no file yet
	shipCA, shipTSA   bool   // put them into the dist folder
	caRoots, tsaRoots *x509.CertPool
	signer            []byte // PEM; empty: no scheme needs it
	signerFile        string // empty: it is in no file yet
	known, pinned     []*x509.Certificate
	pgp, apk          []byte // public keys of who signs packages; empty: nobody does
	pgpFile, apkFile  string // empty: in no file yet
	crl               []byte
	crls              []*x509.RevocationList
	policy            signing.Policy

	// For verifying without the identity.
	voucher string   // who says that the signer is to be trusted
	brought bool     // only certificates in dist do
	leaves  []string // SHA-256 of the certificates that may have signed, hex; empty: any that the roots vouch for
}

// openSigner opens the identity, and what will stamp and verify its
// signatures, before anything is built.
func openSigner(ctx context.Context, own string, c *Config, o Options) (*signer, error) {
	ko := key.Options{Dir: o.KeyDir, Password: o.Password, Note: func(line string) { o.Progress.Printf("%s", line) }}
	k, err := o.openKey(ctx, c, ko)
	if err != nil {
		return nil, err
	}
	if err := o.checkStamps(c, k); err != nil {
		return nil, err
	}
	s := &signer{key: k, config: c.Sign}
	d := newDigest("sign 1")
	d.add(own)
	for _, cert := range k.Chain {
		d.add(string(cert.Raw))
	}
	settings, err := json.Marshal(c.Sign)
	if err != nil {
		return nil, err
	}
	d.add(string(settings))
	d.add(c.Timestamp...)

	var tsaKey *key.Key
	if c.Timestamp.dev() {
		if tsaKey, err = key.OpenTSA(ctx, ko); err != nil {
			return nil, err
		}
		d.add(string(tsaKey.Leaf().Raw))
	}
	if s.anchors, err = openAnchors(c, o, k, tsaKey); err != nil {
		return nil, err
	}
	if c.shipsSigner() {
		s.anchors.setSigner(k.Chain)
	}
	if err := s.openInside(c); err != nil {
		return nil, err
	}
	if tsaKey != nil {
		s.stamps = tsa.Local{Server: &tsa.Server{Key: tsaKey}}
	} else {
		s.stamps = &tsa.Client{URLs: c.Timestamp, Roots: s.anchors.tsaRoots}
	}
	s.digest = d.sum()
	return s, nil
}

// takeStamps puts the options' timestamp servers in the place of the
// configuration's.
func (o Options) takeStamps(c *Config) error {
	for _, s := range o.Timestamp {
		if err := checkServer(s, len(o.Timestamp)); err != nil {
			return usage("%s: %w", EnvTimestamp, err)
		}
	}
	if len(o.Timestamp) > 0 {
		c.Timestamp = o.Timestamp
	}
	return nil
}

// checkStamps refuses the development timestamp for an identity that others
// trust, unless it was asked for by name: beside that very identity in
// hallmark.yaml, or in the options. Whoever verifies such a signature trusts its
// signer, but not its time, and finds out when the certificate has expired.
func (o Options) checkStamps(c *Config, k *key.Key) error {
	named := len(o.Timestamp) > 0 || c.stampsNamed && (o.Identity == "" || o.Identity == c.Identity)
	switch {
	case k.Development || !c.Timestamp.dev():
		return nil
	case named:
		o.Progress.Printf("the timestamps are by the development authority: nobody else trusts them")
		return nil
	}
	return usage("the signatures of %s would get timestamps of the development authority, which nobody else trusts: name a server, with `timestamp: URL` in %s or %s=URL in the environment; "+
		"to have development timestamps all the same, write `timestamp: dev` beside that identity in %s, or set %s=dev", k.Leaf().Subject, ConfigFile, EnvTimestamp, ConfigFile, EnvTimestamp)
}

// openKey opens the identity. An error says where the identity was named, if
// not in hallmark.yaml.
func (o Options) openKey(ctx context.Context, c *Config, ko key.Options) (*key.Key, error) {
	k, err := key.Open(ctx, o.identity(c), ko)
	if err != nil && o.Identity != "" && o.Identity == os.Getenv(EnvIdentity) {
		return nil, fmt.Errorf("%s: %w", EnvIdentity, err)
	}
	return k, err
}

// keyFor is the digest of the inputs of signing one file, of which unsigned is
// the SHA-256.
func (s *signer) keyFor(unsigned string) string {
	d := newDigest("signature 1")
	d.add(s.digest, unsigned)
	return d.sum()
}

func (s *signer) identity() *Identity {
	id := describeIdentity(s.key.Leaf())
	id.Development = s.key.Development
	return id
}

func describeIdentity(leaf *x509.Certificate) *Identity {
	return &Identity{
		Subject:     leaf.Subject.String(),
		Issuer:      leaf.Issuer.String(),
		Fingerprint: fingerprint(leaf),
		NotAfter:    leaf.NotAfter.UTC(),
	}
}

// openAnchors finds what signatures of k are verified with. tsaKey is nil
// unless we stamp ourselves.
func openAnchors(c *Config, o Options, k, tsaKey *key.Key) (anchors, error) {
	var a anchors
	if err := a.openCA(c, o, k); err != nil {
		return a, err
	}
	if err := a.openTSA(c, o, tsaKey); err != nil {
		return a, err
	}
	if err := a.openRules(c, o); err != nil {
		return a, err
	}
	a, err := a.pools()
	if err != nil {
		return a, err
	}
	if _, err := k.Leaf().Verify(x509.VerifyOptions{
		Roots: a.caRoots, Intermediates: between(k), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}); err != nil {
		return a, &signing.Error{Kind: signing.Untrusted, File: a.caFile, Rule: signing.RuleChain,
			Err: fmt.Errorf("the certificates to trust do not vouch for the identity %s: %w", k, err)}
	}
	return a, nil
}

// openCA takes what hallmark.yaml names, else the root of the identity's chain,
// which the system may have to add.
func (a *anchors) openCA(c *Config, o Options, k *key.Key) (err error) {
	a.shipCA = true
	switch {
	case c.Trust.CA != "":
		a.caFile = o.path(c.Trust.CA)
		a.ca, err = readPEM("trust.ca", a.caFile)
	case selfSigned(k.Root()):
		a.ca = encodePEM(k.Root())
	default:
		var root *x509.Certificate
		if root, err = systemRoot(k); err == nil {
			a.ca = encodePEM(root)
		}
	}
	return err
}

// openRules takes revocation lists and the rules that are turned off.
func (a *anchors) openRules(c *Config, o Options) (err error) {
	if a.policy, err = c.Trust.policy(); err != nil {
		return &UsageError{err}
	}
	for _, name := range c.Trust.CRL {
		if err := a.readCRL(o.path(name)); err != nil {
			return err
		}
	}
	return nil
}

// openTSA takes what hallmark.yaml names, else our own authority, else the
// system's certificates, which are too many to be shipped.
func (a *anchors) openTSA(c *Config, o Options, tsaKey *key.Key) (err error) {
	switch {
	case c.Trust.TSA != "":
		a.shipTSA = true
		a.tsaFile = o.path(c.Trust.TSA)
	case tsaKey != nil:
		a.shipTSA = true
		a.tsa = encodePEM(tsaKey.Root())
		return nil
	default:
		if a.tsaFile, err = systemCertificates(); err != nil {
			return err
		}
	}
	a.tsa, err = readPEM("trust.tsa", a.tsaFile)
	return err
}

// setSigner takes what of the identity's chain verifiers must be given: the
// signer's certificate, and those between it and the root.
func (a *anchors) setSigner(chain []*x509.Certificate) {
	for i, c := range chain {
		if i == 0 || !selfSigned(c) {
			a.known = append(a.known, c)
			a.signer = append(a.signer, encodePEM(c)...)
		}
	}
}

func parsePEM(data []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	blocks, err := key.Blocks(data)
	if err != nil {
		return nil, err
	}
	for _, block := range blocks {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certs = append(certs, c)
	}
	return certs, nil
}

func (a anchors) pools() (anchors, error) {
	a.caRoots, a.tsaRoots = x509.NewCertPool(), x509.NewCertPool()
	if !a.caRoots.AppendCertsFromPEM(a.ca) {
		return a, usage("trust.ca: %s holds no certificate", a.caFile)
	}
	if !a.tsaRoots.AppendCertsFromPEM(a.tsa) {
		return a, usage("trust.tsa: %s holds no certificate", a.tsaFile)
	}
	return a, nil
}

func (a anchors) trust() signing.Trust {
	t := signing.Trust{Roots: a.caRoots, TSARoots: a.tsaRoots, Known: a.known, Pinned: a.pinned, CRLs: a.crls, Policy: a.policy}
	if slices.Contains(a.policy.Off, signing.RuleWeak) {
		t.Anchors = a.roots()
	}
	return t
}

// roots returns the certificates of both pools.
func (a anchors) roots() []*x509.Certificate {
	var roots []*x509.Certificate
	for rest := slices.Concat(a.ca, []byte("\n"), a.tsa); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return roots
		}
		if c, err := x509.ParseCertificate(block.Bytes); err == nil { // the pools pass others over, too
			roots = append(roots, c)
		}
	}
}

// key is the digest of the certificates.
func (a anchors) key() string {
	d := newDigest("anchors 1")
	d.add(string(a.ca), string(a.tsa), string(a.signer), string(a.crl), string(a.pgp), string(a.apk))
	for _, r := range a.policy.Off {
		d.add(string(r))
	}
	return d.sum()
}

// files gives the anchors to foreign programs: those that are in no file yet,
// or in one of the dist folder, are written to the private folder.
func (a anchors) files(w *workspace) (compat.Trust, error) {
	t := compat.Trust{CAFile: a.caFile, TSAFile: a.tsaFile, SignerFile: a.signerFile, PGPFile: a.pgpFile, APKFile: a.apkFile}
	for _, f := range []struct {
		path *string
		data []byte
		name string
	}{{&t.CAFile, a.ca, "ca.pem"}, {&t.TSAFile, a.tsa, "tsa.pem"}, {&t.SignerFile, a.signer, "signer.pem"},
		{&t.PGPFile, a.pgp, "openpgp.asc"}, {&t.APKFile, a.apk, "apk.rsa.pub"}} {
		inDist := strings.HasPrefix(*f.path, w.dir+string(filepath.Separator))
		if *f.path != "" && !inDist || len(f.data) == 0 {
			continue
		}
		file, err := w.privatePath("trust", f.name)
		if err != nil {
			return t, err
		}
		if err := writeFile(file, f.data); err != nil {
			return t, err
		}
		*f.path = file
	}
	return t, nil
}

// ship stages the certificates that go into the dist folder.
func (a anchors) ship(w *workspace) ([]Entry, error) {
	var entries []Entry
	root, err := a.trustedRoot()
	if err != nil {
		return nil, err
	}
	for _, f := range []struct {
		path string
		data []byte
		ship bool
	}{{trustCA, a.ca, a.shipCA}, {trustTSA, a.tsa, a.shipTSA}, {trustSigner, a.signer, len(a.signer) > 0}, {trustRoot, root, len(root) > 0},
		{trustPGP, a.pgp, len(a.pgp) > 0}, {trustAPK, a.apk, len(a.apk) > 0}} {
		if !f.ship {
			continue
		}
		e := Entry{Path: f.path, Kind: KindTrust, Size: int64(len(f.data)), SHA256: sumBytes(f.data), Mode: "0644"}
		if old := w.reusable(f.path); old == nil || old.SHA256 != e.SHA256 {
			file, err := w.create(f.path)
			if err != nil {
				return nil, err
			}
			if err := writeFile(file, f.data); err != nil {
				return nil, err
			}
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// trustedRoot is what cosign is given: nothing if no scheme needs it, or if the
// timestamps are trusted by way of the system's certificates.
func (a anchors) trustedRoot() ([]byte, error) {
	if len(a.signer) == 0 || !a.shipTSA {
		return nil, nil
	}
	ca, err := parsePEM(a.ca)
	if err != nil {
		return nil, err
	}
	stamps, err := parsePEM(a.tsa)
	if err != nil {
		return nil, err
	}
	chains := func(roots, between []*x509.Certificate) (chains [][]*x509.Certificate) {
		for _, r := range roots {
			chains = append(chains, append(slices.Clone(between), r))
		}
		return chains
	}
	return signing.TrustedRoot(chains(ca, a.known[1:]), chains(stamps, nil))
}

func selfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawIssuer, c.RawSubject) && c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}

// between is the part of a key's chain that it embeds.
func between(k *key.Key) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, c := range k.Chain[1:] {
		pool.AddCert(c)
	}
	return pool
}

// systemRoot finds the root of a chain that was delivered without it.
func systemRoot(k *key.Key) (*x509.Certificate, error) {
	chains, err := k.Leaf().Verify(x509.VerifyOptions{Intermediates: between(k), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}})
	if err != nil {
		return nil, usage("the identity's chain ends with %q, which is no root, and this system knows none for it: put the root certificate into a file and name it in %s as trust: {ca: FILE}",
			k.Root().Subject.String(), ConfigFile)
	}
	return chains[0][len(chains[0])-1], nil
}

func systemStores() []string {
	return []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"}
}

// systemCertificates is the file of the system's trusted certificates.
func systemCertificates() (string, error) {
	for _, file := range systemStores() {
		if _, err := os.Stat(file); err == nil {
			return file, nil
		}
	}
	return "", usage("nothing to verify with: name the root certificates in %s as trust: {ca: FILE, tsa: FILE}, or install ca-certificates", ConfigFile)
}

func readPEM(what, file string) ([]byte, error) {
	data, err := key.ReadRegular(file, maxTrustFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, usage("%s: %s does not exist", what, file)
	}
	if err != nil {
		return nil, &UsageError{fmt.Errorf("%s: %w", what, err)}
	}
	blocks, err := key.Blocks(data)
	if err != nil {
		return nil, usage("%s: %s: %w", what, file, err)
	}
	// It is written again in its one normal form: what reads it later, OpenSSL
	// and our certificate pools among them, passes over what it cannot read.
	var certs []byte
	for _, block := range blocks {
		if block.Type != "CERTIFICATE" && block.Type != "X509 CERTIFICATE" {
			return nil, usage("%s: %s holds a %s: only certificates belong there, and it would be published", what, filepath.Base(file), block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			if slices.Contains(systemStores(), file) {
				continue // Go reads fewer forms than a system trusts
			}
			return nil, usage("%s: %s: the certificate at line %d: %w", what, file, block.Line, err)
		}
		certs = append(certs, encodePEM(c)...)
	}
	if certs == nil {
		return nil, usage("%s: %s holds no PEM certificate: convert DER with `openssl x509 -inform der`", what, file)
	}
	return certs, nil
}

func encodePEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}
