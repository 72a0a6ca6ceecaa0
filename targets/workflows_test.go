package targets_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rhysd/actionlint"
	"go.yaml.in/yaml/v3"
)

// workflows returns the workflow files of the repository by path.
func workflows(t *testing.T) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root(t), ".github", "workflows", "*.y*ml"))
	if err != nil || len(files) < 2 {
		t.Fatalf("workflows: %v, %v", files, err)
	}
	found := map[string][]byte{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found[file] = data
	}
	return found
}

// pinned is an action at a commit, with its version in a comment.
var pinned = regexp.MustCompile(`^([\w.-]+/[\w./-]+)@([0-9a-f]{40})$`)

// version is the comment.
var version = regexp.MustCompile(`^# v(\d+)\.\d+\.\d+$`)

// lint runs actionlint, which has no network to ask and calls no other tool.
func lint(t *testing.T, name string, src []byte) []*actionlint.Error {
	t.Helper()
	l, err := actionlint.NewLinter(io.Discard, &actionlint.LinterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	errs, err := l.Lint(name, src, nil)
	if err != nil {
		t.Fatal(err)
	}
	return errs
}

func TestActionlint(t *testing.T) {
	t.Parallel()
	comment := regexp.MustCompile(`@[0-9a-f]{40} # (v\d+)\.\d+\.\d+`)
	for file, src := range workflows(t) {
		for _, err := range lint(t, file, src) {
			t.Error(err)
		}
		// actionlint knows the inputs of actions by their version only.
		unpinned := comment.ReplaceAll(src, []byte("@$1"))
		if bytes.Equal(unpinned, src) {
			t.Errorf("%s: no pin found", file)
		}
		for _, err := range lint(t, file, unpinned) {
			t.Error(err)
		}
	}
	for name, bad := range map[string]string{
		"unknown key":   "on: push\njobs:\n  a:\n    runs-on: ubuntu-24.04\n    step: []\n",
		"unknown input": "on: push\njobs:\n  a:\n    runs-on: ubuntu-24.04\n    steps:\n      - uses: actions/checkout@v6\n        with: {depth: 1}\n",
		"injection":     "on: pull_request\njobs:\n  a:\n    runs-on: ubuntu-24.04\n    steps:\n      - run: echo ${{ github.event.pull_request.title }}\n",
		"absent need":   "on: push\njobs:\n  a:\n    needs: b\n    runs-on: ubuntu-24.04\n    steps:\n      - run: echo\n",
	} {
		if len(lint(t, "bad.yml", []byte(bad))) == 0 {
			t.Errorf("%s: no finding", name)
		}
	}
}

// secret finds the names of secrets in an expression.
var secret = regexp.MustCompile(`secrets\s*(?:\.\s*([A-Za-z_]\w*)|(\[|\b))`)

// workflow is what audit reads of a workflow file. Permissions are a word or a
// mapping.
type workflow struct {
	Permissions yaml.Node      `yaml:"permissions"`
	Env         yaml.Node      `yaml:"env"`
	Jobs        map[string]job `yaml:"jobs"`
}

type job struct {
	Permissions yaml.Node `yaml:"permissions"`
	Environment yaml.Node `yaml:"environment"`
	Timeout     yaml.Node `yaml:"timeout-minutes"`
	Secrets     yaml.Node `yaml:"secrets"`
	Uses        string    `yaml:"uses"`
	Steps       []struct {
		Uses string            `yaml:"uses"`
		With map[string]string `yaml:"with"`
		Name string            `yaml:"name"`
		Run  string            `yaml:"run"`
	} `yaml:"steps"`
}

// audit returns what actionlint does not look for: actions that are not pinned
// to a commit, rights that are wider than they need be, and secrets where they
// have no business.
func audit(src []byte) ([]string, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(src, &doc); err != nil {
		return nil, err
	}
	var w workflow
	if err := doc.Decode(&w); err != nil {
		return nil, err
	}
	var found []string
	say := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }

	walk(&doc, func(key string, n *yaml.Node) {
		if key == "uses" {
			if m := pinned.FindStringSubmatch(n.Value); m == nil {
				say("line %d: %s is not pinned to a commit", n.Line, n.Value)
			} else if !version.MatchString(n.LineComment) {
				say("line %d: %s has no comment with its version", n.Line, n.Value)
			}
		}
		if key == "pull_request_target" || n.Value == "pull_request_target" {
			say("line %d: pull_request_target gives a stranger's change our secrets", n.Line)
		}
	})
	if w.Permissions.IsZero() {
		say("no permissions at the top: the repository's default holds, which may be to write")
	} else if writes(&w.Permissions) {
		say("the permissions at the top are more than read")
	}
	if len(secretsIn(&w.Env)) != 0 {
		say("secrets for every job")
	}
	var raw struct {
		Jobs map[string]yaml.Node `yaml:"jobs"`
	}
	if err := doc.Decode(&raw); err != nil {
		return nil, err
	}
	if len(w.Jobs) == 0 {
		say("no jobs")
	}
	for name, j := range w.Jobs {
		node := raw.Jobs[name]
		secrets := secretsIn(&node)
		if j.Timeout.IsZero() {
			say("job %s has no time limit", name)
		}
		if j.Uses != "" || !j.Secrets.IsZero() {
			say("job %s passes its rights to another workflow", name)
		}
		if !j.Permissions.IsZero() && writes(&j.Permissions) {
			if name != "publish" {
				say("job %s may write; only publish may", name)
			}
			if j.Permissions.Kind == yaml.ScalarNode {
				say("job %s may write everything", name)
			}
			for _, s := range secrets {
				if s != "GITHUB_TOKEN" {
					say("job %s may write and has the secret %s", name, s)
				}
			}
			if !j.Environment.IsZero() {
				say("job %s may write and is in an environment, which has secrets", name)
			}
		} else if len(secrets) != 0 && j.Environment.IsZero() {
			say("job %s has secrets outside an environment", name)
		}
		for _, step := range j.Steps {
			if strings.HasPrefix(step.Uses, "actions/checkout@") && step.With["persist-credentials"] != "false" {
				say("job %s: checkout leaves the token in .git/config", name)
			}
		}
	}
	return found, nil
}

