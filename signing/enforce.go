package signing

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	_ "embed"
	"encoding/asn1"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"github.com/hallmark-build/hallmark/signing/cms"
	"github.com/hallmark-build/hallmark/signing/key"
)

// Enforcement is what an administrator is given so that Linux refuses to run what
// this identity has not signed.
type Enforcement struct {
	Name     string            // of the policy, the unit and the folder: letters, digits, dots, dashes
	Version  string            // of the policy, three numbers: IPE takes no older one than it has; empty means 1.0.0
	Programs []EnforcedProgram // on which fs-verity is enabled
	Hash     crypto.Hash       // of the policy's signature and of fs-verity; 0 means SHA-256
	Verity   bool              // the programs have fs-verity signatures: an IPE policy is written
	IMA      bool              // the programs have IMA signatures: an IMA policy is written
	Sigv3    bool              // these are of version 3, over the fs-verity digest
}

// EnforcedProgram is an installed program and its fs-verity signature.
type EnforcedProgram struct{ Path, Signature string }

// EnforcementFile is one of the files to be written into a folder.
type EnforcementFile struct {
	Name string
	Data []byte
	Mode fs.FileMode
}

var (
	//go:embed enforce.sh
	enforceScript string
	//go:embed enforce.md
	enforceReadme string
)

// Files returns the files, the policy for IPE signed by k:
//
//	signer.der, ca.der   certificates for the kernel's keyrings
//	ima-policy           rules for /sys/kernel/security/ima/policy
//	ipe-policy           rules for IPE, and in
//	ipe-policy.p7b       as it takes them: DER of a CMS with the text inside,
//	                     without signed attributes
//	programs             a line for each program: its path, a tab, its signature's
//	enforce              a script that loads keys and policies, and enables verity
//	NAME-verity.service  a systemd unit that calls it at boot
//	README.md            what to do with all of it
func (e Enforcement) Files(ctx context.Context, k *key.Key) ([]EnforcementFile, error) {
	e.Version = cmp.Or(e.Version, "1.0.0")
	e.Hash = cmp.Or(e.Hash, crypto.SHA256)
	if err := e.validate(); err != nil {
		return nil, err
	}
	files := []EnforcementFile{
		{"signer.der", k.Leaf().Raw, 0o644},
		{"ca.der", k.Root().Raw, 0o644},
	}
	if e.IMA {
		files = append(files, EnforcementFile{"ima-policy", []byte(e.IMAPolicy()), 0o644})
	}
	if e.Verity {
		policy := []byte(e.IPEPolicy())
		signed, err := SignPolicy(policy, e.Hash, k)
		if err != nil {
			return nil, err
		}
		var list bytes.Buffer
		for _, p := range e.Programs {
			fmt.Fprintf(&list, "%s\t%s\n", p.Path, p.Signature)
		}
		files = append(files,
			EnforcementFile{"ipe-policy", policy, 0o644},
			EnforcementFile{"ipe-policy.p7b", signed, 0o644},
			EnforcementFile{"programs", list.Bytes(), 0o644},
			EnforcementFile{e.Name + "-verity.service", []byte(e.unit()), 0o644})
	}
	readme, err := e.readme(k)
	if err != nil {
		return nil, err
	}
	return append(files, EnforcementFile{"enforce", []byte(strings.ReplaceAll(enforceScript, "HASH", e.algorithm())), 0o755}, EnforcementFile{"README.md", readme, 0o644}), ctx.Err()
}

