package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"

	"github.com/hallmark-build/hallmark/build/environ"
)

// A compiler is a C toolchain for one platform, as found on this machine.
type compiler struct {
	cc, cxx tool // the drivers
	linker  tool // the external linker that the driver calls, if we know it

	// The go command gets one-word names: cmd/link probes a compiler by the first word alone, and C objects in the build
	// cache are keyed by the name. So that clang takes its target from its name, and finds the lld of its own
	// version, it is called by links in a folder of its own that is put in front of PATH. (One folder for all clangs
	// would do harm: clang looks beside itself for what belongs to its target.)
	ccName, cxxName string
	links           map[string]string // name of the link to its target; none when the names are on PATH as they are
	fast            tool              // the linker that is chosen where the user chooses none; "" for the compiler's own
	gcc             *compiler         // of which clang takes the C library
}

// A tool is a program, with what tells one build of it from another. To ask for its version would cost more than all
// else in a release in which nothing changed (clang takes 30 ms for it), and packages do not change one without
// the other.
type tool struct {
	Name string // what it is: clang, gcc, lld
	Path string // symbolic links resolved
	Size int64
	Time int64 // of modification, nanoseconds since 1970

	called string // the path with symbolic links: LLVM's programs go by the name that they are called by
}

// newestClang bounds the search for clang-N, oldestClang is the first whose lld links Go programs for Windows.
const (
	newestClang = 40
	oldestClang = 14
	// cleanMinGW is the first clang that finds Debian's mingw libraries by itself.
	cleanMinGW = 19
)

// gnuTriple returns the name by which GNU tools know a platform.
func gnuTriple(p Platform) string {
	cpu := map[string]string{"amd64": "x86_64", "arm64": "aarch64", "386": "i686"}[p.Arch]
	if p.OS == "windows" {
		return cpu + "-w64-mingw32"
	}
	return cpu + "-linux-gnu"
}

// lacksCXX tells by the words of a failed compilation whether a C++ compiler, or its headers, were wanted in vain.
func (c *compiler) lacksCXX(words string) bool {
	if c.gcc == nil {
		return c.cxx.Path == "" && strings.Contains(words, c.cxxName)
	}
	return c.gcc.cxx.Path == "" && regexp.MustCompile(`\.(cc|cpp|cxx|C|c\+\+|hpp|hh):`).MatchString(words) && strings.Contains(words, "file not found")
}

// debianPackages returns the packages of the GNU C or C++ compiler for a platform, with the C library.
func debianPackages(p Platform, language string) string {
	if p.OS == "windows" {
		switch p.Arch {
		case "amd64":
			return language + "-mingw-w64-x86-64"
		case "386":
			return language + "-mingw-w64-i686"
		}
		return ""
	}
	if p.Arch == runtime.GOARCH {
		return language + " libc6-dev"
	}
	libc := map[string]string{"amd64": "amd64", "arm64": "arm64", "386": "i386"}[p.Arch]
	return language + "-" + strings.ReplaceAll(gnuTriple(p), "_", "-") + " libc6-dev-" + libc + "-cross"
}

// compiler finds the C toolchain of a target, nil for none. What is missing is a *MissingError.
func (b *Builder) compiler(t Target) (*compiler, error) {
	if !t.cgo() {
		return nil, nil
	}
	p := Platform{OS: t.Platform.OS, Arch: t.Platform.Arch}
	return b.compilers.get(p.String()+" "+t.Toolchain, func() (*compiler, error) {
		if t.clang() {
			return findClang(p, b.newestClang)
		}
		return findGCC(p)
	})
}

