package compat

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// row is one file and what each judge is to say of it.
type row struct {
	name  string
	file  string
	trust Trust
	got   map[string]string // judge → beginning of Got, or "skip"
}

// hear runs the judges over the rows and compares.
func hear(t *testing.T, judges []Judge, rows []row) {
	t.Helper()
	var cases []Case
	for _, row := range rows {
		cases = append(cases, Case{File: row.file, Name: row.name, Scheme: judges[0].Scheme, Trust: &row.trust})
	}
	results := Run(t.Context(), judges, cases, Trust{}, 0)
	if len(results) != len(rows)*len(judges) {
		t.Fatalf("%d results from %d judges of %d files", len(results), len(judges), len(rows))
	}
	asked := map[string]bool{}
	for i, row := range rows {
		for _, r := range results[i*len(judges):][:len(judges)] {
			got := r.Got
			if r.Status == Skip {
				got = "skip"
			}
			want := row.got[r.Judge]
			if got != want {
				t.Errorf("%s: %s says %q, want %q: %s\n%s", row.name, r.Judge, got, want, r.Reason, r.Output)
			}
			if got == "refuse" && r.Reason == "" {
				t.Errorf("%s: %s refuses without a reason", row.name, r.Judge)
			}
			if r.Version == "" || r.Path == "" || r.Command == "" {
				t.Errorf("%s: %s: version %q, path %q, command %q: none may be empty", row.name, r.Judge, r.Version, r.Path, r.Command)
			}
			if got == "accept" && !asked[r.Judge] {
				asked[r.Judge] = true
				// Some are built outside of PATH.
				r.Command = "PATH=$PATH:" + quote(filepath.Dir(r.Path)) + " && " + r.Command
				checkCommand(t, r)
			}
		}
	}
}

// say is the row's expectation in short: a letter for each judge, A for accept,
// R for refuse and C for cannot.
func say(judges []Judge, letters string) map[string]string {
	words := map[rune]string{'A': "accept", 'R': "refuse", 'C': "skip"}
	got := map[string]string{}
	for i, letter := range letters {
		got[judges[i].Name] = words[letter]
	}
	return got
}

