package key

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestChecks(t *testing.T) {
	t.Parallel()
	w := theWorld()
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leafWith := func(change func(*x509.Certificate)) *x509.Certificate {
		return w.issueLeaf(w.rsaKey.Public(), change)
	}
	for _, test := range []struct {
		name string
		key  any
		leaf *x509.Certificate
		want any // pointer to the error type
		text string
	}{
		{"key of another", w.otherKey, w.leaf, new(*MismatchError), "does not match"},
		{"expired", w.rsaKey, leafWith(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), new(*ExpiredError), "expired at"},
		{"not yet", w.rsaKey, leafWith(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }), new(*ExpiredError), "not valid before"},
		{"no usage", w.rsaKey, leafWith(func(c *x509.Certificate) { c.ExtKeyUsage = nil }), new(*UsageError), "codeSigning"},
		{"server usage", w.rsaKey, leafWith(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), new(*UsageError), "codeSigning"},
		{"any usage", w.rsaKey, leafWith(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }), new(*UsageError), "codeSigning"},
		{"key usage", w.rsaKey, leafWith(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }), new(*UsageError), "digitalSignature"},
		{"Ed25519", edKey, w.issueLeaf(edKey.Public(), nil), new(*AlgorithmError), "Ed25519"},
		{"P-224", p224, w.issueLeaf(p224.Public(), nil), new(*AlgorithmError), "P-224"},
		{"good", w.rsaKey, w.leaf, nil, ""},
		{"no key usage", w.rsaKey, leafWith(func(c *x509.Certificate) { c.KeyUsage = 0 }), nil, ""},
		{"ECDSA", w.ecKey, w.ecLeaf, nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			chain := write(t, dir, "chain.pem", certPEM(test.leaf, w.inter, w.root))
			key := write(t, dir, "key.pem", keyPEM(t, test.key))
			ref := "pem:" + chain + "+" + key
			if test.want == nil {
				k, err := Open(context.Background(), ref, Options{})
				if err != nil {
					t.Fatal(err)
				}
				if len(k.Chain) != 3 || !k.Leaf().Equal(test.leaf) || !k.Root().Equal(w.root) || k.Development || k.Ref != ref {
					t.Errorf("opened wrongly: %v, %d certificates", k, len(k.Chain))
				}
				mustSign(t, k)
				return
			}
			err := refused(t, ref, Options{})
			if !errors.As(err, test.want) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("got %T %v, want %T with %q", err, err, test.want, test.text)
			}
		})
	}
}

func TestShortRSA(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	openssl(t, "req", "-x509", "-newkey", "rsa:1024", "-nodes", "-subj", "/CN=short", "-addext", "extendedKeyUsage=codeSigning",
		"-keyout", dir+"/key.pem", "-out", dir+"/cert.pem")
	err := refused(t, "pem:"+dir+"/cert.pem+"+dir+"/key.pem", Options{})
	var want *AlgorithmError
	if !errors.As(err, &want) || !strings.Contains(err.Error(), "1024") {
		t.Errorf("got %T: %v", err, err)
	}
}

func TestExpiredIntermediate(t *testing.T) {
	t.Parallel()
	w := theWorld()
	old := w.issue("old intermediate", func(c *x509.Certificate) { ca(c); c.NotAfter = time.Now().Add(-time.Minute) }, w.root, w.rootKey, w.interKey.Public())
	leaf := w.issue("leaf", nil, old, w.interKey, w.rsaKey.Public())
	file := write(t, t.TempDir(), "both.pem", certPEM(leaf, old, w.root), keyPEM(t, w.rsaKey))
	var want *ExpiredError
	if err := refused(t, "pem:"+file, Options{}); !errors.As(err, &want) || !strings.Contains(err.Error(), "old intermediate") {
		t.Errorf("got %v", err)
	}
}

