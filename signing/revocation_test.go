package signing

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestPartialLists has lists that do not cover all certificates of their issuer,
// and such with what is not understood.
func TestPartialLists(t *testing.T) {
	t.Parallel()
	w := sharedWorld()
	const point = "http://crl.example/1.crl"
	leaf := issue(t, "Listed signer", w.key.Signer, w.ca, func(c *x509.Certificate) {
		codeSigning(c)
		c.CRLDistributionPoints = []string{point}
	})
	k := *w.key
	k.Chain = []*x509.Certificate{leaf.cert, w.ca.cert}
	at := time.Now().Add(-30 * time.Minute)
	file := mustSign(t, Authenticode{}, sample(t, "impbyord.exe"), &k, &testTSA{signer: w.tsa.signer, chain: w.tsa.chain, at: at})
	mute := issue(t, "Test CA", w.ca.Signer, nil, func(c *x509.Certificate) {
		authority(c)
		c.KeyUsage = x509.KeyUsageCertSign
	})
	der := func(v any, params string) []byte {
		b, err := asn1.MarshalWithParams(v, params)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	yes := func(tag int) []byte { return []byte{0x80 | byte(tag), 1, 0xff} }
	scope := func(parts ...[]byte) pkix.Extension {
		return pkix.Extension{Id: oidIssuingDistribution, Critical: true, Value: der(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: slices.Concat(parts...)}, "")}
	}
	full := func(url string) []byte {
		name := der(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(url)}, "")
		name = der(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: name}, "")
		return der(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: name}, "")
	}
	unknown := func(critical bool) pkix.Extension {
		return pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: critical, Value: []byte{5, 0}}
	}
	other := x509.RevocationListEntry{SerialNumber: big.NewInt(4711), RevocationTime: time.Now().Add(-time.Hour)}
	odd := other
	odd.ExtraExtensions = []pkix.Extension{unknown(true)}
	foreign := other
	foreign.ExtraExtensions = []pkix.Extension{{Id: oidCertificateIssuer, Critical: true, Value: []byte{0x30, 0}}}
	revoked := x509.RevocationListEntry{SerialNumber: leaf.cert.SerialNumber, RevocationTime: time.Now().Add(-time.Minute)}
	stolen := revoked
	stolen.ExtraExtensions = []pkix.Extension{{Id: oidInvalidityDate, Value: der(time.Now().Add(-time.Hour).UTC(), "generalized")}}
	list := func(edit func(*x509.RevocationList)) *x509.RevocationList {
		l := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-48 * time.Hour), NextUpdate: time.Now().Add(time.Hour)}
		edit(l)
		b, err := x509.CreateRevocationList(rand.Reader, l, w.ca.cert, w.ca.Signer)
		if err != nil {
			t.Fatal(err)
		}
		lists, err := ParseCRLs(b)
		if err != nil {
			t.Fatal(err)
		}
		return lists[0]
	}
	with := func(e ...pkix.Extension) *x509.RevocationList {
		return list(func(l *x509.RevocationList) { l.ExtraExtensions = e })
	}
	entry := func(e x509.RevocationListEntry) *x509.RevocationList {
		return list(func(l *x509.RevocationList) { l.RevokedCertificateEntries = []x509.RevocationListEntry{e} })
	}
	for name, test := range map[string]struct {
		lists []*x509.RevocationList
		want  string // part of the error; empty: accepted
	}{
		"complete":                        {[]*x509.RevocationList{with()}, ""},
		"delta":                           {[]*x509.RevocationList{with(pkix.Extension{Id: oidDeltaIndicator, Critical: true, Value: []byte{2, 1, 5}})}, "delta list"},
		"delta beside a complete one":     {[]*x509.RevocationList{with(), with(pkix.Extension{Id: oidDeltaIndicator, Value: []byte{2, 1, 5}})}, "delta list"},
		"of end entities":                 {[]*x509.RevocationList{with(scope(yes(1)))}, ""},
		"of authorities":                  {[]*x509.RevocationList{with(scope(yes(2)))}, "partial"},
		"of authorities and end entities": {[]*x509.RevocationList{with(scope(yes(2))), with(scope(yes(1)))}, ""},
		"of some reasons":                 {[]*x509.RevocationList{with(scope([]byte{0x83, 2, 5, 0x20}))}, "some reasons"},
		"indirect":                        {[]*x509.RevocationList{with(scope(yes(4)))}, "indirect"},
		"of attribute certificates":       {[]*x509.RevocationList{with(scope(yes(5)))}, "attribute certificates"},
		"with an empty scope":             {[]*x509.RevocationList{with(scope())}, "malformed"},
		"with a false flag":               {[]*x509.RevocationList{with(scope([]byte{0x81, 1, 0}))}, "malformed"},
		"with bytes behind its scope":     {[]*x509.RevocationList{with(scope(yes(1), []byte{5, 0}))}, "malformed"},
		"of the signer's point":           {[]*x509.RevocationList{with(scope(full(point)))}, ""},
		"of another point":                {[]*x509.RevocationList{with(scope(full(point + "2")))}, "partial"},
		"an unknown critical extension":   {[]*x509.RevocationList{with(unknown(true))}, "1.2.3.4"},
		"an unknown extension":            {[]*x509.RevocationList{with(unknown(false))}, ""},
		"an unknown critical extension of another's entry": {[]*x509.RevocationList{entry(odd)}, "1.2.3.4"},
		"an entry of another issuer":                       {[]*x509.RevocationList{entry(foreign)}, "indirect"},
		"revoked after the timestamp":                      {[]*x509.RevocationList{entry(revoked)}, ""},
		"stolen before the timestamp":                      {[]*x509.RevocationList{entry(stolen)}, "was revoked"},
		"not yet valid": {[]*x509.RevocationList{list(func(l *x509.RevocationList) {
			l.ThisUpdate, l.NextUpdate = time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
		})}, "future"},
	} {
		t.Run(name, func(t *testing.T) {
			trust := w.trust()
			trust.CRLs = test.lists
			_, err := Authenticode{}.Verify(t.Context(), file, trust)
			if test.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantError(t, err, Untrusted, RuleRevoked)
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q in it", err, test.want)
			}
			trust.Policy.Off = []Rule{RuleRevoked}
			if _, err := (Authenticode{}).Verify(t.Context(), file, trust); err != nil {
				t.Errorf("with the rule off: %v", err)
			}
		})
	}
	if _, err := checkList(with(), mute.cert, time.Now()); err == nil {
		t.Error("a list by a certificate whose key usage has no cRLSign is good")
	}
}

