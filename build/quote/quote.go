// Package quote makes text that comes from elsewhere safe to show.
//
// Names, descriptions and messages that come from a file, a server or another
// program may hold anything: sequences that a terminal obeys, line breaks after
// which a line of our own is imitated, characters that cannot be seen or that
// turn the direction of writing, commands to a CI system, markup. They stay as
// they are in memory and in records, and are quoted where they are shown:
//
//   - [Text] makes one line for a terminal or a log, [Block] and [Lines] several;
//   - [Fprintf] and [Sprintf] are those of fmt, with [Text] applied to every operand;
//   - [Writer] is the last line of defence of a stream that is written as a whole;
//   - [JSON] is for an encoded document, [Markdown] and [Markdownf] are for a part of
//     a line, [CodeBlock] is for what stands on its own in a Markdown page, [HTML] for a finished page.
//
// A character that is not shown as it is, is written as in a Go string: \n,
// \x1b, \u202e. Text without such characters is not changed. To quote twice is
// to quote once.
//
// # What is not shown as it is
//
//   - control characters: C0, DEL, C1 (U+0080 to U+009F)
//   - bytes that are not UTF-8
//   - format characters (category Cf): those of direction, of zero width, tags, the soft hyphen, the byte order mark
//   - what fonts show as nothing: variation selectors, fillers, other ignorable characters
//   - separators of lines and paragraphs (U+2028, U+2029)
//   - characters for private use, surrogates, and those that are not assigned
//   - more than 32 blanks in a row, by which a line can be made to wrap at will
//   - commands to a CI system: ::NAME:: at the beginning of a line (GitHub),
//     ##[NAME] (GitHub, Azure), ##vso[ (Azure), ##teamcity[ anywhere in it
package quote

import (
	"bytes"
	"fmt"
	"html"
	"io"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of what is shown of one value. A page of text is shown whole.
const (
	maxText   = 4 << 10 // bytes of one line
	maxBlanks = 32      // in a row
)

// later begins the lines of a block after its first, so that none of them can
// be taken for a line of our own.
const later = "  | "

// isPlain reports whether a character is shown as it is.
func isPlain(r rune) bool {
	if r < utf8.RuneSelf {
		return ' ' <= r && r < 0x7f
	}
	return unicode.IsGraphic(r) && !unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// ciCommand matches what CI systems obey anywhere in a line.
var ciCommand = regexp.MustCompile(`(?i)##(?:\[|vso\[|teamcity\[)`)

// Text returns s as one line, at most 4 KiB of it.
func Text(s string) string {
	if len(s) > maxText {
		end := maxText
		for end > maxText-utf8.UTFMax && !utf8.RuneStart(s[end]) {
			end--
		}
		return Text(s[:end]) + fmt.Sprintf("… (%d bytes more)", len(s)-end)
	}
	return withoutGaps(line(s, ""))
}

// gap matches more blanks than any text needs.
var gap = regexp.MustCompile(fmt.Sprintf(` {%d,}`, maxBlanks+1))

// withoutGaps shortens what makes a line wrap.
func withoutGaps(s string) string {
	return gap.ReplaceAllStringFunc(s, func(blanks string) string {
		return fmt.Sprintf(`%s\x20{%d}`, blanks[:maxBlanks], len(blanks)-maxBlanks)
	})
}

// line returns what stands from the beginning of a line. What is in keep is
// shown as it is.
func line(s, keep string) string {
	s = within(s, keep)
	if at := strings.TrimLeftFunc(s, unicode.IsSpace); strings.HasPrefix(at, "::") {
		s = s[:len(s)-len(at)] + `\x3a` + at[1:]
	}
	return s
}

// within returns what stands somewhere in a line.
func within(s, keep string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case isPlain(r) || strings.ContainsRune(keep, r):
			b.WriteString(s[i : i+n])
		default:
			b.WriteString(escape(r))
		}
		i += n
	}
	return ciCommand.ReplaceAllStringFunc(b.String(), func(command string) string { return `\x23` + command[1:] })
}

