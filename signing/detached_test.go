package signing

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// content is a file of pseudo-random bytes.
func content(t testing.TB, size int) string {
	t.Helper()
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return writeFile(t, "content", b, 0o644)
}

// signBeside signs a file into a new folder and returns the signature's path.
func signBeside(t testing.TB, d Detached, file string, w *world, ts Timestamper) string {
	t.Helper()
	dst := filepath.Join(t.TempDir(), filepath.Base(file)+d.Suffix())
	if _, err := d.Sign(t.Context(), file, dst, w.key, ts); err != nil {
		t.Fatal(err)
	}
	return dst
}

// TestVerityDigest compares with fsverity: around every edge of the tree, with
// both algorithms, with and without salt.
func TestVerityDigest(t *testing.T) {
	t.Parallel()
	tool := lookTool(t, "fsverity", "fsverity")
	for _, size := range []int{0, 1, 4095, 4096, 4097, 64 * 4096, 64*4096 + 1, 128 * 4096, 128*4096 + 1, 64 * 64 * 4096, 64*64*4096 + 1, 128*128*4096 + 4097} {
		file := content(t, size)
		for h, name := range map[crypto.Hash]string{crypto.SHA256: "sha256", crypto.SHA512: "sha512"} {
			for _, salt := range []string{"", "ab", strings.Repeat("5a", 32)} {
				if size > 1<<24 && salt != "" {
					continue
				}
				raw, _ := hex.DecodeString(salt)
				f, err := os.Open(file)
				if err != nil {
					t.Fatal(err)
				}
				got, err := Verity{Hash: h, Salt: raw}.Digest(t.Context(), f, int64(size))
				f.Close()
				if err != nil {
					t.Fatal(err)
				}
				args := []string{"digest", "--compact", "--hash-alg=" + name}
				if salt != "" {
					args = append(args, "--salt="+salt)
				}
				out, err := run(t, tool, append(args, file)...)
				if err != nil {
					t.Fatalf("fsverity: %v\n%s", err, out)
				}
				if want := strings.TrimSpace(out); fmt.Sprintf("%x", got) != want {
					t.Errorf("%d bytes, %s, salt %q: %x, fsverity says %s", size, name, salt, got, want)
				}
			}
		}
	}
}

// TestVerityEqualsFsverity compares signatures byte by byte with those of
// fsverity, and has OpenSSL judge one with chain and timestamp.
func TestVerityEqualsFsverity(t *testing.T) {
	t.Parallel()
	w, tool := sharedWorld(), lookTool(t, "fsverity", "fsverity")
	file := content(t, 10000)
	for h, name := range map[crypto.Hash]string{crypto.SHA256: "sha256", crypto.SHA512: "sha512"} {
		ours := readFile(t, signBeside(t, Verity{Hash: h, NoCerts: true}, file, w, nil))
		theirs := filepath.Join(t.TempDir(), "sig")
		if out, err := run(t, tool, "sign", file, theirs, "--hash-alg="+name, "--key="+keyFile(t, w.key.Signer), "--cert="+pemFile(t, w.key.Leaf())); err != nil {
			t.Fatalf("fsverity sign: %v\n%s", err, out)
		}
		if !bytes.Equal(ours, readFile(t, theirs)) {
			t.Errorf("%s: the signature differs from fsverity's", name)
		}
		trust := w.trust()
		trust.Policy.Off, trust.Known = []Rule{RuleTimestamp}, w.key.Chain
		if _, err := (Verity{}).Verify(t.Context(), file, theirs, trust); err != nil {
			t.Errorf("%s: we refuse fsverity's: %v", name, err)
		}
	}
	full := signBeside(t, Verity{}, file, w, w.tsa)
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	digest, err := Verity{}.Digest(t.Context(), f, 10000)
	if err != nil {
		t.Fatal(err)
	}
	formatted, err := formatVerity(crypto.SHA256, digest)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{true, false} {
		out, err := run(t, lookTool(t, "openssl", "openssl"), "cms", "-verify", "-binary", "-inform", "DER", "-in", full, "-content",
			writeFile(t, "formatted", formatted, 0o644), "-CAfile", pemFile(t, w.ca.cert), "-purpose", "any", "-out", os.DevNull)
		if (err == nil) != want {
			t.Errorf("openssl: %v\n%s", err, out)
		}
		formatted[20] ^= 1
	}
}

