package release

import (
	"cmp"
	"context"
	"errors"
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
			// Check knows everything that is missing, not the first thing alone.
			return notReady(t, cmp.Or(b.Check(ctx, t), err))
		}
		d := newDigest("build 1")
		d.add(own, k)
		plan[i] = target{Target: t, key: d.sum()}
		if old := w.reusable(t.Rel()); old != nil && old.Kind == KindBinary && old.BuildKey == plan[i].key && valid(*old) {
			plan[i].reused = old
			return nil
		}
		return notReady(t, b.Check(ctx, t))
	})
	if err != nil {
		return nil, failures("", err)
	}
	return plan, nil
}

// notReady makes one message for all targets that lack the same thing.
func notReady(t build.Target, err error) error {
	if err == nil {
		return nil
	}
	return &fileFailure{path: t.String(), text: strings.TrimPrefix(err.Error(), t.String()+": "), err: &UsageError{err}}
}

// compileAll compiles what is not taken over. A program that does not compile
// does not keep the others from being tried: all failures are in the error. An
// edit meanwhile would be signed, and kept, as the state before it, so src must
// still be what it was.
func compileAll(ctx context.Context, src build.Source, b *build.Builder, plan []target, w *workspace, p *Progress) ([]binary, error) {
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
		dst, err := w.privatePath("unsigned", t.Rel())
		if err != nil {
			return err
		}
		bin, err := b.Compile(ctx, t.Target, dst)
		if err != nil {
			done("failed")
			return compileFailure(t.Rel(), err)
		}
		// Whatever the umask: archives and manifests are to be the same everywhere.
		if err := os.Chmod(dst, 0o755); err != nil {
			return err
		}
		note := size(bin.Size)
		if t.Toolchain != "none" {
			note += "  " + b.Toolchain(t.Target)
		}
		if bin.Note != "" {
			p.Printf("%s: %s", t.Rel(), bin.Note)
		}
		done(note)
		out[i] = binary{Entry{
			Path: t.Rel(), Kind: KindBinary,
			Program: t.Program, Platform: t.Platform.String(), Toolchain: t.Toolchain, Go: bin.GoVersion,
			Size: bin.Size, SHA256: bin.SHA256, Mode: formatMode(0o755),
			BuildKey: t.key, Unsigned: bin.SHA256,
		}, dst}
		return nil
	})
	if err != nil || len(todo) == 0 {
		return out, failures("compiling", err)
	}
	return out, src.Changed(ctx)
}

// keepUnsigned stages compiled binaries as they are.
func keepUnsigned(ctx context.Context, bins []binary, w *workspace) ([]Entry, error) {
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
		if err := w.adopt(ctx, b.file, b.Path); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// compileFailure shows the compiler's own words. One mistake breaks a program
// for all its targets, in the same words.
func compileFailure(path string, err error) error {
	var c *build.CompileError
	if !errors.As(err, &c) {
		return err
	}
	return &fileFailure{path: path, text: strings.TrimSpace(c.Output), block: true, err: err}
}
