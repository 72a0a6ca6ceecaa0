package signing

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"math/big"
	"slices"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// VerifyPackage verifies one signature of a package by the key of a certificate
// that trust knows, and that certificate by trust: for an OpenPGP signature the
// certificate whose key it names as its issuer, for an apk, whose signature names
// none, the one by whose key it holds. An OpenPGP signature's time is what its
// maker claims, so the certificate must be valid now. signed is what the
// signature is over.
//
// Nothing of the signature is given to the OpenPGP library, which is for what we
// make ourselves: it panics on some subpackets and allocates what a length field
// says.
func VerifyPackage(format string, signature []byte, signed io.Reader, trust Trust) (*Signature, error) {
	known := trust.known()
	if format == PackageAPK {
		return verifyAPK(signature, signed, trust)
	}
	if format == PackageDeb && bytes.HasPrefix(signature, []byte("-----BEGIN ")) {
		var err error
		if signature, err = unarmor(signature); err != nil {
			return nil, err
		}
	}
	sig, err := parsePGP(signature)
	if err != nil {
		return nil, err
	}
	signer, public, err := sig.signer(known)
	if err != nil {
		return nil, err
	}
	if err := sig.verify(signer, signed); err != nil {
		return nil, err
	}
	if err := sig.checkForm(public); err != nil {
		return nil, err
	}
	if err := sig.checkTime(public, trust); err != nil {
		return nil, err
	}
	return vouchPackage(format, signer, sig.hash, trust)
}

// vouchPackage verifies the certificate by whose key a package's signature holds.
func vouchPackage(format string, signer *x509.Certificate, h crypto.Hash, trust Trust) (*Signature, error) {
	trust.Policy.Off = append(slices.Clone(trust.Policy.Off), RuleTimestamp)
	sig, err := vouch(signer, h, nil, nil, trust)
	if err != nil {
		return nil, err
	}
	sig.Scheme = format
	return sig, nil
}

func verifyAPK(signature []byte, signed io.Reader, trust Trust) (*Signature, error) {
	known := trust.known()
	if len(known) == 0 {
		return nil, fail(UnknownSigner, RuleChain, 0, "an apk's signature holds no certificate, and none of its signer is known here: name its certificate with -signer=FILE")
	}
	h := crypto.SHA1.New()
	if _, err := io.Copy(h, signed); err != nil {
		return nil, err
	}
	digest := h.Sum(nil)
	for _, signer := range known {
		pub, ok := signer.PublicKey.(*rsa.PublicKey)
		if ok && rsa.VerifyPKCS1v15(pub, crypto.SHA1, digest, signature) == nil {
			return vouchPackage(PackageAPK, signer, crypto.SHA1, trust)
		}
	}
	if _, ok := known[0].PublicKey.(*rsa.PublicKey); !ok {
		return nil, fail(UnknownSigner, RuleSignature, 0, "an apk's signature is by an RSA key, which %q is not", known[0].Subject)
	}
	return nil, fail(Tampered, RuleSignature, 0, "the apk's signature is not over its control segment by the key of %q: the package was changed, or another key signed it", known[0].Subject)
}

// pgpSignature is an OpenPGP signature packet of version 4 (RFC 9580 section
// 5.2.3), the only version that dpkg and rpm know.
type pgpSignature struct {
	raw         []byte
	oldFormat   bool
	kind        byte // signature type
	algorithm   byte // of the public key
	hash        crypto.Hash
	hashed      []byte // from the version to the end of the hashed subpackets: what is digested behind the content
	unhashed    []byte // subpackets that nothing covers
	tag         []byte // left 16 bits of the digest
	numbers     [][]byte
	created     time.Time
	lifetime    time.Duration // 0: for ever
	keyID       []byte        // 8 bytes, or nil
	fingerprint []byte        // 20 bytes, or nil
}

// The numbers of RFC 9580 sections 5.2.1, 5.2.3.7 and 9.1.
const (
	pgpBinarySignature = 0x00

	pgpRSA, pgpECDSA = 1, 19

	pgpCreated, pgpExpires, pgpIssuer, pgpFingerprint = 2, 3, 16, 33
)

