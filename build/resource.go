package build

import (
	"bytes"
	"context"
	"debug/pe"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"fmt"
	"image"
	_ "image/png" // icons may be PNG files
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tc-hib/winres"
	"github.com/tc-hib/winres/version"
)

// Resources are put into the finished program, rather than given to the go command as a .syso file. Go takes a .syso from
// the folder of the package only, and that is the user's. One that exists only in an -overlay is refused up to Go 1.26
// ("open …/rsrc_windows_amd64.syso: no such file or directory"). Named to the external linker, it would put the path of
// a temporary folder into the build ID, and programs without C would have none. The outcome is the same bytes: Go's
// linker, too, makes a .rsrc section behind all others. And Go need not link again when only the version in it has
// changed.

// The identifiers by which Windows looks for resources (winuser.h: MAKEINTRESOURCE(1), CREATEPROCESS_MANIFEST_RESOURCE_ID).
const (
	iconID     = winres.ID(1)
	manifestID = winres.ID(1)
)

// resources is what a .rsrc section holds: the section's content with addresses relative to its start, and the offsets of the
// 32-bit words to which the section's address has to be added.
type resources struct {
	data   []byte
	relocs []uint32
}

// resources returns the resources of a target; nil when it has none. Version information is there for every Windows
// target that has any other, or a window.
func (b *Builder) resources(t Target) (*resources, error) {
	if t.Platform.OS != "windows" || t.Windows == (Windows{}) && !t.GUI {
		return nil, nil
	}
	var set winres.ResourceSet
	if name := t.Windows.Icon; name != "" {
		ico, err := b.icon(name)
		if err != nil {
			return nil, err
		}
		// SetIcon sorts what it is given, so every target decodes its own.
		decoded, err := winres.LoadICO(bytes.NewReader(ico))
		if err == nil {
			err = set.SetIcon(iconID, decoded)
		}
		if err != nil {
			return nil, fmt.Errorf("windows icon %s: %w", name, err)
		}
	}
	if name := t.Windows.Manifest; name != "" {
		data, err := b.manifest(name)
		if err != nil {
			return nil, fmt.Errorf("windows manifest %s: %w", name, err)
		}
		if err := set.Set(winres.RT_MANIFEST, manifestID, version.LangDefault, data); err != nil {
			return nil, fmt.Errorf("windows manifest %s: %w", name, err)
		}
	}
	info, err := versionInfo(t, b.src.Version)
	if err != nil {
		return nil, fmt.Errorf("windows version information: %w", err)
	}
	set.SetVersionInfo(info)

	arch := map[string]winres.Arch{"amd64": winres.ArchAMD64, "arm64": winres.ArchARM64, "386": winres.ArchI386}[t.Platform.Arch]
	var object bytes.Buffer
	if err := set.WriteObject(&object, arch); err != nil {
		return nil, fmt.Errorf("windows resources: %w", err)
	}
	return parseObject(object.Bytes())
}

// maxIconSide bounds the picture that is decoded: Windows shows icons of up to 256 pixels.
const maxIconSide = 4096

// icon returns an icon file as .ico, read once.
func (b *Builder) icon(name string) ([]byte, error) {
	ico, err := b.icons.get(name, func() ([]byte, error) {
		data, err := b.readAsset(name)
		if err != nil {
			return nil, err
		}
		return readIcon(name, data)
	})
	if err != nil {
		return nil, fmt.Errorf("windows icon %s: %w", name, err)
	}
	return ico, nil
}

// readIcon returns an .ico file as it is, or makes one of a .png by scaling it to the usual sizes. Every picture is decoded,
// so that one that was cut short is found.
func readIcon(file string, data []byte) ([]byte, error) {
	if isICO(file) {
		return data, checkICO(data)
	}
	img, err := decodePicture(data)
	if err != nil {
		return nil, err
	}
	scaled, err := winres.NewIconFromResizedImage(img, nil)
	if err != nil {
		return nil, err
	}
	var ico bytes.Buffer
	if err := scaled.SaveICO(&ico); err != nil {
		return nil, err
	}
	return ico.Bytes(), nil
}

