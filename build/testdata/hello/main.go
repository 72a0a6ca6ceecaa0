// Hello imports nothing, so that it compiles quickly for every platform.
package main

var version = "none"

func main() { println("hello", version) }
