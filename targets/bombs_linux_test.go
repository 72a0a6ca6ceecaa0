package targets_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// bombMemory is what a command may take to say what it thinks of a file.
const bombMemory = 256 << 20

// TestBombs verifies and inspects files that claim, or unfold to, far more than
// bombMemory, one for each reader of each format: under that limit where a
// cgroup can be made, and in any case measured. The command must refuse each, by
// an exit code of its own, not a crash.
func TestBombs(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIP: unpacks gigabytes; run without -short")
	}
	bin := filepath.Join(t.TempDir(), "mage")
	compile := exec.CommandContext(t.Context(), "go", "tool", "mage", "-compile", bin)
	compile.Dir = root(t)
	if out, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("compiling the magefile: %v\n%s", err, out)
	}
	group := newMemoryGroup(t)
	for _, bomb := range bombs(entryOf(t, "x00_control.msix", "AppxSignature.p7x")) {
		t.Run(bomb.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := bomb.write(filepath.Join(dir, bomb.name)); err != nil {
				t.Fatal(err)
			}
			if bomb.signs != "" {
				if err := os.WriteFile(filepath.Join(dir, bomb.signs), []byte("content"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			for _, command := range []string{"verifyFile", "inspect"} {
				file := bomb.name
				if bomb.signs != "" {
					file = bomb.signs
				}
				group.refuses(t, bin, dir, command, file)
			}
		})
	}
}

// entryOf reads an entry of one of the signed packages among the test data.
func entryOf(t *testing.T, file, name string) string {
	t.Helper()
	z, err := zip.OpenReader(filepath.Join(root(t), "testdata", "signatures", file))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	r, err := z.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// refuses runs a command over a file, which it must refuse.
func (g memoryGroup) refuses(t *testing.T, bin, dir, command, file string) {
	t.Helper()
	signatures := filepath.Join(root(t), "testdata", "signatures")
	args := []string{bin, command, file, "-ca=" + filepath.Join(signatures, "ca.pem"), "-tsaCA=" + filepath.Join(signatures, "tsa.pem")}
	cmd := exec.CommandContext(t.Context(), "sh", append([]string{"-c", g.enter + `exec "$0" "$@"`}, args...)...)
	cmd.Dir = dir
	if g.used != "" {
		os.WriteFile(g.used, []byte("0"), 0o644) // begins a new peak where the kernel can
	}
	cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+filepath.Join(dir, "config"), "TMPDIR="+dir, "CI=true")
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	peak := g.peak(t)
	switch text := string(out); {
	case err == nil:
		t.Errorf("%s accepts it:\n%s", command, text)
	case !cmd.ProcessState.Exited():
		t.Errorf("%s dies: %v, having had %d MB", command, err, peak>>20)
	case strings.Contains(text, "goroutine ") || strings.Contains(text, "fatal error:"):
		t.Errorf("%s crashes:\n%.2000s", command, text)
	case len(out) > 64<<10:
		t.Errorf("%s prints %d bytes", command, len(out))
	default:
		t.Logf("%s: at most %d MB, %v, exit status %d: %.200s", command, peak>>20, cmd.ProcessState.UserTime().Round(1e7), cmd.ProcessState.ExitCode(), strings.TrimSpace(text))
	}
}

// memoryGroup limits what the commands of a shell may take.
type memoryGroup struct {
	enter string // shell commands that enter it
	used  string // file with the peak; empty without a cgroup
}

// newMemoryGroup makes a cgroup, of either version. Without the right to, the
// data segment is limited instead, which counts what is mapped and not touched
// too, so that the limit is twice as high.
func newMemoryGroup(t *testing.T) memoryGroup {
	t.Helper()
	for _, c := range []struct{ parent, limit, used string }{
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.max_usage_in_bytes"}, {"/sys/fs/cgroup", "memory.max", "memory.peak"},
	} {
		dir := filepath.Join(c.parent, fmt.Sprintf("hallmark-test-%d", os.Getpid()))
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		t.Cleanup(func() { syscall.Rmdir(dir) })
		if os.WriteFile(filepath.Join(dir, c.limit), fmt.Append(nil, bombMemory), 0o644) == nil {
			return memoryGroup{fmt.Sprintf("echo $$ > %s/cgroup.procs && ", dir), filepath.Join(dir, c.used)}
		}
	}
	t.Log("no cgroup can be made here: the data segment is limited instead")
	return memoryGroup{enter: fmt.Sprintf("ulimit -d %d && ", 2*bombMemory>>10)}
}

// peak is the most that the group has had at a time so far, page cache included.
func (g memoryGroup) peak(t *testing.T) (n int64) {
	t.Helper()
	if g.used == "" {
		return 0
	}
	b, err := os.ReadFile(g.used)
	if err == nil {
		_, err = fmt.Sscan(string(b), &n)
	}
	if err != nil {
		t.Logf("the peak cannot be read: %v", err)
	}
	return n
}

// bomb is a file that is small, or sparse, and large to a careless reader.
type bomb struct {
	name  string
	signs string // file that it is the detached signature of
	write func(file string) error
}

const gigabyte = 1 << 30

// bombs returns one for each reader; p7x is the signature of a good MSIX package,
// so that what the signature is over is read.
func bombs(p7x string) []bomb {
	var all []bomb
	for _, name := range []string{"AppxBlockMap.xml", "[Content_Types].xml", "AppxManifest.xml", "AppxSignature.p7x", "AppxMetadata/CodeIntegrity.cat"} {
		all = append(all, bomb{"msix " + strings.NewReplacer("/", "-", "[", "", "]", "").Replace(name) + ".msix", "", func(file string) error { return msixBomb(file, name, p7x) }})
	}
	all = append(all, sparseBombs()...)
	for _, kind := range []string{"gz", "zst"} {
		all = append(all, bomb{"zeros.ko." + kind, "", func(file string) error { return writeAll(file, packed(kind, 5*gigabyte)) }})
	}
	all = append(all, bomb{"zeros.ko.xz", "", xzBomb})
	all = append(all, bomb{"window.ko.zst", "", func(file string) error {
		return os.WriteFile(file, append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 1, 0, 0}, make([]byte, 1000)...), 0o644)
	}})
	return append(all, packageBombs()...)
}

