package release

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/hallmark-build/hallmark/signing"
)

// Enforce writes into a folder what an administrator needs to have Linux refuse
// whatever the identity has not signed: see [signing.Enforcement]. The programs are
// those of hallmark.yaml, where its packages install them, and the policies follow
// sign.elf. The folder must not be there yet, or be empty.
func Enforce(ctx context.Context, o Options, dir string) error {
	return stage(ctx, o, func(ctx context.Context, c *Config, o Options) error { return enforce(ctx, c, o, dir) })
}

func enforce(ctx context.Context, c *Config, o Options, dir string) error {
	if left, err := os.ReadDir(dir); err == nil && len(left) > 0 {
		return usage("%s is not empty: name a folder that is not there yet", dir)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &UsageError{err}
	}
	s, err := openSigner(ctx, "", c, o)
	if err != nil {
		return err
	}
	e := c.enforcement()
	files, err := e.Files(ctx, s.key)
	if err != nil {
		return &UsageError{err}
	}
	// Made beside the folder, and put in its place at once.
	made, err := os.MkdirTemp(filepath.Dir(filepath.Clean(dir)), ".hallmark-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(made)
	for _, f := range files {
		name := filepath.Join(made, f.Name)
		if err := writeFile(name, f.Data); err != nil {
			return err
		}
		if err := os.Chmod(name, f.Mode); err != nil {
			return err
		}
	}
	if err := os.Chmod(made, 0o755); err != nil {
		return err
	}
	if err := os.Rename(made, dir); err != nil {
		return err
	}
	o.Progress.Printf("%s: written: README.md says what to do with it", dir)
	return nil
}

// enforcement is what of a configuration kernels can be told to demand.
func (c *Config) enforcement() signing.Enforcement {
	e := signing.Enforcement{Name: c.Name}
	for _, d := range c.Sign.BesideELF() {
		switch d := d.(type) {
		case signing.Verity:
			e.Verity, e.Hash = true, d.Hash
		case signing.IMA:
			e.IMA, e.Sigv3, e.Hash = true, d.Verity, d.Hash
		}
	}
	// A release candidate has the numbers of its release.
	if numbers := regexp.MustCompile(`^\d{1,5}\.\d{1,5}\.\d{1,5}`).FindString(c.Version); numbers != "" {
		e.Version = numbers
	}
	for _, p := range c.Build.Programs {
		name := p.Name
		if name == "" {
			name = filepath.Base(p.Main)
		}
		e.Programs = append(e.Programs, signing.EnforcedProgram{
			Path: "/usr/bin/" + name, Signature: "/usr/lib/" + c.Name + "/" + name + signing.Verity{}.Suffix(),
		})
	}
	slices.SortFunc(e.Programs, func(a, b signing.EnforcedProgram) int { return strings.Compare(a.Path, b.Path) })
	return e
}
