package dist

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Limits of what Walk reads. A release holds a few files of some megabytes: these stop a crafted archive from filling
// memory or running for hours, and are far above what a release needs.
const (
	maxEntries = 100_000  // names are remembered to refuse duplicates: some megabytes at most
	maxName    = 4096     // PATH_MAX of Linux
	maxTotal   = 16 << 30 // unpacked bytes of all entries
	maxSmall   = 1 << 30  // unpacked bytes that any file may have, however small: some seconds of decompression
	maxRatio   = 200      // unpacked bytes for each byte of the file, above that; programs reach 10, texts 30
	maxWindow  = 64 << 20 // zstd window and memory: level 19 uses 8 MiB, --long=26 has 64 MiB
	maxHeader  = 32 << 20 // an rpm header, held in memory: some 300 bytes for each of a hundred thousand files
	maxTags    = 0xffff   // entries of an rpm header: rpm's own limit
	maxControl = 16 << 20 // control.tar of a deb: md5sums of a hundred thousand files
	maxPadding = 1 << 20  // zeros after a tar's end: tar pads to its blocking factor, 10 KiB by default
	maxPkgInfo = 1 << 20  // .PKGINFO of apk and archlinux: some lines
)

// FormatError says that a file is not a well-formed archive of its kind, or a damaged one.
type FormatError struct {
	File   string
	Format string // "zip", "tar.gz", …; "" when the kind itself is unknown
	Offset int64  // in the file, of the structure that is wrong; -1 where only decompressed data has a position
	Err    error
}

func (e *FormatError) Error() string {
	format := e.Format
	if format == "" {
		format = "archive"
	}
	if e.Offset < 0 {
		return fmt.Sprintf("%s: malformed %s: %v", e.File, format, e.Err)
	}
	return fmt.Sprintf("%s: malformed %s at offset %d: %v", e.File, format, e.Offset, e.Err)
}

func (e *FormatError) Unwrap() error { return e.Err }

// Walk reads a zip, tar.gz, deb, rpm, apk or archlinux package from its beginning to its end and calls fn for every
// regular file of its payload, with a clean relative slash path ("usr/bin/notes"), the permission bits and the
// content. What fn leaves unread is read and checked all the same; an error of fn ends the walk and is returned as it is.
//
// Walk is strict: links, devices, duplicate names, names that leave the folder, checksums that do not match, bytes
// after the end, and headers that say two things are a *FormatError. fn sees a file before the checksums behind it are
// known: trust what it was given only when Walk returns nil. Memory does not grow with the size of the files.
func Walk(file string, fn func(name string, mode fs.FileMode, r io.Reader) error) error {
	f, info, err := openRegular(file)
	if err != nil {
		return err
	}
	defer f.Close()
	return walk(file, f, info.Size(), fn)
}

type visitor = func(name string, mode fs.FileMode, r io.Reader) error

