package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// machineRoom is a machine of fakes: programs in one folder, a root in memory, and a log of what was run.
type machineRoom struct {
	t        *testing.T
	bin, log string
	root     fstest.MapFS
	sys      system
}

func room(t *testing.T) *machineRoom {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("SKIP: the fakes are shell scripts")
	}
	r := &machineRoom{t: t, bin: t.TempDir(), log: filepath.Join(t.TempDir(), "log"), root: fstest.MapFS{
		"etc/os-release": {Data: []byte("PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\n")},
	}}
	r.sys = system{goos: "linux", goarch: "amd64", root: r.root, euid: 0, terminal: true,
		environ: []string{"PATH=" + r.bin, "HALLMARK_PASSWORD=secret", "HALLMARK_IDENTITY=pfx:x", "LC_ALL=de_DE.UTF-8"}}
	return r
}

// program writes a fake program: a shell script with body, which finds its log in $log and its folder in $bin.
func (r *machineRoom) program(name, body string) {
	r.t.Helper()
	script := "#!/bin/sh\nlog='" + r.log + "' bin='" + r.bin + "'\n" + body + "\n"
	if err := os.WriteFile(filepath.Join(r.bin, name), []byte(script), 0o755); err != nil {
		r.t.Fatal(err)
	}
}

// apt installs fakes of apt-get and apt-cache. apt-get install makes a program of every package's name.
func (r *machineRoom) apt(known ...string) {
	r.program("apt-get", `echo "apt-get DEBIAN_FRONTEND=$DEBIAN_FRONTEND password=$HALLMARK_PASSWORD $*" >> "$log"
for p in "$@"; do case $p in tool-*) echo '#!/bin/sh' > "$bin/$p"; /bin/chmod +x "$bin/$p";; esac; done`)
	r.program("apt-cache", `echo "apt-cache $1" >> "$log"
shift
for p in "$@"; do for k in `+strings.Join(known, " ")+`; do
[ "$p" = "$k" ] && printf '%s:\n  Installed: (none)\n  Candidate: 1.0-1\n' "$p"
done; done
printf 'virtual:\n  Installed: (none)\n  Candidate: (none)\n'`)
}

func (r *machineRoom) sudo() {
	r.program("sudo", `echo "sudo $*" >> "$log"
[ "$1" = -n ] && shift
exec /usr/bin/env -i PATH="$PATH:/usr/bin" "$@"`)
}

func (r *machineRoom) ran() []string {
	b, err := os.ReadFile(r.log)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.t.Fatal(err)
	}
	return strings.FieldsFunc(string(b), func(c rune) bool { return c == '\n' })
}

func (r *machineRoom) setup(tools []Tool) (string, error) {
	var out bytes.Buffer
	err := r.sys.setup(r.t.Context(), &out, tools, func(context.Context, time.Duration) error {
		f, err := os.OpenFile(r.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err == nil {
			fmt.Fprintln(f, "sleep")
			f.Close()
		}
		return nil
	})
	return out.String(), err
}

func simple(names ...string) []Tool {
	var tools []Tool
	for _, n := range names {
		tools = append(tools, Tool{Name: n, Programs: []string{"tool-" + n}, Packages: []string{"tool-" + n}, Fedora: []string{n + "-fedora"},
			Arch: []string{n + "-arch"}, Brew: []string{n + "-brew"}, Purpose: "purpose of " + n, Version: []string{"--version"}})
	}
	return tools
}

const installed = "install -y -q --no-install-recommends -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3"

func TestSetupNothingMissing(t *testing.T) {
	r := room(t)
	r.apt("tool-a")
	r.program("tool-a", "echo ran >> $log")
	out, err := r.setup(simple("a"))
	if err != nil || !strings.Contains(out, "all 1 tools are here") {
		t.Errorf("%v: %s", err, out)
	}
	if ran := r.ran(); len(ran) > 0 {
		t.Errorf("programs were run: %q", ran)
	}
}

func TestSetupInstalls(t *testing.T) {
	for _, tt := range []struct {
		name     string
		euid     int
		terminal bool
		sudo     string
	}{
		{"root", 0, false, ""},
		{"user on a terminal", 1000, true, "sudo"},
		{"user without a terminal", 1000, false, "sudo -n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := room(t)
			r.apt("tool-a", "tool-b", "tool-d")
			r.sudo()
			r.program("tool-b", "")
			r.sys.euid, r.sys.terminal = tt.euid, tt.terminal
			tools := simple("a", "b", "c", "d")
			out, err := r.setup(tools)
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			var want []string
			aptLine := func(args string) {
				if tt.sudo != "" {
					want = append(want, tt.sudo+" env DEBIAN_FRONTEND=noninteractive "+filepath.Join(r.bin, "apt-get")+" "+args)
				}
				want = append(want, "apt-get DEBIAN_FRONTEND=noninteractive password= "+args)
			}
			aptLine("update -q")
			want = append(want, "apt-cache policy")
			aptLine(installed + " tool-a tool-d")
			if ran := r.ran(); !slices.Equal(ran, want) {
				t.Errorf("ran\n%s\nwant\n%s", strings.Join(ran, "\n"), strings.Join(want, "\n"))
			}
			if !strings.Contains(out, "c: apt has no package tool-c") || !strings.Contains(out, "without it: purpose of c") {
				t.Errorf("the unknown package is not told:\n%s", out)
			}
			// The second time only the one without a package is missing.
			if _, err := r.setup(tools); err != nil {
				t.Error(err)
			}
			if last := r.ran()[len(r.ran())-1]; last != "apt-cache policy" {
				t.Errorf("the second setup ran %q", last)
			}
		})
	}
}

