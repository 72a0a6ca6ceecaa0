package build

import (
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestLinkFlags(t *testing.T) {
	for name, test := range map[string]struct {
		target  Target
		version string
		want    string
	}{
		"none":      {Target{}, "1.2.3", ""},
		"version":   {Target{VersionVar: "main.version"}, "1.2.3", "-X main.version=1.2.3"},
		"GUI":       {Target{GUI: true, LDFlags: []string{"-s -w"}}, "", "-H=windowsgui -s -w"},
		"spaces":    {Target{VersionVar: "main.version"}, "one two", "-X 'main.version=one two'"},
		"apostroph": {Target{VersionVar: "main.version"}, "it's", `-X "main.version=it's"`},
		"first":     {Target{LDFlags: []string{`"-X=main.a=b c"`}}, "", "-X 'main.a=b c'"},
		"empty":     {Target{LDFlags: []string{"-B ''"}}, "", "-B ''"},
		"mingw":     {Target{Platform: Platform{OS: "windows"}, Toolchain: "mingw"}, "", "-extldflags=-static"},
		"clang": {Target{Platform: Platform{OS: "linux"}, Toolchain: "clang"}, "",
			"-linkmode=external -extldflags=-fuse-ld=lld"},
		"clang-mingw": {Target{Platform: Platform{OS: "windows"}, Toolchain: "clang-mingw"}, "",
			"-linkmode=external -extldflags '-static -fuse-ld=lld'"},
		"theirs": {Target{Platform: Platform{OS: "windows"}, Toolchain: "mingw", LDFlags: []string{"-s '-extldflags=-Wl,--x -y' -w -extldflags -z"}}, "",
			"-s -w -extldflags '-static -Wl,--x -y -z'"},
		"nested": {Target{LDFlags: []string{`-extldflags "-L'/a b' 'c d'"`}}, "", `-extldflags "\"-L'/a b'\" 'c d'"`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := test.target.linkFlags(test.version)
			if name == "nested" {
				if err == nil {
					t.Errorf("linkFlags = %q, which needs both kinds of quote", got)
				}
				return
			}
			if err != nil || got != test.want {
				t.Errorf("linkFlags = %q, %v; want %q", got, err, test.want)
			}
		})
	}
	for _, entry := range []string{"'", `-X "a`, "main.a=b", "-extldflags", "-extldflags '\"'"} {
		if _, err := (Target{LDFlags: []string{entry}}).linkFlags(""); err == nil {
			t.Errorf("flags %q are taken", entry)
		}
	}
}

func TestLinker(t *testing.T) {
	tg := Target{Platform: Platform{OS: "linux"}, Toolchain: "clang"}
	if got := tg.linker(); got != "lld" {
		t.Errorf("linker of clang is %q", got)
	}
	tg.LDFlags = []string{"-extldflags=-fuse-ld=mold"}
	if got := tg.linker(); got != "mold" {
		t.Errorf("linker is %q, the user's must win", got)
	}
	tg.Toolchain, tg.LDFlags = "gcc", nil
	if got := tg.linker(); got != "" {
		t.Errorf("linker of gcc is %q", got)
	}
}

// FuzzFlags checks that joined flags are split into what they were.
func FuzzFlags(f *testing.F) {
	for _, s := range []string{"-s -w", `-X 'main.a=b c' "-d=e'f"`, "'", "-X=a=' '", "-a=b\tc", "-é=è é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		fields, err := splitFlags(s)
		if err != nil {
			return
		}
		joined, err := joinFlags(fields)
		if err != nil {
			return
		}
		if joined != "" && joined[0] != '-' {
			t.Errorf("%q is joined to %q, which the go command does not take", fields, joined)
		}
		again, err := splitFlags(joined)
		if err != nil {
			t.Fatalf("%q, joined from %q, is not split: %v", joined, fields, err)
		}
		// A quoted -name=value has become -name and value.
		if flat(again) != flat(fields) {
			t.Errorf("%q became %q by way of %q", fields, again, joined)
		}
		if slices.Contains(again, "") && !slices.Contains(fields, "") && !strings.Contains(s, "=") {
			t.Errorf("%q gained an empty field by way of %q", fields, joined)
		}
	})
}

func flat(fields []string) string {
	return strings.NewReplacer("=", "\x00").Replace(strings.Join(fields, "\x00"))
}

// TestFlagsByGo lets the go command itself read what joinFlags wrote.
func TestFlagsByGo(t *testing.T) {
	t.Parallel()
	dir := copyModule(t, "hello")
	b := newBuilder(t, dir)
	tg := target(t, "hello", "linux/"+runtime.GOARCH)
	tg.VersionVar = "main.version"
	b.src.Version = `a 'quoted' one`
	bin := compile(t, b, tg)
	out, err := exec.Command(bin.Path).CombinedOutput()
	if err != nil || string(out) != "hello a 'quoted' one\n" {
		t.Errorf("the program says %q, %v", out, err)
	}
}
