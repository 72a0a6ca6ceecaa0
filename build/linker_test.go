package build

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestFastLinker compiles by gcc with lld, by the user's choice with GNU ld, and with GNU ld when lld fails. What made a
// file readelf is asked, too.
func TestFastLinker(t *testing.T) {
	for _, tool := range [][2]string{{"x86_64-linux-gnu-gcc", "gcc"}, {"mold", "mold"}, {"readelf", "binutils"}, {"ld.lld-19", "lld-19"}} {
		if _, err := exec.LookPath(tool[0]); err != nil {
			need(t, tool[0], tool[1])
		}
	}
	dir := t.TempDir()
	broken := filepath.Join(dir, "ld.lld-40")
	if err := os.WriteFile(broken, []byte("#!/bin/sh\necho out of order >&2\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	path := os.Getenv("PATH")
	for _, c := range []struct {
		name    string
		ldflags []string
		path    string
		linker  string // as LinkerOf tells
		note    string
	}{
		{"lld", nil, path, "lld", ""},
		{"the user's", []string{"-extldflags=-fuse-ld=bfd"}, path, "bfd", ""},
		{"the user's mold", []string{"-extldflags '-fuse-ld=mold'"}, path, "mold", ""},
		{"link-time optimization", []string{"-extldflags=-flto"}, path, "bfd", ""},
		{"lld fails", nil, dir + string(os.PathListSeparator) + path, "bfd", "linked by ld, because lld did not"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("PATH", c.path)
			b := newBuilder(t, copyModule(t, "cgo"))
			tg := target(t, "cgo", "linux/amd64 gcc")
			tg.LDFlags = c.ldflags
			dst := filepath.Join(t.TempDir(), "out")
			bin, err := b.Compile(t.Context(), tg, dst)
			if err != nil {
				t.Fatal(err)
			}
			got, err := LinkerOf(dst)
			if err != nil || got != c.linker || bin.Note != c.note {
				t.Errorf("linked by %s, %v, note %q; want %s, %q", got, err, bin.Note, c.linker, c.note)
			}
			comment, err := exec.Command("readelf", "-p", ".comment", dst).Output()
			if said := strings.Contains(string(comment), "LLD"); err != nil || said != (c.linker == "lld") {
				t.Errorf("readelf says %v: %s", err, comment)
			}
			if len(bin.Target.LDFlags) != len(c.ldflags) {
				t.Errorf("the target came back with %q", bin.Target.LDFlags)
			}
			if c.note == "" && c.linker == "lld" && !strings.Contains(b.Toolchain(tg), "+ lld ") {
				t.Errorf("the log would say %q", b.Toolchain(tg))
			}
		})
	}
}
