package signing

import (
	"bytes"
	"crypto"
	"encoding/asn1"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/hallmark-build/hallmark/signing/cms"
	"github.com/hallmark-build/hallmark/signing/sip"
)

// rewriter changes the CMS of a signed file, which is otherwise as it was.
type rewriter struct {
	name  string
	trust Trust                                                                 // in which the unchanged file is good
	again func(t *testing.T, trust Trust, change func(der []byte) []byte) error // verifies the changed file
}

// rewriters returns one for each format that carries a CMS.
func rewriters(t *testing.T) []rewriter {
	t.Helper()
	w := sharedWorld()
	var all []rewriter
	pe := readFile(t, filepath.Join(casesDir, "a00_control.exe"))
	all = append(all, rewriter{name: "exe", trust: caseTrust(t), again: func(t *testing.T, trust Trust, change func([]byte) []byte) error {
		_, err := verifyBytes(t, Authenticode{}, changePE(t, pe, change), trust)
		return err
	}})
	for _, name := range []string{"y00_control.cab", "z00_control.msi", "s00_control.ps1", "x00_control.msix"} {
		all = append(all, rewriter{name: filepath.Ext(name)[1:], trust: caseTrust(t), again: func(t *testing.T, trust Trust, change func([]byte) []byte) error {
			_, err := SIP{}.Verify(t.Context(), changeSubject(t, filepath.Join(casesDir, name), change), trust)
			return err
		}})
	}
	catalog := readFile(t, mustSign(t, SIP{}, smallCatalog(t), w.key, w.tsa))
	all = append(all, rewriter{name: "cat", trust: w.trust(), again: func(t *testing.T, trust Trust, change func([]byte) []byte) error {
		_, err := SIP{}.Verify(t.Context(), writeFile(t, "changed.cat", change(catalog), 0o644), trust)
		return err
	}})
	elf := writeFile(t, "tiny", tinyELF(), 0o755)
	appended := readFile(t, mustSign(t, Appended{}, elf, w.key, w.tsa))
	all = append(all, rewriter{name: "appended", trust: w.trust(), again: func(t *testing.T, trust Trust, change func([]byte) []byte) error {
		der, content, err := readTrailer(bytes.NewReader(appended), int64(len(appended)))
		if err != nil {
			t.Fatal(err)
		}
		_, err = verifyBytes(t, Appended{}, append(bytes.Clone(appended[:content]), appendTrailer(change(der))...), trust)
		return err
	}})
	section := readFile(t, mustSign(t, Section{}, elf, w.key, w.tsa))
	all = append(all, rewriter{name: "section", trust: w.trust(), again: func(t *testing.T, trust Trust, change func([]byte) []byte) error {
		der, original, err := takeSection(bytes.NewReader(section), int64(len(section)))
		if err != nil {
			t.Fatal(err)
		}
		s, err := readSections(original, original.size)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, original.size)
		if err := readAt(original, b, 0, original.size); err != nil {
			t.Fatal(err)
		}
		tail := s.patch(b, original.size, change(bytes.Trim(der, "\x00")))
		_, err = verifyBytes(t, Section{}, append(b, tail...), trust)
		return err
	}})
	for _, d := range []Detached{P7S{}, Verity{}} {
		signature := filepath.Join(t.TempDir(), "tiny"+d.Suffix())
		if _, err := d.Sign(t.Context(), elf, signature, w.key, w.tsa); err != nil {
			t.Fatal(err)
		}
		der := readFile(t, signature)
		all = append(all, rewriter{name: d.Name(), trust: w.trust(), again: func(t *testing.T, trust Trust, change func([]byte) []byte) error {
			_, err := d.Verify(t.Context(), elf, writeFile(t, "changed", change(bytes.Clone(der)), 0o644), trust)
			return err
		}})
	}
	return all
}

// changePE changes the signature of a PE file, and sets lengths and checksum.
func changePE(t testing.TB, b []byte, change func([]byte) []byte) []byte {
	t.Helper()
	return rewritePE(t, b, func(m *element) { *m = *takeApart(t, change(m.encode(t)))[0] })
}

