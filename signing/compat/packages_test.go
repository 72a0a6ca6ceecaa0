package compat

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/apk"
	_ "github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
	_ "github.com/goreleaser/nfpm/v2/rpm"
)

// pgp makes an OpenPGP key, NAME.asc with its secret part in NAME.key.
func (w *world) pgp(name string) {
	w.t.Helper()
	e := must(openpgp.NewEntity(name, "", name+"@example.com", nil))(w.t)
	write := func(file, kind string, serialize func(*bytes.Buffer) error) {
		var inner, out bytes.Buffer
		if err := serialize(&inner); err != nil {
			w.t.Fatal(err)
		}
		a := must(armor.Encode(&out, kind, nil))(w.t)
		a.Write(inner.Bytes())
		a.Close()
		w.write(file, out.Bytes())
	}
	write(name+".key", openpgp.PrivateKeyType, func(b *bytes.Buffer) error { return e.SerializePrivate(b, nil) })
	write(name+".asc", openpgp.PublicKeyType, func(b *bytes.Buffer) error { return e.Serialize(b) })
}

// rsaKey makes an RSA key, NAME.pub with its secret part in NAME.key.
func (w *world) rsaKey(name string) {
	w.t.Helper()
	k := must(rsa.GenerateKey(rand.Reader, 2048))(w.t)
	w.write(name+".key", pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k)}))
	w.write(name+".pub", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(k.Public()))(w.t)}))
}

// pack has nfpm make a package, signed by the key of that name unless it is empty.
func (w *world) pack(format, name, key string) string {
	w.t.Helper()
	content := w.write("content", bytes.Repeat([]byte("what is in the package\n"), 500))
	info := nfpm.WithDefaults(&nfpm.Info{Name: "notes", Arch: "amd64", Platform: "linux", Version: "1.2.3", Maintainer: "Ann <ann@example.com>", Description: "notes", MTime: time.Now(),
		Overridables: nfpm.Overridables{Contents: files.Contents{{Source: content, Destination: "/usr/bin/notes"}, {Source: content, Destination: "/usr/share/notes/a file"}}}})
	if key != "" {
		info.Deb.Signature.KeyFile, info.RPM.Signature.KeyFile = w.path(key+".key"), w.path(key+".key")
		info.APK.Signature.KeyFile, info.APK.Signature.KeyName = w.path(key+".key"), "notes"
	}
	if err := nfpm.PrepareForPackager(info, format); err != nil {
		w.t.Fatal(err)
	}
	var out bytes.Buffer
	if err := must(nfpm.Get(format))(w.t).Package(info, &out); err != nil {
		w.t.Fatal(err)
	}
	return w.write(name+"."+format, out.Bytes())
}

func TestDeb(t *testing.T) {
	t.Parallel()
	judges := []Judge{needJudge(t, "dpkg-deb"), needJudge(t, "debsig-verify")}
	need(t, "gpg", "gpg")
	w := newWorldless(t)
	w.pgp("ann")
	w.pgp("other")
	plain, signed := w.pack("deb", "plain", ""), w.pack("deb", "signed", "ann")
	data := w.read("signed.deb")
	// An ar member is a header of 60 bytes, in which its name is the first, and its contents.
	control, files, origin := bytes.Index(data, []byte("control.tar"))+60, bytes.Index(data, []byte("data.tar"))+60, bytes.Index(data, []byte("_gpgorigin"))+60
	ann, other := Trust{PGPFile: w.path("ann.asc")}, Trust{PGPFile: w.path("other.asc")}
	put := func(name string, data []byte) string { return w.write(name+".deb", data) }
	hear(t, judges, []row{
		{"signed", signed, ann, say(judges, "AA")},
		{"unsigned", plain, ann, say(judges, "AR")},
		{"wrong key", signed, other, say(judges, "AR")},
		{"control changed", put("control", flipped(data, control+100)), ann, say(judges, "RR")},
		{"files changed", put("files", flipped(data, files+150)), ann, say(judges, "RR")},
		{"signature changed", put("origin", flipped(data, origin+400)), ann, say(judges, "AR")},
		{"signature cut off", put("short", data[:origin-60]), ann, say(judges, "AR")},
		{"cut in the files", put("cut", data[:files+100]), ann, say(judges, "RR")},
		{"not a package", put("text", []byte("this is no package at all")), ann, say(judges, "RR")},
		{"empty", put("empty", nil), ann, say(judges, "RR")},
	})
	// Without keys a signature is nobody's question.
	results := Run(t.Context(), judges, []Case{{File: plain, Scheme: Deb}}, Trust{}, 0)
	if len(results) != 1 || results[0].Judge != "dpkg-deb" || results[0].Status != Pass {
		t.Errorf("%+v", results)
	}
	// A sum that is not the file's, in a package that unpacks.
	command(t, w.dir, nil, "dpkg-deb", "--raw-extract", plain, "changed")
	w.write("changed/usr/bin/notes", []byte("something else\n"))
	command(t, w.dir, nil, "dpkg-deb", "--build", "--root-owner-group", "changed", "changed.deb")
	hear(t, judges[:1], []row{{"sum of another file", w.path("changed.deb"), Trust{}, say(judges, "R")}})
}

