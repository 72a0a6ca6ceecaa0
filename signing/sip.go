package signing

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/hallmark-build/hallmark/signing/cms"
	"github.com/hallmark-build/hallmark/signing/key"
	"github.com/hallmark-build/hallmark/signing/sip"
)

// SIP signs what is no PE image and yet carries an Authenticode signature: MSI
// packages, cabinets, MSIX packages and PowerShell files, whose formats package
// sip describes, and security catalogs (catalog.go). The signature is the one
// that [Authenticode] makes, with another description of what is signed:
//
//	SpcIndirectDataContent ::= SEQUENCE {
//	    data           SEQUENCE { type OBJECT IDENTIFIER, value ANY },  -- of the format
//	    messageDigest  SEQUENCE { digestAlgorithm, digest OCTET STRING } }
//
// One signature is written, and one is read: nested ones are for PE images.
type SIP struct {
	Description string      // of the content, shown by Windows; may be empty
	URL         string      // where to learn more; may be empty
	Hash        crypto.Hash // 0 means SHA-256, and in MSIX that of the block map
}

var _ Scheme = SIP{}

// Name implements [Scheme]: it is Authenticode all the same.
func (SIP) Name() string { return Authenticode{}.Name() }

// Sign implements [Scheme].
func (s SIP) Sign(ctx context.Context, src, dst string, k *key.Key, ts Timestamper) (*Signature, error) {
	return signTo(ctx, s, src, dst, k, ts)
}

func (s SIP) make(ctx context.Context, src, dst string, k *key.Key, ts Timestamper, trust Trust) (*output, *Signature, error) {
	return makeOutput(ctx, s, src, dst, trust, func(in *os.File, size int64, out *output) error {
		r := contextReaderAt{ctx, in}
		if isCatalog(in, size) {
			return s.copyCatalog(ctx, in, size, out, k, ts)
		}
		subject, err := sip.Open(src, r, size)
		if err != nil {
			return fromSIP(err)
		}
		if err := checkPublisher(subject, k.Leaf()); err != nil {
			return err
		}
		h := cmp.Or(s.Hash, subject.Hash(), crypto.SHA256)
		kind, value := subject.Data()
		err = subject.Sign(out.File, h, sipSigner{
			digest: func(digest []byte) ([]byte, error) {
				content, err := marshalIndirect(kind, value, h, digest)
				if err != nil {
					return nil, err
				}
				return s.signContent(ctx, oidSpcIndirectData, content, h, k, ts)
			},
			catalog: func(catalog []byte) ([]byte, error) { return s.signCatalog(ctx, catalog, k, ts) },
		})
		return fromSIP(err)
	})
}

func (s SIP) signContent(ctx context.Context, contentType asn1.ObjectIdentifier, content []byte, h crypto.Hash, k *key.Key, ts Timestamper) ([]byte, error) {
	return Authenticode{Description: s.Description, URL: s.URL}.signContent(ctx, contentType, content, h, k, ts)
}

// sipSigner makes the signatures in a file.
type sipSigner struct {
	digest, catalog func([]byte) ([]byte, error)
}

var _ sip.Signer = sipSigner{}

func (s sipSigner) SignDigest(digest []byte) ([]byte, error)   { return s.digest(digest) }
func (s sipSigner) SignCatalog(catalog []byte) ([]byte, error) { return s.catalog(catalog) }

// Verify implements [Scheme].
func (SIP) Verify(ctx context.Context, file string, trust Trust) (*Signature, error) {
	return verifyFile(ctx, file, trust, func(ctx context.Context, r io.ReaderAt, size int64, trust Trust) (*Signature, error) {
		return verifySIP(ctx, file, r, size, trust)
	})
}

// verifySIP verifies an open file, whose name tells scripts apart.
func verifySIP(ctx context.Context, file string, r io.ReaderAt, size int64, trust Trust) (*Signature, error) {
	if isCatalog(r, size) {
		return verifyCatalog(r, size, trust)
	}
	subject, err := sip.Open(file, contextReaderAt{ctx, r}, size)
	if err != nil {
		return nil, fromSIP(err)
	}
	return verifySubject(subject, trust)
}