func TestSetupNeitherRootNorSudo(t *testing.T) {
	r := room(t)
	r.apt("tool-a")
	r.sys.euid = 1000
	_, err := r.setup(simple("a"))
	if err == nil || !strings.Contains(err.Error(), "as root run apt-get install -y --no-install-recommends tool-a") {
		t.Errorf("%v", err)
	}
	if ran := r.ran(); len(ran) > 0 {
		t.Errorf("ran %q", ran)
	}
}

func TestSetupAptFails(t *testing.T) {
	r := room(t)
	r.apt("tool-a")
	r.program("apt-get", `echo "apt-get $1" >> "$log"
[ "$1" = update ] && exit 0
i=0; while [ $i -lt 3000 ]; do echo "Get:$i something"; i=$((i+1)); done
echo "E: Failed to fetch http://mirror.example/x  404  Not Found" >&2
echo "E: Unable to fetch some archives" >&2
exit 100`)
	out, err := r.setup(simple("a"))
	var ae *AptError
	if !errors.As(err, &ae) || strings.Contains(err.Error(), "\n") ||
		!strings.Contains(err.Error(), "tool-a failed (exit status 100): E: Failed to fetch http://mirror.example/x  404  Not Found; E: Unable to fetch some archives") {
		t.Errorf("%v\n%s", err, out)
	}
	if want := []string{"apt-get update", "apt-cache policy", "apt-get install", "sleep", "apt-get install"}; !slices.Equal(r.ran(), want) {
		t.Errorf("ran %q, want %q", r.ran(), want)
	}
}

