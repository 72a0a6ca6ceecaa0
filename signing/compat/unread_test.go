package compat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// verdictOf names what an error of a judge is.
func verdictOf(err error) string {
	switch {
	case err == nil:
		return "accept"
	case errors.As(err, new(*RefusalError)):
		return "refuse"
	case errors.As(err, new(*LimitError)):
		return "cannot"
	case errors.As(err, new(*MissingError)):
		return "missing"
	}
	return "unclear"
}

// TestUnread checks what becomes of each judge's words for a file that it cannot
// read: of one in which this package finds a signature it is no verdict, of a
// broken one it is a refusal. Only the words of efitools were captured from the
// program. The others were written from sources and from what the matchers expect,
// so they test the matchers; that the programs still say so, they do not show.
func TestUnread(t *testing.T) {
	t.Parallel()
	digest := regexp.MustCompile(`(?m)^HASH IS ([0-9a-f]{64})$`)
	complaint := regexp.MustCompile(`(?m)^(Failed to get hash of .*)$`)
	none := errors.New("no PE file")
	p := program{name: "judge"}
	for name, c := range map[string]struct {
		err            error
		sound, damaged string // of a file with a signature, and of none
	}{
		"efitools 1.9.2, a table behind SizeOfImage": {p.readDigest(answer{stdout: "Failed to get hash of a.exe: 2\n"}, digest, complaint, "00"), "cannot", "refuse"},
		"pesign 0.112, not a PE file": {p.readDigest(answer{stderr: "pesign: could not load input file: Invalid argument\n", exit: 1}, digest,
			regexp.MustCompile(`(?m)^pesign: (could not .*|.* invalid.*)$`), "00"), "cannot", "refuse"},
		"osslsigncode 2.5":                 {p.readSigncode(answer{stderr: "Corrupt PE file - current signature not at the end of the file: a.exe\n", stdout: "Failed\n", exit: 1}), "cannot", "refuse"},
		"osslsigncode 2.9":                 {p.readSigncode(answer{stderr: "Unrecognized file type: a.exe\n", stdout: "Failed\n", exit: 1}), "cannot", "refuse"},
		"osslsigncode 2.9, no signature":   {p.readSigncode(answer{stderr: "No signature found\n", stdout: "Failed\n", exit: 1}), "refuse", "refuse"},
		"sbverify 0.9.4":                   {p.readSbverify(answer{stderr: "Can't open image a.exe\n", exit: 1}), "cannot", "refuse"},
		"sbverify 0.9.4, another digest":   {p.readSbverify(answer{stdout: "Signature verification failed\n", stderr: "image fails hash check\n", exit: 1}), "refuse", "refuse"},
		"relic 7.6.2, a gap":               {p.readRelic(answer{stdout: "a.exe ERROR: PE section 2 begins at 0x600 but expected 0x400\n", exit: 1}, "a.exe"), "cannot", "cannot"},
		"relic 7.6.2, sections":            {p.readRelic(answer{stdout: "a.exe ERROR: PE section overlaps section table\n", exit: 1}, "a.exe"), "cannot", "refuse"},
		"relic 7.6.2, another digest":      {p.readRelic(answer{stdout: "a.exe ERROR: digest mismatch: 01 != 02\n", exit: 1}, "a.exe"), "refuse", "refuse"},
		"saferwall 1.6.5":                  {p.readSaferwall(answer{stderr: "ERROR msg=Error while parsing file: DOS Header magic not found\n"}, false), "cannot", "refuse"},
		"saferwall 1.6.5, not a message":   {p.readSaferwall(answer{stderr: "ERROR msg=could not parse authenticode content: asn1: x\n"}, false), "refuse", "refuse"},
		"chktrust 6.8":                     {p.readChktrust(answer{stdout: "ERROR! a.exe doesn't contain a digital signature!\n", exit: 1}, false), "cannot", "refuse"},
		"chktrust 6.8, not good":           {p.readChktrust(answer{stdout: "ERROR! a.exe digital signature is invalid!\n", exit: 1}, false), "refuse", "refuse"},
		"wintrust of Wine 8":               {readWintrust("0x800b0003", peSignature{digest: "00", rsa: true}), "cannot", "cannot"},
		"wintrust of Wine 8, not readable": {readWintrust("0x80092003", peSignature{digest: "00", rsa: true}), "cannot", "cannot"},
		"wintrust of Wine 8, no PE file":   {readWintrust("0x800b0003", peSignature{}), "refuse", "refuse"},
		"wintrust of Wine 8, digest":       {readWintrust("0x80096010", peSignature{digest: "00", rsa: true}), "refuse", "refuse"},
		"dpkg-deb 1.20, zstd":              {p.readDpkgDeb(answer{stderr: "dpkg-deb: error: archive 'a.deb' uses unknown compression for member 'data.tar.zst', giving up\n", exit: 2}), "cannot", "cannot"},
		"dpkg-deb 1.20, not a package":     {p.readDpkgDeb(answer{stderr: "dpkg-deb: error: 'a.deb' is not a Debian format archive\n", exit: 2}), "refuse", "refuse"},
		"rpmkeys 4.18, a key":              {p.readRPMKeys(answer{stdout: "a.rpm:\n", stderr: "error: Unsupported PGP signature\n", exit: 1}, true), "cannot", "cannot"},
		"rpmkeys 4.18, a digest":           {p.readRPMKeys(answer{stdout: "a.rpm:\n    Header SHA256 digest: BAD (Expected 1 != 2)\n", exit: 1}, true), "refuse", "refuse"},
	} {
		if got := verdictOf(peSignature{}.knownLimit(c.err, nil)); got != c.sound {
			t.Errorf("%s: of a file with a signature: %s, want %s: %v", name, got, c.sound, c.err)
		}
		if got := verdictOf(peSignature{}.knownLimit(c.err, none)); got != c.damaged {
			t.Errorf("%s: of a broken file: %s, want %s: %v", name, got, c.damaged, c.err)
		}
	}
}

