package compat

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Versions of the judges that `mage setup` builds from their modules.
const (
	relicVersion     = "v7.6.2"
	saferwallVersion = "v1.6.5"
)

// relic judges Authenticode signatures by relic's own command line.
func relic() Judge {
	p := program{
		name: "relic", pkg: "none: `mage setup` builds it", built: "relic@" + relicVersion,
		version: []string{"--version"}, match: regexp.MustCompile(`(?m)^relic version v?(\d\S*)`),
	}
	args := func(file string, trust Trust) []string {
		args := []string{"verify"}
		for _, cert := range []string{trust.CAFile, trust.TSAFile} {
			if cert != "" {
				args = append(args, "--cert", argument(cert))
			}
		}
		return append(args, argument(file))
	}
	return Judge{
		Name: p.name, Scheme: Authenticode,
		Limits: "It checks digest, page hashes, signature, chain and timestamp of every entry of the certificate table. " +
			"It takes the roots of signers and of timestamp authorities for one set, looks at no usage of the certificate, ignores nested signatures and the PE checksum, and accepts MD5, SHA-1 and a timestamp in the future. " +
			"It cannot read files with gaps between sections.",
		FindKey: p.key, Find: p.find,
		Verify: func(ctx context.Context, file string, trust Trust) error {
			a, err := p.run(ctx, "", nil, args(file, trust)...)
			if err != nil {
				return err
			}
			look, unread := lookAtPE(file)
			return look.knownLimit(p.readRelic(a, argument(file)), unread)
		},
		Command: func(file string, trust Trust) string {
			return p.search() + line(append([]string{p.name}, args(file, trust)...)...)
		},
	}
}

// readRelic reads the answer: a line "FILE: OK - …" for each signature and each
// timestamp on the standard output, or "FILE ERROR: …", before which stand four
// lines about a certificate if that is the cause.
func (p program) readRelic(a answer, file string) error {
	good := 0
	for l := range strings.Lines(a.stdout) {
		l = strings.TrimSpace(l)
		rest, ours := strings.CutPrefix(l, file)
		if label, _, _ := strings.Cut(l, ":"); !ours && slices.Contains([]string{"While validating certificate", "Subject", "Issuer", "Serial"}, label) {
			continue
		}
		if !ours {
			return p.unclear(a, fmt.Sprintf("unknown line %q", l))
		}
		reason, refused := strings.CutPrefix(rest, " ERROR: ")
		switch {
		case refused && a.exit == 1 && strings.HasPrefix(reason, "PE section ") && strings.Contains(reason, " but expected "):
			return &LimitError{Judge: p.name, Limit: "it cannot read files with gaps between sections: " + reason}
		case refused && a.exit == 1 && relicCannot().MatchString(reason):
			return p.unread(a, reason)
		case refused && a.exit == 1:
			return p.refuse(a, reason)
		case strings.HasPrefix(rest, ": OK - "):
			good++
		case strings.HasPrefix(rest, "(timestamp): OK - "):
		default:
			return p.unclear(a, fmt.Sprintf("unknown line %q", l))
		}
	}
	if a.exit == 0 && good > 0 {
		return nil
	}
	return p.unclear(a, fmt.Sprintf("exit code %d with %d good signatures", a.exit, good))
}

// relicCannot matches what relic says of the structure of a file: pedigest.go and
// peverify.go of its lib/authenticode.
func relicCannot() *regexp.Regexp {
	return regexp.MustCompile(`^(?:PE section .*|PE header did not leave room for signature|unrecognized optional header magic|not a PE file|PE file is too big|` +
		`unknown page hash format|unsupported page hash type)$`)
}

