package key

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// PublicDevelopment is what a verifier needs of a development identity. A
// certificate that is not on disk is nil.
type PublicDevelopment struct {
	CA, Signer *x509.Certificate
	TSA        *x509.Certificate // root of the timestamp authority
}

// ReadDevelopment returns the certificates of this user's development identity.
// Nothing is created, and no private key is parsed.
func ReadDevelopment(o Options) (PublicDevelopment, error) {
	var d PublicDevelopment
	dir := o.Dir
	if dir == "" {
		base, err := os.UserConfigDir()
		if err != nil {
			return d, nil // no home, so no development identity
		}
		dir = filepath.Join(base, "hallmark")
	}
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return d, nil
	}
	if err != nil {
		return d, &FileError{File: dir, Err: err}
	}
	if mode := info.Mode().Perm(); runtime.GOOS != "windows" && mode&0o022 != 0 {
		return d, &FileError{File: dir, Err: fmt.Errorf("others may write into this folder (mode %#o), so its root certificates are not trusted", mode), Hint: "chmod 700 " + dir}
	}
	for _, f := range []struct {
		name string
		ca   bool
		to   **x509.Certificate
	}{{development().caFile, true, &d.CA}, {development().leafFile, false, &d.Signer}, {developmentTSA().caFile, true, &d.TSA}} {
		if *f.to, err = readPublic(filepath.Join(dir, f.name), f.ca); err != nil {
			return PublicDevelopment{}, err
		}
	}
	return d, nil
}

// readPublic returns the first certificate of a PEM file; nil if there is no
// such file.
func readPublic(file string, ca bool) (*x509.Certificate, error) {
	data, err := readFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer clear(data)
	blocks, err := Blocks(data)
	if err != nil {
		return nil, damaged(file, err)
	}
	for _, block := range blocks {
		if block.Type != "CERTIFICATE" {
			clear(block.Bytes)
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, damaged(file, err)
		}
		if c.IsCA != ca {
			return nil, damaged(file, errors.New("its certificate is for something else"))
		}
		return c, nil
	}
	return nil, damaged(file, errors.New("a certificate is missing"))
}
