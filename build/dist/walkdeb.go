package dist

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// deb reads a Debian package (deb(5)): the ar members debian-binary, control.tar.gz and data.tar, in this order; after
// them only members that begin with "_", such as _gpgorigin. ar's header has 60 bytes: name 16, time 12, owner 6,
// group 6, mode 8, size 10, "`\n"; members begin at even offsets.
func (w *walker) deb() error {
	offset := int64(len("!<arch>\n"))
	for i := 0; ; i++ {
		if offset == w.size && i >= 3 {
			return nil
		}
		if i > maxEntries {
			return w.errorf(offset, "more than %d members", maxEntries)
		}
		header := make([]byte, 60)
		if _, err := w.r.ReadAt(header, offset); err != nil {
			return w.errorf(offset, "the header of ar member %d is cut off", i+1)
		}
		name := strings.TrimSuffix(strings.TrimRight(string(header[:16]), " "), "/")
		size, err := strconv.ParseUint(strings.TrimRight(string(header[48:58]), " "), 10, 62)
		if err != nil || string(header[58:]) != "`\n" {
			return w.errorf(offset, "ar member %d has no valid header", i+1)
		}
		for _, number := range []string{string(header[16:28]), string(header[28:34]), string(header[34:40]), string(header[40:48])} {
			if strings.Trim(number, "0123456789 ") != "" {
				return w.errorf(offset, "ar member %d has no valid header", i+1)
			}
		}
		start := offset + 60
		if int64(size) > w.size-start {
			return w.errorf(offset, "ar member %q of %d bytes goes past the end of the file", name, size)
		}
		body := io.NewSectionReader(w.r, start, int64(size))
		switch {
		case i == 0 && name == "debian-binary":
			b, err := readAtMost(body, 64)
			if err != nil || string(b) != "2.0\n" {
				return w.errorf(start, "debian-binary is %q, not 2.0", b)
			}
		case i == 1 && name == "control.tar.gz":
			err = w.debControl(body)
		case i == 2 && (name == "data.tar.zst" || name == "data.tar.gz" || name == "data.tar"):
			err = w.debData(name, body)
		case i > 2 && strings.HasPrefix(name, "_"):
		default:
			return w.errorf(offset, "ar member %d is %q, where a deb has debian-binary, control.tar.gz, then data.tar.zst, .gz or data.tar", i+1, name)
		}
		if err != nil {
			return err
		}
		offset = start + int64(size)
		if size%2 == 1 {
			pad := make([]byte, 1)
			if _, err := w.r.ReadAt(pad, offset); err != nil || pad[0] != '\n' {
				return w.errorf(offset, "ar member %q is not padded to an even length", name)
			}
			offset++
		}
	}
}

func (w *walker) debControl(r io.Reader) error {
	in := bufio.NewReader(r)
	zr, err := gzip.NewReader(in)
	if err != nil {
		return w.errorf(-1, "control.tar.gz: %w", err)
	}
	zr.Multistream(false)
	// A walker of its own: the control files' names are not the payload's.
	found := false
	c := &walker{file: w.file, format: w.format, names: newNameSet(false), fn: nil}
	limited := &io.LimitedReader{R: zr, N: maxControl}
	err = c.tar(limited, true, func(name string, r io.Reader) (bool, error) {
		found = found || name == "control"
		_, err := io.Copy(io.Discard, r)
		return true, err
	})
	if err != nil {
		return err
	}
	if err := onlyZeros(limited, maxPadding); err != nil {
		return w.errorf(-1, "control.tar.gz: after its end: %w", err)
	}
	if limited.N == 0 {
		return w.errorf(-1, "control.tar.gz: more than %d bytes", maxControl)
	}
	if _, err := in.ReadByte(); err != io.EOF {
		return w.errorf(-1, "control.tar.gz: %w", trailing(err))
	}
	if !found {
		return w.errorf(-1, "control.tar.gz has no control file")
	}
	return nil
}

func (w *walker) debData(name string, r io.Reader) error {
	in := bufio.NewReaderSize(r, bufferSize)
	var out io.Reader = in
	switch name {
	case "data.tar.zst":
		zr, err := newZstd(in)
		if err != nil {
			return w.errorf(-1, "%s: %w", name, err)
		}
		defer zr.Close()
		out = zr
	case "data.tar.gz":
		zr, err := gzip.NewReader(in)
		if err != nil {
			return w.errorf(-1, "%s: %w", name, err)
		}
		zr.Multistream(false)
		out = zr
	}
	if err := w.tar(out, true, nil); err != nil {
		return err
	}
	if err := onlyZeros(out, maxPadding); err != nil {
		return w.errorf(-1, "%s: after its end: %w", name, err)
	}
	if _, err := in.ReadByte(); err != io.EOF {
		return w.errorf(-1, "%s: %w", name, fmt.Errorf("after its end: %w", trailing(err)))
	}
	return nil
}
