package bench

import (
	"bufio"
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
)

// The shim is a small program that stands in front of every tool that the go command runs. It is compiled from the sources
// embedded here, because there is nowhere else to have it from: this code runs inside a magefile, or a test.
//
//go:embed shim/main.go shim/peak_unix.go shim/peak_other.go
var shimSource embed.FS

// buildShim compiles the shim in a folder, and returns its path.
func buildShim(ctx context.Context, dir string) (string, error) {
	src := filepath.Join(dir, "src")
	if err := os.MkdirAll(src, 0o777); err != nil {
		return "", err
	}
	entries, err := fs.ReadDir(shimSource, "shim")
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		data, err := fs.ReadFile(shimSource, path.Join("shim", e.Name()))
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(src, e.Name()), data, 0o666); err != nil {
			return "", err
		}
	}
	if err := os.WriteFile(filepath.Join(src, "go.mod"), []byte("module shim\n\ngo 1.24\n"), 0o666); err != nil {
		return "", err
	}
	exe := filepath.Join(dir, "hallmark-shim")
	if runtime.GOOS == "windows" {
		exe += ".exe"
	}
	c := command{args: []string{"go", "build", "-trimpath", "-buildvcs=false", "-o", exe, "."}, dir: src,
		env: childEnv(ctx, "PWD="+src, "GOWORK=off", "GOFLAGS=", "CGO_ENABLED=0", "GOOS="+runtime.GOOS, "GOARCH="+runtime.GOARCH)}
	if _, err := c.run(ctx); err != nil {
		return "", fmt.Errorf("compiling the shim for instrumented runs: %w", err)
	}
	return exe, nil
}

// shimmed returns a go build command as an instrumented run makes it: with the shim in front of Go's tools and, by links in
// the folder dir, of the C compilers. It appends to the file log.
func (t *toolchain) shimmed(c command, shim, dir, log string) (command, error) {
	if err := os.WriteFile(log, nil, 0o666); err != nil {
		return command{}, err
	}
	c.args = append([]string{"go", "build", "-toolexec=" + shim}, c.args[2:]...)
	env := append([]string{}, c.env...)
	env = append(env, "HALLMARK_SHIM_LOG="+log)
	if t.cc != nil {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return command{}, err
		}
		path := lastValue(env, "PATH")
		for _, name := range []string{lastValue(env, "CC"), lastValue(env, "CXX")} {
			if err := os.Symlink(shim, filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrExist) {
				return command{}, err
			}
		}
		env = append(env, "HALLMARK_SHIM_PATH="+path, "PATH="+dir+string(os.PathListSeparator)+path)
	}
	c.env = env
	return c, nil
}

// lastValue returns what a process with this environment sees of a variable.
func lastValue(env []string, name string) string {
	for i := len(env) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(env[i], name+"="); ok {
			return v
		}
	}
	return os.Getenv(name)
}

// shimRecord is one line of the shim's log; see shim/main.go.
type shimRecord struct {
	Tool, Under, Kind string
	Wall, CPU         float64
	Peak, Caller      int64
}

// readShimLog reads the log of one build.
func readShimLog(data []byte) ([]shimRecord, error) {
	var records []shimRecord
	sc := bufio.NewScanner(bytes.NewReader(data))
	for sc.Scan() {
		var r shimRecord
		d := json.NewDecoder(bytes.NewReader(sc.Bytes()))
		d.DisallowUnknownFields()
		if err := d.Decode(&r); err != nil {
			return nil, fmt.Errorf("the shim's log: %w", err)
		}
		if r.Wall < 0 || r.CPU < 0 || r.Peak < 0 || r.Caller < 0 || r.Tool == "" {
			return nil, fmt.Errorf("the shim's log: %s took %v s, %v s of CPU and %d bytes", r.Tool, r.Wall, r.CPU, r.Peak)
		}
		records = append(records, r)
	}
	return records, sc.Err()
}

// phaseOf returns the phase that a tool belongs to.
func (r shimRecord) phaseOf() Phase {
	switch {
	case r.Kind == "version":
		return PhaseOther
	case r.Tool == "cc" && r.Under == "link" && r.Kind == "final":
		return PhaseHostLink
	case r.Tool == "cc" && r.Under == "link":
		return PhaseProbes
	case r.Tool == "cc" && r.Under == "cgo":
		return PhaseCgo
	case r.Tool == "cc" && r.Kind == "compile":
		return PhaseCC
	case r.Tool == "cc" && r.Kind == "link", r.Tool == "compile", r.Tool == "asm", r.Tool == "pack":
		return PhaseCompile
	case r.Tool == "cgo":
		return PhaseCgo
	case r.Tool == "link":
		return PhaseGoLink
	}
	return PhaseOther
}

// profileSample returns what the shim has seen of one build: for each phase, and for the link as a whole, the sum of what
// its processes took, and the largest of their memory. (Where processes ran side by side, the sum is more than the time
// that passed.)
func profileSample(records []shimRecord) Sample {
	wall, cpu, peak := map[Phase]float64{}, map[Phase]float64{}, map[Phase]int64{}
	for _, r := range records {
		p := r.phaseOf()
		switch {
		case p == PhaseCgo && r.Tool == "cc":
			// Its time is part of the cgo tool's, which waits for it.
		default:
			wall[p] += r.Wall
			cpu[p] += r.CPU
		}
		// The kernel counts a process and those that it waited for in one. Of the Go linker it is known what it alone had
		// taken when it ran the C compiler.
		if p == PhaseGoLink {
			wall[PhaseLink], cpu[PhaseLink] = wall[PhaseLink]+r.Wall, cpu[PhaseLink]+r.CPU
			peak[PhaseLink] = max(peak[PhaseLink], r.Peak)
			continue
		}
		peak[p] = max(peak[p], r.Peak)
		if p == PhaseHostLink || p == PhaseProbes {
			wall[PhaseGoLink] -= r.Wall
			cpu[PhaseGoLink] -= r.CPU
			peak[PhaseGoLink] = max(peak[PhaseGoLink], r.Caller)
		}
	}
	// Where the Go linker is alone, or larger than what it ran.
	if peak[PhaseLink] > max(peak[PhaseHostLink], peak[PhaseProbes]) {
		peak[PhaseGoLink] = peak[PhaseLink]
	}
	s := Sample{}
	for p, v := range wall {
		if p == PhaseOther {
			continue
		}
		s[p.Unit()], s[p.CPUUnit()] = max(0, v), max(0, cpu[p])
		if peak[p] > 0 {
			s[p.PeakUnit()] = float64(peak[p])
		}
	}
	return s
}
