package key

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"software.sslmate.com/src/go-pkcs12"
)

const reexport = "export it again: openssl pkcs12 -export -in chain.pem -inkey key.pem -out new.pfx"

// PFX ::= SEQUENCE {                              -- RFC 7292 section 4
//
//	version  INTEGER {v3(3)}(v3,...),
//	authSafe ContentInfo,
//	macData  MacData OPTIONAL }
//
// MacData ::= SEQUENCE {
//
//	mac        DigestInfo,
//	macSalt    OCTET STRING,
//	iterations INTEGER DEFAULT 1 }
type pfxFrame struct {
	Version  int
	AuthSafe struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue `asn1:"optional"`
	}
	Mac struct {
		Mac struct {
			Algorithm pkix.AlgorithmIdentifier
			Digest    []byte
		}
		Salt       []byte
		Iterations int `asn1:"optional,default:1"`
	} `asn1:"optional"`
}

func isPFX(der []byte) bool {
	var frame pfxFrame
	return unmarshal(der, &frame) == nil && frame.Version == 3
}

// readPFX opens a PKCS#12 file. It tries without a password first, so that
// nobody is asked for one that the file does not have.
func readPFX(file string, o Options) (material, error) {
	data, err := readFile(file)
	if err != nil {
		return material{}, err
	}
	defer clear(data)
	if data, err = unwrapPFX(file, data); err != nil {
		return material{}, err
	}
	defer clear(data)
	hasMAC, err := checkPFX(file, data)
	if err != nil {
		return material{}, err
	}
	m, err := decodePFX(file, data, "")
	if err != nil && !hasMAC {
		return material{}, &FileError{File: file, Err: errors.New("it is damaged, or it is encrypted without a MAC, which does not let a wrong password be told from damage"), Hint: reexport}
	}
	var wrong *PasswordError
	if !errors.As(err, &wrong) {
		return m, err
	}
	password, err := askPassword(file, o)
	if err != nil {
		return material{}, err
	}
	defer clear(password)
	m, err = decodePFX(file, data, string(password))
	if trimmed, ok := withoutNewline(password, err); ok {
		if again, errAgain := decodePFX(file, data, string(trimmed)); errAgain == nil {
			o.noteNewline(file)
			return again, nil
		}
	}
	return m, err
}

// unwrapPFX returns the DER of a file that may be in base64, as secret stores
// hold it, or in BER.
func unwrapPFX(file string, data []byte) ([]byte, error) {
	if text := bytes.TrimSpace(data); bytes.HasPrefix(text, []byte("MI")) {
		der := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
		n, err := base64.StdEncoding.Decode(der, text) // which passes over line ends
		if err != nil {
			return nil, &FileError{File: file, Err: fmt.Errorf("it seems to be a PKCS#12 file in base64, but is damaged: %w", err), Hint: "encode it again, or decode it: base64 --decode"}
		}
		data = der[:n]
	}
	if !isBER(data) {
		return data, nil
	}
	der, err := berToDER(data)
	if err != nil {
		return nil, &FileError{File: file, Err: err, Hint: reexport}
	}
	return der, nil
}

// isBER reports whether a sequence is of indefinite length, or the element after
// its first is: a file in DER has none.
func isBER(data []byte) bool {
	var v asn1.RawValue
	_, err := asn1.Unmarshal(data, &v)
	return len(data) > 2 && data[0] == 0x30 && (data[1] == 0x80 || err == nil && bytes.Contains(data[:min(len(data), 64)], []byte{0x30, 0x80}))
}

// checkPFX says what is wrong with the outside of a file, whether it has a
// MAC, and refuses one whose MAC would take hours to compute.
func checkPFX(file string, data []byte) (hasMAC bool, err error) {
	if strings.HasPrefix(strings.TrimSpace(string(data[:min(len(data), 64)])), "-----BEGIN ") {
		return false, &FileError{File: file, Err: errors.New("it is PEM, not PKCS#12"), Hint: "write pem:" + file}
	}
	var frame pfxFrame
	if err := unmarshal(data, &frame); err != nil {
		return false, &FileError{File: file, Err: fmt.Errorf("it is not a PKCS#12 file in DER: %w", err), Hint: reexport}
	}
	mac := frame.Mac.Mac.Algorithm
	n := frame.Mac.Iterations
	if mac.Algorithm.String() == "1.2.840.113549.1.5.14" { // PBMAC1
		var p pbes2Params // PBMAC1-params has the same shape
		var kdf pbkdf2Params
		if unmarshal(mac.Parameters.FullBytes, &p) == nil && unmarshal(p.KDF.Parameters.FullBytes, &kdf) == nil {
			n = kdf.Iterations
		}
	}
	if n < 1 || n > maxIterations {
		if len(mac.Algorithm) > 0 {
			return false, &FileError{File: file, Err: fmt.Errorf("its MAC takes %d iterations, of 1 to %d possible", n, maxIterations), Hint: reexport}
		}
	}
	if err := checkDerivations(data); err != nil {
		return false, &FileError{File: file, Err: err, Hint: reexport}
	}
	return len(mac.Algorithm) > 0, nil
}

// pfxTime bounds the opening of a file. The key derivations that can be seen
// from outside are bounded by their parameters; those within an encrypted bag,
// which may itself be opened by an empty password, only by this.
const pfxTime = time.Minute

func decodePFX(file string, data []byte, password string) (material, error) {
	type opened struct {
		k     any
		first *x509.Certificate
		more  []*x509.Certificate
		err   error
	}
	done := make(chan opened, 1)
	data = bytes.Clone(data) // which the caller clears; the decoding may go on after this function
	go func() {
		defer clear(data)
		var o opened
		o.k, o.first, o.more, o.err = pkcs12.DecodeChain(data, password)
		done <- o
	}()
	var o opened
	select {
	case o = <-done:
	case <-time.After(pfxTime):
		return material{}, &FileError{File: file, Err: fmt.Errorf("opening it takes more than %v: it demands too many iterations", pfxTime), Hint: reexport}
	}
	k, first, more, err := o.k, o.first, o.more, o.err
	if err != nil {
		return material{}, explainPFX(file, err)
	}
	signer, err := asSigner(file, k)
	if err != nil {
		return material{}, err
	}
	m := material{signer: signer}
	for _, c := range append([]*x509.Certificate{first}, more...) {
		if !contains(m.certs, c) {
			m.certs = append(m.certs, c)
		}
	}
	return m, nil
}

// explainPFX turns go-pkcs12's errors, most of which have no type, into ours.
func explainPFX(file string, err error) error {
	text := strings.TrimPrefix(err.Error(), "pkcs12: ")
	hint := reexport
	switch {
	case errors.Is(err, pkcs12.ErrIncorrectPassword), errors.Is(err, pkcs12.ErrDecryption):
		return &PasswordError{File: file}
	case strings.Contains(text, "certificate missing"):
		text = "it holds no certificate"
	case strings.Contains(text, "private key missing"):
		text = "it holds no private key"
	case strings.Contains(text, "indefinite length"):
		text = "it is in BER where its signature or encryption covers it"
	case strings.Contains(text, "exactly one key bag"):
		text, hint = "it holds several private keys", "leave only the one to sign with; "+reexport
	}
	return &FileError{File: file, Err: errors.New(text), Hint: hint}
}
