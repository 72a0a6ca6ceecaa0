package build

import (
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"debug/pe"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"
)

// A MismatchError is a compiled file that is not what its target asks for.
type MismatchError struct {
	File      string
	Field     string // what differs: "format", "machine", "subsystem", …
	Want, Got string
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("%s: its %s is %s, not %s as asked for", e.File, e.Field, e.Got, e.Want)
}

// ReadBack tells whether a file is what the target asks for. It looks at the format and the machine, for Windows at
// the subsystem and at the libraries that are imported, at which linker made the file where the target names one, and at
// what the Go toolchain has recorded in it. A file that is something else, or is cut short, is a *[MismatchError].
func ReadBack(file string, t Target) error {
	_, err := readBack(file, t)
	return err
}

func readBack(file string, t Target) (*debug.BuildInfo, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		return nil, err
	}
	c := check{file: file, target: t, size: stat.Size()}
	if t.Platform.OS == "windows" {
		err = c.pe(f)
	} else {
		err = c.elf(f)
	}
	if err != nil {
		return nil, err
	}
	return c.buildInfo(f)
}

// A check reads one file back.
type check struct {
	file   string
	target Target
	size   int64
}

// expect compares a field. It returns nil, not a nil *MismatchError, when it is as wanted.
func (c check) expect(field, want, got string) error {
	if got == want {
		return nil
	}
	return &MismatchError{File: c.file, Field: field, Want: want, Got: got}
}

// first returns the first error.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// inFile tells whether a part of the file lies within it.
func (c check) inFile(what string, offset, size uint64) error {
	if end := offset + size; end < offset || end > uint64(c.size) {
		return c.expect("length", fmt.Sprintf("at least the %d bytes of its %s", end, what), fmt.Sprintf("%d bytes", c.size))
	}
	return nil
}

// subsystemName names the subsystem of a PE file.
func subsystemName(n uint16) string {
	switch n {
	case pe.IMAGE_SUBSYSTEM_WINDOWS_GUI:
		return "2 (GUI)"
	case pe.IMAGE_SUBSYSTEM_WINDOWS_CUI:
		return "3 (console)"
	}
	return fmt.Sprint(n)
}

// pe checks a Windows program.
func (c check) pe(r io.ReaderAt) error {
	f, err := pe.NewFile(r)
	if err != nil {
		return c.expect("format", "PE", formatName(r)+": "+err.Error())
	}
	var subsystem uint16
	var linker uint8
	format := "PE without an optional header"
	switch h := f.OptionalHeader.(type) {
	case *pe.OptionalHeader32:
		format, subsystem, linker = "PE32", h.Subsystem, h.MajorLinkerVersion
	case *pe.OptionalHeader64:
		format, subsystem, linker = "PE32+", h.Subsystem, h.MajorLinkerVersion
	}
	wantFormat, wantSubsystem := "PE32+", uint16(pe.IMAGE_SUBSYSTEM_WINDOWS_CUI)
	if c.target.Platform.Arch == "386" {
		wantFormat = "PE32"
	}
	if c.target.GUI {
		wantSubsystem = pe.IMAGE_SUBSYSTEM_WINDOWS_GUI
	}
	wantMachine := map[string]uint16{"amd64": pe.IMAGE_FILE_MACHINE_AMD64, "arm64": pe.IMAGE_FILE_MACHINE_ARM64,
		"386": pe.IMAGE_FILE_MACHINE_I386}[c.target.Platform.Arch]
	kind := "executable"
	if f.Characteristics&pe.IMAGE_FILE_DLL != 0 {
		kind = "DLL"
	} else if f.Characteristics&pe.IMAGE_FILE_EXECUTABLE_IMAGE == 0 {
		kind = "object"
	}
	if err := first(
		c.expect("machine", fmt.Sprintf("%#x", wantMachine), fmt.Sprintf("%#x", f.Machine)),
		c.expect("format", wantFormat, format),
		c.expect("kind", "executable", kind),
		c.expect("subsystem", subsystemName(wantSubsystem), subsystemName(subsystem)),
	); err != nil {
		return err
	}
	for _, s := range f.Sections {
		if err := c.inFile("section "+s.Name, uint64(s.Offset), uint64(s.Size)); s.Size > 0 && err != nil {
			return err
		}
	}
	if err := c.linker(peLinkerVersion(linker)); err != nil {
		return err
	}
	symbols, err := f.ImportedSymbols()
	if err != nil {
		return c.expect("import table", "readable", err.Error())
	}
	for _, s := range symbols {
		_, dll, _ := strings.Cut(s, ":")
		if isCompilerRuntime(dll) {
			return c.expect("list of imported libraries", "of Windows", "one with "+dll+" of the C compiler, without which the program does not start")
		}
	}
	return nil
}

