package compat

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Limit is the time that one judge has for one file. The slowest of them
// verifies a 200 MB file in about two seconds.
const Limit = 2 * time.Minute

// waitDelay is how long a killed or finished program's children may still hold
// its output open before it is closed over their heads.
const waitDelay = 2 * time.Second

// maxOutput bounds what is kept of a program's output. The longest honest
// answer, osslsigncode on several signatures, is about 10 KB.
const maxOutput = 1 << 20

// maxQuote bounds the output that is quoted in an error.
const maxQuote = 4 << 10

// program is one foreign program.
type program struct {
	name    string         // as PATH has it
	pkg     string         // Debian package
	version []string       // arguments that print the version
	match   *regexp.Regexp // its first group is the version
	places  []string       // where else it may be, absolute; PATH comes first
	env     []string       // what it needs beside environment
	built   string         // folder below hallmark/tools in the user's cache folder where `mage setup` builds it; empty: PATH alone has it
	also    []string       // folders to look in after PATH
}

// markVariable is set to a value of its own in the environment of each run of a
// program, and so of all processes that it starts.
const markVariable = "HALLMARK_JUDGE_RUN"

// answer is what a program said.
type answer struct {
	stdout, stderr string
	exit           int
}

func (p program) key() (Key, error) {
	path, err := exec.LookPath(p.name)
	for _, place := range p.places {
		if err == nil {
			break
		}
		path, err = exec.LookPath(place)
	}
	if cache, cacheErr := os.UserCacheDir(); err != nil && p.built != "" && cacheErr == nil {
		path, err = exec.LookPath(filepath.Join(cache, "hallmark", "tools", p.built, p.name))
	}
	for _, dir := range p.also {
		if err != nil {
			path, err = exec.LookPath(filepath.Join(dir, p.name))
		}
	}
	if err != nil {
		return Key{}, &MissingError{Tool: p.name, Package: p.pkg}
	}
	if path, err = filepath.Abs(path); err != nil {
		return Key{}, fmt.Errorf("finding %s: %w", p.name, err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return Key{}, fmt.Errorf("finding %s: %w", p.name, err)
	}
	return Key{Path: path, Size: info.Size(), ModTime: info.ModTime()}, nil
}

func (p program) find(ctx context.Context) (string, error) {
	a, err := p.run(ctx, "", nil, p.version...)
	if err != nil {
		return "", err
	}
	m := p.match.FindStringSubmatch(a.stdout + "\n" + a.stderr)
	if m == nil {
		return "", p.unclear(a, "asked for its version, it does not answer as "+p.name+" does")
	}
	return m[1], nil
}

// run runs the program to its end in dir (empty: the current folder), with
// stdin (nil: empty). A non-zero exit code is no error here; being killed is.
func (p program) run(ctx context.Context, dir string, stdin io.Reader, args ...string) (answer, error) {
	key, err := p.key()
	if err != nil {
		return answer{}, err
	}
	return p.execute(ctx, key.Path, dir, stdin, args...)
}

// execute is run of the file at path, which is not looked for.
func (p program) execute(ctx context.Context, path, dir string, stdin io.Reader, args ...string) (answer, error) {
	var stdout, stderr boundedBuffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = dir
	cmd.Stdin = stdin
	cmd.Stdout = &stdout
	cmd.Stderr = &stderr
	mark := markVariable + "=" + rand.Text()
	cmd.Env = append(append(environment(), p.env...), mark)
	cmd.WaitDelay = waitDelay
	ownSession(cmd)
	adopts := adoptOrphans()
	started := time.Now()
	err := cmd.Run()
	killGroup(cmd)
	// Programs in a prefix of Wine share its server and its services, whichever
	// of them started these. They are killed with the prefix; see killMarked.
	if !slices.ContainsFunc(p.env, func(kv string) bool { return strings.HasPrefix(kv, "WINEPREFIX=") }) {
		killOrphans(mark, started, adopts)
	}

	a := answer{stdout: string(stdout.kept), stderr: string(stderr.kept), exit: -1}
	if cmd.ProcessState != nil {
		a.exit = cmd.ProcessState.ExitCode()
	}
	crash := func(reason string) error {
		return &CrashError{Tool: p.name, Reason: reason, Output: a.quote()}
	}
	// The time limit comes before the signal: the signal is then ours.
	if err != nil && ctx.Err() != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return a, crash("no answer within the time limit; killed with its children")
		}
		return a, fmt.Errorf("running %s: %w", p.name, context.Cause(ctx))
	}
	if cmd.ProcessState == nil {
		return a, fmt.Errorf("running %s: %w", path, err)
	}
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return a, crash("signal: " + ws.Signal().String())
	}
	// A shell that wraps the program reports its signal as 128 + number; the
	// numbers end at 64. 255 is an ordinary exit(-1).
	if a.exit > 128 && a.exit <= 128+64 {
		return a, crash(fmt.Sprintf("exit code %d, which is how a shell reports signal %d", a.exit, a.exit-128))
	}
	if errors.Is(err, exec.ErrWaitDelay) {
		return a, crash("it ended, but left children that hold its output; killed")
	}
	if stdout.over || stderr.over {
		return a, p.unclear(a, fmt.Sprintf("it printed more than %d bytes", maxOutput))
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return a, fmt.Errorf("running %s: %w", path, err)
	}
	return a, nil
}

