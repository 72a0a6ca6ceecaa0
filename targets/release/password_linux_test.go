package release

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestPasswordChild is not a test: it is what TestPasswordSources starts. It takes
// the password, and then shows what can still be seen of it.
func TestPasswordChild(t *testing.T) {
	if os.Getenv("PASSWORD_CHILD") == "" {
		return
	}
	direct := os.Getenv(EnvPassword)
	scrub(EnvPassword) // as takePassword does, but while everybody may look
	seen, err := os.ReadFile("/proc/self/environ")
	if err != nil || !bytes.Contains(seen, []byte("PASSWORD_CHILD=1")) {
		os.Stdout.WriteString("unreadable\n")
	}
	if direct != os.Getenv(EnvPassword) {
		os.Stdout.WriteString("lost\n")
	}
	o := Terminal()
	given, err := o.Password("test")
	var core unix.Rlimit
	unix.Getrlimit(unix.RLIMIT_CORE, &core)
	dumpable, _ := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	children, _ := exec.Command("env").Output()
	for _, line := range []string{
		"given: " + string(given), "error: " + strings.ReplaceAll(errorText(err), "\n", " "),
	} {
		os.Stdout.WriteString(line + "\n")
	}
	if bytes.Contains(seen, []byte("hunter22")) || bytes.Contains(children, []byte("hunter22")) || bytes.Contains(children, []byte("HALLMARK_PASSWORD")) {
		os.Stdout.WriteString("visible\n")
	}
	if core.Cur != 0 || dumpable != 0 {
		os.Stdout.WriteString("dumpable\n")
	}
	os.Exit(0)
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestPasswordSources(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "password")
	if err := os.WriteFile(file, []byte("hunter22\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		env         []string
		stream      string
		given, fail string
	}{
		"variable":      {env: []string{"HALLMARK_PASSWORD=hunter22"}, given: "hunter22"},
		"empty":         {env: []string{"HALLMARK_PASSWORD="}},
		"file":          {env: []string{"HALLMARK_PASSWORD_FILE=" + file}, given: "hunter22"},
		"descriptor":    {env: []string{"HALLMARK_PASSWORD_FD=3"}, stream: "hunter22\n", given: "hunter22"},
		"large":         {env: []string{"HALLMARK_PASSWORD_FD=3"}, stream: strings.Repeat("x", maxPassword+1), fail: "more than"},
		"two":           {env: []string{"HALLMARK_PASSWORD=hunter22", "HALLMARK_PASSWORD_FILE=" + file}, fail: "set one"},
		"no descriptor": {env: []string{"HALLMARK_PASSWORD_FD=77"}, fail: "HALLMARK_PASSWORD_FD"},
		"output":        {env: []string{"HALLMARK_PASSWORD_FD=1"}, fail: "above 2"},
		"missing file":  {env: []string{"HALLMARK_PASSWORD_FILE=" + file + "x"}, fail: "HALLMARK_PASSWORD_FILE"},
		"FIFO":          {env: []string{"HALLMARK_PASSWORD_FILE=" + fifo}, fail: "HALLMARK_PASSWORD_FILE"},
		"device":        {env: []string{"HALLMARK_PASSWORD_FILE=/dev/zero"}, fail: "HALLMARK_PASSWORD_FILE"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestPasswordChild$")
			cmd.Env = append([]string{"PASSWORD_CHILD=1", "PATH=" + os.Getenv("PATH"), "HOME=" + dir}, c.env...)
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			cmd.ExtraFiles = []*os.File{r}
			if c.stream == "" {
				cmd.ExtraFiles = nil
			}
			go func() {
				w.WriteString(c.stream)
				w.Close()
			}()
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			text := string(out)
			if !strings.Contains(text, "given: "+c.given+"\n") || strings.Contains(text, "visible") || strings.Contains(text, "unreadable") || strings.Contains(text, "lost") || strings.Contains(text, "dumpable") {
				t.Errorf("got\n%s", text)
			}
			if c.fail == "" && !strings.Contains(text, "error: \n") || !strings.Contains(text, c.fail) {
				t.Errorf("got\n%s\nwant an error with %q", text, c.fail)
			}
		})
	}
}
