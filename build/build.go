// Package build compiles a Go program for many platforms and proves that each file is what was asked for.
//
// A [Config] is expanded to [Target]s: every program for every platform with its C toolchain. A [Source] says what is
// built: the module, its version and a digest of everything in it. A [Builder] joins the two:
//
//	Check    is everything there that the target needs
//	Key      a digest of everything that the output depends on, without building
//	Compile  go build, Windows resources, read back, rename: the file appears whole and proven, or not at all
//
// # The go command
//
// A target is built by one go build -trimpath in the module's folder. What it must not take from the caller's shell it
// is given: GOOS, GOARCH and the variant, CGO_ENABLED, CC and CXX, -buildvcs, SOURCE_DATE_EPOCH, and GOTOOLCHAIN when the
// target pins a Go version. The same sources with the same tools give the same bytes, from whichever folder. In a git
// submodule or a linked worktree -buildvcs is off, because the go command would stamp another repository's revision.
//
// # C toolchains
//
//	none         CGO_ENABLED=0
//	gcc          linux: x86_64-linux-gnu-gcc, aarch64-linux-gnu-gcc, i686-linux-gnu-gcc, with lld or mold if there is one
//	clang        linux: the newest clang with the lld of its version, and gcc's C library
//	mingw        windows: x86_64-w64-mingw32-gcc, i686-w64-mingw32-gcc, with lld if it is where they look for it
//	clang-mingw  windows: the newest clang with the lld of its version, and mingw's C library
//
// The linker makes up half of a relink, and GNU ld is several times slower than lld and mold; package bench has the
// figures. So these are taken where they are installed, except with link-time optimization. A program that they do not
// link is linked by GNU ld, and Binary.Note says so. The user's -extldflags=-fuse-ld=bfd wins.
//
// # Windows resources
//
// The icon, the manifest and the version information become the .rsrc section of the finished program. A program that has
// one already, from a .syso file, is refused together with windows: in the configuration. See resource.go.
package build

