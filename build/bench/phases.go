package bench

// Units of the samples of a build. A sample of a timed run (Series.Samples) has the first three, and for each [Phase] its
// wall-clock time and its CPU time.
//
// Actions of the go command run side by side. The wall-clock time of a phase is its share of each moment: where n actions
// run, each gets 1/n of the time. So the phases add up to sec/op exactly, "other" being the moments in which no action
// runs. CPU times are those of the processes, and add up to cpu-sec/op: what the kernel counts beyond the actions is
// "other", the go command itself and, as [UnitUnaccounted] tells, what it runs outside of actions.
const (
	UnitWall        = "sec/op"             // wall-clock time from the start of the go command to its end
	UnitCPU         = "cpu-sec/op"         // user and system time of the go command and all that it ran
	UnitPeak        = "peak-B"             // largest resident set of any single process
	UnitUnaccounted = "unaccounted-sec/op" // CPU time that is neither an action's nor the go command's own, part of other: processes that ask a tool for its version
)

// A Phase is a part of a build.
type Phase string

// The phases of a timed run, by the go command's action graph.
const (
	PhaseCgo     Phase = "cgo"     // the cgo tool, and the C compiler that it runs several times to learn types
	PhaseCC      Phase = "cc"      // compiling C, C++ and assembly
	PhaseCompile Phase = "compile" // compiling Go; in a package with cgo also the link of its C parts that tells what they import
	PhaseLink    Phase = "link"    // the Go linker with all that it runs
	PhaseOther   Phase = "other"   // the go command itself: loading packages, asking tools for their versions, looking into the cache, copying the output
)

// The phases that an instrumented run (Series.Profile) splits PhaseLink into.
const (
	PhaseGoLink   Phase = "golink"   // the Go linker itself
	PhaseProbes   Phase = "probes"   // what it asks the C compiler before: which options the linker knows, where libgcc is
	PhaseHostLink Phase = "hostlink" // the C compiler's driver and the C linker
)

// Phases lists the phases of a timed run in the order in which a build begins them.
func Phases() []Phase {
	return []Phase{PhaseCgo, PhaseCC, PhaseCompile, PhaseLink, PhaseOther}
}

// LinkPhases lists the phases of an instrumented run's link, in their order.
func LinkPhases() []Phase { return []Phase{PhaseGoLink, PhaseProbes, PhaseHostLink} }

// Unit returns the unit of a phase's wall-clock time: "cc-sec/op".
func (p Phase) Unit() string { return string(p) + "-sec/op" }

// CPUUnit returns the unit of its CPU time: "cc-cpu-sec/op".
func (p Phase) CPUUnit() string { return string(p) + "-cpu-sec/op" }

// PeakUnit returns the unit of the largest resident set of a process of the phase, known of instrumented runs only:
// "cc-peak-B".
func (p Phase) PeakUnit() string { return string(p) + "-peak-B" }
