package signing

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/hallmark-build/hallmark/signing/cms"
	"github.com/hallmark-build/hallmark/signing/key"
)

// IMA signs a file for the kernel's integrity measurement architecture, which
// looks for the signature in the extended attribute security.ima
// (security/integrity/integrity.h). It is kept in a file beside the signed one,
// with the suffix .sig, as evmctl does, whose bytes are those of the attribute:
//
//	type        uint8   3 IMA digital signature; 6 the same over the verity digest
//	version     uint8   2; 3 with type 6
//	hash_algo   uint8   4 SHA-256, 5 SHA-384, 6 SHA-512 (include/uapi/linux/hash_info.h)
//	keyid       4 bytes end of the certificate's subject key identifier
//	sig_size    uint16  big-endian
//	sig         RSA PKCS #1 v1.5, or ECDSA in DER
//
// Version 2 signs the digest of the file. Version 3 signs the digest of struct
// ima_file_id: type 6, hash_algo and the file's fs-verity digest, so that the
// kernel need not read the whole file; it is taken since Linux 5.19 and wants
// "digest_type=verity appraise_type=sigv3" in the policy.
//
// A kernel with IMA_APPRAISE and a policy rule for it refuses to run, read or
// load what has no signature by a certificate in the keyring .ima; without a
// policy it does not look. cp, zip and most packages lose the attribute, which
// is why the signature travels in a file and is set by whoever installs. The
// format has no place for a chain or a timestamp: a verifier must know the
// signer's certificate (Trust.Known), and the signature ends with it. Kernels do
// not look at that end; this verifier does.
type IMA struct {
	Hash   crypto.Hash // 0 means SHA-256
	Verity bool        // version 3, over the fs-verity digest without salt
}

var _ Detached = IMA{}

// Name implements [Detached].
func (IMA) Name() string { return "ima" }

// Suffix implements [Detached].
func (IMA) Suffix() string { return ".sig" }

const (
	imaAttribute        = "security.ima" // where the kernel looks
	imaDigitalSignature = 3
	imaVeritySignature  = 6
	imaHeader           = 9
)

// imaAlgorithms are the kernel's numbers of digest algorithms.
func imaAlgorithm(h crypto.Hash) (byte, error) {
	switch h {
	case crypto.SHA256:
		return 4, nil
	case crypto.SHA384:
		return 5, nil
	case crypto.SHA512:
		return 6, nil
	}
	return 0, fail(Unsupported, RuleContent, 0, "IMA signatures are made with SHA-256, 384 or 512, not %v", h)
}

// Sign implements [Detached]. There is no place for a timestamp, so ts is not
// used.
func (s IMA) Sign(ctx context.Context, file, dst string, k *key.Key, _ Timestamper) (*Signature, error) {
	h := cmp.Or(s.Hash, crypto.SHA256)
	return signDetached(ctx, s, file, dst, k, nil, func(in io.ReaderAt, size int64) ([]byte, error) {
		algorithm, err := imaAlgorithm(h)
		if err != nil {
			return nil, err
		}
		_, digest, err := s.digest(ctx, h, in, size)
		if err != nil {
			return nil, err
		}
		signature, err := k.Sign(rand.Reader, digest, h)
		if err != nil {
			return nil, fmt.Errorf("signing with the key of %q: %w", k.Leaf().Subject, err)
		}
		keyID, err := imaKeyID(k.Leaf())
		if err != nil {
			return nil, err
		}
		b := []byte{imaDigitalSignature, 2, algorithm}
		if s.Verity {
			b = []byte{imaVeritySignature, 3, algorithm}
		}
		b = append(b, keyID...)
		b = binary.BigEndian.AppendUint16(b, uint16(len(signature)))
		return append(b, signature...), nil
	})
}

// digest returns the digest of the file, as the scheme has it, and the one that
// is signed.
func (s IMA) digest(ctx context.Context, h crypto.Hash, r io.ReaderAt, size int64) (file, signed []byte, err error) {
	if !s.Verity {
		d := h.New()
		if err := copyAndDigest(ctx, r, size, nil, d); err != nil {
			return nil, nil, err
		}
		sum := d.Sum(nil)
		return sum, sum, nil
	}
	file, err = Verity{Hash: h}.Digest(ctx, r, size)
	if err != nil {
		return nil, nil, err
	}
	algorithm, err := imaAlgorithm(h)
	if err != nil {
		return nil, nil, err
	}
	d := h.New()
	d.Write([]byte{imaVeritySignature, algorithm})
	d.Write(file)
	return file, d.Sum(nil), nil
}

// imaKeyID is the end of the subject key identifier, by which the kernel looks
// for the certificate.
func imaKeyID(c *x509.Certificate) ([]byte, error) {
	id := c.SubjectKeyId
	if len(id) < 4 {
		return nil, fail(Unsupported, RuleUsage, 0, "the certificate of %q has no subject key identifier, by which the kernel would find it: have it issued with one", c.Subject)
	}
	return id[len(id)-4:], nil
}

