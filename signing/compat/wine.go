package compat

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// sources are the C programs that the judges need on the foreign side, each
// described in its file. They are compiled when they are first needed.
//
//go:embed c
var sources embed.FS

// mingw compiles what runs under Wine.
func mingw() program {
	return program{
		name: "x86_64-w64-mingw32-gcc", pkg: "gcc-mingw-w64-x86-64",
		version: []string{"--version"}, match: regexp.MustCompile(`GCC\) (\S+)`),
	}
}

// compile compiles one of sources to dst.
func (p program) compile(ctx context.Context, source, dst string, options ...string) error {
	text, err := sources.ReadFile("c/" + source)
	if err != nil {
		return err
	}
	args := append([]string{"-O2", "-s", "-x", "c", "-", "-o", dst}, options...)
	a, err := p.run(ctx, "", bytes.NewReader(text), args...)
	if err == nil && a.exit != 0 {
		err = p.unclear(a, "compiling "+source+" fails: "+last(a.stderr))
	}
	return err
}

// wine runs Windows programs. Each run has a folder of settings ("prefix") of
// its own and so a wineserver of its own: when it ends, whatever it left is
// known by the folder's name in its environment, and killed.
//
// A new prefix takes Wine ten seconds and 700 MB. So one is made for each
// version of Wine in the user's cache folder, below hallmark/wine; its
// libraries, which are copies of Wine's own, are replaced by links to those
// (20 MB remain), and a bcryptprimitives.dll is added, without which Wine 8
// starts no program of Go 1.24 or newer. A run copies the registry, and links
// the rest.
type wine struct {
	program
}

// wineTool finds Wine. Debian's package wine64 puts nothing into PATH.
func wineTool() wine {
	return wine{program{
		name: "wine64", pkg: "wine64", places: []string{"/usr/lib/wine/wine64", "wine"},
		version: []string{"--version"}, match: regexp.MustCompile(`wine-(\S+)`),
	}}
}

// key is Wine's; the compiler that its runs need is looked for too.
func (w wine) key() (Key, error) {
	if _, err := mingw().key(); err != nil {
		return Key{}, err
	}
	return w.program.key()
}

// template returns where the prefix that runs are copied from is, or will be.
// Its name is of Wine's program and of what we add.
func (w wine) template() (string, error) {
	key, err := w.key()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintf(h, "2 %v\n", key)
	for _, name := range []string{"prng.c", "start.c", "wintrust.c"} {
		text, err := sources.ReadFile("c/" + name)
		if err != nil {
			return "", err
		}
		h.Write(text)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding a place for Wine's settings: %w", err)
	}
	return filepath.Join(cache, "hallmark", "wine", fmt.Sprintf("%x", h.Sum(nil)[:8])), nil
}

// settings is the environment of a Wine whose prefix is dir. Nothing of the
// user's home is touched, no .NET or browser is asked for, no menu entries are
// made, and a fault ends a program instead of starting a debugger.
func settings(dir string) []string {
	return []string{"WINEPREFIX=" + dir, "HOME=" + dir, "WINEDEBUG=-all", "WINEDLLOVERRIDES=mscoree,mshtml=;winemenubuilder.exe,winedbg.exe=d"}
}

