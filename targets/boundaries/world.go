package boundaries

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hallmark-build/hallmark/signing"
	"github.com/hallmark-build/hallmark/signing/cms"
	"github.com/hallmark-build/hallmark/signing/compat"
	"github.com/hallmark-build/hallmark/signing/key"
	"github.com/hallmark-build/hallmark/signing/tsa"
)

// keyKinds are the keys that are put before the judges; the first is that of
// most cells.
func keyKinds() []string { return []string{"rsa3072", "rsa2048", "rsa4096", "p256", "p384", "p521"} }

func generate(kind string) (crypto.Signer, error) {
	switch kind {
	case "rsa2048":
		return rsa.GenerateKey(rand.Reader, 2048)
	case "rsa3072":
		return rsa.GenerateKey(rand.Reader, 3072)
	case "rsa4096":
		return rsa.GenerateKey(rand.Reader, 4096)
	case "p256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "p384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "p521":
		return ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	}
	return nil, fmt.Errorf("key %q is of no known kind", kind)
}

// world is an authority with an intermediate one, signers below it, and a
// timestamp authority apart. Private keys are in memory and nowhere else; the
// certificates are written for the judges.
//
// All signers have the same root, so that a judge that is dear to start, such as
// a kernel with its keyring, can be asked about all of them at once.
type world struct {
	dir          string
	root, middle *issued
	tsaRoot, tsa *issued
	signers      map[string]*issued
	expired      *issued      // ended a year ago
	brief        *issued      // ends soon: what it signs, without a timestamp, has expired then
	trust        compat.Trust // of the judges
	made         time.Time
}

// issued is a key with its certificate.
type issued struct {
	crypto.Signer
	cert *x509.Certificate
}

// The files of a world.
const (
	fileCA      = "ca.pem"
	fileTSA     = "tsa.pem"
	fileSigners = "signers.pem"
	filePolicy  = "policy.p7b"
)

// policy is for IPE (Documentation/admin-guide/LSM/ipe.rst): what starts is of
// the boot image, or its fs-verity digest is signed.
const policy = `policy_name=boundaries policy_version=0.0.1
DEFAULT action=ALLOW
DEFAULT op=EXECUTE action=DENY
op=EXECUTE boot_verified=TRUE action=ALLOW
op=EXECUTE fsverity_signature=TRUE action=ALLOW
`

// signPolicy returns the policy as the kernel takes it: the content of a CMS
// without signed attributes.
func (w *world) signPolicy() ([]byte, error) {
	content, err := asn1.Marshal([]byte(policy))
	if err != nil {
		return nil, err
	}
	k := w.key(keyKinds()[0])
	return cms.Message{ContentType: cms.OIDData, Content: content, Digest: hashOf(crypto.SHA256, []byte(policy)), Hash: crypto.SHA256,
		Bare: true, Certificates: k.Chain}.Sign(k, k.Leaf(), nil)
}

// newWorld makes all keys, and writes the certificates into dir.
func newWorld(dir string) (*world, error) {
	now := time.Now().Truncate(time.Second)
	w := &world{dir: dir, signers: map[string]*issued{}, made: now, trust: trustIn(dir)}
	var errs []error
	must := func(i *issued, err error) *issued {
		errs = append(errs, err)
		return i
	}
	// RSA keys take long, and there are several.
	var wg sync.WaitGroup
	keys := make([]crypto.Signer, len(keyKinds()))
	fail := make([]error, len(keys))
	for i, kind := range keyKinds() {
		wg.Go(func() { keys[i], fail[i] = generate(kind) })
	}
	var authorities [5]crypto.Signer
	var failed [5]error
	for i := range authorities {
		wg.Go(func() { authorities[i], failed[i] = rsa.GenerateKey(rand.Reader, 3072) })
	}
	wg.Wait()
	if err := errors.Join(append(fail, failed[:]...)...); err != nil {
		return nil, fmt.Errorf("making keys: %w", err)
	}
	w.root = must(issue(authorities[0], nil, "Boundary Root", now, authority(30)))
	w.tsaRoot = must(issue(authorities[1], nil, "Boundary Timestamp Root", now, authority(30)))
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	w.middle = must(issue(authorities[2], w.root, "Boundary Issuer", now, authority(20)))
	w.tsa = must(issue(authorities[3], w.tsaRoot, "Boundary Timestamp Authority", now, timestamping))
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for i, kind := range keyKinds() {
		w.signers[kind] = must(issue(keys[i], w.middle, "Boundary Signer "+kind, now, codeSigning(now.Add(-time.Hour), now.AddDate(0, 1, 0))))
	}
	w.expired = must(issue(keys[0], w.middle, "Boundary Signer of Old", now, codeSigning(now.AddDate(-3, 0, 0), now.AddDate(-1, 0, 0))))
	w.brief = &issued{Signer: authorities[4]}
	p, err := w.signPolicy()
	if err := errors.Join(err, w.write()); err != nil {
		return nil, err
	}
	return w, writeFile(filepath.Join(dir, filePolicy), p)
}

