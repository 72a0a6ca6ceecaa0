package signing

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-build/hallmark/signing/cms"
	"github.com/hallmark-build/hallmark/signing/key"
)

// element is a DER element taken apart, to put things where no signature
// covers them.
type element struct {
	tag   byte
	parts []*element // of a constructed one
	value []byte     // of a primitive one
}

func takeApart(t testing.TB, der []byte) []*element {
	t.Helper()
	var out []*element
	for len(der) > 0 {
		var v asn1.RawValue
		rest, err := asn1.Unmarshal(der, &v)
		if err != nil {
			t.Fatal(err)
		}
		e := &element{tag: v.FullBytes[0], value: v.Bytes}
		if v.IsCompound {
			e.parts = takeApart(t, v.Bytes)
		}
		out, der = append(out, e), rest
	}
	return out
}

func (e *element) encode(t testing.TB) []byte {
	t.Helper()
	body := e.value
	if e.tag&0x20 != 0 {
		body = nil
		for _, p := range e.parts {
			body = append(body, p.encode(t)...)
		}
	}
	der, err := asn1.Marshal(asn1.RawValue{Tag: 1, Class: asn1.ClassPrivate, Bytes: body}) // for the length
	if err != nil {
		t.Fatal(err)
	}
	der[0] = e.tag
	return der
}

func (e *element) last() *element { return e.parts[len(e.parts)-1] }

// signedData is the SignedData in a ContentInfo.
func (e *element) signedData() *element { return e.parts[1].parts[0] }

