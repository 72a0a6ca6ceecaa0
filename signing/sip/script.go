package sip

import (
	"bytes"
	"crypto"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// PowerShell keeps the signature of a file in comments at its end (about_Signing):
//
//	text, CR LF
//	# SIG # Begin signature block, CR LF
//	# base64 of the signature, 64 characters a line, CR LF
//	# SIG # End signature block, CR LF
//
// In XML files a line is <!-- … -->, in MOF files /* … */. The digest is over
// the text in UTF-16LE, with its byte order mark if it has one. A text without
// mark is refused if it is not ASCII: Windows PowerShell reads it in the code
// page of the machine, so that its digest would depend on that.
//
// One block has one form, and only blanks or further blocks may follow what can be
// replaced: see blocks.go.
type script struct {
	style     style
	wide      bool   // UTF-16LE
	text      []byte // as it is in the file, without the signature
	signature []byte
	broken    error // of a signature block in another form
	whole     error // why the text cannot be told from broken signature blocks
}

type style struct{ open, close string }

var styles = map[string]style{
	".ps1": {"# ", ""}, ".psm1": {"# ", ""}, ".psd1": {"# ", ""},
	".ps1xml": {"<!-- ", " -->"}, ".psc1": {"<!-- ", " -->"}, ".cdxml": {"<!-- ", " -->"},
	".mof": {"/* ", " */"},
}

const (
	formatScript = "PowerShell"
	scriptGUID   = "\x1f\xcc\x3b\x60\x59\x4b\x08\x4e\xb7\x24\xd2\xc6\x29\x7e\xf3\x51"
	maxScript    = 16 << 20
	minScript    = 4
	markUTF8     = "\xef\xbb\xbf"
	markUTF16    = "\xff\xfe"
	base64Line   = 64
)

func malformedScript(format string, args ...any) error {
	return &FormatError{Format: formatScript, Detail: fmt.Sprintf(format, args...)}
}

func openScript(r io.ReaderAt, size int64, st style) (Subject, error) {
	if size > maxScript {
		return nil, malformedScript("%d bytes; scripts of up to %d are signed", size, maxScript)
	}
	b := make([]byte, size)
	if err := readFull(r, b, 0, size); err != nil {
		return nil, err
	}
	s := &script{style: st, wide: bytes.HasPrefix(b, []byte(markUTF16)), text: b}
	switch {
	case bytes.HasPrefix(b, []byte("\xfe\xff")):
		return nil, malformedScript("the text is big-endian UTF-16: save it as UTF-8 with a byte order mark")
	case s.wide && len(b)%2 != 0:
		return nil, malformedScript("the text is UTF-16 with an odd number of bytes")
	case s.hasNUL(b):
		return nil, malformedScript("the text holds NUL characters: it is binary, or UTF-16 without a byte order mark; save it as UTF-8 with a byte order mark")
	case !s.wide && !utf8.Valid(b):
		return nil, malformedScript("the text is neither UTF-8 nor UTF-16: save it as UTF-8 with a byte order mark")
	case !s.wide && !bytes.HasPrefix(b, []byte(markUTF8)) && strings.ContainsFunc(string(b), func(r rune) bool { return r >= utf8.RuneSelf }):
		return nil, malformedScript("the text is not ASCII and has no byte order mark, so Windows PowerShell would read something else: save it as UTF-8 with a byte order mark")
	}
	s.split()
	return s, nil
}

// hasNUL reports whether a text holds the character 0.
func (s *script) hasNUL(b []byte) bool {
	if !s.wide {
		return bytes.IndexByte(b, 0) >= 0
	}
	for i := 0; i+1 < len(b); i += 2 {
		if b[i] == 0 && b[i+1] == 0 {
			return true
		}
	}
	return false
}

func (s *script) line(inner string) string { return s.style.open + inner + s.style.close + "\r\n" }

// block returns a signature block in the encoding of the text.
func (s *script) block(der []byte) []byte {
	var b strings.Builder
	b.WriteString("\r\n" + s.line(beginMarker))
	encoded := base64.StdEncoding.EncodeToString(der)
	for len(encoded) > 0 {
		n := min(len(encoded), base64Line)
		b.WriteString(s.line(encoded[:n]))
		encoded = encoded[n:]
	}
	b.WriteString(s.line(endMarker))
	return s.encode(b.String())
}

func (s *script) encode(text string) []byte {
	if s.wide {
		return utf16LE(text)
	}
	return []byte(text)
}

func (s *script) decode(b []byte) string {
	if s.wide {
		return decodeUTF16LE(b)
	}
	return string(b)
}

func (*script) Hash() crypto.Hash { return 0 }

func (*script) Format() string { return formatScript }

func (*script) Data() (asn1.ObjectIdentifier, []byte) {
	return oidSpcSipInfo, sipInfo(0x10000, scriptGUID)
}

func (s *script) Signature() ([]byte, error) { return s.signature, s.broken }

func (s *script) Digest(h crypto.Hash) ([]byte, error) {
	d := h.New()
	if s.wide {
		d.Write(s.text)
		return d.Sum(nil), nil
	}
	b := make([]byte, 0, 1<<12)
	for rest := s.text; len(rest) > 0; {
		r, n := utf8.DecodeRune(rest)
		rest = rest[n:]
		if r > 0xffff {
			var high rune
			high, r = utf16.EncodeRune(r)
			b = append(b, byte(high), byte(high>>8))
		}
		b = append(b, byte(r), byte(r>>8))
		if len(b)+4 > cap(b) || len(rest) == 0 {
			d.Write(b)
			b = b[:0]
		}
	}
	return d.Sum(nil), nil
}

// Sign implements [Subject]. Broken signature blocks are replaced, too.
func (s *script) Sign(dst *os.File, h crypto.Hash, by Signer) error {
	if s.whole != nil {
		return s.whole
	}
	text := bytes.TrimPrefix(bytes.TrimPrefix(s.text, []byte(markUTF8)), []byte(markUTF16))
	if len(text) < minScript {
		return malformedScript("there is nothing to sign: the text has %d bytes, and PowerShell signs none of fewer than %d", len(text), minScript)
	}
	digest, err := s.Digest(h)
	if err != nil {
		return err
	}
	der, err := by.SignDigest(digest)
	if err != nil {
		return err
	}
	if _, err := dst.Write(s.text); err != nil {
		return err
	}
	_, err = dst.Write(s.block(der))
	return err
}

// Unsign implements [Unsigner].
func (s *script) Unsign(dst io.Writer) error {
	if s.whole != nil {
		return s.whole
	}
	_, err := dst.Write(s.text)
	return err
}
