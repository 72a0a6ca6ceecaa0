package key

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"github.com/sigstore/sigstore/pkg/signature/kms/cliplugin"
)

// openKMS opens CHAIN+URI: the certificates of a key that stays in a key
// management service. sigstore's plugin protocol reaches it: for
// awskms://… the program sigstore-kms-awskms, found on PATH, is handed a digest
// and hands back the signature. Credentials are between it and the service.
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
	program := cliplugin.PluginBinaryPrefix + uri[:strings.Index(uri, "://")]
	client, err := cliplugin.LoadSignerVerifier(ctx, uri, crypto.SHA256)
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return material{}, "", &FileError{File: program, Err: errors.New("the plugin for this key is not on PATH"), Hint: "install it; sigstore publishes those of the large services"}
	case err != nil:
		return material{}, "", &FileError{File: program, Err: err, Hint: "ask the plugin itself what it lacks"}
	}
	pub, err := client.PublicKey()
	if err != nil {
		return material{}, "", &FileError{File: program, Err: fmt.Errorf("reading the public key: %w", err), Hint: "check the key's name and the plugin's credentials"}
	}
	signer, _, err := client.CryptoSigner(ctx, nil)
	if err != nil {
		return material{}, "", &FileError{File: program, Err: err, Hint: "ask the plugin itself what it lacks"}
	}
	m.signer = remote{signer, pub}
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

// remote is a signer of a plugin whose public key was asked for once.
type remote struct {
	crypto.Signer
	public crypto.PublicKey
}

func (r remote) Public() crypto.PublicKey { return r.public }
