package boundaries

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/hallmark-build/hallmark/signing"
	"github.com/hallmark-build/hallmark/signing/cms"
	"github.com/hallmark-build/hallmark/signing/compat"
	"github.com/hallmark-build/hallmark/signing/key"
)

// A breakage is what a faulty signer would make of a file. Each is a mistake
// that a program which both signs and verifies would not notice, so a stranger
// has to.
type breakage struct {
	name   string
	scheme string
	key    string
	break_ func(ctx context.Context, k *key.Key, p piece) (piece, error)
	judges []string // those that refuse it; at least one of them must be installed
}

// breakages takes the good signature apart and puts another together, byte by
// byte or by a second signature over what is wrong.
func breakages() []breakage {
	resign := func(s string, edit func(*cms.Message)) func(context.Context, *key.Key, piece) (piece, error) {
		return func(ctx context.Context, k *key.Key, p piece) (piece, error) {
			return p.resigned(ctx, schemeNamed(s), k, nil, edit)
		}
	}
	replace := func(s string, edit func(k *key.Key, der []byte) ([]byte, error)) func(context.Context, *key.Key, piece) (piece, error) {
		return func(_ context.Context, k *key.Key, p piece) (piece, error) {
			der, err := p.message(schemeNamed(s))
			if err != nil {
				return p, err
			}
			if der, err = edit(k, bytes.Clone(der)); err != nil {
				return p, err
			}
			return p.withMessage(schemeNamed(s), der)
		}
	}
	bytesOf := func(edit func(b []byte) error) func(context.Context, *key.Key, piece) (piece, error) {
		return func(_ context.Context, _ *key.Key, p piece) (piece, error) {
			p = p.clone()
			return p, edit(p.data)
		}
	}
	return []breakage{
		{"signed attributes are not in DER order", "authenticode", "rsa2048", replace("authenticode", unsortAttributes), []string{"saferwall"}},
		{"id-ecPublicKey stands for the ECDSA algorithm", "authenticode", "p256", replace("authenticode", func(_ *key.Key, der []byte) ([]byte, error) {
			return replaceOID(der, asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}, asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1})
		}), []string{"saferwall"}},
		{"the checksum is left as it was", "authenticode", "rsa2048", bytesOf(func(b []byte) error {
			t, err := tableOf(b)
			copy(b[t.checksum:], make([]byte, 4))
			return err
		}), []string{"osslsigncode"}},
		{"a page hash is that of another page", "page-hashes", "rsa2048", resign("page-hashes", func(m *cms.Message) {
			// The table is of offset and digest, in turn; its second digest is changed.
			first := bytes.Index(m.Content, []byte{0, 0, 0, 0})
			m.Content = bytes.Clone(m.Content)
			m.Content[first+4+32+4+10] ^= 1
			sd := cms.SignedData{Content: m.Content}
			m.Digest, _ = sd.ContentDigest(m.Hash)
		}), []string{"osslsigncode"}},
		{"the signed digest is that of the whole file", "authenticode", "rsa2048", func(ctx context.Context, k *key.Key, p piece) (piece, error) {
			t, err := tableOf(p.data)
			if err != nil {
				return p, err
			}
			whole := sha256.Sum256(p.data[:t.offset])
			return p.resigned(ctx, schemeNamed("authenticode"), k, nil, func(m *cms.Message) {
				m.Content = bytes.Clone(m.Content)
				copy(m.Content[len(m.Content)-32:], whole[:])
				sd := cms.SignedData{Content: m.Content}
				m.Digest, _ = sd.ContentDigest(m.Hash)
			})
		}, []string{"osslsigncode", "sbverify", "relic", "saferwall", "pesign", "hash-to-efi-sig-list"}},
		{"the table's entry is shorter than the signature", "authenticode", "rsa2048", bytesOf(func(b []byte) error {
			t, err := tableOf(b)
			binary.LittleEndian.PutUint32(b[t.offset:], 64)
			return errors.Join(err, nil)
		}), []string{"osslsigncode", "sbverify", "relic", "saferwall"}},
		{"the message digest is of other content", "authenticode", "rsa2048", resign("authenticode", func(m *cms.Message) { m.Digest[0] ^= 1 }),
			[]string{"osslsigncode", "sbverify", "relic", "saferwall"}},
		{"the signer's certificate is missing", "authenticode", "rsa2048", resign("authenticode", func(m *cms.Message) { m.Certificates = m.Certificates[1:] }),
			[]string{"osslsigncode", "relic", "saferwall"}},
		{"the trailer's length is one too great", "appended", "rsa2048", bytesOf(func(b []byte) error {
			b[len(b)-len(trailerMagic)-1]++
			return nil
		}), []string{"openssl-cms"}},
		{"the trailer is signed, too", "appended", "rsa2048", resign("appended", func(m *cms.Message) { m.Digest[31] ^= 0x80 }), []string{"openssl-cms"}},
		{"the salt is left out of the Merkle tree", "verity", "rsa2048", func(ctx context.Context, k *key.Key, p piece) (piece, error) {
			// The other way about: signed is a digest with salt, where none is announced.
			digest, err := signing.Verity{Salt: []byte("salt")}.Digest(ctx, bytes.NewReader(p.data), int64(len(p.data)))
			if err != nil {
				return p, err
			}
			return p.resigned(ctx, schemeNamed("verity"), k, nil, func(m *cms.Message) {
				m.Digest = hashOf(crypto.SHA256, formatVerity(crypto.SHA256, digest))
			})
		}, []string{"fsverity+openssl"}},
		{"the Merkle tree's root is signed in the place of the descriptor's digest", "verity", "rsa2048", func(ctx context.Context, k *key.Key, p piece) (piece, error) {
			root := sha256.Sum256(p.data)
			return p.resigned(ctx, schemeNamed("verity"), k, nil, func(m *cms.Message) {
				m.Digest = hashOf(crypto.SHA256, formatVerity(crypto.SHA256, root[:]))
			})
		}, []string{"fsverity+openssl"}},
		{"the key identifier of IMA is the beginning, not the end", "ima", "rsa2048", func(_ context.Context, k *key.Key, p piece) (piece, error) {
			p = p.clone()
			copy(p.beside[".sig"][3:7], k.Leaf().SubjectKeyId)
			return p, nil
		}, []string{"evmctl"}},
		{"the signature of IMA is over the content, not its digest", "ima", "rsa2048", func(_ context.Context, k *key.Key, p piece) (piece, error) {
			p = p.clone()
			d := sha256.Sum256(p.data)
			twice := sha256.Sum256(d[:])
			s, err := k.Sign(rand.Reader, twice[:], crypto.SHA256)
			p.beside[".sig"] = append(p.beside[".sig"][:9:9], s...)
			return p, err
		}, []string{"evmctl"}},
	}
}

