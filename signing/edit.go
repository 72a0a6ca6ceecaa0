package signing

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/hallmark-build/hallmark/signing/cms"
	"github.com/hallmark-build/hallmark/signing/key"
	"github.com/hallmark-build/hallmark/signing/sip"
)

// Append adds a signature by another key or with another digest to a signed PE
// file, nested in the one that is there (attribute 1.3.6.1.4.1.311.2.4.1, as
// `signtool sign /as` does): old verifiers see the first, new ones both. The
// result must hold against trust, both signatures of it.
func (a Authenticode) Append(ctx context.Context, src, dst string, k *key.Key, ts Timestamper, trust Trust) (*Signature, error) {
	h := cmp.Or(a.Hash, crypto.SHA256)
	return editPE(ctx, src, dst, trust, func(in io.ReaderAt, p *peFile, primary []byte) ([]byte, error) {
		var pages *pageTable
		if a.PageHashes {
			var err error
			if pages, err = newPageTable(p, in, crypto.SHA256); err != nil {
				return nil, err
			}
		}
		digest := h.New()
		if _, err := p.scan(ctx, in, nil, digest, pages); err != nil {
			return nil, err
		}
		der, err := a.sign(ctx, digest.Sum(nil), pages, h, k, ts)
		if err != nil {
			return nil, err
		}
		return cms.AddUnsigned(primary, cms.Attribute{Type: oidSpcNestedSignature, Values: [][]byte{der}})
	})
}

// AddTimestamp gives the signature of a PE file, which has none, a timestamp.
// The result must hold against trust.
func AddTimestamp(ctx context.Context, src, dst string, ts Timestamper, trust Trust) (*Signature, error) {
	return editPE(ctx, src, dst, trust, func(_ io.ReaderAt, _ *peFile, primary []byte) ([]byte, error) {
		sd, err := cms.Parse(primary)
		if err != nil {
			return nil, fromCMS(err, 0)
		}
		si := &sd.Signers[0]
		for _, a := range si.Unsigned {
			if a.Type.Equal(cms.OIDSpcTimestampToken) || a.Type.Equal(cms.OIDTimestampToken) || a.Type.Equal(cms.OIDCountersignature) {
				return nil, fail(Unsupported, RuleTimestamp, 0, "the signature has a timestamp: sign again to replace it")
			}
		}
		attributes, err := countersigner(ctx, ts, sd.Hash, cms.OIDSpcTimestampToken)(si.Signature)
		if err != nil {
			return nil, err
		}
		return cms.AddUnsigned(primary, attributes[0])
	})
}

// AddCertificates embeds certificates in the signature of a PE file that its
// signer has left out: without an intermediate, Windows warns. The result must
// hold against trust.
func AddCertificates(ctx context.Context, src, dst string, certs []*x509.Certificate, trust Trust) (*Signature, error) {
	return editPE(ctx, src, dst, trust, func(_ io.ReaderAt, _ *peFile, primary []byte) ([]byte, error) {
		return cms.AddCertificates(primary, certs)
	})
}

// editPE changes the signature of a PE file, which stays in one certificate
// table entry, and puts the file to dst if it holds against trust.
func editPE(ctx context.Context, src, dst string, trust Trust, change func(in io.ReaderAt, p *peFile, primary []byte) ([]byte, error)) (*Signature, error) {
	var sig *Signature
	err := rewrite(ctx, src, dst, func(in *os.File, size int64, out *output) error {
		p, err := readPE(in, size)
		if err != nil {
			return err
		}
		if p.tableOffset == 0 {
			return fail(Unsigned, RulePresent, 0, "no certificate table")
		}
		table := make([]byte, p.tableSize)
		if err := readAt(in, table, p.tableOffset, size); err != nil {
			return err
		}
		ders, err := readTable(table, p.tableOffset, trust)
		if err != nil {
			return err
		}
		if len(ders) != 1 {
			return fail(Unsupported, RuleTable, p.tableOffset, "%d entries in the certificate table: sign again, which makes one", len(ders))
		}
		der, err := change(in, p, ders[0])
		if err != nil {
			return err
		}
		sum, err := p.scan(ctx, in, out, crypto.SHA256.New(), nil)
		if err != nil {
			return err
		}
		if err := p.attach(out.File, certificateTable(der), sum); err != nil {
			return err
		}
		sig, err = Authenticode{}.Verify(ctx, out.Name(), trust)
		return err
	})
	return sig, err
}

// Unsign writes a file without its signature: an ELF file or a script as it was
// before it was signed, and a PE file up to the zeros, at most seven, that signing
// has added at its end, and to its checksum. Of a script, broken signature blocks
// and blanks behind them go, too.
func Unsign(ctx context.Context, src, dst string) error {
	return rewrite(ctx, src, dst, func(in *os.File, size int64, out *output) error {
		var magic [4]byte
		readAt(in, magic[:], 0, size) // a shorter file is of no format
		switch {
		case sip.IsScript(src):
			return unsignScript(src, in, size, out)
		case string(magic[:2]) == "MZ":
			return unsignPE(ctx, in, size, out)
		case string(magic[:]) == "\x7fELF":
			return unsignELF(ctx, in, size, out)
		}
		return fail(Unsupported, RuleFormat, 0, "signatures are taken off PE files, ELF files and scripts only")
	})
}

