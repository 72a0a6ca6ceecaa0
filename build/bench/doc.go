// Package bench times the toolchains of a Go program by phase, the race detector and a server under load, and says what
// the figures carry.
//
// A [Result] is the record of one run, of building as of anything else that is compared across machines. Its format is
// described in result.go, the statistics in stats.go, the phases and units in phases.go. Tables, Markdown, lines for
// benchstat and pages are drawn from it alone.
//
// # How toolchains are timed
//
// [Toolchains] finds C compilers and linkers (package build knows them, and builds by the same calls), and makes a series of
// each way to build each program in each [Scenario]. What cannot be is a series too, with its reason.
//
// A timed run is one go build, with nothing in front of any tool. The go command writes its own action graph
// (-debug-actiongraph), from which the phases are read; the kernel tells CPU time and memory of all its processes. That
// costs less than one per cent (BenchmarkTimedRun shows it by pairs of runs). Instrumented runs are apart: a shim stands in
// front of Go's tools (-toolexec) and of the C compiler, and tells the Go linker, its probes and the C linker from one
// another, with the memory of each. Last, the C linker's command is run by itself, which compares linkers alone.
//
// Each compiler has a GOCACHE of its own; a cold build has an empty one. Linkers share one: they are chosen by -extldflags,
// which no compilation depends on. The output is deleted before each build, because the go command does not link again
// when only the C linker is another; except in the scenario nothing. A changed file is a copy, put in the place of the
// original by -overlay; nobody's sources are written to. After each build the linker is read from the file that it made.
//
// # Programs that run
//
// [Race] runs the tests in testdata/race with the race detector and without. The planted races that it calls certain have two
// accesses that are made one after the other, by a hand-over that the detector cannot see (//go:norace), so that it must
// report them in every run; those left to chance are hidden by the order in which a lock or a channel happens to be taken.
// [Serve] puts the server in testdata/serve under load, each run in a process of its own, and counts on both sides: a run
// whose counts do not agree is no sample.
//
// # When a difference is one
//
// Every round builds every series once, in a new random order, so that whatever else goes on meets all of them. Six runs are
// the fewest whose median has a 95 % interval. Differences are tested by Mann-Whitney at 5 %: an unproven one prints ~.
// [Pair], which tests many rows at once, corrects the p-values of each unit for their number (Benjamini and Hochberg 1995).
package bench
