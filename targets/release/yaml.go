package release

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// document is a YAML file held against the Go type that it is to fill. It
// collects every problem instead of stopping at the first, and remembers on
// which line each value stood, so that later checks can name the line too.
type document struct {
	root     reflect.Type
	lines    map[string]int // "targets[1].platform" → 7
	problems []Problem
}

// decodeStrict fills v, a pointer to a struct, from YAML. Keys that v's type
// does not have, values of another kind, keys given twice and a second
// document are problems.
func decodeStrict(data []byte, v any) *document {
	d := &document{root: reflect.TypeOf(v).Elem(), lines: map[string]int{}}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var root yaml.Node
	if err := dec.Decode(&root); err != nil {
		if !errors.Is(err, io.EOF) { // an empty file is an empty mapping
			d.syntax(err)
		}
		return d
	}
	var second yaml.Node
	if err := dec.Decode(&second); err == nil {
		d.add(second.Line, "a second document starts here: one file is one release")
	} else if !errors.Is(err, io.EOF) {
		d.syntax(err)
	}
	if d.refuseAliases(root.Content[0]); len(d.problems) > 0 {
		return d
	}
	d.check("", root.Content[0], d.root)
	if len(d.problems) == 0 {
		if err := root.Decode(v); err != nil {
			d.syntax(err)
		}
	}
	return d
}

// refuseAliases adds each alias, and each key that is not text. A few aliases of
// aliases make gigabytes of a small file, and an alias as a key is another key to
// each reader. The YAML reader bounds how deep nodes are nested.
func (d *document) refuseAliases(n *yaml.Node) {
	for i, c := range n.Content {
		switch {
		case c.Kind == yaml.AliasNode:
			d.add(c.Line, "the alias *%s: write the value itself", c.Value)
		case n.Kind == yaml.MappingNode && i%2 == 0 && c.Kind != yaml.ScalarNode:
			d.add(c.Line, "a key that is not text")
		default:
			d.refuseAliases(c)
		}
	}
}

func (d *document) add(line int, format string, args ...any) {
	d.problems = append(d.problems, Problem{Line: line, Text: fmt.Sprintf(format, args...)})
}

// at adds a problem of the value at path, or of the nearest value around it
// that stands in the file.
func (d *document) at(path, format string, args ...any) {
	for p := path; ; {
		if line, ok := d.lines[p]; ok {
			d.add(line, format, args...)
			return
		}
		i := strings.LastIndexAny(p, ".[")
		if i < 0 {
			d.add(0, format, args...)
			return
		}
		p = p[:i]
	}
}

// syntax takes over an error of the YAML reader. Its text carries the line.
func (d *document) syntax(err error) {
	var typed *yaml.TypeError
	if errors.As(err, &typed) {
		for _, text := range typed.Errors {
			d.syntaxText(text)
		}
		return
	}
	d.syntaxText(strings.TrimPrefix(err.Error(), "yaml: "))
}

func (d *document) syntaxText(text string) {
	if strings.Contains(text, "cannot start any token") {
		text += ": indent with spaces, not with tabs, and put a text that begins with @, % or ` in quotes"
	}
	m := regexp.MustCompile(`^line (\d+): (.*)$`).FindStringSubmatch(text)
	if m == nil {
		d.add(0, "%s", text)
		return
	}
	line, _ := strconv.Atoi(m[1])
	d.add(line, "%s", m[2])
}

// check holds a node against a type.
func (d *document) check(path string, n *yaml.Node, t reflect.Type) {
	d.lines[path] = n.Line
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		return // "targets:" with nothing after it is as if it were not there
	}
	if reflect.PointerTo(t).Implements(reflect.TypeFor[yaml.Unmarshaler]()) {
		if err := n.Decode(reflect.New(t).Interface()); err != nil {
			d.add(n.Line, "%s: %v", path, err)
		}
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		d.checkStruct(path, n, t)
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			d.add(n.Line, "%s: want a list, like [a, b], not %s", path, describe(n))
			return
		}
		for i, item := range n.Content {
			d.check(fmt.Sprintf("%s[%d]", path, i), item, t.Elem())
		}
	case reflect.Map:
		if n.Kind != yaml.MappingNode {
			d.add(n.Line, "%s: want keys and values, not %s", path, describe(n))
			return
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			d.check(path+"."+n.Content[i].Value, n.Content[i+1], t.Elem())
		}
	default:
		d.checkScalar(path, n, t)
	}
}

