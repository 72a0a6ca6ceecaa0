// Package boundaries measures where a signature stops being accepted: by which
// verifier, after which operation, for which key.
//
// A map is made of cells: one file of one kind, signed by one scheme with one
// key and digest, met with one operation, before one judge. What is expected of
// every cell is data, with a reason.
package boundaries
