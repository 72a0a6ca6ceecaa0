// Package key opens a signing identity: one private key and the certificate
// chain that speaks for it, as a [Key] that any signature scheme can use.
//
// # References
//
// An identity is named by a reference, which never holds a secret:
//
//	pkcs11:URI       a key in a token, with the certificates that the token
//	                 holds (RFC 7512; see pkcs11uri.go)
//	pem:CHAIN+pkcs11:URI   the same with the certificates in a PEM file
//	kms:CHAIN+URI    a PEM file of certificates, and a key that stays in a
//	                 service: awskms://…, gcpkms://…, azurekms://…,
//	                 hashivault://…, by sigstore's plugin programs
//	azure:https://HOST/ACCOUNT/PROFILE   Azure Artifact Signing, which makes
//	                 short-lived certificates of its own (see azure.go)
//	relic:CLIENT.pem+https://HOST/KEY   a relic server, which signs whole files:
//	                 OpenRelic opens it, and Open does not
//	pfx:PATH         a PKCS#12 file (RFC 7292): .pfx or .p12
//	pem:CHAIN+KEY    two PEM files (RFC 7468), certificates and private key
//	pem:BOTH         one PEM file with both
//	dev              the development identity, made on first use
//
// A password or PIN, where one is needed, comes from [Options.Password].
//
// # What is read
//
// PKCS#12 files must be DER. Contents encrypted with PBES2 (AES-CBC) and with
// the older RC2-40, RC2-128 and 3DES schemes are read, with a MAC over SHA-1,
// SHA-256 or SHA-512, or PBMAC1 (RFC 9579).
//
// Private keys in PEM are PKCS#8 (RFC 5958), PKCS#8 encrypted with PBES2
// (RFC 8018: PBKDF2 or scrypt; AES-CBC or 3DES), PKCS#1 (RFC 8017) or SEC1
// (RFC 5915). OpenSSL's older form of encryption, "Proc-Type: 4,ENCRYPTED", is
// refused with the command that converts it.
//
// # What is checked
//
// Open returns a Key only if all of these hold: the key is RSA of at least
// 2048 bits, or ECDSA over P-256, P-384 or P-521; it belongs to a certificate
// in the file; that certificate has the extended key usage codeSigning
// (RFC 5280 4.2.1.12) and, when it limits its key usage, digitalSignature
// (4.2.1.3); no certificate of the chain has expired or is yet to begin.
// Whether the chain leads to a root that somebody trusts is not a question
// for this package.
//
// # The development identity
//
// It lives in four files of the user's configuration folder, each readable by
// the user alone and each holding, in PEM, a private key and the certificates
// from its own up to the root:
//
//	dev-ca.pem   dev-leaf.pem        code signing
//	dev-tsa-ca.pem   dev-tsa-leaf.pem    timestamping
//
// The two roots are apart, as they are in the real world, and each is limited
// by its own extended key usage to what it is for, so that a machine which is
// made to trust one of them does not trust it for anything else. Every subject
// says that it is for development.
package key

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"strings"
	"time"
)

// minRSABits is the smallest RSA modulus that is accepted: the CA/Browser
// Forum's code-signing requirements ask for 3072, older certificates that are
// still valid have 2048, and verifiers reject less.
const minRSABits = 2048

// Key is a signing identity.
//
// Public returns the public key of the leaf certificate: Open has compared
// the two. A Key never prints its secret, whatever the verb.
type Key struct {
	crypto.Signer

	// Chain is the certificate of the key first, then each certificate's
	// issuer, up to and including the root if the source held it.
	Chain []*x509.Certificate

	// Ref is the reference that was opened. It holds no secret.
	Ref string

	// Development says that nobody but this machine vouches for the
	// signatures made with the key.
	Development bool
}

// Options says where the parts of an identity that a reference does not name
// come from.
type Options struct {
	// Dir is the folder of the development identity. Empty means "hallmark"
	// in the user's configuration folder (os.UserConfigDir).
	Dir string

	// Password is asked for the password of a file, at most once and only
	// if the file needs one; what is the path of the file. Nil, or an empty
	// answer, means that none was given. Open overwrites the bytes returned.
	Password func(what string) ([]byte, error)

	// Note is told what its user should know although the identity opened,
	// in one line without secrets. It may be nil.
	Note func(line string)

	// Now is the time at which certificates must be valid, and from which
	// the development identity's run. Zero means time.Now.
	Now time.Time
}

func (o Options) now() time.Time {
	if o.Now.IsZero() {
		return time.Now()
	}
	return o.Now
}

// Open opens the identity that ref names.
//
// Its errors are *RefError for a reference that says nothing, *FileError for
// a file that is missing or does not hold one key and its certificate,
// *PasswordError, *MismatchError, *AlgorithmError, *UsageError and
// *ExpiredError.
func Open(ctx context.Context, ref string, o Options) (*Key, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r, err := parseRef(ref)
	if err != nil {
		return nil, err
	}
	switch r.scheme {
	case "dev":
		return openDev(ctx, development(), o)
	case "pfx":
		k, err := readPFX(r.path, o)
		if err != nil {
			return nil, err
		}
		return k.finish(ref, r.path, o)
	case "pem":
		if chain, uri, ok := strings.Cut(r.path, "+pkcs11:"); ok {
			k, err := openPKCS11(ctx, chain, uri, o)
			if err != nil {
				return nil, err
			}
			return k.finish(ref, chain, o)
		}
		k, file, err := readPEM(r.path, o)
		if err != nil {
			return nil, err
		}
		return k.finish(ref, file, o)
	case "kms":
		k, file, err := openKMS(ctx, r.path, o)
		if err != nil {
			return nil, err
		}
		return k.finish(ref, file, o)
	case "pkcs11":
		k, err := openPKCS11(ctx, "", r.path, o)
		if err != nil {
			return nil, err
		}
		return k.finish(ref, "pkcs11", o)
	case "relic":
		return nil, &RefError{Reason: "a relic server signs whole PE files, one at a time", Hint: "use `mage signFile`; a release needs a key, by pkcs11:, kms: or azure:"}
	case "azure":
		k, err := openAzure(ctx, r.path, o)
		if err != nil {
			return nil, err
		}
		return k.finish(ref, "azure", o)
	}
	return nil, &RefError{Reason: "identity scheme " + quoted(r.scheme) + " is not known", Hint: possible}
}

