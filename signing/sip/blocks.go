package sip

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
)

// lineKind is what a line of a script means to its signature.
type lineKind int

const (
	lineText    lineKind = iota
	lineBlank            // white space alone
	lineComment          // begins as a comment of the script's style
	lineBegin            // the first line of a signature block, in any style of comment
	lineEnd              // the last line of one
)

const (
	beginMarker = "SIG # Begin signature block"
	endMarker   = "SIG # End signature block"
)

// maxMarker is how long a line with a marker may be, in characters. The lines of
// ours have at most 72.
const maxMarker = 256

// scriptLine is a line of a script, without and with its line end.
type scriptLine struct {
	start, end, next int // offsets
	number           int // from 1
	kind             lineKind
}

// lines calls yield with each line of the text. Line ends are CR LF, LF, or CR.
func (s *script) lines(yield func(scriptLine)) {
	unit := 1
	if s.wide {
		unit = 2
	}
	is := func(at int, c byte) bool {
		return at+unit <= len(s.text) && s.text[at] == c && (unit == 1 || s.text[at+1] == 0)
	}
	for at, number := 0, 1; at < len(s.text); number++ {
		end := at
		for end < len(s.text) && !is(end, '\r') && !is(end, '\n') {
			end += unit
		}
		next := min(end+unit, len(s.text))
		if is(end, '\r') && is(next, '\n') {
			next += unit
		}
		yield(scriptLine{at, end, next, number, s.kindOf(s.text[at:end], unit)})
		at = next
	}
}

// kindOf tells what a line is. Markers are recognised in any letter case, spacing
// and style of comment, so that a block which an editor has changed is found.
func (s *script) kindOf(line []byte, unit int) lineKind {
	if len(line) > maxMarker*unit {
		return lineText
	}
	text := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(s.decode(line)), "\ufeff"))
	if text == "" {
		return lineBlank
	}
	if len(text) > len(endMarker) {
		switch words := strings.Join(strings.Fields(strings.Trim(text, " \t#/*<!->'")), " "); {
		case strings.EqualFold(words, beginMarker):
			return lineBegin
		case strings.EqualFold(words, endMarker):
			return lineEnd
		}
	}
	if strings.HasPrefix(text, strings.TrimSpace(s.style.open)) {
		return lineComment
	}
	return lineText
}

// split takes the signature blocks off the text. A block that is not in the one form
// that [script.block] gives it is broken: what could be written in two ways would not
// be covered, and PowerShell refuses it or sees no signature at all.
func (s *script) split() {
	var begin, end scriptLine      // the first markers
	var begins, ends int           // how many there are
	var follows, inside scriptLine // the first line of text behind an end, and between begin and end
	var last scriptLine            // the line before the first marker
	s.lines(func(l scriptLine) {
		switch open := begins > ends; {
		case l.kind == lineBegin:
			if begins++; begins == 1 {
				begin = l
			}
		case l.kind == lineEnd:
			if ends++; ends == 1 {
				end = l
			}
		case begins == 0:
			last = l
		case open && l.kind == lineText && inside.number == 0:
			inside = l
		case !open && l.kind != lineBlank && follows.number == 0:
			follows = l
		}
	})
	if begins == 0 && ends == 0 {
		return
	}
	tampered := func(format string, args ...any) error {
		return &TamperedError{formatScript, fmt.Sprintf(format, args...)}
	}
	if begins == 0 || ends > 0 && end.start < begin.start {
		s.broken = tampered("a signature block ends in line %d that begins nowhere", end.number)
		s.whole = malformedScript("a signature block ends in line %d that begins nowhere: delete it", end.number)
		return
	}
	file, text := s.text, s.text[:begin.start]
	if last.number > 0 && last.next == begin.start {
		text = s.text[:last.end] // without the line end that belongs to the block
	}
	s.signature, s.text = s.parse(file[begin.start:]), text
	switch {
	case begins > 1:
		s.broken = tampered("there are %d signature blocks: sign the file again, which leaves one", begins)
	case follows.number > 0:
		s.broken = tampered("text follows the signature block in line %d", follows.number)
	case s.signature == nil || !bytes.Equal(file[len(text):], s.block(s.signature)):
		s.broken = tampered("the signature block in line %d was changed after signing: its line ends, its base64, or the lines around it, as git and editors do; sign the file again", begin.number)
	}
	if s.broken != nil {
		s.signature = nil
	}
	switch {
	case follows.number > 0:
		s.whole = malformedScript("text follows the signature block in line %d: move it above the block, or delete it", follows.number)
	case inside.number > 0:
		s.whole = malformedScript("line %d stands in the signature block and does not belong to it: move it above the block, or delete it", inside.number)
	}
}

// parse returns the signature in a block; nil if it is in none of the forms that
// can be read.
func (s *script) parse(block []byte) []byte {
	if len(block) > 4*maxSignature {
		return nil
	}
	var encoded strings.Builder
	for line := range strings.Lines(s.decode(block)) {
		inner, ok := strings.CutPrefix(line, s.style.open)
		inner, ok2 := strings.CutSuffix(inner, s.style.close+"\r\n")
		if !ok || !ok2 {
			return nil
		}
		if !strings.HasPrefix(inner, "SIG # ") {
			encoded.WriteString(inner)
		}
	}
	der, err := base64.StdEncoding.Strict().DecodeString(encoded.String())
	if err != nil || len(der) == 0 || len(der) > maxSignature {
		return nil
	}
	return der
}
