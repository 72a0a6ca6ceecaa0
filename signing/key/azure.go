package key

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Azure Artifact Signing (Trusted Signing until 2025) keeps keys that it makes
// itself, and certificates that live three days. Its REST interface, version
// 2022-06-15-preview, below
// https://HOST/codesigningaccounts/ACCOUNT/certificateprofiles/PROFILE:
//
//	GET  /sign/certchain   the certificates that sign now: DER of a PKCS #7 that
//	                       holds nothing else (application/pkcs7-mime)
//	POST /sign             {"signatureAlgorithm": "RS256", "digest": BASE64}
//	                       answered by 202 and {"operationId": …, "status": …}
//	GET  /sign/ID          the same with "status" InProgress, Succeeded or another
//	                       word, and once it succeeded "signature" and
//	                       "signingCertificate", both in base64
//
// Each request carries an OAuth token for https://codesigning.azure.net; see
// azuretoken.go. Nothing but digests leaves this machine.
const (
	azureAPI      = "2022-06-15-preview"
	azureAnswer   = 1 << 20 // bytes at the most of an answer: a chain is some 6 kB
	azurePatience = 2 * time.Minute
	azureTries    = 5 // of a request that met 429 or 503
)

// azure is a certificate profile.
type azure struct {
	ctx     context.Context
	client  *http.Client
	base    string // with the profile, without a slash at the end
	bearer  tokenSource
	public  crypto.PublicKey
	pause   time.Duration // between two questions whether a signature is there
	backoff time.Duration // before the second try of a request that was turned away
}

var _ crypto.Signer = (*azure)(nil)

// openAzure opens HOST/ACCOUNT/PROFILE, a URL.
func openAzure(ctx context.Context, path string, o Options) (material, error) {
	u, err := url.Parse(path)
	if err != nil {
		return material{}, &RefError{Reason: "azure: names no URL", Hint: "write azure:https://weu.codesigning.azure.net/ACCOUNT/PROFILE"}
	}
	names := strings.Split(strings.Trim(u.Path, "/"), "/")
	local := u.Hostname() == "127.0.0.1" || u.Hostname() == "localhost"
	if u.Host == "" || u.User != nil || u.RawQuery != "" || len(names) != 2 || u.Scheme != "https" && !(u.Scheme == "http" && local) {
		return material{}, &RefError{Reason: "azure: the URL does not name an account and a certificate profile", Hint: "write azure:https://weu.codesigning.azure.net/ACCOUNT/PROFILE"}
	}
	a := &azure{
		ctx: ctx, client: &http.Client{Timeout: time.Minute, CheckRedirect: noRedirect},
		base:   u.Scheme + "://" + u.Host + "/codesigningaccounts/" + url.PathEscape(names[0]) + "/certificateprofiles/" + url.PathEscape(names[1]),
		bearer: newTokenSource(), pause: 300 * time.Millisecond, backoff: time.Second,
	}
	fail := func(err error, hint string) (material, error) {
		return material{}, &FileError{File: u.Host, Err: err, Hint: hint}
	}
	der, err := a.do(ctx, http.MethodGet, "/sign/certchain", nil)
	if err != nil {
		return fail(fmt.Errorf("asking for the certificates: %w", err), "check the account's and the profile's name, and that this identity has the role Artifact Signing Certificate Profile Signer")
	}
	certs, err := certificateBag(der)
	if err != nil {
		return fail(fmt.Errorf("reading the certificates: %w", err), "")
	}
	m := material{signer: a}
	for _, c := range certs {
		if !contains(m.certs, c) {
			m.certs = append(m.certs, c)
		}
		if !c.IsCA && a.public == nil {
			a.public = c.PublicKey
		}
	}
	if a.public == nil {
		return fail(errors.New("among its certificates is none of a signer"), "check that the profile is active")
	}
	return m, nil
}

// certificateBag reads a PKCS #7 that holds certificates and no signature
// (RFC 5652 section 5.1, the degenerate case).
func certificateBag(der []byte) ([]*x509.Certificate, error) {
	var outer struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue `asn1:"explicit,tag:0"`
	}
	if rest, err := asn1.Unmarshal(der, &outer); err != nil || len(rest) > 0 || !outer.Type.Equal(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}) {
		return nil, errors.New("they do not come as a PKCS #7 SignedData")
	}
	var inner struct {
		Version int
		Digests asn1.RawValue
		Content asn1.RawValue
		Certs   asn1.RawValue `asn1:"optional,tag:0"`
		CRLs    asn1.RawValue `asn1:"optional,tag:1"`
		Signers asn1.RawValue
	}
	if _, err := asn1.Unmarshal(outer.Content.Bytes, &inner); err != nil {
		return nil, fmt.Errorf("PKCS #7 SignedData: %w", err)
	}
	return x509.ParseCertificates(inner.Certs.Bytes)
}

// noRedirect keeps the bearer token at the host that was named.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Public returns the key of the certificate that the service signs with now.
func (a *azure) Public() crypto.PublicKey { return a.public }

