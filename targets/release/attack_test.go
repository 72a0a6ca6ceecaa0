package release

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hallmark-build/hallmark/signing"
)

// The tests of this file play an attacker who can write into dist and has no
// key: on the machine that builds and signs, or between two machines.

// victim is a project whose dist folder is attacked.
type victim struct {
	t    *testing.T
	dir  string
	o    Options
	out  bytes.Buffer
	evil []byte // a program of the attacker
}

const victimConfig = `name: notes
version: 1.0.0
targets: [{platform: linux/amd64}]
packages: [zip]
`

const victimProgram = "bin/linux_amd64/notes"

func newVictim(t *testing.T) *victim {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIP: compiles and judges releases; run without -short")
	}
	t.Setenv("GOFLAGS", "-buildvcs=false")
	base := t.TempDir()
	v := &victim{t: t, dir: filepath.Join(base, "notes")}
	v.o = Options{Dir: v.dir, KeyDir: filepath.Join(base, "keys"), StateDir: filepath.Join(base, "state"), Progress: Plain(&v.out)}
	if err := os.Mkdir(v.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	v.write("go.mod", "module example.com/notes\n\ngo 1.24\n")
	v.write("main.go", "package main\n\nfunc main() { println(\"evil\") }\n")
	v.write(ConfigFile, victimConfig)
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(base, "evil"), ".")
	cmd.Dir, cmd.Env = v.dir, append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	v.evil = v.read("../evil")
	v.write("main.go", "package main\n\nfunc main() { println(\"notes\") }\n")
	return v
}

func (v *victim) path(name string) string { return filepath.Join(v.dir, filepath.FromSlash(name)) }

func (v *victim) read(name string) []byte {
	v.t.Helper()
	data, err := os.ReadFile(v.path(name))
	if err != nil {
		v.t.Fatal(err)
	}
	return data
}

func (v *victim) write(name, text string) {
	v.t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(v.path(name)), 0o755), os.WriteFile(v.path(name), []byte(text), 0o644)); err != nil {
		v.t.Fatal(err)
	}
}

// do runs a stage that has to succeed.
func (v *victim) do(stage func(context.Context, Options) error) {
	v.t.Helper()
	if err := stage(v.t.Context(), v.o); err != nil {
		v.t.Fatalf("%v\n%s", err, &v.out)
	}
}

// refuses runs a stage that has to fail, with an exit code and some words, and
// to leave the programs and packages in dist as they are.
func (v *victim) refuses(stage func(context.Context, Options) error, code int, words string) {
	v.t.Helper()
	before := v.artifacts()
	err := stage(v.t.Context(), v.o)
	if err == nil {
		v.t.Errorf("it succeeded, want exit code %d and %q\n%s", code, words, &v.out)
		return
	}
	if got := Exit(err).(*ExitError).Code; got != code || !strings.Contains(err.Error(), words) {
		v.t.Errorf("exit code %d, want %d, for %v, want %q", got, code, err, words)
	}
	if after := v.artifacts(); !slices.Equal(before, after) {
		v.t.Errorf("dist was changed:\n%v\n%v", before, after)
	}
}

// artifacts lists what stands in dist, but for the records.
func (v *victim) artifacts() []string {
	v.t.Helper()
	return slices.DeleteFunc(tree(v.t, v.path("dist")), func(line string) bool {
		return strings.Contains(line, ManifestFile) || strings.Contains(line, "report.")
	})
}

// manifest lets the attacker change the manifest.
func (v *victim) manifest(change func(m map[string]any)) {
	v.t.Helper()
	var m map[string]any
	if err := json.Unmarshal(v.read("dist/manifest.json"), &m); err != nil {
		v.t.Fatal(err)
	}
	change(m)
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		v.t.Fatal(err)
	}
	v.write("dist/manifest.json", string(data)+"\n")
}

