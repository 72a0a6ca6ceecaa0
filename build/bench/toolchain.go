package bench

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hallmark-build/hallmark/build"
)

// A variant is what is varied besides compiler and linker. Its zero value is what a release does.
type variant struct {
	goVersion string // "" is the one in use
	race      bool
	ldflags   string
	lto       bool
	place     Place
}

// A toolchain is a way to build a program for a platform.
type toolchain struct {
	platform build.Platform
	compiler string // none, gcc, mingw, clang-19
	linker   string // go when there is no compiler
	variant
	cc *build.Compiler // nil without C
	ld build.Linker

	reason string // why it is impossible; "" when it is not
}

// tools lists the programs that take part.
func (t *toolchain) tools(goVersion string) []Tool {
	tools := []Tool{{Role: "go", Name: "go", Version: strings.TrimPrefix(cmp.Or(t.goVersion, goVersion), "go")}}
	if t.cc != nil {
		tools = append(tools, Tool{Role: "compiler", Name: t.compiler, Version: t.cc.Version, Path: t.cc.Path})
	}
	if t.ld.Name != "" {
		tools = append(tools, Tool{Role: "linker", Name: t.ld.Name, Version: t.ld.Version, Path: t.ld.Path})
	}
	return tools
}

// dimensions returns what tells a series of the toolchain from others. What is not varied in the run is left out.
func (t *toolchain) dimensions(program string, s Scenario, v varied) Dimensions {
	d := Dimensions{{"program", program}, {"scenario", string(s)}, {"target", t.platform.String()}, {"compiler", t.compiler}, {"linker", t.linker}}
	onOff := map[bool]string{true: "on", false: "off"}
	if v.goVersion {
		d = append(d, Dimension{"go", cmp.Or(t.goVersion, "default")})
	}
	if v.race {
		d = append(d, Dimension{"race", onOff[t.race]})
	}
	if v.ldflags {
		d = append(d, Dimension{"ldflags", cmp.Or(t.ldflags, "none")})
	}
	if v.lto {
		d = append(d, Dimension{"lto", onOff[t.lto]})
	}
	if v.place {
		d = append(d, Dimension{"place", cmp.Or(t.place.Name, "default")})
	}
	return d
}

// group names the GOCACHE that toolchains share: what the linker does is in none.
func (t *toolchain) group() string {
	return fmt.Sprintf("%s_%s_%s_race-%v_lto-%v_%s", t.platform.Slug(), t.compiler, cmp.Or(t.goVersion, "default"), t.race, t.lto, cmp.Or(t.place.Name, "default"))
}

// varied says which dimensions have more than one value in a run.
type varied struct{ goVersion, race, ldflags, lto, place bool }

func (c Config) varied() varied {
	return varied{len(c.Go) > 0, c.Race, len(c.LDFlags) > 0, c.LTO, len(c.Places) > 0}
}

// variants returns the plain variant, then those that differ from it in one thing each: all combinations would be more
// than anybody waits for, and would answer no more.
func (c Config) variants() []variant {
	list := []variant{{}}
	for _, v := range c.Go {
		list = append(list, variant{goVersion: v})
	}
	if c.Race {
		list = append(list, variant{race: true})
	}
	for _, f := range c.LDFlags {
		list = append(list, variant{ldflags: f})
	}
	if c.LTO {
		list = append(list, variant{lto: true})
	}
	for _, p := range c.Places {
		list = append(list, variant{place: p})
	}
	return list
}

// wants tells whether a list of names, in which none means all, holds a name.
func wants(list []string, name string) bool { return len(list) == 0 || slices.Contains(list, name) }