// Sign has the service sign a digest, and checks what comes back: profiles get a
// new key and certificate each day, perhaps between Open and now.
func (a *azure) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if _, pss := opts.(*rsa.PSSOptions); pss {
		return nil, errors.New("RSASSA-PSS is not asked of the service")
	}
	h := opts.HashFunc()
	name, ok := map[crypto.Hash]string{crypto.SHA256: "256", crypto.SHA384: "384", crypto.SHA512: "512"}[h]
	if !ok || len(digest) != h.Size() {
		return nil, fmt.Errorf("the service signs SHA-256, SHA-384 and SHA-512 digests, not %d bytes of %v", len(digest), h)
	}
	if _, ok := a.public.(*rsa.PublicKey); ok {
		name = "RS" + name
	} else {
		name = "ES" + name
	}
	ctx, cancel := context.WithTimeout(a.ctx, azurePatience)
	defer cancel()
	body, err := json.Marshal(map[string]string{"signatureAlgorithm": name, "digest": base64.StdEncoding.EncodeToString(digest)})
	if err != nil {
		return nil, err
	}
	var s struct {
		ID        string `json:"operationId"`
		Status    string `json:"status"`
		Signature []byte `json:"signature"`
	}
	answer, err := a.do(ctx, http.MethodPost, "/sign", body)
	for {
		if err != nil {
			return nil, fmt.Errorf("signing by Azure Artifact Signing: %w", err)
		}
		id := s.ID
		if err := json.Unmarshal(answer, &s); err != nil {
			return nil, fmt.Errorf("signing by Azure Artifact Signing: its answer is no JSON: %w", err)
		}
		if s.ID == "" {
			s.ID = id
		}
		if s.Status != "InProgress" && s.Status != "Running" && s.Status != "NotStarted" {
			break
		}
		if s.ID == "" {
			return nil, errors.New("signing by Azure Artifact Signing: its answer names no operation")
		}
		if err := sleep(ctx, a.pause); err != nil {
			return nil, fmt.Errorf("signing by Azure Artifact Signing: no signature within %v: %w", azurePatience, err)
		}
		answer, err = a.do(ctx, http.MethodGet, "/sign/"+url.PathEscape(s.ID), nil)
	}
	if s.Status != "Succeeded" {
		return nil, fmt.Errorf("signing by Azure Artifact Signing: the operation ended as %q", printable(s.Status))
	}
	if !verifies(a.public, h, digest, s.Signature) {
		return nil, errors.New("signing by Azure Artifact Signing: the signature is not by the key that the profile had at the start: it was renewed meanwhile; run again")
	}
	return s.Signature, nil
}

// verifies checks a signature over a digest.
func verifies(public crypto.PublicKey, h crypto.Hash, digest, sig []byte) bool {
	switch p := public.(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(p, h, digest, sig) == nil
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(p, digest, sig)
	}
	return false
}

// do sends one request and returns the body of a good answer. What the service
// turns away for its load, by 429 or 503, is asked again.
func (a *azure) do(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	for try := 1; ; try++ {
		data, again, err := a.once(ctx, method, path, body)
		if again == 0 || try == azureTries {
			return data, err
		}
		if serr := sleep(ctx, max(again, a.backoff<<(try-1))); serr != nil {
			return nil, err
		}
	}
}

// once is one try; again says how long to wait before another, 0 for never.
func (a *azure) once(ctx context.Context, method, path string, body []byte) (data []byte, again time.Duration, err error) {
	bearer, err := a.bearer.token(ctx)
	if err != nil {
		return nil, 0, err
	}
	req, err := http.NewRequestWithContext(ctx, method, a.base+path+"?api-version="+azureAPI, bytes.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Authorization", "Bearer "+bearer)
	req.Header.Set("Accept", "application/json, application/pkcs7-mime")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
		// The service keeps this in its log, so that one can ask about a signature.
		req.Header.Set("x-correlation-id", strings.ToLower(rand.Text()))
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	if data, err = io.ReadAll(io.LimitReader(resp.Body, azureAnswer+1)); err != nil {
		return nil, 0, err
	}
	if len(data) > azureAnswer {
		return nil, 0, fmt.Errorf("the answer has more than %d bytes", azureAnswer)
	}
	switch resp.StatusCode {
	case http.StatusOK, http.StatusAccepted:
		return data, 0, nil
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		wait, _ := time.ParseDuration(resp.Header.Get("Retry-After") + "s")
		again = max(min(wait, time.Minute), time.Millisecond)
	}
	var problem struct {
		Error struct{ Code, Message string }
		Title string
	}
	_ = json.Unmarshal(data, &problem) // a proxy's page is no JSON; the status says enough then
	words := strings.TrimSpace(problem.Error.Code + " " + problem.Error.Message + " " + problem.Title)
	return nil, again, fmt.Errorf("HTTP status %s", printable(redact(resp.Status+" "+words, bearer)))
}

// printable bounds what is repeated of a service's words.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	if len(s) > 300 {
		s = s[:300] + " …"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
