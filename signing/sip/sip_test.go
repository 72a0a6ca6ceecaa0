package sip

import (
	"archive/zip"
	"bytes"
	"crypto"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
)

// sampleDir is where relic keeps the files of its tests.
var sampleDir = sync.OnceValue(func() string {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/sassoftware/relic/v7").Output()
	if err != nil {
		panic(err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "functest", "packages")
})

func sample(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(sampleDir(), name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// fakeSigner puts a DER element in the place of a signature.
type fakeSigner struct{}

func (f *fakeSigner) SignDigest(digest []byte) ([]byte, error) {
	return asn1.Marshal(digest)
}

func (f *fakeSigner) SignCatalog(catalog []byte) ([]byte, error) { return catalog, nil }

// signed signs b as a file of a name and returns the result.
func signed(t testing.TB, name string, b []byte) []byte {
	t.Helper()
	s, err := Open(name, bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := s.Sign(f, hashOf(s), &fakeSigner{}); err != nil {
		t.Fatal(err)
	}
	out, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func unsigned(s Subject) bool {
	der, err := s.Signature()
	return der == nil && err == nil
}

func hashOf(s Subject) crypto.Hash {
	if h := s.Hash(); h != 0 {
		return h
	}
	return crypto.SHA256
}

// TestRoundTrip signs each kind of file, and finds in it the digest that was
// signed; signing again changes nothing.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	wide := append([]byte("\xff\xfe"), utf16LE("Write-Output 'grüße'\r\n")...)
	for name, b := range map[string][]byte{
		"dummy.msi":   sample(t, "dummy.msi"),
		"dummy.cab":   sample(t, "dummy.cab"),
		"reserve.cab": reservedCabinet(sample(t, "dummy.cab")),
		"app.appx":    sample(t, "App1_1.0.3.0_x64.appx"),
		"plain.msix":  smallMSIX(t),
		"wide.ps1":    wide,
		"utf8.PSM1":   []byte("\xef\xbb\xbfWrite-Output 'grüße'\n"),
		"short.ps1":   []byte("echo"),
		"a.cdxml":     []byte("<a/>"),
		"a.mof":       []byte("class a {};"),
		"big.msi":     bigMSI(t),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			once := signed(t, name, b)
			s, err := Open(name, bytes.NewReader(once), int64(len(once)))
			if err != nil {
				t.Fatal(err)
			}
			digest, err := s.Digest(hashOf(s))
			if err != nil {
				t.Fatal(err)
			}
			want, _ := (&fakeSigner{}).SignDigest(digest)
			if got, err := s.Signature(); err != nil || !bytes.Equal(got, want) {
				t.Errorf("signed %x, now %x, %v", got, want, err)
			}
			if twice := signed(t, name, once); !bytes.Equal(once, twice) {
				t.Error("signing again changed the file")
			}
		})
	}
}

// reservedCabinet has room for a signature, as makecab leaves it on request.
func reservedCabinet(b []byte) []byte {
	const room = 4 + 28
	le := binary.LittleEndian
	out := bytes.Clone(b[:cabHeader])
	for _, at := range []int{8, 16} {
		le.PutUint32(out[at:], le.Uint32(out[at:])+room)
	}
	le.PutUint16(out[30:], flagReserve)
	out = append(out, room-4, 0, 0, 0)
	out = append(out, make([]byte, room-4)...)
	folders := int(le.Uint16(b[26:])) * cabFolder
	rest := bytes.Clone(b[cabHeader:])
	for i := 0; i < folders; i += cabFolder {
		le.PutUint32(rest[i:], le.Uint32(rest[i:])+room)
	}
	return append(out, rest...)
}

// smallMSIX is a package without a catalog, ZIP64 records and data descriptors.
func smallMSIX(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, f := range [][2]string{
		{"app.txt", "hello"},
		{msixManifest, `<Package xmlns="http://schemas.microsoft.com/appx/manifest/foundation/windows10"><Identity Name="a" Publisher="CN=a"/></Package>`},
		{msixBlockMap, `<BlockMap xmlns="http://schemas.microsoft.com/appx/2010/blockmap" HashMethod="http://www.w3.org/2001/04/xmlenc#sha512"/>`},
		{msixTypes, `<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="txt" ContentType="text/plain"/></Types>`},
	} {
		w, err := z.CreateRaw(&zip.FileHeader{Name: f[0], Method: zip.Store, CRC32: crc32.ChecksumIEEE([]byte(f[1])), UncompressedSize64: uint64(len(f[1])), CompressedSize64: uint64(len(f[1]))})
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, f[1])
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// bigMSI is a compound file whose FAT needs more sectors than the header lists,
// with streams of every kind and a storage in the root.
func bigMSI(t testing.TB) []byte {
	t.Helper()
	c := &compound{shift: 9, version: 3, root: newStream("Root Entry", nil)}
	c.root.entry[66] = typeRoot
	storage := newStream("Storage", nil)
	storage.entry[66] = typeStorage
	storage.kids = []*node{newStream("mini", make([]byte, 100)), newStream("empty", nil)}
	c.root.kids = []*node{newStream("big", bytes.Repeat([]byte("0123456789abcdef"), 9<<20/16)), newStream("edge", make([]byte, miniCutoff)), storage}
	for i := range 40 {
		c.root.kids = append(c.root.kids, newStream(fmt.Sprintf("s%02d", i), bytes.Repeat([]byte{byte(i)}, 64*i)))
	}
	var b bytes.Buffer
	if err := c.write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestRefused has files that must not be signed, and what is said of them.
func TestRefused(t *testing.T) {
	t.Parallel()
	msi, cab, appx := sample(t, "dummy.msi"), sample(t, "dummy.cab"), sample(t, "App1_1.0.3.0_x64.appx")
	edit := func(b []byte, at int, with ...byte) []byte {
		b = bytes.Clone(b)
		copy(b[at:], with)
		return b
	}
	directory := binary.LittleEndian.Uint32(msi[48:])
	fat := (int(binary.LittleEndian.Uint32(msi[76:])) + 1) << binary.LittleEndian.Uint16(msi[30:])
	signedCab, signedAppx := signed(t, "a.cab", cab), signed(t, "a.msix", appx)
	for _, test := range []struct {
		name, want string
		b          []byte
	}{
		{"a.msi", "header cut short", msi[:100]},
		{"a.msi", "not a compound file", edit(msi, 30, 5)},
		{"a.msi", "is used twice", edit(msi, fat+4*int(directory), byte(directory), byte(directory>>8), 0, 0)},
		{"a.msi", "in a file of", msi[:1024]},
		{"a.cab", "set of cabinets", edit(cab, 30, 1)},
		{"a.cab", "unknown flags", edit(cab, 30, 8)},
		{"a.cab", "not zero", edit(cab, 4, 1)},
		{"a.cab", "the file at", append(bytes.Clone(cab), 0)},
		{"a.cab", "the file at", append(bytes.Clone(signedCab), 0)},
		{"a.cab", "hide after", edit(signedCab, len(signedCab)-1, 1)},
		{"a.msix", "without comment", append(bytes.Clone(appx), 0)},
		{"a.msix", "CRC", edit(signedAppx, bytes.LastIndex(signedAppx, []byte(msixSignature))-zipCentralSize+16, 1, 2, 3, 4)},
		{"a.ps1", "NUL", []byte("e\x00c\x00h\x00o\x00")},
		{"a.ps1", "NUL", []byte("\xff\xfe\x00\x00e\x00\x00\x00")},
		{"a.ps1", "not ASCII", []byte("ü")},
		{"a.ps1", "neither", []byte("\xff")},
		{"a.ps1", "odd", []byte("\xff\xfea")},
		{"a.ps1", "big-endian", []byte("\xfe\xff\x00a")},
	} {
		_, err := Open(test.name, bytes.NewReader(test.b), int64(len(test.b)))
		var format *FormatError
		if !errors.As(err, &format) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want a FormatError with %q", test.name, err, test.want)
		}
	}
	for _, b := range [][]byte{nil, []byte("PK"), []byte("hello world")} {
		if _, err := Open("a.bin", bytes.NewReader(b), int64(len(b))); !errors.Is(err, ErrUnknown) {
			t.Errorf("%q: got %v, want ErrUnknown", b, err)
		}
	}
}

// allocated is how many bytes this process has ever allocated.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// FuzzOpen reads anything, and signs what it can read. What was signed must be
// readable.
func FuzzOpen(f *testing.F) {
	names := []string{"a.msi", "a.ps1", "a.psc1"}
	for _, b := range [][]byte{sample(f, "dummy.msi"), sample(f, "dummy.cab"), smallMSIX(f), sample(f, "hello.ps1xml")} {
		for i, name := range names {
			if s, err := Open(name, bytes.NewReader(b), int64(len(b))); err == nil && unsigned(s) {
				f.Add(uint8(i), signed(f, name, b))
			}
			f.Add(uint8(i), b)
		}
	}
	broken := signed(f, "a.ps1", []byte("echo 'a'\r\n"))
	f.Add(uint8(1), bytes.ReplaceAll(broken, []byte("\r\n"), []byte("\n")))
	f.Add(uint8(1), append(bytes.Clone(broken), broken[bytes.Index(broken, []byte("# SIG")):]...))
	p := takeZIP(f, signed(f, "a.msix", smallMSIX(f)))
	p.after = []byte("payload")
	f.Add(uint8(0), p.join())
	f.Fuzz(func(t *testing.T, name uint8, b []byte) {
		before := allocated()
		defer func() {
			if n := allocated() - before; n > 64<<20 {
				t.Errorf("%d MB were allocated for a file of %d bytes", n>>20, len(b))
			}
		}()
		file := names[int(name)%len(names)]
		s, err := Open(file, bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		s.Digest(hashOf(s))
		if p, ok := s.(Publisher); ok {
			p.Publisher()
		}
		out, err := os.Create(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		if err := s.Sign(out, hashOf(s), &fakeSigner{}); err != nil {
			return
		}
		info, err := out.Stat()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Open(file, out, info.Size())
		if err != nil {
			t.Fatalf("what was signed cannot be read: %v", err)
		}
		digest, err := again.Digest(hashOf(again))
		if err != nil {
			t.Fatalf("what was signed has no digest: %v", err)
		}
		want, _ := (&fakeSigner{}).SignDigest(digest)
		if got, err := again.Signature(); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("what was signed has another digest: %v", err)
		}
		if c, ok := again.(Container); ok {
			if err := c.CheckFree(); err != nil || !c.CoversNames() {
				t.Fatalf("what was signed has bytes that nothing covers: %v", err)
			}
		}
	})
}
