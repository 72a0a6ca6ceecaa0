package dist

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/apk"
	"github.com/goreleaser/nfpm/v2/arch"
	"github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
	"github.com/goreleaser/nfpm/v2/rpm"
)

// zstdLevel is klauspost's default (zstd's 3). On Go executables it gives gzip -6's size (+1.4 %) in an eighth of its
// CPU; "better", which nfpm would take, saves another 1.4 % for 2.4 times the CPU.
const zstdLevel = "zstd:default"

// maxRPMSize is what rpm's 32-bit size tags hold; rpmpack would wrap around silently.
const maxRPMSize = math.MaxInt32

// Package is one deb, rpm, apk or archlinux package of a Linux program.
type Package struct {
	Name    string    // the program's; lower-cased, with "_" as "-", it names the package
	Version string    // as of git describe or a semantic version: see packageVersion for what becomes of it
	Arch    string    // Go's name: amd64, arm64, 386, arm5, arm6, arm7, …
	Format  string    // Deb, RPM, APK or ArchLinux
	Config  Config    // maintainer and so on; Packages and Files are not looked at
	Files   []File    // executables go to /usr/bin, others and Extra ones to /usr/share/doc/NAME, absolute names where they say
	ModTime time.Time // of everything inside, and of the build

	// Sign makes the signature that the package carries (see Signatures); nil: none.
	// An apk gives it the SHA-1 of what is signed, the others all of it.
	Sign    func(signed io.Reader) ([]byte, error)
	KeyName string // of an apk's key below /etc/apk/keys, without .rsa.pub
}

// WritePackage writes p to dst. It holds the package in memory: up to four times the files' size.
func WritePackage(dst string, p Package) error {
	info, packager, err := p.info()
	if err != nil {
		return fmt.Errorf("packing %s: %w", dst, err)
	}
	return replace(dst, func(w io.Writer) error {
		if p.Format == APK && p.Sign != nil {
			return p.signedAPK(info, packager, w)
		}
		if err := packager.Package(info, w); err != nil {
			return fmt.Errorf("making the %s package: %w", p.Format, err)
		}
		return nil
	})
}

// signedAPK writes an apk with its signature in the one form that Signatures takes.
func (p Package) signedAPK(info *nfpm.Info, packager nfpm.Packager, w io.Writer) error {
	var signature []byte
	info.APK.Signature.SignFn = func(signed io.Reader) (_ []byte, err error) {
		signature, err = p.Sign(signed)
		return signature, err
	}
	var b bytes.Buffer
	if err := packager.Package(info, &b); err != nil {
		return fmt.Errorf("making the apk package: %w", err)
	}
	stored, err := storeSignature(b.Bytes(), p.KeyName, signature)
	if err != nil {
		return fmt.Errorf("making the apk package: %w", err)
	}
	_, err = w.Write(stored)
	return err
}

// Check reports whether the package's format can take its name, version, architecture and configuration. Its files are
// not looked at, so it can be asked before there are any.
func (p Package) Check() error {
	_, _, err := p.header()
	return err
}

// header is what a package says of itself, in the words of its format.
type header struct{ name, version, arch string }

func (p Package) header() (h header, packager nfpm.Packager, err error) {
	switch p.Format {
	case Deb:
		packager = &deb.Deb{}
	case RPM:
		packager = rpm.DefaultRPM
	case APK:
		packager = &apk.Apk{}
	case ArchLinux:
		packager = arch.ArchLinux{}
	default:
		return h, nil, &ConfigError{Key: "packages", Msg: fmt.Sprintf("%q is not a package format%s", p.Format, suggestion(p.Format))}
	}
	c := p.Config
	c.Packages, c.Files = []string{p.Format}, nil
	if err := c.Validate(); err != nil {
		return h, nil, err
	}
	if h.name, err = packageName(p.Format, p.Name); err != nil {
		return h, nil, err
	}
	if h.version, err = packageVersion(p.Format, p.Version); err != nil {
		return h, nil, err
	}
	h.arch, err = packageArch(p.Format, p.Arch)
	return h, packager, err
}

