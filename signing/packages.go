package signing

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/hallmark-build/hallmark/signing/key"
)

// Packages of Linux distributions carry signatures in forms of their own, and
// know nothing of certificates:
//
//   - deb: OpenPGP over the contents of debian-binary, control.tar and data.tar,
//     in the ar member _gpgorigin (debsigs(1)); dpkg looks at it where
//     debsig-verify is installed and has a policy.
//   - rpm: OpenPGP over the header, and over header and payload, in the tags 268
//     and 1002 of the signature header (RPM's file format, V4); rpm and dnf check
//     both when the key is imported.
//   - apk: RSASSA-PKCS1-v1_5 with SHA-1 over the compressed control segment, in
//     .SIGN.RSA.NAME.rsa.pub (apk-package(5)); apk looks for the key of that name
//     in /etc/apk/keys. SHA-1 is the format's, not ours: apk installs nothing
//     that is signed in another way.
//
// The OpenPGP key is the identity's own, in a transferable public key of version
// 4 (RFC 4880 section 11.1) that is made when the certificate begins: the same
// certificate gives the same fingerprint. It is bound to the certificate by
// nothing but having the same key, so what verifies a package here is the
// certificate's key, and with it the certificate's chain.

// Formats of packages that are signed from inside.
const (
	PackageDeb = "deb"
	PackageRPM = "rpm"
	PackageAPK = "apk"
)

// PackageFormats lists the formats whose packages can carry a signature.
func PackageFormats() []string { return []string{PackageDeb, PackageRPM, PackageAPK} }

// PackageKey is an identity in the forms that package managers know.
type PackageKey struct {
	key    *key.Key
	entity *openpgp.Entity
}

// NewPackageKey prepares an identity; user is the user ID of the OpenPGP key, a
// name and a mail address.
func NewPackageKey(k *key.Key, user string) (*PackageKey, error) {
	born := k.Leaf().NotBefore.Truncate(time.Second)
	var private *packet.PrivateKey
	switch pub := k.Public().(type) {
	case *rsa.PublicKey:
		private = &packet.PrivateKey{PublicKey: *packet.NewRSAPublicKey(born, pub), PrivateKey: k.Signer}
	case *ecdsa.PublicKey:
		public, err := pgpPublic(pub, born)
		if err != nil {
			return nil, err
		}
		private = &packet.PrivateKey{PublicKey: *public, PrivateKey: k.Signer}
	default:
		return nil, fmt.Errorf("OpenPGP has no form for keys of type %T", pub)
	}
	h := pgpHash(k.Public())
	self := &packet.Signature{
		Version: 4, SigType: packet.SigTypePositiveCert, PubKeyAlgo: private.PubKeyAlgo, Hash: h, CreationTime: born,
		IssuerKeyId: &private.KeyId, IsPrimaryId: new(true), FlagsValid: true, FlagSign: true, FlagCertify: true,
		PreferredHash: []uint8{8, 9, 10}, // SHA-256, 384, 512
	}
	if err := self.SignUserId(user, &private.PublicKey, private, pgpConfig(born, h)); err != nil {
		return nil, fmt.Errorf("making the OpenPGP key of %s: %w", k, err)
	}
	return &PackageKey{k, &openpgp.Entity{
		PrimaryKey: &private.PublicKey, PrivateKey: private,
		Identities: map[string]*openpgp.Identity{user: {Name: user, UserId: &packet.UserId{Id: user}, SelfSignature: self, Signatures: []*packet.Signature{self}}},
	}}, nil
}

