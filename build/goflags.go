package build

import (
	"fmt"
	"strings"
)

// goFlag is one flag of GOFLAGS.
type goFlag struct{ name, value string }

// goFlags reads GOFLAGS, which go env -w may have set too.
func goFlags(env map[string]string) ([]goFlag, error) {
	fields, err := splitFlags(env["GOFLAGS"])
	if err != nil {
		return nil, fmt.Errorf("GOFLAGS: %w", err)
	}
	var flags []goFlag
	for _, f := range fields {
		name, value, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(f, "-"), "-"), "=")
		flags = append(flags, goFlag{name, value})
	}
	return flags, nil
}

// checkGoFlags refuses flags in GOFLAGS with which the go command does something else than to build the source that was
// read: then a program that is out of date could be taken for one that is not.
func (b *Builder) checkGoFlags(env map[string]string) error {
	flags, err := goFlags(env)
	if err != nil {
		return err
	}
	refuse := func(f goFlag, why string) error {
		return &ConfigError{Key: "GOFLAGS", Err: fmt.Errorf("-%s %s; take it out, of the environment or with: go env -u GOFLAGS", f.name, why)}
	}
	for _, f := range flags {
		switch f.name {
		case "modfile", "overlay":
			return refuse(f, "puts other files in the place of the module's, which a release does not look at")
		case "toolexec":
			return refuse(f, "puts another program in front of the compiler, which a release does not look at")
		case "C":
			return refuse(f, "builds in another folder")
		case "o":
			return refuse(f, "names another file for the program")
		case "n", "json":
			if f.value != "false" {
				return refuse(f, "makes the go command print something else than what the compiler says")
			}
		case "pgo":
			if f.value != "auto" && f.value != "off" && !within(b.src.Dir, resolve(b.src.Dir, f.value)) {
				return refuse(f, "names a profile outside the module, which a release does not look at")
			}
		case "ldflags":
			if _, _, err := userFlags([]string{f.value}); err != nil {
				return &ConfigError{Key: "GOFLAGS", Err: fmt.Errorf("-ldflags: %w", err)}
			}
		}
	}
	return nil
}

// goTags returns the build tags of GOFLAGS, which count when the target has none.
func goTags(env map[string]string) []string {
	flags, _ := goFlags(env) // an error has been reported by checkGoFlags
	var tags []string
	for _, f := range flags {
		if f.name == "tags" {
			tags = strings.FieldsFunc(f.value, func(r rune) bool { return r == ',' || r == ' ' })
		}
	}
	return tags
}
