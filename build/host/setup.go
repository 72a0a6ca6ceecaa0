package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"
)

// AptError says that apt could not do what Setup asked, in its own last words.
type AptError struct {
	Command string // to run by hand
	Output  string // the last lines, in one
	Err     error
}

func (e *AptError) Error() string {
	return fmt.Sprintf("%s failed (%v): %s", e.Command, e.Err, e.Output)
}

func (e *AptError) Unwrap() error { return e.Err }

// Setup installs what is missing of Tools with apt, on Debian, Ubuntu and their relatives, WSL included; by sudo when
// not root. Elsewhere it prints what to install. Kernels, single files of packages, and Go programs that it builds, it
// puts into the user's cache folder. When nothing is missing it runs no program.
//
// A lean setup leaves away what is marked Lab in Tools: the half of the judges that is dear to fetch.
//
// The error is an *AptError when apt fails, a *MissingError when a required tool is still missing after all; a package
// that this distribution does not have is printed with what lacks without it, and is no error.
func Setup(ctx context.Context, out io.Writer, lean bool) error {
	s := here()
	tools := toolsFor(s.goarch)
	if lean {
		tools = slices.DeleteFunc(tools, func(t Tool) bool { return t.Lab })
	}
	if err := s.setup(ctx, out, tools, wait); err != nil {
		return err
	}
	if err := s.takeFiles(ctx, out, tools); err != nil {
		return err
	}
	if err := s.fetchKernels(ctx, out, tools); err != nil {
		return err
	}
	// Last, because it takes longest, and no failure: where no Go module can be
	// fetched, everything else is here now.
	if err := s.build(ctx, out, tools); err != nil && ctx.Err() == nil {
		fmt.Fprintf(out, "setup: not all judges are built: %v\n", err)
	}
	return ctx.Err()
}

// wait sleeps, unless ctx ends.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

type sleeper = func(context.Context, time.Duration) error

func (s system) setup(ctx context.Context, out io.Writer, tools []Tool, sleep sleeper) error {
	tools = slices.DeleteFunc(slices.Clone(tools), func(t Tool) bool { return t.Module != "" || t.Kernel != "" || t.Take != "" }) // these apt does not install
	found := s.look(tools)
	var missing []Tool
	absent := false
	for _, f := range found {
		if f.Err != nil || f.Old {
			missing = append(missing, f.Tool)
		}
		absent = absent || f.Err != nil
	}
	if len(missing) == 0 {
		fmt.Fprintf(out, "setup: all %d tools are here\n", len(tools))
		return nil
	}
	apt := aptGet{system: s, tool: lookIn(s.pathDirs(), []string{"apt-get"}), cache: lookIn(s.pathDirs(), []string{"apt-cache"}), sleep: sleep}
	if s.goos != "linux" || apt.tool == "" || apt.cache == "" {
		if !absent {
			fmt.Fprintf(out, "setup: all %d tools are here\n", len(tools))
			return nil
		}
		s.advise(ctx, out, found)
		return required(found)
	}
	if err := apt.install(ctx, out, missing, absent); err != nil {
		return err
	}
	after := s.look(tools)
	for _, f := range after {
		if f.Err != nil {
			fmt.Fprintf(out, "setup: %v: without it: %s\n", f.Err, f.Purpose)
		}
	}
	return required(after)
}

// required returns the first required tool that is missing.
func required(found []Found) error {
	for _, f := range found {
		if f.Err != nil && f.Required {
			return f.Err
		}
	}
	return nil
}

// advise prints what to install where there is no apt.
func (s system) advise(ctx context.Context, out io.Writer, found []Found) {
	var m Machine
	s.readDistribution(&m)
	family := append([]string{m.ID}, m.IDLike...)
	command, names := "", func(t Tool) []string { return t.Packages }
	switch {
	case s.goos == "darwin":
		command, names = "brew install", func(t Tool) []string { return t.Brew }
	case slices.Contains(family, "fedora") || slices.Contains(family, "rhel"):
		command, names = "sudo dnf install", func(t Tool) []string { return t.Fedora }
	case slices.Contains(family, "arch"):
		command, names = "sudo pacman -S --needed", func(t Tool) []string { return t.Arch }
	}
	fmt.Fprintln(out, "setup: apt-get is not here; these tools are missing:")
	var packages []string
	for _, f := range found {
		if f.Err == nil {
			continue
		}
		fmt.Fprintf(out, "  %-26s for: %s\n", f.Name, f.Purpose)
		packages = append(packages, names(f.Tool)...)
	}
	slices.Sort(packages)
	packages = slices.Compact(packages)
	switch {
	case command == "":
		fmt.Fprintf(out, "on Debian their packages are: %s\n", strings.Join(packages, " "))
	case len(packages) > 0:
		fmt.Fprintf(out, "to install what there are packages for: %s %s\n", command, strings.Join(packages, " "))
	}
}

