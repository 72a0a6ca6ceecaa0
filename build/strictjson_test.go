package build_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-build/hallmark/build"
)

type inner struct {
	Path string `json:"path"`
}

type record struct {
	inner
	Name  string             `json:"name"`
	Time  *time.Time         `json:"time,omitempty"`
	Items []inner            `json:"items"`
	Sizes map[string]float64 `json:"sizes"`
	Any   any                `json:"any"`
	Plain string
	Not   string `json:"-"`
}

func TestDecodeJSON(t *testing.T) {
	t.Parallel()
	const good = `{"name": "a\ud83d\ude00\\ud800", "path": "p", "time": "2026-01-02T03:04:05Z", "items": [{"path": "b"}, {"path": "c"}],
		"sizes": {"a": 1, "A": 2e3}, "any": {"x": [1, {"y": null}]}, "Plain": "z"}` + "\n"
	var r record
	if err := build.DecodeJSON([]byte(good), &r); err != nil {
		t.Fatal(err)
	}
	if r.Name != "a😀\\ud800" || r.Path != "p" || len(r.Items) != 2 || r.Items[1].Path != "c" || r.Sizes["A"] != 2000 || r.Time.Year() != 2026 || r.Plain != "z" {
		t.Errorf("got %+v", r)
	}
	// The damaged twins.
	for _, bad := range []struct{ old, new, want string }{
		{`"name"`, `"NAME"`, `unknown key "NAME": it is written "name"`},
		{`"name"`, `"ſame"`, `unknown key "ſame"`},
		{`"Plain"`, `"plain"`, `unknown key "plain"`},
		{`"Plain"`, `"Not"`, `unknown key "Not"`},
		{`"Plain"`, `"-"`, `unknown key "-"`},
		{`"name"`, `"items": [], "name"`, `"items" stands there twice`},
		{`"name"`, `"ITEMS": [], "name"`, `unknown key "ITEMS": it is written "items"`},
		{`{"path": "c"}`, `{"path": "c", "path": "d"}`, `"path" stands there twice`},
		{`{"path": "c"}`, `{"pa\u0074h": "c", "path": "d"}`, `"path" stands there twice`},
		{`{"path": "c"}`, `{"path": "c", "mode": 1}`, `unknown key "mode"`},
		{`{"path": "c"}`, `{"Path": "c"}`, `unknown key "Path": it is written "path"`},
		{`"A": 2e3`, `"a": 2e3`, `"a" stands there twice`},
		{`{"y": null}`, `{"y": null, "y": 1}`, `"y" stands there twice`},
		{`\ud83d\ude00`, `\ud83d`, "half of a surrogate pair"},
		{`\ud83d\ude00`, `\ude00\ud83d`, "half of a surrogate pair"},
		{`\ud83d\ude00`, "\xff", "not UTF-8"},
		{"}\n", "} {}", "something follows"},
		{"}\n", "} x", "something follows"},
		{"}\n", "", "is not complete"},
		{"{\"name\"", "\ufeff{\"name\"", "invalid character"},
		{`[1, {`, strings.Repeat("[", 40) + "1, {", "nested more than 32 deep"},
		{`2e3`, `2e999`, "cannot unmarshal"},
		{`"z"`, `1`, "cannot unmarshal"},
	} {
		text := strings.Replace(good, bad.old, bad.new, 1)
		if text == good {
			t.Errorf("%s: nothing was changed", bad.new)
		}
		err := build.DecodeJSON([]byte(text), new(record))
		var e *build.JSONError
		if !errors.As(err, &e) || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%s: %v, want %s", bad.new, err, bad.want)
		}
	}
	if err := build.DecodeJSON(make([]byte, build.MaxJSON+1), new(record)); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("too long: %v", err)
	}
}
