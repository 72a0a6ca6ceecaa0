package compat

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// Profiling is what go tool pprof makes of a CPU profile.
type Profiling struct {
	Frames  int      `json:"frames"`            // places in the program that the profile names
	Carried int      `json:"carried"`           // that have a name in the profile as the program wrote it
	Right   int      `json:"right"`             // that get the same file and line from the program file, after all names were taken out of the profile
	Wrong   []string `json:"wrong,omitempty"`   // the others: address, name by the program, name by the file
	Foreign int      `json:"foreign,omitempty"` // places outside of the program: system libraries
}

// Profile runs recorded, a build of DebuggedSource, with its CPU profiler: on this
// machine, or under Wine. The profile that it writes holds the names of its
// functions. These are taken out, and go tool pprof has to find the same ones in
// the file symbols alone, which may be recorded, or that program after signing. To
// find names is not enough: it finds some in any program that it is given.
// Nothing but the caller's own files may be given.
func Profile(ctx context.Context, recorded, symbols string) (_ Profiling, err error) {
	dir, err := os.MkdirTemp("", "hallmark-profile-*")
	if err != nil {
		return Profiling{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	file := filepath.Join(dir, "cpu.pprof")
	if err := record(ctx, recorded, file); err != nil {
		return Profiling{}, err
	}
	return symbolize(ctx, dir, file, symbols)
}

// record runs the program.
func record(ctx context.Context, recorded, file string) error {
	const words = "debugged: profile"
	k, err := readKind(recorded)
	if err != nil {
		return err
	}
	path, err := filepath.Abs(recorded)
	if err != nil {
		return err
	}
	switch k.judge() {
	case runNative:
		p := program{name: runNative}
		a, err := p.start(ctx, path, "profile", file)
		return p.read(a, err, words)
	case runWine:
		exe, err := winePath(path)
		if err != nil {
			return err
		}
		out, err := winePath(file)
		if err != nil {
			return err
		}
		a, err := wineTool().guest(ctx, exe, "profile", out)
		return wineTool().read(a, err, words)
	}
	return &LimitError{Judge: "pprof", Limit: "only programs for this machine and Windows programs for a console are profiled"}
}

// pprofTool is go tool pprof, which newer distributions of Go build when it is
// first needed.
func pprofTool(dir string) program {
	env := []string{"PPROF_TMPDIR=" + dir, "PPROF_BINARY_PATH=" + dir, "GOFLAGS=", "GOWORK=off"}
	for _, name := range []string{"HOME", "GOROOT", "GOCACHE", "GOTOOLCHAIN"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return program{name: "go", pkg: "golang-go", env: env}
}

// symbolize asks go tool pprof twice: for the names in the profile, and, when
// there are none, for those in the file.
func symbolize(ctx context.Context, dir, profile, symbols string) (Profiling, error) {
	data, err := os.ReadFile(profile)
	if err != nil {
		return Profiling{}, err
	}
	bare, err := nameless(data)
	if err != nil {
		return Profiling{}, fmt.Errorf("reading a CPU profile: %w", err)
	}
	barePath := filepath.Join(dir, "nameless.pprof")
	if err := os.WriteFile(barePath, bare, 0o600); err != nil {
		return Profiling{}, err
	}
	if symbols, err = filepath.Abs(symbols); err != nil {
		return Profiling{}, err
	}
	carried, foreign, err := raw(ctx, dir, "none", profile)
	if err != nil {
		return Profiling{}, err
	}
	none, _, err := raw(ctx, dir, "none", barePath)
	if err != nil {
		return Profiling{}, err
	}
	if len(carried) == 0 || len(none) != len(carried) || slices.ContainsFunc(none, func(f frame) bool { return f.name != "" }) {
		return Profiling{}, fmt.Errorf("reading a CPU profile: of %d frames %d are left, or some have names still", len(carried), len(none))
	}
	found, _, err := raw(ctx, dir, "local", symbols, barePath)
	if err != nil {
		return Profiling{}, err
	}
	return compareFrames(carried, found, foreign), nil
}

// compareFrames holds what a file says of the frames of a profile against what
// the program said. A call that was inlined is at its own line for both, but for
// the file in the function that it was inlined into: so lines are compared.
func compareFrames(carried, found []frame, foreign int) Profiling {
	p := Profiling{Frames: len(carried), Foreign: foreign}
	position := func(name string) string { return name[strings.LastIndexByte(name, ' ')+1:] }
	names := map[string]string{}
	for _, f := range found {
		names[f.address] = f.name
	}
	for _, f := range carried {
		if f.name == "" {
			continue
		}
		p.Carried++
		if position(names[f.address]) == position(f.name) {
			p.Right++
		} else {
			p.Wrong = append(p.Wrong, fmt.Sprintf("%s: %s, not %q", f.address, f.name, names[f.address]))
		}
	}
	return p
}

// frame is a place in a program, and its function and line; an empty name is
// unknown.
type frame struct{ address, name string }

// raw has a profile printed, and reads its locations. Those of the first mapping
// are the program's; of the others it returns the number.
//
//	1: 0x482120 M=1 main.divide debugged/debugged.go:173:0 s=170
//	2: 0x482130 M=1
func raw(ctx context.Context, dir, mode string, files ...string) (program []frame, foreign int, err error) {
	p := pprofTool(dir)
	a, err := p.run(ctx, dir, nil, append([]string{"tool", "pprof", "-raw", "-symbolize=" + mode}, files...)...)
	if err != nil {
		return nil, 0, err
	}
	_, locations, ok := strings.Cut(a.stdout, "\nLocations\n")
	locations, _, mapped := strings.Cut(locations, "\nMappings\n")
	if a.exit != 0 || !ok || !mapped {
		return nil, 0, p.unclear(a, "go tool pprof prints no locations: "+last(a.stderr))
	}
	for _, m := range regexp.MustCompile(`(?m)^ *\d+: (0x[0-9a-f]+) M=(\d+)(?: (\S.*?)(?: s=\d+)?)? *$`).FindAllStringSubmatch(locations, -1) {
		if m[2] != "1" {
			foreign++
			continue
		}
		program = append(program, frame{m[1], m[3]})
	}
	return program, foreign, nil
}

// maxProfile bounds an unpacked profile; those of a second have some kilobytes.
const maxProfile = 16 << 20

// nameless returns a profile without the names in it. The format is profile.proto
// of github.com/google/pprof in gzip: the message Profile has locations in field
// 4 and functions in field 5, and mappings in field 3. A location has its
// functions and lines in field 4; a mapping has the program's path, by which it
// would be found, in field 5, and says in fields 7 to 10 that there are names.
func nameless(data []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	data, err = io.ReadAll(io.LimitReader(z, maxProfile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxProfile {
		return nil, fmt.Errorf("it has more than %d bytes", maxProfile)
	}
	const mapping, location, function = 3, 4, 5
	bare, err := fields(data, func(n protowire.Number, value []byte) ([]byte, bool, error) {
		switch n {
		case mapping:
			value, err := fields(value, func(n protowire.Number, v []byte) ([]byte, bool, error) { return v, n != 5 && (n < 7 || n > 10), nil })
			return value, true, err
		case location:
			value, err := fields(value, func(n protowire.Number, v []byte) ([]byte, bool, error) { return v, n != 4, nil })
			return value, true, err
		}
		return value, n != function, nil
	})
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err = w.Write(bare)
	err = errors.Join(err, w.Close())
	return out.Bytes(), err
}

// fields copies the fields of a message that keep lets pass; those of bytes
// with the value that it returns. A field of another type has no value.
func fields(message []byte, keep func(protowire.Number, []byte) ([]byte, bool, error)) ([]byte, error) {
	var out []byte
	for at := 0; at < len(message); {
		number, kind, n := protowire.ConsumeTag(message[at:])
		if n < 0 {
			return nil, fmt.Errorf("no field at offset %d: %w", at, protowire.ParseError(n))
		}
		size := protowire.ConsumeFieldValue(number, kind, message[at+n:])
		if size < 0 {
			return nil, fmt.Errorf("field %d at offset %d: %w", number, at, protowire.ParseError(size))
		}
		var value []byte
		if kind == protowire.BytesType {
			value, _ = protowire.ConsumeBytes(message[at+n:])
		}
		changed, keeps, err := keep(number, value)
		switch {
		case err != nil:
			return nil, fmt.Errorf("in field %d at offset %d: %w", number, at, err)
		case keeps && kind == protowire.BytesType:
			out = protowire.AppendBytes(protowire.AppendTag(out, number, kind), changed)
		case keeps:
			out = append(out, message[at:at+n+size]...)
		}
		at += n + size
	}
	return out, nil
}
