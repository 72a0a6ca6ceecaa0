package key

import (
	"encoding/asn1"
	"errors"
	"fmt"
)

// berToDER rewrites a PKCS #12 file in BER (X.690 section 8), as NSS and old
// versions of Keychain write it, in the lengths and octet strings of DER:
// indefinite lengths become definite ones, and an octet string in segments
// becomes one. What is inside an octet string stays as it is: the MAC covers it.
//
// EncryptedContentInfo has [0] IMPLICIT OCTET STRING as its third element, after
// an object identifier and a sequence; every other [0] of the format is explicit.
func berToDER(data []byte) ([]byte, error) {
	c := berReader{left: maxElements}
	out, rest, err := c.element(data, 0, false)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes follow it", len(rest))
	}
	return out, err
}

type berReader struct{ left int }

var errBER = errors.New("it is malformed BER")

// element reads one element and returns it in DER, and what follows. With
// implicit it is an octet string, whatever its tag says.
func (c *berReader) element(data []byte, depth int, implicit bool) (der, rest []byte, err error) {
	if c.left--; c.left < 0 || depth > maxDepth {
		return nil, nil, errors.New("it is nested too deep, or has too many elements")
	}
	if len(data) < 2 || data[0]&0x1f == 0x1f { // PKCS #12 has no tag above 30
		return nil, nil, errBER
	}
	tag := data[0]
	body, indefinite, err := berLength(data[1:])
	if err != nil {
		return nil, nil, err
	}
	constructed := tag&0x20 != 0
	if !constructed {
		if indefinite {
			return nil, nil, errBER
		}
		der, err = derElement(tag, body.content)
		return der, body.rest, err
	}
	parts, rest, err := c.parts(body, indefinite, depth)
	if err != nil {
		return nil, nil, err
	}
	if implicit || tag == 0x24 {
		joined, err := join(parts)
		if err != nil {
			return nil, nil, err
		}
		der, err = derElement(tag&^0x20, joined)
		return der, rest, err
	}
	var content []byte
	for _, p := range parts {
		content = append(content, p...)
	}
	der, err = derElement(tag, content)
	return der, rest, err
}

// parts reads the elements of a constructed one.
func (c *berReader) parts(b berBody, indefinite bool, depth int) (parts [][]byte, rest []byte, err error) {
	data := b.content
	for {
		switch {
		case indefinite && len(data) >= 2 && data[0] == 0 && data[1] == 0:
			return parts, data[2:], nil
		case len(data) == 0 && !indefinite:
			return parts, b.rest, nil
		case len(data) == 0:
			return nil, nil, errBER
		}
		implicit := len(parts) == 2 && parts[0][0] == asn1.TagOID && parts[1][0] == 0x30 && data[0] == 0xa0
		part, after, err := c.element(data, depth+1, implicit)
		if err != nil {
			return nil, nil, err
		}
		parts, data = append(parts, part), after
	}
}

// join returns the content of an octet string that stands in segments.
func join(parts [][]byte) ([]byte, error) {
	var content []byte
	for _, p := range parts {
		var s asn1.RawValue
		if rest, err := asn1.Unmarshal(p, &s); err != nil || len(rest) > 0 || s.Class != asn1.ClassUniversal || s.Tag != asn1.TagOctetString {
			return nil, errBER
		}
		content = append(content, s.Bytes...)
	}
	return content, nil
}

type berBody struct{ content, rest []byte }

// berLength reads the length octets that data begins with. Of an indefinite
// length the content is all that follows.
func berLength(data []byte) (b berBody, indefinite bool, err error) {
	n := int(data[0])
	data = data[1:]
	switch {
	case n == 0x80:
		return berBody{content: data}, true, nil
	case n > 0x80:
		octets := n - 0x80
		if octets > 4 || octets > len(data) {
			return b, false, errBER
		}
		n = 0
		for _, o := range data[:octets] {
			n = n<<8 | int(o)
		}
		data = data[octets:]
	}
	if n > len(data) {
		return b, false, errBER
	}
	return berBody{data[:n], data[n:]}, false, nil
}

func derElement(tag byte, content []byte) ([]byte, error) {
	return asn1.Marshal(asn1.RawValue{Class: int(tag >> 6), Tag: int(tag & 0x1f), IsCompound: tag&0x20 != 0, Bytes: content})
}
