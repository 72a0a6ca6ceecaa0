package compat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// dpkgDeb judges whether a Debian package is whole: dpkg-deb unpacks it, and
// md5sum compares the files with the sums that the package lists.
func dpkgDeb() Judge {
	p := program{name: "dpkg-deb", pkg: "dpkg", version: []string{"--version"}, match: regexp.MustCompile(`(?m)'dpkg-deb' .*? (\d\S*)`)}
	md5 := program{name: "md5sum", pkg: "coreutils"}
	return Judge{
		Name: p.name, Scheme: Deb,
		Limits: "It checks that the archive unpacks, and its files against the MD5 sums in it, which find accidents and no attacker. " +
			"A file that is not listed is not checked, and no signature is looked at.",
		FindKey: p.key, Find: p.find,
		Verify: func(ctx context.Context, file string, _ Trust) error {
			dir, err := os.MkdirTemp("", "hallmark-dpkg-*")
			if err != nil {
				return fmt.Errorf("making a folder to unpack into: %w", err)
			}
			defer os.RemoveAll(dir)
			a, err := p.run(ctx, "", nil, "--raw-extract", argument(file), filepath.Join(dir, "package"))
			if err != nil {
				return err
			}
			if err := p.readDpkgDeb(a); err != nil {
				return err
			}
			if info, err := os.Stat(filepath.Join(dir, "package", "DEBIAN", "md5sums")); err != nil || info.Size() == 0 {
				return &LimitError{Judge: p.name, Limit: "it unpacks, and the package lists no sums to compare with"}
			}
			if a, err = md5.run(ctx, filepath.Join(dir, "package"), nil, "--check", "--strict", "DEBIAN/md5sums"); err != nil {
				return err
			}
			return p.readSums(a)
		},
		Command: func(file string, _ Trust) string {
			return line(p.name, "--raw-extract", argument(file), "unpacked") + " && cd unpacked && " + line(md5.name, "--check", "--strict", "DEBIAN/md5sums")
		},
	}
}

// readDpkgDeb reads the answer of dpkg-deb --raw-extract: silence, or lines
// that begin with "dpkg-deb" and say what is wrong, and exit code 2. Faults of
// this machine have the same code.
func (p program) readDpkgDeb(a answer) error {
	ours := regexp.MustCompile(`No space left|Permission denied|Cannot mkdir|Cannot open|failed to create|failed to make|cannot create|unable to create`)
	theirs := regexp.MustCompile(`(?m)^dpkg-deb.*(?:not a Debian|decompressing archive|unexpected end of|premature|corrupt|malformed|bad magic|invalid|no control|unknown member).*$`)
	// Of a compression or a version of the format that is younger than it.
	newer := regexp.MustCompile(`archive .*(?:uses unknown compression for member .*|has format version .* get a newer dpkg-deb)`)
	complaint := theirs.FindString(a.stderr)
	switch {
	case a.exit == 0 && complaint == "" && !strings.Contains(a.stderr, "error:"):
		return nil
	case a.exit == 2 && newer.MatchString(a.stderr):
		return &LimitError{Judge: p.name, Limit: newer.FindString(a.stderr)}
	case a.exit == 2 && complaint != "" && !ours.MatchString(a.stderr):
		return p.refuse(a, complaint)
	}
	return p.unclear(a, fmt.Sprintf("exit code %d", a.exit))
}

