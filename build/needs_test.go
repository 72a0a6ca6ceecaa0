package build

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// TestNeeds compares with readelf of the GNU binutils.
func TestNeeds(t *testing.T) {
	t.Parallel()
	readelf, err := exec.LookPath("readelf")
	if err != nil {
		t.Skip("SKIP: readelf is not installed")
	}
	compared := 0
	for _, file := range []string{"/bin/sh", "/bin/ls", "/usr/bin/dpkg", readelf} {
		out, err := exec.CommandContext(t.Context(), readelf, "-dVW", file).Output()
		if err != nil {
			continue
		}
		var want []string
		for _, m := range regexp.MustCompile(`\(NEEDED\)\s+Shared library: \[(.*)\]`).FindAllStringSubmatch(string(out), -1) {
			want = append(want, m[1])
		}
		slices.Sort(want)
		wantVersion := ""
		for _, m := range regexp.MustCompile(`Name: GLIBC_([0-9.]+)`).FindAllStringSubmatch(string(out), -1) {
			if newer(m[1], wantVersion) {
				wantVersion = m[1]
			}
		}
		libraries, glibc, err := Needs(file)
		if err != nil || !slices.Equal(libraries, want) || glibc != wantVersion {
			t.Errorf("%s: %q, %q, %v; readelf says %q, %q", file, libraries, glibc, err, want, wantVersion)
		}
		if len(want) > 0 {
			compared++
		}
	}
	if compared == 0 {
		t.Skip("SKIP: no program here needs a library")
	}
	data, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(t.TempDir(), "cut")
	write(t, cut, string(data[:len(data)/2]))
	if _, _, err := Needs(cut); err == nil {
		t.Error("a program that is cut off: no error")
	}
	for _, test := range []struct {
		a, b string
		want bool
	}{{"2.34", "2.4", true}, {"2.4", "2.34", false}, {"2.2.5", "2.2", true}, {"PRIVATE", "", false}, {"2.17", "", true}, {"2.17", "2.17", false}} {
		if newer(test.a, test.b) != test.want {
			t.Errorf("newer(%q, %q) is not %v", test.a, test.b, test.want)
		}
	}
}
