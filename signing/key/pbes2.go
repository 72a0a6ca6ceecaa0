package key

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"hash"

	"golang.org/x/crypto/scrypt"
)

// Limits on what a file may make us compute before its password is checked.
// OpenSSL writes 2048 iterations and scrypt N=16384 r=8; the highest that
// guides recommend are 2 million iterations and N=2^20 r=8, which is 1 GiB.
const (
	maxIterations   = 10_000_000
	maxScryptMemory = 1 << 30
)

// errPassword says that decryption gave no private key.
var errPassword = errors.New("wrong password")

// errScheme says that the encryption is none of ours.
type errScheme struct{ what string }

func (e errScheme) Error() string { return "encryption " + e.what + " is not supported" }

// EncryptedPrivateKeyInfo ::= SEQUENCE {          -- RFC 5958 section 3
//
//	encryptionAlgorithm  AlgorithmIdentifier,
//	encryptedData        OCTET STRING }
type encryptedPrivateKeyInfo struct {
	Algorithm pkix.AlgorithmIdentifier
	Data      []byte
}

// PBES2-params ::= SEQUENCE {                     -- RFC 8018 appendix A.4
//
//	keyDerivationFunc AlgorithmIdentifier {{PBES2-KDFs}},
//	encryptionScheme  AlgorithmIdentifier {{PBES2-Encs}} }
type pbes2Params struct {
	KDF, Cipher pkix.AlgorithmIdentifier
}

// PBKDF2-params ::= SEQUENCE {                    -- RFC 8018 appendix A.2
//
//	salt           CHOICE { specified OCTET STRING, … },
//	iterationCount INTEGER (1..MAX),
//	keyLength      INTEGER (1..MAX) OPTIONAL,
//	prf            AlgorithmIdentifier DEFAULT algid-hmacWithSHA1 }
type pbkdf2Params struct {
	Salt       []byte
	Iterations int
	KeyLength  int                      `asn1:"optional"`
	PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
}

// scrypt-params ::= SEQUENCE {                    -- RFC 7914 section 7
//
//	salt OCTET STRING, costParameter INTEGER, blockSize INTEGER,
//	parallelizationParameter INTEGER, keyLength INTEGER OPTIONAL }
type scryptParams struct {
	Salt      []byte
	N, R, P   int
	KeyLength int `asn1:"optional"`
}

// unmarshal is asn1.Unmarshal that refuses trailing data.
func unmarshal(der []byte, v any) error {
	rest, err := asn1.Unmarshal(der, v)
	if err == nil && len(rest) > 0 {
		err = errors.New("asn1: trailing data")
	}
	return err
}

// decryptPKCS8 returns the PrivateKeyInfo inside an EncryptedPrivateKeyInfo.
// A wrong password shows by its padding; one in 256 passes that test, so the
// caller must take an unreadable result for a wrong password too.
func decryptPKCS8(der, password []byte) ([]byte, error) {
	data, p, err := parsePBES2(der)
	if err != nil {
		return nil, err
	}
	newBlock, size, err := blockCipher(p.Cipher.Algorithm)
	if err != nil {
		return nil, err
	}
	var iv []byte
	if err := unmarshal(p.Cipher.Parameters.FullBytes, &iv); err != nil {
		return nil, fmt.Errorf("cipher parameters: %w", err)
	}
	secret, err := deriveKey(p.KDF, password, size)
	if err != nil {
		return nil, err
	}
	defer clear(secret)
	block, err := newBlock(secret)
	if err != nil {
		return nil, err
	}
	if len(iv) != block.BlockSize() {
		return nil, fmt.Errorf("initialization vector has %d bytes, not %d", len(iv), block.BlockSize())
	}
	if len(data) == 0 || len(data)%block.BlockSize() != 0 {
		return nil, fmt.Errorf("encrypted data has %d bytes, not a multiple of %d", len(data), block.BlockSize())
	}
	plain := make([]byte, len(data))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, data)
	// RFC 8018 6.1.1 step 4: the padding is 1 to 8 (16) bytes that each
	// hold their number.
	n := int(plain[len(plain)-1])
	if n == 0 || n > block.BlockSize() ||
		subtle.ConstantTimeCompare(plain[len(plain)-n:], bytes.Repeat([]byte{byte(n)}, n)) != 1 {
		clear(plain)
		return nil, errPassword
	}
	return plain[:len(plain)-n], nil
}

