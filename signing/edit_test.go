package signing

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"math/big"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-build/hallmark/signing/cms"
	"github.com/hallmark-build/hallmark/signing/key"
)

// TestAppend nests a second signature, and a third; osslsigncode accepts both
// kinds, and each broken one is noticed whatever the first says.
func TestAppend(t *testing.T) {
	t.Parallel()
	w := sharedWorld()
	other := newWorld(t, newECDSA(t, elliptic.P384()), codeSigning)
	trust := w.trust()
	trust.Roots.AddCert(other.ca.cert)
	trust.TSARoots.AddCert(other.tsaCA.cert)
	src := goProgram(t, "windows", "amd64", "-s -w")
	first := mustSign(t, Authenticode{}, src, w.key, w.tsa)
	both := filepath.Join(t.TempDir(), "both.exe")
	if _, err := (Authenticode{Hash: crypto.SHA512, PageHashes: true}).Append(t.Context(), first, both, w.key, w.tsa, trust); err != nil {
		t.Fatal(err)
	}
	if out, err := osslVerify(t, w, both); err != nil {
		t.Errorf("osslsigncode: %v\n%s", err, out)
	}
	if _, err := (Authenticode{Hash: crypto.SHA384}).Append(t.Context(), both, both, other.key, other.tsa, trust); err != nil {
		t.Fatal(err)
	}
	report, err := Inspect(t.Context(), both, trust)
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	for _, s := range report.Signatures {
		seen = append(seen, s.Name+" "+s.Signature.Hash.String())
	}
	if got := strings.Join(seen, ", "); got != "1 SHA-256, 1.1 SHA-512, 1.2 SHA-384" && got != "1 SHA-256, 1.1 SHA-384, 1.2 SHA-512" {
		t.Errorf("signatures: %s", got)
	}
	if _, err := (Authenticode{}).Verify(t.Context(), both, w.trust()); err == nil {
		t.Error("a nested signature of a stranger is accepted")
	}
	// A nested one that is for another file.
	b := readFile(t, mustSign(t, Authenticode{}, sample(t, "impbyord.exe"), w.key, w.tsa))
	p, err := readPE(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := readTable(b[p.tableOffset:], p.tableOffset, Trust{})
	if err != nil {
		t.Fatal(err)
	}
	primary := primaryOf(t, first)
	mixed, err := cms.AddUnsigned(primary, cms.Attribute{Type: oidSpcNestedSignature, Values: [][]byte{foreign[0]}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = Authenticode{}.Verify(t.Context(), withSignature(t, src, mixed), trust)
	wantError(t, err, Tampered, RuleDigest)
}

// primaryOf returns the first signature of a PE file.
func primaryOf(t *testing.T, file string) []byte {
	t.Helper()
	b := readFile(t, file)
	p, err := readPE(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	ders, err := readTable(b[p.tableOffset:], p.tableOffset, Trust{})
	if err != nil {
		t.Fatal(err)
	}
	return ders[0]
}

// TestUnsign compares with osslsigncode for PE, and with the original for ELF.
func TestUnsign(t *testing.T) {
	t.Parallel()
	w := sharedWorld()
	exe := mustSign(t, Authenticode{}, goProgram(t, "windows", "amd64", "-s -w"), w.key, w.tsa)
	bare := filepath.Join(t.TempDir(), "bare.exe")
	if err := Unsign(t.Context(), exe, bare); err != nil {
		t.Fatal(err)
	}
	theirs := filepath.Join(t.TempDir(), "theirs.exe")
	if out, err := run(t, lookTool(t, "osslsigncode", "osslsigncode"), "remove-signature", "-in", exe, "-out", theirs); err != nil {
		t.Fatalf("osslsigncode: %v\n%s", err, out)
	}
	if !bytes.Equal(readFile(t, bare), readFile(t, theirs)) {
		t.Error("the file without signature is not what osslsigncode makes")
	}
	wantError(t, Unsign(t.Context(), bare, bare), Unsigned, RulePresent)
	elf := goProgram(t, "linux", "amd64", "-s -w")
	for name, signed := range map[string]string{
		"appended": mustSign(t, Appended{}, elf, w.key, w.tsa),
		"section":  mustSign(t, Section{}, elf, w.key, w.tsa),
		"both":     appendedTo(t, mustSign(t, Section{}, elf, w.key, w.tsa), w),
	} {
		if err := Unsign(t.Context(), signed, signed); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !bytes.Equal(readFile(t, signed), readFile(t, elf)) {
			t.Errorf("%s: not the original", name)
		}
		wantError(t, Unsign(t.Context(), signed, signed), Unsigned, RulePresent)
	}
	wantError(t, Unsign(t.Context(), writeFile(t, "text", []byte("text"), 0o644), bare), Unsupported, RuleFormat)
}

// TestAddTimestamp and certificates: what a signature lacked.
func TestAddTimestamp(t *testing.T) {
	t.Parallel()
	w := sharedWorld()
	middle := issue(t, "Middle", newRSA(t), w.ca, authority)
	leaf := issue(t, "Leaf", newRSA(t), middle, codeSigning)
	// Only the leaf is embedded, and there is no timestamp.
	k := &key.Key{Signer: leaf.Signer, Chain: []*x509.Certificate{leaf.cert}}
	poor := filepath.Join(t.TempDir(), "poor.exe")
	out, _, err := Authenticode{}.make(t.Context(), goProgram(t, "windows", "amd64", "-s -w"), poor, k, nil, ownTrust(k, nil))
	if err == nil {
		err = out.replace()
	}
	if err != nil {
		t.Fatal(err)
	}
	lenient := w.trust()
	lenient.Policy.Off, lenient.Known = []Rule{RuleTimestamp}, []*x509.Certificate{middle.cert}
	_, err = Authenticode{}.Verify(t.Context(), poor, w.trust())
	wantError(t, err, Untrusted, RuleChain)
	if sig, err := AddTimestamp(t.Context(), poor, poor, w.tsa, lenient); err != nil || sig.Time.IsZero() {
		t.Fatalf("%+v, %v", sig, err)
	}
	_, err = AddTimestamp(t.Context(), poor, poor, w.tsa, lenient)
	wantError(t, err, Unsupported, RuleTimestamp)
	if _, err := osslVerify(t, w, poor); err == nil {
		t.Error("osslsigncode finds the chain without the intermediate")
	}
	if _, err := AddCertificates(t.Context(), poor, poor, []*x509.Certificate{middle.cert, leaf.cert}, w.trust()); err != nil {
		t.Fatal(err)
	}
	if out, err := osslVerify(t, w, poor); err != nil {
		t.Errorf("osslsigncode: %v\n%s", err, out)
	}
	before := readFile(t, poor)
	stranger := issue(t, "Stranger", newRSA(t), nil, authority)
	_, err = AddCertificates(t.Context(), poor, poor, []*x509.Certificate{stranger.cert}, w.trust())
	wantError(t, err, Malformed, RuleCertificate)
	if !bytes.Equal(before, readFile(t, poor)) {
		t.Error("a refused change was made")
	}
	onlyFile(t, filepath.Dir(poor), "poor.exe")
}

// TestExtract signs on another machine: what we extract is signed by osslsigncode
// and attached by us, and the other way round.
func TestExtract(t *testing.T) {
	t.Parallel()
	w, tool := sharedWorld(), lookTool(t, "osslsigncode", "osslsigncode")
	src := goProgram(t, "windows", "amd64", "-s -w")
	data, err := Authenticode{Hash: crypto.SHA384}.Extract(t.Context(), src)
	if err != nil {
		t.Fatal(err)
	}
	trust := w.trust()
	trust.Policy.Off = []Rule{RuleTimestamp}

	signature, err := Authenticode{Description: "Notes"}.SignExtracted(t.Context(), data, w.key, w.tsa)
	if err != nil {
		t.Fatal(err)
	}
	dst := filepath.Join(t.TempDir(), "ours.exe")
	if sig, err := Attach(t.Context(), src, dst, signature, w.trust()); err != nil || sig.Hash != crypto.SHA384 || sig.Description != "Notes" {
		t.Fatalf("%+v, %v", sig, err)
	}
	if out, err := osslVerify(t, w, dst); err != nil {
		t.Errorf("osslsigncode: %v\n%s", err, out)
	}
	other := goProgram(t, "windows", "arm64", "-s -w")
	_, err = Attach(t.Context(), other, other, signature, w.trust())
	wantError(t, err, Tampered, RuleDigest)
	_, err = Attach(t.Context(), other, other, []byte("rubbish"), w.trust())
	wantError(t, err, Malformed, RuleDER)

	// What osslsigncode signs and takes out again goes in by us.
	dir := t.TempDir()
	signed, theirs := filepath.Join(dir, "theirs.exe"), filepath.Join(dir, "theirs.p7")
	if out, err := run(t, tool, "sign", "-certs", pemFile(t, w.key.Chain...), "-key", keyFile(t, w.key.Signer), "-h", "sha256", "-in", src, "-out", signed); err != nil {
		t.Fatalf("osslsigncode sign: %v\n%s", err, out)
	}
	if out, err := run(t, tool, "extract-signature", "-in", signed, "-out", theirs); err != nil {
		t.Fatalf("osslsigncode extract-signature: %v\n%s", err, out)
	}
	bare := readFile(t, theirs)
	if bare[0] != 0x30 {
		bare = bare[winCertHeader:] // of the table's entry, which version 2.5 takes out too
	}
	var der asn1.RawValue
	if _, err := asn1.Unmarshal(bare, &der); err != nil {
		t.Fatal(err)
	}
	if _, err := Attach(t.Context(), src, dst, der.FullBytes, trust); err != nil {
		t.Errorf("osslsigncode's signature: %v", err)
	}

	// And what it has others sign, which Debian 12's version cannot yet.
	switch out, err := run(t, tool, "extract-data", "-h", "sha256", "-in", src, "-out", filepath.Join(dir, "data")); {
	case err == nil:
		data = readFile(t, filepath.Join(dir, "data"))
	case strings.Contains(out, "Usage: "):
		t.Log("this osslsigncode has no extract-data: judged by extract-signature alone")
		return
	default:
		t.Fatalf("osslsigncode extract-data: %v\n%s", err, out)
	}
	if signature, err = (Authenticode{}).SignExtracted(t.Context(), data, w.key, w.tsa); err != nil {
		t.Fatal(err)
	}
	if _, err := Attach(t.Context(), src, dst, signature, w.trust()); err != nil {
		t.Errorf("over what osslsigncode extracted: %v", err)
	}
}

// TestRevocation has a list before and after the timestamp, of another issuer,
// forged, and out of date.
func TestRevocation(t *testing.T) {
	t.Parallel()
	w := sharedWorld()
	w.tsa = &testTSA{signer: w.tsa.signer, chain: w.tsa.chain, at: time.Now().Add(-30 * time.Minute)}
	file := mustSign(t, Authenticode{}, sample(t, "impbyord.exe"), w.key, w.tsa)
	list := func(issuer *issued, revoked time.Duration, next time.Duration) []*x509.RevocationList {
		der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
			Number: big.NewInt(1), ThisUpdate: time.Now().Add(-48 * time.Hour), NextUpdate: time.Now().Add(next),
			RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: w.key.Leaf().SerialNumber, RevocationTime: time.Now().Add(revoked)}},
		}, issuer.cert, issuer.Signer)
		if err != nil {
			t.Fatal(err)
		}
		lists, err := ParseCRLs(der)
		if err != nil {
			t.Fatal(err)
		}
		return lists
	}
	impostor := issue(t, "Test CA", newRSA(t), nil, authority)
	for name, test := range map[string]struct {
		lists []*x509.RevocationList
		bad   bool
	}{
		"revoked before": {list(w.ca, -time.Hour, time.Hour), true},
		"revoked after":  {list(w.ca, -time.Minute, time.Hour), false},
		"out of date":    {list(w.ca, -time.Minute, -time.Hour), true},
		"of another":     {list(issue(t, "Other CA", newRSA(t), nil, authority), -time.Hour, time.Hour), false},
		"forged":         {list(impostor, -time.Hour, time.Hour), true},
	} {
		trust := w.trust()
		trust.CRLs = test.lists
		_, err := Authenticode{}.Verify(t.Context(), file, trust)
		if !test.bad && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if test.bad {
			wantError(t, err, Untrusted, RuleRevoked)
		}
		trust.Policy.Off = []Rule{RuleRevoked}
		if _, err := (Authenticode{}).Verify(t.Context(), file, trust); err != nil {
			t.Errorf("%s, with the rule off: %v", name, err)
		}
	}
	if _, err := ParseCRLs([]byte("rubbish")); err == nil {
		t.Error("rubbish is a revocation list")
	}
}

