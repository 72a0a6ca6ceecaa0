package signing

import (
	"cmp"
	"context"
	"crypto"
	"io"

	"github.com/hallmark-build/hallmark/signing/cms"
	"github.com/hallmark-build/hallmark/signing/key"
)

// P7S signs any file, with a detached CMS (RFC 5652) beside it whose name ends
// in .p7s: plain data, with the signed attributes content-type, message-digest
// and signing-certificate-v2 (RFC 5035), the chain, and the RFC 3161 token as
// the unsigned attribute signature-time-stamp (1.2.840.113549.1.9.16.2.14).
// That is CAdES-T (ETSI EN 319 122-1) but for the signing time, which a signer
// could claim as he likes.
//
// No kernel looks at it. Whoever has OpenSSL can verify it:
//
//	openssl cms -verify -binary -content FILE -inform DER -in FILE.p7s -CAfile ca.pem -purpose any -out /dev/null
type P7S struct {
	Hash crypto.Hash // 0 means SHA-256
}

var _ Detached = P7S{}

// Name implements [Detached].
func (P7S) Name() string { return "p7s" }

// Suffix implements [Detached].
func (P7S) Suffix() string { return ".p7s" }

// Sign implements [Detached].
func (p P7S) Sign(ctx context.Context, file, dst string, k *key.Key, ts Timestamper) (*Signature, error) {
	h := cmp.Or(p.Hash, crypto.SHA256)
	return signDetached(ctx, p, file, dst, k, ts, func(in io.ReaderAt, size int64) ([]byte, error) {
		d := h.New()
		if err := copyAndDigest(ctx, in, size, nil, d); err != nil {
			return nil, err
		}
		binding, err := cms.SigningCertificate(k.Leaf())
		if err != nil {
			return nil, err
		}
		return cms.Message{
			ContentType:  cms.OIDData,
			Digest:       d.Sum(nil),
			Hash:         h,
			Attributes:   []cms.Attribute{binding},
			Certificates: k.Chain,
		}.Sign(k, k.Leaf(), countersigner(ctx, ts, h, cms.OIDTimestampToken))
	})
}

// Verify implements [Detached].
func (p P7S) Verify(ctx context.Context, file, signature string, trust Trust) (*Signature, error) {
	return verifyDetached(ctx, file, signature, trust, func(in io.ReaderAt, size int64, der []byte) (*Signature, error) {
		sd, err := cms.Parse(der)
		if err != nil {
			return nil, fromCMS(err, 0)
		}
		if !sd.ContentType.Equal(cms.OIDData) {
			return nil, fail(Malformed, RuleContent, 0, "the CMS is over content of type %v, not plain data", sd.ContentType)
		}
		if sd.Content != nil {
			return nil, fail(Malformed, RuleContent, 0, "the CMS holds a copy of what is signed, and a detached one is read: sign without -nodetach, and without -stream, with which openssl cms embeds it")
		}
		if len(sd.Signers) == 1 && len(sd.Signers[0].Attributes) == 0 {
			if err := checkOtherUse(in, size); err != nil {
				return nil, err
			}
		}
		var digest []byte
		sig, err := checkSigner(sd, func(h crypto.Hash) ([]byte, error) {
			d := h.New()
			if err := copyAndDigest(ctx, in, size, nil, d); err != nil {
				return nil, err
			}
			digest = d.Sum(nil)
			return digest, nil
		}, trust, tokenAttributes())
		if err != nil {
			return nil, tamperedContent(err, 0)
		}
		sig.Scheme, sig.Digest = p.Name(), digest
		return sig, nil
	})
}
