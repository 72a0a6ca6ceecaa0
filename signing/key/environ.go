package key

import (
	"net/url"
	"slices"
	"strings"
)

// A program that reaches a signing service, a KMS plugin or az, is given of our
// environment what every program needs, and the variables of its own service:
//
//	every program  PATH, HOME, USER, LOGNAME, LANG, LC_*, TZ, TMPDIR, TMP, TEMP, XDG_*, SSL_CERT_FILE, SSL_CERT_DIR,
//	               the proxies, and what Windows needs to start a program
//	awskms         AWS_*
//	gcpkms         GOOGLE_*, CLOUDSDK_*, GCLOUD_*, GCE_METADATA_*
//	azurekms, az   AZURE_*, ARM_*, IDENTITY_*, MSI_*
//	hashivault     VAULT_*, TRANSIT_*
//	NAME           NAME_*, with NAME in upper case
func serviceEnv(environ []string, service string) (env, secrets []string) {
	own := []string{strings.ToUpper(service) + "_"}
	switch service {
	case "awskms":
		own = []string{"AWS_"}
	case "gcpkms":
		own = []string{"GOOGLE_", "CLOUDSDK_", "GCLOUD_", "GCE_METADATA_"}
	case "azurekms", "az":
		own = []string{"AZURE_", "ARM_", "IDENTITY_", "MSI_"}
	case "hashivault":
		own = []string{"VAULT_", "TRANSIT_"}
	}
	common := []string{"PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR", "TMP", "TEMP", "SSL_CERT_FILE", "SSL_CERT_DIR",
		"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY",
		"SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "PROGRAMDATA", "PROGRAMFILES"}
	begins := func(list []string, name string) bool {
		return slices.ContainsFunc(list, func(begin string) bool { return strings.HasPrefix(name, begin) })
	}
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		name = strings.ToUpper(name)
		switch {
		case strings.HasPrefix(name, "HALLMARK_"):
		case begins(own, name):
			env, secrets = append(env, kv), append(secrets, value)
		case slices.Contains(common, name), begins([]string{"LC_", "XDG_"}, name):
			env = append(env, kv)
		}
	}
	return env, secrets
}

// minSecret is the length from which a value is looked for in a text: a shorter
// one would be found in words.
const minSecret = 6

// redact returns a text of a server or program without the secrets that we
// sent to it, also as they are written in a form or a URL.
func redact(text string, secrets ...string) string {
	for _, s := range secrets {
		if len(s) < minSecret {
			continue
		}
		for _, form := range []string{s, url.QueryEscape(s), url.PathEscape(s)} {
			text = strings.ReplaceAll(text, form, "[secret]")
		}
	}
	return text
}
