package boundaries

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hallmark-build/hallmark/build/quote"
)

func (r *run) log() io.Writer {
	if r.Log == nil {
		return io.Discard
	}
	return r.Log
}

// say prints a line with the time since the beginning.
func (r *run) say(format string, args ...any) {
	if r.Log != nil {
		quote.Fprintf(r.Log, "%6.1fs  "+format+"\n", slices.Insert(args, 0, any(time.Since(r.start).Seconds()))...)
	}
}

// counter returns a function that counts towards a total, and says so at each
// tenth and at the end.
func (r *run) counter(what string, total int) func(int) {
	var mu sync.Mutex
	n, said := 0, -1
	return func(more int) {
		mu.Lock()
		defer mu.Unlock()
		n += more
		if tenth := n * 10 / max(total, 1); tenth > said && more > 0 || n == total && said < 10 {
			said = tenth
			r.say("%d of %d %s", n, total, what)
		}
	}
}

// machine tells what the map is made on.
func (r *run) machine(ctx context.Context) Machine {
	mach := Machine{What: fmt.Sprintf("%s/%s, %d processors", runtime.GOOS, runtime.GOARCH, runtime.NumCPU()), Kernel: kernelRelease(), Versions: map[string]string{"go": runtime.Version()}}
	if dist := distribution(); dist != "" {
		mach.What = dist + ", " + mach.What
	}
	return mach
}

func kernelRelease() string {
	data, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

func distribution() string {
	data, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
			return strings.Trim(name, `"`)
		}
	}
	return ""
}
