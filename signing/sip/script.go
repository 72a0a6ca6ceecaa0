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
type script struct {
	style     style
	wide      bool   // UTF-16LE
	text      []byte // as it is in the file
	signature []byte
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
	case !s.wide && !utf8.Valid(b):
		return nil, malformedScript("the text is neither UTF-8 nor UTF-16: save it as UTF-8 with a byte order mark")
	case !s.wide && !bytes.HasPrefix(b, []byte(markUTF8)) && strings.ContainsFunc(string(b), func(r rune) bool { return r >= utf8.RuneSelf }):
		return nil, malformedScript("the text is not ASCII and has no byte order mark, so Windows PowerShell would read something else: save it as UTF-8 with a byte order mark")
	}
	return s, s.split()
}

// split takes the signature block off the text.
func (s *script) split() error {
	begin, end := s.encode("\r\n"+s.line("SIG # Begin signature block")), s.encode(s.line("SIG # End signature block"))
	i := bytes.Index(s.text, begin)
	if i < 0 || s.wide && i%2 != 0 {
		return nil
	}
	block := s.text[i+len(begin):]
	if !bytes.HasSuffix(block, end) {
		return malformedScript("the signature block does not end the file")
	}
	var encoded strings.Builder
	for line := range strings.Lines(s.decode(block[:len(block)-len(end)])) {
		inner, ok := strings.CutPrefix(line, s.style.open)
		inner, ok2 := strings.CutSuffix(inner, s.style.close+"\r\n")
		if !ok || !ok2 {
			return malformedScript("%q is no line of a signature block", line)
		}
		encoded.WriteString(inner)
	}
	der, err := base64.StdEncoding.Strict().DecodeString(encoded.String())
	if err != nil || len(der) > maxSignature {
		return malformedScript("the signature block is not base64")
	}
	text := s.text[:i]
	// One block has one form: what could be written in two would not be covered.
	if !bytes.Equal(append(bytes.Clone(text), s.block(der)...), s.text) {
		return malformedScript("the signature block is not in lines of %d characters", base64Line)
	}
	s.text, s.signature = text, der
	return nil
}

func (s *script) line(inner string) string { return s.style.open + inner + s.style.close + "\r\n" }

// block returns a signature block in the encoding of the text.
func (s *script) block(der []byte) []byte {
	var b strings.Builder
	b.WriteString("\r\n" + s.line("SIG # Begin signature block"))
	encoded := base64.StdEncoding.EncodeToString(der)
	for len(encoded) > 0 {
		n := min(len(encoded), base64Line)
		b.WriteString(s.line(encoded[:n]))
		encoded = encoded[n:]
	}
	b.WriteString(s.line("SIG # End signature block"))
	return s.encode(b.String())
}

func (s *script) encode(text string) []byte {
	if s.wide {
		return utf16LE(text)
	}
	return []byte(text)
}

func (s *script) decode(b []byte) string {
	if !s.wide {
		return string(b)
	}
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = uint16(b[2*i]) | uint16(b[2*i+1])<<8
	}
	return string(utf16.Decode(units))
}

func (*script) Hash() crypto.Hash { return 0 }

func (*script) Format() string { return formatScript }

func (*script) Data() (asn1.ObjectIdentifier, []byte) {
	return oidSpcSipInfo, sipInfo(0x10000, scriptGUID)
}

func (s *script) Signature() []byte { return s.signature }

func (s *script) Digest(h crypto.Hash) ([]byte, error) {
	d := h.New()
	if s.wide {
		d.Write(s.text)
	} else {
		d.Write(utf16LE(string(s.text)))
	}
	return d.Sum(nil), nil
}

func (s *script) Sign(dst *os.File, h crypto.Hash, by Signer) error {
	digest, err := s.Digest(h)
	if err != nil {
		return err
	}
	der, err := by.SignDigest(digest)
	if err != nil {
		return err
	}
	_, err = dst.Write(append(bytes.Clone(s.text), s.block(der)...))
	return err
}