// changeSubject changes the signature of a file of package sip and returns the
// path of the changed file.
func changeSubject(t *testing.T, file string, change func([]byte) []byte) string {
	t.Helper()
	b := readFile(t, file)
	subject, err := sip.Open(file, bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	der, err := subject.Signature()
	if err != nil {
		t.Fatal(err)
	}
	sd, err := cms.Parse(der)
	if err != nil {
		t.Fatal(err)
	}
	dst, err := os.Create(filepath.Join(t.TempDir(), filepath.Base(file)))
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	err = subject.Sign(dst, sd.Hash, sipSigner{
		digest:  func([]byte) ([]byte, error) { return change(der), nil },
		catalog: func(c []byte) ([]byte, error) { return c, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return dst.Name()
}

func octets(b []byte) []byte {
	der, err := asn1.Marshal(b)
	if err != nil {
		panic(err)
	}
	return der
}

// tokenOf returns the token of a signature and its attribute's type.
func tokenOf(t testing.TB, der []byte) (token []byte, kind, other asn1.ObjectIdentifier) {
	t.Helper()
	sd, err := cms.Parse(der)
	if err != nil {
		t.Fatal(err)
	}
	if token := sd.Signers[0].UnsignedAttribute(cms.OIDTimestampToken); token != nil {
		return token, cms.OIDTimestampToken, cms.OIDSpcTimestampToken
	}
	if token := sd.Signers[0].UnsignedAttribute(cms.OIDSpcTimestampToken); token != nil {
		return token, cms.OIDSpcTimestampToken, cms.OIDTimestampToken
	}
	t.Fatal("no token")
	return nil, nil, nil
}

// TestUnsignedAttributes adds to the unsigned attributes of each format what
// would be a place for a payload.
func TestUnsignedAttributes(t *testing.T) {
	t.Parallel()
	w := sharedWorld()
	payload := octets(bytes.Repeat([]byte("payload"), 1000))
	add := func(t testing.TB, der []byte, kind asn1.ObjectIdentifier, values ...[]byte) []byte {
		out, err := cms.AddUnsigned(der, cms.Attribute{Type: kind, Values: values})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	changes := map[string]func(t *testing.T, der []byte) []byte{
		"a payload as countersignature": func(t *testing.T, der []byte) []byte { return add(t, der, cms.OIDCountersignature, payload) },
		"a countersignature that holds": func(t *testing.T, der []byte) []byte {
			return add(t, der, cms.OIDCountersignature, counterSign(t, w, der))
		},
		"an unknown attribute": func(t *testing.T, der []byte) []byte {
			return add(t, der, asn1.ObjectIdentifier{1, 2, 3, 4}, payload)
		},
		"a second token in the attribute": func(t *testing.T, der []byte) []byte {
			_, kind, _ := tokenOf(t, der)
			return add(t, der, kind, payload)
		},
		"a second token in another attribute": func(t *testing.T, der []byte) []byte {
			token, _, other := tokenOf(t, der)
			return add(t, der, other, token)
		},
		"a payload as nested signature": func(t *testing.T, der []byte) []byte { return add(t, der, oidSpcNestedSignature, payload) },
	}
	for _, r := range rewriters(t) {
		t.Run(r.name, func(t *testing.T) {
			if err := r.again(t, r.trust, func(der []byte) []byte { return der }); err != nil {
				t.Fatalf("the unchanged signature: %v", err)
			}
			for name, change := range changes {
				t.Run(name, func(t *testing.T) {
					rule := RuleUnsigned
					if r.name == "exe" && name == "a payload as nested signature" {
						rule = RuleDER
					}
					wantError(t, r.again(t, r.trust, func(der []byte) []byte { return change(t, der) }), Malformed, rule)
				})
			}
		})
	}
}

// counterSign returns a countersignature of a message in the form of PKCS #9.
func counterSign(t testing.TB, w *world, der []byte) []byte {
	t.Helper()
	sd, err := cms.Parse(der)
	if err != nil {
		t.Fatal(err)
	}
	return counterSignature(t, w, sd.Signers[0].Signature, crypto.SHA256)
}

// TestUnsignedAttributesInside adds a payload to the unsigned attributes of what
// is itself an unsigned attribute: a nested signature, a countersignature; and a
// second timestamp to a bundle.
func TestUnsignedAttributesInside(t *testing.T) {
	t.Parallel()
	w := sharedWorld()
	src := sample(t, "impbyord.exe")
	payload := cms.Attribute{Type: asn1.ObjectIdentifier{1, 2, 3, 4}, Values: [][]byte{octets([]byte("payload"))}}
	with := func(der []byte, a cms.Attribute) []byte {
		out, err := cms.AddUnsigned(der, a)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	both := filepath.Join(t.TempDir(), "both.exe")
	if _, err := (Authenticode{}).Append(t.Context(), mustSign(t, Authenticode{}, src, w.key, w.tsa), both, w.key, w.tsa, w.trust()); err != nil {
		t.Fatal(err)
	}
	nested := func(change func([]byte) []byte) error {
		_, err := verifyBytes(t, Authenticode{}, changePE(t, readFile(t, both), func(der []byte) []byte {
			sd, err := cms.Parse(der)
			if err != nil {
				t.Fatal(err)
			}
			inner := sd.Signers[0].UnsignedAttribute(oidSpcNestedSignature)
			if der, err = cms.RemoveUnsigned(der, oidSpcNestedSignature); err != nil {
				t.Fatal(err)
			}
			return with(der, cms.Attribute{Type: oidSpcNestedSignature, Values: [][]byte{change(inner)}})
		}), w.trust())
		return err
	}
	if err := nested(func(der []byte) []byte { return der }); err != nil {
		t.Fatal(err)
	}
	wantError(t, nested(func(der []byte) []byte { return with(der, payload) }), Malformed, RuleUnsigned)
	wantError(t, nested(func(der []byte) []byte {
		return with(der, cms.Attribute{Type: cms.OIDCountersignature, Values: payload.Values})
	}), Malformed, RuleUnsigned)

	legacy := w.trust()
	legacy.Policy.Off = []Rule{RuleLegacy}
	plain := readFile(t, mustSign(t, Authenticode{}, src, w.key, nil))
	countersigned := func(change func(signer *element)) error {
		_, err := verifyBytes(t, Authenticode{}, changePE(t, plain, func(der []byte) []byte {
			signer := takeApart(t, counterSign(t, w, der))[0]
			change(signer)
			der = with(der, cms.Attribute{Type: cms.OIDCountersignature, Values: [][]byte{signer.encode(t)}})
			der, err := cms.AddCertificates(der, w.tsa.chain)
			if err != nil {
				t.Fatal(err)
			}
			return der
		}), legacy)
		return err
	}
	if err := countersigned(func(*element) {}); err != nil {
		t.Fatal(err)
	}
	wantError(t, countersigned(func(signer *element) {
		oid, err := asn1.Marshal(payload.Type)
		if err != nil {
			t.Fatal(err)
		}
		attribute := &element{tag: 0x30, parts: []*element{takeApart(t, oid)[0], {tag: 0x31, parts: takeApart(t, payload.Values[0])}}}
		signer.parts = append(signer.parts, &element{tag: 0xa1, parts: []*element{attribute}})
	}), Malformed, RuleUnsigned)
	wantError(t, countersigned(func(signer *element) {
		signer.parts = append(signer.parts, &element{tag: 0x04, value: []byte("payload")})
	}), Malformed, RuleDER)

	file := writeFile(t, "file", []byte("content"), 0o644)
	bundle := file + Bundle{}.Suffix()
	if _, err := (Bundle{}).Sign(t.Context(), file, bundle, w.key, w.tsa); err != nil {
		t.Fatal(err)
	}
	stamp := regexp.MustCompile(`\{"signedTimestamp":"[^"]*"\}`)
	doubled := stamp.ReplaceAll(readFile(t, bundle), []byte("$0,$0"))
	_, err := Bundle{}.Verify(t.Context(), file, writeFile(t, "doubled", doubled, 0o644), w.trust())
	wantError(t, err, Malformed, RuleUnsigned)
}
