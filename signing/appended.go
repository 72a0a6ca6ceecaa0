package signing

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/hallmark-build/hallmark/signing/cms"
	"github.com/hallmark-build/hallmark/signing/key"
)

// Appended signs ELF files, programs, shared objects and kernel modules alike, as
// the kernel's scripts/sign-file.c does modules
// (include/linux/module_signature.h):
//
//	ELF file, unchanged
//	DER of a detached CMS SignedData over all bytes before it
//	struct module_signature, 12 bytes:
//	    algo, hash          uint8   0
//	    id_type             uint8   2, PKCS #7 (0 OpenPGP and 1 X.509, before Linux 4.3)
//	    signer_len          uint8   0
//	    key_id_len          uint8   0
//	    pad                 3 bytes 0
//	    sig_len             uint32  big-endian, length of the CMS
//	"~Module signature appended~\n", 28 bytes
//
// The CMS has no signed attributes (the module loader refuses them) and names
// rsaEncryption. Its one unsigned attribute is the RFC 3161 token, under
// 1.2.840.113549.1.9.16.2.14, which kernels pass over. The key's chain is
// embedded, so that the CMS verifies with nothing but a root. With neither
// chain nor timestamp the bytes are those of sign-file.
//
// A trailer of an old kind has algo, hash and the two lengths set, and lies behind
// a signer's name, a key identifier and a signature of these lengths. No kernel
// takes it any more: it is named, and replaced or taken off like any other.
//
// A kernel with MODULE_SIG_FORCE, module.sig_enforce=1 or lockdown refuses to load
// a module without such a signature by a key of its own, of the keyring
// .secondary_trusted_keys or of the machine's owner (MOK, platform). No kernel
// looks for it when it runs a program.
//
// ELF does not mind bytes after its last section, so a signed program runs as
// before. Tools that write the file anew (strip, objcopy, upx) drop the
// signature without a word: sign last.
type Appended struct {
	Hash    crypto.Hash // 0 means SHA-256
	NoCerts bool        // embed no certificate, as sign-file does; verifiers must know the signer
}

var _ Scheme = Appended{}

// Name implements [Scheme].
func (Appended) Name() string { return "appended" }

const (
	trailerMagic    = "~Module signature appended~\n"
	trailerSize     = 12
	idTypePKCS7     = 2
	maxAppendedSize = 1 << 20 // of the CMS; with five certificates and a timestamp it is about 12 KiB
	maxStacked      = 16      // trailers that Sign takes off one file
)

// Sign implements [Scheme].
func (a Appended) Sign(ctx context.Context, src, dst string, k *key.Key, ts Timestamper) (*Signature, error) {
	return signTo(ctx, a, src, dst, k, ts)
}

func (a Appended) make(ctx context.Context, src, dst string, k *key.Key, ts Timestamper, trust Trust) (*output, *Signature, error) {
	h := cmp.Or(a.Hash, crypto.SHA256)
	return makeOutput(ctx, a, src, dst, trust, func(in *os.File, size int64, out *output) error {
		if kind := compression(src, in); kind != "" {
			return fail(Unsupported, RuleFormat, 0, "a module is signed before it is compressed: decompress it (%s), sign it, and compress it again",
				map[string]string{"xz": "xz -d", "zst": "zstd -d", "gz": "gzip -d"}[kind])
		}
		size, err := contentSize(in, size)
		if err != nil {
			return err
		}
		if err := checkELF(in, size); err != nil {
			return err
		}
		if hasSection(in, size) {
			return fail(Unsupported, RuleTrailing, 0, "the file has a signature in a section, which would be signed with it: take it off with `mage unsign`, then sign")
		}
		digest := h.New()
		w, err := out.copyOf(in, size)
		if err != nil {
			return fmt.Errorf("copying %s: %w", src, err)
		}
		if err := copyAndDigest(ctx, in, size, w, digest); err != nil {
			return fmt.Errorf("copying %s: %w", src, err)
		}
		m := cms.Message{ContentType: cms.OIDData, Digest: digest.Sum(nil), Hash: h, Bare: true}
		if !a.NoCerts {
			m.Certificates = k.Chain
		}
		der, err := m.Sign(k, k.Leaf(), countersigner(ctx, ts, h, cms.OIDTimestampToken))
		if err != nil {
			return fmt.Errorf("%s: %w", src, err)
		}
		if _, err := out.WriteAt(appendTrailer(der), size); err != nil {
			return fmt.Errorf("writing %s: %w", dst, err)
		}
		return nil
	})
}

// appendTrailer returns a CMS with what follows it.
func appendTrailer(der []byte) []byte {
	trailer := [trailerSize]byte{2: idTypePKCS7}
	binary.BigEndian.PutUint32(trailer[8:], uint32(len(der)))
	return append(append(bytes.Clone(der), trailer[:]...), trailerMagic...)
}

// Verify implements [Scheme].
func (Appended) Verify(ctx context.Context, file string, trust Trust) (*Signature, error) {
	return verifyFile(ctx, file, trust, func(ctx context.Context, r io.ReaderAt, size int64, trust Trust) (sig *Signature, err error) {
		err = decompressed(ctx, file, r, size, func(r io.ReaderAt, size int64) error {
			sig, err = verifyAppended(ctx, r, size, trust)
			return err
		})
		return sig, err
	})
}

