package race

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
)

// TestMain prints the largest resident set of this process where the kernel
// tells it (proc(5), VmHWM). What it tells the parent, by getrusage, is at least
// the parent's own: until exec, a child that was made by vfork is the parent.
func TestMain(m *testing.M) {
	code := m.Run()
	status, _ := os.ReadFile("/proc/self/status")
	if _, after, ok := bytes.Cut(status, []byte("VmHWM:")); ok {
		var kib int64
		fmt.Sscan(string(after), &kib)
		fmt.Printf("\npeak-B %d\n", kib<<10)
	}
	os.Exit(code)
}

// TestPlanted runs every planted race once, and says so, for what a detector
// did not find must not be a race that never ran. Under -race it fails.
func TestPlanted(t *testing.T) {
	for _, p := range Races() {
		p.Run()
		kind := "certain"
		if p.Chance {
			kind = "chance"
		}
		fmt.Printf("planted %s %s\n", kind, p.Name)
	}
}

// workers is the same on every machine, so that figures compare.
const workers = 4

// BenchmarkChannels sends numbers through two stages of goroutines.
func BenchmarkChannels(b *testing.B) {
	in, out := make(chan int, 64), make(chan int, 64)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for n := range in {
				out <- n * 2
			}
		})
	}
	go func() {
		for n := range b.N {
			in <- n
		}
		close(in)
		wg.Wait()
		close(out)
	}()
	sum := 0
	for n := range out {
		sum += n
	}
	if sum != b.N*(b.N-1) {
		b.Fatalf("the sum is %d", sum)
	}
}

// BenchmarkMutex has goroutines share a map behind a lock.
func BenchmarkMutex(b *testing.B) {
	var mu sync.RWMutex
	m := map[int]int{}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for n := w; n < b.N; n += workers {
				if n%8 == 0 {
					mu.Lock()
					m[n%512]++
					mu.Unlock()
				} else {
					mu.RLock()
					use(m[n%512])
					mu.RUnlock()
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkSort has goroutines sort slices of their own: memory accesses, and
// nothing shared.
func BenchmarkSort(b *testing.B) {
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			s := make([]uint32, 1000)
			x := uint32(w + 1)
			for n := w; n < b.N; n += workers {
				for i := range s {
					x = x*1664525 + 1013904223
					s[i] = x
				}
				slices.SortFunc(s, func(a, b uint32) int { return int(int64(a) - int64(b)) })
				use(s[0])
			}
		})
	}
	wg.Wait()
}

// BenchmarkAllocate has goroutines build trees: many small objects, and work for the collector.
func BenchmarkAllocate(b *testing.B) {
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for n := w; n < b.N; n += workers {
				if got := grow(10).count(); got != 1<<11-1 {
					panic(got)
				}
			}
		})
	}
	wg.Wait()
}

type tree struct{ left, right *tree }

func grow(depth int) *tree {
	if depth == 0 {
		return new(tree)
	}
	return &tree{grow(depth - 1), grow(depth - 1)}
}

func (t *tree) count() int {
	if t == nil {
		return 0
	}
	return 1 + t.left.count() + t.right.count()
}
