package key

import (
	"context"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestDev(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "config", "hallmark")
	for _, test := range []struct {
		name  string
		open  func(Options) (*Key, error)
		usage x509.ExtKeyUsage
		other x509.ExtKeyUsage
	}{
		{"code", func(o Options) (*Key, error) { return Open(context.Background(), "dev", o) }, x509.ExtKeyUsageCodeSigning, x509.ExtKeyUsageTimeStamping},
		{"tsa", func(o Options) (*Key, error) { return OpenTSA(context.Background(), o) }, x509.ExtKeyUsageTimeStamping, x509.ExtKeyUsageCodeSigning},
	} {
		k, err := test.open(Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		again, err := test.open(Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if !again.Leaf().Equal(k.Leaf()) || !again.Root().Equal(k.Root()) {
			t.Error("opened again, it is another identity")
		}
		mustSign(t, again)
		if !k.Development || k.Ref != "dev" || len(k.Chain) != 2 {
			t.Errorf("%v: development %v, chain of %d", k, k.Development, len(k.Chain))
		}
		for _, c := range k.Chain {
			if !strings.Contains(c.Subject.String(), "DEVELOPMENT") {
				t.Errorf("subject %s does not say that it is for development", c.Subject)
			}
			if len(c.SubjectKeyId) != 20 {
				t.Errorf("%s: subject key identifier of %d bytes", c.Subject, len(c.SubjectKeyId))
			}
		}
		if string(k.Leaf().AuthorityKeyId) != string(k.Root().SubjectKeyId) {
			t.Error("authority key identifier is not the root's")
		}
		roots := x509.NewCertPool()
		roots.AddCert(k.Root())
		verify := func(u x509.ExtKeyUsage) error {
			_, err := k.Leaf().Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{u}})
			return err
		}
		if err := verify(test.usage); err != nil {
			t.Error(err)
		}
		if verify(test.other) == nil || verify(x509.ExtKeyUsageServerAuth) == nil {
			t.Error("it is good for more than it says")
		}
		for _, e := range k.Leaf().Extensions {
			switch {
			case e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 15}) && !e.Critical:
				t.Error("key usage is not critical")
			case e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 37}) && e.Critical != (test.name == "tsa"):
				t.Errorf("%s: extended key usage critical: %v", test.name, e.Critical)
			}
		}
		// OpenSSL as the judge of both certificates.
		ca := write(t, t.TempDir(), "ca.pem", certPEM(k.Root()))
		leaf := write(t, t.TempDir(), "leaf.pem", certPEM(k.Leaf()))
		purpose := map[string]string{"code": "any", "tsa": "timestampsign"}[test.name]
		openssl(t, "verify", "-x509_strict", "-purpose", purpose, "-CAfile", ca, leaf)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
		if fi, err := e.Info(); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v", e.Name(), fi.Mode())
		}
	}
	if got := strings.Join(names, " "); got != "dev-ca.pem dev-leaf.pem dev-tsa-ca.pem dev-tsa-leaf.pem" {
		t.Errorf("the folder holds %s", got)
	}
	if fi, err := os.Stat(dir); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("folder has mode %v", fi.Mode())
	}
}

// TestDevAtOnce opens the identity for the first time from many sides.
func TestDevAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	keys := make([]*Key, 6)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			k, err := Open(context.Background(), "dev", Options{Dir: dir})
			if err != nil {
				t.Error(err)
				return
			}
			keys[i] = k
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	for _, k := range keys {
		if !k.Leaf().Equal(keys[0].Leaf()) || !k.Root().Equal(keys[0].Root()) {
			t.Error("two identities were made")
		}
		mustSign(t, k)
	}
	left, err := filepath.Glob(filepath.Join(dir, ".hallmark-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestDevRenewal(t *testing.T) {
	t.Parallel()
	o := Options{Dir: filepath.Join(t.TempDir(), "d")}
	open := func(days int) *Key {
		t.Helper()
		o.Now = time.Now().AddDate(0, 0, days)
		k, err := Open(context.Background(), "dev", o)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	first := open(0)
	if !open(leafDays - 31).Leaf().Equal(first.Leaf()) {
		t.Error("renewed too early")
	}
	second := open(leafDays - 29)
	if second.Leaf().Equal(first.Leaf()) || !second.Root().Equal(first.Root()) {
		t.Error("near its end the leaf must be made anew, and the CA stay")
	}
	last := open(365*caYears - 10)
	if last.Leaf().NotAfter.After(last.Root().NotAfter) {
		t.Error("the leaf outlives its CA")
	}
	if !open(365*caYears - 9).Leaf().Equal(last.Leaf()) {
		t.Error("a leaf that cannot last longer was made anew")
	}
	o.Now = time.Now().AddDate(caYears, 0, 1)
	var expired *ExpiredError
	if err := refused(t, "dev", o); !errors.As(err, &expired) || !strings.Contains(err.Error(), "delete the file") {
		t.Errorf("CA at its end: %v", err)
	}
	// Another CA: the old leaf is of no use.
	if err := os.Remove(filepath.Join(o.Dir, "dev-ca.pem")); err != nil {
		t.Fatal(err)
	}
	if k := open(0); k.Root().Equal(first.Root()) || k.Leaf().CheckSignatureFrom(k.Root()) != nil {
		t.Error("after the CA was deleted the identity is not whole")
	}
}

func TestDevDamaged(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "d")
	o := Options{Dir: dir}
	if _, err := Open(context.Background(), "dev", o); err != nil {
		t.Fatal(err)
	}
	ca, leaf := filepath.Join(dir, "dev-ca.pem"), filepath.Join(dir, "dev-leaf.pem")
	read := func(file string) []byte {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	caText, leafText := read(ca), read(leaf)
	check := func(what, want string) {
		t.Helper()
		err := refused(t, "dev", o)
		var fe *FileError
		if !errors.As(err, &fe) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %T %v, want %q", what, err, err, want)
		}
	}
	put := func(file string, data []byte) {
		t.Helper()
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(leaf, leafText[:len(leafText)/2])
	check("leaf cut", "delete it, and another is made")
	put(leaf, nil)
	check("leaf empty", "damaged")
	put(leaf, caText[:strings.Index(string(caText), "-----BEGIN CERT")])
	check("leaf without certificate", "missing")
	put(leaf, append(caText[:strings.Index(string(caText), "-----BEGIN CERT"):strings.Index(string(caText), "-----BEGIN CERT")], leafText[strings.Index(string(leafText), "-----BEGIN CERT"):]...))
	check("leaf with the CA's key", "does not match")
	put(leaf, leafText)
	put(ca, leafText)
	check("leaf as CA", "not a CA")
	put(ca, []byte("garbage"))
	check("garbage as CA", "damaged")
	put(ca, caText)
	for _, file := range []string{ca, leaf} {
		if err := os.Chmod(file, 0o644); err != nil {
			t.Fatal(err)
		}
		check("readable by others", "chmod 600 "+file)
		if err := os.Chmod(file, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	check("folder writable by others", "chmod 700 "+dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(context.Background(), "dev", o); err != nil {
		t.Errorf("after all was mended: %v", err)
	}
	put(filepath.Join(dir, "file"), nil)
	o.Dir = filepath.Join(dir, "file", "sub")
	check("folder cannot be made", "development identity")
}
