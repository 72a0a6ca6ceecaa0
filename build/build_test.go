package build

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// need skips the test when a tool is missing, or fails it where nothing may be skipped.
func need(t *testing.T, tool, packages string) {
	t.Helper()
	report := t.Skipf
	if os.Getenv("HALLMARK_STRICT") == "1" {
		report = t.Fatalf
	}
	report("SKIP: %s missing: apt package %s", tool, packages)
}

// copyModule copies a module of testdata to a temporary folder, so that it lies in no git checkout.
func copyModule(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", name))); err != nil {
		t.Fatal(err)
	}
	return dir
}

// newBuilder returns a Builder for the module in dir.
func newBuilder(t *testing.T, dir string) *Builder {
	t.Helper()
	src, err := ReadSource(t.Context(), dir, "dist")
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewBuilder(t.Context(), src)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// target returns a target for "platform" or "platform toolchain".
func target(t *testing.T, program, spec string) Target {
	t.Helper()
	platform, toolchain, _ := strings.Cut(spec, " ")
	c := Config{Programs: []Program{{Name: program}}, Targets: []Spec{{Platform: platform, Toolchain: toolchain}}}
	targets, err := c.Expand()
	if err != nil {
		t.Fatal(err)
	}
	return targets[0]
}

// compile compiles a target into a new folder, and tells the test that a compiler is missing.
func compile(t *testing.T, b *Builder, tg Target) Binary {
	t.Helper()
	dst := filepath.Join(t.TempDir(), filepath.FromSlash(tg.Rel()))
	bin, err := b.Compile(t.Context(), tg, dst)
	var missing *MissingError
	if errors.As(err, &missing) {
		need(t, missing.Tool, missing.Package)
	}
	if err != nil {
		var c *CompileError
		if errors.As(err, &c) {
			t.Log(c.Output)
		}
		t.Fatal(err)
	}
	return bin
}

func TestPlatform(t *testing.T) {
	for _, p := range Platforms() {
		got, err := ParsePlatform(p.String())
		if err != nil || got != p {
			t.Errorf("ParsePlatform(%q) = %v, %v", p, got, err)
		}
	}
	for s, want := range map[string]Platform{
		"linux/amd64/v3":              {"linux", "amd64", "v3"},
		"linux/arm64/v8.2,lse":        {"linux", "arm64", "v8.2,lse"},
		"windows/386/softfloat":       {"windows", "386", "softfloat"},
		"windows/arm64/v9.0,crypto":   {"windows", "arm64", "v9.0,crypto"},
		"linux/arm64/v8.0,lse,crypto": {"linux", "arm64", "v8.0,lse,crypto"},
	} {
		got, err := ParsePlatform(s)
		if err != nil || got != want || got.String() != s || strings.ContainsAny(got.Slug(), "/,") {
			t.Errorf("ParsePlatform(%q) = %#v (slug %s), %v", s, got, got.Slug(), err)
		}
	}
	for s, want := range map[string]string{
		"windws/amd64":   "did you mean windows/amd64?",
		"linux/x86_64":   "did you mean linux/amd64?",
		"linux-aarch64":  "did you mean linux/arm64?",
		"Linux/AMD64":    "did you mean linux/amd64?",
		"darwin/arm64":   "possible: windows/amd64, windows/arm64, windows/386, linux/amd64",
		"":               "possible: windows/amd64",
		"linux":          "possible: windows/amd64",
		"linux/amd64/":   "possible: v1, v2",
		"linux/amd64/v9": "possible: v1, v2, v3, v4",
		"linux/386/v1":   "possible: sse2, softfloat",
	} {
		if got, err := ParsePlatform(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParsePlatform(%q) = %v, %v; want an error with %q", s, got, err, want)
		}
	}
}

func FuzzParsePlatform(f *testing.F) {
	for _, s := range []string{"windows/amd64", "linux/arm64/v8.0,lse", "linux/", "//", "windws/amd64", "é/é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePlatform(s)
		if err == nil && p.String() != s {
			t.Errorf("ParsePlatform(%q) = %q", s, p)
		}
		if err != nil && p != (Platform{}) {
			t.Errorf("ParsePlatform(%q) gives both a platform and an error", s)
		}
	})
}

