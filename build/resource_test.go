package build

import (
	"bytes"
	"debug/pe"
	"errors"
	"image"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tc-hib/winres"
	"github.com/tc-hib/winres/version"
)

// writeIcons writes a picture as assets/hello.png and as assets/hello.ico.
func writeIcons(t *testing.T, dir string) {
	t.Helper()
	img := image.NewNRGBA(image.Rect(0, 0, 64, 64))
	for x := range 64 {
		for y := range 64 {
			img.Set(x, y, color.NRGBA{R: uint8(4 * x), G: uint8(4 * y), A: 255})
		}
	}
	var file, ico bytes.Buffer
	if err := png.Encode(&file, img); err != nil {
		t.Fatal(err)
	}
	icon, err := winres.NewIconFromImages([]image.Image{img})
	if err != nil {
		t.Fatal(err)
	}
	if err := icon.SaveICO(&ico); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "assets", "hello.png"), file.String())
	write(t, filepath.Join(dir, "assets", "hello.ico"), ico.String())
}

func TestResources(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ module, spec, icon string }{
		{"hello", "windows/amd64", "hello.ico"}, {"hello", "windows/arm64", "hello.png"}, {"hello", "windows/386", "hello.png"},
		{"cgo", "windows/amd64 mingw", "hello.ico"}, {"cgo", "windows/386 mingw", "hello.ico"}, {"cgo", "windows/amd64 clang-mingw", "hello.png"},
	} {
		t.Run(test.spec, func(t *testing.T) {
			t.Parallel()
			dir := copyModule(t, test.module)
			writeIcons(t, dir)
			manifest, err := os.ReadFile(filepath.Join("testdata", "hello", "assets", "hello.manifest"))
			if err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, "assets", "hello.manifest"), string(manifest))
			b := newBuilder(t, dir)
			b.src.Version = "1.2.3-4-gabcdef123456"
			tg := target(t, "notes", test.spec)
			tg.GUI = true
			tg.Windows = Windows{Icon: "assets/" + test.icon, Manifest: "assets/hello.manifest", Company: "Notes Ltd", Description: "Takes notes",
				Product: "Notes", Copyright: "© Notes Ltd"}
			bin := compile(t, b, tg)
			if again := compile(t, b, tg); again.SHA256 != bin.SHA256 {
				t.Error("the same resources give other bytes")
			}

			f, err := os.Open(bin.Path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			set, err := winres.LoadFromEXE(f)
			if err != nil {
				t.Fatal(err)
			}
			icon, err := set.GetIcon(iconID)
			if err != nil {
				t.Fatal(err)
			}
			var got, want bytes.Buffer
			if err := icon.SaveICO(&got); err != nil {
				t.Fatal(err)
			}
			ico, err := b.icons.get(tg.Windows.Icon, nil)
			want.Write(ico)
			if err != nil || !bytes.Equal(got.Bytes(), want.Bytes()) {
				t.Errorf("the icon has %d bytes, not %d, %v", got.Len(), want.Len(), err)
			}
			if data := set.Get(winres.RT_MANIFEST, manifestID, version.LangDefault); !bytes.Equal(data, manifest) {
				t.Errorf("the manifest is %q", data)
			}
			data := set.Get(winres.RT_VERSION, winres.ID(1), version.LangDefault)
			info, err := version.FromBytes(data)
			if err != nil {
				t.Fatal(err)
			}
			if n := [4]uint16{1, 2, 3, 4}; info.FileVersion != n || info.ProductVersion != n || !info.Flags.Prerelease {
				t.Errorf("version information is %+v", info)
			}
			// The strings, in UTF-16.
			for _, s := range []string{"Notes Ltd", "Takes notes", "notes.exe", "1.2.3-4-gabcdef123456", "© Notes Ltd"} {
				if !bytes.Contains(data, utf16(s)) {
					t.Errorf("version information lacks %q", s)
				}
			}
			judgeImage(t, bin.Path)
		})
	}
}

func utf16(s string) []byte {
	var b []byte
	for _, r := range s {
		b = append(b, byte(r), byte(r>>8))
	}
	return b
}

// judgeImage checks what a section more may have broken: symbols and the order of sections.
func judgeImage(t *testing.T, file string) {
	t.Helper()
	f, err := pe.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if len(f.Symbols) == 0 || f.Symbols[0].Name == "" {
		t.Errorf("%d symbols", len(f.Symbols))
	}
	last := f.Sections[len(f.Sections)-1]
	for _, s := range f.Sections[:len(f.Sections)-1] {
		if s.VirtualAddress >= last.VirtualAddress || s.Offset+s.Size > last.Offset && s.Offset > 0 {
			t.Errorf("section %s is behind %s", s.Name, last.Name)
		}
	}
	// GNU binutils, as somebody else's reader of resources and of the image.
	windres, err := exec.LookPath("x86_64-w64-mingw32-windres")
	if err != nil {
		need(t, "x86_64-w64-mingw32-windres", "binutils-mingw-w64-x86-64")
	}
	if f.Machine == pe.IMAGE_FILE_MACHINE_ARM64 {
		return // which Debian's binutils for mingw do not read
	}
	out, err := exec.Command(windres, "-J", "coff", "-O", "rc", "-i", file).Output()
	if err != nil {
		t.Fatalf("windres: %v", err)
	}
	for _, want := range []string{"FILEVERSION 1, 2, 3, 4", `VALUE "CompanyName", "Notes Ltd"`, "GROUP_ICON"} {
		if !strings.Contains(string(out), want) && !(want == "GROUP_ICON" && strings.Contains(string(out), "RT_GROUP_ICON")) {
			t.Errorf("windres does not tell of %s:\n%s", want, out)
		}
	}
}

