package compat

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// needKernels skips a test without the kernels, or fails it in a strict run.
func needKernels(t *testing.T) {
	t.Helper()
	for _, m := range machines() {
		if _, err := m.key(); err != nil {
			if os.Getenv("HALLMARK_STRICT") == "1" {
				t.Fatal(err)
			}
			t.Skipf("SKIP: %v", err)
		}
	}
}

// certify writes NAME.pem and NAME.key, a signer under an issuer; without one
// it is a root. Kernels are told apart by the kinds of keys that they know, so
// the world's RSA-2048 is not enough.
func (w *world) certify(name string, key crypto.Signer, issuer string, issuerKey crypto.Signer) {
	w.t.Helper()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, SerialNumber: must(rand.Int(rand.Reader, big.NewInt(1<<62)))(w.t), BasicConstraintsValid: true,
		NotBefore: w.now.Add(-24 * time.Hour), NotAfter: w.now.Add(24 * time.Hour),
		IsCA: issuer == "", KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	template.SubjectKeyId = keyID(&x509.Certificate{RawSubjectPublicKeyInfo: must(x509.MarshalPKIXPublicKey(key.Public()))(w.t)})
	parent := template
	if issuer != "" {
		template.KeyUsage = x509.KeyUsageDigitalSignature
		block, _ := pem.Decode(w.read(issuer + ".pem"))
		parent = must(x509.ParseCertificate(block.Bytes))(w.t)
	} else {
		issuerKey = key
	}
	der := must(x509.CreateCertificate(rand.Reader, template, parent, key.Public(), issuerKey))(w.t)
	w.write(name+".pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	w.write(name+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(key))(w.t)}))
}

// put writes a file of its own folder, with a signature beside it if there is
// one.
func (w *world) put(folder string, content []byte, suffix string, signature []byte) string {
	if signature != nil {
		w.write(filepath.Join(folder, "program"+suffix), signature)
	}
	return w.write(filepath.Join(folder, "program"), content)
}

// cms has openssl sign bytes as kernels want it, with the chain.
func (w *world) cms(content []byte, signer, md string, more ...string) []byte {
	w.t.Helper()
	w.write("signed", content)
	command(w.t, w.dir, nil, "openssl", append([]string{"cms", "-sign", "-binary", "-noattr", "-md", md, "-in", "signed",
		"-signer", signer + ".pem", "-inkey", signer + ".key", "-certfile", "root3072.pem", "-outform", "DER", "-out", "made.p7s"}, more...)...)
	return w.read("made.p7s")
}

// verityDigest has fsverity compute what is signed of a file.
func (w *world) verityDigest(name, md string) (formatted []byte) {
	w.t.Helper()
	out, err := exec.CommandContext(w.t.Context(), "fsverity", "digest", "--compact", "--for-builtin-sig", "--hash-alg="+md, w.path(name)).Output()
	if err != nil {
		w.t.Fatal(err)
	}
	return must(hex.DecodeString(strings.TrimSpace(string(out))))(w.t)
}

// imaV2 has evmctl sign a file; it also sets the attribute, which not every
// file system takes.
func (w *world) imaV2(name, key, md string) []byte {
	w.t.Helper()
	w.write("ima/program", w.read(name))
	cmd := exec.CommandContext(w.t.Context(), "evmctl", "ima_sign", "--sigfile", "-a", md, "--key", w.path(key+".key"), w.path("ima/program"))
	said, _ := cmd.CombinedOutput()
	sig, err := os.ReadFile(w.path("ima/program.sig"))
	if err != nil {
		w.t.Fatalf("%v\n%s", err, said)
	}
	return sig
}

// imaV3 has openssl sign the fs-verity digest of a file as struct ima_file_id,
// which evmctl 1.4 cannot do: 6, IMA_VERITY_DIGSIG; 4, SHA-256; the digest.
func (w *world) imaV3(name, signer string) []byte {
	w.t.Helper()
	digest := w.verityDigest(name, "sha256")[len("FSVerity")+4:]
	w.write("file_id", append([]byte{6, 4}, digest...))
	command(w.t, w.dir, nil, "openssl", "dgst", "-sha256", "-sign", signer+".key", "-out", "value", "file_id")
	value := w.read("value")
	certs := must(certificates(w.path(signer + ".pem")))(w.t)
	id := certs[0].SubjectKeyId
	head := append([]byte{6, 3, 4}, id[len(id)-4:]...)
	return append(binary.BigEndian.AppendUint16(head, uint16(len(value))), value...)
}

func (w *world) signFile(name, signer, md string) []byte {
	w.t.Helper()
	found, _ := filepath.Glob("/usr/lib/linux-kbuild-*/scripts/sign-file")
	if len(found) == 0 {
		found, _ = filepath.Glob("/usr/src/linux-headers-*/scripts/sign-file")
	}
	if len(found) == 0 {
		if os.Getenv("HALLMARK_STRICT") == "1" {
			w.t.Fatal("sign-file missing: apt package linux-kbuild-6.1")
		}
		w.t.Skip("SKIP: sign-file missing: apt package linux-kbuild-6.1")
	}
	command(w.t, w.dir, nil, found[0], md, signer+".key", signer+".pem", name, "module")
	return w.read("module")
}

// kernelWorld is an identity with an RSA-3072 key, one with P-256, one that
// nobody knows, and a small program.
func kernelWorld(t *testing.T) (*world, Trust) {
	t.Helper()
	needKernels(t)
	need(t, "openssl", "openssl")
	need(t, "fsverity", "fsverity")
	need(t, "evmctl", "ima-evm-utils")
	w := newWorldless(t)
	w.now = time.Now()
	rsaKey := func() crypto.Signer { return must(rsa.GenerateKey(rand.Reader, 3072))(t) }
	root := rsaKey()
	w.certify("root3072", root, "", nil)
	w.certify("rsa", rsaKey(), "root3072", root)
	w.certify("p256", must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t), "root3072", root)
	w.certify("stranger", rsaKey(), "", nil)
	w.program("linux", "plain")
	w.write("policy", []byte("policy_name=test policy_version=0.0.1\nDEFAULT action=ALLOW\nDEFAULT op=EXECUTE action=DENY\nop=EXECUTE fsverity_signature=TRUE action=ALLOW\n"))
	w.write("policy.p7", w.cms(w.read("policy"), "rsa", "sha256", "-nodetach"))
	return w, Trust{CAFile: w.path("root3072.pem"), SignerFile: w.path("rsa.pem"), PolicyFile: w.path("policy.p7")}
}

