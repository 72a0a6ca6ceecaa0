// Small is the program that the benchmark builds by itself: little Go, little C, and no package of the standard library
// but the runtime, so that a cold build is over soon.
package main

func main() {
	data := make([]byte, 1<<10)
	for i := range data {
		data[i] = byte(i * i)
	}
	println("checksum by", language, checksum(data))
}
