// Package targets holds the mage commands of hallmark. A project uses them
// with a magefile.go of its own:
//
//	//go:build mage
//
//	package main
//
//	//mage:import
//	import _ "github.com/hallmark-build/hallmark/targets"
//
// What they do is configured in hallmark.yaml, which `mage init` writes.
//
// # Exit codes
//
//	0  done
//	1  a stage failed: compiling, a timestamp server, the disk, a judge
//	2  the configuration, the identity or the machine is not ready, or the command line is wrong
//	3  a file has no signature
//	4  a file is not what was signed
//	5  the signature holds, but its signer is not trusted
//	6  the certificate has expired and no timestamp shows that it was good
//	7  a file or signature is malformed, or of no kind that can be signed
//
// # Environment
//
//	HALLMARK_IDENTITY  takes the place of identity in hallmark.yaml
//	HALLMARK_TIMESTAMP takes the place of timestamp: dev, or servers with spaces between them
//	HALLMARK_PASSWORD_FILE, HALLMARK_PASSWORD_FD, HALLMARK_PASSWORD  of the identity's file: in a file, from an open
//	                   descriptor, or itself; one of them; otherwise a terminal is asked, without echo
//	XDG_STATE_HOME     folder of hallmark/records, which tell what this machine made; default ~/.local/state
//	HALLMARK_DEBIAN    a mirror of Debian, from which mage setup fetches kernels on Ubuntu
//	CI, TERM=dumb      plain lines instead of a live one
package targets

import (
	"context"
	"io"
	"os"

	"github.com/hallmark-build/hallmark/build/host"
	"github.com/hallmark-build/hallmark/build/quote"
	"github.com/hallmark-build/hallmark/targets/release"
)

// stdout is the standard output for text that may hold what comes from elsewhere.
func stdout() io.Writer { return quote.Writer(os.Stdout) }

// Release makes the whole release: builds, signs, packs and verifies into dist.
//
// What has not changed since the last release is not made again. If anything
// fails, dist stays as it was.
func Release(ctx context.Context) error {
	return release.Exit(release.Run(ctx, release.Terminal()))
}

// Build compiles all programs for all targets into dist, unsigned; it needs no identity.
func Build(ctx context.Context) error {
	return release.Exit(release.Build(ctx, release.Terminal()))
}

// Sign signs the programs that build left in dist: those that hallmark.yaml names.
//
// It believes the manifest in dist if this machine wrote it. On another machine
// than the one that built, it needs one of the options, because whoever can write
// into dist could otherwise have something signed.
func Sign(ctx context.Context,
	// SHA-256 of dist/manifest.json as build wrote it, or a file that holds it as sha256sum does; not one from dist
	manifest *string,
	// compile all programs again, and demand that dist holds the same
	rebuild *bool,
) error {
	return release.Exit(continuing(manifest, func(o release.Options) error {
		o.Rebuild = isSet(rebuild)
		return release.Sign(ctx, o)
	}))
}

// Package packs the signed programs of dist into archives and packages, with SHA256SUMS.
func Package(ctx context.Context,
	// SHA-256 of dist/manifest.json as sign wrote it, if that was on another machine
	manifest *string,
) error {
	return release.Exit(continuing(manifest, func(o release.Options) error { return release.Package(ctx, o) }))
}

// Verify compares dist with hallmark.yaml, and judges all files by our verifier and the judges that are installed.
//
// It trusts the certificates of hallmark.yaml's trust; else the identity that
// made the release on this machine, or that the manifest names whose SHA-256 is
// given; else the configured identity, where its certificate can be read without
// a secret. Only the results in manifest.json, and the reports, are written, and
// not even those with -manifest.
func Verify(ctx context.Context,
	// SHA-256 of dist/manifest.json as the last stage wrote it, if that was on another machine
	manifest *string,
	// take any signer for whom the certificates in dist vouch
	trustDist *bool,
) error {
	return release.Exit(continuing(manifest, func(o release.Options) error {
		o.TrustDist = isSet(trustDist)
		return release.Verify(ctx, o)
	}))
}

// continuing runs a stage that continues what another machine did.
func continuing(manifest *string, run func(release.Options) error) error {
	o := release.Terminal()
	sum, err := release.SHA256Of("-manifest", text(manifest))
	if err != nil {
		return err
	}
	o.Manifest = sum
	return run(o)
}

// Check tells whether a release could begin: configuration, identity, compilers, programs.
func Check(ctx context.Context) error {
	return release.Exit(release.Check(ctx, release.Terminal()))
}

// Init writes a commented hallmark.yaml for the module it stands in.
func Init(ctx context.Context) error {
	return release.Exit(release.Init(ctx, release.Terminal()))
}

// Clean removes from dist what hallmark made, and nothing else.
func Clean() error {
	return release.Exit(release.Clean(release.Terminal()))
}

// Doctor prints a table of the tools: version, place, and what lacks without each.
func Doctor(ctx context.Context) error {
	return release.Exit(host.Doctor(ctx, stdout()))
}

// Setup installs the tools that the stages and tests use, on Debian and Ubuntu.
//
// All of them are some 600 MB to fetch, and several are compiled.
func Setup(ctx context.Context,
	// compilers and the judges that are small: enough for a release that is not strict
	lean *bool,
) error {
	return release.Exit(host.Setup(ctx, stdout(), isSet(lean)))
}

// Test vets and tests all packages of the module; a skipped test is a failure.
func Test(ctx context.Context) error {
	return release.Exit(release.Test(ctx, release.Terminal(), stdout()))
}
