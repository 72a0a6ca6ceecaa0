package release

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
)

const (
	// stageDir is where everything new is made: inside the dist folder, so that
	// it is on the same file system and a rename publishes it.
	stageDir = ".stage"

	// stageMark tells our stage folder from a folder of somebody else that has
	// its name. It is the first that is made in it, and the last that goes.
	stageMark = ".hallmark-stage"
	stageText = "Made by hallmark; what stands here is thrown away.\n"

	// ignoreFile keeps the dist folder out of `git status`. Otherwise our own
	// outputs would make the next build's revision a modified one.
	ignoreFile = ".gitignore"
	ignoreText = "# Written by hallmark, so that what it makes does not count as a change of the sources.\n*\n"
)

// workspace is the dist folder during a run. What a run makes stands in the
// stage folder until publish puts all of it in place; whatever happens before
// that, the dist folder stays as the last successful run left it.
//
// A run that is killed leaves the stage folder behind. If it holds a manifest,
// the run had finished and was killed while publishing: the next run first
// completes that. If not, the stage folder is thrown away.
type workspace struct {
	dir  string // absolute
	root *os.Root
	prev *Manifest // what the folder holds; nil if nothing of ours

	project   string // the module's folder
	record    *record
	authentic bool   // prev is what this machine wrote, or what the user gave the SHA-256 of
	recorded  bool   // prev is what this machine wrote
	sum       string // SHA-256 of prev's JSON
	doubt     string // why prev is not authentic
	recordErr error  // why the record could not be written

	private     string // folder of this run alone, after begin
	privateLock *os.File

	lock   *os.File
	made   bool // the dist folder was made by this run
	ours   bool // the stage folder was made by this run, or by one that was killed
	ignore bool // so was ignoreFile

	mu     sync.Mutex
	staged map[string]bool
	sums   map[string]string // of previous artifacts that are intact: path to SHA-256
	shelf  int               // numbers scratch folders
}

// openWorkspace takes the dist folder for this run, and mends what a killed
// run left. Folders are made if make is true; else a missing one is an error.
func openWorkspace(o Options, dir string, create bool) (_ *workspace, err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	w := &workspace{dir: dir, project: o.dir(), staged: map[string]bool{}, sums: map[string]string{}}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && create:
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return nil, w.readOnly(err)
		}
		w.made = true
	case errors.Is(err, fs.ErrNotExist):
		return nil, usage("%s holds nothing: run `mage build` or `mage release` first", filepath.Base(dir))
	case err != nil:
		return nil, err
	case !info.IsDir():
		return nil, usage("%s is not a folder: move it away, or name another folder with `dist:` in %s", dir, ConfigFile)
	}
	if isLinked(o.dir(), dir) {
		return nil, usage("%s is a link, or in a folder that is one: hallmark writes nothing through links; name the folder itself with `dist:` in %s", filepath.Base(dir), ConfigFile)
	}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if w.lock, err = os.Open(dir); err != nil {
		return nil, err
	}
	ok, err := lockDir(w.lock)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, usage("another hallmark is at work in %s: wait for it, or stop it", dir)
	}
	if w.root, err = os.OpenRoot(dir); err != nil {
		return nil, err
	}
	if err := w.recover(); err != nil {
		return nil, err
	}
	if w.prev, w.sum, err = readManifest(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	w.record = o.record(dir)
	if err := w.vouch(w.sum, o.Manifest); err != nil {
		return nil, err
	}
	return w, nil
}

// isLinked reports whether a symbolic link leads from the module's folder to dir
// below it.
func isLinked(module, dir string) bool {
	module, err := filepath.Abs(module)
	if err != nil {
		return true
	}
	rel, err := filepath.Rel(module, dir)
	if err != nil || !filepath.IsLocal(rel) {
		return false // only a program that imports this package can ask for it
	}
	realModule, errModule := filepath.EvalSymlinks(module)
	realDir, errDir := filepath.EvalSymlinks(dir)
	return errModule != nil || errDir != nil || realDir != filepath.Join(realModule, rel)
}