// findGCC finds gcc for linux, and mingw's for windows.
func findGCC(p Platform) (*compiler, error) {
	triple := gnuTriple(p)
	c := &compiler{ccName: triple + "-gcc", cxxName: triple + "-g++"}
	linker := triple + "-ld"
	if _, err := exec.LookPath(c.ccName); err != nil && p.OS == runtime.GOOS && p.Arch == runtime.GOARCH {
		c.ccName, c.cxxName, linker = "gcc", "g++", "ld"
	}
	name := "gcc"
	if p.OS == "windows" {
		name = "mingw gcc"
	}
	var err error
	if c.cc, err = findTool(name, c.ccName); err != nil {
		return nil, &MissingError{Tool: c.ccName, Package: debianPackages(p, "gcc")}
	}
	c.cxx, _ = findTool("g++", c.cxxName) // few programs need it
	c.linker, _ = findTool("ld", linker)
	c.findFast(p)
	return c, nil
}

// findClang finds the newest clang of which the lld is there too, up to a version, for linux or as a mingw compiler.
func findClang(p Platform, newest int) (*compiler, error) {
	clang, lld, suffix := "", "", ""
	for n := newest; n >= oldestClang && lld == ""; n-- {
		s := "-" + strconv.Itoa(n)
		path, err := exec.LookPath("clang" + s)
		if err != nil {
			continue
		}
		clang, suffix = path, s
		lld, _ = exec.LookPath("ld.lld" + s)
	}
	if lld == "" {
		if path, err := exec.LookPath("clang"); err == nil {
			clang, suffix = path, ""
			lld, _ = exec.LookPath("ld.lld")
		}
	}
	switch {
	case clang == "":
		return nil, &MissingError{Tool: "clang", Package: "clang lld"}
	case lld == "":
		return nil, &MissingError{Tool: "ld.lld" + suffix, Package: "lld" + suffix}
	}

	triple := gnuTriple(p)
	if p.OS == "windows" {
		triple = strings.TrimSuffix(triple, "mingw32") + "windows-gnu"
	}
	c := &compiler{ccName: triple + "-clang", cxxName: triple + "-clang++"}
	var err error
	// Clang brings neither a C library nor the start files, it takes gcc's.
	if c.gcc, err = findGCC(p); err != nil {
		return nil, err
	}
	if c.cc, err = findTool("clang", clang); err != nil {
		return nil, fmt.Errorf("the C compiler %s: %w", clang, err)
	}
	if c.linker, err = findTool("lld", lld); err != nil {
		return nil, fmt.Errorf("the linker %s: %w", lld, err)
	}
	c.cxx = c.cc // one program, told apart by its name
	c.links = map[string]string{c.ccName: c.cc.Path, c.cxxName: c.cc.Path, "ld.lld": lld}
	return c, nil
}

// compilerEnv returns what the compiler needs in the environment of the go command, apart from PATH, CC and CXX.
//
// A clang before cleanMinGW is told where the libraries of mingw's gcc are, by the variable from which its driver takes
// further options. Flags of the go command would not do: they do not reach cmd/link's probes of what the linker can,
// and without --no-insert-timestamp, which those find, the same sources give other bytes every time.
func (b *Builder) compilerEnv(ctx context.Context, c *compiler, p Platform) ([]string, error) {
	if c.gcc == nil || p.OS != "windows" {
		return nil, nil
	}
	v, err := b.toolVersion(ctx, c.cc)
	if err != nil {
		return nil, err
	}
	major, _, _ := strings.Cut(v, ".")
	if n, err := strconv.Atoi(major); err != nil || n >= cleanMinGW {
		return nil, nil
	}
	out, err := output(ctx, c.gcc.ccName, "-print-libgcc-file-name")
	if err != nil {
		return nil, fmt.Errorf("asking for mingw's libraries: %w", err)
	}
	dir := filepath.Dir(strings.TrimSpace(out))
	if strings.ContainsAny(dir, " \t") {
		return nil, fmt.Errorf("the libraries of %s are in %q, a folder with a space, which clang %s cannot be given; install clang-%d and lld-%d",
			c.gcc.ccName, dir, v, cleanMinGW, cleanMinGW)
	}
	cxx := filepath.Join(dir, "include", "c++")
	options := []string{"#", "+-B" + dir, "+-L" + dir, "+-Wno-unused-command-line-argument",
		"+-cxx-isystem" + cxx, "+-cxx-isystem" + filepath.Join(cxx, gnuTriple(p))}
	return []string{"CCC_OVERRIDE_OPTIONS=" + strings.Join(options, " ")}, nil
}

