// Package compat asks programs that share no code with this project whether
// they accept a signed file.
//
// A signature is worth what strangers say of it: the writer and the verifier
// of one project agree with each other even where both are wrong. So this
// package imports no other package of the module (a test over the import graph
// holds it to that); it is handed files and the paths of PEM certificates, runs
// foreign programs on them, and reads what they answer.
//
// # Judges, cases, results
//
// A [Judge] is one foreign verifier for one signature scheme. A [Case] is one
// file with an expectation: it is to be accepted, or to be refused. [Run] puts
// every case before every judge of its scheme and returns one [Result] for
// each pair.
//
// # Three answers, not two
//
// Exit codes are not verdicts. osslsigncode verify exits 0 when any one of
// several signatures is good and when the timestamp is forged; a program that
// is killed half-way exits like one that refused. So a judge's output is read
// as well as its exit code, and an answer is one of
//
//   - accepted: the program said so in the words it is known to use;
//   - refused: the program said so in the words it is known to use
//     ([RefusalError]);
//   - neither: it was killed by a signal, ran into the time limit
//     ([CrashError]), or said something that is not known here. That is a
//     failure whatever was expected, and never a refusal: a judge that crashes
//     on every file would otherwise pass every test of tampering.
//
// A program that is not installed ([MissingError]), or a kernel that does not boot
// ([BootError]), is a [Skip] with its reason,
// and so is one that is known not to read this kind of signature
// ([LimitError]), unless that is what was expected of it ([Cannot]).
//
// # What the programs are given
//
// Each runs in a session of its own with a time limit ([Limit]). When it ends, or
// the limit does, everything that it started is killed. On Linux that is so
// whatever a child does to get away (setsid, a double fork, an empty
// environment): this process becomes the reaper of its descendants, for as long
// as it lives (PR_SET_CHILD_SUBREAPER in prctl(2)). Elsewhere a child that leaves
// the process group outlives the judge. The environment is PATH, LC_ALL=C, TZ=UTC,
// TMPDIR and a number of the run, nothing else: no password, identity or proxy
// reaches it. Of the output the first megabyte of each stream is kept.
//
// # Trust
//
// [Trust] names PEM files. What each judge needs in them differs:
//
//   - osslsigncode wants the self-signed root of the chain in CAFile;
//     intermediates come from the signature. An intermediate or the leaf alone
//     is refused.
//   - openssl cms and openssl ts take any certificate of the chain in CAFile
//     as its end (-partial_chain), as the Linux kernel does with its keyring;
//     the certificates between come from the signature.
//   - relic takes the certificates of CAFile and of TSAFile, roots or not, as
//     ends of any chain; saferwall and chktrust those of CAFile.
//   - Wine's WinVerifyTrust, pesign and hash-to-efi-sig-list look at no trust.
//   - sbverify reads the first certificate of CAFile only. It must be the
//     root, the issuer or the signer. When the signature embeds an
//     intermediate, any certificate at all will do: it is no judge of trust.
//   - the kernel's keyrings take CAFile, and of SignerFile what these have
//     issued, for signatures without certificates; IMA's takes the signers of
//     SignerFile alone. They know no certificates of the system.
//
// An empty CAFile or TSAFile means the certificates of the system.
package compat

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Trust names the certificates under which a judge verifies.
type Trust struct {
	CAFile        string `json:"caFile,omitempty"`        // PEM, ends of the signers' chains; empty = the system's
	TSAFile       string `json:"tsaFile,omitempty"`       // PEM, ends of the timestamp authorities' chains; empty = the system's
	PGPFile       string `json:"pgpFile,omitempty"`       // armored OpenPGP keys of those who sign deb and rpm packages; empty = a package need not be signed
	APKFile       string `json:"apkFile,omitempty"`       // PEM, public key of those who sign apk packages; empty = likewise
	SignerFile    string `json:"signerFile,omitempty"`    // PEM, the signer's certificate and those above it, for signatures that hold none
	PolicyFile    string `json:"policyFile,omitempty"`    // DER, an IPE policy as the content of a CMS by the same signer; empty = none, and IPE is not asked
	IMAPolicyFile string `json:"imaPolicyFile,omitempty"` // text, rules for IMA's appraisal; empty = each file must have a signature of its version

	// Dir is where Judge.Command finds a file whose name is relative; empty: the current
	// folder. The command is for that folder, wherever a copy of it is.
	Dir string `json:"-"`
}