// TestIMAEqualsEvmctl compares with evmctl, byte by byte for RSA, and has each
// verify the other's.
func TestIMAEqualsEvmctl(t *testing.T) {
	t.Parallel()
	tool := lookTool(t, "evmctl", "ima-evm-utils")
	for name, signer := range map[string]crypto.Signer{"RSA": newRSA(t), "P-256": newECDSA(t, elliptic.P256()), "P-384": newECDSA(t, elliptic.P384())} {
		w := newWorld(t, signer, codeSigning)
		for h, alg := range map[crypto.Hash]string{crypto.SHA256: "sha256", crypto.SHA384: "sha384", crypto.SHA512: "sha512"} {
			t.Run(name+"/"+alg, func(t *testing.T) {
				t.Parallel()
				file := content(t, 10000)
				if out, err := run(t, tool, "ima_sign", "--sigfile", "-a", alg, "--key", keyFile(t, signer),
					"--keyid-from-cert", pemFile(t, w.key.Leaf()), file); err != nil && !strings.Contains(out, "setxattr failed") {
					t.Fatalf("evmctl: %v\n%s", err, out)
				}
				theirs := readFile(t, file+".sig")
				trust := w.trust()
				trust.Known = w.key.Chain
				if _, err := (IMA{}).Verify(t.Context(), file, file+".sig", trust); err != nil {
					t.Errorf("we refuse evmctl's: %v", err)
				}
				if err := os.Remove(file + ".sig"); err != nil {
					t.Fatal(err)
				}
				if _, err := (IMA{Hash: h}).Sign(t.Context(), file, file+".sig", w.key, nil); err != nil {
					t.Fatal(err)
				}
				if ours := readFile(t, file+".sig"); name == "RSA" && !bytes.Equal(ours, theirs) {
					t.Errorf("differs from evmctl's:\n%x\n%x", ours, theirs)
				}
				for _, want := range []bool{true, false} {
					out, err := run(t, tool, "ima_verify", "--sigfile", "-a", alg, "--key", derFile(t, w.key.Leaf()), file)
					if accepted := err == nil && strings.Contains(out, "verification is OK"); accepted != want {
						t.Errorf("evmctl: %v\n%s", err, out)
					}
					b := readFile(t, file)
					b[5000] ^= 1
					if err := os.WriteFile(file, b, 0o644); err != nil {
						t.Fatal(err)
					}
				}
			})
		}
	}
}

func derFile(t testing.TB, c *x509.Certificate) string {
	t.Helper()
	return writeFile(t, "cert.der", c.Raw, 0o644)
}

// detachedSchemes are all that sign beside a file.
func detachedSchemes() []Detached {
	return []Detached{Verity{}, Verity{Hash: crypto.SHA512, Salt: []byte("salt")}, IMA{}, IMA{Verity: true, Hash: crypto.SHA512}, P7S{}, P7S{Hash: crypto.SHA384}, Bundle{}}
}

// TestDetached holds what all detached schemes share: a good signature, one of
// another file, one of an unknown signer, one that is missing, and every byte of
// the signature and of a small file changed in turn.
func TestDetached(t *testing.T) {
	t.Parallel()
	w := sharedWorld()
	for i, d := range detachedSchemes() {
		t.Run(fmt.Sprintf("%s-%d", d.Name(), i), func(t *testing.T) {
			t.Parallel()
			file, other := content(t, 600), writeFile(t, "other", []byte("other"), 0o644)
			signature := signBeside(t, d, file, w, w.tsa)
			if info, err := os.Stat(signature); err != nil || info.Mode().Perm() != 0o644 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
			trust := w.trust()
			trust.Known = w.key.Chain
			sig, err := d.Verify(t.Context(), file, signature, trust)
			if err != nil {
				t.Fatal(err)
			}
			if sig.Scheme != d.Name() || sig.Hash != cmp.Or(hashOfDetached(d), crypto.SHA256) || len(sig.Digest) != sig.Hash.Size() || len(sig.Chain) != 2 {
				t.Errorf("%+v", sig)
			}
			_, err = d.Verify(t.Context(), other, signature, trust)
			wantError(t, err, Tampered, "")
			_, err = d.Verify(t.Context(), file, signature+".no", trust)
			wantError(t, err, Unsigned, RulePresent)
			foreign := newWorld(t, newECDSA(t, elliptic.P256()), codeSigning).trust()
			foreign.TSARoots = trust.TSARoots
			_, err = d.Verify(t.Context(), file, signature, foreign)
			if d.Name() == "ima" { // which holds no certificate
				wantError(t, err, UnknownSigner, RuleChain)
			} else {
				wantError(t, err, Untrusted, RuleChain)
			}
			late := trust
			late.Now = w.key.Leaf().NotAfter.Add(time.Hour)
			if _, err = d.Verify(t.Context(), file, signature, late); d.Name() == "ima" {
				wantError(t, err, Expired, RuleValidity)
			} else if err != nil {
				t.Errorf("the timestamp did not help: %v", err)
			}

			good := readFile(t, signature)
			damaged := writeFile(t, "damaged", good, 0o644)
			step := 1
			if i == 1 || i == 5 { // as those before them, with another digest
				step = 17
			}
			for i := 0; i < len(good); i += step {
				bad := bytes.Clone(good)
				bad[i] ^= 1 << (i % 8)
				if err := os.WriteFile(damaged, bad, 0o644); err != nil {
					t.Fatal(err)
				}
				if _, err := d.Verify(t.Context(), file, damaged, trust); err == nil {
					t.Errorf("byte %#x of %#x of the signature changed, and nobody noticed", i, len(good))
				}
			}
			b := readFile(t, file)
			damaged = writeFile(t, "content", b, 0o644)
			for at := 0; at < len(b); at += step {
				b[at] ^= 1 << (at % 8)
				if err := os.WriteFile(damaged, b, 0o644); err != nil {
					t.Fatal(err)
				}
				if _, err := d.Verify(t.Context(), damaged, signature, trust); err == nil {
					t.Errorf("byte %d of the file changed, and nobody noticed", at)
				}
				b[at] ^= 1 << (at % 8)
			}
			for _, size := range []int{599, 601, 4096, 4600} {
				if _, err := d.Verify(t.Context(), writeFile(t, "content", append(b, make([]byte, 4096)...)[:size], 0o644), signature, trust); err == nil {
					t.Errorf("the file has %d bytes now, and nobody noticed", size)
				}
			}
		})
	}
}

