package dist

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestPackageVersion(t *testing.T) {
	tests := []struct{ in, deb, arch, apk string }{
		{"1.2.3", "1.2.3", "1.2.3", "1.2.3"},
		{"v1.2.3", "1.2.3", "1.2.3", "1.2.3"},
		{"0.0.0", "0.0.0", "0.0.0", "0.0.0"},
		{"v1.2.3-rc.1", "1.2.3~rc.1", "1.2.3rc.1", "1.2.3_rc1"},
		{"1.2.3-beta", "1.2.3~beta", "1.2.3beta", "1.2.3_beta"},
		{"1.2.3-4-gabc", "1.2.3+4.gabc", "1.2.3+4.gabc", "1.2.3_p4"},
		{"v1.2.3-4-gabc1234-dirty", "1.2.3+4.gabc1234.dirty", "1.2.3+4.gabc1234.dirty", "1.2.3_p4"},
		{"1.2.3-rc.1-4-gabc", "1.2.3~rc.1+4.gabc", "1.2.3rc.1+4.gabc", "1.2.3_rc1_p4"},
		{"1.2.3+build.5", "1.2.3+build.5", "1.2.3+build.5", "1.2.3"},
		{"1.2.3-rc.1+build_5", "1.2.3~rc.1+build.5", "1.2.3rc.1+build.5", "1.2.3_rc1"},
		{"v0.0.0-20240102030405-abcdef012345", "0.0.0~20240102030405.abcdef012345", "0.0.0pre20240102030405.abcdef012345", "0.0.0_pre20240102030405"},
		{"1.2.3-dirty", "1.2.3+dirty", "1.2.3+dirty", "1.2.3"},
		{"2024.05", "2024.05", "2024.05", "2024.05"},
		{"main", "0~main", "0main", "0_pre"},
		{"release-5", "0~release.5", "0release.5", "0_pre5"},
		{"1.2.3rc1", "1.2.3~rc1", "1.2.3rc1", "1.2.3_rc1"},
		{"1.2.3.rc1", "1.2.3~rc1", "1.2.3rc1", "1.2.3_rc1"},
		{"1.2.3.dev5", "1.2.3~dev5", "1.2.3dev5", "1.2.3_pre5"},
		{"1.2.3a1", "1.2.3~a1", "1.2.3a1", "1.2.3_alpha1"},
		{"1.2.3b2", "1.2.3~b2", "1.2.3b2", "1.2.3_beta2"},
		{"1.1.1a", "1.1.1a", "1.1.1a", "1.1.1a"},
		{"1.2.3rc1.dev5", "1.2.3~rc1~dev5", "1.2.3rc1.dev5", "1.2.3_rc1_pre5"},
		{"1.2.3-rc.1.2", "1.2.3~rc.1.2", "1.2.3rc.1.2", "1.2.3_rc1_p2"},
		{"1.2.3rc1-4-gabc", "1.2.3~rc1+4.gabc", "1.2.3rc1+4.gabc", "1.2.3_rc1_p4"},
		{"1.2.3-SNAPSHOT", "1.2.3~SNAPSHOT", "1.2.3SNAPSHOT", "1.2.3_pre"},
	}
	for _, tt := range tests {
		for format, want := range map[string]string{Deb: tt.deb, RPM: tt.deb, ArchLinux: tt.arch, APK: tt.apk} {
			if got, err := packageVersion(format, tt.in); err != nil || got != want {
				t.Errorf("packageVersion(%s, %q) = %q, %v; want %q", format, tt.in, got, err, want)
			}
		}
	}
	for _, format := range []string{Deb, RPM, ArchLinux, APK} {
		for _, bad := range []string{"", "1.2.3-a..b", "1.2/3", "1.2.3 rc1", "1.2.3;id", "$(id)", "1.2.3\n", "1\u202e2", "1.2.3\x1b[m", "../1", "1.", "-1", ".1", "ä", "1:2", strings.Repeat("1", 200)} {
			if got, err := packageVersion(format, bad); err == nil {
				t.Errorf("%s: %q gives %q", format, bad, got)
			}
		}
		for _, bad := range []string{"", "a", "..", "a..b", ".a", "a/b", "a b", "a;b", "$(id)", "a\nb", "a\u202eb", "ä-ö", strings.Repeat("a", 100)} {
			if got, err := packageName(format, bad); err == nil {
				t.Errorf("%s: the name %q gives %q", format, bad, got)
			}
		}
	}
}