// imaSignature is a parsed security.ima.
type imaSignature struct {
	verity    bool
	hash      crypto.Hash
	keyID     []byte // 4 bytes
	signature []byte
}

// parseIMA reads the value of security.ima, all of it.
func parseIMA(b []byte) (*imaSignature, error) {
	if len(b) < imaHeader {
		return nil, fail(Malformed, RuleTable, 0, "%d bytes are no IMA signature", len(b))
	}
	s := &imaSignature{keyID: b[3:7], signature: b[imaHeader:]}
	switch {
	case b[0] == imaDigitalSignature && b[1] == 2:
	case b[0] == imaVeritySignature && b[1] == 3:
		s.verity = true
	case b[0] == 1 || b[0] == 4:
		return nil, fail(Unsigned, RulePresent, 0, "this is a digest of the file and no signature")
	default:
		return nil, fail(Malformed, RuleTable, 0, "type %d, version %d; known are 3, 2 and 6, 3", b[0], b[1])
	}
	switch b[2] {
	case 2:
		s.hash = crypto.SHA1
	case 4:
		s.hash = crypto.SHA256
	case 5:
		s.hash = crypto.SHA384
	case 6:
		s.hash = crypto.SHA512
	default:
		return nil, fail(Malformed, RuleTable, 2, "digest algorithm %d is not known", b[2])
	}
	if n := int(binary.BigEndian.Uint16(b[7:])); n != len(s.signature) {
		return nil, fail(Malformed, RuleTable, 7, "a signature of %d bytes, and %d are there", n, len(s.signature))
	}
	return s, nil
}

// Verify implements [Detached]. It reads both versions, whatever Verity says.
// That there is no timestamp is not held against a signature.
func (s IMA) Verify(ctx context.Context, file, signature string, trust Trust) (*Signature, error) {
	return verifyDetached(ctx, file, signature, trust, func(in io.ReaderAt, size int64, b []byte) (*Signature, error) {
		return s.verify(ctx, in, size, b, trust)
	})
}

// VerifyAttribute is Verify for the signature in the file's attribute
// security.ima.
func (s IMA) VerifyAttribute(ctx context.Context, file string, trust Trust) (*Signature, error) {
	b, err := ReadIMA(file)
	if err != nil {
		return nil, err
	}
	if b == nil {
		return nil, &Error{Kind: Unsigned, File: file, Rule: RulePresent, Err: errors.New("no signature in the attribute security.ima")}
	}
	return verifyFile(ctx, file, trust, func(ctx context.Context, in io.ReaderAt, size int64, trust Trust) (*Signature, error) {
		return s.verify(ctx, contextReaderAt{ctx, in}, size, b, trust)
	})
}

// VerifyReader is Verify for a signature and a file that are not in files of
// their own.
func (s IMA) VerifyReader(ctx context.Context, in io.ReaderAt, size int64, signature []byte, trust Trust) (*Signature, error) {
	return s.verify(ctx, contextReaderAt{ctx, in}, size, signature, trust)
}

func (s IMA) verify(ctx context.Context, in io.ReaderAt, size int64, b []byte, trust Trust) (*Signature, error) {
	ima, err := parseIMA(b)
	if err != nil {
		return nil, err
	}
	digest, signed, err := IMA{Verity: ima.verity}.digest(ctx, ima.hash, in, size)
	if err != nil {
		return nil, err
	}
	signer, err := ima.signer(signed, trust.known())
	if err != nil {
		return nil, err
	}
	if trust.enforces(RuleWeak) && ima.hash == crypto.SHA1 {
		return nil, fail(Untrusted, RuleWeak, 0, "the signature is over a SHA-1 digest, which can be forged: sign again with SHA-256")
	}
	if !ima.verity {
		if err := checkOtherUse(in, size); err != nil {
			return nil, err
		}
	}
	trust.Policy.Off = append(slices.Clone(trust.Policy.Off), RuleTimestamp)
	sig, err := vouch(signer, ima.hash, nil, nil, trust)
	if err != nil {
		return nil, err
	}
	sig.Scheme, sig.Digest = s.Name(), digest
	return sig, nil
}

// signer finds the certificate whose key made a signature.
func (s *imaSignature) signer(digest []byte, known []*x509.Certificate) (*x509.Certificate, error) {
	var failed error
	for _, c := range known {
		id, err := imaKeyID(c)
		if err != nil || !bytes.Equal(id, s.keyID) {
			continue
		}
		if failed = cms.VerifyDigest(c.PublicKey, s.hash, digest, s.signature); failed == nil {
			return c, nil
		}
	}
	if failed != nil {
		return nil, &Error{Kind: Tampered, Rule: RuleSignature, Err: fmt.Errorf("the file or its signature was changed after signing: %w", failed)}
	}
	return nil, &Error{Kind: UnknownSigner, Rule: RuleChain, Err: errors.New("the signature does not hold its signer's certificate, and none that is known here has the key " + fmt.Sprintf("%x: name the certificate with -signer=FILE", s.keyID))}
}
