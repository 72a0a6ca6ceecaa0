package bench

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/perf/benchfmt"
)

// GoBenchmarks returns the samples in the Go benchmark format (golang.org/design/14313-benchmark-format), a line for each
// timed run, so that benchstat and its like read them:
//
//	benchstat -col /linker -row /target,/compiler -filter '/scenario:relink' toolchains.txt
//
// Names are Build, or what else the kind is, with the dimensions as sub-names. Instrumented runs are named Profile.
func (r *Result) GoBenchmarks() ([]byte, error) {
	name := map[Kind]string{KindToolchains: "Build", KindRace: "Race", KindServe: "Serve"}[r.Kind]
	if name == "" {
		return nil, fmt.Errorf("results of kind %s have no name among benchmarks", r.Kind)
	}
	var config []benchfmt.Config
	add := func(key, value string) {
		if value = strings.Join(strings.Fields(value), " "); value != "" {
			config = append(config, benchfmt.Config{Key: key, Value: []byte(value), File: true})
		}
	}
	add("goos", r.Machine.OS)
	add("goarch", r.Machine.Arch)
	add("cpu", r.Machine.CPU)
	add("kernel", r.Machine.Kernel)
	add("wsl", fmt.Sprint(r.Machine.WSL))
	add("go", r.Machine.Go)
	for _, f := range r.Machine.FileSystems {
		add("fs-"+strings.ToLower(f.Role), f.Type)
	}
	for _, p := range r.Programs {
		add("sources-"+strings.ToLower(p.Name), p.Digest)
	}
	add("seed", fmt.Sprint(r.Method.Seed))
	add("incomplete", r.Incomplete)
	var b bytes.Buffer
	w := benchfmt.NewWriter(&b)
	write := func(name string, d Dimensions, samples []Sample) error {
		for _, s := range samples {
			res := &benchfmt.Result{Config: slices.Clone(config), Name: benchfmt.Name(name + "/" + d.String()), Iters: 1}
			for _, unit := range units([]Sample{s}) {
				res.Values = append(res.Values, benchfmt.Value{Value: s[unit], Unit: unit})
			}
			// sec/op first, as benchmarks are read by people too.
			slices.SortStableFunc(res.Values, func(a, b benchfmt.Value) int { return rank(a.Unit) - rank(b.Unit) })
			if err := w.Write(res); err != nil {
				return err
			}
		}
		return nil
	}
	for _, s := range r.Series {
		if s.Status != Measured {
			continue
		}
		if err := write(name, s.Dimensions, s.Samples); err != nil {
			return nil, err
		}
	}
	for _, s := range r.Series {
		if err := write("Profile", s.Dimensions, s.Profile); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

func rank(unit string) int {
	if i := slices.Index([]string{UnitWall, UnitCPU, UnitPeak}, unit); i >= 0 {
		return i
	}
	return 3
}
