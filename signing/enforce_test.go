package signing

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hallmark-build/hallmark/signing/cms"
)

// enforcementFolder writes the files of an enforcement.
func enforcementFolder(t *testing.T, w *world, e Enforcement) string {
	t.Helper()
	files, err := e.Files(t.Context(), w.key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(dir, f.Name), f.Data, f.Mode); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestEnforcement has OpenSSL read the certificates and the signed policy, and
// refuse its damaged twin.
func TestEnforcement(t *testing.T) {
	t.Parallel()
	for name, signer := range map[string]crypto.Signer{"RSA": newRSA(t), "P-384": newECDSA(t, elliptic.P384())} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, signer, codeSigning)
			dir := enforcementFolder(t, w, Enforcement{Name: "notes", Version: "1.2.3", Verity: true, IMA: true,
				Programs: []EnforcedProgram{{"/usr/bin/notes", "/usr/lib/notes/notes.verity.p7s"}}})
			for file, want := range map[string]*x509.Certificate{"signer.der": w.key.Leaf(), "ca.der": w.ca.cert} {
				c, err := x509.ParseCertificate(readFile(t, filepath.Join(dir, file)))
				if err != nil || !c.Equal(want) {
					t.Errorf("%s: %v", file, err)
				}
				if out, err := run(t, lookTool(t, "openssl", "openssl"), "x509", "-inform", "DER", "-in", filepath.Join(dir, file), "-noout"); err != nil {
					t.Errorf("%s: openssl: %v\n%s", file, err, out)
				}
			}
			policy := readFile(t, filepath.Join(dir, "ipe-policy"))
			if !bytes.HasPrefix(policy, []byte("policy_name=notes policy_version=1.2.3\nDEFAULT action=ALLOW\n")) {
				t.Errorf("policy:\n%s", policy)
			}
			signed := readFile(t, filepath.Join(dir, "ipe-policy.p7b"))
			at := bytes.Index(signed, []byte("op=EXECUTE"))
			bad := bytes.Clone(signed)
			bad[at] ^= 1
			for b, want := range map[string]bool{string(signed): true, string(bad): false} {
				to := filepath.Join(t.TempDir(), "policy")
				out, err := run(t, lookTool(t, "openssl", "openssl"), "cms", "-verify", "-binary", "-inform", "DER", "-in", writeFile(t, "p7b", []byte(b), 0o644),
					"-CAfile", pemFile(t, w.ca.cert), "-purpose", "any", "-out", to)
				if (err == nil) != want {
					t.Errorf("openssl: %v\n%s", err, out)
				}
				if want && !bytes.Equal(readFile(t, to), policy) {
					t.Error("the signed policy is another one")
				}
			}
			// As the kernel wants it: no signed attributes, and the text inside.
			sd, err := cms.Parse(signed)
			if err != nil || sd.Signers[0].Attributes != nil || sd.Content == nil {
				t.Errorf("not as IPE takes it: %+v, %v", sd, err)
			}
			for _, line := range strings.Split(strings.TrimSpace(string(readFile(t, filepath.Join(dir, "ima-policy")))), "\n") {
				if !strings.HasPrefix(line, "appraise func=") || !strings.HasSuffix(line, " appraise_type=imasig") {
					t.Errorf("IMA rule %q", line)
				}
			}
			readme := string(readFile(t, filepath.Join(dir, "README.md")))
			if strings.Contains(readme, "{{") || strings.Contains(readme, "<no value>") || !strings.Contains(readme, "/usr/lib/notes/enforce") ||
				strings.Contains(readme, "only kernels since 6.12") != (name != "RSA") {
				t.Errorf("README.md:\n%s", readme)
			}
			unit := string(readFile(t, filepath.Join(dir, "notes-verity.service")))
			if !strings.Contains(unit, "ExecStart=/usr/lib/notes/enforce/enforce verity\n") {
				t.Errorf("unit:\n%s", unit)
			}
		})
	}
}

