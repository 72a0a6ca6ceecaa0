package release

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hallmark-build/hallmark/build"
	"github.com/hallmark-build/hallmark/signing"
	"github.com/hallmark-build/hallmark/signing/compat"
)

// ManifestFile is the name of the manifest in the dist folder.
const ManifestFile = "manifest.json"

// ReportFile is the name of the report in the dist folder.
const ReportFile = "report.md"

// Schema is the version of the manifest's form. Another version is refused.
const Schema = 1

// Manifest is the one record of a release: what was made, of what, by whom it
// was signed, and what the judges said. The report is drawn from it alone, the
// next run finds in it what it need not make again, and no file of the dist
// folder that it does not list is touched.
//
// It holds no secret. Apart from Timings and the seconds of the results it is
// the same for the same inputs.
type Manifest struct {
	Schema    int             `json:"schema"`
	Name      string          `json:"name"`
	Version   string          `json:"version"`
	Source    Source          `json:"source"`
	Machine   string          `json:"machine"`
	Go        string          `json:"go"`
	Identity  *Identity       `json:"identity,omitempty"`  // nil until something was signed
	Timestamp []string        `json:"timestamp,omitempty"` // servers, or dev
	Artifacts []Entry         `json:"artifacts"`           // in the order of their paths
	Results   []compat.Result `json:"results"`
	Judges    []Judge         `json:"judges,omitempty"` // those that the results name
	Notes     []string        `json:"notes,omitempty"`  // what somebody should look at
	Timings   []Timing        `json:"timings"`
}

// Source is the state of the sources that a release was made from.
type Source struct {
	Module   string    `json:"module"`
	Revision string    `json:"revision,omitempty"` // of git; empty without
	Time     time.Time `json:"time"`               // of the revision, UTC
	Modified bool      `json:"modified"`           // the tree differed from the revision
	Digest   string    `json:"digest"`             // SHA-256 over every file, hex
}

// Identity is the public side of the identity that signed.
type Identity struct {
	Subject     string    `json:"subject"`
	Issuer      string    `json:"issuer"`
	Fingerprint string    `json:"sha256"` // of the certificate, hex
	NotAfter    time.Time `json:"not_after"`
	Development bool      `json:"development"` // made by hallmark on the user's machine: trusted by nobody else
}

// Kind says what an artifact is.
type Kind string

// The kinds of artifacts.
const (
	KindBinary  Kind = "binary"
	KindArchive Kind = "archive" // zip, tar.gz
	KindPackage Kind = "package" // deb, rpm, apk, archlinux
	KindSums    Kind = "sums"
	KindTrust   Kind = "trust" // certificates for those who verify

	KindSignature Kind = "signature" // of another artifact, beside it
)

// Entry is one file of the dist folder.
type Entry struct {
	Path      string     `json:"path"` // relative to the dist folder, with slashes
	Kind      Kind       `json:"kind"`
	Of        string     `json:"of,omitempty"` // path of what a signature signs
	Program   string     `json:"program,omitempty"`
	Platform  string     `json:"platform,omitempty"`
	Toolchain string     `json:"toolchain,omitempty"`
	Go        string     `json:"go,omitempty"` // version that compiled a binary
	Size      int64      `json:"size"`         // bytes
	SHA256    string     `json:"sha256"`       // hex
	Mode      string     `json:"mode"`         // permissions, octal
	Unsigned  string     `json:"unsigned_sha256,omitempty"`
	Signature *Signature `json:"signature,omitempty"`
	Contents  []Content  `json:"contents,omitempty"` // of archives and packages

	// Digests of the inputs of the stages that made the file. Equal keys and an
	// unharmed file mean that the stage need not run again.
	BuildKey string `json:"build_key,omitempty"`
	SignKey  string `json:"sign_key,omitempty"`
	PackKey  string `json:"pack_key,omitempty"`
	JudgeKey string `json:"judge_key,omitempty"`
}

// Signature tells of a signature in a binary.
type Signature struct {
	Scheme string     `json:"scheme"`
	Signer string     `json:"signer"`
	Hash   string     `json:"hash"`
	Time   *time.Time `json:"time,omitempty"` // of the timestamp
	TSA    string     `json:"tsa,omitempty"`
}

