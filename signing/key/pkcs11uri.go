package key

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// tokenURI is a PKCS #11 URI (RFC 7512) that names one private key:
//
//	pkcs11:token=release;object=code-signing?module-path=/usr/lib/opensc-pkcs11.so
//
// Of the path's attributes token, serial, manufacturer, model and slot-id choose
// the token, object and id the key (and its certificate); values are percent
// encoded. Of the query's, module-path names the driver, module-name one in the
// system's folders, pin-source a file that holds the PIN. Without a driver it is
// p11-kit's proxy, which knows all that are configured on the machine. pin-value
// is refused: a reference holds no secret.
type tokenURI struct {
	token, serial, manufacturer, model string
	slot                               string // number of a slot; empty: any
	object                             string
	id                                 []byte
	module                             string // path of the driver
	pinSource                          string // path of a file
}

// openPKCS11 opens the key that a URI names, with the certificates of the PEM file
// chain, or of the token if that is empty.
func openPKCS11(ctx context.Context, chain, uri string, o Options) (material, error) {
	u, err := parseTokenURI(uri)
	if err != nil {
		return material{}, &RefError{Reason: "pkcs11: " + err.Error(), Hint: "write pkcs11:token=LABEL;object=LABEL?module-path=PATH"}
	}
	var file material
	if chain != "" {
		if file, err = readPEMFile(chain, o, false); err != nil {
			return material{}, err
		}
	}
	m, err := openToken(ctx, u, o)
	if err != nil {
		return material{}, err
	}
	m.certs = append(file.certs, m.certs...)
	if len(m.certs) == 0 {
		return material{}, &FileError{File: "token " + u.name(), Err: errors.New("it holds no certificate"), Hint: "write pem:chain.pem+pkcs11:… with the certificates that were issued for the key"}
	}
	return m, nil
}

// parseTokenURI reads what follows "pkcs11:". Its errors repeat the names of
// attributes, never their values.
func parseTokenURI(s string) (tokenURI, error) {
	var u tokenURI
	path, query, _ := strings.Cut(s, "?")
	moduleName := ""
	fields := map[string]*string{
		"token": &u.token, "serial": &u.serial, "manufacturer": &u.manufacturer, "model": &u.model,
		"slot-id": &u.slot, "object": &u.object, "id": new(string), "type": new(string),
	}
	if err := attributes(path, ";", fields); err != nil {
		return tokenURI{}, err
	}
	u.id = []byte(*fields["id"])
	if t := *fields["type"]; t != "" && t != "private" {
		return tokenURI{}, errors.New("attribute type names no private key")
	}
	if u.slot != "" {
		if _, err := strconv.ParseUint(u.slot, 10, 32); err != nil {
			return tokenURI{}, errors.New("attribute slot-id is no number")
		}
	}
	if err := attributes(query, "&", map[string]*string{"module-path": &u.module, "module-name": &moduleName, "pin-source": &u.pinSource}); err != nil {
		return tokenURI{}, err
	}
	u.pinSource = strings.TrimPrefix(u.pinSource, "file:")
	if strings.HasPrefix(u.pinSource, "|") {
		return tokenURI{}, errors.New("attribute pin-source names a program, which is not run: name a file")
	}
	switch {
	case u.module != "" && moduleName != "":
		return tokenURI{}, errors.New("attributes module-path and module-name name two drivers")
	case strings.ContainsAny(moduleName, `/\`):
		return tokenURI{}, errors.New("attribute module-name is a path: write module-path")
	case u.module == "" && moduleName == "":
		moduleName = "p11-kit-proxy"
	}
	if u.module == "" {
		var err error
		if u.module, err = findModule(moduleName); err != nil {
			return tokenURI{}, err
		}
	}
	return u, nil
}

// attributes reads NAME=VALUE pairs (RFC 7512 section 2.3), each name once.
func attributes(s, separator string, known map[string]*string) error {
	if s == "" {
		return nil
	}
	seen := map[string]bool{}
	for part := range strings.SplitSeq(s, separator) {
		name, value, ok := strings.Cut(part, "=")
		if !ok {
			return errors.New("an attribute has no value: write NAME=VALUE")
		}
		to := known[name]
		if to == nil {
			var names []string
			for n := range known {
				names = append(names, n)
			}
			slices.Sort(names)
			return fmt.Errorf("attribute %q is not known here: there are %s", name, strings.Join(names, ", "))
		}
		if seen[name] {
			return fmt.Errorf("attribute %s stands there twice", name)
		}
		seen[name] = true
		decoded, err := url.PathUnescape(value)
		if err != nil {
			return fmt.Errorf("attribute %s is not percent encoded as it should be", name)
		}
		*to = decoded
	}
	return nil
}

// findModule looks for a driver where distributions put them.
func findModule(name string) (string, error) {
	patterns := []string{
		"/usr/lib/*/pkcs11/", "/usr/lib/pkcs11/", "/usr/lib64/pkcs11/", "/usr/lib/*/", "/usr/lib64/", "/usr/lib/", "/usr/lib/softhsm/", "/usr/local/lib/",
	}
	for _, dir := range patterns {
		for _, file := range []string{name + ".so", "lib" + name + ".so"} {
			if found, _ := filepath.Glob(dir + file); len(found) > 0 {
				return found[0], nil
			}
		}
	}
	return "", fmt.Errorf("no driver %s in the system's folders (%s): add ?module-path=PATH of your token's PKCS #11 library", name, runtime.GOOS)
}

// pin returns the PIN from the file of pin-source, else asks for it.
func (u tokenURI) pin(o Options) ([]byte, error) {
	if u.pinSource == "" {
		return askPassword("the token "+u.name(), o)
	}
	data, err := readFile(u.pinSource)
	if err != nil {
		return nil, &FileError{File: u.pinSource, Err: causeOf(err), Hint: "pin-source names the file that holds the PIN"}
	}
	pin := strings.TrimRight(string(data), "\r\n")
	clear(data)
	return []byte(pin), nil
}

// causeOf is an error without the file's name, where it tells that itself.
func causeOf(err error) error {
	var f *FileError
	if errors.As(err, &f) {
		return f.Err
	}
	return err
}

// name is what errors call the token.
func (u tokenURI) name() string {
	for _, s := range []string{u.token, u.serial, u.slot} {
		if s != "" {
			return s
		}
	}
	return "pkcs11"
}
