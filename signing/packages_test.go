package signing

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/sha1"
	"errors"
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
					if _, err := VerifyPackage(format, twin, bytes.NewReader(content), trust); err == nil {
						t.Errorf("%s: byte %d of the signature flipped, and accepted", format, i)
					}
				}
				other := trust
				other.Known = stranger.key.Chain
				_, err = VerifyPackage(format, sig, bytes.NewReader(content), other)
				wantError(t, err, UnknownSigner, RuleChain)
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
	f.Add(pgpPanic())
	f.Fuzz(func(t *testing.T, sig []byte) {
		if _, err := VerifyPackage(PackageDeb, sig, bytes.NewReader([]byte("another content")), trust); err == nil {
			t.Errorf("%x is accepted as a signature of what was not signed", sig)
		}
	})
}

// pgpPanic is a signature with an empty subpacket "exportable certification", of
// which github.com/ProtonMail/go-crypto v1.4.0 reads the first byte.
func pgpPanic() []byte {
	hashed := []byte{5, 2, 0x60, 0, 0, 0, 1, 4} // creation time; type 4 without a value
	body := append([]byte{4, 0, 1, 8, 0, byte(len(hashed))}, hashed...)
	body = append(body, 0, 0, 0xab, 0xcd, 0, 8, 0x80)
	return append([]byte{0xc2, byte(len(body))}, body...)
}

// TestPGPBorder checks that what makes the OpenPGP library panic, or allocate
// gigabytes, does not reach it.
func TestPGPBorder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newRSA(t), codeSigning)
	trust := w.trust()
	trust.Known = w.key.Chain
	huge := []byte{0xc2, 9, 6, 0, 1, 10, 0xff, 0xff, 0xff, 0xf0, 0} // version 6: hashed subpackets of 4 GB
	for name, sig := range map[string][]byte{"panic": pgpPanic(), "huge": huge} {
		for _, format := range []string{PackageDeb, PackageRPM} {
			_, err := VerifyPackage(format, sig, bytes.NewReader(nil), trust)
			if e := (*Error)(nil); !errors.As(err, &e) {
				t.Errorf("%s: %v", name, err)
			}
			text, err := armored("PGP SIGNATURE", sig)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := VerifyPackage(format, text, bytes.NewReader(nil), trust); err == nil {
				t.Errorf("%s, armored: accepted", name)
			}
		}
	}
}

// TestPGPForm changes a good signature in ways that its digest does not see.
func TestPGPForm(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newRSA(t), codeSigning)
	p, err := NewPackageKey(w.key, "Ann Author <ann@example.com>")
	if err != nil {
		t.Fatal(err)
	}
	trust := w.trust()
	trust.Known = w.key.Chain
	content := []byte("a package")
	good, err := p.Sign(PackageRPM, time.Now(), bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	body, _, ok := pgpPacket(good)
	if !ok {
		t.Fatal("not one packet")
	}
	parsed, err := parsePGP(good)
	if err != nil {
		t.Fatal(err)
	}
	packet := func(body []byte) []byte {
		n := len(body) - 192
		return append([]byte{0xc2, byte(n>>8) + 192, byte(n)}, body...)
	}
	if !bytes.Equal(packet(body), good) {
		t.Fatal("the packet's header is of another form")
	}
	unhashed := func(area []byte) []byte {
		b := bytes.Clone(parsed.hashed)
		b = append(b, byte(len(area)>>8), byte(len(area)))
		return packet(append(append(b, area...), body[len(parsed.hashed)+2+len(parsed.unhashed):]...))
	}
	check := func(format string, sig []byte) error {
		_, err := VerifyPackage(format, sig, bytes.NewReader(content), trust)
		return err
	}
	if err := check(PackageRPM, unhashed(parsed.unhashed)); err != nil {
		t.Fatal(err)
	}
	id := append([]byte{9, pgpIssuer}, p.entity.PrimaryKey.Fingerprint[12:]...)
	other := bytes.Clone(id)
	other[5] ^= 1
	long := append([]byte{0x99, byte(len(body) >> 8), byte(len(body))}, body...)
	for name, sig := range map[string][]byte{
		"unhashed notation":         unhashed(append([]byte{18, 20}, bytes.Repeat([]byte{'x'}, 17)...)),
		"unhashed unknown":          unhashed([]byte{4, 101, 'a', 'b', 'c'}),
		"unhashed other issuer":     unhashed(other),
		"unhashed issuer twice":     unhashed(append(bytes.Clone(id), id...)),
		"unhashed issuer, critical": unhashed(append([]byte{9, pgpIssuer | 0x80}, id[2:]...)),
		"old format":                append([]byte{0x89}, long[1:]...),
		"old format, type unknown":  long,
		"five-byte length":          append([]byte{0xc2, 0xff, 0, 0, byte(len(body) >> 8), byte(len(body))}, body...),
		"two packets":               append(bytes.Clone(good), good...),
		"cut":                       good[:len(good)-1],
		"appended":                  append(bytes.Clone(good), 0),
		"empty":                     {},
	} {
		if err := check(PackageRPM, sig); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	text, err := armored("PGP SIGNATURE", good)
	if err != nil {
		t.Fatal(err)
	}
	if err := check(PackageDeb, text); err != nil {
		t.Fatal(err)
	}
	if err := check(PackageRPM, text); err == nil {
		t.Error("armor in an rpm: accepted")
	}
	end := []byte("-----END")
	for name, text := range map[string][]byte{
		"text before":     append([]byte("hello\n"), text...),
		"text behind":     append(bytes.Clone(text), "hello\n"...),
		"a line more":     append(bytes.Clone(text), '\n'),
		"no last line":    text[:len(text)-1],
		"a header line":   bytes.Replace(text, []byte("-----\n\n"), []byte("-----\nComment: hello\n\n"), 1),
		"CRLF":            bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")),
		"a blank":         bytes.Replace(text, end, append([]byte(" "), end...), 1),
		"other lines":     bytes.Replace(text, []byte("\n\n"), []byte("\n\n\n"), 1),
		"without the sum": append(append(bytes.Clone(text[:bytes.LastIndex(text, []byte("\n="))]), '\n'), text[bytes.Index(text, end):]...),
		"two":             append(bytes.Clone(text), text...),
	} {
		if err := check(PackageDeb, text); err == nil {
			t.Errorf("armor: %s: accepted", name)
		}
	}
	early := trust
	early.Now = parsed.created.Add(-time.Hour)
	_, err = VerifyPackage(PackageRPM, good, bytes.NewReader(content), early)
	wantError(t, err, Untrusted, RuleFuture)
	nobody := trust
	nobody.Known = nil
	_, err = VerifyPackage(PackageRPM, good, bytes.NewReader(content), nobody)
	wantError(t, err, UnknownSigner, RuleChain)
}
