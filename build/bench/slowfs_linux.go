package bench

import (
	"fmt"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// mountSlow mounts the folder backing at the folder mount, by FUSE, with a latency added to each call. The kernel keeps
// neither names nor attributes, so that every call comes through, as on a file system of another machine. It is an
// emulation of latency, and of nothing else that 9p or DrvFs do.
func mountSlow(backing, mount string, latency time.Duration) (unmount func() error, err error) {
	root, err := fs.NewLoopbackRoot(backing)
	if err != nil {
		return nil, err
	}
	slow := &slowFS{RawFileSystem: fs.NewNodeFS(root, &fs.Options{}), latency: latency}
	server, err := fuse.NewServer(slow, mount, &fuse.MountOptions{FsName: "hallmark", Name: "hallmark", DirectMount: true})
	if err != nil {
		return nil, fmt.Errorf("mounting by FUSE: %w; it needs /dev/fuse, and root or fusermount3", err)
	}
	go server.Serve()
	if err := server.WaitMount(); err != nil {
		return nil, fmt.Errorf("mounting by FUSE: %w", err)
	}
	return server.Unmount, nil
}

// slowFS passes every call on after a while.
type slowFS struct {
	fuse.RawFileSystem
	latency time.Duration
}

var _ fuse.RawFileSystem = (*slowFS)(nil)

func (f *slowFS) wait() { time.Sleep(f.latency) }

func (f *slowFS) Lookup(cancel <-chan struct{}, header *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	f.wait()
	return f.RawFileSystem.Lookup(cancel, header, name, out)
}

func (f *slowFS) GetAttr(cancel <-chan struct{}, input *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	f.wait()
	return f.RawFileSystem.GetAttr(cancel, input, out)
}

func (f *slowFS) SetAttr(cancel <-chan struct{}, input *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	f.wait()
	return f.RawFileSystem.SetAttr(cancel, input, out)
}

func (f *slowFS) Mkdir(cancel <-chan struct{}, input *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	f.wait()
	return f.RawFileSystem.Mkdir(cancel, input, name, out)
}

func (f *slowFS) Unlink(cancel <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	f.wait()
	return f.RawFileSystem.Unlink(cancel, header, name)
}

func (f *slowFS) Rmdir(cancel <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	f.wait()
	return f.RawFileSystem.Rmdir(cancel, header, name)
}

func (f *slowFS) Rename(cancel <-chan struct{}, input *fuse.RenameIn, oldName string, newName string) fuse.Status {
	f.wait()
	return f.RawFileSystem.Rename(cancel, input, oldName, newName)
}

func (f *slowFS) Create(cancel <-chan struct{}, input *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	f.wait()
	return f.RawFileSystem.Create(cancel, input, name, out)
}

func (f *slowFS) Open(cancel <-chan struct{}, input *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	f.wait()
	return f.RawFileSystem.Open(cancel, input, out)
}

func (f *slowFS) Read(cancel <-chan struct{}, input *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	f.wait()
	return f.RawFileSystem.Read(cancel, input, buf)
}

func (f *slowFS) Write(cancel <-chan struct{}, input *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	f.wait()
	return f.RawFileSystem.Write(cancel, input, data)
}

func (f *slowFS) Flush(cancel <-chan struct{}, input *fuse.FlushIn) fuse.Status {
	f.wait()
	return f.RawFileSystem.Flush(cancel, input)
}

func (f *slowFS) OpenDir(cancel <-chan struct{}, input *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	f.wait()
	return f.RawFileSystem.OpenDir(cancel, input, out)
}

func (f *slowFS) ReadDir(cancel <-chan struct{}, input *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	f.wait()
	return f.RawFileSystem.ReadDir(cancel, input, out)
}

func (f *slowFS) ReadDirPlus(cancel <-chan struct{}, input *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	f.wait()
	return f.RawFileSystem.ReadDirPlus(cancel, input, out)
}