func verifyAppended(ctx context.Context, r io.ReaderAt, size int64, trust Trust) (*Signature, error) {
	der, content, err := readTrailer(r, size)
	if err != nil {
		return nil, err
	}
	var magic [4]byte
	if readAt(r, magic[:], 0, content) != nil || string(magic[:]) != "\x7fELF" {
		return nil, fail(Unsupported, RuleFormat, 0, "what is signed is no ELF file")
	}
	if _, _, err := readTrailer(r, content); !isUnsigned(err) {
		return nil, fail(Malformed, RuleTrailing, content, "another appended signature below this one, which no kernel looks at: sign again, which replaces both")
	}
	sd, err := parseBare(der, content)
	if err != nil {
		return nil, err
	}
	var digest []byte
	sig, err := checkSigner(sd, func(h crypto.Hash) ([]byte, error) {
		d := h.New()
		if err := copyAndDigest(ctx, r, content, nil, d); err != nil {
			return nil, err
		}
		digest = d.Sum(nil)
		return digest, nil
	}, trust, tokenAttributes())
	if err != nil {
		return nil, tamperedContent(err, content)
	}
	// Damage to the file breaks its signature; what was signed must be whole too.
	if err := checkELF(r, content); err != nil {
		return nil, err
	}
	sig.Scheme, sig.Digest = Appended{}.Name(), digest
	return sig, nil
}

// tamperedContent words a failed signature for a scheme without a signed
// digest: content and signature do not fit, and nothing tells which changed.
func tamperedContent(err error, at int64) error {
	var e *Error
	if errors.As(err, &e) {
		if e.Kind == Tampered && e.Rule == RuleSignature {
			e.Err = fmt.Errorf("the file or its signature was changed after signing: %w", e.Err)
		}
		if e.Kind == Malformed && e.Offset == 0 {
			e.Offset = at
		}
	}
	return err
}

// trailer is what follows an appended signature, and where the parts lie.
type trailer struct {
	fields  [trailerSize]byte // struct module_signature
	at      int64             // where it begins
	content int64             // length of what is signed
}

// findTrailer returns the outermost trailer of a file, of whatever kind.
func findTrailer(r io.ReaderAt, size int64) (t trailer, err error) {
	var end [trailerSize + len(trailerMagic)]byte
	t.at = size - int64(len(end))
	if err := readAt(r, end[:], t.at, size); err == io.ErrUnexpectedEOF || string(end[trailerSize:]) != trailerMagic {
		return t, fail(Unsigned, RulePresent, 0, "no appended signature: the file does not end in %q", trailerMagic)
	} else if err != nil {
		return t, err
	}
	t.fields = [trailerSize]byte(end[:])
	length := int64(binary.BigEndian.Uint32(end[8:]))
	if length == 0 || length > maxAppendedSize {
		return t, fail(Malformed, RuleTable, t.at+8, "signature of %d bytes in a file of %d", length, size)
	}
	if t.fields[2] < idTypePKCS7 {
		length += int64(t.fields[3]) + int64(t.fields[4])
	}
	if length > t.at {
		return t, fail(Malformed, RuleTable, t.at+8, "signature of %d bytes in a file of %d", length, size)
	}
	t.content = t.at - length
	return t, nil
}

// readTrailer returns the outermost appended signature of a file and the
// length of what it signs.
func readTrailer(r io.ReaderAt, size int64) (der []byte, content int64, err error) {
	t, err := findTrailer(r, size)
	if err != nil {
		return nil, 0, err
	}
	switch kind := t.fields[2]; kind {
	case idTypePKCS7:
	case 0, 1:
		return nil, 0, fail(Malformed, RuleTable, t.at+2, "an old signature with %s identifier (type %d), which no kernel takes since 4.3: sign again, which replaces it",
			[]string{"an OpenPGP", "an X.509"}[kind], kind)
	default:
		return nil, 0, fail(Malformed, RuleTable, t.at+2, "signature type %d, must be 2 (PKCS #7)", kind)
	}
	for i, b := range t.fields[:8] {
		if i != 2 && b != 0 {
			return nil, 0, fail(Malformed, RuleTable, t.at+int64(i), "byte %d of the trailer is %#02x, must be 0", i, b)
		}
	}
	der = make([]byte, t.at-t.content)
	return der, t.content, readAt(r, der, t.content, size)
}

// contentSize returns the length of a file without its appended signatures, of
// whatever kind.
func contentSize(r io.ReaderAt, size int64) (int64, error) {
	for range maxStacked {
		t, err := findTrailer(r, size)
		if isUnsigned(err) {
			return size, nil
		} else if err != nil {
			return 0, err
		}
		size = t.content
	}
	return 0, fail(Malformed, RuleTrailing, 0, "more than %d appended signatures", maxStacked)
}

func isUnsigned(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == Unsigned
}

// copyAndDigest feeds the first size bytes of r to digest and, if it is not
// nil, to w.
func copyAndDigest(ctx context.Context, r io.ReaderAt, size int64, w io.Writer, digest hash.Hash) error {
	return pump(ctx, r, size, 1, func(b []byte) error {
		if w == nil {
			return nil
		}
		_, err := w.Write(b)
		return err
	}, func(b []byte, _ int64) { digest.Write(b) })
}