// TestMinGW asks the judges about a program with a symbol table behind its image,
// as a C++ program of MinGW has, signed by osslsigncode; and about a damaged twin.
func TestMinGW(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	compiler, err := exec.LookPath("x86_64-w64-mingw32-g++")
	if err != nil {
		t.Skip("SKIP: x86_64-w64-mingw32-g++ missing: apt package g++-mingw-w64-x86-64")
	}
	signer, err := exec.LookPath("osslsigncode")
	if err != nil {
		t.Skip("SKIP: osslsigncode missing: apt package osslsigncode")
	}
	dir := t.TempDir()
	run := func(name string, args ...string) {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
	}
	source := "#include <iostream>\nint main() { try { throw 1; } catch (int) { std::cout << 1; } }\n"
	if err := os.WriteFile(filepath.Join(dir, "a.cpp"), []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	run(compiler, "-static", "-o", "a.exe", "a.cpp")
	run(signer, "sign", "-certs", w.path("leaf.pem"), "-key", w.path("leaf.key"), "-ac", w.path("middle.pem"), "-h", "sha256", "-in", "a.exe", "-out", "signed.exe")
	signed := filepath.Join(dir, "signed.exe")
	look, err := lookAtPE(signed)
	if err != nil || !look.behind {
		t.Fatalf("the certificate table does not lie behind SizeOfImage: %+v, %v", look, err)
	}
	data, err := os.ReadFile(signed)
	if err != nil {
		t.Fatal(err)
	}
	// The twin has another digest: a byte of the symbol table.
	damaged := bytes.Clone(data)
	table := binary.LittleEndian.Uint32(data[binary.LittleEndian.Uint32(data[0x3c:])+24+144:])
	damaged[table-100] ^= 1
	twin := filepath.Join(dir, "twin.exe")
	if err := os.WriteFile(twin, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	want := map[string][2]string{
		"hash-to-efi-sig-list": {"cannot", "cannot"}, "pesign": {"accept", "refuse"}, "sbverify": {"accept", "refuse"}, "osslsigncode": {"accept", "refuse"},
	}
	for _, j := range Judges() {
		verdicts, ok := want[j.Name]
		if !ok {
			continue
		}
		for i, file := range []string{signed, twin} {
			err := j.Verify(t.Context(), file, Trust{CAFile: w.path("root.pem")})
			if got := verdictOf(err); got != verdicts[i] && got != "missing" {
				t.Errorf("%s of %s: %s, want %s: %v", j.Name, filepath.Base(file), got, verdicts[i], err)
			}
		}
	}
}
