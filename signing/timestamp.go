package signing

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/hallmark-build/hallmark/signing/cms"
)

// readTimestamp returns the signer's timestamp, which holds and is over this
// very signature; nil without one. Nothing else may be among the signer's
// unsigned attributes but what allowed names.
func readTimestamp(si *cms.SignerInfo, embedded []*x509.Certificate, trust Trust, allowed unsignedAttributes) (*cms.Token, error) {
	unsigned, err := allowed.read(si, trust)
	if err != nil {
		return nil, err
	}
	var token *cms.Token
	switch {
	case unsigned.token != nil:
		if token, err = cms.ParseToken(unsigned.token); err != nil {
			return nil, fromTimestamp(err)
		}
		h := token.Hash.New()
		h.Write(si.Signature)
		if !bytes.Equal(h.Sum(nil), token.Imprint) {
			return nil, fail(Tampered, RuleBinding, 0, "the timestamp belongs to another signature")
		}
	case unsigned.countersignature == nil:
		return nil, nil
	case trust.enforces(RuleLegacy):
		// Nothing in one says that it is a timestamp but the certificate of its
		// signer, and most are over SHA-1.
		return nil, fail(Untrusted, RuleLegacy, 0, "the timestamp is a PKCS #9 countersignature, a weak form from before RFC 3161: have the file signed again")
	default:
		if token, err = cms.ParseCountersignature(unsigned.countersignature, si.Signature, embedded); err != nil {
			return nil, fromTimestamp(err)
		}
	}
	if trust.enforces(RuleDER) && !token.InOrder {
		return nil, fail(Malformed, RuleDER, 0, "the signed attributes of the timestamp are not in DER order (RFC 5652, 5.4)")
	}
	if trust.enforces(RuleUnsigned) && token.Extra > 0 {
		return nil, fail(Malformed, RuleUnsigned, 0, "the timestamp carries %d bytes that nothing vouches for", token.Extra)
	}
	if trust.enforces(RuleCertificate) && token.Attributed > 0 {
		return nil, fail(Malformed, RuleCertificate, 0, "the timestamp carries %d bytes of attribute certificates that are not for the clock of its signer", token.Attributed)
	}
	if trust.enforces(RuleCertificate) && token.Imprint != nil { // a countersignature's are the message's
		if err := checkDoubled(token.Certificates); err != nil {
			return nil, err
		}
	}
	return token, nil
}

// fromTimestamp gives an error of reading a timestamp its kind. The signature
// that it is over holds.
func fromTimestamp(err error) error {
	if errors.Is(err, cms.ErrNoCertificate) {
		return fail(Untrusted, RuleTSA, 0, "the timestamp does not hold the certificate of its authority, so it cannot be verified: sign again with a timestamp server that sends it")
	}
	return fromCMS(err, 0)
}

// checkTimestamp holds a timestamp's signer against trust. It returns the issuers
// whose revocation lists were not given.
func checkTimestamp(token *cms.Token, trust Trust) (unlisted []string, err error) {
	if trust.enforces(RuleWeak) && (token.Hash == crypto.SHA1 || token.Signed == crypto.SHA1) {
		return nil, fail(Untrusted, RuleWeak, 0, "the timestamp is made with SHA-1, which can be forged")
	}
	if err := checkKey(token.Signer, trust); err != nil {
		return nil, err
	}
	if now := trust.now(); trust.enforces(RuleFuture) && token.Time.After(now.Add(clockSkew)) {
		return nil, fail(Untrusted, RuleFuture, 0, "the timestamp %s is in the future, it is now %s: check this machine's clock",
			token.Time.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	chain, err := tokenChain(token, trust)
	if err != nil {
		return nil, err
	}
	if unlisted, err = checkRevocation(token.Signer, chain, token.Time, trust); err != nil {
		return nil, err
	}
	if legacy := token.Imprint == nil; trust.enforces(RuleCertificate) && !legacy { // else they are the message's
		if s := unrelated(token.Signer, token.Certificates, chain, trust.TSARoots, trust); len(s) > 0 {
			return nil, fail(Malformed, RuleCertificate, 0,
				"the timestamp carries certificates that are no part of its signer's chain, were changed, or whose issuers are not trusted (add those to the trusted ones): %q", s)
		}
	}
	return unlisted, nil
}

// tokenChain builds the chain of a timestamp's signer, or nothing where it is
// not asked about.
func tokenChain(token *cms.Token, trust Trust) ([]*x509.Certificate, error) {
	if trust.anyTSA || !trust.enforces(RuleTSA) {
		return nil, nil
	}
	if trust.TSARoots == nil {
		return nil, fail(Untrusted, RuleTSA, 0, "no timestamp authority is trusted: name its root certificate (trust.tsa in hallmark.yaml, or -tsaCA=FILE)")
	}
	chain, err := buildChain(token.Signer, token.Certificates, trust.TSARoots, token.Time, x509.ExtKeyUsageTimeStamping, trust)
	if err != nil {
		return nil, &Error{Kind: Untrusted, Rule: RuleTSA, Err: fmt.Errorf("timestamp authority %q: %w", token.Signer.Subject, err)}
	}
	return chain, nil
}
