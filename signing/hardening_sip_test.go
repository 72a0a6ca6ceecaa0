package signing

import (
	"bytes"
	"cmp"
	"crypto"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hallmark-build/hallmark/signing/mutation"
	"github.com/hallmark-build/hallmark/signing/sip"
)

// resign returns a file of one of sip's formats with another signature in the
// place of its own.
func resign(t *testing.T, name string, signed []byte) func(der []byte) []byte {
	t.Helper()
	dir := t.TempDir()
	return func(der []byte) []byte {
		subject, err := sip.Open(name, bytes.NewReader(signed), int64(len(signed)))
		if err != nil {
			panic(err)
		}
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			panic(err)
		}
		defer f.Close()
		if err := subject.Sign(f, sipHash(subject), sipSigner{
			digest:  func([]byte) ([]byte, error) { return der, nil },
			catalog: func(catalog []byte) ([]byte, error) { return catalog, nil },
		}); err != nil {
			panic(err)
		}
		b, err := os.ReadFile(f.Name())
		if err != nil {
			panic(err)
		}
		return b
	}
}

// signatureOf returns the DER of a signature in a file.
func signatureOf(t *testing.T, name string, b []byte) []byte {
	t.Helper()
	subject, err := sip.Open(name, bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	der, err := subject.Signature()
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// subject makes the subject of one of sip's formats.
func (h *hardening) subject(t *testing.T, name, file string, b []byte, regions []mutation.Region) mutation.Subject {
	t.Helper()
	s := mutation.Subject{Name: name, File: b, Regions: regions, Rule: ruleOf, Verify: h.verifier(t, file, h.trust)}
	root := message(t, signatureOf(t, file, b))
	s.Edits, s.Open = mutation.Edits(root, 0, resign(t, file, b)), mutation.OpenCMS(root)
	return s
}

// sipSubjects are a package, a cabinet, scripts and a catalog.
func sipSubjects(h *hardening, t *testing.T) []mutation.Subject {
	control := func(name string) []byte { return readFile(t, filepath.Join(casesDir, name)) }
	msi := h.sign(t, SIP{Description: "Notes"}, "notes.msi", control("z00_control.msi"))
	cab := h.sign(t, SIP{}, "notes.cab", control("y00_control.cab"))
	msix := h.sign(t, SIP{}, "notes.msix", control("x00_control.msix"))
	subjects := []mutation.Subject{
		h.subject(t, "MSI", "notes.msi", msi, msiRegions(t, msi)),
		h.subject(t, "CAB", "notes.cab", cab, cabRegions(t, cab)),
		h.subject(t, "MSIX", "notes.msix", msix, msixRegions(t, msix)),
	}
	subjects[0].Open = append(subjects[0].Open, msiOpen()...)
	subjects[2].Open = append(subjects[2].Open, mutation.Open{Region: "signature's entry: data", Changes: []string{mutation.Flip}, Reason: "the unused bits in the last byte of a deflate stream (RFC 1951, 3.1.1); it can be packed in more than one way, and only its content counts"},
		mutation.Open{Region: "end record: disks", Changes: []string{mutation.Fill}, Reason: "MakeAppx writes 0xFFFF there, and Windows takes it"})
	for _, s := range []struct{ file, text string }{
		{"notes.ps1", "Write-Output 'hello'\r\n"},
		{"notes.ps1xml", "<?xml version=\"1.0\"?>\r\n<Configuration/>\r\n"},
		{"notes.mof", "class Notes {};\r\n"},
		{"wide.ps1", "\xff\xfeW\x00r\x00i\x00t\x00e\x00"},
	} {
		signed := h.sign(t, SIP{}, s.file, []byte(s.text))
		subjects = append(subjects, h.subject(t, "script ("+s.file+")", s.file, signed, scriptRegions(t, s.file, signed)))
	}
	return append(subjects, catalogSubject(h, t))
}

// msiOpen lists what neither of the format's two digests has, and what has more
// than one right value.
func msiOpen() []mutation.Open {
	flip, zero := mutation.Flip, mutation.Zero
	const colour = "the red-black tree's colours, which readers do not look at"
	return []mutation.Open{
		{Region: "root: colour", Changes: []string{flip, zero}, Reason: colour}, {Region: "stream: colour", Changes: []string{flip, zero}, Reason: colour},
		{Region: "signature's entry: colour", Changes: []string{flip, zero}, Reason: colour},
		{Region: "root: times", Changes: []string{flip}, Reason: "neither digest has them"},
		{Region: "root: size, lower half", Changes: []string{flip}, Reason: "the mini stream may end anywhere in its last sector"},
		{Region: "signature's entry: size, lower half", Changes: []string{flip}, Reason: "up to seven zeros may follow the signature"},
	}
}

func catalogSubject(h *hardening, t *testing.T) mutation.Subject {
	program := writeFile(t, "notes.exe", layout{true, 0x8664, 16, []page{{512, 1024}}, 1024}.build(), 0o755)
	src, _ := catalogOf(t, program)
	signed := h.sign(t, SIP{}, "notes.cat", readFile(t, src))
	var m mutation.Map
	root := message(t, signed)
	root.Regions(&m)
	return mutation.Subject{
		Name: "security catalog", File: signed, Regions: m.Regions, Open: mutation.OpenCMS(root), Rule: ruleOf, Verify: h.verifier(t, "notes.cat", h.trust),
		Edits: mutation.Edits(root, 1, func(der []byte) []byte { return der }),
	}
}

func scriptRegions(t *testing.T, name string, b []byte) []mutation.Region {
	t.Helper()
	mark := []byte("SIG # Begin signature block")
	end := []byte("SIG # End signature block")
	unit := 1
	if bytes.HasPrefix(b, []byte("\xff\xfe")) {
		unit = 2
		mark, end = wide(mark), wide(end)
	}
	begin, stop := bytes.Index(b, mark), bytes.Index(b, end)
	if begin < 0 || stop < begin {
		t.Fatalf("%s has no signature block", name)
	}
	line := bytes.LastIndexByte(b[:begin], '\n') // of the newline in front of the block
	endLine := bytes.LastIndexByte(b[:stop], '\n') + unit
	var m mutation.Map
	m.To("text", line+1-2*unit)
	m.Add("newline before the block", 2*unit)
	m.To("first line of the block", begin+len(mark))
	m.Add("first line of the block", bytes.IndexByte(b[begin+len(mark):], '\n')+unit)
	m.To("base64", endLine)
	m.To("last line of the block", len(b))
	return m.Regions
}

func wide(b []byte) []byte {
	var out []byte
	for _, c := range b {
		out = append(out, c, 0)
	}
	return out
}

func cabRegions(t *testing.T, b []byte) []mutation.Region {
	t.Helper()
	le := binary.LittleEndian
	var m mutation.Map
	for _, f := range []struct {
		name string
		n    int
	}{
		{"signature MSCF", 4}, {"reserved1", 4}, {"cbCabinet", 4}, {"reserved2", 4}, {"coffFiles", 4}, {"reserved3", 4}, {"version", 2},
		{"cFolders, cFiles", 4}, {"flags", 2}, {"setID", 2}, {"iCabinet", 2}, {"sizes of the reserves", 4},
		{"reserve: 00 00 10 00", 4}, {"reserve: offset of the signature", 4}, {"reserve: its length", 4}, {"reserve: zeros", 8},
	} {
		m.Add(f.name, f.n)
	}
	end := int(le.Uint32(b[8:]))
	m.Add("CFFOLDER", 8*int(le.Uint16(b[26:])))
	m.To("CFFOLDER", int(le.Uint32(b[16:])))
	data := int(le.Uint32(b[60:])) // coffCabStart of the first folder
	m.To("CFFILE", data)
	m.To("CFDATA", end)
	message(t, signatureOf(t, "notes.cab", b)).Regions(&m)
	m.To("padding behind the signature", len(b))
	return m.Regions
}

// cfb is as much of a compound file as a map of it needs (MS-CFB).
type cfb struct {
	b     []byte
	fat   []uint32
	size  int // of a sector
	paint mutation.Painting
}

func (c cfb) at(sector uint32) int { return (int(sector) + 1) * c.size }

func (c cfb) chain(first uint32) (sectors []uint32) {
	for s := first; s < 0xfffffffa && len(sectors) < len(c.fat); s = c.fat[s] {
		sectors = append(sectors, s)
	}
	return sectors
}

func msiRegions(t *testing.T, b []byte) []mutation.Region {
	t.Helper()
	le := binary.LittleEndian
	c := cfb{b: b, size: 1 << le.Uint16(b[30:]), paint: mutation.Paint(len(b), "free sectors")}
	at := 0
	for _, f := range []struct {
		name string
		n    int
	}{
		{"header: signature", 8}, {"header: CLSID", 16}, {"header: minor version", 2}, {"header: major version", 2}, {"header: byte order, sector shifts", 6},
		{"header: reserved", 6}, {"header: number of directory sectors", 4}, {"header: number of FAT sectors", 4}, {"header: first directory sector", 4},
		{"header: transaction signature", 4}, {"header: mini stream cutoff", 4}, {"header: mini FAT", 8}, {"header: DIFAT", 8}, {"header: FAT sectors", 436},
	} {
		c.paint.Add(f.name, at, at+f.n)
		at += f.n
	}
	for i := range int(le.Uint32(b[44:])) {
		s := le.Uint32(b[76+4*i:])
		c.paint.Add("FAT", c.at(s), c.at(s)+c.size)
		for j := range c.size / 4 {
			c.fat = append(c.fat, le.Uint32(b[c.at(s)+4*j:]))
		}
	}
	var miniFAT []uint32
	for _, s := range c.chain(le.Uint32(b[60:])) {
		c.paint.Add("mini FAT", c.at(s), c.at(s)+c.size)
		for j := range c.size / 4 {
			miniFAT = append(miniFAT, le.Uint32(b[c.at(s)+4*j:]))
		}
	}
	c.directory(t, miniFAT)
	return c.paint.Regions()
}

// directory paints the entries and what they lead to.
func (c cfb) directory(t *testing.T, miniFAT []uint32) {
	le := binary.LittleEndian
	var mini []uint32
	for _, s := range c.chain(le.Uint32(c.b[48:])) {
		for at := c.at(s); at < c.at(s)+c.size; at += 128 {
			e := c.b[at : at+128]
			name := e[:max(0, int(le.Uint16(e[64:]))-2)]
			first, length := le.Uint32(e[116:]), int(le.Uint32(e[120:]))
			kind := map[byte]string{0: "unused entry", 1: "storage", 2: "stream", 5: "root"}[e[66]]
			own := ""
			switch {
			case bytes.Equal(name, wide([]byte("\x05DigitalSignature"))):
				kind, own = "signature's entry", "signature"
			case bytes.Equal(name, wide([]byte("\x05MsiDigitalSignatureEx"))):
				kind, own = "signature's entry", "MsiDigitalSignatureEx"
			}
			c.entry(kind, at)
			switch {
			case e[66] == 5:
				mini = c.chain(first)
				for i, s := range mini {
					c.paint.Add("free mini sectors", c.at(s), c.at(s)+c.size)
					if end := (i + 1) * c.size; end > length {
						c.paint.Add("end of the mini stream's last sector", c.at(s)+c.size-(end-length), c.at(s)+c.size)
					}
				}
			case e[66] == 2 && length >= 4096:
				c.stream(t, own, c.chain(first), c.size, length, c.at)
			case e[66] == 2:
				var sectors []uint32
				for s := first; int(s) < len(miniFAT) && len(sectors)*64 < length; s = miniFAT[s] {
					sectors = append(sectors, s)
				}
				c.stream(t, own, sectors, 64, length, func(s uint32) int { return c.at(mini[int(s)*64/c.size]) + int(s)*64%c.size })
			}
		}
	}
}

// entry paints a directory entry (2.6.1).
func (c cfb) entry(kind string, at int) {
	for _, f := range []struct {
		name string
		n    int
	}{
		{"name", 64}, {"length of the name", 2}, {"type", 1}, {"colour", 1}, {"siblings", 8}, {"child", 4}, {"CLSID", 16}, {"state bits", 4},
		{"times", 16}, {"first sector", 4}, {"size, lower half", 4}, {"size, upper half", 4},
	} {
		c.paint.Add(kind+": "+f.name, at, at+f.n)
		at += f.n
	}
}

// stream paints the content of a stream. The signature's is painted part by
// part where its sectors follow each other.
func (c cfb) stream(t *testing.T, own string, sectors []uint32, size, length int, at func(uint32) int) {
	for i, s := range sectors {
		n := min(size, length-i*size)
		name := own
		if own == "" {
			name = "stream"
		}
		c.paint.Add(name, at(s), at(s)+n)
		c.paint.Add("end of a stream's last sector", at(s)+n, at(s)+size)
	}
	run := slices.IsSortedFunc(sectors, func(a, b uint32) int { return int(a) - int(b) })
	if own == "signature" && run && at(sectors[len(sectors)-1])-at(sectors[0]) == (len(sectors)-1)*size {
		begin := at(sectors[0])
		root, err := mutation.ParseDER(c.b[begin : begin+length])
		if err != nil {
			t.Fatal(err)
		}
		mutation.NameCMS(root)
		c.paint.AddNode(root, begin)
	}
}

// zipPart is a field of a ZIP record (APPNOTE.TXT).
type zipPart struct {
	name string
	n    int
}

func zipLocal() []zipPart {
	return []zipPart{{"signature", 4}, {"version", 2}, {"flags", 2}, {"method", 2}, {"time and date", 4}, {"CRC", 4}, {"sizes", 8}, {"lengths of name and extra field", 4}}
}

func zipCentral() []zipPart {
	return []zipPart{{"signature", 4}, {"versions", 4}, {"flags", 2}, {"method", 2}, {"time and date", 4}, {"CRC", 4}, {"sizes", 8},
		{"lengths of name, extra field and comment", 6}, {"disk", 2}, {"attributes", 6}, {"offset", 4}}
}

func msixRegions(t *testing.T, b []byte) []mutation.Region {
	t.Helper()
	le := binary.LittleEndian
	end := len(b) - 22
	directory := int(le.Uint32(b[end+16:]))
	var m mutation.Map
	fields := func(prefix string, parts []zipPart) {
		for _, p := range parts {
			m.Add(prefix+p.name, p.n)
		}
	}
	var locals []int
	for at := directory; at < end; {
		locals = append(locals, int(le.Uint32(b[at+42:])))
		at += 46 + int(le.Uint16(b[at+28:])) + int(le.Uint16(b[at+30:])) + int(le.Uint16(b[at+32:]))
	}
	for i, at := range locals {
		prefix := "entry: "
		if i == len(locals)-1 {
			prefix = "signature's entry: "
		}
		fields(prefix+"local ", zipLocal())
		m.Add(prefix+"local name", int(le.Uint16(b[at+26:])))
		m.Add(prefix+"local extra field", int(le.Uint16(b[at+28:])))
		m.To(prefix+"data", append(locals, directory)[i+1])
	}
	for i := 0; m.End() < end; i++ {
		at, prefix := m.End(), "entry: "
		if i == len(locals)-1 {
			prefix = "signature's entry: "
		}
		fields(prefix+"central ", zipCentral())
		m.Add(prefix+"central name", int(le.Uint16(b[at+28:])))
		m.Add(prefix+"central extra field", int(le.Uint16(b[at+30:])))
		m.Add(prefix+"central comment", int(le.Uint16(b[at+32:])))
	}
	fields("end record: ", []zipPart{{"signature", 4}, {"disks", 4}, {"numbers of entries", 4}, {"size", 4}, {"offset", 4}, {"length of the comment", 2}})
	return m.Regions
}

// sipHash is the digest algorithm of a subject's signature.
func sipHash(s sip.Subject) crypto.Hash { return cmp.Or(s.Hash(), crypto.SHA256) }
