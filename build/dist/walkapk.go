package dist

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// apk reads an Alpine package: up to three gzip members (signature, control, data), whose contents are one tar. The
// control member's .PKGINFO holds the SHA-256 of the compressed data member, which runs to the end of the file.
func (w *walker) apk() error {
	counted := &countReader{r: w.section(0)}
	in := bufio.NewReaderSize(counted, bufferSize)
	position := func() int64 { return counted.n - int64(in.Buffered()) }
	zr, err := gzip.NewReader(in)
	if err != nil {
		return w.errorf(0, "%w", err)
	}
	for {
		zr.Multistream(false)
		info, err := w.apkControl(zr)
		if err != nil {
			return err
		}
		start := position()
		if err := zr.Reset(in); err != nil {
			return w.errorf(start, "the next gzip member: %w", err)
		}
		if info == nil {
			continue // that was the signature
		}
		want, err := dataHash(info)
		if err != nil {
			return w.errorf(-1, "%w", err)
		}
		h := sha256.New()
		if _, err := io.Copy(h, w.section(start)); err != nil {
			return w.errorf(start, "%w", err)
		}
		if got := hex.EncodeToString(h.Sum(nil)); got != want {
			return w.errorf(start, "the data is not what .PKGINFO says: SHA-256 %s, not %s", got, want)
		}
		break
	}
	zr.Multistream(false)
	if err := w.tar(zr, true, nil); err != nil {
		return err
	}
	if err := onlyZeros(zr, maxPadding); err != nil {
		return w.errorf(-1, "after the end of the tar: %w", err)
	}
	if _, err := in.ReadByte(); err != io.EOF {
		return w.errorf(position(), "bytes after the data: %w", trailing(err))
	}
	return nil
}

// apkControl reads the signature or control member and returns .PKGINFO, nil if it is not in there. Such a tar has no
// zero blocks at its end.
func (w *walker) apkControl(zr io.Reader) (info []byte, err error) {
	limited := &io.LimitedReader{R: zr, N: maxControl}
	err = w.tar(limited, false, func(name string, r io.Reader) (bool, error) {
		if !strings.HasPrefix(name, ".") {
			return false, fmt.Errorf("a file of the payload among the control files")
		}
		if name == ".PKGINFO" {
			info, err = readAtMost(r, maxPkgInfo)
			return true, err
		}
		_, err := io.Copy(io.Discard, r)
		return true, err
	})
	if err != nil {
		return nil, err
	}
	if err := onlyZeros(limited, maxPadding); err != nil {
		return nil, w.errorf(-1, "after the control files: %w", err)
	}
	if limited.N == 0 {
		return nil, w.errorf(-1, "control files of more than %d bytes", maxControl)
	}
	return info, nil
}

func readAtMost(r io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("longer than %d bytes", limit)
	}
	return b, err
}

func dataHash(info []byte) (string, error) {
	for line := range bytes.Lines(info) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(string(line)), "datahash = "); ok {
			return v, nil
		}
	}
	return "", fmt.Errorf(".PKGINFO has no datahash")
}
