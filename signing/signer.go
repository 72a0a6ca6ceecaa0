package signing

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
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
	sig, err := vouch(signer, si, sd.Certificates, trust, tokens)
	if err != nil {
		return nil, err
	}
	if trust.enforces(RuleCertificate) {
		if sd.Extra+sd.Attributed > 0 {
			return nil, fail(Malformed, RuleCertificate, 0, "%d bytes of revocation lists or unknown certificates, which nothing vouches for", sd.Extra+sd.Attributed)
		}
		embedded := sd.Certificates
		if sig.TSA != nil && slices.ContainsFunc(embedded, sig.TSA.Equal) { // a countersignature's certificates are here too
			embedded = slices.DeleteFunc(slices.Clone(embedded), func(c *x509.Certificate) bool { return above(c, sig.TSA, sd.Certificates) })
		}
		if s := strangers(signer, embedded, sig.Chain, trust.Roots); len(s) > 0 {
			return nil, fail(Malformed, RuleCertificate, 0, "embedded certificates that are no part of the signer's chain, were changed, or whose issuers are not trusted: %q", s)
		}
	}
	return sig, nil
}

// vouch holds the certificate of a signature that verifies against trust, at the
// time of the signature's timestamp or now.
func vouch(signer *x509.Certificate, si *cms.SignerInfo, embedded []*x509.Certificate, trust Trust, tokens []asn1.ObjectIdentifier) (*Signature, error) {
	sig := &Signature{Signer: signer, Hash: si.Hash}
	at := trust.now()
	token, err := checkTimestamp(si, embedded, trust, tokens)
	if err != nil {
		return nil, err
	}
	if token != nil {
		sig.Time, sig.TSA = token.Time, token.Signer
		// A timestamp of an authority that nobody asked about proves nothing, and
		// a certificate may say that it does not outlive itself.
		if (trust.anyTSA || trust.enforces(RuleTSA)) && !slices.ContainsFunc(signer.UnknownExtKeyUsage, oidLifetimeSigning.Equal) {
			at = token.Time
		}
	}
	if err := checkKey(signer, trust); err != nil {
		return nil, err
	}
	if sig.Chain, err = checkChain(signer, embedded, trust, at); err != nil {
		return nil, err
	}
	if err := checkRevocation(sig.Chain, at, trust); err != nil {
		return nil, err
	}
	if token == nil && trust.enforces(RuleTimestamp) {
		return nil, fail(Untrusted, RuleTimestamp, 0, "no RFC 3161 timestamp: the signature dies with its certificate; sign again with a timestamp server")
	}
	return sig, nil
}

// oidLifetimeSigning is Microsoft's extended key usage of certificates whose
// signatures end with them, timestamp or not.
var oidLifetimeSigning = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 10, 3, 13}

// maxAttributed is how many bytes of attribute certificates a timestamp token
// may carry. Microsoft's have one of about 700.
const maxAttributed = 2 << 10

// minRSABits is what the CA/Browser Forum asked of code signing until it asked
// for 3072.
const minRSABits = 2048

func checkKey(c *x509.Certificate, trust Trust) error {
	if k, ok := c.PublicKey.(*rsa.PublicKey); ok && trust.enforces(RuleWeakKey) && k.N.BitLen() < minRSABits {
		return fail(Untrusted, RuleWeakKey, 0, "the RSA key of %q has %d bits, at least %d are needed", c.Subject, k.N.BitLen(), minRSABits)
	}
	return nil
}

// strangers lists the embedded certificates that do not belong to leaf: those
// that are not reached from it, issuer by issuer, and those whose own signature
// nobody can check: not the other certificates, and not the roots. A certificate
// that only claims an issuer could carry anything.
func strangers(leaf *x509.Certificate, embedded, chain []*x509.Certificate, roots *x509.CertPool) []string {
	reached := append([]*x509.Certificate{leaf}, chain...)
	for i := 0; i < len(reached); i++ {
		for _, c := range embedded {
			if bytes.Equal(reached[i].RawIssuer, c.RawSubject) && !slices.ContainsFunc(reached, c.Equal) && reached[i].CheckSignatureFrom(c) == nil {
				reached = append(reached, c)
			}
		}
	}
	var found []string
	for _, c := range embedded {
		inChain := slices.ContainsFunc(chain, c.Equal)
		if !slices.ContainsFunc(reached, c.Equal) || !inChain && !vouched(c, slices.Concat(embedded, chain), roots) {
			found = append(found, c.Subject.String())
		}
	}
	return found
}