// saferwall judges Authenticode signatures by the program of the module
// github.com/saferwall/pe, a parser made for the analysis of malware.
func saferwall() Judge {
	p := program{name: "pedumper", pkg: "none: `mage setup` builds it", built: "pedumper@" + saferwallVersion}
	args := func(file string) []string { return []string{"dump", "-cert", argument(file)} }
	// It trusts the system's roots alone, and those of Go are where these say.
	env := func(trust Trust) []string {
		if trust.CAFile == "" {
			return nil
		}
		return []string{"SSL_CERT_FILE=" + trust.CAFile, "SSL_CERT_DIR=" + os.DevNull}
	}
	return Judge{
		Name: "saferwall", Scheme: Authenticode,
		Limits: "It checks digest, signature and chain of every signature, nested ones too, and that the signed attributes are in DER order. " +
			"It looks at no timestamp, so that an expired certificate is refused; nor at page hashes, usage or PE checksum.",
		FindKey: p.key,
		Find: func(context.Context) (string, error) {
			key, err := p.key()
			if err != nil {
				return "", err
			}
			// What it prints is the version of another year.
			info, err := buildinfo.ReadFile(key.Path)
			if err != nil || info.Main.Version == "" {
				return "unknown", nil
			}
			return strings.TrimPrefix(info.Main.Version, "v"), nil
		},
		Verify: func(ctx context.Context, file string, trust Trust) error {
			q := p
			q.env = env(trust)
			a, err := q.run(ctx, "", nil, args(file)...)
			if err != nil {
				return err
			}
			look, unread := lookAtPE(file)
			return look.knownLimit(p.readSaferwall(a, look.late()), unread)
		},
		Command: func(file string, trust Trust) string {
			// It ends with 0 whatever it finds.
			return p.search() + line(append(append(append([]string{"env"}, env(trust)...), p.name), args(file)...)...) +
				` | awk '/(Certificate|Signature) valid: true/ {good++} /valid: false/ {bad++} END {exit !(good && !bad)}'`
		},
	}
}

// readSaferwall reads the dump of a certificate table: after the heading
// SECURITY and a dump in hexadecimal, a table for each signature, of which two
// lines are read here:
//
//	Certificate valid: true
//	  Signature valid: true
func (p program) readSaferwall(a answer, late bool) error {
	var signatures, chains, digests int
	for l := range strings.Lines(a.stdout) {
		label, value, _ := strings.Cut(strings.TrimSpace(l), ":")
		value = strings.TrimSpace(value)
		switch {
		case label == "---Certificate ---":
			signatures++
		case label == "Certificate valid" && value == "true":
			chains++
		case label == "Signature valid" && value == "true":
			digests++
		}
	}
	complaint := regexp.MustCompile(`(?m)^(?:WARN|ERROR|INFO) msg=(failed to parse data directory Security, .*|could not parse authenticode content: .*|Error while parsing file: .*)$`).FindStringSubmatch(a.stdout + "\n" + a.stderr)
	switch {
	case a.exit != 0:
		return p.unclear(a, fmt.Sprintf("exit code %d", a.exit))
	case complaint != nil && strings.HasPrefix(complaint[1], "Error while parsing file: "):
		return p.unread(a, complaint[1])
	case complaint != nil:
		return p.refuse(a, complaint[1])
	case signatures == 0 && !strings.Contains(a.stdout, "\nSECURITY\n") && strings.Contains(a.stdout, "msg=parsing filename "):
		return p.refuse(a, "no signature found")
	case signatures == 0:
		return p.unclear(a, "it shows no signature")
	case chains == signatures && digests == signatures:
		return nil
	case late:
		return &LimitError{Judge: p.name, Limit: "it looks at no timestamp, and the signer's certificate has expired"}
	case chains < signatures:
		return p.refuse(a, "the signature or its chain is not valid")
	}
	return p.refuse(a, "the file's digest is not the signed one")
}

