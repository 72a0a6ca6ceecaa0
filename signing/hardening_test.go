package signing

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"flag"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/hallmark-build/hallmark/signing/cms"
	"github.com/hallmark-build/hallmark/signing/key"
	"github.com/hallmark-build/hallmark/signing/mutation"
)

var update = flag.Bool("update", false, "write the tables of HARDENING.md that TestHardening makes")

// hardeningFull is whether every byte is changed, and every element of a
// signature, instead of samples of the large ones.
func hardeningFull() bool { return os.Getenv("HALLMARK_HARDENING") == "full" }

// hardening makes the good files of TestHardening: with keys, times and serial
// numbers that are the same in each run, so that its tables are.
type hardening struct {
	key   *key.Key
	tsa   Timestamper
	trust Trust
}

// hardeningTime is the present of these tests.
var hardeningTime = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// fixedTSA stamps one time, with serial number 1.
type fixedTSA struct {
	signer crypto.Signer
	chain  []*x509.Certificate
}

func (f fixedTSA) Timestamp(_ context.Context, h crypto.Hash, digest []byte) ([]byte, error) {
	return cms.SignToken(cms.TSTInfo{
		Policy: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 1}, Hash: h, Imprint: digest, Serial: big.NewInt(1), Time: hardeningTime.Add(-time.Hour),
	}, f.signer, f.chain, true)
}

// newHardening makes the identity. The signer's name is the publisher of the
// MSIX package among the test data.
func newHardening(t *testing.T) *hardening {
	at := func(edit func(*x509.Certificate)) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = hardeningTime.AddDate(-1, 0, 0), hardeningTime.AddDate(1, 0, 0)
			edit(c)
		}
	}
	ca := issue(t, "Test CA", newRSA(t), nil, at(authority))
	leaf := issue(t, "", newRSA(t), ca, at(func(c *x509.Certificate) {
		codeSigning(c)
		c.Subject = pkix.Name{}
		for _, a := range []struct {
			oid   asn1.ObjectIdentifier
			value string
		}{
			{asn1.ObjectIdentifier{2, 5, 4, 6}, "PL"}, {asn1.ObjectIdentifier{2, 5, 4, 8}, "Mazovia Province"}, {asn1.ObjectIdentifier{2, 5, 4, 7}, "Warsaw"},
			{asn1.ObjectIdentifier{2, 5, 4, 10}, "osslsigncode"}, {asn1.ObjectIdentifier{2, 5, 4, 11}, "CSP"}, {asn1.ObjectIdentifier{2, 5, 4, 3}, "Certificate"},
			{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}, "osslsigncode@example.com"},
		} {
			c.Subject.ExtraNames = append(c.Subject.ExtraNames, pkix.AttributeTypeAndValue{Type: a.oid, Value: a.value})
		}
	}))
	tsaCA := issue(t, "Test TSA CA", newRSA(t), nil, at(authority))
	tsa := issue(t, "Test TSA", newRSA(t), tsaCA, at(timestamping(t)))
	h := &hardening{
		key:   &key.Key{Signer: leaf.Signer, Chain: []*x509.Certificate{leaf.cert, ca.cert}, Ref: "test"},
		tsa:   fixedTSA{tsa, []*x509.Certificate{tsa.cert, tsaCA.cert}},
		trust: Trust{Roots: x509.NewCertPool(), TSARoots: x509.NewCertPool(), Now: hardeningTime},
	}
	h.trust.Roots.AddCert(ca.cert)
	h.trust.TSARoots.AddCert(tsaCA.cert)
	return h
}

// sign signs a file, and returns the signed one.
func (h *hardening) sign(t *testing.T, s Scheme, name string, b []byte) []byte {
	t.Helper()
	return readFile(t, mustSign(t, s, writeFile(t, name, b, 0o755), h.key, h.tsa))
}

