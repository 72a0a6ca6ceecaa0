package release

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/hallmark-build/hallmark/signing"
	"github.com/hallmark-build/hallmark/signing/key"
)

// TrustOverride says whom to trust. For a command that signs, it takes the place
// of hallmark.yaml's trust. A command that only verifies reads no hallmark.yaml
// but Config: the one in the current folder may be by whoever made the file that
// is verified.
type TrustOverride struct {
	CA, TSA string // PEM files of roots: of signers, of timestamp authorities
	CRL     string // file of revocation lists, PEM or DER

	Signer string // file of signers' certificates, PEM or DER; without a CA they are trusted by being named
	Config string // hallmark.yaml whose trust is meant where nothing else is said
	Off    string // rules that are not enforced, with commas between
}

// openVerifier finds what a file from anywhere is verified with, and says whom
// that trusts. It opens no identity, asks for no password, starts nothing and
// writes nothing.
func openVerifier(o Options, t TrustOverride) (a anchors, said []string, err error) {
	files, err := t.files()
	if err != nil {
		return a, nil, err
	}
	if a.policy, err = files.policy(); err != nil {
		return a, nil, &UsageError{err}
	}
	dev, err := key.ReadDevelopment(key.Options{Dir: o.KeyDir})
	if err != nil && (files.CA == "" && t.Signer == "" || files.TSA == "") {
		return a, nil, err
	}
	if err := a.readSigners(t.Signer, files.CA == ""); err != nil {
		return a, nil, err
	}
	said, err = a.readCA(files.CA, t.Signer, dev)
	if err != nil {
		return a, nil, err
	}
	about, err := a.readTSA(files.TSA, dev.TSA)
	if err != nil {
		return a, nil, err
	}
	said = append(said, about)
	for _, name := range files.CRL {
		if a.caRoots == nil {
			return a, nil, usage("%s: a revocation list is checked by its issuer: name that with -ca=FILE", name)
		}
		if err := a.readCRL(name); err != nil {
			return a, nil, err
		}
		said = append(said, "revocation: "+name)
	}
	for _, r := range a.policy.Off {
		said = append(said, fmt.Sprintf("rule %s: off", r))
	}
	return a, said, nil
}

// files returns the files that the command line names, and for what it does not
// name those of the configuration that it names.
func (t TrustOverride) files() (TrustFiles, error) {
	var files TrustFiles
	if t.Config != "" {
		data, err := key.ReadRegular(t.Config, maxConfig)
		if err != nil {
			return files, &UsageError{fmt.Errorf("-config: %w", err)}
		}
		c, err := parseConfig(data)
		if err != nil {
			return files, err
		}
		files = c.Trust
		dir := Options{Dir: filepath.Dir(t.Config)}
		for _, f := range []*string{&files.CA, &files.TSA} {
			if *f != "" {
				*f = dir.path(*f)
			}
		}
		for i, f := range files.CRL {
			files.CRL[i] = dir.path(f)
		}
	}
	if t.CA != "" {
		files.CA = t.CA
	}
	if t.TSA != "" {
		files.TSA = t.TSA
	}
	if t.CRL != "" {
		files.CRL = []string{t.CRL}
	}
	if t.Off != "" {
		files.Off = strings.Split(t.Off, ",")
	}
	return files, nil
}

// maxConfig is how long a hallmark.yaml may be that a verifier reads.
const maxConfig = 1 << 20

// readSigners takes signers' certificates. Those of a CA that is named must
// still be by it.
func (a *anchors) readSigners(file string, pin bool) error {
	if file == "" {
		return nil
	}
	certs, err := readCertificates("-signer", file)
	if err != nil {
		return err
	}
	if pin {
		a.pinned = certs
	} else {
		a.known = certs
	}
	return nil
}

// readCA takes the roots of signers: a file, else those of the signers that were
// named, else the root of the development identity.
func (a *anchors) readCA(file, signers string, dev key.PublicDevelopment) (said []string, err error) {
	a.caFile = file
	switch {
	case file != "":
		if a.ca, err = readPEM("trust.ca", file); err != nil {
			return nil, err
		}
		said = append(said, "signers: by the roots in "+file)
		if signers != "" {
			said = append(said, "certificates of signers that files do not embed: "+signers)
		}
	case len(a.pinned) > 0:
		return []string{"signers: the " + plural(len(a.pinned), "certificate") + " in " + signers + ", trusted because -signer names it and there is no -ca"}, nil
	case dev.CA != nil:
		a.ca = encodePEM(dev.CA)
		if dev.Signer != nil {
			a.known = append(a.known, dev.Signer)
		}
		said = append(said, fmt.Sprintf("signers: by %s, the root of this user's development identity, because there is no -ca", dev.CA.Subject))
	default:
		return nil, usage("whom to trust is not said, and this user has no development identity whose root could be meant: name the signer's root with -ca=FILE and that of its timestamps with -tsaCA=FILE, the signer itself with -signer=FILE, or a hallmark.yaml that says so with -config=FILE")
	}
	if a.caRoots = x509.NewCertPool(); !a.caRoots.AppendCertsFromPEM(a.ca) {
		return nil, usage("trust.ca: %s holds no certificate", file)
	}
	return said, nil
}

// readTSA takes the roots of timestamp authorities: a file, else the root of the
// development authority, else none. The system's certificates are for web
// servers, and whoever gets one of those could timestamp.
func (a *anchors) readTSA(file string, dev *x509.Certificate) (said string, err error) {
	a.tsaFile = file
	switch {
	case file != "":
		if a.tsa, err = readPEM("trust.tsa", file); err != nil {
			return "", err
		}
		said = "timestamps: by the roots in " + file
	case dev != nil:
		a.tsa = encodePEM(dev)
		said = fmt.Sprintf("timestamps: by %s, the root of this user's development identity, because there is no -tsaCA", dev.Subject)
	default:
		return "timestamps: none is trusted, because there is no -tsaCA", nil
	}
	if a.tsaRoots = x509.NewCertPool(); !a.tsaRoots.AppendCertsFromPEM(a.tsa) {
		return "", usage("trust.tsa: %s holds no certificate", file)
	}
	return said, nil
}

// readCRL takes a file of revocation lists.
func (a *anchors) readCRL(name string) error {
	data, err := key.ReadRegular(name, maxTrustFile)
	if err != nil {
		return usage("trust.crl: %w", err)
	}
	lists, err := signing.ParseCRLs(data)
	if err != nil {
		return usage("trust.crl: %s: %w", name, err)
	}
	a.crl, a.crls = append(a.crl, data...), append(a.crls, lists...)
	return nil
}

// readCertificates reads a file of certificates, one or more, PEM or DER.
func readCertificates(what, file string) ([]*x509.Certificate, error) {
	data, err := key.ReadRegular(file, maxTrustFile)
	if err != nil {
		return nil, &UsageError{fmt.Errorf("%s: %w", what, err)}
	}
	if !bytes.Contains(data, []byte("-----BEGIN ")) {
		certs, err := x509.ParseCertificates(data)
		if err != nil || len(certs) == 0 {
			return nil, usage("%s: %s holds no certificate in PEM or DER", what, file)
		}
		return certs, nil
	}
	if data, err = readPEM(what, file); err != nil {
		return nil, err
	}
	certs, err := parsePEM(data)
	if err != nil {
		return nil, usage("%s: %s: %w", what, file, err)
	}
	return certs, nil
}
