package compat

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestKillsEverything checks that nothing that a judge started outlives it, at its
// time limit and at its end, and that nothing else is killed.
func TestKillsEverything(t *testing.T) {
	for _, tool := range []string{"setsid", "env", "bash"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("SKIP: %s missing: apt package util-linux, coreutils, bash", tool)
		}
	}
	// What this process started itself, of its session and as another judge.
	bystander := exec.CommandContext(t.Context(), "sleep", "300")
	ownGroup(bystander)
	other := exec.CommandContext(t.Context(), "sleep", "300")
	other.Env = environment()
	ownSession(other)
	for _, cmd := range []*exec.Cmd{bystander, other} {
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { killGroup(cmd); _ = cmd.Wait() })
	}
	quiet := " </dev/null >/dev/null 2>&1 &"
	pid := func(command string) string { return `sh -c 'echo $$ >>'$DIR/pids'; exec ` + command + `'` }
	for name, script := range map[string]string{
		"in the group":        pid("sleep 300") + quiet,
		"a session":           "setsid " + pid("sleep 300") + quiet,
		"no environment":      "setsid env -i " + pid("/bin/sleep 300") + quiet,
		"a double fork":       "(setsid " + pid("sleep 300") + quiet + ")",
		"both":                "(setsid env -i " + pid("/bin/sleep 300") + quiet + ")",
		"a group of its own":  "bash -c 'set -m; env -i '" + quote(strings.ReplaceAll(pid("/bin/sleep 300"), "$DIR", "\"$0\"")) + "'" + quiet + "' $DIR",
		"children of orphans": "(setsid env -i " + pid("/bin/sh -c \"/bin/sleep 300; /bin/sleep 300\"") + quiet + ")",
		"deaf":                "(setsid env -i " + `sh -c 'trap "" TERM INT HUP; echo $$ >>'$DIR/pids'; while :; do /bin/sleep 1; done'` + quiet + ")",
	} {
		for _, end := range []string{"exit 0", "sleep 300"} {
			t.Run(name+", "+end, func(t *testing.T) {
				dir := t.TempDir()
				file := filepath.Join(dir, "judge")
				text := "#!/bin/sh\nDIR=" + quote(dir) + "\n" + script + "\nwhile [ ! -s $DIR/pids ]; do sleep 0.01; done\n" + end + "\n"
				if err := os.WriteFile(file, []byte(text), 0o700); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				start := time.Now()
				_, err := program{name: "judge"}.execute(ctx, file, "", nil)
				if (err == nil) != (end == "exit 0") {
					t.Errorf("the judge: %v after %v", err, time.Since(start))
				}
				pids, _ := os.ReadFile(filepath.Join(dir, "pids"))
				if len(strings.Fields(string(pids))) == 0 {
					t.Fatal("the script started nothing")
				}
				for _, pid := range strings.Fields(string(pids)) {
					if alive(pid) {
						t.Errorf("process %s still runs", pid)
						if n, err := strconv.Atoi(pid); err == nil {
							_ = syscall.Kill(n, syscall.SIGKILL)
						}
					}
				}
			})
		}
	}
	for _, cmd := range []*exec.Cmd{bystander, other} {
		if s, ok := readStat(cmd.Process.Pid); !ok || s.state == 'Z' {
			t.Errorf("%v was killed", cmd.Args)
		}
	}
}

// TestArguments checks that no judge is given the name of a file as an option.
func TestArguments(t *testing.T) {
	folder := t.TempDir()
	t.Chdir(folder)
	write := func(name string, data []byte) {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const file, ca = "-xfile", "-xca.pem"
	root, err := os.ReadFile(newWorld(t).path("root.pem"))
	if err != nil {
		t.Fatal(err)
	}
	write(ca, root)
	write(file, appendSignature([]byte("content"), []byte("signature")))
	for suffix, signature := range map[string]string{suffixP7S: "signature", suffixVerity: "signature", suffixBundle: "{}", suffixIMA: "\x03\x02\x04signature"} {
		write(file+suffix, []byte(signature))
	}
	dir := fake(t, versions+`for a; do echo "$0 $a" >>$DIR/args; done; exit 0`)
	var cases []Case
	for _, scheme := range []string{Authenticode, Appended, Sums, P7S, Verity, IMA, Bundle, Deb, RPM, APK} {
		cases = append(cases, Case{File: file, Scheme: scheme, Want: Accept})
	}
	results := Run(t.Context(), Judges(), cases, Trust{CAFile: ca, TSAFile: ca, SignerFile: ca}, 2)
	args, err := os.ReadFile(filepath.Join(dir, "args"))
	if err != nil {
		t.Fatal(err)
	}
	given := 0
	for l := range strings.Lines(string(args)) {
		_, arg, _ := strings.Cut(strings.TrimSpace(l), " ")
		if strings.HasPrefix(arg, "-x") {
			t.Errorf("an option: %s", l)
		}
		if strings.Contains(arg, "./-x") {
			given++
		}
	}
	if given < 8 {
		t.Errorf("the files were given %d times:\n%s", given, args)
	}
	for _, r := range results {
		if strings.Contains(r.Command, " -x") {
			t.Errorf("%s prints the file as an option: %s", r.Judge, r.Command)
		}
	}
}
