package build

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// maxAsset bounds an icon or an application manifest, which are read whole.
const maxAsset = 64 << 20

// readAsset reads a file of the module that the configuration names, to be put into programs. The file must be regular,
// and no link on the way to it may leave the module's folder: what a checkout links to on this machine is not for others
// to read.
func (b *Builder) readAsset(name string) ([]byte, error) {
	rel := filepath.FromSlash(name)
	if filepath.IsAbs(rel) {
		var err error
		if rel, err = filepath.Rel(b.src.Dir, rel); err != nil {
			return nil, err
		}
	}
	if !filepath.IsLocal(rel) {
		return nil, errors.New("not a path inside the module's folder: copy the file into the module")
	}
	root, err := os.OpenRoot(b.src.Dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	info, err := root.Stat(rel)
	if err != nil {
		return nil, b.assetError(rel, err)
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	// Non-blocking, because a FIFO may have taken its place by now.
	f, err := root.OpenFile(rel, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, b.assetError(rel, err)
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(errors.New("not a regular file"), err)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxAsset+1))
	if err == nil && len(data) > maxAsset {
		err = fmt.Errorf("longer than %d bytes", maxAsset)
	}
	return data, err
}

// assetError tells a link that leads out of the module from a file that cannot be opened.
func (b *Builder) assetError(rel string, err error) error {
	if _, statErr := os.Stat(filepath.Join(b.src.Dir, rel)); statErr == nil && !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("a link leads out of the module's folder: copy the file into the module: %w", err)
	}
	return err
}
