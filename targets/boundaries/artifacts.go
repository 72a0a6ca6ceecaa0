package boundaries

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/hallmark-build/hallmark/build"
	"github.com/hallmark-build/hallmark/build/dist"
	"github.com/hallmark-build/hallmark/build/environ"
)

// samples are the sources of what is signed. Their names end in .txt, so that
// they are no part of this package.
//
//go:embed samples
var samples embed.FS

// format is what a file is to those who sign it.
type format string

const (
	formatPE      format = "pe"
	formatELF     format = "elf"
	formatPackage format = "package" // archives and packages
)

// An artifact is a kind of file that is signed.
type artifact struct {
	name   string // as the map shows it
	format format
	target build.Target
	mode   string // -buildmode, for what package build does not make; empty: package build makes it
	pack   string // format of package dist, of what the sample elf-static is packed in
}

func artifacts() []artifact {
	win := func(arch string) build.Platform { return build.Platform{OS: "windows", Arch: arch} }
	linux := build.Platform{OS: "linux", Arch: "amd64"}
	target := func(p build.Platform, toolchain string) build.Target {
		t := build.Target{Program: "sample", Package: ".", Platform: p, Toolchain: toolchain}
		if p.OS == "windows" {
			// The version information is what is edited in the resources.
			t.Windows = build.Windows{Company: "Sample Ltd", Description: "A sample"}
		}
		return t
	}
	gui := target(win("amd64"), "none")
	gui.GUI, gui.Tags = true, []string{"window"}
	return []artifact{
		{name: "pe-console", format: formatPE, target: target(win("amd64"), "none")},
		{name: "pe-gui", format: formatPE, target: gui},
		{name: "pe-mingw", format: formatPE, target: target(win("amd64"), "mingw")},
		{name: "pe-clang", format: formatPE, target: target(win("amd64"), "clang-mingw")},
		{name: "pe-dll", format: formatPE, target: target(win("amd64"), "mingw"), mode: "c-shared"},
		{name: "pe-arm64", format: formatPE, target: target(win("arm64"), "none")},
		{name: "elf-static", format: formatELF, target: target(linux, "none")},
		{name: "elf-cgo", format: formatELF, target: target(linux, "gcc")},
		{name: "elf-pie", format: formatELF, target: target(linux, "none"), mode: "pie"},
		{name: "elf-so", format: formatELF, target: target(linux, "gcc"), mode: "c-shared"},
		{name: "zip", format: formatPackage, pack: dist.Zip},
		{name: "tar.gz", format: formatPackage, pack: dist.TarGz},
		{name: "deb", format: formatPackage, pack: dist.Deb},
		{name: "rpm", format: formatPackage, pack: dist.RPM},
	}
}

// fileName is what the artifact is called on disk.
func (a artifact) fileName() string {
	switch {
	case a.pack != "":
		return "sample" + dist.Extension(a.pack)
	case a.name == "pe-dll":
		return "sample.dll"
	case a.format == formatPE:
		return "sample.exe"
	case a.name == "elf-so":
		return "libsample.so"
	}
	return "sample"
}

// foundry builds artifacts into a folder, once.
type foundry struct {
	dir     string // of the results
	src     build.Source
	builder *build.Builder
}

// newFoundry writes the samples' sources into dir.
func newFoundry(ctx context.Context, dir string) (*foundry, error) {
	source := filepath.Join(dir, "source")
	if err := os.RemoveAll(source); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(source, 0o755); err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(samples, "samples")
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{"go.mod": []byte("module example.com/sample\n\ngo 1.24\n")}
	for _, e := range entries {
		data, err := samples.ReadFile("samples/" + e.Name())
		if err != nil {
			return nil, err
		}
		files[strings.TrimSuffix(e.Name(), ".txt")] = data
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(source, name), data, 0o644); err != nil {
			return nil, err
		}
	}
	src, err := build.ReadSource(ctx, source)
	if err != nil {
		return nil, err
	}
	src.Revision, src.Modified = "", false // whichever checkout the folder may be in
	b, err := build.NewBuilder(ctx, src)
	if err != nil {
		return nil, err
	}
	return &foundry{dir: dir, src: src, builder: b}, nil
}

// make returns the path of an artifact, and builds it unless it is there. What
// it is made with is in the folder's name.
func (f *foundry) make(ctx context.Context, a artifact, static string) (string, error) {
	key, err := f.key(ctx, a, static)
	if err != nil {
		return "", fmt.Errorf("%s: %w", a.name, err)
	}
	file := filepath.Join(f.dir, a.name+"-"+key[:16], a.fileName())
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return "", err
	}
	switch {
	case a.pack != "":
		err = f.pack(a, static, file)
	case a.mode != "":
		err = f.goBuild(ctx, a, file)
	default:
		_, err = f.builder.Compile(ctx, a.target, file)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", a.name, err)
	}
	return file, os.Chmod(file, 0o755)
}

// key is the digest of all that goes into an artifact.
func (f *foundry) key(ctx context.Context, a artifact, static string) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "artifact 1 %q %q %q\n", a.name, a.mode, a.pack)
	if a.pack != "" {
		sum, err := hashFile(static)
		fmt.Fprintln(h, sum)
		return hex.EncodeToString(h.Sum(nil)), err
	}
	k, err := f.builder.Key(ctx, a.target)
	fmt.Fprintln(h, k)
	return hex.EncodeToString(h.Sum(nil)), err
}

// goBuild builds what package build does not: libraries and
// position-independent executables.
func (f *foundry) goBuild(ctx context.Context, a artifact, file string) error {
	t := a.target
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-buildmode="+a.mode, "-o", file, ".")
	cmd.Dir = f.src.Dir
	cmd.Env = environ.Tools(ctx, "GOOS="+t.Platform.OS, "GOARCH="+t.Platform.Arch, "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	cc := map[string]string{"mingw": "x86_64-w64-mingw32-gcc", "gcc": "gcc"}[t.Toolchain]
	if cc != "" {
		if _, err := exec.LookPath(cc); err != nil {
			return fmt.Errorf("%s is missing; `mage setup` installs it", cc)
		}
		cmd.Env = append(cmd.Env, "CGO_ENABLED=1", "CC="+cc)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return errors.Join(fmt.Errorf("go build -buildmode=%s: %w: %s", a.mode, err, strings.TrimSpace(out.String())), os.RemoveAll(filepath.Dir(file)))
	}
	return nil
}

// packTime is in every archive.
var packTime = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// pack packs a program.
func (f *foundry) pack(a artifact, program, file string) error {
	return packFiles(a.pack, file, []dist.File{{Name: "sample", Path: program, Mode: 0o755}})
}

// packFiles writes files into an archive or a package.
func packFiles(format, dst string, files []dist.File) error {
	switch format {
	case dist.Zip:
		return dist.WriteZip(dst, files, packTime)
	case dist.TarGz:
		return dist.WriteTarGz(dst, files, packTime)
	}
	return dist.WritePackage(dst, dist.Package{
		Name: "sample", Version: "1.0.0", Arch: "amd64", Format: format, Files: files, ModTime: packTime,
		Config: dist.Config{Maintainer: "Sample <sample@example.org>", Description: "A sample", License: "Apache-2.0"},
	})
}
