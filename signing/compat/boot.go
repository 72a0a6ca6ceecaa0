package compat

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// guestSource is the program that runs in the machine. It is built where it is
// needed: a release of this module holds no programs, and is used from modules
// that do not know the guest's import path.
//
//go:embed guest/*.go
var guestSource embed.FS

// Names in the folder of a machine.
const (
	fileDisk    = "disk.img"
	fileInit    = "initramfs.cpio"
	fileVars    = "vars.fd"
	fileAnswers = "answers"
)

// bootArgs are the arguments of the emulator, which runs in the machine's
// folder.
//
// cx16=off: QEMU 7.2 corrupts flags at cmpxchg16b, and about one boot in ten
// fails. No acceleration: what is asked must not depend on the host's kernel.
func bootArgs(kernel, code string, memory int64) []string {
	return []string{
		"-accel", "tcg", "-cpu", "max,cx16=off", "-m", fmt.Sprint(memory >> 20),
		"-nographic", "-no-reboot", "-nodefaults",
		"-serial", "stdio", "-serial", "file:" + fileAnswers,
		"-drive", "if=pflash,unit=0,format=raw,readonly=on,file=" + code,
		"-drive", "if=pflash,unit=1,format=raw,file=" + fileVars,
		"-drive", "if=none,id=disk,format=raw,file=" + fileDisk, "-device", "nvme,drive=disk,serial=hallmark",
		"-kernel", kernel, "-initrd", fileInit,
		"-append", "console=ttyS0 panic=-1 quiet loglevel=3 module.sig_enforce=1",
	}
}

// boot asks a kernel about files, and again from the beginning should it not
// come to an end. What was answered before an error comes with it.
func (m machine) boot(ctx context.Context, j job, files []string) (said, error) {
	dir, err := os.MkdirTemp("", "hallmark-linux-*")
	if err != nil {
		return said{}, fmt.Errorf("making a folder for the machine: %w", err)
	}
	defer os.RemoveAll(dir)
	args, err := m.prepare(ctx, dir, j, files)
	if err != nil {
		return said{}, err
	}
	for again := false; ; again = true {
		if err := makeDisk(ctx, dir, files); err != nil { // a disk that was judged is another
			return said{}, err
		}
		if err := os.Remove(filepath.Join(dir, fileAnswers)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return said{}, err
		}
		a, runErr := emulator().run(ctx, dir, nil, args...)
		text, err := readBounded(filepath.Join(dir, fileAnswers))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return said{}, fmt.Errorf("reading the machine's answers: %w", err)
		}
		heard, err := readAnswers(text, len(files))
		switch {
		case err != nil:
			return said{}, &UnclearError{Tool: m.name(""), Reason: err.Error(), Output: a.quote()}
		case heard.done:
			return heard, nil
		case runErr != nil:
			return heard, runErr
		case !again:
		case heard.release == "":
			return heard, &BootError{Console: lastWords(a.stdout + a.stderr)}
		default:
			return heard, &CrashError{Tool: m.name(""), Reason: "the machine stopped half-way, twice: " + lastWords(a.stdout+a.stderr), Output: a.quote()}
		}
	}
}

// prepare puts all that does not change between two boots into a folder, and
// returns the emulator's arguments.
func (m machine) prepare(ctx context.Context, dir string, j job, files []string) ([]string, error) {
	kernel, _, err := m.kernel()
	if err != nil {
		return nil, err
	}
	code, varsFile, err := firmware()
	if err != nil {
		return nil, err
	}
	empty, err := os.ReadFile(varsFile)
	if err != nil {
		return nil, fmt.Errorf("reading OVMF's variables: %w", err)
	}
	vars, err := withDB(empty, j.Certificates)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", varsFile, err)
	}
	init, err := guest(ctx)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	archive := initramfs([]member{{"init", 0o100755, init}, {"job.json", 0o100600, text}})
	for name, data := range map[string][]byte{fileVars: vars, fileInit: archive} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return nil, err
		}
	}
	// The module loader reads a file whole.
	memory := int64(512 << 20)
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			return nil, err
		}
		memory = max(memory, 512<<20+3*info.Size())
	}
	return bootArgs(kernel, code, memory), nil
}

