package release

import (
	"context"
	"strings"

	"github.com/hallmark-build/hallmark/signing"
	"github.com/hallmark-build/hallmark/signing/key"
	"github.com/hallmark-build/hallmark/signing/tsa"
)

// maxExchanged is how long a file may be that goes to another machine and comes
// back: what is to be signed, which holds page hashes, or a signature.
const maxExchanged = 64 << 20

// edit runs a change of one file with the identity opened, if it needs one, and
// says what came out.
func edit(ctx context.Context, o Options, file string, t TrustOverride, done string, f func(ctx context.Context, c *Config, s *signer, trust signing.Trust) (*signing.Signature, error)) (err error) {
	ctx, stop := interruptible(ctx)
	defer stop()
	defer func() { err = interrupted(ctx, err) }()
	c, err := loadOptional(o, t)
	if err != nil {
		return err
	}
	if err := checkFile(file); err != nil {
		return err
	}
	s, err := openSigner(ctx, "", c, o)
	if err != nil {
		return err
	}
	sig, err := f(ctx, c, s, s.anchors.trust())
	if err != nil {
		return err
	}
	o.Progress.Printf("%s: %s: %s", file, done, signatureLine(sig))
	return nil
}

// AppendSignature adds a second signature, nested in the one that a PE file has.
func AppendSignature(ctx context.Context, o Options, file string, t TrustOverride) error {
	return edit(ctx, o, file, t, "a nested signature was added to", func(ctx context.Context, c *Config, s *signer, trust signing.Trust) (*signing.Signature, error) {
		scheme, err := c.Sign.For(file)
		if err != nil {
			return nil, err
		}
		a, ok := scheme.(signing.Authenticode)
		if !ok {
			return nil, usage("%s: only PE files have nested signatures", file)
		}
		return a.Append(ctx, file, file, s.key, s.stamps, trust)
	})
}

// TimestampFile gives the signature of a PE file the timestamp that it lacks. It
// opens no identity.
func TimestampFile(ctx context.Context, o Options, file string, t TrustOverride) (err error) {
	ctx, stop := interruptible(ctx)
	defer stop()
	defer func() { err = interrupted(ctx, err) }()
	c, err := loadOptional(o, t)
	if err != nil {
		return err
	}
	if err := checkFile(file); err != nil {
		return err
	}
	// What hallmark.yaml trusts counts here: it names the server, too.
	if t.CA, t.TSA = c.Trust.CA, c.Trust.TSA; t.CA != "" {
		t.CA = o.path(t.CA)
	}
	if t.TSA != "" {
		t.TSA = o.path(t.TSA)
	}
	t.Off = strings.Join(c.Trust.Off, ",")
	var stamps signing.Timestamper
	var authority *tsa.Client
	if c.Timestamp.dev() {
		k, err := key.OpenTSA(ctx, key.Options{Dir: o.KeyDir, Password: o.Password})
		if err != nil {
			return err
		}
		stamps = tsa.Local{Server: &tsa.Server{Key: k}}
	} else {
		authority = &tsa.Client{URLs: c.Timestamp}
		stamps = authority
	}
	a, _, err := openVerifier(o, t)
	if err != nil {
		return err
	}
	if authority != nil {
		authority.Roots = a.tsaRoots
	}
	return o.changed(file, "a timestamp was added")(signing.AddTimestamp(ctx, file, file, stamps, a.trust()))
}

// changed returns a function that says what came of a change of a file.
func (o Options) changed(file, done string) func(*signing.Signature, error) error {
	return func(sig *signing.Signature, err error) error {
		if err == nil {
			o.Progress.Printf("%s: %s: %s", file, done, signatureLine(sig))
		}
		return err
	}
}

// AddCertificates embeds in the signature of a PE file certificates that its
// signer has left out. It opens no identity.
func AddCertificates(ctx context.Context, o Options, file, certificates string, t TrustOverride) error {
	if err := checkFile(file); err != nil {
		return err
	}
	certs, err := readCertificates("certificates", certificates)
	if err != nil {
		return err
	}
	a, _, err := openVerifier(o, t)
	if err != nil {
		return err
	}
	return o.changed(file, "certificates were added")(signing.AddCertificates(ctx, file, file, certs, a.trust()))
}

// Unsign takes the signature off a file.
func Unsign(ctx context.Context, o Options, file string) error {
	if err := checkFile(file); err != nil {
		return err
	}
	if err := signing.Unsign(ctx, file, file); err != nil {
		return err
	}
	o.Progress.Printf("%s: the signature was taken off", file)
	return nil
}

// Extract writes what is to be signed of a PE file, for a machine that has the
// key and not the file.
func Extract(ctx context.Context, o Options, file, data string) error {
	c, err := loadOptional(o, TrustOverride{})
	if err != nil {
		return err
	}
	if err := checkFile(file); err != nil {
		return err
	}
	scheme, err := c.Sign.For(file)
	if err != nil {
		return err
	}
	a, ok := scheme.(signing.Authenticode)
	if !ok {
		return usage("%s: only PE files are signed on another machine", file)
	}
	der, err := a.Extract(ctx, file)
	if err != nil {
		return err
	}
	return o.wrote(data, der, "to be signed with `mage signExtracted`")
}

// SignExtracted signs what Extract wrote.
func SignExtracted(ctx context.Context, o Options, data, signature string) error {
	c, err := loadOptional(o, TrustOverride{})
	if err != nil {
		return err
	}
	if err := checkFile(data); err != nil {
		return err
	}
	extracted, err := key.ReadRegular(data, maxExchanged)
	if err != nil {
		return err
	}
	s, err := openSigner(ctx, "", c, o)
	if err != nil {
		return err
	}
	der, err := signing.Authenticode{Description: c.Sign.Description, URL: c.Sign.URL}.SignExtracted(ctx, extracted, s.key, s.stamps)
	if err != nil {
		return err
	}
	return o.wrote(signature, der, "to be put into the file with `mage attach`")
}

// wrote writes a small result, whole.
func (o Options) wrote(file string, data []byte, next string) error {
	if err := writeFile(file, data); err != nil {
		return err
	}
	o.Progress.Printf("%s: written, %s", file, next)
	return nil
}

// Attach puts a signature that was made elsewhere into a PE file. It opens no
// identity.
func Attach(ctx context.Context, o Options, file, signature string, t TrustOverride) error {
	for _, f := range []string{file, signature} {
		if err := checkFile(f); err != nil {
			return err
		}
	}
	der, err := key.ReadRegular(signature, maxExchanged)
	if err != nil {
		return err
	}
	a, _, err := openVerifier(o, t)
	if err != nil {
		return err
	}
	return o.changed(file, "the signature was attached")(signing.Attach(ctx, file, file, der, a.trust()))
}