func TestAuthenticode(t *testing.T) {
	t.Parallel()
	need(t, "osslsigncode", "osslsigncode") // signs
	var judges []Judge
	for _, name := range []string{"osslsigncode", "sbverify", "relic", "saferwall", "chktrust", "wintrust", "pesign", "hash-to-efi-sig-list"} {
		judges = append(judges, needJudge(t, name))
	}
	w := newWorld(t)
	w.program("windows", "unsigned.exe")
	stamp := func(at time.Time) []string {
		return []string{"-ts", w.stampServer(at)}
	}
	past := w.now.Add(-5 * 24 * time.Hour)
	w.signcode("unsigned.exe", "plain.exe", "leaf", "-h", "sha256")
	w.signcode("unsigned.exe", "stamped.exe", "leaf", append(stamp(w.now), "-h", "sha256")...)
	w.signcode("unsigned.exe", "direct.exe", "direct", "-h", "sha256")
	w.signcode("unsigned.exe", "sha384.exe", "leaf", "-h", "sha384")
	w.signcode("unsigned.exe", "sha512.exe", "leaf", "-h", "sha512")
	w.signcode("unsigned.exe", "p256.exe", "p256", "-h", "sha256")
	w.signcode("unsigned.exe", "pages.exe", "leaf", "-h", "sha256", "-ph")
	w.signcode("unsigned.exe", "server.exe", "server", "-h", "sha256")
	w.signcode("unsigned.exe", "expired.exe", "expired", "-h", "sha256")
	w.signcode("unsigned.exe", "expired-stamped.exe", "expired", append(stamp(past), "-h", "sha256")...)
	w.signcode("stamped.exe", "nested.exe", "direct", "-h", "sha256", "-nest")

	signed, unsigned := w.read("stamped.exe"), w.read("unsigned.exe")
	// In a signed file the certificate table follows the old end of the file.
	// RSA-2048 signature values begin with 04 82 01 00: the signer's, and the
	// last one is that of the timestamp.
	values := func(data []byte) (first, last int) {
		header := []byte{0x04, 0x82, 0x01, 0x00}
		return len(unsigned) + bytes.Index(data[len(unsigned):], header) + 4, bytes.LastIndex(data, header) + 4
	}
	first, stampValue := values(signed)
	// The nested signature repeats none of the primary's bytes.
	primary := bytes.Index(w.read("nested.exe"), signed[first:first+64])
	if primary < 0 {
		t.Fatal("the primary signature's value is not in the nested file")
	}
	f := must(pe.NewFile(bytes.NewReader(signed)))(t)
	code := int(f.Sections[0].Offset) + 100
	checksum := int(binary.LittleEndian.Uint32(signed[0x3c:])) + 24 + 64

	wrongCA, wrongTSA, middle := w.trust(), w.trust(), w.trust()
	wrongCA.CAFile = w.path("other.pem")
	wrongTSA.TSAFile = w.path("other.pem")
	middle.CAFile = w.path("middle.pem")
	line := func(name, file string, trust Trust, letters string) row {
		return row{name, file, trust, say(judges, letters)}
	}
	// osslsigncode, sbverify, relic, saferwall, chktrust, wintrust, pesign, hash-to-efi-sig-list
	hear(t, judges, []row{
		line("no timestamp", w.path("plain.exe"), w.trust(), "AAAAAAAA"),
		line("timestamp", w.path("stamped.exe"), w.trust(), "AAAAAAAA"),
		line("leaf under the root", w.path("direct.exe"), w.trust(), "AAAAAAAA"),
		line("two signatures", w.path("nested.exe"), w.trust(), "AAAAAAAA"),
		line("page hashes", w.path("pages.exe"), w.trust(), "AAAAAAAA"),
		line("expired, stamped before", w.path("expired-stamped.exe"), w.trust(), "AAACCAAA"),
		line("SHA-384", w.path("sha384.exe"), w.trust(), "ACAAAACC"),
		line("SHA-512", w.path("sha512.exe"), w.trust(), "ACAAAACC"),
		line("P-256", w.path("p256.exe"), w.trust(), "AAAACCAA"),

		line("unsigned", w.path("unsigned.exe"), w.trust(), "RRRRRRRR"),
		line("not PE", w.write("text.exe", []byte("MZ, but no more than text")), w.trust(), "RRRRRRRR"),
		line("empty", w.write("empty.exe", nil), w.trust(), "RRRRRRRR"),
		line("code changed", w.write("code.exe", flipped(signed, code)), w.trust(), "RRRRRRRR"),
		line("code changed, P-256", w.write("p256-code.exe", flipped(w.read("p256.exe"), code)), w.trust(), "RRRRCRRR"),
		line("signature value changed", w.write("value.exe", flipped(signed, first+20)), w.trust(), "RRRRRRAA"),
		line("first of two signatures changed", w.write("primary.exe", flipped(w.read("nested.exe"), primary+20)), w.trust(), "RRRRRRAA"),
		line("other usage", w.path("server.exe"), w.trust(), "RRAAAAAA"),
		line("leaf under the root, wrong root", w.path("direct.exe"), wrongCA, "RRRRRAAA"),
		line("intermediate as root", w.path("stamped.exe"), middle, "RAAAAAAA"),
		line("wrong root", w.path("stamped.exe"), wrongCA, "RARRRAAA"),
		line("wrong root of the timestamp", w.path("stamped.exe"), wrongTSA, "RARAAAAA"),
		line("timestamp changed", w.write("stamp.exe", flipped(signed, stampValue+20)), w.trust(), "RARAAAAA"),
		line("expired", w.path("expired.exe"), w.trust(), "RARRRAAA"),
		line("PE checksum", w.write("checksum.exe", flipped(signed, checksum)), w.trust(), "RAAAAAAA"),
	})
}