// makeDisk makes an ext4 file system with the files, each under its number.
// Blocks of 4096 bytes are what fs-verity wants; mkfs chooses smaller ones for
// small disks.
func makeDisk(ctx context.Context, dir string, files []string) error {
	content := filepath.Join(dir, "disk")
	if err := os.Mkdir(content, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(content)
	size := int64(32 << 20)
	for i, file := range files {
		n, err := copyFile(file, filepath.Join(content, fmt.Sprint(i)))
		if err != nil {
			return fmt.Errorf("copying %s for the machine: %w", file, err)
		}
		size += n + n/16 + 64<<10 // with its Merkle tree
	}
	disk := filepath.Join(dir, fileDisk)
	if err := os.Remove(disk); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	a, err := mkfs().run(ctx, "", nil, "-q", "-b", "4096", "-O", "verity", "-E", "root_owner=0:0", "-d", content, disk, fmt.Sprintf("%dK", size>>10))
	if err == nil && a.exit != 0 {
		err = fmt.Errorf("mkfs.ext4 ends with exit code %d: %s", a.exit, last(a.stderr))
	}
	return err
}

// copyFile copies a file; the copy is a program to whoever asks. Links would
// be links on the disk as well, and one file's signature another's.
func copyFile(from, to string) (int64, error) {
	in, err := os.Open(from)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(out, in)
	return n, errors.Join(err, out.Chmod(0o755), out.Close())
}

// guest returns the program of the machine, from the user's cache folder if it
// has been built before.
func guest(ctx context.Context) ([]byte, error) {
	names, err := fs.Glob(guestSource, "guest/*.go")
	if err != nil {
		return nil, err
	}
	const mod = "module guest\n\ngo 1.24\n"
	digest := sha256.New()
	fmt.Fprintf(digest, "%s %q", runtime.Version(), mod)
	source := map[string][]byte{"go.mod": []byte(mod)}
	for _, name := range names {
		data, err := guestSource.ReadFile(name)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(digest, "%q %q", name, data)
		source[filepath.Base(name)] = data
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	place := filepath.Join(cache, "hallmark", "guest", hex.EncodeToString(digest.Sum(nil)[:16]))
	if built, err := os.ReadFile(place); err == nil {
		return built, nil
	}
	if err := os.MkdirAll(filepath.Dir(place), 0o755); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(filepath.Dir(place), ".new-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	for name, data := range source {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return nil, err
		}
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", "init", ".")
	cmd.Dir = dir
	cmd.Env = append(environment(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off", "GOTOOLCHAIN=local")
	for _, name := range []string{"HOME", "XDG_CACHE_HOME", "GOCACHE", "GOROOT", "GOENV"} {
		if value, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	cmd.WaitDelay = waitDelay
	ownGroup(cmd)
	out, err := cmd.CombinedOutput()
	killGroup(cmd)
	if errors.Is(err, exec.ErrNotFound) {
		return nil, &MissingError{Tool: "go", Package: "golang-go"}
	}
	if err != nil {
		return nil, fmt.Errorf("building the program of the machine: %w: %s", err, last(string(out)))
	}
	built, err := os.ReadFile(filepath.Join(dir, "init"))
	if err != nil {
		return nil, err
	}
	return built, os.Rename(filepath.Join(dir, "init"), place)
}

// lastWords returns the end of a console in one line, without what colours it.
func lastWords(console string) string {
	const most = 5
	var lines []string
	for l := range strings.Lines(console) {
		l = strings.TrimSpace(strings.Map(func(r rune) rune {
			if r < ' ' && r != '\t' {
				return -1
			}
			return r
		}, l))
		if l != "" {
			lines = append(lines, l)
		}
	}
	if len(lines) == 0 {
		return "none"
	}
	words := strings.Join(slices.Clone(lines[max(0, len(lines)-most):]), " | ")
	if len(words) > 250 {
		words = "… " + words[len(words)-250:]
	}
	return strings.ToValidUTF8(words, "\uFFFD")
}
