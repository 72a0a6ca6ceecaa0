package key

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// Where an OAuth token for the signing service comes from, the first of these for
// which the environment has what it takes; the variables are those of Azure's own
// tools:
//
//  1. AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET: a service
//     principal (RFC 6749 section 4.4);
//  2. AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_FEDERATED_TOKEN_FILE: workload
//     identity, a token of the cluster that stands in for the secret (RFC 7523);
//  3. AZURE_TENANT_ID, AZURE_CLIENT_ID and, in a GitHub Actions job with
//     `id-token: write`, ACTIONS_ID_TOKEN_REQUEST_URL and _TOKEN: the same with
//     the job's own token, so that no secret is stored anywhere;
//  4. the az program, after `az login`.
//
// AZURE_AUTHORITY_HOST takes the place of https://login.microsoftonline.com.
const (
	azureResource = "https://codesigning.azure.net"
	azureLogin    = "https://login.microsoftonline.com"
	jwtAssertion  = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" // RFC 7523 section 2.2
	tokenMargin   = 2 * time.Minute                                          // before its end a token counts as old
)

// tokenSource obtains bearer tokens, and keeps one as long as it holds.
type tokenSource interface {
	token(ctx context.Context) (string, error)
}

type azureTokens struct {
	getenv func(string) string
	client *http.Client

	mu    sync.Mutex
	kept  string
	until time.Time
}

var _ tokenSource = (*azureTokens)(nil)

func newTokenSource() *azureTokens {
	return &azureTokens{getenv: os.Getenv, client: &http.Client{Timeout: time.Minute, CheckRedirect: noRedirect}}
}

func (t *azureTokens) token(ctx context.Context) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.kept != "" && time.Now().Before(t.until) {
		return t.kept, nil
	}
	kept, lifetime, err := t.fetch(ctx)
	if err != nil {
		return "", err
	}
	t.kept, t.until = kept, time.Now().Add(lifetime-tokenMargin)
	return kept, nil
}

func (t *azureTokens) fetch(ctx context.Context) (string, time.Duration, error) {
	tenant, client := t.getenv("AZURE_TENANT_ID"), t.getenv("AZURE_CLIENT_ID")
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {client}, "scope": {azureResource + "/.default"}}
	switch secret, file, job := t.getenv("AZURE_CLIENT_SECRET"), t.getenv("AZURE_FEDERATED_TOKEN_FILE"), t.getenv("ACTIONS_ID_TOKEN_REQUEST_URL"); {
	case tenant == "" || client == "" || secret == "" && file == "" && job == "":
		return azureCLI(ctx)
	case secret != "":
		form.Set("client_secret", secret)
	case file != "":
		data, err := readFile(file)
		if err != nil {
			return "", 0, fmt.Errorf("AZURE_FEDERATED_TOKEN_FILE: %w", err)
		}
		form.Set("client_assertion", strings.TrimSpace(string(data)))
		form.Set("client_assertion_type", jwtAssertion)
	default:
		assertion, err := t.jobToken(ctx, job)
		if err != nil {
			return "", 0, err
		}
		form.Set("client_assertion", assertion)
		form.Set("client_assertion_type", jwtAssertion)
	}
	login := t.getenv("AZURE_AUTHORITY_HOST")
	if login == "" {
		login = azureLogin
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimRight(login, "/")+"/"+url.PathEscape(tenant)+"/oauth2/v2.0/token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", 0, errors.New("AZURE_AUTHORITY_HOST is no URL")
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var answer struct {
		Token   string `json:"access_token"`
		Seconds int    `json:"expires_in"`
		Error   string `json:"error"`
	}
	if err := t.ask(req, &answer); err != nil {
		return "", 0, fmt.Errorf("logging in to Azure as AZURE_CLIENT_ID: %w", err)
	}
	if answer.Token == "" {
		return "", 0, fmt.Errorf("logging in to Azure as AZURE_CLIENT_ID: refused: %s", printable(redact(answer.Error, form.Get("client_secret"), form.Get("client_assertion"))))
	}
	return answer.Token, time.Duration(answer.Seconds) * time.Second, nil
}

// jobToken asks GitHub for the token that tells Azure which job this is.
func (t *azureTokens) jobToken(ctx context.Context, from string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from+"&audience="+url.QueryEscape("api://AzureADTokenExchange"), nil)
	if err != nil {
		return "", errors.New("ACTIONS_ID_TOKEN_REQUEST_URL is no URL")
	}
	req.Header.Set("Authorization", "Bearer "+t.getenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN"))
	var answer struct{ Value string }
	if err := t.ask(req, &answer); err != nil {
		return "", fmt.Errorf("asking GitHub for the job's token: %w", err)
	}
	if answer.Value == "" {
		return "", errors.New("asking GitHub for the job's token: it gave none: give the job `permissions: {id-token: write}`")
	}
	return answer.Value, nil
}

// ask sends a request and reads the JSON of its answer. Its errors repeat no
// request and no answer, either of which may be a secret.
func (t *azureTokens) ask(req *http.Request, answer any) error {
	resp, err := t.client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // without the URL, which may hold a token
		}
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, azureAnswer))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, answer); err != nil || resp.StatusCode >= http.StatusInternalServerError {
		return fmt.Errorf("HTTP status %d", resp.StatusCode)
	}
	return nil
}

// azureCLI asks the az program, which is logged in or not.
func azureCLI(ctx context.Context) (string, time.Duration, error) {
	az, err := exec.LookPath("az")
	if err != nil {
		return "", 0, errors.New("no credentials for Azure: set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or install az and run `az login`")
	}
	cmd := exec.CommandContext(ctx, az, "account", "get-access-token", "--resource", azureResource, "--output", "json")
	cmd.Env, _ = serviceEnv(os.Environ(), "az")
	out := &bounded{limit: azureAnswer, strict: true}
	cmd.Stdout = out
	cmd.WaitDelay = 2 * time.Second
	if err := cmd.Run(); err != nil {
		return "", 0, errors.New("az account get-access-token failed: run `az login`")
	}
	var answer struct {
		Token   string `json:"accessToken"`
		Expires int64  `json:"expires_on"` // seconds since 1970
	}
	if err := json.Unmarshal(out.buf.Bytes(), &answer); err != nil || answer.Token == "" {
		return "", 0, errors.New("az account get-access-token gave no token: run `az login`")
	}
	return answer.Token, time.Until(time.Unix(answer.Expires, 0)), nil
}
