package signing

import (
	"bytes"
	"crypto"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/cryptotest"

	"github.com/hallmark-build/hallmark/signing/mutation"
)

// TestModuleHardening is [TestHardening] for compressed kernel modules.
func TestModuleHardening(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIP: verifies thousands of files; run without -short")
	}
	var h *hardening
	t.Run("sign", func(t *testing.T) {
		cryptotest.SetGlobalRandom(t, 1)
		h = newHardening(t)
	})
	subjects := moduleSubjects(h, t)
	if xz := subjects[0]; xz.Verify(append(bytes.Clone(xz.File), xz.File...)) == nil {
		t.Skip("SKIP: modules are read up to the end of their first xz block: what follows it is open")
	}
	results := make([]*mutation.Result, len(subjects))
	for i, s := range subjects {
		t.Run(s.Name, func(t *testing.T) {
			results[i] = mutation.Run(s, hardeningFull())
			for _, p := range results[i].Problems {
				t.Error(p)
			}
		})
	}
	if err := mutation.Compare("HARDENING.md", "modules", results, *update && !t.Failed()); err != nil {
		t.Error(err)
	}
}

// moduleSubjects are a signed module in each compression.
func moduleSubjects(h *hardening, t *testing.T) []mutation.Subject {
	signed := h.sign(t, Appended{}, "notes.ko", tinyELF())
	var subjects []mutation.Subject
	for _, kind := range []string{"xz", "zst", "gz"} {
		b := compress(t, kind, signed)
		s := mutation.Subject{
			Name: "kernel module, compressed by " + kind, File: b, Regions: containerRegions(t, kind, b), Rule: ruleOf,
			Verify: h.verifier(t, "notes.ko."+kind, h.trust), Edits: containerEdits(t, kind, b, signed), Open: containerOpen(kind),
			Harmless: sameContent(t, kind, signed),
		}
		subjects = append(subjects, s)
	}
	return subjects
}

// sameContent demands of a changed container that the program that everybody
// decompresses it with finds the signed module in it, and nothing else.
func sameContent(t *testing.T, kind string, want []byte) func([]byte) error {
	t.Helper()
	dir := t.TempDir()
	tool := map[string][]string{"xz": {"xz", "-dc"}, "zst": {"zstd", "-dcq"}, "gz": {"gzip", "-dc"}}[kind]
	path, err := exec.LookPath(tool[0])
	if err != nil {
		return nil // the verdict is tested all the same
	}
	return func(b []byte) error {
		file := filepath.Join(dir, "notes.ko."+kind)
		if err := os.WriteFile(file, b, 0o644); err != nil {
			return err
		}
		got, err := exec.CommandContext(t.Context(), path, append(tool[1:], file)...).Output()
		if err != nil {
			return fmt.Errorf("%s refuses it: %w", tool[0], err)
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("%s finds another content", tool[0])
		}
		return nil
	}
}

// containerRegions maps an xz file of one block (The .xz File Format 1.2.1), a
// zstd frame (RFC 8878) and a gzip member (RFC 1952).
func containerRegions(t *testing.T, kind string, b []byte) []mutation.Region {
	t.Helper()
	var m mutation.Map
	switch kind {
	case "xz":
		footer := len(b) - 12
		index := footer - 4*(1+int(binary.LittleEndian.Uint32(b[footer+4:])))
		m.Add("stream header", 12)
		m.Add("block header", 4*(1+int(b[12])))
		m.To("LZMA2 data", index-4)
		m.Add("check of the block", 4)
		m.To("index", footer)
		m.To("stream footer", len(b))
	case "zst":
		m.Add("magic", 4)
		m.Add("frame header descriptor", 1)
		header := 1 // window descriptor
		if b[4]&0x20 != 0 {
			header = 0
		}
		m.Add("window descriptor", header)
		m.Add("frame content size", map[byte]int{0: 1 - header, 1: 2, 2: 4, 3: 8}[b[4]>>6])
		m.Add("first block header", 3)
		m.To("blocks", len(b)-4*int(b[4]>>2&1))
		m.To("checksum", len(b))
	case "gz":
		for _, f := range []struct {
			name string
			n    int
		}{{"ID", 2}, {"CM", 1}, {"FLG", 1}, {"MTIME", 4}, {"XFL", 1}, {"OS", 1}} {
			m.Add(f.name, f.n)
		}
		m.To("deflated data", len(b)-8)
		m.Add("CRC32", 4)
		m.Add("ISIZE", 4)
	}
	return m.Regions
}

