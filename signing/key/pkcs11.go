//go:build cgo

package key

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/miekg/pkcs11"
)

// openToken opens the private key that u names, with the certificates that stand
// beside it in the token. The PIN is sent once, to the token's own driver: most
// tokens lock themselves after three wrong ones.
func openToken(ctx context.Context, u tokenURI, o Options) (material, error) {
	fail := func(err error, hint string) (material, error) {
		return material{}, &FileError{File: "token " + u.name(), Err: err, Hint: hint}
	}
	if _, err := os.Stat(u.module); err != nil {
		return material{}, &FileError{File: u.module, Err: errors.Unwrap(err), Hint: "module-path names the PKCS #11 library of the token's maker"}
	}
	lib := pkcs11.New(u.module)
	if lib == nil {
		return material{}, &FileError{File: u.module, Err: errors.New("it is no PKCS #11 library"), Hint: "module-path names the library of the token's maker"}
	}
	if err := lib.Initialize(); err != nil && !errors.Is(err, pkcs11.Error(pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED)) {
		return fail(err, "ask the driver "+u.module+" itself: pkcs11-tool --list-slots")
	}
	slot, err := findSlot(lib, u)
	if err != nil {
		return fail(err, "list the tokens with pkcs11-tool --list-slots")
	}
	t := &token{lib: lib}
	if t.session, err = lib.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION); err != nil {
		return fail(fmt.Errorf("opening a session: %w", err), "")
	}
	pin, err := u.pin(o)
	if err != nil {
		return material{}, err
	}
	defer clear(pin)
	if err := ctx.Err(); err != nil {
		return material{}, err
	}
	switch err := lib.Login(t.session, pkcs11.CKU_USER, string(pin)); {
	case errors.Is(err, pkcs11.Error(pkcs11.CKR_PIN_INCORRECT)), errors.Is(err, pkcs11.Error(pkcs11.CKR_PIN_LEN_RANGE)):
		return material{}, &PasswordError{File: "the token " + u.name()}
	case errors.Is(err, pkcs11.Error(pkcs11.CKR_PIN_LOCKED)):
		return fail(err, "unlock it with its PUK or security officer's PIN")
	case err != nil && !errors.Is(err, pkcs11.Error(pkcs11.CKR_USER_ALREADY_LOGGED_IN)):
		return fail(fmt.Errorf("logging in: %w", err), "")
	}
	if err := t.findKey(u); err != nil {
		return fail(err, "name it by object= and id=; pkcs11-tool --login --list-objects shows them")
	}
	if t.again {
		t.pin = string(pin)
	}
	certs, err := t.certificates()
	if err != nil {
		return fail(err, "")
	}
	return material{signer: t, certs: certs}, nil
}

