package key

import (
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/kms/cliplugin"
	"github.com/sigstore/sigstore/pkg/signature/kms/cliplugin/common"
	"github.com/sigstore/sigstore/pkg/signature/kms/cliplugin/encoding"
	"github.com/sigstore/sigstore/pkg/signature/options"
)

// Limits of a plugin. An answer is a public key or a signature in base64.
const (
	maxPluginAnswer = 1 << 20
	maxPluginWords  = 4 << 10         // of its error output
	pluginTime      = 5 * time.Minute // somebody may have to approve
)

// openKMS opens CHAIN+URI: the certificates of a key that stays in a key
// management service. sigstore's plugin protocol reaches it: for
// awskms://… the program sigstore-kms-awskms, found on PATH, is handed a digest
// and hands back the signature. Credentials are between it and the service.
//
// sigstore's own client for the protocol bounds neither the answer nor the time,
// takes an answer without the part that was asked for, and hands the program our
// whole environment. So the protocol, a JSON document each way, is spoken here.
func openKMS(ctx context.Context, path string, o Options) (material, string, error) {
	chain, uri, ok := splitKMS(path)
	if !ok {
		return material{}, "", &RefError{Reason: "kms: names no certificates or no key", Hint: "write kms:chain.pem+awskms:///alias/release"}
	}
	m, err := readPEMFile(chain, o, false)
	if err != nil {
		return material{}, "", err
	}
	if len(m.certs) == 0 {
		return material{}, "", &FileError{File: chain, Err: errors.New("it holds no certificate"), Hint: "put the certificates that were issued for the key there"}
	}
	service, resource, _ := strings.Cut(uri, "://")
	p := plugin{service: service, resource: resource, limit: pluginTime}
	if p.path, err = exec.LookPath(p.name()); err != nil {
		return material{}, "", &FileError{File: p.name(), Err: errors.New("the plugin for this key is not on PATH"), Hint: "install it; sigstore publishes those of the large services"}
	}
	if p.public, err = p.publicKey(ctx); err != nil {
		return material{}, "", &FileError{File: p.name(), Err: fmt.Errorf("reading the public key: %w", err), Hint: "check the key's name and the plugin's credentials"}
	}
	m.signer = p
	return m, chain, nil
}

// splitKMS splits CHAIN+URI at the plus sign before the URI's scheme.
func splitKMS(path string) (chain, uri string, ok bool) {
	end := strings.Index(path, "://")
	if end < 0 {
		return "", "", false
	}
	plus := strings.LastIndex(path[:end], "+")
	if plus <= 0 || plus+1 == end {
		return "", "", false
	}
	return path[:plus], path[plus+1:], true
}

// plugin is a key behind a sigstore KMS plugin.
type plugin struct {
	service, resource, path string
	limit                   time.Duration
	public                  crypto.PublicKey
}

var _ crypto.Signer = plugin{}

func (p plugin) name() string { return cliplugin.PluginBinaryPrefix + p.service }

// Public returns the key that was asked for once.
func (p plugin) Public() crypto.PublicKey { return p.public }

func (p plugin) publicKey(ctx context.Context) (crypto.PublicKey, error) {
	resp, err := p.call(ctx, &common.MethodArgs{MethodName: common.PublicKeyMethodName, PublicKey: &common.PublicKeyArgs{PublicKeyOptions: encoding.PackPublicKeyOptions(nil)}})
	if err != nil {
		return nil, err
	}
	if resp.PublicKey == nil || len(resp.PublicKey.PublicKeyPEM) == 0 {
		return nil, errors.New("the plugin's answer holds no public key")
	}
	return cryptoutils.UnmarshalPEMToPublicKey(resp.PublicKey.PublicKeyPEM)
}

// Sign has the plugin sign a digest.
func (p plugin) Sign(_ io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	list := []signature.SignOption{options.WithCryptoSignerOpts(o.HashFunc()), options.WithDigest(digest)}
	resp, err := p.call(context.Background(), &common.MethodArgs{MethodName: common.SignMessageMethodName, SignMessage: &common.SignMessageArgs{SignOptions: encoding.PackSignOptions(list)}})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.name(), err)
	}
	if resp.SignMessage == nil || len(resp.SignMessage.Signature) == 0 {
		return nil, fmt.Errorf("%s: the plugin's answer holds no signature", p.name())
	}
	return resp.SignMessage.Signature, nil
}

// call runs the plugin once. An exit code of 1 and higher does not matter if
// the answer says what is wrong.
func (p plugin) call(ctx context.Context, method *common.MethodArgs) (*common.PluginResp, error) {
	ctx, cancel := context.WithTimeout(ctx, p.limit)
	defer cancel()
	deadline, _ := ctx.Deadline()
	args, err := json.Marshal(&common.PluginArgs{MethodArgs: method, InitOptions: &common.InitOptions{
		CtxDeadline: &deadline, ProtocolVersion: common.ProtocolVersion, KeyResourceID: p.resource, HashFunc: crypto.SHA256, RPCOptions: encoding.PackRPCOptions(nil)}})
	if err != nil {
		return nil, err
	}
	env, secrets := serviceEnv(os.Environ(), p.service)
	answer, words := &bounded{limit: maxPluginAnswer, strict: true}, &bounded{limit: maxPluginWords}
	cmd := exec.CommandContext(ctx, p.path, common.ProtocolVersion, string(args))
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = env, strings.NewReader(""), answer, words
	cmd.WaitDelay = 2 * time.Second
	runErr := cmd.Run()
	said := func() string {
		if s := strings.TrimSpace(words.buf.String()); s != "" {
			return ": it said: " + printable(redact(s, secrets...))
		}
		return ""
	}
	switch exit := (*exec.ExitError)(nil); {
	case answer.over:
		return nil, fmt.Errorf("the plugin's answer has more than %d bytes", maxPluginAnswer)
	case ctx.Err() != nil:
		return nil, fmt.Errorf("the plugin gave no answer: %w", ctx.Err())
	case runErr != nil && !(errors.As(runErr, &exit) && exit.ExitCode() > 0):
		return nil, fmt.Errorf("running the plugin: %w%s", runErr, said())
	}
	var resp common.PluginResp
	if json.Unmarshal(answer.buf.Bytes(), &resp) != nil {
		return nil, fmt.Errorf("the plugin's answer is not what sigstore's protocol %s says%s", common.ProtocolVersion, said())
	}
	if resp.ErrorMessage != "" {
		return nil, fmt.Errorf("the plugin's error: %s%s", printable(redact(resp.ErrorMessage, secrets...)), said())
	}
	return &resp, nil
}

// bounded keeps what is written to it up to a limit. If it is strict more is an
// error, which ends the writer. The buffer is not embedded: its ReadFrom, which
// io.Copy prefers, knows no limit.
type bounded struct {
	buf    bytes.Buffer
	limit  int
	strict bool
	over   bool
}

func (b *bounded) Write(p []byte) (int, error) {
	room := b.limit - b.buf.Len()
	if len(p) <= room {
		return b.buf.Write(p)
	}
	b.over = true
	b.buf.Write(p[:room])
	if b.strict {
		return room, io.ErrShortWrite
	}
	return len(p), nil
}