// aptGet runs apt-get.
type aptGet struct {
	system
	tool, cache string
	sleep       sleeper
}

// install installs the packages of tools that apt knows. When nothing is absent, only old, apt-get is not run unless
// the lists that are there have something newer: where the distribution has not, every setup would cost seconds.
func (a aptGet) install(ctx context.Context, out io.Writer, tools []Tool, absent bool) error {
	var updateErr error
	if absent {
		if a.euid != 0 && a.sudo() == nil {
			return fmt.Errorf("packages are missing, and this is neither root nor is there sudo: as root run %s", a.byHand(allPackages(tools)))
		}
		fmt.Fprintln(out, "setup: apt-get update")
		updateErr = a.run(ctx, 5, "update", "-q")
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	known, err := a.known(ctx, tools)
	if err != nil {
		return err
	}
	var packages []string
	choice := map[string][]string{}
	for _, t := range tools {
		for _, set := range [][]string{t.Packages, t.Fallback} {
			if len(set) > 0 && !slices.ContainsFunc(set, func(p string) bool { return !known[p] }) {
				choice[t.Name] = set
				packages = append(packages, set...)
				break
			}
		}
		if choice[t.Name] == nil && absent {
			fmt.Fprintf(out, "setup: %s: apt has no package %s\n", t.Name, strings.Join(t.Packages, ", "))
		}
	}
	slices.Sort(packages)
	packages = slices.Compact(packages)
	if len(packages) == 0 || !absent && !a.improves(tools, choice) {
		return updateErr
	}
	if a.euid != 0 && a.sudo() == nil {
		fmt.Fprintf(out, "setup: neither root nor sudo here: newer tools stay away; as root run %s\n", a.byHand(packages))
		return nil
	}
	if !absent {
		fmt.Fprintln(out, "setup: apt-get update")
		updateErr = a.run(ctx, 5, "update", "-q")
	}
	if updateErr != nil {
		fmt.Fprintf(out, "setup: %v; trying with the lists that are here\n", updateErr)
	}
	fmt.Fprintf(out, "setup: installing %s\n", strings.Join(packages, " "))
	err = a.run(ctx, 2, installArgs(packages)...)
	var ae *AptError
	if errors.As(err, &ae) && len(choice) > 1 && ctx.Err() == nil && unsatisfiable(ae.Output) {
		return a.oneByOne(ctx, out, tools, choice)
	}
	return err
}

// improves says whether a choice is more than the fallback, which an old tool already is.
func (a aptGet) improves(tools []Tool, choice map[string][]string) bool {
	return slices.ContainsFunc(tools, func(t Tool) bool { return slices.Equal(choice[t.Name], t.Packages) })
}

// oneByOne installs the packages of each tool apart, so that one that cannot be installed does not keep others away.
func (a aptGet) oneByOne(ctx context.Context, out io.Writer, tools []Tool, choice map[string][]string) error {
	var first error
	for _, t := range tools {
		if choice[t.Name] == nil {
			continue
		}
		if err := a.run(ctx, 1, installArgs(choice[t.Name])...); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			fmt.Fprintf(out, "setup: %s: %v\n", t.Name, err)
			if t.Required && first == nil {
				first = err
			}
		}
	}
	return first
}

// unsatisfiable says whether apt refused a combination of packages, rather than met a fault.
func unsatisfiable(output string) bool {
	return slices.ContainsFunc([]string{"unmet dependencies", "held broken packages", "Unable to locate package", "no installation candidate", "Unable to correct problems"},
		func(s string) bool { return strings.Contains(output, s) })
}