// OpenTSA opens the development timestamp authority, which has a root of its
// own, apart from the development identity's. Its errors are those of Open.
func OpenTSA(ctx context.Context, o Options) (*Key, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return openDev(ctx, developmentTSA(), o)
}

// Leaf is the certificate of the key.
func (k *Key) Leaf() *x509.Certificate { return k.Chain[0] }

// Root is the last certificate of the chain, the anchor against which a
// signature by this key can be verified on this machine. It is self-signed
// only if the source of the key held the root.
func (k *Key) Root() *x509.Certificate { return k.Chain[len(k.Chain)-1] }

// String is the reference and the subject, never the key.
func (k Key) String() string {
	if len(k.Chain) == 0 {
		return k.Ref
	}
	return k.Ref + " (" + k.Chain[0].Subject.String() + ")"
}

// GoString keeps %#v from printing the key.
func (k Key) GoString() string { return "key.Key{" + k.String() + "}" }

// MarshalText keeps encoders and structured logs from writing the key.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// material is what a file holds, before anything is checked.
type material struct {
	signer crypto.Signer
	certs  []*x509.Certificate
}

// finish makes a Key of what file held, if all checks pass.
func (m material) finish(ref, file string, o Options) (*Key, error) {
	if err := checkAlgorithm(file, m.signer.Public()); err != nil {
		return nil, err
	}
	leaf := leafOf(m.signer.Public(), m.certs, o.now())
	if leaf == nil {
		return nil, &MismatchError{File: file, Subject: m.certs[0].Subject.String()}
	}
	chain := OrderChain(leaf, m.certs, o.now())
	if err := checkUsage(file, leaf, x509.ExtKeyUsageCodeSigning); err != nil {
		return nil, err
	}
	if err := checkValidity(file, chain, o.now()); err != nil {
		return nil, err
	}
	return &Key{Signer: m.signer, Chain: chain, Ref: ref}, nil
}

// leafOf finds the certificate of the public key; of several, as after a
// renewal with the same key, the one that is valid and ends last.
func leafOf(pub crypto.PublicKey, certs []*x509.Certificate, now time.Time) *x509.Certificate {
	var leaf *x509.Certificate
	for _, c := range certs {
		if !samePublic(pub, c.PublicKey) {
			continue
		}
		if leaf == nil || better(c, leaf, now) {
			leaf = c
		}
	}
	return leaf
}

func better(a, b *x509.Certificate, now time.Time) bool {
	validA, validB := validAt(a, now), validAt(b, now)
	if validA != validB {
		return validA
	}
	return a.NotAfter.After(b.NotAfter)
}

func validAt(c *x509.Certificate, t time.Time) bool {
	return !t.Before(c.NotBefore) && !t.After(c.NotAfter)
}

// samePublic compares public keys of the kinds that are accepted.
func samePublic(a, b crypto.PublicKey) bool {
	switch a := a.(type) {
	case *rsa.PublicKey:
		return a.Equal(b)
	case *ecdsa.PublicKey:
		return a.Equal(b)
	}
	return false
}

func checkAlgorithm(file string, pub crypto.PublicKey) error {
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		if n := pub.N.BitLen(); n < minRSABits {
			return &AlgorithmError{File: file, Algorithm: fmt.Sprintf("RSA of %d bits", n),
				Reason: fmt.Sprintf("verifiers take %d bits or more", minRSABits)}
		}
		return nil
	case *ecdsa.PublicKey:
		switch pub.Curve {
		case elliptic.P256(), elliptic.P384(), elliptic.P521():
			return nil
		}
		return &AlgorithmError{File: file, Algorithm: "ECDSA over " + pub.Curve.Params().Name,
			Reason: "verifiers take P-256, P-384 and P-521"}
	}
	name := fmt.Sprintf("%T", pub)
	if name == "ed25519.PublicKey" {
		name = "Ed25519"
	}
	return &AlgorithmError{File: file, Algorithm: name,
		Reason: "neither Windows nor the Linux kernel takes it in a signature"}
}

// checkUsage asks for an extended key usage by name: a certificate without
// that extension, or with anyExtendedKeyUsage alone, is refused by Windows
// policies and by osslsigncode, so it is refused before anything is signed.
func checkUsage(file string, leaf *x509.Certificate, usage x509.ExtKeyUsage) error {
	found := false
	for _, u := range leaf.ExtKeyUsage {
		found = found || u == usage
	}
	name := "codeSigning"
	if usage == x509.ExtKeyUsageTimeStamping {
		name = "timeStamping"
	}
	if !found {
		return &UsageError{File: file, Subject: leaf.Subject.String(), Lacks: "extended key usage " + name}
	}
	if leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return &UsageError{File: file, Subject: leaf.Subject.String(), Lacks: "key usage digitalSignature"}
	}
	return nil
}

func checkValidity(file string, chain []*x509.Certificate, now time.Time) error {
	for _, c := range chain {
		if !validAt(c, now) {
			return &ExpiredError{File: file, Subject: c.Subject.String(), NotBefore: c.NotBefore, NotAfter: c.NotAfter, Now: now}
		}
	}
	return nil
}
