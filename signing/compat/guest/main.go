//go:build linux && amd64

// Command guest is the only program of a small virtual machine that has a
// stock Linux kernel judge signed files. The host builds it static, from the
// source alone, puts it into an initramfs as /init, and boots.
//
// # What the host gives
//
// /job.json in the initramfs is a [job]: the certificates that are trusted, an
// IPE policy, and the cases with their signatures. The files to be judged are
// on an ext4 file system with the verity feature, on the first NVMe disk, each
// under the number of its case.
//
// # What the host gets
//
// The second serial port carries lines of "hallmark " and a JSON [line]; what
// else firmware or kernel print there has no such beginning. The first line
// tells the kernel's release, the last one that all is done. Between them
// stands one line for each case, with what was tried of it in order and how
// the kernel answered each: the name of an errno, or nothing when it did it.
// What the kernel logged meanwhile goes with it.
//
// A check that cannot be set up is a line of its own, and its cases have none.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// job is what the host asks.
type job struct {
	Certificates    [][]byte `json:"certificates"`    // DER, for fs-verity's keyring
	IMACertificates [][]byte `json:"imaCertificates"` // DER, for IMA's
	Policy          []byte   `json:"policy"`          // a signed IPE policy
	IMAPolicy       []byte   `json:"imaPolicy"`       // rules for IMA; empty: those of this program
	Cases           []caseOf `json:"cases"`
}

type caseOf struct {
	Check     string `json:"check"`     // verity, ima, module or ipe
	Signature []byte `json:"signature"` // as the check wants it; empty: the file has none
	Algorithm uint32 `json:"algorithm"` // of fs-verity: 1 SHA-256, 2 SHA-512
}

// line is an answer.
type line struct {
	Ready   string   `json:"ready,omitempty"`   // the kernel's release
	Check   string   `json:"check,omitempty"`   // that cannot be set up
	Problem string   `json:"problem,omitempty"` // why
	Errno   string   `json:"errno,omitempty"`   // what the kernel answered then
	Case    *int     `json:"case,omitempty"`
	Steps   []step   `json:"steps,omitempty"`
	Log     []string `json:"log,omitempty"`
	Done    bool     `json:"done,omitempty"`
}

// step is one thing that was asked of the kernel.
type step struct {
	Do     string `json:"do"`
	Errno  string `json:"errno,omitempty"`
	Detail string `json:"detail,omitempty"`
}

func main() {
	runtime.LockOSThread() // keyrings belong to threads
	g := &guest{}
	err := g.run()
	if err != nil {
		fmt.Fprintf(os.Stderr, "hallmark guest: %v\n", err)
		g.say(line{Problem: err.Error()})
	}
	syscall.Sync()
	syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF)
}

// guest is the machine.
type guest struct {
	job
	port *os.File // where answers go
	kmsg int      // the kernel's log
}

func (g *guest) run() error {
	for _, m := range []struct{ kind, at string }{{"devtmpfs", "/dev"}, {"proc", "/proc"}, {"sysfs", "/sys"}, {"securityfs", "/sys/kernel/security"}} {
		os.MkdirAll(m.at, 0o755)
		if err := syscall.Mount(m.kind, m.at, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mounting %s: %w", m.at, err)
		}
	}
	var err error
	if g.port, err = openPort("/dev/ttyS1"); err != nil {
		return err
	}
	if g.kmsg, err = openLog(); err != nil {
		return err
	}
	// Else IMA and IPE lose their voice after ten refusals.
	if err := os.WriteFile("/proc/sys/kernel/printk_ratelimit", []byte("0"), 0); err != nil {
		return err
	}
	text, err := os.ReadFile("/job.json")
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &g.job); err != nil {
		return fmt.Errorf("reading the job: %w", err)
	}
	if err := os.Mkdir(disk, 0o755); err != nil {
		return err
	}
	if err := mountDisk(); err != nil {
		return err
	}
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return err
	}
	g.say(line{Ready: string(release[:len(release)-1])})
	// Last those whose policy may deny what the others do: IPE, which can be
	// told to let things pass again, and IMA, which cannot.
	for _, check := range []struct {
		name string
		run  func(cases []int) error
	}{{"module", g.module}, {"verity", g.verity}, {"ipe", g.ipe}, {"ima", g.ima}} {
		var cases []int
		for i, c := range g.Cases {
			if c.Check == check.name {
				cases = append(cases, i)
			}
		}
		if len(cases) == 0 {
			continue
		}
		if err := check.run(cases); err != nil {
			g.say(line{Check: check.name, Problem: err.Error(), Errno: errno(err), Log: g.log()})
		}
	}
	g.say(line{Done: true})
	return nil
}

// say sends a line to the host.
func (g *guest) say(l line) {
	text, err := json.Marshal(l)
	if err != nil || g.port == nil {
		return
	}
	fmt.Fprintf(g.port, "hallmark %s\n", text)
}

// answer sends what became of a case. Records for the audit are logged by a
// thread of the kernel's, in its own time.
func (g *guest) answer(i int, steps ...step) {
	log := g.log()
	if steps[len(steps)-1].Errno == "EACCES" {
		for end := time.Now().Add(time.Second); !slices.ContainsFunc(log, isAudit) && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			log = append(log, g.log()...)
		}
	}
	g.say(line{Case: &i, Steps: steps, Log: log})
}

// isAudit knows a record of what was refused; IPE also tells what it would have.
func isAudit(line string) bool {
	return strings.HasPrefix(line, "audit: ") && !strings.Contains(line, " enforcing=0 ")
}
