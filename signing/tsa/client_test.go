package tsa

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/digitorus/timestamp"

	"github.com/hallmark-build/hallmark/signing/cms"
	"github.com/hallmark-build/hallmark/signing/key"
)

func readFile(t testing.TB, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// byOpenSSL is a server whose answers openssl makes.
func byOpenSSL(t *testing.T, k *key.Key) http.HandlerFunc {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "key.pem"), keyPEM(t, k.Signer))
	writeFile(t, filepath.Join(dir, "cert.pem"), certPEM(k.Leaf()))
	writeFile(t, filepath.Join(dir, "chain.pem"), certPEM(k.Chain[1:]...))
	writeFile(t, filepath.Join(dir, "serial"), []byte("01\n"))
	config := writeFile(t, filepath.Join(dir, "tsa.cnf"), []byte(strings.ReplaceAll(`
[tsa]
default_tsa = t
[t]
serial = DIR/serial
crypto_device = builtin
signer_cert = DIR/cert.pem
signer_key = DIR/key.pem
certs = DIR/chain.pem
signer_digest = sha256
default_policy = 1.2.3.4
digests = sha256, sha384, sha512
accuracy = secs:1, millisecs:500, microsecs:100
ordering = yes
tsa_name = yes
ess_cert_id_chain = yes
ess_cert_id_alg = sha256
`, "DIR", dir)))
	var mu sync.Mutex
	return func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		query, answer := filepath.Join(dir, "q"), filepath.Join(dir, "r")
		writeFile(t, query, body)
		openssl(t, "ts", "-reply", "-config", config, "-queryfile", query, "-out", answer)
		w.Header().Set("Content-Type", replyType)
		_, _ = w.Write(readFile(t, answer))
	}
}

// byDigitorus is a server on another implementation in Go.
func byDigitorus(t *testing.T, k *key.Key) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		req, err := timestamp.ParseRequest(body)
		if err != nil {
			t.Errorf("it cannot read our request: %v", err)
			return
		}
		der, err := (&timestamp.Timestamp{
			HashAlgorithm: req.HashAlgorithm, HashedMessage: req.HashedMessage, Nonce: req.Nonce,
			Time: time.Now(), Accuracy: time.Second, Policy: []int{1, 2, 3}, AddTSACertificate: req.Certificates,
		}).CreateResponseWithOpts(k.Leaf(), k.Signer, crypto.SHA256)
		if err != nil {
			t.Error(err)
			return
		}
		w.Header().Set("Content-Type", replyType)
		_, _ = w.Write(der)
	}
}

func TestClient(t *testing.T) {
	t.Parallel()
	k := theIdentities().tsa
	sum512 := sha512.Sum512([]byte("x"))
	for name, h := range map[string]http.HandlerFunc{
		"own": good().ServeHTTP, "openssl": byOpenSSL(t, k), "digitorus": byDigitorus(t, k),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := client(&naps{}, serve(t, h).URL)
			for _, test := range []struct {
				h      crypto.Hash
				digest []byte
			}{{crypto.SHA256, digestOf("x")}, {crypto.SHA512, sum512[:]}} {
				der, err := c.Timestamp(t.Context(), test.h, test.digest)
				if err != nil {
					t.Fatal(err)
				}
				token, err := cms.ParseToken(der)
				if err != nil {
					t.Fatal(err)
				}
				if token.Hash != test.h || !bytes.Equal(token.Imprint, test.digest) {
					t.Errorf("token of %v %x", token.Hash, token.Imprint)
				}
				// What we hand over is good in OpenSSL's eyes too.
				dir := t.TempDir()
				file := writeFile(t, filepath.Join(dir, "token"), der)
				ca := writeFile(t, filepath.Join(dir, "ca.pem"), certPEM(k.Root()))
				openssl(t, "ts", "-verify", "-token_in", "-in", file, "-digest", fmt.Sprintf("%x", test.digest), "-CAfile", ca)
			}
			// The same server with roots that do not know it.
			c = client(&naps{}, c.URLs[0])
			c.Roots = rootsOf(theIdentities().other)
			var te *TokenError
			if _, err := c.Timestamp(t.Context(), crypto.SHA256, digestOf("x")); !errors.As(err, &te) || te.Part != "chain" {
				t.Errorf("untrusted server: %v", err)
			}
			c = client(&naps{}, c.URLs[0])
			c.Roots = nil
			if _, err := c.Timestamp(t.Context(), crypto.SHA256, digestOf("x")); err != nil {
				t.Errorf("without roots: %v", err)
			}
		})
	}
}