func TestSetupUpdateFails(t *testing.T) {
	r := room(t)
	r.apt("tool-a")
	r.program("apt-get", `echo "apt-get $1" >> "$log"
if [ "$1" = update ]; then echo "E: Could not get lock /var/lib/apt/lists/lock" >&2; exit 100; fi
echo > "$bin/tool-a"; /bin/chmod +x "$bin/tool-a"`)
	out, err := r.setup(simple("a"))
	if err != nil || !strings.Contains(out, "Could not get lock") || !strings.Contains(out, "trying with the lists that are here") {
		t.Errorf("%v\n%s", err, out)
	}
	if n := strings.Count(strings.Join(r.ran(), "\n"), "sleep"); n != 4 {
		t.Errorf("%d pauses", n)
	}
	// Without lists nothing is known, and the failed update is the reason to tell.
	r = room(t)
	r.apt()
	r.program("apt-get", `echo "E: Temporary failure resolving" >&2; exit 100`)
	if out, err := r.setup(simple("a")); err == nil || !strings.Contains(err.Error(), "apt-get update -q failed (exit status 100): E: Temporary failure resolving") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestSetupOneCannotBeInstalled(t *testing.T) {
	r := room(t)
	r.apt("tool-a", "tool-b")
	r.program("apt-get", `echo "apt-get $*" >> "$log"
case "$*" in *tool-b*) echo "E: Unable to correct problems, you have held broken packages." >&2; exit 100;; *tool-a*) echo > "$bin/tool-a"; /bin/chmod +x "$bin/tool-a";; esac`)
	tools := simple("a", "b")
	out, err := r.setup(tools)
	if err != nil || !strings.Contains(out, "b: ") || !strings.Contains(out, "held broken packages") || !strings.Contains(out, "without it: purpose of b") {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := os.Stat(filepath.Join(r.bin, "tool-a")); err != nil {
		t.Error("a was not installed")
	}
	tools[1].Required = true
	if _, err := r.setup(tools); err == nil {
		t.Error("no error, though a required tool is missing")
	}
}

func TestSetupOldTool(t *testing.T) {
	clang := []Tool{{Name: "clang", Programs: []string{"clang-19"}, Older: []string{"clang"}, Packages: []string{"tool-19"}, Fallback: []string{"tool-any"}, Purpose: "p"}}
	old := func(t *testing.T) *machineRoom {
		r := room(t)
		dir := filepath.Join(t.TempDir(), "llvm-14", "bin")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "clang"), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(dir, "clang"), filepath.Join(r.bin, "clang")); err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := old(t)
	r.apt("tool-19", "tool-any")
	if out, err := r.setup(clang); err != nil || !strings.Contains(strings.Join(r.ran(), "\n"), installed+" tool-19") {
		t.Errorf("not replaced: %v %q\n%s", err, r.ran(), out)
	}
	// A distribution without the newer one: no apt-get at all.
	r = old(t)
	r.apt("tool-any")
	if out, err := r.setup(clang); err != nil || !slices.Equal(r.ran(), []string{"apt-cache policy"}) {
		t.Errorf("%v %q\n%s", err, r.ran(), out)
	}
	// Missing, in a distribution without the newer one: the default.
	r = room(t)
	r.apt("tool-any")
	if out, err := r.setup(clang); err != nil || !strings.Contains(strings.Join(r.ran(), "\n"), installed+" tool-any") {
		t.Errorf("%v %q\n%s", err, r.ran(), out)
	}
}

func TestSetupElsewhere(t *testing.T) {
	for _, tt := range []struct{ name, goos, release, want string }{
		{"fedora", "linux", "ID=fedora\n", "sudo dnf install a-fedora b-fedora\n"},
		{"rocky", "linux", "ID=rocky\nID_LIKE=\"rhel centos fedora\"\n", "sudo dnf install a-fedora"},
		{"arch", "linux", "ID=arch\n", "sudo pacman -S --needed a-arch b-arch\n"},
		{"unknown", "linux", "", "on Debian their packages are: tool-a tool-b\n"},
		{"macOS", "darwin", "", "brew install a-brew b-brew\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := room(t)
			r.root["etc/os-release"] = &fstest.MapFile{Data: []byte(tt.release)}
			r.sys.goos = tt.goos
			tools := simple("a", "b")
			out, err := r.setup(tools)
			if err != nil || !strings.Contains(out, tt.want) || !strings.Contains(out, "purpose of a") {
				t.Errorf("%v\n%s", err, out)
			}
			tools[0].Required = true
			var me *MissingError
			if _, err := r.setup(tools); !errors.As(err, &me) || me.Tool.Name != "a" {
				t.Errorf("a required tool is missing: %v", err)
			}
		})
	}
}

