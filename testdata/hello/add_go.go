//go:build !cgo

package main

const adder = "Go"

func add(a, b int) int { return a + b }
