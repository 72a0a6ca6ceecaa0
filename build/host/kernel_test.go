package host

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

// archive makes fakes of apt and dpkg-deb: the package of a kernel holds the
// given file. With stale, the machine's own lists lead to a package that is
// gone; with none they lead to nothing.
func (r *machineRoom) archive(file string, stale, none bool) {
	r.t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range []string{"./boot/config-6.1.0-9-cloud-amd64", file, "./lib/modules/6.1.0-9-cloud-amd64/kernel/drivers/net/dummy.ko"} {
		if err := w.WriteHeader(&tar.Header{Name: f, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(f))}); err != nil {
			r.t.Fatal(err)
		}
		w.Write([]byte(f))
	}
	w.Close()
	if err := os.WriteFile(filepath.Join(r.bin, "package.tar"), b.Bytes(), 0o600); err != nil {
		r.t.Fatal(err)
	}
	own := `case "$*" in *Dir::State::Lists*) own=1;; *) own=;; esac` + "\n"
	r.program("apt-get", own+`echo "apt-get own=$own password=$HALLMARK_PASSWORD $*" >> "$log"
case "$*" in *SourceList=*update*) while read -r l; do echo "mirror: $l" >> "$log"; done < sources.list;; esac
[ -z "$own" ] && [ -n "`+yes(stale)+`" ] && { echo "E: Failed to fetch: 404  Not Found"; exit 100; }
case "$*" in *download*) for last; do :; done; echo deb > "$last"_6.1.9-1_amd64.deb;; esac`)
	r.program("apt-cache", own+`[ -z "$own" ] && [ -n "`+yes(none)+`" ] && { echo "E: No packages found"; exit 100; }
printf 'linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-9-cloud-amd64\n'`)
	r.program("dpkg-deb", `[ "$1" = --fsys-tarfile ] && /bin/cat "$bin/package.tar"`)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

func TestFetchKernel(t *testing.T) {
	const image = "./boot/vmlinuz-6.1.0-9-cloud-amd64"
	tools := []Tool{{Name: "linux 6.1", Kernel: "6.1", Packages: []string{"linux-image-cloud-amd64"}, Purpose: "judging"}}
	for _, test := range []struct {
		name, file  string
		arch        string
		stale, none bool
		lists       bool
		mirror      string
		ran, says   string // parts of what was run and printed
		fails       string // part of the error; empty: it succeeds
		absent      bool   // there is no kernel in the end
	}{
		{name: "good", file: image, arch: "amd64", ran: "apt-get own= password= download -q linux-image-6.1.0-9-cloud-amd64", says: "fetching linux-image-6.1.0-9-cloud-amd64"},
		{name: "stale lists", file: image, arch: "amd64", stale: true, lists: true, ran: "apt-get own=1", says: "fetching apt's lists"},
		{name: "no lists", file: image, arch: "amd64", none: true, ran: "apt-get own=1", says: "fetching apt's lists"},
		{name: "another architecture", file: image, arch: "arm64", lists: true, ran: "APT::Architecture=amd64", says: "fetching apt's lists"},
		{name: "not in the archive", file: image, arch: "amd64", none: true, lists: true, says: "apt has no package linux-image-cloud-amd64 of Linux 6.1: on Ubuntu, set HALLMARK_DEBIAN to the URL of a mirror of Debian: without it: judging", absent: true},
		{name: "from a mirror", file: image, arch: "amd64", none: true, lists: true, mirror: "https://mirror.example/", ran: "mirror: deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] https://mirror.example/debian-security bookworm-security main"},
		{name: "damaged package", file: "./boot/other", arch: "amd64", fails: "there is no boot/vmlinuz-6.1.0-9-cloud-amd64 in it", absent: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := room(t)
			r.sys.cache, r.sys.goarch = t.TempDir(), test.arch
			if test.mirror != "" {
				r.sys.environ = append(r.sys.environ, "HALLMARK_DEBIAN="+test.mirror)
			}
			if test.lists {
				r.root["var/lib/apt/lists/deb.example_Packages"] = &fstest.MapFile{}
			}
			r.archive(test.file, test.stale, test.none)
			var out bytes.Buffer
			err := r.sys.fetchKernels(t.Context(), &out, tools)
			if test.fails == "" && err != nil || test.fails != "" && (err == nil || !strings.Contains(err.Error(), test.fails)) {
				t.Fatalf("error %v, want %q", err, test.fails)
			}
			ran := strings.Join(r.ran(), "\n")
			if !strings.Contains(ran, test.ran) || !strings.Contains(out.String(), test.says) || strings.Contains(ran, "secret") {
				t.Errorf("ran\n%s\nsaid\n%s", ran, &out)
			}
			found := r.sys.look(tools)[0]
			var me *MissingError
			if test.absent != errors.As(found.Err, &me) {
				t.Errorf("found %q, %v", found.Path, found.Err)
			}
			if !test.absent {
				if data, err := os.ReadFile(found.Path); err != nil || string(data) != image || found.Version != "6.1.0-9-cloud-amd64" {
					t.Errorf("%s, version %s: %q, %v", found.Path, found.Version, data, err)
				}
			}
			if left, _ := filepath.Glob(filepath.Join(r.sys.cache, "hallmark", "kernels", ".new-*")); len(left) > 0 {
				t.Errorf("%q is left", left)
			}
			if err := os.Remove(r.log); err != nil && ran != "" {
				t.Fatal(err)
			}
			if !test.absent {
				if err := r.sys.fetchKernels(t.Context(), &out, tools); err != nil || len(r.ran()) > 0 {
					t.Errorf("what is there is fetched again: %v, %q", err, r.ran())
				}
			}
		})
	}
}
