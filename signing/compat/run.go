package compat

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Case is one file to be judged, with what is expected.
type Case struct {
	File   string // path of the file
	Name   string // as reports show it; empty = File
	Scheme string // whose judges are asked
	Want   Want
	Trust  *Trust // nil: that of the run
}

// Result is what one judge said of one case. It is a line of the manifest:
// reports are drawn from it alone.
type Result struct {
	Judge   string   `json:"judge"`
	Version string   `json:"version,omitempty"`
	Path    string   `json:"path,omitempty"` // of the judge's program
	Scheme  string   `json:"scheme"`
	Case    string   `json:"case"`
	Want    string   `json:"want"`              // "accept", "refuse" or "cannot"
	Got     string   `json:"got"`               // "accept", "refuse", "cannot", "crashed: …", "unclear: …"; empty when there is no judge to ask
	Status  Status   `json:"status"`            // "pass", "fail", "skip" or "allowed"
	Reason  string   `json:"reason,omitempty"`  // why it was refused or skipped, or gave no verdict
	Output  string   `json:"output,omitempty"`  // the program's words, unless it accepted
	Command string   `json:"command,omitempty"` // asks the judge again, in a POSIX shell
	Allowed *Allowed `json:"allowed,omitempty"` // why a difference is bearable
	Seconds float64  `json:"seconds"`           // wall-clock time of the judging, finding the version apart; of a Batch, that of the whole of it
}

// Run puts every case before every judge of its scheme, at most jobs at a time
// (0 or less: one for each CPU), and returns the results by case and then by
// judge. A case whose scheme has no judge gives one failed result. When ctx
// ends, what has not been judged fails with that reason.
func Run(ctx context.Context, judges []Judge, cases []Case, trust Trust, jobs int) []Result {
	return run(ctx, judges, cases, trust, jobs, Limit)
}

// run is Run with its time limit in sight of the tests.
func run(ctx context.Context, judges []Judge, cases []Case, trust Trust, jobs int, limit time.Duration) []Result {
	if jobs <= 0 {
		jobs = runtime.NumCPU()
	}
	courts := make([]*court, len(judges))
	for i, j := range judges {
		courts[i] = &court{Judge: j, limit: limit}
		if j.Timeout > 0 {
			courts[i].limit = j.Timeout
		}
	}
	type task struct {
		court *court
		c     Case
	}
	var tasks []task
	for _, c := range cases {
		if c.Name == "" {
			c.Name = c.File
		}
		found := false
		for _, j := range courts {
			of := trust
			if c.Trust != nil {
				of = *c.Trust
			}
			if j.Scheme == c.Scheme && (j.Fits == nil || j.Fits(c.File, of)) {
				tasks, found = append(tasks, task{j, c}), true
			}
		}
		if !found {
			tasks = append(tasks, task{nil, c})
		}
	}

	checked := map[Trust]error{trust: trust.check()}
	for i, t := range tasks {
		if t.c.Trust == nil {
			tasks[i].c.Trust = &trust
		} else if _, ok := checked[*t.c.Trust]; !ok {
			checked[*t.c.Trust] = t.c.Trust.check()
		}
	}

	// What is judged in one go, one after the other.
	type unit struct {
		batch *Batch
		trust Trust
		tasks []int
	}
	var units, singles []unit
	for i, t := range tasks {
		if t.court == nil || t.court.Batch == nil {
			singles = append(singles, unit{nil, *t.c.Trust, []int{i}})
			continue
		}
		at := slices.IndexFunc(units, func(u unit) bool { return u.batch == t.court.Batch && u.trust == *t.c.Trust })
		if at < 0 {
			at, units = len(units), append(units, unit{batch: t.court.Batch, trust: *t.c.Trust})
		}
		units[at].tasks = append(units[at].tasks, i)
	}
	units = append(units, singles...) // those that take longest first

	results := make([]Result, len(tasks))
	next := make(chan unit)
	var workers sync.WaitGroup
	for range min(jobs, len(units)) {
		workers.Go(func() {
			for u := range next {
				var together []*hearing
				for _, i := range u.tasks {
					c, r := tasks[i].c, &results[i]
					*r = Result{Scheme: c.Scheme, Case: c.Name, Want: c.Want.String()}
					switch j := tasks[i].court; {
					case j == nil:
						r.Got, r.Reason = "unclear: not judged", fmt.Sprintf("no judge for the scheme %q", c.Scheme)
					case ctx.Err() != nil:
						r.Judge, r.Got, r.Reason = j.Name, "unclear: not judged", context.Cause(ctx).Error()
					case u.batch != nil:
						r.Judge = j.Name
						if j.prepare(ctx, c, u.trust, checked[u.trust], r) {
							together = append(together, &hearing{j, c, r})
						}
					default:
						r.Judge = j.Name
						j.hear(ctx, c, u.trust, checked[u.trust], r)
					}
				}
				if len(together) > 0 {
					u.batch.hear(ctx, together, u.trust)
				}
			}
		})
	}
	for _, u := range units {
		next <- u
	}
	close(next)
	workers.Wait()
	return results
}

