// Cgo adds two numbers in C.
package main

// static int add(int a, int b) { return a + b; }
import "C"

func main() { println("sum", C.add(1, 2)) }
