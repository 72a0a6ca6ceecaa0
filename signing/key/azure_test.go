package key

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// signingService answers as Azure Artifact Signing does, and fails the test when
// a request is not of the published form: paths, versions, types, bearer token,
// algorithm names, lengths of digests.
type signingService struct {
	t    *testing.T
	w    *world
	bag  []byte
	key  crypto.Signer
	busy int // so many requests are turned away first
	end  string

	mu   sync.Mutex
	jobs map[string][]byte
	asks map[string]int
}

const (
	azurePath   = "/codesigningaccounts/acme/certificateprofiles/release"
	azureBearer = "header.hunter2.signature"
)

func newSigningService(t *testing.T, w *world) (*signingService, *httptest.Server) {
	t.Helper()
	raw := func(class, tag int, parts ...[]byte) []byte {
		der, err := asn1.Marshal(asn1.RawValue{Class: class, Tag: tag, IsCompound: true, Bytes: bytesOf(parts...)})
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	oid := func(numbers ...int) []byte {
		der, err := asn1.Marshal(asn1.ObjectIdentifier(numbers))
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	signedData := raw(0, 16, []byte{2, 1, 1}, raw(0, 17), raw(0, 16, oid(1, 2, 840, 113549, 1, 7, 1)),
		raw(2, 0, w.root.Raw, w.inter.Raw, w.leaf.Raw), raw(0, 17))
	s := &signingService{t: t, w: w, key: w.rsaKey, end: "Succeeded", jobs: map[string][]byte{}, asks: map[string]int{},
		bag: raw(0, 16, oid(1, 2, 840, 113549, 1, 7, 2), raw(2, 0, signedData))}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	for name, value := range map[string]string{
		"AZURE_TENANT_ID": "tenant", "AZURE_CLIENT_ID": "client", "AZURE_CLIENT_SECRET": secret, "AZURE_AUTHORITY_HOST": server.URL,
	} {
		t.Setenv(name, value)
	}
	return s, server
}

func bytesOf(parts ...[]byte) (all []byte) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func (s *signingService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	path, isSigning := strings.CutPrefix(r.URL.Path, azurePath)
	switch {
	case r.URL.Path == "/tenant/oauth2/v2.0/token":
		r.ParseForm()
		if r.Method != http.MethodPost || r.Form.Get("grant_type") != "client_credentials" || r.Form.Get("scope") != "https://codesigning.azure.net/.default" ||
			r.Form.Get("client_id") != "client" || r.Form.Get("client_secret") != secret {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"error": "invalid_client", "error_description": "`+secret+`"}`)
			return
		}
		s.asks["token"]++
		json.NewEncoder(w).Encode(map[string]any{"access_token": azureBearer, "expires_in": 3600, "token_type": "Bearer"})
		return
	case !isSigning || r.URL.Query().Get("api-version") != "2022-06-15-preview":
		s.t.Errorf("no such thing: %s %s", r.Method, r.URL)
		http.NotFound(w, r)
		return
	case r.Header.Get("Authorization") != "Bearer "+azureBearer:
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"error": {"code": "Forbidden", "message": "no role"}}`)
		return
	case s.busy > 0:
		s.busy--
		w.WriteHeader([]int{http.StatusTooManyRequests, http.StatusServiceUnavailable}[s.busy%2])
		return
	}
	id, isJob := strings.CutPrefix(path, "/sign/")
	switch {
	case path == "/sign/certchain" && r.Method == http.MethodGet:
		w.Header().Set("Content-Type", "application/pkcs7-mime")
		w.Write(s.bag)
	case path == "/sign" && r.Method == http.MethodPost:
		var body struct{ SignatureAlgorithm, Digest string }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.Header.Get("Content-Type") != "application/json" {
			s.t.Errorf("body of the request: %v", err)
		}
		digest, err := base64.StdEncoding.DecodeString(body.Digest)
		h := map[string]crypto.Hash{"RS256": crypto.SHA256, "RS384": crypto.SHA384, "RS512": crypto.SHA512}[body.SignatureAlgorithm]
		if err != nil || h == 0 || len(digest) != h.Size() {
			s.t.Errorf("algorithm %q, digest %q", body.SignatureAlgorithm, body.Digest)
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		sig, err := s.key.Sign(rand.Reader, digest, h)
		if err != nil {
			s.t.Error(err)
		}
		id := fmt.Sprintf("operation-%d", len(s.jobs))
		s.jobs[id] = sig
		w.WriteHeader(http.StatusAccepted)
		json.NewEncoder(w).Encode(map[string]any{"operationId": id, "status": "InProgress", "signature": nil, "signingCertificate": nil})
	case isJob && r.Method == http.MethodGet && s.jobs[id] != nil:
		s.asks[id]++
		status := map[string]any{"operationId": id, "status": "InProgress"}
		if s.asks[id] > 1 {
			status["status"] = s.end
			status["signature"] = base64.StdEncoding.EncodeToString(s.jobs[id])
			status["signingCertificate"] = base64.StdEncoding.EncodeToString(s.bag)
		}
		json.NewEncoder(w).Encode(status)
	default:
		s.t.Errorf("no such request: %s %s", r.Method, r.URL)
		http.NotFound(w, r)
	}
}

// hurry takes the waiting out of a key.
func hurry(k *Key) {
	a := k.Signer.(*azure)
	a.pause, a.backoff = time.Millisecond, time.Millisecond
}

func TestAzure(t *testing.T) {
	w := theWorld()
	s, server := newSigningService(t, w)
	ref := "azure:" + server.URL + "/acme/release"
	k, err := Open(t.Context(), ref, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !k.Leaf().Equal(w.leaf) || len(k.Chain) != 3 {
		t.Errorf("%d certificates, the first of %s", len(k.Chain), k.Leaf().Subject)
	}
	hurry(k)
	mustSign(t, k)
	for _, h := range []crypto.Hash{crypto.SHA384, crypto.SHA512} {
		digest := make([]byte, h.Size())
		sig, err := k.Sign(nil, digest, h)
		if err != nil || rsa.VerifyPKCS1v15(&w.rsaKey.PublicKey, h, digest, sig) != nil {
			t.Errorf("%v: %v", h, err)
		}
	}
	s.busy = 3
	mustSign(t, k)
	if s.busy != 0 || s.asks["token"] != 1 {
		t.Errorf("%d times still busy, logged in %d times", s.busy, s.asks["token"])
	}

	s.end = "Failed"
	if _, err := k.Sign(nil, make([]byte, 32), crypto.SHA256); err == nil || !strings.Contains(err.Error(), `ended as "Failed"`) {
		t.Errorf("a failed operation: %v", err)
	}
	s.end, s.key = "Succeeded", w.otherKey
	if _, err := k.Sign(nil, make([]byte, 32), crypto.SHA256); err == nil || !strings.Contains(err.Error(), "it was renewed meanwhile") {
		t.Errorf("a renewed key: %v", err)
	}
	if _, err := k.Sign(nil, make([]byte, 20), crypto.SHA1); err == nil {
		t.Error("SHA-1 was sent")
	}
}

func TestAzureRefuses(t *testing.T) {
	w := theWorld()
	s, server := newSigningService(t, w)
	ref := "azure:" + server.URL + "/acme/release"
	for _, bad := range []string{"azure:", "azure:eus.codesigning.azure.net/acme/release", "azure:http://eus.example/acme/release", "azure:https://eus.example/acme", "azure:https://me:hunter2@eus.example/a/b"} {
		refused(t, bad, Options{})
	}
	whole := s.bag
	for i := range 40 {
		s.bag = whole[:len(whole)*i/40]
		refused(t, ref, Options{})
	}
	s.bag = whole
	t.Setenv("AZURE_CLIENT_SECRET", "hunter2")
	if err := refused(t, ref, Options{}); !strings.Contains(err.Error(), "invalid_client") {
		t.Errorf("a wrong secret: %v", err)
	}
	t.Setenv("AZURE_CLIENT_SECRET", "")
	t.Setenv("PATH", t.TempDir())
	if err := refused(t, ref, Options{}); !strings.Contains(err.Error(), "no credentials for Azure") {
		t.Errorf("no credentials: %v", err)
	}
	t.Setenv("AZURE_FEDERATED_TOKEN_FILE", t.TempDir()+"/none")
	refused(t, ref, Options{})
}

func FuzzCertificateBag(f *testing.F) {
	f.Add([]byte{0x30, 0x80})
	f.Add(theWorld().leaf.Raw)
	f.Fuzz(func(t *testing.T, der []byte) {
		if certs, err := certificateBag(der); err != nil && certs != nil {
			t.Error("certificates beside an error")
		}
	})
}
