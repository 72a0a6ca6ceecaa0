package signing

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"slices"
	"time"

	"github.com/hallmark-build/hallmark/signing/cms"
)

// clockSkew is how far a timestamp may lie ahead of our own clock. RFC 3161
// authorities promise a second or so; a build machine without NTP drifts by
// minutes.
const clockSkew = 5 * time.Minute

// checkSigner holds the only signer of a message against the digest of its
// content and against trust. tokens are the attribute types under which the
// scheme carries its timestamp; any other unsigned attribute is for the caller
// to accept or refuse.
func checkSigner(sd *cms.SignedData, digest func(crypto.Hash) ([]byte, error), trust Trust, tokens ...asn1.ObjectIdentifier) (*Signature, error) {
	if len(sd.Signers) != 1 {
		return nil, fail(Malformed, RuleDER, 0, "%d signers in one signature, must be one", len(sd.Signers))
	}
	si := &sd.Signers[0]
	if trust.enforces(RuleDER) && !si.InOrder {
		return nil, fail(Malformed, RuleDER, 0, "the signed attributes are not in DER order, so Windows refuses them (RFC 5652, 5.4)")
	}
	if trust.enforces(RuleWeak) && si.Hash == crypto.SHA1 {
		return nil, fail(Untrusted, RuleWeak, 0, "the signature is over a SHA-1 digest, which can be forged: sign again with SHA-256")
	}
	signer, err := sd.Verify(0, digest, trust.Known...)
	if err != nil {
		return nil, fromCMS(err, 0)
	}
	sig := &Signature{Signer: signer, Hash: si.Hash}
	at := trust.now()
	token, tsaChain, err := checkTimestamp(si, trust, tokens)
	if err != nil {
		return nil, err
	}
	if token != nil {
		sig.Time, sig.TSA, at = token.Time, token.Signer, token.Time
	}
	if sig.Chain, err = checkChain(signer, sd.Certificates, trust, at); err != nil {
		return nil, err
	}
	if trust.enforces(RuleChain) {
		sig.strangers = strangers(sd.Certificates, sd.Others, sig.Chain)
	}
	if tsaChain != nil {
		sig.strangers = append(sig.strangers, strangers(token.Certificates, token.Others, tsaChain)...)
	}
	return sig, nil
}

// strangers lists the embedded certificates that are no part of a chain.
func strangers(embedded []*x509.Certificate, others int, chain []*x509.Certificate) []string {
	var found []string
	for _, c := range embedded {
		if !slices.ContainsFunc(chain, c.Equal) {
			found = append(found, c.Subject.String())
		}
	}
	if others > 0 {
		found = append(found, fmt.Sprintf("%d of other kinds than X.509", others))
	}
	return found
}

// checkTimestamp returns the signer's verified token and its chain, or nil
// when there is none and none is demanded. The chain is nil when it is not
// asked about.
func checkTimestamp(si *cms.SignerInfo, trust Trust, types []asn1.ObjectIdentifier) (*cms.Token, []*x509.Certificate, error) {
	var der []byte
	for _, a := range si.Unsigned {
		for _, t := range types {
			if !a.Type.Equal(t) {
				continue
			}
			if der != nil || len(a.Values) != 1 {
				return nil, nil, fail(Malformed, RuleTimestamp, 0, "more than one timestamp token")
			}
			der = a.Values[0]
		}
	}
	if der == nil {
		if trust.enforces(RuleTimestamp) {
			return nil, nil, fail(Untrusted, RuleTimestamp, 0, "no RFC 3161 timestamp: the signature dies with its certificate; sign again with a timestamp server")
		}
		return nil, nil, nil
	}
	token, err := cms.ParseToken(der)
	if err != nil {
		return nil, nil, fromCMS(err, 0)
	}
	if trust.enforces(RuleWeak) && token.Hash == crypto.SHA1 {
		return nil, nil, fail(Untrusted, RuleWeak, 0, "the timestamp is over a SHA-1 digest")
	}
	h := token.Hash.New()
	h.Write(si.Signature)
	if !bytes.Equal(h.Sum(nil), token.Imprint) {
		return nil, nil, fail(Tampered, RuleBinding, 0, "the timestamp belongs to another signature")
	}
	if now := trust.now(); trust.enforces(RuleFuture) && token.Time.After(now.Add(clockSkew)) {
		return nil, nil, fail(Untrusted, RuleFuture, 0, "the timestamp %s is in the future, it is now %s: check this machine's clock",
			token.Time.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	if trust.anyTSA || !trust.enforces(RuleTSA) {
		return token, nil, nil
	}
	if trust.TSARoots == nil {
		return nil, nil, fail(Untrusted, RuleTSA, 0, "no timestamp authority is trusted: name its root certificate (trust.tsa in hallmark.yaml, or -tsaCA=FILE)")
	}
	chain, err := token.Chain(trust.TSARoots)
	if err != nil {
		return nil, nil, &Error{Kind: Untrusted, Rule: RuleTSA, Err: fmt.Errorf("timestamp authority %s: %w", token.Signer.Subject, err)}
	}
	return token, chain, nil
}

// checkChain builds the signer's chain as it was at a moment, and checks that
// its certificate is made for code signing, which crypto/x509 takes for
// granted when a certificate names no usage at all.
func checkChain(signer *x509.Certificate, embedded []*x509.Certificate, trust Trust, at time.Time) ([]*x509.Certificate, error) {
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
	pool := x509.NewCertPool()
	for _, c := range embedded {
		pool.AddCert(c)
	}
	for _, c := range trust.Known {
		pool.AddCert(c)
	}
	usage := x509.ExtKeyUsageCodeSigning
	if !trust.enforces(RuleUsage) {
		usage = x509.ExtKeyUsageAny
	}
	if !trust.enforces(RuleValidity) {
		at = signer.NotAfter
	}
	chains, err := signer.Verify(x509.VerifyOptions{
		Roots: trust.Roots, Intermediates: pool, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{usage},
	})
	if err != nil {
		return nil, fromChain(fmt.Errorf("signer %s: %w", signer.Subject, err), RuleChain)
	}
	return chains[0], nil
}

func checkUsage(c *x509.Certificate) error {
	if c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return fmt.Errorf("the key usage of %s has no digitalSignature", c.Subject)
	}
	for _, u := range c.ExtKeyUsage {
		if u == x509.ExtKeyUsageCodeSigning {
			return nil
		}
	}
	return fmt.Errorf("%s has no codeSigning among its extended key usages", c.Subject)
}

// countersigner returns the function that turns a signature value into the
// unsigned attribute with its timestamp; nil without a timestamper.
func countersigner(ctx context.Context, ts Timestamper, h crypto.Hash, attribute asn1.ObjectIdentifier) func([]byte) ([]cms.Attribute, error) {
	if ts == nil {
		return nil
	}
	return func(signature []byte) ([]cms.Attribute, error) {
		d := h.New()
		d.Write(signature)
		token, err := ts.Timestamp(ctx, h, d.Sum(nil))
		if err != nil {
			return nil, fmt.Errorf("timestamp: %w", err)
		}
		return []cms.Attribute{{Type: attribute, Values: [][]byte{token}}}, nil
	}
}
