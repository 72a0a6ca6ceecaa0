package key

import (
	"bytes"
	"encoding/pem"
	"fmt"
)

// A Block is a PEM block (RFC 7468) and the line of the file that begins it.
type Block struct {
	*pem.Block
	Line int // from 1
}

// A BlockError says which PEM block of a text cannot be read.
type BlockError struct {
	Line int // of its beginning; 0 if the whole text is meant
	What string
	Hint string // what to do; may be empty
}

func (e *BlockError) Error() string {
	where := ""
	if e.Line > 0 {
		where = fmt.Sprintf("the PEM block that begins at line %d ", e.Line)
	}
	if e.Hint == "" {
		return where + e.What
	}
	return where + e.What + ": " + e.Hint
}

// Blocks returns all PEM blocks of a text. Text between blocks is ignored (RFC
// 7468 section 2), and so are a byte order mark, indentation and carriage
// returns. But each block that is begun must be whole: encoding/pem skips what
// it cannot read, which would shorten a list of certificates silently.
//
// OpenSSL's TRUSTED CERTIFICATE, a certificate with restrictions that nobody
// else reads, is an error, as is a text in UTF-16.
func Blocks(data []byte) ([]Block, error) {
	if bytes.HasPrefix(data, []byte{0xff, 0xfe}) || bytes.HasPrefix(data, []byte{0xfe, 0xff}) {
		return nil, &BlockError{What: "it is text in UTF-16", Hint: "save it as UTF-8"}
	}
	text := plainLines(data)
	defer clear(text)
	var blocks []Block
	for rest := text; ; {
		begun := beginning(rest)
		if begun < 0 {
			return blocks, nil
		}
		line := 1 + bytes.Count(text[:len(text)-len(rest)+begun], []byte("\n"))
		block, after := pem.Decode(rest)
		if block == nil || bytes.Count(rest[begun:len(rest)-len(after)], []byte("-----BEGIN ")) != 1 {
			return nil, &BlockError{Line: line, What: "is damaged", Hint: "export it again"}
		}
		if block.Type == "TRUSTED CERTIFICATE" {
			return nil, &BlockError{Line: line, What: "is a TRUSTED CERTIFICATE, a form of OpenSSL's own", Hint: "convert it: openssl x509 -in FILE -out NEW"}
		}
		blocks = append(blocks, Block{block, line})
		rest = after
	}
}

// plainLines returns a copy of a text without a byte order mark, the blanks at
// the ends of lines, and carriage returns. The number of lines stays.
func plainLines(data []byte) []byte {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	text := make([]byte, 0, len(data)+1)
	for line := range bytes.Lines(data) {
		text = append(append(text, bytes.Trim(line, " \t\r\n")...), '\n')
	}
	return text
}

// beginning is the offset of the first line that begins a PEM block, or -1.
func beginning(data []byte) int {
	marker := []byte("-----BEGIN ")
	if bytes.HasPrefix(data, marker) {
		return 0
	}
	if i := bytes.Index(data, append([]byte("\n"), marker...)); i >= 0 {
		return i + 1
	}
	return -1
}
