package compat

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// verdict is an error as a word.
func verdict(err error) string {
	switch {
	case err == nil:
		return "accept"
	case errors.As(err, new(*RefusalError)):
		return "refuse"
	case errors.As(err, new(*LimitError)):
		return "cannot"
	case errors.As(err, new(*UnclearError)):
		return "unclear"
	}
	return "error: " + err.Error()
}

// What the programs print, and what becomes of it when a word is another.
const (
	relicGood = "f.exe: OK - `CN=Test Signer, O=hallmark tests`\nf.exe(timestamp): OK - `CN=Test TSA` [2026-11-24 11:42:07 +0000 UTC]\n"
	relicBad  = "f.exe ERROR: digest mismatch: dd != c5\n"

	saferwallGood = "INFO msg=parsing filename f.exe\n\nSECURITY\n*********\n\n---Certificate ---\n\n     Certificate valid: true\n       Signature valid: true\n\n" +
		"---Certificate ---\n\n     Certificate valid: true\n       Signature valid: true\n"
	saferwallNone = "INFO msg=parsing filename f.exe\n\n"

	chktrustHead = "Mono CheckTrust - version 6.8.0.105\nVerify if an PE executable has a valid Authenticode(tm) signature\nCopyright\n\nWARNING! f.exe is not timestamped!\n"
	chktrustGood = chktrustHead + "SUCCESS: f.exe signature is valid\nand can be traced back to a trusted root!\n\n"
)

func TestReadWindows(t *testing.T) {
	t.Parallel()
	p := program{name: "program"}
	relic := func(stdout string, exit int) error { return p.readRelic(answer{stdout, "", exit}, "f.exe") }
	wall := func(stdout string, late bool) error { return p.readSaferwall(answer{stdout: stdout}, late) }
	trust := func(stdout string, exit int, late bool) error { return p.readChktrust(answer{stdout, "", exit}, late) }
	chktrustBad := func(reason string) string { return chktrustHead + "ERROR! f.exe " + reason + "!\n\n" }
	digest := strings.Repeat("ab", 32)
	hash, complaint := regexp.MustCompile(`(?m)^hash: ([0-9a-f]{64})$`), regexp.MustCompile(`(?m)^pesign: (could not .*)$`)
	sum := func(stdout, stderr string, exit int) error {
		return p.readDigest(answer{stdout, stderr, exit}, hash, complaint, digest)
	}
	ec := peSignature{digest: digest}
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"relic: good", relic(relicGood, 0), "accept"},
		{"relic: good words, bad code", relic(relicGood, 1), "unclear"},
		{"relic: timestamp alone", relic(relicGood[strings.Index(relicGood, "\n")+1:], 0), "unclear"},
		{"relic: bad", relic(relicBad, 1), "refuse"},
		{"relic: bad words, good code", relic(relicBad, 0), "unclear"},
		{"relic: one good, one bad", relic(relicGood+relicBad, 1), "refuse"},
		{"relic: gaps", relic("f.exe ERROR: PE section 0 begins at 0x200 but expected 0x160\n", 1), "cannot"},
		{"relic: cause first", relic("While validating certificate:\n Subject: CN=x\n Issuer:  CN=y\n Serial:  1\nf.exe ERROR: x509: certificate signed by unknown authority\n", 1), "refuse"},
		{"relic: of another file", relic(strings.ReplaceAll(relicGood, "f.exe", "g.exe"), 0), "unclear"},
		{"relic: silent", relic("", 0), "unclear"},

		{"saferwall: good", wall(saferwallGood, false), "accept"},
		{"saferwall: second chain", wall(strings.TrimSuffix(saferwallGood, "true\n")+"false\n", false), "refuse"},
		{"saferwall: first digest", wall(strings.Replace(saferwallGood, "Certificate valid: true", "Certificate valid: false", 1), false), "refuse"},
		{"saferwall: a verdict less", wall(strings.Replace(saferwallGood, "Certificate valid: true", "", 1), false), "refuse"},
		{"saferwall: late", wall(strings.ReplaceAll(saferwallGood, "true", "false"), true), "cannot"},
		{"saferwall: unsigned", wall(saferwallNone, false), "refuse"},
		{"saferwall: broken", wall(saferwallGood+"ERROR msg=could not parse authenticode content: asn1\n", false), "refuse"},
		{"saferwall: silent", wall("", false), "unclear"},
		{"saferwall: heading alone", wall("INFO msg=parsing filename f.exe\n\nSECURITY\n****\n", false), "unclear"},

		{"chktrust: good", trust(chktrustGood, 0, false), "accept"},
		{"chktrust: good words, bad code", trust(chktrustGood, 1, false), "unclear"},
		{"chktrust: bad", trust(chktrustBad("digital signature is invalid"), 1, false), "refuse"},
		{"chktrust: bad words, good code", trust(chktrustBad("digital signature is invalid"), 0, false), "unclear"},
		{"chktrust: both", trust(chktrustGood+chktrustBad("digital signature is invalid"), 1, false), "unclear"},
		{"chktrust: algorithm", trust(chktrustBad("use an unsupported hash algorithm. Verification is impossible"), 1, false), "cannot"},
		{"chktrust: expired", trust(chktrustBad("certificate is expired and no timestamp is present"), 1, false), "refuse"},
		{"chktrust: late", trust(chktrustBad("certificate is expired and no timestamp is present"), 1, true), "cannot"},
		{"chktrust: late, but tampered", trust(chktrustBad("digital signature is invalid"), 1, true), "refuse"},
		{"chktrust: unknown", trust(chktrustBad("unknown error"), 1, false), "unclear"},
		{"chktrust: a name that is an answer", trust(chktrustHead+"ERROR! SUCCESS: x digital signature is valid!\n", 1, false), "unclear"},

		{"wintrust: good", readWintrust("0x00000000", peSignature{}), "accept"},
		{"wintrust: digest", readWintrust("0x80096010", ec), "refuse"},
		{"wintrust: signature", readWintrust("0x80096004", peSignature{digest: digest, rsa: true}), "refuse"},
		{"wintrust: signature that we cannot read", readWintrust("0x80096004", peSignature{}), "refuse"},
		{"wintrust: elliptic", readWintrust("0x80096004", ec), "cannot"},
		{"wintrust: no provider", readWintrust("0x800b0001", ec), "unclear"},
		{"wintrust: words", readWintrust("err:module:import_dll", ec), "unclear"},

		{"digest: good", sum("hash: "+digest+"\n", "", 0), "accept"},
		{"digest: other", sum("hash: "+strings.Repeat("ac", 32)+"\n", "", 0), "refuse"},
		{"digest: two", sum("hash: "+digest+"\nhash: "+digest+"\n", "", 0), "unclear"},
		{"digest: bad code", sum("hash: "+digest+"\n", "", 1), "unclear"},
		{"digest: complaint", sum("", "pesign: could not load input file: x\n", 1), "refuse"},
		{"digest: silent", sum("", "", 0), "unclear"},
	} {
		if got := verdict(c.err); got != c.want {
			t.Errorf("%s: %s, want %s (%v)", c.name, got, c.want, c.err)
		}
	}
}