func walk(file string, r io.ReaderAt, size int64, fn visitor) error {
	magic := make([]byte, 8)
	n, err := r.ReadAt(magic, 0)
	if err != nil && err != io.EOF {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	magic = magic[:n]
	w := newWalker(file, r, size)
	w.fn = fn
	switch {
	case bytes.HasPrefix(magic, []byte("PK\x03\x04")):
		w.format, w.names.fold = Zip, true
		err = w.zip()
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		err = w.gzip()
	case bytes.HasPrefix(magic, []byte("!<arch>\n")):
		w.format, err = Deb, w.deb()
	case bytes.HasPrefix(magic, []byte{0xed, 0xab, 0xee, 0xdb}):
		w.format, err = RPM, w.rpm()
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		w.format, err = ArchLinux, w.archLinux()
	default:
		err = w.errorf(0, "neither zip, tar.gz, deb, rpm, apk nor archlinux package")
	}
	if w.fnErr != nil {
		return w.fnErr
	}
	if err != nil {
		var fe *FormatError
		if !errors.As(err, &fe) {
			return &FormatError{File: file, Format: w.format, Offset: -1, Err: err}
		}
	}
	return err
}

// walker is one walk over one file.
type walker struct {
	file, format string
	r            io.ReaderAt
	size         int64
	fn           visitor
	fnErr        error // what fn returned, kept apart from what is wrong with the file
	names        *nameSet
	total        int64     // unpacked bytes of the entries so far
	limit        int64     // of total
	modTime      time.Time // of the tar entry at hand
}

func newWalker(file string, r io.ReaderAt, size int64) *walker {
	return &walker{file: file, r: r, size: size, names: newNameSet(false), limit: unpackLimit(size)}
}

// unpackLimit is how many bytes a file of a size may unpack to.
func unpackLimit(size int64) int64 {
	if size > maxTotal/maxRatio {
		return maxTotal
	}
	return max(maxSmall, maxRatio*size)
}

// inflated is what a decompressor gives out, as far as the file may unpack to: entries and all that is around them.
func (w *walker) inflated(r io.Reader) io.Reader {
	const headers = 2048 // of tar and cpio, for each entry
	return &budgetReader{r: r, left: w.limit + maxEntries*headers + maxPadding}
}

// budgetReader fails where more is read than its budget.
type budgetReader struct {
	r    io.Reader
	left int64
}

func (b *budgetReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errors.New("it unpacks to more than a file of its size may")
	}
	return n, err
}

func (w *walker) errorf(offset int64, format string, args ...any) error {
	return &FormatError{File: w.file, Format: w.format, Offset: offset, Err: fmt.Errorf(format, args...)}
}

// section is the part of the file from offset to its end.
func (w *walker) section(offset int64) *io.SectionReader {
	return io.NewSectionReader(w.r, offset, w.size-offset)
}

// enter checks an entry's name and size; name has no leading "/" or "./".
func (w *walker) enter(name string, folder bool, size int64) error {
	check := checkName
	if w.format == Zip {
		check = checkZipName
	}
	if err := check(name); err != nil {
		return err
	}
	if err := w.names.add(name, folder); err != nil {
		return err
	}
	if size < 0 || size > w.limit-w.total {
		return fmt.Errorf("%q: more than %d bytes unpacked, which is the limit for a file of %d bytes", name, w.limit, w.size)
	}
	w.total += size
	return nil
}

// visit hands one entry to fn, then reads what fn left of it, so that checksums are compared and sizes known.
func (w *walker) visit(name string, mode fs.FileMode, size int64, r io.Reader) error {
	// One byte more than said is enough to know that it is too long, however long it would go on.
	counted := &countReader{r: io.LimitReader(r, size+1)}
	if err := w.fn(name, mode.Perm(), counted); err != nil {
		// A reading error that fn passes on is the file's, not fn's.
		if counted.err != nil && errors.Is(err, counted.err) {
			return fmt.Errorf("%q: %w", name, counted.err)
		}
		w.fnErr = err
		return err
	}
	if _, err := io.Copy(io.Discard, counted); err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	if counted.n != size {
		return fmt.Errorf("%q: %d bytes, not the %d that its header says", name, counted.n, size)
	}
	return nil
}

type countReader struct {
	r   io.Reader
	n   int64
	err error // other than io.EOF
}

func (c *countReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if err != nil && err != io.EOF {
		c.err = err
	}
	return n, err
}

// gzip reads a tar.gz or an apk: which one, the first entry's name says.
func (w *walker) gzip() error {
	w.format = TarGz
	in := bufio.NewReaderSize(w.section(0), bufferSize)
	zr, err := gzip.NewReader(in)
	if err != nil {
		return w.errorf(0, "%w", err)
	}
	zr.Multistream(false)
	out := bufio.NewReaderSize(w.inflated(zr), bufferSize)
	name, err := out.Peek(100)
	if err != nil && err != io.EOF {
		return w.errorf(0, "%w", err)
	}
	if isAPK(name) {
		w.format = APK
		return w.apk()
	}
	if err := w.tar(out, true, nil); err != nil {
		return err
	}
	if err := onlyZeros(out, maxPadding); err != nil {
		return w.errorf(-1, "after the end of the tar: %w", err)
	}
	if _, err := in.ReadByte(); err != io.EOF {
		return w.errorf(w.size, "bytes after the end of the gzip member: %w", trailing(err))
	}
	return nil
}

