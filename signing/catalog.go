package signing

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"encoding/asn1"
	"io"

	casn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/hallmark-build/hallmark/signing/cms"
	"github.com/hallmark-build/hallmark/signing/key"
)

// A security catalog (.cat) is a PKCS #7 SignedData by itself, whose content is
// a certificate trust list (1.3.6.1.4.1.311.10.1) with the digests of the files
// that it vouches for. Tools that make catalogs leave it without a signer.
// Signing keeps that list, byte for byte, and makes everything around it anew.
// Verifying a catalog says nothing of the files that it lists.
var oidCertTrustList = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 10, 1}

const maxCatalog = 64 << 20 // of a Windows feature update: 10 MiB

// isCatalog tells a catalog by what stands near the beginning of its DER: a
// sequence, signedData and the type of the list.
func isCatalog(r io.ReaderAt, size int64) bool {
	b := make([]byte, min(size, 128))
	if readAt(r, b, 0, size) != nil || len(b) == 0 || b[0] != 0x30 {
		return false
	}
	for _, oid := range []asn1.ObjectIdentifier{cms.OIDSignedData, oidCertTrustList} {
		der, err := asn1.Marshal(oid)
		if err != nil || !bytes.Contains(b, der) {
			return false
		}
	}
	return true
}

// trustList returns the DER of a catalog's trust list.
func trustList(catalog []byte) ([]byte, error) {
	kind, content, err := cms.Content(catalog)
	if err != nil {
		return nil, fromCMS(err, 0)
	}
	if !kind.Equal(oidCertTrustList) {
		return nil, fail(Malformed, RuleContent, 0, "content type %v is not a certificate trust list: this is no security catalog", kind)
	}
	// The signed digest is of the value, without the tag.
	if list := cryptobyteString(content); !list.SkipASN1(casn1.SEQUENCE) || !list.Empty() {
		return nil, fail(Malformed, RuleContent, 0, "the certificate trust list is not one SEQUENCE")
	}
	return content, nil
}

// signCatalog returns a catalog with the same trust list, signed anew.
func (s SIP) signCatalog(ctx context.Context, catalog []byte, k *key.Key, ts Timestamper) ([]byte, error) {
	list, err := trustList(catalog)
	if err != nil {
		return nil, err
	}
	return s.signContent(ctx, oidCertTrustList, list, cmp.Or(s.Hash, crypto.SHA256), k, ts)
}

func (s SIP) copyCatalog(ctx context.Context, in io.ReaderAt, size int64, out io.Writer, k *key.Key, ts Timestamper) error {
	catalog, err := readCatalog(in, size)
	if err != nil {
		return err
	}
	der, err := s.signCatalog(ctx, catalog, k, ts)
	if err != nil {
		return err
	}
	_, err = out.Write(der)
	return err
}

func readCatalog(r io.ReaderAt, size int64) ([]byte, error) {
	if size > maxCatalog {
		return nil, fail(Malformed, RuleDER, 0, "a security catalog of %d bytes; %d are read", size, maxCatalog)
	}
	b := make([]byte, size)
	return b, readAt(r, b, 0, size)
}

func verifyCatalog(r io.ReaderAt, size int64, trust Trust) (*Signature, error) {
	der, err := readCatalog(r, size)
	if err != nil {
		return nil, err
	}
	list, err := trustList(der)
	if err != nil {
		return nil, err
	}
	if signed, err := cms.Signed(der); err != nil {
		return nil, fromCMS(err, 0)
	} else if !signed {
		return nil, fail(Unsigned, RulePresent, 0, "this catalog has no signer")
	}
	sd, err := parseAuthenticode(der, oidCertTrustList)
	if err != nil {
		return nil, err
	}
	sig, err := checkAuthenticode(sd, trust)
	if err != nil {
		return nil, err
	}
	h := sd.Hash.New()
	h.Write(list)
	sig.Digest = h.Sum(nil)
	return sig, nil
}