func parsePBES2(der []byte) ([]byte, pbes2Params, error) {
	var info encryptedPrivateKeyInfo
	var p pbes2Params
	if err := unmarshal(der, &info); err != nil {
		return nil, p, err
	}
	if id := info.Algorithm.Algorithm; !id.Equal(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}) {
		return nil, p, errScheme{id.String()}
	}
	if err := unmarshal(info.Algorithm.Parameters.FullBytes, &p); err != nil {
		return nil, p, fmt.Errorf("PBES2 parameters: %w", err)
	}
	return info.Data, p, nil
}

func blockCipher(id asn1.ObjectIdentifier) (func([]byte) (cipher.Block, error), int, error) {
	switch id.String() {
	case "2.16.840.1.101.3.4.1.2":
		return aes.NewCipher, 16, nil
	case "2.16.840.1.101.3.4.1.22":
		return aes.NewCipher, 24, nil
	case "2.16.840.1.101.3.4.1.42":
		return aes.NewCipher, 32, nil
	case "1.2.840.113549.3.7":
		return des.NewTripleDESCipher, 24, nil
	}
	return nil, 0, errScheme{"PBES2 with cipher " + id.String()}
}

func deriveKey(kdf pkix.AlgorithmIdentifier, password []byte, size int) ([]byte, error) {
	switch kdf.Algorithm.String() {
	case "1.2.840.113549.1.5.12":
		var p pbkdf2Params
		if err := unmarshal(kdf.Parameters.FullBytes, &p); err != nil {
			return nil, fmt.Errorf("PBKDF2 parameters: %w", err)
		}
		if p.Iterations < 1 || p.Iterations > maxIterations {
			return nil, fmt.Errorf("PBKDF2 with %d iterations, of 1 to %d possible", p.Iterations, maxIterations)
		}
		if p.KeyLength != 0 && p.KeyLength != size {
			return nil, fmt.Errorf("PBKDF2 key of %d bytes for a cipher that takes %d", p.KeyLength, size)
		}
		prf, err := pseudoRandom(p.PRF.Algorithm)
		if err != nil {
			return nil, err
		}
		return pbkdf2.Key(prf, string(password), p.Salt, p.Iterations, size)
	case "1.3.6.1.4.1.11591.4.11":
		var p scryptParams
		if err := unmarshal(kdf.Parameters.FullBytes, &p); err != nil {
			return nil, fmt.Errorf("scrypt parameters: %w", err)
		}
		if err := checkScrypt(p.N, p.R, p.P); err != nil {
			return nil, err
		}
		if p.KeyLength != 0 && p.KeyLength != size {
			return nil, fmt.Errorf("scrypt key of %d bytes for a cipher that takes %d", p.KeyLength, size)
		}
		return scrypt.Key(password, p.Salt, p.N, p.R, p.P, size)
	}
	return nil, errScheme{"PBES2 with key derivation " + kdf.Algorithm.String()}
}

// checkScrypt bounds the memory, 128 * N * r bytes (RFC 7914 section 2), and
// with it and p the time.
func checkScrypt(n, r, p int) error {
	if n < 2 || r < 1 || r > 1<<10 || p < 1 || p > 16 || n > maxScryptMemory/128/r {
		return fmt.Errorf("scrypt with N=%d, r=%d, p=%d is outside what is taken", n, r, p)
	}
	return nil
}

func pseudoRandom(id asn1.ObjectIdentifier) (func() hash.Hash, error) {
	switch id.String() {
	case "", "1.2.840.113549.2.7":
		return sha1.New, nil
	case "1.2.840.113549.2.8":
		return sha256.New224, nil
	case "1.2.840.113549.2.9":
		return sha256.New, nil
	case "1.2.840.113549.2.10":
		return sha512.New384, nil
	case "1.2.840.113549.2.11":
		return sha512.New, nil
	case "1.2.840.113549.2.12":
		return sha512.New512_224, nil
	case "1.2.840.113549.2.13":
		return sha512.New512_256, nil
	}
	return nil, errScheme{"PBKDF2 with HMAC " + id.String()}
}
