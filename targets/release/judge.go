package release

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"math"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hallmark-build/hallmark/build/dist"
	"github.com/hallmark-build/hallmark/signing"
	"github.com/hallmark-build/hallmark/signing/compat"
)

const (
	// ourJudge is the name of our own verifier among the judges.
	ourJudge = "hallmark"

	schemeContents = "contents" // an archive or package holds what was signed
	schemeRecord   = "manifest" // a file has the SHA-256 that the manifest says
)

// court judges artifacts: our own verifier and programs that are not ours.
type court struct {
	own     string // which hallmark this is
	judges  []compat.Judge
	judging compat.Config // the user's judges, and what is allowed
	config  signing.Config
	anchors anchors
	dist    string           // the dist folder as seen from the module's
	now     time.Time        // by which allowances expire
	unused  []compat.Allowed // allowances that met no failure, after judgeAll
	again   bool             // hear every case, though an earlier verdict would still stand

	codes   map[int]bool    // exit codes of what was refused
	refused []compat.Result // what demand refused

	mu      sync.Mutex
	signers map[string][]*x509.Certificate // by path: who signed, as the signatures say
}

// newCourt is the court of a configuration.
func newCourt(own string, c *Config, o Options, a anchors) *court {
	return &court{own: own, judges: c.Judges(o), judging: c.Judging, config: c.Sign, anchors: a, dist: filepath.ToSlash(filepath.Clean(c.Dist)), now: time.Now(), codes: map[int]bool{}}
}

// Judges returns the judges of hallmark and then those of the configuration.
func (c *Config) Judges(o Options) []compat.Judge {
	dir, err := filepath.Abs(o.dir())
	if err != nil { // the current folder is gone
		dir = o.dir()
	}
	return slices.Concat(compat.Judges(), c.Judging.UserJudges(dir))
}

// VerdictError says that artifacts were refused, or could not be judged.
type VerdictError struct {
	Failed []compat.Result
	Code   int // exit code, from our own verifier's reason
}

// Error lists the verdicts, one a line.
func (e *VerdictError) Error() string {
	lines := make([]string, len(e.Failed))
	for i, r := range e.Failed {
		reason := r.Reason
		if reason == "" {
			reason = r.Got
		}
		lines[i] = fmt.Sprintf("%s: %s: %s", r.Case, r.Judge, reason)
	}
	return fmt.Sprintf("%s failed:\n%s", plural(len(e.Failed), "check"), strings.Join(lines, "\n"))
}

// keyFor is the digest of everything that verdicts about an artifact depend
// on: the file, the trusted certificates, and the judges' programs, which are
// told from others without being run.
func (c *court) keyFor(e Entry, all []Entry) string {
	d := newDigest("judge 1")
	d.add(c.own, e.SHA256, e.Mode, c.anchors.key())
	if i := slices.IndexFunc(all, func(o Entry) bool { return o.Path == e.Of }); i >= 0 {
		d.add(all[i].SHA256)
	}
	if schemes := c.schemesOf(e); len(schemes) > 0 {
		for _, j := range c.judges {
			if !slices.Contains(schemes, j.Scheme) {
				continue
			}
			d.add(j.Name)
			if j.Definition != nil {
				d.add(j.Definition())
			}
			if j.FindKey != nil {
				if k, err := j.FindKey(); err == nil {
					d.add(k.String())
				} else {
					d.add(err.Error())
				}
			}
		}
	}
	return d.sum()
}

func schemeOf(e Entry) string {
	switch {
	case e.Kind == KindSums:
		return compat.Sums
	case e.Signature != nil:
		return e.Signature.Scheme
	case e.Kind == KindPackage: // whether it is whole is a question without a signature too
		return map[string]string{".deb": compat.Deb, ".rpm": compat.RPM, ".apk": compat.APK}[path.Ext(e.Path)]
	}
	return ""
}

// schemesOf are the schemes whose foreign judges an artifact is put before: that
// by which it is signed, and those of the user's judges that go by its name.
func (c *court) schemesOf(e Entry) []string {
	schemes := c.judging.FileSchemes(e.Path)
	if s := schemeOf(e); s != "" {
		schemes = append(schemes, s)
	}
	return schemes
}