// walk calls fn for every value, with the key it stands under. An alias is what
// it stands for.
func walk(n *yaml.Node, fn func(key string, n *yaml.Node)) {
	visit := func(key string, n *yaml.Node) {
		if n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		fn(key, n)
		walk(n, fn)
	}
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			visit(n.Content[i].Value, n.Content[i+1])
		}
		return
	}
	for _, child := range n.Content {
		visit("", child)
	}
}

// writes reports whether permissions grant more than reading.
func writes(n *yaml.Node) bool {
	switch n.Kind {
	case yaml.ScalarNode:
		return n.Value != "read-all" && n.Value != "{}"
	case yaml.MappingNode:
		for i := 1; i < len(n.Content); i += 2 {
			if v := n.Content[i].Value; v != "read" && v != "none" {
				return true
			}
		}
		return false
	}
	return true
}

// secretsIn returns the secrets that a part of a workflow names; "*" for an
// expression that takes them all.
func secretsIn(n *yaml.Node) []string {
	var found []string
	text := func(s string) {
		for _, m := range secret.FindAllStringSubmatch(s, -1) {
			if m[1] == "" {
				m[1] = "*"
			}
			found = append(found, m[1])
		}
	}
	walk(n, func(_ string, n *yaml.Node) {
		if n.Kind == yaml.ScalarNode {
			text(n.Value)
		}
	})
	return found
}

func TestWorkflowRights(t *testing.T) {
	t.Parallel()
	writers := 0
	for file, src := range workflows(t) {
		found, err := audit(src)
		if err != nil {
			t.Errorf("%s: %v", file, err)
		}
		for _, f := range found {
			t.Errorf("%s: %s", file, f)
		}
		writers += bytes.Count(src, []byte(": write"))
	}
	if writers != 1 {
		t.Errorf("%d rights to write in all workflows, want the one to publish", writers)
	}
}

