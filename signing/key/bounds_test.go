//go:build unix

package key

import (
	"bytes"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"
)

// derInt is an INTEGER in DER.
func derInt(t *testing.T, n int64) []byte {
	t.Helper()
	der, err := asn1.Marshal(big.NewInt(n))
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// Files whose bags, not only whose MAC, demand more than anybody can compute.
// The numbers of iterations that a real encoder writes are replaced by higher ones.
func TestPFXIterations(t *testing.T) {
	w := theWorld()
	for name, enc := range map[string]*pkcs12.Encoder{"PBES2": pkcs12.Modern2023, "PBES1": pkcs12.LegacyDES, "RC2": pkcs12.LegacyRC2} {
		small := enc.WithIterations(0x12345)
		good, err := small.Encode(w.rsaKey, w.leaf, nil, "hunter22")
		if err != nil {
			t.Fatal(err)
		}
		if err := checkDerivations(good); err != nil {
			t.Errorf("%s: a good file is refused: %v", name, err)
		}
		was, hostile := derInt(t, 0x12345), derInt(t, 0x7ffff)
		if bytes.Count(good, was) < 2 {
			t.Fatalf("%s: %d numbers of iterations", name, bytes.Count(good, was))
		}
		// Half a million is taken, 33 times two of them are not.
		many := bytes.Repeat(bytes.ReplaceAll(good, was, hostile), 33)
		if err := checkDerivations(many); err == nil || !strings.Contains(err.Error(), "together") {
			t.Errorf("%s: many derivations: %v", name, err)
		}
	}
	for what, params := range map[string][2]int64{"31 bits": {1<<31 - 1, 0}, "zero": {0, 0}, "negative": {-5, 0}, "a long key": {2048, 1 << 30}} {
		for _, shape := range []string{"PBES1", "PBES2"} {
			der := derivation(t, shape, int(params[0]), int(params[1]), 8)
			if shape == "PBES1" && params[1] != 0 {
				continue
			}
			if err := checkDerivations(der); err == nil {
				t.Errorf("%s with %s is taken", shape, what)
			}
		}
	}
	if err := checkDerivations(derivation(t, "PBES2", 2048, 0, 1<<20)); err == nil {
		t.Error("a salt of 1 MiB is taken")
	}
	if err := checkDerivations(derivation(t, "PBES2", 2048, 32, 16)); err != nil {
		t.Errorf("an ordinary derivation: %v", err)
	}
	if err := checkDerivations(derivation(t, "scrypt", 1<<30, 0, 8)); err == nil {
		t.Error("scrypt with N=2^30 is taken")
	}
	deep := []byte{4, 0}
	for range 60 {
		der, err := asn1.Marshal(deep)
		if err != nil {
			t.Fatal(err)
		}
		deep = der
	}
	if err := checkDerivations(deep); err == nil {
		t.Error("60 levels of octet strings are taken")
	}
}

// derivation is an AlgorithmIdentifier within an octet string in a sequence, as
// in a bag.
func derivation(t *testing.T, shape string, iterations, keyLength, salt int) []byte {
	t.Helper()
	type algorithm struct {
		ID     asn1.ObjectIdentifier
		Params asn1.RawValue
	}
	var params any
	var id asn1.ObjectIdentifier
	switch shape {
	case "PBES1":
		id, params = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 12, 1, 3}, struct {
			Salt []byte
			N    int
		}{make([]byte, salt), iterations}
	case "PBES2":
		id, params = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}, struct {
			Salt      []byte
			N         int
			KeyLength int `asn1:"optional"`
		}{make([]byte, salt), iterations, keyLength}
	default:
		id, params = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11591, 4, 11}, struct {
			Salt    []byte
			N, R, P int
		}{make([]byte, salt), iterations, 8, 1}
	}
	inner, err := asn1.Marshal(params)
	if err != nil {
		t.Fatal(err)
	}
	a, err := asn1.Marshal(algorithm{id, asn1.RawValue{FullBytes: inner}})
	if err != nil {
		t.Fatal(err)
	}
	octets, err := asn1.Marshal(struct{ Bag []byte }{a})
	if err != nil {
		t.Fatal(err)
	}
	return octets
}

// hostilePlugin puts a program of a plugin's name on PATH.
func hostilePlugin(t *testing.T, script string) (dir, chain string) {
	t.Helper()
	w := theWorld()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "sigstore-kms-bad"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	return dir, write(t, dir, "chain.pem", certPEM(w.leaf), certPEM(w.inter))
}

