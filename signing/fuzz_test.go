package signing

import (
	"bytes"
	"context"
	"crypto"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime/metrics"
	"strings"
	"testing"

	"github.com/hallmark-build/hallmark/signing/cms"
	"github.com/hallmark-build/hallmark/signing/sip"
)

// maxAllocated is how much memory the reading of one small file may ask for, all
// together: a length field must not be believed before it is held against the
// file.
const maxAllocated = 64 << 20

// bounded runs f and fails if it allocates more than maxAllocated. It counts what
// the whole process allocates, so nothing else may run meanwhile.
func bounded(t testing.TB, f func()) {
	t.Helper()
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	before := sample[0].Value.Uint64()
	f()
	metrics.Read(sample)
	if n := sample[0].Value.Uint64() - before; n > maxAllocated {
		t.Errorf("%d MB were allocated", n>>20)
	}
}

// realTables are certificate tables of files that others have signed: with nested
// signatures, old countersignatures, page hashes, and Microsoft's timestamps.
func realTables(f *testing.F) map[string][]byte {
	tables := make(map[string][]byte)
	for _, name := range []string{"WdBoot.sys", "putty.exe", "kernel32.dll", "acpi.sys", "mfc140u.dll", "brave.exe", "liblzo2-2.dll", "pwsh.exe", "mscorlib.dll"} {
		b := readFile(f, sample(f, name))
		p, err := readPE(bytes.NewReader(b), int64(len(b)))
		if err != nil || p.tableOffset == 0 {
			f.Fatalf("%s: %v", name, err)
		}
		tables[name] = b[p.tableOffset:]
	}
	return tables
}

func FuzzVerifyPE(f *testing.F) {
	w := sharedWorld()
	signed := readFile(f, mustSign(f, Authenticode{Description: "x", URL: "https://x.example", PageHashes: true}, sample(f, "impbyord.exe"), w.key, w.tsa))
	f.Add(signed)
	f.Add(readFile(f, sample(f, "impbyord.exe")))
	f.Add(readFile(f, sample(f, "WdBoot.sys")))
	trust := w.trust()
	f.Fuzz(func(t *testing.T, b []byte) {
		bounded(t, func() {
			if _, err := verifyPE(t.Context(), bytes.NewReader(b), int64(len(b)), trust); err == nil && !bytes.Equal(b, signed) {
				t.Error("accepted a file that was never signed")
			}
			inspectPE(t.Context(), bytes.NewReader(b), int64(len(b)), trust, new(Report))
		})
	})
}

// FuzzCertificateTable reads tables, and all that is in their signatures: PKCS #7,
// SPC, page hashes, timestamps, countersignatures, certificates.
func FuzzCertificateTable(f *testing.F) {
	for _, table := range realTables(f) {
		f.Add(table)
	}
	w := sharedWorld()
	file := readFile(f, sample(f, "impbyord.exe"))
	p, err := readPE(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, table []byte) {
		bounded(t, func() {
			for _, off := range [][]Rule{nil, {RulePadding, RuleLegacy, RuleWeak, RuleTSA, RuleChain, RuleCertificate, RuleUnsigned, RuleDER}} {
				trust := w.trust()
				trust.Policy.Off = off
				ders, err := readTable(table, 0, trust)
				if err != nil {
					continue
				}
				for _, der := range ders {
					v := &peVerifier{ctx: t.Context(), file: p, r: bytes.NewReader(file), trust: trust, digests: map[crypto.Hash][]byte{}, pages: map[crypto.Hash][]byte{}}
					if _, err := v.verify(der, 0); err == nil {
						t.Error("accepted for a file that was never signed")
					}
					if sd, err := cms.Parse(der); err == nil {
						parseIndirectData(sd.Content)
						checkSigner(sd, sd.ContentDigest, trust, authenticodeAttributes(true))
					}
				}
			}
		})
	})
}

