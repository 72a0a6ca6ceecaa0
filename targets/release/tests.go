package release

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/hallmark-build/hallmark/build/environ"
	"github.com/hallmark-build/hallmark/build/host"
)

// EnvStrict makes tests of this project fail where a foreign tool is missing.
const EnvStrict = "HALLMARK_STRICT"

// Test vets and tests all packages of the module. A test that was skipped is a
// failure: what was not tested may be broken.
func Test(ctx context.Context, o Options, out io.Writer) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	if c, err := Load(o.dir()); err == nil {
		ctx = environ.With(ctx, c.Environment)
	}
	vet := goCommand(ctx, o, "vet", "./...")
	vet.Stdout, vet.Stderr = out, out
	if err := vet.Run(); err != nil {
		return fmt.Errorf("go vet: %w", err)
	}
	if err := buildTools(ctx, o, out); err != nil {
		return err
	}
	test := goCommand(ctx, o, "test", "-json", "-timeout", testTime, "./...")
	test.Stderr = out
	pipe, err := test.StdoutPipe()
	if err != nil {
		return err
	}
	if err := test.Start(); err != nil {
		return fmt.Errorf("go test: %w", err)
	}
	skipped, readErr := readTests(pipe, out)
	io.Copy(io.Discard, pipe)
	switch err := test.Wait(); {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("go test: %w", err)
	case readErr != nil:
		return fmt.Errorf("reading the output of go test: %w", readErr)
	case skipped > 0:
		return fmt.Errorf("%s skipped (see SKIP above): install what is missing with `mage setup`", plural(skipped, "test"))
	}
	return nil
}

// testTime bounds the tests of one package. Those of the commands build whole
// programs by several toolchains, which takes longer than the go command's ten
// minutes on a busy machine of two cores.
const testTime = "40m"

// buildTools builds the foreign programs that this project's own tests ask. The
// tests of a module that uses it need none of them.
func buildTools(ctx context.Context, o Options, out io.Writer) error {
	module, err := goCommand(ctx, o, "list", "-m").Output()
	if err != nil || strings.TrimSpace(string(module)) != modulePath {
		return err
	}
	return host.BuildTools(ctx, out)
}

// goCommand prepares a go command that ends with the context: politely first,
// so that it ends the programs that it has started, too.
func goCommand(ctx context.Context, o Options, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = o.dir()
	cmd.Env = environ.Tools(ctx, EnvStrict+"=1")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 3 * time.Second
	return cmd
}

// testEvent is a line of `go test -json`; see `go doc test2json`.
type testEvent struct {
	Action, Package, Test, Output string
}

// readTests writes what a person wants to see of a stream of test events: the
// line of each package, the output of tests that failed, and each skipped test
// with its reason. It returns how many were skipped.
func readTests(r io.Reader, out io.Writer) (skipped int, err error) {
	type id struct{ pkg, test string }
	words := map[id][]string{}
	var list []string
	scan := bufio.NewScanner(r)
	scan.Buffer(nil, 16<<20)
	for scan.Scan() {
		var e testEvent
		if !bytes.HasPrefix(scan.Bytes(), []byte("{")) || json.Unmarshal(scan.Bytes(), &e) != nil {
			fmt.Fprintln(out, scan.Text())
			continue
		}
		k := id{e.Package, e.Test}
		switch e.Action {
		case "build-output":
			io.WriteString(out, e.Output)
		case "output":
			switch {
			case e.Test != "":
				words[k] = append(words[k], e.Output)
			case e.Output != "PASS\n" && e.Output != "FAIL\n":
				io.WriteString(out, e.Output)
			}
		case "fail":
			io.WriteString(out, strings.Join(words[k], ""))
			delete(words, k)
		case "pass":
			delete(words, k)
		case "skip":
			if e.Test == "" {
				break // a package without tests
			}
			line := fmt.Sprintf("SKIP %s %s: %s", e.Package, e.Test, skipReason(words[k]))
			fmt.Fprintln(out, line)
			list = append(list, line)
			delete(words, k)
		}
	}
	if len(list) > 0 {
		fmt.Fprintf(out, "\n%d skipped:\n%s\n", len(list), strings.Join(list, "\n"))
	}
	return len(list), scan.Err()
}

// skipReason takes the reason from what a skipped test printed.
func skipReason(words []string) string {
	var reason []string
	for _, w := range words {
		w = strings.TrimSpace(w)
		if w == "" || strings.HasPrefix(w, "=== ") || strings.HasPrefix(w, "--- SKIP") {
			continue
		}
		if _, text, ok := strings.Cut(w, ".go:"); ok {
			if _, after, ok := strings.Cut(text, ": "); ok {
				w = after
			}
		}
		reason = append(reason, strings.TrimPrefix(w, "SKIP: "))
	}
	if len(reason) == 0 {
		return "no reason given"
	}
	return strings.Join(reason, " ")
}
