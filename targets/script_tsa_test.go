package targets_test

import (
	"context"
	"encoding/asn1"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/hallmark-build/hallmark/signing/key"
	"github.com/hallmark-build/hallmark/signing/tsa"
)

// tsaServers are the timestamp servers of one script, by name. The script keeps
// them under tsaKey.
type tsaServers map[string]*tsaServer

type tsaKey struct{}

// tsaServer is an RFC 3161 server that does wrong in a way that can be chosen.
type tsaServer struct {
	good  *tsa.Server
	asked chan struct{} // closed by the first request
	once  sync.Once
	end   chan struct{} // closed when the script ends

	mu   sync.Mutex
	mode string
}

func (s *tsaServer) be(mode string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mode = mode
}

func (s *tsaServer) is() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mode
}

// serveTSA starts a timestamp server, or changes its ways: `tsaserver NAME MODE`.
// $NAME becomes its URL, and $WORK/NAME.pem the root certificate of its
// timestamps, which are those of the development authority. The modes are
//
//	good     does what it should
//	busy     answers with HTTP status 503
//	garbage  answers 200, in the right content type, with what is no DER
//	nonce    stamps with another nonce than it was sent
//	imprint  stamps the digest of something else
//	hang     takes the request and never answers
func serveTSA(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: tsaserver NAME good|busy|garbage|nonce|imprint|hang")
	}
	servers := ts.Value(tsaKey{}).(tsaServers)
	if s := servers[args[0]]; s != nil {
		s.be(args[1])
		return
	}
	k, err := key.OpenTSA(context.Background(), key.Options{Dir: filepath.Join(ts.Getenv("XDG_CONFIG_HOME"), "hallmark")})
	ts.Check(err)
	s := &tsaServer{good: &tsa.Server{Key: k}, asked: make(chan struct{}), end: make(chan struct{}), mode: args[1]}
	servers[args[0]] = s
	h := httptest.NewServer(s)
	ts.Defer(func() {
		close(s.end)
		h.Close()
	})
	ts.Setenv(args[0], h.URL)
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: k.Root().Raw})
	ts.Check(os.WriteFile(filepath.Join(ts.Getenv("WORK"), args[0]+".pem"), root, 0o644))
}

// waitTSA waits until somebody has asked a timestamp server: `tsawait NAME`.
func waitTSA(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: tsawait NAME")
	}
	s := ts.Value(tsaKey{}).(tsaServers)[args[0]]
	if s == nil {
		ts.Fatalf("no server %s", args[0])
	}
	select {
	case <-s.asked:
	case <-time.After(time.Minute):
		ts.Fatalf("nobody asked the server %s for a minute", args[0])
	}
}

// ServeHTTP answers as the mode says.
func (s *tsaServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	s.once.Do(func() { close(s.asked) })
	answer := []byte("<html>It works!</html>")
	switch s.is() {
	case "hang":
		select {
		case <-r.Context().Done():
		case <-s.end:
		}
		return
	case "busy":
		http.Error(w, "come back later", http.StatusServiceUnavailable)
		return
	case "nonce":
		answer = s.good.Respond(changed(body, func(q *tsaRequest) { q.Nonce.Xor(q.Nonce, big.NewInt(1)) }))
	case "imprint":
		answer = s.good.Respond(changed(body, func(q *tsaRequest) { q.Imprint.Digest[0] ^= 1 }))
	case "good":
		answer = s.good.Respond(body)
	}
	w.Header().Set("Content-Type", "application/timestamp-reply")
	w.Write(answer)
}

// tsaRequest is TimeStampReq of RFC 3161, as our client fills it in.
type tsaRequest struct {
	Version int
	Imprint struct {
		Algorithm asn1.RawValue
		Digest    []byte
	}
	Nonce   *big.Int
	CertReq bool
}

// changed is a request that somebody has tampered with; nil, which nobody
// grants, if it could not be read.
func changed(der []byte, change func(*tsaRequest)) []byte {
	var q tsaRequest
	if _, err := asn1.Unmarshal(der, &q); err != nil {
		return nil
	}
	change(&q)
	der, err := asn1.Marshal(q)
	if err != nil {
		return nil
	}
	return der
}
