package build

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"unicode/utf8"
)

// The limits of DecodeJSON. The largest record that hallmark writes, that of
// the compatibility matrix, has 10 MB and is nested 6 deep.
const (
	MaxJSON      = 128 << 20 // bytes
	maxJSONDepth = 32
)

// A JSONError says where a JSON text is not what DecodeJSON takes.
type JSONError struct {
	Offset int64 // in bytes
	Err    error
}

func (e *JSONError) Error() string { return fmt.Sprintf("offset %d: %v", e.Offset, e.Err) }

// Unwrap returns the cause.
func (e *JSONError) Unwrap() error { return e.Err }

// DecodeJSON reads one JSON text into the value that v points to. Two readers
// must never see different things in one text, so it refuses everything that
// JSON readers treat differently: keys that are not in v's type or are written
// in another case, doubled keys, text that is not UTF-8, surrogates without
// their partner, anything after the value. A text of more than MaxJSON bytes,
// or nested more than 32 deep, is refused too. Errors are *[JSONError].
func DecodeJSON(data []byte, v any) error {
	if len(data) > MaxJSON {
		return &JSONError{MaxJSON, fmt.Errorf("it has more than %d bytes", MaxJSON)}
	}
	if err := checkText(data); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	s := strict{d}
	err := s.value(reflect.TypeOf(v), 0)
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			err = nil
		} else {
			err = errors.New("something follows the JSON value")
		}
	}
	if err == nil {
		// Every key is known by now, unless a type that reads itself was met.
		d := json.NewDecoder(bytes.NewReader(data))
		d.DisallowUnknownFields()
		err = d.Decode(v)
	}
	if err == nil {
		return nil
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("the JSON value is not complete")
	}
	at := d.InputOffset()
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		at = syntax.Offset
	}
	return &JSONError{at, err}
}

// ReadJSONFile returns the content of a file for DecodeJSON. It reads regular
// files only, so that a pipe or a device keeps nobody waiting, and at most
// MaxJSON bytes.
func ReadJSONFile(file string) ([]byte, error) {
	// O_NONBLOCK: to open a pipe that nobody writes to would wait.
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return ReadJSON(f)
}

// ReadJSON is ReadJSONFile for a file that is open.
func ReadJSON(f *os.File) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: it is not a regular file", f.Name())
	}
	data, err := io.ReadAll(io.LimitReader(f, MaxJSON+1))
	if err == nil && len(data) > MaxJSON {
		err = fmt.Errorf("%s: it has more than %d bytes", f.Name(), MaxJSON)
	}
	return data, err
}

// checkText refuses bytes that are not UTF-8, and escapes of surrogates that
// encoding/json would replace without a word.
func checkText(data []byte) error {
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n == 1 {
			return &JSONError{int64(i), errors.New("not UTF-8")}
		}
		if r != '\\' {
			i += n
			continue
		}
		high, ok := escapedUnit(data[i:])
		switch {
		case !ok:
			i += 2
			continue
		case high < 0xd800 || high > 0xdfff:
			i += 6
			continue
		}
		if low, ok := escapedUnit(data[i+6:]); !ok || high > 0xdbff || low < 0xdc00 || low > 0xdfff {
			return &JSONError{int64(i), errors.New("half of a surrogate pair")}
		}
		i += 12
	}
	return nil
}

// escapedUnit returns the UTF-16 unit that data begins with, as \uXXXX.
func escapedUnit(data []byte) (uint64, bool) {
	if len(data) < 6 || data[0] != '\\' || data[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(data[2:6]), 16, 16)
	return n, err == nil
}

// strict walks a text and the type that it is for, side by side.
type strict struct{ d *json.Decoder }

// value reads one value. t is nil where the type says nothing about the keys.
func (s strict) value(t reflect.Type, depth int) error {
	if depth > maxJSONDepth {
		return fmt.Errorf("nested more than %d deep", maxJSONDepth)
	}
	token, err := s.d.Token()
	if err != nil {
		return err
	}
	t = described(t)
	switch token {
	case json.Delim('['):
		var elem reflect.Type
		if t != nil && (t.Kind() == reflect.Slice || t.Kind() == reflect.Array) {
			elem = t.Elem()
		}
		for s.d.More() {
			if err := s.value(elem, depth+1); err != nil {
				return err
			}
		}
		_, err = s.d.Token()
	case json.Delim('{'):
		err = s.object(t, depth)
	}
	return err
}

// object reads what follows an opening brace.
func (s strict) object(t reflect.Type, depth int) error {
	var fields map[string]reflect.Type
	if t != nil && t.Kind() == reflect.Struct {
		fields = make(map[string]reflect.Type)
		addFields(fields, t)
	}
	seen := make(map[string]bool)
	for s.d.More() {
		token, err := s.d.Token()
		if err != nil {
			return err
		}
		key, _ := token.(string)
		if seen[key] {
			return fmt.Errorf("the key %q stands there twice", key)
		}
		seen[key] = true
		var elem reflect.Type
		switch {
		case fields != nil:
			var known bool
			if elem, known = fields[key]; !known {
				return fmt.Errorf("unknown key %q%s", key, otherCase(fields, key))
			}
		case t != nil && t.Kind() == reflect.Map:
			elem = t.Elem()
		}
		if err := s.value(elem, depth+1); err != nil {
			return err
		}
	}
	_, err := s.d.Token()
	return err
}

func otherCase(fields map[string]reflect.Type, key string) string {
	for name := range fields {
		if strings.EqualFold(name, key) {
			return fmt.Sprintf(": it is written %q", name)
		}
	}
	return ""
}

// described returns the type that encoding/json fills in for t, and nil for one
// that reads its text itself or takes any.
func described(t reflect.Type) reflect.Type {
	for t != nil {
		p := reflect.PointerTo(t)
		if p.Implements(reflect.TypeFor[json.Unmarshaler]()) || p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) || t.Kind() == reflect.Interface {
			return nil
		}
		if t.Kind() != reflect.Pointer {
			return t
		}
		t = t.Elem()
	}
	return nil
}

// addFields lists the keys of a struct as encoding/json knows them.
func addFields(fields map[string]reflect.Type, t reflect.Type) {
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		inner := f.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		switch {
		case f.Tag.Get("json") == "-":
		case f.Anonymous && name == "" && inner.Kind() == reflect.Struct:
			addFields(fields, inner)
		case !f.IsExported():
		case name != "":
			fields[name] = f.Type
		default:
			fields[f.Name] = f.Type
		}
	}
}
