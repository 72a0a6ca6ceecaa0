package compat

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Config is this package's part of hallmark.yaml.
//
//	judges:
//	  - name: licence scan
//	    files: "*.deb"                       # or scheme: authenticode
//	    command: [licscan, --strict, "{file}"]
//	    version: [licscan, --version]
//	    accept: {exit: [0], output: "no findings"}
//	    refuse: {exit: [3]}
//	    limits: It knows the licences of its own list.
//	allowed:
//	  - judge: sbverify
//	    case: "bin/windows_arm64/*"
//	    reason: it reads no PE for this machine
//	    until: 2027-01-31
type Config struct {
	Judges  []UserJudge `yaml:"judges"`
	Allowed []Allowed   `yaml:"allowed"`
}

// UserJudge is a program of the user's that judges files: each matching file
// is handed to it in a process of its own, without a shell, in the module's
// folder, with the environment and the time limit that every judge has.
//
// A word of Command may hold {file}, the path of the file to judge; {ca},
// {tsa} and {signer} are the PEM files of [Trust]. What is signed beside the
// file stands there under its usual name, {file}.p7s and so on. The command is
// shown in reports: no secret belongs in it.
type UserJudge struct {
	Name    string   `yaml:"name"`    // as reports show it
	Scheme  string   `yaml:"scheme"`  // judges what is signed by this scheme; or
	Files   string   `yaml:"files"`   // judges files by name: a pattern of path.Match, of the path if it has a slash, else of the last element
	Command []string `yaml:"command"` // program and arguments
	Version []string `yaml:"version"` // program and arguments that print the version; none: it has none
	Accept  Reading  `yaml:"accept"`  // default: exit code 0
	Refuse  Reading  `yaml:"refuse"`  // default: exit code 1; any other answer is no verdict
	Limits  string   `yaml:"limits"`  // what it does not check
	Timeout string   `yaml:"timeout"` // for one file, like 30s; default 2m
}

// Reading tells one answer of a program from the others: by its exit code and,
// where that says too little, by its words.
type Reading struct {
	Exit   []int  `yaml:"exit"`
	Output string `yaml:"output"` // regular expression (RE2; ^ and $ are ends of lines) that standard output or standard error matches; empty: any
}

// multiline lets ^ and $ match at the ends of lines.
const multiline = "(?m)"

// filesScheme is what the results of a judge of files, not of a scheme, have
// for a scheme.
const filesScheme = "files "

// maxTimeout bounds what a user may wait for one file.
const maxTimeout = time.Hour

// scheme is the scheme whose cases the judge is given.
func (u UserJudge) scheme() string {
	if u.Scheme != "" {
		return u.Scheme
	}
	return filesScheme + u.Files
}

// FileSchemes returns the schemes of the user's judges that judge a file by its
// name, for name is a slash-separated path. Each wants a case of its own.
func (c Config) FileSchemes(name string) []string {
	var found []string
	for _, u := range c.Judges {
		if u.Files == "" || slices.Contains(found, u.scheme()) {
			continue
		}
		subject := name
		if !strings.Contains(u.Files, "/") {
			subject = path.Base(name)
		}
		if ok, err := path.Match(u.Files, subject); ok && err == nil {
			found = append(found, u.scheme())
		}
	}
	return found
}

// UserJudges returns the user's judges. Paths in their commands are relative to
// dir, and that is where they run. Validate comes first: what it refuses is
// not handled here.
func (c Config) UserJudges(dir string) []Judge {
	judges := make([]Judge, len(c.Judges))
	for i, u := range c.Judges {
		judges[i] = u.judge(dir)
	}
	return judges
}

