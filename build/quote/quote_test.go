package quote

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode/utf8"
)

// hostile are values that must not reach a terminal, with what is shown of them.
func hostile() map[string]string {
	return map[string]string{
		"a\x1b[2Jb":                             `a\x1b[2Jb`,
		"a\u009b2Jb":                            `a\u009b2Jb`,
		"a\x9b2Jb":                              `a\x9b2Jb`,
		"a\x7f\x00\a\bb":                        `a\x7f\x00\x07\x08b`,
		"evil\ngood.exe: good":                  `evil\ngood.exe: good`,
		"evil\rgood.exe: good":                  `evil\rgood.exe: good`,
		"a\tb":                                  `a\tb`,
		"exe.\u202egpj\u2066\u200fx\u061c":      `exe.\u202egpj\u2066\u200fx\u061c`,
		"micro\u200bsoft\u2060\ufeff\u00ad":     `micro\u200bsoft\u2060\ufeff\u00ad`,
		"a\u2028b\u2029c":                       `a\u2028b\u2029c`,
		"tag\U000e0041x":                        `tag\U000e0041x`,
		"fill\u3164\u115f\ufe0f\U000e0100":      `fill\u3164\u115f\ufe0f\U000e0100`,
		"bad\xff\xc3":                           `bad\xff\xc3`,
		"\ue000\U0010ffff":                      `\ue000\U0010ffff`,
		"::error::x":                            `\x3a:error::x`,
		"  ::warning file=a::x":                 `  \x3a:warning file=a::x`,
		"\u00a0::error::x":                      "\u00a0" + `\x3a:error::x`,
		"a ##[error]x":                          `a \x23#[error]x`,
		"a ##VSO[task.setvariable]x":            `a \x23#VSO[task.setvariable]x`,
		"##teamcity[x]":                         `\x23#teamcity[x]`,
		"a" + strings.Repeat(" ", 100) + "good": "a" + strings.Repeat(" ", 32) + `\x20{68}good`,
	}
}

// plain are values that are shown as they are.
func plain() []string {
	return []string{"", "CN=Notes Ltd,C=US", "a: b :: c", "# title", "株式会社　例", "Łódź é e\u0301", "a  b", `C:\x`, "✓ – …", "100 %"}
}

func TestText(t *testing.T) {
	for in, want := range hostile() {
		if got := Text(in); got != want {
			t.Errorf("Text(%q) = %q, want %q", in, got, want)
		}
		if got := Text(Text(in)); got != want {
			t.Errorf("Text twice of %q = %q, want %q", in, got, want)
		}
		if got := Sprintf("%s", errors.New(in)); got != want {
			t.Errorf("Sprintf of an error %q = %q, want %q", in, got, want)
		}
	}
	for _, in := range plain() {
		if got := Text(in); got != in {
			t.Errorf("Text(%q) = %q", in, got)
		}
	}
	if got := Text(strings.Repeat("é", 1<<20)); len(got) > maxText+40 || !strings.HasSuffix(got, "bytes more)") || !utf8.ValidString(got) {
		t.Errorf("a long value is shown in %d bytes: …%q", len(got), got[len(got)-40:])
	}
}

func TestBlock(t *testing.T) {
	got := Block("main.go:1: x\n\tgood.exe: good\r\n::error::y\n  | z\x1b[2J\n\n")
	if want := "main.go:1: x\n  | \tgood.exe: good\n  | \\x3a:error::y\n  | z\\x1b[2J"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if again := Block(got); again != got {
		t.Errorf("twice: %q, want %q", again, got)
	}
}

// text is a type of string; its values are quoted as strings are.
type text string

