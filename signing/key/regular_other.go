//go:build !unix

package key

const nonBlocking = 0
