package signing

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestIMAAttribute sets security.ima as evmctl does, and has each verify the
// other's: on the file system of temporary files and on tmpfs. Without root it is
// the refusal that is tested.
func TestIMAAttribute(t *testing.T) {
	t.Parallel()
	w, tool := sharedWorld(), lookTool(t, "evmctl", "ima-evm-utils")
	trust := w.trust()
	trust.Known = w.key.Chain
	shm, err := os.MkdirTemp("/dev/shm", "hallmark")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(shm) })
	for _, dir := range []string{t.TempDir(), shm} {
		file := filepath.Join(dir, "program")
		if err := os.WriteFile(file, tinyELF(), 0o755); err != nil {
			t.Fatal(err)
		}
		if b, err := ReadIMA(file); b != nil || err != nil {
			t.Fatalf("an attribute from nowhere: %x, %v", b, err)
		}
		_, err := IMA{}.VerifyAttribute(t.Context(), file, trust)
		wantError(t, err, Unsigned, RulePresent)
		ours := readFile(t, signBeside(t, IMA{}, file, w, nil))
		err = SetIMA(file, ours)
		if os.Geteuid() != 0 {
			if err == nil || !strings.Contains(err.Error(), "takes root") {
				t.Errorf("got %v, want a word about root", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		out, err := run(t, tool, "ima_verify", "-a", "sha256", "--key", derFile(t, w.key.Leaf()), file)
		if err != nil || !strings.Contains(out, "verification is OK") {
			t.Errorf("evmctl: %v\n%s", err, out)
		}
		if out, err := run(t, tool, "ima_sign", "-a", "sha256", "--key", keyFile(t, w.key.Signer), "--keyid-from-cert", pemFile(t, w.key.Leaf()), file); err != nil {
			t.Fatalf("evmctl: %v\n%s", err, out)
		}
		if theirs, err := ReadIMA(file); err != nil || !bytes.Equal(ours, theirs) {
			t.Errorf("evmctl sets %x, we %x; %v", theirs, ours, err)
		}
		if _, err := (IMA{}).VerifyAttribute(t.Context(), file, trust); err != nil {
			t.Error(err)
		}
		f, err := os.OpenFile(file, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		f.WriteAt([]byte{7}, 20)
		f.Close()
		if _, err = (IMA{}).VerifyAttribute(t.Context(), file, trust); err == nil {
			t.Error("we accept the damaged twin")
		}
		if out, err := run(t, tool, "ima_verify", "-a", "sha256", "--key", derFile(t, w.key.Leaf()), file); err == nil && strings.Contains(out, "verification is OK") {
			t.Error("evmctl accepts the damaged twin")
		}
	}
	if err := SetIMA(writeFile(t, "x", nil, 0o644), []byte("no signature")); err == nil {
		t.Error("what is no signature was set")
	}
}
