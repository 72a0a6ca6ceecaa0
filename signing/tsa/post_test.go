package tsa

import (
	"crypto"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// redirect answers with a status and a Location.
func redirect(status int, to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", to)
		w.WriteHeader(status)
	}
}

// TestRedirects follows redirections with the same POST, and refuses those that
// lead elsewhere without TLS.
func TestRedirects(t *testing.T) {
	t.Parallel()
	fine := serve(t, good().ServeHTTP)
	secure := httptest.NewTLSServer(http.HandlerFunc(good().ServeHTTP))
	t.Cleanup(secure.Close)
	for _, status := range []int{301, 302, 303, 307, 308} {
		mux := http.NewServeMux()
		mux.HandleFunc("/old", redirect(status, "/new"))
		mux.HandleFunc("/new", good().ServeHTTP)
		mux.HandleFunc("/loop", redirect(status, "/loop"))
		mux.HandleFunc("/tls", redirect(status, secure.URL+"/tsa"))
		mux.HandleFunc("/other", redirect(status, fine.URL+"/tsa"))
		mux.HandleFunc("/mute", redirect(status, ""))
		mux.HandleFunc("/file", redirect(status, "ftp://a.example/tsa"))
		mux.HandleFunc("/lost", redirect(status, "/nowhere"))
		srv := serve(t, mux.ServeHTTP)
		for path, want := range map[string]string{
			"/old": "", "/tls": "",
			"/loop": "redirection number 4", "/other": "another host by http", "/mute": "does not say where", "/file": "http and https",
			"/lost": `redirected to "` + srv.URL + `/nowhere": HTTP status 404 Not Found`,
		} {
			c := client(&naps{}, srv.URL+path)
			c.HTTP = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: secure.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}}}
			before := srv.count()
			_, err := c.Timestamp(t.Context(), crypto.SHA256, digestOf("x"))
			if want == "" {
				if err != nil {
					t.Errorf("%d %s: %v", status, path, err)
				}
				continue
			}
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "asking again will not help") {
				t.Errorf("%d %s: got %v, want %q", status, path, err, want)
			}
			if n := srv.count() - before; n > maxRedirects+1 {
				t.Errorf("%d %s: asked %d times", status, path, n)
			}
		}
	}
	down := httptest.NewTLSServer(redirect(302, fine.URL))
	t.Cleanup(down.Close)
	c := client(&naps{}, down.URL)
	c.HTTP = down.Client()
	if _, err := c.Timestamp(t.Context(), crypto.SHA256, digestOf("x")); err == nil || !strings.Contains(err.Error(), "from https to http") {
		t.Errorf("down to http: %v", err)
	}
}

// TestRedirectedSecrets keeps the user information of a URL from another host.
func TestRedirectedSecrets(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ from, to, user string }{
		{"http://u:p@a.example/x", "/y", "u:p"},
		{"http://u:p@a.example/x", "https://b.example/y", ""},
		{"http://u:p@a.example/x", "https://v:q@b.example/y", ""},
	} {
		from, err := url.Parse(test.from)
		if err != nil {
			t.Fatal(err)
		}
		to, err := redirection(from, &http.Response{StatusCode: 302, Header: http.Header{"Location": {test.to}}})
		if err != nil || to.User.String() != test.user {
			t.Errorf("%s to %s: %v, %v", test.from, test.to, to, err)
		}
	}
}

// TestServersWords shows what a server says, quoted, in bounds and without what
// its URL keeps secret.
func TestServersWords(t *testing.T) {
	t.Parallel()
	text := "quota of key apik3y used up\x1b[2J\n by hunter2"
	srv := serve(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, text, http.StatusForbidden) })
	c := client(&naps{}, strings.Replace(srv.URL, "http://", "http://tok3n:hunter2@", 1)+"/?key=apik3y")
	_, err := c.Timestamp(t.Context(), crypto.SHA256, digestOf("x"))
	if err == nil || !strings.Contains(err.Error(), `the server says "quota of key … used up [2J by …"`) {
		t.Errorf("got %v", err)
	}
	long := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, strings.Repeat("long ", 1000), http.StatusForbidden)
	})
	_, err = client(&naps{}, long.URL).Timestamp(t.Context(), crypto.SHA256, digestOf("x"))
	if err == nil || len(err.Error()) > 500 {
		t.Errorf("got %v", err)
	}
	busy := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) })
	if _, err = client(&naps{}, busy.URL).Timestamp(t.Context(), crypto.SHA256, digestOf("x")); err == nil || !strings.Contains(err.Error(), "try again later") {
		t.Errorf("got %v", err)
	}
	endless := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 2*maxHeader)) })
	if _, err = client(&naps{}, endless.URL).Timestamp(t.Context(), crypto.SHA256, digestOf("x")); err == nil {
		t.Error("a header of any size is read")
	}
}

// TestProxy says of a proxy's failure that it is the proxy's.
func TestProxy(t *testing.T) {
	t.Parallel()
	refusing := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusProxyAuthRequired) })
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for proxy, want := range map[string]string{refusing.URL: `does not connect to the server: it answered "407 Proxy`, "http://" + closed.Addr().String(): "the proxy (HTTPS_PROXY) cannot be reached"} {
		through, err := url.Parse(proxy)
		if err != nil {
			t.Fatal(err)
		}
		c := client(&naps{}, "https://tsa.example/")
		c.HTTP = &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(through)}}
		_, err = c.Timestamp(t.Context(), crypto.SHA256, digestOf("x"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", proxy, err, want)
		}
		var refused *ProxyError
		if proxy == refusing.URL && !errors.As(err, &refused) {
			t.Errorf("got %v", err)
		}
	}
}
