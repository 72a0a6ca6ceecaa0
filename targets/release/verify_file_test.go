package release

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hallmark-build/hallmark/signing"
)

// signedCases holds signed files, good and bad.
var signedCases = filepath.Join("..", "..", "testdata", "signatures")

// caseTrust trusts the roots of signedCases.
func caseTrust() TrustOverride {
	return TrustOverride{CA: filepath.Join(signedCases, "ca.pem"), TSA: filepath.Join(signedCases, "tsa.pem")}
}

// placed copies a file of signedCases into a folder.
func placed(t *testing.T, dir, name, as string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(signedCases, name))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, as)
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// hostileDriver compiles a shared object that leaves a file behind when it is
// loaded.
func hostileDriver(t *testing.T, mark string) string {
	t.Helper()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("SKIP: gcc missing: apt package gcc")
	}
	dir := t.TempDir()
	source, driver := filepath.Join(dir, "driver.c"), filepath.Join(dir, "driver.so")
	code := "#include <stdio.h>\n__attribute__((constructor)) static void load(void) { FILE *f = fopen(\"" + mark + "\", \"w\"); if (f) fclose(f); }\n"
	if err := os.WriteFile(source, []byte(code), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), gcc, "-shared", "-fPIC", "-o", driver, source).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	return driver
}