// above reports whether c is leaf, or is reached from it issuer by issuer.
func above(c, leaf *x509.Certificate, all []*x509.Certificate) bool {
	for range len(all) {
		if c.Equal(leaf) {
			return true
		}
		i := slices.IndexFunc(all, func(issuer *x509.Certificate) bool {
			return bytes.Equal(leaf.RawIssuer, issuer.RawSubject) && leaf.CheckSignatureFrom(issuer) == nil
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
func vouched(c *x509.Certificate, certs []*x509.Certificate, roots *x509.CertPool) bool {
	for _, issuer := range certs {
		if bytes.Equal(c.RawIssuer, issuer.RawSubject) && c.CheckSignatureFrom(issuer) == nil {
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

// checkTimestamp returns the signer's verified token, or nil when there is
// none.
func checkTimestamp(si *cms.SignerInfo, embedded []*x509.Certificate, trust Trust, types []asn1.ObjectIdentifier) (*cms.Token, error) {
	token, err := findTimestamp(si, embedded, trust, types)
	if token == nil || err != nil {
		return nil, err
	}
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
	if trust.enforces(RuleUnsigned) && token.Extra > 0 || token.Attributed > maxAttributed {
		return nil, fail(Malformed, RuleUnsigned, 0, "the timestamp carries %d bytes that nothing vouches for", token.Extra+token.Attributed)
	}
	chain, err := tokenChain(token, trust)
	if err != nil {
		return nil, err
	}
	if err := checkRevocation(chain, token.Time, trust); err != nil {
		return nil, err
	}
	if legacy := token.Imprint == nil; trust.enforces(RuleCertificate) && !legacy { // else they are the message's
		if s := strangers(token.Signer, token.Certificates, chain, trust.TSARoots); len(s) > 0 {
			return nil, fail(Malformed, RuleCertificate, 0,
				"the timestamp carries certificates that are no part of its signer's chain, were changed, or whose issuers are not trusted (add those to the trusted ones): %q", s)
		}
	}
	return token, nil
}

// findTimestamp returns the signer's token, which holds and is over this very
// signature; nil without one.
func findTimestamp(si *cms.SignerInfo, embedded []*x509.Certificate, trust Trust, types []asn1.ObjectIdentifier) (*cms.Token, error) {
	var der []byte
	for _, a := range si.Unsigned {
		for _, t := range types {
			if !a.Type.Equal(t) {
				continue
			}
			if der != nil || len(a.Values) != 1 {
				return nil, fail(Malformed, RuleTimestamp, 0, "more than one timestamp token")
			}
			der = a.Values[0]
		}
	}
	if der == nil {
		return findCountersignature(si, embedded, trust)
	}
	token, err := cms.ParseToken(der)
	if err != nil {
		return nil, fromCMS(err, 0)
	}
	h := token.Hash.New()
	h.Write(si.Signature)
	if !bytes.Equal(h.Sum(nil), token.Imprint) {
		return nil, fail(Tampered, RuleBinding, 0, "the timestamp belongs to another signature")
	}
	return token, nil
}

// findCountersignature returns a timestamp in the form before RFC 3161, which is
// weak: nothing in it says that it is one but the certificate of its signer, and
// most are over SHA-1.
func findCountersignature(si *cms.SignerInfo, embedded []*x509.Certificate, trust Trust) (*cms.Token, error) {
	for _, a := range si.Unsigned {
		if !a.Type.Equal(cms.OIDCountersignature) {
			continue
		}
		if trust.enforces(RuleLegacy) {
			return nil, fail(Untrusted, RuleLegacy, 0, "the timestamp is a PKCS #9 countersignature, a weak form from before RFC 3161: have the file signed again")
		}
		if len(a.Values) != 1 {
			return nil, fail(Malformed, RuleTimestamp, 0, "more than one countersignature")
		}
		token, err := cms.ParseCountersignature(a.Values[0], si.Signature, embedded)
		if err != nil {
			return nil, fromCMS(err, 0)
		}
		return token, nil
	}
	return nil, nil
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
	chain, err := token.Chain(trust.TSARoots)
	if err != nil {
		return nil, &Error{Kind: Untrusted, Rule: RuleTSA, Err: fmt.Errorf("timestamp authority %q: %w", token.Signer.Subject, err)}
	}
	return chain, nil
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
		return nil, fromChain(fmt.Errorf("signer %q: %w", signer.Subject, err), RuleChain)
	}
	return chains[0], nil
}

func checkUsage(c *x509.Certificate) error {
	if c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return fmt.Errorf("the key usage of %q has no digitalSignature", c.Subject)
	}
	for _, u := range c.ExtKeyUsage {
		if u == x509.ExtKeyUsageCodeSigning {
			return nil
		}
	}
	return fmt.Errorf("%q has no codeSigning among its extended key usages", c.Subject)
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