func sparseBombs() []bomb {
	le := binary.LittleEndian
	sparse := func(name, signs, head string, size int64) bomb {
		return bomb{name, signs, func(file string) error { return writeSparse(file, []byte(head), size) }}
	}
	cfb := make([]byte, 512)
	copy(cfb, "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
	le.PutUint16(cfb[24:], 62)
	le.PutUint16(cfb[26:], 3)
	le.PutUint16(cfb[28:], 0xfffe)
	le.PutUint16(cfb[30:], 9)
	le.PutUint16(cfb[32:], 6)
	le.PutUint32(cfb[44:], 1<<24) // FAT sectors
	le.PutUint32(cfb[56:], 4096)
	le.PutUint32(cfb[64:], 1<<24) // mini FAT sectors
	le.PutUint32(cfb[72:], 1<<24) // DIFAT sectors
	pe := make([]byte, 1024)
	copy(pe, "MZ")
	le.PutUint32(pe[60:], 64)
	copy(pe[64:], "PE\x00\x00\x64\x86\xff\xff")
	le.PutUint16(pe[84:], 0xf0)
	le.PutUint16(pe[88:], 0x20b)
	le.PutUint32(pe[88+108:], 16)
	signed := append([]byte(nil), pe...)
	le.PutUint16(signed[70:], 1)
	le.PutUint32(signed[88+112+32:], 4*gigabyte-16<<20-8)
	le.PutUint32(signed[88+112+36:], 16<<20)
	elf := make([]byte, 64)
	copy(elf, "\x7fELF\x02\x01\x01")
	le.PutUint64(elf[40:], 64)
	le.PutUint16(elf[58:], 64)
	le.PutUint16(elf[60:], 0xff00)
	cab := make([]byte, 64)
	copy(cab, "MSCF")
	le.PutUint32(cab[8:], 4*gigabyte-1)
	le.PutUint32(cab[16:], 4*gigabyte-1)
	le.PutUint16(cab[24:], 0x0103)
	le.PutUint16(cab[26:], 0xffff)
	le.PutUint16(cab[28:], 0xffff)
	catalog := "\x30\x84\x3f\xff\xff\xfa\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02\xa0\x84\x3f\xff\xff\xe5\x06\x09\x2b\x06\x01\x04\x01\x82\x37\x0a\x01"
	return []bomb{
		sparse("sparse.msi", "", string(cfb), 1<<40), sparse("sections.exe", "", string(pe), 4*gigabyte-8), sparse("table.exe", "", string(signed), 4*gigabyte-8),
		sparse("sections.elf", "", string(elf), 1<<40), sparse("folders.cab", "", string(cab), 4*gigabyte-1), sparse("catalog.cat", "", catalog, gigabyte),
		sparse("script.ps1", "", "# ", gigabyte), sparse("zip64.msix", "", "PK\x03\x04", 1<<40),
		sparse("notes.p7s", "notes", "\x30\x84\x3f\xff\xff\xfa", gigabyte), sparse("notes.verity.p7s", "notes", "\x30\x84\x3f\xff\xff\xfa", gigabyte),
		sparse("notes.sig", "notes", "\x03\x02\x04", gigabyte), sparse("notes.sigstore.json", "notes", "{", gigabyte),
		{"nested/deep.sigstore.json", "nested/deep", func(file string) error { return writeAll(file, repeated("[", 50<<20)) }},
		sparse("sparse.deb", "", "!<arch>\n", 1<<40), sparse("sparse.rpm", "", "\xed\xab\xee\xdb\x03\x00", 1<<40), sparse("sparse.apk", "", "\x1f\x8b\x08\x00", 1<<40),
	}
}

// packageBombs unfold in each of a package's parts.
func packageBombs() []bomb {
	ar := func(name string, body func(io.Writer) error) func(io.Writer) error {
		return func(w io.Writer) error {
			var b bytes.Buffer
			if err := body(&b); err != nil {
				return err
			}
			if b.Len()%2 == 1 {
				b.WriteByte('\n')
			}
			_, err := fmt.Fprintf(w, "%-16s%-12d%-6d%-6d%-8s%-10d`\n%s", name, 0, 0, 0, "100644", b.Len(), b.Bytes())
			return err
		}
	}
	text := func(s string) func(io.Writer) error {
		return func(w io.Writer) error { _, err := io.WriteString(w, s); return err }
	}
	control := small("gz", tarOf("./control", "Package: notes\n", 0))
	deb := func(parts ...func(io.Writer) error) func(string) error {
		return func(file string) error {
			return writeAll(file, append([]func(io.Writer) error{text("!<arch>\n"), ar("debian-binary", text("2.0\n"))}, parts...)...)
		}
	}
	return []bomb{
		{"control.deb", "", deb(ar("control.tar.gz", huge("gz", tarOf("./control", "", 5*gigabyte), 5*gigabyte)))},
		{"data.deb", "", deb(ar("control.tar.gz", control), ar("data.tar.zst", huge("zst", tarOf("./usr/bin/notes", "", 5*gigabyte), 5*gigabyte)))},
		{"padding.deb", "", deb(ar("control.tar.gz", control), ar("data.tar.gz", packed("gz", 5*gigabyte)))},
		{"signature.deb", "", deb(ar("control.tar.gz", control), ar("data.tar.gz", small("gz", tarOf("./usr/bin/notes", "x", 0))), ar("_gpgorigin", repeated("A", 100<<20)))},
		{"control.apk", "", func(file string) error {
			return writeAll(file, huge("gz", tarOf(".PKGINFO", "", 5*gigabyte), 5*gigabyte))
		}},
		{"signature.apk", "", func(file string) error {
			return writeAll(file, huge("gz", tarOf(".SIGN.RSA.notes.rsa.pub", "", 5*gigabyte), 5*gigabyte))
		}},
		{"names.apk", "", func(file string) error { return writeAll(file, small("gz", manyNames())) }},
		{"header.rpm", "", func(file string) error {
			lead := make([]byte, 96)
			copy(lead, "\xed\xab\xee\xdb\x03\x00\x00\x00")
			lead[79] = 5
			header := append([]byte{0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0}, 0x0f, 0xff, 0xff, 0xff, 0x0f, 0xff, 0xff, 0xff)
			return writeSparse(file, append(lead, header...), 1<<40)
		}},
	}
}

// tarOf returns the beginning of a tar with one file.
func tarOf(name, content string, size int64) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if size == 0 {
		size = int64(len(content))
	}
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: size, Format: tar.FormatGNU}); err != nil {
		panic(err)
	}
	b.WriteString(content)
	if content != "" {
		b.Write(make([]byte, -len(content)&511))
		b.Write(make([]byte, 1024))
	}
	return b.Bytes()
}

