package mutation

import (
	"fmt"
	"iter"
	"slices"
)

// A Node is a DER element with its place in the whole.
type Node struct {
	Name            string // of the byte class; kids have their parent's unless they have their own
	Tag             byte
	From, Body, End int // of the element, its content, its end
	Kids            []*Node
	der             []byte // the whole
}

// ParseDER reads one element that fills der, down to its leaves. Tags of more
// than one byte are not read; signatures have none.
func ParseDER(der []byte) (*Node, error) {
	n, err := parseElement(der, 0, len(der))
	if err == nil && n.End != len(der) {
		err = fmt.Errorf("%d bytes behind a DER element", len(der)-n.End)
	}
	return n, err
}

func parseElement(der []byte, at, end int) (*Node, error) {
	bad := fmt.Errorf("not DER at offset %#x", at)
	if end-at < 2 || der[at]&0x1f == 0x1f {
		return nil, bad
	}
	n := &Node{Tag: der[at], From: at, Body: at + 2, der: der}
	length := int(der[at+1])
	if length >= 0x80 {
		bytes := length & 0x7f
		if bytes == 0 || bytes > 4 || end-n.Body < bytes {
			return nil, bad
		}
		length = 0
		for range bytes {
			length = length<<8 | int(der[n.Body])
			n.Body++
		}
	}
	n.End = n.Body + length
	if n.End > end {
		return nil, bad
	}
	if n.Tag&0x20 == 0 {
		return n, nil
	}
	for at := n.Body; at < n.End; {
		kid, err := parseElement(der, at, n.End)
		if err != nil {
			return nil, err
		}
		n.Kids, at = append(n.Kids, kid), kid.End
	}
	return n, nil
}

// Content is the element's content.
func (n *Node) Content() []byte { return n.der[n.Body:n.End] }

// Full is the whole element.
func (n *Node) Full() []byte { return n.der[n.From:n.End] }

// inherit gives nodes without a name that of their parent.
func (n *Node) inherit(name string) {
	if n.Name == "" {
		n.Name = name
	}
	for _, k := range n.Kids {
		k.inherit(n.Name)
	}
}

// Regions adds the element to a map.
func (n *Node) Regions(m *Map) {
	m.Add(n.Name, n.Body-n.From)
	if len(n.Kids) == 0 {
		m.Add(n.Name, n.End-n.Body)
	}
	for _, k := range n.Kids {
		k.Regions(m)
	}
}

// encode writes the element with a change: replace has for some nodes what stands
// for them.
func (n *Node) encode(replace map[*Node][]byte) []byte {
	if b, ok := replace[n]; ok {
		return b
	}
	if len(n.Kids) == 0 {
		return n.Full()
	}
	var body []byte
	for _, k := range n.Kids {
		body = append(body, k.encode(replace)...)
	}
	return Element(n.Tag, body)
}

// Element is a DER element.
func Element(tag byte, body []byte) []byte {
	return append(append([]byte{tag}, length(len(body))...), body...)
}

func length(n int) []byte {
	switch {
	case n < 0x80:
		return []byte{byte(n)}
	case n < 0x100:
		return []byte{0x81, byte(n)}
	case n < 0x10000:
		return []byte{0x82, byte(n >> 8), byte(n)}
	}
	return []byte{0x83, byte(n >> 16), byte(n >> 8), byte(n)}
}

// The changes of [Edits].
const (
	AddElement       = "add element"
	DeleteElement    = "delete element"
	DuplicateElement = "duplicate element"
	ExchangeElements = "exchange elements"
	Lengthen         = "lengthen"    // a value, by one byte
	Empty            = "empty"       // a value
	LongForm         = "long form"   // of the length, which DER does not have
	Indefinite       = "indefinite"  // length, which DER does not have
	Retag            = "another tag" // the next number
	Constructed      = "constructed" // a string in segments, which DER does not have
	shallow          = 2             // levels below a named node that a short run changes
	payload          = "payload that no digest covers, in a place for it"
)

