package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// measure runs the session: calibrate and tell how long it will take, fill the caches, warm up, then rounds in which every
// job is built once, in random order.
func (s *session) measure(ctx context.Context) error {
	if budget := s.budget(); budget > 0 {
		s.deadline = time.Now().Add(budget)
	}
	if err := s.calibrate(ctx); err != nil {
		return err
	}
	if err := s.prepare(ctx); err != nil {
		return err
	}
	s.log("warming up")
	warm := slices.DeleteFunc(slices.Clone(s.jobs), func(c *job) bool { return s.warmUps(c) == 0 })
	if err := s.round(ctx, warm, func(c *job) error { return s.warmUp(ctx, c) }); err != nil {
		return s.stopped(err, 0)
	}
	runs := s.options.runs()
	for n := range runs {
		s.log("round %d of %d%s", n+1, runs, s.left(runs-n))
		if err := s.timedRound(ctx); err != nil {
			return s.stopped(err, n)
		}
	}
	if err := s.profile(ctx); err != nil {
		return err
	}
	if err := s.replay(ctx); err != nil {
		return err
	}
	if err := s.parallel(ctx); err != nil {
		return err
	}
	return s.more(ctx)
}

// stopped makes the result incomplete.
func (s *session) stopped(err error, rounds int) error {
	s.result.Incomplete = fmt.Sprintf("interrupted after %d of %d rounds", rounds, s.options.runs())
	return err
}

// calibrate builds one program cold and again, to tell how long the rest will take.
func (s *session) calibrate(ctx context.Context) error {
	first := s.jobs[0]
	for _, c := range s.jobs {
		if c.toolchain.cc != nil && c.source == s.jobs[0].source {
			first = c
			break
		}
	}
	s.log("calibrating with %s", first.dimensions.Without("scenario"))
	cold, err := s.fill(ctx, first)
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		// The compiler's words are told when its turn comes.
		cold = 10
	}
	relink, err := s.fill(ctx, first)
	if err != nil {
		relink = cold / 10
	}
	first.group.ready = true
	if first.source.real && first.source.quickC {
		cold, relink = cold/realQuick, relink/realRelink
	} else if first.source.real {
		cold, relink = cold/realCold, relink/realRelink
	}
	s.estimate(cold, relink)
	s.trim(cold)
	toolchains := make(map[string]bool)
	for _, c := range s.jobs {
		toolchains[c.dimensions.Without("program", "scenario").String()] = true
	}
	s.log("%d series of %d toolchains, at least %d runs of each: about %s; seed %s", len(s.jobs), len(toolchains), s.options.runs(),
		roughly(s.total(cold)), seedOf(s.options.Seed))
	if s.options.Size == Quick {
		s.note("a quick run leaves undecided what a cold build, a changed C file and a larger program take")
	}
	return nil
}

// fill builds a job's program with the cache of its group, and returns the seconds it took.
func (s *session) fill(ctx context.Context, c *job) (float64, error) {
	run := c.command
	run.env = append(slices.Clone(run.env), "GOCACHE="+c.group.cache, "GOTMPDIR="+c.group.temp)
	run.args = append(slices.Clone(run.args), "-o", filepath.Join(c.work, "filled"), c.source.Package)
	u, err := run.run(ctx)
	return u.wall, errors.Join(err, removeAll(filepath.Join(c.work, "filled")))
}

// prepare fills the caches of all groups.
func (s *session) prepare(ctx context.Context) error {
	s.log("filling a cache for each compiler")
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(max(1, min(4, s.result.Machine.Cores)))
	for _, gr := range s.groups {
		if len(gr.jobs) == 0 || gr.ready {
			continue
		}
		g.Go(func() error {
			s.fill(gctx, gr.jobs[0]) // its failure is told when its turn comes
			return ctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return s.stopped(err, 0)
	}
	return nil
}

// round runs f for all jobs that have not ended, in random order.
func (s *session) round(ctx context.Context, jobs []*job, f func(*job) error) error {
	order := slices.DeleteFunc(slices.Clone(jobs), func(c *job) bool { return c.finished })
	s.random.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	for _, c := range order {
		if err := f(c); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			c.fail(err)
			s.log("%s: %s", c.dimensions, strings.TrimSpace(c.series.Reason))
		}
	}
	return nil
}

// warmUp builds a job once, checks what comes out, and learns what it costs.
func (s *session) warmUp(ctx context.Context, c *job) error {
	start := time.Now()
	if c.scenario == Nothing {
		if _, err := s.once(ctx, c, false); err != nil { // makes the output
			return err
		}
		start = time.Now()
	}
	_, err := s.once(ctx, c, false)
	c.cost = time.Since(start).Seconds()
	c.foreign = nil
	return err
}

// timedRound builds every job once.
func (s *session) timedRound(ctx context.Context) error {
	return s.round(ctx, s.jobs, func(c *job) error {
		sample, err := s.once(ctx, c, false)
		if err == nil {
			c.series.Samples = append(c.series.Samples, sample)
		}
		return err
	})
}

// left tells how long the rest will take.
func (s *session) left(rounds int) string {
	sum := 0.0
	for _, c := range s.jobs {
		if !c.finished {
			sum += c.cost * (float64(rounds) + shimCost*float64(s.profileRuns(c)))
		}
	}
	return ", " + roughly(sum) + " left"
}

// profile makes the instrumented runs.
func (s *session) profile(ctx context.Context) error {
	most := 0
	for _, c := range s.jobs {
		most = max(most, s.profileRuns(c))
	}
	if most > 0 {
		s.log("instrumented runs")
	}
	for n := range most {
		jobs := slices.DeleteFunc(slices.Clone(s.jobs), func(c *job) bool { return s.profileRuns(c) <= n })
		err := s.round(ctx, jobs, func(c *job) error {
			sample, err := s.once(ctx, c, true)
			if err == nil {
				c.series.Profile = append(c.series.Profile, sample)
			} else if ctx.Err() == nil {
				// What was measured without the shim stands.
				s.note("%s: no instrumented run: %v", c.dimensions, err)
				return nil
			}
			return err
		})
		if err != nil {
			s.result.Incomplete = "interrupted during the instrumented runs"
			return err
		}
	}
	return nil
}

// more runs those jobs again whose intervals are still wide, as long as there is time.
func (s *session) more(ctx context.Context) error {
	width := s.options.width()
	for {
		wide := 0
		for _, c := range s.jobs {
			if !c.finished && c.enough(width) {
				c.finished = true
			}
			if !c.finished {
				wide++
			}
		}
		if wide == 0 || !s.deadline.IsZero() && time.Now().Add(time.Duration(s.roundCost()*float64(time.Second))).After(s.deadline) {
			if wide > 0 {
				s.note("%d of %d intervals are still wider than %.0f %% of the median: the time was up", wide, len(s.jobs), 100*width)
			}
			return nil
		}
		s.log("%d intervals are wider than %.0f %%: another round", wide, 100*width)
		if err := s.timedRound(ctx); err != nil {
			s.result.Incomplete = "interrupted while intervals were still wide; every series has the runs that were planned"
			return err
		}
	}
}

// roundCost returns the seconds that a round of the jobs that have not ended takes.
func (s *session) roundCost() float64 {
	sum := 0.0
	for _, c := range s.jobs {
		if !c.finished {
			sum += c.cost
		}
	}
	return sum
}
