package compat

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha1"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// The signature of a detached scheme stands beside the file that a case names,
// with one of these suffixes.
const (
	suffixP7S    = ".p7s"
	suffixBundle = ".sigstore.json"
	suffixVerity = ".verity.p7s"
	suffixIMA    = ".sig"
)

// maxDetached bounds what is read of a signature.
const maxDetached = 1 << 20

// beside reads the signature of a file. That there is none is a refusal.
func beside(judge, file, suffix string) ([]byte, error) {
	f, err := os.Open(file + suffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &RefusalError{Judge: judge, Reason: "there is no signature " + filepath.Base(file) + suffix}
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxDetached))
}

func opensslProgram() program {
	return program{
		name: "openssl", pkg: "openssl",
		version: []string{"version"}, match: regexp.MustCompile(`(?m)^((?:OpenSSL|LibreSSL) \d\S*)`),
	}
}

// opensslP7S judges a detached CMS.
func opensslP7S() Judge {
	j := cmsJudge{opensslProgram()}
	return Judge{
		Name: "openssl-p7s", Scheme: P7S,
		Limits: "openssl checks the signature over the file, the chain to a certificate of the CA file, and the timestamp's signature, imprint, usage and chain; with a timestamp the chains at its time, else now. " +
			"It does not check the signer's code-signing usage, nor the signing-certificate attribute.",
		FindKey: j.key, Find: j.find,
		Verify: func(ctx context.Context, file string, trust Trust) error {
			cms, err := beside(j.name, file, suffixP7S)
			if err != nil {
				return err
			}
			f, err := os.Open(file)
			if err != nil {
				return err
			}
			defer f.Close()
			return j.judge(ctx, cms, f, trust)
		},
		Command: func(file string, trust Trust) string {
			var at time.Time
			if cms, err := beside(j.name, trust.find(file), suffixP7S); err == nil {
				if signers, err := readSigners(cms); err == nil && len(signers) == 1 && signers[0].token != nil {
					at = tokenTime(signers[0].token)
				}
			}
			return line(append([]string{j.name}, cmsArgs(argument(file)+suffixP7S, argument(file), trust, at)...)...)
		},
	}
}

// opensslVerity judges a signature over an fs-verity digest: fsverity computes
// the digest, and openssl verifies the signature over it.
func opensslVerity() Judge {
	j := cmsJudge{opensslProgram()}
	v := program{name: "fsverity", pkg: "fsverity", version: []string{"--version"}, match: regexp.MustCompile(`v(\d\S*)`)}
	algorithm := func(cms []byte) string {
		if namesSHA512(cms) {
			return "sha512"
		}
		return "sha256"
	}
	digest := func(algorithm, file string) []string {
		return []string{"digest", "--compact", "--for-builtin-sig", "--hash-alg=" + algorithm, argument(file)}
	}
	return Judge{
		Name: "fsverity+openssl", Scheme: Verity,
		Limits: "fsverity computes the digest, without salt; openssl checks the signature over it as openssl-p7s does. " +
			"Neither is the kernel, which refuses sha256WithRSAEncryption and looks at no chain.",
		FindKey: v.key, Find: v.find,
		Verify: func(ctx context.Context, file string, trust Trust) error {
			cms, err := beside(v.name, file, suffixVerity)
			if err != nil {
				return err
			}
			a, err := v.run(ctx, "", nil, digest(algorithm(cms), file)...)
			if err != nil {
				return err
			}
			formatted, err := hex.DecodeString(strings.TrimSpace(a.stdout))
			if err != nil || a.exit != 0 || !bytes.HasPrefix(formatted, []byte("FSVerity")) {
				return v.unclear(a, "its digest is not understood")
			}
			return j.judge(ctx, cms, bytes.NewReader(formatted), trust)
		},
		Command: func(file string, trust Trust) string {
			cms, _ := beside(v.name, trust.find(file), suffixVerity)
			var at time.Time
			if signers, err := readSigners(cms); err == nil && len(signers) == 1 && signers[0].token != nil {
				at = tokenTime(signers[0].token)
			}
			return line(append([]string{v.name}, digest(algorithm(cms), file)...)...) + ` | perl -ne 'chomp; print pack "H*", $_' > digest && ` +
				line(append([]string{j.name}, cmsArgs(argument(file)+suffixVerity, "digest", trust, at)...)...)
		},
	}
}

// namesSHA512 looks for id-sha512, which stands in a message if it was used.
func namesSHA512(cms []byte) bool {
	return bytes.Contains(cms, []byte{0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03})
}