func TestSetupCancelled(t *testing.T) {
	r := room(t)
	r.apt("tool-a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	if err := r.sys.setup(ctx, &out, simple("a"), wait); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestHeaders(t *testing.T) {
	r := room(t)
	r.program("tool-gcc", "")
	tools := simple("gcc")
	tools[0].Headers = []string{"usr/include/c++/*/iostream"}
	var me *MissingError
	if f := r.sys.look(tools)[0]; !errors.As(f.Err, &me) || me.Header == "" || !strings.Contains(f.Err.Error(), "but not /usr/include/c++/*/iostream") {
		t.Errorf("%+v", f)
	}
	r.root["usr/include/c++/12/iostream"] = &fstest.MapFile{}
	if f := r.sys.look(tools)[0]; f.Err != nil {
		t.Errorf("%+v", f)
	}
}

func TestVersions(t *testing.T) {
	r := room(t)
	for name, tt := range map[string]struct{ body, want string }{
		"gcc":      {`echo "gcc (Debian 12.2.0-14+deb12u1) 12.2.0"`, "12.2.0"},
		"mingw":    {`echo "x86_64-w64-mingw32-gcc (GCC) 12-win32"`, "12-win32"},
		"clang":    {`echo "Debian clang version 19.1.7 (3~deb12u1)"`, "19.1.7"},
		"zstd":     {`echo "*** Zstandard CLI (64-bit) v1.5.4, by Yann Collet ***"`, "1.5.4"},
		"openssl":  {`echo "OpenSSL 3.0.22 25 Aug 2026 (Library: OpenSSL 3.0.22 25 Aug 2026)"`, "3.0.22"},
		"stderr":   {`echo "osslsigncode 2.9, using:" >&2`, "2.9"},
		"fails":    {`echo "1.2.3"; exit 1`, "unknown"},
		"strange":  {`echo "hello"`, "unknown"},
		"silent":   {``, "unknown"},
		"binary":   {`printf '\033[31m\000\377 1.2\n'`, "1.2"},
		"endless":  {`while :; do echo spam; done`, "unknown"},
		"secrets":  {`echo "0.0$HALLMARK_PASSWORD$HALLMARK_IDENTITY"`, "0.0"},
		"language": {`echo "0.1 $LC_ALL"; [ "$LC_ALL" = C ] || exit 1`, "0.1"},
		"grandkid": {`/bin/sleep 5 & echo 1.5`, "unknown"},
	} {
		r.program("tool-"+name, tt.body)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			f := r.sys.find(t.Context(), simple(name))[0]
			if f.Version != tt.want || f.Err != nil {
				t.Errorf("%q (%v), want %q", f.Version, f.Err, tt.want)
			}
			if d := time.Since(start); d > 30*time.Second {
				t.Errorf("it hung for %v", d)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if v := r.sys.version(ctx, filepath.Join(r.bin, "tool-gcc"), []string{"--version"}); v != "unknown" {
		t.Errorf("cancelled: %q", v)
	}
}

func TestMachine(t *testing.T) {
	for _, tt := range []struct {
		name string
		root map[string]string
		want Machine
	}{
		{"debian", map[string]string{
			"etc/os-release": "NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\n", "proc/sys/kernel/osrelease": "6.1.0-18-amd64\n",
			"proc/version": "Linux version 6.1.0-18-amd64 (debian-kernel@lists.debian.org)", "proc/meminfo": "MemTotal:       16318480 kB\nMemFree: 1 kB\n"},
			Machine{Distribution: "Debian GNU/Linux 12 (bookworm)", ID: "debian", Kernel: "6.1.0-18-amd64", Memory: 16318480 << 10}},
		{"wsl 2", map[string]string{
			"etc/os-release": "PRETTY_NAME='Ubuntu 24.04 LTS'\nID=ubuntu\nID_LIKE=debian\n", "proc/sys/kernel/osrelease": "5.15.90.1-microsoft-standard-WSL2\n",
			"proc/version": "Linux version 5.15.90.1-microsoft-standard-WSL2 (oe-user@oe-host)"},
			Machine{Distribution: "Ubuntu 24.04 LTS", ID: "ubuntu", IDLike: []string{"debian"}, Kernel: "5.15.90.1-microsoft-standard-WSL2", WSL: 2}},
		{"wsl 1", map[string]string{"proc/sys/kernel/osrelease": "4.4.0-19041-Microsoft\n", "proc/version": "Linux version 4.4.0-19041-Microsoft (Microsoft@Microsoft.com)"},
			Machine{Kernel: "4.4.0-19041-Microsoft", WSL: 1}},
		{"wsl 2 with a kernel of one's own", map[string]string{"proc/sys/kernel/osrelease": "6.6.0-mine\n", "proc/version": "Linux version 6.6.0-mine", "proc/sys/fs/binfmt_misc/WSLInterop": "enabled"},
			Machine{Kernel: "6.6.0-mine", WSL: 2}},
		{"container", map[string]string{"usr/lib/os-release": "ID=alpine\n", "proc/meminfo": "MemTotal: 16318480 kB\n", "sys/fs/cgroup/memory.max": "1073741824\n"},
			Machine{ID: "alpine", Memory: 1 << 30}},
		{"nonsense", map[string]string{"etc/os-release": "=\n\"\nID\nPRETTY_NAME=\"", "proc/meminfo": "MemTotal: x kB\n", "sys/fs/cgroup/memory.max": "max\n"}, Machine{Distribution: `"`}},
		{"nothing", nil, Machine{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := fstest.MapFS{}
			for name, data := range tt.root {
				root[name] = &fstest.MapFile{Data: []byte(data)}
			}
			s := system{goos: "linux", goarch: "amd64", root: root}
			got, err := s.machine(t.Context())
			if err == nil || !strings.Contains(err.Error(), "go is not on PATH") {
				t.Errorf("without go: %v", err)
			}
			tt.want.OS, tt.want.Arch, tt.want.CPUs = "linux", "amd64", runtime.NumCPU()
			if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", tt.want) {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestGoSettings(t *testing.T) {
	r := room(t)
	r.program("go", `[ -z "$HALLMARK_PASSWORD" ] || exit 1
case "$*" in
*-changed*) echo '{"GOFLAGS":"-buildvcs=false","GOPROXY":"x"}';;
*) echo '{"GOVERSION":"go1.26.8","GOFLAGS":"-buildvcs=false","GOPROXY":"https://me:pa55@proxy.example/x,direct","GOENV":"/home/me/.config/go/env"}';;
esac`)
	r.sys.environ = append(r.sys.environ, "GOPROXY=https://me:pa55@proxy.example/x,direct")
	m, err := r.sys.machine(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]Setting{}
	for _, s := range m.Go {
		got[s.Name] = s
	}
	for _, want := range []Setting{
		{"GOVERSION", "go1.26.8", "default"},
		{"GOFLAGS", "-buildvcs=false", "/home/me/.config/go/env"},
		{"GOPROXY", "https://REDACTED@proxy.example/x,direct", "environment"},
	} {
		if got[want.Name] != want {
			t.Errorf("got %+v, want %+v", got[want.Name], want)
		}
	}
	r.program("go", "echo nonsense")
	if _, err := r.sys.machine(t.Context()); err == nil {
		t.Error("nonsense from go env is no error")
	}
}

func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		"https://goproxy.example,direct":       "https://goproxy.example,direct",
		"https://u:p@a/b|https://t@c,off":      "https://REDACTED@a/b|https://REDACTED@c,off",
		"https://u:p%zz@host/x":                "https://REDACTED@host/x",
		"-ldflags=-X=main.url=ftp://a:b@host/": "-ldflags=-X=main.url=ftp://REDACTED@host/",
		"":                                     "",
	} {
		if got := redact(in); got != want {
			t.Errorf("redact(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestDoctor(t *testing.T) {
	r := room(t)
	r.program("tool-a", "echo a 1.2.3")
	r.program("go", `echo '{"GOVERSION":"go1.26.8"}'`)
	tools := simple("a", "b")
	var out bytes.Buffer
	if err := r.sys.doctor(t.Context(), &out, tools); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"machine  linux/amd64, Debian GNU/Linux 12 (bookworm)", "GOVERSION", "go1.26.8", "1 of 2 tools are missing"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	var rows [][]string
	for line := range strings.Lines(out.String()) {
		rows = append(rows, strings.Fields(line))
	}
	for _, want := range []string{"a 1.2.3 " + filepath.Join(r.bin, "tool-a") + " purpose of a", "b - missing purpose of b"} {
		if !slices.ContainsFunc(rows, func(row []string) bool { return strings.Join(row, " ") == want }) {
			t.Errorf("no row %q in\n%s", want, out.String())
		}
	}
	tools[1].Required = true
	var me *MissingError
	if err := r.sys.doctor(t.Context(), &out, tools); !errors.As(err, &me) {
		t.Errorf("a required tool is missing: %v", err)
	}
}

// The table itself: every tool can be found, installed and explained.
func TestTools(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64", "riscv64"} {
		names := map[string]bool{}
		for _, tool := range toolsFor(arch) {
			if names[tool.Name] || tool.Name == "" || (len(tool.Programs) == 0) == (tool.Kernel == "") || (len(tool.Packages) == 0) == (tool.Module == "") || tool.Purpose == "" {
				t.Errorf("%s: %+v", arch, tool)
			}
			names[tool.Name] = true
			for _, h := range tool.Headers {
				if !fs.ValidPath(h) {
					t.Errorf("%s: header %q", tool.Name, h)
				}
			}
		}
	}
	if len(Tools()) == 0 || len(Find(t.Context(), Tools()[:1])) != 1 {
		t.Error("no tools")
	}
}

func TestPathDirs(t *testing.T) {
	s := system{goos: "linux", environ: []string{"PATH=/nowhere", "PATH=/usr/bin:/mnt/c/Windows:relative::/mnt/c:/mnt/code/bin"}}
	if got := s.pathDirs(); !slices.Equal(got, []string{"/usr/bin", "/mnt/code/bin"}) {
		t.Errorf("%q", got)
	}
}

// What Setup costs when nothing is missing.
func BenchmarkLook(b *testing.B) {
	s, tools := here(), Tools()
	for b.Loop() {
		s.look(tools)
	}
}