// TestEnforceScript has the shell read the script, and runs each step with
// programs in the place of keyctl and fsverity that write down what they are told.
func TestEnforceScript(t *testing.T) {
	t.Parallel()
	w := sharedWorld()
	program, signature := writeFile(t, "notes", []byte("program"), 0o755), writeFile(t, "notes.verity.p7s", []byte("signature"), 0o644)
	dir := enforcementFolder(t, w, Enforcement{Name: "notes", Hash: crypto.SHA512, Verity: true, IMA: true,
		Programs: []EnforcedProgram{{program, signature}, {"/nowhere/other", "/nowhere/other.p7s"}}})
	script := filepath.Join(dir, "enforce")
	if out, err := run(t, lookTool(t, "sh", "dash"), "-n", script); err != nil {
		t.Fatalf("sh -n: %v\n%s", err, out)
	}
	bin, security, log := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "log")
	for name, text := range map[string]string{
		"keyctl": `echo "keyctl $*" >>"$LOG"
case "$*" in "describe %keyring:.ima") exit 1;; padd*) cat >"$SECURITYFS/taken";; esac`,
		"fsverity": `echo "fsverity $*" >>"$LOG"
case "$1" in measure) exit 1;; enable) exit ${FSVERITY:-0};; esac`,
	} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{"ima", "ipe/policies/notes"} {
		if err := os.MkdirAll(filepath.Join(security, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"ima/policy", "ipe/enforce", "ipe/policies/notes/active", "ipe/policies/notes/update"} {
		if err := os.WriteFile(filepath.Join(security, f), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	step := func(name string, env ...string) (string, error) {
		os.WriteFile(log, nil, 0o644)
		out, err := run(t, "/usr/bin/env", append(append([]string{"PATH=" + bin + ":/usr/bin:/bin", "SECURITYFS=" + security, "LOG=" + log}, env...), script, name)...)
		return out + string(readFile(t, log)), err
	}
	for _, test := range []struct {
		step, want string
		env        []string
		fails      bool
	}{
		{"keys", "keyctl padd asymmetric  %keyring:.fs-verity\n", nil, false},
		{"keys", "keyctl padd asymmetric  %keyring:_ima\n", nil, false},
		{"verity", "fsverity enable --hash-alg=sha512 --signature=" + signature + " " + program + "\n", nil, false},
		{"verity", "verity was not enabled on " + program, []string{"FSVERITY=1"}, true},
		{"ima", "", nil, false},
		{"ipe-on", "the policy is not active", nil, true},
		{"ipe", "", nil, false},
		{"ipe-on", "", nil, false},
		{"status", "ipe/enforce:\n1\n", nil, false},
		{"wrong", "enforce verity", nil, true},
	} {
		out, err := step(test.step, test.env...)
		if (err != nil) != test.fails || !strings.Contains(out, test.want) || strings.Contains(out, "/nowhere") && test.step != "status" {
			t.Errorf("%s: %v\n%s", test.step, err, out)
		}
	}
	for file, from := range map[string]string{"ima/policy": "ima-policy", "ipe/policies/notes/update": "ipe-policy.p7b", "taken": "signer.der"} {
		if !bytes.Equal(readFile(t, filepath.Join(security, file)), readFile(t, filepath.Join(dir, from))) {
			t.Errorf("%s is not %s", file, from)
		}
	}
}

// TestEnforcementRefuses has what no kernel would take.
func TestEnforcementRefuses(t *testing.T) {
	t.Parallel()
	for want, e := range map[string]Enforcement{
		"no kernel refuses":      {Name: "notes"},
		"the name":               {Name: "no tes", IMA: true},
		"three numbers":          {Name: "notes", IMA: true, Version: "1.0"},
		"fs-verity has SHA-256":  {Name: "notes", Verity: true, Hash: crypto.SHA384},
		"is no absolute path":    {Name: "notes", Verity: true, Programs: []EnforcedProgram{{"bin/notes", "/x"}}},
		"that a list could hold": {Name: "notes", Verity: true, Programs: []EnforcedProgram{{"/bin/no\ttes", "/x"}}},
	} {
		if _, err := e.Files(t.Context(), sharedWorld().key); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
