package signing

import (
	"bytes"
	"encoding/asn1"
	"slices"

	"github.com/hallmark-build/hallmark/signing/cms"
)

// unsignedAttributes says which unsigned attributes the signer of a scheme's
// signatures may have. No signature covers them, so each is either verified to
// its last byte or refused (rule unsigned-attributes).
type unsignedAttributes struct {
	tokens []asn1.ObjectIdentifier // types of an RFC 3161 token; at most one of them, with one value
	legacy bool                    // a PKCS #9 countersignature may stand in the place of the token
	nested bool                    // further signatures of the same file
}

// tokenAttributes is for the schemes of Linux and for detached signatures: an
// RFC 3161 token.
func tokenAttributes() unsignedAttributes {
	return unsignedAttributes{tokens: []asn1.ObjectIdentifier{cms.OIDTimestampToken}}
}

// authenticodeAttributes is for what Windows checks: a token in one of two
// places, or a countersignature; nested signatures in PE files.
func authenticodeAttributes(nested bool) unsignedAttributes {
	return unsignedAttributes{tokens: []asn1.ObjectIdentifier{cms.OIDSpcTimestampToken, cms.OIDTimestampToken}, legacy: true, nested: nested}
}

// unsignedValues are the unsigned attributes of one signer.
type unsignedValues struct {
	token            []byte   // DER of an RFC 3161 token, or nil
	countersignature []byte   // DER of a SignerInfo, or nil; never together with token
	nested           [][]byte // DER of signatures
}

// read sorts the unsigned attributes of a signer. What it returns is for the
// caller to verify, all of it. The parser has refused an attribute that occurs
// twice, and one without a value. Without the rule unsigned-attributes, what
// the scheme does not know is passed over.
func (u unsignedAttributes) read(si *cms.SignerInfo, trust Trust) (v unsignedValues, err error) {
	for _, a := range si.Unsigned {
		switch {
		case slices.ContainsFunc(u.tokens, a.Type.Equal):
			if v.token != nil || len(a.Values) != 1 {
				return v, fail(Malformed, RuleUnsigned, 0, "more than one timestamp token in a signature, of which one would count")
			}
			v.token = a.Values[0]
		case u.legacy && a.Type.Equal(cms.OIDCountersignature):
			if len(a.Values) != 1 {
				return v, fail(Malformed, RuleUnsigned, 0, "%d countersignatures in a signature, of which one would count", len(a.Values))
			}
			v.countersignature = a.Values[0]
		case u.nested && a.Type.Equal(oidSpcNestedSignature):
			v.nested = a.Values
			for i, n := range v.nested {
				if trust.enforces(RuleUnsigned) && slices.ContainsFunc(v.nested[:i], func(o []byte) bool { return bytes.Equal(n, o) }) {
					return v, fail(Malformed, RuleUnsigned, 0, "the same nested signature twice")
				}
			}
		case trust.enforces(RuleUnsigned):
			return v, fail(Malformed, RuleUnsigned, 0, "unsigned attribute %v, which nothing vouches for", a.Type)
		}
	}
	if v.token != nil && v.countersignature != nil {
		if trust.enforces(RuleUnsigned) {
			return v, fail(Malformed, RuleUnsigned, 0, "a countersignature of %d bytes beside an RFC 3161 token, which takes its place: nothing vouches for it", len(v.countersignature))
		}
		v.countersignature = nil
	}
	return v, nil
}
