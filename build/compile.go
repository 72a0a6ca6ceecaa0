package build

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/hallmark-build/hallmark/build/environ"
)

// A Builder compiles the targets of one source. It remembers what it has found out about the Go versions and the C
// compilers of this machine, and may be used by several goroutines at once.
type Builder struct {
	src       Source
	envs      memo[string, map[string]string] // go env, by pinned version
	compilers memo[string, *compiler]
	versions  memo[string, string] // of tools, by path
	icons     memo[string, []byte] // .ico files, by name
	running   atomic.Int32         // compilations at this moment

	newestClang int // the highest clang-N that is looked for
}

// NewBuilder returns a Builder for the source. It fails when there is no usable go command, and with a *[ConfigError] when
// GOFLAGS would have it build something else than the source.
func NewBuilder(ctx context.Context, src Source) (*Builder, error) {
	b := &Builder{src: src, newestClang: newestClang}
	// The go command itself stops at -C, with other words.
	if err := b.checkGoFlags(map[string]string{"GOFLAGS": os.Getenv("GOFLAGS")}); err != nil {
		return nil, err
	}
	env, err := b.goEnv(ctx, "")
	if err != nil {
		return nil, err
	}
	if err := b.checkGoFlags(env); err != nil {
		return nil, err
	}
	return b, nil
}

// goEnv returns the output of go env for a pinned version, or for the one in use when pin is "".
func (b *Builder) goEnv(ctx context.Context, pin string) (map[string]string, error) {
	return b.envs.get(pin, func() (map[string]string, error) {
		cmd := command(ctx, "go", "env", "-json")
		cmd.Dir = b.src.Dir
		cmd.Env = environ.Tools(ctx, pinned(pin)...)
		cmd.Env = append(cmd.Env, "PWD="+b.src.Dir)
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := runCommand(ctx, cmd); err != nil {
			words := strings.TrimSpace(stderr.String())
			switch {
			case isNotFound(err):
				return nil, &MissingError{Tool: "go", Package: "golang-go"}
			case pin != "" && ctx.Err() == nil:
				return nil, fmt.Errorf("go %s cannot be had (%s); check the version, and GOPROXY and the network from which it comes", pin, words)
			}
			return nil, fmt.Errorf("go env in %s: %w: %s", b.src.Dir, err, words)
		}
		env := make(map[string]string)
		if err := json.Unmarshal(stdout.Bytes(), &env); err != nil {
			return nil, fmt.Errorf("reading go env: %w", err)
		}
		return env, nil
	})
}

// pinned returns the environment that makes the go command be of a version.
func pinned(version string) []string {
	if version == "" {
		return nil
	}
	return []string{"GOTOOLCHAIN=go" + strings.TrimPrefix(version, "go")}
}