// parsePGP reads one signature packet, all of it.
func parsePGP(b []byte) (*pgpSignature, error) {
	bad := func(format string, args ...any) (*pgpSignature, error) {
		return nil, fail(Malformed, RuleFormat, 0, "OpenPGP signature: "+format, args...)
	}
	s := &pgpSignature{raw: b}
	body, oldFormat, ok := pgpPacket(b)
	if !ok {
		return bad("not one signature packet of a known length")
	}
	s.oldFormat = oldFormat
	const fixed = 6
	if len(body) < fixed {
		return bad("cut off")
	}
	if body[0] != 4 {
		return bad("version %d, where 4 is what package managers know", body[0])
	}
	s.kind, s.algorithm = body[1], body[2]
	switch body[3] { // RFC 9580 section 9.5
	case 8:
		s.hash = crypto.SHA256
	case 9:
		s.hash = crypto.SHA384
	case 10:
		s.hash = crypto.SHA512
	case 1, 2, 3, 11:
		return nil, fail(Malformed, RuleWeak, 0, "the OpenPGP signature is over digest algorithm %d (RFC 9580 section 9.5), which is too weak to be verified", body[3])
	default:
		return bad("unknown digest algorithm %d", body[3])
	}
	n := fixed + int(body[4])<<8 + int(body[5])
	if n+2 > len(body) {
		return bad("cut off")
	}
	s.hashed = body[:n]
	rest := body[n:]
	n = 2 + int(rest[0])<<8 + int(rest[1])
	if n+2 > len(rest) {
		return bad("cut off")
	}
	s.unhashed, rest = rest[2:n], rest[n:]
	s.tag, rest = rest[:2], rest[2:]
	for len(rest) > 0 {
		if len(rest) < 2 || len(s.numbers) == 2 {
			return bad("bytes behind its last number")
		}
		bits := int(rest[0])<<8 + int(rest[1])
		n := 2 + (bits+7)/8
		if n > len(rest) || bits == 0 || new(big.Int).SetBytes(rest[2:n]).BitLen() != bits {
			return bad("a number that is cut off or has another length than it says")
		}
		s.numbers, rest = append(s.numbers, rest[2:n]), rest[n:]
	}
	if err := s.subpackets(s.hashed[fixed:], true); err != nil {
		return bad("%w", err)
	}
	if err := s.subpackets(s.unhashed, false); err != nil {
		return bad("%w", err)
	}
	return s, nil
}

// pgpPacket returns the body of a signature packet (type 2) that fills b, in
// either format of its header, with the shortest length (RFC 9580 section 4.2).
func pgpPacket(b []byte) (body []byte, oldFormat, ok bool) {
	const signaturePacket = 2
	if len(b) < 3 || len(b) > 1<<16 {
		return nil, false, false
	}
	switch b[0] {
	case 0xc0 | signaturePacket:
		switch first := int(b[1]); {
		case first < 192:
			return b[2:], false, len(b)-2 == first
		case first < 224:
			return b[3:], false, len(b)-3 == (first-192)<<8+int(b[2])+192
		}
	case 0x80 | signaturePacket<<2: // a length of one byte
		return b[2:], true, len(b)-2 == int(b[1])
	case 0x80 | signaturePacket<<2 | 1: // of two
		length := int(b[1])<<8 + int(b[2])
		return b[3:], true, len(b)-3 == length && length > 0xff
	}
	return nil, false, false
}

