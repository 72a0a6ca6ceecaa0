package signing

import (
	"crypto/x509"
	"fmt"
	"slices"
	"time"
)

// checkChain builds the signer's chain as it was at a moment, and checks that
// its certificate is made for code signing, which crypto/x509 takes for
// granted when a certificate names no usage at all.
func checkChain(signer *x509.Certificate, embedded []*x509.Certificate, trust Trust, at time.Time) ([]*x509.Certificate, error) {
	if trust.pins(signer) {
		return checkPinned(signer, trust, at)
	}
	if trust.enforces(RuleUsage) {
		if err := checkUsage(signer); err != nil {
			return nil, &Error{Kind: Untrusted, Rule: RuleUsage, Err: err}
		}
	}
	if !trust.enforces(RuleChain) {
		return []*x509.Certificate{signer}, nil
	}
	if trust.Roots == nil {
		return nil, fail(Untrusted, RuleChain, 0, "no certificate authority is trusted: name a root certificate (trust.ca in hallmark.yaml, or -ca=FILE)")
	}
	usage := x509.ExtKeyUsageCodeSigning
	if !trust.enforces(RuleUsage) {
		usage = x509.ExtKeyUsageAny
	}
	if !trust.enforces(RuleValidity) {
		at = signer.NotAfter
	}
	chain, err := buildChain(signer, slices.Concat(embedded, trust.Known), trust.Roots, at, usage, trust)
	if err != nil {
		return nil, fromChain(fmt.Errorf("signer %q: %w", signer.Subject, err), RuleChain, at)
	}
	return chain, nil
}

// checkPinned checks a certificate that is trusted by being named: that it was
// valid at a moment, and that it has no critical extension that nobody reads.
func checkPinned(signer *x509.Certificate, trust Trust, at time.Time) ([]*x509.Certificate, error) {
	if !trust.enforces(RuleValidity) {
		at = signer.NotAfter
	}
	roots := x509.NewCertPool()
	roots.AddCert(signer)
	chains, err := signer.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		return nil, fromChain(fmt.Errorf("signer %q: %w", signer.Subject, err), RuleChain, at)
	}
	return chains[0][:1], nil
}

// unrelated lists the embedded certificates that do not belong to leaf: those
// that are not reached from it, issuer by issuer, and those whose own signature
// nobody can check: not the other certificates, and not the roots. A certificate
// that only claims an issuer could carry anything.
func unrelated(leaf *x509.Certificate, embedded, chain []*x509.Certificate, roots *x509.CertPool, trust Trust) []string {
	weak := !trust.enforces(RuleWeak)
	reached := append([]*x509.Certificate{leaf}, chain...)
	for i := 0; i < len(reached); i++ {
		for _, c := range embedded {
			if !slices.ContainsFunc(reached, c.Equal) && issuedBy(reached[i], c, weak) {
				reached = append(reached, c)
			}
		}
	}
	var found []string
	for _, c := range embedded {
		inChain := slices.ContainsFunc(chain, c.Equal)
		if !slices.ContainsFunc(reached, c.Equal) || !inChain && !vouched(c, slices.Concat(embedded, chain, trust.Anchors), roots, weak) {
			found = append(found, c.Subject.String())
		}
	}
	return found
}

// above reports whether c is leaf, or is reached from it issuer by issuer.
func above(c, leaf *x509.Certificate, all []*x509.Certificate, weak bool) bool {
	for range len(all) {
		if c.Equal(leaf) {
			return true
		}
		i := slices.IndexFunc(all, func(issuer *x509.Certificate) bool {
			return issuedBy(leaf, issuer, weak)
		})
		if i < 0 || all[i].Equal(leaf) {
			return false
		}
		leaf = all[i]
	}
	return false
}

// vouched reports whether the signature on c verifies with one of certs, or
// with one of roots, as that of a cross certificate whose issuer is not
// embedded. Without roots an issuer that is not at hand is not asked about.
func vouched(c *x509.Certificate, certs []*x509.Certificate, roots *x509.CertPool, weak bool) bool {
	for _, issuer := range certs {
		if issuedBy(c, issuer, weak) {
			return true
		}
	}
	if roots == nil {
		return true
	}
	// At the moment when it was issued: it need not be valid any more.
	_, err := c.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: c.NotBefore, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err == nil
}
