package key

import (
	"bytes"
	"crypto/x509"
	"time"
)

// OrderChain returns the leaf, its issuer, that one's issuer and so on, as far
// as certs holds them, whatever their order there. Certificates that are no
// part of the leaf's chain are left out. A link holds only if the issuer's key
// did sign the certificate. Where two certificates are issuers of one (a
// cross-signed CA), one that is valid now goes before one that is not, then the
// self-signed one, which ends the chain, then the first in certs.
func OrderChain(leaf *x509.Certificate, certs []*x509.Certificate, now time.Time) []*x509.Certificate {
	chain := []*x509.Certificate{leaf}
	for {
		last := chain[len(chain)-1]
		if selfSigned(last) {
			return chain
		}
		var next *x509.Certificate
		for _, c := range certs {
			if contains(chain, c) || !issued(c, last) {
				continue
			}
			switch valid := validAt(c, now); {
			case next == nil, valid && !validAt(next, now):
				next = c
			case valid == validAt(next, now) && selfSigned(c) && !selfSigned(next):
				next = c
			}
		}
		if next == nil {
			return chain
		}
		chain = append(chain, next)
	}
}

// selfSigned goes by the names and the key identifiers: the signature of a
// root says nothing, and may well use an algorithm that is no longer accepted
// elsewhere.
func selfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawIssuer, c.RawSubject) &&
		(len(c.AuthorityKeyId) == 0 || bytes.Equal(c.AuthorityKeyId, c.SubjectKeyId))
}

func issued(issuer, c *x509.Certificate) bool {
	return bytes.Equal(issuer.RawSubject, c.RawIssuer) && c.CheckSignatureFrom(issuer) == nil
}

func contains(chain []*x509.Certificate, c *x509.Certificate) bool {
	for _, have := range chain {
		if have.Equal(c) {
			return true
		}
	}
	return false
}
