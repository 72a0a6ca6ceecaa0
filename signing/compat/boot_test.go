package compat

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestWithDB(t *testing.T) {
	t.Parallel()
	image := emptyVars()
	der := []byte("a certificate")
	made := must(withDB(image, [][]byte{der, der}))(t)
	if n := strings.Count(string(made), "a certificate"); n != 2 || len(made) != len(image) {
		t.Errorf("%d certificates in %d bytes", n, len(made))
	}
	for name, damage := range map[string]func(image []byte) []byte{
		"empty":            func([]byte) []byte { return nil },
		"no volume":        func(b []byte) []byte { b[0x28]++; return b },
		"header too long":  func(b []byte) []byte { b[0x31] = 0xff; return b },
		"another store":    func(b []byte) []byte { b[0x48]++; return b },
		"store too long":   func(b []byte) []byte { b[0x48+18]++; return b },
		"store too short":  func(b []byte) []byte { copy(b[0x48+16:], []byte{29, 0, 0, 0}); return b },
		"not formatted":    func(b []byte) []byte { b[0x48+20]++; return b },
		"has a variable":   func(b []byte) []byte { copy(b[0x64:], []byte{0xaa, 0x55}); return b },
		"cut":              func(b []byte) []byte { return b[:0x60] },
		"has room for one": func(b []byte) []byte { return b[:0x100:0x100] },
	} {
		if _, err := withDB(damage(append([]byte(nil), image...)), [][]byte{der, der}); err == nil {
			t.Errorf("%s: is taken", name)
		}
	}
}

// emptyVars is an image of OVMF's variables that holds none.
func emptyVars() []byte {
	image := []byte(strings.Repeat("\xff", 0x400))
	copy(image[0x28:], "_FVH")
	binary.LittleEndian.PutUint16(image[0x30:], 0x48)
	copy(image[0x48:], guid("aaf32c78-947b-439a-a180-2e144ec37792"))
	binary.LittleEndian.PutUint32(image[0x58:], 0x300)
	image[0x5c], image[0x5d] = 0x5a, 0xfe
	return image
}

// cpio, which has nothing to do with the kernel's reader, reads what we write.
func TestInitramfs(t *testing.T) {
	t.Parallel()
	need(t, "cpio", "cpio")
	archive := initramfs([]member{{"init", 0o100755, []byte("hello")}, {"d", 0o040755, nil}, {"d/job.json", 0o100600, []byte(strings.Repeat("x", 1001))}})
	for _, damaged := range []bool{false, true} {
		if damaged {
			archive[3] = 'x'
		}
		dir := t.TempDir()
		cmd := exec.CommandContext(t.Context(), "cpio", "-id", "--quiet")
		cmd.Dir, cmd.Stdin = dir, strings.NewReader(string(archive))
		out, err := cmd.CombinedOutput()
		init, _ := os.ReadFile(filepath.Join(dir, "init"))
		job, _ := os.ReadFile(filepath.Join(dir, "d", "job.json"))
		if ok := err == nil && string(init) == "hello" && len(job) == 1001; ok == damaged {
			t.Errorf("damaged %v: %v: %q, %d bytes\n%s", damaged, err, init, len(job), out)
		}
		if info, err := os.Stat(filepath.Join(dir, "init")); !damaged && (err != nil || info.Mode().Perm() != 0o755) {
			t.Errorf("init: %v, %v", info, err)
		}
	}
}

// fakeMachine puts a script in the emulator's place.
func fakeMachine(t *testing.T, script string) (m machine, dir string, questions []Question) {
	t.Helper()
	needKernels(t)
	cache := must(os.UserCacheDir())(t)
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOCACHE", strings.TrimSpace(string(out)))
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "qemu-system-x86_64"), []byte("#!/bin/sh\nDIR="+quote(dir)+"\necho boot >> $DIR/boots\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Setenv("XDG_CACHE_HOME", cache)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("file"), 0o600); err != nil {
		t.Fatal(err)
	}
	m = machines()[0]
	return m, dir, []Question{{m.name(checkVerity), file}, {m.name(checkModule), file}}
}

