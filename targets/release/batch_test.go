package release

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	mathrand "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hallmark-build/hallmark/signing"
	"github.com/hallmark-build/hallmark/signing/key"
	"github.com/hallmark-build/hallmark/signing/tsa"
)

// batch is a folder with programs to sign, an identity, and a timestamp server.
type batch struct {
	dir        string
	url        string
	cert, key  string // PEM files
	requests   atomic.Int64
	underway   atomic.Int64
	mostAtOnce atomic.Int64
}

// newBatch makes n programs of some size. before is asked about each request of a
// timestamp: it may wait, or answer by itself and return true.
func newBatch(t testing.TB, n, size int, before func(n int64, w http.ResponseWriter) bool) *batch {
	t.Helper()
	b := &batch{dir: t.TempDir()}
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/saferwall/pe").Output()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "test", "impbyord.exe"))
	if err != nil {
		t.Fatal(err)
	}
	overlay := make([]byte, max(0, size-len(program)))
	mathrand.NewChaCha8([32]byte{1}).Read(overlay)
	for i := range n {
		b.write(t, fmt.Sprintf("program%02d.exe", i), append(bytes.Clone(program), overlay...))
	}
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Batch"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	b.cert = b.write(t, "cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}))
	b.key = b.write(t, "key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	stamper, err := key.OpenTSA(t.Context(), key.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	b.write(t, "tsa.pem", encodePEM(stamper.Root()))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := b.underway.Add(1)
		defer b.underway.Add(-1)
		for most := b.mostAtOnce.Load(); now > most && !b.mostAtOnce.CompareAndSwap(most, now); most = b.mostAtOnce.Load() {
		}
		if before(b.requests.Add(1), w) {
			return
		}
		(&tsa.Server{Key: stamper}).ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	b.url = server.URL
	b.write(t, ConfigFile, []byte("name: batch\ntargets:\n  - {platform: windows/amd64}\nidentity: pem:cert.pem+key.pem\ntimestamp: "+b.url+"\ntrust: {ca: cert.pem, tsa: tsa.pem}\n"))
	return b
}

func (b *batch) write(t testing.TB, name string, data []byte) string {
	t.Helper()
	name = filepath.Join(b.dir, name)
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func (b *batch) sign(ctx context.Context) error {
	return SignFile(ctx, Options{Dir: b.dir}, filepath.Join(b.dir, "*.exe"), "", false, TrustOverride{})
}

// TestBatch signs many files with a server that is busy twice: it is asked
// again, never too much at once, and one file that cannot be signed keeps no other
// from it.
func TestBatch(t *testing.T) {
	t.Parallel()
	b := newBatch(t, 20, 0, func(n int64, w http.ResponseWriter) bool {
		switch n { // two answers, so that no file can use up its three attempts
		case 3:
			w.WriteHeader(http.StatusTooManyRequests)
			return true
		case 5:
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		time.Sleep(5 * time.Millisecond)
		return false
	})
	damaged := b.write(t, "damaged.exe", []byte("MZ"))
	err := b.sign(t.Context())
	var e *signing.Error
	if !errors.As(err, &e) || e.File != damaged || e.Kind != signing.Malformed {
		t.Errorf("got %v, want a malformed file %s", err, damaged)
	}
	if most := b.mostAtOnce.Load(); most < 2 || most > 8 {
		t.Errorf("%d requests were under way at once, want 2 to 8", most)
	}
	for i := range 20 {
		name := filepath.Join(b.dir, fmt.Sprintf("program%02d.exe", i))
		if err := VerifyFile(t.Context(), Options{Dir: b.dir}, io.Discard, name, false, TrustOverride{Config: filepath.Join(b.dir, ConfigFile)}); err != nil {
			t.Error(err)
		}
	}
	before := b.requests.Load()
	if err := os.Remove(damaged); err != nil {
		t.Fatal(err)
	}
	if err := b.sign(t.Context()); err != nil || b.requests.Load() != before {
		t.Errorf("what is signed was signed again: %v, %d requests", err, b.requests.Load()-before)
	}
	if err := SignFile(t.Context(), Options{Dir: b.dir}, filepath.Join(b.dir, "*.dll"), "", false, TrustOverride{}); err == nil || !strings.Contains(err.Error(), "no file fits") {
		t.Errorf("a pattern of nothing: %v", err)
	}
}

// BenchmarkBatch times 50 programs of 6 MB with timestamps from a server that takes
// 50 ms, against as many calls of osslsigncode.
func BenchmarkBatch(b *testing.B) {
	slow := func(int64, http.ResponseWriter) bool { time.Sleep(50 * time.Millisecond); return false }
	b.Run("hallmark", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			batch := newBatch(b, 50, 6<<20, slow)
			exec.Command("sync").Run() // what making the files left to write is nobody's time
			b.StartTimer()
			if err := batch.sign(b.Context()); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(batch.mostAtOnce.Load()), "requests-at-once")
		}
	})
	b.Run("osslsigncode", func(b *testing.B) {
		tool, err := exec.LookPath("osslsigncode")
		if err != nil {
			b.Skip("SKIP: osslsigncode is missing: install the Debian package osslsigncode")
		}
		for b.Loop() {
			b.StopTimer()
			batch := newBatch(b, 50, 6<<20, slow)
			exec.Command("sync").Run() // what making the files left to write is nobody's time
			b.StartTimer()
			for i := range 50 {
				in := filepath.Join(batch.dir, fmt.Sprintf("program%02d.exe", i))
				cmd := exec.CommandContext(b.Context(), tool, "sign", "-h", "sha256", "-certs", batch.cert, "-key", batch.key, "-ts", batch.url, "-in", in, "-out", in+".signed")
				if out, err := cmd.CombinedOutput(); err != nil {
					b.Fatalf("%v\n%s", err, out)
				}
			}
		}
	})
}