// token is an answer signed by k over a TSTInfo that change has spoiled.
func token(t *testing.T, k *key.Key, change func(*cms.TSTInfo)) http.HandlerFunc {
	return reply(func(r *request) []byte {
		info := cms.TSTInfo{Policy: policy(), Hash: r.hash, Imprint: r.imprint, Serial: big.NewInt(1), Time: time.Now(), Nonce: r.nonce}
		change(&info)
		der, err := cms.SignToken(info, k, k.Chain, true)
		if err != nil {
			t.Error(err)
			return nil
		}
		return granted(der)
	})
}

func TestBadServers(t *testing.T) {
	t.Parallel()
	ids := theIdentities()
	answer := func(f func(good []byte) []byte) http.HandlerFunc {
		return reply(func(r *request) []byte {
			der, err := r.marshal()
			if err != nil {
				t.Error(err)
			}
			return f(good().Respond(der))
		})
	}
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", code) }
	}
	closed := serve(t, good().ServeHTTP)
	closed.Close()
	for _, test := range []struct {
		name    string
		handler http.HandlerFunc // nil: nobody listens
		want    string
		times   int
	}{
		{"down", nil, "refused", 3},
		{"garbage", reply(func(*request) []byte { return []byte("garbage") }), "not a TimeStampResp", 1},
		{"empty", reply(func(*request) []byte { return nil }), "not a TimeStampResp", 1},
		{"HTML", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>log in</html>") }, "text/html", 1},
		{"trailing data", answer(func(b []byte) []byte { return append(b, 0) }), "1 bytes follow", 1},
		{"cut", answer(func(b []byte) []byte { return b[:len(b)-1] }), "not a TimeStampResp", 1},
		{"flipped", answer(func(b []byte) []byte { b[len(b)-20] ^= 1; return b }), "bad timestamp: signature", 1},
		{"no token", reply(func(*request) []byte { return []byte{0x30, 5, 0x30, 3, 2, 1, 0} }), "holds none", 1},
		{"rejection with token", answer(func(b []byte) []byte { return bytes.Replace(b, []byte{0x30, 3, 2, 1, 0}, []byte{0x30, 3, 2, 1, 2}, 1) }), "status 2", 1},
		{"wrong nonce", token(t, ids.tsa, func(i *cms.TSTInfo) { i.Nonce = new(big.Int).Add(i.Nonce, big.NewInt(1)) }), "nonce", 1},
		{"no nonce", token(t, ids.tsa, func(i *cms.TSTInfo) { i.Nonce = nil }), "nonce: it is missing", 1},
		{"wrong imprint", token(t, ids.tsa, func(i *cms.TSTInfo) { i.Imprint = digestOf("something else") }), "something else", 1},
		{"imprint by another digest", token(t, ids.tsa, func(i *cms.TSTInfo) { i.Hash, i.Imprint = crypto.SHA512, append(i.Imprint, i.Imprint...) }), "digest by SHA-512", 1},
		{"past", token(t, ids.tsa, func(i *cms.TSTInfo) { i.Time = i.Time.Add(-MaxSkew - 2*time.Second) }), "set the clock", 1},
		{"future", token(t, ids.tsa, func(i *cms.TSTInfo) { i.Time = i.Time.Add(MaxSkew + 2*time.Second) }), "set the clock", 1},
		{"not a TSA", token(t, ids.code, func(*cms.TSTInfo) {}), "may not sign timestamps", 1},
		{"another root", token(t, ids.other, func(*cms.TSTInfo) {}), "chain", 1},
		{"rejection", reply(func(*request) []byte { return rejection(failBadAlg, "no\n\x1b[31mthanks") }), "badAlg): \"no [31mthanks\"", 1},
		{"out of order", reply(func(*request) []byte { return rejection(failSystemFailure, "later") }), "systemFailure): \"later\"", 3},
		{"huge", reply(func(*request) []byte { return make([]byte, maxResponse+1) }), "larger than 256 kB", 1},
		{"slow", func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // or the client's departure is not seen
			w.Header().Set("Content-Type", replyType)
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, "no answer within 300ms", 3},
		{"404", status(404), "404 Not Found", 1},
		{"401", status(401), "401 Unauthorized", 1},
		{"500", status(500), "500 Internal Server Error", 3},
		{"redirect", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/login" {
				http.Redirect(w, r, "/login", http.StatusFound)
				return
			}
			_, _ = io.WriteString(w, "<html>log in</html>")
		}, "text/html", 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var bad *counted
			url, n := closed.URL, &naps{}
			if test.handler != nil {
				bad = serve(t, test.handler)
				url = bad.URL
			}
			c := client(n, url)
			c.Timeout = 20 * time.Second
			if test.name == "slow" {
				c.Timeout = 300 * time.Millisecond
			}
			der, err := c.Timestamp(t.Context(), crypto.SHA256, digestOf("x"))
			var all *Error
			if !errors.As(err, &all) || der != nil {
				t.Fatalf("got %T: %v", err, err)
			}
			if !strings.Contains(err.Error(), test.want) || strings.ContainsAny(err.Error(), "\n\x1b") || !strings.Contains(err.Error(), url) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if bad != nil && bad.count() != test.times {
				t.Errorf("asked %d times, want %d", bad.count(), test.times)
			}
			if len(all.Servers) != 1 || test.name != "redirect" && all.Servers[0].Attempts != test.times || len(n.waits) != all.Servers[0].Attempts-1 {
				t.Errorf("%+v, waits %v", all.Servers, n.waits)
			}
			// With a good server behind it, all is well; and the bad one
			// is asked last from then on.
			fine := serve(t, good().ServeHTTP)
			c = client(&naps{}, url, fine.URL)
			if test.name == "slow" {
				c.Timeout = 2 * time.Second
				c.Attempts = 1
			}
			for range 2 {
				if _, err := c.Timestamp(t.Context(), crypto.SHA256, digestOf("x")); err != nil {
					t.Fatal(err)
				}
			}
			if fine.count() != 2 || bad != nil && bad.count() > 2*test.times {
				t.Errorf("the good server was asked %d times", fine.count())
			}
		})
	}
}

