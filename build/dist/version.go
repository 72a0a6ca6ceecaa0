package dist

import (
	"fmt"
	"regexp"
	"strings"
)

// maxVersion bounds a version: file names hold it.
const maxVersion = 128

// version is what a release's version says, taken apart: "v1.2.3-rc.1-4-gabc+meta-dirty" is release 1.2.3,
// pre-release rc.1, 4 commits after it, at commit gabc, meta and dirty. So are the spellings of Python and others:
// "1.2.3rc1" and "1.2.3.dev5" are pre-releases rc1 and dev5 of 1.2.3.
type version struct {
	release string   // begins with a digit
	pre     string   // comes before the release: "rc.1"
	commits string   // comes after it, from git describe: "4"
	after   []string // come after it, for people: "gabc", "meta", "dirty"
}

// parseVersion takes semantic versions, what `git describe --tags --dirty` prints, and other versions as well as it can:
// one that begins with no digit is put before all that do, as a pre-release of 0. Other characters than those of
// versions are refused: they would be paths, commands or escapes for somebody.
func parseVersion(s string) (version, error) {
	var v version
	if s == "" {
		return v, fmt.Errorf("version is empty")
	}
	if len(s) > maxVersion || !regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._+~-]*[A-Za-z0-9])?$`).MatchString(s) || strings.Contains(s, "..") {
		return v, fmt.Errorf("version %q: use up to %d letters and digits, with '.', '-', '+', '_' or '~' between them", s, maxVersion)
	}
	rest := s
	if len(rest) > 1 && rest[0] == 'v' && isDigit(rest[1]) {
		rest = rest[1:]
	}
	var dirty []string
	for _, suffix := range []string{"-dirty", "+dirty"} {
		if r, ok := strings.CutSuffix(rest, suffix); ok {
			rest, dirty = r, []string{"dirty"}
		}
	}
	rest, meta, _ := strings.Cut(rest, "+")
	describe := regexp.MustCompile(`^(.+)-([0-9]+)-(g[0-9a-f]+)$`)
	if m := describe.FindStringSubmatch(rest); m != nil {
		rest, v.commits = m[1], m[2]
		v.after = append(v.after, m[3])
	}
	v.release, v.pre, _ = strings.Cut(rest, "-")
	if v.release == "" || !isDigit(v.release[0]) {
		v.release, v.pre = "0", rest
	}
	if m := attachedPre().FindStringSubmatch(v.release); m != nil {
		v.release, v.pre = m[1], strings.Trim(m[2]+m[3]+"."+v.pre, ".")
	}
	v.release, v.pre = plain(v.release), plain(v.pre)
	if meta = plain(meta); meta != "" {
		v.after = append(v.after, meta)
	}
	v.after = append(v.after, dirty...)
	return v, nil
}

// attachedPre finds a pre-release that follows the digits of a release without a "-", as in 1.2.3rc1 and 1.2.3.dev5
// (PEP 440). A single letter needs a number: 1.1.1a is OpenSSL's first fix of 1.1.1, 1.1.1a1 an alpha version.
func attachedPre() *regexp.Regexp {
	return regexp.MustCompile(`(?i)^([0-9]+(?:\.[0-9]+)*)[._~]?(alpha|beta|preview|pre|rc|dev|snapshot|nightly|canary|[abc][0-9])((?:[._]?[0-9A-Za-z]+)*)$`)
}

func isDigit(b byte) bool { return '0' <= b && b <= '9' }

// plain leaves the letters, digits and dots that every package format takes in a version; all else becomes a dot.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x80 && (isDigit(byte(r)) || 'a' <= r|0x20 && r|0x20 <= 'z') {
			return r
		}
		return '.'
	}, s)
	for strings.Contains(s, "..") {
		s = strings.ReplaceAll(s, "..", ".")
	}
	return strings.Trim(s, ".")
}

// packageVersion maps a version to what a format accepts, so that its tools sort 1.2.3-rc.1 before 1.2.3 before
// 1.2.3-4-gabc before 1.2.4.
//
//   - deb (deb-version(7)) and rpm (rpm-version(7)): "~" sorts before the end, "+" after it; no "-", which separates
//     the revision: 1.2.3~rc.1, 1.2.3+4.gabc.
//   - archlinux (vercmp(8)): letters directly after a digit sort before the end, a "+" after it: 1.2.3rc.1, 1.2.3+4.gabc.
//   - apk: only digits with dots, and the suffixes _alpha _beta _pre _rc before, _p after; what is for people only has
//     no place there: 1.2.3_rc1, 1.2.3_p4.
func packageVersion(format, s string) (string, error) {
	v, err := parseVersion(s)
	if err != nil {
		return "", err
	}
	if format == APK {
		return apkVersion(v)
	}
	out := v.release
	switch {
	case v.pre == "":
	case format == ArchLinux && isDigit(v.pre[0]):
		out += "pre" + v.pre
	case format == ArchLinux:
		out += v.pre
	default:
		// A version in development comes before what it becomes: 1.2.3rc1.dev5 before 1.2.3rc1.
		out += "~" + strings.ReplaceAll(v.pre, ".dev", "~dev")
	}
	after := v.after
	if v.commits != "" {
		after = append([]string{v.commits}, after...)
	}
	if len(after) > 0 {
		out += "+" + strings.Join(after, ".")
	}
	return out, nil
}

func apkVersion(v version) (string, error) {
	m := regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)*[a-z]?)(?:\.?post([0-9]+))?$`).FindStringSubmatch(v.release)
	if m == nil {
		return "", fmt.Errorf("version %q cannot be an apk version: use digits with dots, such as 1.2.3", v.release)
	}
	out := m[1]
	if m[2] != "" {
		out += "_p" + m[2]
	}
	if v.pre != "" {
		out += apkPre(strings.ToLower(v.pre))
	}
	if v.commits != "" {
		out += "_p" + v.commits
	}
	return out, nil
}

