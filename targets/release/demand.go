package release

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/hallmark-build/hallmark/build"
	"github.com/hallmark-build/hallmark/signing/compat"
)

// trustPaths are the files of certificates and keys that a release may ship.
func trustPaths() []string {
	return []string{trustCA, trustTSA, trustSigner, trustRoot, trustPGP, trustAPK}
}

// demanded lists every artifact that the configuration demands of a release of
// this version, but the trust files. A Signature names the scheme only.
func (c *Config) demanded(version string) ([]Entry, error) {
	targets, err := c.Build.Expand()
	if err != nil {
		return nil, &UsageError{err}
	}
	var bins []Entry
	for _, t := range targets {
		bins = append(bins, Entry{Path: t.Rel(), Kind: KindBinary, Program: t.Program, Platform: t.Platform.String(), Toolchain: t.Toolchain})
	}
	parcels, err := planParcels(c.Name, version, c.Shipping.Packages, bins)
	if err != nil {
		return nil, err
	}
	all := slices.Clone(bins)
	for _, p := range parcels {
		e := Entry{Path: p.path, Kind: p.kind, Platform: p.platform.String(), Toolchain: p.bins[0].Toolchain}
		if p.kind == KindPackage && slices.Contains(c.Sign.Packages, p.format) {
			e.Signature = &Signature{Scheme: p.format}
		}
		all = append(all, e)
	}
	all = append(all, Entry{Path: sumsFile, Kind: KindSums})
	for _, e := range slices.Clone(all) {
		for _, d := range besideOf(c.Sign, e) {
			all = append(all, Entry{Path: e.Path + d.Suffix(), Kind: KindSignature, Of: e.Path, Platform: e.Platform, Toolchain: e.Toolchain,
				Signature: &Signature{Scheme: d.Name()}})
		}
	}
	return all, nil
}

// refuse adds a verdict of our own that is about dist as a whole, or about a
// file of it that nobody can judge.
func (c *court) refuse(code int, rel, format string, args ...any) {
	version, _, _ := strings.Cut(c.own, " ")
	c.refused = append(c.refused, compat.Result{Judge: ourJudge, Version: version, Scheme: schemeRecord, Case: rel,
		Want: compat.Accept.String(), Got: compat.Refuse.String(), Status: compat.Fail, Reason: fmt.Sprintf(format, args...)})
	c.codes[code] = true
}

// demand compares the manifest with the configuration, refuses every
// difference, and returns the artifacts as the configuration describes them:
// what a manifest calls a program does not decide whether it has to be signed.
func (c *court) demand(cfg *Config, w *workspace) ([]Entry, error) {
	m := w.prev
	demanded, err := cfg.demanded(m.Version)
	if err != nil {
		return nil, err
	}
	if m.Name != cfg.Name {
		c.refuse(ExitTampered, ManifestFile, "it is a release of %q, and %s says name: %q", m.Name, ConfigFile, cfg.Name)
	}
	known := map[string]bool{}
	var entries []Entry
	for _, want := range demanded {
		known[want.Path] = true
		e := m.Entry(want.Path)
		if e == nil {
			code := ExitFailed
			if want.Kind == KindSignature {
				code = ExitUnsigned
			}
			c.refuse(code, want.Path, "%s demands it, and the manifest does not list it: run `mage release` again", ConfigFile)
			continue
		}
		if e.Kind != want.Kind || e.Of != want.Of || e.Program != want.Program || e.Platform != want.Platform || e.Toolchain != want.Toolchain {
			c.refuse(ExitTampered, want.Path, "the manifest lists it as a %s of another program, platform or file than %s demands, where it is a %s", e.Kind, ConfigFile, want.Kind)
		}
		have := *e
		have.Kind, have.Of, have.Program, have.Platform, have.Toolchain = want.Kind, want.Of, want.Program, want.Platform, want.Toolchain
		if want.Signature != nil && (e.Signature == nil || e.Signature.Scheme != want.Signature.Scheme) {
			c.refuse(ExitUnsigned, want.Path, "the manifest lists no signature %s of it, which %s demands", want.Signature.Scheme, ConfigFile)
			have.Signature = want.Signature
		}
		if want.Kind == KindArchive {
			have.Signature = nil
		}
		entries = append(entries, have)
	}
	for _, e := range m.Artifacts {
		switch {
		case known[e.Path]:
		case e.Kind == KindTrust && slices.Contains(trustPaths(), e.Path):
			entries = append(entries, e)
		default:
			c.refuse(ExitTampered, e.Path, "the manifest lists it, and %s does not demand it: it is not a part of this release", ConfigFile)
			e.JudgeKey = ""
			entries = append(entries, e)
		}
	}
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
	return entries, c.demandSums(entries, w)
}

