package dist

import (
	"bytes"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestFileSignatures has rpm read the signatures of files, and find nothing wrong
// with the package.
func TestFileSignatures(t *testing.T) {
	t.Parallel()
	tool, err := exec.LookPath("rpm")
	if err != nil {
		if os.Getenv("HALLMARK_STRICT") != "" {
			t.Fatal("rpm is missing")
		}
		t.Skip("SKIP: rpm is missing: install the Debian package rpm")
	}
	file := filepath.Join(t.TempDir(), "notes.rpm")
	p := Package{Name: "notes", Version: "1.2.3", Arch: "amd64", Format: RPM, Config: config(), Files: sample(t, 3000), ModTime: when()}
	if err := WritePackage(file, p); err != nil {
		t.Fatal(err)
	}
	plain := readBytes(t, file)
	if found, err := FileSignatures(file); found != nil || err != nil {
		t.Errorf("signatures from nowhere: %v, %v", found, err)
	}
	signature := bytes.Repeat([]byte{3, 2, 4}, 131)
	only := func(name string) ([]byte, error) {
		if strings.HasPrefix(name, "/usr/bin/") {
			return append(signature, byte(len(name))), nil
		}
		return nil, nil
	}
	n, err := AddFileSignatures(file, only)
	if err != nil || n == 0 {
		t.Fatalf("%d, %v", n, err)
	}
	once := readBytes(t, file)
	if _, err := AddFileSignatures(file, only); err != nil || !bytes.Equal(once, readBytes(t, file)) {
		t.Errorf("doing it again changes the package: %v", err)
	}
	out, err := exec.CommandContext(t.Context(), tool, "-qp", "--nosignature", "--qf", "[%{FILENAMES}\t%{FILESIGNATURES}\n]", file).CombinedOutput()
	if err != nil {
		t.Fatalf("rpm: %v\n%s", err, out)
	}
	found, err := FileSignatures(file)
	if err != nil || len(found) != n {
		t.Errorf("%d signatures, put in %d: %v", len(found), n, err)
	}
	for line := range strings.Lines(string(out)) {
		name, text, _ := strings.Cut(strings.TrimRight(line, "\n"), "\t")
		want, _ := only(name)
		if text != hex.EncodeToString(want) || !bytes.Equal(found[name], want) {
			t.Errorf("%s: rpm reads %q, we %x, put in was %x", name, text, found[name], want)
		}
	}
	if out, err := exec.CommandContext(t.Context(), tool, "-Kv", file).CombinedOutput(); err != nil || bytes.Contains(out, []byte("BAD")) {
		t.Errorf("rpm -K: %v\n%s", err, out)
	}
	if err := Walk(file, func(string, fs.FileMode, io.Reader) error { return nil }); err != nil {
		t.Error(err)
	}
	// The header and what follows are as they were.
	if at := bytes.LastIndex(plain, []byte{0x8e, 0xad, 0xe8, 1}); !bytes.HasSuffix(once, plain[at:]) {
		t.Error("the header was changed")
	}
	i := 0
	if _, err := AddFileSignatures(file, func(string) ([]byte, error) { i++; return make([]byte, i), nil }); err == nil || !strings.Contains(err.Error(), "one length") {
		t.Errorf("signatures of several lengths: %v", err)
	}
	if !bytes.Equal(once, readBytes(t, file)) {
		t.Error("a failure left the package changed")
	}
}

func FuzzRPMHeader(f *testing.F) {
	f.Add(marshalRPMHeader([]rpmEntry{{sigTagFileSignatures, typeStringArray, 2, []byte("aa\x00\x00")}, {sigTagFileSignatureLength, typeInt32, 1, []byte{0, 0, 0, 1}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		w := newWalker("fuzz", bytes.NewReader(b), int64(len(b)))
		h, _, err := w.rpmHeader(0)
		if err != nil {
			return
		}
		h.files()
		h.strings(sigTagFileSignatures)
		entries, err := h.entries()
		if err != nil {
			return
		}
		again := marshalRPMHeader(entries)
		w = newWalker("fuzz", bytes.NewReader(again), int64(len(again)))
		if _, _, err := w.rpmHeader(0); err != nil && len(entries) < maxTags {
			t.Errorf("what was read cannot be written: %v", err)
		}
	})
}

func readBytes(t testing.TB, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
