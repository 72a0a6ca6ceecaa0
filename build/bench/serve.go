package bench

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// The units of a result of KindServe. Its cpu-sec/op and peak-B are the server's; the load is made by this process, on the
// same processors.
const (
	UnitRequests = "requests/s"   // answered with 200, by the time from the first request to the last answer
	UnitP50      = "p50-sec/op"   // latency: from the sending of a request to the end of its answer
	UnitP90      = "p90-sec/op"   //
	UnitP99      = "p99-sec/op"   //
	UnitLongest  = "max-sec/op"   //
	UnitAnswered = "answered"     // requests answered with 200, whose latencies these are
	UnitUnserved = "not-answered" // requests with any other outcome
)

// A load is how requests are made.
type load struct {
	name    string
	rate    int // requests per second, whatever becomes of those before; 0: each connection its next one as soon as it has an answer
	workers uint64
}

// loads are the same on every machine, so that figures compare. At the rate given no machine is busy: its latencies are
// those of a server, not of a queue.
func loads() []load {
	return []load{{name: "16 connections", workers: 16}, {name: "500 per second", rate: 500, workers: 64}}
}

// The length of a run, and of what goes before it, which fills caches and connections and is not counted.
const (
	serveRun    = time.Second
	serveWarmup = 200 * time.Millisecond
)

// A handler is one of testdata/serve, and what it is sent.
type handler struct {
	name, method string
	body         []byte
}

func handlers() []handler {
	type line struct {
		Article string  `json:"article"`
		Count   int     `json:"count"`
		Price   float64 `json:"price"`
	}
	order := struct {
		ID       int       `json:"id"`
		Customer string    `json:"customer"`
		Placed   time.Time `json:"placed"`
		Lines    []line    `json:"lines"`
	}{ID: 4711, Customer: "Example Ltd", Placed: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	for i := range 20 {
		order.Lines = append(order.Lines, line{fmt.Sprintf("article %d", i), i + 1, float64(i) + 0.99})
	}
	body, err := json.Marshal(order)
	if err != nil {
		panic(err) // it has nothing that JSON lacks
	}
	return []handler{{"plain", http.MethodGet, nil}, {"json", http.MethodPost, body}, {"hash", http.MethodPost, bytes.Repeat([]byte("hallmark"), 2<<10)}}
}

// Serve measures how many requests a small net/http program of ours answers in a second, and how long each takes. Every
// run has a server process of its own.
//
// When ctx ends, the result has what was measured, and says that it is incomplete; if that is nothing, the error is the
// context's.
func Serve(ctx context.Context, o RunOptions) (*Result, error) {
	r := &Result{Kind: KindServe, Started: time.Now().UTC().Truncate(time.Second), Method: o.method()}
	dir, err := os.MkdirTemp("", "hallmark-serve-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	src := filepath.Join(dir, "serve")
	program, err := ownProgram(ctx, "serve", src)
	if err != nil {
		return nil, err
	}
	program.Description = "a net/http server with three handlers: a few bytes, JSON in and out, and the SHA-256 of 16 KiB"
	r.Programs = []Program{program}
	if r.Machine, err = ReadMachine(ctx, map[string]string{"source": src}); err != nil {
		return nil, err
	}
	o.log("compiling the server")
	binary, err := buildServer(ctx, src, dir)
	if err != nil {
		return nil, err
	}
	var trials []*trial
	for _, l := range loads() {
		for _, h := range handlers() {
			s := &Series{Status: Measured, Dimensions: Dimensions{{"program", "serve"}, {"scenario", l.name}, {"handler", h.name}}}
			unit := UnitRequests
			if l.rate > 0 {
				unit = UnitP50
			}
			trials = append(trials, &trial{series: s, unit: unit, run: func(ctx context.Context) (Sample, error) {
				return serveOnce(ctx, binary, h, l, serveRun)
			}})
		}
	}
	r.Incomplete = measureRounds(ctx, o.log, r.Method, trials)
	if err := r.finish(ctx, trials); err != nil {
		return nil, err
	}
	r.Notes = append(serveNotes(r), "the load is made on the machine of the server, and takes its share of the processors")
	r.Claims = []Claim{{ID: "C1-http", Text: "HTTP throughput in WSL2 is 8 to 15 % higher than on native Windows", Verdict: NotMeasurable,
		Why: "one machine says nothing of another: run mage benchServe on both, and mage benchCompare on their results"}}
	return r, nil
}

// buildServer compiles testdata/serve, without C so that it is one program everywhere.
func buildServer(ctx context.Context, src, dir string) (string, error) {
	binary := filepath.Join(dir, "server")
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	c := command{args: []string{"go", "build", "-o", binary}, dir: src, env: childEnv(ctx, "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off", "PWD="+src)}
	_, err := c.run(ctx)
	return binary, err
}

// serveOnce starts the server, puts it under load for some time, and stops it. A server that has answered another number
// of requests than were answered here is an error: something else was measured.
func serveOnce(ctx context.Context, binary string, h handler, l load, length time.Duration) (Sample, error) {
	s, err := startServer(ctx, binary)
	if err != nil {
		return nil, err
	}
	target := vegeta.Target{Method: h.method, URL: "http://" + s.address + "/" + h.name, Body: h.body}
	client := l.client()
	before := l.attack(ctx, client, target, serveWarmup)
	hits := l.attack(ctx, client, target, length)
	client.CloseIdleConnections()
	u, said, err := s.stop()
	if err != nil {
		return nil, err
	}
	sample, good := summarizeHits(hits)
	_, warm := summarizeHits(before)
	// A request that came to no good end may have come to the server or not.
	if all := len(hits) + len(before); said.Answered < good+warm || said.Answered > all {
		return nil, fmt.Errorf("of %d requests %d were answered, but the server has answered %d: another program answered, or asked", all, good+warm, said.Answered)
	}
	if good == 0 {
		return nil, fmt.Errorf("none of %d requests was answered: %s", len(hits), firstError(hits))
	}
	if u.cpu > 0 {
		sample[UnitCPU] = u.cpu / float64(said.Answered)
	}
	sample.addPeak(said.Peak, u, false)
	return sample, nil
}

// client keeps the connections of a run. It uses no proxy.
func (l load) client() *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxConnsPerHost: int(l.workers), MaxIdleConnsPerHost: int(l.workers)}}
}

