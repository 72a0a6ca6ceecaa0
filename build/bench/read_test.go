package bench

import (
	"slices"
	"strings"
	"testing"
)

const linkOutput = `# example.com/small
HEADER = -H5 -T0x0 -R0x1000
host link: "x86_64-linux-gnu-gcc" "-m64" "-o" "$WORK/b001/exe/a.out" "-Wl,--build-id=0x\"a b\"" "/tmp/link/go.o" "-O2"
12345 symbols
`

func TestHostLink(t *testing.T) {
	t.Parallel()
	want := []string{"x86_64-linux-gnu-gcc", "-m64", "-o", "$WORK/b001/exe/a.out", `-Wl,--build-id=0x"a b"`, "/tmp/link/go.o", "-O2"}
	if got, err := hostLink([]byte(linkOutput)); err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	for _, c := range []struct{ name, old, new, want string }{
		{"internal", "host link:", "link:", "called no C linker"},
		{"cut short", `"-O2"`, `"-O2`, "cannot be read at"},
		{"bare word", `"-O2"`, `-O2`, "cannot be read at"},
		{"empty", linkOutput, "host link:\n", "is empty"},
	} {
		if _, err := hostLink([]byte(strings.Replace(linkOutput, c.old, c.new, 1))); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want one that says %q", c.name, err, c.want)
		}
	}
}

func FuzzHostLink(f *testing.F) {
	f.Add([]byte(linkOutput))
	f.Fuzz(func(t *testing.T, data []byte) {
		if args, err := hostLink(data); err == nil && len(args) < 2 {
			t.Fatalf("%q", args)
		}
	})
}

const shimLog = `{"Tool":"compile","Under":"","Kind":"version","Wall":0.01,"CPU":0.01,"Peak":1048576,"Caller":0}
{"Tool":"cc","Under":"cgo","Kind":"other","Wall":0.1,"CPU":0.1,"Peak":2097152,"Caller":0}
{"Tool":"cgo","Under":"","Kind":"","Wall":0.3,"CPU":0.25,"Peak":2097152,"Caller":0}
{"Tool":"cc","Under":"","Kind":"compile","Wall":0.5,"CPU":0.5,"Peak":31457280,"Caller":0}
{"Tool":"cc","Under":"","Kind":"compile","Wall":0.25,"CPU":0.25,"Peak":20971520,"Caller":0}
{"Tool":"cc","Under":"","Kind":"link","Wall":0.05,"CPU":0.05,"Peak":1048576,"Caller":0}
{"Tool":"compile","Under":"","Kind":"","Wall":0.2,"CPU":0.2,"Peak":41943040,"Caller":0}
{"Tool":"cc","Under":"link","Kind":"other","Wall":0.125,"CPU":0.125,"Peak":1048576,"Caller":3145728}
{"Tool":"cc","Under":"link","Kind":"final","Wall":0.5,"CPU":0.625,"Peak":104857600,"Caller":52428800}
{"Tool":"link","Under":"","Kind":"","Wall":1.0,"CPU":1.25,"Peak":104857600,"Caller":0}
`

func TestProfileSample(t *testing.T) {
	t.Parallel()
	records, err := readShimLog([]byte(shimLog))
	if err != nil {
		t.Fatal(err)
	}
	s := profileSample(records)
	for unit, want := range map[string]float64{
		"cgo-sec/op": 0.3, "cgo-cpu-sec/op": 0.25, "cgo-peak-B": 2 << 20, // the compiler's time is in the tool's
		"cc-sec/op": 0.75, "cc-cpu-sec/op": 0.75, "cc-peak-B": 30 << 20,
		"compile-sec/op": 0.25, "compile-peak-B": 40 << 20,
		"link-sec/op": 1, "link-cpu-sec/op": 1.25, "link-peak-B": 100 << 20,
		"golink-sec/op": 0.375, "golink-cpu-sec/op": 0.5, "golink-peak-B": 50 << 20, // what it had when it ran the C linker
		"probes-sec/op": 0.125, "hostlink-sec/op": 0.5, "hostlink-cpu-sec/op": 0.625, "hostlink-peak-B": 100 << 20,
	} {
		if got := s[unit]; got < want-1e-9 || got > want+1e-9 {
			t.Errorf("%v %s, want %v", got, unit, want)
		}
	}
	// Its damaged twins.
	for _, c := range []struct{ name, old, new string }{
		{"negative", `"Wall":0.3`, `"Wall":-0.3`}, {"no tool", `"Tool":"link"`, `"Tool":""`}, {"another member", `"Caller"`, `"Calls"`}, {"cut short", `"Caller":0}`, `"Call`},
	} {
		if _, err := readShimLog([]byte(strings.Replace(shimLog, c.old, c.new, 1))); err == nil {
			t.Errorf("%s passed", c.name)
		}
	}
}