// judgeAll fills in the entries' JudgeKey and returns all results. Those of
// the previous manifest stand where nothing they depend on has changed, if this
// machine wrote it. Once this run has made anything, our own verifier's do not:
// it verifies every file again, whatever a manifest says of it. The error is a
// *VerdictError if there is a failure among them; the results are returned all
// the same.
func (c *court) judgeAll(ctx context.Context, entries []Entry, w *workspace, p *Progress) ([]compat.Result, error) {
	known := map[string][]compat.Result{}
	if c.codes == nil {
		c.codes = map[int]bool{}
	}
	var todo []int    // for our own verifier
	var unheard []int // those of todo that are new to the judges
	for i := range entries {
		e := &entries[i]
		if e.Kind == KindTrust && (!c.again || w.intact(e.Path) != nil) {
			continue // nothing to judge, but that it is what the manifest lists
		}
		e.JudgeKey = c.keyFor(*e, entries)
		if old := w.reusable(e.Path); !c.again && old != nil && old.JudgeKey == e.JudgeKey {
			if results := resultsOf(w.prev, e.Path); passed(results) {
				if len(w.staged) == 0 {
					known[e.Path] = results
					continue
				}
				known[e.Path] = slices.DeleteFunc(results, func(r compat.Result) bool { return r.Judge == ourJudge })
				todo = append(todo, i)
				continue
			}
		}
		todo = append(todo, i)
		unheard = append(unheard, i)
	}
	p.begin("verify", len(todo))
	defer p.end()
	foreign, err := c.askForeign(ctx, entries, unheard, w)
	if err != nil {
		return nil, err
	}
	rows := make([]compat.Result, len(entries))
	kinds := make([]int, len(entries))
	err = each(ctx, runtime.NumCPU(), todo, func(ctx context.Context, i int) error {
		done := p.start(entries[i].Path)
		rows[i], kinds[i] = c.ask(ctx, entries[i], entries, w)
		var notes []string
		if rows[i].Judge != "" {
			notes = append(notes, rows[i].Judge+" "+rows[i].Status.String())
		}
		for _, r := range foreign[entries[i].Path] {
			notes = append(notes, r.Judge+" "+r.Status.String())
		}
		done(join(notes))
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, i := range todo {
		var found []compat.Result
		if rows[i].Judge != "" {
			found = append(found, rows[i])
		}
		c.codes[kinds[i]] = true
		known[entries[i].Path] = slices.Concat(found, known[entries[i].Path], foreign[entries[i].Path])
	}
	var results []compat.Result
	for _, name := range slices.Sorted(maps.Keys(known)) {
		results = append(results, known[name]...)
	}
	c.unused = compat.Allow(results, c.judging.Allowed, c.now)
	results = append(results, c.refused...)
	return results, verdict(results, c.codes)
}

// verdict makes an error of the failures.
func verdict(results []compat.Result, codes map[int]bool) error {
	e := &VerdictError{Code: ExitFailed}
	for _, r := range results {
		if r.Status == compat.Fail {
			e.Failed = append(e.Failed, r)
		}
	}
	if len(e.Failed) == 0 {
		return nil
	}
	// Of several reasons the gravest is told.
	for _, code := range []int{ExitTampered, ExitMalformed, ExitUnsigned, ExitUnknown, ExitUntrusted, ExitExpired} {
		if codes[code] {
			e.Code = code
			break
		}
	}
	return &ExitError{Code: e.Code, Err: e}
}

// askForeign puts copies of the artifacts before the foreign judges.
func (c *court) askForeign(ctx context.Context, entries []Entry, todo []int, w *workspace) (map[string][]compat.Result, error) {
	trust, err := c.anchors.files(w)
	if err != nil {
		return nil, err
	}
	var cases []compat.Case
	needed := map[string]bool{}
	for _, i := range todo {
		needed[entries[i].Path] = true
		switch entries[i].Kind {
		case KindSums:
			for _, a := range entries {
				needed[a.Path] = true
			}
		case KindSignature:
			needed[entries[i].Of] = true
		}
	}
	dir, err := w.judged(ctx, slices.Sorted(maps.Keys(needed)))
	if err != nil {
		return nil, err
	}
	for _, i := range todo {
		e := entries[i]
		scheme := schemeOf(e)
		file := filepath.Join(dir, filepath.FromSlash(e.Path))
		if !exists(file) {
			continue
		}
		for _, s := range c.judging.FileSchemes(e.Path) {
			cases = append(cases, compat.Case{File: file, Name: e.Path, Scheme: s, Want: compat.Accept})
		}
		if scheme == "" || e.Kind == KindPackage && !c.hasJudge(scheme) {
			continue
		}
		if e.Kind == KindSignature {
			file = filepath.Join(dir, filepath.FromSlash(e.Of))
		}
		one := compat.Case{File: file, Name: e.Path, Scheme: scheme, Want: compat.Accept}
		if e.Kind == KindPackage && e.Signature == nil {
			t := trust
			t.PGPFile, t.APKFile = "", ""
			one.Trust = &t
		}
		cases = append(cases, one)
	}
	if len(cases) == 0 {
		return nil, nil
	}
	byPath := map[string][]compat.Result{}
	results := compat.Run(ctx, c.judges, cases, trust, runtime.NumCPU())
	compat.Allow(results, c.judging.Allowed, c.now)
	asked := map[string]compat.Case{}
	for _, one := range cases {
		if one.Trust == nil {
			one.Trust = &trust
		}
		asked[one.Name+"\x00"+one.Scheme] = one
	}
	for _, r := range results {
		r.Command = c.command(r, asked[r.Case+"\x00"+r.Scheme])
		byPath[r.Case] = append(byPath[r.Case], r)
	}
	return byPath, ctx.Err()
}

// hasJudge reports whether somebody else judges a scheme.
func (c *court) hasJudge(scheme string) bool {
	return slices.ContainsFunc(c.judges, func(j compat.Judge) bool { return j.Scheme == scheme })
}

// command is how somebody who has the dist folder asks the judge again, in it.
// It names no file of this machine but those that every machine has.
func (c *court) command(r compat.Result, asked compat.Case) string {
	i := slices.IndexFunc(c.judges, func(j compat.Judge) bool { return j.Name == r.Judge && j.Scheme == r.Scheme })
	if i < 0 || c.judges[i].Command == nil || r.Command == "" || asked.Trust == nil {
		return ""
	}
	system, _ := systemCertificates()
	shipped := func(used, name string) string {
		if used == "" || used == system {
			return used
		}
		return name
	}
	used := asked.Trust
	trust := compat.Trust{CAFile: shipped(used.CAFile, trustCA), TSAFile: shipped(used.TSAFile, trustTSA), SignerFile: shipped(used.SignerFile, trustSigner),
		PGPFile: shipped(used.PGPFile, trustPGP), APKFile: shipped(used.APKFile, trustAPK)}
	file := r.Case
	if d := signing.DetachedByName(r.Scheme); d != nil {
		file = strings.TrimSuffix(file, d.Suffix())
	}
	if dir, ok := strings.CutSuffix(asked.File, filepath.FromSlash("/"+file)); ok {
		trust.Dir = dir
	}
	if c.judges[i].Definition == nil {
		return c.judges[i].Command(filepath.FromSlash(file), trust)
	}
	// The user's judges run in the module's folder.
	up := strings.Repeat("../", strings.Count(c.dist, "/")+1)
	for _, p := range []*string{&file, &trust.CAFile, &trust.TSAFile, &trust.SignerFile} {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = path.Join(c.dist, *p)
		}
	}
	return "(cd " + strings.TrimSuffix(up, "/") + " && " + c.judges[i].Command(filepath.FromSlash(file), trust) + ")"
}

// ask is our own judgement of one artifact, and its exit code.
func (c *court) ask(ctx context.Context, e Entry, all []Entry, w *workspace) (compat.Result, int) {
	version, _, _ := strings.Cut(c.own, " ")
	r := compat.Result{Judge: ourJudge, Version: version, Case: e.Path, Want: compat.Accept.String(), Got: compat.Accept.String(), Status: compat.Pass}
	start := time.Now()
	refuse := func(code int, err error) (compat.Result, int) {
		r.Status, r.Got, r.Reason = compat.Fail, compat.Refuse.String(), err.Error()
		return r, code
	}
	if c.again {
		if w.intact(e.Path) == nil {
			r.Scheme = schemeRecord
			return refuse(ExitTampered, w.harm(e.Path))
		}
	}
	switch e.Kind {
	case KindBinary:
		r.Scheme = schemeOf(e)
		scheme, err := c.config.For(w.file(e.Path))
		if err == nil {
			if r.Scheme == "" {
				r.Scheme = scheme.Name()
			}
			var sig *signing.Signature
			if sig, err = scheme.Verify(ctx, w.file(e.Path), c.anchors.trust()); err == nil {
				err = c.signedAs(e, sig)
			}
		}
		if err != nil {
			return refuse(exitCode(err), withoutFile(err)) // the case says which
		}
	case KindSignature:
		r.Scheme = schemeOf(e)
		sig, err := signing.DetachedByName(r.Scheme).Verify(ctx, w.file(e.Of), w.file(e.Path), c.anchors.trust())
		if err == nil {
			err = c.signedAs(e, sig)
		}
		if err != nil {
			return refuse(exitCode(err), withoutFile(err))
		}
	case KindArchive, KindPackage:
		r.Scheme = schemeContents
		contents, err := e.Contents, error(nil)
		if c.again || !w.isStaged(e.Path) { // else they were read from it a moment ago
			contents, err = unpack(ctx, w.file(e.Path))
		}
		if err == nil && !slices.Equal(contents, e.Contents) {
			err = errors.New("it does not hold what the manifest says")
		}
		if err == nil {
			err = carries(e, membersOf(e, all))
		}
		if err == nil && e.Signature != nil {
			r.Scheme = e.Signature.Scheme
			sig, err := verifyPackage(ctx, w.file(e.Path), e.Signature.Scheme, c.anchors.trust())
			if err == nil {
				err = c.signedAs(e, sig)
			}
			if err != nil {
				return refuse(exitCode(err), err)
			}
		}
		var format *dist.FormatError
		if errors.As(err, &format) {
			return refuse(ExitMalformed, err)
		}
		if err != nil {
			return refuse(ExitTampered, err)
		}
	default:
		return compat.Result{}, 0
	}
	r.Seconds = math.Round(time.Since(start).Seconds()*1000) / 1000
	return r, 0
}

// signedAs notes the signer of a file whose signature was verified, and refuses
// an entry that describes another signature.
func (c *court) signedAs(e Entry, sig *signing.Signature) error {
	if sig.Signer != nil {
		c.verified(e.Path, sig.Signer)
	}
	if err := sameSignature(e, describeSignature(sig)); err != nil {
		return &signing.Error{Kind: signing.Tampered, Err: err}
	}
	return nil
}

// membersOf finds the binaries that an archive or package is made of, and their
// signatures: those whose folder its name ends with.
func membersOf(e Entry, all []Entry) []Entry {
	var members []Entry
	for _, b := range all {
		ofBinary := b.Kind == KindBinary || b.Kind == KindSignature && path.Dir(b.Path) != "."
		if ofBinary && strings.Contains(e.Path, "_"+path.Base(path.Dir(b.Path))+".") {
			members = append(members, b)
		}
	}
	return members
}

func resultsOf(m *Manifest, path string) []compat.Result {
	var found []compat.Result
	for _, r := range m.Results {
		if r.Case == path {
			found = append(found, r)
		}
	}
	return found
}

// passed reports whether verdicts may stand: a failure may not, and neither
// may the absence of any.
func passed(results []compat.Result) bool {
	return len(results) > 0 && !slices.ContainsFunc(results, func(r compat.Result) bool { return r.Status == compat.Fail })
}

// skips groups the checks that could not be made by judge and reason.
func skips(results []compat.Result) []string {
	count := map[string]int{}
	var lines []string
	for _, r := range results {
		switch {
		case r.Status != compat.Skip:
		case r.Scheme == schemeRecord: // about this file alone
			lines = append(lines, fmt.Sprintf("SKIP %s: %s", r.Case, r.Reason))
		default:
			count[r.Judge+": "+r.Reason]++
		}
	}
	for _, what := range slices.Sorted(maps.Keys(count)) {
		lines = append(lines, fmt.Sprintf("SKIP %s (%s)", what, plural(count[what], "file")))
	}
	return lines
}
