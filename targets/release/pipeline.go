package release

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/hallmark-build/hallmark/build"
	"github.com/hallmark-build/hallmark/build/environ"
	"github.com/hallmark-build/hallmark/build/host"
	"github.com/hallmark-build/hallmark/signing"
	"github.com/hallmark-build/hallmark/signing/compat"
)

// stage runs f with the configuration, until a signal stops it.
func stage(ctx context.Context, o Options, f func(context.Context, *Config, Options) error) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	c, err := Load(o.dir())
	if err == nil {
		err = o.takeStamps(c)
	}
	if err == nil {
		err = f(environ.With(ctx, c.Environment), c, o)
	}
	return interrupted(ctx, err)
}

// Run makes the whole release: it compiles, signs, packs and judges, and then
// puts all of it in place at once. What has not changed since the previous
// release is not made again. If anything fails, the dist folder stays as it
// was.
func Run(ctx context.Context, o Options) error { return stage(ctx, o, run) }

func run(ctx context.Context, c *Config, o Options) error {
	own := ownVersion()
	t := newStopwatch()

	// Everything that can be wrong beforehand, is.
	src, builder, targets, err := openBuild(ctx, c, o)
	if err != nil {
		return err
	}
	if err := judgesReady(c, targets, c.Judges(o)); err != nil {
		return err
	}
	s, err := openSigner(ctx, own, c, o)
	if err != nil {
		return err
	}
	packs, err := newPacker(ctx, own, c, o, src.Version, src.Time)
	if err != nil {
		return err
	}
	w, err := openInspected(ctx, c, o, true)
	if err != nil {
		return err
	}
	defer w.close()
	plan, err := planTargets(ctx, own, builder, targets, w, func(e Entry) bool {
		return e.Signature == nil || e.SignKey == s.keyFor(e.Unsigned)
	})
	if err != nil {
		return err
	}
	parcels, err := planParcels(c.Name, src.Version, c.Shipping.Packages, planned(plan))
	if err != nil {
		return err
	}
	if err := w.own(outputs(c, plan, parcels)); err != nil {
		return err
	}
	if err := w.begin(); err != nil {
		return err
	}
	w.sayDoubt(o.Progress)
	t.lap("check")

	bins, err := compileAll(ctx, src, builder, plan, w, o.Progress)
	if err != nil {
		return err
	}
	t.lap("compile")

	signed, err := signAll(ctx, s, bins, w, o.Progress)
	if err != nil {
		return err
	}
	beside, err := signBeside(ctx, s, signed, w, o.Progress)
	if err != nil {
		return err
	}
	anchors, err := s.anchors.ship(w)
	if err != nil {
		return err
	}
	t.lap("sign")

	entries, err := ship(ctx, c, packs, s, content{signed, beside, anchors}, w, o.Progress)
	if err != nil {
		return err
	}
	t.lap("package")

	m := newManifest(c, src)
	m.Identity, m.Timestamp, m.Artifacts = s.identity(), c.Timestamp, entries
	court := newCourt(own, c, o, s.anchors)
	if m.Results, err = court.judgeAll(ctx, m.Artifacts, w, o.Progress); err != nil {
		return err
	}
	if err := strict(c, m.Results); err != nil {
		return err
	}
	m.Judges, m.Notes = court.bench(m.Results), append(court.notes(), dependencyNotes(m.Artifacts, w)...)
	t.lap("verify")
	return publish(ctx, w, m, t, o.Progress)
}

// Build compiles all targets, and puts the unsigned programs into the dist
// folder. It needs no identity. A program that stands there already, built
// from the same sources, signed or not, is left alone.
func Build(ctx context.Context, o Options) error { return stage(ctx, o, buildAll) }