// attack makes requests and returns what became of each.
func (l load) attack(ctx context.Context, client *http.Client, target vegeta.Target, length time.Duration) []*vegeta.Result {
	a := vegeta.NewAttacker(vegeta.Client(client), vegeta.Workers(l.workers), vegeta.MaxWorkers(l.workers), vegeta.MaxBody(0))
	stop := context.AfterFunc(ctx, func() { a.Stop() })
	defer stop()
	var hits []*vegeta.Result
	for h := range a.Attack(vegeta.NewStaticTargeter(target), vegeta.Rate{Freq: l.rate, Per: time.Second}, length, "") {
		h.Headers, h.Body = nil, nil
		hits = append(hits, h)
	}
	return hits
}

// summarizeHits counts the requests that were answered, and takes the percentiles of their latencies.
func summarizeHits(hits []*vegeta.Result) (Sample, int) {
	var latencies []float64
	var first, last time.Time
	for _, h := range hits {
		if h.Error != "" || h.Code != http.StatusOK {
			continue
		}
		latencies = append(latencies, h.Latency.Seconds())
		if first.IsZero() || h.Timestamp.Before(first) {
			first = h.Timestamp
		}
		if h.End().After(last) {
			last = h.End()
		}
	}
	n := len(latencies)
	s := Sample{UnitAnswered: float64(n), UnitUnserved: float64(len(hits) - n)}
	if n == 0 {
		return s, 0
	}
	slices.Sort(latencies)
	for _, p := range []struct {
		unit string
		rank float64
	}{{UnitP50, 0.5}, {UnitP90, 0.9}, {UnitP99, 0.99}, {UnitLongest, 1}} {
		s[p.unit] = percentile(latencies, p.rank)
	}
	if d := last.Sub(first).Seconds(); d > 0 {
		s[UnitRequests] = float64(n) / d
	}
	return s, n
}

// percentile returns the smallest of sorted values that is not below a part of them: the nearest rank.
func percentile(sorted []float64, part float64) float64 {
	return sorted[max(int(math.Ceil(part*float64(len(sorted))))-1, 0)]
}

func firstError(hits []*vegeta.Result) string {
	for _, h := range hits {
		if h.Error != "" {
			return h.Error
		}
	}
	return "no reason given"
}

// serveNotes says where requests were not answered, or not made as often as planned.
func serveNotes(r *Result) []string {
	var notes []string
	for _, s := range r.Series {
		failed := 0.0
		for _, v := range s.Values(UnitUnserved) {
			failed += v
		}
		if failed > 0 {
			notes = append(notes, fmt.Sprintf("%s: %.0f requests were not answered", s.Dimensions.words(), failed))
		}
		for _, l := range loads() {
			if got := Summarize(s.Values(UnitRequests)).Median; l.name == s.Dimensions.Get("scenario") && l.rate > 0 && got > 0 && got < 0.95*float64(l.rate) {
				notes = append(notes, fmt.Sprintf("%s: only %.0f requests were made each second; the latencies are those of a machine that is busy", s.Dimensions.words(), got))
			}
		}
	}
	return notes
}

// A server is a process of testdata/serve.
type server struct {
	address string
	in, out *os.File
	lines   *bufio.Reader
	ended   chan struct{}
	usage   usage
	err     error
	stderr  bytes.Buffer
}

// startServer starts the server and waits until it listens.
func startServer(ctx context.Context, binary string) (*server, error) {
	childIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, childOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, childIn.Close(), in.Close())
	}
	s := &server{in: in, out: out, lines: bufio.NewReader(out), ended: make(chan struct{})}
	cmd := exec.CommandContext(ctx, binary)
	cmd.Env = childEnv(ctx, "GOMAXPROCS=", "GOGC=", "GOMEMLIMIT=", "GODEBUG=")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = childIn, childOut, &s.stderr
	cmd.WaitDelay = killDelay
	go func() {
		s.usage, s.err = measure(cmd, nil)
		childIn.Close()
		childOut.Close()
		close(s.ended)
	}()
	line, err := s.lines.ReadString('\n')
	if err != nil {
		_, _, stopErr := s.stop()
		return nil, fmt.Errorf("the server did not start: %w", cmp.Or(stopErr, err))
	}
	s.address = strings.TrimSpace(line)
	return s, nil
}

// A serverCount is what the server says at its end.
type serverCount struct {
	Answered int
	Peak     int64 // bytes; 0: not known
}

// stop ends the server, and returns what it has used and what it says.
func (s *server) stop() (usage, serverCount, error) {
	s.in.Close()
	line, readErr := s.lines.ReadString('\n')
	<-s.ended
	s.out.Close()
	if s.err != nil {
		return s.usage, serverCount{}, &commandError{name: "the server", output: tail(s.stderr.Bytes()), err: s.err}
	}
	var count serverCount
	if err := cmp.Or(readErr, json.Unmarshal([]byte(line), &count)); err != nil {
		return s.usage, serverCount{}, fmt.Errorf("the server did not say how many requests it has answered: %w", err)
	}
	return s.usage, count, nil
}