func TestArgs(t *testing.T) {
	got := Sprintf("%s %v %s %d %-4s|%v %5.2f %*s|%x %q %-50s|%v%s", "a\n", text("b\x1b"), []byte("c\r"), uint8(7), "é", []string{"d\n"}, 1.5, 3, "é", []byte{1, 0xff}, "\u3164", "x", nil, Raw("\x1b"))
	if want := `a\n b\x1b c\r 7 é   |[d\n]  1.50   é|01ff "\u3164" x` + strings.Repeat(" ", 49) + "|<nil>\x1b"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestWriter(t *testing.T) {
	in := "one\x1b[2J\r\n::error::two\n a::b ##[error]\tthree é\xff\n\n:: four"
	want := "one\\x1b[2J\n\\x3a:error::two\n a::b \\x23#[error]\tthree é\\xff\n\n\\x3a: four"
	for step := 1; step <= len(in); step++ {
		var b bytes.Buffer
		w := Writer(&b)
		for rest := in; rest != ""; rest = rest[min(step, len(rest)):] {
			if n, err := w.Write([]byte(rest[:min(step, len(rest))])); err != nil || n != min(step, len(rest)) {
				t.Fatal(n, err)
			}
		}
		if b.String() != want {
			t.Fatalf("in steps of %d: %q, want %q", step, b.String(), want)
		}
	}
}

func TestJSON(t *testing.T) {
	for in := range hostile() {
		encoded, err := json.Marshal(map[string]string{"a": in})
		if err != nil {
			t.Fatal(err)
		}
		safe := JSON(encoded)
		for _, r := range string(safe) {
			if !isPlain(r) {
				t.Errorf("%q: %U is left in %s", in, r, safe)
			}
		}
		var shown bytes.Buffer
		if _, err := Writer(&shown).Write(append(safe, '\n')); err != nil || shown.String() != string(safe)+"\n" {
			t.Errorf("a terminal's writer changes %s to %s: %v", safe, &shown, err)
		}
		var back map[string]string
		if err := json.Unmarshal(safe, &back); err != nil || back["a"] != strings.ToValidUTF8(in, "\ufffd") && utf8.ValidString(in) {
			t.Errorf("%q becomes %q: %v", in, back["a"], err)
		}
	}
}

func TestMarkdown(t *testing.T) {
	for in, want := range map[string]string{
		"a|b":                `a\|b`,
		"`code`":             "\\`code\\`",
		"<script>x</script>": "&lt;script>x&lt;/script>",
		"[a](http://b)":      `\[a\](http://b)`,
		"![a](b)":            `!\[a\](b)`,
		"**FAIL** ~~x~~":     `\*\*FAIL\*\* \~\~x\~\~`,
		"hello_1.0_linux":    "hello_1.0_linux",
		"_x_ __y__":          "&#95;x&#95; &#95;&#95;y&#95;&#95;",
		"a\n\n# good\n":      "a # good",
		"# good":             `\# good`,
		"- good":             `\- good`,
		"1. good":            `1\. good`,
		"2026-01-02":         "2026-01-02",
		"1.2.3":              "1.2.3",
		"> good":             `\> good`,
		"&#42;":              "&amp;#42;",
		"a\\|b":              `a\\\|b`,
		"\x1b[2J":            `\\x1b\[2J`,
		"\u202egood":         `\\u202egood`,
	} {
		if got := Markdown(in); got != want {
			t.Errorf("Markdown(%q) = %q, want %q", in, got, want)
		}
	}
	var b strings.Builder
	Markdownf(&b, "| %s | %d | %.2f | %s |", errors.New("a|b"), 7, 1.5, Raw("**FAIL**"))
	if got, want := b.String(), `| a\|b | 7 | 1.50 | **FAIL** |`; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := CodeBlock("sh", "a\n```\n# good\x1b[2J"), "````sh\na\n```\n# good\\x1b[2J\n````\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestHTML(t *testing.T) {
	got := string(HTML([]byte("<p title=\"\u202e\">é\x1b[2J\xff\n\t\u200b</p>\r\n")))
	if want := "<p title=\"\\u202e\">é\\x1b[2J\\xff\n\t\\u200b</p>\\r\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// No character that is not plain is left by any of the functions, whatever it
// stands beside.
func FuzzText(f *testing.F) {
	for in := range hostile() {
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in string) {
		for name, got := range map[string]string{"Text": Text(in), "Markdown": Markdown(in), "Sprintf": Sprintf("%v", fmt.Errorf("%s", in))} {
			for _, r := range got {
				if !isPlain(r) {
					t.Fatalf("%s(%q) leaves %U: %q", name, in, r, got)
				}
			}
		}
		if got := Text(in); len(in) < maxText && Text(got) != got {
			t.Fatalf("Text(%q) = %q, twice %q", in, got, Text(got))
		}
		for i, l := range strings.Split(Block(in), "\n") {
			if i > 0 && !strings.HasPrefix(l, later) {
				t.Fatalf("Block(%q) begins a line: %q", in, l)
			}
		}
		if !utf8.Valid(HTML([]byte(in))) {
			t.Fatal("HTML is not UTF-8")
		}
	})
}

// TestWriterEmpty writes nothing at the start of a line and within one, as
// text/tabwriter does for an empty cell.
func TestWriterEmpty(t *testing.T) {
	var b strings.Builder
	w := Writer(&b)
	for _, text := range []string{"", "a b", "", "\n", "", "c\n"} {
		if n, err := io.WriteString(w, text); n != len(text) || err != nil {
			t.Errorf("writing %q: %d, %v", text, n, err)
		}
	}
	if b.String() != "a b\nc\n" {
		t.Errorf("it passes on %q", &b)
	}
}
