package signing

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// realFiles names the folder of unpacked Debian packages that TestRealFiles
// judges, each in a folder of its own:
//
//	apt-get download linux-image-6.1.0-56-amd64 shim-signed grub-efi-amd64-signed fwupd-amd64-signed …
//	for d in *.deb; do dpkg -x "$d" "unpacked/${d%%_*}"; done
//	HALLMARK_REAL_FILES=$PWD/unpacked go test ./signing -run TestRealFiles -v
//
// Without it, the kernels are judged that `mage setup` has put into the user's
// cache, with one module of each.
const realFiles = "HALLMARK_REAL_FILES"

// realVerdicts are the rules by which signed files of Debian are refused, and
// rightly so; a file that is not here must be accepted. Keys are names of files.
var realVerdicts = map[string]Rule{
	"fwupdx64.efi.signed": RuleDataType, // an old sbsign's type of the signed data
}

// TestRealFiles judges what Debian ships signed: every module of a kernel by the
// certificate in the kernel's own image, and kernels and EFI programs, whose
// roots are not at hand and which nobody timestamps, without the rules about
// chains and timestamps. HALLMARK_REAL_VERDICTS names a file that gets a line for
// each, to be compared with those of another commit.
func TestRealFiles(t *testing.T) {
	folder := os.Getenv(realFiles)
	if folder == "" {
		for vmlinuz := range kernels(t) {
			folder = filepath.Dir(filepath.Dir(vmlinuz))
		}
	}
	packages, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, p := range packages {
		lines = append(lines, judgePackage(t, filepath.Join(folder, p.Name()))...)
	}
	if len(lines) == 0 {
		t.Fatalf("%s holds no signed file", folder)
	}
	if out := os.Getenv("HALLMARK_REAL_VERDICTS"); out != "" {
		if err := os.WriteFile(out, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// judgePackage judges the signed files of an unpacked package, and returns a line
// for each.
func judgePackage(t *testing.T, root string) (lines []string) {
	t.Helper()
	var images, programs, modules []string
	if err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch base := filepath.Base(path); {
		case err != nil || !d.Type().IsRegular():
		case strings.HasSuffix(base, ".ko"), strings.Contains(base, ".ko."):
			modules = append(modules, path)
		case base == "vmlinuz", strings.HasPrefix(base, "vmlinuz-"):
			images = append(images, path)
		case strings.HasSuffix(base, ".efi.signed"):
			programs = append(programs, path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	ofModules := Trust{Roots: x509.NewCertPool(), Policy: Policy{Off: []Rule{RuleTimestamp, RuleUsage}}}
	for _, image := range images {
		c := buildKey(t, image)
		ofModules.Known = append(ofModules.Known, c)
		ofModules.Roots.AddCert(c)
	}
	ofPrograms := Trust{Policy: Policy{Off: []Rule{RuleChain, RuleTSA, RuleValidity, RuleTimestamp}}}
	counts := map[string]int{}
	for i, path := range slices.Concat(modules, images, programs) {
		trust := ofPrograms
		if i < len(modules) {
			trust = ofModules
		}
		verdict, rule := realVerdict(t, path, trust)
		counts[verdict]++
		name, _ := filepath.Rel(filepath.Dir(root), path)
		lines = append(lines, name+": "+verdict)
		if want := realVerdicts[filepath.Base(path)]; rule != want {
			t.Errorf("%s: %s; want rule %q", path, verdict, want)
		}
	}
	for _, verdict := range slices.Sorted(maps.Keys(counts)) {
		t.Logf("%s: %d %s", filepath.Base(root), counts[verdict], verdict)
	}
	return lines
}

// realVerdict is what Verify says of a file.
func realVerdict(t *testing.T, path string, trust Trust) (verdict string, rule Rule) {
	t.Helper()
	scheme, err := Config{}.For(path)
	if err == nil {
		_, err = scheme.Verify(t.Context(), path, trust)
	}
	var e *Error
	switch {
	case err == nil:
		return "accepted", ""
	case errors.As(err, &e):
		return fmt.Sprintf("%v, rule %s", e.Kind, e.Rule), e.Rule
	}
	return err.Error(), RuleFormat
}
