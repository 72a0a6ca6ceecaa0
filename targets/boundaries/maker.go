package boundaries

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hallmark-build/hallmark/build"
	"github.com/hallmark-build/hallmark/signing/compat"
)

// maker makes the files of cases, in a folder that outlives the run:
//
//	artifacts/NAME-KEY/     unsigned files, by what they were made with
//	cases/ID/               the file of a case, and case.json, which says what it is
//	pool/                   the bytes of them: many files are links to the same
//	world-…/                certificates; the private keys were never on the disk
//	journeys/, fuse/        of one run
type maker struct {
	dir     string
	sources string // digest of what makes files
	foundry *foundry
	places  *places

	world, other *world // of this run; nil until something must be signed
	travellers   []spec // what goes into archives and packages

	opening sync.Once
	opened  error
	begin   func() error // gives the brief signer its certificate

	mu        sync.Mutex
	artifacts map[string]func() (piece, error)
	bases     map[string]func() (piece, error)
}

// A fileCase is the file of a case on the disk.
type fileCase struct {
	Spec        string       `json:"spec"`
	Recipe      string       `json:"recipe"` // digest of what it was made by
	File        string       `json:"file"`   // below the case's folder
	Beside      []string     `json:"beside,omitempty"`
	Fingerprint string       `json:"fingerprint"`
	Trust       compat.Trust `json:"trust"`
	After       time.Time    `json:"after"`
	Place       string       `json:"place,omitempty"`

	spec spec
	path string // where it is judged
	skip error  // it could not be made on this machine
}

// worldLife is how long a world's files are used again: its signers'
// certificates last a month, and a map is of one day.
const worldLife = 24 * time.Hour

func newMaker(ctx context.Context, dir string) (*maker, error) {
	for _, sub := range []string{"artifacts", "cases", "pool", "regions"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	f, err := newFoundry(ctx, filepath.Join(dir, "artifacts"))
	if err != nil {
		return nil, err
	}
	return &maker{dir: dir, foundry: f, sources: sourcesOf("signing", "build", "targets/boundaries"),
		artifacts: map[string]func() (piece, error){}, bases: map[string]func() (piece, error){}}, nil
}

// unsigned returns an artifact.
func (m *maker) unsigned(a artifact) (piece, error) {
	m.mu.Lock()
	make, ok := m.artifacts[a.name]
	m.mu.Unlock()
	if !ok {
		return piece{}, fmt.Errorf("%s was not built", a.name)
	}
	return make()
}

// build builds artifacts, those that others are made of first.
func (m *maker) build(ctx context.Context, wanted []artifact) error {
	static := ""
	for _, a := range artifacts() {
		need := a.name == "elf-static" && slices.ContainsFunc(wanted, func(w artifact) bool { return w.pack != "" })
		if !need && !slices.ContainsFunc(wanted, func(w artifact) bool { return w.name == a.name }) {
			continue
		}
		file, err := m.foundry.make(ctx, a, static)
		if err != nil {
			return err
		}
		if a.name == "elf-static" {
			static = file
		}
		m.artifacts[a.name] = sync.OnceValues(func() (piece, error) { return readPiece(file) })
	}
	return nil
}

// base returns the signed file that operations start from.
func (m *maker) base(ctx context.Context, sp spec) (piece, error) {
	sp.op = none
	m.mu.Lock()
	make, ok := m.bases[sp.String()]
	if !ok {
		make = sync.OnceValues(func() (piece, error) {
			p, err := m.unsigned(sp.artifact)
			if err := errors.Join(err, m.open()); err != nil {
				return piece{}, err
			}
			return p.signed(ctx, sp.scheme, digestOf(sp.digest), m.world.key(sp.key), m.world.stamps(time.Time{}))
		})
		m.bases[sp.String()] = make
	}
	m.mu.Unlock()
	return make()
}

// recipe is the digest of what a case is made by.
func (m *maker) recipe(sp spec) (string, error) {
	p, err := m.unsigned(sp.artifact)
	if err != nil {
		return "", err
	}
	h := sha256.Sum256(fmt.Appendf(nil, "case 1 %s %s %s", m.sources, sp, p.fingerprint()))
	return hex.EncodeToString(h[:]), nil
}

// id names the folder of a case.
func (sp spec) id() string {
	h := sha256.Sum256([]byte(sp.String()))
	return hex.EncodeToString(h[:10])
}

// regions lists what of a signed artifact a byte is flipped in. It is the same
// whoever signed it, so it is kept for the next run.
func (m *maker) regions(ctx context.Context, sp spec) ([]string, error) {
	recipe, err := m.recipe(sp)
	if err != nil {
		return nil, err
	}
	var known struct {
		Recipe string   `json:"recipe"`
		Names  []string `json:"names"`
	}
	file := filepath.Join(m.dir, "regions", sp.id()+".json")
	if data, err := os.ReadFile(file); err == nil && build.DecodeJSON(data, &known) == nil && known.Recipe == recipe {
		return known.Names, nil
	}
	p, err := m.base(ctx, sp)
	if err != nil {
		return nil, err
	}
	regions, err := p.regions(sp.artifact.format, sp.scheme)
	if err != nil {
		return nil, err
	}
	known.Recipe, known.Names = recipe, nil
	for _, r := range regions {
		known.Names = append(known.Names, r.name)
	}
	data, err := json.Marshal(known)
	if err != nil {
		return nil, err
	}
	return known.Names, writeFile(file, data)
}

// open makes the keys of this run.
func (m *maker) open() error {
	m.opening.Do(func() {
		stamp := time.Now().UTC().Format("20060102T150405.000")
		var g errgroup.Group
		g.Go(func() (err error) {
			m.world, err = newWorld(filepath.Join(m.dir, "world-"+stamp))
			return err
		})
		g.Go(func() (err error) {
			m.other, err = newWorld(filepath.Join(m.dir, "world-"+stamp+"-other"))
			return err
		})
		m.opened = g.Wait()
	})
	return m.opened
}

// make makes the files of all specs, or finds those of an earlier run. ops has
// the operation of each spec.
func (m *maker) make(ctx context.Context, specs []spec, ops map[string]operation, report func(n int)) ([]*fileCase, error) {
	cases := make([]*fileCase, len(specs))
	var g errgroup.Group
	g.SetLimit(runtime.NumCPU())
	one := func(i int) {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			c, err := m.one(ctx, specs[i], ops[specs[i].String()])
			if err != nil && !isMissing(err) {
				return fmt.Errorf("%s: %w", specs[i], err)
			}
			if c == nil {
				c = &fileCase{spec: specs[i], skip: err}
			}
			cases[i] = c
			report(1)
			return nil
		})
	}
	// First those whose certificate is about to end.
	brief := 0
	for _, sp := range specs {
		if sp.op == expired {
			brief++
		}
	}
	m.begin = sync.OnceValue(func() error {
		if err := m.open(); err != nil {
			return err
		}
		return m.world.begin(5*time.Second + time.Duration(brief)*500*time.Millisecond)
	})
	for i, sp := range specs {
		if sp.op == expired {
			one(i)
		}
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for i, sp := range specs {
		if sp.op != expired {
			one(i)
		}
	}
	return cases, g.Wait()
}