func trailing(err error) error {
	if err == nil {
		return errors.New("trailing data")
	}
	return err
}

// tar reads a tar to its end and visits its regular files. Those that meta takes are not part of the payload. With
// ends, the two zero blocks that end an archive must be there.
func (w *walker) tar(r io.Reader, ends bool, meta func(name string, r io.Reader) (bool, error)) error {
	tail := &tailReader{r: r}
	tr := tar.NewReader(tail)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			if ends && !tail.zeroBlocks() {
				return w.errorf(-1, "the tar ends without its two zero blocks: it was cut off")
			}
			return nil
		}
		if err != nil {
			return w.errorf(-1, "%w", err)
		}
		name := strings.TrimPrefix(h.Name, "./")
		w.modTime = h.ModTime
		switch h.Typeflag {
		case tar.TypeDir:
			name = strings.TrimSuffix(name, "/")
			if name == "" || name == "." {
				continue
			}
			if err := w.enter(name, true, 0); err != nil {
				return w.errorf(-1, "%w", err)
			}
			continue
		case tar.TypeReg:
		default:
			return w.errorf(-1, "%q is a link, a device or another special entry (type %q)", name, h.Typeflag)
		}
		if err := w.enter(name, false, h.Size); err != nil {
			return w.errorf(-1, "%w", err)
		}
		if meta != nil {
			taken, err := meta(name, tr)
			if err != nil {
				return w.errorf(-1, "%q: %w", name, err)
			}
			if taken {
				continue
			}
		}
		if err := w.visit(name, fs.FileMode(h.Mode).Perm(), h.Size, tr); err != nil {
			return err
		}
	}
}

// tailReader knows whether the last 1024 bytes that were read are zero.
type tailReader struct {
	r     io.Reader
	zeros int
}

func (t *tailReader) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if trimmed := bytes.TrimRight(p[:n], "\x00"); len(trimmed) > 0 {
		t.zeros = n - len(trimmed)
	} else {
		t.zeros = min(t.zeros+n, 1<<20)
	}
	return n, err
}

func (t *tailReader) zeroBlocks() bool { return t.zeros >= 1024 }

// onlyZeros reads r to its end, which must come within limit bytes, all zero.
func onlyZeros(r io.Reader, limit int64) error {
	buf := make([]byte, 4096)
	var n int64
	for {
		k, err := r.Read(buf)
		if len(bytes.TrimLeft(buf[:k], "\x00")) > 0 {
			return errors.New("trailing data")
		}
		if n += int64(k); n > limit {
			return fmt.Errorf("more than %d bytes of padding", limit)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func newZstd(r io.Reader) (*zstd.Decoder, error) {
	return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
}

// archLinux reads a pkg.tar.zst.
func (w *walker) archLinux() error {
	zr, err := newZstd(w.section(0))
	if err != nil {
		return w.errorf(0, "%w", err)
	}
	defer zr.Close()
	out := w.inflated(zr)
	found := false
	err = w.tar(out, true, func(name string, r io.Reader) (bool, error) {
		switch name {
		case ".PKGINFO":
			found = true
			return true, nil
		case ".MTREE", ".INSTALL", ".BUILDINFO", ".CHANGELOG":
			return true, nil
		}
		return false, nil
	})
	if err != nil {
		return err
	}
	if err := onlyZeros(out, maxPadding); err != nil {
		return w.errorf(-1, "after the end of the tar: %w", err)
	}
	if !found {
		return w.errorf(-1, "no .PKGINFO: not an archlinux package")
	}
	return nil
}