// findToolchains lists all toolchains for the platforms, those that are impossible with the reason.
func findToolchains(ctx context.Context, c Config, platforms []build.Platform) ([]*toolchain, error) {
	var list []*toolchain
	for _, p := range platforms {
		var plain []*toolchain
		if wants(c.Compilers, "none") {
			plain = append(plain, &toolchain{platform: p, compiler: "none", linker: "go"})
		}
		compilers, missing := build.Compilers(ctx, p)
		for _, x := range c.Extra {
			if !slices.Contains(x.Targets, p.String()) {
				continue
			}
			cc, err := build.CompilerAt(ctx, x.Name, x.CC, p)
			if err != nil {
				return nil, err
			}
			compilers = append(compilers, cc)
		}
		for _, cc := range compilers {
			if !wants(c.Compilers, cc.Name) {
				continue
			}
			for _, name := range build.Linkers() {
				if !wants(c.Linkers, name) {
					continue
				}
				t := &toolchain{platform: p, compiler: cc.Name, linker: name, cc: &cc}
				var err error
				if t.ld, err = cc.Linker(ctx, name); err != nil {
					t.reason = err.Error()
				}
				plain = append(plain, t)
			}
		}
		for _, err := range missing {
			m, ok := err.(*build.MissingError)
			if !ok || !wants(c.Compilers, missingName(m, p)) {
				continue
			}
			plain = append(plain, &toolchain{platform: p, compiler: missingName(m, p), linker: "any", reason: err.Error()})
		}
		for _, v := range c.variants() {
			for _, t := range plain {
				u := *t
				u.variant = v
				if u.reason == "" {
					u.reason = u.clash()
				}
				list = append(list, &u)
			}
		}
	}
	return list, nil
}

// missingName names the compiler of which a tool is missing.
func missingName(m *build.MissingError, p build.Platform) string {
	switch {
	case strings.Contains(m.Tool, "clang") || strings.Contains(m.Tool, "lld"):
		return "clang"
	case p.OS == "windows":
		return "mingw"
	}
	return "gcc"
}

// clash tells why the variant does not go with the compiler.
func (t *toolchain) clash() string {
	switch {
	case t.compiler == "none" && t.race:
		return "the race detector needs C"
	case t.compiler == "none" && t.lto:
		return "there is no C to optimize"
	case t.lto && !strings.HasPrefix(t.compiler, "clang") && (t.linker == "lld" || t.linker == "gold"):
		return t.linker + " does not read what gcc -flto writes"
	case t.lto && strings.HasPrefix(t.compiler, "clang") && t.linker != "lld" && t.linker != "mold":
		return t.linker + " reads what clang -flto writes only through LLVM's plugin"
	}
	return ""
}

// goCommand returns the go build command of a toolchain for a program, and its environment without GOCACHE, GOTMPDIR
// and the output. The links by which the C compiler is called are put into dir.
func (t *toolchain) goCommand(ctx context.Context, s *Source, dir string) (command, error) {
	args := []string{"go", "build", "-trimpath", "-buildvcs=false"}
	if len(s.Tags) > 0 {
		args = append(args, "-tags="+strings.Join(s.Tags, ","))
	}
	if t.race {
		args = append(args, "-race")
	}
	flags := slices.Clone(s.LDFlags)
	if t.ldflags != "" {
		flags = append(flags, t.ldflags)
	}
	if s.GUI && t.platform.OS == "windows" {
		flags = append(flags, "-H=windowsgui")
	}
	env := childEnv(ctx, "PWD="+s.Dir)
	if t.goVersion != "" {
		env = append(env, "GOTOOLCHAIN=go"+t.goVersion)
	}
	var ldflags string
	var err error
	if t.cc == nil {
		var more []string
		more, ldflags, err = build.Plain(t.platform, flags)
		env = append(env, more...)
	} else {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return command{}, err
		}
		more, e := t.cc.Install(ctx, dir, t.ld)
		if e != nil {
			return command{}, e
		}
		env = append(env, more...)
		var external []string
		if t.linker == "mold" {
			// Its work would be done by a process that nobody waits for, and be in nobody's account.
			external = append(external, "-Wl,--no-fork")
		}
		if s.quickC {
			env = append(env, "CGO_CFLAGS=-g -O0")
		}
		if t.lto {
			env = append(env, "CGO_CFLAGS=-g -O2 -flto", "CGO_CXXFLAGS=-g -O2 -flto", "CGO_LDFLAGS=-g -O2 -flto")
			external = append(external, "-flto")
		}
		ldflags, err = t.cc.LDFlags(t.ld, flags, external)
	}
	if err != nil {
		return command{}, err
	}
	if ldflags != "" {
		args = append(args, "-ldflags="+ldflags)
	}
	return command{args: args, dir: s.Dir, env: env}, nil
}

// outputName is the file name of a program for a platform.
func outputName(dir string, p build.Platform) string {
	if p.OS == "windows" {
		return filepath.Join(dir, "program.exe")
	}
	return filepath.Join(dir, "program")
}
