package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// openPlaces makes the folders of all places, each below the folder that the place names, and mounts those that have a
// latency. A place that cannot be had is noted, and what was to be measured there is impossible.
func (s *session) openPlaces(ctx context.Context) {
	for _, p := range s.options.Places {
		opened, err := s.openPlace(ctx, p)
		if err != nil {
			s.unusable[p.Name] = fmt.Sprintf("the place %s: %v", p.Name, err)
			continue
		}
		s.places[p.Name] = opened
		for role, dir := range map[string]string{"source": opened.Source, "output": opened.Output, "GOCACHE": opened.Cache, "GOTMPDIR": opened.Temp} {
			if dir == "" {
				continue
			}
			kind := fileSystem(dir)
			if p.Latency != "" {
				kind = "FUSE with an emulated latency of " + p.Latency
			}
			s.result.Machine.FileSystems = append(s.result.Machine.FileSystems, FileSystem{Role: p.Name + " " + role, Type: kind})
		}
	}
}

// openPlace returns the place with folders that belong to this run alone.
func (s *session) openPlace(ctx context.Context, p Place) (_ Place, err error) {
	base := filepath.Base(s.root)
	mounted := ""
	if p.Latency != "" {
		latency, err := time.ParseDuration(p.Latency)
		if err != nil {
			return p, err
		}
		backing := filepath.Join(s.root, "slow", p.Name, "backing")
		mounted = filepath.Join(s.root, "slow", p.Name, "mount")
		if err := errors.Join(os.MkdirAll(backing, 0o777), os.MkdirAll(mounted, 0o777)); err != nil {
			return p, err
		}
		unmount, err := mountSlow(backing, mounted, latency)
		if err != nil {
			return p, err
		}
		s.closers = append(s.closers, unmount)
	}
	for _, role := range []struct {
		name string
		dir  *string
	}{{"source", &p.Source}, {"output", &p.Output}, {"cache", &p.Cache}, {"temp", &p.Temp}} {
		if *role.dir == "" {
			continue
		}
		dir := filepath.Join(*role.dir, base, role.name)
		if mounted != "" {
			dir = filepath.Join(mounted, role.name)
		} else {
			above := filepath.Dir(dir)
			s.closers = append(s.closers, func() error { return removeAll(above) })
		}
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return p, err
		}
		*role.dir = dir
	}
	return p, nil
}

// closePlaces takes away what openPlaces made, the last first.
func (s *session) closePlaces() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	return errors.Join(errs...)
}

// sourceAt returns the program in the place's folder for sources, to which it is written if it is one of our own.
func (s *session) sourceAt(src *Source, p Place) (*Source, error) {
	if p.Source == "" {
		return src, nil
	}
	if !src.own {
		s.note("%s is built where it is, not in place %s: only hallmark's own programs are copied", src.Name, p.Name)
		return src, nil
	}
	moved := *src
	moved.Dir = filepath.Join(p.Source, src.Name)
	if err := writeProgram(src.Name, moved.Dir); err != nil {
		return nil, err
	}
	for _, file := range []*string{&moved.goSrc, &moved.cSrc} {
		if rel, err := filepath.Rel(src.Dir, *file); *file != "" && err == nil && filepath.IsLocal(rel) {
			*file = filepath.Join(moved.Dir, rel)
		}
	}
	return &moved, nil
}
