package key

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"os"
	"strings"
	"testing"

	"software.sslmate.com/src/go-pkcs12"
)

// files writes the parts that OpenSSL is handed.
func files(t *testing.T) (dir, chain, rsaKey, ecKey string) {
	w := theWorld()
	dir = t.TempDir()
	chain = write(t, dir, "chain.pem", certPEM(w.leaf, w.inter, w.root))
	rsaKey = write(t, dir, "rsa.pem", keyPEM(t, w.rsaKey))
	ecKey = write(t, dir, "ec.pem", keyPEM(t, w.ecKey))
	return dir, chain, rsaKey, ecKey
}

func TestPFX(t *testing.T) {
	t.Parallel()
	w := theWorld()
	dir, chain, rsaKey, ecKey := files(t)
	reversed := write(t, dir, "reversed.pem", certPEM(w.root, w.inter, w.leaf))
	ecChain := write(t, dir, "ecchain.pem", certPEM(w.ecLeaf, w.inter, w.root))
	cas := write(t, dir, "cas.pem", certPEM(w.root, w.inter))
	alone := write(t, dir, "alone.pem", certPEM(w.leaf))
	for _, test := range []struct {
		name  string
		args  []string
		chain int
		open  bool // needs no password
	}{
		{"modern", []string{"-in", chain, "-inkey", rsaKey}, 3, false},
		{"legacy", []string{"-legacy", "-in", chain, "-inkey", rsaKey}, 3, false},
		{"3des", []string{"-legacy", "-descert", "-in", chain, "-inkey", rsaKey}, 3, false},
		{"sha512 mac", []string{"-macalg", "sha512", "-in", chain, "-inkey", rsaKey}, 3, false},
		{"aes-128", []string{"-keypbe", "AES-128-CBC", "-certpbe", "AES-128-CBC", "-in", chain, "-inkey", rsaKey}, 3, false},
		{"plain certificates", []string{"-certpbe", "NONE", "-in", chain, "-inkey", rsaKey}, 3, false},
		{"reversed", []string{"-in", reversed, "-inkey", rsaKey}, 3, false},
		{"certfile", []string{"-in", alone, "-certfile", cas, "-inkey", rsaKey}, 3, false},
		{"alone", []string{"-in", alone, "-inkey", rsaKey}, 1, false},
		{"ecdsa", []string{"-in", ecChain, "-inkey", ecKey, "-name", "friendly name"}, 3, false},
		{"empty password", []string{"-in", chain, "-inkey", rsaKey, "-passout", "pass:"}, 3, true},
		{"nothing encrypted", []string{"-nomac", "-keypbe", "NONE", "-certpbe", "NONE", "-in", chain, "-inkey", rsaKey, "-passout", "pass:"}, 3, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			file := t.TempDir() + "/id.pfx"
			args := append([]string{"pkcs12", "-export", "-out", file}, test.args...)
			if !test.open {
				args = append(args, "-passout", "pass:"+secret)
			}
			openssl(t, args...)
			asked := 0
			k, err := Open(context.Background(), "pfx:"+file, withPassword(secret, &asked))
			if err != nil {
				t.Fatal(err)
			}
			if len(k.Chain) != test.chain || k.Leaf().Subject.CommonName != "leaf" {
				t.Errorf("chain of %d, leaf %s; want %d", len(k.Chain), k.Leaf().Subject, test.chain)
			}
			if test.chain == 3 && !k.Root().Equal(w.root) {
				t.Errorf("root is %s", k.Root().Subject)
			}
			mustSign(t, k)
			if want := map[bool]int{true: 0, false: 1}[test.open]; asked != want {
				t.Errorf("asked %d times for the password, want %d", asked, want)
			}
			damagedTwin(t, "pfx:", file, test.name == "nothing encrypted")
			if test.open {
				return
			}
			passwordErrors(t, "pfx:"+file)
		})
	}
}

