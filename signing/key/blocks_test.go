package key

import (
	"bytes"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"software.sslmate.com/src/go-pkcs12"
)

func TestBlocks(t *testing.T) {
	w := theWorld()
	good := certPEM(w.leaf, w.inter)
	lines := strings.Split(string(good), "\n")
	for name, text := range map[string]string{
		"as written":         string(good),
		"byte order mark":    "\xef\xbb\xbf" + string(good),
		"indented":           "  " + strings.Join(lines, "\n\t "),
		"carriage returns":   strings.Join(lines, "\r\n"),
		"blanks at the ends": strings.Join(lines, "  \n"),
		"text between":       "subject=x\n" + string(good) + "\nend",
	} {
		blocks, err := Blocks([]byte(text))
		if err != nil || len(blocks) != 2 || !bytes.Equal(blocks[0].Bytes, w.leaf.Raw) || !bytes.Equal(blocks[1].Bytes, w.inter.Raw) {
			t.Errorf("%s: %d blocks, %v", name, len(blocks), err)
		}
	}
	second := 1 + strings.Count(string(certPEM(w.leaf)), "\n")
	for name, c := range map[string]struct {
		text string
		line int
		want string
	}{
		"trusted":    {string(pem.EncodeToMemory(&pem.Block{Type: "TRUSTED CERTIFICATE", Bytes: append(bytes.Clone(w.leaf.Raw), 0x30, 0)})), 1, "TRUSTED CERTIFICATE"},
		"cut":        {string(good[:len(good)-40]), second, "damaged"},
		"damaged":    {strings.Replace(string(good), lines[3], "*"+lines[3][1:], 1), 1, "damaged"},
		"UTF-16":     {"\xff\xfe-\x00", 0, "UTF-16"},
		"in another": {lines[0] + "\n" + string(good), 1, "damaged"},
	} {
		_, err := Blocks([]byte(c.text))
		var b *BlockError
		if !errors.As(err, &b) || b.Line != c.line || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want line %d and %q", name, err, c.line, c.want)
		}
	}
}

// toBER writes every constructed element of a DER document with an indefinite
// length, and each octet string of more than 40 bytes in two segments, as NSS does.
func toBER(t *testing.T, der []byte, third bool) []byte {
	t.Helper()
	var v asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &v); err != nil || len(rest) > 0 {
		t.Fatal(err, len(rest))
	}
	octets := v.Class == asn1.ClassUniversal && v.Tag == asn1.TagOctetString || third && der[0] == 0x80
	segments := func(b []byte) []byte {
		var out []byte
		for _, part := range [][]byte{b[:len(b)/2], b[len(b)/2:]} {
			s, err := asn1.Marshal(part)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, s...)
		}
		return append(out, 0, 0)
	}
	switch {
	case octets && len(v.Bytes) > 40:
		return append([]byte{der[0] | 0x20, 0x80}, segments(v.Bytes)...)
	case !v.IsCompound:
		return der
	}
	out := []byte{der[0], 0x80}
	for i, rest := 0, v.Bytes; len(rest) > 0; i++ {
		var e asn1.RawValue
		after, err := asn1.Unmarshal(rest, &e)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, toBER(t, e.FullBytes, i == 2)...)
		rest = after
	}
	return append(out, 0, 0)
}

