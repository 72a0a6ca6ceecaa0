package host

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A kernel is fetched, not installed: it is booted in a virtual machine, and
// this machine's own boot is none of our business. The Debian package behind a
// name like linux-image-cloud-amd64 (which leads to the present version) is
// downloaded by apt, which holds it to the signed lists of the archive, and the
// kernel's image is taken from it, and one module, which tests verify:
//
//	hallmark/kernels/RELEASE/vmlinuz         below the user's cache folder
//	hallmark/kernels/RELEASE/dummy.ko[.xz]
//
// Package compat looks there. No step needs root. Where this machine's lists
// are stale, absent, or of another architecture, apt is given a folder of its
// own for lists.

// EnvDebian names a mirror of Debian, without the folders debian and
// debian-security, for machines whose own archive has none of the kernels. Its
// packages are held to Debian's keys all the same.
const EnvDebian = "HALLMARK_DEBIAN"

const debianKeys = "usr/share/keyrings/debian-archive-keyring.gpg"

// kernels returns the images of a series that are there, "6.1".
func (s system) kernels(series string) []string {
	if s.cache == "" {
		return nil
	}
	found, err := filepath.Glob(filepath.Join(s.cache, "hallmark", "kernels", series+".*", "vmlinuz"))
	if err != nil {
		return nil
	}
	found = slices.DeleteFunc(found, func(image string) bool {
		modules, err := filepath.Glob(filepath.Join(filepath.Dir(image), "dummy.ko*"))
		return err != nil || len(modules) == 0
	})
	slices.Sort(found)
	return found
}

// fetchKernels fetches those of tools that are kernels and are missing. Where
// there is no apt, or its archive has none of a series, it says so, and that is
// no error.
func (s system) fetchKernels(ctx context.Context, out io.Writer, tools []Tool) error {
	return s.fetchEach(ctx, out, tools, func(t Tool) bool { return t.Kernel != "" }, s.fetchKernel)
}

// fetchEach fetches what is missing of tools and wanted. What is not to be had
// here is said, and is no error.
func (s system) fetchEach(ctx context.Context, out io.Writer, tools []Tool, wanted func(Tool) bool, fetch func(context.Context, io.Writer, Tool) error) error {
	var errs []error
	for _, f := range s.look(tools) {
		if !wanted(f.Tool) || f.Err == nil || s.cache == "" {
			continue
		}
		err := fetch(ctx, out, f.Tool)
		var none *absentError
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &none):
			fmt.Fprintf(out, "setup: %s: %v: without it: %s\n", f.Name, none, f.Purpose)
		case err != nil:
			errs = append(errs, fmt.Errorf("fetching %s: %w", f.Name, err))
		}
	}
	return errors.Join(errs...)
}

// absentError says that something is not to be had here.
type absentError struct{ why string }

func (e *absentError) Error() string { return e.why }

func (s system) fetchKernel(ctx context.Context, out io.Writer, t Tool) error {
	dirs := s.pathDirs()
	for _, name := range []string{"apt-get", "apt-cache", "dpkg-deb"} {
		if lookIn(dirs, []string{name}) == "" {
			return &absentError{name + " is not here, which would fetch it"}
		}
	}
	root := filepath.Join(s.cache, "hallmark", "kernels")
	if err := os.MkdirAll(root, 0o777); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(root, ".new-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	a := kernelApt{system: s, dir: dir}
	var deb, release string
	if s.goarch == "amd64" {
		deb, release, err = a.download(ctx, out, t)
	}
	var none *absentError
	if errors.As(err, &none) && s.getenv(EnvDebian) == "" {
		// Where there are lists, newer ones would not have it either.
		if lists, err := fs.Glob(s.root, "var/lib/apt/lists/*_Packages*"); err == nil && len(lists) > 0 {
			return &absentError{none.why + ": on Ubuntu, set " + EnvDebian + " to the URL of a mirror of Debian"}
		}
	}
	if deb == "" && ctx.Err() == nil {
		if err := a.ownLists(ctx, out); err != nil {
			return err
		}
		deb, release, err = a.download(ctx, out, t)
	}
	if err != nil {
		return err
	}
	made := filepath.Join(dir, "made")
	if err := os.Mkdir(made, 0o755); err != nil {
		return err
	}
	if err := a.extract(ctx, deb, "boot/vmlinuz-"+release, filepath.Join(made, "vmlinuz")); err != nil {
		return err
	}
	for _, suffix := range []string{".xz", ""} { // since 6.12, and before
		module := "dummy.ko" + suffix
		if err = a.extract(ctx, deb, "lib/modules/"+release+"/kernel/drivers/net/"+module, filepath.Join(made, module)); err == nil {
			break
		}
	}
	if err != nil {
		return err
	}
	to := filepath.Join(root, release)
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	files, err := os.ReadDir(made)
	for _, f := range files {
		err = errors.Join(err, os.Rename(filepath.Join(made, f.Name()), filepath.Join(to, f.Name())))
	}
	return err
}

// kernelApt runs apt's programs as this user, in a folder.
type kernelApt struct {
	system
	dir     string
	options []string
}

func (a kernelApt) run(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, lookIn(a.pathDirs(), []string{name}), slices.Concat(a.options, args)...)
	cmd.Dir = a.dir
	cmd.Env = a.childEnv("DEBIAN_FRONTEND=noninteractive")
	cmd.WaitDelay = 5 * time.Second
	last := &tail{}
	cmd.Stdout, cmd.Stderr = last, last
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", &AptError{Command: name + " " + strings.Join(args, " "), Output: last.lastLines(), Err: err}
	}
	return last.String(), nil
}

