package environ

import (
	"context"
	"slices"
	"strings"
	"testing"
)

// secrets are variables of signing and publishing as people have them set.
func secrets() []string {
	return []string{"HALLMARK_PASSWORD", "HALLMARK_PASSWORD_FD", "HALLMARK_IDENTITY", "GITHUB_TOKEN", "GH_TOKEN", "GITLAB_TOKEN", "CI_JOB_TOKEN", "CI_JOB_JWT_V2",
		"ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "ACTIONS_RUNTIME_TOKEN", "VAULT_TOKEN", "VAULT_SECRET_ID",
		"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE",
		"GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_AUTH_ACCESS_TOKEN", "COSIGN_PASSWORD", "SIGSTORE_ID_TOKEN", "NPM_TOKEN", "NODE_AUTH_TOKEN",
		"GPG_PASSPHRASE", "PFX_PASSWORD", "SIGN_SECRET", "SM_API_KEY", "CODESIGN_PIN", "RELEASE_PAT", "DOCKER_AUTH", "SSH_PRIVATE_KEY", "token", "Db_Password",
		"GOTOOLCHAIN_INTERNAL_SWITCH_COUNT", "HOMEBREW_GITHUB_API_TOKEN", "LC_SECRET", "XDG_TOKEN"}
}

// needed are variables that the go command, git or compilers live on.
func needed() []string {
	return []string{"PATH", "HOME", "GOPROXY", "GOAUTH", "NETRC", "GOPRIVATE", "GOFLAGS", "GOCACHE", "SSH_AUTH_SOCK", "GIT_SSH_COMMAND", "GIT_ASKPASS",
		"GIT_CONFIG_KEY_0", "CC", "CGO_CFLAGS", "PKG_CONFIG_PATH", "GITHUB_REF_NAME", "CI", "https_proxy"}
}

func set(names []string) (env []string) {
	for _, n := range names {
		env = append(env, n+"=x")
	}
	return env
}

func TestTools(t *testing.T) {
	env := set(slices.Concat(secrets(), needed()))
	if got := (Config{}).Tools(env); !slices.Equal(got, set(needed())) {
		t.Errorf("tools are given %q", got)
	}
	got := Config{Hide: []string{"CC", "go*"}, Show: []string{"github_TOKEN", "GOAUTH", "VAULT_*", "HALLMARK_PASSWORD"}}.Tools(env)
	for name, want := range map[string]bool{"CC": false, "GOPROXY": false, "GOAUTH": true, "GITHUB_TOKEN": true, "VAULT_SECRET_ID": true, "HALLMARK_PASSWORD": false, "GH_TOKEN": false, "PATH": true} {
		if slices.Contains(got, name+"=x") != want {
			t.Errorf("%s is given: %v, want %v", name, !want, want)
		}
	}
}

func TestToolsOfContext(t *testing.T) {
	t.Setenv("GITHUB_TOKEN", "x")
	if slices.Contains(Tools(t.Context(), "A=b"), "GITHUB_TOKEN=x") || !slices.Contains(Tools(t.Context(), "A=b"), "A=b") {
		t.Error("without a configuration")
	}
	ctx, cancel := context.WithCancel(With(t.Context(), Config{Show: []string{"GITHUB_TOKEN"}}))
	defer cancel()
	if !slices.Contains(Tools(ctx), "GITHUB_TOKEN=x") {
		t.Error("what is to be shown is hidden")
	}
}

func TestPrograms(t *testing.T) {
	env := set(append(slices.Concat(secrets(), needed()), "LC_ALL", "WINEPREFIX", "XDG_RUNTIME_DIR", "MYSTERY"))
	if got, want := Programs(env), set([]string{"PATH", "HOME", "https_proxy", "LC_ALL", "WINEPREFIX", "XDG_RUNTIME_DIR"}); !slices.Equal(got, want) {
		t.Errorf("programs are given %q, want %q", got, want)
	}
}

func TestValidate(t *testing.T) {
	if err := (Config{Hide: []string{"A_B", "ARTIFACTORY_*"}, Show: []string{"GITHUB_TOKEN"}}).Validate(); err != nil {
		t.Error(err)
	}
	for _, bad := range []Config{{Hide: []string{"A B"}}, {Show: []string{"A=b"}}, {Hide: []string{"*"}}, {Show: []string{"HALLMARK_PASSWORD"}}, {Show: []string{"hallmark_*"}}, {Hide: []string{""}}} {
		if err := bad.Validate(); err == nil || !strings.HasPrefix(err.Error(), "environment.") {
			t.Errorf("%v: %v", bad, err)
		}
	}
}
