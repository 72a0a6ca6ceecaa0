/* Asks WinVerifyTrust about each file named on the command line, and prints
 * one line for each: its answer in hexadecimal. Nothing is shown and nothing
 * is fetched. */
#include <windows.h>
#include <wintrust.h>
#include <softpub.h>
#include <stdio.h>

int wmain(int argc, wchar_t **argv)
{
    for (int i = 1; i < argc; i++) {
        WINTRUST_FILE_INFO file = { .cbStruct = sizeof file, .pcwszFilePath = argv[i] };
        WINTRUST_DATA data = {
            .cbStruct = sizeof data,
            .dwUIChoice = WTD_UI_NONE,
            .fdwRevocationChecks = WTD_REVOKE_NONE,
            .dwUnionChoice = WTD_CHOICE_FILE,
            .pFile = &file,
            .dwStateAction = WTD_STATEACTION_VERIFY,
            .dwProvFlags = WTD_CACHE_ONLY_URL_RETRIEVAL,
        };
        GUID action = WINTRUST_ACTION_GENERIC_VERIFY_V2;
        LONG answer = WinVerifyTrust(INVALID_HANDLE_VALUE, &action, &data);
        printf("0x%08lx\n", (unsigned long)answer);
        fflush(stdout);
        data.dwStateAction = WTD_STATEACTION_CLOSE;
        WinVerifyTrust(INVALID_HANDLE_VALUE, &action, &data);
    }
    return 0;
}
