package release

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/hallmark-build/hallmark/signing/key"
)

// maxPassword bounds what is read as a password.
const maxPassword = 4 << 10

// takePassword moves the password from where the environment says it is into
// this program, and removes the variables, so that no program that is started
// inherits them. It remembers the password, because mage runs several commands
// in one process.
//
// HALLMARK_PASSWORD is visible to whoever may read the environment of the
// programs that started this one, mage and the go command among them;
// HALLMARK_PASSWORD_FILE and HALLMARK_PASSWORD_FD keep it out of there.
var takePassword = sync.OnceValue(func() given {
	var g given
	g.password, g.set, g.err = readPassword()
	scrub(EnvPassword)
	for _, name := range []string{EnvPassword, EnvPasswordFile, EnvPasswordFD} {
		os.Unsetenv(name)
	}
	if g.set {
		protectMemory()
	}
	return g
})

// given is what the environment says of the password.
type given struct {
	password string
	set      bool
	err      error
}

// readPassword returns the password of the one variable that is set. One newline
// at the end of a file or stream does not belong to it.
func readPassword() (password string, ok bool, err error) {
	value, direct := os.LookupEnv(EnvPassword)
	file, descriptor := os.Getenv(EnvPasswordFile), os.Getenv(EnvPasswordFD)
	var set []string
	for name, is := range map[string]bool{EnvPassword: direct, EnvPasswordFile: file != "", EnvPasswordFD: descriptor != ""} {
		if is {
			set = append(set, name)
		}
	}
	var data []byte
	switch {
	case len(set) == 0:
		return "", false, nil
	case len(set) > 1:
		return "", true, usage("%d of %s, %s and %s are set: set one", len(set), EnvPassword, EnvPasswordFile, EnvPasswordFD)
	case direct:
		return value, true, nil
	case file != "":
		data, err = key.ReadRegular(file, maxPassword)
	default:
		data, err = readDescriptor(descriptor)
	}
	if err != nil {
		return "", true, usage("%s: %w", set[0], err)
	}
	text := strings.TrimSuffix(string(data), "\n")
	clear(data)
	return strings.TrimSuffix(text, "\r"), true, nil
}

// readDescriptor reads an inherited file descriptor to its end, and closes it.
func readDescriptor(number string) ([]byte, error) {
	n, err := strconv.Atoi(number)
	if err != nil || n < 3 {
		return nil, fmt.Errorf("%q is not the number of a file descriptor above 2", number)
	}
	f := os.NewFile(uintptr(n), "file descriptor "+number)
	if f == nil {
		return nil, fmt.Errorf("%d is not an open file descriptor", n)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxPassword+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxPassword {
		return nil, fmt.Errorf("it gives more than %d bytes, which is not a password", maxPassword)
	}
	return data, nil
}