// apkPre writes a pre-release in apk's suffixes: its word, its number, and what follows as further suffixes.
func apkPre(pre string) string {
	parts := regexp.MustCompile(`^([a-z]*)\.?([0-9]*)((?:\..*)?)$`).FindStringSubmatch(pre)
	if parts == nil { // such as rc1a
		digits := regexp.MustCompile(`[0-9]+`).FindString(pre)
		parts = []string{"", regexp.MustCompile(`^[a-z]*`).FindString(pre), digits, ""}
	}
	word, number := parts[1], parts[2]
	short := map[string]string{"a": "alpha", "b": "beta", "c": "rc"}
	switch full, isShort := short[word]; {
	case isShort && number != "":
		word = full
	case word != "alpha" && word != "beta" && word != "rc":
		word = "pre"
	}
	out := "_" + word + number
	for _, part := range strings.Split(parts[3], ".") {
		if dev := regexp.MustCompile(`^dev([0-9]*)$`).FindStringSubmatch(part); dev != nil {
			out += "_pre" + dev[1]
		} else if regexp.MustCompile(`^[0-9]+$`).MatchString(part) {
			out += "_p" + part
		}
	}
	return out
}

// packageArch maps a Go architecture to a format's name for it.
func packageArch(format, goarch string) (string, error) {
	var deb, rpm, apk, arch string
	switch goarch {
	case "amd64":
		deb, rpm, apk, arch = "amd64", "x86_64", "x86_64", "x86_64"
	case "386":
		deb, rpm, apk, arch = "i386", "i386", "x86", "i686"
	case "arm64":
		deb, rpm, apk, arch = "arm64", "aarch64", "aarch64", "aarch64"
	case "arm", "arm7":
		deb, rpm, apk, arch = "armhf", "armv7hl", "armv7", "armv7h"
	case "arm6":
		deb, rpm, apk, arch = "armhf", "armv6hl", "armhf", "armv6h"
	case "arm5":
		deb, rpm, apk, arch = "armel", "armv5tel", "", "arm"
	case "riscv64":
		deb, rpm, apk, arch = "riscv64", "riscv64", "riscv64", "riscv64"
	case "loong64":
		deb, rpm, apk, arch = "loong64", "loongarch64", "loongarch64", "loong64"
	case "ppc64le":
		deb, rpm, apk = "ppc64el", "ppc64le", "ppc64le"
	case "s390x":
		deb, rpm, apk = "s390x", "s390x", "s390x"
	}
	var name string
	switch format {
	case Deb:
		name = deb
	case RPM:
		name = rpm
	case APK:
		name = apk
	case ArchLinux:
		name = arch
	}
	if name == "" {
		return "", fmt.Errorf("%s has no name for the architecture %q: leave %s out of packages for this target", format, goarch, format)
	}
	return name, nil
}

// maxPackageName bounds a package's name: file names hold it, and an apk key's name.
const maxPackageName = 56

// packageName maps a program's name to a package name. Debian's rule (Policy 5.6.7: lower case, digits, + - . and at
// least two of them) is the narrowest; the other formats take it too.
func packageName(format, name string) (string, error) {
	mapped := strings.ReplaceAll(strings.ToLower(name), "_", "-")
	if len(mapped) > maxPackageName || strings.Contains(mapped, "..") || !regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`).MatchString(mapped) {
		return "", &ConfigError{Key: "name", Msg: fmt.Sprintf("%q cannot be the name of a %s package: use two to %d lower-case letters, digits, '+', '-' or '.'", name, format, maxPackageName)}
	}
	return mapped, nil
}
