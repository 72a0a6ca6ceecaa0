package signing

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// unpacker is the program whose output a module is verified as.
func unpacker(t testing.TB, kind string) []string {
	t.Helper()
	return map[string][]string{"xz": {lookTool(t, "xz", "xz-utils"), "-dc"}, "zst": {lookTool(t, "zstd", "zstd"), "-dc", "-q"}, "gz": {lookTool(t, "gzip", "gzip"), "-dc"}}[kind]
}

// filter runs a program over bytes.
func filter(t testing.TB, in []byte, args ...string) ([]byte, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Stdin = bytes.NewReader(in)
	return cmd.Output()
}

// unpacked decompresses bytes as the verifier does.
func unpacked(kind string, b []byte) ([]byte, error) {
	var out bytes.Buffer
	_, err := decompress(kind, bytes.NewReader(b), int64(len(b)), &out)
	return out.Bytes(), err
}

// moduleLike is content as modules have it: some of it repeats.
func moduleLike(size int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, 0, size)
	for len(b) < size {
		if len(b) > 64 && r.IntN(3) > 0 {
			at, n := r.IntN(len(b)-32), 4+r.IntN(28)
			b = append(b, b[at:at+n]...)
		} else {
			b = append(b, byte(r.Uint32()), byte(r.Uint32()))
		}
	}
	return append(b[:size:size], trailerMagic...)
}

// containers are compressed as compressors do it that distributions use.
func containers(t testing.TB, kind string, content []byte) map[string][]byte {
	t.Helper()
	var commands []string
	switch kind {
	case "xz":
		commands = []string{"xz -c", "xz -c --check=crc32 --lzma2=dict=1MiB", "xz -c --check=none", "xz -c --check=sha256 -9", "xz -c --check=crc32 --block-size=2000", "xz -c -T2 --block-size=1500 --check=crc64"}
	case "zst":
		commands = []string{"zstd -c -q", "zstd -c -q --no-check -19", "zstd -c -q -T2", "zstd -c -q --no-content-size"}
	case "gz":
		commands = []string{"gzip -n", "gzip -n -1", "gzip -n -9"}
	}
	made := map[string][]byte{}
	for _, c := range commands {
		out, err := filter(t, content, strings.Fields(c)...)
		if err != nil {
			t.Fatalf("%s: %v", c, err)
		}
		made[c] = out
	}
	return made
}

// TestContainers decompresses what the compressors write, with several blocks
// and with each check, to the same content.
func TestContainers(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"xz", "zst", "gz"} {
		unpacker(t, kind)
		for _, size := range []int{0, 1, 5000, 300_000} {
			content := moduleLike(size)
			for name, b := range containers(t, kind, content) {
				if got, err := unpacked(kind, b); err != nil || !bytes.Equal(got, content) {
					t.Errorf("%s of %d bytes: %d bytes, %v", name, size, len(got), err)
				}
			}
		}
	}
	// Of nothing at all.
	for _, kind := range []string{"xz", "zst", "gz"} {
		for name, b := range containers(t, kind, nil) {
			if got, err := unpacked(kind, b); err != nil || len(got) > 0 {
				t.Errorf("%s of nothing: %d bytes, %v", name, len(got), err)
			}
		}
	}
}

// edits are files that differ from a good one in one point: every kind of edit
// at random places, and at the ends.
func edits(b, other []byte, n int) map[string][]byte {
	r := rand.New(rand.NewPCG(3, 4))
	made := map[string][]byte{}
	add := func(name string, parts ...[]byte) { made[name] = slices.Concat(parts...) }
	for i := range n {
		at := r.IntN(len(b))
		if i < 40 { // headers and footers lie there
			at = i
		} else if i < 80 {
			at = max(0, len(b)-(i-39))
		}
		at = min(at, len(b)-1)
		add(fmt.Sprintf("bit at %#x", at), b[:at], []byte{b[at] ^ 1<<r.IntN(8)}, b[at+1:])
		add(fmt.Sprintf("cut at %#x", at), b[:at])
		add(fmt.Sprintf("a byte more at %#x", at), b[:at], []byte{byte(r.Uint32())}, b[at:])
		add(fmt.Sprintf("four zeros at %#x", at), b[:at], make([]byte, 4), b[at:])
		add(fmt.Sprintf("a byte less at %#x", at), b[:at], b[at+1:])
	}
	for n := range 9 {
		add(fmt.Sprintf("%d zeros after it", n), b, make([]byte, n))
	}
	add("garbage after it", b, []byte("garbage"))
	add("itself after it", b, b)
	add("another after it", b, other)
	add("another before it", other, b)
	add("another after zeros", b, make([]byte, 4), other)
	return made
}

