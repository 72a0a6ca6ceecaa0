package signing

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hallmark-build/hallmark/signing/cms"
)

// Limits on the search for a chain with SHA-1 in it: real chains have up to five
// certificates, and a message up to 64.
const (
	maxChain      = 8
	maxChainTries = 256
)

// buildChain builds the chain of a certificate up to one of roots, leaf first.
// Without the rule weak-digest, links that are signed with SHA-1 count, which
// crypto/x509 never accepts.
func buildChain(leaf *x509.Certificate, intermediates []*x509.Certificate, roots *x509.CertPool, at time.Time, usage x509.ExtKeyUsage, trust Trust) ([]*x509.Certificate, error) {
	pool := x509.NewCertPool()
	for _, c := range intermediates {
		pool.AddCert(c)
	}
	options := x509.VerifyOptions{Roots: roots, Intermediates: pool, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{usage}}
	chains, err := leaf.Verify(options)
	if err == nil {
		return chains[0], nil
	}
	if trust.enforces(RuleWeak) {
		var invalid x509.CertificateInvalidError
		if weak := weakLink(leaf, intermediates); weak != nil && !errors.As(err, &invalid) {
			err = fmt.Errorf("%w; the certificate of %q is signed with SHA-1, which counts only without the rule weak-digest", err, weak.Subject)
		}
		return nil, err
	}
	s := chainSearch{candidates: slices.Concat(intermediates, trust.Anchors), options: options, usage: usage, tails: make(map[*x509.Certificate][][]*x509.Certificate)}
	if chain := s.extend([]*x509.Certificate{leaf}); chain != nil {
		return chain, nil
	}
	if s.expired != nil {
		return nil, *s.expired
	}
	return nil, err
}

// weakLink returns a certificate that is signed with SHA-1; nil without one.
func weakLink(leaf *x509.Certificate, intermediates []*x509.Certificate) *x509.Certificate {
	for _, c := range append([]*x509.Certificate{leaf}, intermediates...) {
		if sha1Signed(c) && !bytes.Equal(c.RawIssuer, c.RawSubject) {
			return c
		}
	}
	return nil
}

// chainSearch looks for a chain as crypto/x509 does, which verifies the part of
// it from the last SHA-1 link on; name constraints are left to it alone.
type chainSearch struct {
	candidates []*x509.Certificate
	options    x509.VerifyOptions
	usage      x509.ExtKeyUsage
	tries      int
	tails      map[*x509.Certificate][][]*x509.Certificate // what crypto/x509 said of a candidate
	expired    *x509.CertificateInvalidError
}

// extend returns a chain that begins with path and ends in a root, or nil.
func (s *chainSearch) extend(path []*x509.Certificate) []*x509.Certificate {
	c := path[len(path)-1]
	if len(path) > 1 {
		tails, asked := s.tails[c]
		if !asked {
			tails, _ = c.Verify(s.options) // an error means that there are none
			s.tails[c] = tails
		}
		for _, tail := range tails {
			if s.fits(path[:len(path)-1], tail) {
				return slices.Concat(path[:len(path)-1], tail)
			}
		}
	}
	if at := s.options.CurrentTime; at.Before(c.NotBefore) || at.After(c.NotAfter) {
		s.expired = &x509.CertificateInvalidError{Cert: c, Reason: x509.Expired, Detail: fmt.Sprintf("it is judged as of %s", at.UTC().Format(time.RFC3339))}
		return nil
	}
	if len(path) == maxChain || len(c.UnhandledCriticalExtensions) > 0 || !hasUsage(c, s.usage) {
		return nil
	}
	for _, issuer := range s.candidates {
		if s.tries++; s.tries > maxChainTries {
			return nil
		}
		if slices.ContainsFunc(path, issuer.Equal) || !issuedBy(c, issuer, true) || hasNameConstraints(issuer) {
			continue
		}
		if chain := s.extend(append(slices.Clone(path), issuer)); chain != nil {
			return chain
		}
	}
	return nil
}

// fits reports whether the authorities of tail may stand above path: by the
// length of the path below each, and by their name constraints, of which there
// must be none.
func (s *chainSearch) fits(path, tail []*x509.Certificate) bool {
	for i, c := range tail {
		below := len(path) + i - 1 // authorities between the leaf and c
		if hasNameConstraints(c) || (c.MaxPathLen > 0 || c.MaxPathLenZero) && below > c.MaxPathLen {
			return false
		}
	}
	for i, c := range path {
		if i > 0 && (c.MaxPathLen > 0 || c.MaxPathLenZero) && i-1 > c.MaxPathLen {
			return false
		}
	}
	return true
}

var oidNameConstraints = asn1.ObjectIdentifier{2, 5, 29, 30} // RFC 5280, 4.2.1.10

func hasNameConstraints(c *x509.Certificate) bool {
	return slices.ContainsFunc(c.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(oidNameConstraints) })
}

// hasUsage reports whether a certificate's extended key usages, if it has any,
// allow usage.
func hasUsage(c *x509.Certificate, usage x509.ExtKeyUsage) bool {
	return usage == x509.ExtKeyUsageAny || len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) == 0 ||
		slices.Contains(c.ExtKeyUsage, usage) || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// sha1Signed reports whether a certificate's own signature is over SHA-1.
func sha1Signed(c *x509.Certificate) bool {
	return c.SignatureAlgorithm == x509.SHA1WithRSA || c.SignatureAlgorithm == x509.ECDSAWithSHA1
}

// issuedBy reports whether issuer signed c, and may. A signature over SHA-1 counts
// if weak is set.
func issuedBy(c, issuer *x509.Certificate, weak bool) bool {
	if !bytes.Equal(c.RawIssuer, issuer.RawSubject) {
		return false
	}
	if !weak || !sha1Signed(c) {
		return c.CheckSignatureFrom(issuer) == nil
	}
	if !issuer.BasicConstraintsValid && issuer.Version == 3 || issuer.BasicConstraintsValid && !issuer.IsCA ||
		issuer.KeyUsage != 0 && issuer.KeyUsage&x509.KeyUsageCertSign == 0 {
		return false // as CheckSignatureFrom has it
	}
	d := crypto.SHA1.New()
	d.Write(c.RawTBSCertificate)
	return cms.VerifyDigest(issuer.PublicKey, crypto.SHA1, d.Sum(nil), c.Signature) == nil
}
