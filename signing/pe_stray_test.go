package signing

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// TestStrayTable signs files whose header names a certificate table that is not at
// their end: a signed stub with a payload behind it, and what has the header of a
// signed installer. The new signature covers all of it, and osslsigncode accepts it.
func TestStrayTable(t *testing.T) {
	t.Parallel()
	w := sharedWorld()
	stub := readFile(t, mustSign(t, Authenticode{}, sample(t, "impbyord.exe"), w.key, w.tsa))
	p, err := readPE(bytes.NewReader(stub), int64(len(stub)))
	if err != nil {
		t.Fatal(err)
	}
	moved := func(b []byte, offset int64) []byte {
		b = bytes.Clone(b)
		binary.LittleEndian.PutUint32(b[p.certDir:], uint32(offset))
		return b
	}
	content := stub[:p.tableOffset]
	for name, test := range map[string]struct {
		b    []byte
		rule Rule // of the refusal before it is signed again
	}{
		"a payload behind the table":        {append(bytes.Clone(stub), "payload of an odd length"...), RuleTrailing},
		"a table at the end of the file":    {content, RuleTable},
		"a table behind the end":            {moved(content, 1<<20), RuleTable},
		"another content where it begins":   {append(bytes.Clone(content), bytes.Repeat([]byte("data"), 50)...), RuleTable},
		"a table that begins in the header": {moved(stub, 8), RuleTable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			src := writeFile(t, "a.exe", test.b, 0o755)
			_, err := Authenticode{}.Verify(t.Context(), src, w.trust())
			wantError(t, err, Malformed, test.rule)
			good := mustSign(t, Authenticode{}, src, w.key, w.tsa)
			b := readFile(t, good)
			for _, i := range []int{len(content) - 1, len(test.b) - 1} {
				bad := bytes.Clone(b)
				bad[i] ^= 1
				_, err := verifyBytes(t, Authenticode{}, bad, w.trust())
				wantError(t, err, Tampered, RuleDigest)
			}
			if got := b[p.certDir+8 : len(test.b)]; !bytes.Equal(got, test.b[p.certDir+8:]) {
				t.Error("signing changed the content")
			}
			if out, err := osslVerify(t, w, good); err != nil {
				t.Errorf("osslsigncode: %v\n%s", err, out)
			}
			if again := mustSign(t, Authenticode{}, good, w.key, nil); len(readFile(t, again)) >= len(b) {
				t.Error("signing again did not replace the signature")
			}
		})
	}
	t.Run("cut short", func(t *testing.T) {
		t.Parallel()
		_, err := Authenticode{}.Sign(t.Context(), writeFile(t, "a.exe", stub[:len(stub)-100], 0o755), t.TempDir()+"/out.exe", w.key, nil)
		wantError(t, err, Malformed, RuleTable)
	})
}