// recountXZ makes the CRCs of header, footer and index right again, so that the
// fields below them are looked at.
func recountXZ(b []byte) []byte {
	b = bytes.Clone(b)
	if len(b) < 32 {
		return b
	}
	le, end := binary.LittleEndian, len(b)-12
	le.PutUint32(b[8:], crc32.ChecksumIEEE(b[6:8]))
	le.PutUint32(b[end:], crc32.ChecksumIEEE(b[end+4:end+10]))
	if n := (int(le.Uint32(b[end+4:])) + 1) * 4; n < end-12 {
		le.PutUint32(b[end-4:], crc32.ChecksumIEEE(b[end-n:end-4]))
	}
	if n := (int(b[12]) + 1) * 4; 12+n < end {
		le.PutUint32(b[12+n-4:], crc32.ChecksumIEEE(b[12:12+n-4]))
	}
	return b
}

// TestContainersDifferential compares with xz, zstd and gzip over edited files.
// What we decompress they decompress to the same; what they decompress and we do
// not breaks a rule that has a name.
func TestContainersDifferential(t *testing.T) {
	t.Parallel()
	content := moduleLike(6000)
	n := 160
	if testing.Short() {
		n = 80
	}
	for _, kind := range []string{"xz", "zst", "gz"} {
		tool := unpacker(t, kind)
		for name, b := range containers(t, kind, content) {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				other := containers(t, kind, []byte("another"))[name]
				files := edits(b, other, n)
				if kind == "zst" {
					skippable := []byte("\x50\x2a\x4d\x18\x03\x00\x00\x00abc")
					files["skippable after it"], files["skippable before it"] = slices.Concat(b, skippable), slices.Concat(skippable, b)
				}
				if kind == "xz" {
					for name, b := range edits(b, other, n/4) {
						files[name+", CRCs right"] = recountXZ(b)
					}
				}
				both, theirs := 0, map[Rule]int{}
				for edit, b := range files {
					want, refused := filter(t, b, tool...)
					got, err := unpacked(kind, b)
					switch {
					case err == nil && refused != nil:
						t.Errorf("%s: accepted, and %s refuses it: %v", edit, tool[0], refused)
					case err == nil && !bytes.Equal(got, want):
						t.Errorf("%s: %d bytes, and %s has %d others", edit, len(got), tool[0], len(want))
					case err == nil:
						both++
					case refused == nil:
						var e *Error
						if !errors.As(err, &e) || e.Rule != RuleTrailing && e.Kind != Unsupported && !(e.Kind == Malformed && e.Rule == RuleFormat && kind == "gz" && e.Offset < 12) {
							t.Errorf("%s: %s accepts it (%d bytes), and we do not: %v", edit, tool[0], len(want), err)
						} else {
							theirs[e.Rule]++
						}
					}
				}
				t.Logf("%d edits, %d accepted by both, %v accepted by %s alone", len(files), both, theirs, tool[0])
			})
		}
	}
}

