package release

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/hallmark-build/hallmark/build"
	"github.com/hallmark-build/hallmark/signing"
	"github.com/hallmark-build/hallmark/signing/compat"
)

// openBuild reads the sources and the Go environment.
func openBuild(ctx context.Context, c *Config, o Options) (build.Source, *build.Builder, []build.Target, error) {
	src, err := openSource(ctx, c, o)
	if err != nil {
		return src, nil, nil, err
	}
	targets, err := c.Build.Expand()
	if err != nil {
		return src, nil, nil, &UsageError{err}
	}
	builder, err := build.NewBuilder(ctx, src)
	return src, builder, targets, err
}

// openInspected takes the dist folder, and finds out what in it is as the last
// run left it.
func openInspected(ctx context.Context, c *Config, o Options, create bool) (*workspace, error) {
	w, err := openWorkspace(o, filepath.Join(o.dir(), c.Dist), create)
	if err != nil {
		return nil, err
	}
	if err := w.inspect(ctx); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

// openBuilt opens a dist folder that Build filled, and makes sure that its
// programs are what Build left: those that the configuration names, each with
// the digest of a manifest that is authentic.
func openBuilt(ctx context.Context, c *Config, o Options) (_ *workspace, _ []binary, err error) {
	w, err := openInspected(ctx, c, o, false)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if w.prev == nil || len(w.prev.of(KindBinary)) == 0 {
		return nil, nil, nothingBuilt(c)
	}
	if !w.authentic {
		return nil, nil, w.notBelieved(c)
	}
	if err := c.continues(w.prev); err != nil {
		return nil, nil, err
	}
	bins, err := c.configured(w)
	if err != nil {
		return nil, nil, err
	}
	var errs []error
	for _, b := range bins {
		if w.intact(b.Path) == nil {
			errs = append(errs, &signing.Error{Kind: signing.Tampered, File: filepath.Join(c.Dist, filepath.FromSlash(b.Path)),
				Err: fmt.Errorf("not what was built: %w: build it again", w.harm(b.Path))})
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, nil, err
	}
	return w, bins, w.begin()
}

// openRebuilt is openBuilt for a manifest that nobody vouches for: it compiles
// all programs again, privately, and demands that dist holds the same.
func openRebuilt(ctx context.Context, c *Config, o Options) (_ *workspace, _ *Manifest, _ []binary, err error) {
	src, builder, targets, err := openBuild(ctx, c, o)
	if err != nil {
		return nil, nil, nil, err
	}
	w, err := openInspected(ctx, c, o, false)
	if err != nil {
		return nil, nil, nil, err
	}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if w.prev == nil || len(w.prev.of(KindBinary)) == 0 {
		return nil, nil, nil, nothingBuilt(c)
	}
	if err := c.noOthers(w, targets); err != nil {
		return nil, nil, nil, err
	}
	plan, err := planTargets(ctx, ownVersion(), builder, targets, w, func(Entry) bool { return false })
	if err == nil {
		err = w.begin()
	}
	if err != nil {
		return nil, nil, nil, err
	}
	bins, err := compileAll(ctx, src, builder, plan, w, o.Progress)
	if err != nil {
		return nil, nil, nil, err
	}
	var errs []error
	for _, b := range bins {
		e := w.intact(b.Path)
		if e == nil || e.SHA256 != b.SHA256 {
			errs = append(errs, tampered(filepath.Join(c.Dist, filepath.FromSlash(b.Path)),
				"it is not what these sources give when they are compiled here, which has the SHA-256 %s: build it again", b.SHA256))
		}
	}
	w.authentic, w.recorded = false, false // everything is made again
	return w, newManifest(c, src), bins, errors.Join(errs...)
}

// notBelieved says how a stage can continue a manifest that this machine did not
// write.
func (w *workspace) notBelieved(c *Config) error {
	file := path.Join(filepath.ToSlash(c.Dist), ManifestFile)
	return usage("%s is not believed: %s: whoever can write into %s could have something signed. Run the stage before this one on this machine; "+
		"or give the SHA-256 that the file had there (`sha256sum %s`), passed on by another way than %s itself, as -manifest=SHA256; or let `mage sign -rebuild` compile again and compare",
		file, w.doubt, c.Dist, file, c.Dist)
}

// continues refuses a manifest of another release than the configuration's.
func (c *Config) continues(m *Manifest) error {
	if m.Name != c.Name {
		return usage("%s holds %q, and %s says name: %q: build it again", c.Dist, m.Name, ConfigFile, c.Name)
	}
	if c.Version != "" && m.Version != c.Version {
		return usage("%s holds version %q, and %s says version: %q: build it again", c.Dist, m.Version, ConfigFile, c.Version)
	}
	return nil
}

func nothingBuilt(c *Config) error {
	return usage("%s holds nothing that was built: run `mage build` or `mage release` first", c.Dist)
}

// content is what a release is packed from.
type content struct {
	signed  []Entry // programs
	beside  []Entry // the signatures beside them
	anchors []Entry // certificates for those who verify
}

// ship packs signed programs, lists all checksums, and signs both as far as the
// configuration says; s may be nil if it says nothing.
func ship(ctx context.Context, c *Config, k *packer, s *signer, from content, w *workspace, p *Progress) ([]Entry, error) {
	parcels, err := planParcels(c.Name, k.version, c.Shipping.Packages, from.signed)
	if err != nil {
		return nil, err
	}
	for i := range parcels {
		parcels[i].take(from.beside)
	}
	k.sign = s
	packed, err := packAll(ctx, k, parcels, w, p)
	if err != nil {
		return nil, err
	}
	entries := slices.Concat(from.signed, from.beside, from.anchors, packed)
	if s != nil {
		beside, err := signBeside(ctx, s, packed, w, p)
		if err != nil {
			return nil, err
		}
		entries = append(entries, beside...)
	}
	sums, err := sumsOf(ctx, entries, w)
	if err != nil {
		return nil, err
	}
	entries = append(entries, sums)
	if s == nil {
		return entries, nil
	}
	beside, err := signBeside(ctx, s, []Entry{sums}, w, p)
	return append(entries, beside...), err
}

// planned returns what is known of the binaries before they are compiled.
func planned(plan []target) []Entry {
	entries := make([]Entry, len(plan))
	for i, t := range plan {
		entries[i] = Entry{Path: t.Rel(), Platform: t.Platform.String(), Toolchain: t.Toolchain}
	}
	return entries
}

// outputs lists the paths that a release will need.
func outputs(c *Config, plan []target, parcels []parcel) []string {
	entries := []Entry{{Path: trustCA}, {Path: trustTSA}, {Path: trustSigner}, {Path: trustRoot}, {Path: trustPGP}, {Path: trustAPK}, {Path: sumsFile, Kind: KindSums}}
	for _, t := range plan {
		entries = append(entries, Entry{Path: t.Rel(), Kind: KindBinary, Platform: t.Platform.String()})
	}
	for _, p := range parcels {
		entries = append(entries, Entry{Path: p.path, Kind: p.kind})
	}
	var paths []string
	for _, e := range entries {
		paths = append(append(paths, e.Path), besidePaths(c.Sign, e)...)
	}
	return paths
}

func newManifest(c *Config, src build.Source) *Manifest {
	return &Manifest{
		Schema: Schema, Name: c.Name, Version: src.Version, Go: runtime.Version(),
		Source: Source{Module: src.Module, Revision: src.Revision, Time: src.Time.UTC(), Modified: src.Modified, Digest: src.Digest},
	}
}

// follow starts a manifest that continues the previous one, which is authentic
// unless the manifest is for verdicts alone.
func (w *workspace) follow() *Manifest {
	m := *w.prev
	m.Artifacts, m.Results, m.Judges, m.Notes = nil, nil, nil, nil
	return &m
}

// carryOver completes the manifest of a stage that does not make everything:
// if the stage changed nothing, all that was made from its outputs still
// stands; else it is stale, and left out.
func (w *workspace) carryOver(m *Manifest) {
	if w.prev == nil || !w.authentic {
		return
	}
	if m.Identity == nil && slices.ContainsFunc(m.Artifacts, func(e Entry) bool { return e.Signature != nil }) {
		m.Identity, m.Timestamp = w.prev.Identity, w.prev.Timestamp
	}
	same := len(w.staged) == 0
	for _, e := range w.prev.of(KindBinary) {
		same = same && m.Entry(e.Path) != nil
	}
	if !same || m.Version != w.prev.Version {
		return
	}
	for _, e := range w.prev.Artifacts {
		if m.Entry(e.Path) == nil {
			m.Artifacts = append(m.Artifacts, e)
		}
	}
	w.stand(m) // not what Verify said of files that are in no manifest
}

// stand gives m the previous results about artifacts that are as they were,
// and those who judged them.
func (w *workspace) stand(m *Manifest) {
	for _, r := range w.prev.Results {
		old, now := w.prev.Entry(r.Case), m.Entry(r.Case)
		if old != nil && now != nil && old.SHA256 == now.SHA256 {
			m.Results = append(m.Results, r)
		}
	}
	for _, j := range w.prev.Judges {
		if slices.ContainsFunc(m.Results, func(r compat.Result) bool { return r.Judge == j.Name }) {
			m.Judges = append(m.Judges, j)
		}
	}
	if len(m.Results) > 0 {
		m.Notes = w.prev.Notes
	}
}
