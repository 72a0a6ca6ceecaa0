// Package boundaries measures where a signature stops being accepted: by which
// verifier, after which operation, for which key. Nobody publishes that map.
//
// # A cell
//
// A map is made of cells: one artifact, signed by one scheme with one key and
// digest, met with one operation, before one judge. What is expected of every
// cell is a line of expectations.txt, with its reason. A cell that is not as
// expected fails, in either direction; so does one of which nothing is expected,
// and a line that decides no cell.
//
// # How a map is made
//
//	artifacts   small programs, built in every way that a release builds (artifacts.go), and packages of them
//	plan        every artifact by every scheme that takes it, with every operation; keys and digests for one artifact a scheme (plan.go)
//	make        the file of each case, signed by keys that live in memory for one run (world.go, piece.go, operations.go, places.go)
//	hear        every judge of package compat, kernels and loaders among them, and our own verifier as one more (run.go, judges.go)
//	conclude    hold the answers against the expectations, weigh the claims, write boundaries.json and the reports (counts.go, claims.go, record.go)
//
// # Going on
//
// Files and verdicts outlive a run, in hallmark/boundaries below the user's cache
// folder. A file is made again when what it is made by has changed, or after a
// day; a judge is asked again when the file, the trusted certificates, the
// judge's program or the code that reads its answers has changed. A verdict that
// was none, such as a crash, is never taken over.
package boundaries
