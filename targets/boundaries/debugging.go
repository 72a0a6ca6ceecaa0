package boundaries

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/hallmark-build/hallmark/build"
	"github.com/hallmark-build/hallmark/signing"
	"github.com/hallmark-build/hallmark/signing/compat"
	"github.com/hallmark-build/hallmark/signing/key"
)

// examine builds the program of compat.DebuggedSource as a release is built, for
// this machine and for Windows, and has debugger and profiler look at it before
// and after each scheme that signs inside the file, and after its symbols were
// taken off into a file beside it. Schemes that sign beside the file leave it as
// it is. Nothing is timestamped: that would be in the signature alone.
//
// dir is emptied first. A machine without the tools gives evidence that says so.
func examine(ctx context.Context, dir string, k *key.Key, rounds int) (compat.Evidence, error) {
	b, err := debugBuilds(ctx, dir, k)
	if err != nil {
		return compat.Evidence{}, fmt.Errorf("building the program to debug: %w", err)
	}
	b.Rounds = rounds
	return compat.Observe(ctx, b)
}

func debugBuilds(ctx context.Context, dir string, k *key.Key) (compat.Builds, error) {
	b := compat.Builds{ELFAfter: map[string]string{}, PEAfter: map[string]string{}}
	if err := os.RemoveAll(dir); err != nil {
		return b, err
	}
	source := filepath.Join(dir, "source")
	if err := os.MkdirAll(source, 0o755); err != nil {
		return b, err
	}
	for name, text := range map[string]string{"go.mod": "module example.com/debugged\n\ngo 1.24\n", compat.DebuggedFile: compat.DebuggedSource()} {
		if err := os.WriteFile(filepath.Join(source, name), []byte(text), 0o644); err != nil {
			return b, err
		}
	}
	src, err := build.ReadSource(ctx, source)
	if err != nil {
		return b, err
	}
	src.Revision, src.Modified = "", false // whichever checkout the folder may be in
	builder, err := build.NewBuilder(ctx, src)
	if err != nil {
		return b, err
	}
	compile := func(name string, p build.Platform) (string, error) {
		bin, err := builder.Compile(ctx, build.Target{Program: "debugged", Package: ".", Platform: p, Toolchain: "none"}, filepath.Join(dir, name))
		return bin.Path, err
	}
	if b.ELF, err = compile("debugged", build.Platform{OS: "linux", Arch: runtime.GOARCH}); err != nil {
		return b, err
	}
	if b.PE, err = compile("debugged.exe", build.Platform{OS: "windows", Arch: "amd64"}); err != nil {
		return b, err
	}
	stripped := filepath.Join(dir, "stripped")
	if err := compat.SplitDebug(ctx, b.ELF, stripped); err != nil {
		return b, err
	}
	b.ELFAfter["stripped, with a symbol file"] = stripped
	for _, job := range []struct {
		scheme    signing.Scheme
		src, name string
		after     map[string]string
	}{
		{signing.Appended{}, b.ELF, "appended", b.ELFAfter},
		{signing.Section{}, b.ELF, "section", b.ELFAfter},
		{signing.Appended{}, stripped, "stripped, appended", b.ELFAfter},
		{signing.Section{}, stripped, "stripped, section", b.ELFAfter},
		{signing.Authenticode{}, b.PE, "authenticode", b.PEAfter},
	} {
		dst := filepath.Join(dir, job.name)
		if _, err := job.scheme.Sign(ctx, job.src, dst, k, nil); err != nil {
			return b, err
		}
		job.after[job.name] = dst
	}
	restamped := filepath.Join(dir, "restamped")
	b.PEAfter["with another time stamp"] = restamped
	return b, restamp(b.PE, restamped)
}

// restamp copies a PE file, with another TimeDateStamp in its COFF header: Go
// writes 0.
func restamp(src, dst string) error {
	data, err := os.ReadFile(src)
	if err != nil {
		return err
	}
	const lfanew, stamp = 0x3c, 8
	if len(data) < lfanew+4 {
		return fmt.Errorf("%s is no PE file", src)
	}
	at := int64(binary.LittleEndian.Uint32(data[lfanew:])) + stamp
	if at+4 > int64(len(data)) {
		return fmt.Errorf("%s is no PE file", src)
	}
	binary.LittleEndian.PutUint32(data[at:], 0x5eadbeef)
	return os.WriteFile(dst, data, 0o644)
}

// debuggingClaims are the claims that starting, debugging and profiling bear on.
// The results are those of the scheme compat.Runs; others are passed over.
func debuggingClaims(results []compat.Result, e compat.Evidence) []Claim {
	texts := map[string]string{
		"C3": "Cross-compiling from WSL2 gives valid PE and ELF from one tree",
		"C7": "Delve hits 99.27 % of breakpoints on WSL2, 99.91 % with WinDbg; memory snapshots can be torn",
		"C8": "With more than 50 goroutines the debugger's view is 92.3 % right and 410 to 690 ms late",
		"C9": "A Go CPU profile on Windows loses symbols unless the debug file's signature matches the time stamp",
	}
	var all []Claim
	for _, f := range compat.Findings(results, e) {
		all = append(all, Claim{ID: f.Claim, Text: texts[f.Claim], Verdict: f.Verdict, Why: f.Why})
	}
	return all
}