func FuzzReadWindows(f *testing.F) {
	for _, s := range []string{relicGood, relicBad, saferwallGood, saferwallNone, chktrustGood, chktrustHead + "ERROR! x digital signature is invalid!\n", "0x80096010", "hash: " + strings.Repeat("ab", 32)} {
		f.Add(s, 0, false)
		f.Add(s, 1, true)
	}
	p, signed := program{name: "program"}, strings.Repeat("ab", 32)
	f.Fuzz(func(t *testing.T, said string, exit int, late bool) {
		a := answer{said, "", exit}
		for name, err := range map[string]error{
			"relic": p.readRelic(a, "f.exe"), "saferwall": p.readSaferwall(a, late), "chktrust": p.readChktrust(a, late),
			"digest": p.readDigest(a, regexp.MustCompile(`([0-9a-f]{64})`), regexp.MustCompile(`could not .*`), signed),
		} {
			word := map[string]string{"relic": "OK - ", "saferwall": "Signature valid", "chktrust": "SUCCESS: ", "digest": signed}[name]
			if err == nil && (exit != 0 || !strings.Contains(said, word)) {
				t.Errorf("%s accepts %q with exit code %d", name, said, exit)
			}
		}
		if err := readWintrust(said, peSignature{}); err == nil && said != "0x00000000" {
			t.Errorf("wintrust accepts %q", said)
		}
	})
}

