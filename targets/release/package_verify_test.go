package release

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-build/hallmark/build/dist"
	"github.com/hallmark-build/hallmark/signing"
	"github.com/hallmark-build/hallmark/signing/key"
)

// packageIdentity makes an identity that is valid now, and the PEM file of its certificate.
func packageIdentity(t *testing.T) (*key.Key, string) {
	t.Helper()
	signer, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Package Signer"}, SubjectKeyId: []byte{1, 2, 3, 4},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, signer.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "signer.pem")
	if err := os.WriteFile(file, encodePEM(cert), 0o644); err != nil {
		t.Fatal(err)
	}
	return &key.Key{Signer: signer, Chain: []*x509.Certificate{cert}, Ref: "test"}, file
}

// makePackage writes a package of one program; by may be nil.
func makePackage(t *testing.T, format string, by *signing.PackageKey) string {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "notes")
	if err := os.WriteFile(program, []byte(strings.Repeat("a program ", 100)), 0o755); err != nil {
		t.Fatal(err)
	}
	made := time.Now().Add(-24 * time.Hour)
	p := dist.Package{
		Name: "notes", Version: "1.2.3", Arch: "amd64", Format: format, ModTime: made, KeyName: "notes",
		Config: dist.Config{Maintainer: "Ann Author <ann@example.com>", Description: "Notes"},
		Files:  []dist.File{{Path: program, Name: "notes", Mode: 0o755}},
	}
	if by != nil {
		p.Sign = func(signed io.Reader) ([]byte, error) { return by.Sign(format, made, signed) }
	}
	file := filepath.Join(dir, "file") // the name says nothing
	if err := dist.WritePackage(file, p); err != nil {
		t.Fatal(err)
	}
	return file
}

// verifyOnly verifies and inspects one file by a signer's certificate. Both have one verdict.
func verifyOnly(t *testing.T, file, signer string) error {
	t.Helper()
	o := Options{Dir: t.TempDir(), KeyDir: t.TempDir()}
	trust := TrustOverride{Signer: signer}
	var out, inspected bytes.Buffer
	err := VerifyFile(t.Context(), o, &out, file, true, trust)
	var v Verification
	if e := json.Unmarshal(out.Bytes(), &v); e != nil || v.Good != (err == nil) {
		t.Errorf("verifyFile prints %v:\n%s", e, out.Bytes())
	}
	ierr := Inspect(t.Context(), o, &inspected, file, true, trust)
	var i Inspection
	if e := json.Unmarshal(inspected.Bytes(), &i); e != nil || i.Good != (err == nil) || exitCode(ierr) != exitCode(err) {
		t.Errorf("inspect says %v (%v), verifyFile %v:\n%s", ierr, e, err, inspected.Bytes())
	}
	if err == nil && (len(i.Signatures) == 0 || i.Signatures[0].Signer == "") {
		t.Errorf("inspect names no signer:\n%s", inspected.Bytes())
	}
	return err
}