// entry finds an artifact in a manifest.
func entry(m map[string]any, path string) map[string]any {
	for _, e := range m["artifacts"].([]any) {
		if e := e.(map[string]any); e["path"] == path {
			return e
		}
	}
	return nil
}

// replace puts a program into dist, and into what the manifest says of it.
func (v *victim) replace(rel string, program []byte, unsigned bool) {
	v.t.Helper()
	v.write("dist/"+rel, string(program))
	if err := os.Chmod(v.path("dist/"+rel), 0o755); err != nil {
		v.t.Fatal(err)
	}
	v.manifest(func(m map[string]any) {
		e := entry(m, rel)
		e["sha256"], e["size"], e["mode"] = sumBytes(program), len(program), "0755"
		if unsigned {
			e["unsigned_sha256"] = sumBytes(program)
		}
	})
}

// isHonest demands that the published program is what the sources give, signed.
func (v *victim) isHonest(built string) {
	v.t.Helper()
	if got := v.unsigned(); got != built {
		v.t.Errorf("the published program is not what was built: %s, want %s\n%s", got, built, &v.out)
	}
}

// unsigned is the SHA-256 of the program in dist without its signature.
func (v *victim) unsigned() string {
	v.t.Helper()
	copied := filepath.Join(v.t.TempDir(), "copy")
	if err := os.WriteFile(copied, v.read("dist/"+victimProgram), 0o755); err != nil {
		v.t.Fatal(err)
	}
	if err := signing.Unsign(v.t.Context(), copied, copied); err != nil {
		v.t.Fatalf("the published program is not signed: %v", err)
	}
	sum, err := hashFile(v.t.Context(), copied)
	if err != nil {
		v.t.Fatal(err)
	}
	return sum
}

// D2: a program of the attacker's stands in dist under the build key of ours.
func TestAttackForgedBuild(t *testing.T) {
	v := newVictim(t)
	v.do(Build)
	built := sumBytes(v.read("dist/" + victimProgram))
	v.replace(victimProgram, v.evil, true)
	v.refuses(Sign, ExitUsage, "dist/manifest.json is not believed")
	v.o.Rebuild = true
	v.refuses(Sign, ExitTampered, "not what these sources give")
	v.o.Rebuild = false
	v.do(Run)
	v.isHonest(built)
	if !strings.Contains(v.out.String(), "is not believed: this machine did not write it, or it was changed since: everything is made again") {
		t.Errorf("not a word:\n%s", &v.out)
	}
	v.do(Verify)

	// The honest twin: nothing is made again.
	v.out.Reset()
	v.do(Run)
	if !strings.Contains(v.out.String(), "nothing changed") {
		t.Errorf("made again:\n%s", &v.out)
	}
}

// D2: the manifest lists a program that hallmark.yaml does not name, even in the
// manifest that the user means.
func TestAttackForeignProgram(t *testing.T) {
	v := newVictim(t)
	v.do(Build)
	v.write("dist/bin/linux_arm64/tool", string(v.evil))
	v.manifest(func(m map[string]any) {
		m["artifacts"] = append(m["artifacts"].([]any), map[string]any{"path": "bin/linux_arm64/tool", "kind": "binary", "program": "tool",
			"platform": "linux/arm64", "toolchain": "none", "size": len(v.evil), "sha256": sumBytes(v.evil), "mode": "0644", "unsigned_sha256": sumBytes(v.evil)})
	})
	v.refuses(Sign, ExitUsage, "is not believed")
	v.o.Manifest = sumBytes(v.read("dist/manifest.json"))
	v.refuses(Sign, ExitUsage, "lists bin/linux_arm64/tool, which hallmark.yaml does not name")
	v.o.Manifest, v.o.Rebuild = "", true
	v.refuses(Sign, ExitUsage, "lists bin/linux_arm64/tool, which hallmark.yaml does not name")
	v.o.Rebuild = false
	v.refuses(Verify, ExitTampered, "the manifest lists it, and hallmark.yaml does not demand it")
}

