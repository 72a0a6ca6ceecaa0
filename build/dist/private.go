package dist

import (
	"bytes"
	"encoding/pem"
	"io"
	"path/filepath"
	"strings"
)

// maxPEM bounds the files that are searched for keys whole; no PEM file is longer.
const maxPEM = 4 << 20

// isPrivateKey tells whether a file is a PKCS #12 file, by its name, or holds a private key in PEM (RFC 7468, and the
// older forms of OpenSSL and OpenSSH) or an armoured OpenPGP key. A text that only names the lines of such a block holds
// none.
func isPrivateKey(file string, content io.Reader) (bool, error) {
	// The name of what a link leads to counts too.
	names := []string{file}
	if real, err := filepath.EvalSymlinks(file); err == nil {
		names = append(names, real)
	}
	for _, n := range names {
		switch strings.ToLower(filepath.Ext(n)) {
		case ".pfx", ".p12":
			return true, nil
		}
	}
	data, err := io.ReadAll(io.LimitReader(content, maxPEM))
	if err != nil {
		return false, err
	}
	for bytes.Contains(data, []byte("PRIVATE KEY")) {
		if i := bytes.Index(data, []byte("-----BEGIN PGP PRIVATE KEY BLOCK-----\n")); i >= 0 && (i == 0 || data[i-1] == '\n') &&
			bytes.Contains(data[i:], []byte("\n-----END PGP PRIVATE KEY BLOCK-----")) {
			return true, nil
		}
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return false, nil
		}
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return true, nil
		}
	}
	return false, nil
}
