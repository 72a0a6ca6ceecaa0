package dist

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCollectPatterns judges patterns by what the documentation of doublestar says of them.
func TestCollectPatterns(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"README.md", ".env.md", "docs/a.md", "docs/b.txt", "docs/deep/c.md", "docs/deep/er/d.md", "other/e.md"} {
		writeFile(t, filepath.Join(dir, filepath.FromSlash(name)), name)
	}
	for pattern, want := range map[string]string{
		"docs/**/*":         "docs/a.md docs/b.txt docs/deep/c.md docs/deep/er/d.md",
		"docs/**":           "docs/a.md docs/b.txt docs/deep/c.md docs/deep/er/d.md",
		"**/*.md":           ".env.md README.md docs/a.md docs/deep/c.md docs/deep/er/d.md other/e.md",
		"docs/**/*.md":      "docs/a.md docs/deep/c.md docs/deep/er/d.md",
		"docs/*.md":         "docs/a.md",
		"docs/*/*.md":       "docs/deep/c.md",
		"{docs,other}/*.md": "docs/a.md other/e.md",
		"docs/[ab].*":       "docs/a.md docs/b.txt",
		"./docs/b.txt":      "docs/b.txt",
		"docs/**/er":        "docs/deep/er/d.md",
	} {
		files, err := Config{Files: []string{pattern}}.Collect(dir)
		if err != nil {
			t.Errorf("%s: %v", pattern, err)
		}
		var names []string
		for _, f := range files {
			names = append(names, f.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: found %s, want %s", pattern, got, want)
		}
	}
	for _, pattern := range []string{"docs/**/*.pdf", "none", "none/*", "docs/x*", "README.md/*", "docs/[", "{a", "docs/../README.md", "/etc/passwd", ""} {
		_, err := Config{Files: []string{"README.md", pattern}}.Collect(dir)
		var wrong *ConfigError
		if !errors.As(err, &wrong) || wrong.Key != "files[1]" {
			t.Errorf("%q: %v", pattern, err)
		}
	}
}

// TestCollectStaysInside plays a checkout whose links lead out of the module.
func TestCollectStaysInside(t *testing.T) {
	outside := t.TempDir()
	writeFile(t, filepath.Join(outside, "shadow"), "secret")
	link := func(to string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			if err := os.Symlink(to, filepath.Join(dir, "docs", "x.md")); err != nil {
				t.Fatal(err)
			}
		}
	}
	cases := map[string]struct {
		make func(t *testing.T, dir string)
		said string // "": accepted
	}{
		"to another file in it": {link("../README.md"), ""},
		"to a file outside":     {link(filepath.Join(outside, "shadow")), "leads out of the module"},
		"relative, to outside":  {link("../../outside"), "leads out of the module"},
		"to the environment":    {link("/proc/self/environ"), "leads out of the module"},
		"to a folder outside":   {link(outside), "leads out of the module"},
		"to a folder in it":     {link("../other"), "is a link to a folder"},
		"to nothing":            {link("nothing"), "leads nowhere"},
		"a loop":                {link("x.md"), "x.md"},
		"to a device":           {link("/dev/zero"), "leads out of the module"},
		"through a link outside": {func(t *testing.T, dir string) {
			link("../away/shadow")(t, dir)
			symlink(t, outside, filepath.Join(dir, "away"))
		}, "leads out of the module"},
		"a FIFO":                  {func(t *testing.T, dir string) { fifo(t, filepath.Join(dir, "docs", "x.md")) }, "not a regular file"},
		"to a FIFO in the module": {func(t *testing.T, dir string) { link("../fifo")(t, dir); fifo(t, filepath.Join(dir, "fifo")) }, "not a regular file"},
		"a name that paints":      {func(t *testing.T, dir string) { writeFile(t, filepath.Join(dir, "docs", "x\x1b[2J.md"), "x") }, "x\\x1b[2J.md"},
		"a name right to left":    {func(t *testing.T, dir string) { writeFile(t, filepath.Join(dir, "docs", "x\u202edm.exe.md"), "x") }, "\\u202e"},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			for _, pattern := range []string{"docs", "docs/*.md", "**/*.md", "docs/x*"} {
				dir := filepath.Join(t.TempDir(), "module")
				writeFile(t, filepath.Join(dir, "README.md"), "good")
				writeFile(t, filepath.Join(dir, "docs", "a.md"), "good")
				writeFile(t, filepath.Join(dir, "other", "b.md"), "good")
				test.make(t, dir)
				files, err := Config{Files: []string{pattern}}.Collect(dir)
				if test.said == "" {
					var b strings.Builder
					for _, f := range files {
						if _, err := f.WriteTo(&b); err != nil {
							t.Error(err)
						}
					}
					if err != nil || !strings.HasPrefix(b.String(), "good") {
						t.Errorf("%s: %q, %v", pattern, b.String(), err)
					}
					continue
				}
				var wrong *ConfigError
				if !errors.As(err, &wrong) || !strings.Contains(err.Error(), test.said) {
					t.Errorf("%s: %v, %v", pattern, files, err)
				}
			}
		})
	}
}