// hearing is a question of a batch, with the place of its answer.
type hearing struct {
	court *court
	c     Case
	r     *Result
}

// hear judges the cases of a batch. The time of each is that of all.
func (b *Batch) hear(ctx context.Context, together []*hearing, trust Trust) {
	questions := make([]Question, len(together))
	for i, h := range together {
		questions[i] = Question{Judge: h.r.Judge, File: h.c.File}
	}
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(b.Limit, Limit))
	defer cancel()
	start := time.Now()
	answers := b.ask(ctx, questions, trust)
	seconds := time.Since(start)
	for i, h := range together {
		h.r.took(seconds)
		h.r.conclude(h.c.Want, answers[i])
	}
}

// ask calls Verify, and has an answer for each question whatever it returns.
func (b *Batch) ask(ctx context.Context, questions []Question, trust Trust) (answers []error) {
	all := func(err func(judge string) error) []error {
		answers := make([]error, len(questions))
		for i, q := range questions {
			answers[i] = err(q.Judge)
		}
		return answers
	}
	defer func() {
		if p := recover(); p != nil {
			answers = all(func(judge string) error { return &CrashError{Tool: judge, Reason: fmt.Sprintf("panic: %v", p)} })
		}
	}()
	answers = b.Verify(ctx, questions, trust)
	if len(answers) != len(questions) {
		return all(func(judge string) error {
			return &UnclearError{Tool: judge, Reason: fmt.Sprintf("it gave %d answers to %d questions", len(answers), len(questions))}
		})
	}
	return answers
}

// court is a judge during one run, which is looked for once.
type court struct {
	Judge
	limit   time.Duration
	once    sync.Once
	key     Key
	version string
	missing error
}

// look finds the judge, the first time it is needed.
func (j *court) look(ctx context.Context) {
	j.once.Do(func() {
		ctx, cancel := context.WithTimeout(ctx, j.limit)
		defer cancel()
		if j.FindKey != nil {
			if j.key, j.missing = j.FindKey(); j.missing != nil {
				return
			}
		}
		if j.Find != nil {
			j.version, j.missing = j.Find(ctx)
		}
	})
}

// prepare fills in what is known of a result before the judging, and reports
// whether there is anything to ask.
func (j *court) prepare(ctx context.Context, c Case, trust Trust, untrusted error, r *Result) bool {
	j.look(ctx)
	r.Version, r.Path = j.version, j.key.Path
	err := j.missing
	if err == nil {
		err = untrusted // what is wrong with our own files must not pass for a refusal
	}
	if err == nil {
		err = readable(c.File)
	}
	if err != nil {
		r.conclude(c.Want, err)
		return false
	}
	if j.Command != nil {
		r.Command = j.Command(c.File, trust)
	}
	return true
}

// hear judges one case.
func (j *court) hear(ctx context.Context, c Case, trust Trust, untrusted error, r *Result) {
	if !j.prepare(ctx, c, trust, untrusted, r) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, j.limit)
	defer cancel()
	start := time.Now()
	err := j.ask(ctx, c.File, trust)
	r.took(time.Since(start))
	r.conclude(c.Want, err)
}

func (r *Result) took(d time.Duration) { r.Seconds = math.Round(d.Seconds()*1000) / 1000 }

// ask calls Verify. A judge in this process that panics has crashed like any
// other.
func (j *court) ask(ctx context.Context, file string, trust Trust) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &CrashError{Tool: j.Name, Reason: fmt.Sprintf("panic: %v", p)}
		}
	}()
	return j.Verify(ctx, file, trust)
}

// conclude holds a judge's answer against the expectation.
func (r *Result) conclude(want Want, err error) {
	var (
		refusal *RefusalError
		missing *MissingError
		limit   *LimitError
		boot    *BootError
		crash   *CrashError
		unclear *UnclearError
	)
	r.Status = Fail
	switch {
	case err == nil:
		r.Got = Accept.String()
		switch want {
		case Accept:
			r.Status = Pass
		case Cannot:
			r.Reason = "it accepts what it is said not to read"
		default:
			r.Reason = "it accepts what is to be refused"
		}
	case errors.As(err, &refusal):
		r.Got, r.Reason, r.Output = Refuse.String(), refusal.Reason, refusal.Output
		if want == Refuse {
			r.Status = Pass
		}
	case errors.As(err, &missing):
		r.Status, r.Reason = Skip, missing.Error()
	case errors.As(err, &limit):
		r.Status, r.Got, r.Reason = Skip, Cannot.String(), limit.Error()
		if want == Cannot {
			r.Status = Pass
		}
	case errors.As(err, &boot):
		r.Status, r.Reason = Skip, boot.Error()
	case errors.As(err, &crash):
		r.Got, r.Reason, r.Output = "crashed: "+crash.Reason, crash.Error(), crash.Output
	case errors.As(err, &unclear):
		r.Got, r.Reason, r.Output = "unclear: "+unclear.Reason, unclear.Error(), unclear.Output
	default:
		r.Got, r.Reason = "unclear: "+err.Error(), err.Error()
	}
}

func readable(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", file)
	}
	return nil
}
