package targets_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScript runs the tool as its users do: each script of testdata/script
// stands in an empty folder, with `mage` compiled from the module's own
// magefile on PATH, and checks messages, exit codes and what is left on disk.
func TestScript(t *testing.T) {
	runScripts(t, "script")
}

// TestPrograms releases programs that we did not write, fetched as modules, and
// has foreign tools judge what comes out.
func TestPrograms(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIP: builds real programs for minutes; run without -short")
	}
	runScripts(t, "programs")
}

func runScripts(t *testing.T, folder string) {
	t.Helper()
	module, bin, config, state := root(t), t.TempDir(), t.TempDir(), t.TempDir()
	compile := exec.CommandContext(t.Context(), "go", "tool", "mage", "-compile", filepath.Join(bin, "mage"))
	compile.Dir = module
	if out, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("compiling the magefile: %v\n%s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOCACHE", "GOMODCACHE", "GOPROXY").Output()
	if err != nil {
		t.Fatal(err)
	}
	goenv := strings.Fields(string(out))
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join(module, "testdata", folder),
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
			// One development identity for all scripts: making keys takes seconds.
			env.Setenv("XDG_CONFIG_HOME", config)
			env.Setenv("XDG_STATE_HOME", filepath.Join(state, filepath.Base(env.WorkDir)))
			env.Setenv("XDG_CACHE_HOME", cache) // where the tools are that are built
			env.Setenv("HALLMARK_MODULE", module)
			env.Setenv("GOCACHE", goenv[0])
			env.Setenv("GOMODCACHE", goenv[1])
			env.Setenv("GOPROXY", goenv[2])
			env.Setenv("CI", "true") // plain lines
			env.Setenv("GIT_AUTHOR_NAME", "Ann Author")
			env.Setenv("GIT_AUTHOR_EMAIL", "ann@example.com")
			env.Setenv("GIT_COMMITTER_NAME", "Ann Author")
			env.Setenv("GIT_COMMITTER_EMAIL", "ann@example.com")
			env.Values[tsaKey{}] = tsaServers{}
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"status":    status,
			"fetch":     fetch,
			"extract":   extract,
			"tree":      tree,
			"flip":      flip,
			"pkcs12":    writePKCS12,
			"answer":    answer,
			"askagain":  askAgain,
			"tmpfs":     tmpfs,
			"tsaserver": serveTSA,
			"tsawait":   waitTSA,
		},
		Condition: func(name string) (bool, error) {
			switch name {
			case "tmpfs":
				return canMount(t.TempDir()), nil
			case "cosign":
				_, err := os.Stat(filepath.Join(cache, "hallmark", "tools", "cosign@v2.6.2", "cosign"))
				return err == nil, nil
			}
			return false, fmt.Errorf("unknown condition %q", name)
		},
	})
}

// status runs a command and demands its exit code: `status 2 mage release`.
// What it printed is what stdout and stderr then look at.
func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status CODE COMMAND [ARGUMENT...]")
	}
	code, exit := 0, new(exec.ExitError)
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit status %d, want %s", code, args[0])
	}
}
