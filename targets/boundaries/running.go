package boundaries

import (
	"os"
	"path/filepath"
	"slices"

	"github.com/hallmark-build/hallmark/signing/compat"
)

// shotsDir is the folder of screenshots below the output folder.
const shotsDir = "screenshots"

// sample is what the judges that run a file know of it.
func (r *run) sample() compat.Sample {
	s := compat.Sample{Dirs: []string{filepath.Join(r.Work, "cases")}, Words: "sum of 20 and 22: 42", Title: "hallmark sample", Symbol: "Add"}
	if r.maker.places.tmpfs != "" {
		s.Dirs = append(s.Dirs, r.maker.places.tmpfs)
	}
	if shots := filepath.Join(r.Out, shotsDir); os.MkdirAll(shots, 0o755) == nil {
		s.Shots = shots
	}
	return s
}

// runs reports whether a judge runs the file of a case: those to which something
// was done that programs are known to survive or not, signed in the file itself
// or not at all. Where one bit differs, whatever happens says nothing.
func runs(judge string, sp spec) bool {
	if sp.key != baseKey || sp.digest != baseDigest {
		return false
	}
	want := "native"
	switch sp.artifact.name {
	case "pe-gui":
		want = "wine-window"
	case "pe-arm64", "zip", "tar.gz", "deb", "rpm":
		return false // nothing here runs it
	default:
		if sp.artifact.format == formatPE {
			want = "wine"
		}
	}
	if judge != want {
		return false
	}
	ops := []string{none, "append", "strip", "strip-debug", "add-section", "patchelf", "buildid", "edit-resource", "both-schemes", "sign-again"}
	switch sp.scheme.name {
	case "appended", "authenticode":
		return slices.Contains(append(ops, "unsigned"), sp.op)
	case "section", "page-hashes":
		return slices.Contains(ops[:4], sp.op)
	}
	return false
}

// screenshot returns the picture of a file's window, relative to the output
// folder.
func (r *run) screenshot(file string) string {
	shot := r.sample().Shot(file)
	if shot == "" {
		return ""
	}
	rel, err := filepath.Rel(r.Out, shot)
	if err != nil {
		return ""
	}
	return filepath.ToSlash(rel)
}

// hasPicture reports whether the picture of an earlier verdict is where it was.
func (r *run) hasPicture(v verdict) bool {
	if v.Screenshot == "" {
		return true
	}
	_, err := os.Stat(filepath.Join(r.Out, filepath.FromSlash(v.Screenshot)))
	return err == nil
}
