package dist

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"testing"
)

// mark is a signature that says what it is over.
func mark(signed io.Reader) ([]byte, error) {
	b, err := io.ReadAll(signed)
	if len(b) == sha1.Size { // an apk's
		return append([]byte("mark:"), b...), err
	}
	sum := sha256.Sum256(b)
	return append([]byte("mark:"), sum[:]...), err
}

func signedPackage(t testing.TB, format string) string {
	t.Helper()
	dst := filepath.Join(t.TempDir(), "p")
	p := Package{Name: "notes", Version: "1.2.3", Arch: "amd64", Format: format, Config: config(), Files: sample(t, 3000), ModTime: when(), Sign: mark, KeyName: "notes"}
	if err := WritePackage(dst, p); err != nil {
		t.Fatal(err)
	}
	return dst
}

// TestSignatures shows that what is handed over to verify is what was signed, and
// that no flipped bit escapes both it and Walk and changes what is installed.
func TestSignatures(t *testing.T) {
	for format, want := range map[string]int{Deb: 1, RPM: 2, APK: 1} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			check := func(file string) (int, error) {
				return Signatures(file, format, func(signature []byte, signed io.Reader) error {
					if format == APK {
						h := sha1.New()
						if _, err := io.Copy(h, signed); err != nil {
							return err
						}
						signed = bytes.NewReader(h.Sum(nil))
					}
					if again, err := mark(signed); err != nil || !bytes.Equal(again, signature) {
						return errors.Join(errors.New("not what was signed"), err)
					}
					return nil
				})
			}
			file := signedPackage(t, format)
			if n, err := check(file); err != nil || n != want {
				t.Fatalf("%d signatures, want %d: %v", n, want, err)
			}
			good, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			whole, err := walkBytes(good)
			if err != nil {
				t.Fatal(err)
			}
			twin := filepath.Join(t.TempDir(), "twin")
			for i := 0; i < len(good); i += 7 {
				b := bytes.Clone(good)
				b[i] ^= 1 << (i % 8)
				if err := os.WriteFile(twin, b, 0o600); err != nil {
					t.Fatal(err)
				}
				n, err := check(twin)
				if got, walked := walkBytes(b); err == nil && n == want && walked == nil && !maps.Equal(bodies(got), bodies(whole)) {
					t.Errorf("byte %d of %d flipped: other content accepted", i, len(good))
				}
			}
		})
	}
}

func FuzzSignatures(f *testing.F) {
	formats := []string{Deb, RPM, APK}
	for i, format := range formats {
		b, err := os.ReadFile(signedPackage(f, format))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(byte(i), b)
	}
	f.Fuzz(func(t *testing.T, which byte, b []byte) {
		file := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Signatures(file, formats[int(which)%len(formats)], func(signature []byte, signed io.Reader) error {
			if len(signature) > maxSignature {
				t.Errorf("a signature of %d bytes", len(signature))
			}
			_, err := io.Copy(io.Discard, signed)
			return err
		})
		var format *FormatError
		if err != nil && !errors.As(err, &format) {
			t.Errorf("%T is no FormatError: %v", err, err)
		}
	})
}
