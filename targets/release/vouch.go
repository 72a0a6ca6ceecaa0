package release

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hallmark-build/hallmark/signing"
	"github.com/hallmark-build/hallmark/signing/key"
)

// maxCertificates bounds a file of certificates, in bytes.
const maxCertificates = 4 << 20

// shippedAnchors finds what a release is verified with when its identity is not
// opened. Who may vouch for the signer, in this order: hallmark.yaml's trust; a
// release whose manifest is authentic, which ships its roots; the certificate of
// the configured identity, if it can be read without a secret; and at last the
// certificates that dist itself brings, which is noted in brought.
func shippedAnchors(ctx context.Context, c *Config, o Options, w *workspace) (anchors, error) {
	var a anchors
	if err := a.openRules(c, o); err != nil {
		return a, err
	}
	if err := a.findCA(ctx, c, o, w); err != nil {
		return a, err
	}
	if err := a.findTSA(c, o, w); err != nil {
		return a, err
	}
	if err := a.findSigner(c, o, w); err != nil {
		return a, err
	}
	return a.pools()
}

// findCA finds the roots of the signer.
func (a *anchors) findCA(ctx context.Context, c *Config, o Options, w *workspace) (err error) {
	if c.Trust.CA != "" {
		a.caFile, a.voucher = o.path(c.Trust.CA), fmt.Sprintf("a root of %s's trust.ca", ConfigFile)
		a.ca, err = readPEM("trust.ca", a.caFile)
		return err
	}
	if w.authentic && w.prev.Identity != nil {
		a.voucher = "the identity of this machine's own release"
		if !w.recorded {
			a.voucher = "the identity in the manifest that -manifest names"
		}
		a.leaves = []string{w.prev.Identity.Fingerprint}
		a.caFile, a.ca, err = fromDist(w, "trust.ca", trustCA)
		return err
	}
	if chain := publicChain(o.identity(c), o); len(chain) > 0 && !o.TrustDist {
		root := chain[len(chain)-1]
		if !selfSigned(root) {
			if root, err = systemRoot(&key.Key{Chain: chain}); err != nil {
				return err
			}
		}
		a.ca, a.voucher = encodePEM(root), "the configured identity"
		a.leaves = []string{fingerprint(chain[0])}
		return nil
	}
	a.brought, a.voucher = true, "nobody but dist itself says that this signer is to be trusted"
	a.caFile, a.ca, err = fromDist(w, "trust.ca", trustCA)
	return err
}

// findTSA finds the roots of the timestamp servers.
func (a *anchors) findTSA(c *Config, o Options, w *workspace) (err error) {
	switch {
	case c.Trust.TSA != "":
		a.tsaFile = o.path(c.Trust.TSA)
		a.tsa, err = readPEM("trust.tsa", a.tsaFile)
		return err
	case w.authentic, a.brought:
		a.tsaFile, a.tsa, err = fromDist(w, "trust.tsa", trustTSA)
		return err
	case c.Timestamp.dev():
		if certs := devCertificates(o, "dev-tsa-ca.pem"); len(certs) > 0 {
			a.tsa = encodePEM(certs[0])
			return nil
		}
	}
	if a.tsaFile, err = systemCertificates(); err == nil {
		a.tsa, err = readPEM("trust.tsa", a.tsaFile)
	}
	return err
}

// findSigner takes what is shipped for signatures that hold no certificate: it
// is verified like any other, so it may come from anywhere.
func (a *anchors) findSigner(c *Config, o Options, w *workspace) (err error) {
	if c.Trust.Signer != "" {
		data, err := readPEM("trust.signer", o.path(c.Trust.Signer))
		if err != nil {
			return err
		}
		certs, err := parsePEM(data)
		if err != nil {
			return usage("trust.signer: %s: %w", c.Trust.Signer, err)
		}
		a.leaves = nil
		for _, cert := range certs {
			a.leaves = append(a.leaves, fingerprint(cert))
		}
		a.voucher = fmt.Sprintf("a certificate of %s's trust.signer", ConfigFile)
		if c.Trust.CA == "" && a.brought {
			a.brought = false // the signer is named, whoever issued the certificate
		}
	}
	if w.prev.Entry(trustSigner) != nil {
		if a.signerFile, a.signer, err = fromDist(w, "trust", trustSigner); err != nil {
			return err
		}
		if a.known, err = parsePEM(a.signer); err != nil {
			return fmt.Errorf("%s: %w", trustSigner, err)
		}
	}
	for _, k := range []struct {
		shipped string
		file    *string
		data    *[]byte
	}{{trustPGP, &a.pgpFile, &a.pgp}, {trustAPK, &a.apkFile, &a.apk}} {
		if w.intact(k.shipped) == nil {
			continue
		}
		*k.file = w.file(k.shipped)
		if *k.data, err = key.ReadRegular(*k.file, maxCertificates); err != nil {
			return err
		}
	}
	return nil
}

// fromDist reads certificates that the release ships; where it ships none, the
// system's are meant.
func fromDist(w *workspace, what, rel string) (file string, data []byte, err error) {
	switch {
	case w.prev.Entry(rel) == nil:
		if file, err = systemCertificates(); err != nil {
			return "", nil, err
		}
	case w.intact(rel) == nil:
		return "", nil, &signing.Error{Kind: signing.Tampered, File: rel, Rule: signing.RuleChain,
			Err: errors.New("it is not the file that the manifest lists, so it says nothing about whom to trust")}
	default:
		file = w.file(rel)
	}
	data, err = readPEM(what, file)
	return file, data, err
}

// publicChain returns the certificates of an identity, the signer's first and a
// root last if it has one, without opening the identity: from the file of its
// certificates. It returns none where they are behind a password or a driver,
// and for a development identity that was not made yet.
func publicChain(ref string, o Options) []*x509.Certificate {
	if ref == Development {
		leaf, ca := devCertificates(o, "dev-leaf.pem"), devCertificates(o, "dev-ca.pem")
		if len(leaf) == 0 || len(ca) == 0 {
			return nil
		}
		return []*x509.Certificate{leaf[0], ca[0]}
	}
	scheme, parts := splitRef(ref)
	if scheme != "pem" && scheme != "kms" || len(parts) == 0 || strings.Contains(parts[0], "://") {
		return nil
	}
	certs := certificatesIn(parts[0])
	// The signer's certificate is the one that is not an authority's.
	slices.SortStableFunc(certs, func(a, b *x509.Certificate) int { return rank(a) - rank(b) })
	return certs
}

func rank(c *x509.Certificate) int {
	switch {
	case !c.IsCA:
		return 0
	case !selfSigned(c):
		return 1
	}
	return 2
}

// devCertificates reads the certificates in a file of the development identity.
func devCertificates(o Options, name string) []*x509.Certificate {
	dir := o.KeyDir
	if dir == "" {
		base, err := os.UserConfigDir()
		if err != nil {
			return nil
		}
		dir = filepath.Join(base, "hallmark")
	}
	return certificatesIn(filepath.Join(dir, name))
}

// certificatesIn returns the certificates in a PEM file, and none if it cannot be
// read. It looks at no key.
func certificatesIn(file string) []*x509.Certificate {
	data, err := key.ReadRegular(file, maxCertificates)
	if err != nil {
		return nil
	}
	var certs []*x509.Certificate
	blocks, _ := key.Blocks(data) // what cannot be read vouches for nothing
	for _, block := range blocks {
		if block.Type != "CERTIFICATE" {
			continue
		}
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			certs = append(certs, c)
		}
	}
	return certs
}
