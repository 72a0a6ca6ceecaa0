package signing

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/hallmark-build/hallmark/signing/key"
)

// checkRevocation looks for the certificates of leaf's chain in the revocation
// lists that the caller has given (RFC 5280, 5). A certificate that was revoked
// after the moment at, which a timestamp has proven, was good when it signed;
// without timestamp that moment is now. Nothing is fetched: a certificate whose
// issuer's list was not given is not looked for, and its issuer is in unlisted.
func checkRevocation(leaf *x509.Certificate, chain []*x509.Certificate, at time.Time, trust Trust) (unlisted []string, err error) {
	if !trust.enforces(RuleRevoked) {
		return nil, nil
	}
	if len(chain) < 2 && !bytes.Equal(leaf.RawIssuer, leaf.RawSubject) {
		return []string{leaf.Issuer.String()}, nil // no chain was built, or leaf is an anchor itself
	}
	for i := range max(0, len(chain)-1) {
		listed, err := checkRevoked(chain[i], chain[i+1], at, trust)
		if err != nil {
			return nil, err
		}
		if name := chain[i].Issuer.String(); !listed && !slices.Contains(unlisted, name) {
			unlisted = append(unlisted, name)
		}
	}
	return unlisted, nil
}

// checkRevoked looks for a certificate in the lists of its issuer, each of which
// must be good; listed is false if there is none. If there are any, one must
// cover the certificate.
func checkRevoked(c, issuer *x509.Certificate, at time.Time, trust Trust) (listed bool, err error) {
	covered := false
	for _, list := range trust.CRLs {
		if !bytes.Equal(list.RawIssuer, c.RawIssuer) {
			continue
		}
		listed = true
		scope, err := checkList(list, issuer, trust.now())
		if err != nil {
			return true, &Error{Kind: Untrusted, Rule: RuleRevoked, Err: fmt.Errorf("the revocation list of %q %w", list.Issuer, err)}
		}
		covered = covered || scope.covers(c)
		for _, entry := range list.RevokedCertificateEntries {
			// RFC 5280, 5.3: a list with a critical extension in any entry that is
			// not understood says nothing of any certificate.
			since, err := revokedSince(entry)
			if err != nil {
				return true, &Error{Kind: Untrusted, Rule: RuleRevoked, Err: fmt.Errorf("the revocation list of %q %w", list.Issuer, err)}
			}
			if entry.SerialNumber.Cmp(c.SerialNumber) == 0 && !since.After(at) {
				return true, fail(Untrusted, RuleRevoked, 0, "the certificate of %q was revoked on %s", c.Subject, since.UTC().Format(time.DateOnly))
			}
		}
	}
	if listed && !covered {
		return true, fail(Untrusted, RuleRevoked, 0, "the revocation list of %q that was given is partial and says nothing of %q: give the complete one", c.Issuer, c.Subject)
	}
	return listed, nil
}

// Extensions of a revocation list and of its entries (RFC 5280, 5.2 and 5.3).
var (
	oidDeltaIndicator      = asn1.ObjectIdentifier{2, 5, 29, 27}
	oidIssuingDistribution = asn1.ObjectIdentifier{2, 5, 29, 28}
	oidCertificateIssuer   = asn1.ObjectIdentifier{2, 5, 29, 29}
	oidInvalidityDate      = asn1.ObjectIdentifier{2, 5, 29, 24}
	oidReasonCode          = asn1.ObjectIdentifier{2, 5, 29, 21}
	oidCRLNumber           = asn1.ObjectIdentifier{2, 5, 29, 20}
	oidAuthorityKey        = asn1.ObjectIdentifier{2, 5, 29, 35}
)

// checkList demands of a revocation list that its issuer signed it, that it is
// of today, and that all that is critical in it is understood. It returns what
// the list covers.
func checkList(list *x509.RevocationList, issuer *x509.Certificate, now time.Time) (*crlScope, error) {
	if err := list.CheckSignatureFrom(issuer); err != nil {
		return nil, fmt.Errorf("is not signed by it: %w", err)
	}
	switch {
	case now.Before(list.ThisUpdate):
		return nil, fmt.Errorf("is good from %s on, which is in the future: check this machine's clock", list.ThisUpdate.UTC().Format(time.RFC3339))
	case list.NextUpdate.IsZero():
		return nil, errors.New("does not say until when it is good (nextUpdate), so it could be any old one")
	case now.After(list.NextUpdate):
		return nil, fmt.Errorf("was good until %s: fetch the present one", list.NextUpdate.UTC().Format(time.RFC3339))
	}
	scope := new(crlScope)
	for _, e := range list.Extensions {
		var err error
		switch {
		case e.Id.Equal(oidDeltaIndicator):
			return nil, errors.New("is a delta list: it holds what changed since another one, so it is not complete; give the complete one")
		case e.Id.Equal(oidIssuingDistribution):
			scope, err = parseScope(e.Value)
		case e.Id.Equal(oidCRLNumber), e.Id.Equal(oidAuthorityKey), !e.Critical:
		default:
			err = fmt.Errorf("has a critical extension %v, which is not understood here", e.Id)
		}
		if err != nil {
			return nil, err
		}
	}
	return scope, nil
}

