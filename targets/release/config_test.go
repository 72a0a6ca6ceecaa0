package release

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const goodConfig = `
name: notes
programs:
  - {name: notes, main: ./cmd/notes, version: main.version}
targets:
  - {platform: windows/amd64, gui: true}
  - {platform: linux/arm64}
windows: {company: Notes Ltd, description: Notes}
identity: pfx:release.pfx
timestamp: [http://a.example/, https://b.example/tsr]
sign: {description: Notes, url: "https://notes.example", elf: [appended]}
packages: [zip, tar.gz, deb]
maintainer: Jane Doe <jane@notes.example>
files: [README.md]
trust: {ca: ca.pem, tsa: tsa.pem}
strict: true
`

func TestConfig(t *testing.T) {
	c, err := parseConfig([]byte(goodConfig))
	if err != nil {
		t.Fatal(err)
	}
	if c.Name != "notes" || len(c.Build.Targets) != 2 || !c.Build.Targets[0].GUI || c.Build.Programs[0].Main != "./cmd/notes" ||
		c.Build.Windows.Company != "Notes Ltd" || !slices.Equal(c.Timestamp, []string{"http://a.example/", "https://b.example/tsr"}) ||
		c.Shipping.Packages[2] != "deb" || c.Sign.URL != "https://notes.example" || c.Trust.TSA != "tsa.pem" || !c.Strict {
		t.Errorf("read wrongly: %+v", c)
	}
}

func TestConfigDefaults(t *testing.T) {
	c, err := parseConfig([]byte("programs: [{name: notes}]\ntargets: [{platform: linux/amd64}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Name != "notes" || c.Identity != Development || !c.Timestamp.dev() || c.Dist != "dist" {
		t.Errorf("defaults: %+v", c)
	}
	c, err = parseConfig([]byte("name: notes\ntargets: [{platform: linux/amd64}]\ntimestamp: dev\n"))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Build.Programs) != 1 || c.Build.Programs[0].Name != "notes" {
		t.Errorf("no program by default: %+v", c.Build.Programs)
	}
}

func TestConfigVersion(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{"v1.2.3": "1.2.3", "1.2.3": "1.2.3", "1.2.3rc1": "1.2.3rc1"} {
		c, err := parseConfig([]byte("name: notes\ntargets: [{platform: linux/amd64}]\nversion: " + given + "\n"))
		if err != nil || c.Version != want {
			t.Errorf("%s: %v, %v", given, c, err)
		}
	}
}

