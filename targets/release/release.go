// Package release turns a Go module into a signed and verified release. It is
// where building (package build) and signing (package signing) meet, and the
// public API behind the mage commands of package targets.
//
// # Stages
//
//	check     configuration, identity, compilers: what can be wrong is found before anything is made
//	compile   every program for every target, or the file of the previous release
//	sign      into a new file; the timestamp server is asked once for a signature
//	package   archives and packages, each unpacked again and compared; SHA256SUMS
//	verify    our own verifier and programs that are not ours
//	publish   renames into the dist folder; manifest.json and report.md last
//
// [Run] does all of them. [Build], [Sign], [Package] and [Verify] do one and
// go on from what dist holds, so that the build needs no keys and the signing
// no compiler; they can run on different machines.
//
// # The dist folder
//
// Everything new is made in dist/.stage and renamed into place when all of it
// has passed: a run that fails, or is stopped, leaves the folder as the last
// good run left it. A run that is killed between two renames is completed by
// the next one. One run has the folder at a time. Files that hallmark did not
// make are neither overwritten nor removed.
//
// # What is not done again
//
// Each artifact in manifest.json carries the digests of the inputs of the
// stages that made it. A stage whose inputs have the same digest, and whose
// output still has the SHA-256 in the manifest, is not repeated; neither is
// the asking of judges, if file, trusted certificates and judges are the same.
// When that holds for everything, manifest.json is not written at all.
package release