func (d *document) checkStruct(path string, n *yaml.Node, t reflect.Type) {
	if n.Kind != yaml.MappingNode {
		if path == "" {
			path = "the file"
		}
		d.add(n.Line, "%s: want keys and values, like {%s: …}, not %s", path, firstKey(t), describe(n))
		return
	}
	known := map[string]reflect.Type{}
	fields(t, known)
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		sub := k.Value
		if path != "" {
			sub = path + "." + k.Value
		}
		if first, twice := seen[k.Value]; twice {
			d.add(k.Line, "key %q for the second time: it stands on line %d already", k.Value, first)
			continue
		}
		seen[k.Value] = k.Line
		ft, ok := known[k.Value]
		if !ok {
			d.unknown(path, k, known)
			continue
		}
		d.check(sub, v, ft)
		d.lines[sub] = k.Line // a block's value begins a line further down
	}
}

func (d *document) unknown(path string, k *yaml.Node, known map[string]reflect.Type) {
	where := ""
	if path != "" {
		where = " in " + path
	}
	if near := nearest(k.Value, known); near != "" {
		d.add(k.Line, "unknown key %q%s (did you mean %q?)", k.Value, where, near)
		return
	}
	// Perhaps it was put in the wrong place.
	elsewhere := map[string]reflect.Type{}
	deepFields(d.root, "", elsewhere)
	for _, full := range slices.Sorted(maps.Keys(elsewhere)) {
		last := map[string]reflect.Type{full[strings.LastIndex(full, ".")+1:]: nil}
		if nearest(k.Value, last) != "" {
			d.add(k.Line, "unknown key %q%s (did you mean %q?)", k.Value, where, full)
			return
		}
	}
	keys := make([]string, 0, len(known))
	for key := range known {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	d.add(k.Line, "unknown key %q%s: the keys are %s", k.Value, where, strings.Join(keys, ", "))
}

func (d *document) checkScalar(path string, n *yaml.Node, t reflect.Type) {
	if n.Kind != yaml.ScalarNode {
		d.add(n.Line, "%s: want %s, not %s", path, kindName(t), describe(n))
		return
	}
	ok := false
	switch t.Kind() {
	case reflect.String:
		ok = n.ShortTag() != "!!bool" && n.ShortTag() != "!!binary"
	case reflect.Bool:
		ok = n.ShortTag() == "!!bool"
	case reflect.Int, reflect.Int64, reflect.Uint32:
		ok = n.ShortTag() == "!!int"
	case reflect.Float64:
		ok = n.ShortTag() == "!!int" || n.ShortTag() == "!!float"
	}
	if !ok {
		d.add(n.Line, "%s: want %s, not %s", path, kindName(t), describe(n))
	}
}

func kindName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	}
	return "a number"
}

func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "keys and values"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!bool":
		return fmt.Sprintf("the truth value %s (put it in quotes if it is text)", n.Value)
	case "!!int", "!!float":
		return "the number " + n.Value
	}
	return fmt.Sprintf("the text %q", n.Value)
}

// fields lists the keys of a struct, those of inline structs included.
func fields(t reflect.Type, known map[string]reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case !f.IsExported() || name == "-":
		case options == "inline":
			fields(f.Type, known)
		case name == "":
			known[strings.ToLower(f.Name)] = f.Type
		default:
			known[name] = f.Type
		}
	}
}

// deepFields lists all keys of all structs in a struct: "targets.platform".
func deepFields(t reflect.Type, path string, all map[string]reflect.Type) {
	known := map[string]reflect.Type{}
	fields(t, known)
	for name, ft := range known {
		all[path+name] = ft
		if ft.Kind() == reflect.Slice {
			ft = ft.Elem()
		}
		if ft.Kind() == reflect.Struct {
			deepFields(ft, path+name+".", all)
		}
	}
}

func firstKey(t reflect.Type) string {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if options == "inline" {
			return firstKey(f.Type)
		}
		if name == "" {
			name = strings.ToLower(f.Name)
		}
		return name
	}
	return "key"
}

// nearest returns the known key that a mistyped one was meant to be, or "".
func nearest(key string, known map[string]reflect.Type) string {
	best, least := "", 1+max(1, len(key)/3)
	for k := range known {
		d := distance(strings.ToLower(key), k)
		if d < least || d == least && best != "" && k < best {
			best, least = k, d
		}
	}
	return best
}

// distance counts the insertions, deletions, replacements and swaps of
// neighbours that turn a into b (optimal string alignment).
func distance(a, b string) int {
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	for j := range rows[1] {
		rows[1][j] = j
	}
	for i := 1; i <= len(a); i++ {
		two, prev, row := rows[0], rows[1], rows[2]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], two[j-2]+1)
			}
		}
		rows = [3][]int{prev, row, two}
	}
	return rows[1][len(b)]
}
