package release

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
)

// unchanged reports whether m says what the manifest in the folder says, apart
// from how long it took and on which machine. Then m becomes that one, and
// there is nothing to publish.
func (w *workspace) unchanged(m *Manifest) bool {
	m.sort()
	if len(w.staged) > 0 || w.prev == nil || !w.authentic {
		return false
	}
	same := *m
	same.Timings, same.Machine = w.prev.Timings, w.prev.Machine
	a, err := same.Encode()
	if err != nil {
		return false
	}
	if b, err := os.ReadFile(filepath.Join(w.dir, ManifestFile)); err != nil || !bytes.Equal(a, b) {
		return false
	}
	pages, err := same.pages()
	if err != nil {
		return false
	}
	for name, page := range pages {
		if b, err := os.ReadFile(filepath.Join(w.dir, name)); err != nil || !bytes.Equal(page, b) {
			return false
		}
	}
	*m = same
	return true
}

// publish puts the staged files in their places, removes those of the previous
// manifest that m does not list, and writes manifest and report. It hashes all
// artifacts before. The manifest becomes that of this machine's record; an
// error there only costs time in the next run, so it is kept in recordErr.
//
// The manifest in the stage folder is the commit record: once it is there, a
// run that is killed is completed by the next one.
func (w *workspace) publish(ctx context.Context, m *Manifest) error {
	if err := w.certain(ctx, m); err != nil {
		return err
	}
	return w.commit(m, true)
}

// publishResults writes manifest and report of a run that made nothing. What
// the record did not hold before, it does not hold afterwards.
func (w *workspace) publishResults(m *Manifest) error { return w.commit(m, w.recorded) }

func (w *workspace) commit(m *Manifest, remember bool) error {
	m.sort()
	paths := make([]string, len(m.Artifacts))
	for i, e := range m.Artifacts {
		paths[i] = e.Path
	}
	if err := w.own(paths); err != nil {
		return err
	}
	data, err := m.Encode()
	if err != nil {
		return err
	}
	stage := filepath.Join(w.dir, stageDir)
	pages, err := m.pages()
	if err != nil {
		return err
	}
	for name, page := range pages {
		if err := writeFile(filepath.Join(stage, name), page); err != nil {
			return err
		}
	}
	sum := sumBytes(data)
	if remember {
		known := []string{sum}
		if w.recorded {
			known = append(known, w.sum)
		}
		w.recordErr = w.record.write(known...)
	}
	if err := writeFile(filepath.Join(stage, ManifestFile), data); err != nil {
		return err
	}
	if err := w.finish(m); err != nil {
		return err
	}
	w.sum = sum
	if remember && w.recordErr == nil {
		w.recordErr = w.record.write(sum)
		w.recorded, w.authentic = true, true
	}
	return nil
}

// finish does the renames. It is also what completes a killed run, so it takes
// what is still in the stage folder and minds nothing that is gone from there.
func (w *workspace) finish(m *Manifest) error {
	var undo []func()
	fail := func(err error) error {
		for _, f := range slices.Backward(undo) {
			f()
		}
		// Not a commit record any more: what it stood for has been undone.
		w.root.Remove(path.Join(stageDir, ManifestFile))
		return fmt.Errorf("publishing to %s: %w", w.dir, err)
	}
	if err := w.root.MkdirAll(path.Join(stageDir, "old"), 0o777); err != nil {
		return fail(err)
	}
	aside := func(rel string) error {
		old := path.Join(stageDir, "old", fmt.Sprint(len(undo)))
		if err := w.root.Rename(rel, old); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		undo = append(undo, func() { w.root.Rename(old, rel) })
		return nil
	}
	place := func(staged, rel string) error {
		if _, err := w.root.Lstat(staged); errors.Is(err, fs.ErrNotExist) {
			return nil // placed before the kill, or unchanged
		}
		if err := aside(rel); err != nil {
			return err
		}
		if dir := path.Dir(rel); dir != "." {
			if err := w.root.MkdirAll(dir, 0o777); err != nil {
				return err
			}
		}
		if err := w.root.Rename(staged, rel); err != nil {
			return err
		}
		undo = append(undo, func() { w.root.Rename(rel, staged) })
		return nil
	}
	// Stale files go first: one may stand where a folder is needed.
	var stale []string
	if w.prev != nil {
		for _, e := range w.prev.Artifacts {
			if m.Entry(e.Path) == nil {
				stale = append(stale, e.Path)
				if err := aside(e.Path); err != nil {
					return fail(err)
				}
			}
		}
	}
	for _, e := range m.Artifacts {
		if err := place(path.Join(stageDir, "new", e.Path), e.Path); err != nil {
			return fail(err)
		}
	}
	for _, name := range pageNames() {
		if err := place(path.Join(stageDir, name), name); err != nil {
			return fail(err)
		}
	}
	if err := w.root.Rename(path.Join(stageDir, ManifestFile), ManifestFile); err != nil {
		return fail(err)
	}
	for _, rel := range stale {
		w.prune(rel)
	}
	w.prev = m
	return w.removeStage()
}

// prune removes the folders that the removal of rel left empty.
func (w *workspace) prune(rel string) {
	for dir := path.Dir(rel); dir != "."; dir = path.Dir(dir) {
		if w.root.Remove(dir) != nil {
			return // not empty
		}
	}
}

// clean removes all that the manifest lists, and the records themselves. Files
// that are not ours stay, and so do the folders that hold them.
func (w *workspace) clean() (removed int, err error) {
	if w.prev == nil {
		return 0, nil
	}
	for _, e := range w.prev.Artifacts {
		err := w.root.Remove(e.Path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return removed, err
		}
		if err == nil {
			removed++
		}
		w.prune(e.Path)
	}
	for _, rel := range append(pageNames(), ManifestFile) {
		if err := w.root.Remove(rel); err == nil {
			removed++
		} else if !errors.Is(err, fs.ErrNotExist) {
			return removed, err
		}
	}
	if text, err := w.root.ReadFile(ignoreFile); err == nil && string(text) == ignoreText {
		w.root.Remove(ignoreFile)
	}
	w.record.remove()
	w.prev, w.made = nil, true // close removes the folder if it is empty
	return removed, nil
}
