package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// A Compiler is a C compiler of this machine for one platform, for a caller that runs the go command itself. It is called
// just as [Builder.Compile] calls it.
type Compiler struct {
	Name     string // gcc, mingw, clang-19; clang for one without a number
	Version  string // "12.2.0"; "" when it does not tell
	Path     string // symbolic links resolved
	Platform Platform

	c *compiler
	b *Builder // asks for versions
}

// Compilers finds all C compilers of this machine for a platform: gcc or mingw's, then each clang with the lld of its
// version, the newest first. For each kind of which there is none, missing holds a *[MissingError].
func Compilers(ctx context.Context, p Platform) (found []Compiler, missing []error) {
	b := &Builder{newestClang: newestClang}
	add := func(name string, c *compiler) {
		version, _ := b.toolVersion(ctx, c.cc) // a compiler that does not tell may still compile
		found = append(found, Compiler{Name: name, Version: version, Path: c.cc.Path, Platform: p, c: c, b: b})
	}
	gcc := "gcc"
	if p.OS == "windows" {
		gcc = "mingw"
	}
	if c, err := findGCC(p); err != nil {
		missing = append(missing, err)
	} else {
		add(gcc, c)
	}
	clangs := 0
	for n := newestClang; n >= oldestClang; n-- {
		if _, err := exec.LookPath("clang-" + strconv.Itoa(n)); err != nil {
			continue
		}
		c, err := findClang(p, n)
		if err != nil || !strings.HasSuffix(c.cc.called, "-"+strconv.Itoa(n)) {
			continue // without its lld, a lower number or none was found
		}
		add("clang-"+strconv.Itoa(n), c)
		clangs++
	}
	if clangs == 0 {
		if c, err := findClang(p, newestClang); err != nil {
			missing = append(missing, err)
		} else {
			add("clang", c)
		}
	}
	return found, missing
}

// CompilerAt returns a compiler that is called by a name or path of its own. It must take the arguments of gcc and compile
// for the platform by itself; a C++ compiler is not looked for.
func CompilerAt(ctx context.Context, name, program string, p Platform) (Compiler, error) {
	cc, err := findTool(name, program)
	if err != nil {
		return Compiler{}, fmt.Errorf("the C compiler %s: %w", name, err)
	}
	base := filepath.Base(cc.called)
	if strings.ContainsAny(base, " \t") {
		return Compiler{}, fmt.Errorf("the C compiler %s: cmd/link calls a compiler by one word, which %q is not", name, base)
	}
	c := &compiler{ccName: base, cxxName: gnuTriple(p) + "-g++", cc: cc, links: map[string]string{base: cc.called}}
	b := new(Builder)
	version, _ := b.toolVersion(ctx, cc)
	return Compiler{Name: name, Version: version, Path: cc.Path, Platform: p, c: c, b: b}, nil
}

// A Linker is a C linker that a compiler can be made to call.
type Linker struct {
	Name    string // bfd, gold, lld, mold
	Version string
	Path    string // symbolic links resolved
	called  string
}

// Linkers lists the names of all linkers that a [Compiler] may be asked for.
func Linkers() []string { return []string{"bfd", "gold", "lld", "mold"} }

// Linker finds the linker of a name for the compiler. The error says why the two cannot go together.
func (c Compiler) Linker(ctx context.Context, name string) (Linker, error) {
	t, err := c.c.findLinker(name, c.Platform)
	if err != nil {
		return Linker{}, err
	}
	version, _ := c.b.toolVersion(ctx, t)
	return Linker{Name: name, Version: version, Path: t.Path, called: t.called}, nil
}

// Install makes in the folder dir, which is empty and belongs to no other compiler, the links by which the go command is
// to call the compiler and the linkers, and returns the settings that make it do so: CC, CXX, PATH and others.
func (c Compiler) Install(ctx context.Context, dir string, linkers ...Linker) (env []string, err error) {
	links := map[string]string{}
	for name, target := range c.c.links {
		links[name] = target
	}
	for _, l := range linkers {
		if l.called == "" {
			continue // not of this machine: the compiler is on its own
		}
		links["ld."+l.Name] = l.called
		links[gnuTriple(c.Platform)+"-ld."+l.Name] = l.called
	}
	for name, target := range links {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			return nil, err
		}
	}
	env = append(c.Platform.environment(), "CGO_ENABLED=1", "CC="+c.c.ccName, "CXX="+c.c.cxxName,
		"PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	more, err := c.b.compilerEnv(ctx, c.c, c.Platform)
	return append(env, more...), err
}

