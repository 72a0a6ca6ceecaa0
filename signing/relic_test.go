package signing

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-build/hallmark/signing/key"
)

// relicServer starts a real relic server with one key, which a client with a
// certificate may use and another may not. It returns the references for both.
func relicServer(t *testing.T, w *world) (allowed, refused string) {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	program, err := exec.LookPath(filepath.Join(cache, "hallmark", "tools", "relic@v7.6.2", "relic"))
	if err != nil {
		missing(t, "relic", "(a Go program): mage test builds it")
	}
	dir := t.TempDir()
	put := func(name string, parts ...[]byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, bytes.Join(parts, nil), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	certPEM := func(c *x509.Certificate) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	}
	keyPEM := func(k crypto.Signer) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(k)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	party := func(name string, usage x509.ExtKeyUsage) *issued {
		return issue(t, name, newRSA(t), w.ca, func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{usage}
			c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
		})
	}
	server, client, stranger := party("server", x509.ExtKeyUsageServerAuth), party("client", x509.ExtKeyUsageClientAuth), party("stranger", x509.ExtKeyUsageClientAuth)
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := port.Addr().String()
	port.Close()
	config := fmt.Sprintf(`
tokens: {file: {type: file, pin: ""}}
keys:
  release: {token: file, keyfile: %s, x509certificate: %s, roles: [release]}
server: {listen: %q, keyfile: %s, certfile: %s}
clients:
  client: {nickname: client, roles: [release], certificate: %q}
`, put("k.pem", keyPEM(w.key.Signer)), put("c.pem", certPEM(w.key.Leaf()), certPEM(w.ca.cert)), address,
		put("sk.pem", keyPEM(server.Signer)), put("sc.pem", certPEM(server.cert)), certPEM(client.cert))
	cmd := exec.CommandContext(t.Context(), program, "serve", "-c", put("relic.yml", []byte(config)))
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("relic: %s", &log)
		}
	})
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
			break
		}
		if time.Since(start) > 30*time.Second {
			t.Fatalf("the server does not listen: %s", &log)
		}
	}
	ref := func(name string, who *issued) string {
		return "relic:" + put(name, certPEM(who.cert), keyPEM(who.Signer), certPEM(w.ca.cert)) + "+https://" + address + "/release"
	}
	return ref("client.pem", client), ref("stranger.pem", stranger)
}

// TestRelic has a real server sign, and shows that what it signs is refused for
// its unsorted attributes unless that rule is off, and for nothing else.
func TestRelic(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newRSA(t), codeSigning)
	allowed, refused := relicServer(t, w)
	src := goProgram(t, "windows", "amd64", "-s -w")
	good, err := key.OpenRelic(allowed, key.Options{})
	if err != nil {
		t.Fatal(err)
	}
	trust := w.trust()
	trust.Policy.Off = []Rule{RuleTimestamp}
	file := copyFile(t, src, 0o755)
	before := readFile(t, file)
	_, err = Config{}.SignByRelic(t.Context(), file, good, trust)
	wantError(t, err, Malformed, RuleDER)
	if !strings.Contains(err.Error(), "off: [der]") || !bytes.Equal(before, readFile(t, file)) {
		t.Errorf("the file was changed, or the message says nothing of the rule: %v", err)
	}
	onlyFile(t, filepath.Dir(file), filepath.Base(file))

	trust.Policy.Off = append(trust.Policy.Off, RuleDER)
	sig, err := Config{PageHashes: true, Description: "relic's"}.SignByRelic(t.Context(), file, good, trust)
	if err != nil {
		t.Fatal(err)
	}
	if !sig.Signer.Equal(w.key.Leaf()) || sig.Description != "relic's" || !sig.PageHashes {
		t.Errorf("signed as %+v", sig)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if out, err := run(t, lookTool(t, "osslsigncode", "osslsigncode"), "verify", "-CAfile", pemFile(t, w.ca.cert), "-in", file); err != nil {
		t.Errorf("osslsigncode refuses: %v\n%s", err, out)
	}

	bad, err := key.OpenRelic(refused, key.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (Config{}).SignByRelic(t.Context(), copyFile(t, src, 0o755), bad, trust); err == nil {
		t.Error("a stranger may use the key")
	}
	other, err := key.OpenRelic(allowed+"-other", key.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (Config{}).SignByRelic(t.Context(), copyFile(t, src, 0o755), other, trust); err == nil || !strings.Contains(err.Error(), "not for this client") {
		t.Errorf("a key that is not there: %v", err)
	}
	var e *Error
	if _, err := (Config{}).SignByRelic(t.Context(), goProgram(t, "linux", "amd64", "-s -w"), good, trust); !errors.As(err, &e) || e.Kind != Unsupported {
		t.Errorf("an ELF file: %v", err)
	}
	if _, err := key.Open(context.Background(), allowed, key.Options{}); err == nil || !strings.Contains(err.Error(), "mage signFile") {
		t.Errorf("opened as a key: %v", err)
	}
}

func FuzzPatch(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3, 'a', 'b', 'c'})
	f.Add([]byte{0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		src := bytes.Repeat([]byte{'.'}, 100)
		patches, err := parsePatch(b, int64(len(src)))
		if err != nil {
			return
		}
		want := len(src)
		for _, p := range patches {
			want += len(p.bytes) - int(p.old)
		}
		var out bytes.Buffer
		if err := apply(patches, bytes.NewReader(src), int64(len(src)), &out); err != nil || out.Len() != want {
			t.Errorf("%d bytes, want %d: %v", out.Len(), want, err)
		}
	})
}
