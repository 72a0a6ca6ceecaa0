#include <stddef.h>

unsigned int checksum(const unsigned char *data, size_t n);