// unsortAttributes puts the signed attributes in the opposite order and signs
// them so, as relic does: a verifier that takes them as they stand is content.
func unsortAttributes(k *key.Key, der []byte) ([]byte, error) {
	sd, err := cms.Parse(der)
	if err != nil {
		return nil, err
	}
	i := bytes.LastIndex(der, sd.Signers[0].Signature)
	// The attributes are the last [0] before the signature.
	start := -1
	for at := i; at > 0; at-- {
		if der[at] == 0xa0 && der[at+1] == 0x81 {
			start = at
			break
		}
	}
	if start < 0 {
		return nil, errors.New("no signed attributes")
	}
	n := int(der[start+2])
	set := der[start+3 : start+3+n]
	var elements [][]byte
	for rest := set; len(rest) > 0; {
		var raw asn1.RawValue
		next, err := asn1.Unmarshal(rest, &raw)
		if err != nil {
			return nil, err
		}
		elements = append(elements, raw.FullBytes)
		rest = next
	}
	slices.Reverse(elements)
	copy(set, bytes.Join(elements, nil))
	toSign := sha256.Sum256(append([]byte{0x31, 0x81, byte(n)}, set...))
	signature, err := k.Sign(rand.Reader, toSign[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	copy(der[i:], signature)
	return der, nil
}

// replaceOID writes one identifier in the place of the last of another, and
// mends the lengths around it by letting the message be read anew.
func replaceOID(der []byte, from, to asn1.ObjectIdentifier) ([]byte, error) {
	old, err := asn1.Marshal(from)
	if err != nil {
		return nil, err
	}
	next, err := asn1.Marshal(to)
	if err != nil {
		return nil, err
	}
	i := bytes.LastIndex(der, old)
	if i < 0 {
		return nil, errNone
	}
	return substitute(der, i, len(old), next)
}

// substitute replaces bytes of DER, and the lengths of all elements that they are
// in.
func substitute(der []byte, at, size int, with []byte) ([]byte, error) {
	var raw asn1.RawValue
	rest, err := asn1.Unmarshal(der, &raw)
	if err != nil || len(rest) > 0 {
		return nil, errors.Join(err, errors.New("not one element"))
	}
	return rebuild(der, at, size, with)
}

func rebuild(element []byte, at, size int, with []byte) ([]byte, error) {
	if at == 0 && size == len(element) {
		return with, nil
	}
	var raw asn1.RawValue
	if _, err := asn1.Unmarshal(element, &raw); err != nil {
		return nil, err
	}
	header := len(raw.FullBytes) - len(raw.Bytes)
	var body []byte
	for pos := header; pos < len(raw.FullBytes); {
		var child asn1.RawValue
		if _, err := asn1.Unmarshal(element[pos:], &child); err != nil {
			return nil, err
		}
		n := len(child.FullBytes)
		if at >= pos && at+size <= pos+n {
			changed, err := rebuild(element[pos:pos+n], at-pos, size, with)
			if err != nil {
				return nil, err
			}
			body = append(body, changed...)
		} else {
			body = append(body, element[pos:pos+n]...)
		}
		pos += n
	}
	// The tag is of one byte in all that a signature has.
	out := []byte{element[0]}
	switch n := len(body); {
	case n < 0x80:
		out = append(out, byte(n))
	case n < 0x100:
		out = append(out, 0x81, byte(n))
	default:
		out = append(out, 0x82, byte(n>>8), byte(n))
	}
	return append(out, body...), nil
}

// TestBreakages breaks the signer in each of these ways, and demands that a
// stranger notices: a judge that is not our own verifier. The same file, before
// it is broken, is accepted by all of them.
func TestBreakages(t *testing.T) {
	t.Parallel()
	world, err := newWorld(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	pe, elf := program(t, "windows"), program(t, "linux")
	all := slices.DeleteFunc(compat.Judges(), func(j compat.Judge) bool {
		return j.Name == "wintrust" || j.Name == "chktrust" // dear: the map asks them
	})
	for _, b := range breakages() {
		t.Run(strings.ReplaceAll(b.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			s := schemeNamed(b.scheme)
			p := elf
			if s.judges == "authenticode" {
				p = pe
			}
			k := world.key(b.key)
			good, err := p.signed(t.Context(), s, crypto.SHA256, k, nil)
			if err != nil {
				t.Fatal(err)
			}
			bad, err := b.break_(t.Context(), k, good)
			if err != nil {
				t.Fatal(err)
			}
			judges := slices.DeleteFunc(slices.Clone(all), func(j compat.Judge) bool { return j.Scheme != s.judges || !slices.Contains(b.judges, j.Name) })
			file := func(p piece) string {
				f, err := p.write(t.TempDir(), "")
				if err != nil {
					t.Fatal(err)
				}
				return f
			}
			goodFile, badFile := file(good), file(bad)
			results := compat.Run(t.Context(), judges, []compat.Case{{File: goodFile, Scheme: s.judges}, {File: badFile, Scheme: s.judges}}, world.trust, runtime.NumCPU())
			var caught, blind []string
			for i, r := range results {
				switch {
				case r.Status == compat.Skip && r.Got == "": // it is not installed
				case i < len(judges) && r.Got != Accept:
					t.Errorf("%s does not accept the good file: %s: %s", r.Judge, r.Got, r.Reason)
				case i >= len(judges) && r.Got == Refuse:
					caught = append(caught, r.Judge)
				case i >= len(judges):
					blind = append(blind, r.Judge+": "+r.Got+" "+r.Reason)
				}
			}
			t.Logf("caught by %q", caught)
			if len(blind) > 0 {
				t.Errorf("not refused by %q", blind)
			}
			if len(caught) == 0 {
				if os.Getenv("HALLMARK_STRICT") == "" {
					t.Skipf("SKIP: none of %q is installed", b.judges)
				}
				t.Errorf("nobody of %q is installed", b.judges)
			}
		})
	}
}

// program builds the sample for a system, once for each.
func program(t *testing.T, goos string) piece {
	t.Helper()
	f, err := newFoundry(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	name := map[string]string{"windows": "pe-console", "linux": "elf-static"}[goos]
	i := slices.IndexFunc(artifacts(), func(a artifact) bool { return a.name == name })
	file, err := f.make(t.Context(), artifacts()[i], "")
	if err != nil {
		t.Fatal(err)
	}
	p, err := readPiece(file)
	if err != nil {
		t.Fatal(err)
	}
	p.name = filepath.Base(file)
	return p
}