// TestPartialCases gives the partial lists of testdata.
func TestPartialCases(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"crl_delta.pem", "crl_cas.pem"} {
		lists, err := ParseCRLs(readFile(t, filepath.Join(casesDir, name)))
		if err != nil {
			t.Fatal(err)
		}
		trust := caseTrust(t)
		trust.CRLs = lists
		_, err = Authenticode{}.Verify(t.Context(), filepath.Join(casesDir, "a00_control.exe"), trust)
		wantError(t, err, Untrusted, RuleRevoked)
	}
}

// TestRevocationUnchecked holds that Inspect says of the rule revocation that it
// was not checked, unless a list of each issuer was given.
func TestRevocationUnchecked(t *testing.T) {
	t.Parallel()
	w := sharedWorld()
	file := mustSign(t, Authenticode{}, sample(t, "impbyord.exe"), w.key, w.tsa)
	list := func(issuer *issued) *x509.RevocationList {
		b, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour)}, issuer.cert, issuer.Signer)
		if err != nil {
			t.Fatal(err)
		}
		lists, err := ParseCRLs(b)
		if err != nil {
			t.Fatal(err)
		}
		return lists[0]
	}
	for _, test := range []struct {
		name  string
		lists []*x509.RevocationList
		off   []Rule
		state State
	}{
		{"no list", nil, nil, Unchecked},
		{"the signer's", []*x509.RevocationList{list(w.ca)}, nil, Unchecked},
		{"both", []*x509.RevocationList{list(w.ca), list(w.tsaCA)}, nil, Held},
		{"no chain", []*x509.RevocationList{list(w.ca), list(w.tsaCA)}, []Rule{RuleChain}, Unchecked},
		{"off", nil, []Rule{RuleRevoked}, Off},
	} {
		trust := w.trust()
		trust.CRLs, trust.Policy.Off = test.lists, test.off
		report, err := Inspect(t.Context(), file, trust)
		if err != nil || report.Err != nil {
			t.Fatal(err, report)
		}
		s := report.Signatures[0]
		i := slices.IndexFunc(s.Verdicts, func(v Verdict) bool { return v.Rule == RuleRevoked })
		if !s.Good() || s.Verdicts[i].State != test.state {
			t.Errorf("%s: %v, %v, want %v", test.name, s.Verdicts[i].State, s.Verdicts[i].Err, test.state)
		}
	}
}
