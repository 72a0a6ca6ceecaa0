package dist

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// The tags of an rpm's signature header that hold OpenPGP signatures (rpmtag.h).
const (
	sigTagRSA = 268  // over the header
	sigTagPGP = 1002 // over header and payload
)

// maxSignature bounds a signature in a package: an OpenPGP one by an RSA-4096 key
// has some 600 bytes, armored 900.
const maxSignature = 64 << 10

// Signatures calls fn with each signature that a package carries, and with what
// the signature is over:
//
//	deb  the ar member _gpgorigin: OpenPGP over the contents of the members before it
//	rpm  tags 268 and 1002 of the signature header: OpenPGP over header, and over header and payload
//	apk  .SIGN.RSA.NAME in the first gzip member: PKCS #1 v1.5 with SHA-1 over the second, as it is compressed
//
// It returns how many there were; none is no error. That the package is whole is
// Walk's question, which is to be asked first.
func Signatures(file, format string, fn func(signature []byte, signed io.Reader) error) (n int, err error) {
	f, info, err := openRegular(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	w := &walker{file: file, format: format, r: f, size: info.Size(), names: newNameSet(false)}
	counted := func(signature []byte, signed io.Reader) error {
		n++
		return fn(signature, signed)
	}
	switch format {
	case Deb:
		err = w.debSignatures(counted)
	case RPM:
		err = w.rpmSignatures(counted)
	case APK:
		err = w.apkSignature(counted)
	}
	return n, err
}

func (w *walker) debSignatures(fn func([]byte, io.Reader) error) error {
	var bodies []io.Reader
	for offset := int64(len("!<arch>\n")); offset < w.size; {
		header := make([]byte, 60)
		if _, err := w.r.ReadAt(header, offset); err != nil {
			return w.errorf(offset, "an ar header is cut off")
		}
		size, err := strconv.ParseInt(strings.TrimRight(string(header[48:58]), " "), 10, 62)
		if err != nil || size < 0 || size > w.size-offset-60 {
			return w.errorf(offset, "an ar member has no valid header")
		}
		body := io.NewSectionReader(w.r, offset+60, size)
		if strings.HasPrefix(string(header), "_") {
			signature, err := readAtMost(body, maxSignature)
			if err != nil {
				return w.errorf(offset, "signature: %w", err)
			}
			if name := strings.TrimRight(string(header[:16]), " /"); name != "_gpgorigin" {
				return w.errorf(offset, "ar member %q, where _gpgorigin is known", name)
			}
			return fn(signature, io.MultiReader(bodies...))
		}
		bodies = append(bodies, body)
		offset += 60 + size + size%2
	}
	return nil
}

func (w *walker) rpmSignatures(fn func([]byte, io.Reader) error) error {
	sig, end, err := w.rpmHeader(96)
	if err != nil {
		return err
	}
	start := (end + 7) &^ 7
	_, payload, err := w.rpmHeader(start)
	if err != nil {
		return err
	}
	for _, s := range []struct {
		tag uint32
		end int64
	}{{sigTagRSA, payload}, {sigTagPGP, w.size}} {
		value, ok, err := sig.binary(s.tag)
		if err != nil {
			return w.errorf(96, "%w", err)
		}
		if !ok {
			continue
		}
		if err := fn(value, io.NewSectionReader(w.r, start, s.end-start)); err != nil {
			return err
		}
	}
	return nil
}

// binary returns a tag of type bin (7), and whether it is there.
func (h rpmHeader) binary(tag uint32) ([]byte, bool, error) {
	kind, count, value, err := h.find(tag)
	var missing *missingTagError
	switch {
	case errors.As(err, &missing):
		return nil, false, nil
	case err != nil:
		return nil, false, err
	}
	if kind != 7 || int64(count) > int64(len(value)) || count > maxSignature {
		return nil, false, fmt.Errorf("tag %d is no signature", tag)
	}
	return value[:count], true, nil
}

func (w *walker) apkSignature(fn func([]byte, io.Reader) error) error {
	counted := &countReader{r: w.section(0)}
	in := bufio.NewReaderSize(counted, bufferSize)
	position := func() int64 { return counted.n - int64(in.Buffered()) }
	zr, err := gzip.NewReader(in)
	if err != nil {
		return w.errorf(0, "%w", err)
	}
	zr.Multistream(false)
	var signature []byte
	err = w.tar(&io.LimitedReader{R: zr, N: maxControl}, false, func(name string, r io.Reader) (bool, error) {
		var err error
		if strings.HasPrefix(name, ".SIGN.RSA.") {
			signature, err = readAtMost(r, maxSignature)
		} else {
			_, err = io.Copy(io.Discard, r)
		}
		return true, err
	})
	if err != nil {
		return err
	}
	if signature == nil {
		return nil
	}
	if _, err := io.Copy(io.Discard, io.LimitReader(zr, maxControl)); err != nil {
		return w.errorf(-1, "%w", err)
	}
	start := position()
	if err := zr.Reset(in); err != nil {
		return w.errorf(start, "the control member: %w", err)
	}
	zr.Multistream(false)
	if n, err := io.Copy(io.Discard, io.LimitReader(zr, maxControl)); err != nil || n == maxControl {
		return w.errorf(start, "the control member is damaged or has more than %d bytes", maxControl)
	}
	control := make([]byte, position()-start)
	if _, err := w.r.ReadAt(control, start); err != nil {
		return w.errorf(start, "%w", err)
	}
	return fn(signature, bytes.NewReader(control))
}