import (
	"cmp"
	"errors"
	"fmt"
	"go/version"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Config is the part of hallmark.yaml that says what is compiled.
type Config struct {
	Programs []Program `yaml:"programs"`
	Targets  []Spec    `yaml:"targets"`
	Windows  Windows   `yaml:"windows"`
}

// A Program is one main package.
type Program struct {
	// Name is the name of the executable, without .exe. The default is the last part of Main.
	Name string `yaml:"name"`
	// Main is the main package, "./cmd/notes" or an import path. The default is ".".
	Main string `yaml:"main"`
	// Version names the string variable that the linker sets to the version, "main.version"; none when empty.
	Version string `yaml:"version"`
	// LDFlags are linker flags for every target, each entry read as go build -ldflags reads it.
	LDFlags []string `yaml:"ldflags"`
	// Tags are build tags.
	Tags []string `yaml:"tags"`
}

// A Spec is a platform to build every program for, and how.
type Spec struct {
	Platform  string `yaml:"platform"`  // "windows/amd64"; see ParsePlatform
	Toolchain string `yaml:"toolchain"` // none, gcc, clang, mingw or clang-mingw; empty is none
	GUI       bool   `yaml:"gui"`       // windows: no console window
	Go        string `yaml:"go"`        // a Go version, "1.22.5"; empty is the one in use
	// LDFlags follow those of the program.
	LDFlags []string `yaml:"ldflags"`
}

// Windows is what Windows shows about a program. Paths are relative to the module.
type Windows struct {
	Icon        string `yaml:"icon"`     // .ico, or a .png that is scaled to the usual sizes
	Manifest    string `yaml:"manifest"` // application manifest, XML
	Company     string `yaml:"company"`
	Description string `yaml:"description"` // default: the program's name
	Product     string `yaml:"product"`     // default: the program's name
	Copyright   string `yaml:"copyright"`
}

// A Target is one file to build: a program for a platform with a toolchain.
type Target struct {
	Program    string // name of the executable, without .exe
	Package    string // the main package
	Platform   Platform
	Toolchain  string // none, gcc, clang, mingw or clang-mingw
	GUI        bool
	Go         string   // pinned Go version without the prefix go, or ""
	LDFlags    []string // as in the configuration: the program's, then the platform's
	Tags       []string
	VersionVar string
	Windows    Windows // zero on other systems
}

// A Binary is a compiled file that has been read back.
type Binary struct {
	Target    Target
	Path      string
	Size      int64  // bytes
	SHA256    string // hex
	GoVersion string // as in the file: "go1.26.8"
	Note      string // what Compile had to do otherwise than it wanted; "" for nothing
}

// A ConfigError is a fault in a [Config].
type ConfigError struct {
	Key string // where: "targets[2].toolchain"
	Err error
}

func (e *ConfigError) Error() string { return e.Key + ": " + e.Err.Error() }
func (e *ConfigError) Unwrap() error { return e.Err }

// A CompileError is a target that the go command could not build.
type CompileError struct {
	Target Target
	Output string // the compiler's own words
	Err    error  // how the go command ended
}

func (e *CompileError) Error() string { return fmt.Sprintf("%s does not compile: %v", e.Target, e.Err) }
func (e *CompileError) Unwrap() error { return e.Err }

// A MissingError is a program that a target needs and this machine lacks.
type MissingError struct {
	Tool    string // name of the program
	Package string // Debian packages that hold it; empty when Debian has none
}

func (e *MissingError) Error() string {
	if e.Package == "" {
		return fmt.Sprintf("%s is missing; Debian has no package of it, put it on PATH", e.Tool)
	}
	return fmt.Sprintf("%s is missing; install it with: apt-get install %s", e.Tool, e.Package)
}

// String describes the target in a message: "notes for windows/amd64 by mingw".
func (t Target) String() string {
	s := t.Program + " for " + t.Platform.String()
	if t.cgo() {
		s += " by " + t.Toolchain
	}
	return s
}

// Rel returns where the target lies below the dist folder, as a slash path: "bin/windows_amd64_mingw/notes.exe".
func (t Target) Rel() string {
	folder := t.Platform.Slug()
	if t.cgo() {
		folder += "_" + t.Toolchain
	}
	return path.Join("bin", folder, t.file())
}

// file returns the name of the executable.
func (t Target) file() string {
	if t.Platform.OS == "windows" {
		return t.Program + ".exe"
	}
	return t.Program
}

func (t Target) cgo() bool   { return t.Toolchain != "" && t.Toolchain != "none" }
func (t Target) clang() bool { return t.Toolchain == "clang" || t.Toolchain == "clang-mingw" }

// toolchains lists the names of the C toolchains and the system that each builds for; none builds for all.
func toolchains() []string { return []string{"none", "gcc", "clang", "mingw", "clang-mingw"} }

func toolchainOS(name string) string {
	switch name {
	case "gcc", "clang":
		return "linux"
	case "mingw", "clang-mingw":
		return "windows"
	}
	return ""
}

// Expand returns every program for every platform, in the order of the configuration. It reports all faults that can
// be seen without looking at the sources, each as a *[ConfigError] in an error that errors.Join made.
func (c Config) Expand() ([]Target, error) {
	var (
		errs    []error
		targets []Target
		outputs = make(map[string]string) // from Rel in lower case to the entry that makes it
	)
	fault := func(key, format string, args ...any) {
		errs = append(errs, &ConfigError{Key: key, Err: fmt.Errorf(format, args...)})
	}
	if len(c.Programs) == 0 {
		fault("programs", "is empty; name at least one program")
	}
	if len(c.Targets) == 0 {
		fault("targets", "is empty; name at least one platform")
	}
	programs := make([]Program, len(c.Programs))
	for i, p := range c.Programs {
		programs[i] = p.normal(fmt.Sprintf("programs[%d]", i), fault)
	}
	for i, s := range c.Targets {
		key := fmt.Sprintf("targets[%d]", i)
		platform, ok := s.check(key, fault)
		if !ok {
			continue
		}
		for j, p := range programs {
			t := Target{
				Program: p.Name, Package: p.Main, Platform: platform, Toolchain: cmp.Or(s.Toolchain, "none"), GUI: s.GUI, Go: s.Go,
				LDFlags: slices.Concat(p.LDFlags, s.LDFlags), Tags: p.Tags, VersionVar: p.Version,
			}
			if platform.OS == "windows" {
				t.Windows = c.Windows
			}
			// Archives are unpacked on systems that do not tell cases apart.
			output := strings.ToLower(t.Rel())
			from := fmt.Sprintf("%s with programs[%d]", key, j)
			if before, ok := outputs[output]; ok {
				fault(key, "%s would be written twice, by %s and by %s; remove one, or give them different toolchains or names", t.Rel(), before, from)
				continue
			}
			outputs[output] = from
			// What only shows when all flags stand together, such as both kinds of quote.
			if _, err := t.linkFlags("0"); err != nil && len(errs) == 0 {
				fault(key+".ldflags", "%w", err)
			}
			targets = append(targets, t)
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return targets, nil
}

// A faultFunc reports a fault of the configuration at a key.
type faultFunc func(key, format string, args ...any)

// normal returns the program with its defaults, and reports its faults.
func (p Program) normal(key string, fault faultFunc) Program {
	p.Main = cmp.Or(p.Main, ".")
	if p.Name == "" {
		p.Name = path.Base(strings.ReplaceAll(p.Main, `\`, "/"))
		if p.Name == "." || p.Name == ".." {
			p.Name = ""
		}
	}
	switch {
	case p.Name == "":
		fault(key+".name", "is missing; give the name of the executable")
	case strings.HasSuffix(strings.ToLower(p.Name), ".exe"):
		fault(key+".name", "%q: leave .exe out, windows files get it by themselves", p.Name)
	case !regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.+-]*$`).MatchString(p.Name):
		fault(key+".name", "%q is no file name; use letters, digits, and . _ + - inside", p.Name)
	}
	if strings.HasPrefix(p.Main, "-") || strings.Contains(p.Main, "...") {
		fault(key+".main", "%q names no single package", p.Main)
	}
	if p.Version != "" && !regexp.MustCompile(`^[^\s'"=]+\.[\pL_][\pL_\pN]*$`).MatchString(p.Version) {
		fault(key+".version", "%q names no variable; give PACKAGE.VARIABLE, as in main.version", p.Version)
	}
	for i, tag := range p.Tags {
		if !regexp.MustCompile(`^[\pL\pN_.]+$`).MatchString(tag) {
			fault(fmt.Sprintf("%s.tags[%d]", key, i), "%q is no build tag; give one tag in each entry", tag)
		}
	}
	checkFlags(key, p.LDFlags, fault)
	return p
}

// check reports the faults of a spec; its platform is known when ok.
func (s Spec) check(key string, fault faultFunc) (p Platform, ok bool) {
	p, err := ParsePlatform(s.Platform)
	if err != nil {
		fault(key+".platform", "%w", err)
		return p, false
	}
	key2 := key + ".toolchain"
	switch goos := toolchainOS(s.Toolchain); {
	case s.Toolchain != "" && !slices.Contains(toolchains(), s.Toolchain):
		hint := ""
		if near := nearest(s.Toolchain, toolchains()); near != "" {
			hint = ", did you mean " + near + "?"
		}
		fault(key2, "%q is unknown%s possible: %s", s.Toolchain, cmp.Or(hint, ";"), strings.Join(toolchains(), ", "))
		return p, false
	case goos == "windows" && p.OS != goos:
		fault(key2, "%s builds for windows only, not for %s; use gcc or clang", s.Toolchain, p)
		return p, false
	case goos == "linux" && p.OS != goos:
		fault(key2, "%s builds for linux only, not for %s; use mingw or clang-mingw", s.Toolchain, p)
		return p, false
	case goos == "windows" && p.Arch == "arm64":
		// Debian's mingw has no arm64. Others do, llvm-mingw for one.
		if _, err := exec.LookPath(gnuTriple(p) + "-gcc"); err != nil {
			fault(key2, "%s for %s needs %s-gcc on PATH, which Debian does not have; install llvm-mingw, or use none", s.Toolchain, p, gnuTriple(p))
			return p, false
		}
	}
	if s.GUI && p.OS != "windows" {
		fault(key+".gui", "is for windows only, %s knows no subsystems; remove it", p)
	}
	if s.Go != "" {
		checkGoVersion(key+".go", s.Go, fault)
	}
	checkFlags(key, s.LDFlags, fault)
	return p, true
}

// checkGoVersion reports a version that the go command cannot be pinned to.
func checkGoVersion(key, v string, fault faultFunc) {
	v = strings.TrimPrefix(v, "go")
	switch {
	case !version.IsValid("go" + v):
		fault(key, "%q is no Go version; give one as 1.22.5", v)
	case version.Compare("go"+v, "go1.18") < 0:
		fault(key, "go %s cannot stamp a version control revision; the oldest possible is 1.18", v)
	case version.Lang("go"+v) == "go"+v && version.Compare("go"+v, "go1.21") >= 0:
		fault(key, "go %s is a language version, no release; give one as %s.0", v, v)
	}
}

// checkFlags reports linker flags that cannot be read.
func checkFlags(key string, entries []string, fault faultFunc) {
	for i, e := range entries {
		if _, _, err := userFlags([]string{e}); err != nil {
			fault(fmt.Sprintf("%s.ldflags[%d]", key, i), "%w", err)
		}
	}
}