func FuzzShimLog(f *testing.F) {
	f.Add([]byte(shimLog))
	f.Fuzz(func(t *testing.T, data []byte) {
		records, err := readShimLog(data)
		if err != nil {
			return
		}
		for unit, v := range profileSample(records) {
			if v < 0 {
				t.Fatalf("%v %s", v, unit)
			}
		}
	})
}

func TestMountType(t *testing.T) {
	t.Parallel()
	info := []byte(`22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
23 22 0:21 / /proc rw - proc proc rw
30 22 0:30 / /mnt/c rw - 9p C:\134 rw
31 22 0:31 / /mnt/with\040space rw shared:2 master:1 - tmpfs tmpfs rw
32 31 0:32 / /mnt/with\040space rw - fuse.hallmark x rw
cut short
`)
	for dir, want := range map[string]string{"/": "ext4", "/home/x": "ext4", "/mnt/c/Users": "9p", "/mnt/cdrom": "ext4", "/mnt/with space/a": "fuse.hallmark"} {
		if got := mountType(info, dir); got != want {
			t.Errorf("%s: %s, want %s", dir, got, want)
		}
	}
	if got := mountType(nil, "/"); got != "unknown" {
		t.Errorf("%s", got)
	}
}

func TestProcessTimes(t *testing.T) {
	t.Parallel()
	busy, stolen := parseCPUTimes([]byte("cpu  100 20 300 4000 50 6 7 80 9 10\ncpu0 1 2\n"))
	if busy != 4.33 || stolen != 0.8 {
		t.Errorf("%v, %v", busy, stolen)
	}
	for _, bad := range []string{"", "cpu 1 2", "cpu a b c d e f g h i", "cpu0 1 2 3 4 5 6 7 8"} {
		if b, s := parseCPUTimes([]byte(bad)); b != -1 || s != -1 {
			t.Errorf("%q: %v, %v", bad, b, s)
		}
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	good := Config{Targets: []string{"linux/amd64"}, Linkers: []string{"lld"}, Go: []string{"1.25.3", "1.26rc1"}, Scenarios: []Scenario{Cold}, LDFlags: []string{"-s -w"},
		Extra: []Extra{{"mine", "/opt/cc", []string{"linux/amd64"}}}, Places: []Place{{Name: "shm", Cache: "/dev/shm"}}, Runs: 8, Width: .1, Budget: "2m"}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for want, spoil := range map[string]func(*Config){
		"bench.targets[0]: ":       func(c *Config) { c.Targets[0] = "linux/vax" },
		"bench.linkers[0]: ":       func(c *Config) { c.Linkers[0] = "link.exe" },
		"bench.go[0]: ":            func(c *Config) { c.Go[0] = "1.25" },
		"bench.scenarios[0]: ":     func(c *Config) { c.Scenarios[0] = "warm" },
		"bench.ldflags[0]: ":       func(c *Config) { c.LDFlags[0] = "s w" },
		"bench.extra[0].name: ":    func(c *Config) { c.Extra[0].Name = "none" },
		"bench.extra[0].cc: ":      func(c *Config) { c.Extra[0].CC = "" },
		"bench.extra[0].targets: ": func(c *Config) { c.Extra[0].Targets = nil },
		"bench.places[0]: ":        func(c *Config) { c.Places[0].Cache = "" },
		"bench.places[0].name: ":   func(c *Config) { c.Places[0].Name = "" },
		"bench.runs: ":             func(c *Config) { c.Runs = 5 },
		"bench.width: ":            func(c *Config) { c.Width = 2 },
		"bench.budget: ":           func(c *Config) { c.Budget = "soon" },
		"bench.parallel[0]: ":      func(c *Config) { c.Parallel = []int{0} },
	} {
		c := good
		c.Targets, c.Linkers, c.Go, c.Scenarios, c.LDFlags = slices.Clone(c.Targets), slices.Clone(c.Linkers), slices.Clone(c.Go), slices.Clone(c.Scenarios), slices.Clone(c.LDFlags)
		c.Extra, c.Places = slices.Clone(c.Extra), slices.Clone(c.Places)
		spoil(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want one that begins with %q", err, want)
		}
	}
}