func TestConfigProblems(t *testing.T) {
	t.Parallel()
	const base = "name: notes\ntargets: [{platform: linux/amd64}]\n"
	for _, test := range []struct {
		name, text string
		want       []string
	}{
		{"mistyped key", "name: notes\ntargets:\n  - {plaform: linux/amd64}\n", []string{`hallmark.yaml:3: unknown key "plaform" in targets[0] (did you mean "platform"?)`}},
		{"mistyped key at the top", base + "pakages: [zip]\n", []string{`hallmark.yaml:3: unknown key "pakages" (did you mean "packages"?)`}},
		{"swapped letters", base + "strcit: true\n", []string{`hallmark.yaml:3: unknown key "strcit" (did you mean "strict"?)`}},
		{"key in the wrong place", base + "icon: a.ico\nplaform: linux/386\n", []string{
			`hallmark.yaml:3: unknown key "icon" (did you mean "windows.icon"?)`, `hallmark.yaml:4: unknown key "plaform" (did you mean "targets.platform"?)`}},
		{"foreign key", base + "trust: {elephant: a}\n", []string{`hallmark.yaml:3: unknown key "elephant" in trust: the keys are ca, crl, off, signer, tsa`}},
		{"all at once", "nam: notes\ntargets:\n  - {platform: linux/amd64, gui: 7}\nstrict: [a]\n", []string{
			`hallmark.yaml:1: unknown key "nam" (did you mean "name"?)`,
			`hallmark.yaml:3: targets[0].gui: want true or false, not the number 7`,
			`hallmark.yaml:4: strict: want true or false, not a list`}},
		{"key twice", base + "name: other\n", []string{`hallmark.yaml:3: key "name" for the second time: it stands on line 1 already`}},
		{"text for a list", base + "packages: zip\n", []string{`hallmark.yaml:3: packages: want a list, like [a, b], not the text "zip"`}},
		{"list for text", "name: [a]\ntargets: [{platform: linux/amd64}]\n", []string{`hallmark.yaml:1: name: want text, not a list`}},
		{"truth for text", base + "identity: true\n", []string{`hallmark.yaml:3: identity: want text, not the truth value true (put it in quotes if it is text)`}},
		{"text for keys", base + "trust: ca.pem\n", []string{`hallmark.yaml:3: trust: want keys and values, like {ca: …}, not the text "ca.pem"`}},
		{"list at the top", "- a\n", []string{`hallmark.yaml:1: the file: want keys and values`}},
		{"syntax", "name: notes\ntargets: [\n", []string{`hallmark.yaml:`, `did not find expected`}},
		{"second document", base + "---\nname: b\n", []string{`hallmark.yaml:3: a second document starts here`}},
		{"alias", "name: &n notes\ntargets: [{platform: linux/amd64}]\nversion: *n\nstrict: *n\n", []string{`hallmark.yaml:3: the alias *n: write the value itself`, `hallmark.yaml:4: the alias *n`}},
		{"alias of a list", "name: notes\ntargets: &t [{platform: linux/amd64}]\nprograms: *t\n", []string{`hallmark.yaml:3: the alias *t`}},
		{"alias as a key", "name: &strict foo\ntargets: [{platform: linux/amd64}]\n*strict : true\n", []string{`hallmark.yaml:3: the alias *strict`}},
		{"alias in a list", base + "timestamp: [&a http://a.example, *a]\n", []string{`hallmark.yaml:3: the alias *a`}},
		{"list as a key", base + "[a, b]: true\n", []string{`hallmark.yaml:3: a key that is not text`}},
		{"merge", "name: notes\ntargets:\n  - &t {platform: linux/amd64}\n  - {<<: *t}\n", []string{`hallmark.yaml:4: the alias *t`}},
		{"empty", "", []string{`hallmark.yaml: name: missing`, `hallmark.yaml: targets: is empty`}},
		{"no name", "targets: [{platform: linux/amd64}]\n", []string{`name: missing`}},
		{"name with a slash", "name: a/b\ntargets: [{platform: linux/amd64}]\n", []string{`hallmark.yaml:1: name: "a/b" cannot be part of a file name`}},
		{"version with a slash", base + "version: 1/2\n", []string{`hallmark.yaml:3: version: "1/2" is not a version`}},
		{"version like an option", base + "version: -1\n", []string{`hallmark.yaml:3: version: `}},
		{"version with a dash", base + "version: -dirty\n", []string{`hallmark.yaml:3: version: "-dirty" is not a version`}},
		{"impossible platform", "name: notes\ntargets:\n  - {platform: linux/amd64}\n  - {platform: windows/amd46}\n", []string{`hallmark.yaml:4: targets[1].platform: `}},
		{"dist outside", base + "dist: ../out\n", []string{`hallmark.yaml:3: dist: "../out" is not a folder in the module's own folder`}},
		{"dist of git", base + "dist: .GIT/x\n", []string{`hallmark.yaml:3: dist: ".GIT/x" is in git's own folder`}},
		{"dist of a submodule's git", base + "dist: sub/.git/x\n", []string{`hallmark.yaml:3: dist: "sub/.git/x" is in git's own folder`}},
		{"dist a device", base + "dist: out/nul.d\n", []string{`hallmark.yaml:3: dist: "nul.d" is`}},
		{"dist with an escape", base + "dist: \"a\\eb\"\n", []string{`hallmark.yaml:3: dist: "a\x1bb": name folders by`}},
		{"dist an option", base + "dist: -rf\n", []string{`hallmark.yaml:3: dist: "-rf": name folders by`}},
		{"version of words", base + "version: abc\n", []string{`hallmark.yaml:3: version: "abc" is not a version`}},
		{"version for a shell", base + "version: 1.0;id\n", []string{`hallmark.yaml:3: version: "1.0;id" is not a version`}},
		{"device", "name: con\ntargets: [{platform: linux/amd64}]\n", []string{`hallmark.yaml:1: name: "con" is`}},
		{"program a device", "name: notes\nprograms:\n  - {name: aux.tool, main: .}\ntargets: [{platform: linux/amd64}]\n", []string{`hallmark.yaml:3: programs[0].name: "aux.tool" is`}},
		{"dist is all", base + "dist: .\n", []string{`hallmark.yaml:3: dist: "." is not a folder`}},
		{"no timestamp", base + "timestamp: none\n", []string{`hallmark.yaml:3: timestamp: a signature without a timestamp`}},
		{"dev and another", base + "timestamp:\n  - dev\n  - http://a.example\n", []string{`timestamp: dev is the embedded server: it does not go with others`}},
		{"server without scheme", base + "timestamp: a.example\n", []string{`timestamp: "a.example" is neither dev nor a URL`}},
		{"server with a password", base + "timestamp: http://me:secret@a.example\n", []string{`a URL with a user or a password would be seen in the manifest`}},
		{"server with half a password", base + "timestamp: http://me:secret/x@a.example\n", []string{`a URL with a user or a password would be seen in the manifest`}},
		{"server is a mapping", base + "timestamp: {a: b}\n", []string{`hallmark.yaml:3: timestamp: want dev, a URL or a list of URLs, not keys and values`}},
		{"mistyped key of the benchmark", base + "bench:\n  linker: [lld]\n", []string{`hallmark.yaml:4: unknown key "linker" in bench (did you mean "linkers"?)`}},
		{"benchmark of another program", base + "bench:\n  program: other\n", []string{`hallmark.yaml:4: bench.program: "other" is none of the programs`}},
		{"unknown linker", base + "bench:\n  runs: 3\n  linkers:\n    - lld\n    - link.exe\n", []string{
			`hallmark.yaml:4: bench.runs: 3: fewer than 6 runs carry no interval`, `hallmark.yaml:7: bench.linkers[1]: "link.exe" is unknown; possible: bfd, gold, lld, mold`}},
		{"unknown format", base + "packages: [zip, tgz]\n", []string{`hallmark.yaml:3: packages: unknown format "tgz"`}},
		{"two in packages", base + "packages: [deb, tgz]\n", []string{`packages: unknown format "tgz"`, `maintainer: deb needs it`}},
		{"unknown scheme", base + "sign:\n  elf: [elfsign]\n", []string{`hallmark.yaml:4: sign.elf: unknown scheme "elfsign"`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := parseConfig([]byte(test.text))
			var c *ConfigError
			if !errors.As(err, &c) {
				t.Fatalf("no *ConfigError: %v", err)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in:\n%v", want, err)
				}
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("a password is shown: %v", err)
			}
			if code := exitCode(err); code != ExitUsage {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

func TestLoadMissing(t *testing.T) {
	t.Parallel()
	_, err := Load(t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "mage init") || exitCode(err) != ExitUsage {
		t.Errorf("got %v", err)
	}
}

func TestTemplateIsValid(t *testing.T) {
	t.Parallel()
	text := template([]program{{"notes", "."}, {"true", "./cmd/true"}})
	c, err := parseConfig([]byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if c.Name != "notes" || c.Build.Programs[1].Name != "true" || len(c.Build.Targets) != 3 {
		t.Errorf("read wrongly: %+v", c)
	}
	// Every key that a comment mentions must exist, too: take the marks off, line by line.
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		rest, ok := strings.CutPrefix(trimmed, "# ")
		key, _, isKey := strings.Cut(rest, ":")
		if !ok || !isKey || strings.ContainsAny(key, " `{") {
			continue
		}
		for _, parent := range []string{"", "windows: ", "programs: [{name: a, ", "- "} {
			if strings.HasPrefix(line, "#   ") && parent != "windows: " || strings.HasPrefix(line, "    #") && !strings.HasPrefix(parent, "programs") ||
				!strings.HasPrefix(line, "#   ") && !strings.HasPrefix(line, "    #") && parent != "" {
				continue
			}
			value, _, _ := strings.Cut(rest, "  ")
			probe := value + "\n"
			if parent == "windows: " {
				probe = "windows: {" + strings.TrimSpace(value) + "}\n"
			} else if parent != "" {
				probe = parent + strings.TrimSpace(value) + "}]\n"
			}
			var probed Config
			if d := decodeStrict([]byte(probe), &probed); len(d.problems) > 0 && key != "windows" {
				t.Errorf("%q: %v", probe, d.problems)
			}
		}
	}
}

func TestProgramName(t *testing.T) {
	t.Parallel()
	for pkg, want := range map[string]string{
		"example.com/notes": "notes", "example.com/notes/v2": "notes", "example.com/notes/cmd/x": "x", "v2": "v2", "example.com/vim": "vim",
	} {
		if got := programName(pkg); got != want {
			t.Errorf("%s: %s, want %s", pkg, got, want)
		}
	}
}

func TestDistinguish(t *testing.T) {
	t.Parallel()
	programs := []program{{"tool", "."}, {"tool", "./a/tool"}, {"tool", "./b/tool"}, {"tool", "./cmd/tool"}, {"other", "./cmd/other"}, {"tool", "./x/a/tool"}}
	distinguish(programs)
	var got []string
	for _, p := range programs {
		got = append(got, p.name)
	}
	if want := []string{"tool", "a-tool", "b-tool", "tool-2", "other", "a-tool-2"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestInitOverwritesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, ConfigFile)
	if err := os.WriteFile(file, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Init(t.Context(), Options{Dir: dir}); exitCode(err) != ExitUsage {
		t.Errorf("got %v", err)
	}
	if data, _ := os.ReadFile(file); string(data) != "mine" {
		t.Errorf("overwritten: %q", data)
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(goodConfig))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("name: a\n<<: {b: c}\n"))
	f.Add([]byte("? [a]\n: b\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseConfig(data)
		var problems *ConfigError
		if err != nil && !errors.As(err, &problems) {
			t.Errorf("%T: %v", err, err)
		}
		if err == nil && (c.Name == "" || len(c.Build.Targets) == 0 || len(c.Timestamp) == 0) {
			t.Errorf("incomplete: %+v", c)
		}
	})
}

// The commented judges of a starting configuration can be used as they are.
func TestTemplateJudges(t *testing.T) {
	t.Parallel()
	text := template([]program{{"notes", "."}})
	before, judges, ok := strings.Cut(text, "# judges:")
	if !ok {
		t.Fatal("no judges in the template")
	}
	var b strings.Builder
	for l := range strings.Lines("# judges:" + judges) {
		b.WriteString(strings.TrimPrefix(l, "# "))
	}
	c, err := parseConfig([]byte(before + b.String()))
	if err != nil {
		t.Fatal(err)
	}
	j, a := c.Judging.Judges, c.Judging.Allowed
	if len(j) != 1 || len(a) != 1 || j[0].Name != "licence scan" || j[0].Refuse.Exit[0] != 3 || a[0].Until != "2027-01-31" || a[0].Judge != j[0].Name {
		t.Errorf("%+v, %+v", j, a)
	}
}

func TestJudging(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if c, err := Judging(Options{Dir: dir}); err != nil || len(c.Judges) != 0 {
		t.Errorf("without a configuration: %+v, %v", c, err)
	}
	for text, ok := range map[string]bool{
		"name: a\ntargets: [{platform: linux/amd64}]\njudges: [{name: mine, scheme: appended, command: [judge, \"{file}\"]}]\n": true,
		"name: a\ntargets: [{platform: linux/amd64}]\njudges: [{name: mine, scheme: appended, command: [judge, \"{flie}\"]}]\n": false,
	} {
		if err := os.WriteFile(filepath.Join(dir, ConfigFile), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if c, err := Judging(Options{Dir: dir}); (err == nil) != ok || ok != (len(c.Judges) == 1) {
			t.Errorf("%+v, %v", c, err)
		}
	}
}
