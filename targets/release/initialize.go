package release

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hallmark-build/hallmark/build/environ"
)

// Init writes a hallmark.yaml for the module in the folder, with its programs
// and with comments that say what else there is. It overwrites nothing.
func Init(ctx context.Context, o Options) error {
	file := filepath.Join(o.dir(), ConfigFile)
	if exists(file) {
		return usage("%s exists already: it was left as it is", file)
	}
	programs, err := findPrograms(ctx, o.dir())
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, fs.ErrExist) {
		return usage("%s exists already: it was left as it is", file)
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(template(programs))
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(file)
		return fmt.Errorf("writing %s: %w", file, err)
	}
	for _, p := range programs {
		o.Progress.Printf("%s: %s", p.name, p.main)
	}
	o.Progress.Printf("%s written: look through it, then run `mage check`", file)
	return nil
}

type program struct{ name, main string }

// findPrograms asks the go command for the main packages of the module, whatever
// system is set in the environment: those that are there for every system that
// the template names, else those that are there for one.
func findPrograms(ctx context.Context, dir string) ([]program, error) {
	mains := map[string]program{}
	systems := map[string]int{}
	for _, goos := range []string{"linux", "windows"} {
		out, words, err := listMains(ctx, dir, goos, "-e")
		if err != nil {
			return nil, usage("looking for programs: go list: %w\n%s", err, words)
		}
		for line := range strings.Lines(out) {
			pkg, module, ok := strings.Cut(strings.TrimSpace(line), "\t")
			if !ok {
				continue
			}
			p := program{name: programName(pkg), main: "."}
			if pkg != module {
				p.main = "./" + strings.TrimPrefix(pkg, module+"/")
			}
			mains[pkg] = p
			systems[pkg]++
		}
	}
	if len(mains) == 0 {
		// Only without -e does the go command say that a workspace is the reason.
		if _, words, err := listMains(ctx, dir, "linux"); err != nil && strings.Contains(words, "go.work") {
			return nil, usage("no program here: the go.work above does not list this module: `go work use .` adds it, or set GOWORK=off\n%s", words)
		}
		return nil, usage("no program here: no package main in %s; run this in a module that has one", dir)
	}
	most := slices.Max(slices.Collect(maps.Values(systems)))
	var programs []program
	for _, pkg := range slices.Sorted(maps.Keys(mains)) {
		if systems[pkg] == most {
			programs = append(programs, mains[pkg])
		}
	}
	distinguish(programs)
	return programs, nil
}

// listMains lists the main packages and their module for a system, with cgo, so
// that programs with C code are found, too; nothing is compiled.
func listMains(ctx context.Context, dir, goos string, flags ...string) (out, words string, err error) {
	args := append([]string{"list", "-find", "-f", `{{if eq .Name "main"}}{{.ImportPath}}{{"\t"}}{{.Module.Path}}{{end}}`}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, "./...")...)
	cmd.Dir, cmd.Env = dir, environ.Tools(ctx, "GOOS="+goos, "GOARCH=amd64", "CGO_ENABLED=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.Output()
	return string(stdout), strings.TrimSpace(stderr.String()), err
}

// distinguish gives programs of one name the names of the folders above them as
// well, and a number if that is not enough.
func distinguish(programs []program) {
	count := map[string]int{}
	for _, p := range programs {
		count[p.name]++
	}
	taken := map[string]bool{}
	for i := range programs {
		p := &programs[i]
		if count[p.name] > 1 && p.main != "." {
			if parent := path.Base(path.Dir(p.main)); parent != "." && parent != "cmd" {
				p.name = parent + "-" + p.name
			}
		}
		base := p.name
		for n := 2; taken[p.name]; n++ {
			p.name = fmt.Sprintf("%s-%d", base, n)
		}
		taken[p.name] = true
	}
}

// programName is what `go install` would call a program: the last element of
// its path that is not a version.
func programName(pkg string) string {
	base := path.Base(pkg)
	if len(base) > 1 && base[0] == 'v' && strings.Trim(base[1:], "0123456789") == "" && path.Dir(pkg) != "." {
		base = path.Base(path.Dir(pkg))
	}
	return base
}

// template is the starting configuration.
func template(programs []program) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# What hallmark releases. `+"`mage check`"+` tells whether it can, `+"`mage release`"+` does it.
name: %s

programs:
`, quoteYAML(programs[0].name))
	for _, p := range programs {
		fmt.Fprintf(&b, "  - name: %s\n    main: %s\n", quoteYAML(p.name), quoteYAML(p.main))
	}
	b.WriteString(`    # version: main.version      # variable of the program that gets the version
    # ldflags: ["-s", "-w"]      # without symbol table and debug information
    # tags: [netgo]

targets:                         # windows and linux; amd64, arm64, 386
  - {platform: linux/amd64}
  - {platform: linux/arm64}
  - {platform: windows/amd64}
  # - {platform: windows/arm64, gui: true}                 # no console window
  # - {platform: windows/amd64, toolchain: clang-mingw}    # with C code: gcc, clang, mingw, clang-mingw
  # - {platform: linux/386, go: 1.24.0}                    # by another version of Go, which must not be older than the
  #   go line of the module's go.mod. Hallmark in that go.mod raises the line; in a folder magefiles with a
  #   go.mod of its own, run by "go -C magefiles tool mage -d . -w ..", it leaves the line alone.

# windows:                       # what the Explorer shows
#   icon: assets/icon.ico
#   company: Example Ltd
#   description: What the program does
#   product: Example
#   copyright: © Example Ltd
#   manifest: assets/app.manifest

identity: dev                    # made on this machine, for trying out; for others to trust:
# identity: pkcs11:token=release;object=code-signing       # a hardware token; its PIN from HALLMARK_PASSWORD or a question
# identity: azure:https://weu.codesigning.azure.net/ACCOUNT/PROFILE
# identity: kms:chain.pem+awskms:///alias/release
# identity: pfx:release.pfx      # or pem:chain.pem+key.pem; password like the PIN
# timestamp: [http://timestamp.digicert.com, http://timestamp.sectigo.com]   # which a real identity needs; dev has its own
# sign: {description: What Windows asks about, url: "https://example.com"}
# trust: {ca: roots.pem, tsa: tsa-roots.pem, signer: release.pem}   # whom mage verify trusts on other machines; signer: no other certificate

packages: [zip, tar.gz]          # and deb, rpm, apk, archlinux, which need:
# maintainer: Jane Doe <jane@example.com>
# description: What the program does
# homepage: https://example.com
# license: Apache-2.0
# files: [README.md, LICENSE]    # put into archives and packages too

# strict: true                   # a judge that is not installed is a failure

# judges:                        # programs of yours that judge files too
#   - name: licence scan
#     files: "*.deb"             # or scheme: authenticode
#     command: [licscan, "{file}"]         # {ca}, {tsa}, {signer}: the trusted certificates
#     version: [licscan, --version]
#     accept: {exit: [0], output: "^clean$"}
#     refuse: {exit: [3]}        # any other answer is no verdict, and a failure
#     limits: It knows the licences of its own list.
# allowed:                       # what a judge may say, for a reason and until a day
#   - {judge: licence scan, case: "*.deb", reason: its list is being mended, until: 2027-01-31}
`)
	return b.String()
}

func quoteYAML(s string) string {
	for _, r := range s {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/", r) {
			return fmt.Sprintf("%q", s)
		}
	}
	switch strings.ToLower(s) {
	case "true", "false", "null", "yes", "no", "on", "off", "y", "n", "":
		return fmt.Sprintf("%q", s)
	}
	return s
}
