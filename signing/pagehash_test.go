package signing

import (
	"bytes"
	"crypto"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/hallmark-build/hallmark/signing/cms"
)

// signedContent returns the SpcIndirectDataContent in a signed PE file.
func signedContent(t *testing.T, file string) *peData {
	t.Helper()
	b := readFile(t, file)
	p, err := readPE(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	ders, err := readTable(b[p.tableOffset:p.tableOffset+p.tableSize], p.tableOffset, Trust{Policy: Policy{Off: []Rule{RulePadding}}})
	if err != nil {
		t.Fatal(err)
	}
	sd, err := cms.Parse(ders[0])
	if err != nil {
		t.Fatal(err)
	}
	d, err := parseIndirectData(sd.Content)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestPageHashes compares the table with osslsigncode's, has it verify ours, and
// verifies its and Microsoft's.
func TestPageHashes(t *testing.T) {
	t.Parallel()
	w, tool := sharedWorld(), lookTool(t, "osslsigncode", "osslsigncode")
	for name, src := range map[string]string{
		"go": goProgram(t, "windows", "amd64", ""), "386": goProgram(t, "windows", "386", "-s -w"), "arm64": goProgram(t, "windows", "arm64", "-s -w"),
		"gap after the headers": sample(t, "impbyord.exe"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			good := mustSign(t, Authenticode{PageHashes: true}, src, w.key, w.tsa)
			sig, err := Authenticode{}.Verify(t.Context(), good, w.trust())
			if err != nil || !sig.PageHashes {
				t.Fatalf("%+v, %v", sig, err)
			}
			theirs := filepath.Join(t.TempDir(), "theirs.exe")
			if out, err := run(t, tool, "sign", "-certs", pemFile(t, w.key.Chain...), "-key", keyFile(t, w.key.Signer), "-h", "sha256", "-ph", "-in", src, "-out", theirs); err != nil {
				t.Fatalf("osslsigncode: %v\n%s", err, out)
			}
			if ours, foreign := signedContent(t, good), signedContent(t, theirs); !bytes.Equal(ours.pages, foreign.pages) || ours.pageHash != foreign.pageHash || len(ours.pages) == 0 {
				t.Errorf("the page hashes differ: %d and %d bytes", len(ours.pages), len(foreign.pages))
			}
			trust := w.trust()
			trust.Policy.Off = []Rule{RuleTimestamp}
			if _, err := (Authenticode{}).Verify(t.Context(), theirs, trust); err != nil {
				t.Errorf("we refuse osslsigncode's: %v", err)
			}
			if out, err := osslVerify(t, w, good); err != nil || !bytes.Contains([]byte(out), []byte("Page hash")) && !bytes.Contains([]byte(out), []byte("page hash")) {
				t.Errorf("osslsigncode: %v\n%s", err, out)
			}
		})
	}
	for _, name := range []string{"kernel32.dll"} {
		if d := signedContent(t, sample(t, name)); d.pageHash == 0 {
			t.Errorf("%s has no page hashes", name)
		} else if b, err := os.ReadFile(sample(t, name)); err != nil {
			t.Error(err)
		} else if err := checkPages(b, d); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// checkPages computes the page hashes of a file and compares.
func checkPages(b []byte, d *peData) error {
	p, err := readPE(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return err
	}
	table, err := newPageTable(p, bytes.NewReader(b), d.pageHash)
	if err != nil {
		return err
	}
	for at := 0; at < int(p.end()); at += 1000 { // in pieces that fit no page
		table.write(b[at:min(at+1000, int(p.end()))], int64(at))
	}
	got, err := table.table()
	if err == nil && !bytes.Equal(got, d.pages) {
		err = errors.New("page hashes differ")
	}
	return err
}

// TestPageHashesOff signs a wrong table: the rule refuses it, and only the rule.
func TestPageHashesOff(t *testing.T) {
	t.Parallel()
	w := sharedWorld()
	src := sample(t, "impbyord.exe")
	good := mustSign(t, Authenticode{PageHashes: true}, src, w.key, nil)
	d := signedContent(t, good)
	for name, spoil := range map[string]func([]byte) []byte{
		"a digest":  func(b []byte) []byte { b[10] ^= 1; return b },
		"an offset": func(b []byte) []byte { b[37] ^= 1; return b },
		"the end":   func(b []byte) []byte { return b[:len(b)-36] },
	} {
		content, err := marshalIndirectData(d.hash, d.digest, spoil(bytes.Clone(d.pages)))
		if err != nil {
			t.Fatal(err)
		}
		der, err := Authenticode{}.signContent(t.Context(), oidSpcIndirectData, content, d.hash, w.key, nil)
		if err != nil {
			t.Fatal(err)
		}
		bad := withSignature(t, src, der)
		trust := w.trust()
		trust.Policy.Off = []Rule{RuleTimestamp}
		_, err = Authenticode{}.Verify(t.Context(), bad, trust)
		wantError(t, err, Tampered, RulePageHash)
		trust.Policy.Off = append(trust.Policy.Off, RulePageHash)
		if _, err := (Authenticode{}).Verify(t.Context(), bad, trust); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// withSignature puts a signature into a PE file.
func withSignature(t *testing.T, src string, der []byte) string {
	t.Helper()
	in, err := os.Open(src)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		t.Fatal(err)
	}
	p, err := readPE(in, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(filepath.Join(t.TempDir(), filepath.Base(src)))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	sum, err := p.scan(t.Context(), in, out, crypto.SHA256.New(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.attach(out, certificateTable(der), sum); err != nil {
		t.Fatal(err)
	}
	return out.Name()
}