// passwordErrors opens a file that needs one without it, and with a wrong one.
func passwordErrors(t *testing.T, ref string) {
	t.Helper()
	for _, o := range []Options{{}, withPassword("", nil)} {
		var e *PasswordError
		if err := refused(t, ref, o); !errors.As(err, &e) || !e.Missing || !strings.Contains(err.Error(), "HALLMARK_PASSWORD") {
			t.Errorf("without password: %T %v", err, err)
		}
	}
	asked := 0
	var e *PasswordError
	if err := refused(t, ref, withPassword("hunter2", &asked)); !errors.As(err, &e) || e.Missing || asked != 1 {
		t.Errorf("wrong password, asked %d times: %T %v", asked, err, err)
	}
	sentinel := errors.New("no terminal")
	err := refused(t, ref, Options{Password: func(string) ([]byte, error) { return nil, sentinel }})
	if !errors.Is(err, sentinel) {
		t.Errorf("prompt that failed: %v", err)
	}
	given := []byte(secret)
	if _, err := Open(context.Background(), ref, Options{Password: func(string) ([]byte, error) { return given, nil }}); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(given, make([]byte, len(secret))) {
		t.Errorf("the password was not overwritten: %q", given)
	}
}

// damagedTwin cuts the file, and changes a byte at many places. Nothing may
// be opened from that, but what carries no integrity check can only be asked
// not to panic.
func damagedTwin(t *testing.T, scheme, file string, unprotected bool) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	try := func(what string, twin []byte) {
		name := write(t, t.TempDir(), "twin", twin)
		k, err := Open(context.Background(), scheme+name, withPassword(secret, nil))
		if err == nil && !unprotected {
			t.Errorf("%s: opened: %v", what, k)
		}
	}
	for _, n := range []int{0, 1, len(data) / 2, len(data) - 1} {
		if n != len(data)-1 || scheme == "pfx:" {
			try("cut", data[:n])
		}
	}
	for i := 5; i < len(data); i += len(data)/7 + 1 {
		twin := bytes.Clone(data)
		twin[i] ^= 0x11
		try("changed", twin)
	}
	if scheme == "pfx:" {
		try("longer", append(bytes.Clone(data), 0))
	}
}

func TestPFXContents(t *testing.T) {
	t.Parallel()
	dir, chain, rsaKey, ecKey := files(t)
	w := theWorld()
	pfx := dir + "/id.pfx"
	openssl(t, "pkcs12", "-export", "-nokeys", "-in", chain, "-out", pfx, "-passout", "pass:"+secret)
	if err := refused(t, "pfx:"+pfx, withPassword(secret, nil)); !strings.Contains(err.Error(), "no private key") {
		t.Errorf("without key: %v", err)
	}
	openssl(t, "pkcs12", "-export", "-nocerts", "-inkey", rsaKey, "-in", rsaKey, "-out", pfx, "-passout", "pass:"+secret)
	if err := refused(t, "pfx:"+pfx, withPassword(secret, nil)); !strings.Contains(err.Error(), "no certificate") {
		t.Errorf("without certificate: %v", err)
	}
	// OpenSSL refuses to write a mismatched pair, another encoder does not.
	data, err := pkcs12.Modern2023.Encode(w.otherKey, w.leaf, nil, secret)
	if err != nil {
		t.Fatal(err)
	}
	var mismatch *MismatchError
	if err := refused(t, "pfx:"+write(t, dir, "mismatch.pfx", data), withPassword(secret, nil)); !errors.As(err, &mismatch) {
		t.Errorf("mismatch: %v", err)
	}
	openssl(t, "pkcs12", "-export", "-nomac", "-in", chain, "-inkey", rsaKey, "-out", pfx, "-passout", "pass:"+secret)
	if err := refused(t, "pfx:"+pfx, withPassword(secret, nil)); !strings.Contains(err.Error(), "MAC") {
		t.Errorf("without MAC: %v", err)
	}
	if err := refused(t, "pfx:"+chain, Options{}); !strings.Contains(err.Error(), "write pem:") {
		t.Errorf("PEM as PFX: %v", err)
	}
	openssl(t, "pkcs12", "-export", "-in", chain, "-inkey", rsaKey, "-out", pfx, "-passout", "pass:"+secret)
	if err := refused(t, "pem:"+pfx, Options{}); !strings.Contains(err.Error(), "write pfx:") {
		t.Errorf("PFX as PEM: %v", err)
	}
	if err := refused(t, "pfx:"+ecKey, Options{}); !strings.Contains(err.Error(), "PEM, not PKCS#12") {
		t.Errorf("key as PFX: %v", err)
	}
	if err := refused(t, "pfx:"+dir, Options{}); !strings.Contains(err.Error(), "folder") {
		t.Errorf("folder as PFX: %v", err)
	}
}