// rewritePE changes the signature of a signed PE file and mends the lengths
// and the checksum, as an attacker would.
func rewritePE(t testing.TB, b []byte, change func(message *element)) []byte {
	t.Helper()
	p, err := readPE(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	ders, err := readTable(b[p.tableOffset:], p.tableOffset, Trust{})
	if err != nil {
		t.Fatal(err)
	}
	message := takeApart(t, ders[0])[0]
	change(message)
	table := certificateTable(message.encode(t))
	b = append(bytes.Clone(b[:p.tableOffset]), table...)
	binary.LittleEndian.PutUint32(b[p.certDir+4:], uint32(len(table)))
	binary.LittleEndian.PutUint32(b[p.checksum:], 0)
	sum := new(peChecksum)
	sum.add(b)
	binary.LittleEndian.PutUint32(b[p.checksum:], sum.value())
	return b
}

// rewriteELF is the same for an appended signature.
func rewriteELF(t testing.TB, b []byte, change func(message *element)) []byte {
	t.Helper()
	der, content, err := readTrailer(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	message := takeApart(t, der)[0]
	change(message)
	return append(bytes.Clone(b[:content]), appendTrailer(message.encode(t))...)
}

// TestUncovered puts a payload into each place of a signature that no digest
// covers, and has the file refused.
func TestUncovered(t *testing.T) {
	t.Parallel()
	w := sharedWorld()
	payload := &element{tag: 0x04, value: bytes.Repeat([]byte("payload"), 1000)}
	oid, err := asn1.Marshal(asn1.ObjectIdentifier{1, 2, 3, 4})
	if err != nil {
		t.Fatal(err)
	}
	attribute := &element{tag: 0x30, parts: []*element{takeApart(t, oid)[0], {tag: 0x31, parts: []*element{payload}}}}
	stranger := takeApart(t, issue(t, "Stranger", newRSA(t), nil, authority).cert.Raw)[0]
	const certificates = 3 // of SignedData's parts
	for name, change := range map[string]func(message *element){
		"revocation lists": func(m *element) {
			sd := m.signedData()
			n := len(sd.parts)
			sd.parts = append(sd.parts[:n-1:n-1], &element{tag: 0xa1, parts: []*element{payload}}, sd.last())
		},
		"another kind of certificate": func(m *element) {
			set := m.signedData().parts[certificates]
			set.parts = append(set.parts, &element{tag: 0xa3, parts: []*element{payload}})
		},
		"a stranger's certificate": func(m *element) {
			set := m.signedData().parts[certificates]
			set.parts = append(set.parts, stranger)
		},
		"an unsigned attribute": func(m *element) {
			unsigned := m.signedData().last().parts[0].last()
			unsigned.parts = append(unsigned.parts, attribute)
		},
		"an unsigned attribute of the timestamp": func(m *element) {
			token := m.signedData().last().parts[0].last().parts[0].parts[1].parts[0]
			signer := token.signedData().last().parts[0]
			signer.parts = append(signer.parts, &element{tag: 0xa1, parts: []*element{attribute}})
		},
		"a large attribute certificate of the timestamp": func(m *element) {
			token := m.signedData().last().parts[0].last().parts[0].parts[1].parts[0]
			set := token.signedData().parts[certificates]
			set.parts = append(set.parts, &element{tag: 0xa1, parts: []*element{payload}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pe := rewritePE(t, readFile(t, mustSign(t, Authenticode{}, sample(t, "impbyord.exe"), w.key, w.tsa)), change)
			elf := rewriteELF(t, readFile(t, mustSign(t, Appended{}, writeFile(t, "tiny", tinyELF(), 0o755), w.key, w.tsa)), change)
			for scheme, b := range map[Scheme][]byte{Authenticode{}: pe, Appended{}: elf} {
				_, err := verifyBytes(t, scheme, b, w.trust())
				wantError(t, err, Malformed, "")
			}
		})
	}
}

// TestOtherChains signs with chains and timestamps as real authorities have
// them.
func TestOtherChains(t *testing.T) {
	t.Parallel()
	a := issue(t, "Root A", newRSA(t), nil, authority)
	b := issue(t, "Root B", newRSA(t), nil, authority)
	cross := issue(t, "Root A", a.Signer, b, authority) // A's name and key, issued by B
	middle := issue(t, "Intermediate", newRSA(t), a, authority)
	signer := newRSA(t)
	leaf := issue(t, "Leaf", signer, middle, codeSigning)
	stampCA := issue(t, "Timestamping CA", newRSA(t), a, authority)
	stamp := issue(t, "Timestamper", newRSA(t), stampCA, timestamping(t))
	pool := func(certs ...*issued) *x509.CertPool {
		p := x509.NewCertPool()
		for _, c := range certs {
			p.AddCert(c.cert)
		}
		return p
	}
	w := sharedWorld()
	full := []*x509.Certificate{leaf.cert, middle.cert, a.cert}
	crossed := []*x509.Certificate{leaf.cert, middle.cert, cross.cert}
	crossedTSA := &testTSA{signer: stamp, chain: []*x509.Certificate{stamp.cert, stampCA.cert, cross.cert}}
	for _, c := range []struct {
		name       string
		chain      []*x509.Certificate
		tsa        *testTSA
		roots, tsr *x509.CertPool
		ok         bool
	}{
		{"full chain, its root", full, w.tsa, pool(a), pool(w.tsaCA), true},
		{"full chain, a bundle with the intermediate", full, w.tsa, pool(middle, a), pool(w.tsaCA), true},
		{"cross certificate, both roots", crossed, w.tsa, pool(a, b), pool(w.tsaCA), true},
		{"cross certificate, whose issuer nobody knows", crossed, w.tsa, pool(a), pool(w.tsaCA), false},
		{"timestamp with a cross certificate, both roots", full, crossedTSA, pool(a), pool(a, b), true},
		{"timestamp with a cross certificate, whose issuer nobody knows", full, crossedTSA, pool(a), pool(a), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			k := &key.Key{Signer: signer, Chain: c.chain}
			for _, scheme := range []Scheme{Authenticode{}, Appended{}} {
				src := sample(t, "impbyord.exe")
				if scheme.Name() == "appended" {
					src = writeFile(t, "tiny", tinyELF(), 0o755)
				}
				_, err := scheme.Verify(t.Context(), mustSign(t, scheme, src, k, c.tsa), Trust{Roots: c.roots, TSARoots: c.tsr})
				if c.ok && err != nil {
					t.Error(err)
				} else if !c.ok {
					wantError(t, err, Malformed, RuleCertificate)
				}
			}
		})
	}
}

// sha1TSA signs its tokens with SHA-1.
type sha1TSA struct{ *testTSA }

func (s sha1TSA) Timestamp(ctx context.Context, h crypto.Hash, digest []byte) ([]byte, error) {
	token, err := s.testTSA.Timestamp(ctx, h, digest)
	if err != nil {
		return nil, err
	}
	sd, err := cms.Parse(token)
	if err != nil {
		return nil, err
	}
	sum, err := sd.ContentDigest(crypto.SHA1)
	if err != nil {
		return nil, err
	}
	return cms.Message{
		Version: 3, ContentType: cms.OIDTSTInfo, Content: sd.Content, Digest: sum, Hash: crypto.SHA1,
		Attributes:   []cms.Attribute{{Type: cms.OIDSigningCertV2, Values: [][]byte{sd.Signers[0].Attribute(cms.OIDSigningCertV2)}}},
		Certificates: s.chain,
	}.Sign(s.signer, s.chain[0], nil)
}

// TestWeak refuses what can be forged, what takes too long to check, and what
// outlives its certificate without a right to.
func TestWeak(t *testing.T) {
	t.Parallel()
	w := sharedWorld()
	src := sample(t, "impbyord.exe")
	t.Run("timestamp signed with SHA-1", func(t *testing.T) {
		_, err := Authenticode{}.Verify(t.Context(), signExpired(t, w, src, sha1TSA{w.tsa}), w.trust())
		wantError(t, err, Untrusted, RuleWeak)
	})
	t.Run("RSA of 1024 bits", func(t *testing.T) {
		short, err := rsa.GenerateKey(rand.Reader, 1024)
		if err != nil {
			t.Fatal(err)
		}
		weak := newWorld(t, short, codeSigning)
		_, err = Authenticode{}.Verify(t.Context(), signExpired(t, weak, src, weak.tsa), weak.trust())
		wantError(t, err, Untrusted, RuleWeakKey)
	})
	t.Run("a huge RSA key", func(t *testing.T) {
		modulus := make([]byte, 1<<15)
		if _, err := rand.Read(modulus); err != nil {
			t.Fatal(err)
		}
		modulus[0], modulus[len(modulus)-1] = 0x7f, modulus[len(modulus)-1]|1
		pub, err := asn1.Marshal(struct {
			N *big.Int
			E int
		}{new(big.Int).SetBytes(modulus), 1<<31 - 1})
		if err != nil {
			t.Fatal(err)
		}
		b := rewritePE(t, readFile(t, mustSign(t, Authenticode{}, src, w.key, nil)), func(m *element) {
			leaf := takeApart(t, w.key.Leaf().Raw)[0]
			leaf.parts[0].parts[6].parts[1].value = append([]byte{0}, pub...)
			m.signedData().parts[3].parts = []*element{leaf}
		})
		_, err = verifyBytes(t, Authenticode{}, b, w.trust())
		wantError(t, err, Malformed, RuleDER)
	})
	t.Run("lifetime signing", func(t *testing.T) {
		life := newWorld(t, newRSA(t), func(c *x509.Certificate) {
			value, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 3}, oidLifetimeSigning})
			if err != nil {
				t.Fatal(err)
			}
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Value: value}}
		})
		trust := life.trust()
		file := mustSign(t, Authenticode{}, src, life.key, life.tsa)
		if _, err := (Authenticode{}).Verify(t.Context(), file, trust); err != nil {
			t.Error(err)
		}
		trust.Now = time.Now().AddDate(1, 0, 0)
		_, err := Authenticode{}.Verify(t.Context(), file, trust)
		wantError(t, err, Expired, RuleValidity)
	})
	t.Run("an unknown authority's timestamp after the end", func(t *testing.T) {
		trust := w.trust()
		trust.TSARoots, trust.Policy.Off, trust.Now = nil, []Rule{RuleTSA}, time.Now().AddDate(1, 0, 0)
		_, err := Authenticode{}.Verify(t.Context(), mustSign(t, Authenticode{}, src, w.key, w.tsa), trust)
		wantError(t, err, Expired, RuleValidity)
	})
}

