package dist

import (
	"archive/tar"
	"bytes"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
)

// checkMark verifies the signatures that mark makes.
func checkMark(b []byte, format string) error {
	n, err := signatures("twin", format, bytes.NewReader(b), int64(len(b)), func(signature []byte, signed io.Reader) error {
		if format == APK {
			h := sha1.New()
			if _, err := io.Copy(h, signed); err != nil {
				return err
			}
			signed = bytes.NewReader(h.Sum(nil))
		}
		if again, err := mark(signed); err != nil || !bytes.Equal(again, signature) {
			return errors.Join(errors.New("not what was signed"), err)
		}
		return nil
	})
	if err == nil && n == 0 {
		err = errors.New("unsigned")
	}
	return err
}

func smallSigned(t testing.TB, format string) []byte {
	t.Helper()
	dst := filepath.Join(t.TempDir(), "p")
	p := Package{Name: "notes", Version: "1.2.3", Arch: "amd64", Format: format, Config: config(), Files: sample(t, 100)[:2], ModTime: when(), Sign: mark, KeyName: "notes"}
	if err := WritePackage(dst, p); err != nil {
		t.Fatal(err)
	}
	return readBytes(t, dst)
}

// TestSignedEdits flips, inserts, removes and appends at every offset of a signed package. None may be accepted.
func TestSignedEdits(t *testing.T) {
	for _, format := range []string{Deb, RPM, APK} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			good := smallSigned(t, format)
			if err := checkMark(good, format); err != nil {
				t.Fatal(err)
			}
			edits := 0
			try := func(at int, what string, twin []byte) {
				t.Helper()
				edits++
				if err := checkMark(twin, format); err == nil {
					t.Errorf("%s at offset %d of %d: accepted", what, at, len(good))
				}
			}
			for at := range good {
				for _, flip := range []byte{1 << (at % 8), 0xff, ' ' ^ good[at], good[at]} {
					if flip == 0 {
						continue
					}
					twin := bytes.Clone(good)
					twin[at] ^= flip
					try(at, fmt.Sprintf("flip by %#x", flip), twin)
				}
				for _, insert := range []string{"\x00", " ", "\n", "x"} {
					try(at, fmt.Sprintf("insert of %q", insert), slices.Insert(bytes.Clone(good), at, []byte(insert)...))
				}
				try(at, "removal of a byte", slices.Delete(bytes.Clone(good), at, at+1))
				try(at, "cut", good[:at])
			}
			for _, at := range boundaries(t, good, format) {
				for _, n := range []int{2, 4, 8, 16, 60, 512, 1024} {
					try(at, fmt.Sprintf("insert of %d zeros", n), slices.Insert(bytes.Clone(good), at, make([]byte, n)...))
					if at+n <= len(good) {
						try(at, fmt.Sprintf("repetition of %d bytes", n), slices.Insert(bytes.Clone(good), at, good[at:at+n]...))
						try(at, fmt.Sprintf("removal of %d bytes", n), slices.Delete(bytes.Clone(good), at, at+n))
					}
				}
			}
			for _, tail := range [][]byte{{0}, {'\n'}, []byte("x"), make([]byte, 512), make([]byte, 1024), good} {
				try(len(good), fmt.Sprintf("%d bytes appended", len(tail)), append(bytes.Clone(good), tail...))
			}
			t.Logf("%d edits", edits)
		})
	}
}

// TestAPKKeyName shows what signing/HARDENING.md lists: the name of the key can be changed, to another name and nothing else.
func TestAPKKeyName(t *testing.T) {
	good := smallSigned(t, APK)
	m, err := newWalker("good", bytes.NewReader(good), int64(len(good))).apkMembers()
	if err != nil {
		t.Fatal(err)
	}
	member, err := apkSignatureMember("other.rsa.pub", m.signature)
	if err != nil {
		t.Fatal(err)
	}
	if err := checkMark(append(member, good[m.control:]...), APK); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"", "notes", "a b.rsa.pub", "../x.rsa.pub", "x\x1b[m.rsa.pub", strings.Repeat("x", 99) + ".rsa.pub"} {
		if _, err := apkSignatureMember(name, m.signature); err == nil {
			t.Errorf("%q: accepted", name)
		}
	}
}

// boundaries lists where a part of a package ends and the next begins.
func boundaries(t *testing.T, good []byte, format string) []int {
	w := newWalker("good", bytes.NewReader(good), int64(len(good)))
	w.format = format
	at := []int{0, len(good)}
	switch format {
	case Deb:
		members, err := w.arMembers()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range members {
			at = append(at, int(m.at), int(m.at)+arHeaderSize, int(m.at)+arHeaderSize+int(m.body.Size()))
		}
	case RPM:
		f, err := w.rpmFile()
		if err != nil {
			t.Fatal(err)
		}
		index := rpmLeadSize + 16 + len(f.sig.index)
		at = append(at, rpmLeadSize, rpmLeadSize+16, index, int(f.sigEnd), int(f.headerAt), int(f.payload))
	case APK:
		m, err := w.apkMembers()
		if err != nil {
			t.Fatal(err)
		}
		at = append(at, 10, 15, 15+512, int(m.control)-8, int(m.control), int(m.data))
	}
	return at
}