// demandSums compares SHA256SUMS with the artifacts that it has to list.
func (c *court) demandSums(entries []Entry, w *workspace) error {
	if w.intact(sumsFile) == nil {
		return nil // which is said elsewhere
	}
	listed := slices.DeleteFunc(slices.Clone(entries), func(e Entry) bool { return e.Path == sumsFile || e.Of == sumsFile })
	data, err := w.root.ReadFile(sumsFile)
	if err != nil {
		return err
	}
	if !bytes.Equal(data, sumsText(listed)) {
		c.refuse(ExitTampered, sumsFile, "it does not list exactly the files of the release with their SHA-256")
	}
	return nil
}

// demandVersion compares the version in the manifest with that of hallmark.yaml
// or of the checkout. What this machine built itself may be older than the
// checkout by now.
func (c *court) demandVersion(ctx context.Context, cfg *Config, o Options, w *workspace) {
	want := cfg.Version
	if want == "" && !w.authentic {
		if src, err := openSource(ctx, cfg, o); err == nil && src.Revision != "" && !src.Modified {
			want = src.Version
		}
	}
	if want != "" && want != w.prev.Version {
		c.refuse(ExitTampered, ManifestFile, "it is a release of version %s, and this folder is at version %s: check out the sources of that version to verify it", w.prev.Version, want)
	}
}

// unlisted refuses the files that stand in the dist folder and in no manifest:
// nobody has judged them, and nobody may take them for a part of the release.
func (c *court) unlisted(w *workspace) error {
	return fs.WalkDir(w.root.FS(), ".", func(rel string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case rel == stageDir, d.IsDir() && isMap(w, rel):
			return fs.SkipDir
		case d.IsDir(), isRecord(rel), rel == ignoreFile, w.prev.Entry(rel) != nil:
			return nil
		}
		c.refuse(ExitTampered, rel, "not judged: not in the manifest: move it away, nobody may take it for a part of the release")
		return nil
	})
}

// verified notes who signed a file, as its signature says.
func (c *court) verified(rel string, signer *x509.Certificate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.signers == nil {
		c.signers = map[string][]*x509.Certificate{}
	}
	c.signers[rel] = append(c.signers[rel], signer)
}

// demandSigner refuses signatures of several signers, of another one than
// anchors demand, and those for which nobody but dist itself vouches. It
// returns the signer of the release, nil if there is not one.
func (c *court) demandSigner(w *workspace, trustDist bool) *x509.Certificate {
	found := map[string]*x509.Certificate{}
	for _, certs := range c.signers {
		for _, cert := range certs {
			found[fingerprint(cert)] = cert
		}
	}
	if len(found) == 0 {
		return nil
	}
	var names []string
	var signer *x509.Certificate
	for _, print := range slices.Sorted(maps.Keys(found)) {
		signer = found[print]
		names = append(names, signer.Subject.String())
		if a := c.anchors; len(a.leaves) > 0 && !slices.Contains(a.leaves, print) {
			c.refuse(ExitUntrusted, ManifestFile, "signed by %s (SHA-256 of the certificate %s), which is not that of %s", signer.Subject, print, a.voucher)
		}
	}
	if len(found) > 1 {
		c.refuse(ExitUntrusted, ManifestFile, "its files are signed by %d signers: %s", len(found), strings.Join(names, "; "))
		return nil
	}
	if c.anchors.brought && !trustDist {
		c.refuse(ExitUntrusted, ManifestFile, "signed by %s, for whom only the certificates in dist itself vouch, and anybody could have put them there: name the roots in %s (trust: {ca: FILE}), "+
			"or give the SHA-256 of the manifest (-manifest), or take any signer with -trustDist", signer.Subject, ConfigFile)
	}
	is := describeIdentity(signer)
	is.Development = slices.Contains(signer.Subject.Organization, "hallmark development")
	if id := w.prev.Identity; id == nil || id.NotAfter.UTC() != is.NotAfter || id.Fingerprint != is.Fingerprint || id.Subject != is.Subject || id.Issuer != is.Issuer || id.Development != is.Development {
		c.refuse(ExitTampered, ManifestFile, "it names another identity than that which signed: %s", signer.Subject)
	}
	return signer
}

