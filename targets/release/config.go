package release

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/hallmark-build/hallmark/build"
	"github.com/hallmark-build/hallmark/build/bench"
	"github.com/hallmark-build/hallmark/build/dist"
	"github.com/hallmark-build/hallmark/build/environ"
	"github.com/hallmark-build/hallmark/signing"
	"github.com/hallmark-build/hallmark/signing/compat"
	"github.com/hallmark-build/hallmark/signing/key"
	"github.com/hallmark-build/hallmark/signing/tsa"
)

// ConfigFile is the name of the configuration in a module's folder.
const ConfigFile = "hallmark.yaml"

// Development is the name of the embedded identity and of the embedded
// timestamp authority.
const Development = "dev"

// Config is hallmark.yaml. Each package owns its part; this type composes
// them.
type Config struct {
	Name    string `yaml:"name"`    // of the release, and of its archives and packages; default: the first program's
	Version string `yaml:"version"` // default: from git

	Build    build.Config `yaml:",inline"`
	Shipping dist.Config  `yaml:",inline"`
	Bench    bench.Config `yaml:"bench"`

	Judging compat.Config `yaml:",inline"`

	Identity  string         `yaml:"identity"`  // dev, pfx:FILE, pem:CHAIN+KEY; default dev
	Timestamp Servers        `yaml:"timestamp"` // dev, or URLs of RFC 3161 servers, tried in this order; default dev
	Sign      signing.Config `yaml:"sign"`
	Trust     TrustFiles     `yaml:"trust"`
	Strict    bool           `yaml:"strict"` // a check that could not be made is a failure
	Dist      string         `yaml:"dist"`   // folder of the results in the module's folder; default dist

	Environment environ.Config `yaml:"environment"` // of the go command, git and compilers

	stampsNamed bool // timestamp stands in the file
}

// TrustFiles names PEM files of certificates to trust when the release is
// verified.
type TrustFiles struct {
	CA     string   `yaml:"ca"`     // anchors of the signer; default: the end of the identity's own chain
	TSA    string   `yaml:"tsa"`    // anchors of the timestamp servers; default: dev's own, or the system's certificates
	Signer string   `yaml:"signer"` // certificates that may have signed a release, whoever else the anchors vouch for; default: those of the identity, where they can be read without a secret
	CRL    []string `yaml:"crl"`    // revocation lists, PEM or DER
	Off    []string `yaml:"off"`    // rules that are not enforced; `mage rules` lists them
}

// policy returns the rules that are turned off.
func (t TrustFiles) policy() (signing.Policy, error) {
	var p signing.Policy
	for _, name := range t.Off {
		r := signing.Rule(name)
		if !signing.CanBeOff(r) {
			var names []string
			for _, i := range signing.Rules() {
				if i.Rule == r {
					return p, fmt.Errorf("trust.off: the rule %s cannot be turned off: without it nothing would be verified", name)
				}
				if i.Off {
					names = append(names, string(i.Rule))
				}
			}
			return p, fmt.Errorf("trust.off: no rule %q: there are %s", name, strings.Join(names, ", "))
		}
		p.Off = append(p.Off, r)
	}
	return p, nil
}

// Servers is a list of timestamp servers that may be written as one text.
type Servers []string

var _ yaml.Unmarshaler = (*Servers)(nil)

// UnmarshalYAML reads one text or a list of texts.
func (s *Servers) UnmarshalYAML(n *yaml.Node) error {
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		items = n.Content
	}
	*s = nil
	for _, item := range items {
		if item.Kind != yaml.ScalarNode || item.ShortTag() != "!!str" {
			return fmt.Errorf("want dev, a URL or a list of URLs, not %s", describe(item))
		}
		*s = append(*s, item.Value)
	}
	return nil
}

// dev reports whether the embedded timestamp authority is meant.
func (s Servers) dev() bool { return len(s) == 1 && s[0] == Development }