// dpkg and rpm themselves say that the versions are valid, and in which order they come.
func TestVersionOrder(t *testing.T) {
	ascending := []string{"main", "0.0.0-20240102030405-abcdef012345", "0.0.0", "1.2.3-alpha", "1.2.3-alpha.1", "1.2.3-beta.2", "1.2.3-rc.1", "1.2.3-rc.1-4-gabc", "1.2.3-rc.2", "1.2.3-rc.10",
		"1.2.3", "1.2.3-4-gabc", "1.2.3-10-gabc", "1.2.4-rc.1", "1.2.4", "1.3.0a1", "1.3.0b1", "1.3.0rc1.dev5", "1.3.0rc1", "1.3.0rc2", "1.3.0", "1.4.0.dev5", "1.4.0.dev10", "1.4.0", "1.10.0"}
	for _, judge := range []struct {
		format, tool, pkg string
		less              func(a, b string) error
	}{
		{Deb, "dpkg", "dpkg", func(a, b string) error {
			out, err := exec.CommandContext(t.Context(), "dpkg", "--compare-versions", a, "lt", b).CombinedOutput()
			if len(out) > 0 {
				return errors.New(string(out))
			}
			return err
		}},
		{RPM, "rpm", "rpm", func(a, b string) error {
			out, err := exec.CommandContext(t.Context(), "rpm", "-E", `%{lua: print(rpm.vercmp("`+a+`", "`+b+`"))}`).Output()
			if err == nil && strings.TrimSpace(string(out)) != "-1" {
				return errors.New("rpm.vercmp says " + string(out))
			}
			return err
		}},
		{APK, "", "", func(a, b string) error {
			if !apkLess(t, a, b) || apkLess(t, b, a) {
				return errors.New("apk's rule says so")
			}
			return nil
		}},
	} {
		t.Run(judge.format, func(t *testing.T) {
			if judge.tool != "" {
				need(t, judge.tool, judge.pkg)
			}
			for i := 1; i < len(ascending); i++ {
				a, err := packageVersion(judge.format, ascending[i-1])
				if err != nil {
					t.Fatal(err)
				}
				b, err := packageVersion(judge.format, ascending[i])
				if err != nil {
					t.Fatal(err)
				}
				if err := judge.less(a, b); err != nil {
					t.Errorf("%s is not older than %s: %v", a, b, err)
				}
			}
		})
	}
}

