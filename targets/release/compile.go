package release

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/hallmark-build/hallmark/build"
)

// binary is a program on its way: compiled, or taken over from the last run.
type binary struct {
	Entry
	file string // where it is now
}

// target is a build.Target with the digest of all that its output depends on.
type target struct {
	build.Target
	key    string
	reused *Entry // of the previous release; nil: it is to be compiled
}

// planTargets computes the key of every target, and decides which binaries of
// the previous release are taken over: those with an equal key, an unharmed
// file, and, if they are signed, with a signature that valid accepts.
func planTargets(ctx context.Context, own string, b *build.Builder, targets []build.Target, w *workspace, valid func(Entry) bool) ([]target, error) {
	plan := make([]target, len(targets))
	index := make([]int, len(targets))
	for i := range index {
		index[i] = i
	}
	err := each(ctx, build.Jobs(), index, func(ctx context.Context, i int) error {
		t := targets[i]
		k, err := b.Key(ctx, t)
		if err != nil {
			return fmt.Errorf("%s: %w", t.Rel(), err)
		}
		d := newDigest("build 1")
		d.add(own, k)
		plan[i] = target{Target: t, key: d.sum()}
		if old := w.reusable(t.Rel()); old != nil && old.Kind == KindBinary && old.BuildKey == plan[i].key && valid(*old) {
			plan[i].reused = old
			return nil
		}
		if err := b.Check(ctx, t); err != nil {
			return &UsageError{err}
		}
		return nil
	})
	if err != nil {
		return nil, once(err)
	}
	return plan, nil
}

// compileAll compiles what is not taken over. A program that does not compile
// does not keep the others from being tried: all failures are in the error.
func compileAll(ctx context.Context, b *build.Builder, plan []target, w *workspace, p *Progress) ([]binary, error) {
	out := make([]binary, len(plan))
	var todo []int
	for i, t := range plan {
		if t.reused != nil {
			out[i] = binary{*t.reused, w.file(t.Rel())}
			continue
		}
		todo = append(todo, i)
	}
	p.begin("compile", len(todo))
	defer p.end()
	err := each(ctx, build.Jobs(), todo, func(ctx context.Context, i int) error {
		t := plan[i]
		done := p.start(t.Rel())
		dst, err := w.scratch("unsigned/" + t.Rel())
		if err != nil {
			return err
		}
		bin, err := b.Compile(ctx, t.Target, dst)
		if err != nil {
			done("failed")
			return err
		}
		info, err := os.Stat(dst)
		if err != nil {
			return err
		}
		done(size(bin.Size))
		out[i] = binary{Entry{
			Path: t.Rel(), Kind: KindBinary,
			Program: t.Program, Platform: t.Platform.String(), Toolchain: t.Toolchain, Go: bin.GoVersion,
			Size: bin.Size, SHA256: bin.SHA256, Mode: formatMode(info.Mode()),
			BuildKey: t.key, Unsigned: bin.SHA256,
		}, dst}
		return nil
	})
	return out, compileFailures(err)
}

// keepUnsigned stages compiled binaries as they are.
func keepUnsigned(bins []binary, w *workspace) ([]Entry, error) {
	entries := make([]Entry, len(bins))
	for i, b := range bins {
		entries[i] = b.Entry
		if b.file == w.file(b.Path) {
			continue
		}
		old := w.reusable(b.Path)
		if old != nil && old.Unsigned == b.Unsigned {
			// Other sources made the same program: what stands there, signed or not, is it.
			entries[i] = *old
			entries[i].BuildKey, entries[i].Go = b.BuildKey, b.Go
			continue
		}
		dst, err := w.create(b.Path)
		if err != nil {
			return nil, err
		}
		if err := os.Rename(b.file, dst); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// once drops repeated texts from a joined error: several targets lack the same
// compiler.
func once(err error) error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return err
	}
	var kept []error
	seen := map[string]bool{}
	for _, e := range joined.Unwrap() {
		if !seen[e.Error()] {
			seen[e.Error()] = true
			kept = append(kept, e)
		}
	}
	return errors.Join(kept...)
}

// compileFailures groups the targets that failed with the same words, which
// one mistake in a program does for all of them.
func compileFailures(err error) error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return err
	}
	type group struct {
		targets []string
		err     *build.CompileError
	}
	var groups []*group
	var rest []error
next:
	for _, e := range joined.Unwrap() {
		var c *build.CompileError
		if !errors.As(e, &c) {
			rest = append(rest, e)
			continue
		}
		for _, g := range groups {
			if g.err.Output == c.Output {
				g.targets = append(g.targets, c.Target.Rel())
				continue next
			}
		}
		groups = append(groups, &group{[]string{c.Target.Rel()}, c})
	}
	var out []error
	for _, g := range groups {
		err := fmt.Errorf("%w\n%s", g.err, strings.TrimSpace(g.err.Output))
		if len(g.targets) > 1 {
			err = fmt.Errorf("%w\nand in the same words: %s", err, join(g.targets[1:]))
		}
		out = append(out, err)
	}
	return errors.Join(append(out, rest...)...)
}
