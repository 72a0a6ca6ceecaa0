package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// The action graph is what go build -debug-actiongraph=FILE writes: a JSON array with an object for each action. Of its
// members are used here:
//
//	Mode       what it does: "cgo run", "cgo compile FILE", "build" (compile a Go package), "link", and others that run nothing
//	TimeStart  RFC 3339, with nanoseconds; missing or zero when the action did not run
//	TimeDone
//	CmdUser    nanoseconds of user time of the processes that it ran and waited for
//	CmdSys     and of system time
//
// The go command writes the file twice, first without times, so that a build that is killed leaves such a one. Go 1.25
// and older do not tell the actions of cgo from "build".

// maxGraph bounds the action graph, in bytes. Kubernetes' has 20 MiB.
const maxGraph = 512 << 20

// maxAction is longer than any action lasts.
const maxAction = 30 * 24 * time.Hour

type action struct {
	Mode      string
	TimeStart time.Time
	TimeDone  time.Time
	CmdUser   time.Duration
	CmdSys    time.Duration
}

// phase returns the phase that an action belongs to.
func (a action) phase() Phase {
	switch {
	case a.Mode == "cgo run":
		return PhaseCgo
	case strings.HasPrefix(a.Mode, "cgo compile "):
		return PhaseCC
	case a.Mode == "build":
		return PhaseCompile
	case a.Mode == "link":
		return PhaseLink
	}
	return PhaseOther
}

// readGraph reads an action graph. It refuses one whose times cannot be.
func readGraph(r io.Reader) ([]action, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxGraph+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxGraph {
		return nil, fmt.Errorf("action graph of more than %d bytes", maxGraph)
	}
	var actions []action
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&actions); err != nil {
		return nil, fmt.Errorf("action graph: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("action graph: more than one JSON value")
	}
	for i, a := range actions {
		if a.TimeStart.IsZero() != a.TimeDone.IsZero() || a.TimeDone.Before(a.TimeStart) || a.TimeDone.Sub(a.TimeStart) > maxAction {
			return nil, fmt.Errorf("action graph: action %d (%s) starts at %v and ends at %v", i, a.Mode, a.TimeStart, a.TimeDone)
		}
		if a.CmdUser < 0 || a.CmdSys < 0 {
			return nil, fmt.Errorf("action graph: action %d (%s) used %v of user and %v of system time", i, a.Mode, a.CmdUser, a.CmdSys)
		}
	}
	return actions, nil
}

// phaseTimes returns for each phase its wall-clock time, each moment shared by the actions that run in it, and its CPU
// time, both in seconds. Moments without an action are in no phase.
func phaseTimes(actions []action) (wall, cpu map[Phase]float64) {
	type edge struct {
		at    time.Time
		phase Phase
		start bool
	}
	wall, cpu = make(map[Phase]float64), make(map[Phase]float64)
	var edges []edge
	for _, a := range actions {
		p := a.phase()
		cpu[p] += a.CmdUser.Seconds() + a.CmdSys.Seconds()
		// What runs no process takes microseconds, and would take its share of a moment from those that do.
		if p == PhaseOther || a.TimeStart.IsZero() {
			continue
		}
		edges = append(edges, edge{a.TimeStart, p, true}, edge{a.TimeDone, p, false})
	}
	slices.SortStableFunc(edges, func(a, b edge) int { return a.at.Compare(b.at) })
	active := make(map[Phase]int)
	total := 0
	for i, e := range edges {
		if i > 0 && total > 0 {
			span := e.at.Sub(edges[i-1].at).Seconds()
			for p, n := range active {
				wall[p] += span * float64(n) / float64(total)
			}
		}
		if e.start {
			active[e.phase]++
			total++
		} else {
			active[e.phase]--
			total--
		}
	}
	return wall, cpu
}

// tellsCgo reports whether the actions of cgo are told from others, as from Go 1.26 on.
func tellsCgo(actions []action) bool {
	return slices.ContainsFunc(actions, func(a action) bool { p := a.phase(); return p == PhaseCgo || p == PhaseCC })
}