// TestVersionInfoByDefault checks which targets get version information that nobody asked for.
func TestVersionInfoByDefault(t *testing.T) {
	t.Parallel()
	b := newBuilder(t, copyModule(t, "hello"))
	for _, test := range []struct {
		spec string
		gui  bool
		set  Windows
		want bool
	}{
		{"windows/amd64", false, Windows{}, false},
		{"windows/amd64", true, Windows{}, true},
		{"windows/amd64", false, Windows{Product: "x"}, true},
		{"linux/amd64", false, Windows{Product: "x"}, false},
	} {
		tg := target(t, "hello", test.spec)
		tg.GUI, tg.Windows = test.gui, test.set
		r, err := b.resources(tg)
		if err != nil || (r != nil) != test.want {
			t.Errorf("%+v: resources %t, %v", test, r != nil, err)
		}
	}
}

// TestResourcesAsGo checks that a program is byte for byte what Go's own linker makes of the same resources in a .syso
// file. (Without debug information: a package with a .syso is compiled a little differently.)
func TestResourcesAsGo(t *testing.T) {
	t.Parallel()
	for arch, winArch := range map[string]winres.Arch{"amd64": winres.ArchAMD64, "386": winres.ArchI386, "arm64": winres.ArchARM64} {
		dir := copyModule(t, "hello")
		tg := target(t, "hello", "windows/"+arch)
		tg.GUI, tg.LDFlags = true, []string{"-s -w -buildid="}
		b := newBuilder(t, dir)
		ours, err := os.ReadFile(compile(t, b, tg).Path)
		if err != nil {
			t.Fatal(err)
		}
		info, err := versionInfo(tg, b.src.Version)
		if err != nil {
			t.Fatal(err)
		}
		var set winres.ResourceSet
		set.SetVersionInfo(info)
		var object bytes.Buffer
		if err := set.WriteObject(&object, winArch); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, "rsrc.syso"), object.String())
		theirs, err := os.ReadFile(compile(t, b, tg).Path)
		if err != nil {
			t.Fatal(err)
		}
		// Go's linker does not count the section in SizeOfInitializedData, where the specification wants the sum of all.
		for _, img := range [][]byte{ours, theirs} {
			p, err := parseImage(bytes.NewReader(img), int64(len(img)))
			if err != nil {
				t.Fatal(err)
			}
			clear(img[p.opt+optData : p.opt+optData+4])
		}
		if !bytes.Equal(ours, theirs) {
			t.Errorf("%s: the program differs from the one that Go's linker makes", arch)
		}
	}
}

// TestOwnResources checks that a program's own .syso stays alone, that windows: beside it is an error, and that the user's
// folder is not touched.
func TestOwnResources(t *testing.T) {
	t.Parallel()
	dir := copyModule(t, "hello")
	var set winres.ResourceSet
	if err := set.Set(winres.RT_RCDATA, winres.Name("OWN"), 0, []byte("own")); err != nil {
		t.Fatal(err)
	}
	var object bytes.Buffer
	if err := set.WriteObject(&object, winres.ArchAMD64); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "rsrc_windows_amd64.syso"), object.String())
	before := readSource(t, dir)
	b := newBuilder(t, dir)
	tg := target(t, "hello", "windows/amd64")
	tg.Windows.Company = "Notes Ltd"
	dst := filepath.Join(t.TempDir(), "hello.exe")
	_, err := b.Compile(t.Context(), tg, dst)
	if c, ok := errors.AsType[*ConfigError](err); !ok || c.Key != "windows" || !strings.Contains(err.Error(), "in rsrc_windows_amd64.syso, and they win") {
		t.Errorf("windows: beside a .syso: %v", err)
	}
	if _, err := os.Stat(dst); err == nil {
		t.Error("the program without what windows: says is there")
	}
	// A window alone asks for no more than what the program brings.
	tg.Windows, tg.GUI = Windows{}, true
	f, err := os.Open(compile(t, b, tg).Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := winres.LoadFromEXE(f)
	if err != nil || got.Count() != 1 || string(got.Get(winres.RT_RCDATA, winres.Name("OWN"), 0)) != "own" {
		t.Errorf("the program's own resources are not what it has: %v", err)
	}
	if readSource(t, dir) != before {
		t.Error("the user's folder has changed")
	}
	// Of a package that it imports.
	if err := os.Rename(filepath.Join(dir, "rsrc_windows_amd64.syso"), filepath.Join(dir, "lib", "rsrc_windows_amd64.syso")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "lib.go"), "package main\n\nimport _ \"example.com/hello/lib\"\n")
	tg.Windows.Company = "Notes Ltd"
	if _, err := b.Compile(t.Context(), tg, dst); err == nil || !strings.Contains(err.Error(), filepath.Join("lib", "rsrc_windows_amd64.syso")+", and they win") {
		t.Errorf("windows: beside a .syso of a package: %v", err)
	}
}