// escape writes a character as in a Go string.
func escape(r rune) string {
	switch {
	case r == '\n':
		return `\n`
	case r == '\r':
		return `\r`
	case r == '\t':
		return `\t`
	case r < utf8.RuneSelf:
		return fmt.Sprintf(`\x%02x`, r)
	case r <= 0xffff:
		return fmt.Sprintf(`\u%04x`, r)
	}
	return fmt.Sprintf(`\U%08x`, r)
}

// Block returns s with its lines. The lines after the first are marked, so that
// a value cannot begin a line that looks like one of ours.
func Block(s string) string {
	lines := strings.Split(Lines(s), "\n")
	for i := range lines {
		lines[i] = withoutGaps(lines[i])
		if i > 0 && !strings.HasPrefix(lines[i], later) {
			lines[i] = later + lines[i]
		}
	}
	return strings.Join(lines, "\n")
}

// Lines returns s with its lines as they are, each quoted: for where nothing of
// our own can follow, like an indented block of code.
func Lines(s string) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	for i, l := range lines {
		lines[i] = line(strings.TrimSuffix(l, "\r"), "\t")
	}
	return strings.Join(lines, "\n")
}

// Args returns the operands of a format so that each prints itself by [Text].
func Args(args []any) []any { return operands(args, Text) }

func operands(args []any, quote func(string) string) []any {
	safe := make([]any, len(args))
	for i, a := range args {
		switch a := a.(type) {
		case int: // which may be a width
			safe[i] = a
		case Raw:
			safe[i] = string(a)
		default:
			safe[i] = operand{a, quote}
		}
	}
	return safe
}

// Raw is an operand that is printed as it is, because it holds nothing that
// comes from elsewhere or has been quoted already.
type Raw string

// operand is a value that is quoted when it is printed.
type operand struct {
	v     any
	quote func(string) string
}

// Format prints the value by any verb and flags.
func (o operand) Format(f fmt.State, verb rune) {
	format := "%"
	for _, flag := range "+#" {
		if f.Flag(int(flag)) {
			format += string(flag)
		}
	}
	if verb != 's' && verb != 'v' {
		io.WriteString(f, o.quote(fmt.Sprintf(fmt.FormatString(f, verb), o.v)))
		return
	}
	if p, ok := f.Precision(); ok {
		format += fmt.Sprintf(".%d", p)
	}
	s := o.quote(fmt.Sprintf(format+string(verb), o.v))
	pad := ""
	if w, ok := f.Width(); ok {
		pad = strings.Repeat(" ", max(0, w-utf8.RuneCountInString(s)))
	}
	if f.Flag('-') {
		s, pad = s+pad, ""
	}
	io.WriteString(f, pad+s)
}

// Sprintf is fmt.Sprintf with [Text] applied to the operands.
func Sprintf(format string, args ...any) string { return fmt.Sprintf(format, Args(args)...) }

// Fprintf is fmt.Fprintf with [Text] applied to the operands.
func Fprintf(w io.Writer, format string, args ...any) (int, error) {
	return fmt.Fprintf(w, format, Args(args)...)
}

// Writer returns a writer that passes on what is written to it: line breaks and
// tabs stay, everything else is as in [Text]. It holds back the end of what is
// written while that may be the beginning of a character or of a command.
func Writer(w io.Writer) io.Writer { return &writer{w: w} }

type writer struct {
	w    io.Writer
	held []byte
	in   bool // within a line
}

// unfinished matches the end of a text that may become a command.
var unfinished = regexp.MustCompile(`(?:^|\n)[ \t]{0,64}:?$|##?[A-Za-z]{0,8}$|\r$`)

