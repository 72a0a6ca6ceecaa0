package targets

import (
	"context"

	"github.com/hallmark-build/hallmark/targets/release"
)

// SignFile signs a file that was built elsewhere, where it stands.
//
// It may be a PE or ELF file, an MSI, CAB or MSIX package, a security catalog, or
// a PowerShell file; the signed file replaces the old one in one rename, or
// nothing changes. With -beside any file is signed, in a file of its own. A quoted
// pattern like 'out/*.exe' means many files, signed several at a time.
func SignFile(ctx context.Context,
	path string,
	// p7s, bundle, verity or ima: sign beside the file, which stays as it is
	beside *string,
	// with -beside=ima: set the attribute security.ima too, which takes root
	xattr *bool,
	// add a signature to the one that a PE file has, nested in it
	nest *bool,
	// PEM file of roots to trust for the signer, when the result is verified
	ca *string,
	// PEM file of roots to trust for the timestamp server
	tsaCA *string,
) error {
	t := override(ca, tsaCA, nil)
	if nest != nil && *nest {
		return release.Exit(release.AppendSignature(ctx, release.Terminal(), path, t))
	}
	return release.Exit(release.SignFile(ctx, release.Terminal(), path, text(beside), xattr != nil && *xattr, t))
}

// VerifyFile verifies the signatures in files and beside them; the exit code says what is wrong.
//
// The path is a file, a quoted pattern like 'out/*.exe', a folder with all that
// is in it, or @LIST for a file with one path a line (@- reads standard input).
// Of several files the exit code is that of the worst.
//
// It trusts whom the options name, else the root of this user's development
// identity, and says so. It opens no identity, starts nothing, and reads no
// hallmark.yaml that -config does not name.
func VerifyFile(ctx context.Context,
	path string,
	// PEM file of roots to trust for the signer
	ca *string,
	// PEM file of roots to trust for the timestamp server
	tsaCA *string,
	// file of revocation lists, PEM or DER
	crl *string,
	// file of signers' certificates, PEM or DER, for signatures that embed none; without -ca they are trusted by being named
	signer *string,
	// hallmark.yaml whose trust is meant where no other option says whom
	config *string,
	// rules that are not enforced, with commas between: see mage rules
	off *string,
	// for machines
	json *bool,
) error {
	return release.Exit(release.VerifyFile(ctx, release.Terminal(), stdout(), path, isSet(json), verifier(ca, tsaCA, crl, signer, config, off)))
}

// Inspect prints what is in a file: signers, chains, digests, timestamps, nested signatures, each rule's verdict.
//
// It trusts whom verifyFile trusts.
func Inspect(ctx context.Context,
	path string,
	// for machines
	json *bool,
	// PEM file of roots to trust for the signer
	ca *string,
	// PEM file of roots to trust for the timestamp server
	tsaCA *string,
	// file of revocation lists, PEM or DER
	crl *string,
	// file of signers' certificates, PEM or DER, for signatures that embed none; without -ca they are trusted by being named
	signer *string,
	// hallmark.yaml whose trust is meant where no other option says whom
	config *string,
	// rules that are not enforced, with commas between: see mage rules
	off *string,
) error {
	return release.Exit(release.Inspect(ctx, release.Terminal(), stdout(), path, isSet(json), verifier(ca, tsaCA, crl, signer, config, off)))
}

// Rules lists the rules of verification, and what turning one off would let pass.
func Rules() error {
	return release.Exit(release.Rules(stdout()))
}

// Unsign takes the signature off a PE or ELF file.
func Unsign(ctx context.Context, path string) error {
	return release.Exit(release.Unsign(ctx, release.Terminal(), path))
}

// TimestampFile gives the signature of a PE file the timestamp that it lacks.
func TimestampFile(ctx context.Context, path string, ca, tsaCA *string) error {
	return release.Exit(release.TimestampFile(ctx, release.Terminal(), path, override(ca, tsaCA, nil)))
}

// AddCertificates embeds in the signature of a PE file those of a PEM file that its signer has left out.
func AddCertificates(ctx context.Context, path, certificates string, ca, tsaCA *string) error {
	return release.Exit(release.AddCertificates(ctx, release.Terminal(), path, certificates, override(ca, tsaCA, nil)))
}

// Extract writes what is to be signed of a PE file, for a machine that has the key and not the file.
func Extract(ctx context.Context, path, data string) error {
	return release.Exit(release.Extract(ctx, release.Terminal(), path, data))
}

// SignExtracted signs what extract wrote.
func SignExtracted(ctx context.Context, data, signature string) error {
	return release.Exit(release.SignExtracted(ctx, release.Terminal(), data, signature))
}

// Attach puts a signature that was made elsewhere into a PE file.
func Attach(ctx context.Context, path, signature string, ca, tsaCA *string) error {
	return release.Exit(release.Attach(ctx, release.Terminal(), path, signature, override(ca, tsaCA, nil)))
}

func override(ca, tsaCA, crl *string) release.TrustOverride {
	return release.TrustOverride{CA: text(ca), TSA: text(tsaCA), CRL: text(crl)}
}

func verifier(ca, tsaCA, crl, signer, config, off *string) release.TrustOverride {
	t := override(ca, tsaCA, crl)
	t.Signer, t.Config, t.Off = text(signer), text(config), text(off)
	return t
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// Enforce writes a folder with all that makes Linux refuse what the identity has not signed: keys, policies, script, README.
func Enforce(ctx context.Context, folder string) error {
	return release.Exit(release.Enforce(ctx, release.Terminal(), folder))
}