func verifySubject(subject sip.Subject, trust Trust) (*Signature, error) {
	der, err := subject.Signature()
	if err != nil {
		return nil, fromSIP(err)
	}
	if der == nil {
		return nil, fail(Unsigned, RulePresent, 0, "this %s file has no signature", subject.Format())
	}
	sd, err := parseAuthenticode(der, oidSpcIndirectData)
	if err != nil {
		return nil, err
	}
	wantKind, wantValue := subject.Data()
	kind, value, h, signed, err := parseIndirect(sd.Content)
	switch {
	case err != nil:
		return nil, fail(Malformed, RuleContent, 0, "%w", err)
	case !kind.Equal(wantKind) || !bytes.Equal(value, wantValue):
		return nil, fail(Malformed, RuleContent, 0, "this is not the signature of a %s file", subject.Format())
	case h != sd.Hash:
		return nil, fail(Malformed, RuleContent, 0, "the file's digest is %v, the signature's %v", h, sd.Hash)
	}
	digest, err := subject.Digest(h)
	if err != nil {
		return nil, fromSIP(err)
	}
	if !bytes.Equal(signed, digest) {
		return nil, fail(Tampered, RuleDigest, 0, "the signed %v digest is %x, the file's is %x: the file was changed after signing", h, signed, digest)
	}
	container, _ := subject.(sip.Container)
	if container != nil && trust.enforces(RulePadding) {
		if err := container.CheckFree(); err != nil {
			return nil, fromSIP(err)
		}
	}
	sig, err := checkAuthenticode(sd, trust)
	if err != nil {
		return nil, err
	}
	if container != nil && trust.enforces(RuleMetadata) && !container.CoversNames() {
		return nil, fail(Untrusted, RuleMetadata, 0, "the package has no MsiDigitalSignatureEx, so the names and lengths of its streams could have been changed: sign it again (osslsigncode: -add-msi-dse)")
	}
	if err := checkPublisher(subject, sig.Signer); err != nil {
		return nil, err
	}
	sig.Digest = digest
	return sig, nil
}

// parseAuthenticode reads a signature over a content of a type.
func parseAuthenticode(der []byte, contentType asn1.ObjectIdentifier) (*cms.SignedData, error) {
	sd, err := cms.Parse(der)
	switch {
	case err != nil:
		return nil, fromCMS(err, 0)
	case !sd.ContentType.Equal(contentType):
		return nil, fail(Malformed, RuleContent, 0, "content type %v, must be %v", sd.ContentType, contentType)
	case sd.Version != 1:
		return nil, fail(Malformed, RuleContent, 0, "SignedData version %d, must be 1 as in PKCS #7", sd.Version)
	}
	return sd, nil
}

// checkAuthenticode holds a signature whose content is checked against trust.
func checkAuthenticode(sd *cms.SignedData, trust Trust) (*Signature, error) {
	sig, err := checkSigner(sd, sd.ContentDigest, trust, authenticodeAttributes(false))
	if err != nil {
		return nil, err
	}
	sig.Scheme = SIP{}.Name()
	if sig.Description, sig.URL, err = parseOpusInfo(sd.Signers[0].Attribute(oidSpcSpOpusInfo)); err != nil {
		return nil, fail(Malformed, RuleContent, 0, "%w", err)
	}
	return sig, nil
}

// marshalIndirect returns the DER of an SpcIndirectDataContent.
func marshalIndirect(kind asn1.ObjectIdentifier, value []byte, h crypto.Hash, digest []byte) ([]byte, error) {
	oid, err := cms.HashOID(h)
	if err != nil {
		return nil, err
	}
	var b cryptobyte.Builder
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(kind)
			b.AddBytes(value)
		})
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(oid)
				b.AddASN1NULL()
			})
			b.AddASN1OctetString(digest)
		})
	})
	return b.Bytes()
}