// begin gives the brief signer a certificate that ends after a while.
func (w *world) begin(while time.Duration) error {
	until := time.Now().Add(while).Truncate(time.Second)
	i, err := issue(w.brief.Signer, w.middle, "Boundary Signer for Seconds", w.made, codeSigning(w.made.Add(-time.Hour), until))
	if err != nil {
		return err
	}
	w.brief = i
	return w.write()
}

// write writes the certificates.
func (w *world) write() error {
	signers := []*issued{}
	for _, kind := range keyKinds() {
		signers = append(signers, w.signers[kind])
	}
	if w.brief.cert != nil {
		signers = append(signers, w.brief)
	}
	signers = append(signers, w.expired, w.middle)
	if err := os.MkdirAll(w.dir, 0o755); err != nil {
		return err
	}
	for name, certs := range map[string][]*issued{fileCA: {w.root}, fileTSA: {w.tsaRoot}, fileSigners: signers} {
		var b bytes.Buffer
		for _, c := range certs {
			if err := pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.cert.Raw}); err != nil {
				return err
			}
		}
		if err := writeFile(filepath.Join(w.dir, name), b.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

// trustIn is what judges are given of a world.
func trustIn(dir string) compat.Trust {
	in := func(name string) string { return filepath.Join(dir, name) }
	return compat.Trust{CAFile: in(fileCA), TSAFile: in(fileTSA), SignerFile: in(fileSigners), PolicyFile: in(filePolicy)}
}

// key returns a signer as an identity.
func (w *world) key(kind string) *key.Key { return w.identity(w.signers[kind]) }

func (w *world) identity(i *issued) *key.Key {
	return &key.Key{Signer: i.Signer, Chain: []*x509.Certificate{i.cert, w.middle.cert, w.root.cert}, Ref: "boundary"}
}

// stamps is the timestamp authority with its clock at a moment; the zero time is
// now.
func (w *world) stamps(at time.Time) signing.Timestamper {
	server := &tsa.Server{Key: &key.Key{Signer: w.tsa.Signer, Chain: []*x509.Certificate{w.tsa.cert, w.tsaRoot.cert}}}
	if !at.IsZero() {
		server.Now = func() time.Time { return at }
	}
	return tsa.Local{Server: server}
}

// issue makes a certificate for a key, signed by parent or by itself.
func issue(signer crypto.Signer, parent *issued, name string, now time.Time, edit func(*x509.Certificate) error) (*issued, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	c := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name, Organization: []string{"hallmark boundaries"}},
		NotBefore:    now.AddDate(-5, 0, 0), NotAfter: now.AddDate(5, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
	// RFC 5280, 4.2.1.2, method 1: kernels and evmctl find a key by it.
	spki, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return nil, err
	}
	var parts struct {
		Algorithm asn1.RawValue
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(spki, &parts); err != nil {
		return nil, err
	}
	id := sha1.Sum(parts.Key.Bytes)
	c.SubjectKeyId = id[:]
	if err := edit(c); err != nil {
		return nil, err
	}
	if parent == nil {
		parent = &issued{signer, c}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent.cert, signer.Public(), parent.Signer)
	if err != nil {
		return nil, fmt.Errorf("making the certificate of %s: %w", name, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &issued{signer, cert}, nil
}

func authority(years int) func(*x509.Certificate) error {
	return func(c *x509.Certificate) error {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
		c.NotAfter = c.NotAfter.AddDate(years, 0, 0)
		return nil
	}
}

// codeSigning has a subject alternative name, without which cosign reads no
// certificate.
func codeSigning(from, until time.Time) func(*x509.Certificate) error {
	return func(c *x509.Certificate) error {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
		c.EmailAddresses = []string{"signer@boundary.example"}
		c.NotBefore, c.NotAfter = from, until
		return nil
	}
}

// timestamping is critical (RFC 3161, 2.3), which crypto/x509 does not write by
// itself.
func timestamping(c *x509.Certificate) error {
	value, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: value}}
	return err
}
