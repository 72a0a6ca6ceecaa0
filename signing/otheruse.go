package signing

import (
	"bytes"
	"io"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Some signatures are over the file and nothing else: those of IMA and of a
// bundle, and of a CMS without signed attributes. Nothing in them says for what
// they were made, and other signatures of the same key are over a structure: with
// such a structure as the file, its signature is one of that file, which nobody
// signed. (RFC 5652 leaves this open for signed attributes.) checkOtherUse refuses
// a file that is such a structure from its first byte to its last:
//
//   - the signed attributes of a CMS (RFC 5652, 5.4): those of each Authenticode
//     signature, p7s and timestamp token
//   - fsverity_formatted_digest (Linux, fs/verity/signature.c)
//   - what IMA signs of a file with verity (ima_file_id)
//   - TBSCertificate (RFC 5280, 4.1) of version 3: a signer that is trusted by
//     being named is mostly self-signed
//   - CertificationRequestInfo (RFC 2986, 4.1), which each signer once signed
func checkOtherUse(r io.ReaderAt, size int64) error {
	head := make([]byte, min(size, 64)) // enough for the first lengths and types of each
	if err := readAt(r, head, 0, size); err != nil {
		return err
	}
	what := ""
	switch {
	case bytes.HasPrefix(head, []byte("FSVerity\x01\x00")) || bytes.HasPrefix(head, []byte("FSVerity\x02\x00")):
		what = "an fsverity digest"
	case len(head) > 2 && head[0] == imaVeritySignature && (head[1] == 4 && size == 2+32 || head[1] == 5 && size == 2+48 || head[1] == 6 && size == 2+64):
		what = "an fsverity digest of IMA"
	case isWhole(head, size, casn1.SET, casn1.SEQUENCE, casn1.OBJECT_IDENTIFIER):
		what = "the signed attributes of a CMS"
	case isWhole(head, size, casn1.SEQUENCE, explicit0, casn1.INTEGER):
		what = "the signed part of a certificate"
	case isWhole(head, size, casn1.SEQUENCE, casn1.INTEGER) && isRequest(head):
		what = "the signed part of a certificate request"
	default:
		return nil
	}
	return fail(Malformed, RuleContent, 0, "the file is %s, which the same key signs for another use, and this signature does not say which was meant: sign an archive that holds the file", what)
}

// isWhole reports whether an element of DER fills size bytes, of which head are
// the first, and begins with elements of the given types, each in the other.
func isWhole(head []byte, size int64, types ...casn1.Tag) bool {
	for i, t := range types {
		header, length, ok := elementHeader(head)
		if !ok || casn1.Tag(head[0]) != t || i == 0 && int64(header)+length != size {
			return false
		}
		head = head[header:]
	}
	return true
}

// isRequest reports whether a sequence that begins with an integer goes on with a
// Name, where that of a private key has an algorithm.
func isRequest(head []byte) bool {
	header, _, ok := elementHeader(head)
	if !ok {
		return false
	}
	s := cryptobyte.String(head[header:])
	if !s.SkipASN1(casn1.INTEGER) {
		return false
	}
	header, length, ok := elementHeader(s)
	if !ok || casn1.Tag(s[0]) != casn1.SEQUENCE {
		return false
	}
	// An empty Name is followed by the public key.
	return length == 0 || header < len(s) && casn1.Tag(s[header]) == casn1.SET
}

// elementHeader returns the length of an element's header and that of its
// content, which may be longer than b.
func elementHeader(b []byte) (header int, length int64, ok bool) {
	if len(b) < 2 {
		return 0, 0, false
	}
	if b[1] < 0x80 {
		return 2, int64(b[1]), true
	}
	n := int(b[1] & 0x7f)
	if n == 0 || n > 7 || len(b) < 2+n {
		return 0, 0, false
	}
	for _, c := range b[2 : 2+n] {
		length = length<<8 | int64(c)
	}
	return 2 + n, length, true
}