// LDFlags returns the value of -ldflags with which the go command links by the compiler and the linker, with further
// linker flags and arguments for the C linker.
func (c Compiler) LDFlags(l Linker, flags, external []string) (string, error) {
	t := Target{Platform: c.Platform, Toolchain: c.toolchain(), LDFlags: flags}
	for _, f := range append([]string{"-fuse-ld=" + l.Name}, external...) {
		q, err := quoteFlag(f)
		if err != nil {
			return "", err
		}
		t.LDFlags = append(t.LDFlags, "-extldflags="+q)
	}
	return t.linkFlags("")
}

// toolchain returns what the configuration calls the compiler.
func (c Compiler) toolchain() string {
	switch windows := c.Platform.OS == "windows"; {
	case c.c.gcc != nil && windows:
		return "clang-mingw"
	case c.c.gcc != nil:
		return "clang"
	case windows:
		return "mingw"
	}
	return "gcc"
}

// findLinker finds the linker that the compiler calls for -fuse-ld=name, when the folder of links holds those of the
// linkers that are not found by that name.
func (c *compiler) findLinker(name string, p Platform) (tool, error) {
	triple := gnuTriple(p)
	switch {
	case p.OS == "windows" && (name == "gold" || name == "mold"):
		return tool{}, fmt.Errorf("%s makes no Windows programs", name)
	case name == "lld" && c.gcc != nil:
		return c.linker, nil
	case name == "lld" && p.OS == "windows":
		return mingwLLD(c)
	case name == "lld":
		return newestLLD()
	case name == "mold":
		t, err := findTool("mold", "mold")
		if err != nil {
			return tool{}, &MissingError{Tool: "mold", Package: "mold"}
		}
		return t, nil
	}
	// Of the binutils, which cross compilers call by the name of their target.
	names := []string{triple + "-ld." + name}
	if p.OS == runtime.GOOS && p.Arch == runtime.GOARCH {
		names = append(names, "ld."+name)
	}
	for _, n := range names {
		if t, err := findTool(name, n); err == nil {
			return t, nil
		}
	}
	return tool{}, &MissingError{Tool: names[0], Package: "binutils"}
}

// newestLLD finds the lld that gcc is given: the newest with a number, else the one without.
func newestLLD() (tool, error) {
	for n := newestClang; n >= oldestClang; n-- {
		if t, err := findTool("lld", "ld.lld-"+strconv.Itoa(n)); err == nil {
			return t, nil
		}
	}
	t, err := findTool("lld", "ld.lld")
	if err != nil {
		return tool{}, &MissingError{Tool: "ld.lld", Package: "lld"}
	}
	return t, nil
}

// mingwLLD finds the lld that mingw's gcc calls. It has the path of GNU ld built in, appends .lld to it for -fuse-ld=lld,
// and links by GNU ld without a word when there is no such file. Neither PATH nor -B changes that.
func mingwLLD(c *compiler) (tool, error) {
	if c.linker.called == "" {
		return tool{}, errors.New("GNU ld of mingw is not found, beside which its gcc looks for lld")
	}
	at := c.linker.called + ".lld"
	t, err := findTool("lld", at)
	if err != nil {
		hint := "install lld"
		if lld, err := newestLLD(); err == nil {
			hint = fmt.Sprintf("to have it: ln -s %s %s", lld.called, at)
		}
		return tool{}, fmt.Errorf("mingw's gcc takes no lld but %s, which is not there, and would link by GNU ld without a word; %s", at, hint)
	}
	return t, nil
}

// Plain returns the settings of the go command for a platform without C, and the value of -ldflags, "" for none, of linker
// flags that are each read as go build -ldflags reads it.
func Plain(p Platform, flags []string) (env []string, ldflags string, err error) {
	ldflags, err = Target{Platform: p, Toolchain: "none", LDFlags: flags}.linkFlags("")
	return append(p.environment(), "CGO_ENABLED=0"), ldflags, err
}