// subpackets reads subpackets (RFC 9580 section 5.2.3.7). Of the hashed ones, a
// critical one that is not known here makes the signature invalid.
func (s *pgpSignature) subpackets(b []byte, hashed bool) error {
	seen := map[byte]bool{}
	for len(b) > 0 {
		length, n := int(b[0]), 1
		switch {
		case length == 255:
			return fmt.Errorf("a subpacket length of five bytes")
		case length >= 192:
			if len(b) < 2 {
				return fmt.Errorf("a subpacket is cut off")
			}
			length, n = (length-192)<<8+int(b[1])+192, 2
		}
		if length == 0 || n+length > len(b) {
			return fmt.Errorf("a subpacket is cut off or empty")
		}
		kind, critical, value := b[n]&0x7f, b[n]&0x80 != 0, b[n+1:n+length]
		b = b[n+length:]
		known := kind == pgpCreated || kind == pgpExpires || kind == pgpIssuer || kind == pgpFingerprint
		switch {
		case known && seen[kind]:
			return fmt.Errorf("subpacket %d is there twice", kind)
		case !known && critical && hashed:
			return fmt.Errorf("critical subpacket %d, which is not known here", kind)
		}
		seen[kind] = true
		if err := s.subpacket(kind, value, hashed); err != nil {
			return err
		}
	}
	if hashed && !seen[pgpCreated] {
		return fmt.Errorf("without the time when it was made")
	}
	return nil
}

func (s *pgpSignature) subpacket(kind byte, value []byte, hashed bool) error {
	want := map[byte]int{pgpCreated: 4, pgpExpires: 4, pgpIssuer: 8, pgpFingerprint: 21}[kind]
	if want > 0 && len(value) != want {
		return fmt.Errorf("subpacket %d of %d bytes, not %d", kind, len(value), want)
	}
	switch kind {
	case pgpCreated:
		if hashed {
			s.created = time.Unix(int64(binary.BigEndian.Uint32(value)), 0)
		}
	case pgpExpires:
		if hashed {
			s.lifetime = time.Duration(binary.BigEndian.Uint32(value)) * time.Second
		}
	case pgpIssuer:
		if s.keyID != nil && !bytes.Equal(s.keyID, value) {
			return fmt.Errorf("two issuers")
		}
		s.keyID = value
	case pgpFingerprint:
		if value[0] != 4 {
			return fmt.Errorf("the fingerprint of a key of version %d", value[0])
		}
		if s.fingerprint != nil && !bytes.Equal(s.fingerprint, value[1:]) {
			return fmt.Errorf("two issuers")
		}
		s.fingerprint = value[1:]
	}
	return nil
}

// issuer is the name of the key that made the signature, as gpg shows it.
func (s *pgpSignature) issuer() string {
	switch {
	case s.fingerprint != nil:
		return fmt.Sprintf("%X", s.fingerprint)
	case s.keyID != nil:
		return fmt.Sprintf("%X", s.keyID)
	}
	return "without a name"
}

// signer finds the certificate whose key, in the form in which NewPackageKey
// makes it, the signature names as its issuer.
func (s *pgpSignature) signer(known []*x509.Certificate) (*x509.Certificate, *packet.PublicKey, error) {
	for _, c := range known {
		public, err := pgpCertificateKey(c)
		if err != nil {
			continue
		}
		id := public.Fingerprint[len(public.Fingerprint)-8:]
		if (s.fingerprint != nil || s.keyID != nil) &&
			(s.fingerprint == nil || bytes.Equal(s.fingerprint, public.Fingerprint)) && (s.keyID == nil || bytes.Equal(s.keyID, id)) {
			return c, public, nil
		}
	}
	return nil, nil, fail(UnknownSigner, RuleChain, 0, "signed by the OpenPGP key %s, which belongs to none of the %d certificates that are known here: name its certificate with -signer=FILE", s.issuer(), len(known))
}

// pgpCertificateKey is the OpenPGP form of a certificate's key.
func pgpCertificateKey(c *x509.Certificate) (*packet.PublicKey, error) {
	switch pub := c.PublicKey.(type) {
	case *rsa.PublicKey:
		return packet.NewRSAPublicKey(c.NotBefore, pub), nil
	case *ecdsa.PublicKey:
		return pgpPublic(pub, c.NotBefore)
	}
	return nil, fail(UnknownSigner, RuleSignature, 0, "OpenPGP has no form for the key of %q", c.Subject)
}

