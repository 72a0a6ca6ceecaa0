package release

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hallmark-build/hallmark/build"
	"github.com/hallmark-build/hallmark/build/bench"
	"github.com/hallmark-build/hallmark/build/quote"
)

// ToolchainOptions say how much [BenchToolchains] measures, and where the
// result goes.
type ToolchainOptions struct {
	Quick   bool   // a minute
	Full    bool   // everything
	Samples bool   // hallmark's own programs, not those of hallmark.yaml
	Filter  string // a regular expression over the dimensions of a series; empty lets all through
	Out     string // path of the files without their extensions; empty: in the user's cache folder
	Seed    uint64 // of the order; 0 draws one
	Pin     string // processors, "0,1"; empty: all
}

// BenchToolchains times the toolchains of this machine with the programs of
// hallmark.yaml, or, where there is none, with hallmark's own. It prints tables
// on out, and writes the record with all that is drawn from it: JSON, Markdown,
// the Go benchmark format and a page.
//
// What was measured before an interruption is kept too; the error then says so.
func BenchToolchains(ctx context.Context, out io.Writer, o Options, t ToolchainOptions) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	b, err := toolchainOptions(ctx, o, t)
	if err != nil {
		return err
	}
	b.Log = func(format string, arg ...any) {
		quote.Fprintf(out, "%s  %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, arg...))
	}
	r, err := bench.Toolchains(ctx, b)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(out, "\n%s", r.Text()); err != nil {
		return err
	}
	return finishBenchmark(out, o, t.Out, r)
}

// finishBenchmark writes a result to the files that the user has named, or else
// into the user's cache folder, and says so. The error of an interruption is its
// own.
func finishBenchmark(out io.Writer, o Options, name string, r *bench.Result) error {
	if name == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("where to write the result: %w; name a place with -out", err)
		}
		name = filepath.Join(cache, "hallmark", "bench", string(r.Kind)+"-"+r.Started.Format("20060102T150405Z"))
	}
	if err := writeBenchmark(r, o.path(name)); err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%s.json, .md, .txt (for benchstat), .html\n", o.path(name))
	if r.Incomplete != "" {
		return fmt.Errorf("the benchmark is incomplete: %s", r.Incomplete)
	}
	return nil
}

// writeBenchmark writes a result in all forms.
func writeBenchmark(r *bench.Result, name string) error {
	name = strings.TrimSuffix(name, ".json")
	if err := r.Write(name + ".json"); err != nil {
		return err
	}
	if err := bench.WriteFile(name+".md", r.Markdown()); err != nil {
		return err
	}
	lines, err := r.GoBenchmarks()
	if err != nil {
		return err
	}
	if err := bench.WriteFile(name+".txt", lines); err != nil {
		return err
	}
	page, err := r.HTML()
	if err != nil {
		return err
	}
	return bench.WriteFile(name+".html", page)
}

// toolchainOptions turns the configuration and the command line into what is to
// be measured.
func toolchainOptions(ctx context.Context, o Options, t ToolchainOptions) (bench.ToolchainOptions, error) {
	b := bench.ToolchainOptions{Seed: t.Seed}
	switch {
	case t.Quick && t.Full:
		return b, usage("-quick and -full exclude each other")
	case t.Quick:
		b.Size = bench.Quick
	case t.Full:
		b.Size = bench.Full
	}
	var err error
	if t.Filter != "" {
		if b.Filter, err = regexp.Compile(t.Filter); err != nil {
			return b, usage("-filter: %v", err)
		}
	}
	if t.Pin != "" {
		for s := range strings.SplitSeq(t.Pin, ",") {
			n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 10)
			if err != nil {
				return b, usage("-pin: %q is no processor: give their numbers, as in 0,1", s)
			}
			b.Pin = append(b.Pin, int(n))
		}
	}
	c, err := Load(o.dir())
	if _, statErr := os.Stat(filepath.Join(o.dir(), ConfigFile)); errors.Is(statErr, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return b, err
	}
	b.Config = c.Bench
	if t.Samples {
		if c.Bench.Program != "" {
			b.Config.Program = ""
		}
		return b, nil
	}
	src, err := openSource(ctx, c, o)
	if err != nil {
		return b, err
	}
	i := 0
	if c.Bench.Program != "" {
		i = slices.IndexFunc(c.Build.Programs, func(p build.Program) bool { return p.Name == c.Bench.Program })
	}
	p := c.Build.Programs[i]
	s := bench.Source{Name: cmp.Or(p.Name, c.Name), Dir: src.Dir, Package: cmp.Or(p.Main, "."), Digest: src.Digest, Tags: p.Tags, LDFlags: p.LDFlags,
		Description: fmt.Sprintf("%s of %s %s", cmp.Or(p.Main, "."), src.Module, src.Version)}
	if info, err := os.Stat(filepath.Join(src.Dir, filepath.FromSlash(s.Package))); err == nil && info.IsDir() && !strings.HasPrefix(s.Package, ".") {
		s.Package = "./" + s.Package
	}
	for _, target := range c.Build.Targets {
		s.GUI = s.GUI || target.GUI
		if !slices.Contains(b.Targets, target.Platform) {
			b.Targets = append(b.Targets, target.Platform)
		}
	}
	b.Programs = []bench.Source{s}
	return b, nil
}
