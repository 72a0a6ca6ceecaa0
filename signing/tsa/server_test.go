package tsa

import (
	"bytes"
	"context"
	"crypto"
	"encoding/asn1"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-build/hallmark/signing/cms"
)

// OpenSSL asks, and judges the answer.
func TestServerByOpenSSL(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(good())
	t.Cleanup(srv.Close)
	dir := t.TempDir()
	data := writeFile(t, filepath.Join(dir, "data"), []byte("a file"))
	ca := writeFile(t, filepath.Join(dir, "ca.pem"), certPEM(theIdentities().tsa.Root()))
	leaf := writeFile(t, filepath.Join(dir, "leaf.pem"), certPEM(theIdentities().tsa.Leaf()))
	for _, test := range []struct {
		name  string
		query []string
		cert  bool
	}{
		{"sha256", []string{"-sha256", "-cert"}, true},
		{"sha384", []string{"-sha384", "-cert"}, true},
		{"sha512", []string{"-sha512", "-cert"}, true},
		{"without certificates", []string{"-sha256"}, false},
		{"without nonce", []string{"-sha256", "-cert", "-no_nonce"}, true},
		{"policy", []string{"-sha256", "-cert", "-tspolicy", policy().String()}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			query, answer := filepath.Join(dir, "q"), filepath.Join(dir, "r")
			openssl(t, append([]string{"ts", "-query", "-data", data, "-out", query}, test.query...)...)
			q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL, bytes.NewReader(readFile(t, query)))
			if err != nil {
				t.Fatal(err)
			}
			q.Header.Set("Content-Type", queryType)
			resp, err := srv.Client().Do(q)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != 200 || resp.Header.Get("Content-Type") != replyType {
				t.Fatalf("%v %s %s", err, resp.Status, resp.Header)
			}
			writeFile(t, answer, body)
			verify := []string{"ts", "-verify", "-in", answer, "-CAfile", ca}
			if !test.cert {
				verify = append(verify, "-untrusted", leaf)
			}
			openssl(t, append(verify, "-queryfile", query)...)
			openssl(t, append(verify, "-data", data)...)
			text := string(openssl(t, "ts", "-reply", "-in", answer, "-text"))
			for _, want := range []string{"Status: Granted", "Accuracy: 0x01 seconds", "Policy OID: " + policy().String()} {
				if !strings.Contains(text, want) {
					t.Errorf("OpenSSL reads no %q in\n%s", want, text)
				}
			}
			if embedded := bytes.Contains(body, theIdentities().tsa.Leaf().Raw); embedded != test.cert {
				t.Errorf("certificates embedded: %v, want %v", embedded, test.cert)
			}
		})
	}
}

func TestServerRejects(t *testing.T) {
	t.Parallel()
	r, err := newRequest(crypto.SHA256, digestOf("x"))
	if err != nil {
		t.Fatal(err)
	}
	ok, err := r.marshal()
	if err != nil {
		t.Fatal(err)
	}
	type imprint struct {
		Algorithm struct {
			OID    asn1.ObjectIdentifier
			Params asn1.RawValue `asn1:"optional"`
		}
		Digest []byte
	}
	type message struct {
		Version    int
		Imprint    imprint
		Policy     asn1.ObjectIdentifier `asn1:"optional"`
		Nonce      *big.Int              `asn1:"optional"`
		CertReq    bool                  `asn1:"optional"`
		Extensions asn1.RawValue         `asn1:"optional"`
	}
	make := func(change func(*message)) []byte {
		var m message
		if _, err := asn1.Unmarshal(ok, &m); err != nil {
			t.Fatal(err)
		}
		change(&m)
		der, err := asn1.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	for _, test := range []struct {
		name string
		req  []byte
		fail int
	}{
		{"nothing", nil, failBadDataFormat},
		{"text", []byte("hello"), failBadDataFormat},
		{"cut", ok[:len(ok)-1], failBadDataFormat},
		{"trailing data", append(bytes.Clone(ok), 0), failBadDataFormat},
		{"indefinite length", append(append([]byte{0x30, 0x80}, ok[2:]...), 0, 0), failBadDataFormat},
		{"version 2", make(func(m *message) { m.Version = 2 }), failBadRequest},
		{"short imprint", make(func(m *message) { m.Imprint.Digest = m.Imprint.Digest[1:] }), failBadDataFormat},
		{"SHA-1", make(func(m *message) {
			m.Imprint.Algorithm.OID, m.Imprint.Digest = asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}, m.Imprint.Digest[:20]
		}), failBadAlg},
		{"unknown digest", make(func(m *message) { m.Imprint.Algorithm.OID = asn1.ObjectIdentifier{1, 2, 3} }), failBadAlg},
		{"parameters", make(func(m *message) { m.Imprint.Algorithm.Params = asn1.RawValue{FullBytes: []byte{4, 1, 0}} }), failBadAlg},
		{"policy", make(func(m *message) { m.Policy = asn1.ObjectIdentifier{1, 2, 3} }), failUnacceptedPolicy},
		{"extensions", make(func(m *message) {
			m.Extensions = asn1.RawValue{FullBytes: []byte{0xa0, 9, 0x30, 7, 6, 2, 0x2a, 3, 4, 1, 0}}
		}), failUnacceptedExtension},
	} {
		_, err := parseResponse(good().Respond(test.req))
		var re *RejectedError
		if !errors.As(err, &re) || re.Status != statusRejection || len(re.Fail) != 1 || re.Fail[0] != test.fail || re.Text == "" {
			t.Errorf("%s: got %v, want %s", test.name, err, failName(test.fail))
		}
	}
	if _, err := parseResponse(good().Respond(ok)); err != nil {
		t.Errorf("the good request: %v", err)
	}
	if _, err := parseResponse(good().Respond(make(func(m *message) { m.Imprint.Algorithm.Params = asn1.RawValue{} }))); err != nil {
		t.Errorf("without parameters: %v", err)
	}
	// OpenSSL reads a rejection as such.
	file := writeFile(t, filepath.Join(t.TempDir(), "r"), good().Respond(nil))
	if text := string(openssl(t, "ts", "-reply", "-in", file, "-text")); !strings.Contains(text, "Status: Rejected") || !strings.Contains(text, "bad data format") && !strings.Contains(text, "wrong format") {
		t.Errorf("OpenSSL reads\n%s", text)
	}
}