func TestWaits(t *testing.T) {
	t.Parallel()
	late := time.Now().Add(30 * time.Second).UTC().Format(http.TimeFormat)
	for _, test := range []struct {
		name     string
		status   int
		header   string
		min, max time.Duration // of the first wait
		gives    bool          // up at once
	}{
		{"429 seconds", 429, "7", 7 * time.Second, 7 * time.Second, false},
		{"429 date", 429, late, 20 * time.Second, 30 * time.Second, false},
		{"503 seconds", 503, "2", 2 * time.Second, 2 * time.Second, false},
		{"503 nothing", 503, "", firstWait / 2, firstWait, false},
		{"503 garbage", 503, "soon", firstWait / 2, firstWait, false},
		{"503 negative", 503, "-5", firstWait / 2, firstWait, false},
		{"503 past", 503, "Mon, 02 Jan 2006 15:04:05 GMT", firstWait / 2, firstWait, false},
		{"429 hours", 429, "36000", 0, 0, true},
		{"429 beyond int", 429, "99999999999999999999", firstWait / 2, firstWait, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			n := &naps{}
			var bad *counted
			bad = serve(t, func(w http.ResponseWriter, r *http.Request) {
				if bad.count() > 1 {
					good().ServeHTTP(w, r)
					return
				}
				if test.header != "" {
					w.Header().Set("Retry-After", test.header)
				}
				w.WriteHeader(test.status)
			})
			_, err := client(n, bad.URL).Timestamp(t.Context(), crypto.SHA256, digestOf("x"))
			if test.gives {
				if err == nil || len(n.waits) != 0 || !strings.Contains(err.Error(), "10h0m0s") {
					t.Errorf("got %v after %v", err, n.waits)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(n.waits) != 1 || n.waits[0] < test.min || n.waits[0] > test.max {
				t.Errorf("waited %v, want %v to %v", n.waits, test.min, test.max)
			}
		})
	}
	t.Run("growth", func(t *testing.T) {
		t.Parallel()
		n := &naps{}
		c := client(n, serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }).URL)
		c.Attempts = 7
		if _, err := c.Timestamp(t.Context(), crypto.SHA256, digestOf("x")); err == nil || !strings.Contains(err.Error(), "(7 attempts)") {
			t.Errorf("got %v", err)
		}
		want := firstWait
		for i, d := range n.waits {
			if d < want/2 || d > want {
				t.Errorf("wait %d is %v, want %v to %v", i, d, want/2, want)
			}
			want = min(2*want, maxWait)
		}
		if len(n.waits) != 6 {
			t.Errorf("%d waits", len(n.waits))
		}
	})
}