func hashOfDetached(d Detached) crypto.Hash {
	switch d := d.(type) {
	case Verity:
		return d.Hash
	case IMA:
		return d.Hash
	case P7S:
		return d.Hash
	}
	return 0
}

// TestDetachedCancelled leaves nothing behind.
func TestDetachedCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	file := content(t, 3<<20)
	for _, d := range detachedSchemes() {
		dst := filepath.Join(t.TempDir(), "sig")
		if _, err := d.Sign(ctx, file, dst, sharedWorld().key, nil); err == nil {
			t.Errorf("%s: signed after the end", d.Name())
		}
		if left, _ := filepath.Glob(filepath.Join(filepath.Dir(dst), "*")); len(left) > 0 {
			t.Errorf("%s: left %q", d.Name(), left)
		}
	}
}

// BenchmarkVerity200MB compares the fs-verity digest of 200 MB with fsverity's.
func BenchmarkVerity200MB(b *testing.B) {
	file := content(b, 200<<20)
	b.Run("hallmark", func(b *testing.B) {
		b.SetBytes(200 << 20)
		for b.Loop() {
			f, err := os.Open(file)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := (Verity{}).Digest(b.Context(), f, 200<<20); err != nil {
				b.Fatal(err)
			}
			f.Close()
		}
	})
	b.Run("fsverity", func(b *testing.B) {
		b.SetBytes(200 << 20)
		tool := lookTool(b, "fsverity", "fsverity")
		for b.Loop() {
			if out, err := run(b, tool, "digest", file); err != nil {
				b.Fatalf("%v\n%s", err, out)
			}
		}
	})
}

// TestIMAKeyID wants a certificate that the kernel can find.
func TestIMAKeyID(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newECDSA(t, elliptic.P256()), func(c *x509.Certificate) { codeSigning(c); c.SubjectKeyId = nil })
	_, err := IMA{}.Sign(t.Context(), content(t, 10), filepath.Join(t.TempDir(), "sig"), w.key, nil)
	wantError(t, err, Unsupported, RuleUsage)
}

// TestP7SOfOpenSSL reads what openssl cms writes: DER, and PEM and BER with what
// to do about them.
func TestP7SOfOpenSSL(t *testing.T) {
	t.Parallel()
	openssl := lookTool(t, "openssl", "openssl")
	w := sharedWorld()
	dir := t.TempDir()
	file := writeFile(t, "file", []byte("content\n"), 0o644)
	signer, secret := pemFile(t, w.key.Leaf()), keyFile(t, w.key.Signer)
	trust := w.trust()
	trust.Policy.Off = []Rule{RuleTimestamp}
	make := func(name string, args ...string) string {
		to := filepath.Join(dir, name)
		if out, err := run(t, openssl, append(args, "-out", to)...); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return to
	}
	sign := []string{"cms", "-sign", "-binary", "-md", "sha256", "-in", file, "-signer", signer, "-inkey", secret}
	der := make("der.p7s", append(sign, "-outform", "DER")...)
	ber := make("ber.p7s", append(sign, "-stream", "-outform", "DER")...)
	armored := make("pem.p7s", append(sign, "-outform", "PEM")...)
	embedded := make("2.p7s", "cms", "-cmsout", "-inform", "DER", "-outform", "DER", "-in", ber)
	_, err := P7S{}.Verify(t.Context(), file, embedded, trust)
	wantError(t, err, Malformed, RuleContent)
	for _, good := range []string{der,
		make("1.p7s", "cms", "-cmsout", "-inform", "PEM", "-outform", "DER", "-in", armored),
	} {
		if _, err := (P7S{}).Verify(t.Context(), file, good, trust); err != nil {
			t.Errorf("%s: %v", filepath.Base(good), err)
		}
	}
	for signature, word := range map[string]string{ber: "-stream", armored: "-cmsout"} {
		_, err := P7S{}.Verify(t.Context(), file, signature, trust)
		wantError(t, err, Malformed, RuleDER)
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v", word, err)
		}
	}
}
