//go:build !cgo

package key

import (
	"context"
	"errors"
)

// openToken needs cgo: a token's driver is a C library.
func openToken(context.Context, tokenURI, Options) (material, error) {
	return material{}, &FileError{File: "pkcs11", Err: errors.New("this hallmark was compiled without cgo, which a token's driver needs"),
		Hint: "install gcc (mage setup does), unset CGO_ENABLED, and run again"}
}
