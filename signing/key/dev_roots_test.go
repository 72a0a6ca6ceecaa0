package key

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// TestReadDevelopment reads the certificates of a development identity, and creates
// nothing where there is none.
func TestReadDevelopment(t *testing.T) {
	t.Parallel()
	o := Options{Dir: filepath.Join(t.TempDir(), "keys")}
	if d, err := ReadDevelopment(o); d != (PublicDevelopment{}) || err != nil {
		t.Fatalf("from nowhere: %v, %v", d, err)
	}
	if _, err := os.Stat(o.Dir); err == nil {
		t.Fatal("reading has made the folder")
	}
	k, err := Open(t.Context(), "dev", o)
	if err != nil {
		t.Fatal(err)
	}
	d, err := ReadDevelopment(o)
	if err != nil || d.CA == nil || !d.CA.Equal(k.Root()) || d.Signer == nil || !d.Signer.Equal(k.Leaf()) || d.TSA != nil {
		t.Fatalf("%v, %v, want the certificates of the identity alone", d, err)
	}
	stamps, err := OpenTSA(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if d, err = ReadDevelopment(o); err != nil || d.TSA == nil || !d.TSA.Equal(stamps.Root()) {
		t.Fatalf("%v, %v, want the authority's root", d.TSA, err)
	}
	if runtime.GOOS != "windows" {
		if err := os.Chmod(o.Dir, 0o777); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadDevelopment(o); err == nil {
			t.Error("roots are taken from a folder that everybody can write into")
		}
		if err := os.Chmod(o.Dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(o.Dir, "dev-ca.pem"), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadDevelopment(o); err == nil {
		t.Error("a damaged file is taken for none")
	}
}