// chktrust judges Authenticode signatures by mono's verifier, which is written
// in C# over an implementation of PKCS#7 of its own.
func chktrust() Judge {
	p := program{name: "mono", pkg: "mono-runtime", version: []string{"--version"}, match: regexp.MustCompile(`compiler version (\d\S*)`)}
	// Where the package mono-devel puts it, or `mage setup`, for that package
	// brings two hundred others with it.
	exe := "/usr/lib/mono/4.5/chktrust.exe"
	if cache, err := os.UserCacheDir(); err == nil {
		if _, err := os.Stat(exe); errors.Is(err, fs.ErrNotExist) {
			exe = filepath.Join(cache, "hallmark", "tools", "chktrust", "chktrust.exe")
		}
	}
	const store = ".mono/certs/Trust" // below XDG_CONFIG_HOME, a file NAME.cer in DER for each root
	return Judge{
		Name: "chktrust", Scheme: Authenticode,
		Limits: "It checks the digest, the signature and the chain of the first signature. It reads RSA keys only, and does not know RFC 3161 timestamps: an expired certificate is refused. " +
			"Page hashes, nested signatures, usage and PE checksum are not looked at.",
		FindKey: func() (Key, error) {
			if _, err := os.Stat(exe); err != nil {
				return Key{}, &MissingError{Tool: "chktrust", Package: "mono-devel"}
			}
			return p.key()
		},
		Find: p.find,
		Verify: func(ctx context.Context, file string, trust Trust) error {
			look, unread := lookAtPE(file)
			if unread == nil && !look.rsa {
				return &LimitError{Judge: "chktrust", Limit: "it reads RSA keys only"}
			}
			config, err := os.MkdirTemp("", "hallmark-chktrust-*")
			if err != nil {
				return fmt.Errorf("making a folder for the trusted certificates: %w", err)
			}
			defer os.RemoveAll(config)
			if err := os.MkdirAll(filepath.Join(config, store), 0o700); err != nil {
				return err
			}
			roots, err := certificates(or(trust.CAFile))
			if err != nil {
				return err
			}
			for i, root := range roots {
				if err := os.WriteFile(filepath.Join(config, store, fmt.Sprintf("%d.cer", i)), root.Raw, 0o600); err != nil {
					return err
				}
			}
			q := p
			q.env = []string{"XDG_CONFIG_HOME=" + config, "HOME=" + config}
			a, err := q.run(ctx, "", nil, exe, "-q", argument(file))
			if err != nil {
				return err
			}
			return look.knownLimit(program{name: "chktrust"}.readChktrust(a, look.late()), unread)
		},
		Command: func(file string, trust Trust) string {
			return line("mkdir", "-p", "trust/"+store) + " && " +
				line("openssl", "x509", "-in", argument(or(trust.CAFile)), "-outform", "der", "-out", "trust/"+store+"/root.cer") + " && " +
				`XDG_CONFIG_HOME="$PWD/trust" ` + line(p.name) + " " + inCache(exe) + " " + line("-q", argument(file))
		},
	}
}

// readChktrust reads the answer: three lines of its own, a warning about the
// timestamp, and one line of two beginnings.
func (p program) readChktrust(a answer, late bool) error {
	refusals := []string{
		"digital signature is invalid", "countersignature (timestamp) is invalid",
		"timestamp is outside certificate validity", "signature can't be traced back to a trusted root",
		"couldn't find the certificate that signed the file", "certificate is expired and no timestamp is present",
	}
	good := strings.Contains(a.stdout, "SUCCESS: ") && strings.Contains(a.stdout, "signature is valid\nand can be traced back to a trusted root!")
	bad := regexp.MustCompile(`(?m)^ERROR! (.*)!$`).FindStringSubmatch(a.stdout)
	switch {
	case a.exit == 0 && good && bad == nil:
		return nil
	case good || bad == nil || a.exit != 1:
		return p.unclear(a, fmt.Sprintf("exit code %d", a.exit))
	case strings.HasSuffix(bad[1], "use an unsupported hash algorithm. Verification is impossible"):
		return &LimitError{Judge: p.name, Limit: "it does not know the digest algorithm"}
	case late && (strings.HasSuffix(bad[1], " certificate is expired and no timestamp is present") || strings.HasSuffix(bad[1], " signature can't be traced back to a trusted root")):
		return &LimitError{Judge: p.name, Limit: "it does not know RFC 3161 timestamps, and the signer's certificate has expired"}
	}
	if r := "doesn't contain a digital signature"; strings.HasSuffix(bad[1], " "+r) {
		return p.unread(a, r)
	}
	for _, r := range refusals {
		if strings.HasSuffix(bad[1], " "+r) {
			return p.refuse(a, r)
		}
	}
	return p.unclear(a, fmt.Sprintf("unknown answer %q", bad[1]))
}

