// Hello is what this project releases of itself: a small program with all that
// a release has to cope with. It is built with and without C, for a console
// and for a window.
package main

import (
	"fmt"
	"runtime"
)

// version is set by the linker.
var version = "unknown"

func main() {
	show(fmt.Sprintf("hello %s, %s/%s, %s, sum of 20 and 22 by %s: %d",
		version, runtime.GOOS, runtime.GOARCH, runtime.Version(), adder, add(20, 22)))
}