// crlScope is which certificates of its issuer a revocation list covers (RFC
// 5280, 5.2.5). The zero value covers all.
type crlScope struct {
	users, authorities bool     // only those of end entities, only those of authorities
	points             []string // only those that name one of these URLs as their distribution point; nil means all
}

func (s *crlScope) covers(c *x509.Certificate) bool {
	if s.users && c.IsCA || s.authorities && !c.IsCA {
		return false
	}
	return s.points == nil || slices.ContainsFunc(c.CRLDistributionPoints, func(p string) bool { return slices.Contains(s.points, p) })
}

// parseScope reads an issuing distribution point:
//
//	IssuingDistributionPoint ::= SEQUENCE {
//	    distributionPoint           [0] { fullName [0] GeneralNames, or a relative name [1] } OPTIONAL,
//	    onlyContainsUserCerts       [1] BOOLEAN DEFAULT FALSE,
//	    onlyContainsCACerts         [2] BOOLEAN DEFAULT FALSE,
//	    onlySomeReasons             [3] ReasonFlags OPTIONAL,
//	    indirectCRL                 [4] BOOLEAN DEFAULT FALSE,
//	    onlyContainsAttributeCerts  [5] BOOLEAN DEFAULT FALSE }
func parseScope(der []byte) (*crlScope, error) {
	bad := errors.New("has a malformed issuing distribution point")
	s := cryptobyte.String(der)
	var body, point, names cryptobyte.String
	var hasPoint, hasReasons bool
	var flags [6]bool
	if !s.ReadASN1(&body, casn1.SEQUENCE) || !s.Empty() || body.Empty() || !body.ReadOptionalASN1(&point, &hasPoint, explicit0) {
		return nil, bad
	}
	for i := 1; i < len(flags); i++ {
		var value cryptobyte.String
		var present bool
		if !body.ReadOptionalASN1(&value, &present, casn1.Tag(i).ContextSpecific()) {
			return nil, bad
		}
		switch {
		case i == 3:
			hasReasons = present
		case present && (len(value) != 1 || value[0] != 0xff): // X.690, 11.1 and 11.5
			return nil, bad
		default:
			flags[i] = present
		}
	}
	switch {
	case !body.Empty():
		return nil, bad
	case hasReasons:
		return nil, errors.New("holds what was revoked for some reasons only, so it is not complete; give the complete one")
	case flags[4]:
		return nil, errors.New("is an indirect one, with certificates of other issuers, which is not understood here")
	case flags[5]:
		return nil, errors.New("is about attribute certificates only")
	}
	scope := &crlScope{users: flags[1], authorities: flags[2]}
	if !hasPoint {
		return scope, nil
	}
	if !point.ReadASN1(&names, explicit0) || !point.Empty() {
		return nil, errors.New("has a distribution point with a relative name, which is not understood here")
	}
	scope.points = []string{}
	for !names.Empty() {
		var name cryptobyte.String
		var tag casn1.Tag
		if !names.ReadAnyASN1(&name, &tag) {
			return nil, bad
		}
		if tag == casn1.Tag(6).ContextSpecific() { // uniformResourceIdentifier
			scope.points = append(scope.points, string(name))
		}
	}
	return scope, nil
}

// revokedSince returns the moment from which on a certificate counts as revoked:
// the revocation, or the earlier moment from which on its key may have been in
// other hands.
func revokedSince(entry x509.RevocationListEntry) (time.Time, error) {
	since := entry.RevocationTime
	for _, e := range entry.Extensions {
		switch {
		case e.Id.Equal(oidCertificateIssuer):
			return since, errors.New("is an indirect one, with certificates of other issuers, which is not understood here")
		case e.Id.Equal(oidInvalidityDate):
			at, err := invalidityDate(e)
			if err != nil {
				return since, err
			}
			if at.Before(since) {
				since = at
			}
		case e.Critical && !e.Id.Equal(oidReasonCode):
			return since, fmt.Errorf("has an entry with a critical extension %v, which is not understood here", e.Id)
		}
	}
	return since, nil
}

func invalidityDate(e pkix.Extension) (t time.Time, err error) {
	s := cryptobyte.String(e.Value)
	if !s.ReadASN1GeneralizedTime(&t) || !s.Empty() {
		err = errors.New("has an entry with a malformed invalidity date")
	}
	return t, err
}

// ParseCRLs reads revocation lists: PEM, one or more, or one in DER.
func ParseCRLs(data []byte) ([]*x509.RevocationList, error) {
	var lists []*x509.RevocationList
	blocks, err := key.Blocks(data)
	if err != nil {
		return nil, err
	}
	for _, block := range blocks {
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
