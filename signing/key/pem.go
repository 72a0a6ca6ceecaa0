package key

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// maxFile bounds what is read as an identity: a full chain of large RSA
// certificates with its key is some 20 kB.
const maxFile = 4 << 20

const bothHint = "give a PEM file with the certificate (-----BEGIN CERTIFICATE-----) and one with its private key, as pem:CHAIN+KEY"

// readPEM reads one or two files and returns also the name to use in errors.
func readPEM(path string, o Options) (material, string, error) {
	chain, key := splitPair(path)
	m, err := readPEMFile(chain, o, key == "")
	if err != nil {
		return material{}, "", err
	}
	if key == "" {
		if m.signer == nil {
			return material{}, "", &FileError{File: chain, Err: errors.New("it holds no private key"), Hint: bothHint}
		}
		if len(m.certs) == 0 {
			return material{}, "", &FileError{File: chain, Err: errors.New("it holds no certificate"), Hint: bothHint}
		}
		return m, chain, nil
	}
	if len(m.certs) == 0 {
		return material{}, "", &FileError{File: chain, Err: errors.New("it holds no certificate"), Hint: bothHint}
	}
	k, err := readPEMFile(key, o, true)
	if err != nil {
		return material{}, "", err
	}
	if k.signer == nil {
		return material{}, "", &FileError{File: key, Err: errors.New("it holds no private key"), Hint: bothHint}
	}
	m.signer = k.signer
	m.certs = append(m.certs, k.certs...)
	return m, key, nil
}

// splitPair splits CHAIN+KEY. A plus sign may be part of a name: a file of the
// whole name comes first, then the split of which both files exist.
func splitPair(path string) (chain, key string) {
	if exists(path) || !strings.Contains(path, "+") {
		return path, ""
	}
	for i := range len(path) {
		if path[i] == '+' && exists(path[:i]) && exists(path[i+1:]) {
			return path[:i], path[i+1:]
		}
	}
	chain, key, _ = strings.Cut(path, "+")
	return chain, key
}

func exists(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && !fi.IsDir()
}

// readFile reads a whole file, of at most maxFile bytes.
func readFile(file string) ([]byte, error) {
	f, _, err := OpenRegular(file)
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		hint := "check that it can be read"
		if errors.Is(err, fs.ErrNotExist) {
			hint = "check the path; it is relative to the folder you are in"
		}
		if errors.Is(err, ErrNotRegular) {
			hint = "name a file"
		}
		return nil, &FileError{File: file, Err: err, Hint: hint}
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, &FileError{File: file, Err: err}
	}
	if len(data) > maxFile {
		return nil, &FileError{File: file, Err: fmt.Errorf("it is larger than %d MiB", maxFile>>20), Hint: "this is not a certificate file"}
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, &FileError{File: file, Err: errors.New("it is empty")}
	}
	return data, nil
}

func readPEMFile(file string, o Options, wantKey bool) (material, error) {
	data, err := readFile(file)
	if err != nil {
		return material{}, err
	}
	defer clear(data)
	var given []byte
	defer func() { clear(given) }()
	m, err := parsePEM(file, data, wantKey, func() ([]byte, error) {
		password, err := askPassword(file, o)
		given = bytes.Clone(password)
		return password, err
	})
	if trimmed, ok := withoutNewline(given, err); ok {
		again, errAgain := parsePEM(file, data, wantKey, func() ([]byte, error) { return bytes.Clone(trimmed), nil })
		if errAgain == nil {
			o.noteNewline(file)
			return again, nil
		}
	}
	return m, err
}

// withoutNewline returns a password that was wrong without the newlines at its
// end, which come from a secret store or an editor; false if it has none.
func withoutNewline(password []byte, err error) ([]byte, bool) {
	var wrong *PasswordError
	trimmed := bytes.TrimRight(password, "\r\n")
	return trimmed, errors.As(err, &wrong) && !wrong.Missing && len(trimmed) < len(password) && len(trimmed) > 0
}

func (o Options) noteNewline(file string) {
	if o.Note != nil {
		o.Note(fmt.Sprintf("the password given for %s ends in a newline that does not belong to it; it was left out", file))
	}
}

// askPassword returns the password, not empty.
func askPassword(file string, o Options) ([]byte, error) {
	if o.Password == nil {
		return nil, &PasswordError{File: file, Missing: true}
	}
	password, err := o.Password(file)
	if err != nil {
		return nil, &PasswordError{File: file, Missing: true, Err: err}
	}
	if len(password) == 0 {
		return nil, &PasswordError{File: file, Missing: true}
	}
	return password, nil
}