// kernelRow is a file for one check, and what the kernels say of it: accept,
// or the beginning of the reason for which they refuse it.
type kernelRow struct {
	check, name, file string
	old, new          string // of 6.1 and of 6.12
}

// TestKernels has real kernels judge what other people's programs have signed:
// they run the good Go program, and refuse the tampered one, the unsigned one
// and the one that somebody else has signed.
func TestKernels(t *testing.T) {
	t.Parallel()
	w, trust := kernelWorld(t)
	plain := w.read("plain")
	tampered := flipped(plain, 5000)

	digest, digest512 := w.verityDigest("plain", "sha256"), w.verityDigest("plain", "sha512")
	command(t, w.dir, nil, "fsverity", "sign", "plain", "fsverity.p7s", "--key=rsa.key", "--cert=rsa.pem")
	good := w.read("fsverity.p7s")
	const (
		accept   = "accept"
		enable   = "enabling fs-verity is refused: "
		load     = "the module loader refuses it: "
		noStart  = "the kernel does not start it: EACCES"
		denied   = noStart + `, rule="DEFAULT op=EXECUTE action=DENY"`
		noKernel = "" // there is no such check
	)
	rows := []kernelRow{
		{checkVerity, "signed by fsverity", w.put("v1", plain, suffixVerity, good), accept, accept},
		{checkVerity, "signed by openssl, with the chain", w.put("v2", plain, suffixVerity, w.cms(digest, "rsa", "sha256")), accept, accept},
		{checkVerity, "tampered", w.put("v3", tampered, suffixVerity, good), enable + "EKEYREJECTED", enable + "EKEYREJECTED"},
		{checkVerity, "unsigned", w.put("v4", plain, "", nil), enable + "EPERM", enable + "EPERM"},
		{checkVerity, "by a stranger", w.put("v5", plain, suffixVerity, w.cms(digest, "stranger", "sha256")), enable + "ENOKEY", enable + "ENOKEY"},
		{checkVerity, "rubbish", w.put("v6", plain, suffixVerity, []byte("rubbish")), enable + "EBADMSG", enable + "EBADMSG"},
		{checkVerity, "SHA-512", w.put("v7", plain, suffixVerity, w.cms(digest512, "rsa", "sha512")), enable + "ENOPKG", accept},
		{checkVerity, "ECDSA", w.put("v8", plain, suffixVerity, w.cms(digest, "p256", "sha256")), enable + "ENOENT", accept},

		{checkIPE, "signed by fsverity", w.path("v1/program"), noKernel, accept},
		{checkIPE, "tampered", w.path("v3/program"), noKernel, denied},
		{checkIPE, "unsigned", w.path("v4/program"), noKernel, denied},
		{checkIPE, "by a stranger", w.path("v5/program"), noKernel, denied},

		{checkIMA, "signed by evmctl", w.put("i1", plain, suffixIMA, w.imaV2("plain", "rsa", "sha256")), accept, accept},
		{checkIMA, "tampered", w.put("i2", tampered, suffixIMA, w.imaV2("plain", "rsa", "sha256")), noStart + ", invalid-signature", noStart + ", invalid-signature"},
		{checkIMA, "unsigned", w.put("i3", plain, "", nil), noStart + ", IMA-signature-required", noStart + ", IMA-signature-required"},
		{checkIMA, "by a stranger", w.put("i4", plain, suffixIMA, w.imaV2("plain", "stranger", "sha256")), noStart + ", invalid-signature", noStart + ", invalid-signature"},
		{checkIMA, "version 3", w.put("i5", plain, suffixIMA, w.imaV3("plain", "rsa")), accept, accept},
		{checkIMA, "version 3, tampered", w.put("i6", tampered, suffixIMA, w.imaV3("plain", "rsa")), noStart + ", invalid-", noStart + ", invalid-"},
		{checkIMA, "SHA-512", w.put("i7", plain, suffixIMA, w.imaV2("plain", "rsa", "sha512")), "the attribute security.ima is refused: EACCES", accept},

		{checkModule, "signed by sign-file", w.put("m1", w.signFile("plain", "rsa", "sha256"), "", nil), accept, accept},
		{checkModule, "signed by openssl, with the chain", w.put("m2", appendSignature(plain, w.cms(plain, "rsa", "sha256")), "", nil), accept, accept},
		{checkModule, "tampered", w.put("m3", flipped(w.read("m1/program"), 5000), "", nil), load + "EKEYREJECTED", load + "EKEYREJECTED"},
		{checkModule, "unsigned", w.put("m4", plain, "", nil), load + "EKEYREJECTED, Loading of unsigned module", load + "EKEYREJECTED, Loading of unsigned module"},
		{checkModule, "by a stranger", w.put("m5", w.signFile("plain", "stranger", "sha256"), "", nil), load + "EKEYREJECTED, Loading of module with unavailable key", load + "EKEYREJECTED, Loading of module with unavailable key"},
		{checkModule, "SHA-512", w.put("m6", w.signFile("plain", "rsa", "sha512"), "", nil), load + "EKEYREJECTED, Loading of module with unsupported crypto", accept},
		{checkModule, "ECDSA", w.put("m7", appendSignature(plain, w.cms(plain, "p256", "sha256")), "", nil), load + "ENOENT", accept},
	}
	for _, m := range machines() {
		t.Run(m.series, func(t *testing.T) {
			t.Parallel()
			m.hear(t, rows, trust)
		})
	}
}

