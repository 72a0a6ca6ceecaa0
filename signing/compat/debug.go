package compat

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/rpc"
	"net/rpc/jsonrpc"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Debugs is the scheme of the judge that asks whether a file can still be
// debugged.
const Debugs = "debug"

//go:embed debugged/debugged.go
var debuggedSource string

// DebuggedFile is what the source of DebuggedSource has to be called.
const DebuggedFile = "debugged.go"

// DebuggedSource is the program, of one file of package main without
// requirements, whose builds Debug and Profile take. It needs Go 1.22.
func DebuggedSource() string { return debuggedSource }

// DebugTarget is a build of DebuggedSource for this machine.
type DebugTarget struct {
	File   string
	Rounds int // of the program; each reaches 20 lines four times. 0: 5
}

// DebuggedLine is one line with a breakpoint.
type DebuggedLine struct {
	Line int `json:"line"`
	Hits int `json:"hits"` // how often the debugger says that it was hit
	Runs int `json:"runs"` // how often the program says that it ran
}

// DebuggedView is what the debugger saw at one stop.
type DebuggedView struct {
	Seen    int     `json:"seen"`    // goroutines, without those of the runtime
	Own     int     `json:"own"`     // by the program's own account
	Seconds float64 `json:"seconds"` // from the debugger's word that the program stopped to its list of goroutines
	Memory  bool    `json:"memory"`  // 64 KiB at an address are, byte for byte, what the program says that they are
	Torn    bool    `json:"torn"`    // 32 KiB that a goroutine was writing are not of one moment
}

// Debugging is what a debugger made of a program, against what the program says
// of itself.
type Debugging struct {
	Debugger string         `json:"debugger"` // name and version
	Lines    []DebuggedLine `json:"lines"`    // those on which a breakpoint could be set
	Unset    []int          `json:"unset,omitempty"`
	Views    []DebuggedView `json:"views"` // one a round
}

// Hits returns how often breakpoints were hit, and how often their lines ran.
func (d Debugging) Hits() (hits, runs int) {
	for _, l := range d.Lines {
		hits, runs = hits+l.Hits, runs+l.Runs
	}
	return hits, runs
}

// dlv is Delve. Versions before 1.25 do not read the debug information of Go 1.25.
func dlv() program {
	return program{
		name: "dlv", pkg: "none: `mage setup` builds it", built: "dlv@v1.27.2",
		version: []string{"version"}, match: regexp.MustCompile(`Version: (\S+)`),
	}
}

// debuggedMarks returns the lines of DebuggedSource with a comment of this
// one word, from 1.
func debuggedMarks(word string) []int {
	var found []int
	n := 0
	for line := range strings.Lines(debuggedSource) {
		n++
		if strings.HasSuffix(line, " // "+word+"\n") {
			found = append(found, n)
		}
	}
	return found
}

// Debug runs the program under Delve, without its terminal: over its JSON-RPC
// interface breakpoints are set, each stop is counted, and at one stop a round
// the goroutines are listed and memory is read. An error is one of the kinds that
// Judge.Verify returns; a program without debug information is a RefusalError.
func Debug(ctx context.Context, t DebugTarget) (_ Debugging, err error) {
	if t.Rounds == 0 {
		t.Rounds = 5
	}
	version, err := dlv().find(ctx)
	if err != nil {
		return Debugging{}, err
	}
	s, err := startDelve(ctx, t)
	if err != nil {
		return Debugging{}, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	d, err := s.debug(ctx, t)
	d.Debugger = "dlv " + version
	var refusal *RefusalError
	if err != nil && ctx.Err() != nil {
		err = &CrashError{Tool: "dlv", Reason: "no answer within the time limit; killed with its children", Output: s.said()}
	} else if err != nil && !errors.As(err, &refusal) {
		err = &UnclearError{Tool: "dlv", Reason: short(err.Error()), Output: s.said()}
	}
	return d, err
}

// delve is one debugger and the program in it.
type delve struct {
	program
	cmd    *exec.Cmd
	dir    string
	client *rpc.Client

	mu     sync.Mutex
	lines  []string // what the debugger and the program have printed
	closed bool     // and that is all
}

// startDelve starts the debugger on a socket in a folder of its own, which is
// its home too: it writes its settings there.
func startDelve(ctx context.Context, t DebugTarget) (*delve, error) {
	p := dlv()
	key, err := p.key()
	if err != nil {
		return nil, err
	}
	file, err := filepath.Abs(t.File)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "hallmark-dlv-*")
	if err != nil {
		return nil, err
	}
	s := &delve{program: p, dir: dir}
	socket := filepath.Join(dir, "socket")
	s.cmd = exec.CommandContext(ctx, key.Path, "exec", file, "--headless", "--listen=unix:"+socket, "--", strconv.Itoa(t.Rounds))
	s.cmd.Env = append(environment(), "HOME="+dir, "XDG_CONFIG_HOME="+dir)
	s.cmd.WaitDelay = waitDelay
	ownGroup(s.cmd)
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	s.cmd.Stderr = s.cmd.Stdout
	if err := s.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("starting dlv: %w", err), os.RemoveAll(dir))
	}
	go func() {
		for in := bufio.NewScanner(out); in.Scan(); {
			s.mu.Lock()
			if len(s.lines) < 1<<16 {
				s.lines = append(s.lines, in.Text())
			}
			s.mu.Unlock()
		}
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
	}()
	if _, err := s.wait(ctx, `API server listening`); err != nil {
		return nil, errors.Join(s.startError(err), s.close())
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		_, ended := s.wait(ctx, `^this line never comes$`) // it listens, and then looks at the program
		return nil, errors.Join(s.startError(errors.Join(err, ended)), s.close())
	}
	s.client = jsonrpc.NewClient(conn)
	context.AfterFunc(ctx, func() { conn.Close() })
	return s, nil
}