func TestExpand(t *testing.T) {
	c := Config{
		Programs: []Program{
			{Name: "notes", Main: "./cmd/notes", Version: "main.version", LDFlags: []string{"-s -w"}, Tags: []string{"nethttp"}},
			{Main: "./cmd/other"},
		},
		Targets: []Spec{
			{Platform: "windows/amd64", GUI: true},
			{Platform: "windows/amd64", Toolchain: "mingw", LDFlags: []string{"-X 'main.note=a b'"}},
			{Platform: "linux/amd64/v3", Toolchain: "none", Go: "1.22.5"},
		},
		Windows: Windows{Company: "Notes Ltd"},
	}
	targets, err := c.Expand()
	if err != nil {
		t.Fatal(err)
	}
	var rels []string
	for _, tg := range targets {
		rels = append(rels, tg.Rel())
		if isWindows := tg.Platform.OS == "windows"; (tg.Windows.Company != "") != isWindows {
			t.Errorf("%s: company %q", tg, tg.Windows.Company)
		}
	}
	want := []string{
		"bin/windows_amd64/notes.exe", "bin/windows_amd64/other.exe",
		"bin/windows_amd64_mingw/notes.exe", "bin/windows_amd64_mingw/other.exe",
		"bin/linux_amd64_v3/notes", "bin/linux_amd64_v3/other",
	}
	if !slices.Equal(rels, want) {
		t.Errorf("Rel: %q, want %q", rels, want)
	}
	if got := targets[2]; !slices.Equal(got.LDFlags, []string{"-s -w", "-X 'main.note=a b'"}) || got.VersionVar != "main.version" ||
		got.String() != "notes for windows/amd64 by mingw" {
		t.Errorf("target is %+v", got)
	}
	if targets[4].Toolchain != "none" || targets[0].Toolchain != "none" {
		t.Error("no toolchain is not none")
	}
}

