package signing

import (
	"bytes"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// verdicts runs VerifyEverywhere and says of each scheme whether it held.
func verdicts(t *testing.T, file string, trust Trust) (map[string]bool, []string, error) {
	t.Helper()
	found, notes, err := VerifyEverywhere(t.Context(), file, trust)
	held := map[string]bool{}
	for _, s := range found {
		if (s.Err == nil) != (s.Signature != nil) {
			t.Errorf("%s: signature %v, error %v", s.Scheme, s.Signature, s.Err)
		}
		held[s.Scheme] = s.Err == nil
	}
	return held, notes, err
}

// TestVerifyEverywhere judges files without an inner signature by those beside
// them, gives each signature a verdict, and finds the section by itself.
func TestVerifyEverywhere(t *testing.T) {
	t.Parallel()
	w := sharedWorld()
	trust := w.trust()
	trust.Known = w.key.Chain
	msi, err := os.ReadFile(filepath.Join(casesDir, "z00_control.msi"))
	if err != nil {
		t.Fatal(err)
	}
	for name, plain := range map[string][]byte{
		"program.exe": readFile(t, sample(t, "impbyord.exe")), "program": tinyELF(), "module.ko": tinyELF(), "text.txt": []byte("text"), "script.ps1": []byte("Write-Output 1\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := writeFile(t, name, plain, 0o644)
			var e *Error
			if held, _, err := verdicts(t, file, trust); len(held) > 0 || !errors.As(err, &e) || e.Kind != Unsigned && e.Kind != Unsupported {
				t.Fatalf("unsigned: %v, %v", held, err)
			}
			for _, d := range DetachedSchemes() {
				if _, err := d.Sign(t.Context(), file, file+d.Suffix(), w.key, w.tsa); err != nil {
					t.Fatal(err)
				}
				if held, _, err := verdicts(t, file, trust); err != nil || !held[d.Name()] {
					t.Errorf("with %s beside it: %v, %v", d.Name(), held, err)
				}
			}
			held, _, err := verdicts(t, file, trust)
			if err != nil || len(held) != len(DetachedSchemes()) {
				t.Errorf("%v, %v: want a verdict on each", held, err)
			}
			// The damaged twin: one is bad, the others stay good.
			b := readFile(t, file+P7S{}.Suffix())
			b[len(b)-1] ^= 1
			if err := os.WriteFile(file+P7S{}.Suffix(), b, 0o644); err != nil {
				t.Fatal(err)
			}
			if held, _, err := verdicts(t, file, trust); err != nil || held["p7s"] || !held["bundle"] {
				t.Errorf("one is damaged: %v, %v", held, err)
			}
			if err := os.WriteFile(file, append(bytes.Clone(plain), '\n'), 0o644); err != nil {
				t.Fatal(err)
			}
			held, _, _ = verdicts(t, file, trust)
			for scheme, good := range held {
				if good {
					t.Errorf("the file has changed, and %s still holds", scheme)
				}
			}
		})
	}
	t.Run("a bad signature inside and a good one beside it", func(t *testing.T) {
		file := writeFile(t, "package.msi", msi, 0o644)
		if _, err := (P7S{}).Sign(t.Context(), file, file+".p7s", w.key, w.tsa); err != nil {
			t.Fatal(err)
		}
		if held, _, err := verdicts(t, file, trust); err != nil || held["authenticode"] || !held["p7s"] {
			t.Errorf("%v, %v: the one inside is by somebody else", held, err)
		}
	})
	t.Run("section", func(t *testing.T) {
		file := mustSign(t, Section{}, writeFile(t, "program", tinyELF(), 0o755), w.key, w.tsa)
		if held, _, err := verdicts(t, file, trust); err != nil || !held["section"] || len(held) != 1 {
			t.Errorf("%v, %v", held, err)
		}
		b := readFile(t, file)
		b[20] ^= 1
		if held, _, err := verdicts(t, writeFile(t, "program", b, 0o755), trust); err != nil || held["section"] || len(held) != 1 {
			t.Errorf("the damaged twin: %v, %v", held, err)
		}
		_, err := Appended{}.Sign(t.Context(), file, filepath.Join(t.TempDir(), "both"), w.key, nil)
		wantError(t, err, Unsupported, RuleTrailing)
	})
}

