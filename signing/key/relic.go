package key

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Relic is a key on a relic server (github.com/sassoftware/relic), which signs
// whole files instead of digests: the file is sent, and what comes back is a
// patch that puts the signature into it. A client shows who it is by its TLS
// certificate.
type Relic struct {
	url    string // of the server, without a slash at the end
	name   string // of the key there
	client *http.Client
}

// relicAnswer bounds a patch: a signature with page hashes of a 2 GB file has
// some 20 MB.
const relicAnswer = 64 << 20

const relicHint = "write relic:CLIENT.pem+https://HOST:6300/KEY, with the client's certificate and private key in CLIENT.pem"

// IsRelic says whether a reference names a key on a relic server, which
// [OpenRelic] opens and [Open] does not.
func IsRelic(ref string) bool { return strings.HasPrefix(ref, "relic:") }

// OpenRelic opens relic:CLIENT.pem+https://HOST:PORT/KEY. CLIENT.pem holds the
// client's certificate and private key; certificates of authorities that stand
// there too are trusted for the server's certificate, beside the system's.
func OpenRelic(ref string, o Options) (*Relic, error) {
	if _, err := parseRef(ref); err != nil {
		return nil, err
	}
	file, address, ok := splitKMS(strings.TrimPrefix(ref, "relic:"))
	if !ok {
		return nil, &RefError{Reason: "relic: names no client certificate or no server", Hint: relicHint}
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || strings.Trim(u.Path, "/") == "" {
		return nil, &RefError{Reason: "relic: the server's URL does not name a key", Hint: relicHint}
	}
	m, err := readPEMFile(file, o, true)
	if err != nil {
		return nil, err
	}
	if m.signer == nil || len(m.certs) == 0 {
		return nil, &FileError{File: file, Err: errors.New("it holds no certificate, or no private key"), Hint: "both of the client's belong there"}
	}
	leaf := leafOf(m.signer.Public(), m.certs, o.now())
	if leaf == nil {
		return nil, &MismatchError{File: file, Subject: m.certs[0].Subject.String()}
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	shown := tls.Certificate{PrivateKey: m.signer, Leaf: leaf}
	for _, c := range OrderChain(leaf, m.certs, o.now()) {
		shown.Certificate = append(shown.Certificate, c.Raw)
	}
	for _, c := range m.certs {
		if c.IsCA {
			roots.AddCert(c)
		}
	}
	path := strings.Trim(u.Path, "/")
	u.Path = ""
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		u.Path, path = "/"+path[:i], path[i+1:]
	}
	transport := &http.Transport{
		Proxy:           http.ProxyFromEnvironment,
		TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{shown}, RootCAs: roots, MinVersion: tls.VersionTLS12},
	}
	return &Relic{url: u.String(), name: path, client: &http.Client{Transport: transport, Timeout: 10 * time.Minute, CheckRedirect: noRedirect}}, nil
}

// String names the key and the server.
func (r *Relic) String() string { return "the key " + r.name + " of " + r.url }

// Sign sends a file to be signed and returns the answer with its type.
// kind is relic's name for the file's format, such as pe-coff; params are further
// ones of its query.
func (r *Relic) Sign(ctx context.Context, kind, name string, params url.Values, body io.Reader, size int64) (answer []byte, contentType string, err error) {
	query := url.Values{"key": {r.name}, "filename": {name}, "sigtype": {kind}}
	for k, v := range params {
		query[k] = v
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url+"/sign?"+query.Encode(), body)
	if err != nil {
		return nil, "", err
	}
	req.ContentLength = size
	resp, err := r.client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // the URL says nothing new
		}
		return nil, "", fmt.Errorf("asking %s: %w", r, err)
	}
	defer resp.Body.Close()
	if answer, err = io.ReadAll(io.LimitReader(resp.Body, relicAnswer+1)); err != nil {
		return nil, "", fmt.Errorf("asking %s: %w", r, err)
	}
	switch {
	case resp.StatusCode == http.StatusForbidden || resp.StatusCode == http.StatusUnauthorized:
		return nil, "", fmt.Errorf("%s is not for this client: the server's configuration gives roles to clients and keys: %s", r, printable(resp.Status))
	case resp.StatusCode != http.StatusOK:
		return nil, "", fmt.Errorf("asking %s: HTTP status %s: %s", r, printable(resp.Status), printable(strings.TrimSpace(string(answer[:min(len(answer), 300)]))))
	case len(answer) > relicAnswer:
		return nil, "", fmt.Errorf("asking %s: its answer has more than %d bytes", r, relicAnswer)
	}
	return answer, resp.Header.Get("Content-Type"), nil
}