// evmctl judges an IMA signature.
func evmctl() Judge {
	p := program{name: "evmctl", pkg: "ima-evm-utils", version: []string{"--version"}, match: regexp.MustCompile(`evmctl (\d\S*)`)}
	names := map[byte]string{4: "sha256", 5: "sha384", 6: "sha512"}
	return Judge{
		Name: p.name, Scheme: IMA,
		Limits:  "It checks the signature over the file with the key of the given certificate. It looks at no chain, usage or date, and does not read version 3, over the fs-verity digest.",
		FindKey: p.key, Find: p.find,
		Verify: func(ctx context.Context, file string, trust Trust) error {
			signature, err := beside(p.name, file, suffixIMA)
			if err != nil {
				return err
			}
			switch {
			case len(signature) < 3:
				return &RefusalError{Judge: p.name, Reason: "the signature is cut short"}
			case signature[0] == 6 && signature[1] == 3:
				return &LimitError{Judge: p.name, Limit: "it does not read version 3, over the fs-verity digest"}
			}
			certs, err := certificates(trust.SignerFile)
			if err != nil {
				return err
			}
			if len(certs) == 0 {
				return &LimitError{Judge: p.name, Limit: "it must be given the signer's certificate, and there is none"}
			}
			// Of several signers it is given the one whose key the signature names.
			if i := slices.IndexFunc(certs, func(c *x509.Certificate) bool {
				return len(signature) >= 7 && bytes.HasSuffix(c.SubjectKeyId, signature[3:7])
			}); i > 0 {
				certs[0] = certs[i]
			}
			if id := keyID(certs[0]); !bytes.HasSuffix(certs[0].SubjectKeyId, id[len(id)-4:]) {
				return &LimitError{Judge: p.name, Limit: "it finds a certificate by the SHA-1 of its key, and this one's subject key identifier is another"}
			}
			dir, err := os.MkdirTemp("", "hallmark-evmctl-*")
			if err != nil {
				return fmt.Errorf("making a folder for the certificate: %w", err)
			}
			defer os.RemoveAll(dir)
			cert := filepath.Join(dir, "signer.der")
			if err := os.WriteFile(cert, certs[0].Raw, 0o600); err != nil {
				return err
			}
			a, err := p.run(ctx, "", nil, "ima_verify", "--sigfile", "-a", names[signature[2]], "--key", cert, argument(file))
			if err != nil {
				return err
			}
			said := a.stdout + a.stderr
			switch {
			case a.exit == 0 && strings.Contains(said, "verification is OK"):
				return nil
			case a.exit != 0 && (strings.Contains(said, "verification failed") || strings.Contains(said, "invalid signature") || strings.Contains(said, "unknown keyid") || strings.Contains(said, "signature header")):
				return p.refuse(a, last(said))
			}
			return p.unclear(a, fmt.Sprintf("it ends with exit code %d", a.exit))
		},
		Command: func(file string, trust Trust) string {
			return line("openssl", "x509", "-in", argument(trust.SignerFile), "-outform", "der", "-out", "signer.der") + " && " +
				line(p.name, "ima_verify", "--sigfile", "--key", "signer.der", argument(file))
		},
	}
}

// keyID is the SHA-1 of a public key (RFC 5280, 4.2.1.2, method 1).
func keyID(c *x509.Certificate) []byte {
	var spki struct {
		Algorithm asn1.RawValue
		Key       asn1.BitString
	}
	asn1.Unmarshal(c.RawSubjectPublicKeyInfo, &spki) // x509 has read it
	sum := sha1.Sum(spki.Key.Bytes)
	return sum[:]
}

// cosignVersion is the version of cosign that `mage setup` builds.
const cosignVersion = "v2.6.2"