func TestVerifyPackages(t *testing.T) {
	t.Parallel()
	k, signer := packageIdentity(t)
	_, stranger := packageIdentity(t)
	by, err := signing.NewPackageKey(k, "Ann Author <ann@example.com>")
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range signing.PackageFormats() {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			if err := verifyOnly(t, makePackage(t, format, nil), signer); exitCode(err) != ExitUnsigned {
				t.Errorf("unsigned: %v", err)
			}
			file := makePackage(t, format, by)
			if err := verifyOnly(t, file, signer); err != nil {
				t.Errorf("signed: %v", err)
			}
			if err := verifyOnly(t, file, stranger); err == nil {
				t.Error("signed by somebody else: accepted")
			}
			good, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for name, b := range map[string][]byte{
				"cut": good[:len(good)-1], "appended": append(bytes.Clone(good), 0),
				"changed at its end": append(bytes.Clone(good[:len(good)-9]), append([]byte{good[len(good)-9] ^ 1}, good[len(good)-8:]...)...),
			} {
				if err := os.WriteFile(file, b, 0o644); err != nil {
					t.Fatal(err)
				}
				err := verifyOnly(t, file, signer)
				var e *signing.Error
				if !errors.As(err, &e) || e.Kind != signing.Malformed && e.Kind != signing.Tampered || e.File != file {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}

// TestVerifyFileSignatures checks the signatures of an rpm's files, which those of the rpm do not cover.
func TestVerifyFileSignatures(t *testing.T) {
	t.Parallel()
	k, signer := packageIdentity(t)
	by, err := signing.NewPackageKey(k, "Ann Author <ann@example.com>")
	if err != nil {
		t.Fatal(err)
	}
	file := makePackage(t, dist.RPM, by)
	program := filepath.Join(filepath.Dir(file), "notes")
	if _, err := (signing.IMA{}).Sign(t.Context(), program, program+".sig", k, nil); err != nil {
		t.Fatal(err)
	}
	sig, err := os.ReadFile(program + ".sig")
	if err != nil {
		t.Fatal(err)
	}
	wrong := bytes.Clone(sig)
	wrong[len(wrong)-1] ^= 1
	for _, test := range []struct {
		name string
		sig  []byte
		good bool
	}{{"good", sig, true}, {"changed", wrong, false}, {"payload", bytes.Repeat([]byte("payload "), 40), false}, {"good again", sig, true}} {
		if _, err := dist.AddFileSignatures(file, func(string) ([]byte, error) { return test.sig, nil }); err != nil {
			t.Fatal(err)
		}
		if err := verifyOnly(t, file, signer); (err == nil) != test.good {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// TestVerifyForeignPackages reads packages that other programs made.
func TestVerifyForeignPackages(t *testing.T) {
	t.Parallel()
	_, signer := packageIdentity(t)
	dir := t.TempDir()
	control := "Package: notes\nVersion: 1\nArchitecture: all\nMaintainer: Ann <ann@example.com>\nDescription: notes\n"
	for name, content := range map[string]string{"DEBIAN/control": control, "usr/share/notes/x": "x"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, "root", name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "root", name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("x", filepath.Join(dir, "root", "usr/share/notes/link")); err != nil {
		t.Skipf("SKIP: no links here: %v", err)
	}
	tool, err := exec.LookPath("dpkg-deb")
	if err != nil {
		t.Skip("SKIP: dpkg-deb is not installed")
	}
	for _, compression := range []string{"xz", "gzip", "none"} {
		file := filepath.Join(dir, compression+".deb")
		if out, err := exec.CommandContext(t.Context(), tool, "-Z"+compression, "--root-owner-group", "-b", filepath.Join(dir, "root"), file).CombinedOutput(); err != nil {
			t.Fatalf("dpkg-deb: %v\n%s", err, out)
		}
		if err := verifyOnly(t, file, signer); exitCode(err) != ExitUnsigned {
			t.Errorf("%s: %v", compression, err)
		}
		// A signature by somebody whom we do not know.
		k, _ := packageIdentity(t)
		by, err := signing.NewPackageKey(k, "Somebody <somebody@example.com>")
		if err != nil {
			t.Fatal(err)
		}
		sig, err := by.Sign(dist.Deb, time.Now(), strings.NewReader("anything"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "_gpgorigin"), sig, 0o644); err != nil {
			t.Fatal(err)
		}
		if ar, err := exec.LookPath("ar"); err == nil {
			if out, err := exec.CommandContext(t.Context(), ar, "rc", file, filepath.Join(dir, "_gpgorigin")).CombinedOutput(); err != nil {
				t.Fatalf("ar: %v\n%s", err, out)
			}
			if err := verifyOnly(t, file, signer); kindOf(err) != signing.UnknownSigner {
				t.Errorf("%s: signed by an unknown key: %v", compression, err)
			}
		}
	}
}