func (w *writer) Write(p []byte) (int, error) {
	data := append(w.held, p...)
	if len(data) == 0 {
		return 0, nil
	}
	whole := len(data)
	for i := 1; i < min(utf8.UTFMax, len(data)+1); i++ {
		if at := len(data) - i; utf8.RuneStart(data[at]) {
			if !utf8.FullRune(data[at:]) {
				whole = at
			}
			break
		}
	}
	if at := unfinished.FindIndex(data[:whole]); at != nil && !(w.in && at[0] == 0 && data[0] != '#' && data[0] != '\r') {
		whole = at[0]
		if data[whole] == '\n' {
			whole++
		}
	}
	w.held = bytes.Clone(data[whole:])
	var b strings.Builder
	for text := range strings.Lines(string(data[:whole])) {
		body, ends := strings.CutSuffix(text, "\n")
		if ends {
			body = strings.TrimSuffix(body, "\r")
		}
		if w.in {
			b.WriteString(within(body, "\t"))
		} else {
			b.WriteString(line(body, "\t"))
		}
		if w.in = !ends; ends {
			b.WriteByte('\n')
		}
	}
	if _, err := io.WriteString(w.w, b.String()); err != nil {
		return 0, err
	}
	return len(p), nil
}

// JSON returns an encoded document with the characters of its strings that are
// not shown as they are written as \uXXXX, which means the same to a parser.
func JSON(document []byte) []byte {
	var b bytes.Buffer
	document = ciCommand.ReplaceAllFunc(document, func(command []byte) []byte { return append([]byte(`\u0023`), command[1:]...) })
	for len(document) > 0 {
		r, n := utf8.DecodeRune(document)
		switch {
		case r == '\n' || isPlain(r) && !(r == utf8.RuneError && n == 1):
			b.Write(document[:n])
		case r > 0xffff:
			high, low := (r-0x10000)>>10+0xd800, (r-0x10000)&0x3ff+0xdc00
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		document = document[n:]
	}
	return b.Bytes()
}

// markup are the characters that mean something in the middle of a Markdown
// line, GitHub's included.
var markup = strings.NewReplacer(`\`, `\\`, "`", "\\`", "*", `\*`, "~", `\~`, "|", `\|`, "[", `\[`, "]", `\]`, "$", `\$`, "<", "&lt;", "&", "&amp;")

var (
	// An underscore between letters or digits is not emphasis.
	emphasis = regexp.MustCompile(`(^|[^\pL\pN])_|_($|[^\pL\pN])`)
	// outline matches what makes a list, a quotation, a heading or a rule of a line.
	outline = regexp.MustCompile(`^(?:([0-9]+)([.)](?:\s|$))|([-+=#>]))`)
)

// Markdown returns s as part of a line or of a table's cell that shows s and
// does nothing else: it is neither markup nor HTML. (An address may become a
// link to itself.)
func Markdown(s string) string {
	s = markup.Replace(Text(strings.Join(strings.FieldsFunc(s, isBreak), " ")))
	for emphasis.MatchString(s) {
		s = emphasis.ReplaceAllStringFunc(s, func(m string) string { return strings.Replace(m, "_", "&#95;", 1) })
	}
	return outline.ReplaceAllString(s, `$1\$2$3`)
}

// Markdownf is fmt.Fprintf with [Markdown] applied to the operands.
func Markdownf(w io.Writer, format string, args ...any) (int, error) {
	return fmt.Fprintf(w, format, operands(args, Markdown)...)
}

func isBreak(r rune) bool { return r == '\n' || r == '\r' || r == '\t' || r == ' ' }

// CodeBlock returns a fenced block of Markdown that s cannot leave.
func CodeBlock(language, s string) string {
	s = Lines(s)
	fence := "```"
	for strings.Contains(s, fence) {
		fence += "`"
	}
	return fence + language + "\n" + s + "\n" + fence + "\n"
}

// HTML returns a finished page in which the characters that are not shown as
// they are stand as text. Line breaks and tabs stay. (html/template has escaped
// the markup; a browser obeys the characters of direction all the same.)
func HTML(page []byte) []byte {
	var b bytes.Buffer
	for len(page) > 0 {
		r, n := utf8.DecodeRune(page)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, page[0])
		case r == '\n' || r == '\t' || isPlain(r):
			b.Write(page[:n])
		default:
			b.WriteString(html.EscapeString(escape(r)))
		}
		page = page[n:]
	}
	return b.Bytes()
}
