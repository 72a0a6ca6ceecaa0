package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// A batch builds one program for several targets, without C and with an empty cache that they share, so many at once.
type batch struct {
	jobs   []*job
	atOnce int
	series *Series
}

// parallel measures the targets of the first program side by side, for each number that the configuration names.
func (s *session) parallel(ctx context.Context) error {
	if len(s.options.Parallel) == 0 {
		return nil
	}
	jobs := s.batchJobs()
	if len(jobs) < 2 {
		s.note("no targets to build side by side: it takes two without C")
		return nil
	}
	var batches []*batch
	for _, n := range s.options.Parallel {
		d := Dimensions{{"program", jobs[0].source.Name}, {"scenario", string(Cold)}, {"target", fmt.Sprintf("%d targets", len(jobs))},
			{"compiler", "none"}, {"linker", "go"}, {"parallel", fmt.Sprint(n)}}
		if s.matches(d) {
			batches = append(batches, &batch{jobs: jobs, atOnce: n, series: &Series{Dimensions: d, Status: Measured, Tools: jobs[0].toolchain.tools(s.goVersion)}})
		}
	}
	for _, b := range batches {
		s.series = append(s.series, b.series)
	}
	s.log("%d targets side by side", len(jobs))
	for n := range s.options.runs() {
		s.random.Shuffle(len(batches), func(i, j int) { batches[i], batches[j] = batches[j], batches[i] })
		for _, b := range batches {
			if b.series.Status != Measured {
				continue
			}
			sample, err := s.buildBatch(ctx, b)
			switch {
			case ctx.Err() != nil:
				s.result.Incomplete = fmt.Sprintf("interrupted after %d of %d rounds of targets side by side", n, s.options.runs())
				return context.Cause(ctx)
			case err != nil:
				(&job{series: b.series}).fail(err)
			default:
				b.series.Samples = append(b.series.Samples, sample)
			}
		}
	}
	return nil
}

// batchJobs returns a job for each target of the first program without C.
func (s *session) batchJobs() []*job {
	var list []*job
	for _, c := range s.jobs {
		t := c.toolchain
		if c.source != s.sources[0] || t.cc != nil || t.variant != (variant{}) || c.series.Status != Measured ||
			slices.ContainsFunc(list, func(x *job) bool { return x.toolchain.platform == t.platform }) {
			continue
		}
		list = append(list, c)
	}
	return list
}

// buildBatch builds a batch once. Its wall-clock time is that of all, its CPU time the sum.
func (s *session) buildBatch(ctx context.Context, b *batch) (_ Sample, err error) {
	cache, err := os.MkdirTemp(filepath.Dir(b.jobs[0].group.cache), "cold-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, removeAll(cache)) }()
	settle()
	var (
		mu   sync.Mutex
		cpu  float64
		peak int64
	)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(b.atOnce)
	start := time.Now()
	for _, c := range b.jobs {
		g.Go(func() error {
			run := c.command
			run.pinned = s.options.Pin
			run.env = append(slices.Clone(run.env), "GOCACHE="+cache, "GOTMPDIR="+c.group.temp)
			output := filepath.Join(cache, "out-"+c.toolchain.platform.Slug())
			run.args = append(slices.Clone(run.args), "-o", output, c.source.Package)
			u, err := run.run(gctx)
			mu.Lock()
			defer mu.Unlock()
			cpu, peak = cpu+u.cpu, max(peak, u.peak)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	sample := Sample{UnitWall: time.Since(start).Seconds(), UnitCPU: cpu}
	if peak > 0 {
		sample[UnitPeak] = float64(peak)
	}
	return sample, nil
}