// parsePEM reads certificates, and the private key if it is wanted, from the
// text of file.
func parsePEM(file string, data []byte, wantKey bool, password func() ([]byte, error)) (material, error) {
	var m material
	blocks, err := Blocks(data)
	if err != nil {
		return m, blockError(file, err)
	}
	keys := 0
	for _, block := range blocks {
		switch block.Type {
		case "CERTIFICATE", "X509 CERTIFICATE":
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return m, &FileError{File: file, Err: fmt.Errorf("certificate %d: %w", len(m.certs)+1, err), Hint: "export it again"}
			}
			if !contains(m.certs, c) {
				m.certs = append(m.certs, c)
			}
		case "PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY",
			"DSA PRIVATE KEY", "OPENSSH PRIVATE KEY":
			keys++
			if !wantKey {
				clear(block.Bytes)
				continue
			}
			if keys > 1 {
				return m, &FileError{File: file, Err: errors.New("it holds several private keys"), Hint: "leave only the one to sign with"}
			}
			signer, err := parseKey(file, block.Block, password)
			clear(block.Bytes)
			if err != nil {
				return m, err
			}
			m.signer = signer
		case "PKCS7", "CMS":
			return m, &FileError{File: file, Err: errors.New("it holds certificates in a PKCS#7 envelope"),
				Hint: "convert it: openssl pkcs7 -print_certs -in " + file + " -out chain.pem"}
		}
		// Anything else (EC PARAMETERS, a request, a revocation list) is
		// no part of an identity.
	}
	if keys == 0 && len(m.certs) == 0 {
		return m, notPEM(file, data)
	}
	return m, nil
}

// blockError names the file of an error of [Blocks].
func blockError(file string, err error) error {
	var b *BlockError
	if !errors.As(err, &b) {
		return &FileError{File: file, Err: err}
	}
	return &FileError{File: file, Err: &BlockError{Line: b.Line, What: b.What}, Hint: strings.NewReplacer("FILE", file, "NEW", "new.pem").Replace(b.Hint)}
}

// notPEM says what a file without any block of ours seems to be.
func notPEM(file string, data []byte) error {
	err := &FileError{File: file, Err: errors.New("it holds neither certificate nor private key in PEM"), Hint: bothHint}
	if len(data) > 0 && data[0] == 0x30 {
		if isPFX(data) {
			err.Hint = "it is a PKCS#12 file: write pfx:" + file
		} else {
			err.Hint = "it is DER: convert it with openssl x509 -inform DER or openssl pkey -inform DER"
		}
	}
	return err
}

func parseKey(file string, block *pem.Block, password func() ([]byte, error)) (crypto.Signer, error) {
	// RFC 1421 4.6.1.1. The password goes through one round of MD5, and
	// nothing says whether it was the right one.
	if strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
		return nil, &FileError{File: file, Err: errors.New(`the private key is encrypted in OpenSSL's old form ("Proc-Type: 4,ENCRYPTED"), which is not supported`),
			Hint: "convert it: openssl pkcs8 -topk8 -in " + file + " -out new.pem"}
	}
	var k any
	var err error
	switch block.Type {
	case "ENCRYPTED PRIVATE KEY":
		if k, err = openPKCS8(file, block.Bytes, password); err != nil {
			return nil, err
		}
	case "PRIVATE KEY":
		k, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		k, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		k, err = x509.ParseECPrivateKey(block.Bytes)
	case "OPENSSH PRIVATE KEY":
		return nil, &FileError{File: file, Err: errors.New("it holds an SSH key"), Hint: "convert a copy of it: ssh-keygen -p -m PKCS8 -f COPY"}
	default:
		return nil, &AlgorithmError{File: file, Algorithm: strings.TrimSuffix(block.Type, " PRIVATE KEY"), Reason: "verifiers do not take it"}
	}
	if err != nil {
		return nil, unreadableKey(file, err)
	}
	return asSigner(file, k)
}

func unreadableKey(file string, err error) error {
	return &FileError{File: file, Err: fmt.Errorf("private key: %w", err), Hint: "export it again"}
}

func asSigner(file string, k any) (crypto.Signer, error) {
	signer, ok := k.(crypto.Signer)
	if !ok {
		return nil, &AlgorithmError{File: file, Algorithm: fmt.Sprintf("%T", k), Reason: "it cannot sign"}
	}
	return signer, nil
}

// openPKCS8 decrypts and parses. Whether the file is of a kind that can be
// read comes first: nobody is asked for a password in vain.
func openPKCS8(file string, der []byte, password func() ([]byte, error)) (any, error) {
	var scheme errScheme
	if _, _, err := parsePBES2(der); errors.As(err, &scheme) {
		return nil, unsupported(file, scheme)
	} else if err != nil {
		return nil, unreadableKey(file, err)
	}
	secret, err := password()
	if err != nil {
		return nil, err
	}
	defer clear(secret)
	plain, err := decryptPKCS8(der, secret)
	switch {
	case errors.As(err, &scheme):
		return nil, unsupported(file, scheme)
	case errors.Is(err, errPassword):
		return nil, &PasswordError{File: file}
	case err != nil:
		return nil, unreadableKey(file, err)
	}
	defer clear(plain)
	k, err := x509.ParsePKCS8PrivateKey(plain)
	if err != nil {
		// A key of an unknown kind, rightly decrypted, is still a
		// PrivateKeyInfo; what a wrong password leaves is not.
		var info struct {
			Version   int
			Algorithm pkix.AlgorithmIdentifier
			Key       []byte
		}
		if unmarshal(plain, &info) != nil {
			return nil, &PasswordError{File: file}
		}
		return nil, unreadableKey(file, err)
	}
	return k, nil
}

func unsupported(file string, scheme errScheme) error {
	return &FileError{File: file, Err: scheme,
		Hint: "convert it: openssl pkcs8 -in " + file + " | openssl pkcs8 -topk8 -v2 aes-256-cbc -out new.pem"}
}