func (p program) refuse(a answer, reason string) error {
	return &RefusalError{Judge: p.name, Reason: short(reason), Output: a.quote()}
}

// unread is a refusal of a program that says that it cannot read the file. Of a
// file that is broken, that is a verdict; see knownLimit.
func (p program) unread(a answer, reason string) error {
	return &RefusalError{Judge: p.name, Reason: short(reason), Output: a.quote(), unread: true}
}

func (p program) unclear(a answer, reason string) error {
	return &UnclearError{Tool: p.name, Reason: short(reason), Output: a.quote()}
}

// quote returns the program's words for an error, the end of them if long:
// verdicts come last.
func (a answer) quote() string {
	s := strings.TrimSpace(strings.TrimSpace(a.stdout) + "\n" + strings.TrimSpace(a.stderr))
	if len(s) > maxQuote {
		s = "… " + strings.ToValidUTF8(s[len(s)-maxQuote:], "")
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// short bounds a reason, which may quote a line of a program's output.
func short(reason string) string {
	if len(reason) > 300 {
		reason = reason[:300] + " …"
	}
	return strings.ToValidUTF8(reason, "\uFFFD")
}

// last returns the last line of s that is not blank, for a reason in one line.
func last(s string) string {
	s = strings.TrimSpace(s)
	return strings.TrimSpace(s[strings.LastIndexByte(s, '\n')+1:])
}

// environment is all that a judge's program sees of ours, and a mark that keeps
// killOrphans of another run from it.
func environment() []string {
	env := []string{"LC_ALL=C", "TZ=UTC", "PATH=" + os.Getenv("PATH"), markVariable + "=" + rand.Text()}
	if dir := os.Getenv("TMPDIR"); dir != "" {
		env = append(env, "TMPDIR="+dir)
	}
	return env
}

// boundedBuffer keeps the first maxOutput bytes and swallows the rest, so that
// a program that prints without end meets its time limit, not our memory.
type boundedBuffer struct {
	kept []byte
	over bool
}

func (b *boundedBuffer) Write(p []byte) (int, error) {
	room := maxOutput - len(b.kept)
	b.over = b.over || len(p) > room
	b.kept = append(b.kept, p[:min(len(p), room)]...)
	return len(p), nil
}

// argument keeps a file name from being read as an option.
func argument(file string) string {
	if strings.HasPrefix(file, "-") {
		return "./" + file
	}
	return file
}

// cacheFolder is the user's cache folder for a POSIX shell, as os.UserCacheDir
// finds it on Linux.
const cacheFolder = "${XDG_CACHE_HOME:-$HOME/.cache}"

// inCache writes a path for a POSIX shell: one in the user's cache folder as that
// of whoever runs the command.
func inCache(path string) string {
	if cache, err := os.UserCacheDir(); err == nil {
		if rest, ok := strings.CutPrefix(path, cache+"/"); ok {
			return `"` + cacheFolder + `"/` + quote(rest)
		}
	}
	return quote(path)
}

// search makes a shell look for a program that `mage setup` builds where it puts
// that, too.
func (p program) search() string {
	if p.built == "" {
		return ""
	}
	return `PATH="$PATH:` + cacheFolder + "/hallmark/tools/" + p.built + `" `
}

// line joins words to a command line for a POSIX shell.
func line(words ...string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = quote(w)
	}
	return strings.Join(quoted, " ")
}

// quote writes one word for a POSIX shell.
func quote(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-./:=+,@%", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