// verify checks that the signature is by the key of a certificate over what is
// read (RFC 9580 section 5.2.4).
func (s *pgpSignature) verify(signer *x509.Certificate, signed io.Reader) error {
	if s.kind != pgpBinarySignature {
		return fail(Malformed, RuleContent, 0, "an OpenPGP signature of type %#x, not one over a file", s.kind)
	}
	h := s.hash.New()
	if _, err := io.Copy(h, signed); err != nil {
		return err
	}
	h.Write(s.hashed)
	n := len(s.hashed)
	h.Write([]byte{4, 0xff, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
	digest := h.Sum(nil)
	good := false
	switch pub := signer.PublicKey.(type) {
	case *rsa.PublicKey:
		if s.algorithm == pgpRSA && len(s.numbers) == 1 && len(s.numbers[0]) <= pub.Size() {
			full := make([]byte, pub.Size())
			copy(full[len(full)-len(s.numbers[0]):], s.numbers[0])
			good = rsa.VerifyPKCS1v15(pub, s.hash, digest, full) == nil
		}
	case *ecdsa.PublicKey:
		if s.algorithm == pgpECDSA && len(s.numbers) == 2 {
			good = ecdsa.Verify(pub, digest, new(big.Int).SetBytes(s.numbers[0]), new(big.Int).SetBytes(s.numbers[1]))
		}
	}
	if !good {
		return fail(Tampered, RuleSignature, 0, "the OpenPGP signature is not over this package by the key of %q", signer.Subject)
	}
	// RFC 9580 section 5.2.3.2: the left 16 bits of the digest, for a quick check.
	if !bytes.Equal(digest[:2], s.tag) {
		return fail(Malformed, RuleSignature, 0, "the OpenPGP signature does not repeat the beginning of its digest")
	}
	return nil
}

// checkForm refuses what a signature could carry without being covered: another
// form of the packet's header, and unhashed subpackets other than the issuer's.
func (s *pgpSignature) checkForm(public *packet.PublicKey) error {
	if s.oldFormat {
		return fail(Malformed, RuleDER, 0, "the OpenPGP signature has a packet header of the old format, which hallmark does not write")
	}
	id := append([]byte{9, pgpIssuer}, public.Fingerprint[len(public.Fingerprint)-8:]...)
	if len(s.unhashed) > 0 && !bytes.Equal(s.unhashed, id) {
		return fail(Malformed, RuleUnsigned, 0, "the OpenPGP signature carries %d bytes of subpackets that nothing covers", len(s.unhashed))
	}
	return nil
}

func (s *pgpSignature) checkTime(public *packet.PublicKey, trust Trust) error {
	now := trust.now()
	switch {
	case trust.enforces(RuleFuture) && s.created.After(now.Add(clockSkew)):
		return fail(Untrusted, RuleFuture, 0, "the OpenPGP signature is from the future, %s: check this machine's clock", s.created.UTC().Format(time.RFC3339))
	case s.created.Before(public.CreationTime.Truncate(time.Second)):
		return fail(Untrusted, RuleValidity, 0, "the OpenPGP signature is of %s, before its key was made", s.created.UTC().Format(time.RFC3339))
	case trust.enforces(RuleValidity) && s.lifetime > 0 && now.After(s.created.Add(s.lifetime)):
		return fail(Expired, RuleValidity, 0, "the OpenPGP signature says of itself that it ended %s", s.created.Add(s.lifetime).UTC().Format(time.RFC3339))
	}
	return nil
}

// unarmor returns what is in an OpenPGP armor (RFC 9580 section 6.2), which must
// be written as hallmark and GnuPG write it: nothing before, behind or in it but
// the signature, no header lines, lines of 64 characters, the checksum.
func unarmor(text []byte) ([]byte, error) {
	const begin, end = "-----BEGIN PGP SIGNATURE-----\n\n", "\n-----END PGP SIGNATURE-----"
	bad := fail(Malformed, RuleTrailing, 0, "the OpenPGP armor is not written as signers write it: there are header lines, text around it, or other line ends")
	body, ok := bytes.CutPrefix(text, []byte(begin))
	at := bytes.LastIndex(body, []byte("\n="))
	if !ok || at < 0 {
		return nil, bad
	}
	data, err := base64.StdEncoding.Strict().DecodeString(string(body[:at]))
	if err != nil || !bytes.Contains(body[at:], []byte(end)) {
		return nil, bad
	}
	again, err := armored(openpgp.SignatureType, data)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, text) {
		return nil, bad
	}
	return data, nil
}