// verifier verifies changed files of one name as the commands do. Of every few it
// asks [Inspect] too, which must have the same verdict.
func (h *hardening) verifier(t *testing.T, name string, trust Trust) func(b []byte) error {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	n := 0
	return func(b []byte) error {
		if err := os.WriteFile(file, b, 0o644); err != nil {
			return err
		}
		scheme, err := Config{}.For(file)
		if err == nil {
			_, err = scheme.Verify(t.Context(), file, trust)
		}
		if n++; n%inspected == 1 || err == nil {
			report, problem := Inspect(t.Context(), file, trust)
			if good := problem == nil && goodReport(report); good != (err == nil) {
				t.Errorf("Verify says %v, and Inspect that good is %v", err, good)
			}
		}
		return err
	}
}

// inspected is how many verifications there are for one inspection.
const inspected = 25

func goodReport(r *Report) bool {
	good := r.Err == nil && len(r.Signatures) > 0
	for _, s := range r.Signatures {
		good = good && s.Good()
	}
	return good
}

// ruleOf names the reason of a refusal.
func ruleOf(err error) string {
	var e *Error
	if !errors.As(err, &e) {
		return "error without a rule"
	}
	return string(e.Rule)
}

// message names the parts of a signature.
func message(t *testing.T, der []byte) *mutation.Node {
	t.Helper()
	root, err := mutation.ParseDER(der)
	if err != nil {
		t.Fatal(err)
	}
	mutation.NameCMS(root)
	return root
}

// TestHardening changes a signed file of each format at every boundary of its
// structure, and compares what the verifier says with HARDENING.md. With
// HALLMARK_HARDENING=full it changes every byte and every element of the
// signatures; with -update it writes the tables.
func TestHardening(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIP: verifies tens of thousands of files; run without -short")
	}
	var subjects []mutation.Subject
	var h *hardening
	t.Run("sign", func(t *testing.T) {
		cryptotest.SetGlobalRandom(t, 1)
		h = newHardening(t)
	})
	if h == nil {
		t.FailNow()
	}
	for _, make := range []func(*hardening, *testing.T) []mutation.Subject{
		peSubjects, elfSubjects, sipSubjects, detachedSubjects,
	} {
		subjects = append(subjects, make(h, t)...)
	}
	results := make([]*mutation.Result, len(subjects))
	t.Run("change", func(t *testing.T) {
		for i, s := range subjects {
			t.Run(s.Name, func(t *testing.T) {
				t.Parallel()
				results[i] = mutation.Run(s, hardeningFull())
				for _, p := range results[i].Problems {
					t.Error(p)
				}
				t.Logf("%d changes tried, %d accepted, all of them listed below unless told", results[i].Tried, results[i].Accepted)
			})
		}
	})
	if err := mutation.Compare("HARDENING.md", "signing", results, *update && !t.Failed()); err != nil {
		t.Error(err)
	}
}

// peSubjects are a program, one with page hashes and a nested signature, and the
// first with the rule checksum off.
func peSubjects(h *hardening, t *testing.T) []mutation.Subject {
	src := layout{true, 0x8664, 16, []page{{1024, 1536}, {1536, 2048}}, 2304}.build()
	plain := h.sign(t, Authenticode{Description: "Notes", URL: "https://notes.example"}, "notes.exe", src)
	nested := filepath.Join(t.TempDir(), "nested.exe")
	if _, err := (Authenticode{Hash: crypto.SHA384}).Append(t.Context(), writeFile(t, "notes.exe", h.sign(t, Authenticode{PageHashes: true}, "notes.exe", src), 0o755), nested, h.key, h.tsa, h.trust); err != nil {
		t.Fatal(err)
	}
	lax := h.trust
	lax.Policy.Off = []Rule{RuleChecksum}
	field := mutation.Open{Region: "CheckSum", Changes: []string{mutation.Flip, mutation.Zero, mutation.Fill}, Reason: "the signature leaves it out, and the rule that covers it is off"}
	var subjects []mutation.Subject
	for _, s := range []struct {
		name  string
		file  []byte
		trust Trust
		open  []mutation.Open
	}{
		{"PE", plain, h.trust, nil},
		{"PE with page hashes and a nested signature", readFile(t, nested), h.trust, nil},
		{"PE without the rule checksum", plain, lax, []mutation.Open{field}},
	} {
		regions, der := peRegions(t, s.file)
		subjects = append(subjects, mutation.Subject{
			Name: s.name, File: s.file, Regions: regions, Open: append(s.open, mutation.OpenCMS(message(t, der))...), Rule: ruleOf, Verify: h.verifier(t, "notes.exe", s.trust),
			Edits: mutation.Edits(message(t, der), 2, func(der []byte) []byte { return withTable(t, s.file, certificateTable(der)) }),
		})
	}
	return subjects
}

