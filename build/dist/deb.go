package dist

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	arMagic      = "!<arch>\n"
	arHeaderSize = 60
	maxMembers   = 16 // of a deb: three, and signatures
	debOrigin    = "_gpgorigin"
)

// arMember is one member of a deb, an ar archive (deb(5)). ar's header has 60 bytes: name 16, time 12, owner 6, group 6,
// mode 8, size 10, "`\n"; members begin at even offsets.
type arMember struct {
	name   string
	at     int64 // of its header
	header []byte
	body   *io.SectionReader
}

func (m arMember) isSignature() bool { return strings.HasPrefix(m.name, "_gpg") }

// arMembers reads all headers of a deb. It takes what dpkg takes.
func (w *walker) arMembers() ([]arMember, error) {
	if err := w.sameBytes(0, []byte(arMagic), "the beginning of the ar archive"); err != nil {
		return nil, err
	}
	var members []arMember
	for at := int64(len(arMagic)); at < w.size; {
		if len(members) == maxMembers {
			return nil, w.errorf(at, "more than %d members", maxMembers)
		}
		m := arMember{at: at, header: make([]byte, arHeaderSize)}
		if _, err := w.r.ReadAt(m.header, at); err != nil {
			return nil, w.errorf(at, "the header of ar member %d is cut off", len(members)+1)
		}
		m.name = strings.TrimSuffix(strings.TrimRight(string(m.header[:16]), " "), "/")
		size, err := strconv.ParseUint(strings.TrimRight(string(m.header[48:58]), " "), 10, 62)
		if err != nil || string(m.header[58:]) != "`\n" {
			return nil, w.errorf(at, "ar member %d has no valid header", len(members)+1)
		}
		if int64(size) > w.size-at-arHeaderSize {
			return nil, w.errorf(at, "ar member %q of %d bytes goes past the end of the file", m.name, size)
		}
		m.body = io.NewSectionReader(w.r, at+arHeaderSize, int64(size))
		at += arHeaderSize + int64(size)
		if size%2 == 1 {
			pad := make([]byte, 1)
			if _, err := w.r.ReadAt(pad, at); err != nil || pad[0] != '\n' {
				return nil, w.errorf(at, "ar member %q is not padded to an even length", m.name)
			}
			at++
		}
		members = append(members, m)
	}
	if len(members) < 3 {
		return nil, w.errorf(w.size, "%d ar members, where a deb has debian-binary, control.tar and data.tar", len(members))
	}
	first := members[0]
	if b, err := readAtMost(first.body, 64); err != nil || first.name != "debian-binary" || string(b) != "2.0\n" {
		return nil, w.errorf(first.at, "the first ar member is not debian-binary with 2.0")
	}
	_, err := first.body.Seek(0, io.SeekStart)
	return members, err
}

// checkHeader refuses a header that is not what dpkg-deb and hallmark write for a member of this name and size, made at
// this time. No signature covers it.
func (w *walker) checkHeader(m arMember, made time.Time) error {
	want := fmt.Sprintf("%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.name, made.Unix(), 0, 0, "100644", m.body.Size())
	if want == string(m.header) {
		return nil
	}
	return w.sameBytes(m.at, []byte(want), fmt.Sprintf("the header of ar member %q", m.name))
}

func (w *walker) debSignatures(fn func([]byte, io.Reader) error) error {
	members, err := w.arMembers()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(members, arMember.isSignature)
	if i < 0 {
		return nil
	}
	origin := members[i]
	switch {
	case origin.name != debOrigin:
		return w.errorf(origin.at, "a signature in ar member %q, where %s is known", origin.name, debOrigin)
	case i != 3 || len(members) != 4:
		extra := members[min(3, len(members)-1)]
		if i == 3 {
			extra = members[4]
		}
		return w.errorf(extra.at, "ar member %q, where a signed deb has debian-binary, control.tar, data.tar and %s, and nothing else", extra.name, debOrigin)
	}
	signature, err := readAtMost(origin.body, maxSignature)
	if err != nil {
		return w.errorf(origin.at, "signature: %w", err)
	}
	if err := fn(signature, io.MultiReader(members[0].body, members[1].body, members[2].body)); err != nil {
		return err
	}
	return w.debForm(members)
}

// debForm checks what the signature does not cover: the headers of the members, and where one member ends and the next
// begins, since it is over their contents one behind the other.
func (w *walker) debForm(members []arMember) error {
	control, data := members[1], members[2]
	if control.name != "control.tar.gz" {
		return w.errorf(control.at, "ar member %q, where a deb signed by hallmark has control.tar.gz", control.name)
	}
	// One gzip stream that ends with the member: so the data begins where it says.
	made, err := w.debControl(io.NewSectionReader(control.body, 0, control.body.Size()))
	if err != nil {
		return err
	}
	magic := map[string][]byte{"data.tar.zst": {0x28, 0xb5, 0x2f, 0xfd}, "data.tar.gz": {0x1f, 0x8b, 8}, "data.tar": nil}
	want, known := magic[data.name]
	got := make([]byte, 265)
	n, _ := data.body.ReadAt(got, 0)
	if data.name == "data.tar" { // ustar, at offset 257 of the first header
		want, got = []byte("ustar"), got[min(257, n):]
	}
	if !known || !bytes.HasPrefix(got, want) {
		return w.errorf(data.at, "ar member %q does not hold what its name says", data.name)
	}
	for _, m := range members {
		if err := w.checkHeader(m, made); err != nil {
			return err
		}
	}
	return nil
}
