package release

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	bigendian "encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"iter"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/hallmark-build/hallmark/build/dist"
	"github.com/hallmark-build/hallmark/signing"
	"github.com/hallmark-build/hallmark/signing/key"
	"github.com/hallmark-build/hallmark/signing/mutation"
)

var update = flag.Bool("update", false, "write the tables of HARDENING.md that TestPackageHardening makes")

// TestPackageHardening changes a signed package of each format at every boundary
// of its structure, and compares what its verifier says with HARDENING.md, as
// TestHardening of package signing does with files.
func TestPackageHardening(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIP: verifies tens of thousands of files; run without -short")
	}
	var subjects []mutation.Subject
	t.Run("sign", func(sub *testing.T) {
		cryptotest.SetGlobalRandom(sub, 1)
		k, trust := hardeningIdentity(sub)
		for _, format := range signing.PackageFormats() {
			subjects = append(subjects, packageSubject(t, format, k, trust))
		}
	})
	results := make([]*mutation.Result, len(subjects))
	t.Run("change", func(t *testing.T) {
		for i, s := range subjects {
			t.Run(s.Name, func(t *testing.T) {
				t.Parallel()
				results[i] = mutation.Run(s, os.Getenv("HALLMARK_HARDENING") == "full")
				for _, p := range results[i].Problems {
					t.Error(p)
				}
				t.Logf("%d changes tried, %d accepted, all of them listed below unless told", results[i].Tried, results[i].Accepted)
			})
		}
	})
	if err := mutation.Compare(filepath.Join("..", "..", "signing", "HARDENING.md"), "packages", results, *update && !t.Failed()); err != nil {
		t.Error(err)
	}
}

// hardeningTime is the present of this test.
var hardeningTime = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

func hardeningIdentity(t *testing.T) (*key.Key, signing.Trust) {
	t.Helper()
	signer, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test Signer"}, SubjectKeyId: []byte{1, 2, 3, 4},
		NotBefore: hardeningTime.AddDate(-1, 0, 0), NotAfter: hardeningTime.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, signer.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	chain := []*x509.Certificate{cert}
	return &key.Key{Signer: signer, Chain: chain, Ref: "test"}, signing.Trust{Roots: roots, Known: chain, Now: hardeningTime}
}

func packageSubject(t *testing.T, format string, k *key.Key, trust signing.Trust) mutation.Subject {
	t.Helper()
	by, err := signing.NewPackageKey(k, "Ann Author <ann@example.com>")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "notes")
	if err := os.WriteFile(program, []byte(strings.Repeat("a program ", 100)), 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "notes."+format)
	if err := dist.WritePackage(file, dist.Package{
		Name: "notes", Version: "1.2.3", Arch: "amd64", Format: format, ModTime: hardeningTime, KeyName: "notes",
		Config: dist.Config{Maintainer: "Ann Author <ann@example.com>", Description: "Notes", License: "MIT", Homepage: "https://notes.example"},
		Files:  []dist.File{{Path: program, Name: "notes", Mode: 0o755}},
		Sign:   func(signed io.Reader) ([]byte, error) { return by.Sign(format, hardeningTime, signed) },
	}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := filepath.Join(t.TempDir(), "notes."+format)
	s := mutation.Subject{Name: "package: " + format, File: b, Rule: packageRule, Verify: func(b []byte) error {
		if err := os.WriteFile(changed, b, 0o644); err != nil {
			return err
		}
		if _, err := unpack(t.Context(), changed); err != nil {
			return err
		}
		_, err := verifyPackage(t.Context(), changed, format, trust)
		return err
	}}
	switch format {
	case dist.Deb:
		s.Regions, s.Edits = debRegions(t, b), edits(debEdits(b))
	case dist.RPM:
		s.Regions, s.Edits = rpmRegions(t, b), edits(rpmEdits(b))
	case dist.APK:
		s.Regions, s.Edits = apkRegions(t, b), edits(apkEdits(t, b))
	}
	return s
}

// packageRule names the reason of a refusal: that the package is not whole, or a
// rule about its signature.
func packageRule(err error) string {
	var format *dist.FormatError
	var e *signing.Error
	switch {
	case errors.As(err, &e):
		return string(e.Rule)
	case errors.As(err, &format):
		return "format"
	}
	return "error without a rule"
}

func edits(all map[string][]byte) iter.Seq[mutation.Mutant] {
	return func(yield func(mutation.Mutant) bool) {
		for change, b := range all {
			if !yield(mutation.Mutant{Region: "the package as a whole", Change: change, Bytes: b}) {
				return
			}
		}
	}
}

// arHeader is a header of ar(5).
func arHeader(name string, size int) string {
	return fmt.Sprintf("%-16s%-12d%-6d%-6d%-8s%-10d`\n", name, hardeningTime.Unix(), 0, 0, "100644", size)
}

