package signing

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"reflect"

	bundlepb "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	commonpb "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	trustpb "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/hallmark-build/hallmark/signing/cms"
	"github.com/hallmark-build/hallmark/signing/key"
)

// Bundle signs any file with a sigstore bundle (protobuf-specs,
// sigstore_bundle.proto), JSON beside the file whose name ends in
// .sigstore.json:
//
//	mediaType             application/vnd.dev.sigstore.bundle.v0.3+json
//	verificationMaterial  certificate: the signer's, without its chain;
//	                      timestampVerificationData: an RFC 3161 token over the signature
//	messageSignature      the file's SHA-256, and the signature over the file
//
// There is no entry of a transparency log: a release by a company's key need
// not be published before its time, and the timestamp says when it was signed.
// A verifier must know the certificates above the signer's, which the format
// leaves out: cosign takes them as a trusted root (see TrustedRoot).
type Bundle struct{}

var _ Detached = Bundle{}

// Name implements [Detached].
func (Bundle) Name() string { return "bundle" }

// Suffix implements [Detached].
func (Bundle) Suffix() string { return ".sigstore.json" }

const bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"

// Sign implements [Detached]. The digest follows the key, as cosign expects:
// SHA-256, and for P-384 and P-521 the one of their size.
func (s Bundle) Sign(ctx context.Context, file, dst string, k *key.Key, ts Timestamper) (*Signature, error) {
	h, algorithm, err := bundleHash(k.Leaf())
	if err != nil {
		return nil, err
	}
	return signDetached(ctx, s, file, dst, k, ts, func(in io.ReaderAt, size int64) ([]byte, error) {
		d := h.New()
		if err := copyAndDigest(ctx, in, size, nil, d); err != nil {
			return nil, err
		}
		digest := d.Sum(nil)
		signature, err := k.Sign(rand.Reader, digest, h)
		if err != nil {
			return nil, fmt.Errorf("signing with the key of %q: %w", k.Leaf().Subject, err)
		}
		material := &bundlepb.VerificationMaterial{Content: &bundlepb.VerificationMaterial_Certificate{
			Certificate: &commonpb.X509Certificate{RawBytes: k.Leaf().Raw},
		}}
		if stamp := countersigner(ctx, ts, crypto.SHA256, cms.OIDTimestampToken); stamp != nil {
			tokens, err := stamp(signature)
			if err != nil {
				return nil, err
			}
			response, err := cms.TimestampResponse(tokens[0].Values[0])
			if err != nil {
				return nil, err
			}
			material.TimestampVerificationData = &bundlepb.TimestampVerificationData{
				Rfc3161Timestamps: []*commonpb.RFC3161SignedTimestamp{{SignedTimestamp: response}},
			}
		}
		return compactJSON(&bundlepb.Bundle{
			MediaType:            bundleType,
			VerificationMaterial: material,
			Content: &bundlepb.Bundle_MessageSignature{MessageSignature: &commonpb.MessageSignature{
				MessageDigest: &commonpb.HashOutput{Algorithm: algorithm, Digest: digest}, Signature: signature,
			}},
		})
	})
}

// bundleHash returns the digest algorithm that sigstore's verifiers take for
// granted with a key.
func bundleHash(c *x509.Certificate) (crypto.Hash, commonpb.HashAlgorithm, error) {
	if pub, ok := c.PublicKey.(*ecdsa.PublicKey); ok {
		switch pub.Curve {
		case elliptic.P384():
			return crypto.SHA384, commonpb.HashAlgorithm_SHA2_384, nil
		case elliptic.P521():
			return crypto.SHA512, commonpb.HashAlgorithm_SHA2_512, nil
		}
	}
	return crypto.SHA256, commonpb.HashAlgorithm_SHA2_256, nil
}

// compactJSON is protojson without the blanks that it strews at random.
func compactJSON(m proto.Message) ([]byte, error) {
	b, err := protojson.Marshal(m)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = json.Compact(&out, b)
	out.WriteByte('\n')
	return out.Bytes(), err
}