// install makes the links by which the compiler is called, in a new folder, and returns the folder. The caller removes it.
// It returns "" when there are none.
func (c *compiler) install() (dir string, err error) {
	if c == nil || len(c.links) == 0 {
		return "", nil
	}
	dir, err = os.MkdirTemp("", "hallmark-cc-")
	if err != nil {
		return "", err
	}
	for name, target := range c.links {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			return "", errors.Join(err, os.RemoveAll(dir))
		}
	}
	return dir, nil
}

// Toolchain names what compiles and links the C parts of a target, for reports: "clang 19.1.7 + lld 19.1.7"; the Go
// version for a target without C; or the reason why there is none.
func (b *Builder) Toolchain(t Target) string {
	ctx := context.Background()
	c, err := b.compiler(t)
	if err != nil {
		return err.Error()
	}
	if c == nil {
		env, err := b.goEnv(ctx, t.Go)
		if err != nil {
			return err.Error()
		}
		return env["GOVERSION"]
	}
	linker := c.linker
	if name := b.withLinker(t, c).linker(); name != "" && name != linker.Name {
		linker = c.otherLinker(name, t.Platform)
	}
	s := b.nameVersion(ctx, c.cc)
	if linker.Path != "" {
		s += " + " + b.nameVersion(ctx, linker)
	}
	return s
}

func (b *Builder) nameVersion(ctx context.Context, t tool) string {
	v, err := b.toolVersion(ctx, t)
	if err != nil || v == "" {
		return t.Name
	}
	return t.Name + " " + v
}

// toolVersion asks a tool for its version: "19.1.7".
func (b *Builder) toolVersion(ctx context.Context, t tool) (string, error) {
	return b.versions.get(t.called, func() (string, error) {
		out, err := output(ctx, t.called, "--version")
		if err != nil {
			return "", err
		}
		line, _, _ := strings.Cut(out, "\n")
		// "gcc (Debian 12.2.0-14) 12.2.0", "x86_64-w64-mingw32-gcc (GCC) 12-win32", "Debian clang version 19.1.7 (3~deb12u1)",
		// "Debian LLD 19.1.7 (compatible with GNU linkers)", "GNU ld (GNU Binutils for Debian) 2.40".
		found := regexp.MustCompile(`\s([0-9]+(?:\.[0-9]+)*)`).FindAllStringSubmatch(line, -1)
		if found == nil {
			return "", nil
		}
		return found[len(found)-1][1], nil
	})
}

// otherLinker finds the linker that -fuse-ld=name makes the driver call.
func (c *compiler) otherLinker(name string, p Platform) tool {
	t, err := c.findLinker(name, p)
	if err != nil {
		return tool{Name: name} // the build will tell
	}
	return t
}

// findTool finds a program by its name on PATH, or by its path.
func findTool(what, name string) (tool, error) {
	called, err := exec.LookPath(name)
	if err != nil {
		return tool{}, err
	}
	path, err := filepath.EvalSymlinks(called)
	if err != nil {
		return tool{}, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return tool{}, err
	}
	return tool{Name: what, Path: path, Size: info.Size(), Time: info.ModTime().UnixNano(), called: called}, nil
}

// output runs a program that answers a question about itself.
func output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := command(ctx, name, args...)
	cmd.Env = environ.Tools(ctx, "LC_ALL=C")
	var out, errOut strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := runCommand(ctx, cmd); err != nil {
		return "", fmt.Errorf("%s %s: %w %s", name, strings.Join(args, " "), err, strings.TrimSpace(errOut.String()))
	}
	return out.String(), nil
}
