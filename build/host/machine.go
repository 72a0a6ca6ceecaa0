package host

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/url"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Machine is what a release was made on.
type Machine struct {
	OS           string    // runtime.GOOS
	Arch         string    // runtime.GOARCH
	Distribution string    // PRETTY_NAME of os-release(5): "Debian GNU/Linux 12 (bookworm)"; "" elsewhere
	ID           string    // ID of os-release(5): "debian"; and IDLike its relatives
	IDLike       []string  // ID_LIKE: "debian"
	Kernel       string    // release: "6.1.0-18-amd64"; "" where it is not known
	WSL          int       // version of the Windows Subsystem for Linux: 0 (none), 1 or 2
	CPUs         int       // that this process may use
	Memory       int64     // bytes that this process may use, the control group's limit included; 0: not known
	Go           []Setting // GOVERSION, GOTOOLCHAIN, GOFLAGS, GOPROXY and others
}

// Setting is one value of the Go environment.
type Setting struct {
	Name  string
	Value string // passwords in URLs are left out
	From  string // "default", "environment", or the file that `go env -w` wrote
}

func (m Machine) String() string {
	parts := []string{m.OS + "/" + m.Arch}
	if m.Distribution != "" {
		parts = append(parts, m.Distribution)
	}
	if m.Kernel != "" {
		parts = append(parts, "kernel "+m.Kernel)
	}
	if m.WSL > 0 {
		parts = append(parts, fmt.Sprintf("WSL %d", m.WSL))
	}
	parts = append(parts, fmt.Sprintf("%d CPUs", m.CPUs))
	if m.Memory > 0 {
		parts = append(parts, fmt.Sprintf("%.1f GiB memory", float64(m.Memory)/(1<<30)))
	}
	return strings.Join(parts, ", ")
}

// ReadMachine describes this machine. The error is about the go command alone; the rest of Machine holds all the same.
func ReadMachine(ctx context.Context) (Machine, error) { return here().machine(ctx) }

func (s system) machine(ctx context.Context) (Machine, error) {
	m := Machine{OS: s.goos, Arch: s.goarch, CPUs: runtime.NumCPU()}
	s.readDistribution(&m)
	m.Kernel = strings.TrimSpace(s.readFile("proc/sys/kernel/osrelease"))
	m.WSL = s.wsl()
	m.Memory = s.memory()
	var err error
	m.Go, err = s.goSettings(ctx)
	return m, err
}

// readFile returns a small file's text, or "".
func (s system) readFile(name string) string {
	b, err := fs.ReadFile(s.root, name)
	if err != nil || len(b) > 1<<20 {
		return ""
	}
	return string(b)
}