func allPackages(tools []Tool) []string {
	var all []string
	for _, t := range tools {
		all = append(all, t.Packages...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// installArgs waits for another apt or dpkg (unattended upgrades hold the lock for minutes after a start) and fetches
// again what a mirror did not give.
func installArgs(packages []string) []string {
	return append([]string{"install", "-y", "-q", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=120", "-o", "Acquire::Retries=3"}, packages...)
}

func (a aptGet) byHand(packages []string) string {
	return "apt-get install -y --no-install-recommends " + strings.Join(packages, " ")
}

// known asks apt-cache which packages can be installed.
func (a aptGet) known(ctx context.Context, tools []Tool) (map[string]bool, error) {
	args := []string{"policy"}
	for _, t := range tools {
		args = append(append(args, t.Packages...), t.Fallback...)
	}
	cmd := exec.CommandContext(ctx, a.cache, args...)
	cmd.Env = a.childEnv()
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		return nil, &AptError{Command: "apt-cache policy", Output: "which packages there are is not known", Err: err}
	}
	// name:
	//   Installed: (none)
	//   Candidate: 1:19.1.7-3
	known, name := map[string]bool{}, ""
	for line := range strings.Lines(string(out)) {
		line = strings.TrimRight(line, "\n")
		if n, ok := strings.CutSuffix(line, ":"); ok && !strings.HasPrefix(line, " ") {
			name = n
		}
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "Candidate: "); ok && v != "(none)" {
			known[name] = true
		}
	}
	return known, nil
}

// sudo returns the words that make root of the rest; nil without sudo.
func (a aptGet) sudo() []string {
	sudo := lookIn(a.pathDirs(), []string{"sudo"})
	if sudo == "" {
		return nil
	}
	// Without a terminal nobody could answer a question for a password, and sudo would fail less clearly.
	if !a.terminal {
		return []string{sudo, "-n"}
	}
	return []string{sudo}
}

// run runs apt-get as root, up to some times with growing pauses: another apt may hold the lock of the lists, for which
// apt-get has no option to wait, and mirrors fail for seconds.
func (a aptGet) run(ctx context.Context, attempts int, args ...string) error {
	// sudo drops the environment: env puts back the one variable that keeps debconf from asking.
	words := []string{a.tool}
	if a.euid != 0 {
		words = append(a.sudo(), "env", "DEBIAN_FRONTEND=noninteractive", a.tool)
	}
	words = append(words, args...)
	var err error
	for i := range attempts {
		if i > 0 {
			if serr := a.sleep(ctx, 2*time.Second<<(i-1)); serr != nil {
				return serr
			}
		}
		cmd := exec.CommandContext(ctx, words[0], words[1:]...)
		cmd.Env = a.childEnv("DEBIAN_FRONTEND=noninteractive")
		cmd.WaitDelay = 5 * time.Second
		out := &tail{}
		cmd.Stdout, cmd.Stderr = out, out
		runErr := cmd.Run()
		if runErr == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		sudo := ""
		if a.euid != 0 {
			sudo = "sudo "
		}
		err = &AptError{Command: sudo + "apt-get " + strings.Join(args, " "), Output: out.lastLines(), Err: runErr}
		if unsatisfiable(out.String()) || strings.Contains(out.String(), "a password is required") {
			return err // the next attempt would say the same
		}
	}
	return err
}

// tail keeps the end of what is written to it.
type tail struct{ b []byte }

const tailSize = 16 << 10 // apt's last words are a few lines

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if len(t.b) > 2*tailSize {
		t.b = append(t.b[:0], t.b[len(t.b)-tailSize:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return string(t.b) }

// lastLines returns apt's errors (lines that begin with "E:"), else the last three lines, as one line.
func (t *tail) lastLines() string {
	control := regexp.MustCompile(`[[:cntrl:]]+`)
	var all, errs []string
	for line := range bytes.Lines(t.b) {
		s := strings.TrimSpace(control.ReplaceAllString(string(line), " "))
		if s == "" {
			continue
		}
		all = append(all, s)
		if strings.HasPrefix(s, "E:") || strings.Contains(s, "unmet dependencies") {
			errs = append(errs, s)
		}
	}
	if len(errs) == 0 {
		errs = all
	}
	if len(errs) == 0 {
		return "it printed nothing"
	}
	return strings.Join(errs[max(0, len(errs)-3):], "; ")
}
