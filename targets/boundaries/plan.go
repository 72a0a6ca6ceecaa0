package boundaries

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// The configuration in which most files are signed.
const (
	baseKey    = "rsa3072"
	baseDigest = "sha256"
)

// plan is all cases that the map has.
type plan struct {
	specs []spec
	ops   map[string]operation // by the spec's text
}

// plan lists the cases: every artifact by every scheme that takes it, with every
// operation, in the base configuration; and one artifact for each scheme with all
// keys and digests. It leaves out what filter does not want.
func (m *maker) plan(ctx context.Context, f filter) (*plan, error) {
	p := &plan{ops: map[string]operation{}}
	add := func(sp spec, op operation) {
		sp.op = op.name
		if f.wants(sp) {
			p.specs, p.ops[sp.String()] = append(p.specs, sp), op
		}
	}
	var flipped []spec
	for _, a := range artifacts() {
		for _, s := range schemes() {
			if !s.takes(a) || !m.has(a) {
				continue
			}
			sp := spec{artifact: a, scheme: s, key: baseKey, digest: baseDigest}
			for _, op := range operations() {
				if op.takes(a, s) {
					add(sp, op)
				}
			}
			m.travellers = append(m.travellers, sp)
			if f.wantsFlips(sp) {
				flipped = append(flipped, sp)
			}
		}
	}
	// The product of keys and digests.
	for _, s := range schemes() {
		a := exemplar(s)
		if !m.has(a) {
			continue
		}
		for _, key := range keyKinds() {
			for _, digest := range digestsOf(s, key) {
				if key != baseKey || digest != baseDigest {
					add(spec{artifact: a, scheme: s, key: key, digest: digest}, operations()[0])
				}
			}
		}
	}
	regions := make([][]string, len(flipped))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(2)
	for i, sp := range flipped {
		g.Go(func() (err error) {
			if regions[i], err = m.regions(ctx, sp); err != nil {
				return fmt.Errorf("%s: %w", sp, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for i, sp := range flipped {
		for _, r := range regions[i] {
			add(sp, flip(r))
		}
	}
	m.travellers = slices.DeleteFunc(m.travellers, func(t spec) bool {
		return !slices.ContainsFunc(p.specs, func(sp spec) bool { return sp.artifact.name == t.artifact.name && sp.scheme.name == t.scheme.name })
	})
	return p, nil
}

// has reports whether an artifact was built.
func (m *maker) has(a artifact) bool {
	_, ok := m.artifacts[a.name]
	return ok
}

func (m *maker) hasAll(names ...string) bool {
	return !slices.ContainsFunc(names, func(name string) bool { return !m.has(artifact{name: name}) })
}

// claimed is the cell that a claim is about.
func claimed(artifactName, schemeName string) spec {
	return spec{artifact: artifact{name: artifactName}, scheme: schemeNamed(schemeName), key: baseKey, digest: baseDigest, op: none}
}

// exemplar is the artifact that is signed by a scheme with all keys.
func exemplar(s scheme) artifact {
	name := map[string]string{"authenticode": "pe-console", "page-hashes": "pe-console", "p7s": "deb", "bundle": "deb"}[s.name]
	if name == "" {
		name = "elf-static"
	}
	i := slices.IndexFunc(artifacts(), func(a artifact) bool { return a.name == name })
	return artifacts()[i]
}

// digestsOf lists the digests that a scheme can sign with a key.
func digestsOf(s scheme, key string) []string {
	switch s.name {
	case "verity", "ima-verity": // fs-verity has no SHA-384
		return []string{"sha256", "sha512"}
	case "bundle": // the digest follows the key
		switch key {
		case "p384":
			return []string{"sha384"}
		case "p521":
			return []string{"sha512"}
		}
		return []string{"sha256"}
	}
	return []string{"sha256", "sha384", "sha512"}
}

// A filter says which cells are wanted: each of its words is "field=pattern",
// or "field!=pattern" for what is not wanted, where the field is artifact,
// scheme, key, digest, operation or judge and the pattern one of package path's,
// or several with commas between them. Empty: all.
type filter []filterWord

type filterWord struct {
	field    string
	not      bool
	patterns []string
}

func (w filterWord) wants(value string) bool { return matches(w.patterns, value) != w.not }

// fields are the names that filters and expectations have for what a cell is of.
func fields() []string {
	return []string{"artifact", "scheme", "key", "digest", "operation", "judge"}
}

func parseFilter(text string) (filter, error) {
	var f filter
	for _, word := range strings.Fields(text) {
		field, patterns, ok := strings.Cut(word, "=")
		field, not := strings.CutSuffix(field, "!")
		if !ok || !slices.Contains(fields(), field) {
			return nil, fmt.Errorf("filter: %q is not of the form FIELD=PATTERN or FIELD!=PATTERN, with a field of %s", word, strings.Join(fields(), ", "))
		}
		list := strings.Split(patterns, ",")
		for _, p := range list {
			if _, err := path.Match(p, ""); err != nil || p == "" {
				return nil, fmt.Errorf("filter: %q is no pattern; write * for anything, ? for one character, and commas between several", p)
			}
		}
		f = append(f, filterWord{field, not, list})
	}
	return f, nil
}

func matches(patterns []string, value string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := path.Match(p, value)
		return ok && err == nil
	})
}

func (sp spec) value(field string) string {
	switch field {
	case "artifact":
		return sp.artifact.name
	case "scheme":
		return sp.scheme.name
	case "key":
		return sp.key
	case "digest":
		return sp.digest
	case "operation":
		return sp.op
	}
	return ""
}

// wants reports whether cells of a case may be wanted.
func (f filter) wants(sp spec) bool {
	for _, word := range f {
		if word.field != "judge" && !word.wants(sp.value(word.field)) {
			return false
		}
	}
	return true
}

// wantsJudge reports whether a judge's cells are wanted.
func (f filter) wantsJudge(name string) bool {
	for _, word := range f {
		if word.field == "judge" && !word.wants(name) {
			return false
		}
	}
	return true
}

// wantsArtifact reports whether cases of an artifact may be wanted.
func (f filter) wantsArtifact(a artifact) bool {
	for _, word := range f {
		if word.field == "artifact" && !word.wants(a.name) {
			return false
		}
	}
	return true
}

// wantsFlips reports whether flipped bytes of a signed artifact may be wanted.
func (f filter) wantsFlips(sp spec) bool {
	const prefix = "flip-"
	for _, word := range f {
		switch word.field {
		case "judge":
		case "operation":
			if !word.not && !slices.ContainsFunc(word.patterns, func(p string) bool {
				n := min(len(p), len(prefix))
				return strings.HasPrefix(prefix, p[:n]) || strings.ContainsAny(p[:n], "*?[\\")
			}) {
				return false
			}
		default:
			if !word.wants(sp.value(word.field)) {
				return false
			}
		}
	}
	return true
}