func (p Package) info() (*nfpm.Info, nfpm.Packager, error) {
	h, packager, err := p.header()
	if err != nil {
		return nil, nil, err
	}
	c := p.Config
	modTime := wholeSeconds(p.ModTime)
	if modTime.Unix() <= 0 {
		// nfpm takes a zero time for "now", and rpm's time tags are unsigned.
		modTime = zipEpoch()
	}
	contents, err := p.contents(h.name, modTime)
	if err != nil {
		return nil, nil, err
	}
	description := strings.TrimSpace(c.Description)
	if description == "" {
		description = h.name
	}
	info := &nfpm.Info{
		Name: h.name, Arch: h.arch, Platform: "linux", Version: h.version, VersionSchema: "none",
		Maintainer: c.Maintainer, Vendor: c.Vendor, Homepage: c.Homepage, License: c.License, Description: description,
		Section: c.Section, Priority: "optional", MTime: modTime, DisableGlobbing: true,
	}
	info.Contents = contents
	switch p.Format {
	case Deb:
		info.Deb.Arch, info.Deb.Compression = h.arch, zstdLevel
		info.Deb.Signature.SignFn = p.Sign
		if info.Section == "" {
			info.Section = "misc"
		}
	case RPM:
		info.RPM.Arch, info.RPM.Compression = h.arch, zstdLevel
		info.RPM.Signature.SignFn = p.Sign
		// The host's own name would make every machine's package another one.
		info.RPM.BuildHost = "localhost"
		info.Release = "1"
		if info.License == "" {
			// rpm takes a package without this tag for a damaged one in some of its queries.
			info.License = "unspecified"
		}
	case APK:
		info.APK.Arch, info.Release = h.arch, "0"
		info.APK.Signature.SignFn, info.APK.Signature.KeyName = p.Sign, p.KeyName
		info.Description = strings.ReplaceAll(description, "\n", " ")
	case ArchLinux:
		info.ArchLinux.Arch, info.Release = h.arch, "1"
		info.ArchLinux.Packager = c.Maintainer
	}
	return info, packager, nil
}

// contents places the files and refuses what nfpm would take silently for something else.
func (p Package) contents(name string, modTime time.Time) (files.Contents, error) {
	placed := map[string]File{}
	var size int64
	for _, f := range p.Files {
		to := p.place(name, f)
		if err := checkName(strings.TrimPrefix(to, "/")); err != nil {
			return nil, err
		}
		if _, dup := placed[to]; dup {
			return nil, fmt.Errorf("two files would both be installed as %s: rename one", to)
		}
		in, info, err := f.open()
		if err != nil {
			return nil, err
		}
		in.Close()
		// nfpm makes a link of a link and looks at no other type; a package holds the file that a link leads to.
		real, err := filepath.EvalSymlinks(f.Path)
		if err != nil {
			return nil, err
		}
		if real, err = filepath.Abs(real); err != nil {
			return nil, err
		}
		size += info.Size()
		f.Path, f.Name = real, to
		placed[to] = f
	}
	if len(placed) == 0 {
		return nil, fmt.Errorf("package %s has no files", name)
	}
	if p.Format == RPM && size > maxRPMSize {
		return nil, fmt.Errorf("%d bytes of files are more than the %d that an rpm header can say: leave rpm out of packages", size, maxRPMSize)
	}
	var contents files.Contents
	for _, f := range sortedFiles(placed) {
		contents = append(contents, &files.Content{
			Source: filepath.ToSlash(f.Path), Destination: f.Name, Type: files.TypeFile,
			FileInfo: &files.ContentFileInfo{Owner: "root", Group: "root", Mode: f.perm(), MTime: modTime},
		})
	}
	return contents, nil
}

func (p Package) place(name string, f File) string {
	switch {
	case path.IsAbs(f.Name):
		return f.Name
	case f.perm() == 0o755 && !f.Extra:
		return "/usr/bin/" + path.Base(f.Name)
	}
	return "/usr/share/doc/" + name + "/" + f.Name
}
