package tsa

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"io"
	"math/big"
	"mime"
	"net/http"
	"time"

	"github.com/hallmark-build/hallmark/signing/cms"
	"github.com/hallmark-build/hallmark/signing/key"
)

const (
	queryType = "application/timestamp-query"
	replyType = "application/timestamp-reply"

	// maxRequest bounds a request's body. One without extensions has at
	// most some 150 bytes.
	maxRequest = 4 << 10

	// accuracy is what the server claims of its clock, which is the
	// machine's, read to the second.
	accuracy = time.Second
)

// policy names what the development server promises, which is nothing: its
// time is the machine's own. It lies in joint-iso-itu-t(2) example(999), the
// arc that ITU-T keeps for identifiers without a meaning elsewhere; 3161 is
// the protocol, 1 this policy.
func policy() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 999, 3161, 1} }

// Server is an RFC 3161 responder for development: whoever trusts its key
// trusts the clock of the machine that it runs on. As an http.Handler it
// serves any path. It keeps no state: serial numbers are unique by being
// random.
type Server struct {
	Key *key.Key         // from key.OpenTSA
	Now func() time.Time // nil means time.Now
}

var _ http.Handler = (*Server)(nil)

// Respond answers one TimeStampReq with one TimeStampResp, both DER. What is
// not a request that can be granted gets a rejection.
func (s *Server) Respond(req []byte) []byte {
	r, err := parseRequest(req)
	if err != nil {
		var bad *requestError
		if errors.As(err, &bad) {
			return rejection(bad.bit, bad.text)
		}
		return rejection(failSystemFailure, "the server failed")
	}
	if r.policy != nil && !r.policy.Equal(policy()) {
		return rejection(failUnacceptedPolicy, "the one policy here is "+policy().String())
	}
	// RFC 3161, 2.4.2 lets a serial number have up to 160 bits.
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 159))
	if err != nil {
		return rejection(failSystemFailure, "the server has no random numbers")
	}
	token, err := cms.SignToken(cms.TSTInfo{
		Policy:   policy(),
		Hash:     r.hash,
		Imprint:  r.imprint,
		Serial:   serial.Add(serial, big.NewInt(1)),
		Time:     s.now(),
		Accuracy: accuracy,
		Nonce:    r.nonce,
	}, s.Key, s.Key.Chain, r.certReq)
	if err != nil {
		return rejection(failSystemFailure, "the server could not sign")
	}
	return granted(token)
}

func (s *Server) now() time.Time {
	if s.Now == nil {
		return time.Now()
	}
	return s.Now()
}

// ServeHTTP speaks the protocol as RFC 3161, 3.4 lays it over HTTP. A body
// that is no request is answered by the protocol itself, with a rejection.
func (s *Server) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "a timestamp is asked for by POST", http.StatusMethodNotAllowed)
		return
	}
	if kind, _, err := mime.ParseMediaType(req.Header.Get("Content-Type")); err != nil || kind != queryType {
		http.Error(w, "the content type of a request is "+queryType, http.StatusUnsupportedMediaType)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxRequest))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		http.Error(w, "the request is too large", http.StatusRequestEntityTooLarge)
		return
	case err != nil:
		http.Error(w, "the request could not be read", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", replyType)
	// An error here is the client's departure.
	_, _ = w.Write(s.Respond(body))
}

// Local timestamps in this process, without a network, and checks what it gets
// like a [Client] that trusts only the server's root.
type Local struct {
	Server *Server
}

// Timestamp returns the DER of a token over a digest by h. Its errors are
// *RejectedError and *TokenError.
func (l Local) Timestamp(ctx context.Context, h crypto.Hash, digest []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	req, err := newRequest(h, digest)
	if err != nil {
		return nil, err
	}
	der, err := req.marshal()
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(l.Server.Key.Root())
	return req.check(l.Server.Respond(der), l.Server.now(), roots)
}
