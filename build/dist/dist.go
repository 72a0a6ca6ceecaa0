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
	"io/fs"
	"net/mail"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
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
	Files       []string `yaml:"files"`       // further files: paths or globs (path.Match) relative to the module; a folder means all in it
	Maintainer  string   `yaml:"maintainer"`  // "Name <mail@example.org>"; deb and apk need it
	Vendor      string   `yaml:"vendor"`      // rpm: who distributes the package
	Homepage    string   `yaml:"homepage"`    // URL
	License     string   `yaml:"license"`     // SPDX expression, such as Apache-2.0
	Section     string   `yaml:"section"`     // deb: archive section, such as utils
	Description string   `yaml:"description"` // first line: summary; the name of the program if empty
}

// ConfigError says which key of the configuration is wrong, and what to write instead.
type ConfigError struct {
	Key string // as in hallmark.yaml: "packages", "maintainer"
	Msg string
}

func (e *ConfigError) Error() string { return e.Key + ": " + e.Msg }

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
		if strings.ContainsFunc(f.value, unicode.IsControl) {
			wrong(f.key, "holds a line break or another control character: write it in one line")
		}
	}
	if strings.ContainsFunc(c.Description, func(r rune) bool { return unicode.IsControl(r) && r != '\n' }) {
		wrong("description", "holds a control character other than a line break")
	}
	for _, f := range c.Files {
		if err := checkPattern(f); err != nil {
			wrong("files", "%v", err)
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

func checkPattern(p string) error {
	if _, err := path.Match(p, ""); err != nil {
		return fmt.Errorf("%q is not a pattern that path.Match takes", p)
	}
	if p == "" || path.IsAbs(p) || strings.Contains(p, `\`) || !fs.ValidPath(path.Clean(p)) {
		return fmt.Errorf("%q must be a slash path inside the module's folder", p)
	}
	return nil
}

// File is one file of an archive or a package.
type File struct {
	Name  string      // slash path inside; in a package an absolute path (/lib/systemd/system/x.service) is taken as it is
	Path  string      // on disk
	Mode  fs.FileMode // only whether it is executable counts: 0755 or 0644
	Extra bool        // from Config.Files: goes to /usr/share/doc in a package, even when it is executable
}

// perm is the mode that an entry gets: a checkout's umask must not show in the output.
func (f File) perm() fs.FileMode {
	if f.Mode&0o111 != 0 {
		return 0o755
	}
	return 0o644
}

// Collect finds the files of c.Files below dir, sorted by name, each once. Their names are their paths relative to
// dir. A link is followed. Left out are .git, files whose names begin with .hallmark-, and the slash paths of skip, with
// all that is in them: the dist folder. A pattern that finds nothing is a *ConfigError, as is one that finds a device, a
// socket, or a private key, which nobody wants to publish.
func (c Config) Collect(dir string, skip ...string) ([]File, error) {
	skipped := func(name string) bool {
		base := path.Base(name)
		return base == ".git" || strings.HasPrefix(base, ".hallmark-") ||
			slices.ContainsFunc(skip, func(s string) bool { s = path.Clean(s); return name == s || strings.HasPrefix(name, s+"/") })
	}
	root := os.DirFS(dir)
	found := map[string]File{}
	add := func(name string, info fs.FileInfo) error {
		if !info.Mode().IsRegular() {
			return &ConfigError{Key: "files", Msg: fmt.Sprintf("%s is not a regular file", name)}
		}
		f := File{Name: name, Path: filepath.Join(dir, filepath.FromSlash(name)), Mode: info.Mode(), Extra: true}
		f.Mode = f.perm()
		switch private, err := isPrivateKey(f.Path); {
		case err != nil:
			return err
		case private:
			return &ConfigError{Key: "files", Msg: fmt.Sprintf("%s holds a private key: it would be published; name the files to ship without it", name)}
		}
		found[name] = f
		return nil
	}
	for _, pattern := range c.Files {
		if err := checkPattern(pattern); err != nil {
			return nil, &ConfigError{Key: "files", Msg: err.Error()}
		}
		names, err := fs.Glob(root, path.Clean(pattern))
		if err != nil {
			return nil, fmt.Errorf("finding files %q: %w", pattern, err)
		}
		if len(names) == 0 {
			return nil, &ConfigError{Key: "files", Msg: fmt.Sprintf("%q finds nothing in %s", pattern, dir)}
		}
		if names = slices.DeleteFunc(names, skipped); len(names) == 0 {
			return nil, &ConfigError{Key: "files", Msg: fmt.Sprintf("%q finds nothing in %s but what is never packed, such as the dist folder", pattern, dir)}
		}
		for _, name := range names {
			info, err := fs.Stat(root, name)
			if err != nil {
				return nil, fmt.Errorf("finding files %q: %w", pattern, err)
			}
			if !info.IsDir() {
				if err := add(name, info); err != nil {
					return nil, err
				}
				continue
			}
			err = fs.WalkDir(root, name, func(p string, d fs.DirEntry, err error) error {
				if err != nil {
					return err
				}
				switch {
				case d.IsDir() && skipped(p):
					return fs.SkipDir
				case d.IsDir() || skipped(p):
					return nil
				}
				info, err := fs.Stat(root, p)
				if err != nil {
					return err
				}
				return add(p, info)
			})
			if err != nil {
				return nil, fmt.Errorf("finding files %q: %w", pattern, err)
			}
		}
	}
	return sortedFiles(found), nil
}

func sortedFiles(m map[string]File) []File {
	files := make([]File, 0, len(m))
	for _, f := range m {
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	return files
}

// sortedCopy checks the names of files that go into an archive and returns them sorted.
func sortedCopy(files []File) ([]File, error) {
	if len(files) == 0 {
		return nil, errors.New("no files to pack")
	}
	m := make(map[string]File, len(files))
	for _, f := range files {
		if err := checkName(f.Name); err != nil {
			return nil, err
		}
		if _, dup := m[f.Name]; dup {
			return nil, fmt.Errorf("two files are both named %q inside: rename one", f.Name)
		}
		m[f.Name] = f
	}
	return sortedFiles(m), nil
}

// checkName accepts slash paths that stay inside the folder they are unpacked in, on Windows too.
func checkName(name string) error {
	if len(name) > maxName {
		return fmt.Errorf("name of %d bytes is longer than %d", len(name), maxName)
	}
	if name == "." || !fs.ValidPath(name) {
		return fmt.Errorf("name %q is not a clean relative slash path", name)
	}
	for _, r := range name {
		// A backslash or a drive's colon would be a path of its own on Windows.
		if r == '\\' || r == ':' || unicode.IsControl(r) || r == unicode.ReplacementChar {
			return fmt.Errorf("name %q holds %q, which a file system may read as something else", name, r)
		}
	}
	return nil
}
