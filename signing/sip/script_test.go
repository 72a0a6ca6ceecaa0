package sip

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// openTest opens a script, and returns its signature.
func openTest(t *testing.T, name string, b []byte) (*script, []byte, error) {
	t.Helper()
	s, err := Open(name, bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	der, err := s.Signature()
	return s.(*script), der, err
}

// signError signs a script and returns the error.
func signError(t *testing.T, name string, b []byte) error {
	t.Helper()
	s, _, _ := openTest(t, name, b)
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return s.Sign(f, hashOf(s), &fakeSigner{})
}

// scripts has a text in each type of script and encoding.
func scripts() map[string][]byte {
	all := make(map[string][]byte)
	for ext, text := range map[string]string{".ps1": "echo 'a'\r\n", ".psm1": "echo 'a'", ".psd1": "@{a='b'}\n", ".ps1xml": "<a>b</a>\r\n", ".psc1": "<a>b</a>\r\n\r\n", ".cdxml": "<a/>\r\n", ".mof": "class a {};\r\n"} {
		all["ascii"+ext] = []byte(text)
		all["marked"+ext] = []byte(markUTF8 + strings.Replace(text, "a", "grüße 😀", 1))
		all["wide"+ext] = append([]byte(markUTF16), utf16LE(strings.Replace(text, "a", "grüße 😀", 1))...)
	}
	return all
}

// asText edits a script as characters.
func asText(b []byte, edit func(string) string) []byte {
	if bytes.HasPrefix(b, []byte(markUTF16)) {
		return append([]byte(markUTF16), utf16LE(edit(decodeUTF16LE(b[2:])))...)
	}
	return []byte(edit(string(b)))
}

// TestBlocks changes the signature block of each type of script in each encoding, as
// git and editors do. It is then broken, not absent, and signing again or taking the
// signature off mends it.
func TestBlocks(t *testing.T) {
	t.Parallel()
	edits := map[string]func(string) string{
		"LF": func(s string) string { return strings.ReplaceAll(s, "\r\n", "\n") },
		"CR": func(s string) string { return strings.ReplaceAll(s, "\r\n", "\r") },
		"LF in the block": func(s string) string {
			i := strings.Index(s, "SIG #")
			return s[:i] + strings.ReplaceAll(s[i:], "\r\n", "\n")
		},
		"newline too many":       func(s string) string { return s + "\r\n" },
		"newlines too many":      func(s string) string { return s + "\n\n  \n" },
		"newline too few":        func(s string) string { return strings.TrimSuffix(s, "\r\n") },
		"cut in the block":       func(s string) string { return s[:strings.Index(s, "SIG # End")-20] },
		"marker in another case": func(s string) string { return strings.Replace(s, "Begin signature", "begin  Signature", 1) },
		"two blocks": func(s string) string {
			i := strings.Index(s, "\r\n"+strings.Split(s[strings.LastIndex(s[:strings.Index(s, "SIG # Begin")], "\n")+1:], "SIG")[0])
			return s + s[i+2:]
		},
		"indented": func(s string) string { return strings.ReplaceAll(s, "\r\n#", "\r\n  #") },
		"longer lines": func(s string) string {
			i := strings.Index(s, "BC")
			return s[:max(i, 0)] + strings.Replace(s[max(i, 0):], "BC", "B C", 1)
		},
	}
	for name, text := range scripts() {
		good := signed(t, name, text)
		if _, der, err := openTest(t, name, good); der == nil || err != nil {
			t.Fatalf("%s: %x, %v", name, der, err)
		}
		if _, der, err := openTest(t, name, text); der != nil || err != nil {
			t.Errorf("%s is unsigned: %x, %v", name, der, err)
		}
		for how, edit := range edits {
			bad := asText(good, edit)
			if bytes.Equal(bad, good) {
				continue
			}
			s, der, err := openTest(t, name, bad)
			var tampered *TamperedError
			if der != nil || !errors.As(err, &tampered) {
				t.Errorf("%s, %s: %x, %v, want a TamperedError", name, how, der, err)
				continue
			}
			again := signed(t, name, bad)
			if _, der, err := openTest(t, name, again); der == nil || err != nil {
				t.Errorf("%s, %s: signed again: %x, %v", name, how, der, err)
			}
			if n := strings.Count(asString(again), "SIG # Begin"); n != 1 {
				t.Errorf("%s, %s: signed again, it has %d blocks", name, how, n)
			}
			var out bytes.Buffer
			if err := s.Unsign(&out); err != nil {
				t.Errorf("%s, %s: taking the signature off: %v", name, how, err)
			}
			if strings.Contains(asString(out.Bytes()), "SIG #") || how != "LF" && how != "CR" && how != "indented" && !bytes.Equal(out.Bytes(), text) {
				t.Errorf("%s, %s: without its signature it is %q", name, how, out.Bytes())
			}
		}
	}
}

func asString(b []byte) string {
	if bytes.HasPrefix(b, []byte(markUTF16)) {
		return decodeUTF16LE(b)
	}
	return string(b)
}

// TestUnsignable has scripts that cannot be signed, and what is said of them.
func TestUnsignable(t *testing.T) {
	t.Parallel()
	good := string(signed(t, "a.ps1", []byte("echo 'a'\r\n")))
	end := "# SIG # End signature block\r\n"
	for i, test := range []struct {
		b    string
		want string
	}{
		{"", "nothing to sign"},
		{markUTF8, "nothing to sign"},
		{markUTF16, "nothing to sign"},
		{"abc", "nothing to sign"},
		{good[strings.Index(good, "# SIG"):], "nothing to sign"},
		{good + "echo 'b'\r\n", fmt.Sprintf("line %d: move it above", strings.Count(good, "\n")+1)},
		{good + "# a comment\r\n", "follows the signature block"},
		{good + "echo 'b'\r\n" + good, "follows the signature block"},
		{strings.Replace(good, end, "echo 'b'\r\n"+end, 1), "does not belong to it"},
		{strings.Replace(good, "# SIG # Begin signature block", "# gone", 1), "begins nowhere"},
	} {
		if err := signError(t, "a.ps1", []byte(test.b)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%d: got %v, want %q", i, err, test.want)
		}
		if _, der, err := openTest(t, "a.ps1", []byte(test.b)); strings.Contains(test.b, "SIG # End") && i > 4 && (der != nil || err == nil) {
			t.Errorf("%d: verified as %x, %v", i, der, err)
		}
	}
	// What is no line of its own is no block.
	for _, text := range []string{"$a = '# SIG # Begin signature block'\r\n", "echo # SIG # Begin signature block\r\n"} {
		if _, der, err := openTest(t, "a.ps1", []byte(text)); der != nil || err != nil {
			t.Errorf("%q: %x, %v", text, der, err)
		}
		if err := signError(t, "a.ps1", []byte(text)); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestLargeScript bounds the memory that the largest script takes.
func TestLargeScript(t *testing.T) {
	for name, b := range map[string][]byte{
		"lines.ps1": bytes.Repeat([]byte("#\n"), maxScript/2), "line.ps1": bytes.Repeat([]byte("a"), maxScript),
		"wide.ps1":   append([]byte(markUTF16), bytes.Repeat([]byte("a\x00\n\x00"), maxScript/4-1)...),
		"blocks.ps1": bytes.Repeat([]byte("# SIG # Begin signature block\r\n"), maxScript/31),
	} {
		before := allocated()
		s, err := Open(name, bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		s.Signature()
		if _, err := s.Digest(hashOf(s)); err != nil {
			t.Fatal(err)
		}
		if n := allocated() - before; n > 200<<20 {
			t.Errorf("%s: %d MB were allocated", name, n>>20)
		}
	}
}

// TestScriptHost names the files of Windows Script Host in the error.
func TestScriptHost(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a.js", "a.JSE", "a.vbs", "a.vbe", "a.wsf"} {
		_, err := Open(name, bytes.NewReader([]byte("x = 1")), 5)
		if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "Windows Script Host") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
