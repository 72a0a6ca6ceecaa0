package compat

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Checks of a kernel, by the names that the guest has for them.
const (
	checkVerity = "verity"
	checkIMA    = "ima"
	checkModule = "module"
	checkIPE    = "ipe"
)

// bootLimit is the time for booting a kernel and asking it maxAsked questions,
// with a second boot should the first one fail. In emulation a boot takes 5 to
// 15 seconds on an idle machine, and most files take less than one.
const bootLimit = 6 * time.Minute

// maxAsked and maxDisk, in bytes, bound what one boot is asked about: the files
// are copied to a disk. More are put before another one.
const (
	maxAsked = 256
	maxDisk  = 1 << 30
)

// KernelJudges returns stock Linux kernels as judges: the checks that the
// kernel itself makes of signed files, in a virtual machine without
// acceleration. `mage setup` fetches the kernels; they are not installed.
//
// Each kernel is booted once for all cases of a [Run] under the same trust, or
// a few times if these are hundreds.
func KernelJudges() []Judge {
	var judges []Judge
	for _, m := range machines() {
		batch := &Batch{Limit: time.Hour, Verify: m.verify} // each boot has its own limit
		add := func(check, scheme, limits string) {
			name := m.name(check)
			judges = append(judges, Judge{
				Name: name, Scheme: scheme, Limits: limits,
				FindKey: m.key, Find: m.find, Batch: batch,
				Command: func(file string, trust Trust) string { return askAgain(name, file, trust) },
			})
		}
		const noDates = " It looks at no date, usage or timestamp of a certificate."
		algorithms := ""
		if m.series == "6.1" {
			algorithms = " This kernel reads neither ECDSA nor SHA-512."
		}
		add(checkVerity, Verity, "fs-verity of the kernel, with fs.verity.require_signatures=1 and the certificates in its keyring: the signature is checked when fs-verity is enabled for the file, then the file is read whole and, if it is a program for this machine, started."+noDates+algorithms)
		add(checkIMA, IMA, "IMA appraisal of the kernel, when it is asked to start the file: version 2 over the file, version 3 over its fs-verity digest. It finds a certificate by the end of its subject key identifier, and looks at no chain."+noDates+algorithms)
		add(checkModule, Appended, "The module loader of the kernel, with module.sig_enforce=1 and the certificates in UEFI's db, which Debian's kernels trust for modules. That the file is no module, which it finds after the signature, is its word for a good one. It does not guard programs: nothing in Linux checks their appended signatures."+noDates+algorithms)
		if m.ipe {
			add(checkIPE, Verity, "IPE of the kernel, under the policy that it is given, whose signature it checks with the certificates in UEFI's db: what it says of a file is what the policy says of the file's fs-verity digest or signature."+noDates)
		}
	}
	return judges
}

// BootError says that a kernel did not come up.
type BootError struct {
	Judge   string
	Console string // the last lines, in one
}

func (e *BootError) Error() string {
	return e.Judge + ": the kernel does not boot; its last words: " + e.Console
}

// machine is a kernel and what it is booted with.
type machine struct {
	series string // of the kernel, "6.1"
	pkg    string // Debian package that leads to the kernel's
	ipe    bool   // the kernel has IPE
}

func machines() []machine {
	return []machine{
		{series: "6.1", pkg: "linux-image-cloud-amd64"},
		{series: "6.12", pkg: "linux-image-6.12-cloud-amd64", ipe: true},
	}
}

func (m machine) name(check string) string { return "linux-" + m.series + "-" + check }

// kernel finds the kernel where `mage setup` has put it: the folder
// hallmark/kernels/RELEASE in the user's cache folder. The last one counts.
func (m machine) kernel() (file, release string, err error) {
	missing := &MissingError{Tool: "linux " + m.series, Package: m.pkg + ", which `mage setup` fetches without installing it"}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", "", missing
	}
	found, err := filepath.Glob(filepath.Join(cache, "hallmark", "kernels", m.series+".*", "vmlinuz"))
	if err != nil || len(found) == 0 {
		return "", "", missing
	}
	modified := func(file string) time.Time {
		info, err := os.Stat(file)
		if err != nil {
			return time.Time{}
		}
		return info.ModTime()
	}
	file = slices.MaxFunc(found, func(a, b string) int { return cmp.Or(modified(a).Compare(modified(b)), strings.Compare(a, b)) })
	return file, filepath.Base(filepath.Dir(file)), nil
}

// key stands for the kernel and the emulator: after an upgrade of either it is
// another one.
func (m machine) key() (Key, error) {
	file, _, err := m.kernel()
	if err != nil {
		return Key{}, err
	}
	for _, p := range []program{mkfs(), emulator()} {
		if _, err := p.key(); err != nil {
			return Key{}, err
		}
	}
	if _, _, err := firmware(); err != nil {
		return Key{}, err
	}
	qemu, err := emulator().key()
	if err != nil {
		return Key{}, err
	}
	info, err := os.Stat(file)
	if err != nil {
		return Key{}, fmt.Errorf("finding linux %s: %w", m.series, err)
	}
	k := Key{Path: file, Size: info.Size() + qemu.Size, ModTime: info.ModTime()}
	if qemu.ModTime.After(k.ModTime) {
		k.ModTime = qemu.ModTime
	}
	return k, nil
}