func TestRPM(t *testing.T) {
	t.Parallel()
	judges := []Judge{needJudge(t, "rpmkeys")}
	w := newWorldless(t)
	w.pgp("ann")
	w.pgp("other")
	plain, signed := w.pack("rpm", "plain", ""), w.pack("rpm", "signed", "ann")
	data := w.read("signed.rpm")
	headers := bytes.Split(data, []byte{0x8e, 0xad, 0xe8, 0x01}) // lead, signatures, header and payload
	if len(headers) != 3 {
		t.Fatalf("%d headers", len(headers)-1)
	}
	header := len(headers[0]) + 4 + len(headers[1])
	ann, other := Trust{PGPFile: w.path("ann.asc")}, Trust{PGPFile: w.path("other.asc")}
	put := func(name string, data []byte) string { return w.write(name+".rpm", data) }
	hear(t, judges, []row{
		{"signed", signed, ann, say(judges, "A")},
		{"signed, no key", signed, Trust{}, say(judges, "A")},
		{"unsigned, no key", plain, Trust{}, say(judges, "A")},
		{"unsigned", plain, ann, say(judges, "R")},
		{"wrong key", signed, other, say(judges, "R")},
		{"payload changed", put("payload", flipped(data, -100)), ann, say(judges, "R")},
		{"payload changed, no key", put("payload2", flipped(data, -100)), Trust{}, say(judges, "R")},
		{"header changed", put("header", flipped(data, header+600)), ann, say(judges, "R")},
		{"a header's tag changed", put("tag", flipped(data, header+20)), ann, say(judges, "R")},
		{"signature changed", put("signature", flipped(data, len(headers[0])+400)), ann, say(judges, "R")},
		{"cut", put("cut", data[:len(data)-50]), ann, say(judges, "R")},
		{"cut in the lead", put("lead", data[:50]), ann, say(judges, "R")},
		{"not a package", put("text", []byte("this is no package at all")), ann, say(judges, "R")},
		{"empty", put("empty", nil), ann, say(judges, "R")},
	})
}

// segment is a piece of an apk with one file.
func segment(name string, content []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(content))})
	w.Write(content)
	w.Flush()
	z.Close()
	return out.Bytes()
}

func TestAPK(t *testing.T) {
	t.Parallel()
	judges := []Judge{needJudge(t, "openssl-apk")}
	w := newWorldless(t)
	w.rsaKey("ann")
	w.rsaKey("other")
	plain, signed := w.pack("apk", "plain", ""), w.pack("apk", "signed", "ann")
	data := w.read("signed.apk")
	parts := must(readAPK(bytes.NewReader(data), int64(len(data))))(t)
	if parts.hash != "sha1" || len(parts.signature) != 256 || parts.control == 0 || parts.data <= parts.control {
		t.Fatalf("%+v", parts)
	}
	ann, other := Trust{APKFile: w.path("ann.pub")}, Trust{APKFile: w.path("other.pub")}
	put := func(name string, data []byte) string { return w.write(name+".apk", data) }
	hear(t, judges, []row{
		{"signed", signed, ann, say(judges, "A")},
		{"signed, no key", signed, Trust{}, say(judges, "A")},
		{"unsigned, no key", plain, Trust{}, say(judges, "A")},
		{"unsigned", plain, ann, say(judges, "R")},
		{"wrong key", signed, other, say(judges, "R")},
		{"data changed", put("data", flipped(data, int(parts.data)+300)), ann, say(judges, "R")},
		{"data changed, no key", put("data2", flipped(data, -40)), Trust{}, say(judges, "R")},
		{"control changed", put("control", flipped(data, int(parts.control)+4)), ann, say(judges, "R")}, // the time in the gzip header
		{"signature changed", put("signature", append(segment(parts.name, flipped(parts.signature, 100)), data[parts.control:]...)), ann, say(judges, "R")},
		{"signature segment changed", put("segment", flipped(data, 100)), ann, say(judges, "R")},
		{"the same signature, packed again", put("again", append(segment(parts.name, parts.signature), data[parts.control:]...)), ann, say(judges, "A")},
		{"signature cut off", put("off", data[parts.control:]), ann, say(judges, "R")},
		{"cut", put("cut", data[:len(data)-10]), ann, say(judges, "R")},
		{"not a package", put("text", []byte("this is no package at all")), ann, say(judges, "R")},
		{"empty", put("empty", nil), ann, say(judges, "R")},
	})
}