func TestAppended(t *testing.T) {
	t.Parallel()
	need(t, "openssl", "openssl")
	w := newWorld(t)
	w.program("linux", "unsigned")
	past := w.now.Add(-5 * 24 * time.Hour)
	content := w.read("unsigned")
	cms := w.signature("unsigned", "leaf")
	value := must(readSigners(cms))(t)[0].signature
	expired := w.signature("unsigned", "expired")
	expiredValue := must(readSigners(expired))(t)[0].signature
	put := func(name string, cms []byte) string { return w.write(name, appendSignature(content, cms)) }
	plain := put("plain", cms)
	signed := w.read("plain")
	token := w.token(value, w.now)
	if at := tokenTime(token); !at.Equal(w.now) {
		t.Errorf("tokenTime is %v, want %v", at, w.now)
	}
	expiredToken := w.token(expiredValue, past)
	twice := w.write("twice", append(bytes.Clone(signed), w.signature("plain", "direct")...))
	twice = w.write("twice", appendSignature(signed, w.read("twice")[len(signed):]))

	accept := map[string]string{"openssl-cms": "accept"}
	refuse := map[string]string{"openssl-cms": "refuse"}
	wrongCA, wrongTSA, middle := w.trust(), w.trust(), w.trust()
	wrongCA.CAFile = w.path("other.pem")
	wrongTSA.TSAFile = w.path("other.pem")
	middle.CAFile = w.path("middle.pem")
	hear(t, []Judge{judge(t, "openssl-cms")}, []row{
		{"plain", plain, w.trust(), accept},
		{"a name with spaces, quotes and dollars", put(`it's "$HOME"`, cms), w.trust(), accept},
		{"intermediate as root", plain, middle, accept},
		{"timestamp", put("stamped", stamped(t, cms, token)), w.trust(), accept},
		{"expired, stamped before", put("expired-stamped", stamped(t, expired, expiredToken)), w.trust(), accept},
		{"signed twice", twice, w.trust(), accept},

		{"unsigned", w.path("unsigned"), w.trust(), refuse},
		{"empty", w.write("empty", nil), w.trust(), refuse},
		{"a byte after the marker", w.write("longer", append(bytes.Clone(signed), 0)), w.trust(), refuse},
		{"content changed", w.write("content", flipped(signed, 5000)), w.trust(), refuse},
		{"signature value changed", put("value", flipped(cms, -20)), w.trust(), refuse},
		{"not CMS", put("text", []byte("this is not DER at all")), w.trust(), refuse},
		{"id_type", w.write("id", flipped(signed, -len(marker)-headerSize+2)), w.trust(), refuse},
		{"length", w.write("length", flipped(signed, -len(marker)-1)), w.trust(), refuse},
		{"wrong root", plain, wrongCA, refuse},
		{"wrong root of the timestamp", w.path("stamped"), wrongTSA, refuse},
		{"timestamp changed", put("stamp", stamped(t, cms, flipped(token, -20))), w.trust(), refuse},
		{"timestamp of another signature", put("other", stamped(t, cms, expiredToken)), w.trust(), refuse},
		{"expired", put("expired", expired), w.trust(), refuse},
		{"expired, stamped after", put("expired-late", stamped(t, expired, w.token(expiredValue, w.now))), w.trust(), refuse},
	})
}

func TestSums(t *testing.T) {
	t.Parallel()
	need(t, "sha256sum", "coreutils")
	w := newWorldless(t)
	const a = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
	list := func(folder string, contents, sums string) string {
		w.write(filepath.Join(folder, "a"), []byte(contents))
		return w.write(filepath.Join(folder, "SHA256SUMS"), []byte(sums))
	}
	accept := map[string]string{"sha256sum": "accept"}
	refuse := map[string]string{"sha256sum": "refuse"}
	hear(t, []Judge{judge(t, "sha256sum")}, []row{
		{"good", list("good", "a", a+"  a\n"), Trust{}, accept},
		{"folder with a space", list("two words", "a", a+"  a\n"), Trust{}, accept},
		{"changed", list("changed", "b", a+"  a\n"), Trust{}, refuse},
		{"missing", list("missing", "a", a+"  a\n"+a+"  b\n"), Trust{}, refuse},
		{"a bad line", list("line", "a", a+"  a\nrubbish\n"), Trust{}, refuse},
		{"rubbish", list("rubbish", "a", "rubbish\n"), Trust{}, refuse},
		{"empty", list("empty", "a", ""), Trust{}, refuse},
	})
}

// A trust file that cannot be used must not look like a refusal, whatever the
// programs make of it.
func TestUnusableTrust(t *testing.T) {
	t.Parallel()
	w := newWorldless(t)
	file := w.write("file", []byte("file"))
	for _, trust := range []Trust{
		{CAFile: w.path("absent.pem")},
		{CAFile: w.write("text.pem", []byte("no certificate"))},
		{TSAFile: w.write("broken.pem", []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))},
	} {
		for _, scheme := range []string{Authenticode, Appended} {
			for _, r := range Run(t.Context(), Judges(), []Case{{File: file, Scheme: scheme, Want: Refuse}}, trust, 0) {
				if r.Status == Skip {
					continue
				}
				if r.Status != Fail || !strings.HasPrefix(r.Got, "unclear: reading trusted certificates: ") {
					t.Errorf("%s with %+v: %v, %q", r.Judge, trust, r.Status, r.Got)
				}
			}
		}
	}
}

// newWorldless is a folder without certificates.
func newWorldless(t *testing.T) *world {
	return &world{t: t, dir: t.TempDir()}
}
