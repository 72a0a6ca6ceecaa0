package dist

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
)

// deb reads a Debian package (deb(5)): the ar members debian-binary, control.tar.gz and data.tar, in this order; after
// them only members that begin with "_", such as _gpgorigin.
func (w *walker) deb() error {
	members, err := w.arMembers()
	if err != nil {
		return err
	}
	for i, m := range members {
		switch {
		case i == 0:
			continue // arMembers has read it
		case i == 1 && m.name == "control.tar.gz":
			var made time.Time
			if made, err = w.debControl(m.body); err == nil {
				err = w.checkHeader(m, made)
			}
		case i == 2 && (m.name == "data.tar.zst" || m.name == "data.tar.gz" || m.name == "data.tar"):
			err = w.debData(m.name, m.body)
		case i > 2 && strings.HasPrefix(m.name, "_"):
		default:
			return w.errorf(m.at, "ar member %d is %q, where a deb has debian-binary, control.tar.gz, then data.tar.zst, .gz or data.tar", i+1, m.name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// debControl reads control.tar.gz, which must be one gzip stream and nothing else. It returns the time of the file control in it.
func (w *walker) debControl(r io.Reader) (made time.Time, err error) {
	in := bufio.NewReader(r)
	zr, err := gzip.NewReader(in)
	if err != nil {
		return made, w.errorf(-1, "control.tar.gz: %w", err)
	}
	zr.Multistream(false)
	// A walker of its own: the control files' names are not the payload's.
	c := newWalker(w.file, w.r, w.size)
	c.format = w.format
	found := false
	limited := &io.LimitedReader{R: zr, N: maxControl}
	err = c.tar(limited, true, func(name string, r io.Reader) (bool, error) {
		if name == "control" {
			found, made = true, c.modTime
		}
		_, err := io.Copy(io.Discard, r)
		return true, err
	})
	if err != nil {
		return made, err
	}
	if err := onlyZeros(limited, maxPadding); err != nil {
		return made, w.errorf(-1, "control.tar.gz: after its end: %w", err)
	}
	if limited.N == 0 {
		return made, w.errorf(-1, "control.tar.gz: more than %d bytes", maxControl)
	}
	if _, err := in.ReadByte(); err != io.EOF {
		return made, w.errorf(-1, "control.tar.gz: %w", trailing(err))
	}
	if !found {
		return made, w.errorf(-1, "control.tar.gz has no control file")
	}
	return made, nil
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
		out = w.inflated(zr)
	case "data.tar.gz":
		zr, err := gzip.NewReader(in)
		if err != nil {
			return w.errorf(-1, "%s: %w", name, err)
		}
		zr.Multistream(false)
		out = w.inflated(zr)
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
