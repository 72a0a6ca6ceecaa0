package build

import (
	"bytes"
	"context"
	"debug/elf"
	"debug/pe"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Names of linkers, as a program that they made tells them.
const (
	linkerGo   = "Go's linker"
	linkerBFD  = "GNU ld"
	linkerGold = "GNU gold"
	linkerLLD  = "LLD"
	linkerMold = "mold"
)

// linkerName returns what a program made with -fuse-ld=name tells, "" for a name that is not known.
func linkerName(name string) string {
	return map[string]string{"bfd": linkerBFD, "gold": linkerGold, "lld": linkerLLD, "mold": linkerMold}[name]
}

// findFast finds a linker that is faster than GNU ld. lld comes first: clang's targets need it anyway, and every gcc that
// is still in use knows it, while mold needs gcc 12.
func (c *compiler) findFast(p Platform) {
	for _, name := range []string{"lld", "mold"} {
		t, err := c.findLinker(name, p)
		if err != nil {
			continue
		}
		c.fast = t
		if p.OS == "linux" {
			// Debian's ld.lld-19 is not found by -fuse-ld=lld; a compiler for another machine puts its own name before.
			c.links = map[string]string{"ld." + name: t.called, gnuTriple(p) + "-ld." + name: t.called}
		}
		return
	}
}

// withLinker returns the target with the fast linker of its compiler, unless the user has chosen one, or has C optimized
// when it is linked, which needs a linker that reads what the compiler then writes.
func (b *Builder) withLinker(t Target, c *compiler) Target {
	if c == nil || c.fast.Name == "" || t.clang() || t.linker() != "" {
		return t
	}
	env, err := b.goEnv(context.Background(), t.Go)
	if err != nil {
		return t // whoever needs it will tell
	}
	for _, flags := range append([]string{env["CGO_CFLAGS"], env["CGO_CXXFLAGS"], env["CGO_LDFLAGS"]}, t.LDFlags...) {
		if strings.Contains(flags, "-flto") || strings.Contains(flags, "-fuse-ld") {
			return t
		}
	}
	// In front, so that what the user says comes after it.
	t.LDFlags = append([]string{"-extldflags=-fuse-ld=" + c.fast.Name}, t.LDFlags...)
	return t
}

// linkFailed tells whether a build failed because cmd/link could not link, or the compiler took another linker.
func linkFailed(err error) bool {
	c, ok := errors.AsType[*CompileError](err)
	return ok && strings.Contains(c.Output, "/link: running ")
}

// linkedBy tells whether the target's linker has made the file, or none was needed.
func linkedBy(file string, t Target) bool {
	name, err := LinkerOf(file)
	return err != nil || name == "go" || name == t.linker() // what cannot be read is told by reading back
}

// LinkerOf tells which linker made a PE or ELF file of the Go toolchain, by what is in the file: "bfd", "gold", "lld" or
// "mold" as -fuse-ld names them, or "go" for Go's own, which called none.
func LinkerOf(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var name string
	switch formatName(f) {
	case "PE":
		name, err = peLinker(f)
	case "ELF":
		name, err = elfLinker(f)
	default:
		err = errors.New("neither PE nor ELF")
	}
	if err != nil {
		return "", fmt.Errorf("finding the linker of %s: %w", file, err)
	}
	for _, n := range []string{"bfd", "gold", "lld", "mold"} {
		if name == linkerName(n) {
			return n, nil
		}
	}
	return "go", nil
}

func peLinker(r io.ReaderAt) (string, error) {
	f, err := pe.NewFile(r)
	if err != nil {
		return "", err
	}
	switch h := f.OptionalHeader.(type) {
	case *pe.OptionalHeader32:
		return peLinkerVersion(h.MajorLinkerVersion), nil
	case *pe.OptionalHeader64:
		return peLinkerVersion(h.MajorLinkerVersion), nil
	}
	return "", errors.New("no optional header")
}

// peLinkerVersion names the linker that wrote a major version: LLD writes 14.0, as Microsoft's linker does; GNU ld its
// own version, 2.x; Go 3.0.
func peLinkerVersion(major uint8) string {
	switch major {
	case 14:
		return linkerLLD
	case 2:
		return linkerBFD
	}
	return linkerGo
}

func elfLinker(r io.ReaderAt) (string, error) {
	f, err := elf.NewFile(r)
	if err != nil {
		return "", err
	}
	return elfFileLinker(f), nil
}

// elfFileLinker tells the linker from the section .comment, in which LLD and mold name themselves and in which compilers
// have left their names for the others, of which gold adds a note.
func elfFileLinker(f *elf.File) string {
	var comment []byte
	if s := f.Section(".comment"); s != nil {
		comment, _ = s.Data() // unreadable names no linker
	}
	for text := range bytes.SplitSeq(comment, []byte{0}) {
		switch s := string(text); {
		// "Linker: Debian LLD 19.1.7", "mold 1.10.1 (compatible with GNU ld)".
		case strings.HasPrefix(s, "Linker: ") && strings.Contains(s, "LLD "):
			return linkerLLD
		case strings.HasPrefix(s, "mold "):
			return linkerMold
		}
	}
	switch {
	case f.Section(".note.gnu.gold-version") != nil:
		return linkerGold
	case len(comment) > 0:
		return linkerBFD
	}
	return linkerGo
}
