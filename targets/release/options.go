package release

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/term"
)

// The environment variables that are read, and not passed on to any program
// that is started.
const (
	EnvIdentity  = "HALLMARK_IDENTITY"  // takes the place of identity in hallmark.yaml
	EnvTimestamp = "HALLMARK_TIMESTAMP" // takes the place of timestamp: dev, or servers with spaces between them

	EnvPassword     = "HALLMARK_PASSWORD"      // of the identity's file
	EnvPasswordFile = "HALLMARK_PASSWORD_FILE" // a file that holds it
	EnvPasswordFD   = "HALLMARK_PASSWORD_FD"   // an open file descriptor to read it from
)

// Options says for whom and where the commands work. Its zero value is for a
// program: the current folder, no words, no questions.
type Options struct {
	Dir      string                            // the module's folder; empty means the current one
	Identity string                            // instead of the configuration's; empty means that one
	KeyDir   string                            // of the development identity; empty means the user's configuration folder
	Password func(what string) ([]byte, error) // asked for a password when a file needs one; nil means there is none
	Progress *Progress                         // nil is silent

	Timestamp []string // servers, or dev, instead of the configuration's; empty means those

	StateDir  string // of the record of this machine's own work; empty means the user's state folder
	Manifest  string // SHA-256, hex, of the manifest.json in dist that a stage is to continue; empty means only one that this machine wrote
	Rebuild   bool   // Sign compiles again, and compares, instead of believing a manifest
	TrustDist bool   // Verify takes a signer for whom only the certificates in dist vouch
}

// Terminal returns options for a person or a CI job: the environment's
// identity and password, a question at the terminal when a password is
// missing, and progress on the standard output.
//
// The password is taken out of the environment, so that no program that is
// started, by whatever library, inherits it.
func Terminal() Options {
	o := Options{
		Identity:  os.Getenv(EnvIdentity),
		Timestamp: strings.Fields(os.Getenv(EnvTimestamp)),
		Password:  askPassword,
		Progress:  NewProgress(os.Stdout, os.Getenv),
	}
	if g := takePassword(); g.set {
		o.Password = func(string) ([]byte, error) { return []byte(g.password), g.err }
	}
	return o
}

// askPassword asks for a password at the terminal, without echo.
func askPassword(what string) ([]byte, error) {
	fd := int(os.Stdin.Fd())
	if !term.IsTerminal(fd) {
		return nil, nil
	}
	// A signal during the question would leave the terminal without echo.
	state, err := term.GetState(fd)
	if err != nil {
		return nil, err
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, stopSignals()...)
	defer signal.Stop(interrupted)
	fmt.Fprintf(os.Stderr, "Password for %s: ", what)
	type answer struct {
		password []byte
		err      error
	}
	answered := make(chan answer, 1)
	go func() {
		p, err := term.ReadPassword(fd)
		answered <- answer{p, err}
	}()
	select {
	case a := <-answered:
		fmt.Fprintln(os.Stderr)
		protectMemory()
		return a.password, a.err
	case <-interrupted:
		term.Restore(fd, state)
		fmt.Fprintln(os.Stderr)
		return nil, errors.New("interrupted")
	}
}

func (o Options) dir() string {
	if o.Dir == "" {
		return "."
	}
	return o.Dir
}

// path resolves a path of hallmark.yaml, which is relative to the module.
func (o Options) path(p string) string {
	if filepath.IsAbs(p) || o.dir() == "." {
		return p
	}
	return filepath.Join(o.Dir, p)
}

// identity is the reference of the identity to use.
func (o Options) identity(c *Config) string {
	if o.Identity != "" {
		return o.resolveRef(o.Identity)
	}
	return o.resolveRef(c.Identity)
}

// resolveRef resolves the paths in an identity's reference.
func (o Options) resolveRef(ref string) string {
	scheme, parts := splitRef(ref)
	if parts == nil || o.dir() == "." {
		return ref
	}
	for i, p := range parts {
		if p != "" && !strings.Contains(p, "://") {
			parts[i] = o.path(p)
		}
	}
	return scheme + ":" + strings.Join(parts, "+")
}

// splitRef takes an identity's reference apart; there are no parts if it names
// no files.
func splitRef(ref string) (scheme string, parts []string) {
	scheme, paths, ok := strings.Cut(ref, ":")
	switch {
	case ok && scheme == "pfx":
		return scheme, []string{paths}
	case ok && (scheme == "pem" || scheme == "kms"):
		return scheme, strings.Split(paths, "+")
	}
	return scheme, nil
}

// refFiles lists the files that an identity's reference names.
func refFiles(ref string) []string {
	_, parts := splitRef(ref)
	return slices.DeleteFunc(parts, func(p string) bool { return p == "" || strings.Contains(p, "://") })
}

// interruptible ends the context on the signals by which a person or a CI
// system stops a job. mage itself minds SIGINT only.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, stopSignals()...)
}

// stopSignals are those of Ctrl-C, of a CI system and of a terminal that was
// closed; the last not under nohup.
func stopSignals() []os.Signal {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

// modulePath is this project's module.
const modulePath = "github.com/hallmark-build/hallmark"

// ownVersion says which hallmark this is. It is part of every stage's key, so
// that a new hallmark does not take over what an older one made. Where the
// module has no version, because somebody works on it, the SHA-256 of its
// sources takes its place, where they stand that this program was compiled
// from; else the program's own. (The program alone will not do: mage compiles
// it anew, with other bytes, once `setup` has installed a C compiler.)
func ownVersion() string {
	info, ok := debug.ReadBuildInfo()
	if ok {
		for _, m := range append(info.Deps, &info.Main) {
			if m.Path == modulePath && m.Replace == nil && m.Version != "" && m.Version != "(devel)" {
				return m.Version
			}
		}
	}
	if sum, err := ownSources(); err == nil {
		return "(devel) " + sum
	}
	exe, err := os.Executable()
	if err != nil {
		return "(devel)"
	}
	sum, err := hashFile(context.Background(), exe)
	if err != nil {
		return "(devel)"
	}
	return "(devel) " + sum
}

// ownSources is the digest of the Go files and requirements of the module that
// this file belongs to.
func ownSources() (string, error) {
	_, file, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(file), "..", "..")
	if _, err := os.Stat(file); err != nil {
		return "", err
	}
	d := newDigest("own 1")
	add := func(file string) error {
		sum, err := hashFile(context.Background(), file)
		if err == nil {
			d.add(filepath.ToSlash(file), sum)
		}
		return err
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		if err := add(filepath.Join(root, name)); err != nil {
			return "", err
		}
	}
	for _, folder := range []string{"build", "signing", "targets"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(file string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
				return err
			}
			return add(file)
		})
		if err != nil {
			return "", err
		}
	}
	return d.sum(), nil
}
