package compat

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// systemCAFile is where Debian keeps the certificates that the system trusts.
// osslsigncode falls back to it by itself, sbverify does not.
const systemCAFile = "/etc/ssl/certs/ca-certificates.crt"

// osslsigncodes are the programs of that name on PATH, each a judge of its own:
// a newer one beside the distribution's knows more. The first has the plain
// name, also when there is none.
func osslsigncodes() []Judge {
	judges := []Judge{osslsigncode("osslsigncode")}
	seen := map[string]bool{}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		path, err := exec.LookPath(filepath.Join(dir, "osslsigncode"))
		if err != nil || !filepath.IsAbs(path) {
			continue
		}
		file, err := filepath.EvalSymlinks(path) // /bin is a link to /usr/bin
		if err != nil || seen[file] {
			continue
		}
		if seen[file] = true; len(seen) > 1 {
			judges = append(judges, osslsigncode(fmt.Sprintf("osslsigncode-%d", len(seen)), path))
		}
	}
	return judges
}

// osslsigncode judges Authenticode signatures, chain and timestamp included.
func osslsigncode(name string, places ...string) Judge {
	p := program{
		name: name, pkg: "osslsigncode", places: places,
		version: []string{"--version"}, match: regexp.MustCompile(`(?m)^osslsigncode (\d\S*?),?(?: |$)`),
	}
	args := func(file string, trust Trust, options ...string) []string {
		args := append([]string{"verify"}, options...)
		if trust.CAFile != "" {
			args = append(args, "-CAfile", argument(trust.CAFile))
		}
		if trust.TSAFile != "" {
			args = append(args, "-TSA-CAfile", argument(trust.TSAFile))
		}
		return append(args, "-in", argument(file))
	}
	return Judge{
		Name: p.name, Scheme: Authenticode,
		Limits: "It checks digest, signature, chain, code-signing usage and timestamp of every signature in the file, here with revocation lists off. " +
			"Its exit code is 0 when any one signature is good and when the timestamp is bad, so every signature is read from its output. " +
			"A warning about the PE checksum counts as a refusal, though Windows checks that of drivers only. " +
			"It accepts data hidden behind the signature inside the certificate table (CVE-2013-3900), and signatures whose attributes are not in DER order.",
		FindKey: p.key, Find: p.find,
		Verify: func(ctx context.Context, file string, trust Trust) error {
			// Certificates of a real authority name places to fetch revocation
			// lists from; a judge does not go out to the network. Versions
			// before 2.6 never did, and do not know the options.
			offline := []string{"-ignore-crl", "-ignore-cdp"}
			for {
				a, err := p.run(ctx, "", nil, args(file, trust, offline...)...)
				if err != nil {
					return err
				}
				if i := unknownOption(a, offline); i >= 0 {
					offline = slices.Delete(offline, i, i+1)
					continue
				}
				look, unread := lookAtPE(file)
				return look.knownLimit(p.readSigncode(a), unread)
			}
		},
		Command: func(file string, trust Trust) string {
			return line(append([]string{cmp.Or(strings.Join(p.places, ""), p.name)}, args(file, trust)...)...)
		},
	}
}

// unknownOption returns which of options a program said it does not know, or
// -1.
func unknownOption(a answer, options []string) int {
	return slices.IndexFunc(options, func(o string) bool {
		return a.exit != 0 && strings.Contains(a.stdout+a.stderr, "Unknown option: "+o+"\n")
	})
}

// signcodeBlock is what osslsigncode printed about one signature.
type signcodeBlock struct {
	index               string
	current, calculated string
	verified            bool   // "Signature verification: ok"
	stamped             bool   // "Timestamp Server Signature verification: ok"
	unstamped           bool   // "Timestamp is not available"
	failed              string // a line that says something failed
}