// prepare returns the template, and makes it where it is not there yet.
func (w wine) prepare(ctx context.Context) (string, error) {
	dir, err := w.template()
	if err != nil {
		return "", err
	}
	there := func() bool { _, err := os.Stat(dir); return err == nil }
	if there() {
		return dir, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(ctx, dir+".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if there() {
		return dir, nil // meanwhile another process has made it
	}
	made, err := os.MkdirTemp(filepath.Dir(dir), ".new-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(made)
	if err := w.make(ctx, made); err != nil {
		return "", fmt.Errorf("preparing Wine: %w", err)
	}
	return dir, os.Rename(made, dir)
}

// make makes the template in dir.
func (w wine) make(ctx context.Context, dir string) error {
	defer killMarked("WINEPREFIX=" + dir)
	w.env = settings(dir)
	if err := w.boot(ctx, "wineboot", "-i"); err != nil {
		return err
	}
	// The server writes the registry when it ends.
	if a, err := wineserver(w.env).run(ctx, "", nil, "-k", "-w"); err != nil || a.exit != 0 {
		return errors.Join(wineserver(nil).unclear(a, "it does not end"), err)
	}
	if _, err := os.Stat(filepath.Join(dir, "system.reg")); err != nil {
		return fmt.Errorf("wineboot has made no registry: %w", err)
	}
	if err := drawTitles(filepath.Join(dir, "user.reg")); err != nil {
		return err
	}
	if err := slim(dir); err != nil {
		return err
	}
	system := filepath.Join(dir, "drive_c", "windows", "system32")
	if err := mingw().compile(ctx, "prng.c", filepath.Join(system, "bcryptprimitives.dll"), "-shared", "-ladvapi32"); err != nil {
		return err
	}
	if err := mingw().compile(ctx, "wintrust.c", filepath.Join(system, wintrustProgram), "-municode", "-lwintrust"); err != nil {
		return err
	}
	return mingw().compile(ctx, "start.c", filepath.Join(system, "start-judged.exe"), "-municode")
}

// drawTitles has Wine draw the frames and titles of windows itself: no window
// manager does on our screen.
func drawTitles(registry string) error {
	f, err := os.OpenFile(registry, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString("\n[Software\\\\Wine\\\\X11 Driver] 0\n\"Managed\"=\"N\"\n")
	return errors.Join(err, f.Close())
}

// wineserver is the process that those of one prefix have in common.
func wineserver(env []string) program {
	return program{name: "wineserver", pkg: "wine64", places: []string{"/usr/lib/wine/wineserver64"}, env: env}
}

// boot starts the server of the prefix, and the first program in it, and with
// it the services of Windows. They inherit its outputs and would hold them, so
// it has none. The server stays until it is killed.
func (w wine) boot(ctx context.Context, args ...string) error {
	for _, c := range []struct {
		program
		args []string
	}{{wineserver(w.env), []string{"-p"}}, {w.program, args}} {
		key, err := c.program.key()
		if err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, key.Path, c.args...)
		cmd.Env = append(environment(), w.env...)
		ownGroup(cmd)
		if err := cmd.Run(); err != nil {
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return &CrashError{Tool: c.name, Reason: "it is not ready within the time limit"}
			}
			return fmt.Errorf("starting %s: %w", c.name, err)
		}
	}
	return nil
}

// slim replaces the files of a prefix that are copies of Wine's own by links.
func slim(dir string) error {
	var own string
	for _, pattern := range []string{"/usr/lib/*/wine/x86_64-windows", "/usr/lib/wine/x86_64-windows", "/usr/lib64/wine/x86_64-windows"} {
		if found, err := filepath.Glob(pattern); err == nil && len(found) > 0 {
			own = found[0]
			break
		}
	}
	if own == "" {
		return nil // elsewhere, it is only larger
	}
	return filepath.WalkDir(filepath.Join(dir, "drive_c"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		original := filepath.Join(own, d.Name())
		if same, err := sameContents(path, original); err != nil || !same {
			return err
		}
		if err := os.Remove(path); err != nil {
			return err
		}
		return os.Symlink(original, path)
	})
}

// sameContents says whether b is there and holds what a holds.
func sameContents(a, b string) (bool, error) {
	x, err := os.ReadFile(a)
	if err != nil {
		return false, err
	}
	y, err := os.ReadFile(b)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && len(x) > 0 && bytes.Equal(x, y), err
}

// wineRun is a prefix in use.
type wineRun struct {
	wine
	dir string
}

// open makes a prefix for one run, with the services of Windows. Close ends all
// that runs in it.
func (w wine) open(ctx context.Context) (*wineRun, error) {
	r, err := w.bare(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.boot(ctx, "cmd", "/c", "exit"); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

// bare is open without a server and services yet.
func (w wine) bare(ctx context.Context) (*wineRun, error) {
	template, err := w.prepare(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "hallmark-wine-*")
	if err != nil {
		return nil, err
	}
	r := &wineRun{wine: w, dir: dir}
	if err := r.fill(template); err != nil {
		return nil, errors.Join(err, r.close())
	}
	r.env = settings(dir)
	return r, nil
}

func (r *wineRun) fill(template string) error {
	for _, name := range []string{"system.reg", "user.reg", "userdef.reg", ".update-timestamp"} {
		if _, err := copyFile(filepath.Join(template, name), filepath.Join(r.dir, name)); err != nil {
			return err
		}
	}
	devices := filepath.Join(r.dir, "dosdevices")
	if err := os.Mkdir(devices, 0o755); err != nil {
		return err
	}
	return errors.Join(
		os.Symlink(filepath.Join(template, "drive_c"), filepath.Join(r.dir, "drive_c")),
		os.Symlink("../drive_c", filepath.Join(devices, "c:")),
		os.Symlink("/", filepath.Join(devices, "z:")))
}

func (r *wineRun) close() error {
	killMarked("WINEPREFIX=" + r.dir)
	return os.RemoveAll(r.dir)
}

// winePath is how a Windows program under Wine names a file of this machine.
func winePath(file string) (string, error) {
	file, err := filepath.Abs(file)
	return "Z:" + strings.ReplaceAll(file, "/", `\`), err
}

// guest runs a Windows program, named as Windows does, to its end in a prefix of
// its own, without the services of Windows: a program for a console needs none,
// and they take longer to start than most programs to run. Its exit code is cut to
// eight bits.
func (w wine) guest(ctx context.Context, args ...string) (a answer, err error) {
	r, err := w.bare(ctx)
	if err != nil {
		return answer{}, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	r.env = append(r.env, withoutServices)
	return r.run(ctx, "", nil, args...)
}