func (u UserJudge) judge(dir string) Judge {
	p := program{name: inFolder(dir, u.Command[0])}
	accept, refuse := u.readings()
	words := func(file string, trust Trust) []string {
		r := strings.NewReplacer("{file}", argument(file), "{ca}", argument(trust.CAFile), "{tsa}", argument(trust.TSAFile), "{signer}", argument(trust.SignerFile))
		out := make([]string, len(u.Command)-1)
		for i, w := range u.Command[1:] {
			out[i] = r.Replace(w)
		}
		return out
	}
	j := Judge{
		Name: u.Name, Scheme: u.scheme(), Limits: u.Limits,
		FindKey:    p.key,
		Definition: func() string { return u.definition(dir) },
		Verify: func(ctx context.Context, file string, trust Trust) error {
			file, err := filepath.Abs(file)
			if err != nil {
				return err
			}
			a, err := p.run(ctx, dir, nil, words(file, trust)...)
			if err != nil {
				return err
			}
			return p.readUser(u.Name, a, accept, refuse)
		},
		Command: func(file string, trust Trust) string {
			return line(append([]string{u.Command[0]}, words(file, trust)...)...)
		},
	}
	j.Timeout, _ = time.ParseDuration(u.Timeout)
	if len(u.Version) > 0 {
		v := program{name: inFolder(dir, u.Version[0])}
		j.Find = func(ctx context.Context) (string, error) {
			a, err := v.run(ctx, dir, nil, u.Version[1:]...)
			if err != nil {
				return "", err
			}
			return v.readVersion(a)
		}
	}
	return j
}

