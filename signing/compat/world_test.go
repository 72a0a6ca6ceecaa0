package compat

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// need skips a test without a foreign tool, or fails it in a strict run.
func need(t *testing.T, tool, pkg string) {
	t.Helper()
	if _, err := exec.LookPath(tool); err == nil {
		return
	}
	if os.Getenv("HALLMARK_STRICT") == "1" {
		t.Fatalf("%s missing: apt package %s", tool, pkg)
	}
	t.Skipf("SKIP: %s missing: apt package %s", tool, pkg)
}

// command runs a foreign tool that must succeed.
func command(t *testing.T, dir string, env []string, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// world is a root, an intermediate and some signers, a timestamp authority
// under a root of its own, and a root that signed nothing, all in PEM files of
// one folder: NAME.pem and NAME.key.
type world struct {
	t   *testing.T
	dir string
	now time.Time
}

type identity struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), now: time.Now().Truncate(time.Second)}
	day := 24 * time.Hour
	ca := x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, NotBefore: w.now.Add(-30 * day), NotAfter: w.now.Add(30 * day)}
	leaf := x509.Certificate{BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, NotBefore: w.now.Add(-10 * day), NotAfter: w.now.Add(10 * day)}
	expired := leaf
	expired.NotAfter = w.now.Add(-2 * day)
	server := leaf
	server.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	tsa := leaf
	tsa.ExtKeyUsage = nil
	// RFC 3161, section 2.3: timeStamping alone, and critical.
	tsa.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: must(asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}}))(t)}}

	root := w.issue("root", ca, nil)
	middle := w.issue("middle", ca, root)
	w.issue("leaf", leaf, middle)
	w.issue("direct", leaf, root)
	w.issueFor(must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t), "p256", leaf, middle)
	w.issue("expired", expired, middle)
	w.issue("server", server, middle)
	w.issue("tsa", tsa, w.issue("tsaroot", ca, nil))
	w.issue("other", ca, nil)
	return w
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (w *world) issue(name string, template x509.Certificate, issuer *identity) *identity {
	w.t.Helper()
	return w.issueFor(must(rsa.GenerateKey(rand.Reader, 2048))(w.t), name, template, issuer)
}

func (w *world) issueFor(key crypto.Signer, name string, template x509.Certificate, issuer *identity) *identity {
	w.t.Helper()
	template.Subject = pkix.Name{CommonName: name}
	if rsa, ok := key.Public().(*rsa.PublicKey); ok {
		id := sha1.Sum(x509.MarshalPKCS1PublicKey(rsa))
		template.SubjectKeyId = id[:]
	}
	template.SerialNumber = must(rand.Int(rand.Reader, big.NewInt(1<<62)))(w.t)
	made := &identity{cert: &template, key: key}
	if issuer == nil {
		issuer = made
	}
	der := must(x509.CreateCertificate(rand.Reader, &template, issuer.cert, key.Public(), issuer.key))(w.t)
	made.cert = must(x509.ParseCertificate(der))(w.t)
	w.write(name+".pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	w.write(name+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(key))(w.t)}))
	return made
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

func (w *world) write(name string, data []byte) string {
	w.t.Helper()
	if err := os.MkdirAll(filepath.Dir(w.path(name)), 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(w.path(name), data, 0o600); err != nil {
		w.t.Fatal(err)
	}
	return w.path(name)
}

func (w *world) read(name string) []byte {
	w.t.Helper()
	return must(os.ReadFile(w.path(name)))(w.t)
}

func (w *world) trust() Trust {
	return Trust{CAFile: w.path("root.pem"), TSAFile: w.path("tsaroot.pem")}
}

// program compiles a small Go program for windows or linux.
func (w *world) program(goos, name string) {
	w.t.Helper()
	w.write("main.go", []byte("package main\n\nfunc main() { println(\"hello\") }\n"))
	w.write("go.mod", []byte("module hello\n\ngo 1.26\n"))
	command(w.t, w.dir, []string{"GOOS=" + goos, "GOARCH=amd64", "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false", "GOWORK=off"}, "go", "build", "-ldflags=-s -w", "-o", name, ".")
}

// signcode signs a PE file with osslsigncode, with further arguments.
func (w *world) signcode(in, out, leaf string, args ...string) {
	w.t.Helper()
	args = append([]string{"sign", "-certs", leaf + ".pem", "-key", leaf + ".key", "-ac", "middle.pem", "-in", in, "-out", out}, args...)
	command(w.t, w.dir, nil, "osslsigncode", args...)
}

// signature makes a detached CMS over a file, as the kernel wants it.
func (w *world) signature(in, leaf string, args ...string) []byte {
	w.t.Helper()
	args = append([]string{"cms", "-sign", "-binary", "-noattr", "-md", "sha256", "-in", in, "-signer", leaf + ".pem", "-inkey", leaf + ".key", "-certfile", "middle.pem", "-outform", "DER", "-out", "signature.der"}, args...)
	command(w.t, w.dir, nil, "openssl", args...)
	return w.read("signature.der")
}

// token makes a timestamp token of the given time over a signature value.
func (w *world) token(value []byte, at time.Time) []byte {
	w.t.Helper()
	digest := sha256.Sum256(value)
	return w.tokenOver(digest[:], nil, at)
}

// tokenOver makes a timestamp token of the given time over a SHA-256 digest,
// with the request's nonce if that is not nil.
func (w *world) tokenOver(digest []byte, nonce *big.Int, at time.Time) []byte {
	w.t.Helper()
	type algorithm struct{ Algorithm asn1.ObjectIdentifier }
	type imprint struct {
		Hash   algorithm
		Digest []byte
	}
	w.write("tstinfo.der", must(asn1.Marshal(struct {
		Version int
		Policy  asn1.ObjectIdentifier
		Imprint imprint
		Serial  int
		Time    time.Time `asn1:"generalized"`
		Nonce   *big.Int  `asn1:"optional"`
	}{1, asn1.ObjectIdentifier{1, 2, 3, 4}, imprint{algorithm{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}}, digest}, 7, at.UTC(), nonce}))(w.t))
	command(w.t, w.dir, nil, "openssl", "cms", "-sign", "-binary", "-nodetach", "-cades", "-md", "sha256",
		"-econtent_type", "1.2.840.113549.1.9.16.1.4", "-in", "tstinfo.der", "-signer", "tsa.pem", "-inkey", "tsa.key", "-outform", "DER", "-out", "token.der")
	return w.read("token.der")
}

// stampServer is a timestamp server that lives at the given time, for
// osslsigncode sign -ts: versions before 2.6 cannot make tokens themselves.
func (w *world) stampServer(at time.Time) (url string) {
	w.t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var request struct {
			Version int
			Imprint struct {
				Hash   asn1.RawValue
				Digest []byte
			}
			Nonce   *big.Int `asn1:"optional"`
			CertReq bool     `asn1:"optional"`
		}
		body, err := io.ReadAll(r.Body)
		if err == nil {
			_, err = asn1.Unmarshal(body, &request)
		}
		if err != nil {
			http.Error(rw, "not a TimeStampReq: "+err.Error(), http.StatusBadRequest)
			return
		}
		answer, err := asn1.Marshal(struct {
			Status struct{ Status int }
			Token  asn1.RawValue
		}{Token: asn1.RawValue{FullBytes: w.tokenOver(request.Imprint.Digest, request.Nonce, at)}})
		if err != nil {
			http.Error(rw, err.Error(), http.StatusInternalServerError)
			return
		}
		rw.Header().Set("Content-Type", "application/timestamp-reply")
		rw.Write(answer)
	}))
	w.t.Cleanup(server.Close)
	return server.URL
}

