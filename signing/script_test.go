package signing

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"
)

// TestScripts signs scripts of each type and encoding, breaks the signature block as
// git does, and signs again: one block is left, which osslsigncode accepts. Unsign
// gives the text back.
func TestScripts(t *testing.T) {
	t.Parallel()
	w := sharedWorld()
	wide := func(s string) string {
		b := []byte("\xff\xfe")
		for _, u := range utf16.Encode([]rune(s)) {
			b = append(b, byte(u), byte(u>>8))
		}
		return string(b)
	}
	for ext, text := range map[string]string{".ps1": "echo 'ü'\r\n", ".psm1": "echo 'ü'", ".psd1": "@{ü='b'}\n", ".ps1xml": "<a>ü</a>\r\n", ".psc1": "<a>ü</a>\r\n\r\n", ".cdxml": "<a>ü</a>\r\n", ".mof": "class ü {};\r\n"} {
		for encoding, content := range map[string]string{"ascii": strings.ReplaceAll(text, "ü", "u"), "utf8": "\xef\xbb\xbf" + text, "utf16": wide(text)} {
			t.Run(encoding+ext, func(t *testing.T) {
				t.Parallel()
				src := filepath.Join(t.TempDir(), encoding+ext)
				if err := os.WriteFile(src, []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
				good := readFile(t, mustSign(t, SIP{}, src, w.key, w.tsa))
				broken := append(bytes.Clone(good), "\r\n"...)
				if encoding == "utf16" {
					broken = append(bytes.Clone(good), "\r\x00\n\x00"...)
				}
				if err := os.WriteFile(src, broken, 0o644); err != nil {
					t.Fatal(err)
				}
				_, err := SIP{}.Verify(t.Context(), src, w.trust())
				wantError(t, err, Tampered, RuleDigest)
				_, changed, err := (Config{}).SignInPlace(t.Context(), src, w.key, w.tsa, w.trust())
				if err != nil || !changed {
					t.Fatalf("signing again: changed=%v, %v", changed, err)
				}
				if n := bytes.Count(bytes.ReplaceAll(readFile(t, src), []byte{0}, nil), []byte("SIG # Begin")); n != 1 {
					t.Errorf("%d blocks", n)
				}
				if osslReads(t, src) {
					if out, err := osslVerify(t, w, src); err != nil {
						t.Errorf("osslsigncode: %v\n%s", err, out)
					}
				}
				if err := Unsign(t.Context(), src, src); err != nil || string(readFile(t, src)) != content {
					t.Errorf("without its signature: %q, %v", readFile(t, src), err)
				}
				wantError(t, Unsign(t.Context(), src, src), Unsigned, RulePresent)
			})
		}
	}
}

// TestEmptyScript refuses to sign a script without a text.
func TestEmptyScript(t *testing.T) {
	t.Parallel()
	dst := filepath.Join(t.TempDir(), "out.ps1")
	_, err := SIP{}.Sign(t.Context(), writeFile(t, "a.ps1", nil, 0o644), dst, sharedWorld().key, nil)
	wantError(t, err, Malformed, RuleFormat)
	if _, err := os.Stat(dst); err == nil {
		t.Error("a file was left")
	}
}

// TestScriptHost refuses files of Windows Script Host by their name.
func TestScriptHost(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a.js", "a.vbs", "a.wsf"} {
		_, err := Config{}.For(writeFile(t, name, []byte("x = 1"), 0o644))
		wantError(t, err, Unsupported, RuleFormat)
		if err == nil || !strings.Contains(err.Error(), "Windows Script Host") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
