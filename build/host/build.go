package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// toolDir is the folder of a tool that Setup builds, below the user's cache:
// hallmark/tools/NAME@VERSION. Package compat looks there too.
func (s system) toolDir(t Tool) string {
	_, version, _ := strings.Cut(t.Module, "@")
	return filepath.Join(s.cache, "hallmark", "tools", t.Name+"@"+version)
}

// BuildTools builds those of Tools that are Go programs and are missing, at the
// versions that they are pinned to, as Setup does at its end; here a failure is an
// error. It takes minutes the first time.
func BuildTools(ctx context.Context, out io.Writer) error {
	s := here()
	return s.build(ctx, out, toolsFor(s.goarch))
}

func (s system) build(ctx context.Context, out io.Writer, tools []Tool) error {
	var errs []error
	for _, f := range s.look(tools) {
		if f.Module == "" || f.Err == nil || s.cache == "" {
			continue
		}
		fmt.Fprintf(out, "setup: building %s, which takes some minutes\n", f.Module)
		if err := s.goInstall(ctx, f.Tool); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// goInstall builds a tool beside its place and renames the folder, so that one
// that is there is whole.
func (s system) goInstall(ctx context.Context, t Tool) error {
	dir := s.toolDir(t)
	if err := os.MkdirAll(filepath.Dir(dir), 0o777); err != nil {
		return err
	}
	made, err := os.MkdirTemp(filepath.Dir(dir), ".new-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(made)
	cmd := exec.CommandContext(ctx, "go", "install", "-trimpath", t.Module)
	// The flags and the target of the caller's own builds are none of its business.
	cmd.Env = s.toolEnv("GOBIN="+made, "GOFLAGS=", "GOOS=", "GOARCH=", "CGO_ENABLED=0", "GOWORK=off")
	cmd.Dir = made
	cmd.WaitDelay = 5 * time.Second
	last := &tail{}
	cmd.Stdout, cmd.Stderr = last, last
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("go install %s failed (%v): %s", t.Module, err, last.lastLines())
	}
	// go install names a program by its folder, which may be "cmd".
	if made, err := filepath.Glob(filepath.Join(made, "*")); err != nil || len(made) != 1 {
		return fmt.Errorf("go install %s made %d programs, not one", t.Module, len(made))
	} else if err := os.Rename(made[0], filepath.Join(filepath.Dir(made[0]), t.Programs[0])); err != nil {
		return err
	}
	if err := os.Chmod(made, 0o755); err != nil {
		return err
	}
	if err := os.Rename(made, dir); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}