// hear boots the machine and compares. What it says to have started must have
// run to its end.
func (m machine) hear(t *testing.T, rows []kernelRow, trust Trust) {
	t.Helper()
	var questions []Question
	var asked []kernelRow
	for _, r := range rows {
		if m.series == "6.1" {
			r.new = r.old
		}
		if r.new != "" {
			questions, asked = append(questions, Question{Judge: m.name(r.check), File: r.file}), append(asked, r)
		}
	}
	q := m.ask(t.Context(), questions, trust)
	var boot *BootError
	if errors.As(q.err, &boot) && os.Getenv("HALLMARK_STRICT") != "1" {
		t.Skipf("SKIP: %v", named(boot, m.name("")))
	}
	if q.err != nil {
		t.Fatal(q.err)
	}
	if release := q.said.release; !strings.HasPrefix(release, m.series+".") {
		t.Errorf("the kernel is %q", release)
	}
	for i, err := range q.verdicts() {
		r, a := asked[i], q.said.cases[i]
		got := "accept"
		if err != nil {
			_, got, _ = strings.Cut(err.Error(), "refuses: ")
		}
		if !strings.HasPrefix(got, r.new) || r.new == "accept" && got != r.new {
			t.Errorf("%s, %s: %v, want %q\n%s", r.check, r.name, err, r.new, a.output())
		}
		if ran := (step{Do: "exec", Detail: "exit status 0"}); got == "accept" && r.check != checkModule && !slices.Contains(a.Steps, ran) {
			t.Errorf("%s, %s: accepted, but %+v", r.check, r.name, a.Steps)
		}
		if r.check == checkModule && got == "accept" && !strings.Contains(strings.Join(a.Log, "\n"), "Invalid ELF header type") {
			t.Errorf("%s, %s: accepted without a look at the content:\n%s", r.check, r.name, a.output())
		}
	}
}

