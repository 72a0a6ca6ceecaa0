package key

import (
	"path/filepath"
	"strings"
)

const possible = "possible are pkcs11:URI, pem:CHAIN+pkcs11:URI, kms:CHAIN+URI, azure:https://HOST/ACCOUNT/PROFILE, relic:CLIENT.pem+https://HOST/KEY, pfx:PATH, pem:CHAIN+KEY, pem:BOTH and dev"

// ref is a parsed reference.
type ref struct {
	scheme string // dev, pfx, pem, kms, pkcs11, azure or relic
	path   string // what follows it; empty for dev
}

// parseRef splits a reference. Its errors repeat only what cannot be a secret:
// somebody may have put the password where the reference belongs.
func parseRef(s string) (ref, error) {
	if s == "" {
		return ref{}, &RefError{Reason: "none is given", Hint: possible}
	}
	if s == "dev" {
		return ref{scheme: "dev"}, nil
	}
	if holdsSecret(s) {
		return ref{}, &RefError{Reason: "the reference holds a password", Hint: "take it out and set HALLMARK_PASSWORD"}
	}
	scheme, path, ok := strings.Cut(s, ":")
	if !ok {
		switch strings.ToLower(filepath.Ext(s)) {
		case ".pfx", ".p12":
			return ref{}, &RefError{Reason: "scheme is missing", Hint: "write pfx:" + s}
		case ".pem", ".crt", ".cer", ".key":
			return ref{}, &RefError{Reason: "scheme is missing", Hint: "write pem:" + s}
		}
		if near := nearest(s); near == "dev" {
			return ref{}, &RefError{Reason: quoted(s) + " is not known", Hint: "did you mean dev? " + possible}
		}
		return ref{}, &RefError{Reason: "reference is not understood", Hint: possible}
	}
	switch scheme {
	case "dev":
		return ref{}, &RefError{Reason: "dev takes no path", Hint: "write dev"}
	case "pfx", "pem", "kms":
		if path == "" {
			return ref{}, &RefError{Reason: scheme + ": names no file", Hint: possible}
		}
		if strings.ContainsRune(path, 0) {
			return ref{}, &RefError{Reason: "path holds a zero byte", Hint: possible}
		}
		return ref{scheme: scheme, path: path}, nil
	case "awskms", "gcpkms", "azurekms", "hashivault":
		return ref{}, &RefError{Reason: "a key in a service comes without its certificates", Hint: "write kms:chain.pem+" + scheme + "://…"}
	case "pkcs11", "azure", "relic":
		if path == "" {
			return ref{}, &RefError{Reason: scheme + ": names no key", Hint: possible}
		}
		return ref{scheme: scheme, path: path}, nil
	}
	if near := nearest(scheme); near != "" {
		return ref{}, &RefError{Reason: "identity scheme " + quoted(scheme) + " is not known", Hint: "did you mean " + near + "? " + possible}
	}
	return ref{}, &RefError{Reason: "identity scheme is not known", Hint: possible}
}

// holdsSecret finds what people write who want to give the password with the
// reference, as other tools allow: "?password=…", "&pass=…", ";pin-value=…".
func holdsSecret(s string) bool {
	s = strings.ToLower(s)
	for _, word := range []string{"password", "passwd", "passphrase", "pass", "pwd", "pin-value", "pin", "secret"} {
		for _, before := range []string{"?", "&", ";", ",", "#", " "} {
			if strings.Contains(s, before+word+"=") || strings.Contains(s, before+word+":") {
				return true
			}
		}
	}
	return false
}

// nearest is the scheme that a mistyped one was meant to be, or empty.
func nearest(s string) string {
	s = strings.ToLower(s)
	for _, alias := range []struct{ from, to string }{
		{"p12", "pfx"}, {"pkcs12", "pfx"}, {"file", "pem"}, {"cert", "pem"},
		{"development", "dev"}, {"develop", "dev"},
	} {
		if s == alias.from {
			return alias.to
		}
	}
	for _, scheme := range []string{"dev", "pfx", "pem", "kms", "pkcs11", "azure", "relic"} {
		if closeTo(s, scheme) {
			return scheme
		}
	}
	return ""
}

// closeTo says that a differs from b by case, by one letter changed, added or
// left out, or by two neighbours swapped.
func closeTo(a, b string) bool {
	if a == b {
		return true
	}
	if len(a) > len(b) {
		a, b = b, a
	}
	switch len(b) - len(a) {
	case 0:
		i := 0
		for a[i] == b[i] {
			i++
		}
		if a[i+1:] == b[i+1:] {
			return true
		}
		return i+1 < len(a) && a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]
	case 1:
		i := 0
		for i < len(a) && a[i] == b[i] {
			i++
		}
		return a[i:] == b[i+1:]
	}
	return false
}

func quoted(s string) string { return `"` + s + `"` }