// What is read of a signature before a judge is asked.
func TestReadPESignature(t *testing.T) {
	t.Parallel()
	need(t, "osslsigncode", "osslsigncode")
	w := newWorld(t)
	w.program("windows", "unsigned.exe")
	w.signcode("unsigned.exe", "rsa.exe", "leaf", "-h", "sha256")
	w.signcode("unsigned.exe", "p256.exe", "p256", "-h", "sha384", "-ts", w.stampServer(w.now))
	rsa, p256 := must(lookAtPE(w.path("rsa.exe")))(t), must(lookAtPE(w.path("p256.exe")))(t)
	if !rsa.rsa || rsa.stamp || rsa.hash != "sha256" || len(rsa.digest) != 64 || rsa.until.Sub(w.now).Round(24*time.Hour) != 10*24*time.Hour {
		t.Errorf("%+v", rsa)
	}
	if p256.rsa || !p256.stamp || p256.hash != "sha384" || len(p256.digest) != 96 || p256.late() {
		t.Errorf("%+v", p256)
	}
	if _, err := lookAtPE(w.path("unsigned.exe")); !errors.Is(err, errUnsigned) {
		t.Errorf("unsigned: %v", err)
	}
	signed := w.read("rsa.exe")
	for _, n := range []int{0, 10, 0x40, 0x100, len(signed) - 2000, len(signed) - 400} {
		if s, err := readPESignature(bytes.NewReader(signed[:n])); err == nil {
			t.Errorf("cut at %d: %+v", n, s)
		}
	}
}

func FuzzReadPESignature(f *testing.F) {
	// A header whose table is the rest.
	header := make([]byte, 0x100)
	copy(header, "MZ")
	header[0x3c] = 0x40
	copy(header[0x40:], "PE\x00\x00")
	header[0x40+24], header[0x40+25] = 0x0b, 0x02
	copy(header[0x40+24+144:], []byte{0x00, 0x01, 0, 0, 0x40, 0, 0, 0})
	f.Add(append(bytes.Clone(header), 0x40, 0, 0, 0, 0, 2, 2, 0, 0x30, 0x80))
	f.Add(header)
	// A real one, of a file whose certificate table is at its end.
	if dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/saferwall/pe").Output(); err == nil {
		data, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "test", "putty.exe"))
		if err != nil {
			f.Fatal(err)
		}
		entry := int(binary.LittleEndian.Uint32(data[0x3c:])) + 24 + 144
		table := data[binary.LittleEndian.Uint32(data[entry:]):]
		real := append(bytes.Clone(header), table...)
		binary.LittleEndian.PutUint32(real[0x40+24+144+4:], uint32(len(table)))
		if s, err := readPESignature(bytes.NewReader(real)); err != nil || !s.rsa || s.hash == "" {
			f.Fatalf("%+v, %v", s, err)
		}
		f.Add(real)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := readPESignature(bytes.NewReader(data))
		signed, hexErr := hex.DecodeString(s.digest)
		if err == nil && (s.hash == "" || hexErr != nil || !bytes.Contains(data, signed)) {
			t.Errorf("%+v", s)
		}
	})
}

// Several programs of one name are several judges; the same one by two ways is
// one.
func TestOsslsigncodes(t *testing.T) {
	need(t, "osslsigncode", "osslsigncode")
	first, second := t.TempDir(), t.TempDir()
	real := must(exec.LookPath("osslsigncode"))(t)
	if err := os.Symlink(real, filepath.Join(first, "osslsigncode")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(second, "osslsigncode"), []byte("#!/bin/sh\necho osslsigncode 9.9, using:\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path []string
		want string
	}{
		{[]string{filepath.Dir(real)}, "osslsigncode=" + real},
		{[]string{first, filepath.Dir(real)}, "osslsigncode=" + filepath.Join(first, "osslsigncode")},
		{[]string{filepath.Dir(real), second, "relative", ""}, "osslsigncode=" + real + " osslsigncode-2=" + filepath.Join(second, "osslsigncode")},
		{[]string{second, first}, "osslsigncode=" + filepath.Join(second, "osslsigncode") + " osslsigncode-2=" + filepath.Join(first, "osslsigncode")},
		{[]string{t.TempDir()}, "osslsigncode="},
	} {
		t.Setenv("PATH", strings.Join(c.path, ":"))
		var got []string
		for _, j := range osslsigncodes() {
			key, _ := j.FindKey()
			got = append(got, j.Name+"="+key.Path)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%q: %q, want %q", c.path, got, c.want)
		}
	}
	t.Setenv("PATH", first+":"+second)
	judges := osslsigncodes()
	if version, err := judges[1].Find(t.Context()); err != nil || version != "9.9" {
		t.Errorf("%q, %v", version, err)
	}
	if line := judges[1].Command("a.exe", Trust{}); !strings.HasPrefix(line, filepath.Join(second, "osslsigncode")+" verify ") {
		t.Errorf("%q", line)
	}
}