// The damaged twins of a good workflow: each must be found out.
func TestWorkflowRightsTwins(t *testing.T) {
	t.Parallel()
	const good = `on: [push, pull_request]
permissions:
  contents: read
jobs:
  sign:
    environment: release
    timeout-minutes: 5
    runs-on: ubuntu-24.04
    steps:
      - uses: actions/checkout@de0fac2e4500dabe0009e67214ff5f5447ce83dd # v6.0.2
        with:
          persist-credentials: false
      - run: echo
        env:
          KEY: ${{ secrets.KEY }}
  publish:
    timeout-minutes: 5
    runs-on: ubuntu-24.04
    permissions:
      contents: write
    steps:
      - run: echo
        env:
          TOKEN: ${{ secrets.GITHUB_TOKEN }}
`
	if found, err := audit([]byte(good)); err != nil || len(found) != 0 {
		t.Fatalf("the good one: %v, %v", found, err)
	}
	for name, change := range map[string][2]string{
		"tag":                     {"@de0fac2e4500dabe0009e67214ff5f5447ce83dd # v6.0.2", "@v6"},
		"branch":                  {"@de0fac2e4500dabe0009e67214ff5f5447ce83dd", "@main"},
		"short commit":            {"@de0fac2e4500dabe0009e67214ff5f5447ce83dd", "@de0fac2"},
		"no version":              {" # v6.0.2", ""},
		"version of one number":   {" # v6.0.2", " # v6"},
		"container":               {"actions/checkout@de0fac2e4500dabe0009e67214ff5f5447ce83dd", "docker://alpine:3"},
		"no permissions":          {"permissions:\n  contents: read\n", ""},
		"write-all":               {"permissions:\n  contents: read\n", "permissions: write-all\n"},
		"write at the top":        {"contents: read", "contents: write"},
		"id-token at the top":     {"contents: read", "contents: read\n  id-token: write"},
		"write-all in a job":      {"permissions:\n      contents: write", "permissions: write-all"},
		"write in another job":    {"  sign:\n", "  sign:\n    permissions: {contents: write}\n"},
		"another name":            {"  publish:\n", "  upload:\n"},
		"key to publish":          {"secrets.GITHUB_TOKEN", "secrets.KEY"},
		"key by anchor":           {"          TOKEN: ${{ secrets.GITHUB_TOKEN }}", "          TOKEN: *key"},
		"key by index":            {"secrets.GITHUB_TOKEN", "secrets['KEY']"},
		"all secrets":             {"secrets.GITHUB_TOKEN", "toJSON(secrets)"},
		"environment to publish":  {"  publish:\n", "  publish:\n    environment: release\n"},
		"key without environment": {"    environment: release\n", ""},
		"key for every job":       {"jobs:\n", "env:\n  KEY: ${{ secrets.KEY }}\njobs:\n"},
		"credentials kept":        {"persist-credentials: false", "persist-credentials: true"},
		"credentials by default":  {"        with:\n          persist-credentials: false\n", ""},
		"no time limit":           {"    timeout-minutes: 5\n", ""},
		"target":                  {"on: [push, pull_request]", "on: [push, pull_request_target]"},
		"target with types":       {"on: [push, pull_request]", "on:\n  pull_request_target:\n    types: [opened]"},
		"reusable workflow":       {"  sign:\n", "  other:\n    timeout-minutes: 5\n    uses: a/b/.github/workflows/c.yml@de0fac2e4500dabe0009e67214ff5f5447ce83dd # v1.0.0\n    secrets: inherit\n  sign:\n"},
	} {
		bad := strings.Replace(good, change[0], change[1], 1)
		if name == "key by anchor" {
			bad = strings.Replace(bad, "KEY: ${{", "KEY: &key ${{", 1)
		}
		if bad == good {
			t.Errorf("%s: nothing was changed", name)
		}
		if found, err := audit([]byte(bad)); err == nil && len(found) == 0 {
			t.Errorf("%s was not found:\n%s", name, bad)
		}
	}
}

// releaseWorkflow reads release.yml.
func releaseWorkflow(t *testing.T) workflow {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root(t), ".github", "workflows", "release.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var w workflow
	if err := yaml.Unmarshal(data, &w); err != nil {
		t.Fatal(err)
	}
	return w
}