func TestServerHTTP(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		method, kind string
		body         []byte
		want         int
	}{
		{http.MethodGet, "", nil, http.StatusMethodNotAllowed},
		{http.MethodPut, queryType, nil, http.StatusMethodNotAllowed},
		{http.MethodPost, "", nil, http.StatusUnsupportedMediaType},
		{http.MethodPost, "text/plain", nil, http.StatusUnsupportedMediaType},
		{http.MethodPost, queryType, make([]byte, maxRequest+1), http.StatusRequestEntityTooLarge},
		{http.MethodPost, queryType, []byte("bad"), http.StatusOK},
		{http.MethodPost, queryType + "; x=y", nil, http.StatusOK},
	} {
		r := httptest.NewRequest(test.method, "/", bytes.NewReader(test.body))
		r.Header.Set("Content-Type", test.kind)
		w := httptest.NewRecorder()
		good().ServeHTTP(w, r)
		if w.Code != test.want {
			t.Errorf("%s %q: %d, want %d", test.method, test.kind, w.Code, test.want)
		}
		if w.Code == http.StatusOK && w.Header().Get("Content-Type") != replyType {
			t.Errorf("%s: answered %s", test.kind, w.Header())
		}
	}
}

func TestLocal(t *testing.T) {
	t.Parallel()
	l := Local{good()}
	serials := map[string]bool{}
	for _, h := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512, crypto.SHA256} {
		digest := h.New().Sum(nil)
		der, err := l.Timestamp(context.Background(), h, digest)
		if err != nil {
			t.Fatal(err)
		}
		token, err := cms.ParseToken(der)
		if err != nil {
			t.Fatal(err)
		}
		if token.Hash != h || !bytes.Equal(token.Imprint, digest) || !token.Policy.Equal(policy()) {
			t.Errorf("%v: token of %v %x", h, token.Hash, token.Imprint)
		}
		serials[token.Serial.String()] = true
	}
	if len(serials) != 4 {
		t.Errorf("4 tokens have %d serial numbers", len(serials))
	}
	for _, test := range []struct {
		h      crypto.Hash
		digest []byte
	}{{crypto.SHA1, make([]byte, 20)}, {crypto.SHA256, make([]byte, 20)}, {crypto.SHA512, nil}} {
		if _, err := l.Timestamp(context.Background(), test.h, test.digest); err == nil {
			t.Errorf("%v of %d bytes was stamped", test.h, len(test.digest))
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := l.Timestamp(ctx, crypto.SHA256, digestOf("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	// The same checks as a client's: a certificate that has ended, and one
	// that is not for timestamps.
	var te *TokenError
	late := Local{&Server{Key: theIdentities().tsa, Now: func() time.Time { return time.Now().AddDate(5, 0, 0) }}}
	if _, err := late.Timestamp(context.Background(), crypto.SHA256, digestOf("x")); !errors.As(err, &te) || te.Part != "time" {
		t.Errorf("after the certificate's end: %v", err)
	}
	code := Local{&Server{Key: theIdentities().code}}
	if _, err := code.Timestamp(context.Background(), crypto.SHA256, digestOf("x")); !errors.As(err, &te) || te.Part != "signature" {
		t.Errorf("by a code-signing key: %v", err)
	}
}

func FuzzRequest(f *testing.F) {
	for _, h := range []crypto.Hash{crypto.SHA256, crypto.SHA512} {
		r, err := newRequest(h, h.New().Sum(nil))
		if err != nil {
			f.Fatal(err)
		}
		for _, p := range []asn1.ObjectIdentifier{nil, policy()} {
			r.policy = p
			der, err := r.marshal()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(der)
			f.Add(der[:len(der)-1])
		}
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		r, err := parseRequest(der)
		if err != nil {
			var re *requestError
			if !errors.As(err, &re) {
				t.Fatalf("error of type %T", err)
			}
			_, err = parseResponse(rejection(re.bit, re.text))
			var rejected *RejectedError
			if !errors.As(err, &rejected) || len(rejected.Fail) != 1 || rejected.Fail[0] != re.bit {
				t.Fatalf("the rejection reads %v", err)
			}
			return
		}
		again, err := r.marshal()
		if err != nil {
			t.Fatal(err)
		}
		r2, err := parseRequest(again)
		if err != nil {
			t.Fatalf("%x: %v", again, err)
		}
		if r2.hash != r.hash || !bytes.Equal(r2.imprint, r.imprint) || !r2.policy.Equal(r.policy) || r2.certReq != r.certReq ||
			(r2.nonce == nil) != (r.nonce == nil) || r.nonce != nil && r.nonce.Cmp(r2.nonce) != 0 {
			t.Fatalf("%+v became %+v", r, r2)
		}
	})
}