// readSigncode reads the answer of osslsigncode verify, which is a block for
// each signature that begins with "Signature Index: N" and ends before the
// next or before "Number of verified signatures: N", and then "Succeeded" or
// "Failed". The number counts the signatures looked at, good or not.
func (p program) readSigncode(a answer) error {
	var blocks []signcodeBlock
	var count, end, current, calculated string
	checksum := false
	for l := range strings.Lines(a.stdout) {
		l = strings.TrimSpace(l)
		value := func(label string) (string, bool) {
			name, rest, ok := strings.Cut(l, ":")
			if !ok || strings.TrimSpace(name) != label {
				return "", false
			}
			return strings.TrimSpace(rest), true
		}
		if v, ok := value("Signature Index"); ok {
			blocks = append(blocks, signcodeBlock{index: strings.Fields(v + " ?")[0]})
			continue
		}
		if v, ok := value("Number of verified signatures"); ok {
			count = v
			continue
		}
		switch l {
		case "Succeeded", "Failed":
			end = l
			continue
		case "Warning: invalid PE checksum":
			checksum = true
			continue
		}
		if v, ok := value("Current PE checksum"); ok {
			current = v
		} else if v, ok := value("Calculated PE checksum"); ok {
			calculated = v
		}
		if len(blocks) == 0 {
			continue
		}
		b := &blocks[len(blocks)-1]
		if v, ok := value("Current message digest"); ok {
			b.current = v
		} else if v, ok := value("Calculated message digest"); ok {
			b.calculated = v
		} else if l == "Signature verification: ok" {
			b.verified = true
		} else if l == "Timestamp Server Signature verification: ok" {
			b.stamped = true
		} else if l == "Timestamp is not available" {
			b.unstamped = true
		} else if strings.HasSuffix(l, "verification: failed") && b.failed == "" {
			b.failed = l
		}
	}

	// Complaints go to the standard error, before 2.6 to the standard output.
	complaint := a.stderr + a.stdout
	// Of a certificate table that it cannot read; the second and third are version 2.5's words.
	noSignature := regexp.MustCompile(`(?m)^(?:Unable to extract existing signature|Invalid signature|Failed to extract PKCS7 data)$`)
	unreadable := regexp.MustCompile(`(?m)^.*(?:unsupported input file type|Unrecognized file type|Corrupt DOS file|Corrupt PE file).*$`).FindString(complaint)
	switch {
	case end == "Failed" && a.exit == 1 && strings.Contains(complaint, "No signature found"):
		return p.refuse(a, "no signature found")
	case end == "Failed" && a.exit == 1 && len(blocks) == 0 && noSignature.MatchString(complaint):
		return p.refuse(a, "the certificate table holds no signature that it can read")
	case end == "Failed" && len(blocks) == 0 && unreadable != "":
		return p.unread(a, "not a PE file that it can read: "+unreadable)
	case len(blocks) == 0 || end == "" || a.exit != 0 && a.exit != 1:
		return p.unclear(a, fmt.Sprintf("exit code %d, %d signatures reported", a.exit, len(blocks)))
	case count != fmt.Sprint(len(blocks)):
		return p.unclear(a, fmt.Sprintf("it counts %q signatures, and reports %d", count, len(blocks)))
	}
	for _, b := range blocks {
		switch {
		case b.current == "" || b.calculated == "":
			return p.unclear(a, "signature "+b.index+": no message digest reported")
		case b.current != b.calculated:
			return p.refuse(a, "signature "+b.index+": the file's digest is not the signed one")
		case b.failed != "":
			return p.refuse(a, "signature "+b.index+": "+b.failed)
		case !b.verified:
			return p.refuse(a, "signature "+b.index+" is not verified")
		case !b.stamped && !b.unstamped:
			return p.refuse(a, "signature "+b.index+": the timestamp is not verified")
		}
	}
	if end == "Failed" || a.exit != 0 {
		return p.refuse(a, fmt.Sprintf("every signature is ok, yet it ends with %q and exit code %d", end, a.exit))
	}
	if checksum || current != calculated {
		return p.refuse(a, "invalid PE checksum")
	}
	return nil
}

// sbverify judges Authenticode signatures as UEFI firmware would read them.
func sbverify() Judge {
	p := program{
		name: "sbverify", pkg: "sbsigntool",
		version: []string{"--version"}, match: regexp.MustCompile(`(?m)^sbverify (\d\S*)`),
	}
	args := func(file string, trust Trust) []string {
		ca := trust.CAFile
		if ca == "" {
			ca = systemCAFile
		}
		return []string{"--cert", argument(ca), argument(file)}
	}
	return Judge{
		Name: p.name, Scheme: Authenticode,
		Limits: "It checks the digest of the file and the signature over it, SHA-256 only, and refuses a signer without the code-signing usage. " +
			"It is no judge of trust: with an intermediate certificate in the signature it accepts any certificate as the root. " +
			"It reads the first certificate of the CA file, and no nested signature. " +
			"Timestamps, times of validity and the PE checksum are not checked.",
		FindKey: p.key, Find: p.find,
		Verify: func(ctx context.Context, file string, trust Trust) error {
			a, err := p.run(ctx, "", nil, args(file, trust)...)
			if err != nil {
				return err
			}
			err = p.readSbverify(a)
			var refusal *RefusalError
			look, unread := lookAtPE(file)
			if unread == nil && look.hash != "sha256" && errors.As(err, &refusal) {
				return &LimitError{Judge: p.name, Limit: "it reads SHA-256 digests only"}
			}
			return look.knownLimit(err, unread)
		},
		Command: func(file string, trust Trust) string {
			return line(append([]string{p.name}, args(file, trust)...)...)
		},
	}
}

// readSbverify reads the answer: one of two sentences on the standard output,
// causes on the other.
func (p program) readSbverify(a answer) error {
	switch said := strings.TrimSpace(a.stdout); {
	case a.exit == 0 && said == "Signature verification OK":
		return nil
	case a.exit == 1 && said == "Signature verification failed":
		reason := last(a.stderr)
		if reason == "" {
			reason = said
		}
		return p.refuse(a, reason)
	case a.exit == 1 && said == "" && strings.Contains(a.stderr, "Can't open image"):
		// Run has made sure that the file can be read: it is the contents.
		reason, _, _ := strings.Cut(a.stderr, "\n")
		return p.unread(a, "not a PE file that it can read: "+reason)
	}
	return p.unclear(a, fmt.Sprintf("exit code %d", a.exit))
}
