// Loads a shared object and calls a function of it:
//
//	load FILE SYMBOL
//
// prints "SYMBOL(20, 22) = N". It exits with 3 when the loader refuses the
// file or finds no such symbol, and says why on the standard error.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
	if (argc != 3)
		return 2;
	void *m = dlopen(argv[1], RTLD_NOW);
	int (*f)(int, int) = m ? (int (*)(int, int))dlsym(m, argv[2]) : NULL;
	if (!f) {
		fprintf(stderr, "load: %s\n", dlerror());
		return 3;
	}
	printf("%s(20, 22) = %d\n", argv[2], f(20, 22));
	fflush(stdout);
	_Exit(0);
}