func (m machine) find(ctx context.Context) (string, error) {
	_, release, err := m.kernel()
	if err != nil {
		return "", err
	}
	qemu, err := emulator().find(ctx)
	if err != nil {
		return "", err
	}
	return release + ", qemu " + qemu, nil
}

func emulator() program {
	return program{name: "qemu-system-x86_64", pkg: "qemu-system-x86", version: []string{"--version"}, match: regexp.MustCompile(`version (\d\S*)`)}
}

// mkfs is in a folder that is not on everybody's PATH.
func mkfs() program {
	return program{name: "mkfs.ext4", pkg: "e2fsprogs", also: []string{"/usr/sbin", "/sbin"}}
}

// firmware finds OVMF and an empty image of its variables.
func firmware() (code, vars string, err error) {
	for _, pair := range [][2]string{
		{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"}, // Debian, Ubuntu
		{"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"},
		{"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},     // Fedora
		{"/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"}, // Arch Linux
	} {
		if readable(pair[0]) == nil && readable(pair[1]) == nil {
			return pair[0], pair[1], nil
		}
	}
	return "", "", &MissingError{Tool: "OVMF", Package: "ovmf"}
}

// verify asks all questions, of one boot if it can bear them.
func (m machine) verify(ctx context.Context, questions []Question, trust Trust) []error {
	var answers []error
	for len(answers) < len(questions) {
		part := bearable(questions[len(answers):])
		ctx, cancel := context.WithTimeout(ctx, bootLimit)
		answers = append(answers, m.ask(ctx, part, trust).verdicts()...)
		cancel()
	}
	return answers
}

// bearable returns the first questions, as many as one boot is to be asked; one
// at least.
func bearable(questions []Question) []Question {
	var size int64
	for i, q := range questions[:min(len(questions), maxAsked)] {
		if info, err := os.Stat(q.File); err == nil { // else it will be told
			size += info.Size()
		}
		if size > maxDisk && i > 0 {
			return questions[:i]
		}
	}
	return questions[:min(len(questions), maxAsked)]
}

// inquiry is what a machine was asked, and said.
type inquiry struct {
	questions []Question
	early     []error // what could be said without asking, for each question
	cases     []caseOf
	asked     []int // question of each case
	said      said
	err       error // of the machine
}

func (m machine) ask(ctx context.Context, questions []Question, trust Trust) inquiry {
	q, j, files := m.inquire(questions, trust)
	if len(j.Cases) > 0 {
		q.said, q.err = m.boot(ctx, j, files)
	}
	return q
}

// inquire makes of questions what a guest is asked.
func (m machine) inquire(questions []Question, trust Trust) (q inquiry, j job, files []string) {
	q = inquiry{questions: questions, early: make([]error, len(questions))}
	j, err := newJob(trust)
	for i, question := range questions {
		if err != nil {
			q.early[i] = err
			continue
		}
		c, err := j.newCase(question, strings.TrimPrefix(question.Judge, m.name("")))
		if err != nil {
			q.early[i] = err
			continue
		}
		q.cases, q.asked, files = append(q.cases, c), append(q.asked, i), append(files, question.File)
	}
	j.Cases = q.cases
	return q, j, files
}

// Machine puts the machine of one of KernelJudges, with files to be judged, into
// a folder, which it makes, and returns the line for a POSIX shell that boots it
// and prints what the kernel answered: for those who want to look for
// themselves. The line is for one boot; afterwards the disk is another.
func Machine(ctx context.Context, judge string, files []string, trust Trust, dir string) (command string, err error) {
	i := slices.IndexFunc(machines(), func(m machine) bool { return strings.HasPrefix(judge, m.name("")) })
	if i < 0 {
		return "", fmt.Errorf("%s is no kernel", judge)
	}
	m := machines()[i]
	if _, err := m.key(); err != nil {
		return "", err
	}
	var questions []Question
	for _, file := range files {
		questions = append(questions, Question{Judge: judge, File: file})
	}
	q, j, files := m.inquire(questions, trust)
	if err := errors.Join(q.early...); err != nil {
		return "", err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	args, err := m.prepare(ctx, dir, j, files)
	if err != nil {
		return "", err
	}
	if err := makeDisk(ctx, dir, files); err != nil {
		return "", err
	}
	words := append([]string{emulator().name}, args...)
	return line("cd", argument(dir)) + " && " + line(words...) + " && " + line("cat", fileAnswers), nil
}

// verdicts returns the answer to each question.
func (q inquiry) verdicts() []error {
	answers := slices.Clone(q.early)
	for n, i := range q.asked {
		judge, check := q.questions[i].Judge, q.cases[n].Check
		a, heard := q.said.cases[n]
		p, failed := q.said.problems[check]
		switch {
		case heard:
			answers[i] = a.verdict(judge, check)
		case failed:
			answers[i] = p.problem(judge, check)
		case q.err != nil:
			answers[i] = named(q.err, judge)
		default:
			answers[i] = &UnclearError{Tool: judge, Reason: "the kernel was not asked"}
		}
	}
	return answers
}

// named puts a judge's name into an error about its machine.
func named(err error, judge string) error {
	var (
		boot  *BootError
		crash *CrashError
	)
	switch {
	case errors.As(err, &boot):
		return &BootError{Judge: judge, Console: boot.Console}
	case errors.As(err, &crash):
		return &CrashError{Tool: judge, Reason: crash.Reason, Output: crash.Output}
	}
	return err
}

// newJob gathers what is the same for all cases.
func newJob(trust Trust) (job, error) {
	var j job
	anchors, err := anchored(trust)
	if err != nil {
		return j, err
	}
	for _, c := range anchors {
		j.Certificates = append(j.Certificates, c.Raw)
	}
	signers, err := certificates(trust.SignerFile)
	if err != nil {
		return j, err
	}
	for _, c := range signers {
		if !c.IsCA {
			j.IMACertificates = append(j.IMACertificates, c.Raw)
		}
	}
	for _, p := range []struct {
		file string
		to   *[]byte
	}{{trust.PolicyFile, &j.Policy}, {trust.IMAPolicyFile, &j.IMAPolicy}} {
		if p.file == "" {
			continue
		}
		if *p.to, err = os.ReadFile(p.file); err != nil {
			return j, fmt.Errorf("reading a policy: %w", err)
		}
	}
	return j, nil
}

// newCase reads the signature of a file. One without is the kernel's to judge.
func (j job) newCase(q Question, check string) (caseOf, error) {
	c := caseOf{Check: check, Algorithm: 1}
	var suffix string
	switch check {
	case checkModule:
		return c, nil
	case checkIMA:
		suffix = suffixIMA
		if len(j.IMACertificates) == 0 {
			return c, &LimitError{Judge: q.Judge, Limit: "it must be given the signer's certificate, and there is none"}
		}
	case checkIPE:
		suffix = suffixVerity
		if len(j.Policy) == 0 {
			return c, &LimitError{Judge: q.Judge, Limit: "it must be given a signed policy, and there is none"}
		}
	case checkVerity:
		suffix = suffixVerity
	}
	signature, err := beside(q.Judge, q.File, suffix)
	var none *RefusalError
	if err != nil && !errors.As(err, &none) {
		return c, err
	}
	c.Signature = signature
	if check == checkIMA && len(signature) > 2 && signature[2] == 6 || check != checkIMA && namesSHA512(signature) {
		c.Algorithm = 2
	}
	return c, nil
}

// anchored returns the certificates that a kernel is to trust: those of the CA
// file, and of the signer's those that these have issued, for signatures
// without certificates. Kernels follow a chain that a signature embeds, and
// know no certificates of the system.
func anchored(trust Trust) ([]*x509.Certificate, error) {
	roots, err := certificates(or(trust.CAFile))
	if err != nil {
		return nil, err
	}
	rest, err := certificates(trust.SignerFile)
	if err != nil {
		return nil, err
	}
	var known []*x509.Certificate
	if trust.CAFile != "" {
		known = slices.Clone(roots)
	}
	issuers := slices.Clone(roots)
	for more := true; more; {
		more = false
		rest = slices.DeleteFunc(rest, func(c *x509.Certificate) bool {
			own := func(r *x509.Certificate) bool { return r.Equal(c) || c.CheckSignatureFrom(r) == nil }
			if !slices.ContainsFunc(issuers, own) {
				return false
			}
			known, issuers, more = append(known, c), append(issuers, c), true
			return true
		})
	}
	slices.SortStableFunc(known, func(a, b *x509.Certificate) int { return bytes.Compare(a.Raw, b.Raw) })
	return slices.CompactFunc(known, (*x509.Certificate).Equal), nil
}

// askAgain is the line that asks a kernel again: a machine cannot be had by a
// short one of other people's programs alone.
func askAgain(judge, file string, trust Trust) string {
	words := []string{"go", "run", "github.com/hallmark-build/hallmark/signing/compat/ask", "-judge", judge}
	for _, t := range []struct{ flag, file string }{{"-ca", trust.CAFile}, {"-signer", trust.SignerFile}, {"-policy", trust.PolicyFile}, {"-ima-policy", trust.IMAPolicyFile}} {
		if t.file != "" {
			words = append(words, t.flag, t.file)
		}
	}
	return line(append(words, argument(file))...)
}