func TestPEMKeys(t *testing.T) {
	t.Parallel()
	w := theWorld()
	_, _, rsaKey, ecKey := files(t)
	pass := []string{"-passout", "pass:" + secret}
	for _, test := range []struct {
		name      string
		args      []string
		ec        bool
		encrypted bool
	}{
		{"pkcs8", []string{"pkcs8", "-topk8", "-nocrypt", "-in", rsaKey}, false, false},
		{"pkcs8 ec", []string{"pkcs8", "-topk8", "-nocrypt", "-in", ecKey}, true, false},
		{"pkcs1", []string{"rsa", "-traditional", "-in", rsaKey}, false, false},
		{"sec1", []string{"ec", "-in", ecKey}, true, false},
		{"aes-256", []string{"pkcs8", "-topk8", "-in", rsaKey}, false, true},
		{"aes-128 ec", []string{"pkcs8", "-topk8", "-v2", "aes-128-cbc", "-in", ecKey}, true, true},
		{"aes-192", []string{"pkcs8", "-topk8", "-v2", "aes-192-cbc", "-in", rsaKey}, false, true},
		{"sha1", []string{"pkcs8", "-topk8", "-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA1", "-in", rsaKey}, false, true},
		{"sha384", []string{"pkcs8", "-topk8", "-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA384", "-in", rsaKey}, false, true},
		{"sha512", []string{"pkcs8", "-topk8", "-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA512", "-in", rsaKey}, false, true},
		{"iterations", []string{"pkcs8", "-topk8", "-iter", "100000", "-in", rsaKey}, false, true},
		{"scrypt", []string{"pkcs8", "-topk8", "-scrypt", "-in", rsaKey}, false, true},
		{"scrypt ec", []string{"pkcs8", "-topk8", "-scrypt", "-scrypt_N", "1024", "-scrypt_r", "4", "-scrypt_p", "2", "-in", ecKey}, true, true},
		{"3des", []string{"pkcs8", "-topk8", "-v2", "des3", "-in", rsaKey}, false, true},
		{"genpkey", []string{"pkey", "-aes-256-cbc", "-in", rsaKey}, false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			file := t.TempDir() + "/key.pem"
			args := append(test.args, "-out", file)
			if test.encrypted {
				args = append(args, pass...)
			}
			openssl(t, args...)
			leaf := w.leaf
			if test.ec {
				leaf = w.ecLeaf
			}
			chain := write(t, t.TempDir(), "chain.pem", certPEM(w.root, leaf, w.inter))
			asked := 0
			k, err := Open(context.Background(), "pem:"+chain+"+"+file, withPassword(secret, &asked))
			if err != nil {
				t.Fatal(err)
			}
			if !k.Leaf().Equal(leaf) || len(k.Chain) != 3 {
				t.Errorf("leaf %s, chain of %d", k.Leaf().Subject, len(k.Chain))
			}
			mustSign(t, k)
			if test.encrypted != (asked == 1) {
				t.Errorf("asked %d times for the password", asked)
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			both := write(t, t.TempDir(), "both.pem", text, []byte("some text between\n"), certPEM(leaf, w.inter, w.root))
			if k, err = Open(context.Background(), "pem:"+both, withPassword(secret, nil)); err != nil || !k.Leaf().Equal(leaf) {
				t.Errorf("one file: %v", err)
			}
			damagedTwin(t, "pem:"+chain+"+", file, true)
			if test.encrypted {
				passwordErrors(t, "pem:"+chain+"+"+file)
			}
		})
	}
}