// manyNames returns a tar of many empty files.
func manyNames() []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := range 20_000 {
		if err := w.WriteHeader(&tar.Header{Name: fmt.Sprintf(".%0200d", i), Mode: 0o644, Format: tar.FormatGNU}); err != nil {
			panic(err)
		}
	}
	return b.Bytes()
}

func small(kind string, content []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		z, err := compressor(kind, w)
		if err != nil {
			return err
		}
		if _, err := z.Write(content); err != nil {
			return err
		}
		return z.Close()
	}
}

// packed writes so many zeros, compressed.
func packed(kind string, size int64) func(io.Writer) error { return huge(kind, nil, size) }

// huge writes a head and so many zeros, compressed.
func huge(kind string, head []byte, size int64) func(io.Writer) error {
	return func(w io.Writer) error {
		z, err := compressor(kind, w)
		if err != nil {
			return err
		}
		if _, err := z.Write(head); err != nil {
			return err
		}
		zeros := make([]byte, 1<<20)
		for ; size > 0; size -= int64(len(zeros)) {
			if _, err := z.Write(zeros); err != nil {
				return err
			}
		}
		return z.Close()
	}
}

// xzBomb repeats the LZMA2 chunks of 2 MB of zeros, which begin with a reset of
// dictionary and state, up to 5 GB.
func xzBomb(file string) error {
	var b bytes.Buffer
	w, err := xz.WriterConfig{DictCap: 1 << 20, CheckSum: xz.CRC32}.NewWriter(&b)
	if err != nil {
		return err
	}
	if _, err := w.Write(make([]byte, 2<<20)); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	at := 12 + 4*(1+int(b.Bytes()[12])) // behind the headers of stream and block
	end := at
	for b.Bytes()[end] != 0 {
		chunk := b.Bytes()[end:]
		n := 5 + int(binary.BigEndian.Uint16(chunk[3:])) + 1 // control, two sizes less 1, data
		if chunk[0] >= 0xc0 {
			n++ // properties
		}
		if chunk[0] < 0x80 {
			return fmt.Errorf("an uncompressed chunk")
		}
		end += n
	}
	return os.WriteFile(file, bytes.Join([][]byte{b.Bytes()[:at], bytes.Repeat(b.Bytes()[at:end], 2560), b.Bytes()[end:]}, nil), 0o644)
}

