package release

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/hallmark-build/hallmark/build"
	"github.com/hallmark-build/hallmark/signing/key"
)

// record is this machine's memory of the manifests that it wrote into one dist
// folder. Whoever can write into dist can write any manifest; what a manifest
// says of earlier work is believed only if the record holds its SHA-256. The
// record is a file of the user's alone, in the state folder:
// $XDG_STATE_HOME/hallmark or ~/.local/state/hallmark, on Windows
// %LocalAppData%\hallmark. It is bound to the absolute paths of project and
// dist.
//
// It holds the one manifest that was written last, so that an older one, put
// back with its files, is not believed either; while a run publishes it holds
// two, of which one will stand in dist however the run ends.
type record struct {
	folder        string // of all records
	file          string
	project, dist string
	err           error // why there can be no record
}

// recordFile is the form of a record.
type recordFile struct {
	Format    int      `json:"format"`
	Project   string   `json:"project"`
	Dist      string   `json:"dist"`
	Manifests []string `json:"manifests"` // SHA-256, hex
}

const recordFormat = 1

// stateDir returns the folder of what hallmark remembers of its own work.
func (o Options) stateDir() (string, error) {
	if o.StateDir != "" {
		return filepath.Abs(o.StateDir)
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "hallmark"), nil
	}
	if dir := os.Getenv("LocalAppData"); runtime.GOOS == "windows" && dir != "" {
		return filepath.Join(dir, "hallmark"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("no state folder: %w: set HOME, or XDG_STATE_HOME", err)
	}
	return filepath.Join(home, ".local", "state", "hallmark"), nil
}

// record finds the record of a dist folder. It makes nothing.
func (o Options) record(dist string) *record {
	r := &record{}
	var err error
	if r.folder, err = o.stateDir(); err != nil {
		r.err = err
		return r
	}
	if r.project, r.err = realPath(o.dir()); r.err != nil {
		return r
	}
	if r.dist, r.err = realPath(dist); r.err != nil {
		return r
	}
	if isInside(r.folder, dist) {
		r.err = fmt.Errorf("the state folder %s is inside of dist, where others may write: set XDG_STATE_HOME to another", r.folder)
		return r
	}
	d := newDigest("record 1")
	d.add(r.project, r.dist)
	r.file = filepath.Join(r.folder, "records", d.sum()[:32]+".json")
	return r
}

// isInside reports whether a folder that may not exist yet is in another, or is
// that one.
func isInside(folder, other string) bool {
	other, err := realPath(other)
	if err != nil {
		return false
	}
	folder, err = filepath.Abs(folder)
	for err == nil {
		// The part that exists, without its links.
		if real, err := filepath.EvalSymlinks(folder); err == nil {
			return real == other || strings.HasPrefix(real, other+string(filepath.Separator))
		}
		folder = filepath.Dir(folder)
	}
	return false
}

// realPath is the absolute path of a folder that exists, without links.
func realPath(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(dir)
}

// read returns the SHA-256 of the manifests that this machine wrote. A record
// that somebody else could have written is refused.
func (r *record) read() ([]string, error) {
	if r.err != nil {
		return nil, r.err
	}
	for _, path := range []string{r.folder, filepath.Dir(r.file), r.file} {
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if !info.IsDir() && !info.Mode().IsRegular() {
			return nil, fmt.Errorf("%s is neither a file nor a folder", path)
		}
		if err := onlyOurs(path, info); err != nil {
			return nil, err
		}
	}
	data, err := build.ReadJSONFile(r.file)
	if err != nil {
		return nil, err
	}
	var f recordFile
	if err := build.DecodeJSON(data, &f); err != nil {
		return nil, fmt.Errorf("%s: %w: remove it", r.file, err)
	}
	if f.Format != recordFormat || f.Project != r.project || f.Dist != r.dist {
		return nil, fmt.Errorf("%s is not a record of %s: remove it", r.file, r.dist)
	}
	return f.Manifests, nil
}

// write replaces what the record holds.
func (r *record) write(manifests ...string) error {
	if r.err != nil {
		return r.err
	}
	if err := os.MkdirAll(filepath.Dir(r.file), 0o700); err != nil {
		return err
	}
	for _, path := range []string{r.folder, filepath.Dir(r.file)} {
		info, err := os.Lstat(path)
		if err == nil {
			err = onlyOurs(path, info)
		}
		if err != nil {
			return err
		}
	}
	data, err := json.MarshalIndent(recordFile{recordFormat, r.project, r.dist, manifests}, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(r.file), ".hallmark-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(append(data, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", r.file, err)
	}
	return os.Rename(f.Name(), r.file)
}

// remove forgets everything.
func (r *record) remove() {
	if r.err == nil {
		os.Remove(r.file)
	}
}

// vouch finds out who vouches for the manifest in dist, of which sum is the
// SHA-256: the record of this machine, or the SHA-256 that the user gave.
func (w *workspace) vouch(sum, given string) error {
	known, err := w.record.read()
	w.recorded = slices.Contains(known, sum)
	w.authentic = w.recorded || given != "" && given == sum
	switch {
	case given != "" && given != sum:
		return tampered(filepath.Join(w.dir, ManifestFile), "its SHA-256 is %s, and -manifest says %s: it is not the manifest that was meant", sum, given)
	case w.authentic:
	case err != nil:
		w.doubt = fmt.Sprintf("the record of this machine cannot be read: %v", err)
	case w.record.err != nil:
		w.doubt = w.record.err.Error()
	default:
		w.doubt = "this machine did not write it, or it was changed since"
	}
	return nil
}

// sayDoubt tells why nothing in dist is reused.
func (w *workspace) sayDoubt(p *Progress) {
	if w.prev != nil && w.doubt != "" {
		p.Printf("%s is not believed: %s: everything is made again", filepath.Join(filepath.Base(w.dir), ManifestFile), w.doubt)
	}
}

// SHA256Of reads a SHA-256 as the user gives it in an option: 64 hexadecimal
// digits, with or without "sha256:" before them, or the name of a file that
// holds one line as sha256sum writes it. Empty stays empty.
func SHA256Of(option, value string) (string, error) {
	if value == "" {
		return "", nil
	}
	sum := func(s string) (string, bool) {
		s = strings.ToLower(strings.TrimPrefix(s, "sha256:"))
		return s, len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
	}
	if s, ok := sum(value); ok {
		return s, nil
	}
	data, err := key.ReadRegular(value, 4096)
	if err != nil {
		return "", usage("%s: %q is neither a SHA-256 of 64 hexadecimal digits nor a file that can be read: %w", option, value, err)
	}
	if fields := strings.Fields(string(data)); len(fields) > 0 && len(fields) <= 2 {
		if s, ok := sum(fields[0]); ok {
			return s, nil
		}
	}
	return "", usage("%s: %s does not hold one line as sha256sum writes it", option, value)
}
