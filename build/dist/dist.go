// Package dist makes what ships beside the binaries of a release: archives, Linux packages and the list of
// checksums. It also reads all of them back, so that what was signed before packaging can be verified after it.
//
// # Deterministic outputs
//
// The same files, versions and times give the same bytes, on any machine and in any year:
//
//   - entries are sorted by name, owned by 0/0 (root), with modes 0755 (executable) or 0644;
//   - every time is the one the caller gives, in whole seconds, UTC; nothing is taken from the clock;
//   - nothing is taken from the environment, from the host's name or from the files' own times;
//   - the compressors are linked in at a fixed level, and their output depends on neither cores nor memory.
//
// # Formats
//
//	zip       APPNOTE.TXT: deflate, Unix modes, extended timestamps, nothing between or after the entries
//	tar.gz    one gzip member (RFC 1952, no name, no time) around a ustar or PAX archive
//	deb       deb(5): ar of debian-binary, control.tar.gz, data.tar.zst (dpkg 1.21.18, Debian 12, Ubuntu 22.04)
//	rpm       RPM v4: lead, signature header, header, cpio ("newc") in zstd (rpm 4.14)
//	apk       Alpine v2: gzip members control and data of one tar, the data's SHA-256 in .PKGINFO
//	archlinux pkg.tar.zst with .PKGINFO and .MTREE
//
// The four packages are written by nfpm, in process. A program goes to /usr/bin, a further file to
// /usr/share/doc/PACKAGE. No packager here strips or rewrites a file: a signature inside it stays as it is.
//
// Every output is written beside its destination, synced, and renamed: it appears whole or not at all.
package dist

import (
	"errors"
	"fmt"
	"net/mail"
	"slices"
	"strings"
)

// The formats of Config.Packages.
const (
	Zip       = "zip"
	TarGz     = "tar.gz"
	Deb       = "deb"
	RPM       = "rpm"
	APK       = "apk"
	ArchLinux = "archlinux"
)

// Formats lists what Config.Packages may hold, archives first.
func Formats() []string { return []string{Zip, TarGz, Deb, RPM, APK, ArchLinux} }

// Extension returns what the file name of a format ends with, with its dot: ".pkg.tar.zst" for archlinux.
func Extension(format string) string {
	if format == ArchLinux {
		return ".pkg.tar.zst"
	}
	return "." + format
}

// Config is this package's part of hallmark.yaml.
type Config struct {
	Packages    []string `yaml:"packages"`    // formats to make, see Formats
	Files       []string `yaml:"files"`       // further files: paths or globs (doublestar: **, {a,b}) relative to the module; a folder means all in it
	Maintainer  string   `yaml:"maintainer"`  // "Name <mail@example.org>"; deb and apk need it
	Vendor      string   `yaml:"vendor"`      // rpm: who distributes the package
	Homepage    string   `yaml:"homepage"`    // URL
	License     string   `yaml:"license"`     // SPDX expression, such as Apache-2.0
	Section     string   `yaml:"section"`     // deb: archive section, such as utils
	Description string   `yaml:"description"` // first line: summary; the name of the program if empty
}

// ConfigError says which key of the configuration is wrong, and what to write instead.
type ConfigError struct {
	Key string // as in hallmark.yaml: "packages", "files[2]"
	Msg string
}

func (e *ConfigError) Error() string {
	key, _, _ := strings.Cut(e.Key, "[")
	return key + ": " + e.Msg
}

// Validate checks all that can be checked without files. It reports every wrong key, each as a *ConfigError, joined.
func (c Config) Validate() error {
	var errs []error
	wrong := func(key, format string, args ...any) {
		errs = append(errs, &ConfigError{Key: key, Msg: fmt.Sprintf(format, args...)})
	}
	seen := map[string]bool{}
	for _, p := range c.Packages {
		switch {
		case !slices.Contains(Formats(), p):
			wrong("packages", "unknown format %q%s (possible: %s)", p, suggestion(p), strings.Join(Formats(), ", "))
		case seen[p]:
			wrong("packages", "%q is listed twice", p)
		}
		seen[p] = true
	}
	for _, f := range []string{Deb, APK} {
		if seen[f] && c.Maintainer == "" {
			wrong("maintainer", "%s needs it: write maintainer: Name <mail@example.org>", f)
			break
		}
	}
	if c.Maintainer != "" {
		if _, err := mail.ParseAddress(c.Maintainer); err != nil {
			wrong("maintainer", "%q is not of the form Name <mail@example.org>", c.Maintainer)
		}
	}
	// The package formats are lines of "key: value": a line break in a value would start a key of its own.
	for _, f := range []struct{ key, value string }{
		{"maintainer", c.Maintainer}, {"vendor", c.Vendor}, {"homepage", c.Homepage}, {"license", c.License}, {"section", c.Section},
	} {
		if strings.ContainsFunc(f.value, invisible) {
			wrong(f.key, "holds a line break, a control character or one that changes how text is shown: write it in one line")
		}
	}
	if strings.ContainsFunc(c.Description, func(r rune) bool { return invisible(r) && r != '\n' }) {
		wrong("description", "holds a control character other than a line break")
	}
	for i, f := range c.Files {
		if err := checkPattern(f); err != nil {
			wrong(fmt.Sprintf("files[%d]", i), "%v", err)
		}
	}
	return errors.Join(errs...)
}

// suggestion returns ", do you mean ...?" for the spellings that people try first.
func suggestion(s string) string {
	switch strings.ToLower(strings.TrimPrefix(s, ".")) {
	case "tgz", "targz", "tar", "gz", "tar.gz":
		return `, do you mean "tar.gz"?`
	case "arch", "pacman", "pkg.tar.zst", "archlinux", "zst":
		return `, do you mean "archlinux"?`
	case "debian", "dpkg", "deb":
		return `, do you mean "deb"?`
	case "redhat", "fedora", "rpms", "rpm":
		return `, do you mean "rpm"?`
	case "alpine", "apk":
		return `, do you mean "apk"?`
	case "zip":
		return `, do you mean "zip"?`
	}
	return ""
}

func sortedFiles(m map[string]File) []File {
	files := make([]File, 0, len(m))
	for _, f := range m {
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	return files
}

// sortedCopy checks the names of files that go into an archive and returns them sorted. With windows, they must also be
// names that Windows can unpack.
func sortedCopy(files []File, windows bool) ([]File, error) {
	if len(files) == 0 {
		return nil, errors.New("no files to pack")
	}
	check := checkName
	if windows {
		check = checkZipName
	}
	m := make(map[string]File, len(files))
	names := newNameSet(windows)
	for _, f := range files {
		if err := check(f.Name); err != nil {
			return nil, err
		}
		if err := names.add(f.Name, false); err != nil {
			return nil, fmt.Errorf("%w: rename one of the files", err)
		}
		m[f.Name] = f
	}
	return sortedFiles(m), nil
}
