package tsa

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// maxResponse bounds an answer. A token with its chain has 3 to 8 kB.
	maxResponse = 256 << 10

	defaultInFlight = 8 // public servers throttle soon, and are then asked again more slowly
	defaultAttempts = 3
	defaultTimeout  = 20 * time.Second

	firstWait = time.Second      // before the second attempt; doubled from then on
	maxWait   = 15 * time.Second // no wait between attempts is longer

	// maxRetryAfter is how long a server may ask us to wait. One that asks
	// for more has failed for this time.
	maxRetryAfter = time.Minute
)

// Client obtains timestamps from one of several servers over HTTP. It is safe
// for concurrent use, and must not be copied after its first.
//
// Servers are asked in the order of URLs, but one that failed is asked last
// from then on. Each is asked Attempts times, with growing and jittered waits
// between, or the waits that it asks for by Retry-After with status 429 or
// 503. Asking again is for what may pass: no connection, a time limit, status
// 408, 429 and 5xx, and an answer that says timeNotAvailable or systemFailure.
// After any other failure the next server is asked at once.
//
// A redirection is followed up to three times, with the same POST, to the same
// host or to https.
type Client struct {
	URLs     []string       // http or https; user information is sent as basic authentication
	HTTP     *http.Client   // nil: http.DefaultClient, which takes proxies from the environment
	Roots    *x509.CertPool // to one of which a token's chain must lead; nil: the chain is not checked
	InFlight int            // how many requests are under way at once, waits included; 0: 8
	Attempts int            // at each server; 0: 3
	Timeout  time.Duration  // of one attempt; 0: 20 s

	// Sleep waits between attempts. Nil waits for the time, or the context.
	Sleep func(ctx context.Context, d time.Duration) error
	// Now is the clock that the time in a token is held against. Nil:
	// time.Now.
	Now func() time.Time

	once  sync.Once
	slots chan struct{}

	clientOnce sync.Once
	client     *http.Client

	mu     sync.Mutex
	failed []string // URLs that failed, the latest last
}

// Error says that no server gave a good timestamp.
type Error struct {
	Servers []ServerError // in the order in which they were asked
}

// ServerError is the last failure of one server.
type ServerError struct {
	URL      string // without user information and query
	Attempts int
	Err      error // *HTTPError, *RejectedError, *TokenError, or of the network
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("no server gave a timestamp: ")
	for i, s := range e.Servers {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%s: %s", s.URL, clean(s.Err))
		if s.Attempts > 1 {
			fmt.Fprintf(&b, " (%d attempts)", s.Attempts)
		}
	}
	if slices.ContainsFunc(e.Servers, func(s ServerError) bool { return passes(s.Err) }) {
		b.WriteString(": try again later, or name further servers")
	} else {
		b.WriteString(": asking again will not help; name other servers")
	}
	return b.String()
}

// Unwrap returns the servers' errors.
func (e *Error) Unwrap() []error {
	errs := make([]error, len(e.Servers))
	for i, s := range e.Servers {
		errs[i] = s.Err
	}
	return errs
}

// HTTPError is an answer that is no message of the protocol.
type HTTPError struct {
	Status      int
	ContentType string
	RetryAfter  time.Duration // 0 if the server named none
	Text        string        // the beginning of the body, without control characters
}

func (e *HTTPError) Error() string {
	if e.Status == http.StatusOK {
		return fmt.Sprintf("the answer has content type %q, not %s%s", printable(e.ContentType), replyType, said(e.Text))
	}
	s := fmt.Sprintf("HTTP status %d %s", e.Status, http.StatusText(e.Status))
	if e.RetryAfter > 0 {
		s += fmt.Sprintf(", to be asked again after %s", e.RetryAfter.Round(time.Second))
	}
	return strings.TrimSpace(s) + said(e.Text)
}

// said quotes what a server wrote.
func said(text string) string {
	if text == "" {
		return ""
	}
	return fmt.Sprintf("; the server says %q", text)
}

// CheckURL says whether a URL can be a timestamp server's. Its error does not
// repeat what could be a secret.
func CheckURL(raw string) error {
	_, err := parseURL(raw)
	return err
}

func parseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		// The parser's own words may hold half of a password.
		return nil, errors.New("timestamp server: malformed URL: write it as http://HOST/PATH")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("timestamp server: the URL must begin with http:// or https://")
	case u.Hostname() == "":
		return nil, errors.New("timestamp server: the URL names no host")
	}
	return u, nil
}

