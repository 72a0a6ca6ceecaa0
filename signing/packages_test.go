package signing

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/sha1"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
)

// TestPackageSignatures has gpgv and openssl judge what packages carry.
func TestPackageSignatures(t *testing.T) {
	t.Parallel()
	gpgv := lookTool(t, "gpgv", "gpgv")
	openssl := lookTool(t, "openssl", "openssl")
	for name, signer := range map[string]func(testing.TB) crypto.Signer{
		"RSA":   newRSA,
		"P-256": func(t testing.TB) crypto.Signer { return newECDSA(t, elliptic.P256()) },
		"P-384": func(t testing.TB) crypto.Signer { return newECDSA(t, elliptic.P384()) },
		"P-521": func(t testing.TB) crypto.Signer { return newECDSA(t, elliptic.P521()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, stranger := newWorld(t, signer(t), codeSigning), newWorld(t, signer(t), codeSigning)
			p, err := NewPackageKey(w.key, "Ann Author <ann@example.com>")
			if err != nil {
				t.Fatal(err)
			}
			trust := w.trust()
			trust.Known = w.key.Chain
			dir := t.TempDir()
			content := bytes.Repeat([]byte("a package "), 1000)
			made := time.Now().Add(-10 * 24 * time.Hour) // older than the certificate

			public, err := p.OpenPGP()
			if err != nil {
				t.Fatal(err)
			}
			block, err := armor.Decode(bytes.NewReader(public))
			if err != nil {
				t.Fatal(err)
			}
			ring, err := io.ReadAll(block.Body)
			if err != nil {
				t.Fatal(err)
			}
			file := func(name string, data []byte) string {
				path := filepath.Join(dir, name)
				if err := os.WriteFile(path, data, 0o600); err != nil {
					t.Fatal(err)
				}
				return path
			}
			keyring := file("ring.gpg", ring)
			for _, format := range []string{PackageDeb, PackageRPM} {
				if name != "RSA" && format == PackageRPM {
					if p.Takes(format) == nil {
						t.Error("an rpm is to be signed by ECDSA, which rpm does not check")
					}
					continue
				}
				sig, err := p.Sign(format, made, bytes.NewReader(content))
				if err != nil {
					t.Fatal(err)
				}
				if again, err := p.Sign(format, made, bytes.NewReader(content)); err != nil || name == "RSA" && !bytes.Equal(sig, again) {
					t.Errorf("%s: signed again it is another signature, or %v", format, err)
				}
				judge := func(content []byte) error {
					out, err := exec.CommandContext(t.Context(), gpgv, "--keyring", keyring, file("sig", sig), file("content", content)).CombinedOutput()
					if err == nil && !bytes.Contains(out, []byte("Good signature from \"Ann Author <ann@example.com>\"")) {
						t.Errorf("gpgv: %s", out)
					}
					return err
				}
				if err := judge(content); err != nil {
					t.Errorf("%s: gpgv refuses: %v", format, err)
				}
				got, err := VerifyPackage(format, sig, bytes.NewReader(content), trust)
				if err != nil || !got.Signer.Equal(w.key.Leaf()) {
					t.Fatalf("%s: %v", format, err)
				}
				damaged := bytes.Clone(content)
				damaged[len(damaged)/2] ^= 1
				_, err = VerifyPackage(format, sig, bytes.NewReader(damaged), trust)
				wantError(t, err, Tampered, RuleSignature)
				if judge(damaged) == nil {
					t.Error("gpgv accepts damaged content")
				}
				for i := range sig {
					twin := bytes.Clone(sig)
					twin[i] ^= 1 << (i % 8)
					if _, err := VerifyPackage(format, twin, bytes.NewReader(content), trust); err == nil && !unhashed(format) {
						t.Errorf("%s: byte %d of the signature flipped, and accepted", format, i)
					}
				}
				other := trust
				other.Known = stranger.key.Chain
				_, err = VerifyPackage(format, sig, bytes.NewReader(content), other)
				wantError(t, err, Tampered, RuleSignature)
				other = trust
				other.Roots = stranger.trust().Roots
				_, err = VerifyPackage(format, sig, bytes.NewReader(content), other)
				wantError(t, err, Untrusted, RuleChain)
			}

			if name != "RSA" {
				if p.Takes(PackageAPK) == nil {
					t.Error("an apk is to be signed by ECDSA, which apk does not know")
				}
				return
			}
			digest := sha1.Sum(content)
			sig, err := p.Sign(PackageAPK, made, bytes.NewReader(digest[:]))
			if err != nil {
				t.Fatal(err)
			}
			public, err = p.APK()
			if err != nil {
				t.Fatal(err)
			}
			if out, err := exec.CommandContext(t.Context(), openssl, "dgst", "-sha1", "-verify", file("k.pub", public), "-signature", file("apk.sig", sig), file("content", content)).CombinedOutput(); err != nil {
				t.Errorf("openssl: %v\n%s", err, out)
			}
			if _, err := VerifyPackage(PackageAPK, sig, bytes.NewReader(content), trust); err != nil {
				t.Error(err)
			}
			sig[9] ^= 1
			_, err = VerifyPackage(PackageAPK, sig, bytes.NewReader(content), trust)
			wantError(t, err, Tampered, RuleSignature)
		})
	}
}

// unhashed says that bytes of a signature stand outside of what it covers: the
// armor of a deb's has line ends, a checksum and header that mean nothing.
func unhashed(format string) bool { return format == PackageDeb }

func FuzzVerifyPackage(f *testing.F) {
	w := newWorld(f, newRSA(f), codeSigning)
	p, err := NewPackageKey(w.key, "fuzz <fuzz@example.com>")
	if err != nil {
		f.Fatal(err)
	}
	trust := w.trust()
	trust.Known = w.key.Chain
	good := map[string][]byte{}
	for _, format := range []string{PackageDeb, PackageRPM} {
		sig, err := p.Sign(format, time.Now(), bytes.NewReader([]byte("content")))
		if err != nil {
			f.Fatal(err)
		}
		good[format] = sig
		f.Add(sig)
	}
	f.Fuzz(func(t *testing.T, sig []byte) {
		if _, err := VerifyPackage(PackageDeb, sig, bytes.NewReader([]byte("another content")), trust); err == nil {
			t.Errorf("%x is accepted as a signature of what was not signed", sig)
		}
	})
}