func buildAll(ctx context.Context, c *Config, o Options) error {
	t := newStopwatch()
	src, builder, targets, err := openBuild(ctx, c, o)
	if err != nil {
		return err
	}
	w, err := openInspected(ctx, c, o, true)
	if err != nil {
		return err
	}
	defer w.close()
	plan, err := planTargets(ctx, ownVersion(), builder, targets, w, func(Entry) bool { return true })
	if err != nil {
		return err
	}
	if err := w.own(outputs(c, plan, nil)); err != nil {
		return err
	}
	if err := w.begin(); err != nil {
		return err
	}
	w.sayDoubt(o.Progress)
	t.lap("check")
	bins, err := compileAll(ctx, src, builder, plan, w, o.Progress)
	if err != nil {
		return err
	}
	m := newManifest(c, src)
	if m.Artifacts, err = keepUnsigned(ctx, bins, w); err != nil {
		return err
	}
	t.lap("compile")
	w.carryOver(m)
	return publish(ctx, w, m, t, o.Progress)
}

// Sign signs the programs that Build left in the dist folder: those that
// hallmark.yaml names and no others. What it signs must be, byte for byte, what
// was built, and it does not take dist's word for that: this machine wrote the
// manifest itself, or the options have its SHA-256, or say that everything is
// to be compiled again and compared.
func Sign(ctx context.Context, o Options) error { return stage(ctx, o, signBuilt) }

func signBuilt(ctx context.Context, c *Config, o Options) error {
	t := newStopwatch()
	s, err := openSigner(ctx, ownVersion(), c, o)
	if err != nil {
		return err
	}
	var w *workspace
	var m *Manifest
	var bins []binary
	if o.Rebuild {
		w, m, bins, err = openRebuilt(ctx, c, o)
	} else if w, bins, err = openBuilt(ctx, c, o); err == nil {
		m = w.follow()
	}
	if err != nil {
		return err
	}
	defer w.close()
	t.lap("check")
	if m.Artifacts, err = signAll(ctx, s, bins, w, o.Progress); err != nil {
		return err
	}
	for _, e := range m.Artifacts {
		scheme, err := c.Sign.For(w.file(e.Path))
		if err != nil {
			return err
		}
		if _, err := scheme.Verify(ctx, w.file(e.Path), s.anchors.trust()); err != nil {
			return err
		}
	}
	beside, err := signBeside(ctx, s, m.Artifacts, w, o.Progress)
	if err != nil {
		return err
	}
	anchors, err := s.anchors.ship(w)
	if err != nil {
		return err
	}
	m.Artifacts = slices.Concat(m.Artifacts, beside, anchors)
	m.Identity, m.Timestamp = s.identity(), c.Timestamp
	t.lap("sign")
	w.carryOver(m)
	return publish(ctx, w, m, t, o.Progress)
}

// Package packs the signed programs of the dist folder into archives and
// packages, takes them out again and compares, and writes SHA256SUMS. It opens
// the identity if the configuration has packages or sums signed.
func Package(ctx context.Context, o Options) error { return stage(ctx, o, packSigned) }

func packSigned(ctx context.Context, c *Config, o Options) error {
	t := newStopwatch()
	w, bins, err := openBuilt(ctx, c, o)
	if err != nil {
		return err
	}
	defer w.close()
	m := w.follow()
	packs, err := newPacker(ctx, ownVersion(), c, o, m.Version, m.Source.Time)
	if err != nil {
		return err
	}
	t.lap("check")
	var signed []Entry
	for _, b := range bins {
		if b.Signature == nil {
			return &signing.Error{Kind: signing.Unsigned, File: filepath.Join(c.Dist, filepath.FromSlash(b.Path)),
				Err: errors.New("only signed programs are packed: run `mage sign` first")}
		}
		signed = append(signed, b.Entry)
	}
	beside, err := signaturesOf(c, w, signed)
	if err != nil {
		return err
	}
	var s *signer
	if c.signs() {
		if s, err = openSigner(ctx, ownVersion(), c, o); err != nil {
			return err
		}
		if err := s.samePrograms(w.prev); err != nil {
			return err
		}
	}
	if m.Artifacts, err = ship(ctx, c, packs, s, content{signed, beside, w.prev.of(KindTrust)}, w, o.Progress); err != nil {
		return err
	}
	t.lap("package")
	w.stand(m)
	m.Notes = slices.Compact(slices.Sorted(slices.Values(append(m.Notes, dependencyNotes(m.Artifacts, w)...))))
	return publish(ctx, w, m, t, o.Progress)
}