// shown is a URL without the parts that people put secrets in.
func shown(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// clean is the text of an error in one line, without user information: the
// net and net/http packages quote URLs, a proxy's too.
func clean(err error) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	return regexp.MustCompile(`//[^/\s@"]*@`).ReplaceAllString(text, "//")
}

// Timestamp returns the DER of a token over a digest by h, after the checks
// that the package comment lists. If no server gave one, the error is *Error;
// if ctx ended, it is the context's.
func (c *Client) Timestamp(ctx context.Context, h crypto.Hash, digest []byte) ([]byte, error) {
	if len(c.URLs) == 0 {
		return nil, errors.New("timestamp: no server is named")
	}
	for _, raw := range c.URLs {
		if _, err := parseURL(raw); err != nil {
			return nil, err
		}
	}
	if _, err := newRequest(h, digest); err != nil {
		return nil, err
	}
	c.once.Do(func() { c.slots = make(chan struct{}, positive(c.InFlight, defaultInFlight)) })
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	all := &Error{}
	for _, raw := range c.order() {
		token, n, err := c.askOften(ctx, raw, h, digest)
		if err == nil {
			return token, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		c.demote(raw)
		u, perr := parseURL(raw)
		if perr != nil {
			return nil, perr
		}
		all.Servers = append(all.Servers, ServerError{URL: shown(u), Attempts: n, Err: err})
	}
	return nil, all
}

func positive(n, otherwise int) int {
	if n > 0 {
		return n
	}
	return otherwise
}

// order is URLs with those that failed last.
func (c *Client) order() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	urls := slices.Clone(c.URLs)
	slices.SortStableFunc(urls, func(a, b string) int {
		return slices.Index(c.failed, a) - slices.Index(c.failed, b)
	})
	return urls
}

func (c *Client) demote(raw string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = slices.DeleteFunc(c.failed, func(s string) bool { return s == raw })
	c.failed = append(c.failed, raw)
}

// askOften asks one server, several times if that may help, and says how many.
func (c *Client) askOften(ctx context.Context, raw string, h crypto.Hash, digest []byte) (token []byte, n int, err error) {
	attempts := positive(c.Attempts, defaultAttempts)
	for n = 1; ; n++ {
		token, err = c.ask(ctx, raw, h, digest)
		if err == nil || n == attempts || ctx.Err() != nil {
			return token, n, err
		}
		wait, again := retry(err, n)
		if !again {
			return nil, n, err
		}
		if err := c.sleep(ctx, wait); err != nil {
			return nil, n, err
		}
	}
}

// retry says whether to ask again after the n-th attempt failed, and when.
func retry(err error, n int) (time.Duration, bool) {
	// Between a half and the whole of the doubled wait, so that parallel
	// requests that failed together do not come back together.
	wait := min(firstWait<<min(n-1, 10), maxWait)
	wait = wait/2 + rand.N(wait/2+1)
	var he *HTTPError
	if errors.As(err, &he) && he.RetryAfter > 0 {
		return he.RetryAfter, he.RetryAfter <= maxRetryAfter
	}
	return wait, passes(err)
}

func (c *Client) sleep(ctx context.Context, d time.Duration) error {
	if c.Sleep != nil {
		return c.Sleep(ctx, d)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Client) now() time.Time {
	if c.Now == nil {
		return time.Now()
	}
	return c.Now()
}

// ask makes one request, with a nonce of its own.
func (c *Client) ask(ctx context.Context, raw string, h crypto.Hash, digest []byte) ([]byte, error) {
	timeout := c.Timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := newRequest(h, digest)
	if err != nil {
		return nil, err
	}
	der, err := req.marshal()
	if err != nil {
		return nil, err
	}
	answer, err := c.post(limited, raw, der)
	if err != nil {
		if limited.Err() != nil && ctx.Err() == nil {
			return nil, fmt.Errorf("no answer within %s", timeout)
		}
		return nil, err
	}
	token, err := req.check(answer, c.now(), c.Roots)
	var re *RejectedError
	if u, perr := parseURL(raw); perr == nil && errors.As(err, &re) {
		re.Text = withoutSecrets(re.Text, u)
	}
	return token, err
}

// retryAfter reads the header, which is a number of seconds or a date
// (RFC 9110, 10.2.3). What is neither, or has passed, is 0.
func retryAfter(value string, now time.Time) time.Duration {
	if n, err := strconv.Atoi(value); err == nil {
		if n > int(24*time.Hour/time.Second) {
			return 24 * time.Hour
		}
		return max(0, time.Duration(n)*time.Second)
	}
	t, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return max(0, t.Sub(now))
}