// Compile builds the target and writes it to dst, whole and read back, or not at all. Its errors are
// *[CompileError], *[MismatchError], *[MissingError], *[PackageError], or of the file system.
func (b *Builder) Compile(ctx context.Context, t Target, dst string) (bin Binary, err error) {
	c, err := b.compiler(t)
	if err != nil {
		return Binary{}, fmt.Errorf("%s: %w", t, err)
	}
	rsrc, err := b.resources(t)
	if err != nil {
		return Binary{}, fmt.Errorf("%s: %w", t, err)
	}
	if err := os.MkdirAll(filepath.Dir(dst), 0o777); err != nil {
		return Binary{}, fmt.Errorf("%s: %w", t, err)
	}
	// Beside dst, so that the last step is a rename.
	tmp, err := os.MkdirTemp(filepath.Dir(dst), ".hallmark-")
	if err != nil {
		return Binary{}, fmt.Errorf("%s: %w", t, err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()

	built := filepath.Join(tmp, t.file())
	asked := t
	t, note, err := b.link(ctx, t, c, built)
	if err != nil {
		return Binary{}, err
	}
	if rsrc != nil {
		with := filepath.Join(tmp, "with-resources")
		added, err := rsrc.addTo(built, with)
		if err != nil {
			return Binary{}, fmt.Errorf("%s: adding resources: %w", t, err)
		}
		if added {
			built = with
		} else if t.Windows != (Windows{}) {
			return Binary{}, fmt.Errorf("%s: %w", t, b.ownResources(ctx, t, c))
		}
	}
	if bin, err = b.readBinary(ctx, built, t); err != nil {
		// The go command makes an archive of a package that is no program.
		if err := b.checkPackage(ctx, t); err != nil {
			return Binary{}, fmt.Errorf("%s: %w", t, err)
		}
		if m, ok := errors.AsType[*MismatchError](err); ok {
			m.File = dst // where it would have been
		}
		return Binary{}, err
	}
	if err := os.Rename(built, dst); err != nil {
		return Binary{}, fmt.Errorf("%s: %w", t, err)
	}
	if err := syncFile(filepath.Dir(dst)); err != nil {
		return Binary{}, fmt.Errorf("%s: %w", t, err)
	}
	bin.Path, bin.Target, bin.Note = dst, asked, note
	return bin, nil
}

// link builds the target with the linker that withLinker chooses, and, should that one not do, with the compiler's own,
// which note then says. It returns the target as it was built.
func (b *Builder) link(ctx context.Context, t Target, c *compiler, dst string) (_ Target, note string, err error) {
	fast := b.withLinker(t, c)
	err = b.goBuild(ctx, fast, c, dst)
	if fast.linker() == t.linker() || err == nil && linkedBy(dst, fast) || err != nil && !linkFailed(err) {
		return fast, "", err
	}
	if e := os.Remove(dst); e != nil && !errors.Is(e, fs.ErrNotExist) {
		return t, "", e
	}
	if e := b.goBuild(ctx, t, c, dst); e != nil {
		return t, "", cmp.Or(err, e)
	}
	return t, fmt.Sprintf("linked by %s, because %s did not", c.linker.Name, c.fast.Name), nil
}

// goBuild runs the go command.
func (b *Builder) goBuild(ctx context.Context, t Target, c *compiler, dst string) error {
	running := b.running.Add(1)
	defer b.running.Add(-1)
	args, err := b.goArguments(t, int(running), dst)
	if err != nil {
		return fmt.Errorf("%s: %w", t, err)
	}
	cmd := command(ctx, "go", args...)
	cmd.Dir = b.src.Dir
	var links string
	if cmd.Env, links, err = b.environment(ctx, t, c); err != nil {
		return fmt.Errorf("%s: %w", t, err)
	}
	if links != "" {
		defer os.RemoveAll(links) // in the system's folder for temporary files, which outlives a failure to remove
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = runCommand(ctx, cmd)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", t, err)
	}
	// Better words for what the go command reports in its own terms. Not looked for before: it is seldom wrong.
	if err := b.checkPackage(ctx, t); err != nil {
		return fmt.Errorf("%s: %w", t, err)
	}
	words := strings.TrimSpace(out.String())
	if c != nil && c.lacksCXX(words) {
		return fmt.Errorf("%s: the program holds C++: %w", t, &MissingError{Tool: gnuTriple(t.Platform) + "-g++", Package: debianPackages(t.Platform, "g++")})
	}
	return &CompileError{Target: t, Output: words, Err: err}
}

// goArguments returns the arguments of the go command, when running compilations, this one included, share the machine.
func (b *Builder) goArguments(t Target, running int, dst string) ([]string, error) {
	ldflags, err := t.linkFlags(b.src.Version)
	if err != nil {
		return nil, err
	}
	args := []string{"build", "-trimpath", "-buildvcs=" + strconv.FormatBool(b.src.Revision != "" && !b.src.unstamped), "-o", dst}
	if cores := runtime.GOMAXPROCS(0); running > 1 {
		args = append(args, "-p="+strconv.Itoa(max(1, cores/running)))
	}
	if len(t.Tags) > 0 {
		args = append(args, "-tags="+strings.Join(t.Tags, ","))
	}
	if ldflags != "" {
		args = append(args, "-ldflags="+ldflags)
	}
	return append(args, b.pattern(t.Package)), nil
}

// environment returns the environment of the go command, and the folder of links to the C compiler that PATH begins with,
// which the caller removes, or "".
func (b *Builder) environment(ctx context.Context, t Target, c *compiler) (env []string, links string, err error) {
	env = environ.Tools(ctx, t.Platform.environment()...)
	env = append(env, pinned(t.Go)...)
	// Later entries win.
	env = append(env, "PWD="+b.src.Dir, "SOURCE_DATE_EPOCH="+strconv.FormatInt(b.src.Time.Unix(), 10))
	if c == nil {
		return append(env, "CGO_ENABLED=0"), "", nil
	}
	more, err := b.compilerEnv(ctx, c, t.Platform)
	if err != nil {
		return nil, "", err
	}
	if links, err = c.install(); err != nil {
		return nil, "", err
	}
	if links != "" {
		more = append(more, "PATH="+links+string(os.PathListSeparator)+os.Getenv("PATH"))
	}
	return append(append(env, "CGO_ENABLED=1", "CC="+c.ccName, "CXX="+c.cxxName), more...), links, nil
}

// pattern returns the package as the go command wants it: a folder of the module needs a leading "./".
func (b *Builder) pattern(pkg string) string {
	if pkg == "" {
		return "."
	}
	if strings.HasPrefix(pkg, ".") || filepath.IsAbs(pkg) {
		return pkg
	}
	if info, err := os.Stat(filepath.Join(b.src.Dir, filepath.FromSlash(pkg))); err == nil && info.IsDir() {
		return "./" + pkg
	}
	return pkg
}

// readBinary makes the file durable, reads it back and takes its digest.
func (b *Builder) readBinary(ctx context.Context, file string, t Target) (Binary, error) {
	if err := syncFile(file); err != nil {
		return Binary{}, fmt.Errorf("%s: %w", t, err)
	}
	info, err := readBack(file, t)
	if err != nil {
		return Binary{}, err
	}
	if err := b.checkStamp(ctx, file, info); err != nil {
		return Binary{}, err
	}
	f, err := os.Open(file)
	if err != nil {
		return Binary{}, fmt.Errorf("%s: %w", t, err)
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return Binary{}, fmt.Errorf("%s: %w", t, err)
	}
	return Binary{Target: t, Path: file, Size: n, SHA256: hex.EncodeToString(h.Sum(nil)), GoVersion: info.GoVersion}, nil
}

// checkStamp tells whether the file says of itself that it was built from the source. It does not when the user
// commits or edits while it is built, or when the release itself writes files that git is not told to ignore.
func (b *Builder) checkStamp(ctx context.Context, file string, info *debug.BuildInfo) error {
	settings := buildSettings(info)
	revision, ok := settings["vcs.revision"]
	if !ok {
		return nil // no git checkout, or a program of another module
	}
	c := check{file: file}
	if err := c.expect("vcs.revision", b.src.Revision, revision); err != nil {
		return err
	}
	if settings["vcs.modified"] == "true" && !b.src.Modified {
		which := "files were changed or added since the release began"
		if err := b.src.Changed(ctx); errors.As(err, new(*ChangedError)) {
			which = err.Error()
		}
		return c.expect("vcs.modified", "false", "true ("+which+"; is the dist folder in .gitignore?)")
	}
	return nil
}

// syncFile writes a file, or the names in a folder, through to the disk.
func syncFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	err = f.Sync()
	return errors.Join(err, f.Close())
}

// memoryPerBuild is what the Go link of a large program takes.
const memoryPerBuild = 1 << 30

// Jobs returns how many compilations should run at once: as many as there are processors to run them, and for each a
// GiB of memory that is available.
func Jobs() int {
	jobs := runtime.GOMAXPROCS(0)
	for _, free := range availableMemory() {
		jobs = min(jobs, int(free/memoryPerBuild))
	}
	return max(1, jobs)
}

// availableMemory returns the bytes that the machine and the control group have left, as far as the system tells.
func availableMemory() []int64 {
	var free []int64
	if data, err := os.ReadFile("/proc/meminfo"); err == nil {
		for line := range strings.Lines(string(data)) {
			f := strings.Fields(line)
			if len(f) == 3 && f[0] == "MemAvailable:" {
				if kib, err := strconv.ParseInt(f[1], 10, 64); err == nil {
					free = append(free, kib<<10)
				}
			}
		}
	}
	number := func(file string) (int64, bool) {
		data, err := os.ReadFile(file)
		if err != nil {
			return 0, false
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
		return n, err == nil // "max" is no limit
	}
	if limit, ok := number("/sys/fs/cgroup/memory.max"); ok {
		used, _ := number("/sys/fs/cgroup/memory.current")
		free = append(free, limit-used)
	}
	return slices.Clip(free)
}