// TestVerifierOpensNothing runs the commands that need no key in a folder with a
// hallmark.yaml by an attacker: no driver is loaded, no password is asked for,
// no key is made, nobody is trusted because that file says so. The same
// configuration is tried with a command that signs, to show that it would.
func TestVerifierOpensNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mark := filepath.Join(dir, "loaded")
	driver := hostileDriver(t, mark)
	control := placed(t, dir, "a00_control.exe", "control.exe")
	ca, err := os.ReadFile(filepath.Join(signedCases, "ca.pem"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "evil.pem"), ca, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	keys := filepath.Join(dir, "keys")
	asked := false
	o := Options{Dir: dir, KeyDir: keys, Password: func(string) ([]byte, error) { asked = true; return []byte("secret"), nil }}
	for name, config := range map[string]string{
		"a driver":            "identity: pkcs11:token=any;object=any?module-path=" + driver + "\ntimestamp: dev\n",
		"a root":              "identity: pkcs11:token=any;object=any?module-path=" + driver + "\ntrust: {ca: evil.pem, tsa: evil.pem, off: [chain]}\n",
		"a password":          "identity: pem:evil.pem+evil.key\n",
		"not a configuration": "\x00{{{{",
	} {
		if name != "not a configuration" {
			config = "name: evil\ntargets:\n  - {platform: windows/amd64}\n" + config
		}
		if err := os.WriteFile(filepath.Join(dir, ConfigFile), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		for command, run := range map[string]func(TrustOverride) error{
			"verifyFile": func(t2 TrustOverride) error { return VerifyFile(t.Context(), o, io.Discard, control, false, t2) },
			"inspect":    func(t2 TrustOverride) error { return Inspect(t.Context(), o, io.Discard, control, false, t2) },
		} {
			if err := run(caseTrust()); err != nil {
				t.Errorf("%s, %s: %v", name, command, err)
			}
			var u *UsageError
			if err := run(TrustOverride{}); !errors.As(err, &u) || !strings.Contains(err.Error(), "-ca=") || !strings.Contains(err.Error(), "-tsaCA=") {
				t.Errorf("%s, %s: without a word whom to trust: %v, want an error that names -ca and -tsaCA", name, command, err)
			}
		}
		copied := placed(t, dir, "a00_control.exe", "copy.exe")
		if err := AddCertificates(t.Context(), o, copied, filepath.Join(signedCases, "ca.pem"), TrustOverride{CA: filepath.Join(signedCases, "tsa.pem")}); err == nil {
			t.Errorf("%s: certificates are added to what is not trusted", name)
		}
		if err := Unsign(t.Context(), o, copied); err != nil {
			t.Errorf("%s: unsign: %v", name, err)
		}
		if err := Rules(io.Discard); err != nil {
			t.Error(err)
		}
	}
	for _, made := range []string{mark, keys} {
		if exists(made) {
			t.Errorf("%s was made", filepath.Base(made))
		}
	}
	if asked {
		t.Error("a password was asked for")
	}
	config := "name: evil\ntargets:\n  - {platform: windows/amd64}\nidentity: pkcs11:token=any;object=any?module-path=" + driver + "\ntimestamp: dev\n"
	if err := os.WriteFile(filepath.Join(dir, ConfigFile), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	SignFile(t.Context(), o, control, "", false, TrustOverride{}) // it fails: this is no driver
	if !exists(mark) {
		t.Skip("SKIP: built without CGO, so no driver can be loaded at all")
	}
}

// TestVerifierTrust says whom it trusts, and why.
func TestVerifierTrust(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	control := placed(t, dir, "a00_control.exe", "control.exe")
	config := filepath.Join(dir, "own.yaml")
	for name, name2 := range map[string]string{"ca.pem": "ca.pem", "tsa.pem": "tsa.pem"} {
		placed(t, dir, name, name2)
	}
	if err := os.WriteFile(config, []byte("name: own\ntargets:\n  - {platform: windows/amd64}\ntrust: {ca: ca.pem, tsa: tsa.pem}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := Options{Dir: dir, KeyDir: filepath.Join(dir, "keys")}
	for _, test := range []struct {
		name string
		t    TrustOverride
		code int
		said string
	}{
		{"named", caseTrust(), 0, "by the roots in " + filepath.Join(signedCases, "ca.pem")},
		{"a configuration that is named", TrustOverride{Config: config}, 0, "by the roots in " + filepath.Join(dir, "ca.pem")},
		{"no timestamps", TrustOverride{CA: caseTrust().CA}, ExitUntrusted, "none is trusted, because there is no -tsaCA"},
		{"the rule off", TrustOverride{CA: caseTrust().CA, Off: "timestamp-chain"}, 0, "rule timestamp-chain: off"},
		{"a rule that there is not", TrustOverride{CA: caseTrust().CA, Off: "timestamp-chian"}, ExitUsage, ""},
		{"somebody else", TrustOverride{CA: caseTrust().TSA, TSA: caseTrust().TSA}, ExitUntrusted, ""},
		{"the signer itself is not the root", TrustOverride{Signer: caseTrust().CA, TSA: caseTrust().TSA}, ExitUntrusted, "trusted because -signer names it"},
		{"revocation of a signer that was named", TrustOverride{Signer: caseTrust().CA, TSA: caseTrust().TSA, CRL: filepath.Join(signedCases, "crl_delta.pem")}, ExitUsage, ""},
	} {
		var out bytes.Buffer
		p := o
		p.Progress = Plain(&out)
		err := VerifyFile(t.Context(), p, io.Discard, control, false, test.t)
		if code := codeOf(err); code != test.code || !strings.Contains(out.String(), test.said) {
			t.Errorf("%s: code %d, want %d: %v\n%s", test.name, code, test.code, err, &out)
		}
		if test.name == "no timestamps" && !strings.Contains(err.Error(), "-tsaCA=FILE") {
			t.Errorf("%v does not name -tsaCA", err)
		}
	}
}

func codeOf(err error) int {
	if err == nil {
		return 0
	}
	return exitCode(err)
}

// TestVerifyMany verifies files by a pattern, in a folder and from a list, and
// ends with the code of the worst.
func TestVerifyMany(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := Options{KeyDir: filepath.Join(dir, "keys")}
	tree := filepath.Join(dir, "tree")
	if err := os.MkdirAll(filepath.Join(tree, "deep", "er"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a.exe", "b.exe", filepath.Join("deep", "er", "c.exe")} {
		placed(t, tree, "a00_control.exe", name)
	}
	if err := os.WriteFile(filepath.Join(tree, "notes.txt"), []byte("notes"), 0o600); err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "list")
	if err := os.WriteFile(list, []byte(filepath.Join(tree, "a.exe")+"\r\n\n"+filepath.Join(tree, "b.exe")), 0o600); err != nil {
		t.Fatal(err)
	}
	verify := func(path string) (string, Verification, int) {
		t.Helper()
		var text, doc bytes.Buffer
		p := o
		p.Progress = Plain(&text)
		code := codeOf(VerifyFile(t.Context(), p, io.Discard, path, false, caseTrust()))
		err := VerifyFile(t.Context(), p, &doc, path, true, caseTrust())
		var v Verification
		if jsonErr := json.Unmarshal(doc.Bytes(), &v); jsonErr != nil {
			t.Fatalf("%v\n%s", jsonErr, &doc)
		}
		if codeOf(err) != code || v.Good != (code == 0) {
			t.Errorf("%s: code %d as text, %d as JSON, good %v", path, code, codeOf(err), v.Good)
		}
		return text.String(), v, code
	}
	for path, want := range map[string]string{
		filepath.Join(tree, "*.exe"): "2 files: 2 good\n",
		tree:                         "3 files: 3 good; 1 left out, of kinds that carry no signature\n",
		"@" + list:                   "2 files: 2 good\n",
	} {
		if text, _, code := verify(path); code != 0 || !strings.HasSuffix(text, want) {
			t.Errorf("%s: code %d, want %q:\n%s", path, code, want, text)
		}
	}
	// One after the other becomes worse.
	plain := placed(t, tree, "a00_control.exe", "plain.exe")
	if err := Unsign(t.Context(), o, plain); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []struct {
		code   int
		change func(b []byte) []byte
	}{
		{ExitUnsigned, nil},
		{ExitMalformed, func(b []byte) []byte { return append(b, "12345678"...) }},
		{ExitTampered, func(b []byte) []byte { b[0x450] ^= 1; return b }},
	} {
		if bad.change != nil {
			file := placed(t, tree, "a00_control.exe", string(rune('a'+bad.code))+"-bad.exe")
			b, err := os.ReadFile(file)
			if err == nil {
				err = os.WriteFile(file, bad.change(b), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		text, v, code := verify(tree)
		if code != bad.code {
			t.Errorf("code %d, want %d:\n%s", code, bad.code, text)
		}
		if i := slices.IndexFunc(v.Files, func(f VerifiedFile) bool { return f.Error != nil && f.Error.Exit == bad.code }); i < 0 || v.Files[i].Error.Kind == "" || v.Files[i].Error.Rule == "" {
			t.Errorf("no file of the document has code %d, with kind and rule: %+v", bad.code, v.Files)
		}
	}
	// What cannot be begun has a document, too.
	if _, v, code := verify(filepath.Join(tree, "*.dll")); code != ExitUsage || v.Error == nil || v.Error.Kind != "usage" {
		t.Errorf("code %d, %+v", code, v)
	}
	if _, v, code := verify("@" + filepath.Join(dir, "missing")); code != ExitUsage || v.Error == nil {
		t.Errorf("code %d, %+v", code, v)
	}
}

// TestInspectJSON prints a document for what is good, bad and not there.
func TestInspectJSON(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := Options{KeyDir: filepath.Join(dir, "keys")}
	good := placed(t, dir, "a00_control.exe", "good.exe")
	bad := placed(t, dir, "a00_control.exe", "bad.exe")
	text := filepath.Join(dir, "text.txt")
	b, err := os.ReadFile(bad)
	if err == nil {
		b[0x450] ^= 1
		err = errors.Join(os.WriteFile(bad, b, 0o600), os.WriteFile(text, []byte("text"), 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	for file, code := range map[string]int{good: 0, bad: ExitTampered, text: ExitMalformed, filepath.Join(dir, "missing"): ExitUsage,
		filepath.Join(signedCases, "h01_8_nested_9th_bad.exe"): ExitMalformed} {
		var out bytes.Buffer
		err := Inspect(t.Context(), o, &out, file, true, caseTrust())
		var i Inspection
		if jsonErr := json.Unmarshal(out.Bytes(), &i); jsonErr != nil {
			t.Fatalf("%s: %v\n%s", file, jsonErr, &out)
		}
		verified := VerifyFile(t.Context(), o, io.Discard, file, false, caseTrust())
		if codeOf(err) != code || codeOf(verified) != code || i.Good != (code == 0) {
			t.Errorf("%s: code %d, verifyFile %d, want %d; good %v", file, codeOf(err), codeOf(verified), code, i.Good)
		}
		if code != 0 && (i.Error == nil || i.Error.Exit != code) {
			t.Errorf("%s: %+v", file, i.Error)
		}
	}
}

// TestFailure tells machines kind, rule and offset.
func TestFailure(t *testing.T) {
	t.Parallel()
	f := failureOf(&signing.Error{Kind: signing.Malformed, Rule: signing.RuleTable, Offset: 0x80, Err: errors.New("wrong")})
	if f.Kind != "malformed" || f.Rule != "table" || f.Offset == nil || *f.Offset != 0x80 || f.Exit != ExitMalformed {
		t.Errorf("%+v", f)
	}
	if f := failureOf(usage("no")); f.Kind != "usage" || f.Exit != ExitUsage {
		t.Errorf("%+v", f)
	}
}