// parseBundle reads a bundle as the scheme has it. What could be written in
// another way, like a field twice or base64 with leftover bits, is refused:
// nothing would cover it.
func parseBundle(b []byte, trust Trust) (*bundlepb.Bundle, *x509.Certificate, error) {
	bad := func(format string, args ...any) error { return fail(Malformed, RuleContent, 0, format, args...) }
	bundle := new(bundlepb.Bundle)
	if err := protojson.Unmarshal(b, bundle); err != nil {
		return nil, nil, bad("not a sigstore bundle: %w", err)
	}
	again, err := protojson.Marshal(bundle)
	if err != nil {
		return nil, nil, bad("%w", err)
	}
	var is, want any
	if json.Unmarshal(b, &is) != nil || json.Unmarshal(again, &want) != nil || !reflect.DeepEqual(is, want) {
		return nil, nil, bad("the bundle is not in the one form that its content has")
	}
	material := bundle.GetVerificationMaterial()
	signature := bundle.GetMessageSignature()
	switch {
	case bundle.GetMediaType() != bundleType:
		return nil, nil, bad("media type %q, must be %q", bundle.GetMediaType(), bundleType)
	case signature == nil || signature.GetMessageDigest() == nil:
		return nil, nil, bad("not a signature of a file, but an envelope")
	case material.GetCertificate() == nil:
		return nil, nil, fail(UnknownSigner, RuleChain, 0, "the bundle holds no certificate")
	case len(material.GetTlogEntries()) > 0 && trust.enforces(RuleUnsigned):
		return nil, nil, fail(Malformed, RuleUnsigned, 0, "an entry of a transparency log, which is not checked here")
	}
	signer, err := cms.ParseCertificate(material.GetCertificate().GetRawBytes())
	if err != nil {
		return nil, nil, bad("certificate: %w", err)
	}
	return bundle, signer, nil
}

// Verify implements [Detached].
func (s Bundle) Verify(ctx context.Context, file, signature string, trust Trust) (*Signature, error) {
	return verifyDetached(ctx, file, signature, trust, func(in io.ReaderAt, size int64, b []byte) (*Signature, error) {
		bundle, signer, err := parseBundle(b, trust)
		if err != nil {
			return nil, err
		}
		message := bundle.GetMessageSignature()
		h, algorithm, err := bundleHash(signer)
		if err != nil {
			return nil, err
		}
		d := h.New()
		if err := copyAndDigest(ctx, in, size, nil, d); err != nil {
			return nil, err
		}
		digest := d.Sum(nil)
		if message.GetMessageDigest().GetAlgorithm() != algorithm || !bytes.Equal(message.GetMessageDigest().GetDigest(), digest) {
			return nil, fail(Tampered, RuleDigest, 0, "the signed digest is %v %x, the file's is %v %x: the file was changed after signing",
				message.GetMessageDigest().GetAlgorithm(), message.GetMessageDigest().GetDigest(), h, digest)
		}
		if err := cms.VerifyDigest(signer.PublicKey, h, digest, message.GetSignature()); err != nil {
			return nil, &Error{Kind: Tampered, Rule: RuleSignature, Err: fmt.Errorf("the signature does not verify with the key of %q: %w", signer.Subject, err)}
		}
		if err := checkOtherUse(in, size); err != nil {
			return nil, err
		}
		si := &cms.SignerInfo{Hash: h, Signature: message.GetSignature()}
		for _, stamp := range bundle.GetVerificationMaterial().GetTimestampVerificationData().GetRfc3161Timestamps() {
			token, err := cms.TokenOfResponse(stamp.GetSignedTimestamp())
			if err != nil {
				return nil, fromCMS(err, 0)
			}
			si.Unsigned = append(si.Unsigned, cms.Attribute{Type: cms.OIDTimestampToken, Values: [][]byte{token}})
		}
		stamp, err := readTimestamp(si, nil, trust, tokenAttributes())
		if err != nil {
			return nil, err
		}
		sig, err := vouch(signer, h, stamp, nil, trust)
		if err != nil {
			return nil, err
		}
		sig.Scheme, sig.Digest = s.Name(), digest
		return sig, nil
	})
}

// TrustedRoot returns the JSON that tells sigstore's verifiers whom to trust
// (protobuf-specs, sigstore_trustroot.proto): certificate authorities, each a
// chain whose root comes last, and timestamp authorities in the same form.
func TrustedRoot(authorities, timestamps [][]*x509.Certificate) ([]byte, error) {
	root := &trustpb.TrustedRoot{MediaType: "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}
	for i, chains := range [][][]*x509.Certificate{authorities, timestamps} {
		for _, chain := range chains {
			if len(chain) == 0 {
				continue
			}
			last := chain[len(chain)-1]
			a := &trustpb.CertificateAuthority{
				Subject:   &commonpb.DistinguishedName{CommonName: last.Subject.CommonName},
				CertChain: &commonpb.X509CertificateChain{},
				ValidFor:  &commonpb.TimeRange{Start: timestamppb.New(last.NotBefore), End: timestamppb.New(last.NotAfter)},
			}
			if len(last.Subject.Organization) > 0 {
				a.Subject.Organization = last.Subject.Organization[0]
			}
			for _, c := range chain {
				a.CertChain.Certificates = append(a.CertChain.Certificates, &commonpb.X509Certificate{RawBytes: c.Raw})
			}
			if i == 0 {
				root.CertificateAuthorities = append(root.CertificateAuthorities, a)
			} else {
				root.TimestampAuthorities = append(root.TimestampAuthorities, a)
			}
		}
	}
	return compactJSON(root)
}
