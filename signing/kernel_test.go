package signing

import (
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hallmark-build/hallmark/signing/compat"
	"github.com/hallmark-build/hallmark/signing/key"
)

// TestKernel has stock Linux kernels judge what we sign: each runs the good Go
// program, and refuses its damaged twin. One key signs for all four checks, with
// chain and timestamp where the format has a place for them.
func TestKernel(t *testing.T) {
	t.Parallel()
	signer, err := rsa.GenerateKey(rand.Reader, 3072)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, signer, codeSigning)
	p256 := newECDSA(t, elliptic.P256())
	leaf := issue(t, "Test P-256", p256, w.ca, codeSigning)
	ec := *w
	ec.key = &key.Key{Signer: p256, Chain: []*x509.Certificate{leaf.cert, w.ca.cert}, Ref: "test"}
	stranger := newWorld(t, newRSA(t), codeSigning)

	// As an administrator gets it from `mage enforce`.
	enforcement := Enforcement{Name: "test", Version: "0.0.1", Verity: true}
	signed, err := SignPolicy([]byte(enforcement.IPEPolicy()), crypto.SHA256, w.key)
	if err != nil {
		t.Fatal(err)
	}
	policy := writeFile(t, "policy", signed, 0o644)
	trust := compat.Trust{CAFile: pemFile(t, w.ca.cert), SignerFile: pemFile(t, w.key.Leaf(), leaf.cert), PolicyFile: policy}

	src := goProgram(t, "linux", "amd64", "-s -w")
	arm := goProgram(t, "linux", "arm64", "-s -w")
	var cases []compat.Case
	want := map[string]string{} // beginning of a judge's name, with a slash and the case's
	add := func(name, scheme, file, old, new string) {
		cases = append(cases, compat.Case{File: file, Name: name, Scheme: scheme})
		want["linux-6.1-/"+name], want["linux-6.12-/"+name] = old, new
	}
	// twin returns a file with a byte changed, with the signature of the good one.
	twin := func(file, suffix string) string {
		b := readFile(t, file)
		b[len(b)/3] ^= 1
		to := writeFile(t, "twin", b, 0o755)
		if suffix != "" {
			if err := os.WriteFile(to+suffix, readFile(t, file+suffix), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return to
	}
	beside := func(d Detached, w *world, src string) string {
		file := writeFile(t, "program", readFile(t, src), 0o755)
		if _, err := d.Sign(t.Context(), file, file+d.Suffix(), w.key, w.tsa); err != nil {
			t.Fatal(err)
		}
		return file
	}
	const accept, refuse = "accept", "refuse"
	for _, d := range []struct {
		name     string
		d        Detached
		w        *world
		old, new string
	}{
		{"RSA-3072", Verity{}, w, accept, accept},
		{"SHA-512", Verity{Hash: crypto.SHA512}, w, refuse, accept},
		{"P-256", Verity{}, &ec, refuse, accept},
		{"a stranger", Verity{}, stranger, refuse, refuse},
		{"RSA-3072", IMA{}, w, accept, accept},
		{"RSA-3072, version 3", IMA{Verity: true}, w, accept, accept},
		{"SHA-512", IMA{Hash: crypto.SHA512}, w, refuse, accept},
		{"P-256", IMA{}, &ec, refuse, accept},
		{"a stranger", IMA{}, stranger, refuse, refuse},
	} {
		name := d.d.Name() + ", " + d.name
		file := beside(d.d, d.w, src)
		add(name, d.d.Name(), file, d.old, d.new)
		add(name+", damaged", d.d.Name(), twin(file, d.d.Suffix()), refuse, refuse)
	}
	add("verity, arm64", "verity", beside(Verity{}, w, arm), accept, accept)
	add("verity, unsigned", "verity", src, refuse, refuse)
	add("ima, unsigned", "ima", src, refuse, refuse)
	for _, a := range []struct {
		name     string
		a        Appended
		w        *world
		old, new string
	}{
		{"RSA-3072", Appended{}, w, accept, accept},
		{"RSA-3072, without chain", Appended{NoCerts: true}, w, accept, accept},
		{"SHA-512", Appended{Hash: crypto.SHA512}, w, refuse, accept},
		{"P-256", Appended{}, &ec, refuse, accept},
		{"a stranger", Appended{}, stranger, refuse, refuse},
	} {
		file := mustSign(t, a.a, src, a.w.key, a.w.tsa)
		add("appended, "+a.name, "appended", file, a.old, a.new)
		add("appended, "+a.name+", damaged", "appended", twin(file, ""), refuse, refuse)
	}
	add("appended, unsigned", "appended", src, refuse, refuse)

	judges := compat.KernelJudges()
	// IMA once more, under the rules that an administrator gets. They are for all
	// files of a machine, so it is another boot.
	rules := trust
	rules.IMAPolicyFile = writeFile(t, "ima-policy", []byte(Enforcement{Name: "test", IMA: true}.IMAPolicy()), 0o644)
	ima := slices.IndexFunc(judges, func(j compat.Judge) bool { return j.Name == "linux-6.12-ima" })
	good := beside(IMA{}, w, src)
	for _, r := range compat.Run(t.Context(), judges[ima:ima+1], []compat.Case{
		{File: good, Name: "good", Scheme: "ima"}, {File: twin(good, ".sig"), Name: "damaged", Scheme: "ima", Want: compat.Refuse},
		{File: src, Name: "unsigned", Scheme: "ima", Want: compat.Refuse}, {File: beside(IMA{Verity: true}, w, src), Name: "version 3", Scheme: "ima", Want: compat.Refuse},
	}, rules, 0) {
		if r.Status == compat.Fail {
			t.Errorf("under our rules, %s: %q, want %q: %s\n%s", r.Case, r.Got, r.Want, r.Reason, r.Output)
		}
	}
	answered := map[string]bool{}
	for _, r := range compat.Run(t.Context(), judges, cases, trust, 0) {
		if r.Status == compat.Skip {
			if os.Getenv("HALLMARK_STRICT") != "" {
				t.Fatalf("%s: %s", r.Judge, r.Reason)
			}
			t.Skipf("SKIP: %s: %s", r.Judge, r.Reason)
		}
		machine := r.Judge[:strings.LastIndex(r.Judge, "-")+1]
		if r.Got != want[machine+"/"+r.Case] {
			t.Errorf("%s: %s says %q, want %q: %s\n%s", r.Case, r.Judge, r.Got, want[machine+"/"+r.Case], r.Reason, r.Output)
		}
		if r.Version == "" || !filepath.IsAbs(r.Path) || !strings.Contains(r.Command, r.Judge) {
			t.Errorf("%s: %s: version %q, path %q, command %q", r.Case, r.Judge, r.Version, r.Path, r.Command)
		}
		answered[r.Judge] = true
	}
	if len(answered) != len(judges) {
		t.Errorf("of %d judges only %v answered", len(judges), answered)
	}
}