// stamped puts a token into the unsigned attributes of a CMS with one signer.
func stamped(t *testing.T, cms, token []byte) []byte {
	t.Helper()
	signers := must(readSigners(cms))(t)
	if len(signers) != 1 || !bytes.HasSuffix(cms, signers[0].signature) {
		t.Fatal("the signature value is not at the end of the message")
	}
	attribute := must(asn1.Marshal(struct {
		Type   asn1.ObjectIdentifier
		Values []asn1.RawValue `asn1:"set"`
	}{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 14}, []asn1.RawValue{{FullBytes: token}}}))(t)
	unsigned := tlv(t, asn1.ClassContextSpecific, 1, attribute)

	// Every structure that ends where the message ends grows: ContentInfo,
	// [0], SignedData, SET OF SignerInfo, SignerInfo.
	var grow func(der []byte, depth int) []byte
	grow = func(der []byte, depth int) []byte {
		if depth == 0 {
			return append(bytes.Clone(der), unsigned...)
		}
		var v asn1.RawValue
		head, rest := []byte(nil), der
		for {
			next := must(asn1.Unmarshal(rest, &v))(t)
			if len(next) == 0 {
				break
			}
			head, rest = append(head, v.FullBytes...), next
		}
		return append(head, tlv(t, v.Class, v.Tag, grow(v.Bytes, depth-1))...)
	}
	return grow(cms, 5)
}

func tlv(t *testing.T, class, tag int, content []byte) []byte {
	return must(asn1.Marshal(asn1.RawValue{Class: class, Tag: tag, IsCompound: true, Bytes: content}))(t)
}

// appendSignature writes content, signature and trailer by hand.
func appendSignature(content, cms []byte) []byte {
	out := append(bytes.Clone(content), cms...)
	out = append(out, 0, 0, 2, 0, 0, 0, 0, 0)
	out = binary.BigEndian.AppendUint32(out, uint32(len(cms)))
	return append(out, "~Module signature appended~\n"...)
}

// flipped returns data with one bit changed at the offset; a negative one
// counts from the end.
func flipped(data []byte, offset int) []byte {
	data = bytes.Clone(data)
	if offset < 0 {
		offset += len(data)
	}
	data[offset] ^= 0x04
	return data
}

// needJudge returns the judge of that name, and skips a test without its
// program, or fails it in a strict run.
func needJudge(t *testing.T, name string) Judge {
	t.Helper()
	j := judge(t, name)
	if _, err := j.FindKey(); err != nil {
		if os.Getenv("HALLMARK_STRICT") == "1" {
			t.Fatal(err)
		}
		t.Skipf("SKIP: %v", err)
	}
	return j
}

// judge returns the judge of that name.
func judge(t *testing.T, name string) Judge {
	t.Helper()
	for _, j := range Judges() {
		if j.Name == name {
			return j
		}
	}
	t.Fatalf("no judge %s", name)
	return Judge{}
}

// checkCommand runs a result's command as anyone could.
func checkCommand(t *testing.T, r Result) {
	t.Helper()
	cmd := exec.CommandContext(context.Background(), "sh", "-c", r.Command)
	cmd.Dir = t.TempDir()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: command: %v\n%s\n%s", r.Case, err, r.Command, out)
	}
}
