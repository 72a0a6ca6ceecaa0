package build

import (
	"errors"
	"strings"
	"testing"
)

func TestGoFlags(t *testing.T) {
	src := readSource(t, copyModule(t, "hello"))
	for flags, want := range map[string]string{
		"-mod=mod -tags=a,b":           "",
		"-json=false -pgo=auto -v":     "",
		"-pgo=default.pgo":             "",
		"-modfile=x.mod":               "-modfile puts other files",
		"-v --overlay=x.json":          "-overlay puts other files",
		"-toolexec=time":               "another program in front of the compiler",
		"-n":                           "-n makes the go command print",
		"-json":                        "-json makes",
		"-o=/tmp/x":                    "another file",
		"-C=/tmp":                      "-C",
		"-pgo=/nonexistent/x.pgo":      "outside the module",
		"'-ldflags=-s -extld=/bin/ld'": "-extld",
	} {
		t.Setenv("GOFLAGS", flags)
		_, err := NewBuilder(t.Context(), src)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "GOFLAGS")) {
			t.Errorf("GOFLAGS=%s: %v, want %q", flags, err, want)
		}
		if fault := new(ConfigError); want != "" && !errors.As(err, &fault) {
			t.Errorf("GOFLAGS=%s: error is %T", flags, err)
		}
	}
	for _, flags := range [][]string{{"-extld=/bin/ld"}, {"-s --extld gcc"}} {
		c := Config{Programs: []Program{{Name: "x", LDFlags: flags}}, Targets: []Spec{{Platform: "linux/amd64"}}}
		if _, err := c.Expand(); err == nil || !strings.Contains(err.Error(), "toolchain:") {
			t.Errorf("ldflags %q: %v", flags, err)
		}
	}
}
