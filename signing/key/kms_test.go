package key

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/kms/cliplugin/handler"
)

const pluginName = "sigstore-kms-filekms"

// TestMain makes the test program a key management plugin when it is called by
// a plugin's name. The service's key is in the file that the URI names.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == pluginName {
		if err := servePlugin(); err != nil {
			handler.WriteErrorResponse(os.Stdout, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func servePlugin() error {
	args, err := handler.GetPluginArgs(os.Args)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(args.InitOptions.KeyResourceID)
	if err != nil {
		return err
	}
	block, _ := pem.Decode(data)
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return err
	}
	signer, err := signature.LoadSignerVerifier(private, crypto.SHA256)
	if err != nil {
		return err
	}
	_, err = handler.Dispatch(os.Stdout, os.Stdin, args, service{SignerVerifier: signer})
	return err
}

// service is a key management service with one key, which is there already.
type service struct{ signature.SignerVerifier }

func (service) CreateKey(context.Context, string) (crypto.PublicKey, error) {
	return nil, errors.ErrUnsupported
}

func (service) CryptoSigner(context.Context, func(error)) (crypto.Signer, crypto.SignerOpts, error) {
	return nil, nil, errors.ErrUnsupported
}

func (service) SupportedAlgorithms() []string { return nil }
func (service) DefaultAlgorithm() string      { return "" }

func TestKMS(t *testing.T) {
	w := theWorld()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, pluginName)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	chain := write(t, dir, "chain.pem", certPEM(w.leaf), certPEM(w.inter))
	good := write(t, dir, "key.pem", keyPEM(t, w.rsaKey))
	other := write(t, dir, "other.pem", keyPEM(t, w.otherKey))

	k, err := Open(t.Context(), "kms:"+chain+"+filekms://"+good, Options{})
	if err != nil {
		t.Fatal(err)
	}
	mustSign(t, k)

	var mismatch *MismatchError
	if err := refused(t, "kms:"+chain+"+filekms://"+other, Options{}); !errors.As(err, &mismatch) {
		t.Errorf("a key without a certificate: %v", err)
	}
	for ref, want := range map[string]string{
		"kms:" + chain + "+filekms://" + good + ".gone": "reading the public key",
		"kms:" + chain + "+nokms://x":                   "sigstore-kms-nokms",
		"kms:" + good + ".gone+filekms://" + good:       "key.pem.gone",
		"kms:" + good + "+filekms://" + good:            "it holds no certificate",
		"kms:" + chain:                                  "write kms:chain.pem+awskms",
		"awskms:///alias/x":                             "write kms:chain.pem+awskms",
	} {
		if err := refused(t, ref, Options{}); !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", ref, err, want)
		}
	}
}
