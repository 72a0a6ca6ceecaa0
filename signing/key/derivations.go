package key

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"
)

// Limits on what the key derivations of a PKCS#12 file may cost together.
const (
	maxDerivations = 64 // of them; one for each bag
	maxDepth       = 32 // of DER within DER
	maxElements    = 200_000
	maxSalt        = 1 << 10 // bytes
	maxKey         = 1 << 10 // bytes
)

// checkDerivations bounds every key derivation that stands in a DER document,
// outside of what is encrypted, before any of them is computed: those of
// PKCS #12 (RFC 7292 appendix C), of PBES1, PBES2 and PBMAC1 (RFC 8018).
// It looks into octet strings that hold DER, as bags do.
func checkDerivations(der []byte) error {
	w := derivations{left: maxElements}
	return w.walk(der, 0)
}

type derivations struct {
	left, count, total int
}

func (w *derivations) walk(der []byte, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("it is nested more than %d levels deep", maxDepth)
	}
	for len(der) > 0 {
		var v asn1.RawValue
		rest, err := asn1.Unmarshal(der, &v)
		if err != nil {
			return nil // not DER: an octet string with data of its own
		}
		if w.left--; w.left < 0 {
			return fmt.Errorf("it has more than %d elements", maxElements)
		}
		if v.Class == asn1.ClassUniversal && v.Tag == asn1.TagSequence && v.IsCompound {
			if err := w.algorithm(v.FullBytes); err != nil {
				return err
			}
		}
		if v.IsCompound || v.Class == asn1.ClassUniversal && v.Tag == asn1.TagOctetString {
			if err := w.walk(v.Bytes, depth+1); err != nil {
				return err
			}
		}
		der = rest
	}
	return nil
}

// algorithm checks an AlgorithmIdentifier, if the sequence is one of a key derivation.
func (w *derivations) algorithm(der []byte) error {
	var a pkix.AlgorithmIdentifier
	if unmarshal(der, &a) != nil {
		return nil
	}
	switch id := a.Algorithm.String(); {
	case strings.HasPrefix(id, "1.2.840.113549.1.12.1."), isPBES1(id):
		// pkcs-12PbeParams and PBEParameter ::= SEQUENCE { salt OCTET STRING, iterations INTEGER }
		var p struct {
			Salt       []byte
			Iterations int
		}
		if err := unmarshal(a.Parameters.FullBytes, &p); err != nil {
			return fmt.Errorf("the parameters of its encryption: %w", err)
		}
		return w.add(p.Salt, p.Iterations, 0)
	case id == "1.2.840.113549.1.5.12":
		var p pbkdf2Params
		if err := unmarshal(a.Parameters.FullBytes, &p); err != nil {
			return fmt.Errorf("PBKDF2 parameters: %w", err)
		}
		return w.add(p.Salt, p.Iterations, p.KeyLength)
	case id == "1.3.6.1.4.1.11591.4.11":
		var p scryptParams
		if err := unmarshal(a.Parameters.FullBytes, &p); err != nil {
			return fmt.Errorf("scrypt parameters: %w", err)
		}
		if err := checkScrypt(p.N, p.R, p.P); err != nil {
			return err
		}
		return w.add(p.Salt, 1, p.KeyLength)
	}
	return nil
}

// isPBES1 reports whether an identifier is one of RFC 8018 appendix A.3.
func isPBES1(id string) bool {
	switch id {
	case "1.2.840.113549.1.5.1", "1.2.840.113549.1.5.3", "1.2.840.113549.1.5.4", "1.2.840.113549.1.5.6", "1.2.840.113549.1.5.10", "1.2.840.113549.1.5.11":
		return true
	}
	return false
}

func (w *derivations) add(salt []byte, iterations, key int) error {
	switch {
	case iterations < 1 || iterations > maxIterations:
		return fmt.Errorf("a key derivation takes %d iterations, of 1 to %d possible", iterations, maxIterations)
	case len(salt) > maxSalt:
		return fmt.Errorf("a key derivation has a salt of %d bytes, of %d possible", len(salt), maxSalt)
	case key < 0 || key > maxKey:
		return fmt.Errorf("a key derivation makes a key of %d bytes, of %d possible", key, maxKey)
	}
	w.count++
	if w.total += iterations; w.count > maxDerivations || w.total > 3*maxIterations {
		return errors.New("its key derivations take too long together")
	}
	return nil
}
