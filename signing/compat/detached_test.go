package compat

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// twins writes a file with its signature, the same signature beside a changed
// file, and a file without one.
func twins(w *world, suffix string, content, signature []byte) (good, changed, without string) {
	good = w.write(filepath.Join(w.folder("good"), "file"), content)
	w.write("good/file"+suffix, signature)
	changed = w.write(filepath.Join(w.folder("changed"), "file"), flipped(content, 3))
	w.write("changed/file"+suffix, signature)
	return good, changed, w.write(filepath.Join(w.folder("without"), "file"), content)
}

func (w *world) folder(name string) string {
	w.t.Helper()
	if err := os.MkdirAll(w.path(name), 0o700); err != nil {
		w.t.Fatal(err)
	}
	return name
}

// opensslSigned has openssl sign a file as a signer of the world.
func (w *world) opensslSigned(file, name string, more ...string) []byte {
	w.t.Helper()
	out := w.path("made.p7s")
	command(w.t, w.dir, nil, "openssl", append([]string{"cms", "-sign", "-binary", "-outform", "DER", "-in", file,
		"-signer", name + ".pem", "-inkey", name + ".key", "-certfile", "middle.pem", "-out", out}, more...)...)
	return must(os.ReadFile(out))(w.t)
}

func TestP7S(t *testing.T) {
	t.Parallel()
	need(t, "openssl", "openssl")
	w := newWorld(t)
	content := []byte("what is signed")
	sig := w.opensslSigned(w.write("content", content), "leaf")
	at := w.now.Add(-5 * 24 * time.Hour)
	expired := w.opensslSigned(w.path("content"), "expired")
	signers := must(readSigners(expired))(t)
	digest := sha256.Sum256(signers[0].signature)
	stampedSig := stamped(t, expired, w.tokenOver(digest[:], nil, at))
	good, changed, without := twins(w, suffixP7S, content, sig)
	ca := Trust{CAFile: w.path("root.pem"), TSAFile: w.path("tsaroot.pem")}
	old := w.write(filepath.Join(w.folder("old"), "file"), content)
	w.write("old/file"+suffixP7S, expired)
	kept := w.write(filepath.Join(w.folder("kept"), "file"), content)
	w.write("kept/file"+suffixP7S, stampedSig)
	accept, refuse := map[string]string{"openssl-p7s": "accept"}, map[string]string{"openssl-p7s": "refuse"}
	hear(t, []Judge{judge(t, "openssl-p7s")}, []row{
		{"good", good, ca, accept},
		{"changed", changed, ca, refuse},
		{"without", without, ca, refuse},
		{"wrong root", good, Trust{CAFile: w.path("other.pem")}, refuse},
		{"expired", old, ca, refuse},
		{"expired, with a timestamp", kept, ca, accept},
		{"expired, with a timestamp of a stranger", kept, Trust{CAFile: ca.CAFile, TSAFile: w.path("other.pem")}, refuse},
	})
}