// Edits yields a DER structure with one element changed and all lengths right,
// put into a file by embed. A short run changes the elements that have a name of
// their own and so many levels below them.
func Edits(root *Node, levels int, embed func(der []byte) []byte) iter.Seq[Mutant] {
	return func(yield func(Mutant) bool) {
		e := editor{root, levels, embed, yield}
		e.edit(root, levels)
	}
}

type editor struct {
	root   *Node
	levels int
	embed  func([]byte) []byte
	yield  func(Mutant) bool
}

func (e editor) edit(n *Node, left int) bool {
	for change, with := range n.changes() {
		for _, b := range with {
			m := Mutant{Region: n.Name, Change: change, At: n.From, Deep: left < 0}
			m.make = func() []byte { return e.embed(e.root.encode(map[*Node][]byte{n: b})) }
			if !e.yield(m) {
				return false
			}
		}
	}
	for _, k := range n.Kids {
		next := left - 1
		if k.Name != n.Name {
			next = e.levels
		}
		if !e.edit(k, next) {
			return false
		}
	}
	return true
}

// changes yields what can stand for an element, by kind of change.
func (n *Node) changes() iter.Seq2[string, [][]byte] {
	body := n.Content()
	long := length(len(body))
	if long[0] < 0x80 {
		long = append([]byte{0x81}, long...)
	} else {
		long = append([]byte{long[0] + 1, 0}, long[1:]...)
	}
	all := []struct {
		change string
		with   [][]byte
	}{
		{LongForm, [][]byte{slices.Concat([]byte{n.Tag}, long, body)}},
		{Retag, [][]byte{Element(n.Tag^1, body), Element(n.Tag^0x40, body)}},
		{DeleteElement, [][]byte{nil}},
		{DuplicateElement, [][]byte{slices.Concat(n.Full(), n.Full())}},
	}
	if n.Tag&0x20 == 0 {
		all = append(all, []struct {
			change string
			with   [][]byte
		}{
			{Lengthen, [][]byte{Element(n.Tag, append(slices.Clone(body), 0)), Element(n.Tag, append([]byte{0}, body...))}},
			{Empty, [][]byte{Element(n.Tag, nil)}},
			{Constructed, [][]byte{Element(n.Tag|0x20, Element(n.Tag, body))}},
		}...)
	} else {
		all = append(all, n.structural()...)
	}
	return func(yield func(string, [][]byte) bool) {
		for _, a := range all {
			if !yield(a.change, a.with) {
				return
			}
		}
	}
}

// structural returns the changes of a constructed element's list of kids.
func (n *Node) structural() (all []struct {
	change string
	with   [][]byte
}) {
	body := n.Content()
	var added, exchanged [][]byte
	for _, e := range [][]byte{{5, 0}, Element(4, []byte(payload)), Element(0x30, Element(4, []byte(payload))), Element(0xa0, Element(4, []byte(payload))), Element(0xa1, Element(4, []byte(payload))), Element(0xa2, Element(4, []byte(payload))), Element(0xa3, Element(4, []byte(payload)))} {
		added = append(added, Element(n.Tag, slices.Concat(e, body)), Element(n.Tag, slices.Concat(body, e)))
	}
	for i := range len(n.Kids) - 1 {
		a, b := n.Kids[i], n.Kids[i+1]
		exchanged = append(exchanged, Element(n.Tag, slices.Concat(n.der[n.Body:a.From], b.Full(), a.Full(), n.der[b.End:n.End])))
	}
	for _, c := range []struct {
		change string
		with   [][]byte
	}{
		{AddElement, added},
		{ExchangeElements, exchanged},
		{Empty, [][]byte{Element(n.Tag, nil)}},
		{Indefinite, [][]byte{slices.Concat([]byte{n.Tag, 0x80}, body, []byte{0, 0})}},
	} {
		all = append(all, c)
	}
	return all
}
