// Cxx catches a C++ exception, which needs the runtime library of the compiler.
package main

// int length(const char *s);
import "C"

func main() { println("length", C.length(C.CString("four"))) }