// A policy that IPE does not take lets nothing pass.
func TestKernelPolicy(t *testing.T) {
	t.Parallel()
	w, trust := kernelWorld(t)
	w.write("policy.p7", w.cms(w.read("policy"), "stranger", "sha256", "-nodetach"))
	file := w.put("good", w.read("plain"), suffixVerity, w.cms(w.verityDigest("plain", "sha256"), "rsa", "sha256"))
	m := machines()[1]
	m.hear(t, []kernelRow{{checkIPE, "under a stranger's policy", file, "", "the kernel refuses the policy: ENOKEY"}}, trust)
}

// What a judge of ours could not be asked is told without a boot.
func TestKernelLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	file := w.write("file", []byte("file"))
	m := machines()[1]
	for check, trust := range map[string]Trust{checkIMA: {CAFile: w.path("root.pem")}, checkIPE: {CAFile: w.path("root.pem")}} {
		answers := m.verify(t.Context(), []Question{{m.name(check), file}}, trust)
		if _, ok := answers[0].(*LimitError); !ok {
			t.Errorf("%s: %v", check, answers[0])
		}
	}
}

// The signer's certificates are trusted if the CA file vouches for them.
func TestAnchored(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	chain := w.write("chain.pem", append(w.read("leaf.pem"), w.read("middle.pem")...))
	for _, test := range []struct {
		trust Trust
		want  string
	}{
		{Trust{CAFile: w.path("root.pem")}, "root"},
		{Trust{CAFile: w.path("root.pem"), SignerFile: chain}, "leaf middle root"},
		{Trust{CAFile: w.path("middle.pem"), SignerFile: chain}, "leaf middle"},
		{Trust{CAFile: w.path("root.pem"), SignerFile: w.path("leaf.pem")}, "root"},
		{Trust{CAFile: w.path("other.pem"), SignerFile: chain}, "other"},
	} {
		names := map[string]bool{}
		for _, c := range must(anchored(test.trust))(t) {
			names[c.Subject.CommonName] = true
		}
		for name := range strings.FieldsSeq(test.want) {
			if !names[name] {
				t.Errorf("%+v: %s is not trusted", test.trust, name)
			}
			delete(names, name)
		}
		if len(names) > 0 {
			t.Errorf("%+v: %v trusted", test.trust, names)
		}
	}
}

func TestBearable(t *testing.T) {
	t.Parallel()
	big := filepath.Join(t.TempDir(), "big")
	if err := os.WriteFile(big, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(big, maxDisk*2/3); err != nil {
		t.Skipf("SKIP: no sparse file of that size: %v", err)
	}
	for _, test := range []struct {
		file       string
		asked, now int
	}{{big, 1, 1}, {big, 3, 1}, {filepath.Join(big, "absent"), 3, 3}, {"", maxAsked + 1, maxAsked}} {
		if n := len(bearable(slices.Repeat([]Question{{File: test.file}}, test.asked))); n != test.now {
			t.Errorf("%d questions about %q: %d at once, want %d", test.asked, test.file, n, test.now)
		}
	}
}
