package tsa

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

const (
	maxRedirects = 3
	maxHeader    = 64 << 10 // of an answer
	maxShown     = 4 << 10  // a longer body is a page for people, of which nothing is shown
)

// RedirectError is a redirection that is not followed.
type RedirectError struct {
	Status int
	To     string // without user information and query; empty if the server named none
	Reason string
}

func (e *RedirectError) Error() string {
	s := fmt.Sprintf("HTTP status %d %s", e.Status, http.StatusText(e.Status))
	if e.To != "" {
		s += fmt.Sprintf(" redirects to %q", e.To)
	}
	return s + ", which is not followed: " + e.Reason
}

// RedirectedError is a failure of a server that another one redirected to.
type RedirectedError struct {
	To  string // without user information and query
	Err error
}

func (e *RedirectedError) Error() string { return fmt.Sprintf("redirected to %q: %v", e.To, e.Err) }

// Unwrap returns the cause.
func (e *RedirectedError) Unwrap() error { return e.Err }

// ProxyError is a proxy's refusal to connect to a server.
type ProxyError struct {
	Proxy  string // its host
	Status string
}

func (e *ProxyError) Error() string {
	return fmt.Sprintf("the proxy %q (HTTPS_PROXY) does not connect to the server: it answered %q", e.Proxy, printable(e.Status))
}

// transport returns the client with which requests are sent. It follows no
// redirection itself: net/http would turn the POST into a GET (RFC 9110, 15.4).
func (c *Client) transport() *http.Client {
	c.clientOnce.Do(func() {
		client := http.Client{}
		if c.HTTP != nil {
			client = *c.HTTP
		}
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		base := client.Transport
		if base == nil {
			base = http.DefaultTransport
		}
		if t, ok := base.(*http.Transport); ok {
			t = t.Clone()
			t.MaxResponseHeaderBytes = maxHeader
			t.OnProxyConnectResponse = func(_ context.Context, proxy *url.URL, _ *http.Request, answer *http.Response) error {
				if answer.StatusCode != http.StatusOK {
					return &ProxyError{proxy.Host, answer.Status}
				}
				return nil
			}
			client.Transport = t
		}
		c.client = &client
	})
	return c.client
}

// post sends a request, also where the server redirects it to.
func (c *Client) post(ctx context.Context, raw string, der []byte) ([]byte, error) {
	at, err := parseURL(raw)
	if err != nil {
		return nil, err
	}
	for n := 0; ; n++ {
		body, next, err := c.postOnce(ctx, at, der)
		if err != nil {
			if n > 0 {
				err = &RedirectedError{shown(at), err}
			}
			return nil, err
		}
		if next == nil {
			return body, nil
		}
		if n == maxRedirects {
			return nil, &RedirectError{Status: http.StatusFound, To: shown(next), Reason: fmt.Sprintf("it is the redirection number %d", n+1)}
		}
		at = next
	}
}

// postOnce sends a request to one server. It returns the answer, or where the
// request is to be sent instead.
func (c *Client) postOnce(ctx context.Context, to *url.URL, der []byte) (body []byte, next *url.URL, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), bytes.NewReader(der))
	if err != nil {
		return nil, nil, withoutURL(err)
	}
	r.Header.Set("Content-Type", queryType)
	r.Header.Set("Accept", replyType)
	r.Header.Set("User-Agent", "hallmark")
	resp, err := c.transport().Do(r)
	if err != nil {
		return nil, nil, withoutURL(err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		next, err = redirection(to, resp)
		return nil, next, err
	}
	kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if resp.StatusCode != http.StatusOK || err != nil || kind != replyType {
		he := &HTTPError{Status: resp.StatusCode, ContentType: resp.Header.Get("Content-Type")}
		if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable {
			he.RetryAfter = retryAfter(resp.Header.Get("Retry-After"), c.now())
		}
		if text, err := io.ReadAll(io.LimitReader(resp.Body, maxShown+1)); err == nil && len(text) <= maxShown && !bytes.ContainsRune(text, 0) {
			he.Text = printable(withoutSecrets(string(text), to))
		}
		return nil, nil, he
	}
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxResponse+1))
	if err != nil {
		return nil, nil, fmt.Errorf("reading the answer: %w", withoutURL(err))
	}
	if len(body) > maxResponse {
		return nil, nil, &TokenError{"answer", fmt.Errorf("it is larger than %d kB", maxResponse>>10)}
	}
	return body, nil, nil
}

// withoutSecrets takes out of a server's text what its URL keeps secret: some
// repeat the request.
func withoutSecrets(text string, u *url.URL) string {
	secrets := []string{u.RawQuery}
	for _, values := range u.Query() {
		secrets = append(secrets, values...)
	}
	if u.User != nil {
		password, _ := u.User.Password()
		secrets = append(secrets, u.User.String(), u.User.Username(), password)
	}
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) })
	for _, s := range secrets {
		for _, form := range []string{s, url.QueryEscape(s), url.PathEscape(s)} {
			if form != "" {
				text = strings.ReplaceAll(text, form, "…")
			}
		}
	}
	return text
}

// redirection returns where a server redirects a request to: to itself, or to
// any server by https. What is followed gets the same POST, without the user
// information unless the host is the same.
func redirection(from *url.URL, resp *http.Response) (*url.URL, error) {
	bad := &RedirectError{Status: resp.StatusCode}
	location := resp.Header.Get("Location")
	if location == "" {
		bad.Reason = "it does not say where to"
		return nil, bad
	}
	to, err := from.Parse(location)
	if err != nil || to.Hostname() == "" {
		bad.Reason = "the URL is malformed"
		return nil, bad
	}
	bad.To = shown(to)
	switch same := strings.EqualFold(to.Host, from.Host); {
	case to.Scheme != "http" && to.Scheme != "https":
		bad.Reason = "timestamps are fetched by http and https"
		return nil, bad
	case from.Scheme == "https" && to.Scheme != "https":
		bad.Reason = "it leads from https to http"
		return nil, bad
	case to.Scheme != "https" && !same:
		bad.Reason = "it leads to another host by http: name that server itself, if it is meant"
		return nil, bad
	case same && to.User == nil:
		to.User = from.User
	case !same:
		to.User = nil
	}
	return to, nil
}

// withoutURL takes off the URL that net/http wraps errors in.
func withoutURL(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "proxyconnect" {
		return fmt.Errorf("the proxy (HTTPS_PROXY) cannot be reached: %w", err)
	}
	return err
}

// passes reports whether a failure may pass by itself: of the network, a time
// limit, or a server that is busy.
func passes(err error) bool {
	var he *HTTPError
	var re *RejectedError
	var te *TokenError
	var redirect *RedirectError
	var proxy *ProxyError
	var dns *net.DNSError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &he):
		return he.Status == http.StatusRequestTimeout || he.Status == http.StatusTooManyRequests || he.Status >= 500
	case errors.As(err, &re):
		return re.temporary()
	case errors.As(err, &te), errors.As(err, &redirect), errors.As(err, &proxy), errors.As(err, &certificate):
		return false
	case errors.As(err, &dns):
		return !dns.IsNotFound
	}
	return true
}
