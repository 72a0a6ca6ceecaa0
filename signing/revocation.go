package signing

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// checkRevocation looks for the certificates of a chain in the revocation lists
// that the caller has given (RFC 5280, 5), each of which must be by the issuer of
// the certificate and of today. A certificate that was revoked after the moment
// at, which a timestamp has proven, was good when it signed; without timestamp
// that moment is now. Nothing is fetched: a certificate whose issuer's list was
// not given is not looked for.
func checkRevocation(chain []*x509.Certificate, at time.Time, trust Trust) error {
	if !trust.enforces(RuleRevoked) {
		return nil
	}
	for i := range max(0, len(chain)-1) {
		c, issuer := chain[i], chain[i+1]
		for _, list := range trust.CRLs {
			if !bytes.Equal(list.RawIssuer, c.RawIssuer) {
				continue
			}
			if err := list.CheckSignatureFrom(issuer); err != nil {
				return fail(Untrusted, RuleRevoked, 0, "the revocation list of %q is not signed by it: %w", list.Issuer, err)
			}
			if now := trust.now(); now.After(list.NextUpdate) || now.Before(list.ThisUpdate) {
				return fail(Untrusted, RuleRevoked, 0, "the revocation list of %q is good from %s to %s, not now: fetch the present one",
					list.Issuer, list.ThisUpdate.Format(time.DateOnly), list.NextUpdate.Format(time.DateOnly))
			}
			for _, entry := range list.RevokedCertificateEntries {
				if entry.SerialNumber.Cmp(c.SerialNumber) == 0 && !entry.RevocationTime.After(at) {
					return fail(Untrusted, RuleRevoked, 0, "the certificate of %q was revoked on %s", c.Subject, entry.RevocationTime.Format(time.DateOnly))
				}
			}
		}
	}
	return nil
}

// ParseCRLs reads revocation lists: PEM, one or more, or one in DER.
func ParseCRLs(data []byte) ([]*x509.RevocationList, error) {
	var lists []*x509.RevocationList
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s %d: %w", block.Type, len(lists)+1, err)
		}
		lists = append(lists, list)
	}
	if lists != nil {
		return lists, nil
	}
	list, err := x509.ParseRevocationList(data)
	if err != nil {
		return nil, errors.New("neither a revocation list in DER nor PEM")
	}
	return []*x509.RevocationList{list}, nil
}