// debsigVerify judges the signature in a Debian package.
func debsigVerify() Judge {
	p := program{name: "debsig-verify", pkg: "debsig-verify", version: []string{"--version"}, match: regexp.MustCompile(`(?m)^Debsig Program Version - (\d\S*)`)}
	gpg := program{name: "gpg", pkg: "gpg"}
	args := func(dir, file string) []string {
		return []string{"--policies-dir", filepath.Join(dir, "policies"), "--keyrings-dir", filepath.Join(dir, "keyrings"), argument(file)}
	}
	return Judge{
		Name: p.name, Scheme: Deb,
		Limits:  "It checks the signature of origin over the members before it, by one of the given keys, and needs gpg for that. apt and dpkg do not ask it unless an administrator installs it with a policy.",
		FindKey: p.key, Find: p.find,
		Fits: func(file string, trust Trust) bool { return trust.PGPFile != "" },
		Verify: func(ctx context.Context, file string, trust Trust) error {
			dir, err := os.MkdirTemp("", "hallmark-debsig-*")
			if err != nil {
				return fmt.Errorf("making a folder for the policy: %w", err)
			}
			defer os.RemoveAll(dir)
			if err := debsigPolicy(ctx, gpg, dir, trust.PGPFile); err != nil {
				return err
			}
			q := p
			q.env = []string{"HOME=" + dir}
			a, err := q.run(ctx, "", nil, args(dir, file)...)
			if err != nil {
				return err
			}
			return p.readDebsig(a)
		},
		Command: func(file string, trust Trust) string {
			// Who has no policy for the key can have gpgv look at the same bytes.
			return line(gpg.name, "--dearmor", "--output", "keys.gpg", argument(trust.PGPFile)) +
				" && ar p " + quote(argument(file)) + " $(ar t " + quote(argument(file)) + " | grep -v '^_') > members && ar p " + quote(argument(file)) + " _gpgorigin > members.asc && gpgv --keyring ./keys.gpg members.asc members"
		},
	}
}

// debsigPolicy writes a policy and a keyring for each key of a file: the policy
// of a package is the folder that is named by the key that signed it.
func debsigPolicy(ctx context.Context, gpg program, dir, keys string) error {
	gpg.env = []string{"GNUPGHOME=" + dir, "HOME=" + dir}
	a, err := gpg.run(ctx, "", nil, "--batch", "--show-keys", "--with-colons", argument(keys))
	if err != nil {
		return err
	}
	var ids []string
	primary := false
	for l := range strings.Lines(a.stdout) {
		fields := strings.Split(strings.TrimSpace(l), ":")
		switch {
		case fields[0] == "pub":
			primary = true
		case fields[0] == "fpr" && primary && len(fields) > 9 && len(fields[9]) >= 16:
			ids, primary = append(ids, fields[9][len(fields[9])-16:]), false
		}
	}
	if len(ids) == 0 {
		return gpg.unclear(a, "it shows no key in "+keys)
	}
	ring := filepath.Join(dir, "keys.gpg")
	if a, err := gpg.run(ctx, "", nil, "--batch", "--output", ring, "--dearmor", argument(keys)); err != nil || a.exit != 0 {
		return errors.Join(err, gpg.unclear(a, "it does not take the armor off "+keys))
	}
	data, err := os.ReadFile(ring)
	if err != nil {
		return err
	}
	for _, id := range ids {
		policy := fmt.Sprintf(`<?xml version="1.0"?>
<!DOCTYPE Policy SYSTEM "https://www.debian.org/debsig/1.0/policy.dtd">
<Policy xmlns="https://www.debian.org/debsig/1.0/">
  <Origin Name="release" id=%[1]q Description="the key of a release"/>
  <Selection><Required Type="origin" File="keys.gpg" id=%[1]q/></Selection>
  <Verification MinOptional="0"><Required Type="origin" File="keys.gpg" id=%[1]q/></Verification>
</Policy>
`, id)
		for name, data := range map[string][]byte{"policies/" + id + "/release.pol": []byte(policy), "keyrings/" + id + "/keys.gpg": data} {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
				return err
			}
		}
	}
	return nil
}

// readDebsig reads the answer: one line, and an exit code of its kind.
func (p program) readDebsig(a answer) error {
	said := a.stdout + a.stderr
	verified := strings.Contains(said, "debsig: Verified package from ")
	switch {
	case a.exit == 0 && verified:
		return nil
	case verified:
	case a.exit == 10 && strings.Contains(said, "Origin Signature check failed"):
		return p.refuse(a, "no signature found")
	case a.exit == 11 && strings.Contains(said, "debsig: "), a.exit == 12 && strings.Contains(said, "debsig: "):
		return p.refuse(a, "it is signed by another key than the given ones")
	case a.exit == 13 && strings.Contains(said, "debsig: Failed verification for "):
		return p.refuse(a, "the signature is not good")
	case a.exit == 14 && regexp.MustCompile(`does not appear to be a deb|unexpected end of`).MatchString(said):
		return p.refuse(a, last(said))
	}
	return p.unclear(a, fmt.Sprintf("exit code %d", a.exit))
}

