package compat

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// wintrustProgram is c/wintrust.c, compiled into the template of prefixes.
const wintrustProgram = "wintrust-judge.exe"

// withoutServices keeps Wine from starting what WinVerifyTrust needs none of,
// and what takes longer than the judging: a desktop, plug and play and the rest.
const withoutServices = "WINEDLLOVERRIDES=mscoree,mshtml,winemenubuilder.exe,winedbg.exe,wineboot.exe,services.exe,explorer.exe,rpcss.exe,plugplay.exe,winedevice.exe="

// wintrust judges Authenticode signatures by WinVerifyTrust as Wine has it.
func wintrust() Judge {
	w := wineTool()
	return Judge{
		Name: "wintrust", Scheme: Authenticode,
		Limits: "It is Wine's WinVerifyTrust, not Windows'. It checks the digest and the signature of the first signature, and that the signed attributes are in DER order. " +
			"It is no judge of trust: it accepts any root, usage and date. RSA only; page hashes, timestamps, nested signatures and the PE checksum are not looked at.",
		FindKey: w.key,
		Find: func(ctx context.Context) (string, error) {
			// What is slow the first time is done here, apart from the judging.
			if _, err := w.prepare(ctx); err != nil {
				return "", err
			}
			return w.find(ctx)
		},
		Batch: &Batch{Verify: w.trusts},
		Command: func(file string, _ Trust) string {
			template, err := w.template()
			key, err2 := w.key()
			if err != nil || err2 != nil {
				return ""
			}
			env := append(settings(template), withoutServices)
			words := []string{"env"}
			for _, kv := range env {
				name, value, _ := strings.Cut(kv, "=")
				words = append(words, name+"="+inCache(value))
			}
			return strings.Join(words, " ") + " " + line(key.Path, wintrustProgram, argument(file)) + " | grep 0x00000000"
		},
	}
}

// trusts asks about all files in one call. A call that ends before all are
// answered has crashed on the first that is not, and another asks the rest.
func (w wine) trusts(ctx context.Context, questions []Question, _ Trust) (answers []error) {
	answers = make([]error, len(questions))
	all := func(err error) []error {
		for i := range answers {
			answers[i] = err
		}
		return answers
	}
	r, err := w.bare(ctx)
	if err != nil {
		return all(err)
	}
	defer func() {
		if err := r.close(); err != nil {
			all(err)
		}
	}()
	r.env = append(r.env, withoutServices)
	// Links have names that mean the same to both systems.
	names := make([]string, len(questions))
	looks := make([]peSignature, len(questions))
	for i, q := range questions {
		file, err := filepath.Abs(q.File)
		if err != nil {
			return all(err)
		}
		names[i] = fmt.Sprintf("%d.exe", i)
		if err := os.Symlink(file, filepath.Join(r.dir, names[i])); err != nil {
			return all(err)
		}
		looks[i], _ = lookAtPE(q.File)
	}
	for next := 0; next < len(questions); {
		a, err := r.run(ctx, r.dir, nil, append([]string{wintrustProgram}, names[next:]...)...)
		said := strings.Fields(a.stdout)
		if len(said) > len(questions)-next {
			return all(w.unclear(a, "it gives more answers than there were questions"))
		}
		for _, code := range said {
			answers[next] = readWintrust(code, looks[next])
			next++
		}
		if next == len(questions) {
			break
		}
		if err == nil {
			err = &CrashError{Tool: "wintrust", Reason: fmt.Sprintf("it ends without an answer, with exit code %d", a.exit), Output: a.quote()}
		}
		answers[next] = err
		next++
		for ctx.Err() != nil && next < len(questions) {
			answers[next] = err
			next++
		}
	}
	return answers
}

// readWintrust reads the answer of WinVerifyTrust: 0, or why not. What is not
// listed may be a fault of the prefix, such as 0x800b0001, no provider.
func readWintrust(code string, look peSignature) error {
	refusals := map[string]string{
		"0x0000007a": "the certificate table is cut short (ERROR_INSUFFICIENT_BUFFER)",
		"0x8009200d": "the signature is not a message that it can read (CRYPT_E_BAD_ENCODE)",
		"0x8009200e": "the signature has no signer (CRYPT_E_NO_SIGNER)",
		"0x80091007": "the digest of the content is not the signed one (CRYPT_E_HASH_VALUE)",
		"0x80092003": "the file cannot be read (CRYPT_E_FILE_ERROR)",
		"0x80092009": "there is no message (CRYPT_E_NO_MATCH)",
		"0x80093100": "the signature is not ASN.1 (CRYPT_E_ASN1_ERROR)",
		"0x80093102": "the signature ends early (CRYPT_E_ASN1_EOD)",
		"0x80093103": "the signature is not ASN.1 (CRYPT_E_ASN1_CORRUPT)",
		"0x80093104": "the signature has a number that is too large (CRYPT_E_ASN1_LARGE)",
		"0x80093106": "the signature is not ASN.1 (CRYPT_E_ASN1_BADPDU)",
		"0x8009310b": "the signature has another ASN.1 tag than expected (CRYPT_E_ASN1_BADTAG)",
		"0x80096002": "the signer's certificate is not in the signature (TRUST_E_NO_SIGNER_CERT)",
		"0x80096003": "the timestamp is not good (TRUST_E_COUNTER_SIGNER)",
		"0x80096004": "the signature is not good (TRUST_E_CERT_SIGNATURE)",
		"0x80096005": "the timestamp is not good (TRUST_E_TIME_STAMP)",
		"0x80096010": "the file's digest is not the signed one (TRUST_E_BAD_DIGEST)",
		"0x800b0003": "not a file that it can read (TRUST_E_SUBJECT_FORM_UNKNOWN)",
		"0x800b0004": "the subject is not trusted (TRUST_E_SUBJECT_NOT_TRUSTED)",
		"0x800b0100": "no signature found (TRUST_E_NOSIGNATURE)",
		"0x800b0101": "a certificate is out of its dates (CERT_E_EXPIRED)",
		"0x800b0109": "the root is not trusted (CERT_E_UNTRUSTEDROOT)",
		"0x800b010a": "the chain has no end (CERT_E_CHAINING)",
		"0x800b0110": "the certificate is for another usage (CERT_E_WRONG_USAGE)",
	}
	reason, refused := refusals[code]
	switch {
	case code == "0x00000000":
		return nil
	case code == "0x80096004" && look.digest != "" && !look.rsa:
		return &LimitError{Judge: "wintrust", Limit: "it reads RSA keys only"}
	case refused && look.digest != "" && (code == "0x80092003" || code == "0x800b0003"):
		return &LimitError{Judge: "wintrust", Limit: reason} // there is a signature in it
	case refused:
		return &RefusalError{Judge: "wintrust", Reason: reason, Output: code}
	}
	return &UnclearError{Tool: "wintrust", Reason: short("unknown answer " + code), Output: short(code)}
}
