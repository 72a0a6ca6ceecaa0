package release

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/hallmark-build/hallmark/signing"
)

// privatePattern are the names of private folders in the system's folder of
// temporary files.
const privatePattern = "hallmark-private-*"

// makePrivate makes the private folder of a run. Everything is compiled, signed
// and packed there, from copies whose SHA-256 was checked, because others may
// be able to write into dist while the run works: a file could be another one
// by the time that it is opened again. Mode 0700 keeps other users out.
//
// A folder of temporary files inside the project would change its sources: then
// the private folder is in the stage folder, which is not a part of them.
func (w *workspace) makePrivate() error {
	sweepPrivate()
	parent := ""
	if isInside(os.TempDir(), w.project) {
		parent = filepath.Join(w.dir, stageDir)
	}
	for {
		dir, err := os.MkdirTemp(parent, privatePattern)
		if err != nil {
			return err
		}
		f, err := os.Open(dir)
		if err != nil {
			return err
		}
		if ok, err := lockDir(f); err != nil {
			f.Close()
			return err
		} else if ok {
			if _, err := os.Lstat(dir); err == nil {
				w.private, w.privateLock = dir, f
				return nil
			}
		}
		f.Close() // another run swept it before it was locked
	}
}

func (w *workspace) removePrivate() {
	if w.private == "" {
		return
	}
	os.RemoveAll(w.private)
	unlockDir(w.privateLock)
	w.privateLock.Close()
	w.private = ""
}

// privatePath returns a file name in the private folder, in a folder that
// exists. Names of one purpose and path are the same file.
func (w *workspace) privatePath(purpose, rel string) (string, error) {
	file := filepath.Join(w.private, purpose, filepath.FromSlash(rel))
	return file, os.MkdirAll(filepath.Dir(file), 0o700)
}

// isPrivate reports whether a file is in the private folder.
func (w *workspace) isPrivate(file string) bool {
	return w.private != "" && strings.HasPrefix(file, w.private+string(filepath.Separator))
}

// keep returns a private file with the bytes of the artifact rel, which stands
// at file; their SHA-256 must be sum. One that is private already is returned
// as it is.
func (w *workspace) keep(ctx context.Context, purpose, rel, file, sum string) (string, error) {
	if w.isPrivate(file) {
		return file, nil
	}
	kept, err := w.privatePath(purpose, rel)
	if err != nil {
		return "", err
	}
	got, err := copyFile(ctx, file, kept)
	if err != nil {
		return "", err
	}
	if got != sum {
		os.Remove(kept)
		return "", tampered(rel, "it was changed while this run worked: its SHA-256 is %s, not %s", got, sum)
	}
	return kept, nil
}

// adopt moves a private file into the stage folder, as the artifact rel.
func (w *workspace) adopt(ctx context.Context, file, rel string) error {
	dst, err := w.create(rel)
	if err != nil {
		return err
	}
	err = os.Rename(file, dst)
	if err == nil || !errors.Is(err, syscall.EXDEV) && !isOtherVolume(err) {
		return err
	}
	if _, err := copyFile(ctx, file, dst); err != nil {
		return err
	}
	return os.Remove(file)
}

// isOtherVolume reports whether Windows refused to move a file to another disk.
func isOtherVolume(err error) bool {
	const notSameDevice = syscall.Errno(17)
	return filepath.Separator == '\\' && errors.Is(err, notSameDevice)
}

// copyFile copies a regular file with its permissions to dst, which must not
// exist, and returns the SHA-256 of the bytes that it copied.
func copyFile(ctx context.Context, src, dst string) (sum string, err error) {
	in, err := os.OpenFile(src, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is not a regular file", src)
	}
	if err := os.Remove(dst); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			os.Remove(dst)
		}
	}()
	h := sha256.New()
	_, err = io.CopyBuffer(io.MultiWriter(out, h), contextReader{ctx, in}, make([]byte, 256<<10))
	if err := errors.Join(err, out.Chmod(info.Mode().Perm()), out.Close()); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// judged makes a folder in which the artifacts stand in their places, as they
// will after publish: copies that cannot be written, so that a judge can change
// nothing that is published. Artifacts that cannot be copied are left out.
func (w *workspace) judged(ctx context.Context, rels []string) (string, error) {
	w.mu.Lock()
	w.shelf++
	base := fmt.Sprintf("judged%d", w.shelf)
	w.mu.Unlock()
	for _, rel := range rels {
		dst, err := w.privatePath(base, rel)
		if err != nil {
			return "", err
		}
		if _, err := copyFile(ctx, w.file(rel), dst); err != nil {
			if !exists(w.file(rel)) {
				continue
			}
			return "", err
		}
		mode := os.FileMode(0o444)
		if info, err := os.Stat(dst); err == nil && info.Mode()&0o111 != 0 {
			mode = 0o555
		}
		if err := os.Chmod(dst, mode); err != nil {
			return "", err
		}
	}
	return filepath.Join(w.private, base), nil
}

// certain hashes all artifacts a last time: what is published is what was
// hashed when it was made and then judged.
func (w *workspace) certain(ctx context.Context, m *Manifest) error {
	return each(ctx, runtime.NumCPU(), m.Artifacts, func(ctx context.Context, e Entry) error {
		rel := e.Path
		if w.isStaged(rel) {
			rel = path.Join(stageDir, "new", rel)
		}
		if link, err := w.root.Lstat(filepath.FromSlash(rel)); err == nil && !link.Mode().IsRegular() {
			return tampered(e.Path, "it was changed while this run worked: it is not a regular file any more")
		}
		f, err := w.root.OpenFile(filepath.FromSlash(rel), os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			return tampered(e.Path, "it was changed while this run worked: %w", err)
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() || info.Size() != e.Size || formatMode(info.Mode()) != e.Mode {
			return tampered(e.Path, "it was changed while this run worked: it is not a regular file of %d bytes and mode %s any more", e.Size, e.Mode)
		}
		sum, err := hashReader(ctx, f)
		if err != nil {
			return err
		}
		if sum != e.SHA256 {
			return tampered(e.Path, "it was changed while this run worked: its SHA-256 is %s, not %s", sum, e.SHA256)
		}
		return nil
	})
}

func tampered(file, format string, args ...any) error {
	return &signing.Error{Kind: signing.Tampered, File: file, Err: fmt.Errorf(format, args...)}
}