// containerEdits are containers whose own fields are right: more than one part,
// and parts for other purposes.
func containerEdits(t *testing.T, kind string, b, signed []byte) iter.Seq[mutation.Mutant] {
	t.Helper()
	other := compress(t, kind, []byte("another content"))
	all := map[string][]byte{
		"a second container of the same":      slices.Concat(b, b),
		"a second container":                  slices.Concat(b, other),
		"another container before it":         slices.Concat(other, b),
		"a container of the module twice":     compress(t, kind, slices.Concat(signed, signed)),
		"a container of more than the module": compress(t, kind, slices.Concat(signed, []byte("more"))),
	}
	switch kind {
	case "xz":
		all["stream padding"] = slices.Concat(b, make([]byte, 4))
		all["stream padding and a stream"] = slices.Concat(b, make([]byte, 4), other)
	case "zst":
		skippable := slices.Concat([]byte{0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0}, []byte("junk"))
		all["a skippable frame behind it"] = slices.Concat(b, skippable)
		all["a skippable frame before it"] = slices.Concat(skippable, b)
	case "gz":
		with := func(flag byte, field []byte) []byte {
			c := bytes.Clone(b)
			c[3] |= flag
			return slices.Concat(c[:10], field, c[10:])
		}
		all["a name"] = with(8, []byte("name\x00"))
		all["a comment"] = with(16, []byte("payload\x00"))
		all["an extra field"] = with(4, []byte("\x06\x00AB\x02\x00xy"))
	}
	return func(yield func(mutation.Mutant) bool) {
		for name, b := range all {
			if !yield(mutation.Mutant{Region: "the container as a whole", Change: name, Bytes: b}) {
				return
			}
		}
	}
}

// containerOpen lists what no signature covers and no decompressor hands on.
func containerOpen(kind string) []mutation.Open {
	const own = "gzip's own header, which no decompressor hands on"
	flip, zero, fill := mutation.Flip, mutation.Zero, mutation.Fill
	return map[string][]mutation.Open{
		"gz": {
			{Region: "FLG", Changes: []string{mutation.Exchange}, Reason: own}, {Region: "MTIME", Changes: []string{flip, zero, fill}, Reason: own},
			{Region: "XFL", Changes: []string{flip}, Reason: own}, {Region: "OS", Changes: []string{flip, zero}, Reason: own},
		},
		"zst": {
			{Region: "blocks", Changes: []string{flip}, Reason: "a content has more than one encoding, and no decompressor hands on which it was"},
		},
	}[kind]
}

// detachedSubjects are, for each detached scheme, its signature and the signed
// file.
func detachedSubjects(h *hardening, t *testing.T) []mutation.Subject {
	trust := h.trust
	trust.Known = h.key.Chain
	content := bytes.Repeat([]byte("0123456789abcdef"), 300)
	var subjects []mutation.Subject
	for _, d := range []Detached{Verity{}, Verity{Hash: crypto.SHA512, NoCerts: true}, IMA{}, IMA{Verity: true}, P7S{}, Bundle{}} {
		name := "detached, " + d.Name()
		switch s := d.(type) {
		case Verity:
			if s.NoCerts {
				name += " of fsverity (no certificates)"
			}
		case IMA:
			if s.Verity {
				name += " over verity"
			}
		}
		file := writeFile(t, "content", content, 0o644)
		signature := file + d.Suffix()
		if _, err := d.Sign(t.Context(), file, signature, h.key, h.tsa); err != nil {
			t.Fatal(err)
		}
		b := readFile(t, signature)
		verify := func(file, signature string) error {
			_, err := d.Verify(t.Context(), file, signature, trust)
			return err
		}
		changed := filepath.Join(t.TempDir(), "changed")
		other := filepath.Join(t.TempDir(), "changed")
		s := mutation.Subject{Name: name, File: b, Rule: ruleOf, Verify: func(b []byte) error {
			return errors.Join(os.WriteFile(changed, b, 0o644), verify(file, changed))
		}}
		s.Regions, s.Edits, s.Open = detachedRegions(t, d, b)
		subjects = append(subjects, s, mutation.Subject{
			Name: name + ": the signed file", File: content, Rule: ruleOf,
			Regions: []mutation.Region{{Name: "first block", From: 0, To: 4096}, {Name: "rest", From: 4096, To: len(content)}},
			Verify: func(b []byte) error {
				return errors.Join(os.WriteFile(other, b, 0o644), verify(other, signature))
			},
		})
	}
	return subjects
}

