package boundaries

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hallmark-build/hallmark/build"
	"github.com/hallmark-build/hallmark/signing/compat"
)

// MapFile is the name of the record in the output folder.
const MapFile = "boundaries.json"

// Format is the version of the record's form. Another version is refused.
const Format = 1

// What is expected of a judge, and what it does: the values of Want and Got in
// a cell. A judge that cannot read this kind of file or signature says so, and
// that is a boundary too.
const (
	Accept = "accept"
	Refuse = "refuse"
	Cannot = "cannot"
)

// Map is the one record of the map: what was put before whom, what was
// expected and what was answered. Every report is drawn from it alone. It
// holds no secret.
type Map struct {
	Format  int       `json:"format"`
	Made    time.Time `json:"made"` // when the run ended, UTC
	Machine Machine   `json:"machine"`
	Judges  []Judge   `json:"judges"`
	Cells   []Cell    `json:"cells"`
	Claims  []Claim   `json:"claims"`
	Notes   []string  `json:"notes,omitempty"` // what was left out, and why
	// Incomplete says why cells are missing: a filter, an interruption. Empty:
	// the map is whole.
	Incomplete string `json:"incomplete,omitempty"`
}

// Machine is what the map was made on.
type Machine struct {
	What     string            `json:"what"`               // operating system, CPU architecture and number of CPUs
	Kernel   string            `json:"kernel"`             // of the machine itself
	Kernels  []string          `json:"kernels,omitempty"`  // that were booted as judges
	Versions map[string]string `json:"versions,omitempty"` // of what made the artifacts, by name: go, gcc, …
}

// Judge is one verifier of the map.
type Judge struct {
	Name    string `json:"name"`
	Scheme  string `json:"scheme"`            // of the signatures it is asked about
	Version string `json:"version,omitempty"` // empty: it was not found, or has none
	Path    string `json:"path,omitempty"`    // of its program
	Limits  string `json:"limits,omitempty"`  // what it does not check
	Missing string `json:"missing,omitempty"` // why it could not be asked
}

// Cell is what one judge said of one artifact that was signed in one way and
// met with one operation.
type Cell struct {
	Artifact  string `json:"artifact"`      // kind of file, as in "pe-console"
	Scheme    string `json:"scheme"`        // how it was signed; "none" for an unsigned one
	Key       string `json:"key,omitempty"` // "rsa3072", "p256", …
	Digest    string `json:"digest,omitempty"`
	Operation string `json:"operation"`     // what happened to it after signing; "none"
	Why       string `json:"why,omitempty"` // reason of the expectation

	compat.Result `json:"result"` // Want is accept, refuse or cannot; Case names the file

	Figures    map[string]float64 `json:"figures,omitempty"`    // measured values, by name
	Screenshot string             `json:"screenshot,omitempty"` // path of a PNG below the output folder, with slashes

	Inputs string `json:"inputs,omitempty"` // digest of the file, its trust and its judge: with equal ones the verdict stands
}

// Claim is a claim about signing that the map bears on.
type Claim struct {
	ID      string `json:"id"`
	Text    string `json:"text"`
	Verdict string `json:"verdict"` // confirmed, refuted, depends on …, not measurable here
	Why     string `json:"why"`     // with the figures
}

// Write writes the record into dir, whole or not at all, and returns the path
// of the file.
func (m *Map) Write(dir string) (string, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(m); err != nil {
		return "", fmt.Errorf("writing the map: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("writing the map: %w", err)
	}
	file := filepath.Join(dir, MapFile)
	if err := writeFile(file, b.Bytes()); err != nil {
		return "", fmt.Errorf("writing the map: %w", err)
	}
	return file, nil
}

// Read reads the record in dir. Without one the error is fs.ErrNotExist; a
// record of another format, with an unknown key or with anything after it is
// refused.
func Read(dir string) (*Map, error) {
	file := filepath.Join(dir, MapFile)
	data, err := build.ReadJSONFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the map: %w", err)
	}
	m, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("reading the map: %s: %w: it was not written by this hallmark; move it away, or make it anew with `mage boundaries -fresh`", file, err)
	}
	return m, nil
}

func parse(data []byte) (*Map, error) {
	var head struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, err
	}
	if head.Format != Format {
		return nil, fmt.Errorf("format %d, not %d", head.Format, Format)
	}
	m := &Map{}
	if err := build.DecodeJSON(data, m); err != nil {
		return nil, err
	}
	for i, c := range m.Cells {
		if c.Screenshot != "" && !filepath.IsLocal(filepath.FromSlash(c.Screenshot)) {
			return nil, fmt.Errorf("cell %d: screenshot %q is not in the folder", i, c.Screenshot)
		}
		switch c.Want {
		case Accept, Refuse, Cannot:
		default:
			return nil, fmt.Errorf("cell %d: %q is expected, which is none of accept, refuse, cannot", i, c.Want)
		}
	}
	return m, nil
}

// writeFile writes a file whole or not at all.
func writeFile(file string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(file), ".hallmark-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}