// find returns where a file of a command is.
func (t Trust) find(file string) string {
	if t.Dir == "" || filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(t.Dir, file)
}

// check tells an unusable trust file from a signature that is not trusted:
// osslsigncode reports both as a failed verification.
func (t Trust) check() error {
	for _, file := range []string{t.CAFile, t.TSAFile, t.SignerFile} {
		if file == "" {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("reading trusted certificates: %w", err)
		}
		n := 0
		for {
			var block *pem.Block
			if block, data = pem.Decode(data); block == nil {
				break
			}
			if block.Type != "CERTIFICATE" {
				continue
			}
			if _, err := x509.ParseCertificate(block.Bytes); err != nil {
				return fmt.Errorf("reading trusted certificates: %s: certificate %d: %w", file, n+1, err)
			}
			n++
		}
		if n == 0 {
			return fmt.Errorf("reading trusted certificates: %s holds no PEM certificate", file)
		}
	}
	for file, kind := range map[string]string{t.PGPFile: "PGP PUBLIC KEY BLOCK", t.APKFile: "PUBLIC KEY"} {
		if file == "" {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("reading trusted keys: %w", err)
		}
		if !strings.Contains(string(data), "-----BEGIN "+kind+"-----") {
			return fmt.Errorf("reading trusted keys: %s holds no armored %s", file, kind)
		}
	}
	return nil
}

// Schemes of signatures that judges in this package read.
const (
	Authenticode = "authenticode" // PE files, embedded
	Appended     = "appended"     // any file, "~Module signature appended~"
	Sums         = "sums"         // a SHA256SUMS file and the files it lists
	P7S          = "p7s"          // any file, detached CMS beside it, FILE.p7s
	Bundle       = "bundle"       // any file, sigstore bundle beside it, FILE.sigstore.json
	Verity       = "verity"       // any file, CMS over its fs-verity digest beside it, FILE.verity.p7s
	IMA          = "ima"          // any file, value of security.ima beside it, FILE.sig
	Deb          = "deb"          // Debian package, OpenPGP in its member _gpgorigin
	RPM          = "rpm"          // RPM package, OpenPGP over its header and payload
	APK          = "apk"          // Alpine package, RSA over its control segment
)

// Want is what is expected of a judge.
type Want int

const (
	Accept Want = iota // the judge is to accept the file
	Refuse             // the judge is to refuse the file
	Cannot             // the judge is to say that it does not read this kind of file or signature (*LimitError)
)

// String returns "accept", "refuse" or "cannot".
func (w Want) String() string {
	switch w {
	case Accept:
		return "accept"
	case Refuse:
		return "refuse"
	case Cannot:
		return "cannot"
	}
	return fmt.Sprintf("want(%d)", int(w))
}

// Status is how a result stands to its expectation. The zero value is Fail:
// what nobody judged has not passed.
type Status int

const (
	Fail   Status = iota // the judge answered otherwise than expected, or not at all
	Pass                 // the judge answered as expected
	Skip                 // the judge could not be asked; Reason says why
	Differ               // the judge answered otherwise than expected, and the configuration allows that for now
)

// String returns "fail", "pass", "skip" or "allowed".
func (s Status) String() string {
	switch s {
	case Fail:
		return "fail"
	case Pass:
		return "pass"
	case Skip:
		return "skip"
	case Differ:
		return "allowed"
	}
	return fmt.Sprintf("status(%d)", int(s))
}

// MarshalText writes the status as String does.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText wrote; anything else is an error.
func (s *Status) UnmarshalText(text []byte) error {
	for _, v := range []Status{Fail, Pass, Skip, Differ} {
		if string(text) == v.String() {
			*s = v
			return nil
		}
	}
	return fmt.Errorf("status %q is none of fail, pass, skip, allowed", text)
}

// Key tells one installed program from another without running it: after an
// upgrade one of its parts differs.
type Key struct {
	Path    string    `json:"path"`    // absolute, links not resolved
	Size    int64     `json:"size"`    // bytes of the file that the path leads to
	ModTime time.Time `json:"modTime"` // of that file
}

