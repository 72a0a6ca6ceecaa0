package build

import (
	"errors"
	"fmt"
	"strings"
)

// splitFlags splits a list of flags as the go command splits -ldflags: at spaces, and a field may stand in single or
// double quotes, inside which nothing is special and which must be closed.
func splitFlags(s string) ([]string, error) {
	var fields []string
	for {
		s = strings.TrimLeft(s, flagSpace)
		if s == "" {
			return fields, nil
		}
		if q := s[0]; q == '\'' || q == '"' {
			end := strings.IndexByte(s[1:], q)
			if end < 0 {
				return nil, fmt.Errorf("unterminated %c quote in %q", q, s)
			}
			fields = append(fields, s[1:1+end])
			s = s[1+end+1:]
			continue
		}
		end := strings.IndexAny(s, flagSpace)
		if end < 0 {
			end = len(s)
		}
		fields = append(fields, s[:end])
		s = s[end:]
	}
}

const flagSpace = " \t\n\r"

// joinFlags is the inverse of splitFlags: it quotes whole fields where that is needed, and refuses a field that holds
// both kinds of quote, for which there is no notation.
//
// The go command refuses a -ldflags that begins with a quote, and reads one that does not begin with a hyphen as a
// package pattern. Therefore a quoted "-name=value" becomes "-name" and a quoted "value", and the first field must be a
// flag.
func joinFlags(fields []string) (string, error) {
	var b strings.Builder
	for _, f := range fields {
		if b.Len() > 0 {
			b.WriteByte(' ')
		} else if !strings.HasPrefix(f, "-") {
			return "", fmt.Errorf("linker flag %q does not begin with a hyphen", f)
		}
		name, value, ok := strings.Cut(f, "=")
		if ok && strings.HasPrefix(f, "-") && needsQuotes(f) && !needsQuotes(name) {
			b.WriteString(name + " ")
			f = value
		} else if b.Len() == 0 && needsQuotes(f) {
			return "", fmt.Errorf("linker flag %q cannot stand first: give its value with an equals sign", f)
		}
		quoted, err := quoteFlag(f)
		if err != nil {
			return "", err
		}
		b.WriteString(quoted)
	}
	return b.String(), nil
}

func needsQuotes(f string) bool { return f == "" || strings.ContainsAny(f, flagSpace+`'"`) }

func quoteFlag(f string) (string, error) {
	switch {
	case !needsQuotes(f):
		return f, nil
	case !strings.Contains(f, "'"):
		return "'" + f + "'", nil
	case !strings.Contains(f, `"`):
		return `"` + f + `"`, nil
	}
	return "", fmt.Errorf("linker flag %q holds both kinds of quote, which the go command cannot be given", f)
}

// userFlags reads the linker flags of a configuration, each entry of which is read as go build -ldflags reads it, and
// takes the arguments for the external linker out of them: -extldflags counts once only, so they have to be joined
// with ours.
func userFlags(entries []string) (flags, external []string, err error) {
	var fields []string
	for _, e := range entries {
		f, err := splitFlags(e)
		if err != nil {
			return nil, nil, err
		}
		if len(f) > 0 && !strings.HasPrefix(f[0], "-") {
			return nil, nil, fmt.Errorf("linker flag %q does not begin with a hyphen", f[0])
		}
		fields = append(fields, f...)
	}
	for i := 0; i < len(fields); i++ {
		name, value, ok := strings.Cut(fields[i], "=")
		switch "-" + strings.TrimLeft(name, "-") {
		case "-extld", "-extar":
			return nil, nil, fmt.Errorf("%s names a program that nobody checks; choose the compiler with toolchain: of the target", name)
		case "-X":
			if !ok && i+1 < len(fields) {
				flags = append(flags, fields[i])
				i++ // the value may look like a flag
			}
			flags = append(flags, fields[i])
			continue
		}
		if name != "-extldflags" && name != "--extldflags" {
			flags = append(flags, fields[i])
			continue
		}
		if !ok {
			if i++; i == len(fields) {
				return nil, nil, errors.New("-extldflags lacks its value")
			}
			value = fields[i]
		}
		f, err := splitFlags(value)
		if err != nil {
			return nil, nil, fmt.Errorf("-extldflags: %w", err)
		}
		external = append(external, f...)
	}
	return flags, external, nil
}

// linkFlags returns the value of go build's -ldflags for a target of the given version; "" when there is none.
func (t Target) linkFlags(version string) (string, error) {
	var fields []string
	if t.VersionVar != "" {
		fields = append(fields, "-X", t.VersionVar+"="+version)
	}
	if t.GUI {
		fields = append(fields, "-H=windowsgui")
	}
	if t.clang() {
		fields = append(fields, "-linkmode=external")
	}
	flags, _, err := userFlags(t.LDFlags)
	if err != nil {
		return "", err
	}
	fields = append(fields, flags...)
	external, err := t.externalFlags()
	if err != nil {
		return "", err
	}
	if len(external) > 0 {
		joined := make([]string, len(external))
		for i, f := range external {
			if joined[i], err = quoteFlag(f); err != nil {
				return "", err
			}
		}
		fields = append(fields, "-extldflags="+strings.Join(joined, " "))
	}
	return joinFlags(fields)
}

// externalFlags returns the arguments for the external linker: those of the toolchain, then the user's, so that the
// user's win.
func (t Target) externalFlags() ([]string, error) {
	var external []string
	if t.cgo() && t.Platform.OS == "windows" {
		// Without it a program with C++ imports libgcc_s and libstdc++, which no Windows has, and does not start.
		external = append(external, "-static")
	}
	if t.clang() {
		external = append(external, "-fuse-ld=lld")
	}
	_, users, err := userFlags(t.LDFlags)
	return append(external, users...), err
}

// linker returns the name after the last -fuse-ld, and "" when the compiler chooses.
func (t Target) linker() string {
	flags, _ := t.externalFlags() // an error has been reported by Expand
	name := ""
	for _, f := range flags {
		if v, ok := strings.CutPrefix(f, "-fuse-ld="); ok {
			name = v
		}
	}
	return name
}