// Content is one file in an archive or package.
type Content struct {
	Name   string `json:"name"`
	Mode   string `json:"mode"`
	SHA256 string `json:"sha256"`
}

// Timing is how long a stage took.
type Timing struct {
	Stage   string  `json:"stage"`
	Seconds float64 `json:"seconds"` // of wall clock
}

// Judge is one of those who judged the release.
type Judge struct {
	Name    string   `json:"name"`
	Schemes []string `json:"schemes"`
	Version string   `json:"version,omitempty"` // empty: it was not found, or has none
	Limits  []string `json:"limits,omitempty"`  // what its acceptance says nothing about, one for each scheme
}

// Entry returns the artifact at path, or nil.
func (m *Manifest) Entry(path string) *Entry {
	if m == nil {
		return nil
	}
	for i := range m.Artifacts {
		if m.Artifacts[i].Path == path {
			return &m.Artifacts[i]
		}
	}
	return nil
}

func (m *Manifest) sort() {
	slices.SortFunc(m.Artifacts, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
}

// of returns the artifacts of some kinds.
func (m *Manifest) of(kinds ...Kind) []Entry {
	var found []Entry
	for _, e := range m.Artifacts {
		for _, k := range kinds {
			if e.Kind == k {
				found = append(found, e)
			}
		}
	}
	return found
}

// Encode returns the manifest's JSON.
func (m *Manifest) Encode() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(m); err != nil {
		return nil, fmt.Errorf("writing the manifest: %w", err)
	}
	return b.Bytes(), nil
}

// ReadManifest reads manifest.json in the dist folder dir. Without one the
// error is fs.ErrNotExist.
func ReadManifest(dir string) (*Manifest, error) {
	m, _, err := readManifest(dir)
	return m, err
}

// readManifest is ReadManifest, with the SHA-256 of the bytes that were read.
func readManifest(dir string) (*Manifest, string, error) {
	file := filepath.Join(dir, ManifestFile)
	data, err := build.ReadJSONFile(file)
	if err != nil {
		return nil, "", err
	}
	m, err := parseManifest(data)
	if err != nil {
		return nil, "", usage("%s: %w: it was not written by this hallmark; move it away, or remove the folder", file, err)
	}
	return m, sumBytes(data), nil
}

// parseManifest is strict, because files that a manifest lists are overwritten
// and removed: no unknown key, no path out of the folder, none twice.
func parseManifest(data []byte) (*Manifest, error) {
	var head struct {
		Schema int `json:"schema"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, err
	}
	if head.Schema != Schema {
		return nil, fmt.Errorf("schema %d, not %d", head.Schema, Schema)
	}
	m := &Manifest{}
	if err := build.DecodeJSON(data, m); err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, e := range m.Artifacts {
		if !validPath(e.Path) {
			return nil, fmt.Errorf("artifact %q is not in the folder", e.Path)
		}
		if seen[e.Path] {
			return nil, fmt.Errorf("artifact %q twice", e.Path)
		}
		seen[e.Path] = true
		if e.Kind == KindSignature && (e.Signature == nil || signing.DetachedByName(e.Signature.Scheme) == nil) {
			return nil, fmt.Errorf("artifact %q is a signature of no known scheme", e.Path)
		}
		if _, err := parseMode(e.Mode); err != nil {
			return nil, fmt.Errorf("artifact %q: %w", e.Path, err)
		}
	}
	return m, nil
}

// validPath reports whether an artifact's path stays in the folder, is written
// in the one normal way, and is none of the folder's own records.
func validPath(p string) bool {
	return fs.ValidPath(p) && p != "." && filepath.IsLocal(filepath.FromSlash(p)) &&
		!isRecord(p) && p != ignoreFile &&
		p != stageDir && !hasDir(p, stageDir)
}

func hasDir(p, dir string) bool {
	for p != "." && p != "/" {
		if p = path.Dir(p); p == dir {
			return true
		}
	}
	return false
}

func formatMode(m fs.FileMode) string { return fmt.Sprintf("%04o", m.Perm()) }

func parseMode(s string) (fs.FileMode, error) {
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil || n > 0o777 {
		return 0, fmt.Errorf("mode %q is not octal permissions", s)
	}
	return fs.FileMode(n), nil
}
