package boundaries

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hallmark-build/hallmark/signing/cms"
	"github.com/hallmark-build/hallmark/signing/compat"
	"github.com/hallmark-build/hallmark/signing/key"
)

// none is the operation that is none, and the scheme of what is not signed.
const none = "none"

// expired is the operation of which the signatures are made first: their
// certificate ends soon.
const expired = "expired"

// A spec names the file of a case: what it is, how it is signed, and what
// happens to it.
type spec struct {
	artifact    artifact
	scheme      scheme
	key, digest string
	op          string
}

func (s spec) String() string {
	return fmt.Sprintf("%s/%s/%s/%s/%s", s.artifact.name, s.scheme.name, s.key, s.digest, s.op)
}

func digestOf(name string) crypto.Hash {
	switch name {
	case "sha384":
		return crypto.SHA384
	case "sha512":
		return crypto.SHA512
	}
	return crypto.SHA256
}

// made is the file of a case before it is on the disk.
type made struct {
	piece
	trust compat.Trust // zero: that of the world that signed
	after time.Time    // not to be judged before
	place string       // where it is judged: "", tmpfs or fuse
}

// An operation is what happens to a signed file.
type operation struct {
	name  string
	takes func(a artifact, s scheme) bool
	do    func(ctx context.Context, m *maker, sp spec, base piece) (made, error)
}

