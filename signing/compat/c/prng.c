// bcryptprimitives.dll with the one function that programs of Go 1.24 and
// newer import from it: ProcessPrng. Wine has had it since 9.0. It fills the
// buffer from SystemFunction036 (RtlGenRandom), as Windows documents for both.
#include <windows.h>

BOOLEAN NTAPI SystemFunction036(PVOID buffer, ULONG length);

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T size) {
	while (size > 0) {
		ULONG n = size > 1 << 20 ? 1 << 20 : (ULONG)size;
		if (!SystemFunction036(data, n))
			return FALSE;
		data += n;
		size -= n;
	}
	return TRUE;
}