// digestLimits is said of programs that compute the digest and no more.
const digestLimits = "It computes the digest of the file as UEFI firmware does, SHA-256 only. The digest that was signed is read from the first signature by a reader of this package, and the two are compared. " +
	"Who signed, whether the signature is good, timestamps, page hashes and the PE checksum are not looked at."

// pesign judges the digest that is in an Authenticode signature.
func pesign() Judge {
	p := program{name: "pesign", pkg: "pesign"}
	return digestJudge(p, regexp.MustCompile(`(?m)^hash: ([0-9a-f]{64})$`), regexp.MustCompile(`(?m)^pesign: (could not .*|.* invalid.*)$`),
		func(_, file string) []string { return []string{"-h", "-i", file} })
}

// hashToEFI judges the digest that is in an Authenticode signature by the tool
// that lists digests for firmware.
func hashToEFI() Judge {
	p := program{name: "hash-to-efi-sig-list", pkg: "efitools", version: []string{"--version"}, match: regexp.MustCompile(`(?m)hash-to-efi-sig-list (\d\S*)`)}
	return digestJudge(p, regexp.MustCompile(`(?m)^HASH IS ([0-9a-f]{64})$`), regexp.MustCompile(`(?m)^(Failed to get hash of .*)$`),
		func(dir, file string) []string { return []string{file, filepath.Join(dir, "list.esl")} })
}

func digestJudge(p program, hash, complaint *regexp.Regexp, args func(dir, file string) []string) Judge {
	j := Judge{
		Name: p.name, Scheme: Authenticode, Limits: digestLimits,
		FindKey: p.key, Find: p.find,
		Verify: func(ctx context.Context, file string, _ Trust) error {
			look, err := lookAtPE(file)
			var path *fs.PathError
			switch {
			case errors.As(err, &path):
				return err
			case err != nil:
				return &RefusalError{Judge: p.name, Reason: "there is no digest to compare with: " + err.Error()}
			case look.hash != "sha256":
				return &LimitError{Judge: p.name, Limit: "it computes SHA-256 digests, and this one is of " + look.hash}
			}
			dir, err := os.MkdirTemp("", "hallmark-digest-*")
			if err != nil {
				return fmt.Errorf("making a folder for the list: %w", err)
			}
			defer os.RemoveAll(dir)
			a, err := p.run(ctx, "", nil, args(dir, argument(file))...)
			if err != nil {
				return err
			}
			return look.knownLimit(p.readDigest(a, hash, complaint, look.digest), nil)
		},
		Command: func(file string, trust Trust) string {
			want := "none"
			if look, err := lookAtPE(trust.find(file)); err == nil {
				want = look.digest
			}
			return line(append([]string{p.name}, args(".", argument(file))...)...) + " | grep " + want
		},
	}
	if p.version == nil {
		j.Find = p.packaged
	}
	return j
}

// readDigest compares the digest that a program printed with the signed one.
func (p program) readDigest(a answer, hash, complaint *regexp.Regexp, signed string) error {
	m := hash.FindAllStringSubmatch(a.stdout, -1)
	bad := complaint.FindStringSubmatch(a.stdout + "\n" + a.stderr)
	switch {
	case len(m) == 1 && a.exit == 0 && m[0][1] == signed:
		return nil
	case len(m) == 1 && a.exit == 0:
		return p.refuse(a, "the file's digest is not the signed one")
	case len(m) == 0 && bad != nil:
		return p.unread(a, "not a PE file that it can read: "+bad[1])
	}
	return p.unclear(a, fmt.Sprintf("exit code %d with %d digests", a.exit, len(m)))
}

// packaged asks dpkg for the version of a program that does not tell its own.
func (p program) packaged(ctx context.Context) (string, error) {
	if _, err := p.key(); err != nil {
		return "", err
	}
	dpkg := program{name: "dpkg-query", version: []string{"-W", "-f", "${Version}", p.pkg}, match: regexp.MustCompile(`(?m)^(\d\S*)`)}
	if version, err := dpkg.find(ctx); err == nil {
		return version, nil
	}
	return "unknown", nil
}