// apkLess compares two versions by the rule of apk-tools (doc/apk-package.5, "Package version"; the PMS of Gentoo, 3.3,
// which it follows): the numbers from left to right, the letter, then the suffixes, each with its number. Where one
// version has no more suffixes, the other is older if its next one is alpha, beta, pre or rc.
func apkLess(t *testing.T, a, b string) bool {
	t.Helper()
	parse := func(v string) (numbers []string, letter string, suffixes [][2]string) {
		m := regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)*)([a-z]?)((?:_(?:alpha|beta|pre|rc|cvs|svn|git|hg|p)[0-9]*)*)$`).FindStringSubmatch(v)
		if m == nil {
			t.Fatalf("%q is not an apk version", v)
		}
		for _, s := range regexp.MustCompile(`_([a-z]+)([0-9]*)`).FindAllStringSubmatch(m[3], -1) {
			suffixes = append(suffixes, [2]string{s[1], s[2]})
		}
		return strings.Split(m[1], "."), m[2], suffixes
	}
	number := func(s string) int {
		n, _ := strconv.Atoi(s)
		return n
	}
	order := []string{"alpha", "beta", "pre", "rc", "", "cvs", "svn", "git", "hg", "p"}
	an, al, as := parse(a)
	bn, bl, bs := parse(b)
	for i := 0; i < len(an) && i < len(bn); i++ {
		if x, y := number(an[i]), number(bn[i]); x != y {
			return x < y
		}
	}
	if len(an) != len(bn) {
		return len(an) < len(bn)
	}
	if al != bl {
		return al < bl
	}
	for i := 0; i < len(as) || i < len(bs); i++ {
		var x, y [2]string
		if i < len(as) {
			x = as[i]
		}
		if i < len(bs) {
			y = bs[i]
		}
		if c := slices.Index(order, x[0]) - slices.Index(order, y[0]); c != 0 {
			return c < 0
		}
		if c := number(x[1]) - number(y[1]); c != 0 {
			return c < 0
		}
	}
	return false
}

func TestPackageArch(t *testing.T) {
	for _, tt := range []struct{ goarch, deb, rpm, apk, arch string }{
		{"amd64", "amd64", "x86_64", "x86_64", "x86_64"},
		{"arm64", "arm64", "aarch64", "aarch64", "aarch64"},
		{"386", "i386", "i386", "x86", "i686"},
		{"arm7", "armhf", "armv7hl", "armv7", "armv7h"},
	} {
		for format, want := range map[string]string{Deb: tt.deb, RPM: tt.rpm, APK: tt.apk, ArchLinux: tt.arch} {
			if got, err := packageArch(format, tt.goarch); err != nil || got != want {
				t.Errorf("packageArch(%s, %s) = %q, %v; want %q", format, tt.goarch, got, err, want)
			}
		}
	}
	if _, err := packageArch(Deb, "wasm"); err == nil || !strings.Contains(err.Error(), "leave deb out of packages") {
		t.Errorf("wasm: %v", err)
	}
}

// Every architecture and odd names and versions make packages that the format's own tool reads.
func TestStrangersReadMetadata(t *testing.T) {
	need(t, "dpkg-deb", "dpkg")
	need(t, "rpm", "rpm")
	files := sample(t, 1000)
	for _, tt := range []struct{ name, version, arch, deb, rpm string }{
		{"My_Notes", "1.2.3-4-gabc", "386", "my-notes 1.2.3+4.gabc i386", "my-notes 1.2.3+4.gabc i386"},
		{"notes", "0.0.0", "arm64", "notes 0.0.0 arm64", "notes 0.0.0 aarch64"},
		{"notes", "v1.0.0-rc.1-dirty", "riscv64", "notes 1.0.0~rc.1+dirty riscv64", "notes 1.0.0~rc.1+dirty riscv64"},
	} {
		dir := t.TempDir()
		p := Package{Name: tt.name, Version: tt.version, Arch: tt.arch, Config: Config{Maintainer: "N <n@example.org>"}, Files: files, ModTime: when()}
		for _, p.Format = range []string{Deb, RPM} {
			if err := WritePackage(filepath.Join(dir, p.Format), p); err != nil {
				t.Fatal(err)
			}
		}
		if got := run(t, dir, "dpkg-deb", "-W", "--showformat=${Package} ${Version} ${Architecture}", "deb"); got != tt.deb {
			t.Errorf("deb: %q, not %q", got, tt.deb)
		}
		got := run(t, dir, "rpm", "--dbpath="+filepath.Join(t.TempDir(), "db"), "-qp", "--qf", "%{NAME} %{VERSION} %{ARCH}", "rpm")
		if got != tt.rpm {
			t.Errorf("rpm: %q, not %q", got, tt.rpm)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		name string
		c    Config
		want string // "" for valid
	}{
		{"empty", Config{}, ""},
		{"all", Config{Packages: Formats(), Maintainer: "N <n@example.org>"}, ""},
		{"unknown", Config{Packages: []string{"msi"}}, `packages: unknown format "msi" (possible: zip,`},
		{"tgz", Config{Packages: []string{"tgz"}}, `do you mean "tar.gz"?`},
		{"twice", Config{Packages: []string{"zip", "zip"}}, `packages: "zip" is listed twice`},
		{"no maintainer", Config{Packages: []string{"deb"}}, "maintainer: deb needs it: write maintainer: Name <mail@example.org>"},
		{"no maintainer for apk", Config{Packages: []string{"apk"}}, "maintainer: apk needs it"},
		{"rpm without", Config{Packages: []string{"rpm"}}, ""},
		{"bad maintainer", Config{Maintainer: "Nora"}, `maintainer: "Nora" is not of the form`},
		{"injected key", Config{License: "MIT\nPre-Depends: evil"}, "license: holds a line break"},
		{"control character", Config{Description: "a\x00b"}, "description: holds a control character"},
		{"two lines", Config{Description: "a\nb"}, ""},
		{"outside", Config{Files: []string{"../x"}}, `files: "../x" must be a slash path inside`},
		{"absolute", Config{Files: []string{"/etc/passwd"}}, "files:"},
		{"pattern", Config{Files: []string{"[x"}}, "files:"},
	} {
		err := tt.c.Validate()
		if tt.want == "" {
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		var ce *ConfigError
		if err == nil || !strings.Contains(err.Error(), tt.want) || !errors.As(err, &ce) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	err := Config{Packages: []string{"x", "y"}, License: "\n"}.Validate()
	if n := strings.Count(err.Error(), "\n"); n != 2 {
		t.Errorf("three mistakes are not three lines: %v", err)
	}
}

func TestWritePackageRefuses(t *testing.T) {
	files := sample(t, 100)
	good := Package{Name: "notes", Version: "1", Arch: "amd64", Format: Deb, Config: config(), Files: files, ModTime: when()}
	for _, tt := range []struct {
		name   string
		change func(p *Package)
		want   string
	}{
		{"no maintainer", func(p *Package) { p.Config.Maintainer = "" }, "maintainer: deb needs it"},
		{"name", func(p *Package) { p.Name = "n" }, "cannot be the name of a deb package"},
		{"version", func(p *Package) { p.Version = "" }, "version is empty"},
		{"apk version", func(p *Package) { p.Format, p.Version = APK, "1.2.3foo.x" }, "cannot be an apk version"},
		{"arch", func(p *Package) { p.Arch = "wasm" }, "leave deb out"},
		{"format", func(p *Package) { p.Format = Zip }, `packages: "zip" is not a package format`},
		{"traversal", func(p *Package) { p.Files = []File{{Name: "/usr/../../x", Path: files[0].Path}} }, "not a clean relative slash path"},
		{"same place", func(p *Package) {
			p.Files = []File{{Name: "a/x", Path: files[0].Path, Mode: 0o755}, {Name: "b/x", Path: files[0].Path, Mode: 0o755}}
		}, "/usr/bin/x: rename one"},
	} {
		p := good
		tt.change(&p)
		dst := filepath.Join(t.TempDir(), "out")
		if err := WritePackage(dst, p); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		if _, err := os.Stat(dst); err == nil {
			t.Errorf("%s: something was written", tt.name)
		}
	}
}

func TestPackageFollowsLinks(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "real"), []byte("content"), 0o755); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink("real", link); err != nil {
		t.Skip("SKIP: no symbolic links here")
	}
	for _, format := range Formats() {
		dst := filepath.Join(t.TempDir(), "out")
		write(t, format, dst, []File{{Name: "notes", Path: link, Mode: 0o755}})
		got, err := read(dst)
		if err != nil {
			t.Fatal(err)
		}
		for name, e := range got {
			if e.body != "content" {
				t.Errorf("%s: %s holds %q", format, name, e.body)
			}
		}
		if len(got) != 1 {
			t.Errorf("%s: %v", format, got)
		}
	}
}

func TestCollect(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"README.md": 0o600, "CHANGES.md": 0o644, "docs/a/b.txt": 0o644, "docs/run.sh": 0o700, "docs/.git/x": 0o644} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	files, err := Config{Files: []string{"*.md", "docs", "README.md"}}.Collect(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range files {
		got = append(got, f.Name+" "+f.Mode.String())
		if !f.Extra {
			t.Errorf("%s is not Extra", f.Name)
		}
	}
	want := "CHANGES.md -rw-r--r--, README.md -rw-r--r--, docs/a/b.txt -rw-r--r--, docs/run.sh -rwxr-xr-x"
	if s := strings.Join(got, ", "); s != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
	var ce *ConfigError
	if _, err := (Config{Files: []string{"LICENSE*"}}).Collect(dir); !errors.As(err, &ce) || !strings.Contains(err.Error(), `"LICENSE*" finds nothing`) {
		t.Errorf("nothing found: %v", err)
	}
	if _, err := (Config{Files: []string{"../*"}}).Collect(dir); !errors.As(err, &ce) {
		t.Errorf("outside: %v", err)
	}
}