// rpmkeys judges digests and signatures of an RPM package.
func rpmkeys() Judge {
	p := program{name: "rpmkeys", pkg: "rpm", version: []string{"--version"}, match: regexp.MustCompile(`RPM version (\d\S*)`)}
	return Judge{
		Name: p.name, Scheme: RPM,
		Limits: "It checks the digests of header and payload, and with a key every signature, as rpm does before it installs. " +
			"The lead and the header that holds the signatures are covered by nothing. Without a key no signature is looked at.",
		FindKey: p.key, Find: p.find,
		Verify: func(ctx context.Context, file string, trust Trust) error {
			db, err := os.MkdirTemp("", "hallmark-rpm-*")
			if err != nil {
				return fmt.Errorf("making a folder for the keys: %w", err)
			}
			defer os.RemoveAll(db)
			args := []string{"--dbpath", db, "-Kv"}
			if trust.PGPFile != "" {
				a, err := p.run(ctx, "", nil, "--dbpath", db, "--import", argument(trust.PGPFile))
				if err != nil {
					return err
				}
				if a.exit != 0 {
					return p.unclear(a, "it does not import "+trust.PGPFile)
				}
			} else {
				args = append(args, "--nosignature")
			}
			a, err := p.run(ctx, "", nil, append(args, argument(file))...)
			if err != nil {
				return err
			}
			return p.readRPMKeys(a, trust.PGPFile != "")
		},
		Command: func(file string, trust Trust) string {
			if trust.PGPFile == "" {
				return `mkdir -p rpmdb && rpmkeys --dbpath "$PWD/rpmdb" -Kv --nosignature ` + line(argument(file))
			}
			return `mkdir -p rpmdb && rpmkeys --dbpath "$PWD/rpmdb" --import ` + line(argument(trust.PGPFile)) + ` && rpmkeys --dbpath "$PWD/rpmdb" -Kv ` + line(argument(file))
		},
	}
}

// readRPMKeys reads the answer: the name of the file, and a line "WHAT: OK" or
// another word for each digest and signature; or an error about the structure.
func (p program) readRPMKeys(a answer, signed bool) error {
	good := map[string]int{}
	bad := ""
	for i, l := range strings.Split(strings.TrimRight(a.stdout, "\n"), "\n") {
		if i == 0 {
			continue // the name
		}
		what, said, ok := strings.Cut(strings.TrimSpace(l), ": ")
		if !ok || !strings.HasPrefix(l, "    ") {
			return p.unclear(a, fmt.Sprintf("unknown line %q", l))
		}
		switch {
		case said == "OK" && strings.Contains(what, "Signature, key ID "):
			good["signature"]++
		case said == "OK" && strings.HasPrefix(what, "Header ") && strings.HasSuffix(what, " digest"):
			good["header"]++
		case said == "OK" && strings.HasSuffix(what, "digest"):
			good["payload"]++
		case bad == "" && said == "NOTFOUND":
			bad = "it has no " + what
		case bad == "":
			bad = what + ": " + said
		}
	}
	// Of a signature or a digest that is younger than it.
	newer := regexp.MustCompile(`(?i)unsupported (?:public key|hash|signature|pgp|rsa|dsa|eddsa|version|algorithm).*|unknown (?:public key|hash) algorithm.*`)
	switch {
	case a.exit == 1 && newer.MatchString(bad+"\n"+a.stderr):
		return &LimitError{Judge: p.name, Limit: newer.FindString(bad + "\n" + a.stderr)}
	case a.exit == 1 && bad != "":
		return p.refuse(a, bad)
	case a.exit == 1 && len(good) == 0 && regexp.MustCompile(`(?m)^error: .*(?:BAD|not an rpm|bad magic|read failed|hdr |tag)`).MatchString(a.stderr):
		return p.refuse(a, "its structure is damaged: "+last(a.stderr))
	case a.exit == 1 && len(good) == 0 && strings.TrimSpace(a.stderr) == "" && strings.HasSuffix(strings.TrimSpace(a.stdout), ":"):
		return p.refuse(a, "not an RPM package that it can read") // it names the file, and says no more
	case a.exit != 0 || bad != "" || good["header"] == 0 || good["payload"] == 0:
		return p.unclear(a, fmt.Sprintf("exit code %d", a.exit))
	case signed && good["signature"] == 0:
		return p.refuse(a, "no signature found")
	}
	return nil
}