// begin makes the stage folder.
func (w *workspace) begin() error {
	err := w.root.Mkdir(stageDir, 0o777)
	if err == nil {
		w.ours = true
		err = w.root.WriteFile(path.Join(stageDir, stageMark), []byte(stageText), 0o666)
	}
	if err == nil {
		err = w.makePrivate()
	}
	if err != nil {
		return w.readOnly(err)
	}
	f, err := w.root.OpenFile(ignoreFile, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	w.ignore = true
	_, err = f.WriteString(ignoreText)
	return errors.Join(err, f.Close())
}

// recover ends what a killed run began.
func (w *workspace) recover() error {
	if ok, err := w.isOurs(); !ok || err != nil {
		return err
	}
	w.ours = true
	data, err := w.root.ReadFile(path.Join(stageDir, ManifestFile))
	if err == nil {
		m, err := parseManifest(data)
		if err == nil {
			old, err := ReadManifest(w.dir)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			w.prev = old
			return w.finish(m)
		}
	}
	if err := w.removeStage(); err != nil {
		return fmt.Errorf("removing what a killed run left in %s: %w", w.dir, err)
	}
	return nil
}

// isOurs reports whether there is a stage folder, and refuses one that we did
// not make.
func (w *workspace) isOurs() (bool, error) {
	stage := filepath.Join(filepath.Base(w.dir), stageDir)
	info, err := w.root.Lstat(stageDir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if info.IsDir() {
		if _, err := w.root.Lstat(path.Join(stageDir, stageMark)); err == nil {
			return true, nil
		}
		// A run that was killed before it could mark it left it empty.
		if entries, err := fs.ReadDir(w.root.FS(), stageDir); err == nil && len(entries) == 0 {
			return true, nil
		}
	}
	return false, usage("%s is in the way: hallmark did not make it and does not remove it; move it away", stage)
}

// removeStage removes our stage folder, its mark last, so that one that is half
// removed is still known.
func (w *workspace) removeStage() error {
	if !w.ours {
		return nil
	}
	entries, err := fs.ReadDir(w.root.FS(), stageDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if e.Name() == stageMark {
			continue
		}
		if err := w.root.RemoveAll(path.Join(stageDir, e.Name())); err != nil {
			return err
		}
	}
	return w.root.RemoveAll(stageDir)
}

// readOnly makes a folder that cannot be written a matter of the machine.
func (w *workspace) readOnly(err error) error {
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return usage("cannot write in %s: %w", w.dir, err)
	}
	return err
}

// close gives the folder back. Without a publish before it, nothing of this
// run remains.
func (w *workspace) close() {
	w.removePrivate()
	if w.root != nil {
		w.removeStage()
		if w.ignore {
			if _, err := w.root.Lstat(ManifestFile); err != nil {
				w.root.Remove(ignoreFile)
			}
		}
		w.root.Close()
	}
	if w.made {
		os.Remove(w.dir) // only if it is empty
	}
	if w.lock != nil {
		unlockDir(w.lock)
		w.lock.Close()
	}
}

// create returns where to make the artifact rel, in a folder that exists.
func (w *workspace) create(rel string) (string, error) {
	p := path.Join(stageDir, "new", rel)
	if err := w.root.MkdirAll(path.Dir(p), 0o777); err != nil {
		return "", err
	}
	w.mu.Lock()
	w.staged[rel] = true
	w.mu.Unlock()
	return filepath.Join(w.dir, filepath.FromSlash(p)), nil
}

// scratch returns a file name for something that is not published, in a folder
// that exists.
func (w *workspace) scratch(rel string) (string, error) {
	p := path.Join(stageDir, "tmp", rel)
	if err := w.root.MkdirAll(path.Dir(p), 0o777); err != nil {
		return "", err
	}
	return filepath.Join(w.dir, filepath.FromSlash(p)), nil
}

// file returns where the artifact rel is now: in the stage folder if this run
// made it, else in the dist folder.
func (w *workspace) file(rel string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.staged[rel] {
		return filepath.Join(w.dir, stageDir, "new", filepath.FromSlash(rel))
	}
	return filepath.Join(w.dir, filepath.FromSlash(rel))
}

// isStaged reports whether this run made the artifact rel.
func (w *workspace) isStaged(rel string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.staged[rel]
}

// inspect hashes the artifacts of the previous manifest, so that intact can
// tell which are as it says.
func (w *workspace) inspect(ctx context.Context) error {
	if w.prev == nil {
		return nil
	}
	return each(ctx, runtime.NumCPU(), w.prev.Artifacts, func(ctx context.Context, e Entry) error {
		file := filepath.Join(w.dir, filepath.FromSlash(e.Path))
		info, err := os.Lstat(file)
		if err != nil || !info.Mode().IsRegular() || info.Size() != e.Size || formatMode(info.Mode()) != e.Mode {
			return nil
		}
		sum, err := hashFile(ctx, file)
		if err != nil || sum != e.SHA256 {
			return ctx.Err()
		}
		w.mu.Lock()
		w.sums[e.Path] = sum
		w.mu.Unlock()
		return nil
	})
}

// reusable returns the previous artifact at rel if what the manifest says of
// how it was made is to be believed, and its file is as the manifest says.
func (w *workspace) reusable(rel string) *Entry {
	if !w.authentic {
		return nil
	}
	return w.intact(rel)
}

// intact returns the previous artifact at rel if its file is as the manifest
// says. Anybody may have written both.
func (w *workspace) intact(rel string) *Entry {
	e := w.prev.Entry(rel)
	w.mu.Lock()
	defer w.mu.Unlock()
	if e == nil || w.sums[rel] == "" || w.sums[rel] != e.SHA256 {
		return nil
	}
	return e
}

// harm says in what way an artifact that is not intact differs from the
// manifest.
func (w *workspace) harm(rel string) error {
	e := w.prev.Entry(rel)
	info, err := w.root.Lstat(rel)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("it is missing")
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return errors.New("it is no regular file any more")
	case info.Size() != e.Size:
		return fmt.Errorf("it has %d bytes, and %d in the manifest", info.Size(), e.Size)
	case formatMode(info.Mode()) != e.Mode:
		return fmt.Errorf("it has mode %s, and %s in the manifest", formatMode(info.Mode()), e.Mode)
	}
	return errors.New("its SHA-256 is not that in the manifest")
}

