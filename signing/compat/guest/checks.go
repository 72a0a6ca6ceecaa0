//go:build linux && amd64

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

const (
	disk = "/disk"

	// securityfs and sysctl files of the checks
	requireSignatures = "/proc/sys/fs/verity/require_signatures"
	imaPolicy         = "/sys/kernel/security/ima/policy"
	ipeDir            = "/sys/kernel/security/ipe"

	// ownerV2 and ownerV3 own the files that IMA is to appraise, so that its
	// policy leaves all others alone and tells the two versions apart.
	ownerV2, ownerV3 = 2002, 2003

	// runTime is how long a program may run that the kernel let start. Whether
	// it starts is the question; what it does is its own affair.
	runTime = 3 * time.Second

	// nobody runs it: it must not reach the machine that judges it.
	nobody = 65534
)

func (g *guest) file(i int) string { return filepath.Join(disk, fmt.Sprint(i)) }

// verity asks fs-verity: enabling checks the signature, because signatures are
// required; then the file is read whole, and run.
func (g *guest) verity(cases []int) error {
	if err := g.trustVerity(); err != nil {
		return err
	}
	if err := os.WriteFile(requireSignatures, []byte("1"), 0); err != nil {
		return err
	}
	defer os.WriteFile(requireSignatures, []byte("0"), 0)
	for _, i := range cases {
		steps := []step{did("enable", enableVerity(g.file(i), g.Cases[i].Algorithm, g.Cases[i].Signature))}
		if steps[0].Errno == "" {
			steps = append(steps, did("read", readAll(g.file(i))), run(g.file(i)))
		}
		g.answer(i, steps...)
	}
	return nil
}

func (g *guest) trustVerity() error {
	ring, err := findKeyring(".fs-verity")
	if err != nil {
		return err
	}
	return addCertificates(ring, g.Certificates)
}

// ima asks IMA's appraisal, which happens when a program is started.
func (g *guest) ima(cases []int) error {
	ring, err := newKeyring("_ima")
	if err != nil {
		return fmt.Errorf("making the keyring _ima: %w", err)
	}
	if err := addCertificates(ring, g.IMACertificates); err != nil {
		return err
	}
	before := map[int][]step{}
	for _, i := range cases {
		before[i] = g.prepareIMA(i)
	}
	// The rules are written at once: the file takes one policy.
	rules := string(g.IMAPolicy)
	if rules == "" {
		rules = fmt.Sprintf("appraise func=BPRM_CHECK fowner=%d digest_type=verity appraise_type=sigv3\nappraise func=BPRM_CHECK fowner=%d appraise_type=imasig\n", ownerV3, ownerV2)
	}
	if err := os.WriteFile(imaPolicy, []byte(rules), 0); err != nil {
		return fmt.Errorf("writing IMA's policy: %w", err)
	}
	for _, i := range cases {
		steps := before[i]
		if len(steps) == 0 || steps[len(steps)-1].Errno == "" {
			steps = append(steps, run(g.file(i)))
		}
		g.answer(i, steps...)
	}
	return nil
}

// prepareIMA gives a file its owner and its signature. Version 3 signs the
// fs-verity digest, so the file must be one of fs-verity.
func (g *guest) prepareIMA(i int) (steps []step) {
	c := g.Cases[i]
	owner := ownerV2
	if len(c.Signature) > 1 && c.Signature[0] == 6 {
		owner = ownerV3
		if s := did("enable", enableVerity(g.file(i), c.Algorithm, nil)); s.Errno != "" {
			return []step{s}
		}
	}
	if err := os.Chown(g.file(i), owner, owner); err != nil {
		return []step{did("chown", err)}
	}
	if len(c.Signature) == 0 {
		return nil
	}
	if s := did("setxattr", syscall.Setxattr(g.file(i), "security.ima", c.Signature, 0)); s.Errno != "" {
		return []step{s}
	}
	return nil
}

// module asks the module loader, which checks the signature before it looks at
// what is signed: that an executable is no module is its answer to a good one.
func (g *guest) module(cases []int) error {
	for _, i := range cases {
		f, err := os.Open(g.file(i))
		if err != nil {
			return err
		}
		g.answer(i, did("load", loadModule(f)))
		f.Close()
	}
	return nil
}

// ipe asks IPE, under the policy that the host has given.
func (g *guest) ipe(cases []int) error {
	if _, err := os.Stat(ipeDir); err != nil {
		return fmt.Errorf("the kernel has no IPE: %w", err)
	}
	if err := g.trustVerity(); err != nil {
		return err
	}
	enabled := map[int]step{}
	for _, i := range cases {
		enabled[i] = did("enable", enableVerity(g.file(i), g.Cases[i].Algorithm, g.Cases[i].Signature))
	}
	// WriteFile would open it with O_TRUNC, which does no harm, and write it in
	// one call, which is needed.
	if err := os.WriteFile(ipeDir+"/new_policy", g.Policy, 0); err != nil {
		return fmt.Errorf("loading the policy: %w", err)
	}
	policies, err := filepath.Glob(ipeDir + "/policies/*/active")
	if err != nil || len(policies) != 1 {
		return fmt.Errorf("%d policies are loaded, expected was one", len(policies))
	}
	if err := os.WriteFile(policies[0], []byte("1"), 0); err != nil {
		return fmt.Errorf("activating the policy: %w", err)
	}
	if err := os.WriteFile(ipeDir+"/enforce", []byte("1"), 0); err != nil {
		return fmt.Errorf("enforcing the policy: %w", err)
	}
	defer os.WriteFile(ipeDir+"/enforce", []byte("0"), 0)
	for _, i := range cases {
		g.answer(i, enabled[i], run(g.file(i)))
	}
	return nil
}

// did names an operation and the kernel's answer.
func did(what string, err error) step {
	s := step{Do: what, Errno: errno(err)}
	if err != nil && s.Errno == "" {
		s.Errno, s.Detail = "unknown", err.Error()
	}
	return s
}

// run starts a program. The kernel's answer is that of execve.
func run(file string) step {
	cmd := exec.Command(file)
	cmd.Dir = "/"
	cmd.Env = []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}, Setpgid: true}
	if err := cmd.Start(); err != nil {
		return did("exec", err)
	}
	stop := time.AfterFunc(runTime, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	defer stop.Stop()
	err := cmd.Wait()
	var exit *exec.ExitError
	s := step{Do: "exec", Detail: "exit status 0"}
	if errors.As(err, &exit) {
		s.Detail = exit.String()
	}
	return s
}

func readAll(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(io.Discard, f)
	return err
}