func FuzzVerifyAppended(f *testing.F) {
	w := sharedWorld()
	signed := readFile(f, mustSign(f, Appended{}, writeFile(f, "tiny", tinyELF(), 0o755), w.key, w.tsa))
	f.Add(signed)
	f.Add(tinyELF())
	old := append(tinyELF(), "signer"...)
	fields := [trailerSize]byte{1, 4, 1, 2, 3, 11: 1}
	f.Add(append(append(old, fields[:]...), trailerMagic...))
	trust := w.trust()
	f.Fuzz(func(t *testing.T, b []byte) {
		bounded(t, func() {
			if _, err := verifyAppended(t.Context(), bytes.NewReader(b), int64(len(b)), trust); err == nil && !bytes.Equal(b, signed) {
				t.Error("accepted a file that was never signed")
			}
			if n, err := contentSize(bytes.NewReader(b), int64(len(b))); err == nil && (n < 0 || n > int64(len(b))) {
				t.Errorf("%d of %d bytes are signed", n, len(b))
			}
			checkELF(bytes.NewReader(b), int64(len(b)))
		})
	})
}

func FuzzVerifySection(f *testing.F) {
	w := sharedWorld()
	for _, b := range [][]byte{tinyELF(), tinyELF32()} {
		f.Add(b)
		f.Add(readFile(f, mustSign(f, Section{}, writeFile(f, "x", b, 0o755), w.key, nil)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		bounded(t, func() {
			verifySection(t.Context(), bytes.NewReader(b), int64(len(b)), Trust{})
			if s, err := readSections(bytes.NewReader(b), int64(len(b))); err == nil {
				s.patch(bytes.Clone(b[:min(64, len(b))]), int64(len(b)), []byte{0x30, 0})
			}
		})
	})
}

// FuzzModule reads compressed modules; whatever comes out is read as a module.
func FuzzModule(f *testing.F) {
	w := sharedWorld()
	signed := readFile(f, mustSign(f, Appended{}, writeFile(f, "x.ko", tinyELF(), 0o644), w.key, nil))
	names := []string{"x.ko.xz", "x.ko.zst", "x.ko.gz"}
	for i, kind := range []string{"xz", "zst", "gz"} {
		f.Add(uint8(i), compress(f, kind, signed))
	}
	for name, b := range containers(f, "xz", moduleLike(5000)) {
		if strings.Contains(name, "block-size") || strings.Contains(name, "-9") {
			f.Add(uint8(0), b)
		}
	}
	f.Fuzz(func(t *testing.T, name uint8, b []byte) {
		bounded(t, func() {
			decompressed(t.Context(), names[int(name)%len(names)], bytes.NewReader(b), int64(len(b)), func(r io.ReaderAt, size int64) error {
				_, err := verifyAppended(t.Context(), r, size, Trust{})
				return err
			})
		})
	})
}

// FuzzDetached holds signatures against a file that nobody has signed.
func FuzzDetached(f *testing.F) {
	w := sharedWorld()
	signed, other := content(f, 100), writeFile(f, "other", []byte("other"), 0o644)
	schemes := detachedSchemes()
	for i, d := range schemes {
		f.Add(uint8(i), readFile(f, signBeside(f, d, signed, w, w.tsa)))
		f.Add(uint8(i), readFile(f, signBeside(f, d, signed, w, nil)))
	}
	trust := w.trust()
	trust.Known = w.key.Chain
	name := filepath.Join(f.TempDir(), "signature")
	f.Fuzz(func(t *testing.T, scheme uint8, b []byte) {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		bounded(t, func() {
			if _, err := schemes[int(scheme)%len(schemes)].Verify(t.Context(), other, name, trust); err == nil {
				t.Error("accepted for a file that was never signed")
			}
		})
	})
}

func FuzzBundle(f *testing.F) {
	w := sharedWorld()
	f.Add(readFile(f, signBeside(f, Bundle{}, content(f, 100), w, w.tsa)))
	f.Fuzz(func(t *testing.T, b []byte) {
		bounded(t, func() {
			bundle, signer, err := parseBundle(b, w.trust())
			if err == nil && (bundle.GetMessageSignature() == nil || signer == nil) {
				t.Error("a bundle without its parts")
			}
		})
	})
}

func FuzzIMA(f *testing.F) {
	f.Add([]byte("\x03\x02\x04abcd\x00\x01x"))
	f.Add([]byte("\x06\x03\x06abcd\x00\x02xy"))
	w := sharedWorld()
	for _, s := range []IMA{{}, {Verity: true}} {
		f.Add(readFile(f, signBeside(f, s, content(f, 100), w, nil)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseIMA(b)
		if err == nil && (len(s.signature) != len(b)-imaHeader || len(s.keyID) != 4) {
			t.Fatalf("%x: %+v", b, s)
		}
	})
}

// FuzzVerity compares the digest with one that is made as the format is written
// down, level by level: for any size, salt and algorithm.
func FuzzVerity(f *testing.F) {
	for _, size := range []uint32{0, 1, 4095, 4096, 4097, 64 * 4096, 128*4096 + 1, 64*64*4096 + 1} {
		f.Add(size, []byte(nil), false)
		f.Add(size, []byte("salt"), true)
	}
	f.Fuzz(func(t *testing.T, size uint32, salt []byte, wide bool) {
		size %= 20 << 20
		h := crypto.SHA256
		if wide {
			h = crypto.SHA512
		}
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(i * i >> 3)
		}
		got, err := Verity{Hash: h, Salt: salt}.Digest(t.Context(), bytes.NewReader(b), int64(size))
		if len(salt) > verityMaxSalt {
			wantError(t, err, Unsupported, RuleContent)
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if want := slowVerity(h, salt, b); !bytes.Equal(got, want) {
			t.Errorf("%d bytes, salt %x, %v: %x, want %x", size, salt, h, got, want)
		}
	})
}

func slowVerity(h crypto.Hash, salt, b []byte) []byte {
	sum := func(parts ...[]byte) []byte {
		d := h.New()
		for _, p := range parts {
			d.Write(p)
		}
		return d.Sum(nil)
	}
	padded := append(bytes.Clone(salt), make([]byte, -len(salt)&(h.New().BlockSize()-1))...)
	root := make([]byte, h.Size())
	for level := b; len(level) > 0; {
		var next []byte
		for i := 0; i < len(level); i += 4096 {
			block := make([]byte, 4096)
			copy(block, level[i:])
			next = append(next, sum(padded, block)...)
		}
		if len(next) == h.Size() {
			root = next
			break
		}
		level = next
	}
	d := make([]byte, 256)
	d[0], d[1], d[2], d[3] = 1, map[crypto.Hash]byte{crypto.SHA256: 1, crypto.SHA512: 2}[h], 12, byte(len(salt))
	binary.LittleEndian.PutUint64(d[8:], uint64(len(b)))
	copy(d[16:], root)
	copy(d[80:], salt)
	return sum(d)
}

// FuzzSIP verifies MSI, CAB, PowerShell and catalog files; FuzzOpen of package sip
// has an MSIX package that is small enough.
func FuzzSIP(f *testing.F) {
	w := sharedWorld()
	names := []string{"a.msi", "a.ps1", "a.ps1xml", "a.mof", "a.cat"}
	for _, name := range []string{"dummy.msi", "dummy.cab"} {
		f.Add(uint8(0), readFile(f, mustSign(f, SIP{}, relicSample(f, name), w.key, w.tsa)))
	}
	for i, name := range []string{"hello.ps1", "hello.ps1xml", "hello.mof"} {
		f.Add(uint8(i+1), readFile(f, mustSign(f, SIP{}, relicSample(f, name), w.key, w.tsa)))
	}
	f.Fuzz(func(t *testing.T, name uint8, b []byte) {
		file, trust := names[int(name)%len(names)], Trust{}
		bounded(t, func() {
			if isCatalog(bytes.NewReader(b), int64(len(b))) {
				if _, err := verifyCatalog(bytes.NewReader(b), int64(len(b)), trust); err == nil {
					t.Error("accepted, though nobody is trusted")
				}
			}
			subject, err := sip.Open(file, bytes.NewReader(b), int64(len(b)))
			if err != nil {
				return
			}
			if _, err := verifySubject(subject, trust); err == nil {
				t.Error("accepted, though nobody is trusted")
			}
		})
	})
}

// FuzzCatalog is FuzzSIP for catalogs alone, which begin as any CMS does.
func FuzzCatalog(f *testing.F) {
	w := sharedWorld()
	catalog := writeFile(f, "a.cat", unsignedCatalogOf([]byte("\x30\x00")), 0o644)
	f.Add(readFile(f, catalog))
	for _, table := range realTables(f) {
		f.Add(table[winCertHeader:])
	}
	if _, err := (SIP{}).Sign(f.Context(), catalog, catalog, w.key, w.tsa); err == nil {
		f.Add(readFile(f, catalog))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		bounded(t, func() {
			isCatalog(bytes.NewReader(b), int64(len(b)))
			if _, err := verifyCatalog(bytes.NewReader(b), int64(len(b)), Trust{}); err == nil {
				t.Error("accepted, though nobody is trusted")
			}
		})
	})
}

func FuzzIndirectData(f *testing.F) {
	for _, pages := range [][]byte{nil, []byte("table")} {
		good, err := marshalIndirectData(crypto.SHA256, make([]byte, 32), pages)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(good)
	}
	for _, table := range realTables(f) {
		if ders, err := readTable(table, 0, Trust{}); err == nil {
			if sd, err := cms.Parse(ders[0]); err == nil {
				f.Add(sd.Content)
				f.Add(sd.Signers[0].Attribute(oidSpcSpOpusInfo))
			}
		}
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		d, err := parseIndirectData(der)
		if err == nil && (len(d.digest) != d.hash.Size() || (d.pageHash == 0) != (d.pages == nil)) {
			t.Fatalf("%+v", d)
		}
		parseOpusInfo(der)
	})
}