func TestPEMContents(t *testing.T) {
	t.Parallel()
	w := theWorld()
	dir, chain, rsaKey, ecKey := files(t)
	good, rsaText := certPEM(w.leaf, w.inter), keyPEM(t, w.rsaKey)
	legacy := dir + "/legacy.pem"
	openssl(t, "rsa", "-traditional", "-aes256", "-in", rsaKey, "-out", legacy, "-passout", "pass:"+secret)
	pbes1 := dir + "/pbes1.pem"
	openssl(t, "pkcs8", "-topk8", "-v1", "PBE-SHA1-3DES", "-in", rsaKey, "-out", pbes1, "-passout", "pass:"+secret)
	pss := dir + "/pss.pem"
	openssl(t, "genpkey", "-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048", "-out", pss)
	pssEncrypted := dir + "/pssenc.pem"
	openssl(t, "pkcs8", "-topk8", "-in", pss, "-out", pssEncrypted, "-passout", "pass:"+secret)
	der := dir + "/key.der"
	openssl(t, "pkey", "-in", rsaKey, "-outform", "DER", "-out", der)
	p7 := dir + "/chain.p7b"
	openssl(t, "crl2pkcs7", "-nocrl", "-certfile", chain, "-out", p7)
	cut := bytes.Clone(good)
	i := bytes.Index(cut[100:], []byte("-----END")) // the first block loses its end
	cut = append(cut[:100+i:100+i], cut[100+i+len("-----END CERTIFICATE-----\n"):]...)
	badBase64 := bytes.Replace(bytes.Clone(good), []byte("M"), []byte("!"), 3)
	for _, test := range []struct{ name, ref, want string }{
		{"legacy encryption", chain + "+" + legacy, "openssl pkcs8 -topk8 -in"},
		{"PBES1", chain + "+" + pbes1, "not supported: convert it"},
		{"RSA-PSS", chain + "+" + pss, "private key"},
		{"RSA-PSS encrypted", chain + "+" + pssEncrypted, "private key: x509"},
		{"no key", chain, "no private key"},
		{"no key in the second", chain + "+" + chain, "no private key"},
		{"no certificate", rsaKey + "+" + rsaKey, "no certificate"},
		{"key alone", rsaKey, "no certificate"},
		{"several keys", write(t, dir, "two.pem", good, rsaText, keyPEM(t, w.ecKey)), "several private keys"},
		{"nothing", write(t, dir, "text.pem", []byte("hello\n")), "neither certificate nor private key"},
		{"empty", write(t, dir, "empty.pem"), "empty"},
		{"DER", chain + "+" + der, "it is DER"},
		{"PKCS#7", p7 + "+" + rsaKey, "openssl pkcs7 -print_certs"},
		{"block without end", write(t, dir, "cut.pem", cut, rsaText), "damaged"},
		{"bad base64", write(t, dir, "base64.pem", badBase64, rsaText), "damaged"},
		{"bad certificate", write(t, dir, "cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.leaf.Raw[:200]}), rsaText), "certificate 1"},
		{"ssh", chain + "+" + write(t, dir, "ssh.pem", pem.EncodeToMemory(&pem.Block{Type: "OPENSSH PRIVATE KEY", Bytes: []byte("x")})), "ssh-keygen"},
		{"dsa", chain + "+" + write(t, dir, "dsa.pem", pem.EncodeToMemory(&pem.Block{Type: "DSA PRIVATE KEY", Bytes: []byte("x")})), "DSA is refused"},
		{"huge", write(t, dir, "huge.pem", make([]byte, maxFile+1)), "larger than"},
		{"mismatch", chain + "+" + ecKey, "does not match"},
	} {
		err := refused(t, "pem:"+test.ref, withPassword(secret, nil))
		if !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", test.name, err, test.want)
		}
	}
}

// A plus sign in a file's name is not always the one that joins two.
func TestPlusInName(t *testing.T) {
	t.Parallel()
	w := theWorld()
	dir := t.TempDir()
	both := write(t, dir, "a+b.pem", certPEM(w.leaf), keyPEM(t, w.rsaKey))
	chain := write(t, dir, "c++.pem", certPEM(w.leaf))
	key := write(t, dir, "k+.pem", keyPEM(t, w.rsaKey))
	for _, ref := range []string{"pem:" + both, "pem:" + chain + "+" + key} {
		if _, err := Open(context.Background(), ref, Options{}); err != nil {
			t.Errorf("%s: %v", ref, err)
		}
	}
}

// Files that would take hours or the whole memory are refused at once.
func TestCostLimits(t *testing.T) {
	t.Parallel()
	oid := func(s ...int) asn1.ObjectIdentifier { return s }
	algorithm := func(id asn1.ObjectIdentifier, params any) pkix.AlgorithmIdentifier {
		der, err := asn1.Marshal(params)
		if err != nil {
			t.Fatal(err)
		}
		return pkix.AlgorithmIdentifier{Algorithm: id, Parameters: asn1.RawValue{FullBytes: der}}
	}
	for _, kdf := range []pkix.AlgorithmIdentifier{
		algorithm(oid(1, 2, 840, 113549, 1, 5, 12), struct {
			Salt       []byte
			Iterations int
		}{make([]byte, 8), maxIterations + 1}),
		algorithm(oid(1, 3, 6, 1, 4, 1, 11591, 4, 11), struct {
			Salt    []byte
			N, R, P int
		}{make([]byte, 8), 1 << 40, 8, 1}),
	} {
		der, err := asn1.Marshal(encryptedPrivateKeyInfo{
			algorithm(oid(1, 2, 840, 113549, 1, 5, 13), pbes2Params{kdf, algorithm(oid(2, 16, 840, 1, 101, 3, 4, 1, 42), make([]byte, 16))}),
			make([]byte, 64),
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decryptPKCS8(der, []byte("x")); err == nil || !strings.Contains(err.Error(), "with") {
			t.Errorf("got %v", err)
		}
	}
	for _, p := range []struct {
		n, r, p int
		ok      bool
	}{{1 << 14, 8, 1, true}, {1 << 30, 8, 1, false}, {1 << 10, 1 << 20, 1, false}, {1 << 10, 8, 1 << 20, false}, {0, 8, 1, false}} {
		if err := checkScrypt(p.n, p.r, p.p); (err == nil) != p.ok {
			t.Errorf("scrypt %+v: %v", p, err)
		}
	}
}

func FuzzPEM(f *testing.F) {
	w := theWorld()
	pkcs1 := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(w.rsaKey)})
	both := append(certPEM(w.leaf, w.inter), keyPEM(f, w.ecKey)...)
	f.Add(both)
	f.Add(pkcs1)
	f.Add(both[:len(both)/2])
	f.Add([]byte("-----BEGIN X-----\n-----END X-----\n-----BEGIN "))
	f.Add([]byte("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n"))
	f.Add([]byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parsePEM("file", data, true, func() ([]byte, error) { return []byte("x"), nil })
		if err != nil {
			return
		}
		if m.signer == nil && len(m.certs) == 0 {
			t.Fatal("neither an error nor anything read")
		}
		// What was read is there: as many certificates as blocks at most.
		if n := bytes.Count(data, []byte("-----BEGIN ")); len(m.certs) > n {
			t.Fatalf("%d certificates of %d blocks", len(m.certs), n)
		}
	})
}

func FuzzPFX(f *testing.F) {
	w := theWorld()
	for _, enc := range []*pkcs12.Encoder{pkcs12.Modern2023, pkcs12.LegacyDES, pkcs12.Passwordless} {
		password := "x"
		if enc == pkcs12.Passwordless {
			password = ""
		}
		// Few iterations, or the fuzzer spends its time in them.
		data, err := enc.WithIterations(1).Encode(w.ecKey, w.ecLeaf, []*x509.Certificate{w.inter}, password)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		f.Add(data[:len(data)-1])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		hasMAC, err := checkPFX("file", data)
		var frame pfxFrame
		if err != nil || unmarshal(data, &frame) == nil && frame.Mac.Iterations > 1000 {
			return
		}
		m, err := decodePFX("file", data, map[bool]string{true: "x"}[hasMAC])
		if err != nil {
			return
		}
		switch m.signer.Public().(type) {
		case *rsa.PublicKey, *ecdsa.PublicKey:
		default:
			if checkAlgorithm("file", m.signer.Public()) == nil {
				t.Fatalf("key of type %T is accepted", m.signer)
			}
		}
	})
}