// operations lists them all but the flipped bytes, of which there is one for
// each region that a file has.
func operations() []operation {
	all := func(artifact, scheme) bool { return true }
	programs := func(a artifact, _ scheme) bool { return a.format != formatPackage }
	// The tools of binutils are of the machine's own architecture and of MinGW's.
	amd64 := func(a artifact, _ scheme) bool { return a.format != formatPackage && a.name != "pe-arm64" }
	hasMessage := func(_ artifact, s scheme) bool {
		return slices.Contains([]string{"authenticode", "page-hashes", "appended", "verity", "p7s"}, s.name)
	}
	stamped := func(a artifact, s scheme) bool { return s.judges != "ima" }
	return []operation{
		{none, all, func(_ context.Context, _ *maker, _ spec, base piece) (made, error) { return made{piece: base}, nil }},
		{"unsigned", all, func(_ context.Context, m *maker, sp spec, _ piece) (made, error) {
			p, err := m.unsigned(sp.artifact)
			return made{piece: p}, err
		}},
		{"append", all, edited(func(b []byte) ([]byte, error) { return append(bytes.Clone(b), "payload\n"...), nil })},
		{"truncate", all, edited(func(b []byte) ([]byte, error) { return b[:len(b)-16], nil })},
		{"append-in-table", func(_ artifact, s scheme) bool { return s.judges == "authenticode" }, edited(appendInTable)},
		{"checksum-zero", func(_ artifact, s scheme) bool { return s.judges == "authenticode" }, edited(func(b []byte) ([]byte, error) {
			t, err := tableOf(b)
			b = bytes.Clone(b)
			copy(b[t.checksum:], make([]byte, 4))
			return b, err
		})},
		{"edit-resource", func(a artifact, _ scheme) bool { return a.format == formatPE && a.mode == "" }, edited(editResource)},
		{"strip", amd64, byTool("strip", "-o", "OUT", "IN")},
		{"strip-debug", amd64, byTool("objcopy", "--strip-debug", "IN", "OUT")},
		{"only-keep-debug", amd64, byTool("objcopy", "--only-keep-debug", "IN", "OUT")},
		{"add-section", amd64, byTool("objcopy", "--add-section", ".note.boundary=NOTE", "IN", "OUT")},
		{"patchelf", func(a artifact, _ scheme) bool { return a.name == "elf-cgo" || a.name == "elf-so" },
			byTool("patchelf", "--set-rpath", "/opt/lib", "--output", "OUT", "IN")},
		{"buildid", func(a artifact, _ scheme) bool { return a.format == formatELF && a.name != "elf-so" }, byBuildID},
		{"sign-again", all, func(ctx context.Context, m *maker, sp spec, base piece) (made, error) {
			p, err := base.signed(ctx, sp.scheme, digestOf(sp.digest), m.world.key("rsa4096"), m.world.stamps(time.Time{}))
			return made{piece: p}, err
		}},
		{"both-schemes", programs, bothSchemes},
		{"other-signature", all, otherSignature},
		{"no-timestamp", stamped, func(ctx context.Context, m *maker, sp spec, _ piece) (made, error) {
			return m.sign(ctx, sp, m.world.key(sp.key), nowhere)
		}},
		{"expired-timestamped", stamped, func(ctx context.Context, m *maker, sp spec, _ piece) (made, error) {
			return m.sign(ctx, sp, m.world.identity(m.world.expired), m.world.made.AddDate(-2, 0, 0))
		}},
		{expired, all, func(ctx context.Context, m *maker, sp spec, _ piece) (made, error) {
			// The certificate ends while the map is made.
			if err := m.begin(); err != nil {
				return made{}, err
			}
			d, err := m.sign(ctx, sp, m.world.identity(m.world.brief), nowhere)
			d.after = m.world.brief.cert.NotAfter.Add(time.Second)
			return d, err
		}},
		// A verifier whose clock is behind sees the signature in its future. So
		// the signature is made in the future, and no verifier's clock is touched.
		{"clock-back", hasMessage, func(ctx context.Context, m *maker, sp spec, base piece) (made, error) {
			p, err := base.resigned(ctx, sp.scheme, m.world.key(sp.key), m.world.stamps(m.world.made.AddDate(0, 0, 7)), nil)
			return made{piece: p}, err
		}},
		{"not-yet-valid", hasMessage, func(ctx context.Context, m *maker, sp spec, base piece) (made, error) {
			k, err := m.issue("Boundary Signer to Come", codeSigning(m.world.made.AddDate(0, 6, 0), m.world.made.AddDate(1, 0, 0)))
			if err != nil {
				return made{}, err
			}
			p, err := base.resigned(ctx, sp.scheme, k, m.world.stamps(time.Time{}), nil)
			return made{piece: p}, err
		}},
		{"wrong-usage", hasMessage, func(ctx context.Context, m *maker, sp spec, base piece) (made, error) {
			k, err := m.issue("Boundary Web Server", func(c *x509.Certificate) error {
				c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
				c.NotBefore, c.NotAfter = m.world.made.Add(-time.Hour), m.world.made.AddDate(0, 1, 0)
				return nil
			})
			if err != nil {
				return made{}, err
			}
			p, err := base.resigned(ctx, sp.scheme, k, m.world.stamps(time.Time{}), nil)
			return made{piece: p}, err
		}},
		{"no-intermediate", hasMessage, func(ctx context.Context, m *maker, sp spec, base piece) (made, error) {
			p, err := base.resigned(ctx, sp.scheme, m.world.key(sp.key), m.world.stamps(time.Time{}), func(c *cms.Message) { c.Certificates = c.Certificates[:1] })
			return made{piece: p, trust: compat.Trust{CAFile: m.world.trust.CAFile, TSAFile: m.world.trust.TSAFile, PolicyFile: m.world.trust.PolicyFile}}, err
		}},
		{"wrong-root", all, func(_ context.Context, m *maker, _ spec, base piece) (made, error) {
			return made{piece: base, trust: m.other.trust}, nil
		}},
		{"wrong-tsa-root", stamped, func(_ context.Context, m *maker, _ spec, base piece) (made, error) {
			t := m.world.trust
			t.TSAFile = m.other.trust.TSAFile
			return made{piece: base, trust: t}, nil
		}},
		{"copy-tmpfs", programs, inPlace("tmpfs")},
		{"copy-fuse", programs, inPlace("fuse")},
		{"copy-ext4", programs, journey("ext4")},
		{"pack-zip", programs, journey("zip")},
		{"pack-tar.gz", programs, journey("tar.gz")},
		{"pack-deb", programs, journey("deb")},
		{"pack-rpm", programs, journey("rpm")},
	}
}

// nowhere is the time of a timestamp that there is not.
var nowhere = time.Unix(1, 0)

