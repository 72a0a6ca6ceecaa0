package bench

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/hallmark-build/hallmark/build/host"
)

// ReadMachine describes this machine, and the file systems on which the folders are, by what they are for. It fails only
// when the go command does not answer.
func ReadMachine(ctx context.Context, folders map[string]string) (Machine, error) {
	h, err := host.ReadMachine(ctx)
	m := Machine{
		OS: h.OS, Arch: h.Arch, Distribution: h.Distribution, Kernel: h.Kernel, WSL: h.WSL, Cores: h.CPUs, Memory: h.Memory,
		Go: runtime.Version(), CPU: cpuName(), LoadBefore: loadAverage(), LoadAfter: -1, Governor: governor(),
	}
	for _, s := range h.Go {
		if s.Name == "GOVERSION" {
			m.Go = s.Value
		}
	}
	for role, dir := range folders {
		m.FileSystems = append(m.FileSystems, FileSystem{Role: role, Type: fileSystem(dir)})
	}
	slices.SortFunc(m.FileSystems, func(a, b FileSystem) int { return cmp.Compare(a.Role, b.Role) })
	return m, err
}

// cpuName returns the processor's name, "" where it is not known.
func cpuName() string {
	data, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return os.Getenv("PROCESSOR_IDENTIFIER") // Windows
	}
	for line := range strings.Lines(string(data)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// loadAverage returns the number of runnable processes, averaged over a minute; -1 where it is not known.
func loadAverage() float64 {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return -1
	}
	first, _, _ := strings.Cut(string(data), " ")
	v, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return -1
	}
	return v
}

// governor returns the rule by which the kernel sets the frequency of the first processor, "" where it sets none.
func governor() string {
	data, err := os.ReadFile("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// fileSystem names the file system of a folder as the kernel does: ext4, tmpfs, 9p, fuse.NAME. It returns "unknown" where
// nothing tells.
func fileSystem(dir string) string {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "unknown"
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	return mountType(data, dir)
}

// mountType finds the file system of a folder in /proc/self/mountinfo (proc(5)): fields separated by spaces, the fifth the
// mount point with \040 for a space, and the type behind a hyphen. Of several mounts over each other the last counts.
func mountType(mountinfo []byte, dir string) string {
	best, longest := "unknown", -1
	sc := bufio.NewScanner(bytes.NewReader(mountinfo))
	for sc.Scan() {
		before, after, ok := strings.Cut(sc.Text(), " - ")
		f, kind := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 5 || len(kind) < 1 {
			continue
		}
		point := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(f[4])
		inside := point == "/" || dir == point || strings.HasPrefix(dir, point+"/")
		if inside && len(point) >= longest {
			best, longest = kind[0], len(point)
		}
	}
	return best
}

// cpuTimes returns the seconds that all processors of the machine have been busy, and those that a hypervisor took from
// them; -1 where they are not known.
func cpuTimes() (busy, stolen float64) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return -1, -1
	}
	return parseCPUTimes(data)
}

// parseCPUTimes reads the first line of /proc/stat (proc(5)): "cpu", then clock ticks of user, nice, system, idle, iowait,
// irq, softirq, steal and others.
func parseCPUTimes(stat []byte) (busy, stolen float64) {
	line, _, _ := bytes.Cut(stat, []byte("\n"))
	f := strings.Fields(string(line))
	if len(f) < 9 || f[0] != "cpu" {
		return -1, -1
	}
	v := make([]float64, 9)
	for i := 1; i < 9; i++ {
		n, err := strconv.ParseUint(f[i], 10, 62)
		if err != nil {
			return -1, -1
		}
		v[i] = float64(n) / 100
	}
	return v[1] + v[2] + v[3] + v[6] + v[7], v[8]
}