// TestForeignSig passes over a FILE.sig that another program made, and says so.
func TestForeignSig(t *testing.T) {
	t.Parallel()
	w := sharedWorld()
	trust := w.trust()
	trust.Known = w.key.Chain
	file := mustSign(t, Appended{}, writeFile(t, "program", tinyELF(), 0o755), w.key, w.tsa)
	for name, sig := range map[string]string{
		"OpenPGP":      "\x89\x01\x33\x04\x00\x01\x08",
		"armor":        "-----BEGIN PGP SIGNATURE-----\n",
		"minisign":     "untrusted comment: signature\n",
		"cosign":       "MEUCIQDexample==",
		"OpenPGP, new": "\xc2\xc0\x73",
	} {
		if err := os.WriteFile(file+".sig", []byte(sig), 0o644); err != nil {
			t.Fatal(err)
		}
		held, notes, err := verdicts(t, file, trust)
		if err != nil || !held["appended"] || len(held) != 1 || len(notes) != 1 || !strings.Contains(notes[0], "was not looked at") {
			t.Errorf("%s: %v, %q, %v", name, held, notes, err)
		}
		plain := writeFile(t, "plain", tinyELF(), 0o755)
		if err := os.WriteFile(plain+".sig", []byte(sig), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, _, err := verdicts(t, plain, trust); !isUnsigned(err) {
			t.Errorf("%s: beside an unsigned file: %v", name, err)
		}
	}
	// Ours, though it is damaged: it counts.
	if err := os.WriteFile(file+".sig", []byte{3, 2, 4, 0}, 0o644); err != nil {
		t.Fatal(err)
	}
	if held, _, err := verdicts(t, file, trust); err != nil || held["ima"] || len(held) != 2 {
		t.Errorf("a broken IMA signature: %v, %v", held, err)
	}
}

// TestPinned trusts a signer that was named, whatever its certificate is for
// and without a timestamp, as long as it is valid; and nobody else.
func TestPinned(t *testing.T) {
	t.Parallel()
	now := time.Now()
	w := newWorld(t, newRSA(t), func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature; c.ExtKeyUsage = nil })
	other := sharedWorld()
	bare := mustSignUnchecked(t, writeFile(t, "x.ko", tinyELF(), 0o644), w, nil)
	trust := Trust{Pinned: []*x509.Certificate{other.key.Leaf(), w.key.Leaf()}}
	sig, err := Appended{}.Verify(t.Context(), bare, trust)
	if err != nil || !sig.Signer.Equal(w.key.Leaf()) || len(sig.Chain) != 1 {
		t.Fatalf("%+v, %v", sig, err)
	}
	_, err = Appended{}.Verify(t.Context(), bare, Trust{Pinned: []*x509.Certificate{other.key.Leaf()}})
	var e *Error
	if !errors.As(err, &e) || e.Kind != Untrusted {
		t.Errorf("pinned is somebody else: %v", err)
	}
	for _, at := range []time.Time{now.AddDate(-20, 0, 0), now.AddDate(20, 0, 0)} {
		trust.Now = at
		if _, err := (Appended{}).Verify(t.Context(), bare, trust); !errors.As(err, &e) || e.Rule != RuleValidity {
			t.Errorf("at %v: %v, want rule validity", at, err)
		}
	}
	trust.Now = time.Time{}
	b := readFile(t, bare)
	b[20] ^= 1
	_, err = verifyBytes(t, Appended{}, b, trust)
	wantError(t, err, Tampered, RuleSignature)
}