// TestSwappedAfterCollect plays somebody who puts a link in the place of a file that was found already.
func TestSwappedAfterCollect(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	writeFile(t, secret, "secret")
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "README.md"), "good")
	files, err := Config{Files: []string{"README.md"}}.Collect(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(files[0].Path); err != nil {
		t.Fatal(err)
	}
	symlink(t, secret, files[0].Path)
	for _, format := range Formats() {
		dst := filepath.Join(t.TempDir(), "out")
		switch format {
		case Zip:
			err = WriteZip(dst, files, when())
		case TarGz:
			err = WriteTarGz(dst, files, when())
		default:
			err = WritePackage(dst, Package{Name: "notes", Version: "1", Arch: "amd64", Format: format, Config: config(), Files: files, ModTime: when()})
		}
		if err == nil {
			t.Errorf("%s: a link out of the module was packed", format)
		}
	}
}

func symlink(t *testing.T, to, name string) {
	t.Helper()
	if err := os.Symlink(to, name); err != nil {
		t.Fatal(err)
	}
}

func TestNames(t *testing.T) {
	for name, want := range map[string]struct{ any, zip bool }{
		"README.md": {true, true}, "größe.txt": {true, true}, "docs/a b.txt": {true, true}, "console.log": {true, true}, "com10": {true, true}, "nullable": {true, true},
		"con": {true, false}, "docs/NUL": {true, false}, "aux.txt": {true, false}, "com1": {true, false}, "Lpt9.tar.gz": {true, false}, "COM¹": {true, false},
		"con .txt": {true, false}, "a./b": {true, false}, "docs /b": {true, false}, "CONIN$": {true, false},
		"../a": {}, "/a": {}, "a//b": {}, "a/../b": {}, ".": {}, "": {}, "a\\b": {}, "c:a": {}, "a\x00": {}, "a\nb": {}, "a\x7f": {}, "a\u202eb": {}, "a\u2066b": {}, "a\u200eb": {},
		"a\u2028b": {}, "a\ufeffb": {}, "a\u0085b": {}, "\xff": {},
	} {
		if err := checkName(name); (err == nil) != want.any {
			t.Errorf("%q: %v", name, err)
		}
		if err := checkZipName(name); (err == nil) != want.zip {
			t.Errorf("%q in a zip: %v", name, err)
		}
	}
	for _, test := range []struct {
		names        []string
		unix, folded bool
	}{
		{[]string{"a", "b"}, true, true}, {[]string{"a/b", "a/c"}, true, true}, {[]string{"a/b", "a/"}, true, true},
		{[]string{"a", "A"}, true, false}, {[]string{"a/x", "A"}, true, false},
		{[]string{"a", "a"}, false, false}, {[]string{"a/", "a/"}, false, false}, {[]string{"a", "a/b"}, false, false}, {[]string{"a/b", "a"}, false, false},
	} {
		for _, fold := range []bool{false, true} {
			s, want := newNameSet(fold), test.unix
			if fold {
				want = test.folded
			}
			var err error
			for _, n := range test.names {
				n, folder := strings.CutSuffix(n, "/")
				err = errors.Join(err, s.add(n, folder))
			}
			if (err == nil) != want {
				t.Errorf("%q, fold %v: %v", test.names, fold, err)
			}
		}
	}
}