// parseIndirect reads an SpcIndirectDataContent.
func parseIndirect(der []byte) (kind asn1.ObjectIdentifier, value []byte, h crypto.Hash, digest []byte, err error) {
	s := cryptobyteString(der)
	var body, data, info, alg, params cryptobyte.String
	var hashOID asn1.ObjectIdentifier
	if !s.ReadASN1(&body, casn1.SEQUENCE) || !s.Empty() || !body.ReadASN1(&data, casn1.SEQUENCE) ||
		!data.ReadASN1ObjectIdentifier(&kind) ||
		!body.ReadASN1(&info, casn1.SEQUENCE) || !body.Empty() || !info.ReadASN1(&alg, casn1.SEQUENCE) ||
		!alg.ReadASN1ObjectIdentifier(&hashOID) ||
		!alg.Empty() && (!alg.ReadASN1(&params, casn1.NULL) || !params.Empty() || !alg.Empty()) ||
		!info.ReadASN1Bytes(&digest, casn1.OCTET_STRING) || !info.Empty() {
		return nil, nil, 0, nil, errors.New("not an SpcIndirectDataContent")
	}
	h, err = cms.HashOf(hashOID)
	return kind, data, h, digest, err
}

// checkPublisher demands of a package that names its signer that it is this
// one. Windows installs no other.
func checkPublisher(subject sip.Subject, signer *x509.Certificate) error {
	p, ok := subject.(sip.Publisher)
	if !ok {
		return nil
	}
	name, err := p.Publisher()
	if err != nil {
		return fromSIP(err)
	}
	if !sameName(name, signer.Subject) {
		return fail(Untrusted, RuleUsage, 0, "the package's manifest names the publisher %q, and the signer is %q: Windows installs only what its publisher signed", name, signer.Subject)
	}
	return nil
}

// sameName compares a distinguished name in the text form of Windows, which
// begins with the last attribute, with a certificate's, by their values alone:
// Windows has names of its own for their types.
func sameName(text string, subject pkix.Name) bool {
	var values []string
	for _, n := range subject.Names {
		values = append(values, fmt.Sprint(n.Value))
	}
	slices.Reverse(values)
	return slices.Equal(nameValues(text), values)
}

func nameValues(name string) []string {
	var values []string
	quoted, start := false, 0
	add := func(part string) {
		if _, value, ok := strings.Cut(part, "="); ok {
			values = append(values, strings.Trim(strings.ReplaceAll(strings.TrimSpace(value), `\`, ""), `"`))
		}
	}
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case (c == ',' || c == '+' || c == ';') && !quoted:
			add(name[start:i])
			start = i + 1
		}
	}
	add(name[start:])
	return values
}

// fromSIP gives an error of package sip its kind.
func fromSIP(err error) error {
	var format *sip.FormatError
	var tampered *sip.TamperedError
	var free *sip.FreeError
	switch {
	case errors.Is(err, sip.ErrUnknown):
		return &Error{Kind: Unsupported, Rule: RuleFormat, Err: err}
	case errors.As(err, &format):
		return &Error{Kind: Malformed, Rule: RuleFormat, Offset: format.Offset, Err: err}
	case errors.As(err, &free):
		return &Error{Kind: Malformed, Rule: RulePadding, Offset: free.Offset, Err: err}
	case errors.As(err, &tampered):
		return &Error{Kind: Tampered, Rule: RuleDigest, Err: err}
	}
	return err
}

// contextReaderAt stops reading when its context ends.
type contextReaderAt struct {
	ctx context.Context
	r   io.ReaderAt
}

func (c contextReaderAt) ReadAt(b []byte, off int64) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.ReadAt(b, off)
}

// isSubject reports whether a file is, or was meant to be, of a format that SIP
// signs.
func isSubject(name string, r io.ReaderAt, size int64) bool {
	if isCatalog(r, size) {
		return true
	}
	_, err := sip.Open(name, r, size)
	var format *sip.FormatError
	if errors.As(err, &format) && format.Format == "MSIX" {
		return slices.Contains([]string{".msix", ".appx", ".msixbundle", ".appxbundle"}, strings.ToLower(filepath.Ext(name)))
	}
	return err == nil || format != nil
}