func TestAllFail(t *testing.T) {
	t.Parallel()
	a := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	b := serve(t, reply(func(*request) []byte { return rejection(failBadAlg, "no") }))
	c := client(&naps{}, a.URL, b.URL)
	_, err := c.Timestamp(t.Context(), crypto.SHA256, digestOf("x"))
	var re *RejectedError
	var he *HTTPError
	if !errors.As(err, &re) || !errors.As(err, &he) || he.Status != 500 {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{a.URL + ": HTTP status 500", "(3 attempts)", b.URL + ": the server refused"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}

// What a URL keeps secret is sent to the server and shown to nobody else.
func TestSecretsInURL(t *testing.T) {
	t.Parallel()
	sent := make(chan string, 1)
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		user, pass, _ := r.BasicAuth()
		sent <- user + ":" + pass + "?" + r.URL.RawQuery
		w.WriteHeader(http.StatusForbidden)
	})
	closed := serve(t, good().ServeHTTP)
	closed.Close()
	with := func(url string) string {
		return strings.Replace(url, "http://", "http://tok3n:hunter2@", 1) + "/path?key=apik3y"
	}
	for _, url := range []string{with(srv.URL), with(closed.URL), "http://tok3n:hunter2@[::1", "http://tok3n:hunter2@host:port/", "ftp://tok3n:hunter2@host/", "tok3n:hunter2"} {
		c := client(&naps{}, url)
		c.Attempts = 1
		_, err := c.Timestamp(t.Context(), crypto.SHA256, digestOf("x"))
		if err == nil {
			t.Errorf("%s gave a timestamp", url)
			continue
		}
		for _, secret := range []string{"hunter2", "tok3n", "apik3y"} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the error tells %s: %v", secret, err)
			}
		}
		var all *Error
		if errors.As(err, &all) && !strings.Contains(err.Error(), "/path: ") {
			t.Errorf("the error does not name the server: %v", err)
		}
	}
	if got := <-sent; got != "tok3n:hunter2?key=apik3y" {
		t.Errorf("the server was sent %s", got)
	}
	if got := clean(errors.New("proxy \"http://u:hunter2@p:1\"\n is bad")); got != `proxy "http://p:1" is bad` {
		t.Errorf("cleaned to %s", got)
	}
	for url, ok := range map[string]bool{"http://a": true, "https://a:8/b?c": true, "a.example": false, "http:///x": false, "": false, "file:///x": false} {
		if err := CheckURL(url); (err == nil) != ok {
			t.Errorf("%q: %v", url, err)
		}
	}
}

func TestClientContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	srv := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		cancel()
		<-r.Context().Done()
	})
	_, err := client(&naps{}, srv.URL).Timestamp(ctx, crypto.SHA256, digestOf("x"))
	if !errors.Is(err, context.Canceled) || srv.count() != 1 {
		t.Errorf("got %v after %d requests", err, srv.count())
	}
	// While it waits, too.
	ctx, cancel = context.WithCancel(t.Context())
	srv = serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "60")
		w.WriteHeader(429)
		time.AfterFunc(50*time.Millisecond, cancel)
	})
	c := client(&naps{}, srv.URL)
	c.Sleep = nil
	if _, err := c.Timestamp(ctx, crypto.SHA256, digestOf("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := (&Client{}).Timestamp(t.Context(), crypto.SHA256, digestOf("x")); err == nil {
		t.Error("no server gave a timestamp")
	}
	if _, err := client(&naps{}, srv.URL).Timestamp(t.Context(), crypto.MD5, make([]byte, 16)); err == nil {
		t.Error("an MD5 was stamped")
	}
}

func TestInFlight(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	now, most := 0, 0
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		good().ServeHTTP(w, r)
		mu.Lock()
		now--
		mu.Unlock()
	})
	c := client(&naps{}, srv.URL)
	c.InFlight = 2
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			if _, err := c.Timestamp(t.Context(), crypto.SHA256, digestOf(fmt.Sprint(i))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if most > 2 || srv.count() != 12 {
		t.Errorf("%d at once, %d in all", most, srv.count())
	}
}

// TestDamagedAnswer changes every byte of a good answer. What is still
// accepted differs only outside of what the signature covers.
func TestDamagedAnswer(t *testing.T) {
	t.Parallel()
	r, err := newRequest(crypto.SHA256, digestOf("x"))
	if err != nil {
		t.Fatal(err)
	}
	der, err := r.marshal()
	if err != nil {
		t.Fatal(err)
	}
	answer := good().Respond(der)
	roots := rootsOf(theIdentities().tsa)
	want, err := r.check(answer, time.Now(), roots)
	if err != nil {
		t.Fatal(err)
	}
	accepted := 0
	for i := range answer {
		twin := bytes.Clone(answer)
		twin[i] ^= 0x01
		got, err := r.check(twin, time.Now(), roots)
		if err != nil {
			continue
		}
		accepted++
		a, errA := cms.ParseToken(want)
		b, errB := cms.ParseToken(got)
		if errA != nil || errB != nil || !a.Time.Equal(b.Time) || a.Serial.Cmp(b.Serial) != 0 || !a.Signer.Equal(b.Signer) {
			t.Errorf("byte %d changed: another token is accepted", i)
		}
	}
	// The embedded root is not under the signature, and our own root is
	// what counts; the status may be 1 as well as 0.
	if limit := len(theIdentities().tsa.Root().Raw) + 8; accepted > limit {
		t.Errorf("%d of %d damaged answers are accepted, more than %d", accepted, len(answer), limit)
	}
}

func FuzzResponse(f *testing.F) {
	r, err := newRequest(crypto.SHA256, digestOf("x"))
	if err != nil {
		f.Fatal(err)
	}
	der, err := r.marshal()
	if err != nil {
		f.Fatal(err)
	}
	answer := good().Respond(der)
	f.Add(answer)
	f.Add(answer[:len(answer)/2])
	f.Add(rejection(failBadAlg, "no"))
	f.Add([]byte{0x30, 5, 0x30, 3, 2, 1, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := r.check(data, time.Now(), nil)
		if err != nil {
			if text := err.Error(); strings.ContainsAny(text, "\n\r\x1b") {
				t.Fatalf("error %q", text)
			}
			return
		}
		token, err := cms.ParseToken(got)
		if err != nil || token.Nonce.Cmp(r.nonce) != 0 || !bytes.Equal(token.Imprint, r.imprint) {
			t.Fatalf("a bad token was accepted: %v", err)
		}
	})
}