// FuzzCRLs reads revocation lists, PEM or DER.
func FuzzCRLs(f *testing.F) {
	f.Add([]byte("-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n"))
	f.Add([]byte{0x30, 0})
	f.Add([]byte{0x30, 3, 0x82, 1, 0xff}) // the scope of a list
	for _, name := range []string{"crl_delta.pem", "crl_cas.pem"} {
		f.Add(readFile(f, filepath.Join(casesDir, name)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		bounded(t, func() {
			if scope, err := parseScope(b); err == nil {
				scope.covers(sharedWorld().key.Leaf())
			}
			if lists, err := ParseCRLs(b); err == nil && len(lists) == 0 {
				t.Error("no lists, and no error")
			}
		})
	})
}

// hugeFile is a file of zeros after its beginning, that takes no memory.
type hugeFile struct {
	head []byte
	size int64
}

func (h hugeFile) ReadAt(b []byte, off int64) (int, error) {
	if off >= h.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(b)), h.size-off))
	clear(b[:n])
	if off < int64(len(h.head)) {
		copy(b[:n], h.head[off:])
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// TestMemory reads files of 4 GB whose length fields claim all of it. It cannot
// run beside other tests, whose memory would be counted.
func TestMemory(t *testing.T) {
	const size = 4<<30 - 1
	pe := readFile(t, sample(t, "impbyord.exe"))
	p, err := readPE(bytes.NewReader(pe), int64(len(pe)))
	if err != nil {
		t.Fatal(err)
	}
	lfanew := int(binary.LittleEndian.Uint32(pe[60:]))
	edit := func(change func(b []byte)) []byte { b := bytes.Clone(pe); change(b); return b }
	put := func(at, v int) func([]byte) {
		return func(b []byte) { binary.LittleEndian.PutUint32(b[at:], uint32(v)) }
	}
	for name, head := range map[string][]byte{
		"a certificate table of 4 GB": edit(func(b []byte) { put(int(p.certDir), 4096)(b); put(int(p.certDir)+4, size-4096)(b) }),
		"65,535 sections":             edit(func(b []byte) { b[lfanew+6], b[lfanew+7] = 0xff, 0xff }),
		"an optional header of 64 kB": edit(func(b []byte) { b[lfanew+20], b[lfanew+21] = 0xff, 0xff }),
	} {
		bounded(t, func() {
			if p, err := readPE(hugeFile{head, size}, size); err == nil {
				t.Logf("%s: read as %d sections", name, len(p.sections))
			}
		})
	}
	pages := edit(put(int(p.checksum)-checksumInOptional+32, 0xfffffff0)) // SectionAlignment
	if big, err := readPE(hugeFile{pages, int64(len(pe))}, int64(len(pe))); err != nil {
		t.Error(err)
	} else {
		bounded(t, func() {
			if _, err := newPageTable(big, hugeFile{pages, size}, crypto.SHA256); err == nil {
				t.Error("pages of 4 GB")
			}
		})
	}
	elf := tinyELF()
	binary.LittleEndian.PutUint64(elf[40:], 4096)
	binary.LittleEndian.PutUint16(elf[58:], 64)
	binary.LittleEndian.PutUint16(elf[60:], 0xfffe)
	binary.LittleEndian.PutUint16(elf[56:], 0xfffe)
	bounded(t, func() {
		checkELF(hugeFile{elf, size}, size)
		readSections(hugeFile{elf, size}, size)
	})
	trailer := append(make([]byte, 8), 0xff, 0xff, 0xff, 0xf0)
	bounded(t, func() {
		if _, _, err := readTrailer(bytes.NewReader(append(append(elf, trailer...), trailerMagic...)), int64(len(elf)+40)); err == nil {
			t.Error("a trailer of 4 GB")
		}
	})
	bounded(t, func() {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := (Verity{}).Digest(ctx, hugeFile{nil, size}, size); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	for _, kind := range []string{"xz", "zst"} {
		bounded(t, func() {
			b := compress(t, "xz", tinyELF())
			b[16] = 40 // 4 GiB - 1
			b = recountXZ(b)
			if kind == "zst" {
				b = append([]byte(zstdMagic), 0x00, (31-10)<<3, 1, 0, 0) // a window of 2 GiB
			}
			err := decompressed(t.Context(), "x.ko."+kind, bytes.NewReader(b), int64(len(b)), func(io.ReaderAt, int64) error { return nil })
			if (err == nil) != (kind == "xz") { // which takes no more of it than there is content
				t.Errorf("%s, a window of gigabytes: %v", kind, err)
			}
		})
	}
}

// FuzzUnsign takes signatures off files of any content: what comes out is no
// longer than what went in, and nothing is left behind after a refusal.
func FuzzUnsign(f *testing.F) {
	w := sharedWorld()
	names := []string{"x.exe", "x", "x.ps1"}
	f.Add(uint8(0), readFile(f, mustSign(f, Authenticode{}, writeFile(f, "x.exe", layout{true, 0x8664, 16, []page{{512, 1024}}, 1024}.build(), 0o755), w.key, w.tsa)))
	f.Add(uint8(1), readFile(f, mustSign(f, Appended{}, writeFile(f, "x", tinyELF(), 0o755), w.key, w.tsa)))
	f.Add(uint8(1), readFile(f, mustSign(f, Section{}, writeFile(f, "x", tinyELF32(), 0o755), w.key, nil)))
	f.Add(uint8(2), readFile(f, mustSign(f, SIP{}, writeFile(f, "x.ps1", []byte("Write-Output x\r\n"), 0o644), w.key, w.tsa)))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, kind uint8, b []byte) {
		name := names[int(kind)%len(names)]
		src, dst := filepath.Join(dir, name), filepath.Join(dir, "unsigned-"+name)
		if err := os.WriteFile(src, b, 0o644); err != nil {
			t.Fatal(err)
		}
		os.Remove(dst)
		bounded(t, func() {
			if err := Unsign(t.Context(), src, dst); err != nil {
				if _, err := os.Lstat(dst); err == nil {
					t.Error("a file is left behind")
				}
				return
			}
			out := readFile(t, dst)
			if len(out) > len(b)+7 { // a PE file's end is padded
				t.Errorf("%d bytes became %d", len(b), len(out))
			}
			var e *Error // of a second one, under the first, or of a damaged original
			if err := Unsign(t.Context(), dst, dst); err != nil && !errors.As(err, &e) {
				t.Errorf("taken off again: %v", err)
			}
		})
	})
}
