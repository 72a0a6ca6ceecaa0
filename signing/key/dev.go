package key

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

const (
	devBits  = 3072 // the one size that every tested kernel takes
	caYears  = 10
	leafDays = 398                 // what certificate authorities give
	renewal  = 30 * 24 * time.Hour // a leaf with less left is made anew

	// backdate makes a new certificate valid on a virtual machine whose
	// clock is a little behind.
	backdate = time.Hour
)

// devKind is one of the two development identities.
type devKind struct {
	caFile, leafFile string
	caName, leafName string
	usage            x509.ExtKeyUsage
	usageOID         asn1.ObjectIdentifier
}

func development() devKind {
	return devKind{
		caFile: "dev-ca.pem", leafFile: "dev-leaf.pem",
		caName: "hallmark DEVELOPMENT CA", leafName: "DEVELOPMENT signature - not for release",
		usage: x509.ExtKeyUsageCodeSigning, usageOID: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 3},
	}
}

func developmentTSA() devKind {
	return devKind{
		caFile: "dev-tsa-ca.pem", leafFile: "dev-tsa-leaf.pem",
		caName: "hallmark DEVELOPMENT TSA root", leafName: "DEVELOPMENT timestamp - not for release",
		usage: x509.ExtKeyUsageTimeStamping, usageOID: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 8},
	}
}

// openDev opens a development identity and makes what is missing of it.
func openDev(ctx context.Context, kind devKind, o Options) (*Key, error) {
	dir, err := devDir(o)
	if err != nil {
		return nil, err
	}
	caFile, leafFile := filepath.Join(dir, kind.caFile), filepath.Join(dir, kind.leafFile)
	ca, err := readDev(caFile)
	if errors.Is(err, fs.ErrNotExist) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		ca, err = makeDev(caFile, false, func() (material, error) { return newCA(kind, o.now()) })
	}
	if err != nil {
		return nil, err
	}
	root := ca.certs[0]
	if !root.IsCA {
		return nil, damaged(caFile, errors.New("its certificate is not a CA"))
	}
	if !validAt(root, o.now()) {
		return nil, &ExpiredError{File: caFile, Subject: root.Subject.String(), NotBefore: root.NotBefore, NotAfter: root.NotAfter, Now: o.now(),
			Hint: "set this machine's clock, or delete the file, and another development CA is made"}
	}
	leaf, err := readDev(leafFile)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return nil, err
	}
	if missing || !kind.serves(leaf, root, o.now()) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		leaf, err = makeDev(leafFile, !missing, func() (material, error) { return newLeaf(kind, ca, o.now()) })
		if err != nil {
			return nil, err
		}
	}
	chain := []*x509.Certificate{leaf.certs[0], root}
	if !issued(root, chain[0]) {
		return nil, damaged(leafFile, errors.New("its certificate is not of the CA in "+caFile))
	}
	if err := checkUsage(leafFile, chain[0], kind.usage); err != nil {
		return nil, err
	}
	if err := checkValidity(leafFile, chain, o.now()); err != nil {
		return nil, err
	}
	return &Key{Signer: leaf.signer, Chain: chain, Ref: "dev", Development: true}, nil
}

// devDir returns the folder, made if it is missing, into which nobody else
// may write.
func devDir(o Options) (string, error) {
	dir := o.Dir
	if dir == "" {
		base, err := os.UserConfigDir()
		if err != nil {
			return "", &FileError{File: "development identity", Err: err, Hint: "set HOME, or XDG_CONFIG_HOME"}
		}
		dir = filepath.Join(base, "hallmark")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", &FileError{File: dir, Err: err, Hint: "the development identity is kept in this folder"}
	}
	fi, err := os.Stat(dir)
	if err != nil {
		return "", &FileError{File: dir, Err: err}
	}
	if mode := fi.Mode().Perm(); runtime.GOOS != "windows" && mode&0o022 != 0 {
		return "", &FileError{File: dir, Err: fmt.Errorf("others may write into this folder of private keys (mode %#o)", mode), Hint: "chmod 700 " + dir}
	}
	return dir, nil
}

// serves says that a leaf is the CA's and will last for a while.
func (kind devKind) serves(leaf material, root *x509.Certificate, now time.Time) bool {
	c := leaf.certs[0]
	if !issued(root, c) || !validAt(c, now) || checkUsage("", c, kind.usage) != nil {
		return false
	}
	return c.NotAfter.Sub(now) >= renewal || !c.NotAfter.Before(root.NotAfter)
}

// readDev reads a key and its certificates.
func readDev(file string) (material, error) {
	data, err := readFile(file)
	if err != nil {
		var missing *FileError
		if errors.Is(err, fs.ErrNotExist) || !errors.As(err, &missing) {
			return material{}, err
		}
		return material{}, damaged(file, missing.Err)
	}
	defer clear(data)
	if fi, err := os.Stat(file); err == nil && runtime.GOOS != "windows" && fi.Mode().Perm()&0o077 != 0 {
		return material{}, &FileError{File: file, Err: fmt.Errorf("others may read this private key (mode %#o)", fi.Mode().Perm()),
			Hint: "chmod 600 " + file + ", or delete it if others may have read it"}
	}
	m, err := parsePEM(file, data, true, func() ([]byte, error) { return nil, &PasswordError{File: file, Missing: true} })
	var fe *FileError
	switch {
	case errors.As(err, &fe):
		return material{}, damaged(file, fe.Err)
	case err != nil:
		return material{}, damaged(file, err)
	case m.signer == nil || len(m.certs) == 0:
		return material{}, damaged(file, errors.New("a key or a certificate is missing"))
	case !samePublic(m.signer.Public(), m.certs[0].PublicKey):
		return material{}, damaged(file, errors.New("its key does not match its certificate"))
	}
	return m, nil
}