// A machine that does not answer as it should is no judge: what it has not said
// is not taken for said.
func TestMachineFails(t *testing.T) {
	const (
		ready = `echo 'hallmark {"ready":"6.1.0"}' > answers;`
		one   = `echo 'hallmark {"case":0,"steps":[{"do":"enable","errno":"EPERM"}]}' >> answers;`
		two   = `echo 'hallmark {"case":1,"steps":[{"do":"load","errno":"ENOEXEC"}]}' >> answers;`
		done  = `echo 'hallmark {"done":true}' >> answers;`
	)
	for _, test := range []struct {
		name, script string
		boots        int
		want         [2]string // beginnings of the results
	}{
		{"good", ready + one + two + done, 1, [2]string{"pass refuse", "fail accept"}},
		{"does not boot", `echo 'Kernel panic - not syncing'; exit 0`, 2, [2]string{"skip linux-6.1-verity: the kernel does not boot; its last words: Kernel panic - not syncing", "skip linux-6.1-module: the kernel does not boot"}},
		{"boots the second time", `[ $(wc -l < $DIR/boots) = 1 ] && exit 0; ` + ready + one + two + done, 2, [2]string{"pass refuse", "fail accept"}},
		{"stops half-way", ready + one + "echo 'Oops'", 2, [2]string{"pass refuse", "fail crashed: the machine stopped half-way, twice: Oops"}},
		{"a line is cut", ready + one + `printf 'hallmark {"case":1,"steps":[{"do"' >> answers`, 2, [2]string{"pass refuse", "fail crashed: the machine stopped half-way"}},
		{"hangs", ready + one + "sleep 300 & echo $! >> $DIR/pids; echo $$ >> $DIR/pids; sleep 300", 1, [2]string{"pass refuse", "fail crashed: no answer within the time limit"}},
		{"aborts", "kill -ABRT $$", 1, [2]string{"fail crashed: signal: aborted", "fail crashed: signal: aborted"}},
		{"rubbish", ready + "echo 'hallmark rubbish' >> answers", 1, [2]string{"fail unclear: the guest's line", "fail unclear: the guest's line"}},
		{"silence about one", ready + one + done, 1, [2]string{"pass refuse", "fail unclear: the kernel was not asked"}},
		{"twice", ready + one + one + done, 1, [2]string{"fail unclear: the guest's answer", "fail unclear"}},
		{"a check fails", ready + `echo 'hallmark {"check":"verity","problem":"no keyring","errno":"EPERM"}' >> answers;` + two + done, 1, [2]string{"fail unclear: no keyring", "fail accept"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, dir, questions := fakeMachine(t, test.script)
			trust := Trust{CAFile: newWorld(t).path("root.pem")}
			limit := time.Minute
			if test.name == "hangs" {
				limit = 3 * time.Second
			}
			batch := &Batch{Limit: limit, Verify: m.verify}
			judges := []Judge{{Name: questions[0].Judge, Scheme: "a", Batch: batch}, {Name: questions[1].Judge, Scheme: "b", Batch: batch}}
			cases := []Case{{File: questions[0].File, Scheme: "a", Want: Refuse}, {File: questions[1].File, Scheme: "b", Want: Refuse}}
			for i, r := range Run(t.Context(), judges, cases, trust, 1) {
				got := r.Got
				if r.Status == Skip {
					got = r.Reason
				}
				if got = fmt.Sprintf("%v %s", r.Status, got); !strings.HasPrefix(got, test.want[i]) {
					t.Errorf("%s: %q, want %q", r.Judge, got, test.want[i])
				}
			}
			if boots, _ := os.ReadFile(filepath.Join(dir, "boots")); strings.Count(string(boots), "\n") != test.boots {
				t.Errorf("%d boots, want %d", strings.Count(string(boots), "\n"), test.boots)
			}
			pids, _ := os.ReadFile(filepath.Join(dir, "pids"))
			for pid := range strings.FieldsSeq(string(pids)) {
				if alive(pid) {
					t.Errorf("process %s still runs", pid)
				}
			}
		})
	}
}

func FuzzAnswers(f *testing.F) {
	f.Add([]byte("\x1b[2J\nhallmark {\"ready\":\"6.1.0\"}\r\nhallmark {\"case\":0,\"steps\":[{\"do\":\"enable\",\"errno\":\"EPERM\"}],\"log\":[\"a\"]}\nhallmark {\"case\":1,\"steps\":[{\"do\":\"exec\"}]}\nhallmark {\"done\":true}\n"))
	f.Add([]byte("hallmark {\"check\":\"ipe\",\"problem\":\"no\",\"errno\":\"ENOKEY\"}\n"))
	f.Add([]byte("hallmark {\"case\":7,\"steps\":[]}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		lastWords(string(text))
		s, err := readAnswers(text, 2)
		if err != nil {
			if s.done || len(s.cases) > 0 {
				t.Errorf("answers with an error: %+v", s)
			}
			return
		}
		for i, a := range s.cases {
			if i < 0 || i > 1 {
				t.Errorf("case %d of 2", i)
			}
			for _, check := range []string{checkVerity, checkIMA, checkModule, checkIPE} {
				if err := a.verdict("judge", check); err == nil && a.Steps[0].Errno != "" && check == checkVerity && a.Steps[0].Do == "enable" {
					t.Errorf("accepted after %+v", a.Steps)
				}
			}
		}
		for check, a := range s.problems {
			if a.problem("judge", check) == nil {
				t.Errorf("%s: a problem is an acceptance", check)
			}
		}
	})
}

func FuzzWithDB(f *testing.F) {
	f.Add(emptyVars(), []byte("certificate"))
	f.Fuzz(func(t *testing.T, image, der []byte) {
		made, err := withDB(image, [][]byte{der})
		if err == nil && len(made) != len(image) {
			t.Errorf("an image of %d bytes became one of %d", len(image), len(made))
		}
	})
}
