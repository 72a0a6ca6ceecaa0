package boundaries

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hallmark-build/hallmark/build/host"
	"github.com/hallmark-build/hallmark/signing/compat"
)

// Options say what of the map is made, and where.
type Options struct {
	Filter string    // words FIELD=PATTERN; empty: the whole map
	Fresh  bool      // take over nothing from an earlier run
	Strict bool      // what cannot be asked on this machine is a failure
	Out    string    // folder of boundaries.json and the reports; empty: dist/boundaries
	Work   string    // folder of the files; empty: hallmark/boundaries in the user's cache folder
	Log    io.Writer // progress and summary

	Judging compat.Config // judges of the user's, of schemes, and what is allowed; of both hallmark.yaml has those of the module
	Dir     string        // that the user's judges run in; empty: the current folder

	judges func() []compat.Judge // nil: those of the machine; for tests
}

// FailedError says that the map is not as it is expected to be.
type FailedError struct {
	Unexpected, Skipped int
	Faults              []string // of the expectations
}

func (e *FailedError) Error() string {
	var parts []string
	if e.Unexpected > 0 {
		parts = append(parts, fmt.Sprintf("%d cells are not as expected", e.Unexpected))
	}
	if e.Skipped > 0 {
		parts = append(parts, fmt.Sprintf("%d cells could not be judged here", e.Skipped))
	}
	if len(e.Faults) > 0 {
		parts = append(parts, fmt.Sprintf("%d expectations matched no cell", len(e.Faults)))
	}
	return "the map of boundaries: " + strings.Join(parts, ", ")
}

// Run makes the map, and writes it into o.Out. Cells that were heard before, of
// the same file by the same judge, are not heard again, so that a run which was
// interrupted goes on where it was. The error is a *FailedError if the map was
// made and is not as expected.
func Run(ctx context.Context, o Options) (*Map, error) {
	f, err := parseFilter(o.Filter)
	if err != nil {
		return nil, err
	}
	rules, err := parseExpectations(expected)
	if err != nil {
		return nil, err
	}
	if o.Out == "" {
		o.Out = filepath.Join("dist", "boundaries")
	}
	if o.Work == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("the map of boundaries has no folder to work in: %w", err)
		}
		o.Work = filepath.Join(cache, "hallmark", "boundaries")
	}
	if o.Work, err = filepath.Abs(o.Work); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Work, 0o755); err != nil {
		return nil, err
	}
	release, err := lock(filepath.Join(o.Work, "lock"))
	if err != nil {
		return nil, err
	}
	defer release()
	if o.Fresh {
		for _, sub := range []string{"cases", "pool", "regions", "journeys", "verdicts.jsonl"} {
			if err := os.RemoveAll(filepath.Join(o.Work, sub)); err != nil {
				return nil, err
			}
		}
	}
	r := &run{Options: o, filter: f, rules: rules, start: time.Now(), readers: sourcesOf("signing/compat"), trustees: map[string]string{}}
	m, err := r.run(ctx)
	if ctx.Err() != nil {
		return m, fmt.Errorf("the map of boundaries was interrupted: %w; what was heard is kept, so run `mage boundaries` again to go on", context.Cause(ctx))
	}
	return m, err
}

// run is one run.
type run struct {
	Options
	filter filter
	rules  expectations
	start  time.Time
	maker  *maker
	known  *verdicts

	observed *observation // nil: nothing was debugged
	one      *oneFile     // nil: C6 was not measured

	readers  string // digest of what reads the judges' answers
	trustees map[string]string
}