// Load reads hallmark.yaml in dir, fills in what it leaves out, and checks all
// that can be checked by reading. A *ConfigError holds every problem, with its
// line.
func Load(dir string) (*Config, error) {
	data, err := key.ReadRegular(filepath.Join(dir, ConfigFile), maxConfig)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, usage("no %s in %s: `mage init` writes one for this module", ConfigFile, dir)
	}
	if err != nil {
		return nil, &UsageError{err}
	}
	return parseConfig(data)
}

// loadForFiles is Load for the commands about single files, which need nothing
// of hallmark.yaml but identity, timestamp, sign and trust. One that names
// neither the release nor a program is not checked for the rest.
func loadForFiles(dir string) (*Config, error) {
	data, err := key.ReadRegular(filepath.Join(dir, ConfigFile), maxConfig)
	if err != nil {
		return nil, &UsageError{err}
	}
	return parse(data, true)
}

// Judging returns the part of hallmark.yaml that is about judges, for what is
// judged outside of a release. Without the file it is empty.
func Judging(o Options) (compat.Config, error) {
	if !exists(filepath.Join(o.dir(), ConfigFile)) {
		return compat.Config{}, nil
	}
	c, err := Load(o.dir())
	if err != nil {
		return compat.Config{}, err
	}
	return c.Judging, nil
}

func parseConfig(data []byte) (*Config, error) { return parse(data, false) }

func parse(data []byte, forFiles bool) (*Config, error) {
	c := &Config{}
	d := decodeStrict(data, c)
	if len(d.problems) == 0 {
		c.stampsNamed = len(c.Timestamp) > 0
		c.fill()
		if forFiles && c.Name == "" {
			c.checkSigning(d)
		} else {
			c.check(d)
		}
	}
	if len(d.problems) > 0 {
		slices.SortStableFunc(d.problems, func(a, b Problem) int { return a.Line - b.Line })
		return nil, &ConfigError{File: ConfigFile, Problems: d.problems}
	}
	return c, nil
}

// fill sets defaults.
func (c *Config) fill() {
	if c.Name == "" && len(c.Build.Programs) > 0 {
		c.Name = c.Build.Programs[0].Name
		if base := path.Base(filepath.ToSlash(c.Build.Programs[0].Main)); c.Name == "" && base != "." && base != ".." {
			c.Name = base
		}
	}
	if len(c.Build.Programs) == 0 && c.Name != "" {
		c.Build.Programs = []build.Program{{Name: c.Name, Main: "."}}
	}
	// As from a tag: 1.2.3 is the version, v1.2.3 the name of the tag.
	if len(c.Version) > 1 && c.Version[0] == 'v' && '0' <= c.Version[1] && c.Version[1] <= '9' {
		c.Version = c.Version[1:]
	}
	if c.Identity == "" {
		c.Identity = Development
	}
	if len(c.Timestamp) == 0 {
		c.Timestamp = Servers{Development}
	}
	if c.Dist == "" {
		c.Dist = "dist"
	}
	if c.Sign.Sums == nil { // as opposed to []
		c.Sign.Sums = []string{signing.P7S{}.Name()}
	}
}