func TestModinfo(t *testing.T) {
	t.Parallel()
	judges := []Judge{needJudge(t, "modinfo"), needJudge(t, "openssl-cms")}
	need(t, "gcc", "gcc")
	w := newWorld(t)
	w.write("module.c", []byte("__attribute__((section(\".modinfo\"), used)) static const char license[] = \"license=GPL\";\n"))
	command(t, w.dir, nil, "gcc", "-c", "-o", "plain.ko", "module.c")
	content := w.read("plain.ko")
	signed := appendSignature(content, w.signature("plain.ko", "leaf"))
	put := func(name string, data []byte) string { return w.write(name, data) }
	hear(t, judges, []row{
		{"signed", put("signed.ko", signed), w.trust(), say(judges, "AA")},
		{"unsigned", w.path("plain.ko"), w.trust(), say(judges, "RR")},
		{"changed", put("changed.ko", flipped(signed, 16)), w.trust(), say(judges, "AR")},
		{"not CMS", put("text.ko", appendSignature(content, []byte("this is not DER at all"))), w.trust(), say(judges, "RR")},
		{"not a module", put("words.ko", []byte("this is no module at all")), w.trust(), say(judges, "RR")},
	})
	if results := Run(t.Context(), judges[:1], []Case{{File: put("program", signed), Scheme: Appended}}, w.trust(), 0); len(results) != 1 || results[0].Judge != "" {
		t.Errorf("it is asked about what is no module: %+v", results)
	}
}