// TestContainerSlack refuses bytes that a reader would pass over, each by its
// rule.
func TestContainerSlack(t *testing.T) {
	t.Parallel()
	w := sharedWorld()
	signed := readFile(t, mustSign(t, Appended{}, writeFile(t, "x.ko", tinyELF(), 0o644), w.key, w.tsa))
	good := map[string][]byte{"xz": compress(t, "xz", signed), "zst": compress(t, "zst", signed), "gz": compress(t, "gz", signed)}
	evil := compress(t, "xz", []byte("evil"))
	gzipWith := func(flags byte, field string) []byte {
		b := bytes.Clone(good["gz"])
		b[3] = flags
		return slices.Concat(b[:10], []byte(field), b[10:])
	}
	for _, c := range []struct {
		name, kind string
		file       []byte
		rule       Rule // empty: accepted
	}{
		{"a second stream", "xz", slices.Concat(good["xz"], evil), RuleTrailing},
		{"an empty stream", "xz", slices.Concat(good["xz"], compress(t, "xz", nil)), RuleTrailing},
		{"stream padding", "xz", append(bytes.Clone(good["xz"]), 0, 0, 0, 0), RuleTrailing},
		{"a cut footer", "xz", good["xz"][:len(good["xz"])-12], RuleFormat},
		{"a second frame", "zst", slices.Concat(good["zst"], compress(t, "zst", []byte("evil"))), RuleTrailing},
		{"a skippable frame", "zst", slices.Concat(good["zst"], []byte("\x5f\x2a\x4d\x18\x04\x00\x00\x00evil")), RuleTrailing},
		{"a skippable frame before it", "zst", slices.Concat([]byte("\x50\x2a\x4d\x18\x04\x00\x00\x00evil"), good["zst"]), RuleTrailing},
		{"a second member", "gz", slices.Concat(good["gz"], compress(t, "gz", []byte("evil"))), RuleTrailing},
		{"zeros", "gz", append(bytes.Clone(good["gz"]), 0, 0), RuleTrailing},
		{"an extra field", "gz", gzipWith(4, "\x04\x00evil"), RuleFormat},
		{"a comment", "gz", gzipWith(16, "evil\x00"), RuleFormat},
		{"a name that is a payload", "gz", gzipWith(8, "evil payload.ko\x00"), RuleFormat},
		{"a module's name", "gz", gzipWith(8, "snd-hda_intel.ko\x00"), ""},
	} {
		_, err := Appended{}.Verify(t.Context(), writeFile(t, "x.ko."+c.kind, c.file, 0o644), w.trust())
		if c.rule == "" {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		var e *Error
		if !errors.As(err, &e) || e.Kind != Malformed || e.Rule != c.rule {
			t.Errorf("%s: %v, want rule %s", c.name, err, c.rule)
		}
	}
}

// TestLZMA2LeftOver refuses data that a compressed chunk has and does not need,
// as xz does: the library would take them for the next chunk.
func TestLZMA2LeftOver(t *testing.T) {
	t.Parallel()
	content := moduleLike(3000)
	b, err := filter(t, content, "xz", "--format=raw", "--lzma2=dict=64KiB", "-c")
	if err != nil {
		t.Fatal(err)
	}
	c, err := readLZMA2Chunk(bytes.NewReader(b), 0, int64(len(b)))
	if err != nil || !c.compressed || c.content != int64(len(content)) {
		t.Fatalf("%+v, %v: not one compressed chunk", c, err)
	}
	// An uncompressed chunk as the left over data of the first.
	hidden := []byte("\x02\x00\x03evil")
	longer := slices.Concat(b[:c.next], hidden, b[c.next:])
	binary.BigEndian.PutUint16(longer[3:], binary.BigEndian.Uint16(longer[3:])+uint16(len(hidden)))
	decode := func(b []byte, size int) error {
		block := xzBlock{content: int64(size)}
		return block.decode(&lzma2Reader{r: bytes.NewReader(b), end: int64(len(b))}, 64<<10, nil, &bytes.Buffer{})
	}
	if err := decode(b, len(content)); err != nil {
		t.Fatal(err)
	}
	if _, err := filter(t, longer, "xz", "--format=raw", "--lzma2=dict=64KiB", "-dc"); err == nil {
		t.Fatal("xz accepts left over data")
	}
	for _, size := range []int{len(content), len(content) + 4} {
		if err := decode(longer, size); err == nil || !strings.Contains(err.Error(), "left over") {
			t.Errorf("%v, want a word about data that are left over", err)
		}
	}
}

// TestModuleLimits refuses what claims to be, or is, too long to decompress.
func TestModuleLimits(t *testing.T) {
	t.Parallel()
	zeros := make([]byte, freeModule+1)
	for _, kind := range []string{"xz", "zst", "gz"} {
		b := compress(t, kind, zeros)
		_, err := unpacked(kind, b)
		wantError(t, err, Unsupported, RuleFormat)
		if got, err := unpacked(kind, compress(t, kind, zeros[:freeModule])); err != nil || len(got) != freeModule {
			t.Errorf("%s: %d bytes, %v", kind, len(got), err)
		}
	}
	segment := []byte("\x28\xb5\x2f\xfd\xe0\xff\xff\xff\xff\xff\xff\xff\x7f\x01\x00\x00")
	_, err := unpacked("zst", segment)
	wantError(t, err, Unsupported, RuleFormat)
	window := []byte("\x28\xb5\x2f\xfd\x00\xf8\x01\x00\x00")
	_, err = unpacked("zst", window)
	wantError(t, err, Unsupported, RuleFormat)
}
