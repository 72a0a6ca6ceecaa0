package targets_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/semver"
)

// advisory is the identifier of a published vulnerability.
var advisory = regexp.MustCompile(`^(GO-\d{4}-\d{4,}|CVE-\d{4}-\d{4,}|GHSA(-[0-9a-z]{4}){3})$`)

// behindFixes compares a go.mod with a list of fixes, and returns one line for
// each fix that it is behind.
func behindFixes(gomod, list []byte) ([]string, error) {
	mod, err := modfile.Parse("go.mod", gomod, nil)
	if err != nil {
		return nil, err
	}
	used := map[string]string{}
	for _, r := range mod.Require {
		used[r.Mod.Path] = r.Mod.Version
	}
	used["std"] = "v" + mod.Go.Version
	if mod.Toolchain != nil {
		used["std"] = "v" + strings.TrimPrefix(mod.Toolchain.Name, "go")
	}
	var behind []string
	dated, fixes := false, 0
	scan := bufio.NewScanner(bytes.NewReader(list))
	for n := 1; scan.Scan(); n++ {
		fields := strings.Fields(scan.Text())
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if fields[0] == "date" && len(fields) == 2 {
			if _, err := time.Parse(time.DateOnly, fields[1]); err != nil {
				return nil, err
			}
			dated = true
			continue
		}
		if len(fields) < 3 {
			return nil, fmt.Errorf("line %d: want a module, a version and advisories", n)
		}
		fixed := "v" + strings.TrimPrefix(fields[1], "v")
		if !semver.IsValid(fixed) {
			return nil, fmt.Errorf("line %d: %q is not a version", n, fields[1])
		}
		for _, id := range fields[2:] {
			if !advisory.MatchString(id) {
				return nil, fmt.Errorf("line %d: %q is not the identifier of an advisory", n, id)
			}
		}
		fixes++
		if v := used[fields[0]]; v != "" && semver.Compare(v, fixed) < 0 {
			behind = append(behind, fmt.Sprintf("%s %s is behind %s, which fixes %s", fields[0], v, fixed, strings.Join(fields[2:], " ")))
		}
	}
	if !dated || fixes == 0 {
		return nil, fmt.Errorf("the list has no date or no fixes")
	}
	return behind, scan.Err()
}

// TestVulnerabilities asserts that go.mod is not behind a fix that is known.
func TestVulnerabilities(t *testing.T) {
	t.Parallel()
	read := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join(root(t), filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	gomod, list := read("go.mod"), read(".github/vulnerabilities.txt")
	behind, err := behindFixes(gomod, list)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range behind {
		t.Errorf("%s: go get the newest version", line)
	}
	// The damaged twins.
	for _, change := range []struct{ pattern, old, want string }{
		{`go-git/v5 v\S+`, "go-git/v5 v5.16.5", "github.com/go-git/go-git/v5 v5.16.5 is behind v5.17.1"},
		{`go-billy/v5 v\S+`, "go-billy/v5 v5.7.0", "github.com/go-git/go-billy/v5 v5.7.0 is behind v5.9.0"},
		{`toolchain go\S+`, "toolchain go1.26.8", "std v1.26.8 is behind v1.26.9"},
		{`x/net v\S+`, "x/net v0.60.0", "golang.org/x/net v0.60.0 is behind v0.61.0"},
	} {
		old := regexp.MustCompile(change.pattern).ReplaceAll(gomod, []byte(change.old))
		behind, err := behindFixes(old, list)
		if err != nil || !strings.Contains(strings.Join(behind, "\n"), change.want) {
			t.Errorf("with %s: %q, %v; want %q", change.old, behind, err, change.want)
		}
	}
	for _, bad := range []string{"", "std 1.26.9 GO-2026-6617\n", "date 2026-11-28\nstd 1.26.9\n", "date 2026-11-28\nstd 1.26.9 soon\n", "date 2026-11-28\nstd next GO-2026-6617\n"} {
		if _, err := behindFixes(gomod, []byte(bad)); err == nil {
			t.Errorf("the list %q was read", bad)
		}
	}
}
