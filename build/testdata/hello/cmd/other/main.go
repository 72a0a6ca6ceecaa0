// Other is a second program.
package main

func main() { println("other") }