// pgpPublic is the OpenPGP form of a NIST curve's key (RFC 6637 section 9), read
// from the bytes of its packet, since the library makes none from a key of Go's.
func pgpPublic(pub *ecdsa.PublicKey, born time.Time) (*packet.PublicKey, error) {
	oid := map[string][]byte{ // RFC 6637 section 11
		"P-256": {0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07},
		"P-384": {0x2b, 0x81, 0x04, 0x00, 0x22},
		"P-521": {0x2b, 0x81, 0x04, 0x00, 0x23},
	}[pub.Params().Name]
	point, err := pub.Bytes()
	if err != nil || oid == nil {
		return nil, fmt.Errorf("OpenPGP has no form for keys over %s", pub.Params().Name)
	}
	const version, algorithm, pointBits = 4, 19, 3 // an uncompressed point begins with 0x04
	body := binary.BigEndian.AppendUint32([]byte{version}, uint32(born.Unix()))
	body = append(append(body, algorithm, byte(len(oid))), oid...)
	body = binary.BigEndian.AppendUint16(body, uint16(8*(len(point)-1)+pointBits))
	body = append(body, point...)
	// An old-format packet of type 6 with a length of one byte (RFC 4880 section 4.2.1).
	p, err := packet.Read(bytes.NewReader(append([]byte{0x80 | 6<<2, byte(len(body))}, body...)))
	if err != nil {
		return nil, err
	}
	return p.(*packet.PublicKey), nil
}

func pgpConfig(now time.Time, h crypto.Hash) *packet.Config {
	no := false
	return &packet.Config{
		DefaultHash: h, Time: func() time.Time { return now },
		NonDeterministicSignaturesViaNotation: &no, // the same package twice, please
	}
}

// Takes reports why the identity cannot sign packages of a format.
func (p *PackageKey) Takes(format string) error {
	_, isRSA := p.key.Public().(*rsa.PublicKey)
	switch {
	case !slices.Contains(PackageFormats(), format):
		return fmt.Errorf("packages of format %q carry no signature", format)
	case isRSA || format == PackageDeb:
		return nil
	case format == PackageRPM:
		return errors.New("rpm checks no ECDSA signature: sign with an RSA key, or leave rpm out of sign.packages")
	}
	return errors.New("apk knows RSA alone: sign with an RSA key, or leave apk out of sign.packages")
}

// Sign makes the signature of a package that was made at a time: for deb and rpm
// of the content that is read, for apk of the SHA-1 digest that is read.
func (p *PackageKey) Sign(format string, made time.Time, signed io.Reader) ([]byte, error) {
	if err := p.Takes(format); err != nil {
		return nil, err
	}
	if format == PackageAPK {
		digest, err := io.ReadAll(io.LimitReader(signed, 64))
		if err != nil {
			return nil, err
		}
		sig, err := p.key.Sign(nil, digest, crypto.SHA1)
		if err != nil {
			return nil, fmt.Errorf("apk packages are signed over SHA-1, which this key refused; leave apk out of sign.packages: %w", err)
		}
		return sig, nil
	}
	if born := p.entity.PrimaryKey.CreationTime; made.Before(born) {
		made = born // OpenPGP takes no signature that is older than its key
	}
	var sig bytes.Buffer
	if err := openpgp.DetachSign(&sig, p.entity, signed, pgpConfig(made, pgpHash(p.key.Public()))); err != nil {
		return nil, err
	}
	if format == PackageRPM {
		return sig.Bytes(), nil
	}
	return armored(openpgp.SignatureType, sig.Bytes())
}

// pgpHash is the digest that is as strong as the key: GnuPG takes no other with
// ECDSA (RFC 6637 section 13).
func pgpHash(public crypto.PublicKey) crypto.Hash {
	if pub, ok := public.(*ecdsa.PublicKey); ok {
		switch size := pub.Params().BitSize; {
		case size > 384:
			return crypto.SHA512
		case size > 256:
			return crypto.SHA384
		}
	}
	return crypto.SHA256
}

// OpenPGP returns the public key for rpm, gpg and debsig-verify, armored.
func (p *PackageKey) OpenPGP() ([]byte, error) {
	var b bytes.Buffer
	if err := p.entity.Serialize(&b); err != nil {
		return nil, err
	}
	return armored(openpgp.PublicKeyType, b.Bytes())
}

// APK returns the public key for /etc/apk/keys, in PEM.
func (p *PackageKey) APK() ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(p.key.Public())
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

func armored(kind string, data []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := armor.Encode(&b, kind, nil)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}
