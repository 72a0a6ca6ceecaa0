package signing

import (
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
// content and against trust. First everything that makes the signature hold is
// checked, then whose it is: an error of kind Untrusted or Expired says that the
// signature itself held.
func checkSigner(sd *cms.SignedData, digest func(crypto.Hash) ([]byte, error), trust Trust, allowed unsignedAttributes) (*Signature, error) {
	if len(sd.Signers) != 1 {
		return nil, fail(Malformed, RuleDER, 0, "%d signers in one signature, must be one", len(sd.Signers))
	}
	si := &sd.Signers[0]
	signer, err := sd.Verify(0, digest, trust.known()...)
	if err != nil {
		return nil, fromCMS(err, 0)
	}
	if err := cms.CheckSigningCertificate(si, signer); err != nil {
		return nil, fromCMS(err, 0)
	}
	if trust.enforces(RuleDER) && !si.InOrder {
		return nil, fail(Malformed, RuleDER, 0, "the signed attributes are not in DER order, so Windows refuses them (RFC 5652, 5.4)")
	}
	if trust.enforces(RuleDER) && si.NamesKey() {
		return nil, fail(Malformed, RuleDER, 0, "the signature's algorithm is written as id-ecPublicKey, that of a key, so Windows refuses it (RFC 5753, 2.1.1): relic signs so")
	}
	if err := checkEmbedded(sd, trust); err != nil {
		return nil, err
	}
	token, err := readTimestamp(si, sd.Certificates, trust, allowed)
	if err != nil {
		return nil, err
	}
	if trust.enforces(RuleWeak) && si.Hash == crypto.SHA1 {
		return nil, fail(Untrusted, RuleWeak, 0, "the signature is over a SHA-1 digest, which can be forged: sign again with SHA-256")
	}
	sig, err := vouch(signer, si.Hash, token, sd.Certificates, trust)
	if err != nil {
		return nil, err
	}
	if trust.enforces(RuleCertificate) {
		embedded := sd.Certificates
		if sig.TSA != nil && slices.ContainsFunc(embedded, sig.TSA.Equal) { // a countersignature's certificates are here too
			embedded = slices.DeleteFunc(slices.Clone(embedded), func(c *x509.Certificate) bool { return above(c, sig.TSA, sd.Certificates, !trust.enforces(RuleWeak)) })
		}
		chain, roots := sig.Chain, trust.Roots
		if trust.pins(signer) {
			chain = append(slices.Clone(chain), trust.Pinned...)
			if roots == nil {
				roots = x509.NewCertPool() // a certificate whose issuer is not at hand could carry anything
			}
		}
		if s := unrelated(signer, embedded, chain, roots, trust); len(s) > 0 {
			return nil, fail(Malformed, RuleCertificate, 0, "embedded certificates that are no part of the signer's chain, were changed, or whose issuers are not trusted: %q", s)
		}
	}
	return sig, nil
}

// checkEmbedded refuses what stands among the certificates of a message and
// cannot belong to a chain.
func checkEmbedded(sd *cms.SignedData, trust Trust) error {
	if !trust.enforces(RuleCertificate) {
		return nil
	}
	if sd.Extra+sd.Attributed > 0 {
		return fail(Malformed, RuleCertificate, 0, "%d bytes of revocation lists or unknown certificates, which nothing vouches for", sd.Extra+sd.Attributed)
	}
	return checkDoubled(sd.Certificates)
}

// checkDoubled refuses a certificate that is embedded twice.
func checkDoubled(certs []*x509.Certificate) error {
	for i, c := range certs {
		if slices.ContainsFunc(certs[:i], c.Equal) {
			return fail(Malformed, RuleCertificate, 0, "the certificate of %q is embedded twice", c.Subject)
		}
	}
	return nil
}

// vouch holds the certificate of a signature that verifies against trust, at the
// time of the signature's timestamp, if there is a token, or now.
func vouch(signer *x509.Certificate, h crypto.Hash, token *cms.Token, embedded []*x509.Certificate, trust Trust) (*Signature, error) {
	sig := &Signature{Signer: signer, Hash: h}
	at := trust.now()
	if token != nil {
		var err error
		if sig.unlisted, err = checkTimestamp(token, trust); err != nil {
			return nil, err
		}
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
	var err error
	if sig.Chain, err = checkChain(signer, embedded, trust, at); err != nil {
		return nil, err
	}
	unlisted, err := checkRevocation(signer, sig.Chain, at, trust)
	if err != nil {
		return nil, err
	}
	sig.unlisted = append(sig.unlisted, unlisted...)
	if token == nil && trust.enforces(RuleTimestamp) && !trust.pins(signer) {
		return nil, fail(Untrusted, RuleTimestamp, 0, "no RFC 3161 timestamp: the signature dies with its certificate; sign again with a timestamp server")
	}
	return sig, nil
}

// oidLifetimeSigning is Microsoft's extended key usage of certificates whose
// signatures end with them, timestamp or not.
var oidLifetimeSigning = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 10, 3, 13}

// minRSABits is what the CA/Browser Forum asked of code signing until it asked
// for 3072.
const minRSABits = 2048

func checkKey(c *x509.Certificate, trust Trust) error {
	if k, ok := c.PublicKey.(*rsa.PublicKey); ok && trust.enforces(RuleWeakKey) && k.N.BitLen() < minRSABits {
		return fail(Untrusted, RuleWeakKey, 0, "the RSA key of %q has %d bits, at least %d are needed", c.Subject, k.N.BitLen(), minRSABits)
	}
	return nil
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
