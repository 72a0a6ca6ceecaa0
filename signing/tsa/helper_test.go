package tsa

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hallmark-build/hallmark/signing/key"
)

// identities are the development TSA, a code-signing key, and another TSA.
type identities struct{ tsa, code, other *key.Key }

var theIdentities = sync.OnceValue(func() identities {
	dir, err := os.MkdirTemp("", "tsa-test-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	open := func(sub string, f func(key.Options) (*key.Key, error)) *key.Key {
		k, err := f(key.Options{Dir: filepath.Join(dir, sub)})
		if err != nil {
			panic(err)
		}
		return k
	}
	tsa := func(o key.Options) (*key.Key, error) { return key.OpenTSA(context.Background(), o) }
	code := func(o key.Options) (*key.Key, error) { return key.Open(context.Background(), "dev", o) }
	return identities{open("a", tsa), open("a", code), open("b", tsa)}
})

func rootsOf(k *key.Key) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(k.Root())
	return pool
}

func digestOf(s string) []byte {
	sum := sha256.Sum256([]byte(s))
	return sum[:]
}

func openssl(t testing.TB, args ...string) []byte {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		const missing = "SKIP: openssl missing: apt package openssl"
		if os.Getenv("HALLMARK_STRICT") == "1" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func writeFile(t testing.TB, file string, data []byte) string {
	t.Helper()
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func certPEM(certs ...*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, c := range certs {
		b.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	return b.Bytes()
}

func keyPEM(t testing.TB, signer crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// counted is a server that counts its requests.
type counted struct {
	*httptest.Server
	mu sync.Mutex
	n  int
}

func (c *counted) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

func serve(t *testing.T, h http.HandlerFunc) *counted {
	t.Helper()
	c := &counted{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		c.n++
		c.mu.Unlock()
		h(w, r)
	}))
	t.Cleanup(c.Close)
	return c
}

// reply answers with what f makes of the request.
func reply(f func(r *request) []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, "", http.StatusBadRequest)
			return
		}
		req, err := parseRequest(body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", replyType)
		_, _ = w.Write(f(req))
	}
}

func good() *Server { return &Server{Key: theIdentities().tsa} }

// naps records the waits between attempts, and does not wait.
type naps struct {
	mu    sync.Mutex
	waits []time.Duration
}

func (n *naps) sleep(ctx context.Context, d time.Duration) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.waits = append(n.waits, d)
	return ctx.Err()
}

func client(n *naps, urls ...string) *Client {
	return &Client{URLs: urls, Roots: rootsOf(theIdentities().tsa), Sleep: n.sleep}
}
