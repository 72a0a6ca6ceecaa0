package compat

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// An Alpine package of version 2 is two or three gzip members after each other,
// each of which is a piece of a tar archive:
//
//	signature   .SIGN.RSA.KEYNAME (PKCS #1 v1.5, SHA-1) or .SIGN.RSA256.KEYNAME
//	            (SHA-256), over the control member as it is compressed; may lack
//	control     .PKGINFO, whose line "datahash = …" is the SHA-256 of the data
//	            member as it is compressed, in hexadecimal; and scripts
//	data        the files
type apkParts struct {
	name      string // of the signature
	signature []byte // nil: there is none
	hash      string // of the signature: "sha1" or "sha256"
	control   int64  // offset
	data      int64  // offset; it ends with the file
	datahash  string
}

// maxSegment bounds the uncompressed signature and control segments: .PKGINFO
// and scripts are some KB.
const maxSegment = 8 << 20

// readAPK finds the parts of an Alpine package of the given size.
func readAPK(r io.ReaderAt, size int64) (apkParts, error) {
	var p apkParts
	first, end, err := apkSegment(r, 0, size)
	if err != nil {
		return p, err
	}
	for name, content := range first {
		if hash, ok := map[bool]string{strings.HasPrefix(name, ".SIGN.RSA."): "sha1", strings.HasPrefix(name, ".SIGN.RSA256."): "sha256"}[true]; ok {
			if p.signature != nil {
				return p, errors.New("there is more than one signature")
			}
			p.name, p.signature, p.hash, p.control = name, content, hash, end
		}
	}
	control := first
	if p.signature != nil {
		if control, end, err = apkSegment(r, p.control, size); err != nil {
			return p, err
		}
	}
	info, ok := control[".PKGINFO"]
	if !ok {
		return p, fmt.Errorf("the segment at offset %d has no .PKGINFO", p.control)
	}
	m := regexp.MustCompile(`(?m)^datahash = ([0-9a-f]{64})$`).FindAllSubmatch(info, -1)
	if len(m) != 1 {
		return p, fmt.Errorf(".PKGINFO has %d data hashes, not one", len(m))
	}
	p.data, p.datahash = end, string(m[0][1])
	return p, nil
}

// apkSegment reads the gzip member at an offset: the files in it, and where it
// ends.
func apkSegment(r io.ReaderAt, offset, size int64) (map[string][]byte, int64, error) {
	counted := &countingReader{r: io.NewSectionReader(r, offset, size-offset)}
	in := bufio.NewReader(counted)
	z, err := gzip.NewReader(in)
	if err != nil {
		return nil, 0, fmt.Errorf("the segment at offset %d: %w", offset, err)
	}
	z.Multistream(false)
	limited := &io.LimitedReader{R: z, N: maxSegment}
	files := map[string][]byte{}
	for t := tar.NewReader(limited); ; {
		h, err := t.Next()
		// The pieces but the last have no end of a tar archive.
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, 0, fmt.Errorf("the segment at offset %d: %w", offset, err)
		}
		if _, twice := files[h.Name]; twice {
			return nil, 0, fmt.Errorf("the segment at offset %d: %s is there twice", offset, h.Name)
		}
		if files[h.Name], err = io.ReadAll(t); err != nil {
			return nil, 0, fmt.Errorf("the segment at offset %d: %w", offset, err)
		}
	}
	if _, err := io.Copy(io.Discard, limited); err != nil {
		return nil, 0, fmt.Errorf("the segment at offset %d: %w", offset, err)
	}
	if limited.N == 0 {
		return nil, 0, fmt.Errorf("the segment at offset %d has more than %d bytes", offset, maxSegment)
	}
	return files, offset + counted.n - int64(in.Buffered()), nil
}

// countingReader counts what is read.
type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}