func TestExpandErrors(t *testing.T) {
	program := Program{Name: "notes"}
	linux := Spec{Platform: "linux/amd64"}
	one := func(p Program, s Spec) Config { return Config{Programs: []Program{p}, Targets: []Spec{s}} }
	for name, test := range map[string]struct {
		config    Config
		key, want string
	}{
		"no programs":      {Config{Targets: []Spec{linux}}, "programs", "at least one program"},
		"no targets":       {Config{Programs: []Program{program}}, "targets", "at least one platform"},
		"unknown platform": {one(program, Spec{Platform: "linus/amd64"}), "targets[0].platform", "did you mean linux/amd64?"},
		"toolchain":        {one(program, Spec{Platform: "linux/amd64", Toolchain: "clagn"}), "targets[0].toolchain", "did you mean clang?"},
		"mingw for linux":  {one(program, Spec{Platform: "linux/arm64", Toolchain: "mingw"}), "targets[0].toolchain", "builds for windows only"},
		"gcc for windows":  {one(program, Spec{Platform: "windows/386", Toolchain: "gcc"}), "targets[0].toolchain", "use mingw or clang-mingw"},
		"clang for windows": {one(program, Spec{Platform: "windows/amd64", Toolchain: "clang"}), "targets[0].toolchain",
			"builds for linux only"},
		"GUI on linux": {one(program, Spec{Platform: "linux/amd64", GUI: true}), "targets[0].gui", "windows only"},
		"Go language":  {one(program, Spec{Platform: "linux/amd64", Go: "1.22"}), "targets[0].go", "1.22.0"},
		"Go too old":   {one(program, Spec{Platform: "linux/amd64", Go: "1.17.13"}), "targets[0].go", "1.18"},
		"Go nonsense":  {one(program, Spec{Platform: "linux/amd64", Go: "latest"}), "targets[0].go", "1.22.5"},
		"no name":      {one(Program{}, linux), "programs[0].name", "is missing"},
		"exe":          {one(Program{Name: "notes.exe"}, linux), "programs[0].name", "leave .exe out"},
		"path as name": {one(Program{Name: "../notes"}, linux), "programs[0].name", "no file name"},
		"many mains":   {one(Program{Name: "notes", Main: "./..."}, linux), "programs[0].main", "no single package"},
		"flag as main": {one(Program{Name: "notes", Main: "-toolexec=x"}, linux), "programs[0].main", "no single package"},
		"version":      {one(Program{Name: "notes", Version: "version"}, linux), "programs[0].version", "main.version"},
		"tag":          {one(Program{Name: "notes", Tags: []string{"a,b"}}, linux), "programs[0].tags[0]", "one tag in each entry"},
		"quote":        {one(Program{Name: "notes", LDFlags: []string{"-s", "-X 'a"}}, linux), "programs[0].ldflags[1]", "unterminated"},
		"no flag":      {one(program, Spec{Platform: "linux/amd64", LDFlags: []string{"s"}}), "targets[0].ldflags[0]", "hyphen"},
		"both quotes": {one(Program{Name: "notes", LDFlags: []string{`-X=main.a='b"`}}, linux), "targets[0].ldflags",
			"both kinds of quote"},
		"twice": {Config{Programs: []Program{program}, Targets: []Spec{linux, {Platform: "linux/amd64", Go: "1.22.5"}}}, "targets[1]",
			"bin/linux_amd64/notes would be written twice"},
		"twice but for case": {Config{Programs: []Program{program, {Name: "Notes"}}, Targets: []Spec{linux}}, "targets[0]", "written twice"},
	} {
		t.Run(name, func(t *testing.T) {
			targets, err := test.config.Expand()
			var fault *ConfigError
			if !errors.As(err, &fault) || targets != nil {
				t.Fatalf("targets %v, error %v", targets, err)
			}
			if fault.Key != test.key || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error at %s: %v; want one at %s with %q", fault.Key, err, test.key, test.want)
			}
		})
	}

	if _, err := exec.LookPath("aarch64-w64-mingw32-gcc"); err != nil {
		_, err := one(program, Spec{Platform: "windows/arm64", Toolchain: "mingw"}).Expand()
		if err == nil || !strings.Contains(err.Error(), "llvm-mingw") {
			t.Errorf("mingw for windows/arm64: %v", err)
		}
	}

	// All faults are told at once.
	_, err := Config{Programs: []Program{{Name: "a/b"}}, Targets: []Spec{{Platform: "x"}, {Platform: "linux/386", Toolchain: "mingw"}}}.Expand()
	if n := strings.Count(err.Error(), "\n") + 1; n != 3 {
		t.Errorf("%d faults are told of 3: %v", n, err)
	}
}

func TestVersionNumbers(t *testing.T) {
	for v, want := range map[string][4]uint16{
		"1.2.3":                   {1, 2, 3, 0},
		"1.2.3-4-gabcdef123456":   {1, 2, 3, 4},
		"1.2-14-gabcdef-dirty":    {1, 2, 0, 14},
		"1.2.3.4":                 {1, 2, 3, 4},
		"1.2.3.4-5-gabcdef":       {1, 2, 3, 4},
		"1.2.3-rc.1":              {1, 2, 3, 0},
		"1.2.3-rc.1-7-g0123456":   {1, 2, 3, 7},
		"0.0.0-gabcdef123456":     {0, 0, 0, 0},
		"2024.12.31":              {2024, 12, 31, 0},
		"20241231":                {65535, 0, 0, 0},
		"99999999999999999999999": {65535, 0, 0, 0},
		"":                        {},
		"nightly":                 {},
	} {
		if got := versionNumbers(v); got != want {
			t.Errorf("versionNumbers(%q) = %v, want %v", v, got, want)
		}
	}
}

func TestJobs(t *testing.T) {
	if n := Jobs(); n < 1 {
		t.Errorf("Jobs() = %d", n)
	}
}

func TestMemo(t *testing.T) {
	var m memo[string, int]
	calls := 0
	get := func(err error) (int, error) {
		return m.get("k", func() (int, error) { calls++; return calls, err })
	}
	if _, err := get(context.Canceled); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	for range 3 {
		if v, err := get(nil); v != 2 || err != nil {
			t.Errorf("get = %d, %v; a failure must not be kept, and a success must", v, err)
		}
	}
}