// D2: sign on another machine, with the digest of the manifest, and without.
func TestAttackBetweenMachines(t *testing.T) {
	v := newVictim(t)
	v.do(Build)
	built := sumBytes(v.read("dist/" + victimProgram))
	sum := sumBytes(v.read("dist/manifest.json"))
	v.o.StateDir = filepath.Join(t.TempDir(), "state of another machine")
	v.refuses(Sign, ExitUsage, "is not believed")
	v.refuses(Package, ExitUsage, "is not believed")
	if exists(v.o.StateDir) {
		t.Error("a refusal made a state folder")
	}
	honest := v.read("dist/manifest.json")
	program := v.read("dist/" + victimProgram)
	v.replace(victimProgram, v.evil, true)
	v.o.Manifest = sum
	v.refuses(Sign, ExitTampered, "and -manifest says "+sum)
	v.write("dist/manifest.json", string(honest))
	v.refuses(Sign, ExitTampered, "not what was built")
	v.write("dist/"+victimProgram, string(program))
	v.do(Sign)
	v.isHonest(built)
}

// D2: with -rebuild, the honest program is signed without anybody's word for it.
func TestRebuild(t *testing.T) {
	v := newVictim(t)
	v.do(Build)
	built := sumBytes(v.read("dist/" + victimProgram))
	v.o.StateDir, v.o.Rebuild = filepath.Join(t.TempDir(), "state of another machine"), true
	v.do(Sign)
	v.isHonest(built)
	v.o.Rebuild = false
	v.do(Package)
	v.do(Verify)
}

// D2: an unsigned program is called signed and judged, by keys that anybody can
// compute.
func TestAttackForgedVerdict(t *testing.T) {
	v := newVictim(t)
	v.do(Run)
	built := v.unsigned()
	v.replace(victimProgram, v.evil, true)
	c, err := Load(v.dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := openSigner(t.Context(), ownVersion(), c, v.o)
	if err != nil {
		t.Fatal(err)
	}
	m, err := ReadManifest(v.path("dist"))
	if err != nil {
		t.Fatal(err)
	}
	e := *m.Entry(victimProgram)
	judgeKey := newCourt(ownVersion(), c, v.o, s.anchors).keyFor(e, m.Artifacts)
	v.manifest(func(m map[string]any) {
		e := entry(m, victimProgram)
		e["sign_key"], e["judge_key"] = s.keyFor(sumBytes(v.evil)), judgeKey
	})
	v.do(Run)
	v.isHonest(built)
	v.do(Verify)
}

// D2: an older release of this machine's own is put back, with its manifest.
func TestAttackRollback(t *testing.T) {
	v := newVictim(t)
	v.do(Build)
	old := filepath.Join(t.TempDir(), "old")
	if err := os.CopyFS(old, os.DirFS(v.path("dist"))); err != nil {
		t.Fatal(err)
	}
	v.write("main.go", "package main\n\nfunc main() { println(\"a fault was mended\") }\n")
	v.do(Build)
	if err := errors.Join(os.RemoveAll(v.path("dist")), os.CopyFS(v.path("dist"), os.DirFS(old)), os.Chmod(v.path("dist/"+victimProgram), 0o755)); err != nil {
		t.Fatal(err)
	}
	v.refuses(Sign, ExitUsage, "is not believed")
}

// D2: a state folder in which others can write is not believed, nor one in dist.
func TestAttackState(t *testing.T) {
	v := newVictim(t)
	v.do(Build)
	v.do(Sign)
	if err := os.Chmod(filepath.Join(v.o.StateDir, "records"), 0o777); err != nil {
		t.Fatal(err)
	}
	v.refuses(Package, ExitUsage, "can be written by others")
	if err := os.Chmod(filepath.Join(v.o.StateDir, "records"), 0o700); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(v.o.StateDir, "records", "*.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	if info, err := os.Stat(files[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the record: %v, %v", info.Mode(), err)
	}
	v.do(Package)
	v.o.StateDir = v.path("dist/state")
	v.refuses(Package, ExitUsage, "inside of dist")
}