func TestKMSHostilePlugins(t *testing.T) {
	for _, c := range []struct{ script, want string }{
		{"echo '{}'", "holds no public key"},
		{"echo '{\"publicKey\":{}}'", "holds no public key"},
		{"echo '{\"signMessage\":{\"signature\":\"AA==\"}}'", "holds no public key"},
		{"echo null", "holds no public key"},
		{"echo nonsense", "not what sigstore's protocol"},
		{"exit 3", "not what sigstore's protocol"},
		{"yes", "more than 1048576 bytes"},
		{"yes >&2 & sleep 1; kill $!; echo '{}'", "holds no public key"},
		{"echo 'broken' >&2; exit 1", "it said: broken"},
	} {
		_, chain := hostilePlugin(t, c.script+"\n")
		if err := refused(t, "kms:"+chain+"+bad://x", Options{}); !strings.Contains(err.Error(), c.want) || len(err.Error()) > 2000 {
			t.Errorf("%s: %.300v, want %q", c.script, err, c.want)
		}
	}
	dir, _ := hostilePlugin(t, "exec sleep 60\n")
	p := plugin{service: "bad", path: filepath.Join(dir, "sigstore-kms-bad"), limit: 200 * time.Millisecond}
	if _, err := p.publicKey(t.Context()); err == nil || !strings.Contains(err.Error(), "gave no answer") {
		t.Errorf("a plugin that sleeps: %v", err)
	}
}

func TestKMSPluginSeesNoSecrets(t *testing.T) {
	seen := filepath.Join(t.TempDir(), "seen")
	_, chain := hostilePlugin(t, "/usr/bin/env >"+seen+"\necho \"no access with $BAD_TOKEN\" >&2\nexit 1\n")
	for _, name := range []string{"HALLMARK_PASSWORD", "GITHUB_TOKEN", "VAULT_TOKEN", "AWS_SECRET_ACCESS_KEY", "ACTIONS_ID_TOKEN_REQUEST_URL", "AZURE_CLIENT_SECRET"} {
		t.Setenv(name, "planted-secret")
	}
	t.Setenv("BAD_TOKEN", "its-own-secret")
	err := refused(t, "kms:"+chain+"+bad://x", Options{})
	if strings.Contains(err.Error(), "its-own-secret") || !strings.Contains(err.Error(), "no access with [secret]") {
		t.Errorf("the error repeats a secret: %v", err)
	}
	data, err := os.ReadFile(seen)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), "planted-secret") || !strings.Contains(string(data), "BAD_TOKEN=its-own-secret") {
		t.Errorf("the plugin sees:\n%s", data)
	}
	for service, want := range map[string]string{"awskms": "AWS_X=secret", "az": "AZURE_X=secret", "hashivault": "VAULT_X=secret", "gcpkms": "GOOGLE_X=secret"} {
		env, secrets := serviceEnv([]string{"AWS_X=secret", "AZURE_X=secret", "VAULT_X=secret", "GOOGLE_X=secret", "HALLMARK_X=secret", "PATH=p"}, service)
		if len(env) != 2 || !slices.Contains(env, want) || !slices.Equal(secrets, []string{"secret"}) {
			t.Errorf("%s is given %q", service, env)
		}
	}
}

// A server that repeats in its error what it was sent.
func TestAzureRedacts(t *testing.T) {
	const secret = "s3cret/with+signs=="
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, `{"error": "bad secret %s in %s"}`, r.Form.Get("client_secret"), r.Form.Encode())
	}))
	defer server.Close()
	env := map[string]string{"AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c", "AZURE_CLIENT_SECRET": secret, "AZURE_AUTHORITY_HOST": server.URL}
	a := &azureTokens{getenv: func(name string) string { return env[name] }, client: server.Client()}
	_, err := a.token(t.Context())
	if err == nil || !strings.Contains(err.Error(), "bad secret [secret]") || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("the error: %v", err)
	}
}

func TestPinSourceIsAFile(t *testing.T) {
	dir := t.TempDir()
	good := write(t, dir, "pin", []byte("1234\n"))
	if pin, err := (tokenURI{pinSource: good}).pin(Options{}); err != nil || string(pin) != "1234" {
		t.Errorf("%q, %v", pin, err)
	}
	var f *FileError
	if _, err := (tokenURI{pinSource: "/dev/zero"}).pin(Options{}); !errors.As(err, &f) {
		t.Errorf("/dev/zero: %v", err)
	}
}