func debRegions(t *testing.T, b []byte) []mutation.Region {
	t.Helper()
	var m mutation.Map
	m.Add("ar: magic", 8)
	for m.End() < len(b) {
		at := m.End()
		name := strings.TrimRight(string(b[at:at+16]), " /")
		size, err := strconv.Atoi(strings.TrimSpace(string(b[at+48 : at+58])))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range []struct {
			name string
			n    int
		}{{"name", 16}, {"time", 12}, {"owner and group", 12}, {"mode", 8}, {"size", 10}, {"end of the header", 2}} {
			m.Add("ar: "+f.name, f.n)
		}
		if name != "_gpgorigin" {
			m.Add(name, size)
		} else {
			armor := string(b[at+60 : at+60+size])
			head := strings.Index(armor, "\n\n") + 2
			tail := strings.LastIndex(armor, "\n-----END") + 1
			if sum := strings.LastIndex(armor[:tail-1], "\n=") + 1; sum > 0 {
				m.Add("_gpgorigin: head of the armor", head)
				m.Add("_gpgorigin: base64", sum-head)
				m.Add("_gpgorigin: checksum of the armor", tail-sum)
			} else {
				m.Add("_gpgorigin: head of the armor", head)
				m.Add("_gpgorigin: base64", tail-head)
			}
			m.Add("_gpgorigin: end of the armor", size-tail)
		}
		m.Add("ar: padding", size%2)
	}
	return m.Regions
}

func debEdits(b []byte) map[string][]byte {
	at := bytes.Index(b, []byte("_gpgorigin"))
	signature := b[at:]
	member := func(name, content string) []byte {
		if len(content)%2 == 1 {
			content += "\n"
		}
		return []byte(arHeader(name, len(content)) + content)
	}
	armor := string(signature[60:])
	if n, err := strconv.Atoi(strings.TrimSpace(string(signature[48:58]))); err == nil {
		armor = armor[:n]
	}
	with := func(armor string) []byte { return slices.Concat(b[:at], member("_gpgorigin", armor)) }
	return map[string][]byte{
		"a member behind the signature":      slices.Concat(b, member("_payload", "payload")),
		"a member before the signature":      slices.Concat(b[:at], member("_payload", "payload"), signature),
		"a member at the beginning":          slices.Concat(b[:8], member("_payload", "payload"), b[8:]),
		"a second data member":               slices.Concat(b[:at], member("data.tar", "payload"), signature),
		"the signature twice":                slices.Concat(b, signature),
		"another signature, of another role": slices.Concat(b, member("_gpgbuilder", armor)),
		"text before the armor":              with("text\n" + armor),
		"text behind the armor":              with(armor + "text\n"),
		"a header in the armor":              with(strings.Replace(armor, "\n\n", "\nComment: text\n\n", 1)),
		"line ends of DOS in the armor":      with(strings.ReplaceAll(armor, "\n", "\r\n")),
		"no checksum of the armor":           with(dropLine(armor, "=")),
	}
}

func dropLine(text, prefix string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, prefix) {
			out.WriteString(line)
		}
	}
	return out.String()
}

func rpmRegions(t *testing.T, b []byte) []mutation.Region {
	t.Helper()
	be := bigendian.BigEndian
	p := mutation.Paint(len(b), "payload")
	at := 0
	for _, f := range []struct {
		name string
		n    int
	}{{"magic", 4}, {"version", 2}, {"type", 2}, {"architecture", 2}, {"name", 66}, {"operating system", 2}, {"signature type", 2}, {"reserved", 16}} {
		p.Add("lead: "+f.name, at, at+f.n)
		at += f.n
	}
	tags, size := int(be.Uint32(b[at+8:])), int(be.Uint32(b[at+12:]))
	p.Add("signature header: magic", at, at+4)
	p.Add("signature header: reserved", at+4, at+8)
	p.Add("signature header: counts", at+8, at+16)
	store := at + 16 + 16*tags
	p.Add("signature header: store, of no tag", store, store+size)
	for i := range tags {
		e := at + 16 + 16*i
		tag := be.Uint32(b[e:])
		name := fmt.Sprintf("signature header: tag %d", tag)
		p.Add("signature header: entry of a tag", e, e+16)
		from, n := store+int(be.Uint32(b[e+8:])), int(be.Uint32(b[e+12:]))
		switch be.Uint32(b[e+4:]) {
		case 4:
			n *= 4
		case 6:
			n = bytes.IndexByte(b[from:], 0) + 1
		}
		p.Add(name, from, from+n)
	}
	end := (store + size + 7) &^ 7
	p.Add("padding behind the signature header", store+size, end)
	tags, size = int(be.Uint32(b[end+8:])), int(be.Uint32(b[end+12:]))
	p.Add("header", end, end+16+16*tags+size)
	return p.Regions()
}