func (m *maker) one(ctx context.Context, sp spec, op operation) (*fileCase, error) {
	recipe, err := m.recipe(sp)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(m.dir, "cases", sp.id())
	if c := m.old(dir, recipe); c != nil {
		c.spec = sp
		return c, m.settle(c, dir)
	}
	base, err := m.base(ctx, sp)
	if err != nil {
		return nil, err
	}
	d, err := op.do(ctx, m, sp, base)
	if err != nil {
		return nil, err
	}
	if d.trust == (compat.Trust{}) {
		d.trust = m.world.trust
	}
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	if _, err := d.write(dir, filepath.Join(m.dir, "pool")); err != nil {
		return nil, err
	}
	c := &fileCase{Spec: sp.String(), Recipe: recipe, File: d.name, Fingerprint: d.fingerprint(), Trust: d.trust, After: d.after, Place: d.place, spec: sp}
	for suffix := range d.beside {
		c.Beside = append(c.Beside, suffix)
	}
	slices.Sort(c.Beside)
	data, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	if err := writeFile(filepath.Join(dir, "case.json"), data); err != nil {
		return nil, err
	}
	return c, m.settle(c, dir)
}

// old returns the case in a folder if it was made by the same recipe, by keys
// that are not too old, and is still what it was.
func (m *maker) old(dir, recipe string) *fileCase {
	data, err := os.ReadFile(filepath.Join(dir, "case.json"))
	if err != nil {
		return nil
	}
	c := new(fileCase)
	if build.DecodeJSON(data, c) != nil || c.Recipe != recipe || !filepath.IsLocal(c.File) {
		return nil
	}
	for _, file := range []string{c.Trust.CAFile, c.Trust.TSAFile} {
		if info, err := os.Stat(file); err != nil || time.Since(info.ModTime()) > worldLife {
			return nil
		}
	}
	p, err := m.load(dir, c)
	if err != nil || p.fingerprint() != c.Fingerprint {
		return nil
	}
	return c
}

func (m *maker) load(dir string, c *fileCase) (piece, error) {
	p, err := readPiece(filepath.Join(dir, c.File))
	if err != nil {
		return piece{}, err
	}
	p.beside = map[string][]byte{}
	for _, suffix := range c.Beside {
		if p.beside[suffix], err = os.ReadFile(filepath.Join(dir, c.File+suffix)); err != nil {
			return piece{}, err
		}
	}
	return p, nil
}

// settle puts a case where it is judged.
func (m *maker) settle(c *fileCase, dir string) error {
	switch c.Place {
	case "tmpfs":
		if err := m.places.problem("tmpfs"); err != nil {
			return err
		}
		p, err := m.load(dir, c)
		if err != nil {
			return err
		}
		c.path, err = p.write(filepath.Join(m.places.tmpfs, filepath.Base(dir)), "")
		return err
	case "fuse":
		c.path = filepath.Join(m.places.fuse, filepath.Base(dir), c.File)
		return m.places.problem("fuse")
	}
	c.path = filepath.Join(dir, c.File)
	return nil
}

// sweep removes what no case of the map needs any more.
func (m *maker) sweep(cases []*fileCase) error {
	keep := map[string]bool{}
	for _, c := range cases {
		if c.skip != nil {
			continue
		}
		keep[c.spec.id()] = true
		for _, file := range []string{c.Trust.CAFile, c.Trust.TSAFile} {
			keep[filepath.Base(filepath.Dir(file))] = true
		}
	}
	var errs []error
	for _, pattern := range []string{"cases/*", "world-*", "journeys/*"} {
		found, err := filepath.Glob(filepath.Join(m.dir, filepath.FromSlash(pattern)))
		errs = append(errs, err)
		for _, dir := range found {
			if path.Dir(pattern) == "journeys" || !keep[filepath.Base(dir)] {
				errs = append(errs, os.RemoveAll(dir))
			}
		}
	}
	return errors.Join(append(errs, m.sweepPool())...)
}

// sweepPool removes the bytes that no file has any more.
func (m *maker) sweepPool() error {
	pool := filepath.Join(m.dir, "pool")
	entries, err := os.ReadDir(pool)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && links(info) == 1 {
			if err := os.Remove(filepath.Join(pool, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