// D3: the signatures are taken off, and the manifest calls the programs trust
// files.
func TestAttackNoSignatures(t *testing.T) {
	v := newVictim(t)
	v.do(Run)
	c, err := Load(v.dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := openSigner(t.Context(), ownVersion(), c, v.o)
	if err != nil {
		t.Fatal(err)
	}
	v.write("ca.pem", string(s.anchors.ca))
	v.write("tsa.pem", string(s.anchors.tsa))
	v.write(ConfigFile, victimConfig+"trust: {ca: ca.pem, tsa: tsa.pem}\n")
	v.do(Verify)
	v.replace(victimProgram, v.evil, true)
	v.manifest(func(m map[string]any) {
		e := entry(m, victimProgram)
		e["kind"] = "trust"
		delete(e, "signature")
	})
	v.refuses(Verify, ExitTampered, victimProgram+": hallmark: unsigned")
	v.refuses(Verify, ExitTampered, victimProgram+": hallmark: the manifest lists it as a trust of another program")

	// Nor does it help to list it nowhere, or to take it away.
	v.manifest(func(m map[string]any) {
		m["artifacts"] = slices.DeleteFunc(m["artifacts"].([]any), func(e any) bool { return e.(map[string]any)["path"] == victimProgram })
	})
	v.refuses(Verify, ExitTampered, victimProgram+": hallmark: not judged: not in the manifest")
	if err := os.Remove(v.path("dist/" + victimProgram)); err != nil {
		t.Fatal(err)
	}
	v.refuses(Verify, ExitTampered, victimProgram+": hallmark: hallmark.yaml demands it, and the manifest does not list it")
}

// D3: signatures beside files, and in packages, are demanded by the
// configuration, not by the manifest.
func TestAttackNoDetached(t *testing.T) {
	v := newVictim(t)
	v.do(Run)
	if err := os.Remove(v.path("dist/SHA256SUMS.p7s")); err != nil {
		t.Fatal(err)
	}
	v.manifest(func(m map[string]any) {
		m["artifacts"] = slices.DeleteFunc(m["artifacts"].([]any), func(e any) bool { return e.(map[string]any)["path"] == "SHA256SUMS.p7s" })
	})
	v.refuses(Verify, ExitUnsigned, "SHA256SUMS.p7s: hallmark: hallmark.yaml demands it")
}

// D3: Go reads one list of artifacts, jq another.
func TestAttackTwoLists(t *testing.T) {
	v := newVictim(t)
	v.do(Run)
	honest := string(v.read("dist/manifest.json"))
	for _, twin := range []string{`"ARTIFACTS": [`, `"artifacts": [`, `"Artifacts": [`} {
		evil := strings.Replace(honest, `"artifacts": [`, `"artifacts": [], `+twin, 1)
		v.write("dist/manifest.json", evil)
		v.refuses(Verify, ExitUsage, "it was not written by this hallmark")
		v.refuses(Run, ExitUsage, "it was not written by this hallmark")
	}
	v.write("dist/manifest.json", honest)
	v.do(Verify)
}

// D3: the whole of dist is a release of somebody else.
func TestAttackForeignRelease(t *testing.T) {
	v := newVictim(t)
	v.do(Run)
	other := *v
	other.o.KeyDir, other.o.StateDir = filepath.Join(t.TempDir(), "keys"), filepath.Join(t.TempDir(), "state")
	other.write("main.go", "package main\n\nfunc main() { println(\"evil\") }\n")
	other.do(Run)
	v.write("main.go", "package main\n\nfunc main() { println(\"notes\") }\n")

	// It is not signed by the configured identity, of which the certificate is here.
	v.refuses(Verify, ExitUntrusted, "untrusted")
	// On a machine without it, nobody but dist vouches for the signer.
	v.o.KeyDir, v.o.StateDir = filepath.Join(t.TempDir(), "no keys"), filepath.Join(t.TempDir(), "no state")
	v.refuses(Verify, ExitUntrusted, "for whom only the certificates in dist itself vouch")
	if exists(v.o.KeyDir) || exists(v.o.StateDir) {
		t.Error("verifying made an identity or a record")
	}
	v.o.TrustDist = true
	v.do(Verify)
}

// D3: the manifest says that somebody else signed.
func TestAttackNamesSigner(t *testing.T) {
	v := newVictim(t)
	v.do(Run)
	v.manifest(func(m map[string]any) {
		m["identity"].(map[string]any)["subject"] = "CN=Microsoft Corporation"
		for _, e := range m["artifacts"].([]any) {
			if s, ok := e.(map[string]any)["signature"].(map[string]any); ok {
				s["signer"] = "CN=Microsoft Corporation"
			}
		}
	})
	v.out.Reset()
	v.refuses(Verify, ExitTampered, "manifest.json: hallmark: it names another identity than that which signed: CN=DEVELOPMENT")
	if strings.Contains(v.out.String(), "Microsoft") {
		t.Errorf("said to be signed by Microsoft:\n%s", &v.out)
	}
	if report := string(v.read("dist/report.md")); !strings.Contains(report, "FAILED") || strings.Contains(report, "\n| signed by | CN=Microsoft") {
		t.Errorf("the report:\n%s", report)
	}
}

// D3: dist tells users to trust a further root.
func TestAttackTrustFile(t *testing.T) {
	v := newVictim(t)
	v.do(Run)
	c, err := Load(v.dir)
	if err != nil {
		t.Fatal(err)
	}
	foreign := v.o
	foreign.KeyDir = filepath.Join(t.TempDir(), "keys")
	s, err := openSigner(t.Context(), "", c, foreign)
	if err != nil {
		t.Fatal(err)
	}
	both := slices.Concat(v.read("dist/"+trustCA), s.anchors.ca)
	v.write("dist/"+trustCA, string(both))
	v.manifest(func(m map[string]any) {
		e := entry(m, trustCA)
		e["sha256"], e["size"] = sumBytes(both), len(both)
	})
	v.refuses(Verify, ExitTampered, trustCA+": hallmark: it tells users to trust CN=")
	v.refuses(Verify, ExitTampered, "SHA256SUMS: hallmark: it does not list exactly the files of the release")
}

// D3: an older release is put in the place of the one that is asked for.
func TestAttackOldVersion(t *testing.T) {
	v := newVictim(t)
	v.do(Run)
	v.write(ConfigFile, strings.Replace(victimConfig, "1.0.0", "1.0.1", 1))
	v.refuses(Verify, ExitTampered, "it is a release of version 1.0.0, and this folder is at version 1.0.1")
	v.write(ConfigFile, strings.Replace(victimConfig, "name: notes", "name: other", 1))
	v.refuses(Verify, ExitTampered, `it is a release of "notes"`)
}

// D3: trust.signer names the one certificate that may sign, whoever else has one
// of the same authority.
func TestTrustSigner(t *testing.T) {
	v := newVictim(t)
	v.do(Run)
	c, err := Load(v.dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := openSigner(t.Context(), "", c, v.o)
	if err != nil {
		t.Fatal(err)
	}
	v.write("ca.pem", string(s.anchors.ca))
	v.write("tsa.pem", string(s.anchors.tsa))
	v.write("signer.pem", string(encodePEM(s.key.Leaf())))
	v.write(ConfigFile, victimConfig+"trust: {ca: ca.pem, tsa: tsa.pem, signer: signer.pem}\n")
	v.o.KeyDir, v.o.StateDir = filepath.Join(t.TempDir(), "no keys"), filepath.Join(t.TempDir(), "no state")
	v.do(Verify)
	v.write("signer.pem", string(s.anchors.ca))
	v.refuses(Verify, ExitUntrusted, "which is not that of a certificate of hallmark.yaml's trust.signer")
}

// D6: somebody exchanges the program all the time while it is signed.
func TestAttackSwapWhileSigning(t *testing.T) {
	v := newVictim(t)
	v.do(Build)
	program := v.read("dist/" + victimProgram)
	built := sumBytes(program)
	evil := append(slices.Clone(v.evil), make([]byte, max(0, len(program)-len(v.evil)))...)[:len(program)]
	file := v.path("dist/" + victimProgram)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			content := program
			if i%2 == 0 {
				content = evil
			}
			next := file + ".next"
			if os.WriteFile(next, content, 0o755) == nil {
				os.Chmod(next, 0o755)
				os.Rename(next, file)
			}
		}
	}()
	signed := 0
	for range 20 {
		err := Sign(t.Context(), v.o)
		if err == nil {
			signed++
			break
		}
		if code := Exit(err).(*ExitError).Code; code != ExitTampered {
			t.Errorf("exit code %d for %v", code, err)
		}
	}
	close(stop)
	<-stopped
	os.Remove(file + ".next")
	if signed == 0 {
		return // it always won the race, and nothing was signed
	}
	m, err := ReadManifest(v.path("dist"))
	if err != nil {
		t.Fatal(err)
	}
	if e := m.Entry(victimProgram); e.Unsigned != built {
		t.Errorf("signed %s, built %s", e.Unsigned, built)
	}
	if data := v.read("dist/" + victimProgram); sumBytes(data) == m.Entry(victimProgram).SHA256 {
		v.isHonest(built) // else the last exchange was after the publication
	}
}