// cosign judges a sigstore bundle.
func cosign() Judge {
	p := program{name: "cosign", pkg: "none: `mage setup` builds it", version: []string{"version"}, match: regexp.MustCompile(`GitVersion:\s+(v?\d\S*)`), built: "cosign@" + cosignVersion}
	args := func(file, root string) []string {
		return []string{"verify-blob", "--new-bundle-format", "--bundle", argument(file) + suffixBundle, "--trusted-root", root,
			"--use-signed-timestamps", "--insecure-ignore-tlog", "--insecure-ignore-sct",
			"--certificate-identity-regexp", ".*", "--certificate-oidc-issuer-regexp", ".*", argument(file)}
	}
	return Judge{
		Name: p.name, Scheme: Bundle,
		Limits: "It checks the signature over the file, the chain to a root of the CA file at the time of the timestamp, and the timestamp. " +
			"It is told not to look for a transparency log. It reads only certificates that have a subject alternative name.",
		FindKey: p.key, Find: p.find,
		Verify: func(ctx context.Context, file string, trust Trust) error {
			bundle, err := beside(p.name, file, suffixBundle)
			if err != nil {
				return err
			}
			if anonymous(bundle) {
				return &LimitError{Judge: p.name, Limit: "it reads only certificates that have a subject alternative name, and the signer's has none"}
			}
			root, err := trustedRoot(trust)
			if err != nil {
				return err
			}
			dir, err := os.MkdirTemp("", "hallmark-cosign-*")
			if err != nil {
				return fmt.Errorf("making a folder for the trusted root: %w", err)
			}
			defer os.RemoveAll(dir)
			rootFile := filepath.Join(dir, "trusted_root.json")
			if err := os.WriteFile(rootFile, root, 0o600); err != nil {
				return err
			}
			a, err := p.run(ctx, "", nil, args(file, rootFile)...)
			if err != nil {
				return err
			}
			switch {
			case a.exit == 0 && last(a.stderr) == "Verified OK":
				return nil
			case a.exit == 1 && strings.Contains(a.stderr, "Error: "):
				_, reason, _ := strings.Cut(a.stderr, "Error: ")
				reason, _, _ = strings.Cut(reason, "\n")
				return p.refuse(a, reason)
			}
			return p.unclear(a, fmt.Sprintf("it ends with exit code %d", a.exit))
		},
		Command: func(file string, trust Trust) string {
			return p.search() + line(append([]string{p.name}, args(file, filepath.Join(filepath.Dir(cmp.Or(trust.SignerFile, trust.CAFile)), "trusted_root.json"))...)...)
		},
	}
}

// anonymous reports whether the certificate in a bundle has no subject
// alternative name. Of what cannot be read, cosign has the word.
func anonymous(bundle []byte) bool {
	var b struct {
		VerificationMaterial struct{ Certificate struct{ RawBytes []byte } }
	}
	if json.Unmarshal(bundle, &b) != nil {
		return false
	}
	c, err := x509.ParseCertificate(b.VerificationMaterial.Certificate.RawBytes)
	return err == nil && len(c.EmailAddresses)+len(c.URIs)+len(c.DNSNames)+len(c.IPAddresses) == 0
}

// trustedRoot writes sigstore's trusted root: each self-signed certificate of
// the CA file, and of the TSA file, is an authority; the other certificates are
// what stands between.
func trustedRoot(trust Trust) ([]byte, error) {
	type raw struct {
		RawBytes []byte `json:"rawBytes"`
	}
	type authority struct {
		CertChain struct {
			Certificates []raw `json:"certificates"`
		} `json:"certChain"`
		ValidFor struct {
			Start string `json:"start"`
		} `json:"validFor"`
	}
	authorities := func(files ...string) ([]authority, error) {
		var all []*x509.Certificate
		for _, file := range files {
			certs, err := certificates(file)
			if err != nil {
				return nil, err
			}
			all = append(all, certs...)
		}
		root := func(c *x509.Certificate) bool { return bytes.Equal(c.RawIssuer, c.RawSubject) }
		var found []authority
		for _, r := range slices.DeleteFunc(slices.Clone(all), func(c *x509.Certificate) bool { return !root(c) }) {
			var a authority
			for _, c := range all {
				if c.IsCA && !root(c) {
					a.CertChain.Certificates = append(a.CertChain.Certificates, raw{c.Raw})
				}
			}
			a.CertChain.Certificates = append(a.CertChain.Certificates, raw{r.Raw})
			a.ValidFor.Start = r.NotBefore.UTC().Format(time.RFC3339)
			found = append(found, a)
		}
		return found, nil
	}
	cas, err := authorities(or(trust.CAFile), trust.SignerFile)
	if err != nil {
		return nil, err
	}
	tsas, err := authorities(or(trust.TSAFile))
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{
		"mediaType":              "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
		"certificateAuthorities": cas, "timestampAuthorities": tsas,
	})
}

func or(file string) string {
	if file == "" {
		return systemCAFile
	}
	return file
}

// certificates reads a PEM file; none from no file.
func certificates(file string) ([]*x509.Certificate, error) {
	if file == "" {
		return nil, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading trusted certificates: %w", err)
	}
	var certs []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			certs = append(certs, c)
		}
	}
	return certs, nil
}