// TestLegacyTimestamp adds a countersignature, as was done before RFC 3161: it is
// flagged, and counts only where the rule is off.
func TestLegacyTimestamp(t *testing.T) {
	t.Parallel()
	w := sharedWorld()
	src := goProgram(t, "windows", "386", "-s -w")
	primary := primaryOf(t, mustSign(t, Authenticode{}, src, w.key, nil))
	element := counterSign(t, w, primary)
	for name, change := range map[string]func([]byte) []byte{
		"good":    func(b []byte) []byte { return b },
		"damaged": func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
	} {
		der, err := cms.AddUnsigned(primary, cms.Attribute{Type: cms.OIDCountersignature, Values: [][]byte{change(bytes.Clone(element))}})
		if err == nil {
			der, err = cms.AddCertificates(der, w.tsa.chain)
		}
		if err != nil {
			t.Fatal(err)
		}
		file := withSignature(t, src, der)
		_, err = Authenticode{}.Verify(t.Context(), file, w.trust())
		wantError(t, err, Untrusted, RuleLegacy)
		trust := w.trust()
		trust.Policy.Off = []Rule{RuleLegacy}
		trust.Now = w.key.Leaf().NotAfter.Add(time.Hour)
		sig, err := Authenticode{}.Verify(t.Context(), file, trust)
		if name == "damaged" {
			wantError(t, err, Tampered, RuleSignature)
			continue
		}
		if err != nil || sig.Time.IsZero() || !sig.TSA.Equal(w.tsa.chain[0]) {
			t.Errorf("%+v, %v", sig, err)
		}
		trust.TSARoots = x509.NewCertPool()
		_, err = Authenticode{}.Verify(t.Context(), file, trust)
		wantError(t, err, Untrusted, RuleTSA)
	}
}

// counterSignature returns a countersignature (PKCS #9) of a signature value by
// the timestamp authority of w, as of half an hour ago.
func counterSignature(t testing.TB, w *world, signature []byte, h crypto.Hash) []byte {
	t.Helper()
	d := h.New()
	d.Write(signature)
	at, err := asn1.Marshal(time.Now().Add(-time.Hour / 2).UTC())
	if err != nil {
		t.Fatal(err)
	}
	counter, err := cms.Message{ContentType: cms.OIDData, Hash: h, Digest: d.Sum(nil), NullParams: true,
		Attributes: []cms.Attribute{{Type: cms.OIDSigningTime, Values: [][]byte{at}}}}.Sign(w.tsa.signer, w.tsa.chain[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	return takeApart(t, counter)[0].signedData().last().parts[0].encode(t)
}