// sign signs an artifact from the start, with a timestamp of a moment.
func (m *maker) sign(ctx context.Context, sp spec, k *key.Key, at time.Time) (made, error) {
	p, err := m.unsigned(sp.artifact)
	if err != nil {
		return made{}, err
	}
	ts := m.world.stamps(at)
	if at.Equal(nowhere) {
		ts = nil
	}
	p, err = p.signed(ctx, sp.scheme, digestOf(sp.digest), k, ts)
	return made{piece: p}, err
}

// issue makes an identity below the intermediate authority with the key of the
// first kind.
func (m *maker) issue(name string, edit func(*x509.Certificate) error) (*key.Key, error) {
	i, err := issue(m.world.signers[keyKinds()[0]].Signer, m.world.middle, name, m.world.made, edit)
	if err != nil {
		return nil, err
	}
	return m.world.identity(i), nil
}

// edited is an operation on the file, whatever stands beside it.
func edited(edit func([]byte) ([]byte, error)) func(context.Context, *maker, spec, piece) (made, error) {
	return func(_ context.Context, _ *maker, _ spec, base piece) (made, error) {
		p := base.clone()
		var err error
		p.data, err = edit(p.data)
		return made{piece: p}, err
	}
}

// flip is an operation on one byte of a region.
func flip(name string) operation {
	do := func(_ context.Context, _ *maker, sp spec, base piece) (made, error) {
		regions, err := base.regions(sp.artifact.format, sp.scheme)
		if err != nil {
			return made{}, err
		}
		for _, r := range regions {
			if r.name != name {
				continue
			}
			p := base.clone()
			in := p.data
			if r.beside != "" {
				in = p.beside[r.beside]
			}
			if r.at >= len(in) {
				return made{}, fmt.Errorf("%s is at %d of %d bytes", name, r.at, len(in))
			}
			in[r.at] ^= 1
			return made{piece: p}, nil
		}
		return made{}, fmt.Errorf("it has no %s", name)
	}
	return operation{name: "flip-" + name, do: do}
}

// appendInTable hides a payload behind the signature in its entry of the
// certificate table, where no digest looks (CVE-2013-3900).
func appendInTable(b []byte) ([]byte, error) {
	t, err := tableOf(b)
	if err != nil {
		return nil, err
	}
	if t.size == 0 {
		return nil, errNone
	}
	b = append(bytes.Clone(b), "payload beside the signature....."[:32]...)
	binary.LittleEndian.PutUint32(b[t.offset:], uint32(t.size+32))
	binary.LittleEndian.PutUint32(b[t.directory+4:], uint32(t.size+32))
	fixChecksum(b, t)
	return b, nil
}

// editResource changes the company's name in the version information, as
// resource editors do, and mends the checksum.
func editResource(b []byte) ([]byte, error) {
	t, err := tableOf(b)
	if err != nil {
		return nil, err
	}
	b = bytes.Clone(b)
	i := bytes.Index(b, utf16("Sample Ltd"))
	if i < 0 {
		return nil, errNone
	}
	copy(b[i:], utf16("Mallory"))
	fixChecksum(b, t)
	return b, nil
}

func utf16(s string) []byte {
	var b []byte
	for _, r := range s {
		b = binary.LittleEndian.AppendUint16(b, uint16(r))
	}
	return b
}

// bothSchemes signs by a second scheme as well.
func bothSchemes(ctx context.Context, m *maker, sp spec, base piece) (made, error) {
	h, k, ts := digestOf(sp.digest), m.world.key(sp.key), m.world.stamps(time.Time{})
	switch sp.scheme.name {
	case "authenticode", "page-hashes":
		// The kernel's trailer, behind the certificate table.
		der, err := cms.Message{ContentType: cms.OIDData, Digest: hashOf(h, base.data), Hash: h, Bare: true, Certificates: k.Chain}.Sign(k, k.Leaf(), nil)
		p := base.clone()
		p.data = appendTrailer(p.data, der)
		return made{piece: p}, err
	case "section":
		p, err := base.signed(ctx, schemeNamed("appended"), h, k, ts)
		return made{piece: p}, err
	}
	p, err := m.unsigned(sp.artifact)
	if err != nil {
		return made{}, err
	}
	first := map[bool]string{true: "appended", false: "authenticode"}[sp.artifact.format == formatELF]
	if sp.scheme.name == "appended" {
		first = "section"
	}
	if p, err = p.signed(ctx, schemeNamed(first), h, k, ts); err != nil {
		return made{}, err
	}
	p, err = p.signed(ctx, sp.scheme, h, k, ts)
	return made{piece: p}, err
}

