package boundaries

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/hallmark-build/hallmark/build/dist"
)

// places are other file systems for the files of cases.
type places struct {
	tmpfs, fuse     string // folders; empty: there is none
	noTmpfs, noFuse error
	stop            func() error
	journeys        sync.Mutex
	arrived         map[string]func() (string, error) // folder of what came back, by way
}

// placeError says that this machine has no such file system.
type placeError struct {
	place string
	err   error
}

func (e *placeError) Error() string { return "no " + e.place + ": " + e.err.Error() }
func (e *placeError) Unwrap() error { return e.err }

// problem returns why a place cannot be used.
func (p *places) problem(place string) error {
	if place == "tmpfs" {
		return p.noTmpfs
	}
	return p.noFuse
}

// travel sends a signed file through an archive, package or disk image. All
// files go by one, the first time somebody asks.
func (m *maker) travel(ctx context.Context, by string, sp spec, base piece) (piece, error) {
	m.places.journeys.Lock()
	arrive, ok := m.places.arrived[by]
	if !ok {
		arrive = sync.OnceValues(func() (string, error) { return m.depart(ctx, by) })
		m.places.arrived[by] = arrive
	}
	m.places.journeys.Unlock()
	dir, err := arrive()
	if err != nil {
		return piece{}, err
	}
	dir = filepath.Join(dir, sp.artifact.name+"-"+sp.scheme.name)
	p, err := readPiece(filepath.Join(dir, base.name))
	if err != nil {
		return piece{}, err
	}
	p.beside = map[string][]byte{}
	for suffix := range base.beside {
		if p.beside[suffix], err = os.ReadFile(filepath.Join(dir, base.name+suffix)); err != nil {
			return piece{}, err
		}
	}
	return p, nil
}

// depart packs the signed files of all travellers, and unpacks them again with
// the programs that users have: unzip, tar, dpkg-deb, rpm2archive, debugfs.
func (m *maker) depart(ctx context.Context, by string) (string, error) {
	dir := filepath.Join(m.dir, "journeys", by)
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	if err := os.MkdirAll(to, 0o755); err != nil {
		return "", err
	}
	var files []dist.File
	for _, sp := range m.travellers {
		p, err := m.base(ctx, sp)
		if err != nil {
			return "", err
		}
		rel := sp.artifact.name + "-" + sp.scheme.name
		if _, err := p.write(filepath.Join(from, rel), ""); err != nil {
			return "", err
		}
		add := func(name string, mode os.FileMode) {
			inside := rel + "/" + name
			if by == dist.Deb || by == dist.RPM {
				inside = "/opt/boundaries/" + inside
			}
			files = append(files, dist.File{Name: inside, Path: filepath.Join(from, rel, name), Mode: mode})
		}
		add(p.name, 0o755)
		for suffix := range p.beside {
			add(p.name+suffix, 0o644)
		}
	}
	packed := filepath.Join(dir, "packed."+by)
	if by == "ext4" {
		return filepath.Join(to, "from"), m.ext4(ctx, dir, from, to, packed)
	}
	if err := packFiles(by, packed, files); err != nil {
		return "", fmt.Errorf("packing %s: %w", by, err)
	}
	switch by {
	case dist.Zip:
		return to, runTool(ctx, to, "unzip", "-q", packed)
	case dist.TarGz:
		return to, runTool(ctx, to, "tar", "-xzf", packed)
	case dist.Deb:
		return filepath.Join(to, "opt/boundaries"), runTool(ctx, to, "dpkg-deb", "-x", packed, ".")
	}
	// It writes packed.rpm.tgz beside the package.
	if err := runTool(ctx, dir, "rpm2archive", packed); err != nil {
		return "", err
	}
	return filepath.Join(to, "opt/boundaries"), runTool(ctx, to, "tar", "-xzf", packed+".tgz")
}

// ext4 copies a folder into a file system and out of it, without mounting it.
func (m *maker) ext4(ctx context.Context, dir, from, to, image string) error {
	var size int64
	err := filepath.WalkDir(from, func(_ string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size() + 4096
		}
		return err
	})
	if err != nil {
		return err
	}
	f, err := os.Create(image)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(size*5/4+(32<<20)), f.Close()); err != nil {
		return err
	}
	// The folder becomes the root of the file system; debugfs names its copy so.
	if err := runTool(ctx, dir, "mke2fs", "-q", "-t", "ext4", "-F", "-d", from, image); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(to, "from"), 0o755); err != nil {
		return err
	}
	return errors.Join(runTool(ctx, dir, "debugfs", "-R", "rdump / "+filepath.Join(to, "from"), image), os.Remove(image))
}