// TestSignedForgeries plays what can be added to a signed package without its key.
func TestSignedForgeries(t *testing.T) {
	deb, rpm, apk := smallSigned(t, Deb), smallSigned(t, RPM), smallSigned(t, APK)
	arMember := func(name, body string) []byte {
		return append(fmt.Appendf(nil, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", name, when().Unix(), 0, 0, "100644", len(body)), body...)
	}
	member := func(name string) int { return bytes.Index(deb, []byte(name+" ")) }
	field := func(at int, old, new string) []byte {
		b := bytes.Clone(deb)
		if string(b[at:at+len(old)]) != old {
			t.Fatalf("at %d there is %q", at, b[at:at+len(old)])
		}
		copy(b[at:], new)
		return b
	}
	origin := member("_gpgorigin")
	sigMember := func(headers []tar.Header, end bool, change func(*gzip.Writer)) []byte {
		var b bytes.Buffer
		zw := gzip.NewWriter(&b)
		if change != nil {
			change(zw)
		}
		tw := tar.NewWriter(zw)
		for _, h := range headers {
			w := newWalker("good", bytes.NewReader(apk), int64(len(apk)))
			m, err := w.apkMembers()
			if err != nil {
				t.Fatal(err)
			}
			h.Size, h.Mode = int64(len(m.signature)), 0o644
			if err := tw.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
			if _, err := tw.Write(m.signature); err != nil {
				t.Fatal(err)
			}
		}
		if err := tw.Flush(); err != nil {
			t.Fatal(err)
		}
		if end {
			if err := tw.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if err := zw.Close(); err != nil {
			t.Fatal(err)
		}
		m, err := newWalker("good", bytes.NewReader(apk), int64(len(apk))).apkMembers()
		if err != nil {
			t.Fatal(err)
		}
		return append(b.Bytes(), apk[m.control:]...)
	}
	one := []tar.Header{{Typeflag: tar.TypeReg, Name: ".SIGN.RSA.notes.rsa.pub", Format: tar.FormatUSTAR}}
	for name, test := range map[string]struct {
		format string
		b      []byte
	}{
		"deb: member behind the signature": {Deb, append(bytes.Clone(deb), arMember("_payload", "xx")...)},
		"deb: second signature":            {Deb, append(bytes.Clone(deb), arMember("_gpgorigin", "xx")...)},
		"deb: another role":                {Deb, append(bytes.Clone(deb), arMember("_gpgbuilder", "xx")...)},
		"deb: member before the signature": {Deb, slices.Insert(bytes.Clone(deb), origin, arMember("_payload", "xx")...)},
		"deb: member before control":       {Deb, slices.Insert(bytes.Clone(deb), member("control.tar.gz"), arMember("_payload", "xx")...)},
		"deb: control twice":               {Deb, slices.Insert(bytes.Clone(deb), origin, arMember("control.tar.gz", "xx")...)},
		"deb: mode":                        {Deb, field(member("control.tar.gz")+40, "100644", "100755")},
		"deb: time":                        {Deb, field(origin+16, "17", "16")},
		"deb: owner":                       {Deb, field(origin+28, "0 ", "7 ")},
		"deb: slash behind a name":         {Deb, field(origin+10, " ", "/")},
		"deb: leading zero in a size":      {Deb, field(member("debian-binary")+48, "4 ", "04")},
		"deb: data under another name":     {Deb, field(member("data.tar.zst")+9, "zst", "gz ")},
		"rpm: major version":               {RPM, changed(rpm, 4, 4)},
		"rpm: machine in the lead":         {RPM, changed(rpm, 9, 7)},
		"rpm: name in the lead":            {RPM, changed(rpm, 12, 'x')},
		"rpm: behind the name in the lead": {RPM, changed(rpm, 70, 'x')},
		"rpm: reserved bytes of the lead":  {RPM, changed(rpm, 90, 'x')},
		"apk: compressed signature":        {APK, sigMember(one, false, nil)},
		"apk: two signatures":              {APK, sigMember(append(one, tar.Header{Typeflag: tar.TypeReg, Name: ".SIGN.RSA.b.rsa.pub"}), false, nil)},
		"apk: file beside the signature":   {APK, sigMember(append(one, tar.Header{Typeflag: tar.TypeReg, Name: ".payload"}), false, nil)},
		"apk: end of the archive":          {APK, sigMember(one, true, nil)},
		"apk: name in the gzip header":     {APK, sigMember(one, false, func(z *gzip.Writer) { z.Name = "payload" })},
		"apk: comment in the gzip header":  {APK, sigMember(one, false, func(z *gzip.Writer) { z.Comment = "payload" })},
		"apk: extra in the gzip header":    {APK, sigMember(one, false, func(z *gzip.Writer) { z.Extra = []byte("payload") })},
		"apk: time in the gzip header":     {APK, sigMember(one, false, func(z *gzip.Writer) { z.ModTime = time.Unix(7, 0) })},
		"apk: time in the tar header":      {APK, sigMember([]tar.Header{{Typeflag: tar.TypeReg, Name: one[0].Name, ModTime: time.Unix(7, 0)}}, false, nil)},
		"apk: owner in the tar header":     {APK, sigMember([]tar.Header{{Typeflag: tar.TypeReg, Name: one[0].Name, Uname: "payload"}}, false, nil)},
		"apk: PAX header":                  {APK, sigMember([]tar.Header{{Typeflag: tar.TypeReg, Name: one[0].Name, PAXRecords: map[string]string{"X.payload": "x"}}}, false, nil)},
		"apk: key with a strange name":     {APK, bytes.Replace(bytes.Clone(apk), []byte("notes.rsa"), []byte("\x1b[2J/.rsa"), 1)},
		"apk: signature of another kind":   {APK, sigMember([]tar.Header{{Typeflag: tar.TypeReg, Name: ".SIGN.RSA256.notes.rsa.pub"}}, false, nil)},
		"apk: an empty gzip member":        {APK, append(emptyGzip(t), apk...)},
	} {
		if bytes.Equal(test.b, deb) || bytes.Equal(test.b, rpm) || bytes.Equal(test.b, apk) {
			t.Errorf("%s: nothing was changed", name)
		}
		err := checkMark(test.b, test.format)
		if fe := (*FormatError)(nil); !errors.As(err, &fe) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func changed(b []byte, at int, to byte) []byte {
	b = bytes.Clone(b)
	b[at] = to
	return b
}

func emptyGzip(t *testing.T) []byte {
	var b bytes.Buffer
	if err := gzip.NewWriter(&b).Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestRPMSignatureHeader changes the signature header of a signed rpm. Where rpmkeys refuses a package as malformed, so
// must we.
func TestRPMSignatureHeader(t *testing.T) {
	rpmkeys := need(t, "rpmkeys", "rpm")
	good := smallSigned(t, RPM)
	w := newWalker("good", bytes.NewReader(good), int64(len(good)))
	f, err := w.rpmFile()
	if err != nil {
		t.Fatal(err)
	}
	entries, err := f.sig.entries()
	if err != nil {
		t.Fatal(err)
	}
	entries = slices.DeleteFunc(entries, func(e rpmEntry) bool { return e.tag == tagRegionSignatures })
	build := func(header []byte) []byte {
		b := append(bytes.Clone(good[:rpmLeadSize]), header...)
		b = append(b, make([]byte, -len(header)&7)...)
		return append(b, good[f.headerAt:]...)
	}
	if !bytes.Equal(build(marshalRPMHeader(slices.Clone(entries))), good) {
		t.Fatal("the signature header is written in another way")
	}
	with := func(e ...rpmEntry) []byte { return build(marshalRPMHeader(append(slices.Clone(entries), e...))) }
	without := func(tag uint32) []byte {
		return build(marshalRPMHeader(slices.DeleteFunc(slices.Clone(entries), func(e rpmEntry) bool { return e.tag == tag })))
	}
	raw := good[rpmLeadSize:f.sigEnd]
	at := func(i int, to byte) []byte { return build(changed(raw, i, to)) }
	region := len(raw) - 16
	slack := bytes.Clone(raw)
	slack[15] += 4 // four bytes more in the store, behind the region's trailer
	slack = append(slack, "slak"...)
	for name, b := range map[string][]byte{
		"unknown tag":           with(rpmEntry{999, typeBinary, 7, []byte("payload")}),
		"reserved space":        with(rpmEntry{1008, typeBinary, 7, []byte("payload")}),
		"GPG":                   with(rpmEntry{1005, typeBinary, 7, []byte("payload")}),
		"MD5":                   with(rpmEntry{1004, typeBinary, 16, make([]byte, 16)}),
		"a tag twice":           with(rpmEntry{sigTagSize, typeInt32, 1, []byte{0, 0, 0, 1}}),
		"slack":                 build(slack),
		"reserved bytes":        at(5, 1),
		"region: tag":           at(19, 61),
		"region: type":          at(23, 6),
		"region: offset":        at(27, raw[27]+1),
		"region: count":         at(31, 8),
		"region: trailer":       at(region+3, 9),
		"region: trailer type":  at(region+7, 9),
		"region: trailer size":  at(region+11, raw[region+11]+16),
		"region: trailer count": at(region+15, 9),
		"no header signature":   without(sigTagRSA),
		"no payload signature":  without(sigTagPGP),
		"no digest":             without(sigTagSHA256),
		"no size":               without(sigTagSize),
		"padding":               changed(good, int(f.headerAt)-1, 1),
	} {
		if name == "padding" && f.headerAt == f.sigEnd {
			continue
		}
		if err := checkMark(b, RPM); err == nil || strings.Contains(err.Error(), "not what was signed") {
			t.Errorf("%s: %v", name, err)
		}
		file := filepath.Join(t.TempDir(), "x.rpm")
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), rpmkeys, "--dbpath", t.TempDir(), "--checksig", file).CombinedOutput()
		t.Logf("%s: rpmkeys: %v: %s", name, err, bytes.TrimSpace(out))
	}
}
