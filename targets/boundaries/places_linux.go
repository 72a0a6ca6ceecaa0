package boundaries

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"
)

const tmpfsMagic = 0x01021994 // statfs(2)

// openPlaces finds a tmpfs, and mounts the folder cases a second time through
// FUSE, by bindfs.
func openPlaces(ctx context.Context, cases, mount string) *places {
	p := &places{arrived: map[string]func() (string, error){}, stop: func() error { return nil }}
	var fs syscall.Statfs_t
	if err := syscall.Statfs("/dev/shm", &fs); err != nil {
		p.noTmpfs = &placeError{"tmpfs", err}
	} else if fs.Type != tmpfsMagic {
		p.noTmpfs = &placeError{"tmpfs", errors.New("/dev/shm is none")}
	} else if p.tmpfs, err = os.MkdirTemp("/dev/shm", "hallmark-boundaries-*"); err != nil {
		p.noTmpfs = &placeError{"tmpfs", err}
	}
	unmount := func() error { return nil }
	if err := os.MkdirAll(mount, 0o755); err != nil {
		p.noFuse = &placeError{"FUSE", err}
	} else if _, err := os.Stat("/dev/fuse"); err != nil {
		p.noFuse = &placeError{"FUSE", err}
	} else {
		// Of a run that was killed.
		_ = syscall.Unmount(mount, syscall.MNT_DETACH)
		if err := runTool(ctx, "/", "bindfs", "--no-allow-other", "-r", cases, mount); err != nil {
			p.noFuse = &placeError{"FUSE", err}
		} else {
			p.fuse = mount
			unmount = func() error {
				if err := syscall.Unmount(mount, syscall.MNT_DETACH); err == nil {
					return nil
				}
				ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
				defer cancel()
				if err := runTool(ctx, "/", "fusermount3", "-u", "-z", mount); err == nil {
					return nil
				}
				return runTool(ctx, "/", "fusermount", "-u", "-z", mount)
			}
		}
	}
	p.stop = func() error {
		var err error
		if p.tmpfs != "" {
			err = os.RemoveAll(p.tmpfs)
		}
		return errors.Join(err, unmount())
	}
	return p
}