func compressor(kind string, w io.Writer) (io.WriteCloser, error) {
	switch kind {
	case "zst":
		return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest))
	}
	return gzip.NewWriterLevel(w, gzip.BestSpeed)
}

// msixBomb writes a package whose entry of a name has a gigabyte of blanks.
func msixBomb(file, large, p7x string) error {
	var b, directory bytes.Buffer
	count := 0
	add := func(name string, data []byte, crc, size uint32, method uint16) {
		shared := binary.LittleEndian.AppendUint32(nil, 20)
		shared = binary.LittleEndian.AppendUint16(shared, method)
		shared = append(shared, 0, 0, 0x21, 0)
		for _, v := range []uint32{crc, uint32(len(data)), size} {
			shared = binary.LittleEndian.AppendUint32(shared, v)
		}
		shared = binary.LittleEndian.AppendUint32(shared, uint32(len(name)))
		directory.WriteString("PK\x01\x02\x14\x00")
		directory.Write(shared)
		directory.Write(make([]byte, 10))
		directory.Write(binary.LittleEndian.AppendUint32(nil, uint32(b.Len())))
		directory.WriteString(name)
		b.WriteString("PK\x03\x04")
		b.Write(shared)
		b.WriteString(name)
		b.Write(data)
		count++
	}
	parts := [][2]string{
		{"AppxManifest.xml", `<Package><Identity Publisher="CN=x"/></Package>`},
		{"AppxBlockMap.xml", `<BlockMap HashMethod="http://www.w3.org/2001/04/xmlenc#sha256"/>`},
		{"AppxMetadata/CodeIntegrity.cat", "0"},
		{"[Content_Types].xml", `<Types><Override PartName="/AppxSignature.p7x"/></Types>`},
		{"AppxSignature.p7x", p7x},
	}
	for _, p := range parts {
		if p[0] != large {
			add(p[0], []byte(p[1]), crc32.ChecksumIEEE([]byte(p[1])), uint32(len(p[1])), 0)
			continue
		}
		head, tail := "<!--", "-->"+p[1]
		if p[0] == "AppxSignature.p7x" {
			head, tail = p[1], ""
		}
		var data bytes.Buffer
		w, err := flate.NewWriter(&data, flate.BestSpeed)
		if err != nil {
			return err
		}
		sum := crc32.NewIEEE()
		all := io.MultiWriter(w, sum)
		io.WriteString(all, head)
		blanks := bytes.Repeat([]byte{' '}, 1<<20)
		for range gigabyte >> 20 {
			all.Write(blanks)
		}
		io.WriteString(all, tail)
		if err := w.Close(); err != nil {
			return err
		}
		add(p[0], data.Bytes(), sum.Sum32(), uint32(gigabyte+len(head)+len(tail)), 8)
	}
	at := b.Len()
	b.Write(directory.Bytes())
	b.WriteString("PK\x05\x06\x00\x00\x00\x00")
	for range 2 {
		b.Write(binary.LittleEndian.AppendUint16(nil, uint16(count)))
	}
	b.Write(binary.LittleEndian.AppendUint32(nil, uint32(directory.Len())))
	b.Write(binary.LittleEndian.AppendUint32(nil, uint32(at)))
	b.Write([]byte{0, 0})
	return os.WriteFile(file, b.Bytes(), 0o644)
}

func writeSparse(file string, head []byte, size int64) error {
	if err := os.WriteFile(file, head, 0o644); err != nil {
		return err
	}
	return os.Truncate(file, size)
}

func repeated(s string, n int) func(io.Writer) error {
	return func(w io.Writer) error { _, err := io.WriteString(w, strings.Repeat(s, n)); return err }
}

func writeAll(file string, parts ...func(io.Writer) error) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	for _, p := range parts {
		if err := p(f); err != nil {
			f.Close()
			return err
		}
	}
	return f.Close()
}
