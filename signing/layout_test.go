package signing

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// layout builds a PE file that no program would run, and every signer should sign.
type layout struct {
	wide        bool // PE32+
	machine     uint16
	directories int
	sections    []page // where they lie, in the order of their headers
	size        int
}

func (l layout) build() []byte {
	le := binary.LittleEndian
	b := make([]byte, l.size)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	clear(b[:512])
	copy(b, "MZ")
	const pe = 64
	le.PutUint32(b[60:], pe)
	copy(b[pe:], "PE\x00\x00")
	fixed := 96
	if l.wide {
		fixed = 112
	}
	le.PutUint16(b[pe+4:], l.machine)
	le.PutUint16(b[pe+6:], uint16(len(l.sections)))
	le.PutUint16(b[pe+20:], uint16(fixed+8*l.directories))
	le.PutUint16(b[pe+22:], 0x22)
	opt := b[pe+24:]
	le.PutUint16(opt, map[bool]uint16{false: 0x10b, true: 0x20b}[l.wide])
	le.PutUint32(opt[32:], 4096)
	le.PutUint32(opt[36:], 512)
	le.PutUint32(opt[56:], uint32(4096*(len(l.sections)+1)))
	le.PutUint32(opt[60:], 512)
	le.PutUint16(opt[68:], 10) // EFI application
	le.PutUint32(opt[fixed-4:], uint32(l.directories))
	for i, s := range l.sections {
		h := opt[fixed+8*l.directories+40*i:]
		copy(h, fmt.Sprintf(".s%d", i))
		le.PutUint32(h[8:], uint32(s.end-s.start))
		le.PutUint32(h[12:], uint32(4096*(i+1)))
		le.PutUint32(h[16:], uint32(s.end-s.start))
		le.PutUint32(h[20:], uint32(s.start))
	}
	return b
}

// TestLayouts signs files as linkers other than the usual leave them. osslsigncode
// must agree on the digest and verify our signature, and we its.
func TestLayouts(t *testing.T) {
	t.Parallel()
	w := sharedWorld()
	tool := lookTool(t, "osslsigncode", "osslsigncode")
	files := map[string]string{
		"DLL": sample(t, "kernel32.dll"), "SYS": sample(t, "WdBoot.sys"),
	}
	for name, l := range map[string]layout{
		"PE32":                     {false, 0x14c, 16, []page{{512, 1024}, {1024, 2048}}, 2048},
		"PE32+":                    {true, 0x8664, 16, []page{{512, 1024}, {1024, 2048}}, 2048},
		"ARM64":                    {true, 0xaa64, 16, []page{{512, 1024}}, 1024},
		"gap after the headers":    {true, 0x8664, 16, []page{{1024, 1536}, {1536, 2048}}, 2048},
		"gap between sections":     {true, 0x8664, 16, []page{{512, 1024}, {2048, 2560}}, 2560},
		"sections out of order":    {true, 0x8664, 16, []page{{1536, 2048}, {512, 1536}}, 2048},
		"unpadded last section":    {true, 0x8664, 16, []page{{512, 1024}, {1024, 1543}}, 1543},
		"six data directories":     {true, 0x8664, 6, []page{{512, 1024}}, 1024},
		"five data directories":    {false, 0x14c, 5, []page{{512, 1024}}, 1024},
		"overlay":                  {true, 0x8664, 16, []page{{512, 1024}}, 3333},
		"overlay of 8 bytes times": {true, 0x8664, 16, []page{{512, 1024}}, 4096},
	} {
		files[name] = writeFile(t, strings.ReplaceAll(name, " ", "-")+".exe", l.build(), 0o755)
	}
	for vmlinuz := range kernelsIfAny() {
		files[filepath.Base(filepath.Dir(vmlinuz))] = vmlinuz
	}
	for name, src := range files {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			good := mustSign(t, Authenticode{}, src, w.key, w.tsa)
			sig, err := Authenticode{}.Verify(t.Context(), good, w.trust())
			if err != nil {
				t.Fatal(err)
			}
			out, err := osslVerify(t, w, good)
			if err != nil {
				t.Errorf("osslsigncode refuses ours: %v\n%s", err, out)
			}
			theirs := regexp.MustCompile(`Calculated message digest *: ([0-9A-F]+)`).FindStringSubmatch(out)
			if len(theirs) != 2 || theirs[1] != fmt.Sprintf("%X", sig.Digest) {
				t.Errorf("osslsigncode's digest is %v, ours %X", theirs, sig.Digest)
			}
			b := readFile(t, good)
			b[p4(b)] ^= 1
			if _, err := osslVerify(t, w, writeFile(t, "bad.exe", b, 0o644)); err == nil {
				t.Error("osslsigncode accepts the damaged twin")
			}
			_, err = Authenticode{}.Verify(t.Context(), writeFile(t, "bad.exe", b, 0o644), w.trust())
			wantError(t, err, Tampered, "")

			dst := filepath.Join(t.TempDir(), "theirs.exe")
			if out, err := run(t, tool, "sign", "-h", "sha256", "-certs", pemFile(t, w.key.Chain...), "-key", keyFile(t, w.key.Signer), "-in", src, "-out", dst); err != nil {
				t.Fatalf("osslsigncode sign: %v\n%s", err, out)
			}
			trust := w.trust()
			trust.Policy.Off = []Rule{RuleTimestamp}
			if _, err := (Authenticode{}).Verify(t.Context(), dst, trust); err != nil {
				t.Errorf("we refuse osslsigncode's: %v", err)
			}
			plain, again := filepath.Join(t.TempDir(), "plain"), filepath.Join(t.TempDir(), "again")
			if err := Unsign(t.Context(), good, plain); err != nil {
				t.Fatal(err)
			}
			if _, err := (Authenticode{}).Sign(t.Context(), plain, again, w.key, nil); err != nil {
				t.Fatal(err)
			}
			if once := mustSign(t, Authenticode{}, src, w.key, nil); !bytes.Equal(readFile(t, once), readFile(t, again)) {
				t.Error("signed, unsigned and signed it is another file")
			}
		})
	}
}

// p4 is where a byte of the content is: behind the headers.
func p4(b []byte) int { return min(900, int(binary.LittleEndian.Uint32(b[certDirOf(b):]))-1) }

// kernelsIfAny is kernels, where there are some: the layouts above have all that
// is special of them.
func kernelsIfAny() map[string]string {
	found := make(map[string]string)
	cache, err := os.UserCacheDir()
	if err != nil {
		return found
	}
	images, err := filepath.Glob(filepath.Join(cache, "hallmark", "kernels", "*", "vmlinuz"))
	if err != nil {
		return found
	}
	for _, name := range images {
		found[name] = name
	}
	return found
}