// D6: the file that was hashed is not the one that is opened to be signed.
func TestAttackSwapBeforeSigning(t *testing.T) {
	v := newVictim(t)
	v.do(Build)
	c, err := Load(v.dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := openSigner(t.Context(), ownVersion(), c, v.o)
	if err != nil {
		t.Fatal(err)
	}
	w, bins, err := openBuilt(t.Context(), c, v.o)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	v.write("dist/"+victimProgram, string(v.evil))
	if _, err := signAll(t.Context(), s, bins, w, nil); exitCode(err) != ExitTampered || !strings.Contains(err.Error(), "it was changed while this run worked") {
		t.Errorf("signed another program: %v", err)
	}
}

// D6: a judge replaces the files that it is shown, and those that will be
// published.
func TestAttackJudge(t *testing.T) {
	v := newVictim(t)
	v.write("judge", "#!/bin/sh\n[ \"$1\" != --version ] || { echo 1; exit 0; }\n[ ! -e copy ] || { chmod u+w \"$1\"; cp ../evil \"$1\"; }\n[ ! -e stage ] || cp ../evil dist/.stage/new/"+victimProgram+"\n")
	if err := os.Chmod(v.path("judge"), 0o755); err != nil {
		t.Fatal(err)
	}
	v.write(ConfigFile, victimConfig+"judges:\n  - name: attacker\n    files: \"notes\"\n    command: [./judge, \"{file}\"]\n    version: [./judge, --version]\n    limits: none\n")
	v.do(Build)
	built := sumBytes(v.read("dist/" + victimProgram))
	v.do(Run)
	v.isHonest(built)

	v.write("main.go", "package main\n\nfunc main() { println(\"next\") }\n")
	v.write("stage", "")
	v.refuses(Run, ExitUnsigned, victimProgram+": hallmark: unsigned")
	v.isHonest(built)
	if err := errors.Join(os.Remove(v.path("stage")), os.WriteFile(v.path("copy"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	// What it does to its copy, it does to those of the other judges at most.
	if err := Run(t.Context(), v.o); err == nil {
		v.do(Verify)
	} else {
		v.isHonest(built)
	}
}