// checkICO decodes the pictures of an .ico file that are PNG files. The others are bitmaps without compression, of which
// only the size can be wrong.
func checkICO(data []byte) error {
	if _, err := winres.LoadICO(bytes.NewReader(data)); err != nil {
		return err
	}
	// ICONDIR is 6 bytes with the count at 4, ICONDIRENTRY 16 with the size at 8 and the offset at 12; LoadICO has read
	// them all.
	le := binary.LittleEndian
	for i := range int(le.Uint16(data[4:])) {
		entry := data[6+16*i:]
		size, offset := le.Uint32(entry[8:]), le.Uint32(entry[12:])
		if uint64(offset)+uint64(size) > uint64(len(data)) {
			return fmt.Errorf("picture %d lies outside the file", i+1)
		}
		picture := data[offset:][:size]
		if bytes.HasPrefix(picture, []byte("\x89PNG")) {
			if _, err := decodePicture(picture); err != nil {
				return fmt.Errorf("picture %d: %w", i+1, err)
			}
			continue
		}
		// BITMAPINFOHEADER: its own size, the width, the height of picture and mask together, planes, bits a pixel.
		if len(picture) < 40 || le.Uint32(picture) < 40 {
			return fmt.Errorf("picture %d is neither a PNG file nor a bitmap", i+1)
		}
		width, height, bits := uint64(le.Uint32(picture[4:])), uint64(le.Uint32(picture[8:]))/2, uint64(le.Uint16(picture[14:]))
		if width > maxIconSide || height > maxIconSide {
			return fmt.Errorf("picture %d has %d×%d pixels; at most %d×%d are taken", i+1, width, height, maxIconSide, maxIconSide)
		}
		if need := 40 + (width*bits+31)/32*4*height; uint64(len(picture)) < need {
			return fmt.Errorf("picture %d is cut short: %d bytes, %d needed", i+1, len(picture), need)
		}
	}
	return nil
}

// decodePicture decodes a PNG file.
func decodePicture(data []byte) (image.Image, error) {
	cfg, _, err := image.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%w; give an .ico or a .png file", err)
	}
	if cfg.Width > maxIconSide || cfg.Height > maxIconSide {
		return nil, fmt.Errorf("the picture has %d×%d pixels; at most %d×%d are taken", cfg.Width, cfg.Height, maxIconSide, maxIconSide)
	}
	img, _, err := image.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("the picture is damaged: %w", err)
	}
	return img, nil
}

func isICO(file string) bool { return strings.EqualFold(filepath.Ext(file), ".ico") }