// findSlot finds the one token that u describes.
func findSlot(lib *pkcs11.Ctx, u tokenURI) (uint, error) {
	slots, err := lib.GetSlotList(true)
	if err != nil {
		return 0, fmt.Errorf("listing tokens: %w", err)
	}
	var found []uint
	var labels []string
	for _, s := range slots {
		info, err := lib.GetTokenInfo(s)
		if err != nil {
			continue
		}
		labels = append(labels, strconv.Quote(info.Label))
		is := func(want, have string) bool { return want == "" || want == strings.TrimRight(have, " \x00") }
		if is(u.token, info.Label) && is(u.serial, info.SerialNumber) && is(u.manufacturer, info.ManufacturerID) && is(u.model, info.Model) &&
			is(u.slot, strconv.FormatUint(uint64(s), 10)) && info.Flags&pkcs11.CKF_TOKEN_INITIALIZED != 0 {
			found = append(found, s)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return 0, fmt.Errorf("no such token among %s: %s", strconv.Itoa(len(labels)), strings.Join(labels, ", "))
	}
	return 0, fmt.Errorf("%d tokens fit: add serial= to tell them apart", len(found))
}

// token is a private key in a token. A session does one operation at a time, and
// so does the hardware.
type token struct {
	lib     *pkcs11.Ctx
	session pkcs11.SessionHandle
	public  crypto.PublicKey
	private pkcs11.ObjectHandle
	again   bool   // CKA_ALWAYS_AUTHENTICATE: the PIN is wanted for each signature
	pin     string // kept for that alone

	mu sync.Mutex
}

var _ crypto.Signer = (*token)(nil)

// Public returns the public key, as the token states it.
func (t *token) Public() crypto.PublicKey { return t.public }

// Sign signs a digest: RSASSA-PKCS1-v1_5 or ECDSA in ASN.1.
func (t *token) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	mechanism, message := uint(pkcs11.CKM_ECDSA), digest
	if _, ok := t.public.(*rsa.PublicKey); ok {
		if _, pss := opts.(*rsa.PSSOptions); pss {
			return nil, errors.New("RSASSA-PSS is not asked of tokens")
		}
		var err error
		if message, err = digestInfo(opts.HashFunc(), digest); err != nil {
			return nil, err
		}
		mechanism = pkcs11.CKM_RSA_PKCS
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.lib.SignInit(t.session, []*pkcs11.Mechanism{pkcs11.NewMechanism(mechanism, nil)}, t.private); err != nil {
		return nil, fmt.Errorf("signing in the token: %w", err)
	}
	if t.again {
		if err := t.lib.Login(t.session, pkcs11.CKU_CONTEXT_SPECIFIC, t.pin); err != nil {
			return nil, fmt.Errorf("signing in the token, which asks for the PIN each time: %w", err)
		}
	}
	sig, err := t.lib.Sign(t.session, message)
	if err != nil {
		return nil, fmt.Errorf("signing in the token: %w", err)
	}
	if mechanism != pkcs11.CKM_ECDSA {
		return sig, nil
	}
	// PKCS #11 2.3.1: r and s, each half of the bytes.
	half := len(sig) / 2
	return asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(sig[:half]), new(big.Int).SetBytes(sig[half:])})
}

// digestInfo is what PKCS #1 v1.5 pads (RFC 8017 section 9.2), which
// CKM_RSA_PKCS leaves to the caller.
func digestInfo(h crypto.Hash, digest []byte) ([]byte, error) {
	last := map[crypto.Hash]int{crypto.SHA256: 1, crypto.SHA384: 2, crypto.SHA512: 3}[h]
	oid := asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, last} // RFC 5754 section 2
	switch {
	case h == crypto.SHA1:
		oid = asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26} // apk packages sign it
	case last == 0:
		return nil, fmt.Errorf("digest algorithm %v is not asked of tokens", h)
	}
	if len(digest) != h.Size() {
		return nil, fmt.Errorf("a %v digest has %d bytes, not %d", h, h.Size(), len(digest))
	}
	type algorithm struct {
		OID        asn1.ObjectIdentifier
		Parameters asn1.RawValue
	}
	return asn1.Marshal(struct {
		Algorithm algorithm
		Digest    []byte
	}{algorithm{oid, asn1.NullRawValue}, digest})
}

// find returns the objects of a template.
func (t *token) find(template ...*pkcs11.Attribute) ([]pkcs11.ObjectHandle, error) {
	if err := t.lib.FindObjectsInit(t.session, template); err != nil {
		return nil, fmt.Errorf("searching the token: %w", err)
	}
	var all []pkcs11.ObjectHandle
	for {
		found, _, err := t.lib.FindObjects(t.session, 64)
		if err != nil {
			t.lib.FindObjectsFinal(t.session)
			return nil, fmt.Errorf("searching the token: %w", err)
		}
		if len(found) == 0 {
			return all, t.lib.FindObjectsFinal(t.session)
		}
		all = append(all, found...)
	}
}

// attribute returns one attribute of an object, nil if it has none.
func (t *token) attribute(o pkcs11.ObjectHandle, kind uint) []byte {
	values, err := t.lib.GetAttributeValue(t.session, o, []*pkcs11.Attribute{pkcs11.NewAttribute(kind, nil)})
	if err != nil || len(values) != 1 {
		return nil
	}
	return values[0].Value
}