func TestReadPackages(t *testing.T) {
	t.Parallel()
	p := program{name: "program"}
	deb := func(stderr string, exit int) error { return p.readDpkgDeb(answer{"", stderr, exit}) }
	debsig := func(said string, exit int) error { return p.readDebsig(answer{said, "", exit}) }
	const rpmGood = "f.rpm:\n    Header V4 RSA/SHA256 Signature, key ID b9ad480e: OK\n    Header SHA256 digest: OK\n    Payload SHA256 digest: OK\n"
	rpm := func(stdout, stderr string, exit int, signed bool) error {
		return p.readRPMKeys(answer{stdout, stderr, exit}, signed)
	}
	const modGood = "filename:       /m.ko\nlicense:        GPL\nsig_id:         PKCS#7\nsigner:         leaf\nsig_key:        01:02\nsig_hashalgo:   sha256\nsignature:      01:02:\n\t\t03:04\n"
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"dpkg-deb: silent", deb("", 0), "accept"},
		{"dpkg-deb: good code, bad words", deb("dpkg-deb: error: x\n", 0), "unclear"},
		{"dpkg-deb: damaged", deb("dpkg-deb (subprocess): decompressing archive 'f' (size=1) member 'data.tar': internal gzip read error\ndpkg-deb: error: tar subprocess returned error exit status 2\n", 2), "refuse"},
		{"dpkg-deb: full disk", deb("dpkg-deb (subprocess): decompressing archive 'f' member 'data.tar'\ntar: x: Cannot write: No space left on device\ndpkg-deb: error: tar subprocess returned error exit status 2\n", 2), "unclear"},
		{"dpkg-deb: unknown", deb("dpkg-deb: error: something new\n", 2), "unclear"},
		{"debsig: good", debsig("debsig: Verified package from 'a' (b)\n", 0), "accept"},
		{"debsig: good words, bad code", debsig("debsig: Verified package from 'a' (b)\n", 13), "unclear"},
		{"debsig: silent", debsig("", 0), "unclear"},
		{"debsig: bad", debsig("debsig: Failed verification for f.deb.\n", 13), "refuse"},
		{"debsig: bad words, good code", debsig("debsig: Failed verification for f.deb.\n", 0), "unclear"},
		{"debsig: fault", debsig("debsig: out of memory\n", 14), "unclear"},
		{"rpmkeys: good", rpm(rpmGood, "", 0, true), "accept"},
		{"rpmkeys: good words, bad code", rpm(rpmGood, "", 1, true), "unclear"},
		{"rpmkeys: no signature", rpm(strings.Replace(rpmGood, "    Header V4 RSA/SHA256 Signature, key ID b9ad480e: OK\n", "", 1), "", 0, true), "refuse"},
		{"rpmkeys: none asked for", rpm(strings.Replace(rpmGood, "    Header V4 RSA/SHA256 Signature, key ID b9ad480e: OK\n", "", 1), "", 0, false), "accept"},
		{"rpmkeys: no payload", rpm(strings.Replace(rpmGood, "    Payload SHA256 digest: OK\n", "", 1), "", 0, true), "unclear"},
		{"rpmkeys: unknown key", rpm(strings.Replace(rpmGood, "480e: OK", "480e: NOKEY", 1), "", 1, true), "refuse"},
		{"rpmkeys: bad words, good code", rpm(strings.Replace(rpmGood, "480e: OK", "480e: BAD", 1), "", 0, true), "unclear"},
		{"rpmkeys: silent", rpm("", "", 0, false), "unclear"},
		{"rpmkeys: no file", rpm("", "error: open of f failed: No such file or directory\n", 1, false), "unclear"},
		{"modinfo: good", p.readModinfo(answer{stdout: modGood}), "accept"},
		{"modinfo: no signer", p.readModinfo(answer{stdout: strings.Replace(modGood, "leaf", "", 1)}), "refuse"},
		{"modinfo: unsigned", p.readModinfo(answer{stdout: modGood[:strings.Index(modGood, "sig_id")]}), "refuse"},
		{"modinfo: silent", p.readModinfo(answer{}), "unclear"},
		{"modinfo: bad code", p.readModinfo(answer{stdout: modGood, exit: 1}), "unclear"},
		{"dgst: good", p.readDgst(answer{stdout: "Verified OK\n"}), "accept"},
		{"dgst: bad", p.readDgst(answer{stdout: "Verification failure\n", exit: 1}), "refuse"},
		{"dgst: good words, bad code", p.readDgst(answer{stdout: "Verified OK\n", exit: 1}), "unclear"},
	} {
		if got := verdict(c.err); got != c.want {
			t.Errorf("%s: %s, want %s (%v)", c.name, got, c.want, c.err)
		}
	}
}

func FuzzReadPackages(f *testing.F) {
	f.Add("debsig: Verified package from 'a'\n", "", 0)
	f.Add("f.rpm:\n    Header SHA256 digest: OK\n    Payload SHA256 digest: OK\n", "", 0)
	f.Add("filename: x\nsig_id: PKCS#7\n", "", 0)
	f.Add("", "dpkg-deb: error: 'f' is not a Debian format archive\n", 2)
	f.Fuzz(func(t *testing.T, stdout, stderr string, exit int) {
		p, a := program{name: "program"}, answer{stdout, stderr, exit}
		for name, err := range map[string]error{"dpkg-deb": p.readDpkgDeb(a), "debsig": p.readDebsig(a), "rpmkeys": p.readRPMKeys(a, true), "modinfo": p.readModinfo(a), "dgst": p.readDgst(a)} {
			if err == nil && exit != 0 {
				t.Errorf("%s accepts with exit code %d", name, exit)
			}
			if verdict(err) == "error" {
				t.Errorf("%s: %v", name, err)
			}
		}
		if p.readRPMKeys(a, true) == nil && !strings.Contains(stdout, "Signature, key ID ") {
			t.Errorf("rpmkeys accepts without a signature: %q", stdout)
		}
	})
}

func FuzzReadAPK(f *testing.F) {
	w := &world{t: &testing.T{}, dir: f.TempDir()}
	w.rsaKey("ann")
	f.Add(must(os.ReadFile(w.pack("apk", "signed", "ann")))(w.t))
	f.Add(must(os.ReadFile(w.pack("apk", "plain", "")))(w.t))
	f.Add([]byte{0x1f, 0x8b, 8, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := readAPK(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			if errors.Is(err, os.ErrClosed) {
				t.Error(err)
			}
			return
		}
		if p.data <= p.control || p.data > int64(len(data)) || len(p.datahash) != 64 || (p.signature == nil) != (p.control == 0) {
			t.Errorf("%+v of %d bytes", p, len(data))
		}
	})
}