// String returns the key in one line, the same for the same program.
func (k Key) String() string {
	return fmt.Sprintf("%s %d %d", k.Path, k.Size, k.ModTime.UnixNano())
}

// Judge is one foreign verifier of one signature scheme.
type Judge struct {
	Name   string // as reports show it
	Scheme string // the scheme whose cases it is given
	Limits string // what it does not check: an acceptance says nothing about that

	// FindKey says where the program is without running it. It returns a
	// *MissingError when the program is not installed. Nil: there is no
	// program (a judge in this process).
	FindKey func() (Key, error)

	// Find returns the program's version, by running it. It returns a
	// *MissingError when the program is not installed.
	Find func(ctx context.Context) (version string, err error)

	// Fits reports whether a file is one for this judge. Of one that is not it is
	// not asked, and there is no result. Nil: every file of its scheme.
	Fits func(file string, trust Trust) bool

	// Verify returns nil if the judge accepts the file, a *RefusalError if it
	// refuses it, and any other error if it gave no verdict. Nil if Batch is set.
	Verify func(ctx context.Context, file string, trust Trust) error

	// Command returns a line for a POSIX shell that asks this judge the same
	// question. Nil: there is no such line.
	Command func(file string, trust Trust) string

	// Definition is what decides the judge's answers besides its program: of a
	// judge of the user's, the command and the files that it names. Nil: it is
	// a judge of this package.
	Definition func() string

	// Timeout takes the place of Limit. 0: Limit.
	Timeout time.Duration

	// Batch is asked in place of Verify, about all files at once. Judges with
	// the same one share it: a machine is started once for all of them.
	Batch *Batch
}

// Batch judges many files in one call, for judges that are dear to start.
type Batch struct {
	// Limit is the time for one call; 0 means Limit.
	Limit time.Duration

	// Verify returns one answer for each question, in their order and each as
	// Judge.Verify returns it.
	Verify func(ctx context.Context, questions []Question, trust Trust) []error
}

// Question is one file for one of the judges of a Batch.
type Question struct {
	Judge string // name
	File  string // path
}

// Judges returns the judges of this package, in a fixed order.
func Judges() []Judge {
	judges := append(osslsigncodes(), sbverify(), relic(), saferwall(), chktrust(), pesign(), hashToEFI())
	if runtime.GOARCH == "amd64" { // its program is for x86-64, and Wine emulates no processor
		judges = append(judges, wintrust())
	}
	return append(judges, opensslCMS(), sha256sum(), opensslP7S(), opensslVerity(), evmctl(), cosign(),
		modinfo(), dpkgDeb(), debsigVerify(), rpmkeys(), opensslAPK())
}

// RefusalError is a verdict: the judge has refused the file.
type RefusalError struct {
	Judge  string
	Reason string // in one line
	Output string // the program's own words, shortened

	unread bool // it says that it cannot read the file, and has judged nothing
}

func (e *RefusalError) Error() string { return e.Judge + " refuses: " + e.Reason }

// MissingError says that a judge's program is not installed.
type MissingError struct {
	Tool    string // the program's name
	Package string // the Debian package that has it; empty: none that is known here
}

func (e *MissingError) Error() string {
	if e.Package == "" {
		return e.Tool + " is not installed"
	}
	return fmt.Sprintf("%s is not installed (apt package %s)", e.Tool, e.Package)
}

// LimitError says that a judge is known not to read this kind of signature.
type LimitError struct {
	Judge string
	Limit string
}

func (e *LimitError) Error() string { return e.Judge + ": " + e.Limit }

// CrashError says that a judge's program ended without an answer: by a signal
// or at the time limit.
type CrashError struct {
	Tool   string
	Reason string
	Output string // what the program had printed, shortened
}

func (e *CrashError) Error() string { return e.Tool + " crashed: " + e.Reason }

// UnclearError says that a judge's program answered in words that are not
// known here. That is no verdict.
type UnclearError struct {
	Tool   string
	Reason string
	Output string // the program's own words, shortened
}

func (e *UnclearError) Error() string { return e.Tool + " gave no verdict: " + e.Reason }