// isCompilerRuntime tells whether a DLL belongs to a C compiler rather than to Windows. Others are the program's own affair.
func isCompilerRuntime(dll string) bool {
	name := strings.ToLower(dll)
	return slices.ContainsFunc([]string{"libgcc_s", "libstdc++", "libwinpthread", "libssp-", "libgomp-", "libatomic-", "libquadmath-",
		"libc++", "libunwind", "msys-", "cygwin1", "cyggcc"}, func(prefix string) bool {
		return strings.HasPrefix(name, prefix)
	})
}

// elf checks a Linux program.
func (c check) elf(r io.ReaderAt) error {
	f, err := elf.NewFile(r)
	if err != nil {
		return c.expect("format", "ELF", formatName(r)+": "+err.Error())
	}
	wantClass := elf.ELFCLASS64
	if c.target.Platform.Arch == "386" {
		wantClass = elf.ELFCLASS32
	}
	wantMachine := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64, "386": elf.EM_386}[c.target.Platform.Arch]
	kind := "executable"
	if f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN || f.Entry == 0 {
		kind = f.Type.String()
	}
	if err := first(
		c.expect("machine", wantMachine.String(), f.Machine.String()),
		c.expect("class", wantClass.String(), f.Class.String()),
		c.expect("byte order", elf.ELFDATA2LSB.String(), f.Data.String()),
		c.expect("kind", "executable", kind),
	); err != nil {
		return err
	}
	for _, p := range f.Progs {
		if err := c.inFile("segments", p.Off, p.Filesz); err != nil {
			return err
		}
	}
	for _, s := range f.Sections {
		if err := c.inFile("section "+s.Name, s.Offset, s.FileSize); s.Type != elf.SHT_NOBITS && err != nil {
			return err
		}
	}
	return c.linker(elfFileLinker(f))
}

// linker compares the linker that made the file with the one that the target names: compilers that do not find a
// linker take another one and say nothing. A program without C need not have had an external linker.
func (c check) linker(got string) error {
	want := linkerName(c.target.linker())
	if want == "" || got == linkerGo && !c.target.clang() {
		return nil
	}
	return c.expect("linker", want, got)
}

// buildInfo checks what the Go toolchain has recorded, and returns it.
func (c check) buildInfo(r io.ReaderAt) (*debug.BuildInfo, error) {
	info, err := buildinfo.Read(r)
	if err != nil {
		return nil, c.expect("Go build information", "readable", err.Error())
	}
	settings, t := buildSettings(info), c.target
	cgo := "0"
	if t.cgo() {
		cgo = "1"
	}
	errs := []error{
		c.expect("GOOS", t.Platform.OS, settings["GOOS"]),
		c.expect("GOARCH", t.Platform.Arch, settings["GOARCH"]),
		c.expect("CGO_ENABLED", cgo, settings["CGO_ENABLED"]),
		c.expect("-trimpath", "true", settings["-trimpath"]),
	}
	if v := t.Platform.Variant; v != "" {
		name := variantVariable(t.Platform.Arch)
		errs = append(errs, c.expect(name, v, settings[name]))
	}
	if t.Go != "" {
		// "go1.22.5 X:experiment" names experiments too.
		got, _, _ := strings.Cut(info.GoVersion, " ")
		errs = append(errs, c.expect("Go version", "go"+strings.TrimPrefix(t.Go, "go"), got))
	}
	if err := first(errs...); err != nil {
		return nil, err
	}
	return info, nil
}

// buildSettings returns the settings of the go command that a file records, by name.
func buildSettings(info *debug.BuildInfo) map[string]string {
	settings := make(map[string]string)
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	return settings
}

// formatName names the format of a file by its first bytes.
func formatName(r io.ReaderAt) string {
	var magic [4]byte
	n, _ := r.ReadAt(magic[:], 0)
	switch {
	case n == 0:
		return "an empty file"
	case bytes.HasPrefix(magic[:], []byte("MZ")):
		return "PE"
	case bytes.Equal(magic[:], []byte(elf.ELFMAG)):
		return "ELF"
	}
	return "neither PE nor ELF"
}