// withTable gives a PE file another certificate table, with lengths and checksum
// that are right.
func withTable(t *testing.T, b, table []byte) []byte {
	t.Helper()
	p, err := readPE(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	out := append(bytes.Clone(b[:p.tableOffset]), table...)
	putUint32(out[p.certDir+4:], uint32(len(table)))
	putUint32(out[p.checksum:], 0)
	sum := new(peChecksum)
	sum.add(out)
	putUint32(out[p.checksum:], sum.value())
	return out
}

func putUint32(b []byte, v uint32) {
	copy(b, []byte{byte(v), byte(v >> 8), byte(v >> 16), byte(v >> 24)})
}

func peRegions(t *testing.T, b []byte) ([]mutation.Region, []byte) {
	t.Helper()
	p, err := readPE(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	ders, err := readTable(b[p.tableOffset:], p.tableOffset, Trust{})
	if err != nil {
		t.Fatal(err)
	}
	var m mutation.Map
	m.Add("DOS header", 60)
	m.Add("e_lfanew", 4)
	m.Add("PE signature", 4)
	m.Add("COFF header", 20)
	m.To("optional header", int(p.checksum))
	m.Add("CheckSum", 4)
	m.To("optional header", int(p.certDir))
	m.Add("certificate table directory entry", 8)
	m.To("optional header", int(p.afterHeaders)-len(p.sections)*sectionHeaderSize)
	m.To("section headers", int(p.afterHeaders))
	for _, s := range p.sections {
		m.To("gap before a section", int(s.start))
		m.To("section contents", int(s.end))
	}
	m.To("overlay", int(p.tableOffset))
	m.Add("dwLength", 4)
	m.Add("wRevision", 2)
	m.Add("wCertificateType", 2)
	message(t, ders[0]).Regions(&m)
	m.To("padding of the table entry", len(b))
	return m.Regions, ders[0]
}

// elfSubjects are a program with an appended signature, and two with a section.
func elfSubjects(h *hardening, t *testing.T) []mutation.Subject {
	appended := h.sign(t, Appended{}, "tiny", tinyELF())
	der, content, err := readTrailer(bytes.NewReader(appended), int64(len(appended)))
	if err != nil {
		t.Fatal(err)
	}
	var m mutation.Map
	m.Add("ELF header", 64)
	m.Add("program headers", 56)
	m.To("contents", int(content))
	message(t, der).Regions(&m)
	for _, f := range []struct {
		name string
		n    int
	}{{"algo and hash", 2}, {"id_type", 1}, {"signer_len and key_id_len", 2}, {"pad", 3}, {"sig_len", 4}, {"magic", len(trailerMagic)}} {
		m.Add(f.name, f.n)
	}
	subjects := []mutation.Subject{{
		Name: "ELF, appended", File: appended, Regions: m.Regions, Open: mutation.OpenCMS(message(t, der)), Rule: ruleOf, Verify: h.verifier(t, "tiny", h.trust),
		Edits: mutation.Edits(message(t, der), 2, func(der []byte) []byte {
			return append(bytes.Clone(appended[:content]), appendTrailer(der)...)
		}),
	}}
	return append(subjects, sectionSubject(h, t, "ELF64", tinyELF()), sectionSubject(h, t, "ELF32, big-endian", tinyELF32()))
}

func sectionSubject(h *hardening, t *testing.T, name string, src []byte) mutation.Subject {
	t.Helper()
	b := h.sign(t, Section{}, "tiny", src)
	s, err := readSections(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	der, original, err := takeSection(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	shoff, shnum := s.fields()
	offset, length := s.place(int(s.shnum) - 1)
	namesAt, names := s.place(int(s.shstrndx))
	var m mutation.Map
	m.To("ELF header", int(shoff))
	m.Add("e_shoff", len(s.setShoff()))
	m.To("ELF header", int(shnum)-2)
	m.Add("e_shentsize, e_shnum, e_shstrndx", 6)
	m.To("contents", int(original.size))
	m.To("zeros between the parts", int(offset))
	m.Add("beginning of the section", sectionPrefix)
	message(t, der).Regions(&m)
	if m.End() != int(offset+length) {
		t.Fatalf("the section ends at %#x, its signature at %#x", offset+length, m.End())
	}
	m.To("zeros between the parts", int(namesAt))
	m.Add("section names", int(names))
	m.To("zeros between the parts", int(s.shoff))
	m.To("section headers", len(b))
	return mutation.Subject{
		Name: "ELF, section (" + name + ")", File: b, Regions: m.Regions, Open: mutation.OpenCMS(message(t, der)), Rule: ruleOf,
		Verify: func(b []byte) error {
			_, err := verifySection(t.Context(), bytes.NewReader(b), int64(len(b)), h.trust)
			return err
		},
		Edits: mutation.Edits(message(t, der), 2, func(der []byte) []byte {
			was, err := readSections(bytes.NewReader(src), int64(len(src)))
			if err != nil {
				panic(fmt.Sprint("reading the original: ", err))
			}
			header := bytes.Clone(src[:min(64, len(src))])
			tail := was.patch(header, int64(len(src)), der)
			return append(append(header, src[len(header):]...), tail...)
		}),
	}
}

// setShoff has as many bytes as e_shoff.
func (s *sections) setShoff() []byte { return make([]byte, 4+4*(s.entrySize()-40)/24) }

// TestReordered changes the order of a token's signed attributes and doubles a
// nested signature: neither changes what is signed, and nothing else notices.
func TestReordered(t *testing.T) {
	t.Parallel()
	w := sharedWorld()
	src := layout{true, 0x8664, 16, []page{{512, 1024}}, 1024}.build()
	once := mustSign(t, Authenticode{}, writeFile(t, "notes.exe", src, 0o755), w.key, w.tsa)
	nested := filepath.Join(t.TempDir(), "nested.exe")
	if _, err := (Authenticode{Hash: crypto.SHA384}).Append(t.Context(), once, nested, w.key, w.tsa, w.trust()); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		file   string
		change func(message *element)
		rule   Rule
	}{
		"order": {once, func(m *element) {
			token := m.signedData().last().parts[0].last().parts[0].parts[1].parts[0]
			attributes := token.signedData().last().parts[0].parts[3].parts
			attributes[0], attributes[1] = attributes[1], attributes[0]
		}, RuleDER},
		"nested twice": {nested, func(m *element) {
			for _, a := range m.signedData().last().parts[0].last().parts {
				if set := a.parts[1]; bytes.Equal(a.parts[0].value, []byte{0x2b, 6, 1, 4, 1, 0x82, 0x37, 2, 4, 1}) {
					set.parts = append(set.parts, set.parts[0])
				}
			}
		}, RuleUnsigned},
	} {
		_, err := verifyBytes(t, Authenticode{}, rewritePE(t, readFile(t, c.file), c.change), w.trust())
		t.Run(name, func(t *testing.T) { wantError(t, err, Malformed, c.rule) })
	}
}
