package boundaries

import (
	"bytes"
	"errors"

	"github.com/hallmark-build/hallmark/signing/cms"
)

// part is a place in a CMS.
type part struct {
	name string
	at   int // of a byte whose flipping leaves the DER as it is
}

// messageParts finds what a CMS signature is made of.
func messageParts(der []byte) ([]part, error) {
	sd, err := cms.Parse(der)
	if err != nil {
		return nil, err
	}
	si := &sd.Signers[0]
	var found []part
	add := func(name string, element []byte, from int) {
		if i := bytes.LastIndex(der, element); len(element) > from && i >= 0 {
			found = append(found, part{name, i + from})
		}
	}
	if sd.Content != nil {
		add("signed-content", sd.Content, len(sd.Content)-1) // the file's digest ends there
	}
	if d := si.Attribute(cms.OIDMessageDigest); d != nil {
		add("signed-attribute", d, len(d)-1)
	}
	add("signature", si.Signature, len(si.Signature)-1)
	for _, c := range sd.Certificates {
		if si.Serial != nil && c.SerialNumber.Cmp(si.Serial) == 0 {
			// The last byte is of the issuer's signature.
			add("certificate", c.Raw, len(c.Raw)-1)
		}
	}
	for _, oid := range [][]int{cms.OIDTimestampToken, cms.OIDSpcTimestampToken} {
		if t := si.UnsignedAttribute(oid); t != nil {
			add("timestamp", t, len(t)-1) // of the authority's signature
		}
	}
	if len(found) < 2 {
		return nil, errors.New("the message has no parts")
	}
	return found, nil
}