// check adds what is wrong with the values themselves.
func (c *Config) check(d *document) {
	if !regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]*$`).MatchString(c.Name) {
		if c.Name == "" {
			d.at("name", "name: missing: give the release a name, like `name: notes`")
		} else {
			d.at("name", "name: %q cannot be part of a file name: use letters, digits, dots, dashes", c.Name)
		}
	} else if err := dist.WindowsName(c.Name); err != nil {
		d.at("name", "name: %v", err)
	}
	if c.Version != "" {
		if err := build.CheckVersion(c.Version); err != nil {
			d.at("version", "version: %v", err)
		}
	}
	if err := checkDist(c.Dist); err != nil {
		d.at("dist", "dist: %v", err)
	}
	for i, p := range c.Build.Programs {
		if err := dist.WindowsName(p.Name); err != nil && p.Name != "" {
			d.at(fmt.Sprintf("programs[%d].name", i), "programs[%d].name: %v", i, err)
		}
	}
	if _, err := c.Build.Expand(); err != nil {
		d.each("targets", err)
	}
	if err := c.Shipping.Validate(); err != nil {
		d.each("packages", err)
	}
	for _, f := range c.Sign.Packages {
		if slices.Contains(signing.PackageFormats(), f) && !slices.Contains(c.Shipping.Packages, f) {
			d.at("sign.packages", "sign.packages: %s packages are to be signed, but packages does not name %s", f, f)
		}
	}
	if err := c.Bench.Validate(); err != nil {
		d.each("bench", err)
	}
	if p := c.Bench.Program; p != "" && !slices.ContainsFunc(c.Build.Programs, func(x build.Program) bool { return x.Name == p }) {
		d.at("bench.program", "bench.program: %q is none of the programs", p)
	}
	if err := c.Environment.Validate(); err != nil {
		d.each("environment", err)
	}
	if err := c.Judging.Validate(); err != nil {
		d.each("judges", err)
	}
	c.checkSigning(d)
}

// checkDist reports why a path cannot be that of the dist folder: a clean one
// inside of the module, which can exist on every system that releases.
func checkDist(p string) error {
	clean := filepath.ToSlash(filepath.Clean(p))
	if !filepath.IsLocal(p) || clean == "." {
		return fmt.Errorf("%q is not a folder in the module's own folder", p)
	}
	for _, part := range strings.Split(clean, "/") {
		if strings.EqualFold(part, ".git") {
			return fmt.Errorf("%q is in git's own folder", p)
		}
		if !regexp.MustCompile(`^[A-Za-z0-9._][A-Za-z0-9._+-]*$`).MatchString(part) {
			return fmt.Errorf("%q: name folders by letters, digits, dots, dashes and underscores", p)
		}
		if err := dist.WindowsName(part); err != nil {
			return err
		}
	}
	return nil
}

// checkSigning adds what is wrong with the values that signing and verifying
// single files need.
func (c *Config) checkSigning(d *document) {
	for i, s := range c.Timestamp {
		if err := checkServer(s, len(c.Timestamp)); err != nil {
			d.at(fmt.Sprintf("timestamp[%d]", i), "timestamp: %v", err)
		}
	}
	if err := c.Sign.Validate(); err != nil {
		d.each("sign", err)
	}
	if _, err := c.Trust.policy(); err != nil {
		d.each("trust", err)
	}
}

// each adds the parts of a joined error one by one, at the line of the key
// that they name.
func (d *document) each(path string, err error) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			d.each(path, e)
		}
		return
	}
	var (
		built   *build.ConfigError
		shipped *dist.ConfigError
	)
	switch {
	case errors.As(err, &built):
		path = built.Key
	case errors.As(err, &shipped):
		path = shipped.Key
	default:
		if key, _, ok := strings.Cut(err.Error(), ": "); ok && (d.lines[key] > 0 || d.lines[key[:strings.LastIndexByte(key, ']')+1]] > 0 && strings.Contains(key, "]")) {
			path = key
		}
	}
	d.at(path, "%s", err.Error())
}

func checkServer(s string, n int) error {
	switch s {
	case Development:
		if n > 1 {
			return errors.New("dev is the embedded server: it does not go with others")
		}
		return nil
	case "none", "":
		return errors.New("a signature without a timestamp stops being valid when its certificate expires: name a server, or dev")
	}
	if strings.Contains(s, "@") {
		// Nothing of it is repeated: where the password ends is a guess.
		return errors.New("a URL with a user or a password would be seen in the manifest: name a server that asks for none")
	}
	if err := tsa.CheckURL(s); err != nil {
		return fmt.Errorf("%q is neither dev nor a URL like http://timestamp.example", s)
	}
	return nil
}