func (e Enforcement) validate() error {
	if !regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`).MatchString(e.Name) {
		return fmt.Errorf("enforcement: the name %q is to be of letters, digits, dots and dashes: it names a policy of the kernel", e.Name)
	}
	if !regexp.MustCompile(`^\d{1,5}\.\d{1,5}\.\d{1,5}$`).MatchString(e.Version) {
		return fmt.Errorf("enforcement: the policy's version %q is not three numbers like 1.0.0", e.Version)
	}
	if !e.Verity && !e.IMA {
		return errors.New("enforcement: no kernel refuses to run a program by an appended signature: sign with verity, ima or ima-verity too (sign: {elf: [appended, verity]})")
	}
	if _, err := verityAlgorithm(e.Hash); e.Verity && err != nil {
		return err
	}
	for _, p := range e.Programs {
		for _, name := range []string{p.Path, p.Signature} {
			if !strings.HasPrefix(name, "/") || strings.ContainsAny(name, "\t\n\\") {
				return fmt.Errorf("enforcement: %q is no absolute path that a list could hold", name)
			}
		}
	}
	return nil
}

func (e Enforcement) algorithm() string {
	return strings.ToLower(strings.ReplaceAll(e.Hash.String(), "-", ""))
}

// IPEPolicy returns rules for the kernel's Integrity Policy Enforcement, since
// Linux 6.12 (Documentation/admin-guide/LSM/ipe.rst): nothing is executed but what
// comes from the initramfs, and files whose fs-verity digest has a signature by a
// key of the keyring .fs-verity. Other operations are left alone.
func (e Enforcement) IPEPolicy() string {
	return "policy_name=" + e.Name + " policy_version=" + cmp.Or(e.Version, "1.0.0") + `
DEFAULT action=ALLOW
DEFAULT op=EXECUTE action=DENY

op=EXECUTE boot_verified=TRUE action=ALLOW
op=EXECUTE fsverity_signature=TRUE action=ALLOW
`
}

// IMAPolicy returns rules for the kernel's Integrity Measurement Architecture
// (Documentation/ABI/testing/ima_policy): programs and what they map to execute
// must have a signature in security.ima, on ext4, XFS and btrfs.
func (e Enforcement) IMAPolicy() string {
	kind := "appraise_type=imasig"
	if e.Sigv3 {
		kind = "digest_type=verity appraise_type=sigv3"
	}
	var b strings.Builder
	for _, magic := range []string{"0xef53", "0x58465342", "0x9123683e"} { // EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC
		for _, function := range []string{"BPRM_CHECK", "MMAP_CHECK"} {
			fmt.Fprintf(&b, "appraise func=%s fsmagic=%s %s\n", function, magic, kind)
		}
	}
	return b.String()
}

// SignPolicy returns a policy as IPE takes it (security/ipe/policy.c): the DER of a
// CMS that has the text inside and no signed attributes. The certificate must be
// trusted by the kernel: the keyrings .secondary_trusted_keys and .platform count.
func SignPolicy(policy []byte, h crypto.Hash, k *key.Key) ([]byte, error) {
	content, err := asn1.Marshal(policy)
	if err != nil {
		return nil, err
	}
	d := h.New()
	d.Write(policy)
	return cms.Message{ContentType: cms.OIDData, Content: content, Digest: d.Sum(nil), Hash: h, Bare: true, Certificates: k.Chain}.Sign(k, k.Leaf(), nil)
}

// unit is a systemd unit: packages and image builders may call the script themselves.
func (e Enforcement) unit() string {
	return `[Unit]
Description=fs-verity signatures of ` + e.Name + `
Documentation=file:/usr/lib/` + e.Name + `/enforce/README.md
RequiresMountsFor=/usr
DefaultDependencies=no
After=local-fs.target
Before=sysinit.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/lib/` + e.Name + `/enforce/enforce keys
ExecStart=/usr/lib/` + e.Name + `/enforce/enforce verity

[Install]
WantedBy=sysinit.target
`
}

func (e Enforcement) readme(k *key.Key) ([]byte, error) {
	t, err := template.New("").Parse(enforceReadme)
	if err != nil {
		return nil, err
	}
	_, ec := k.Leaf().PublicKey.(*ecdsa.PublicKey)
	algorithm := k.Leaf().PublicKeyAlgorithm
	var b bytes.Buffer
	err = t.Execute(&b, map[string]any{
		"Name": e.Name, "Version": e.Version, "Verity": e.Verity, "IMA": e.IMA, "Sigv3": e.Sigv3, "Subject": k.Leaf().Subject.String(),
		"Until": k.Leaf().NotAfter.UTC().Format("2006-01-02"), "Algorithm": algorithm.String(), "New": ec || e.Hash != crypto.SHA256,
		"Development": k.Development, "Usage": slices.Contains(k.Leaf().ExtKeyUsage, x509.ExtKeyUsageCodeSigning),
	})
	return b.Bytes(), err
}