// startError says why the debugger did not begin.
func (s *delve) startError(err error) error {
	said := s.said()
	for _, words := range []string{"could not open debug info", "could not launch process: not an executable file", "exec format error", "no debug info found"} {
		if strings.Contains(strings.ToLower(said), words) {
			return &RefusalError{Judge: s.name, Reason: short(last(said)), Output: said}
		}
	}
	return &UnclearError{Tool: s.name, Reason: short(err.Error()), Output: said}
}

func (s *delve) said() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return answer{stdout: strings.Join(s.lines, "\n")}.quote()
}

// wait returns the groups of the first line that matches, when it has come.
func (s *delve) wait(ctx context.Context, pattern string) ([]string, error) {
	re := regexp.MustCompile(pattern)
	for {
		s.mu.Lock()
		lines, closed := s.lines, s.closed
		s.mu.Unlock()
		for _, l := range lines {
			if m := re.FindStringSubmatch(l); m != nil {
				return m, nil
			}
		}
		if closed {
			return nil, fmt.Errorf("it ended without a line %q", pattern)
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// close ends debugger and program: the latter has a group of its own.
func (s *delve) close() error {
	if s.client != nil {
		s.client.Close()
	}
	killGroup(s.cmd)
	killMarked("XDG_CONFIG_HOME=" + s.dir)
	_ = s.cmd.Wait()
	return os.RemoveAll(s.dir)
}

// The parts that are needed of Delve's API, version 2 (service/api/types.go,
// service/rpc2/server.go).
type (
	delveBreakpoint struct {
		ID            int    `json:"id"`
		File          string `json:"file"`
		Line          int    `json:"line"`
		TotalHitCount int    `json:"totalHitCount"`
	}
	delveState struct {
		Exited  bool `json:"exited"`
		Threads []struct {
			Breakpoint *delveBreakpoint `json:"breakPoint"`
		}
	}
	delveScope struct{ GoroutineID int }
)

func (s *delve) call(method string, in, out any) error {
	if err := s.client.Call("RPCServer."+method, in, out); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	return nil
}

// breakAt sets a breakpoint, and returns its number.
func (s *delve) breakAt(line int) (int, error) {
	var found struct {
		Locations []struct {
			File string `json:"file"`
			Line int    `json:"line"`
		}
	}
	where := DebuggedFile + ":" + strconv.Itoa(line)
	if err := s.call("FindLocation", map[string]any{"Scope": delveScope{-1}, "Loc": where}, &found); err != nil {
		return 0, err
	}
	if len(found.Locations) != 1 || found.Locations[0].Line != line {
		return 0, fmt.Errorf("FindLocation: %s is at %d places", where, len(found.Locations))
	}
	var made struct{ Breakpoint delveBreakpoint }
	err := s.call("CreateBreakpoint", map[string]any{"Breakpoint": delveBreakpoint{File: found.Locations[0].File, Line: line}}, &made)
	return made.Breakpoint.ID, err
}

// debug sets the breakpoints, and goes from stop to stop.
func (s *delve) debug(ctx context.Context, t DebugTarget) (Debugging, error) {
	var d Debugging
	stops := map[int]int{} // number of a breakpoint → index in Lines
	for _, line := range debuggedMarks("stop") {
		id, err := s.breakAt(line)
		if err != nil {
			d.Unset = append(d.Unset, line)
			continue
		}
		stops[id] = len(d.Lines)
		d.Lines = append(d.Lines, DebuggedLine{Line: line})
	}
	check, err := s.breakAt(debuggedMarks("check")[0])
	if err != nil {
		return d, &RefusalError{Judge: s.name, Reason: short("no breakpoint can be set: " + err.Error())}
	}
	end, err := s.breakAt(debuggedMarks("end")[0])
	if err != nil {
		return d, &RefusalError{Judge: s.name, Reason: short("no breakpoint can be set: " + err.Error())}
	}
	for {
		var reply struct{ State delveState }
		if err := s.call("Command", map[string]any{"name": "continue"}, &reply); err != nil {
			return d, err
		}
		stopped := time.Now()
		if reply.State.Exited {
			return d, errors.New("the program ended before its last line, without having been stopped there")
		}
		for _, thread := range reply.State.Threads {
			switch {
			case thread.Breakpoint == nil:
			case thread.Breakpoint.ID == check:
				v, err := s.view(ctx, len(d.Views), stopped)
				if err != nil {
					return d, err
				}
				d.Views = append(d.Views, v)
			case thread.Breakpoint.ID == end:
				return d, s.count(ctx, &d, stops)
			}
		}
	}
}

// count reads how often each breakpoint was hit, and how often each line ran.
func (s *delve) count(ctx context.Context, d *Debugging, stops map[int]int) error {
	var all struct{ Breakpoints []delveBreakpoint }
	if err := s.call("ListBreakpoints", map[string]any{"All": false}, &all); err != nil {
		return err
	}
	m, err := s.wait(ctx, `^debugged: counts((?: \d{1,9}){20})$`)
	if err != nil {
		return err
	}
	runs := strings.Fields(m[1])
	marks := debuggedMarks("stop")
	for _, b := range all.Breakpoints {
		i, ok := stops[b.ID]
		if !ok {
			continue
		}
		d.Lines[i].Hits = b.TotalHitCount
		for j, line := range marks {
			if line == d.Lines[i].Line {
				d.Lines[i].Runs, _ = strconv.Atoi(runs[j])
			}
		}
	}
	return nil
}

// view looks at the program where it has been stopped.
func (s *delve) view(ctx context.Context, round int, stopped time.Time) (DebuggedView, error) {
	const goroutineUser = 7 // api.GoroutineUser: not one of the runtime's
	var list struct{ Goroutines []struct{ ID int64 } }
	err := s.call("ListGoroutines", map[string]any{"Start": 0, "Count": 0, "Filters": []map[string]any{{"Kind": goroutineUser}}}, &list)
	if err != nil {
		return DebuggedView{}, err
	}
	v := DebuggedView{Seen: len(list.Goroutines), Seconds: time.Since(stopped).Seconds()}
	m, err := s.wait(ctx, fmt.Sprintf(`^debugged: round %d goroutines (\d+) (\d+)$`, round))
	if err != nil {
		return v, err
	}
	v.Own, _ = strconv.Atoi(m[1])
	if m[1] != m[2] {
		return v, fmt.Errorf("the program counts %s goroutines and its runtime %s", m[1], m[2])
	}
	fixed, err := s.wait(ctx, `^debugged: fixed (\d+) (\d+) ([0-9a-f]{64})$`)
	if err != nil {
		return v, err
	}
	memory, err := s.memory(fixed[1], fixed[2])
	if err != nil {
		return v, err
	}
	sum := sha256.Sum256(memory)
	v.Memory = hex.EncodeToString(sum[:]) == fixed[3]
	moving, err := s.wait(ctx, `^debugged: moving (\d+) (\d+)$`)
	if err != nil {
		return v, err
	}
	if memory, err = s.memory(moving[1], moving[2]); err != nil {
		return v, err
	}
	v.Torn = torn(memory)
	return v, nil
}

// delvePart is how much memory is asked for at a time.
const delvePart = 4 << 10

// memory reads the program's memory.
func (s *delve) memory(address, length string) ([]byte, error) {
	at, err := strconv.ParseUint(address, 10, 64)
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(length)
	if err != nil || n > 1<<20 {
		return nil, fmt.Errorf("reading memory: %q bytes", length)
	}
	var all bytes.Buffer
	for all.Len() < n {
		var out struct{ Mem []byte }
		part := min(n-all.Len(), delvePart)
		if err := s.call("ExamineMemory", map[string]any{"Address": at + uint64(all.Len()), "Length": part}, &out); err != nil {
			return nil, err
		}
		if len(out.Mem) != part {
			return nil, fmt.Errorf("reading memory: %d bytes of %d", len(out.Mem), part)
		}
		all.Write(out.Mem)
	}
	return all.Bytes(), nil
}

// torn says whether words were read at different moments of a writer that goes
// over them from the first to the last, and writes a number that is one more
// each time.
func torn(memory []byte) bool {
	first := binary.LittleEndian.Uint64(memory)
	before := false
	for i := 0; i+8 <= len(memory); i += 8 {
		switch v := binary.LittleEndian.Uint64(memory[i:]); {
		case v == first && !before:
		case v == first-1:
			before = true
		default:
			return true
		}
	}
	return false
}