func damaged(file string, err error) error {
	return &FileError{File: file, Err: fmt.Errorf("this part of the development identity is damaged: %w", err), Hint: "delete it, and another is made"}
}

// makeDev makes a key with its certificates and puts it at file, whole or not
// at all. Of two processes that do so at the same moment one wins, and both
// return what is then there: link(2) does not replace. With replace, where
// the file was there but is no longer of use, the last one wins, and each
// returns its own; they are of the same CA.
func makeDev(file string, replace bool, create func() (material, error)) (m material, err error) {
	m, err = create()
	if err != nil {
		return material{}, &FileError{File: file, Err: err}
	}
	text, err := encodePEM(m)
	if err != nil {
		return material{}, &FileError{File: file, Err: err}
	}
	defer clear(text)
	// CreateTemp makes the file with mode 0600.
	tmp, err := os.CreateTemp(filepath.Dir(file), ".hallmark-*")
	if err != nil {
		return material{}, &FileError{File: file, Err: err}
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(text)
	if err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return material{}, &FileError{File: file, Err: err}
	}
	if replace {
		if err := os.Rename(tmp.Name(), file); err != nil {
			return material{}, &FileError{File: file, Err: err}
		}
		return m, nil
	}
	switch err := os.Link(tmp.Name(), file); {
	case errors.Is(err, fs.ErrExist):
		return readDev(file)
	case err != nil:
		return material{}, &FileError{File: file, Err: err, Hint: "the folder must be on a file system with hard links"}
	}
	return m, nil
}

func encodePEM(m material) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(m.signer)
	if err != nil {
		return nil, err
	}
	defer clear(der)
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	for _, c := range m.certs {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return text, nil
}

func newCA(kind devKind, now time.Time) (material, error) {
	signer, err := rsa.GenerateKey(rand.Reader, devBits)
	if err != nil {
		return material{}, err
	}
	id, err := keyID(signer.Public())
	if err != nil {
		return material{}, err
	}
	// A part of the key's identifier makes the names of two machines'
	// roots differ, so that both can be trusted in one place.
	t := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"hallmark development"}, CommonName: kind.caName + " " + hex.EncodeToString(id[:4])},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.AddDate(caYears, 0, 0),
		SubjectKeyId:          id,
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{kind.usage},
	}
	c, err := create(t, t, signer.Public(), signer)
	if err != nil {
		return material{}, err
	}
	return material{signer, []*x509.Certificate{c}}, nil
}

func newLeaf(kind devKind, ca material, now time.Time) (material, error) {
	signer, err := rsa.GenerateKey(rand.Reader, devBits)
	if err != nil {
		return material{}, err
	}
	id, err := keyID(signer.Public())
	if err != nil {
		return material{}, err
	}
	// RFC 3161 2.3 wants a timestamp authority's extended key usage to be
	// critical and alone.
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{kind.usageOID})
	if err != nil {
		return material{}, err
	}
	root := ca.certs[0]
	t := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"hallmark development"}, CommonName: kind.leafName},
		NotBefore:             latest(now.Add(-backdate), root.NotBefore),
		NotAfter:              earliest(now.AddDate(0, 0, leafDays), root.NotAfter),
		SubjectKeyId:          id,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{{
			Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: kind.usage == x509.ExtKeyUsageTimeStamping, Value: usage,
		}},
		// cosign reads no certificate without a name of its own.
		URIs: []*url.URL{{Scheme: "urn", Opaque: "hallmark:development"}},
	}
	c, err := create(t, root, signer.Public(), ca.signer)
	if err != nil {
		return material{}, err
	}
	return material{signer, []*x509.Certificate{c, root}}, nil
}

func create(t, parent *x509.Certificate, pub crypto.PublicKey, signer crypto.Signer) (*x509.Certificate, error) {
	// RFC 5280 4.1.2.2: a positive integer of at most 20 octets.
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 158))
	if err != nil {
		return nil, err
	}
	t.SerialNumber = serial.Add(serial, big.NewInt(1))
	t.SignatureAlgorithm = x509.SHA256WithRSA
	der, err := x509.CreateCertificate(rand.Reader, t, parent, pub, signer)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// keyID is method 1 of RFC 5280 4.2.1.2, the SHA-1 of the public key's bits:
// evmctl finds a certificate by that, and nothing rests on its strength.
func keyID(pub crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, err
	}
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if err := unmarshal(der, &info); err != nil {
		return nil, err
	}
	sum := sha1.Sum(info.Key.Bytes)
	return sum[:], nil
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