// ownLists fetches lists of the archive that are for this folder alone.
func (a *kernelApt) ownLists(ctx context.Context, out io.Writer) error {
	for _, d := range []string{"lists/partial", "archives/partial"} {
		if err := os.MkdirAll(filepath.Join(a.dir, d), 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(a.dir, "status"), nil, 0o644); err != nil {
		return err
	}
	a.options = []string{"-o", "APT::Architecture=amd64", "-o", "APT::Architectures=amd64", "-o", "Acquire::Retries=3",
		"-o", "Dir::State::Lists=" + filepath.Join(a.dir, "lists"), "-o", "Dir::State::status=" + filepath.Join(a.dir, "status"), "-o", "Dir::Cache=" + a.dir}
	if mirror := strings.TrimSuffix(a.getenv(EnvDebian), "/"); mirror != "" {
		list := filepath.Join(a.dir, "sources.list")
		const signed = "deb [signed-by=/" + debianKeys + "] "
		text := signed + mirror + "/debian bookworm main\n" + signed + mirror + "/debian-security bookworm-security main\n"
		if err := os.WriteFile(list, []byte(text), 0o644); err != nil {
			return err
		}
		a.options = append(a.options, "-o", "Dir::Etc::SourceList="+list, "-o", "Dir::Etc::SourceParts=-")
	}
	fmt.Fprintln(out, "setup: fetching apt's lists for the kernels")
	_, err := a.run(ctx, "apt-get", "update", "-q")
	return err
}

// download gets the package of the kernel that one of a tool's packages leads to.
func (a kernelApt) download(ctx context.Context, out io.Writer, t Tool) (deb, release string, err error) {
	for _, meta := range slices.Concat(t.Packages, t.Fallback) {
		text, err := a.run(ctx, "apt-cache", "depends", meta)
		if ctx.Err() != nil {
			return "", "", ctx.Err()
		}
		if err != nil {
			continue // apt does not know it
		}
		// linux-image-cloud-amd64
		//   Depends: linux-image-6.1.0-56-cloud-amd64
		for l := range strings.Lines(text) {
			name, ok := strings.CutPrefix(strings.TrimSpace(l), "Depends: linux-image-")
			if ok && strings.HasPrefix(name, t.Kernel+".") && !strings.ContainsAny(name, "/ ") {
				release = name
			}
		}
		if release != "" {
			break
		}
	}
	if release == "" {
		return "", "", &absentError{"apt has no package " + strings.Join(slices.Concat(t.Packages, t.Fallback), ", ") + " of Linux " + t.Kernel}
	}
	fmt.Fprintf(out, "setup: fetching linux-image-%s, which is not installed\n", release)
	if _, err := a.run(ctx, "apt-get", "download", "-q", "linux-image-"+release); err != nil {
		return "", "", err
	}
	found, err := filepath.Glob(filepath.Join(a.dir, "linux-image-*.deb"))
	if err != nil || len(found) != 1 {
		return "", "", fmt.Errorf("apt-get download left %d packages, not one", len(found))
	}
	return found[0], release, nil
}

// extract takes one file from a package: the rest, modules, is 100 MB.
func (a kernelApt) extract(ctx context.Context, deb, name, to string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, lookIn(a.pathDirs(), []string{"dpkg-deb"}), "--fsys-tarfile", deb)
	cmd.Env = a.childEnv()
	cmd.WaitDelay = time.Second
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = extractFile(pipe, name, to)
	cancel() // what follows is not wanted
	cmd.Wait()
	if err != nil {
		return fmt.Errorf("unpacking %s: %w", filepath.Base(deb), err)
	}
	return nil
}

func extractFile(from io.Reader, name, to string) error {
	for r := tar.NewReader(from); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("there is no %s in it", name)
		}
		if err != nil {
			return err
		}
		if strings.TrimPrefix(h.Name, "./") != name || h.Typeflag != tar.TypeReg {
			continue
		}
		f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, r)
		return errors.Join(err, f.Sync(), f.Close())
	}
}