func unsignScript(name string, in io.ReaderAt, size int64, out io.Writer) error {
	subject, err := sip.Open(name, in, size)
	if err != nil {
		return fromSIP(err)
	}
	if der, err := subject.Signature(); der == nil && err == nil {
		return fail(Unsigned, RulePresent, 0, "this %s file has no signature", subject.Format())
	}
	u, ok := subject.(sip.Unsigner)
	if !ok {
		return fail(Unsupported, RuleFormat, 0, "signatures are not taken off %s files", subject.Format())
	}
	return fromSIP(u.Unsign(out))
}

func unsignPE(ctx context.Context, in io.ReaderAt, size int64, out *output) error {
	p, err := readPE(in, size)
	if err != nil {
		return err
	}
	if p.tableOffset == 0 {
		return fail(Unsigned, RulePresent, 0, "no certificate table")
	}
	sum, err := p.scan(ctx, in, out, crypto.SHA256.New(), nil)
	if err != nil {
		return err
	}
	return p.finish(out.File, 0, nil, sum)
}

func unsignELF(ctx context.Context, in io.ReaderAt, size int64, out *output) error {
	content, err := contentSize(in, size)
	if err != nil {
		return err
	}
	r, length := in, content
	if original, err := (Section{}).original(in, content); err == nil {
		r, length = original, original.size
	} else if content == size {
		return err
	}
	return copyAndDigest(ctx, r, length, out, crypto.SHA256.New())
}

// rewrite has write make a new file of src, and puts it to dst, whole and
// flushed, with the mode and extended attributes of src.
func rewrite(ctx context.Context, src, dst string, write func(in *os.File, size int64, out *output) error) error {
	in, info, err := openRegular(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := newOutput(dst)
	if err != nil {
		return err
	}
	defer out.discard()
	if err := write(in, info.Size(), out); err != nil {
		var e *Error
		if errors.As(err, &e) {
			e.File = src
		}
		return err
	}
	if err := out.keep(in, info); err != nil {
		return fmt.Errorf("writing %s: %w", dst, err)
	}
	if err := out.Sync(); err != nil {
		return fmt.Errorf("writing %s: %w", dst, err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return out.replace()
}

// Extract returns what a machine without the key sends to the one with it: a
// PKCS #7 SignedData with the SpcIndirectDataContent of a PE file and no signer,
// as `osslsigncode extract-data` writes it.
func (a Authenticode) Extract(ctx context.Context, file string) ([]byte, error) {
	h := cmp.Or(a.Hash, crypto.SHA256)
	in, info, err := openRegular(file)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	p, err := readPEToSign(in, info.Size())
	if err != nil {
		return nil, inFile(err, file)
	}
	var pages *pageTable
	if a.PageHashes {
		if pages, err = newPageTable(p, in, crypto.SHA256); err != nil {
			return nil, inFile(err, file)
		}
	}
	digest := h.New()
	if _, err := p.scan(ctx, in, nil, digest, pages); err != nil {
		return nil, err
	}
	var table []byte
	if pages != nil {
		if table, err = pages.table(); err != nil {
			return nil, err
		}
	}
	content, err := marshalIndirectData(h, digest.Sum(nil), table)
	if err != nil {
		return nil, err
	}
	return cms.Unsigned(oidSpcIndirectData, content, h)
}

// SignExtracted returns the signature over what Extract has returned.
func (a Authenticode) SignExtracted(ctx context.Context, extracted []byte, k *key.Key, ts Timestamper) ([]byte, error) {
	contentType, content, err := cms.Content(extracted)
	if err != nil {
		return nil, fromCMS(err, 0)
	}
	if !contentType.Equal(oidSpcIndirectData) {
		return nil, fail(Malformed, RuleContent, 0, "content type %v is not SpcIndirectDataContent: this was not extracted from a PE file", contentType)
	}
	d, err := parseIndirectData(content)
	if err == nil && d.misnamed {
		err = errors.New("the data type is not SpcPeImageData")
	}
	if err != nil {
		return nil, fail(Malformed, RuleContent, 0, "%w", err)
	}
	return a.signContent(ctx, oidSpcIndirectData, content, d.hash, k, ts)
}

// Attach puts a signature that was made elsewhere into a PE file, in the place of
// those that it has. The result must hold against trust.
func Attach(ctx context.Context, src, dst string, signature []byte, trust Trust) (*Signature, error) {
	var sig *Signature
	err := rewrite(ctx, src, dst, func(in *os.File, size int64, out *output) error {
		der, rest, err := splitDER(signature)
		if err != nil || len(bytes.Trim(rest, "\x00")) > 0 {
			return fail(Malformed, RuleDER, 0, "what is to be attached is no signature in DER")
		}
		p, err := readPEToSign(in, size)
		if err != nil {
			return err
		}
		sum, err := p.scan(ctx, in, out, crypto.SHA256.New(), nil)
		if err != nil {
			return err
		}
		if err := p.attach(out.File, certificateTable(der), sum); err != nil {
			return err
		}
		sig, err = Authenticode{}.Verify(ctx, out.Name(), trust)
		return err
	})
	return sig, err
}
