package signing

import (
	"bytes"
	"crypto/sha1"
	"testing"

	"github.com/hallmark-build/hallmark/signing/cms"
)

// TestClockCertificates reads the attribute certificates in Microsoft's tokens,
// and such that are not for the clock of the token's signer.
func TestClockCertificates(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"mscorlib.dll", "WdBoot.sys", "pwsh.exe", "kernel32.dll"} {
		b := readFile(t, sample(t, name))
		p, err := readPE(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		ders, err := readTable(b[p.tableOffset:], p.tableOffset, Trust{})
		if err != nil {
			t.Fatal(err)
		}
		der, _, _ := tokenOf(t, ders[0])
		sd, err := cms.Parse(der)
		if err != nil || sd.Attributed == 0 {
			t.Fatalf("%s: its token has no attribute certificate: %v", name, err)
		}
		token, err := cms.ParseToken(der)
		if err != nil || token.Attributed != 0 {
			t.Fatalf("%s: %d bytes that are not for the clock, %v", name, token.Attributed, err)
		}
		const certificates = 3 // of SignedData's parts
		again := func(change func(set *element, certificate *element)) int {
			m := takeApart(t, der)[0]
			set := m.signedData().parts[certificates]
			for _, c := range set.parts {
				if c.tag == 0xa1 {
					change(set, c)
					break
				}
			}
			token, err := cms.ParseToken(m.encode(t))
			if err != nil {
				t.Fatal(err)
			}
			return token.Attributed
		}
		if n := again(func(*element, *element) {}); n != 0 {
			t.Fatalf("%s: written again, %d bytes", name, n)
		}
		sum := sha1.Sum(token.Signer.Raw)
		info := func(c *element) *element { return c.parts[0] }
		for what, change := range map[string]func(set, c *element){
			"two of them": func(set, c *element) { set.parts = append(set.parts, c) },
			"of another certificate": func(_, c *element) {
				bits := info(c).parts[1].last().last()
				bits.value = bytes.Replace(bits.value, sum[:], make([]byte, len(sum)), 1)
			},
			"another attribute": func(_, c *element) {
				info(c).last().parts = append(info(c).last().parts, takeApart(t, []byte{0x30, 7, 6, 3, 42, 3, 4, 0x31, 0})...)
			},
			"extensions":       func(_, c *element) { info(c).parts = append(info(c).parts, &element{tag: 0x30}) },
			"a payload behind": func(_, c *element) { c.parts = append(c.parts, &element{tag: 4, value: []byte("payload")}) },
			"a long signature": func(_, c *element) { c.last().value = make([]byte, 1<<10) },
		} {
			if again(change) == 0 {
				t.Errorf("%s: accepted with %s", name, what)
			}
		}
	}
}

// TestUncoveredForms changes a message where its signature does not cover it, in
// ways that every other check lets pass.
func TestUncoveredForms(t *testing.T) {
	t.Parallel()
	w := sharedWorld()
	const certificates = 3 // of SignedData's parts
	pe := readFile(t, mustSign(t, Authenticode{}, sample(t, "impbyord.exe"), w.key, w.tsa))
	elf := readFile(t, mustSign(t, Appended{}, writeFile(t, "tiny", tinyELF(), 0o755), w.key, w.tsa))
	token := func(m *element) *element { return m.signedData().last().parts[0].last().parts[0].parts[1].parts[0] }
	for name, test := range map[string]struct {
		change func(m *element)
		rule   Rule
	}{
		"unchanged": {func(*element) {}, ""},
		"a certificate twice": {func(m *element) {
			set := m.signedData().parts[certificates]
			set.parts = append(set.parts, set.parts[0])
		}, RuleCertificate},
		"a certificate of the timestamp twice": {func(m *element) {
			set := token(m).signedData().parts[certificates]
			set.parts = append(set.parts, set.parts[0])
		}, RuleCertificate},
		"empty revocation lists": {func(m *element) {
			sd := m.signedData()
			sd.parts = append(sd.parts[:certificates+1:certificates+1], &element{tag: 0xa1}, sd.last())
		}, RuleDER},
		"empty revocation lists of the timestamp": {func(m *element) {
			sd := token(m).signedData()
			sd.parts = append(sd.parts[:certificates+1:certificates+1], &element{tag: 0xa1}, sd.last())
		}, RuleDER},
		"a timestamp without certificates": {func(m *element) {
			sd := token(m).signedData()
			sd.parts = append(sd.parts[:certificates:certificates], sd.last())
		}, RuleTSA},
		"a signer named by key identifier": {func(m *element) {
			si := m.signedData().last().parts[0]
			si.parts[0].value = []byte{3}
			si.parts[1] = &element{tag: 0x80, value: w.key.Leaf().SubjectKeyId}
		}, RuleDER},
	} {
		t.Run(name, func(t *testing.T) {
			for scheme, b := range map[Scheme][]byte{Authenticode{}: rewritePE(t, pe, test.change), Appended{}: rewriteELF(t, elf, test.change)} {
				_, err := verifyBytes(t, scheme, b, w.trust())
				if test.rule == "" {
					if err != nil {
						t.Fatal(err)
					}
					continue
				}
				kind := Malformed
				if test.rule == RuleTSA { // the signature itself holds
					kind = Untrusted
				}
				wantError(t, err, kind, test.rule)
			}
		})
	}
}
