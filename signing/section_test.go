package signing

import (
	"bytes"
	"crypto"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tinyELF32 is a big-endian 32-bit file with one section of names.
func tinyELF32() []byte {
	be := binary.BigEndian
	b := make([]byte, 64)
	copy(b, "\x7fELF\x01\x02\x01")
	be.PutUint16(b[16:], 1) // ET_REL
	be.PutUint16(b[18:], 8) // MIPS
	be.PutUint32(b[32:], 64)
	be.PutUint16(b[46:], 40)
	be.PutUint16(b[48:], 2)
	be.PutUint16(b[50:], 1)
	copy(b[52:], "\x00.shstrtab\x00")
	names := make([]byte, 40)
	be.PutUint32(names, 1)
	be.PutUint32(names[4:], 3)
	be.PutUint32(names[16:], 52)
	be.PutUint32(names[20:], 11)
	return append(append(b, make([]byte, 40)...), names...)
}

// TestSection signs files of each class and byte order, has readelf and OpenSSL
// look at the result, runs it, and takes the signature off again.
func TestSection(t *testing.T) {
	t.Parallel()
	w := sharedWorld()
	for name, src := range map[string]string{
		"go": goProgram(t, "linux", "amd64", "-s -w"), "arm": goProgram(t, "linux", "arm", "-s -w"),
		"big-endian": writeFile(t, "x", tinyELF32(), 0o644), "no sections": writeFile(t, "x", tinyELF(), 0o755),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			original := readFile(t, src)
			good := mustSign(t, Section{}, src, w.key, w.tsa)
			if sig, err := (Section{}).Verify(t.Context(), good, w.trust()); err != nil || sig.Time.IsZero() {
				t.Fatalf("%v, %v", sig, err)
			}
			out, err := run(t, lookTool(t, "readelf", "binutils"), "-SW", good)
			if err != nil || !strings.Contains(out, SectionName) || strings.Contains(out, "Warning") || strings.Contains(out, "Error") {
				t.Errorf("readelf: %v\n%s", err, out)
			}
			b := readFile(t, good)
			r, err := Section{}.original(bytes.NewReader(b), int64(len(b)))
			if err != nil {
				t.Fatal(err)
			}
			if back, err := io.ReadAll(io.NewSectionReader(r, 0, r.size)); err != nil || !bytes.Equal(back, original) {
				t.Errorf("the original is not what comes back: %v", err)
			}
			once, twice := mustSign(t, Section{}, src, w.key, nil), mustSign(t, Section{}, good, w.key, nil)
			if !bytes.Equal(readFile(t, once), readFile(t, twice)) {
				t.Error("signing again did not replace the signature")
			}
			_, err = Section{}.Verify(t.Context(), src, w.trust())
			wantError(t, err, Unsigned, RulePresent)
			_, err = Appended{}.Sign(t.Context(), good, filepath.Join(t.TempDir(), "both"), w.key, w.tsa)
			wantError(t, err, Unsupported, RuleTrailing)
			_, err = Section{}.Verify(t.Context(), appendedTo(t, good, w), w.trust())
			wantError(t, err, Malformed, RuleTrailing)
			if name != "go" {
				return
			}
			if out, err := run(t, good); err != nil || !strings.Contains(out, "hello") {
				t.Errorf("it does not run: %v\n%s", err, out)
			}
			judgeSection(t, w, good, src)
		})
	}
}

// judgeSection has objcopy take the section out, and OpenSSL hold the CMS in it
// against the original.
func judgeSection(t *testing.T, w *world, signed, src string) {
	t.Helper()
	dumped := filepath.Join(t.TempDir(), "section")
	if out, err := run(t, lookTool(t, "objcopy", "binutils"), "--dump-section", SectionName+"="+dumped, signed, os.DevNull); err != nil {
		t.Fatalf("objcopy: %v\n%s", err, out)
	}
	der := writeFile(t, "der", readFile(t, dumped)[sectionPrefix:], 0o644)
	bad := readFile(t, src)
	bad[1000] ^= 1
	for file, want := range map[string]bool{src: true, writeFile(t, "bad", bad, 0o644): false} {
		out, err := run(t, lookTool(t, "openssl", "openssl"), "cms", "-verify", "-binary", "-inform", "DER", "-in", der, "-content", file,
			"-CAfile", pemFile(t, w.ca.cert), "-purpose", "any", "-out", os.DevNull)
		if (err == nil) != want {
			t.Errorf("openssl on %s: %v\n%s", file, err, out)
		}
	}
}

// appendedTo returns a copy of a file with an appended signature, which hallmark
// makes of no file with a section of signatures.
func appendedTo(t *testing.T, file string, w *world) string {
	t.Helper()
	b := readFile(t, file)
	return writeFile(t, filepath.Base(file), append(bytes.Clone(b), appendTrailer(bareCMS(t, w, crypto.SHA256, b))...), 0o755)
}
