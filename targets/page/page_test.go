package page

import (
	"bytes"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/hallmark-build/hallmark/signing/compat"
	"github.com/hallmark-build/hallmark/targets/page/pagetest"
)

func TestMarkOf(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		got    string
		status compat.Status
		class  string
		glyph  string
		word   string
	}{
		{"accept", compat.Pass, "yes", "✓", "accepted, as expected"},
		{"refuse", compat.Pass, "no", "✕", "refused, as expected"},
		{"cannot", compat.Pass, "cannot", "–", "cannot read it, as expected"},
		{"accept", compat.Fail, "bad", "✓", "accepted, unexpected"},
		{"refuse", compat.Fail, "bad", "✕", "refused, unexpected"},
		{"crashed: signal: aborted", compat.Fail, "bad mute", "!", "crashed, unexpected"},
		{"unclear: rubbish", compat.Fail, "bad mute", "!", "no verdict, unexpected"},
		{"", compat.Fail, "bad mute", "!", "unexpected"},
		{"accept", compat.Status(77), "bad", "✓", "accepted, unexpected"},
		{"refuse", compat.Differ, "allowed", "✕", "refused, which is allowed for a time"},
		{"", compat.Skip, "skip", "?", "not asked"},
		{"cannot", compat.Skip, "skip", "?", "not asked: it cannot read it"},
	} {
		if m := MarkOf(test.got, test.status); m != (Mark{test.class, test.glyph, test.word}) {
			t.Errorf("%q, %v: %+v", test.got, test.status, m)
		}
	}
}

func TestPicture(t *testing.T) {
	t.Parallel()
	files := fstest.MapFS{
		"a.png":    {Data: []byte("\x89PNG\r\n\x1a\nrest")},
		"a.svg":    {Data: []byte("<svg onload='alert(1)'/>")},
		"huge.png": {Data: append([]byte("\x89PNG\r\n\x1a\n"), make([]byte, maxPicture)...)},
	}
	if u, err := Picture(files, "a.png"); err != nil || u != "data:image/png;base64,iVBORw0KGgpyZXN0" {
		t.Errorf("%s, %v", u, err)
	}
	for _, name := range []string{"a.svg", "huge.png", "absent.png", "../a.png"} {
		if u, err := Picture(files, name); err == nil {
			t.Errorf("%s: %.40s", name, u)
		}
	}
}

func TestSeconds(t *testing.T) {
	t.Parallel()
	for s, want := range map[float64]string{0: "", .0123: "12 ms", 1.26: "1.3 s", 150: "2m30s"} {
		if got := Seconds(s); got != want {
			t.Errorf("%v: %q", s, got)
		}
	}
}

// What a judge printed is text in the page, whatever it looks like.
func TestDrawEscapes(t *testing.T) {
	t.Parallel()
	bad := `</pre><script>alert(1)</script><img src="http://example.invalid/x" onerror="alert(1)">`
	m := Matrix{ID: "m", Title: bad, Note: bad, Columns: []Column{{Name: bad, Title: bad}}, Rows: []Row{{ID: "m-0", Label: bad, Sub: bad, Tiles: []Tile{{Mark: MarkOf("accept", compat.Pass), Panel: "m-0-0", Title: bad}}}},
		Panels: []Panel{{ID: "m-0-0", Back: "m-0", Title: bad, Facts: []Fact{{bad, bad}}, Runs: []Run{{Name: bad, Command: bad, Figures: bad}}, Says: []Saying{{bad, bad}}}}}
	var b bytes.Buffer
	err := Draw(&b, `{{template "open" .Head}}{{template "matrix" .Matrix}}{{template "close" "end"}}`, map[string]any{"Head": Head{Title: bad, Verdict: bad}, "Matrix": m})
	if err != nil {
		t.Fatal(err)
	}
	for _, no := range []string{"<script", "<img", `onerror="`} {
		if strings.Contains(b.String(), no) {
			t.Errorf("%s stands in the page", no)
		}
	}
	if err := Draw(&b, `{{template "absent"}}`, nil); err == nil {
		t.Error("a template that is not there is drawn")
	}
}

// The damaged twins: what the browser is to find, it finds.
func TestBrowserSees(t *testing.T) {
	t.Parallel()
	frame := func(body string) []byte {
		return []byte("<!doctype html><html><head><meta name=viewport content='width=device-width'></head><body>" + body + "</body></html>")
	}
	look, requests := pagetest.At(t, frame(`<div style="width:1000px">wide</div><a href="#nowhere">x</a><img src="http://example.invalid/x.png"><article class=panel id=p><div class=sheet></div></article>`), pagetest.Phone)
	if len(look.Overflow) == 0 || len(look.Broken) != 2 || look.Panels != 0 {
		t.Errorf("a bad page: %+v", look)
	}
	if !strings.Contains(strings.Join(requests, "\n"), "example.invalid/x.png") {
		t.Errorf("requests: %q", requests)
	}
	img, _ := pagetest.Shot(t, frame(""), pagetest.Phone, true)
	if n := pagetest.Colours(img); n != 1 || pagetest.IsDark(img) {
		t.Errorf("an empty page has %d colours", n)
	}
}
