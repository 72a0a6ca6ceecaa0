package release

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/hallmark-build/hallmark/build"
	"github.com/hallmark-build/hallmark/build/dist"
	"github.com/hallmark-build/hallmark/signing"
	"github.com/hallmark-build/hallmark/signing/key"
)

// sumsFile is the name of the list of checksums.
const sumsFile = "SHA256SUMS"

// parcel is one archive or package to be made: the programs of one folder of
// binaries, and the further files.
type parcel struct {
	path     string
	kind     Kind
	format   string
	platform build.Platform
	bins     []Entry
	beside   []Entry // signatures of bins
}

// take gives a parcel those of the signatures that are of its programs.
func (p *parcel) take(beside []Entry) {
	for _, e := range beside {
		if slices.ContainsFunc(p.bins, func(b Entry) bool { return b.Path == e.Of }) {
			p.beside = append(p.beside, e)
		}
	}
	slices.SortFunc(p.beside, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
}

// planParcels decides which formats each folder of binaries is packed in: zip
// for windows and tar.gz for the others if both are asked for, the one that is
// asked for otherwise; packages of Linux distributions for linux.
func planParcels(name, version string, formats []string, bins []Entry) ([]parcel, error) {
	groups := map[string][]Entry{}
	for _, e := range bins {
		groups[path.Dir(e.Path)] = append(groups[path.Dir(e.Path)], e)
	}
	var parcels []parcel
	for dir, members := range groups {
		platform, err := build.ParsePlatform(members[0].Platform)
		if err != nil {
			return nil, err
		}
		slices.SortFunc(members, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
		for _, format := range formats {
			p := parcel{format: format, platform: platform, bins: members}
			switch format {
			case dist.Zip, dist.TarGz:
				p.kind = KindArchive
				if slices.Contains(formats, dist.Zip) && slices.Contains(formats, dist.TarGz) &&
					(format == dist.Zip) != (platform.OS == "windows") {
					continue
				}
			default:
				p.kind = KindPackage
				if platform.OS != "linux" {
					continue
				}
			}
			p.path = fmt.Sprintf("%s_%s_%s%s", name, version, path.Base(dir), dist.Extension(format))
			parcels = append(parcels, p)
		}
	}
	slices.SortFunc(parcels, func(a, b parcel) int { return strings.Compare(a.path, b.path) })
	return parcels, nil
}

// packer knows what all parcels of a release have in common.
type packer struct {
	name, version string
	config        dist.Config
	extra         []dist.File
	sums          []string // SHA-256 of the extra files when the run began
	time          time.Time
	digest        string
	sign          *signer // signs packages from inside; nil: none is to be
}

func newPacker(ctx context.Context, own string, c *Config, o Options, version string, t time.Time) (*packer, error) {
	extra, err := c.Shipping.Collect(o.dir(), filepath.ToSlash(c.Dist))
	if err != nil {
		return nil, atItsLine(o.dir(), err)
	}
	if err := keepsIdentity(extra, o.identity(c)); err != nil {
		return nil, err
	}
	k := &packer{name: c.Name, version: version, config: c.Shipping, extra: extra, time: t}
	k.config.Packages, k.config.Files = nil, nil
	if err := k.tryFormats(c); err != nil {
		return nil, err
	}
	settings, err := json.Marshal(k.config)
	if err != nil {
		return nil, err
	}
	d := newDigest("pack 1")
	d.add(own, k.name, k.version, string(settings), t.UTC().Format(time.RFC3339))
	for _, f := range extra {
		sum, err := hashExtra(ctx, f)
		if err != nil {
			return nil, err
		}
		k.sums = append(k.sums, sum)
		d.add(f.Name, formatMode(f.Mode), sum)
	}
	k.digest = d.sum()
	return k, nil
}

// atItsLine says on which line of hallmark.yaml the key stands that an error is about.
func atItsLine(dir string, err error) error {
	data, readErr := key.ReadRegular(filepath.Join(dir, ConfigFile), maxConfig)
	if !errors.As(err, new(*dist.ConfigError)) || readErr != nil {
		return &UsageError{err}
	}
	d := decodeStrict(data, &Config{})
	d.problems = nil
	d.each("files", err)
	return &ConfigError{File: ConfigFile, Problems: d.problems}
}

// hashExtra returns the SHA-256 of a further file, hex. The file is opened as it will be when it is packed.
func hashExtra(ctx context.Context, f dist.File) (string, error) {
	h := sha256.New()
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if _, err := f.WriteTo(h); err != nil {
		return "", fmt.Errorf("reading %s: %w", f.Name, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// tryFormats finds out, before there is anything to pack, which package formats
// cannot take the name, the version or a target's architecture.
func (k *packer) tryFormats(c *Config) error {
	formats := slices.DeleteFunc(slices.Clone(c.Shipping.Packages), func(f string) bool { return f == dist.Zip || f == dist.TarGz })
	if len(formats) == 0 {
		return nil
	}
	targets, err := c.Build.Expand()
	if err != nil {
		return &UsageError{err}
	}
	var errs []error
	said := map[string]bool{}
	for _, format := range formats {
		for _, t := range targets {
			if t.Platform.OS != "linux" {
				continue
			}
			if err := k.packageOf(format, goArch(t.Platform), nil).Check(); err != nil && !said[err.Error()] {
				said[err.Error()] = true
				errs = append(errs, err)
			}
		}
	}
	if len(errs) > 0 {
		return &UsageError{errors.Join(errs...)}
	}
	return nil
}

func (k *packer) packageOf(format, arch string, files []dist.File) dist.Package {
	return dist.Package{
		Name: k.name, Version: k.version, Arch: arch, Format: format,
		Config: k.config, Files: files, ModTime: k.time,
	}
}

// keepsIdentity refuses to publish the files that an identity is made of.
func keepsIdentity(files []dist.File, ref string) error {
	for _, secret := range refFiles(ref) {
		info, err := os.Stat(secret)
		if err != nil {
			continue // opening the identity says so
		}
		for _, f := range files {
			if other, err := os.Stat(f.Path); err == nil && os.SameFile(info, other) {
				return usage("files: %s belongs to the identity: it would be published; leave it out of `files:` in %s", f.Name, ConfigFile)
			}
		}
	}
	return nil
}

// carriesExtra checks that a parcel holds the further files as they were when
// the run began, of which its key is made.
func (k *packer) carriesExtra(e Entry) error {
	for i, f := range k.extra {
		if !slices.ContainsFunc(e.Contents, func(c Content) bool {
			return path.Base(c.Name) == path.Base(f.Name) && c.SHA256 == k.sums[i]
		}) {
			return fmt.Errorf("%s was changed while the release was made: run it again", f.Path)
		}
	}
	return nil
}

// packAll makes the parcels of which the inputs have changed, and unpacks each
// again.
func packAll(ctx context.Context, k *packer, parcels []parcel, w *workspace, p *Progress) ([]Entry, error) {
	entries := make([]Entry, len(parcels))
	var todo []int
	for i, parcel := range parcels {
		key := k.keyFor(parcel)
		if old := w.reusable(parcel.path); old != nil && old.PackKey == key {
			entries[i] = *old
			continue
		}
		todo = append(todo, i)
	}
	p.begin("package", len(todo))
	defer p.end()
	err := each(ctx, min(runtime.NumCPU(), build.Jobs()), todo, func(ctx context.Context, i int) error {
		done := p.start(parcels[i].path)
		e, err := packOne(ctx, k, parcels[i], w)
		if err != nil {
			done("failed")
			return fmt.Errorf("packing %s: %w", parcels[i].path, err)
		}
		done(size(e.Size))
		entries[i] = e
		return nil
	})
	return entries, err
}

// signs reports whether a parcel is to carry a signature of its own.
func (k *packer) signs(p parcel) bool {
	return p.kind == KindPackage && k.sign != nil && k.sign.inside != nil && slices.Contains(k.sign.config.Packages, p.format)
}

func (k *packer) keyFor(p parcel) string {
	d := newDigest("parcel 2")
	d.add(k.digest, p.path, p.format)
	if k.signs(p) {
		d.add(k.sign.digest)
	}
	for _, e := range slices.Concat(p.bins, p.beside) {
		d.add(e.Path, e.Mode, e.SHA256)
	}
	return d.sum()
}

func packOne(ctx context.Context, k *packer, p parcel, w *workspace) (Entry, error) {
	e := Entry{Path: p.path, Kind: p.kind, Platform: p.platform.String(), Toolchain: p.bins[0].Toolchain, PackKey: k.keyFor(p)}
	files := slices.Clone(k.extra)
	for _, b := range p.bins {
		mode, err := parseMode(b.Mode)
		if err != nil {
			return e, err
		}
		files = append(files, dist.File{Name: path.Base(b.Path), Path: w.file(b.Path), Mode: mode})
	}
	for _, b := range p.beside {
		name := path.Base(b.Path)
		if p.kind == KindPackage {
			// Not with the documentation, which many machines leave out.
			name = "/usr/lib/" + k.name + "/" + name
		}
		files = append(files, dist.File{Name: name, Path: w.file(b.Path), Mode: 0o644})
	}
	dst, err := w.privatePath("packed", p.path)
	if err != nil {
		return e, err
	}
	if err := ctx.Err(); err != nil {
		return e, err
	}
	switch p.format {
	case dist.Zip:
		err = dist.WriteZip(dst, files, k.time)
	case dist.TarGz:
		err = dist.WriteTarGz(dst, files, k.time)
	default:
		pkg := k.packageOf(p.format, goArch(p.platform), files)
		if k.signs(p) {
			pkg.KeyName = k.name
			pkg.Sign = func(signed io.Reader) ([]byte, error) { return k.sign.inside.Sign(p.format, k.time, signed) }
		}
		err = dist.WritePackage(dst, pkg)
	}
	if err == nil && p.format == dist.RPM {
		err = p.signFiles(dst, w)
	}
	if err != nil {
		return e, err
	}
	if err := describeFile(ctx, dst, &e); err != nil {
		return e, err
	}
	if e.Contents, err = unpack(ctx, dst); err != nil {
		return e, err
	}
	if k.signs(p) {
		sig, err := verifyPackage(ctx, dst, p.format, k.sign.anchors.trust())
		if err != nil {
			return e, err
		}
		e.Signature = describeSignature(sig)
	}
	if err := errors.Join(k.carriesExtra(e), carries(e, slices.Concat(p.bins, p.beside))); err != nil {
		return e, err
	}
	return e, w.adopt(ctx, dst, p.path)
}

// signFiles puts the IMA signatures that stand beside the programs of an rpm into
// it, for rpm to set them where it installs. They must be of one length, as those
// of an RSA key are; those of an ECDSA key, unless they happen to be, travel as
// files alone.
func (p parcel) signFiles(file string, w *workspace) error {
	suffix := signing.IMA{}.Suffix()
	found := make(map[string][]byte)
	length := -1
	for _, b := range p.beside {
		if !strings.HasSuffix(b.Path, suffix) {
			continue
		}
		sig, err := os.ReadFile(w.file(b.Path))
		if err != nil {
			return err
		}
		if length >= 0 && len(sig) != length {
			return nil
		}
		length = len(sig)
		found["/usr/bin/"+path.Base(b.Of)] = sig
	}
	n, err := dist.AddFileSignatures(file, func(name string) ([]byte, error) { return found[name], nil })
	if err == nil && n != len(found) {
		err = fmt.Errorf("%d of %d IMA signatures found their programs in the package", n, len(found))
	}
	return err
}

// goArch is the architecture as package dist takes it: arm with its version.
func goArch(p build.Platform) string {
	if p.Arch == "arm" {
		return p.Arch + strings.TrimPrefix(p.Variant, "v")
	}
	return p.Arch
}

// unpack reads every file in an archive or package again.
func unpack(ctx context.Context, file string) ([]Content, error) {
	var contents []Content
	err := dist.Walk(file, func(name string, mode fs.FileMode, r io.Reader) error {
		h := sha256.New()
		if _, err := io.Copy(h, contextReader{ctx, r}); err != nil {
			return err
		}
		contents = append(contents, Content{Name: name, Mode: formatMode(mode), SHA256: hex.EncodeToString(h.Sum(nil))})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("unpacking it again: %w", err)
	}
	return contents, nil
}

// carries checks that a parcel holds every binary as it was signed, and that
// it can be executed, and every signature. Packagers strip, and a stripped program has lost its
// signature.
func carries(e Entry, bins []Entry) error {
	var errs []error
	for _, b := range bins {
		i := slices.IndexFunc(e.Contents, func(c Content) bool {
			return path.Base(c.Name) == path.Base(b.Path) && c.SHA256 == b.SHA256
		})
		if i < 0 {
			errs = append(errs, fmt.Errorf("%s is not in it as it was signed", b.Path))
			continue
		}
		if b.Kind == KindSignature {
			continue
		}
		if m, err := parseMode(e.Contents[i].Mode); err != nil || m&0o111 != 0o111 {
			errs = append(errs, fmt.Errorf("%s has mode %s in it and cannot be executed", b.Path, e.Contents[i].Mode))
		}
	}
	return errors.Join(errs...)
}

// sumsOf stages SHA256SUMS over the artifacts, if the one that is there is not
// the same.
func sumsOf(ctx context.Context, artifacts []Entry, w *workspace) (Entry, error) {
	e := Entry{Path: sumsFile, Kind: KindSums}
	d := newDigest("sums 1")
	sorted := slices.SortedFunc(slices.Values(artifacts), func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
	for _, a := range sorted {
		d.add(a.Path, a.SHA256)
	}
	e.PackKey = d.sum()
	if old := w.reusable(sumsFile); old != nil && old.PackKey == e.PackKey {
		return *old, nil
	}
	text := sumsText(sorted)
	dst, err := w.create(sumsFile)
	if err != nil {
		return e, err
	}
	if err := writeFile(dst, text); err != nil {
		return e, err
	}
	e.Size, e.SHA256, e.Mode = int64(len(text)), sumBytes(text), "0644"
	return e, ctx.Err()
}

// sumsText is the content of SHA256SUMS, in the format that `sha256sum -c`
// reads. The digests are those of the files when they were made, not of what
// stands in dist by now.
func sumsText(sorted []Entry) []byte {
	var b bytes.Buffer
	for _, a := range sorted {
		fmt.Fprintf(&b, "%s  %s\n", a.SHA256, a.Path)
	}
	return b.Bytes()
}
