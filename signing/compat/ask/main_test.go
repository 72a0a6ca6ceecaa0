package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// ask runs the command and returns what it printed.
func ask(t *testing.T, args ...string) (code int, out string) {
	t.Helper()
	var b bytes.Buffer
	code = run(t.Context(), args, &b, &b)
	return code, b.String()
}

func TestAsk(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("sha256sum"); err != nil {
		if os.Getenv("HALLMARK_STRICT") != "" {
			t.Fatal("sha256sum missing: apt package coreutils")
		}
		t.Skip("SKIP: sha256sum missing: apt package coreutils")
	}
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, name)
	}
	const digest = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
	write("a", "a")
	good, bad := write("good", digest+"  a\n"), write("bad", strings.Replace(digest, "c", "d", 1)+"  a\n")
	for _, test := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"list", nil, 0, "linux-6.12-ipe (verity)"},
		{"good", []string{"-judge", "sha256sum", good}, 0, good + ": accept"},
		{"bad", []string{"-judge", "sha256sum", good, bad}, 1, bad + ": refuse: "},
		{"absent", []string{"-judge", "sha256sum", bad, good + "-absent"}, 2, "absent: unclear: "},
		{"no signer", []string{"-judge", "linux-6.1-ima", "-ca", "/dev/null", good}, 2, ": "},
		{"no such judge", []string{"-judge", "nobody", good}, 2, `no judge is called "nobody"`},
		{"no file", []string{"-judge", "sha256sum"}, 2, "no file is named"},
		{"no such flag", []string{"-jury", "sha256sum"}, 2, "-jury"},
		{"no machine", []string{"-judge", "sha256sum", "-keep", dir + "/m", good}, 2, "sha256sum is no kernel"},
	} {
		if code, out := ask(t, test.args...); code != test.code || !strings.Contains(out, test.says) {
			t.Errorf("%s: exit code %d, want %d, with %q:\n%s", test.name, code, test.code, test.says, out)
		}
	}
}

// What -keep leaves can be booted by the line that it prints.
func TestKeep(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "unsigned")
	if err := os.WriteFile(file, []byte("unsigned"), 0o600); err != nil {
		t.Fatal(err)
	}
	machine := filepath.Join(dir, "a machine")
	code, command := ask(t, "-judge", "linux-6.1-module", "-keep", machine, file)
	if code != 0 {
		if os.Getenv("HALLMARK_STRICT") != "" {
			t.Fatal(command)
		}
		t.Skipf("SKIP: %s", command)
	}
	out, err := exec.CommandContext(t.Context(), "sh", "-c", command).CombinedOutput()
	if err != nil || !strings.Contains(string(out), `"steps":[{"do":"load","errno":"EKEYREJECTED"}]`) || !strings.Contains(string(out), `{"done":true}`) {
		t.Errorf("%v\n%s\n%s", err, command, out)
	}
	if code, out := ask(t, "-judge", "linux-6.1-module", "-keep", machine, file); code != 2 {
		t.Errorf("a folder that is there is taken: %d, %s", code, out)
	}
}