// findKey finds the one private key and what is public of it.
func (t *token) findKey(u tokenURI) error {
	keys, err := t.find(pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY))
	if err != nil {
		return err
	}
	var names []string
	keys = slices.DeleteFunc(keys, func(k pkcs11.ObjectHandle) bool {
		label, id := t.attribute(k, pkcs11.CKA_LABEL), t.attribute(k, pkcs11.CKA_ID)
		names = append(names, fmt.Sprintf("object=%q id=%x", label, id))
		return u.object != "" && u.object != string(label) || len(u.id) > 0 && !bytes.Equal(u.id, id)
	})
	slices.Sort(names)
	switch {
	case len(keys) == 0 && len(names) == 0:
		return errors.New("it holds no private key")
	case len(keys) == 0:
		return fmt.Errorf("it holds no such private key, only %s", strings.Join(names, ", "))
	case len(keys) > 1:
		return fmt.Errorf("it holds %d private keys that fit: %s", len(keys), strings.Join(names, ", "))
	}
	t.private = keys[0]
	t.again = bytes.Contains(t.attribute(t.private, pkcs11.CKA_ALWAYS_AUTHENTICATE), []byte{1})
	t.public, err = t.readPublic()
	return err
}

// readPublic reads the public key from the object that is the private key's pair,
// from the private key itself, or from the certificate of the same id.
func (t *token) readPublic() (crypto.PublicKey, error) {
	candidates := []pkcs11.ObjectHandle{t.private}
	id := t.attribute(t.private, pkcs11.CKA_ID)
	if len(id) > 0 {
		pairs, err := t.find(pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PUBLIC_KEY), pkcs11.NewAttribute(pkcs11.CKA_ID, id))
		if err != nil {
			return nil, err
		}
		candidates = append(pairs, t.private)
	}
	for _, o := range candidates {
		n, e := t.attribute(o, pkcs11.CKA_MODULUS), new(big.Int).SetBytes(t.attribute(o, pkcs11.CKA_PUBLIC_EXPONENT))
		if len(n) > 0 && e.Sign() > 0 && e.BitLen() < 32 {
			return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(e.Int64())}, nil
		}
		if pub := ecPublic(t.attribute(o, pkcs11.CKA_EC_PARAMS), t.attribute(o, pkcs11.CKA_EC_POINT)); pub != nil {
			return pub, nil
		}
	}
	if len(id) > 0 {
		certs, err := t.find(pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_CERTIFICATE), pkcs11.NewAttribute(pkcs11.CKA_ID, id))
		if err != nil {
			return nil, err
		}
		for _, o := range certs {
			if c, err := x509.ParseCertificate(t.attribute(o, pkcs11.CKA_VALUE)); err == nil {
				return c.PublicKey, nil
			}
		}
	}
	return nil, errors.New("it shows neither the public key nor the certificate that belongs to the private key")
}

// ecPublic decodes CKA_EC_PARAMS, the object identifier of a curve, and
// CKA_EC_POINT, an uncompressed point in an OCTET STRING (PKCS #11 2.3.3).
func ecPublic(params, point []byte) crypto.PublicKey {
	var oid asn1.ObjectIdentifier
	var raw []byte
	if _, err := asn1.Unmarshal(params, &oid); err != nil {
		return nil
	}
	if _, err := asn1.Unmarshal(point, &raw); err != nil {
		raw = point // some drivers leave the OCTET STRING out
	}
	for _, c := range []struct {
		oid   asn1.ObjectIdentifier
		curve elliptic.Curve
	}{
		{asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7}, elliptic.P256()}, // RFC 5480 section 2.1.1.1
		{asn1.ObjectIdentifier{1, 3, 132, 0, 34}, elliptic.P384()},
		{asn1.ObjectIdentifier{1, 3, 132, 0, 35}, elliptic.P521()},
	} {
		if oid.Equal(c.oid) {
			if pub, err := ecdsa.ParseUncompressedPublicKey(c.curve, raw); err == nil {
				return pub
			}
		}
	}
	return nil
}

// certificates reads all X.509 certificates of the token: the key's own, and
// those above it.
func (t *token) certificates() ([]*x509.Certificate, error) {
	objects, err := t.find(pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_CERTIFICATE))
	if err != nil {
		return nil, err
	}
	var certs []*x509.Certificate
	for _, o := range objects {
		if c, err := x509.ParseCertificate(t.attribute(o, pkcs11.CKA_VALUE)); err == nil && !contains(certs, c) {
			certs = append(certs, c)
		}
	}
	return certs, nil
}