// opensslAPK judges an Alpine package: openssl computes the digest of the data
// and verifies the signature over the control segment, in which that digest is.
func opensslAPK() Judge {
	p := opensslProgram()
	return Judge{
		Name: "openssl-apk", Scheme: APK,
		Limits: "The segments are found by a reader of this package. openssl computes the digest of the data segment, which is compared with that in the control segment, and with a key verifies the signature over the control segment. " +
			"Whether the data unpack is not looked at, and without a key neither is the signature.",
		FindKey: p.key, Find: p.find,
		Verify: func(ctx context.Context, file string, trust Trust) error {
			f, err := os.Open(file)
			if err != nil {
				return err
			}
			defer f.Close()
			info, err := f.Stat()
			if err != nil {
				return err
			}
			parts, err := readAPK(f, info.Size())
			if err != nil {
				return &RefusalError{Judge: p.name, Reason: err.Error()}
			}
			a, err := p.run(ctx, "", io.NewSectionReader(f, parts.data, info.Size()-parts.data), "dgst", "-sha256", "-r")
			if err != nil {
				return err
			}
			digest, _, _ := strings.Cut(a.stdout, " ")
			switch {
			case a.exit != 0 || len(digest) != 64:
				return p.unclear(a, fmt.Sprintf("openssl dgst ends with exit code %d", a.exit))
			case digest != parts.datahash:
				return p.refuse(a, "the digest of the data is not that in the control segment")
			case trust.APKFile == "":
				return nil
			case parts.signature == nil:
				return &RefusalError{Judge: p.name, Reason: "no signature found"}
			}
			dir, err := os.MkdirTemp("", "hallmark-apk-*")
			if err != nil {
				return fmt.Errorf("making a folder for the signature: %w", err)
			}
			defer os.RemoveAll(dir)
			sig := filepath.Join(dir, "signature")
			if err := os.WriteFile(sig, parts.signature, 0o600); err != nil {
				return err
			}
			a, err = p.run(ctx, "", io.NewSectionReader(f, parts.control, parts.data-parts.control), "dgst", "-"+parts.hash, "-verify", argument(trust.APKFile), "-signature", sig)
			if err != nil {
				return err
			}
			return p.readDgst(a)
		},
		Command: func(file string, trust Trust) string {
			parts, size, err := lookAtAPK(trust.find(file))
			if err != nil {
				return line("tar", "-tvzf", argument(file))
			}
			command := slice(argument(file), parts.data, size-parts.data) + " | " + line(p.name, "dgst", "-sha256", "-r") + " | grep " + parts.datahash
			if trust.APKFile != "" && parts.signature != nil {
				command += " && " + line("tar", "-xzOf", argument(file), parts.name) + " > signature 2>/dev/null; " + slice(argument(file), parts.control, parts.data-parts.control) +
					" | " + line(p.name, "dgst", "-"+parts.hash, "-verify", argument(trust.APKFile), "-signature", "signature")
			}
			return command
		},
	}
}

func lookAtAPK(file string) (parts apkParts, size int64, err error) {
	f, err := os.Open(file)
	if err != nil {
		return parts, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return parts, 0, err
	}
	parts, err = readAPK(f, info.Size())
	return parts, info.Size(), err
}

// readDgst reads the answer of openssl dgst -verify.
func (p program) readDgst(a answer) error {
	switch said := strings.TrimSpace(a.stdout); {
	case a.exit == 0 && said == "Verified OK":
		return nil
	case a.exit == 1 && (said == "Verification failure" || said == "Verification Failure"):
		return p.refuse(a, "the signature is not good: "+cause(a.stderr))
	}
	return p.unclear(a, fmt.Sprintf("openssl dgst ends with exit code %s", strconv.Itoa(a.exit)))
}
