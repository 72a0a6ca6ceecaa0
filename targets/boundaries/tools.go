package boundaries

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// toolLimit is how long a program may take that changes or packs files; the
// slowest packs all of them and takes some seconds.
const toolLimit = 2 * time.Minute

// missingTool says that an operation lacks a program.
type missingTool struct{ name string }

func (e *missingTool) Error() string {
	return e.name + " is not installed; `mage setup` installs it"
}

// runTool runs a foreign program in dir, with neither our secrets nor the
// user's language.
func runTool(ctx context.Context, dir, name string, args ...string) error {
	path, err := lookTool(name)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, toolLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "LC_ALL=C", "TZ=UTC", "TMPDIR=" + os.Getenv("TMPDIR")}
	cmd.WaitDelay = time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		text := strings.TrimSpace(out.String())
		return fmt.Errorf("%s: %w: %s", name, err, text[max(0, len(text)-500):])
	}
	return nil
}

// lookTool finds a program, where administrators' programs are too.
func lookTool(name string) (string, error) {
	path, err := exec.LookPath(name)
	for _, dir := range []string{"/usr/sbin/", "/sbin/"} {
		if err == nil {
			break
		}
		path, err = exec.LookPath(dir + name)
	}
	if err != nil {
		return "", &missingTool{name}
	}
	return path, nil
}

// isMissing reports whether an operation failed for want of something on this
// machine: its cells are then skipped.
func isMissing(err error) bool {
	var tool *missingTool
	var place *placeError
	return errors.As(err, &tool) || errors.As(err, &place)
}

// replaceWord puts a path in the place of a name, alone or after "=".
func replaceWord(arg, name, path string) string {
	if arg == name {
		return path
	}
	if before, ok := strings.CutSuffix(arg, "="+name); ok {
		return before + "=" + path
	}
	return arg
}

func encodePEM(certs ...*x509.Certificate) []byte {
	var b []byte
	for _, c := range certs {
		b = append(b, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return b
}

// exportPFX has openssl put a key and its certificates, in PEM, into a PFX file.
// The password is the first line of its standard input, and what follows is what
// it reads from there.
func exportPFX(ctx context.Context, keyAndChain []byte, password, dst string) error {
	path, err := lookTool("openssl")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, toolLimit)
	defer cancel()
	dir, err := os.MkdirTemp("", "hallmark-boundaries-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	// A key that lives as long as this run; openssl reads files more than once.
	in := filepath.Join(dir, "key.pem")
	if err := os.WriteFile(in, keyAndChain, 0o600); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, path, "pkcs12", "-export", "-in", in, "-out", dst, "-passout", "stdin")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	cmd.Stdin = strings.NewReader(password + "\n")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("openssl pkcs12: %w: %s", err, strings.TrimSpace(out.String()))
	}
	return nil
}