// What is published is what the manifest lists, whatever else stands in dist.
func TestPublishesByManifest(t *testing.T) {
	t.Parallel()
	w := releaseWorkflow(t)
	var script string
	for _, step := range w.Jobs["publish"].Steps {
		if step.Name == "Publish" {
			script = step.Run
		}
	}
	if !strings.Contains(script, "dist/manifest.json") || strings.Contains(script, "find ") || strings.Contains(script, "dist/*") {
		t.Errorf("the files are not taken from the manifest:\n%s", script)
	}
	if _, err := exec.LookPath("jq"); err != nil {
		t.Skip("SKIP: jq missing: apt package jq")
	}
	dir, bin := t.TempDir(), t.TempDir()
	sum := func(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }
	empty := sum("")
	sums := empty + "  bin/linux_amd64/notes\n" + empty + "  notes 1.zip\n" + empty + "  trust/ca.pem\n"
	manifest := fmt.Sprintf(`{"artifacts": [{"path": "SHA256SUMS", "sha256": %q}, {"path": "bin/linux_amd64/notes", "sha256": %q}, {"path": "notes 1.zip", "sha256": %q}, {"path": "trust/ca.pem", "sha256": %q}]}`,
		sum(sums), empty, empty, empty)
	for name, text := range map[string]string{
		"dist/manifest.json":         manifest,
		"dist/report.md":             "",
		"dist/report.html":           "",
		"dist/SHA256SUMS":            sums,
		"dist/bin/linux_amd64/notes": "",
		"dist/notes 1.zip":           "",
		"dist/trust/ca.pem":          "",
		"dist/stray.zip":             "",
	} {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	// A gh that knows no release, and says what it is called with.
	fake := "#!/bin/sh\n[ \"$2\" != view ] || exit 1\n[ \"$2\" != upload ] || printf '<%s>' \"$@\" >uploaded\n"
	if err := os.WriteFile(filepath.Join(bin, "gh"), []byte(fake), 0o700); err != nil {
		t.Fatal(err)
	}
	publish := func(manifest string) (string, error) {
		os.Remove(filepath.Join(dir, "uploaded"))
		// As GitHub runs it.
		cmd := exec.CommandContext(t.Context(), "bash", "-e", "-c", script)
		cmd.Dir = dir
		cmd.Env = []string{"PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH"), "GITHUB_REF_NAME=v1", "RUNNER_TEMP=" + t.TempDir(), "MANIFEST=" + manifest,
			"REPORTS=" + sum(empty+"  report.md\n"+empty+"  report.html\n")}
		out, err := cmd.CombinedOutput()
		got, _ := os.ReadFile(filepath.Join(dir, "uploaded"))
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return string(got), err
	}
	got, err := publish(sum(manifest))
	want := "<release><upload><v1><--clobber><dist/SHA256SUMS><dist/notes 1.zip><dist/trust/ca.pem><dist/manifest.json><dist/report.md><dist/report.html><all-files.tar.gz>"
	if err != nil || got != want {
		t.Errorf("uploaded %s, %v, want %s", got, err, want)
	}
	out, err := exec.CommandContext(t.Context(), "tar", "-tzf", filepath.Join(dir, "all-files.tar.gz")).Output()
	if err != nil || string(out) != "SHA256SUMS\nbin/linux_amd64/notes\nnotes 1.zip\ntrust/ca.pem\nmanifest.json\nreport.md\nreport.html\n" {
		t.Errorf("all-files.tar.gz holds %s, %v", out, err)
	}
	// A report that the job sign did not write.
	report := filepath.Join(dir, "dist", "report.html")
	if err := os.WriteFile(report, []byte("<h1>other</h1>"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := publish(sum(manifest)); err == nil || got != "" || !strings.Contains(err.Error(), "is not what the job sign wrote") {
		t.Errorf("another report: uploaded %q, %v", got, err)
	}
	if err := os.WriteFile(report, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	// Another manifest than the one that was signed, and another file.
	if got, err := publish(empty); err == nil || got != "" {
		t.Errorf("another manifest: uploaded %s", got)
	}
	if err := os.WriteFile(filepath.Join(dir, "dist", "notes 1.zip"), []byte("evil"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := publish(sum(manifest)); err == nil || got != "" {
		t.Errorf("another file: uploaded %s", got)
	}
}

// The jobs unpack nothing but regular files and folders below dist/, after what
// they run was compiled.
func TestUnpacks(t *testing.T) {
	t.Parallel()
	w := releaseWorkflow(t)
	script, unpacking := "", 0
	for name, j := range w.Jobs {
		fetched := false
		for _, step := range j.Steps {
			fetched = fetched || strings.HasPrefix(step.Uses, "actions/download-artifact@")
			if fetched && (strings.Contains(step.Run, "go tool") || strings.Contains(step.Run, "go run") || strings.Contains(step.Run, "go build")) {
				t.Errorf("job %s compiles after a tar file was fetched: %s", name, step.Run)
			}
			if step.Name != "Unpack" {
				if strings.Contains(step.Run, "tar -x") {
					t.Errorf("job %s unpacks in the step %s", name, step.Name)
				}
				continue
			}
			unpacking++
			if script != "" && step.Run != script {
				t.Errorf("job %s unpacks in another way", name)
			}
			script = step.Run
		}
	}
	if unpacking != 5 {
		t.Fatalf("%d jobs unpack", unpacking)
	}
	// So many that what lists them is still writing when the first is refused.
	many := []tar.Header{{Name: "magefile.go", Mode: 0o644}}
	for i := range 5000 {
		many = append(many, tar.Header{Name: fmt.Sprintf("dist/%080d", i), Mode: 0o644})
	}
	for name, test := range map[string]struct {
		headers []tar.Header
		ok      bool
	}{
		"many":         {many, false},
		"good":         {[]tar.Header{{Name: "dist/", Typeflag: tar.TypeDir, Mode: 0o755}, {Name: "dist/bin/a b", Mode: 0o755}}, true},
		"beside":       {[]tar.Header{{Name: "dist/a", Mode: 0o644}, {Name: "magefile.go", Mode: 0o644}}, false},
		"prefix":       {[]tar.Header{{Name: "dist/a", Mode: 0o644}, {Name: "distant/a", Mode: 0o644}}, false},
		"absolute":     {[]tar.Header{{Name: "dist/a", Mode: 0o644}, {Name: "/dist/a", Mode: 0o644}}, false},
		"above":        {[]tar.Header{{Name: "dist/a", Mode: 0o644}, {Name: "dist/../magefile.go", Mode: 0o644}}, false},
		"link":         {[]tar.Header{{Name: "dist/a", Typeflag: tar.TypeSymlink, Linkname: "/etc"}, {Name: "dist/a/b", Mode: 0o644}}, false},
		"dist a link":  {[]tar.Header{{Name: "dist", Typeflag: tar.TypeSymlink, Linkname: "."}}, false},
		"hard link":    {[]tar.Header{{Name: "dist/a", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"}}, false},
		"pipe":         {[]tar.Header{{Name: "dist/a", Typeflag: tar.TypeFifo, Mode: 0o644}}, false},
		"line in name": {[]tar.Header{{Name: "dist/a\nmagefile.go", Mode: 0o644}}, false},
	} {
		dir := t.TempDir()
		f, err := os.Create(filepath.Join(dir, "x.tar"))
		if err != nil {
			t.Fatal(err)
		}
		tw := tar.NewWriter(f)
		for _, h := range test.headers {
			if err := tw.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(tw.Close(), f.Close(), os.Mkdir(filepath.Join(dir, "checkout"), 0o755)); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "bash", "-e", "-o", "pipefail", "-c", script)
		cmd.Dir = filepath.Join(dir, "checkout")
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TAR=" + filepath.Join(dir, "x.tar"), "RUNNER_TEMP=" + t.TempDir()}
		out, err := cmd.CombinedOutput()
		if (err == nil) != test.ok {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		entries, err := os.ReadDir(cmd.Dir)
		if err != nil || len(entries) > 1 || !test.ok && len(entries) != 0 || test.ok && entries[0].Name() != "dist" {
			t.Errorf("%s: the checkout holds %v, %v", name, entries, err)
		}
	}
}

// .ci/run runs the one command, from the root, wherever it is called from and
// whether or not there is a home.
func TestCIRun(t *testing.T) {
	t.Parallel()
	script := filepath.Join(root(t), ".ci", "run")
	if info, err := os.Stat(script); err != nil || info.Mode()&0o111 != 0o111 {
		t.Fatalf("%s is not executable: %v", script, err)
	}
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("SKIP: bash missing: apt package bash")
	}
	// A go that only says how it was called.
	bin := t.TempDir()
	fake := "#!/bin/sh\necho \"go $* in $(pwd) with HOME=${HOME-unset} GOFLAGS=${GOFLAGS-}\"\n[ \"$1\" != tool ] || exit ${FAIL-0}\n"
	if err := os.WriteFile(filepath.Join(bin, "go"), []byte(fake), 0o700); err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	for name, test := range map[string]struct {
		env  []string
		want string
		fail bool
	}{
		"home":       {env: []string{"HOME=" + home}, want: "with HOME=" + home + " "},
		"no home":    {want: "with HOME=/"},
		"empty home": {env: []string{"HOME="}, want: "with HOME=/"},
		"flags":      {env: []string{"HOME=" + home, "GOFLAGS=-buildvcs=false"}, want: "GOFLAGS=-buildvcs=false"},
		"failure":    {env: []string{"HOME=" + home, "FAIL=3"}, want: "go tool mage setup test", fail: true},
	} {
		cmd := exec.CommandContext(context.Background(), script)
		cmd.Dir = t.TempDir()
		cmd.Env = append([]string{"PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH")}, test.env...)
		out, err := cmd.CombinedOutput()
		if (err != nil) != test.fail {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		call := "go tool mage setup test in " + root(t) + " "
		if !strings.Contains(string(out), call) || !strings.Contains(string(out), "+ go tool mage setup test\n") || !strings.Contains(string(out), test.want) {
			t.Errorf("%s: want %q and %q in\n%s", name, call, test.want, out)
		}
	}
}