// Verify judges what the dist folder holds by the configuration: every program,
// archive, package and signature that hallmark.yaml demands must be there, and
// nothing else; every file is compared with its SHA-256, every signature is
// verified by our own verifier and by the judges that are installed, every
// archive and package is unpacked. It opens no identity. Nothing but the results
// in the manifest, and the report, is written.
//
// The certificates to trust are those of hallmark.yaml's trust; else those of a
// release that this machine made itself, or of which the options have the
// SHA-256 of the manifest; else those of the identity, where they can be read
// without a secret. If only dist itself vouches for its signer, that is an error
// unless the options say otherwise.
func Verify(ctx context.Context, o Options) error { return stage(ctx, o, verifyAll) }

func verifyAll(ctx context.Context, c *Config, o Options) error {
	t := newStopwatch()
	w, err := openWorkspace(o, filepath.Join(o.dir(), c.Dist), false)
	if err != nil {
		return err
	}
	defer w.close()
	if w.prev == nil || len(w.prev.Artifacts) == 0 {
		return nothingBuilt(c)
	}
	if err := w.inspect(ctx); err != nil {
		return err
	}
	if err := w.begin(); err != nil {
		return err
	}
	a, err := shippedAnchors(ctx, c, o, w)
	if err != nil {
		return err
	}
	court := newCourt(ownVersion(), c, o, a)
	court.again = true
	entries, err := court.demand(c, w)
	if err != nil {
		return err
	}
	court.demandVersion(ctx, c, o, w)
	if err := errors.Join(court.demandTrust(w), court.unlisted(w)); err != nil {
		return err
	}
	results, err := court.judgeAll(ctx, entries, w, o.Progress)
	if results == nil && err != nil {
		return err
	}
	before := len(court.refused)
	signer := court.demandSigner(w, o.TrustDist)
	results = append(results, court.refused[before:]...)
	verdict := verdict(results, court.codes)

	m := w.follow()
	m.Artifacts, m.Results = slices.Clone(w.prev.Artifacts), results
	m.Judges, m.Notes = court.bench(results), append(court.notes(), dependencyNotes(m.Artifacts, w)...)
	for i := range m.Artifacts {
		if j := slices.IndexFunc(entries, func(e Entry) bool { return e.Path == m.Artifacts[i].Path }); j >= 0 {
			m.Artifacts[i].JudgeKey = entries[j].JudgeKey
		}
	}
	for _, line := range upgrades(w.prev.Judges, m.Judges) {
		o.Progress.Printf("%s", line)
	}
	if signer != nil {
		o.Progress.Printf("the signatures are by %s: %s", signer.Subject, a.voucher)
	}
	t.lap("verify")
	return errors.Join(publishVerdicts(ctx, w, m, t, o.Progress), verdict, strict(c, results))
}

// Check finds out whether Run could begin: configuration, sources, identity,
// compilers and further files. It changes nothing.
func Check(ctx context.Context, o Options) error { return stage(ctx, o, check) }

func check(ctx context.Context, c *Config, o Options) error {
	src, builder, targets, err := openBuild(ctx, c, o)
	if err == nil {
		err = failures("", each(ctx, build.Jobs(), targets, func(ctx context.Context, t build.Target) error {
			return notReady(t, builder.Check(ctx, t))
		}))
	}
	s, signErr := openSigner(ctx, ownVersion(), c, o)
	_, packErr := newPacker(ctx, "", c, o, src.Version, src.Time)
	if err := errors.Join(err, judgesReady(c, targets, c.Judges(o)), signErr, packErr); err != nil {
		return err
	}
	for _, t := range targets {
		o.Progress.Printf("%s", t.Rel())
	}
	o.Progress.Printf("%s %s: ready to build %s, signed by %s", c.Name, src.Version, plural(len(targets), "program"), s.key.Leaf().Subject)
	return nil
}

// Clean removes what the manifest lists, the manifest and the report, and the
// folders that are empty then. Other files stay.
func Clean(o Options) error {
	c, err := Load(o.dir())
	if err != nil {
		return err
	}
	w, err := openWorkspace(o, filepath.Join(o.dir(), c.Dist), false)
	var use *UsageError
	if errors.As(err, &use) && !exists(filepath.Join(o.dir(), c.Dist)) {
		o.Progress.Printf("%s: nothing to remove", c.Dist)
		return nil
	}
	if err != nil {
		return err
	}
	defer w.close()
	n, err := w.clean()
	if err != nil {
		return err
	}
	o.Progress.Printf("%s: %s removed", c.Dist, plural(n, "file"))
	return nil
}