// rpmEdits add a tag to the signature header, and bytes to its store.
func rpmEdits(b []byte) map[string][]byte {
	be := bigendian.BigEndian
	const at = 96
	tags, size := int(be.Uint32(b[at+8:])), int(be.Uint32(b[at+12:]))
	index, store := b[at+16:at+16+16*tags], b[at+16+16*tags:at+16+16*tags+size]
	rest := b[(at+16+16*tags+size+7)&^7:]
	build := func(index, store []byte) []byte {
		out := slices.Concat(b[:at+8], be.AppendUint32(nil, uint32(len(index)/16)), be.AppendUint32(nil, uint32(len(store))), index, store)
		out = append(out, make([]byte, -len(out)&7)...)
		return append(out, rest...)
	}
	entry := func(tag, kind, offset, count uint32) []byte {
		e := be.AppendUint32(nil, tag)
		e = be.AppendUint32(e, kind)
		e = be.AppendUint32(e, offset)
		return be.AppendUint32(e, count)
	}
	payload := []byte("payload payload ")
	// In front of the store's last 16 bytes, which may be the region's trailer.
	return map[string][]byte{
		"an unknown tag":              build(slices.Concat(index, entry(99999, 7, uint32(len(store)), 16)), slices.Concat(store, payload)),
		"a string tag":                build(slices.Concat(index, entry(1000000, 6, uint32(len(store)), 1)), slices.Concat(store, []byte("payload\x00"))),
		"a tag twice":                 build(slices.Concat(index, index[len(index)-16:]), store),
		"bytes behind the store":      build(index, slices.Concat(store, payload)),
		"bytes before the store":      build(index, slices.Concat(payload, store)),
		"a reserved space (tag 1008)": build(slices.Concat(index, entry(1008, 7, uint32(len(store)), 16)), slices.Concat(store, payload)),
		"no first tag":                build(index[16:], store),
		"no last tag":                 build(index[:len(index)-16], store),
	}
}

func apkMembers(t *testing.T, b []byte) (starts []int) {
	t.Helper()
	r := bytes.NewReader(b)
	for r.Len() > 0 {
		starts = append(starts, len(b)-r.Len())
		zr, err := gzip.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		zr.Multistream(false)
		if _, err := io.Copy(io.Discard, zr); err != nil {
			t.Fatal(err)
		}
	}
	return append(starts, len(b))
}

func apkRegions(t *testing.T, b []byte) []mutation.Region {
	t.Helper()
	starts := apkMembers(t, b)
	var m mutation.Map
	for i, name := range []string{"signature", "control", "data"} {
		at, end := starts[i], starts[i+1]
		name += ": "
		m.Add(name+"gzip magic", 2)
		m.Add(name+"method", 1)
		m.Add(name+"flags", 1)
		m.Add(name+"time", 4)
		m.Add(name+"extra flags and system", 2)
		if b[at+3] != 0 {
			t.Fatalf("the gzip header of the %s member has fields", name)
		}
		m.To(name+"deflated tar", end-8)
		m.Add(name+"CRC and size", 8)
	}
	return m.Regions
}

func apkEdits(t *testing.T, b []byte) map[string][]byte {
	t.Helper()
	starts := apkMembers(t, b)
	signature, rest := b[:starts[1]], b[starts[1]:]
	zr, err := gzip.NewReader(bytes.NewReader(signature))
	if err != nil {
		t.Fatal(err)
	}
	tar, err := io.ReadAll(zr)
	if err != nil {
		t.Fatal(err)
	}
	pack := func(tars ...[]byte) []byte {
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		for _, b := range tars {
			w.Write(b)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	renamed := bytes.Clone(tar) // a second file of another name, with the checksum of its header right
	copy(renamed, ".payload\x00")
	for i := range 100 {
		if i >= 8 {
			renamed[i] = 0
		}
	}
	copy(renamed[148:156], "        ")
	sum := 0
	for _, c := range renamed[:512] {
		sum += int(c)
	}
	copy(renamed[148:156], fmt.Sprintf("%06o\x00 ", sum))
	named := func(flag byte, field string) []byte {
		c := bytes.Clone(signature)
		c[3] |= flag
		return slices.Concat(c[:10], []byte(field), c[10:])
	}
	return map[string][]byte{
		"the member packed anew":         slices.Concat(pack(tar), rest),
		"a further file":                 slices.Concat(pack(tar, renamed), rest),
		"a further file before it":       slices.Concat(pack(renamed, tar), rest),
		"the signature twice in it":      slices.Concat(pack(tar, tar), rest),
		"the member twice":               slices.Concat(signature, b),
		"zeros behind the tar":           slices.Concat(pack(tar, make([]byte, 1024)), rest),
		"a name in the gzip header":      slices.Concat(named(8, "payload\x00"), rest),
		"a comment in the gzip header":   slices.Concat(named(16, "payload\x00"), rest),
		"an extra field of gzip":         slices.Concat(named(4, "\x06\x00AB\x02\x00xy"), rest),
		"an empty gzip member before it": slices.Concat(pack(), b),
		"another gzip member at the end": slices.Concat(b, pack([]byte("payload"))),
	}
}
