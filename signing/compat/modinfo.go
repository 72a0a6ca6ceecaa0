package compat

import (
	"context"
	"fmt"
	"regexp"
	"strings"
)

// modinfo judges whether kmod reads the signature of a kernel module.
func modinfo() Judge {
	p := program{name: "modinfo", pkg: "kmod", places: []string{"/usr/sbin/modinfo", "/sbin/modinfo"}, version: []string{"--version"}, match: regexp.MustCompile(`(?m)^kmod version (\d\S*)`)}
	return Judge{
		Name: p.name, Scheme: Appended,
		Limits:  "It reads the appended signature of kernel modules alone, and tells signer, key and digest algorithm. It verifies nothing: a changed module is as good to it.",
		FindKey: p.key, Find: p.find,
		Fits: func(file string, _ Trust) bool {
			return regexp.MustCompile(`\.ko(?:\.xz|\.gz|\.zst)?$`).MatchString(file)
		},
		Verify: func(ctx context.Context, file string, _ Trust) error {
			a, err := p.run(ctx, "", nil, argument(file))
			if err != nil {
				return err
			}
			return p.readModinfo(a)
		},
		Command: func(file string, _ Trust) string {
			return "/sbin/" + line(p.name, argument(file)) + " | grep -E '^(sig_id|signer|sig_key|sig_hashalgo):'"
		},
	}
}

// readModinfo reads the answer: lines "name: value", of which a signature gives
// five, the last of them going on over several lines.
func (p program) readModinfo(a answer) error {
	found := map[string]string{}
	for l := range strings.Lines(a.stdout) {
		name, value, ok := strings.Cut(l, ":")
		if ok && name == strings.TrimSpace(name) && name != "" {
			found[name] = strings.TrimSpace(value)
		}
	}
	switch {
	case a.exit == 1 && strings.Contains(a.stderr, "modinfo: ERROR: "):
		if strings.Contains(a.stderr, "Invalid argument") || strings.Contains(a.stderr, "Exec format error") || strings.Contains(a.stderr, "No data available") {
			return p.refuse(a, "not a module that it can read: "+last(a.stderr))
		}
	case a.exit == 0 && found["filename"] != "" && found["sig_id"] == "":
		return p.refuse(a, "no signature found")
	case a.exit == 0 && found["filename"] != "":
		for _, name := range []string{"signer", "sig_key", "sig_hashalgo", "signature"} {
			if found[name] == "" {
				return p.refuse(a, "it reads no "+name)
			}
		}
		if found["sig_id"] != "PKCS#7" {
			return p.refuse(a, "the signature is of another kind: "+found["sig_id"])
		}
		return nil
	}
	return p.unclear(a, fmt.Sprintf("exit code %d", a.exit))
}
