// Package environ says which environment variables the programs that hallmark
// starts are given. There are two lists, and no other.
//
// # Tools
//
// The go command, git and C compilers get the user's environment, because
// private modules and compilers need it, less the secrets of signing and
// publishing. Names are compared without regard to case. Hidden are
//
//   - everything that begins with HALLMARK_, ACTIONS_, AWS_, AZURE_, ARM_, VAULT_, GOOGLE_, CLOUDSDK_,
//     COSIGN_, SIGSTORE_, SM_ (DigiCert), TWINE_, CI_JOB_JWT, CI_REGISTRY_ or GOTOOLCHAIN_INTERNAL_;
//   - everything that ends with TOKEN, PASSWORD, PASSWD, PASSPHRASE, SECRET, SECRET_KEY, SECRET_ID,
//     PRIVATE_KEY, SIGNING_KEY, API_KEY, APIKEY, ACCESS_KEY, CREDENTIALS, _PAT, _PIN or _AUTH
//     (GITHUB_TOKEN, GH_TOKEN, NPM_TOKEN and CI_JOB_TOKEN are among them).
//
// Shown in spite of that is what the go command and git themselves ask for:
// GOAUTH, GOPROXY, NETRC, SSH_AUTH_SOCK, and everything that begins with GIT_.
// A user lengthens or shortens the list in hallmark.yaml:
//
//	environment:
//	  hide: [ARTIFACTORY_*]    # keep these from go, git and compilers, too
//	  show: [GITHUB_TOKEN]     # a git credential helper of ours reads it
//
// A name may end with *. show wins over hide; HALLMARK_PASSWORD, its relatives
// and GOTOOLCHAIN_INTERNAL_ cannot be shown.
//
// # Other programs
//
// All other programs (tools that say their version, apt, judges, QEMU, Wine)
// are given what is on a list and nothing else: PATH, HOME, USER, LOGNAME,
// SHELL, TERM, LANG, LANGUAGE, LC_*, TZ, TMPDIR, TMP, TEMP, XDG_*, WINE*,
// DISPLAY, the proxies (http_proxy, https_proxy, ftp_proxy, all_proxy,
// no_proxy), and what Windows needs to start a program. Judges, in
// signing/compat, get still less: PATH, TMPDIR and a fixed language.
//
// A program of the signer's side, in signing/key, is given this list and the
// variables of its own service; see there.
package environ

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// Config is what hallmark.yaml says of the tools' environment.
type Config struct {
	Hide []string `yaml:"hide"` // names, or beginnings of names with *
	Show []string `yaml:"show"`
}

var pattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*\*?$`)

// Validate reports names that cannot be those of variables, and what must not
// be shown.
func (c Config) Validate() error {
	for _, list := range []struct {
		key   string
		names []string
	}{{"hide", c.Hide}, {"show", c.Show}} {
		for _, name := range list.names {
			if !pattern.MatchString(name) {
				return fmt.Errorf("environment.%s: %q is not the name of a variable: write NAME, or NAME* for all that begin so", list.key, name)
			}
		}
	}
	for _, name := range c.Show {
		if isOwn(strings.ToUpper(strings.TrimSuffix(name, "*"))) {
			return fmt.Errorf("environment.show: %s is hallmark's own, and not shown to any program", name)
		}
	}
	return nil
}

type configKey struct{}

// With returns a context in which [Tools] obeys c.
func With(ctx context.Context, c Config) context.Context {
	return context.WithValue(ctx, configKey{}, c)
}

// Tools returns this process's environment for the go command, git and
// compilers, and add after it.
func Tools(ctx context.Context, add ...string) []string {
	c, _ := ctx.Value(configKey{}).(Config)
	return append(c.Tools(os.Environ()), add...)
}

// Tools returns of an environment what the go command, git and compilers are given.
func (c Config) Tools(environ []string) []string {
	return filter(environ, func(name string) bool {
		switch {
		case isOwn(name):
			return false
		case matches(c.Show, name):
			return true
		}
		return !matches(c.Hide, name) && !isSecret(name)
	})
}

// Programs returns of an environment what all other programs are given.
func Programs(environ []string) []string {
	return filter(environ, func(name string) bool { return matches(allowed(), name) && !isSecret(name) })
}

func filter(environ []string, keep func(name string) bool) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(kv string) bool {
		if strings.HasPrefix(kv, "=") { // Windows' current folders
			return false
		}
		name, _, ok := strings.Cut(kv, "=")
		return !ok || !keep(strings.ToUpper(name))
	})
}

// isOwn reports whether a variable is between hallmark and its user, or the go
// command and itself.
func isOwn(name string) bool {
	return strings.HasPrefix(name, "HALLMARK_") || strings.HasPrefix(name, "GOTOOLCHAIN_INTERNAL_")
}

// isSecret reports whether a variable is one of signing or publishing.
func isSecret(name string) bool {
	if matches([]string{"GOAUTH", "GOPROXY", "NETRC", "SSH_AUTH_SOCK", "GIT_*"}, name) {
		return false
	}
	for _, begin := range []string{"HALLMARK_", "ACTIONS_", "AWS_", "AZURE_", "ARM_", "VAULT_", "GOOGLE_", "CLOUDSDK_",
		"COSIGN_", "SIGSTORE_", "SM_", "TWINE_", "CI_JOB_JWT", "CI_REGISTRY_", "GOTOOLCHAIN_INTERNAL_"} {
		if strings.HasPrefix(name, begin) {
			return true
		}
	}
	for _, end := range []string{"TOKEN", "PASSWORD", "PASSWD", "PASSPHRASE", "SECRET", "SECRET_KEY", "SECRET_ID",
		"PRIVATE_KEY", "SIGNING_KEY", "API_KEY", "APIKEY", "ACCESS_KEY", "CREDENTIALS", "_PAT", "_PIN", "_AUTH"} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}

// allowed are the variables of programs that are no tools.
func allowed() []string {
	return []string{"PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "LANG", "LANGUAGE", "LC_*", "TZ", "TMPDIR", "TMP", "TEMP",
		"XDG_*", "WINE*", "DISPLAY", "HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY",
		"SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "PROGRAMDATA", "PROGRAMFILES"}
}

// matches reports whether a name, in upper case, is on a list of patterns.
func matches(list []string, name string) bool {
	for _, p := range list {
		p = strings.ToUpper(p)
		if begin, ok := strings.CutSuffix(p, "*"); ok && strings.HasPrefix(name, begin) || p == name {
			return true
		}
	}
	return false
}