func schemeNamed(name string) scheme {
	for _, s := range schemes() {
		if s.name == name {
			return s
		}
	}
	panic("no scheme " + name)
}

// otherSignature gives the file the signature of another one.
func otherSignature(ctx context.Context, m *maker, sp spec, base piece) (made, error) {
	other := sp
	p, err := m.unsigned(sp.artifact)
	if err != nil {
		return made{}, err
	}
	// Another version of the same file: 16 bytes of it differ.
	p = p.clone()
	at := len(p.data) / 2
	copy(p.data[at:], "another version.")
	p, err = p.signed(ctx, other.scheme, digestOf(sp.digest), m.world.key(sp.key), m.world.stamps(time.Time{}))
	if err != nil {
		return made{}, err
	}
	if suffix := sp.scheme.suffix(); suffix != "" {
		q := base.clone()
		q.beside[suffix] = p.beside[suffix]
		return made{piece: q}, nil
	}
	if sp.scheme.name == "section" {
		q := base.clone()
		copy(q.data[at:], p.data[at:at+16])
		return made{piece: q}, nil
	}
	der, err := p.message(sp.scheme)
	if err != nil {
		return made{}, err
	}
	q, err := base.withMessage(sp.scheme, der)
	return made{piece: q}, err
}

// byTool is an operation of a foreign program; in its arguments IN, OUT and NOTE
// are files.
func byTool(name string, args ...string) func(context.Context, *maker, spec, piece) (made, error) {
	return func(ctx context.Context, m *maker, sp spec, base piece) (made, error) {
		dir, err := os.MkdirTemp("", "hallmark-boundaries-*")
		if err != nil {
			return made{}, err
		}
		defer os.RemoveAll(dir)
		in, err := base.write(dir, "")
		if err != nil {
			return made{}, err
		}
		out, note := filepath.Join(dir, "out"), filepath.Join(dir, "note")
		if err := os.WriteFile(note, []byte("a note of the map of boundaries\n"), 0o600); err != nil {
			return made{}, err
		}
		words := make([]string, len(args))
		for i, a := range args {
			a = replaceWord(a, "NOTE", note)
			a = replaceWord(a, "OUT", out)
			words[i] = replaceWord(a, "IN", in)
		}
		program := name
		if sp.artifact.format == formatPE {
			program = "x86_64-w64-mingw32-" + name
		}
		if err := runTool(ctx, dir, program, words...); err != nil {
			return made{}, err
		}
		p := base.clone()
		p.data, err = os.ReadFile(out)
		return made{piece: p}, err
	}
}

// byBuildID writes Go's build ID anew, as `go tool buildid -w` does.
func byBuildID(ctx context.Context, _ *maker, _ spec, base piece) (made, error) {
	dir, err := os.MkdirTemp("", "hallmark-boundaries-*")
	if err != nil {
		return made{}, err
	}
	defer os.RemoveAll(dir)
	in, err := base.write(dir, "")
	if err != nil {
		return made{}, err
	}
	if err := runTool(ctx, dir, "go", "tool", "buildid", "-w", in); err != nil {
		return made{}, err
	}
	p := base.clone()
	p.data, err = os.ReadFile(in)
	return made{piece: p}, err
}

// inPlace is a copy to another file system, to be judged there.
func inPlace(place string) func(context.Context, *maker, spec, piece) (made, error) {
	return func(_ context.Context, m *maker, _ spec, base piece) (made, error) {
		if err := m.places.problem(place); err != nil {
			return made{}, err
		}
		return made{piece: base, place: place}, nil
	}
}

// journey is a way into an archive, package or disk image and out of it again.
func journey(by string) func(context.Context, *maker, spec, piece) (made, error) {
	return func(ctx context.Context, m *maker, sp spec, base piece) (made, error) {
		p, err := m.travel(ctx, by, sp, base)
		return made{piece: p}, err
	}
}
