// Package bench times the toolchains of a Go program by phase, and says what the figures carry.
//
// A [Result] is the record of one run, of building as of anything else that is compared across machines. Its format is
// described in result.go, the statistics in stats.go.
package bench
