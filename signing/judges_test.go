package signing

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hallmark-build/hallmark/signing/compat"
)

// peKinds makes a small file of each kind that is signed. MinGW makes what Go
// does not without it: libraries and programs for the firmware.
func peKinds(t *testing.T) map[string]string {
	t.Helper()
	gcc := lookTool(t, "x86_64-w64-mingw32-gcc", "gcc-mingw-w64-x86-64")
	dir := t.TempDir()
	source := filepath.Join(dir, "f.c")
	if err := os.WriteFile(source, []byte("int answer = 42;\n__declspec(dllexport) int f(int x) { return x + answer; }\nint efi_main(void *image, void *table) { return f(0); }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	compile := func(name string, args ...string) string {
		out := filepath.Join(dir, name)
		if said, err := run(t, gcc, append(args, "-O2", "-s", "-o", out, source)...); err != nil {
			t.Fatalf("gcc: %v\n%s", err, said)
		}
		return out
	}
	return map[string]string{
		"exe":       goProgram(t, "windows", "amd64", "-s -w"),
		"GUI exe":   goProgram(t, "windows", "amd64", "-s -w -H windowsgui"),
		"386 exe":   goProgram(t, "windows", "386", "-s -w"),
		"arm64 exe": goProgram(t, "windows", "arm64", "-s -w"),
		"DLL":       compile("f.dll", "-shared"),
		"EFI":       compile("f.efi", "-nostdlib", "-shared", "-Wl,--subsystem,10", "-e", "efi_main"),
	}
}

// TestJudges puts what we sign before every judge of Authenticode that is not
// ours: each key with each digest, with page hashes and without, and each kind
// of file; and of each kind two damaged twins.
func TestJudges(t *testing.T) {
	t.Parallel()
	var judges []compat.Judge
	for _, j := range compat.Judges() {
		if j.Scheme != compat.Authenticode {
			continue
		}
		var missing *compat.MissingError
		if _, err := j.FindKey(); errors.As(err, &missing) {
			if os.Getenv("HALLMARK_STRICT") != "" {
				t.Fatal(err)
			}
			t.Logf("SKIP: %v", err)
			continue
		}
		judges = append(judges, j)
	}

	// What a judge cannot read, as its makers say or as trying has shown.
	type question struct {
		name, file string
		trust      compat.Trust
		ec         bool
		hash       crypto.Hash
		twin       string // what was damaged: "", "section" or "signature"
	}
	digestOnly := []string{"pesign", "hash-to-efi-sig-list"}
	want := func(judge string, q question) compat.Want {
		switch {
		case q.ec && judge == "chktrust",
			q.ec && judge == "wintrust" && q.twin != "section", // it looks at the digest first
			q.hash != crypto.SHA256 && (judge == "sbverify" || slices.Contains(digestOnly, judge)):
			return compat.Cannot
		case q.twin == "section", q.twin == "signature" && !slices.Contains(digestOnly, judge):
			return compat.Refuse
		}
		return compat.Accept
	}

	var questions []question
	hashes := []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512}
	kinds := peKinds(t)
	add := func(name string, w *world, trust compat.Trust, ec bool, kind string, h crypto.Hash, pages, twins bool) {
		src := kinds[kind]
		file := mustSign(t, Authenticode{Hash: h, PageHashes: pages}, src, w.key, w.tsa)
		name = fmt.Sprintf("%s, %s, %v", kind, name, h)
		if pages {
			name += ", page hashes"
		}
		questions = append(questions, question{name, file, trust, ec, h, ""})
		if !twins {
			return
		}
		section, signature := readFile(t, file), readFile(t, file)
		section[len(readFile(t, src))/2] ^= 4
		// The signer's value is the last of the primary's own, before the timestamp.
		i := bytes.LastIndex(signature[:bytes.LastIndex(signature, []byte{0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x03, 0x03, 0x01})], []byte{0xa1, 0x82})
		signature[i-10] ^= 4
		questions = append(questions,
			question{name + ", section changed", writeFile(t, "section.exe", section, 0o755), trust, ec, h, "section"},
			question{name + ", signature changed", writeFile(t, "signature.exe", signature, 0o755), trust, ec, h, "signature"})
	}
	rsaKey := func(bits int) crypto.Signer {
		k, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	for _, k := range []struct {
		name   string
		signer crypto.Signer
		ec     bool
	}{
		{"RSA-2048", rsaKey(2048), false}, {"RSA-3072", rsaKey(3072), false}, {"RSA-4096", rsaKey(4096), false},
		{"P-256", newECDSA(t, elliptic.P256()), true}, {"P-384", newECDSA(t, elliptic.P384()), true}, {"P-521", newECDSA(t, elliptic.P521()), true},
	} {
		w := newWorld(t, k.signer, codeSigning)
		trust := compat.Trust{CAFile: pemFile(t, w.ca.cert), TSAFile: pemFile(t, w.tsaCA.cert), SignerFile: pemFile(t, w.key.Chain[0])}
		for _, h := range hashes {
			add(k.name, w, trust, k.ec, "DLL", h, false, h == crypto.SHA384)
			add(k.name, w, trust, k.ec, "DLL", h, true, false)
		}
		if k.name != "RSA-2048" {
			continue
		}
		for kind := range kinds {
			add(k.name, w, trust, k.ec, kind, crypto.SHA256, true, true)
		}
	}

	for _, j := range judges {
		t.Run(j.Name, func(t *testing.T) {
			t.Parallel()
			var cases []compat.Case
			for _, q := range questions {
				cases = append(cases, compat.Case{File: q.file, Name: q.name, Scheme: j.Scheme, Want: want(j.Name, q), Trust: &q.trust})
			}
			said := map[string]int{}
			for _, r := range compat.Run(t.Context(), []compat.Judge{j}, cases, compat.Trust{}, 0) {
				said[r.Got]++
				if r.Status != compat.Pass {
					t.Errorf("%s: it says %q, and is to say %q: %s\n%s", r.Case, r.Got, r.Want, r.Reason, r.Output)
				}
			}
			t.Logf("%v", said)
		})
	}
}

// TestPageHashKinds compares the page hashes of each kind with osslsigncode's.
func TestPageHashKinds(t *testing.T) {
	t.Parallel()
	w, tool := sharedWorld(), lookTool(t, "osslsigncode", "osslsigncode")
	for kind, src := range peKinds(t) {
		ours := signedContent(t, mustSign(t, Authenticode{PageHashes: true}, src, w.key, nil))
		theirs := filepath.Join(t.TempDir(), "theirs.exe")
		if out, err := exec.CommandContext(t.Context(), tool, "sign", "-certs", pemFile(t, w.key.Chain...), "-key", keyFile(t, w.key.Signer), "-h", "sha256", "-ph", "-in", src, "-out", theirs).CombinedOutput(); err != nil {
			t.Fatalf("osslsigncode: %v\n%s", err, out)
		}
		foreign := signedContent(t, theirs)
		if !bytes.Equal(ours.pages, foreign.pages) || len(ours.pages) == 0 {
			t.Errorf("%s: the page hashes differ: %d and %d bytes", kind, len(ours.pages), len(foreign.pages))
		}
		b := readFile(t, src)
		subsystem := binary.LittleEndian.Uint16(b[binary.LittleEndian.Uint32(b[0x3c:])+24+68:])
		if want := map[string]uint16{"GUI exe": 2, "EFI": 10}[kind]; want != 0 && subsystem != want {
			t.Errorf("%s: the subsystem is %d, not %d", kind, subsystem, want)
		}
	}
}
