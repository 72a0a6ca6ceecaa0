//go:build !cgo

package main

const language = "Go"

// checksum is Adler-32 followed by 64 rounds of a xorshift.
func checksum(data []byte) uint32 {
	a, b := uint32(1), uint32(0)
	for _, c := range data {
		a = (a + uint32(c)) % 65521
		b = (b + a) % 65521
	}
	x := b<<16 | a
	for range 64 {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
	}
	return x
}