// TestNames keeps control characters of a certificate's subject out of logs.
func TestNames(t *testing.T) {
	t.Parallel()
	signer := newRSA(t)
	ca := issue(t, "CA", newRSA(t), nil, authority)
	leaf := issue(t, "\x1b[2Jok\n::set-output name=x::accepted", signer, ca, codeSigning)
	file := mustSign(t, Appended{}, writeFile(t, "tiny", tinyELF(), 0o755), &key.Key{Signer: signer, Chain: []*x509.Certificate{leaf.cert, ca.cert}}, sharedWorld().tsa)
	if _, err := (Appended{}).Verify(t.Context(), file, sharedWorld().trust()); err == nil || strings.ContainsAny(err.Error(), "\x1b\n") {
		t.Errorf("got %v", err)
	}
}

// TestOtherFileSystem signs in place through a link that leads elsewhere.
func TestOtherFileSystem(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("/dev/shm", "hallmark")
	if err != nil {
		t.Skipf("SKIP: no second file system: %v", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	real, link := filepath.Join(dir, "tiny"), filepath.Join(t.TempDir(), "link")
	if err := os.WriteFile(real, tinyELF(), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	w := sharedWorld()
	if _, changed, err := (Config{}).SignInPlace(t.Context(), link, w.key, w.tsa, w.trust()); err != nil || !changed {
		t.Errorf("changed=%v, %v", changed, err)
	}
	onlyFile(t, dir, "tiny")
}

// shrunk is a file that became shorter after its size was asked for.
type shrunk []byte

func (s shrunk) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(s)) {
		return 0, io.EOF
	}
	n := copy(p, s[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func TestShrunk(t *testing.T) {
	t.Parallel()
	if err := copyAndDigest(t.Context(), make(shrunk, blockSize), 3*blockSize, nil, crypto.SHA256.New()); err == nil {
		t.Error("a file that became shorter was digested")
	}
}