func bundleOpen() []mutation.Open {
	return []mutation.Open{
		{Region: "JSON: punctuation", Changes: []string{mutation.Delete, mutation.Truncate}, Reason: "the newline at the end is blank, as other JSON writers leave it"},
		{Region: "the JSON as a whole", Changes: []string{"an escape in a string"}, Reason: "JSON has more than one form of a string, and all read the same"},
	}
}

func detachedRegions(t *testing.T, d Detached, b []byte) ([]mutation.Region, iter.Seq[mutation.Mutant], []mutation.Open) {
	t.Helper()
	var m mutation.Map
	switch d.Name() {
	case "ima":
		for _, f := range []struct {
			name string
			n    int
		}{{"type", 1}, {"version", 1}, {"hash_algo", 1}, {"keyid", 4}, {"sig_size", 2}} {
			m.Add(f.name, f.n)
		}
		m.To("sig", len(b))
	case "bundle":
		return bundleRegions(b), bundleEdits(b), bundleOpen()
	default:
		root := message(t, b)
		root.Regions(&m)
		return m.Regions, mutation.Edits(root, 1, func(der []byte) []byte { return der }), mutation.OpenCMS(root)
	}
	return m.Regions, nil, nil
}

// bundleRegions cuts the JSON into punctuation, keys and values.
func bundleRegions(b []byte) []mutation.Region {
	var m mutation.Map
	key := ""
	for at := 0; at < len(b); {
		if b[at] != '"' {
			m.Add("JSON: punctuation", 1)
			at++
			continue
		}
		end := at + 1 + bytes.IndexByte(b[at+1:], '"') + 1
		if b[end] == ':' {
			key = string(b[at+1 : end-1])
			m.Add("JSON: keys", end-at)
		} else {
			m.Add("value of "+key, end-at)
		}
		at = end
	}
	return m.Regions
}

// bundleEdits are bundles with more in them than there must be.
func bundleEdits(b []byte) iter.Seq[mutation.Mutant] {
	text := string(b)
	edits := map[string]string{
		"an unknown field":         strings.Replace(text, "{", `{"payload":"x",`, 1),
		"a field twice":            strings.Replace(text, `"messageSignature":`, `"messageSignature":{},"messageSignature":`, 1),
		"another case":             strings.Replace(text, `"mediaType"`, `"MediaType"`, 1),
		"the proto's own name":     strings.Replace(text, `"mediaType"`, `"media_type"`, 1),
		"a second document":        text + text,
		"an escape in a string":    strings.Replace(text, "application", `\u0061pplication`, 1),
		"base64 without padding":   strings.ReplaceAll(text, `=="`, `"`),
		"base64 of URLs":           strings.ReplaceAll(text, "/", "_"),
		"a list of log entries":    strings.Replace(text, `"timestampVerificationData"`, `"tlogEntries":[{"logIndex":"1"}],"timestampVerificationData"`, 1),
		"an empty list of entries": strings.Replace(text, `"timestampVerificationData"`, `"tlogEntries":[],"timestampVerificationData"`, 1),
		"null":                     strings.Replace(text, "{", `{"dsseEnvelope":null,`, 1),
	}
	return func(yield func(mutation.Mutant) bool) {
		for name, text := range edits {
			if !yield(mutation.Mutant{Region: "the JSON as a whole", Change: name, Bytes: []byte(text)}) {
				return
			}
		}
	}
}