func TestRenewedCertificate(t *testing.T) {
	t.Parallel()
	w := theWorld()
	old := w.issueLeaf(w.rsaKey.Public(), func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	file := write(t, t.TempDir(), "both.pem", certPEM(old, w.leaf, w.inter), keyPEM(t, w.rsaKey))
	k, err := Open(context.Background(), "pem:"+file, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !k.Leaf().Equal(w.leaf) {
		t.Error("of two certificates of the key the expired one was taken")
	}
}

func TestOptionsNow(t *testing.T) {
	t.Parallel()
	w := theWorld()
	file := write(t, t.TempDir(), "both.pem", certPEM(w.leaf), keyPEM(t, w.rsaKey))
	var want *ExpiredError
	if err := refused(t, "pem:"+file, Options{Now: time.Now().AddDate(1, 0, 0)}); !errors.As(err, &want) {
		t.Errorf("got %v", err)
	}
}

func TestOrderChain(t *testing.T) {
	t.Parallel()
	w := theWorld()
	stranger := w.issue("root", func(c *x509.Certificate) { ca(c) }, nil, w.interKey, w.interKey.Public()) // same name, other key
	older := w.issue("older root", func(c *x509.Certificate) { ca(c) }, nil, w.interKey, w.interKey.Public())
	cross := w.issue("root", func(c *x509.Certificate) { ca(c) }, older, w.interKey, w.rootKey.Public())
	for _, test := range []struct {
		name  string
		certs []*x509.Certificate
		want  []*x509.Certificate
	}{
		{"in order", []*x509.Certificate{w.leaf, w.inter, w.root}, []*x509.Certificate{w.leaf, w.inter, w.root}},
		{"reversed", []*x509.Certificate{w.root, w.inter, w.leaf}, []*x509.Certificate{w.leaf, w.inter, w.root}},
		{"without root", []*x509.Certificate{w.inter, w.leaf}, []*x509.Certificate{w.leaf, w.inter}},
		{"gap", []*x509.Certificate{w.root, w.leaf}, []*x509.Certificate{w.leaf}},
		{"stranger of the same name", []*x509.Certificate{stranger, w.inter, w.root, w.leaf}, []*x509.Certificate{w.leaf, w.inter, w.root}},
		{"only the stranger", []*x509.Certificate{stranger, w.inter, w.leaf}, []*x509.Certificate{w.leaf, w.inter}},
		{"cross-signed", []*x509.Certificate{cross, w.inter, w.root, w.leaf}, []*x509.Certificate{w.leaf, w.inter, w.root}},
	} {
		got := OrderChain(w.leaf, test.certs, time.Now())
		if len(got) != len(test.want) {
			t.Errorf("%s: %d certificates, want %d", test.name, len(got), len(test.want))
			continue
		}
		for i := range got {
			if !got[i].Equal(test.want[i]) {
				t.Errorf("%s: certificate %d is %s, want %s", test.name, i, got[i].Subject, test.want[i].Subject)
			}
		}
	}
}

func TestKeyNeverPrintsItsSecret(t *testing.T) {
	t.Parallel()
	w := theWorld()
	k := &Key{Signer: w.rsaKey, Chain: []*x509.Certificate{w.leaf}, Ref: "pem:x"}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("opened", "key", k, "value", *k)
	js, err := json.Marshal(struct{ K *Key }{k})
	if err != nil {
		t.Fatal(err)
	}
	shown := fmt.Sprintf("%v %+v %#v %s %v %+v %#v", k, k, k, k, *k, *k, *k) + log.String() + string(js)
	d := w.rsaKey.D.String()
	if strings.Contains(shown, d) || strings.Contains(shown, d[:20]) || !strings.Contains(shown, "CN=leaf") {
		t.Errorf("printed as %s", shown)
	}
}

func TestRefErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ ref, want string }{
		{"", "none is given"},
		{"pfx:", "names no file"},
		{"pem:", "names no file"},
		{"dev:", "dev takes no path"},
		{"dve", "did you mean dev?"},
		{"Dev", "did you mean dev?"},
		{"pxf:release.pfx", "did you mean pfx?"},
		{"p12:release.p12", "did you mean pfx?"},
		{"PEM:a", "did you mean pem?"},
		{"release.pfx", "write pfx:release.pfx"},
		{"chain.pem", "write pem:chain.pem"},
		{"vault:hunter2", "possible are pkcs11:URI, pem:CHAIN+pkcs11:URI, kms:CHAIN+URI, azure:https://HOST/ACCOUNT/PROFILE, relic:CLIENT.pem+https://HOST/KEY, pfx:PATH, pem:CHAIN+KEY, pem:BOTH and dev"},
		{"hunter2", "not understood"},
		{"hunter2:pfx", "not known"},
		{"pkcs11:tokn=x", "attribute \"tokn\" is not known here"},
		{"pkcs12:a", "did you mean pfx?"},
		{"awskms:///alias/x", "write kms:chain.pem+awskms://"},
		{"pfx:release.pfx?password=hunter2", "set HALLMARK_PASSWORD"},
		{"pfx:release.pfx;PASS=hunter2", "set HALLMARK_PASSWORD"},
		{"pkcs11:token=a?pin-value=hunter2", "set HALLMARK_PASSWORD"},
		{"pem:a\x00b", "zero byte"},
	} {
		err := refused(t, test.ref, Options{})
		var want *RefError
		if !errors.As(err, &want) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: got %T %v, want %q", test.ref, err, err, test.want)
		}
	}
}

func TestMissingFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := theWorld()
	chain := write(t, dir, "chain.pem", certPEM(w.leaf))
	for _, ref := range []string{"pfx:" + dir + "/no.pfx", "pem:" + dir + "/no.pem", "pem:" + chain + "+" + dir + "/no.pem", "pem:" + dir + "/no.pem+" + chain} {
		err := refused(t, ref, Options{})
		var want *FileError
		if !errors.As(err, &want) || !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "no.") {
			t.Errorf("%s: got %T %v", ref, err, err)
		}
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Open(ctx, "dev", Options{Dir: t.TempDir()}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func FuzzRef(f *testing.F) {
	for _, s := range []string{"dev", "pfx:a.pfx", "pem:a+b", "pem:a", "pkcs11:x", "pxf:a", "p:b", "", ":", "pfx:a?password=x", "devv", "de"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := parseRef(s)
		if err != nil {
			var want *RefError
			if !errors.As(err, &want) {
				t.Fatalf("%q: error of type %T", s, err)
			}
			return
		}
		switch {
		case r.scheme == "dev" && s == "dev" && r.path == "":
		case slices.Contains([]string{"pfx", "pem", "kms", "pkcs11", "azure", "relic"}, r.scheme) && r.path != "" && s == r.scheme+":"+r.path:
		default:
			t.Fatalf("%q was read as %+v", s, r)
		}
	})
}

// TestExpiredCross opens an identity whose file holds, first, an old path to an
// expired root, and then the one that is in use.
func TestExpiredCross(t *testing.T) {
	w := theWorld()
	expired := func(c *x509.Certificate) {
		ca(c)
		c.NotBefore, c.NotAfter = time.Now().AddDate(-20, 0, 0), time.Now().AddDate(-5, 0, 0)
	}
	old := w.issue("old root", expired, nil, w.ecKey, w.ecKey.Public())
	cross := w.issue("intermediate", expired, old, w.ecKey, w.interKey.Public())
	file := write(t, t.TempDir(), "identity.pem", certPEM(w.leaf, cross, old, w.inter, w.root), keyPEM(t, w.rsaKey))
	k, err := Open(t.Context(), "pem:"+file, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !k.Root().Equal(w.root) {
		t.Errorf("the chain ends in %s", k.Root().Subject)
	}
}