func TestVerity(t *testing.T) {
	t.Parallel()
	need(t, "openssl", "openssl")
	need(t, "fsverity", "fsverity")
	w := newWorld(t)
	content := make([]byte, 10000)
	file := w.write("content", content)
	out, err := exec.CommandContext(t.Context(), "fsverity", "digest", "--compact", "--for-builtin-sig", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	var formatted []byte
	if _, err := fmt.Sscanf(string(out), "%x", &formatted); err != nil {
		t.Fatal(err)
	}
	good, changed, without := twins(w, suffixVerity, content, w.opensslSigned(w.write("formatted", formatted), "leaf", "-noattr"))
	ca := Trust{CAFile: w.path("root.pem")}
	name := "fsverity+openssl"
	hear(t, []Judge{judge(t, name)}, []row{
		{"good", good, ca, map[string]string{name: "accept"}},
		{"changed", changed, ca, map[string]string{name: "refuse"}},
		{"without", without, ca, map[string]string{name: "refuse"}},
		{"wrong root", good, Trust{CAFile: w.path("other.pem")}, map[string]string{name: "refuse"}},
	})
}

func TestIMA(t *testing.T) {
	t.Parallel()
	need(t, "evmctl", "ima-evm-utils")
	w := newWorld(t)
	content := []byte("what is signed")
	file := w.write("content", content)
	cmd := exec.CommandContext(t.Context(), "evmctl", "ima_sign", "--sigfile", "-a", "sha256", "--key", w.path("leaf.key"), file)
	said, _ := cmd.CombinedOutput() // it also sets the attribute, which not every file system takes
	sig, err := os.ReadFile(file + suffixIMA)
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	good, changed, without := twins(w, suffixIMA, content, sig)
	v3 := w.write(filepath.Join(w.folder("v3"), "file"), content)
	w.write("v3/file"+suffixIMA, []byte("\x06\x03\x04abcd\x00\x01x"))
	signer := Trust{SignerFile: w.path("leaf.pem")}
	hear(t, []Judge{judge(t, "evmctl")}, []row{
		{"good", good, signer, map[string]string{"evmctl": "accept"}},
		{"changed", changed, signer, map[string]string{"evmctl": "refuse"}},
		{"without", without, signer, map[string]string{"evmctl": "refuse"}},
		{"wrong signer", good, Trust{SignerFile: w.path("other.pem")}, map[string]string{"evmctl": "refuse"}},
		{"version 3", v3, signer, map[string]string{"evmctl": "skip"}},
		{"nobody known", good, Trust{}, map[string]string{"evmctl": "skip"}},
	})
}

func TestCosign(t *testing.T) {
	t.Parallel()
	j := judge(t, "cosign")
	if _, err := j.FindKey(); err != nil {
		if os.Getenv("HALLMARK_STRICT") == "1" {
			t.Fatalf("%v", err)
		}
		t.Skipf("SKIP: %v", err)
	}
	w := newWorld(t)
	day := 24 * time.Hour
	named := x509.Certificate{BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		NotBefore: w.now.Add(-10 * day), NotAfter: w.now.Add(10 * day), URIs: []*url.URL{{Scheme: "https", Host: "release.example"}}}
	root := w.issue("bundleroot", x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotBefore: w.now.Add(-30 * day), NotAfter: w.now.Add(30 * day)}, nil)
	content := []byte("what is signed")
	digest := sha256.Sum256(content)
	bundle := func(id *identity) []byte {
		sig := must(id.key.Sign(rand.Reader, digest[:], crypto.SHA256))(t)
		imprint := sha256.Sum256(sig)
		response := must(asn1.Marshal(struct {
			Status struct{ Status int }
			Token  asn1.RawValue
		}{Token: asn1.RawValue{FullBytes: w.tokenOver(imprint[:], nil, w.now.Add(-day))}}))(t)
		b64 := base64.StdEncoding.EncodeToString
		return fmt.Appendf(nil, `{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"certificate":{"rawBytes":%q},"timestampVerificationData":{"rfc3161Timestamps":[{"signedTimestamp":%q}]}},"messageSignature":{"messageDigest":{"algorithm":"SHA2_256","digest":%q},"signature":%q}}`,
			b64(id.cert.Raw), b64(response), b64(digest[:]), b64(sig))
	}
	good, changed, without := twins(w, suffixBundle, content, bundle(w.issue("named", named, root)))
	nameless := named
	nameless.URIs = nil
	unnamed := w.write(filepath.Join(w.folder("unnamed"), "file"), content)
	w.write("unnamed/file"+suffixBundle, bundle(w.issue("nameless", nameless, root)))
	trust := Trust{CAFile: w.path("bundleroot.pem"), TSAFile: w.path("tsaroot.pem")}
	w.write("trusted_root.json", must(trustedRoot(trust))(t))
	hear(t, []Judge{j}, []row{
		{"good", good, trust, map[string]string{"cosign": "accept"}},
		{"changed", changed, trust, map[string]string{"cosign": "refuse"}},
		{"without", without, trust, map[string]string{"cosign": "refuse"}},
		{"wrong root", good, Trust{CAFile: w.path("other.pem"), TSAFile: trust.TSAFile}, map[string]string{"cosign": "refuse"}},
		{"wrong authority", good, Trust{CAFile: trust.CAFile, TSAFile: w.path("other.pem")}, map[string]string{"cosign": "refuse"}},
		{"no name", unnamed, trust, map[string]string{"cosign": "skip"}},
	})
}