// sameSignature refuses a manifest that describes another signature than the
// one that was verified.
func sameSignature(e Entry, is *Signature) error {
	want := cmp.Or(e.Signature, &Signature{})
	if want.Scheme != is.Scheme || want.Signer != is.Signer || want.Hash != is.Hash || want.TSA != is.TSA ||
		(want.Time == nil) != (is.Time == nil) || want.Time != nil && !want.Time.Equal(*is.Time) {
		return fmt.Errorf("the manifest describes another signature than this one by %s", is.Signer)
	}
	return nil
}

// demandTrust refuses trust files that hold other certificates than those that
// the configuration, or the record of this machine, trusts.
func (c *court) demandTrust(w *workspace) error {
	if c.anchors.brought {
		return nil
	}
	for _, f := range []struct {
		rel  string
		data []byte
	}{{trustCA, c.anchors.ca}, {trustTSA, c.anchors.tsa}} {
		if w.intact(f.rel) == nil {
			continue
		}
		data, err := w.root.ReadFile(f.rel)
		if err != nil {
			return err
		}
		trusted, err := parsePEM(f.data)
		if err != nil {
			return err
		}
		shipped, err := parsePEM(data)
		if err != nil || len(shipped) == 0 {
			c.refuse(ExitMalformed, f.rel, "it holds no certificates")
			continue
		}
		for _, s := range shipped {
			if !slices.ContainsFunc(trusted, s.Equal) {
				c.refuse(ExitUntrusted, f.rel, "it tells users to trust %s, whom %s does not trust", s.Subject, c.anchors.voucher)
			}
		}
	}
	return nil
}

func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// isMap reports whether a folder is that of the compatibility matrix, which is
// written into the dist folder and is not a part of a release.
func isMap(w *workspace, rel string) bool {
	if rel != "boundaries" {
		return false
	}
	_, err := w.root.Lstat(path.Join(rel, "boundaries.json"))
	return err == nil
}

// configured returns the built programs that the configuration names, with what
// an authentic manifest says of them. It refuses a manifest that lacks one, and
// one that lists others.
func (c *Config) configured(w *workspace) ([]binary, error) {
	targets, err := c.Build.Expand()
	if err != nil {
		return nil, &UsageError{err}
	}
	var bins []binary
	for _, t := range targets {
		e := w.prev.Entry(t.Rel())
		if e == nil || e.Kind != KindBinary || !isTarget(*e, t) {
			return nil, usage("%s was not built: %s demands it: run `mage build` first", t.Rel(), ConfigFile)
		}
		bins = append(bins, binary{*e, w.file(e.Path)})
	}
	return bins, c.noOthers(w, targets)
}

// noOthers refuses programs in the manifest that the configuration does not name.
func (c *Config) noOthers(w *workspace, targets []build.Target) error {
	for _, e := range w.prev.of(KindBinary) {
		if !slices.ContainsFunc(targets, func(t build.Target) bool { return t.Rel() == e.Path }) {
			return usage("%s lists %s, which %s does not name: it is not signed: run `mage build` again", path.Join(c.Dist, ManifestFile), e.Path, ConfigFile)
		}
	}
	return nil
}

func isTarget(e Entry, t build.Target) bool {
	return e.Program == t.Program && e.Platform == t.Platform.String() && e.Toolchain == t.Toolchain
}
