#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "checksum.h"

/* Adler-32 followed by 64 rounds of a xorshift. */
unsigned int checksum(const unsigned char *data, size_t n)
{
	uint32_t a = 1, b = 0, x;
	for (size_t i = 0; i < n; i++) {
		a = (a + data[i]) % 65521;
		b = (b + a) % 65521;
	}
	x = b << 16 | a;
	for (int i = 0; i < 64; i++) {
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
	}
	return x;
}
