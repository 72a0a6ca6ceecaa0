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
	"fmt"
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

func TestWithDB(t *testing.T) {
	t.Parallel()
	image := emptyVars()
	der := []byte("a certificate")
	made := must(withDB(image, [][]byte{der, der}))(t)
	if n := strings.Count(string(made), "a certificate"); n != 2 || len(made) != len(image) {
		t.Errorf("%d certificates in %d bytes", n, len(made))
	}
	for name, damage := range map[string]func(image []byte) []byte{
		"empty":            func([]byte) []byte { return nil },
		"no volume":        func(b []byte) []byte { b[0x28]++; return b },
		"header too long":  func(b []byte) []byte { b[0x31] = 0xff; return b },
		"another store":    func(b []byte) []byte { b[0x48]++; return b },
		"store too long":   func(b []byte) []byte { b[0x48+18]++; return b },
		"store too short":  func(b []byte) []byte { copy(b[0x48+16:], []byte{29, 0, 0, 0}); return b },
		"not formatted":    func(b []byte) []byte { b[0x48+20]++; return b },
		"has a variable":   func(b []byte) []byte { copy(b[0x64:], []byte{0xaa, 0x55}); return b },
		"cut":              func(b []byte) []byte { return b[:0x60] },
		"has room for one": func(b []byte) []byte { return b[:0x100:0x100] },
	} {
		if _, err := withDB(damage(append([]byte(nil), image...)), [][]byte{der, der}); err == nil {
			t.Errorf("%s: is taken", name)
		}
	}
}

// emptyVars is an image of OVMF's variables that holds none.
func emptyVars() []byte {
	image := []byte(strings.Repeat("\xff", 0x400))
	copy(image[0x28:], "_FVH")
	binary.LittleEndian.PutUint16(image[0x30:], 0x48)
	copy(image[0x48:], guid("aaf32c78-947b-439a-a180-2e144ec37792"))
	binary.LittleEndian.PutUint32(image[0x58:], 0x300)
	image[0x5c], image[0x5d] = 0x5a, 0xfe
	return image
}

// cpio, which has nothing to do with the kernel's reader, reads what we write.
func TestInitramfs(t *testing.T) {
	t.Parallel()
	need(t, "cpio", "cpio")
	archive := initramfs([]member{{"init", 0o100755, []byte("hello")}, {"d", 0o040755, nil}, {"d/job.json", 0o100600, []byte(strings.Repeat("x", 1001))}})
	for _, damaged := range []bool{false, true} {
		if damaged {
			archive[3] = 'x'
		}
		dir := t.TempDir()
		cmd := exec.CommandContext(t.Context(), "cpio", "-id", "--quiet")
		cmd.Dir, cmd.Stdin = dir, strings.NewReader(string(archive))
		out, err := cmd.CombinedOutput()
		init, _ := os.ReadFile(filepath.Join(dir, "init"))
		job, _ := os.ReadFile(filepath.Join(dir, "d", "job.json"))
		if ok := err == nil && string(init) == "hello" && len(job) == 1001; ok == damaged {
			t.Errorf("damaged %v: %v: %q, %d bytes\n%s", damaged, err, init, len(job), out)
		}
		if info, err := os.Stat(filepath.Join(dir, "init")); !damaged && (err != nil || info.Mode().Perm() != 0o755) {
			t.Errorf("init: %v, %v", info, err)
		}
	}
}

// fakeMachine puts a script in the emulator's place.
func fakeMachine(t *testing.T, script string) (m machine, dir string, questions []Question) {
	t.Helper()
	needKernels(t)
	cache := must(os.UserCacheDir())(t)
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOCACHE", strings.TrimSpace(string(out)))
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "qemu-system-x86_64"), []byte("#!/bin/sh\nDIR="+quote(dir)+"\necho boot >> $DIR/boots\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Setenv("XDG_CACHE_HOME", cache)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("file"), 0o600); err != nil {
		t.Fatal(err)
	}
	m = machines()[0]
	return m, dir, []Question{{m.name(checkVerity), file}, {m.name(checkModule), file}}
}

