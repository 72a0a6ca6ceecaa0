//go:build cgo

package key

import (
	"crypto/x509"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/pkcs11"
)

// softHSM makes a token with SoftHSM, whose driver is a stranger to us, and
// returns the query that names the driver.
func softHSM(t *testing.T, pin string) (util func(args ...string), query string) {
	t.Helper()
	program, err := exec.LookPath("softhsm2-util")
	module, moduleErr := findModule("softhsm2")
	if err != nil || moduleErr != nil {
		const missing = "SKIP: softhsm2-util missing: apt package softhsm2"
		if os.Getenv("HALLMARK_STRICT") == "1" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	dir := t.TempDir()
	tokens := filepath.Join(dir, "tokens")
	if err := os.Mkdir(tokens, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", write(t, dir, "softhsm2.conf", []byte("directories.tokendir = "+tokens+"\nobjectstore.backend = file\nlog.level = ERROR\n")))
	util = func(args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput(); err != nil {
			t.Fatalf("softhsm2-util: %v\n%s", err, out)
		}
	}
	util("--init-token", "--free", "--label", "release token", "--pin", pin, "--so-pin", "so-"+pin)
	return util, "?module-path=" + module
}

// storeCertificates puts certificates into the token, the first with the key's id.
func storeCertificates(t *testing.T, module, pin string, id []byte, certs ...*x509.Certificate) {
	t.Helper()
	lib := pkcs11.New(module)
	if err := lib.Initialize(); err != nil {
		t.Fatal(err)
	}
	defer lib.Destroy()
	defer lib.Finalize()
	slot, err := findSlot(lib, tokenURI{token: "release token"})
	if err != nil {
		t.Fatal(err)
	}
	s, err := lib.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	if err != nil {
		t.Fatal(err)
	}
	if err := lib.Login(s, pkcs11.CKU_USER, pin); err != nil {
		t.Fatal(err)
	}
	for _, c := range certs {
		template := []*pkcs11.Attribute{
			pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_CERTIFICATE), pkcs11.NewAttribute(pkcs11.CKA_CERTIFICATE_TYPE, pkcs11.CKC_X_509),
			pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true), pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, false),
			pkcs11.NewAttribute(pkcs11.CKA_SUBJECT, c.RawSubject), pkcs11.NewAttribute(pkcs11.CKA_ID, id), pkcs11.NewAttribute(pkcs11.CKA_VALUE, c.Raw),
		}
		if _, err := lib.CreateObject(s, template); err != nil {
			t.Fatal(err)
		}
		id = []byte{0xff} // an issuer's
	}
}

func TestPKCS11(t *testing.T) {
	const pin = "hunter2-1234"
	w := theWorld()
	util, query := softHSM(t, pin)
	dir := t.TempDir()
	for _, k := range []struct {
		label, id string
		key       any
	}{{"rsa key", "01", w.rsaKey}, {"ec key", "02", w.ecKey}, {"lonely", "03", w.otherKey}} {
		util("--import", write(t, dir, k.id+".pem", keyPEM(t, k.key)), "--token", "release token", "--label", k.label, "--id", k.id, "--pin", pin)
	}
	module := strings.TrimPrefix(query, "?module-path=")
	storeCertificates(t, module, pin, []byte{1}, w.leaf, w.inter, w.root)
	storeCertificates(t, module, pin, []byte{2}, w.ecLeaf)

	// A wrong PIN is sent once: a token locks itself after a few. (It comes first
	// here, since who is logged in stays so as long as the process lives.)
	asked := 0
	var wrong *PasswordError
	if err := refused(t, "pkcs11:object=rsa%20key"+query, withPassword("hunter2", &asked)); !errors.As(err, &wrong) || wrong.Missing || asked != 1 {
		t.Errorf("a wrong PIN, asked for %d times: %v", asked, err)
	}

	for _, test := range []struct {
		name, ref string
		leaf      *x509.Certificate
		length    int
	}{
		{"RSA by label", "pkcs11:token=release%20token;object=rsa%20key" + query, w.leaf, 3},
		{"RSA by id", "pkcs11:token=release%20token;id=%01" + query, w.leaf, 3},
		{"ECDSA", "pkcs11:token=release%20token;object=ec%20key;type=private" + query, w.ecLeaf, 3},
		{"chain in a file", "pem:" + write(t, dir, "chain.pem", certPEM(w.leaf, w.inter)) + "+pkcs11:object=rsa%20key" + query, w.leaf, 3},
		{"PIN in a file", "pkcs11:object=rsa%20key" + query + "&pin-source=file:" + write(t, dir, "pin", []byte(pin+"\n")), w.leaf, 3},
	} {
		asked := 0
		o := withPassword(pin, &asked)
		k, err := Open(t.Context(), test.ref, o)
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if !k.Leaf().Equal(test.leaf) || len(k.Chain) != test.length {
			t.Errorf("%s: %d certificates, the first of %s", test.name, len(k.Chain), k.Leaf().Subject)
		}
		mustSign(t, k)
		if want := 1; strings.Contains(test.ref, "pin-source") && asked != 0 || !strings.Contains(test.ref, "pin-source") && asked != want {
			t.Errorf("%s: asked %d times for the PIN", test.name, asked)
		}
	}

	for name, test := range map[string]struct{ ref, pin, want string }{
		"no such token":     {"pkcs11:token=other" + query, pin, `no such token`},
		"no such key":       {"pkcs11:object=other" + query, pin, `it holds no such private key, only object="ec key" id=02, object="lonely"`},
		"several keys":      {"pkcs11:token=release%20token" + query, pin, "it holds 3 private keys that fit"},
		"no certificate":    {"pkcs11:object=lonely" + query, pin, "does not match"},
		"no driver":         {"pkcs11:object=x?module-path=" + filepath.Join(dir, "none.so"), pin, "none.so"},
		"a file, no driver": {"pkcs11:object=x?module-path=" + filepath.Join(dir, "pin"), pin, "it is no PKCS #11 library"},
		"PIN in the URI":    {"pkcs11:object=rsa%20key" + query + "&pin-value=hunter2", "", "the reference holds a password"},
		"a PIN program":     {"pkcs11:object=x" + query + "&pin-source=|cat", pin, "is not run"},
		"unknown attribute": {"pkcs11:tokn=x" + query, pin, `attribute "tokn" is not known here`},
		"twice":             {"pkcs11:token=x;token=y" + query, pin, "stands there twice"},
		"no PIN":            {"pkcs11:object=rsa%20key" + query, "", "needs a password"},
	} {
		if err := refused(t, test.ref, withPassword(test.pin, nil)); !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q in it", name, err, test.want)
		}
	}
}

func FuzzTokenURI(f *testing.F) {
	for _, s := range []string{"token=a;object=b?module-path=/x.so", "id=%01%02;type=private?module-name=softhsm2&pin-source=file:/p", "slot-id=3?module-path=", "=;?&", "token=%zz"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := parseTokenURI(s)
		if err != nil {
			return
		}
		if u.module == "" || u.name() == "" {
			t.Errorf("%q: without driver or name: %+v", hex.EncodeToString([]byte(s)), u)
		}
	})
}
