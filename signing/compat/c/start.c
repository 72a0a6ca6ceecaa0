// Starts a program, or loads a library, and says how Windows' own functions
// answered. A shell sees the low eight bits of an exit status only.
//
//	start run FILE [ARGUMENT ...]
//	start load FILE SYMBOL
//
// The last line of the standard error is one of
//
//	start: error N            CreateProcess or LoadLibrary refused, GetLastError
//	start: exit XXXXXXXX      the program's exit status
//	start: no symbol N        the library has no such symbol
//	start: exit 00000000      after SYMBOL(20, 22) of a library has returned
//
// and of a library "SYMBOL(20, 22) = N" is printed on the standard output. A
// program for windows gets no standard handles: it would write to them, where
// on a desktop it has none. A fault ends the program, without a debugger.
#include <windows.h>
#include <stdio.h>
#include <wchar.h>

static int windowed(const wchar_t *file) {
	BYTE head[4096];
	DWORD n = 0;
	HANDLE h = CreateFileW(file, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, OPEN_EXISTING, 0, NULL);
	if (h == INVALID_HANDLE_VALUE)
		return 0;
	ReadFile(h, head, sizeof head, &n, NULL);
	CloseHandle(h);
	DWORD pe = n >= 64 ? *(DWORD *)(head + 60) : n;
	if (pe > n || n - pe < 96)
		return 0;
	return *(WORD *)(head + pe + 24 + 68) == IMAGE_SUBSYSTEM_WINDOWS_GUI;
}

// skip returns the command line after its first n words, which are quoted as a
// whole or not at all.
static wchar_t *skip(wchar_t *s, int n) {
	while (n-- > 0) {
		int quoted = 0;
		for (; *s && (quoted || *s != L' '); s++)
			quoted ^= *s == L'"';
		while (*s == L' ')
			s++;
	}
	return s;
}

static int run(const wchar_t *file, wchar_t *line) {
	STARTUPINFOW start = {sizeof start};
	PROCESS_INFORMATION made;
	DWORD status = 0, flags = 0;
	BOOL inherit = TRUE;
	if (windowed(file)) {
		inherit = FALSE;
		flags = DETACHED_PROCESS;
		start.dwFlags = STARTF_USESTDHANDLES;
	}
	if (!CreateProcessW(file, line, NULL, NULL, inherit, flags, NULL, NULL, &start, &made)) {
		fprintf(stderr, "start: error %lu\n", GetLastError());
		return 1;
	}
	WaitForSingleObject(made.hProcess, INFINITE);
	GetExitCodeProcess(made.hProcess, &status);
	fprintf(stderr, "start: exit %08lX\n", status);
	return 0;
}

static int load(const wchar_t *file, const wchar_t *symbol) {
	HMODULE m = LoadLibraryW(file);
	if (!m) {
		fprintf(stderr, "start: error %lu\n", GetLastError());
		return 1;
	}
	char name[256];
	snprintf(name, sizeof name, "%ls", symbol);
	int (*f)(int, int) = (int (*)(int, int))(void *)GetProcAddress(m, name);
	if (!f) {
		fprintf(stderr, "start: no symbol %lu\n", GetLastError());
		return 1;
	}
	printf("%s(20, 22) = %d\n", name, f(20, 22));
	fflush(stdout);
	fprintf(stderr, "start: exit 00000000\n");
	return 0;
}

int wmain(int argc, wchar_t **argv) {
	SetErrorMode(SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX);
	if (argc >= 3 && !wcscmp(argv[1], L"run"))
		return run(argv[2], skip(GetCommandLineW(), 2));
	if (argc == 4 && !wcscmp(argv[1], L"load"))
		return load(argv[2], argv[3]);
	fprintf(stderr, "usage: start run FILE [ARGUMENT ...] | start load FILE SYMBOL\n");
	return 2;
}