// checkResources tells whether the files are there, and whole, of which a target's resources are made.
func (b *Builder) checkResources(t Target) error {
	var errs []error
	if name := t.Windows.Icon; name != "" {
		if _, err := b.icon(name); err != nil {
			errs = append(errs, err)
		}
	}
	if name := t.Windows.Manifest; name != "" {
		if _, err := b.manifest(name); err != nil {
			errs = append(errs, fmt.Errorf("windows manifest %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// manifest reads an application manifest. Windows refuses to start a program with one that is not well-formed.
func (b *Builder) manifest(name string) ([]byte, error) {
	data, err := b.readAsset(name)
	if err != nil {
		return nil, err
	}
	root := ""
	for d := xml.NewDecoder(bytes.NewReader(data)); ; {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if e, ok := token.(xml.StartElement); ok && root == "" {
			root = e.Name.Local
		}
	}
	if root != "assembly" {
		return nil, fmt.Errorf("the root element is %q; a manifest has <assembly>", root)
	}
	return data, nil
}

// versionInfo returns what the file's properties show.
func versionInfo(t Target, v string) (version.Info, error) {
	numbers := versionNumbers(v)
	info := version.Info{FileVersion: numbers, ProductVersion: numbers, Type: version.App}
	// A version with more to it than numbers is no release.
	info.Flags.Prerelease = strings.ContainsAny(v, "-+")
	description, product := t.Windows.Description, t.Windows.Product
	if description == "" {
		description = t.Program
	}
	if product == "" {
		product = t.Program
	}
	for _, s := range []struct{ key, value string }{
		{version.CompanyName, t.Windows.Company},
		{version.FileDescription, description},
		{version.FileVersion, v},
		{version.InternalName, t.Program},
		{version.LegalCopyright, t.Windows.Copyright},
		{version.OriginalFilename, t.file()},
		{version.ProductName, product},
		{version.ProductVersion, v},
	} {
		if s.value == "" {
			continue
		}
		if err := info.Set(version.LangDefault, s.key, s.value); err != nil {
			return version.Info{}, fmt.Errorf("%s: %w", s.key, err)
		}
	}
	return info, nil
}

// versionNumbers returns the four numbers of a Windows version resource: the numbers of the version, of which the fourth
// is the count of commits since the tag. 1.2.3-4-gabcdef becomes 1.2.3.4. Each is at most 65535.
func versionNumbers(v string) [4]uint16 {
	var n [4]uint16
	core := regexp.MustCompile(`^[0-9]+(\.[0-9]+){0,3}`).FindString(v)
	parts := strings.Split(core, ".")
	if m := regexp.MustCompile(`-([0-9]+)-g[0-9a-f]+`).FindStringSubmatch(v[len(core):]); m != nil && len(parts) < 4 {
		for len(parts) < 3 {
			parts = append(parts, "0")
		}
		parts = append(parts, m[1])
	}
	for i, p := range parts {
		x, err := strconv.ParseUint(p, 10, 16)
		if err != nil && p != "" {
			x = 1<<16 - 1 // out of range: the pattern admits digits only
		}
		n[i] = uint16(x)
	}
	return n
}

// parseObject takes the .rsrc section out of a COFF object.
func parseObject(object []byte) (*resources, error) {
	f, err := pe.NewFile(bytes.NewReader(object))
	if err != nil {
		return nil, fmt.Errorf("windows resources: %w", err)
	}
	s := f.Section(".rsrc")
	if s == nil {
		return nil, errors.New("windows resources: the object has no section .rsrc")
	}
	r := new(resources)
	if r.data, err = s.Data(); err != nil {
		return nil, fmt.Errorf("windows resources: %w", err)
	}
	// All are of the kind IMAGE_REL_…_ADDR32NB: the address in the image, without its base.
	for _, reloc := range s.Relocs {
		if int(reloc.VirtualAddress)+4 > len(r.data) {
			return nil, fmt.Errorf("windows resources: a relocation at %#x lies outside the section", reloc.VirtualAddress)
		}
		r.relocs = append(r.relocs, reloc.VirtualAddress)
	}
	return r, nil
}

// at returns the section's content for an image in which it begins at the relative address rva.
func (r *resources) at(rva uint32) []byte {
	data := bytes.Clone(r.data)
	for _, off := range r.relocs {
		word := data[off:]
		binary.LittleEndian.PutUint32(word, binary.LittleEndian.Uint32(word)+rva)
	}
	return data
}

// ownResources is the error of a target whose `windows:` cannot be obeyed, because its program brings resources. It names
// the .syso files, in which they usually are, as far as go list knows them.
func (b *Builder) ownResources(ctx context.Context, t Target, c *compiler) error {
	fault := errors.New("the program brings Windows resources of its own, in a .syso file of a package or from the C compiler, and they win: " +
		"remove them, or windows: from hallmark.yaml")
	env, links, err := b.environment(ctx, t, c)
	if err != nil {
		return &ConfigError{Key: "windows", Err: fault}
	}
	if links != "" {
		defer os.RemoveAll(links)
	}
	args := []string{"list", "-deps", "-f", `{{$d := .Dir}}{{range .SysoFiles}}{{$d}}{{"\t"}}{{.}}{{"\n"}}{{end}}`}
	if len(t.Tags) > 0 {
		args = append(args, "-tags="+strings.Join(t.Tags, ","))
	}
	cmd := command(ctx, "go", append(args, b.pattern(t.Package))...)
	cmd.Dir, cmd.Env = b.src.Dir, env
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := runCommand(ctx, cmd); err != nil {
		return &ConfigError{Key: "windows", Err: fault}
	}
	var files []string
	for line := range strings.Lines(out.String()) {
		dir, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if file := filepath.Join(dir, name); ok && hasResources(file) {
			if rel, err := filepath.Rel(b.src.Dir, file); err == nil && filepath.IsLocal(rel) {
				file = rel
			}
			files = append(files, file)
		}
	}
	if len(files) > 0 {
		fault = fmt.Errorf("the program brings Windows resources of its own, in %s, and they win: remove that file, or windows: from hallmark.yaml", strings.Join(files, ", "))
	}
	return &ConfigError{Key: "windows", Err: fault}
}

// hasResources reports whether a COFF object holds Windows resources. What is not one, such as those of package
// runtime/race, does not.
func hasResources(file string) bool {
	f, err := pe.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	return slices.ContainsFunc(f.Sections, func(s *pe.Section) bool { return s.Name == ".rsrc" || strings.HasPrefix(s.Name, ".rsrc$") })
}

// addTo writes the program src with the resources to the new file dst. A program that has resources of its own, from a .syso
// in its source, keeps them as they are, and then dst is not written.
func (r *resources) addTo(src, dst string) (added bool, err error) {
	in, err := os.Open(src)
	if err != nil {
		return false, err
	}
	defer in.Close()
	stat, err := in.Stat()
	if err != nil {
		return false, err
	}
	img, err := parseImage(in, stat.Size())
	if err != nil {
		return false, err
	}
	if img.directory(directoryResource) != (dataDirectory{}) {
		return false, nil
	}
	out, err := os.OpenFile(dst, os.O_RDWR|os.O_CREATE|os.O_EXCL, stat.Mode().Perm())
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if err := img.appendSection(out, in, r.at); err != nil {
		return false, err
	}
	return true, nil
}