// inFolder finds a program that is named by a relative path, as opposed to one
// that PATH has, in dir.
func inFolder(dir, name string) string {
	if filepath.IsAbs(name) || !strings.ContainsAny(name, `/\`) {
		return name
	}
	return filepath.Join(dir, name)
}

// readings returns how its answers are read.
func (u UserJudge) readings() (accept, refuse Reading) {
	accept, refuse = u.Accept, u.Refuse
	if len(accept.Exit) == 0 {
		accept.Exit = []int{0}
	}
	if len(refuse.Exit) == 0 {
		refuse.Exit = []int{1}
	}
	return accept, refuse
}

func (r Reading) matches(a answer) bool {
	if !slices.Contains(r.Exit, a.exit) {
		return false
	}
	re, err := regexp.Compile(multiline + r.Output)
	return err == nil && (re.MatchString(a.stdout) || re.MatchString(a.stderr))
}

func (p program) readUser(name string, a answer, accept, refuse Reading) error {
	accepted, refused := accept.matches(a), refuse.matches(a)
	reason := last(a.quote())
	if reason == "" {
		reason = fmt.Sprintf("exit code %d", a.exit)
	}
	switch {
	case accepted && refused:
		return &UnclearError{Tool: name, Reason: fmt.Sprintf("exit code %d reads as accepted and as refused", a.exit), Output: a.quote()}
	case accepted:
		return nil
	case refused:
		return &RefusalError{Judge: name, Reason: short(reason), Output: a.quote()}
	}
	return &UnclearError{Tool: name, Reason: fmt.Sprintf("exit code %d reads neither as accepted nor as refused", a.exit), Output: a.quote()}
}

// readVersion finds a version in what a program prints when asked for one: the
// first number with a dot in it, else its first line.
func (p program) readVersion(a answer) (string, error) {
	if a.exit != 0 {
		return "", p.unclear(a, fmt.Sprintf("asked for its version, it ends with exit code %d", a.exit))
	}
	text := a.quote()
	if m := regexp.MustCompile(`\d+(?:\.\d+)+[\w.+~-]*`).FindString(text); m != "" {
		return short(m), nil
	}
	first, _, _ := strings.Cut(text, "\n")
	if first = strings.TrimSpace(first); first == "" {
		return "", p.unclear(a, "asked for its version, it prints nothing")
	}
	return short(first), nil
}

// definition is all that decides its answers besides the program: its words,
// how they are read, and the state of files that the command names, like the
// script of an interpreter.
func (u UserJudge) definition(dir string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q %q %q %v %v %q\n", u.scheme(), u.Command, u.Version, u.Accept, u.Refuse, u.Timeout)
	for _, w := range u.Command[1:] {
		if !filepath.IsAbs(w) {
			w = filepath.Join(dir, w)
		}
		if info, err := os.Stat(w); err == nil && info.Mode().IsRegular() {
			fmt.Fprintf(&b, "%s\n", Key{Path: w, Size: info.Size(), ModTime: info.ModTime()})
		}
	}
	return b.String()
}

// Schemes returns the schemes that the judges of this package judge, sorted.
func Schemes() []string {
	var schemes []string
	for _, j := range Judges() {
		if !slices.Contains(schemes, j.Scheme) {
			schemes = append(schemes, j.Scheme)
		}
	}
	slices.Sort(schemes)
	return schemes
}

// Validate returns every problem of the configuration, joined. Each begins with
// the key that it is about, like judges[1].command.
func (c Config) Validate() error {
	var errs []error
	schemes := Schemes()
	var names []string
	for _, j := range slices.Concat(Judges(), KernelJudges()) {
		if !slices.Contains(names, j.Name) {
			names = append(names, j.Name)
		}
	}
	for i, u := range c.Judges {
		at := func(key, format string, args ...any) {
			errs = append(errs, fmt.Errorf("judges[%d].%s: %s", i, key, fmt.Sprintf(format, args...)))
		}
		switch {
		case strings.TrimSpace(u.Name) == "":
			at("name", "missing: give the judge a name, as reports are to show it")
		case u.Name == "hallmark" || slices.Contains(names, u.Name):
			at("name", "%q is the name of another judge: give it one of its own", u.Name)
		}
		names = append(names, u.Name)
		u.validate(at, schemes)
	}
	for i, a := range c.Allowed {
		a.validate(func(key, format string, args ...any) {
			errs = append(errs, fmt.Errorf("allowed[%d].%s: %s", i, key, fmt.Sprintf(format, args...)))
		}, names)
	}
	return errors.Join(errs...)
}

func (u UserJudge) validate(at func(key, format string, args ...any), schemes []string) {
	switch {
	case u.Scheme != "" && u.Files != "":
		at("files", "a judge has a scheme or files, not both")
	case u.Scheme == "" && u.Files == "":
		at("files", "missing: say what it judges, by a pattern like \"*.exe\" or by scheme, one of %s", strings.Join(schemes, ", "))
	case u.Scheme != "" && !slices.Contains(schemes, u.Scheme):
		at("scheme", "no scheme %q: there are %s", u.Scheme, strings.Join(schemes, ", "))
	}
	if _, err := path.Match(u.Files, ""); err != nil {
		at("files", "%q is not a pattern: %v", u.Files, err)
	}
	placeholder := regexp.MustCompile(`\{[a-z]+\}`)
	if len(u.Command) == 0 {
		at("command", "missing: name the program and its arguments, like [judge, \"{file}\"]")
	} else {
		if u.Command[0] == "" || placeholder.MatchString(u.Command[0]) {
			at("command", "its first word is not the name of a program")
		}
		file := false
		for _, w := range u.Command[1:] {
			for _, p := range placeholder.FindAllString(w, -1) {
				if !slices.Contains([]string{"{file}", "{ca}", "{tsa}", "{signer}"}, p) {
					at("command", "no placeholder %s: there are {file}, {ca}, {tsa}, {signer}", p)
				}
				file = file || p == "{file}"
			}
		}
		if !file {
			at("command", "no word has {file}: it would not know what to judge")
		}
	}
	if len(u.Version) > 0 && u.Version[0] == "" {
		at("version", "its first word is not the name of a program")
	}
	for key, r := range map[string]Reading{"accept": u.Accept, "refuse": u.Refuse} {
		if _, err := regexp.Compile(multiline + r.Output); err != nil {
			at(key+".output", "%v", err)
		}
		for _, code := range r.Exit {
			if code < 0 || code > 255 || code > 128 && code <= 128+64 {
				at(key+".exit", "%d is not an exit code by which a program answers: from 129 to 192 a shell reports signals", code)
			}
		}
	}
	accept, refuse := u.readings()
	for _, code := range accept.Exit {
		if slices.Contains(refuse.Exit, code) && (accept.Output == "" || refuse.Output == "") {
			key := "refuse"
			if len(u.Refuse.Exit) == 0 {
				key = "accept"
			}
			at(key, "exit code %d is to mean both accepted and refused: tell them apart by output", code)
		}
	}
	if u.Timeout != "" {
		if d, err := time.ParseDuration(u.Timeout); err != nil || d <= 0 || d > maxTimeout {
			at("timeout", "%q is not a time like 30s, of at most 1h", u.Timeout)
		}
	}
}