func TestPFXInBER(t *testing.T) {
	w := theWorld()
	der, err := pkcs12.Modern2023.Encode(w.rsaKey, w.leaf, nil, "hunter22")
	if err != nil {
		t.Fatal(err)
	}
	ber := toBER(t, der, false)
	if back, err := berToDER(ber); err != nil || !bytes.Equal(back, der) {
		t.Errorf("BER to DER: %d bytes of %d, %v", len(back), len(der), err)
	}
	if back, err := berToDER(der); err != nil || !bytes.Equal(back, der) {
		t.Errorf("DER to DER: %v", err)
	}
	dir := t.TempDir()
	o := Options{Password: func(string) ([]byte, error) { return []byte("hunter22"), nil }}
	for name, data := range map[string][]byte{
		"ber.pfx": ber,
		"b64.pfx": []byte(base64.StdEncoding.EncodeToString(der) + "\n"),
		"bin.pfx": der,
	} {
		if m, err := readPFX(write(t, dir, name, data), o); err != nil || !m.certs[0].Equal(w.leaf) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if openssl, err := exec.LookPath("openssl"); err != nil {
		t.Log("SKIP of the comparison: openssl is not installed")
	} else if out, err := exec.Command(openssl, "pkcs12", "-in", filepath.Join(dir, "ber.pfx"), "-passin", "pass:hunter22", "-nokeys").CombinedOutput(); err != nil || !bytes.Contains(out, []byte("BEGIN CERTIFICATE")) {
		t.Errorf("openssl does not read the BER file of this test: %v\n%s", err, out)
	}
	for n := range len(ber) {
		if _, err := berToDER(ber[:n]); err == nil {
			t.Fatalf("cut after %d of %d bytes: accepted", n, len(ber))
		}
	}
	if _, err := berToDER(append(bytes.Clone(ber), 0)); err == nil {
		t.Error("a byte behind it is accepted")
	}
	if _, err := berToDER(bytes.Repeat([]byte{0x30, 0x80}, 1000)); err == nil {
		t.Error("1000 levels are accepted")
	}
	if _, err := readPFX(write(t, dir, "bad64.pfx", []byte("MIIK*"+base64.StdEncoding.EncodeToString(der))), o); err == nil || !strings.Contains(err.Error(), "base64") {
		t.Errorf("damaged base64: %v", err)
	}
}

// A password with the newline of the file that it was kept in.
func TestPasswordWithNewline(t *testing.T) {
	w := theWorld()
	dir := t.TempDir()
	der, err := pkcs12.Modern2023.Encode(w.rsaKey, w.leaf, nil, "hunter22")
	if err != nil {
		t.Fatal(err)
	}
	key := write(t, dir, "key.pem", keyPEM(t, w.rsaKey))
	encrypted := filepath.Join(dir, "enc.pem")
	if out, err := exec.Command("openssl", "pkcs8", "-topk8", "-v2", "aes-256-cbc", "-passout", "pass:hunter22", "-in", key, "-out", encrypted).CombinedOutput(); err != nil {
		t.Skipf("openssl pkcs8: %v\n%s", err, out)
	}
	pfx := write(t, dir, "key.pfx", der)
	for _, file := range []string{pfx, encrypted} {
		read := func(password string) ([]string, error) {
			var notes []string
			o := Options{Password: func(string) ([]byte, error) { return []byte(password), nil }, Note: func(l string) { notes = append(notes, l) }}
			if file == pfx {
				_, err := readPFX(file, o)
				return notes, err
			}
			_, err := readPEMFile(file, o, true)
			return notes, err
		}
		for _, end := range []string{"\n", "\r\n"} {
			notes, err := read("hunter22" + end)
			if err != nil || len(notes) != 1 || strings.Contains(notes[0], "hunter") || !strings.Contains(notes[0], "newline") {
				t.Errorf("%s with %q: %v, notes %q", file, end, err, notes)
			}
		}
		if notes, err := read("hunter22"); err != nil || notes != nil {
			t.Errorf("%s: %v, notes %q", file, err, notes)
		}
		var wrong *PasswordError
		if notes, err := read("hunter2\n"); !errors.As(err, &wrong) || notes != nil {
			t.Errorf("%s with a wrong password: %v, notes %q", file, err, notes)
		}
	}
}

func FuzzBER(f *testing.F) {
	f.Add([]byte{0x30, 0x80, 0x24, 0x80, 4, 1, 'a', 4, 1, 'b', 0, 0, 0, 0})
	f.Add([]byte{0x30, 0x80, 6, 1, 1, 0x30, 0, 0xa0, 0x80, 4, 1, 'x', 0, 0, 0, 0})
	if data, err := os.ReadFile("../../testdata/signatures/cat3100.cat"); err == nil {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		der, err := berToDER(data)
		if err != nil {
			return
		}
		if len(der) > 2*len(data)+64 { // a definite length may take more octets than an indefinite one
			t.Fatalf("%d bytes became %d", len(data), len(der))
		}
		again, err := berToDER(der)
		if err != nil || !bytes.Equal(again, der) {
			t.Fatalf("not stable: %v", err)
		}
	})
}