// publish ends a run well.
func publish(ctx context.Context, w *workspace, m *Manifest, t *stopwatch, p *Progress) error {
	return end(ctx, w, m, t, p, func(m *Manifest) error { return w.publish(ctx, m) })
}

// publishVerdicts ends a run that made nothing but verdicts. A manifest of which
// the user gave the SHA-256 stays as it is, or it could not be given again.
func publishVerdicts(ctx context.Context, w *workspace, m *Manifest, t *stopwatch, p *Progress) error {
	write := w.publishResults
	if w.authentic && !w.recorded {
		write = func(*Manifest) error { return nil }
	}
	return end(ctx, w, m, t, p, write)
}

func end(ctx context.Context, w *workspace, m *Manifest, t *stopwatch, p *Progress, write func(*Manifest) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if w.unchanged(m) {
		p.Printf("%s %s: nothing changed (%s, checked in %s)", m.Name, m.Version, plural(len(m.Artifacts), "file"), seconds(t.total()))
		for _, line := range slices.Concat(skips(m.Results), allowances(m.Results), m.Notes) {
			p.Printf("%s", line)
		}
		return nil
	}
	if machine, err := host.ReadMachine(ctx); err == nil {
		m.Machine = machine.String()
	}
	m.Timings = t.laps
	if err := write(m); err != nil {
		return err
	}
	if w.recordErr != nil {
		p.Printf("there is no record of this run, so the next one makes everything again: %v", w.recordErr)
	}
	summarize(p, m, filepath.Base(w.dir), t.total())
	return nil
}

// strict makes failures of checks that could not be made.
func strict(c *Config, results []compat.Result) error {
	lines := skips(results)
	if !c.Strict || len(lines) == 0 {
		return nil
	}
	errs := make([]error, len(lines))
	for i, l := range lines {
		errs[i] = errors.New(l)
	}
	return fmt.Errorf("strict: checks could not be made:\n%w", errors.Join(errs...))
}

// judgesReady finds out before anything is built that strict will not be
// satisfied.
func judgesReady(c *Config, targets []build.Target, judges []compat.Judge) error {
	if !c.Strict {
		return nil
	}
	schemes := map[string]bool{compat.Sums: true}
	for _, t := range targets {
		schemes[compat.Authenticode] = schemes[compat.Authenticode] || t.Platform.OS == "windows"
		if t.Platform.OS == "windows" {
			continue
		}
		schemes[compat.Appended] = schemes[compat.Appended] || !slices.Contains(c.Sign.ELF, signing.Section{}.Name())
		for _, d := range c.Sign.BesideELF() {
			schemes[d.Name()] = true
		}
	}
	for _, d := range slices.Concat(c.Sign.BesideFiles(), c.Sign.BesideSums()) {
		schemes[d.Name()] = true
	}
	for _, format := range c.Shipping.Packages {
		schemes[format] = true // those of packages are named as they are
	}
	var errs []error
	for _, j := range judges {
		user := j.Definition != nil
		if j.FindKey == nil || j.Fits != nil || !schemes[j.Scheme] && !(user && !slices.Contains(compat.Schemes(), j.Scheme)) {
			continue
		}
		if _, err := j.FindKey(); err != nil && user {
			errs = append(errs, fmt.Errorf("strict: judge %s: %w: install it, or take it out of judges in %s", j.Name, err, ConfigFile))
		} else if err != nil {
			errs = append(errs, fmt.Errorf("strict: %w: `mage setup` installs it", err))
		}
	}
	if len(errs) > 0 {
		return &UsageError{errors.Join(errs...)}
	}
	return nil
}

// interrupted says in words what a signal did.
func interrupted(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("stopped: nothing was published: %w", ctx.Err())
	}
	return err
}

// exists reports whether a file is there, whatever it is.
func exists(file string) bool {
	_, err := os.Lstat(file)
	return !errors.Is(err, fs.ErrNotExist)
}
