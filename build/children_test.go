//go:build unix

package build

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hallmark-build/hallmark/build/environ"
)

// Children are started with planted secrets, and tell what they see.
func TestChildrenSeeNoSecrets(t *testing.T) {
	bin := t.TempDir()
	for _, name := range []string{"git", "probe"} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\nexec /usr/bin/env\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin)
	secrets := []string{"HALLMARK_PASSWORD", "GITHUB_TOKEN", "VAULT_TOKEN", "AWS_SECRET_ACCESS_KEY", "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "AZURE_CLIENT_SECRET", "PFX_PASSWORD"}
	for _, name := range secrets {
		t.Setenv(name, "planted-secret")
	}
	t.Setenv("GOPROXY", "https://user:needed@example.com")
	check := func(what, seen string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if strings.Contains(seen, "planted-secret") {
			t.Errorf("%s sees a secret:\n%s", what, seen)
		}
		if !strings.Contains(seen, "GOPROXY=https://user:needed@example.com") {
			t.Errorf("%s does not see what private modules need:\n%s", what, seen)
		}
	}
	seen, err := git(t.Context(), t.TempDir(), "status")
	check("git", seen, err)
	seen, err = output(t.Context(), "probe")
	check("a compiler", seen, err)

	// The damaged twin: what the user shows is seen.
	seen, err = output(environ.With(t.Context(), environ.Config{Show: []string{"GITHUB_TOKEN"}}), "probe")
	if err != nil || !strings.Contains(seen, "GITHUB_TOKEN=planted-secret") || strings.Contains(seen, "VAULT_TOKEN") {
		t.Errorf("with show: [GITHUB_TOKEN]: %v:\n%s", err, seen)
	}
}
