package boundaries

import (
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/hallmark-build/hallmark/build"
	"github.com/hallmark-build/hallmark/build/environ"
	"github.com/hallmark-build/hallmark/signing/compat"
)

// observation is what debugger and profiler made of signed programs.
type observation struct {
	Inputs   string          `json:"inputs"`
	Evidence compat.Evidence `json:"evidence"`
}

// rounds of the debugged program for each file; each reaches 20 lines four times.
const rounds = 5

// observe debugs and profiles a program as it was built and as it was signed, if
// the filter wants Delve or pprof. An earlier observation of the same by the same
// tools stands.
func (r *run) observe(ctx context.Context) error {
	if r.judges != nil || !r.filter.wantsJudge("delve") || !r.filter.wantsArtifact(artifact{name: "elf-debugged"}) || !r.filter.wants(spec{artifact: artifact{name: "elf-debugged"}, scheme: scheme{name: "appended"}, key: baseKey, digest: baseDigest, op: none}) {
		return nil
	}
	dir := filepath.Join(r.Work, "debugged")
	inputs := fmt.Sprintf("observation 1 %s %s %s", r.readers, r.maker.sources, goVersion())
	file := filepath.Join(r.Work, "observed.json")
	if data, err := os.ReadFile(file); err == nil && !r.Fresh {
		o := new(observation)
		if build.DecodeJSON(data, o) == nil && o.Inputs == inputs {
			r.observed = o
			return nil
		}
	}
	r.say("debugging and profiling a program before and after it is signed")
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	builds, err := r.buildDebugged(ctx, dir)
	if err != nil {
		return fmt.Errorf("the program that is debugged: %w", err)
	}
	e, err := compat.Observe(ctx, builds)
	if err != nil {
		return err
	}
	r.observed = &observation{Inputs: inputs, Evidence: e}
	for _, o := range e.Observations {
		if o.Err != "" { // what could not be asked may be there next time
			return nil
		}
	}
	data, err := json.Marshal(r.observed)
	if err != nil {
		return err
	}
	return writeFile(file, data)
}

// buildDebugged builds the program for both systems, and signs it in each way.
func (r *run) buildDebugged(ctx context.Context, dir string) (compat.Builds, error) {
	b := compat.Builds{ELF: filepath.Join(dir, "debugged"), PE: filepath.Join(dir, "debugged.exe"), Rounds: rounds,
		ELFAfter: map[string]string{}, PEAfter: map[string]string{}}
	source := filepath.Join(dir, "source")
	if err := os.MkdirAll(source, 0o755); err != nil {
		return b, err
	}
	for name, text := range map[string]string{compat.DebuggedFile: compat.DebuggedSource(), "go.mod": "module debugged\n\ngo 1.24\n"} {
		if err := os.WriteFile(filepath.Join(source, name), []byte(text), 0o644); err != nil {
			return b, err
		}
	}
	for goos, file := range map[string]string{"linux": b.ELF, "windows": b.PE} {
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-o", file, ".")
		cmd.Dir = source
		cmd.Env = environ.Tools(ctx, "GOOS="+goos, "GOARCH=amd64", "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Run(); err != nil {
			return b, fmt.Errorf("go build: %w: %s", err, strings.TrimSpace(out.String()))
		}
	}
	if err := r.maker.open(); err != nil {
		return b, err
	}
	k, ts := r.maker.world.key(baseKey), r.maker.world.stamps(time.Time{})
	sign := func(from, to string, s scheme) (string, error) {
		to = filepath.Join(dir, to)
		_, err := s.embedded(crypto.SHA256).Sign(ctx, from, to, k, ts)
		return to, err
	}
	var err error
	for _, name := range []string{"appended", "section"} {
		if b.ELFAfter[name], err = sign(b.ELF, "debugged-"+name, schemeNamed(name)); err != nil {
			return b, err
		}
	}
	split := filepath.Join(dir, "debugged-split")
	if err := compat.SplitDebug(ctx, b.ELF, split); err != nil {
		return b, err
	}
	// In its place: the link to the symbol file is by name, in the same folder.
	if b.ELFAfter["appended, stripped, with symbol file"], err = sign(split, "debugged-split", schemeNamed("appended")); err != nil {
		return b, err
	}
	for _, name := range []string{"authenticode", "page-hashes"} {
		if b.PEAfter[name], err = sign(b.PE, "debugged-"+name+".exe", schemeNamed(name)); err != nil {
			return b, err
		}
	}
	return b, nil
}

// observedCells are the cells of Delve and pprof.
func (r *run) observedCells() []*cell {
	if r.observed == nil {
		return nil
	}
	var cells []*cell
	for _, o := range r.observed.Evidence.Observations {
		sp := spec{artifact: artifact{name: "elf-debugged", format: formatELF}, scheme: scheme{name: o.Case}, key: baseKey, digest: baseDigest, op: none}
		if o.Windows {
			sp.artifact = artifact{name: "pe-debugged", format: formatPE}
		}
		switch o.Case {
		case "as built":
			sp.scheme.name, sp.op = "none", "unsigned"
			sp.key, sp.digest = "", ""
		case "appended, stripped, with symbol file":
			sp.scheme.name, sp.op = "appended", "symbol-file"
		}
		add := func(judge, scheme, version string, figures map[string]float64, good bool, why string) {
			x := &cell{c: &fileCase{spec: sp}, judge: compat.Judge{Name: judge, Scheme: scheme}, done: true}
			x.answer.Figures = figures
			x.answer.Result = compat.Result{Judge: judge, Scheme: scheme, Version: version, Got: Accept}
			switch {
			case figures == nil:
				x.answer.Result.Got, x.answer.Result.Status, x.answer.Result.Reason = "", compat.Skip, o.Err
			case !good:
				x.answer.Result.Got, x.answer.Result.Reason = Refuse, why
			}
			cells = append(cells, x)
		}
		if !o.Windows {
			var figures map[string]float64
			version := ""
			if d := o.Debugging; d != nil {
				hits, runs := d.Hits()
				right := 0
				for _, v := range d.Views {
					if v.Seen == v.Own && v.Memory && !v.Torn {
						right++
					}
				}
				version = d.Debugger
				figures = map[string]float64{"breakpoints hit": float64(hits), "breakpoints passed": float64(runs), "stops": float64(len(d.Views)), "stops with every goroutine and memory right": float64(right)}
			}
			add("delve", compat.Debugs, version, figures, o.Worse == "", o.Worse)
		}
		var figures map[string]float64
		good := false
		if p := o.Profiling; p != nil {
			figures = map[string]float64{"places in the profile": float64(p.Frames), "places found in the file": float64(p.Right)}
			good = p.Right == p.Frames && p.Frames > 0
		}
		add("pprof", compat.Profiles, goVersion(), figures, good, "places of the profile are not found in the file")
	}
	return cells
}