// readDistribution reads os-release(5): NAME=value, the value quoted as in a shell.
func (s system) readDistribution(m *Machine) {
	text := s.readFile("etc/os-release")
	if text == "" {
		text = s.readFile("usr/lib/os-release")
	}
	for line := range strings.Lines(text) {
		k, v, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || strings.HasPrefix(k, "#") {
			continue
		}
		if len(v) >= 2 && (v[0] == '"' || v[0] == '\'') && v[len(v)-1] == v[0] {
			v = v[1 : len(v)-1]
		}
		v = strings.NewReplacer(`\"`, `"`, `\$`, `$`, `\\`, `\`, "\\`", "`").Replace(v)
		switch k {
		case "PRETTY_NAME":
			m.Distribution = v
		case "ID":
			m.ID = v
		case "ID_LIKE":
			m.IDLike = strings.Fields(v)
		}
	}
}

// wsl tells WSL by the kernel's name. WSL 1 says "4.4.0-19041-Microsoft", WSL 2 "5.15.90.1-microsoft-standard-WSL2";
// a kernel that the user built for WSL 2 may say neither, but WSL's init leaves its files.
func (s system) wsl() int {
	if s.goos != "linux" {
		return 0
	}
	text := strings.ToLower(s.readFile("proc/version") + " " + s.readFile("proc/sys/kernel/osrelease"))
	switch {
	case strings.Contains(text, "wsl2"), strings.Contains(text, "microsoft-standard"):
		return 2
	case strings.Contains(text, "microsoft"):
		return 1
	}
	for _, name := range []string{"run/WSL", "proc/sys/fs/binfmt_misc/WSLInterop"} {
		if _, err := fs.Stat(s.root, name); err == nil {
			return 2
		}
	}
	return 0
}

func (s system) memory() int64 {
	var memory int64
	sc := bufio.NewScanner(strings.NewReader(s.readFile("proc/meminfo")))
	for sc.Scan() {
		if f := strings.Fields(sc.Text()); len(f) == 3 && f[0] == "MemTotal:" && f[2] == "kB" {
			if n, err := strconv.ParseInt(f[1], 10, 50); err == nil {
				memory = n << 10
			}
		}
	}
	// The limit of a container: "max" without one.
	if n, err := strconv.ParseInt(strings.TrimSpace(s.readFile("sys/fs/cgroup/memory.max")), 10, 62); err == nil && n > 0 && (memory == 0 || n < memory) {
		memory = n
	}
	return memory
}

// goTime bounds one `go env`; it takes 10 ms, but may fetch a toolchain first.
const goTime = 60 * time.Second

// goSettings asks the go command for its settings and works out where each comes from: a variable of the environment
// wins over the file of `go env -w`, and that over the default.
func (s system) goSettings(ctx context.Context) ([]Setting, error) {
	goTool := lookIn(s.pathDirs(), []string{"go", "go.exe"})
	if goTool == "" {
		return nil, fmt.Errorf("go is not on PATH: install it from https://go.dev/dl")
	}
	ctx, cancel := context.WithTimeout(ctx, goTime)
	defer cancel()
	names := []string{"GOVERSION", "GOROOT", "GOTOOLCHAIN", "GOFLAGS", "GOPROXY", "GOPRIVATE", "GOSUMDB", "GOCACHE", "GOMODCACHE", "CGO_ENABLED", "GOENV"}
	all, err := s.goEnv(ctx, goTool, append([]string{"-json"}, names...))
	if err != nil {
		return nil, err
	}
	changed, err := s.goEnv(ctx, goTool, []string{"-json", "-changed"}) // Go 1.23 and newer
	if err != nil {
		changed = map[string]string{}
	}
	var settings []Setting
	for _, name := range names {
		from := "default"
		if _, ok := changed[name]; ok {
			from = all["GOENV"]
		}
		if s.getenv(name) != "" {
			from = "environment"
		}
		settings = append(settings, Setting{Name: name, Value: redact(all[name]), From: from})
	}
	return settings, nil
}

func (s system) goEnv(ctx context.Context, goTool string, args []string) (map[string]string, error) {
	cmd := exec.CommandContext(ctx, goTool, append([]string{"env"}, args...)...)
	cmd.Env = s.toolEnv()
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("asking go for its settings (go env): %w", err)
	}
	m := map[string]string{}
	if err := json.Unmarshal(out, &m); err != nil {
		return nil, fmt.Errorf("reading the output of go env: %w", err)
	}
	return m, nil
}

// redact takes user names and passwords out of the URLs in a value, such as those in GOPROXY.
func redact(v string) string {
	return regexp.MustCompile(`[a-zA-Z][a-zA-Z0-9+.-]*://[^\s,|]*`).ReplaceAllStringFunc(v, func(s string) string {
		if !strings.Contains(s, "@") {
			return s
		}
		u, err := url.Parse(s)
		if err != nil || u.User == nil {
			return s[:strings.Index(s, "://")+3] + "REDACTED@" + s[strings.LastIndex(s, "@")+1:]
		}
		u.User = url.User("REDACTED")
		return u.String()
	})
}
