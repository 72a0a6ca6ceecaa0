package targets_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"github.com/rogpeppe/go-internal/testscript"
)

// answer runs a command on a terminal of its own, waits for a question, makes
// sure that the terminal does not echo, and answers:
// `answer QUESTION TEXT COMMAND [ARGUMENT...]`. What the terminal showed is then
// the standard output.
func answer(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 3 {
		ts.Fatalf("usage: [!] answer QUESTION TEXT COMMAND [ARGUMENT...]")
	}
	question, err := regexp.Compile(args[0])
	ts.Check(err)
	screen, tty, err := openTerminal()
	ts.Check(err)
	defer screen.Close()
	cmd := exec.Command(lookIn(ts.Getenv("PATH"), args[2]), args[3:]...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = environ(ts)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	err = cmd.Start()
	tty.Close()
	ts.Check(err)

	var mu sync.Mutex
	var shown bytes.Buffer
	text := func() string {
		mu.Lock()
		defer mu.Unlock()
		return shown.String()
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b := make([]byte, 4096)
		for {
			n, err := screen.Read(b)
			mu.Lock()
			shown.Write(b[:n])
			mu.Unlock()
			if err != nil { // EIO, once nobody has the terminal open
				return
			}
		}
	}()
	asked := func() bool {
		var t syscall.Termios
		err := ioctl(screen, syscall.TCGETS, unsafe.Pointer(&t))
		return err == nil && t.Lflag&syscall.ECHO == 0 && question.MatchString(text())
	}
	for deadline := time.Now().Add(30 * time.Second); !asked(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			cmd.Process.Kill()
			cmd.Wait()
			ts.Fatalf("nobody asked %q with the echo off; on the screen:\n%s", args[0], text())
		}
	}
	_, err = io.WriteString(screen, args[1]+"\n")
	ts.Check(err)
	err = cmd.Wait()
	<-ended
	fmt.Fprint(ts.Stdout(), strings.ReplaceAll(text(), "\r\n", "\n"))
	var exit *exec.ExitError
	switch {
	case err != nil && !errors.As(err, &exit):
		ts.Fatalf("%v", err)
	case neg && err == nil:
		ts.Fatalf("unexpected success")
	case !neg && err != nil:
		ts.Fatalf("%v", err)
	}
}

// openTerminal makes a pseudoterminal: the side of the person, and of the
// program.
func openTerminal() (screen, tty *os.File, err error) {
	screen, err = os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	var n, unlocked int32
	err = ioctl(screen, syscall.TIOCGPTN, unsafe.Pointer(&n))
	if err == nil {
		err = ioctl(screen, syscall.TIOCSPTLCK, unsafe.Pointer(&unlocked))
	}
	if err == nil {
		tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	}
	if err != nil {
		screen.Close()
	}
	return screen, tty, err
}

func ioctl(f *os.File, request uintptr, arg unsafe.Pointer) error {
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), request, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

// lookIn finds a program on a script's PATH.
func lookIn(path, name string) string {
	for _, dir := range filepath.SplitList(path) {
		if file := filepath.Join(dir, name); !strings.Contains(name, "/") {
			if _, err := os.Stat(file); err == nil {
				return file
			}
		}
	}
	return name
}

// environ is the part of a script's environment that mage and go need.
func environ(ts *testscript.TestScript) []string {
	var env []string
	for _, name := range []string{
		"PATH", "HOME", "TMPDIR", "XDG_CONFIG_HOME", "GOCACHE", "GOMODCACHE", "GOPROXY", "HALLMARK_IDENTITY", "HALLMARK_TIMESTAMP", "XDG_STATE_HOME", "HALLMARK_PASSWORD", "CI", "TERM",
	} {
		if v := ts.Getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	return env
}