// A machine that does not answer as it should is no judge: what it has not said
// is not taken for said.
func TestMachineFails(t *testing.T) {
	const (
		ready = `echo 'hallmark {"ready":"6.1.0"}' > answers;`
		one   = `echo 'hallmark {"case":0,"steps":[{"do":"enable","errno":"EPERM"}]}' >> answers;`
		two   = `echo 'hallmark {"case":1,"steps":[{"do":"load","errno":"ENOEXEC"}]}' >> answers;`
		done  = `echo 'hallmark {"done":true}' >> answers;`
	)
	for _, test := range []struct {
		name, script string
		boots        int
		want         [2]string // beginnings of the results
	}{
		{"good", ready + one + two + done, 1, [2]string{"pass refuse", "fail accept"}},
		{"does not boot", `echo 'Kernel panic - not syncing'; exit 0`, 2, [2]string{"skip linux-6.1-verity: the kernel does not boot; its last words: Kernel panic - not syncing", "skip linux-6.1-module: the kernel does not boot"}},
		{"boots the second time", `[ $(wc -l < $DIR/boots) = 1 ] && exit 0; ` + ready + one + two + done, 2, [2]string{"pass refuse", "fail accept"}},
		{"stops half-way", ready + one + "echo 'Oops'", 2, [2]string{"pass refuse", "fail crashed: the machine stopped half-way, twice: Oops"}},
		{"a line is cut", ready + one + `printf 'hallmark {"case":1,"steps":[{"do"' >> answers`, 2, [2]string{"pass refuse", "fail crashed: the machine stopped half-way"}},
		{"hangs", ready + one + "sleep 300 & echo $! >> $DIR/pids; echo $$ >> $DIR/pids; sleep 300", 1, [2]string{"pass refuse", "fail crashed: no answer within the time limit"}},
		{"aborts", "kill -ABRT $$", 1, [2]string{"fail crashed: signal: aborted", "fail crashed: signal: aborted"}},
		{"rubbish", ready + "echo 'hallmark rubbish' >> answers", 1, [2]string{"fail unclear: the guest's line", "fail unclear: the guest's line"}},
		{"silence about one", ready + one + done, 1, [2]string{"pass refuse", "fail unclear: the kernel was not asked"}},
		{"twice", ready + one + one + done, 1, [2]string{"fail unclear: the guest's answer", "fail unclear"}},
		{"a check fails", ready + `echo 'hallmark {"check":"verity","problem":"no keyring","errno":"EPERM"}' >> answers;` + two + done, 1, [2]string{"fail unclear: no keyring", "fail accept"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, dir, questions := fakeMachine(t, test.script)
			trust := Trust{CAFile: newWorld(t).path("root.pem")}
			limit := time.Minute
			if test.name == "hangs" {
				limit = 3 * time.Second
			}
			batch := &Batch{Limit: limit, Verify: m.verify}
			judges := []Judge{{Name: questions[0].Judge, Scheme: "a", Batch: batch}, {Name: questions[1].Judge, Scheme: "b", Batch: batch}}
			cases := []Case{{File: questions[0].File, Scheme: "a", Want: Refuse}, {File: questions[1].File, Scheme: "b", Want: Refuse}}
			for i, r := range Run(t.Context(), judges, cases, trust, 1) {
				got := r.Got
				if r.Status == Skip {
					got = r.Reason
				}
				if got = fmt.Sprintf("%v %s", r.Status, got); !strings.HasPrefix(got, test.want[i]) {
					t.Errorf("%s: %q, want %q", r.Judge, got, test.want[i])
				}
			}
			if boots, _ := os.ReadFile(filepath.Join(dir, "boots")); strings.Count(string(boots), "\n") != test.boots {
				t.Errorf("%d boots, want %d", strings.Count(string(boots), "\n"), test.boots)
			}
			pids, _ := os.ReadFile(filepath.Join(dir, "pids"))
			for pid := range strings.FieldsSeq(string(pids)) {
				if alive(pid) {
					t.Errorf("process %s still runs", pid)
				}
			}
		})
	}
}

func FuzzAnswers(f *testing.F) {
	f.Add([]byte("\x1b[2J\nhallmark {\"ready\":\"6.1.0\"}\r\nhallmark {\"case\":0,\"steps\":[{\"do\":\"enable\",\"errno\":\"EPERM\"}],\"log\":[\"a\"]}\nhallmark {\"case\":1,\"steps\":[{\"do\":\"exec\"}]}\nhallmark {\"done\":true}\n"))
	f.Add([]byte("hallmark {\"check\":\"ipe\",\"problem\":\"no\",\"errno\":\"ENOKEY\"}\n"))
	f.Add([]byte("hallmark {\"case\":7,\"steps\":[]}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		lastWords(string(text))
		s, err := readAnswers(text, 2)
		if err != nil {
			if s.done || len(s.cases) > 0 {
				t.Errorf("answers with an error: %+v", s)
			}
			return
		}
		for i, a := range s.cases {
			if i < 0 || i > 1 {
				t.Errorf("case %d of 2", i)
			}
			for _, check := range []string{checkVerity, checkIMA, checkModule, checkIPE} {
				if err := a.verdict("judge", check); err == nil && a.Steps[0].Errno != "" && check == checkVerity && a.Steps[0].Do == "enable" {
					t.Errorf("accepted after %+v", a.Steps)
				}
			}
		}
		for check, a := range s.problems {
			if a.problem("judge", check) == nil {
				t.Errorf("%s: a problem is an acceptance", check)
			}
		}
	})
}

func FuzzWithDB(f *testing.F) {
	f.Add(emptyVars(), []byte("certificate"))
	f.Fuzz(func(t *testing.T, image, der []byte) {
		made, err := withDB(image, [][]byte{der})
		if err == nil && len(made) != len(image) {
			t.Errorf("an image of %d bytes became one of %d", len(image), len(made))
		}
	})
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