func (r *run) run(ctx context.Context) (_ *Map, err error) {
	if r.maker, err = newMaker(ctx, r.Work); err != nil {
		return nil, err
	}
	m := r.maker
	m.places = openPlaces(ctx, filepath.Join(r.Work, "cases"), filepath.Join(r.Work, "fuse"))
	defer func() { err = errors.Join(err, m.places.stop()) }()
	var wanted []artifact
	for _, a := range artifacts() {
		if r.filter.wantsArtifact(a) {
			wanted = append(wanted, a)
		}
	}
	if r.judges == nil && r.Filter == "" {
		if err := host.BuildTools(ctx, r.log()); err != nil {
			r.say("some judges could not be built: %v", err)
		}
	}
	r.say("building %d artifacts", len(wanted))
	if err := m.build(ctx, wanted); err != nil {
		return nil, err
	}
	p, err := m.plan(ctx, r.filter)
	if err != nil {
		return nil, err
	}
	if len(p.specs) == 0 {
		return nil, fmt.Errorf("the filter %q wants no cell", r.Filter)
	}
	made := r.counter("files made", len(p.specs))
	cases, err := m.make(ctx, p.specs, p.ops, made)
	if err := errors.Join(err, m.sweepPool()); err != nil {
		return nil, err
	}
	if r.known, err = openVerdicts(filepath.Join(r.Work, "verdicts.jsonl")); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.known.close()) }()
	if err := r.observe(ctx); err != nil {
		return nil, err
	}
	cells, js, err := r.hear(ctx, cases)
	if err != nil {
		return nil, err
	}
	cells = append(cells, r.observedCells()...)
	if r.judges == nil && m.hasAll("pe-console", "elf-static") && r.filter.wants(claimed("pe-console", "authenticode")) && r.filter.wants(claimed("elf-static", "appended")) {
		if err := r.measureC6(ctx, js); err != nil {
			return nil, fmt.Errorf("claim C6: %w", err)
		}
	}
	if r.Filter == "" {
		if err := m.sweep(cases); err != nil {
			return nil, err
		}
	}
	return r.conclude(ctx, cells, js)
}

// cell is a cell that is to be heard.
type cell struct {
	c      *fileCase
	judge  compat.Judge
	inputs string
	answer verdict
	done   bool
}

// hear puts every case before every judge of its scheme.
func (r *run) hear(ctx context.Context, cases []*fileCase) ([]*cell, []compat.Judge, error) {
	all := judges(r.sample())
	if r.judges != nil {
		all = r.judges()
	}
	all = append(all, r.Judging.UserJudges(r.Dir)...)
	js := slices.DeleteFunc(all, func(j compat.Judge) bool { return !r.filter.wantsJudge(j.Name) })
	var cells []*cell
	heard := map[string]*cell{} // by inputs: the same question is asked once
	twins := map[*cell]*cell{}
	var batch, single []*cell
	wait := time.Time{}
	for _, c := range cases {
		for _, j := range js {
			if !asks(j, c.spec) || c.skip == nil && j.Fits != nil && !j.Fits(c.path, c.Trust) {
				continue
			}
			x := &cell{c: c, judge: j}
			cells = append(cells, x)
			if c.skip != nil {
				x.answer.Result = compat.Result{Judge: j.Name, Scheme: j.Scheme, Case: c.spec.String(), Status: compat.Skip, Reason: c.skip.Error()}
				x.done = true
				continue
			}
			var err error
			if x.inputs, err = r.inputs(x); err != nil {
				return nil, nil, err
			}
			if v, ok := r.known.get(x.inputs); ok && r.hasPicture(v) {
				x.answer, x.done = v, true
				continue
			}
			if twin, ok := heard[x.inputs]; ok {
				twins[x] = twin
				continue
			}
			heard[x.inputs] = x
			if c.After.After(wait) {
				wait = c.After
			}
			if j.Batch != nil {
				batch = append(batch, x)
			} else {
				single = append(single, x)
			}
		}
	}
	if d := time.Until(wait); d > 0 {
		select {
		case <-time.After(d):
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		}
	}
	count := r.counter("cells heard", len(cells))
	count(len(cells) - len(batch) - len(single))
	var wg sync.WaitGroup
	var batchErr error
	wg.Go(func() {
		for _, part := range together(batch) {
			if batchErr = r.ask(ctx, part, 1, count); batchErr != nil {
				return
			}
		}
	})
	var err error
	for part := range slices.Chunk(single, 8*chunkCells) {
		if err = r.ask(ctx, part, runtime.NumCPU(), count); err != nil {
			break
		}
	}
	wg.Wait()
	if err := errors.Join(err, batchErr); err != nil {
		return nil, nil, err
	}
	for x, twin := range twins {
		x.answer, x.done = twin.answer, true
	}
	return cells, js, nil
}

