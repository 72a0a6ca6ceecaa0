// Debugged is the program that debuggers and profilers are tried on. It tells on
// its standard output, in lines that begin with "debugged:", what is true of
// itself; package compat compares what a debugger says.
//
//	debugged ROUNDS          to be debugged
//	debugged profile FILE    writes a CPU profile of one second
//	debugged wait            writes its memory until it is killed
//
// Breakpoints are set on the lines whose comment is "stop" (reached by several
// goroutines at a time), "check" (once a round, when the numbers of the round have
// been told) and "end".
package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"strconv"
	"sync/atomic"
	"time"
	"unsafe"
)

const (
	lines   = 20 // marked "stop"
	workers = 4  // goroutines that run over them
	parked  = 60 // goroutines that wait, and one more each round
)

// counts are how often each line was run over.
var counts [lines]atomic.Int64

// fixed is memory that does not change after its digest was told.
var fixed [64 << 10]byte

// moving is written word by word, from the first to the last, with a number that
// grows each time: what is read of it while nothing runs is a part of one number
// and then a part of the one before.
var moving [4 << 10]uint64

func main() {
	if len(os.Args) == 3 && os.Args[1] == "profile" {
		if err := profile(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	rounds := 1
	if len(os.Args) == 2 {
		rounds, _ = strconv.Atoi(os.Args[1])
	}
	for i := range fixed {
		fixed[i] = byte(i*7 + i>>8)
	}
	fmt.Printf("debugged: fixed %d %d %x\n", uintptr(unsafe.Pointer(&fixed)), len(fixed), sha256.Sum256(fixed[:]))
	fmt.Printf("debugged: moving %d %d\n", uintptr(unsafe.Pointer(&moving)), len(moving)*8)
	if len(os.Args) == 2 && os.Args[1] == "wait" {
		write(false)
	}
	go write(true)
	work, done := make(chan bool), make(chan bool)
	for range workers {
		go func() {
			for range work {
				steps()
				done <- true
			}
		}()
	}
	for range parked {
		go park()
	}
	for round := range rounds {
		go park()
		for range workers {
			work <- true
		}
		for range workers {
			<-done
		}
		check(round, 1+1+workers+parked+round+1) // main, write, and the others
	}
	end()
}

// park waits for ever.
func park() { select {} }

// write changes moving for ever, with pauses that leave a processor to others.
func write(pauses bool) {
	for n := uint64(1); ; n++ {
		for i := range moving {
			moving[i] = n
		}
		if pauses && n%64 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
}

// step is called where breakpoints are: such a line has instructions of its own,
// whatever the compiler makes of the others.
//
//go:noinline
func step(i int) { counts[i].Add(1) }

func steps() {
	step(0)  // stop
	step(1)  // stop
	step(2)  // stop
	step(3)  // stop
	step(4)  // stop
	step(5)  // stop
	step(6)  // stop
	step(7)  // stop
	step(8)  // stop
	step(9)  // stop
	step(10) // stop
	step(11) // stop
	step(12) // stop
	step(13) // stop
	step(14) // stop
	step(15) // stop
	step(16) // stop
	step(17) // stop
	step(18) // stop
	step(19) // stop
}

// check tells how many goroutines there are, by the program's own books and by
// the runtime's: a goroutine that was started is counted at once.
func check(round, own int) {
	fmt.Printf("debugged: round %d goroutines %d %d\n", round, own, runtime.NumGoroutine())
	reached() // check
}

//go:noinline
func reached() {}

func end() {
	fmt.Print("debugged: counts")
	for i := range counts {
		fmt.Print(" ", counts[i].Load())
	}
	fmt.Println()
	reached() // end
}

// profile works, and writes where the time went.
func profile(file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return err
	}
	for start := time.Now(); time.Since(start) < time.Second; {
		hash()
		divide()
	}
	pprof.StopCPUProfile()
	fmt.Println("debugged: profile")
	return f.Close()
}

//go:noinline
func hash() { fixed[0] = sha256.Sum256(fixed[:])[0] }

//go:noinline
func divide() {
	n := uint64(1) << 60
	for i := range uint64(20000) {
		n = n/(i%7+2) + n%(i+3) + 1<<58
	}
	moving[0] = n
}
