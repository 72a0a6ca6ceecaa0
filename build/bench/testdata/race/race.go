// Package race is what mage benchRace measures: work for the race detector to
// slow down, and data races for it to find.
//
// Its go.mod is called go.mod.txt here: a folder with a go.mod is not embedded.
package race

import (
	"bytes"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Planted is a data race that the package has on purpose.
//
// A certain one has two accesses that nothing orders, whatever the scheduler
// does: the detector must find it. One left to chance is hidden by a
// synchronisation that happens to order its accesses if one goroutine comes
// first, as most of the races that are found late in real programs are.
type Planted struct {
	Name   string // of its functions, which the detector's report names
	Chance bool
	Run    func()
}

// Races lists the planted races.
func Races() []Planted {
	return []Planted{
		{"plantedCounter", false, plantedCounter},
		{"plantedFlag", false, plantedFlag},
		{"plantedMap", false, plantedMap},
		{"plantedAppend", false, plantedAppend},
		{"plantedInterface", false, plantedInterface},
		{"plantedString", false, plantedString},
		{"plantedPointer", false, plantedPointer},
		{"plantedHalfAtomic", false, plantedHalfAtomic},
		{"plantedReadLock", false, plantedReadLock},
		{"plantedBuffer", false, plantedBuffer},
		{"plantedTwoLocks", false, plantedTwoLocks},
		{"plantedTimer", false, plantedTimer},
		{"plantedMutexOrder", true, plantedMutexOrder},
		{"plantedChannelOrder", true, plantedChannelOrder},
		{"plantedAtomicOrder", true, plantedAtomicOrder},
		{"plantedPool", true, plantedPool},
	}
}

// inTurn runs first and then second, each in a goroutine of its own. The
// detector does not see what orders them, so to it nothing does; but the
// program is right all the same, and cannot crash on the race.
func inTurn(first, second func()) {
	var turn int32
	var wg sync.WaitGroup
	wg.Go(func() { first(); unseenSet(&turn) })
	wg.Go(func() { unseenWait(&turn); second() })
	wg.Wait()
}

//go:norace
func unseenSet(turn *int32) { *turn = 1 }

//go:norace
func unseenWait(turn *int32) {
	for *turn == 0 {
		runtime.Gosched()
	}
}

// atOnce runs two functions in goroutines that start together.
func atOnce(a, b func()) {
	var wg sync.WaitGroup
	wg.Go(a)
	wg.Go(b)
	wg.Wait()
}

func plantedCounter() {
	n := new(int)
	inTurn(func() { *n++ }, func() { *n++ })
}

func plantedFlag() {
	stop := new(bool)
	inTurn(func() { *stop = true }, func() { use(*stop) })
}

func plantedMap() {
	m := map[string]int{"a": 1}
	inTurn(func() { m["b"] = 2 }, func() { use(m["a"]) })
}

func plantedAppend() {
	s := make([]int, 0, 8)
	inTurn(func() { s = append(s, 1) }, func() { s = append(s, 2) })
}

func plantedInterface() {
	err := new(error)
	inTurn(func() { *err = errors.New("failed") }, func() { use(*err != nil) })
}

func plantedString() {
	name := new(string)
	inTurn(func() { *name = "hallmark" }, func() { use(len(*name)) })
}

func plantedPointer() {
	type config struct{ size int }
	p := new(*config)
	inTurn(func() { *p = &config{size: 1} }, func() { use((*p).size) })
}

func plantedHalfAtomic() {
	n := new(int64)
	inTurn(func() { atomic.StoreInt64(n, 1) }, func() { use(*n) })
}

// A read lock held by both orders nothing.
func plantedReadLock() {
	var mu sync.RWMutex
	n := new(int)
	add := func() {
		mu.RLock()
		defer mu.RUnlock()
		*n++
	}
	inTurn(func() { add() }, func() { add() })
}

func plantedBuffer() {
	var b bytes.Buffer
	b.Grow(64)
	inTurn(func() { b.WriteByte('a') }, func() { b.WriteByte('b') })
}

func plantedTwoLocks() {
	var one, other sync.Mutex
	n := new(int)
	locked := func(mu *sync.Mutex) {
		mu.Lock()
		defer mu.Unlock()
		*n++
	}
	inTurn(func() { locked(&one) }, func() { locked(&other) })
}

func plantedTimer() {
	n := new(int)
	done := make(chan struct{})
	var turn int32
	time.AfterFunc(0, func() {
		unseenWait(&turn)
		*n++
		close(done)
	})
	*n++
	unseenSet(&turn)
	<-done
}

// The lock orders the writes if the first goroutine takes it first.
func plantedMutexOrder() {
	var mu sync.Mutex
	n := new(int)
	atOnce(func() {
		*n = 1
		mu.Lock()
		mu.Unlock() //lint:ignore SA2001 it is the point
	}, func() {
		mu.Lock()
		mu.Unlock() //lint:ignore SA2001 it is the point
		*n = 2
	})
}

// The channel orders the writes if the value is there when it is asked for.
func plantedChannelOrder() {
	ready := make(chan struct{}, 1)
	n := new(int)
	atOnce(func() {
		*n = 1
		ready <- struct{}{}
	}, func() {
		select {
		case <-ready:
		default:
		}
		*n = 2
	})
}

// The atomic flag orders the writes if it is stored before it is loaded.
func plantedAtomicOrder() {
	var ready atomic.Bool
	n := new(int)
	atOnce(func() {
		*n = 1
		ready.Store(true)
	}, func() {
		use(ready.Load())
		*n = 2
	})
}

// What was given back to a pool is used on; that shows if the pool hands it to
// the other.
func plantedPool() {
	pool := sync.Pool{New: func() any { return new(int) }}
	atOnce(func() {
		n := pool.Get().(*int)
		pool.Put(n)
		*n = 1
	}, func() {
		runtime.Gosched()
		*pool.Get().(*int) = 2
	})
}

// use keeps the compiler from leaving a read out.
//
//go:noinline
func use(any) {}