// together groups the cells that a judge hears by one call: those of one batch
// and one trust.
func together(cells []*cell) [][]*cell {
	type group struct {
		batch *compat.Batch
		trust compat.Trust
	}
	var order []group
	groups := map[group][]*cell{}
	for _, x := range cells {
		g := group{x.judge.Batch, x.c.Trust}
		if groups[g] == nil {
			order = append(order, g)
		}
		groups[g] = append(groups[g], x)
	}
	parts := make([][]*cell, len(order))
	for i, g := range order {
		parts[i] = groups[g]
	}
	return parts
}

// chunkCells is how many cells a processor hears between two looks at the
// clock: an interruption loses no more.
const chunkCells = 8

// asks reports whether a judge is asked about a case. Some are dear: a kernel
// runs in an emulator that hashes a few megabytes in a second, and Wine and mono
// start for each file. These are given every operation on one artifact of their
// scheme, and the few that differ by artifact on the others.
func asks(j compat.Judge, sp spec) bool {
	if j.Scheme == compat.Runs {
		return runs(j.Name, sp)
	}
	if j.Scheme != sp.scheme.judges {
		return false
	}
	if j.Name == "sbverify" && slices.Contains([]string{"strip", "strip-debug", "only-keep-debug", "add-section"}, sp.op) {
		return false // it reads behind the end of the file: what it says, or whether it crashes, is chance
	}
	if j.Batch == nil && j.Name != "wintrust" && j.Name != "chktrust" {
		return true
	}
	switch {
	case sp.scheme.name == "page-hashes":
		return sp.op == none && sp.key == baseKey && sp.digest == baseDigest
	case sp.artifact.name == "elf-so" && j.Batch != nil && sp.scheme.name != "appended": // it would be started, and it is no program
		return false
	case sp.op == "wrong-tsa-root" && j.Batch != nil: // it would be a boot of its own, and no kernel looks at timestamps
		return false
	case sp.artifact.name == "elf-static" || sp.artifact.name == "pe-console":
		return true
	}
	return sp.op == none || sp.op == "unsigned" || sp.op == "flip-text"
}

// inputs is the digest of all that a verdict depends on.
func (r *run) inputs(x *cell) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "cell 1 %q %q %q\n", x.judge.Name, x.judge.Scheme, r.readers)
	if x.judge.FindKey != nil {
		k, err := x.judge.FindKey()
		fmt.Fprintf(h, "%s %v\n", k, err)
	}
	if x.judge.Definition != nil {
		fmt.Fprintf(h, "%q\n", x.judge.Definition())
	}
	fmt.Fprintf(h, "%s %s\n", x.c.Fingerprint, x.c.Place)
	for _, file := range []string{x.c.Trust.CAFile, x.c.Trust.TSAFile, x.c.Trust.SignerFile, x.c.Trust.PolicyFile} {
		if file == "" {
			fmt.Fprintln(h, "none")
			continue
		}
		if r.trustees[file] == "" {
			s, err := hashFile(file)
			if err != nil {
				return "", err
			}
			r.trustees[file] = s
		}
		fmt.Fprintln(h, r.trustees[file])
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// ask puts cells before their judges, which are grouped by scheme and name: each
// cell has one.
func (r *run) ask(ctx context.Context, cells []*cell, jobs int, count func(int)) error {
	// A judge is asked about its own cells only, so a scheme stands for each.
	var js []compat.Judge
	var cs []compat.Case
	index := map[string]bool{}
	for _, x := range cells {
		name := x.judge.Scheme + " by " + x.judge.Name
		if !index[name] {
			index[name] = true
			j := x.judge
			j.Scheme = name
			js = append(js, j)
		}
		trust := x.c.Trust
		cs = append(cs, compat.Case{File: x.c.path, Name: x.c.spec.String(), Scheme: name, Trust: &trust})
	}
	results := compat.Run(ctx, js, cs, compat.Trust{}, jobs)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if len(results) != len(cells) {
		return fmt.Errorf("%d answers to %d questions", len(results), len(cells))
	}
	for i, x := range cells {
		x.answer.Result = results[i]
		if x.judge.Scheme == compat.Runs {
			x.answer.Screenshot = r.screenshot(x.c.path)
		}
		x.answer.Result.Scheme = x.judge.Scheme
		x.done = true
		if got := results[i].Got; got == Accept || got == Refuse || got == Cannot {
			if err := r.known.put(x.inputs, x.answer); err != nil {
				return err
			}
		}
	}
	count(len(cells))
	return nil
}