// own complains about files that are in the way and not ours.
func (w *workspace) own(paths []string) error {
	shown := func(rel string) string { return filepath.Join(filepath.Base(w.dir), filepath.FromSlash(rel)) }
	for _, rel := range slices.Concat(paths, pageNames(), []string{ManifestFile}) {
		for i := range rel { // from the top
			if rel[i] != '/' {
				continue
			}
			dir := rel[:i]
			info, err := w.root.Stat(dir)
			switch {
			case errors.Is(err, fs.ErrNotExist), isNotDir(err): // is made, or a folder above it is in the way
			case err != nil:
				return usage("%s is in the way: it is not a folder inside of %s: %w; move it away", shown(dir), filepath.Base(w.dir), err)
			case !info.IsDir() && w.prev.Entry(dir) == nil:
				return usage("%s is in the way: a folder of that name is needed; move it away", shown(dir))
			}
		}
		if w.prev.Entry(rel) != nil || w.prev != nil && isRecord(rel) {
			continue
		}
		switch _, err := w.root.Lstat(rel); {
		case err == nil:
			return usage("%s is in the way: hallmark did not make it and does not overwrite it; move it away", shown(rel))
		case !errors.Is(err, fs.ErrNotExist) && !isNotDir(err):
			return &UsageError{err}
		}
	}
	return nil
}

// isNotDir reports whether a part of a path that has to be a folder is none.
func isNotDir(err error) bool { return errors.Is(err, syscall.ENOTDIR) }
