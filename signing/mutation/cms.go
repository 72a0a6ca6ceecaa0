package mutation

import (
	"bytes"
	"encoding/asn1"
	"slices"
	"strings"
)

// NameCMS names the parts of a ContentInfo that holds SignedData (RFC 5652), and
// those of the timestamp tokens, countersignatures and nested signatures in its
// unsigned attributes.
func NameCMS(root *Node) { nameCMS(root, ""); root.inherit("ContentInfo") }

func nameCMS(root *Node, prefix string) {
	root.Name = prefix + "ContentInfo"
	if len(root.Kids) != 2 || len(root.Kids[1].Kids) != 1 {
		return
	}
	data := root.Kids[1].Kids[0]
	for i, k := range data.Kids {
		switch {
		case i == 0:
			k.Name = prefix + "version"
		case i == 1:
			k.Name = prefix + "digestAlgorithms"
		case i == 2:
			k.Name = prefix + "encapContentInfo"
		case k.Tag == 0xa0:
			k.Name = prefix + "certificates"
		case k.Tag == 0xa1:
			k.Name = prefix + "crls"
		default:
			k.Name = prefix + "signerInfos"
			for _, signer := range k.Kids {
				nameSigner(signer, prefix)
			}
		}
	}
}

func nameSigner(signer *Node, prefix string) {
	names := []string{"signer version", "sid", "digestAlgorithm", "signatureAlgorithm", "signature"}
	i := 0
	for _, k := range signer.Kids {
		switch {
		case k.Tag == 0xa0:
			k.Name = prefix + "signedAttrs"
		case k.Tag == 0xa1:
			k.Name = prefix + "unsignedAttrs"
			for _, a := range k.Kids {
				nameUnsigned(a, prefix)
			}
		case i < len(names):
			k.Name = prefix + names[i]
			i++
		}
	}
}

func nameUnsigned(attribute *Node, prefix string) {
	if len(attribute.Kids) != 2 {
		return
	}
	for _, a := range []struct {
		name string
		oid  asn1.ObjectIdentifier
	}{
		{"token: ", asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 14}},
		{"token: ", asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 3, 3, 1}},
		{"nested: ", asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 4, 1}},
	} {
		if der, err := asn1.Marshal(a.oid); err == nil && bytes.Equal(der, attribute.Kids[0].Full()) {
			for _, value := range attribute.Kids[1].Kids {
				nameCMS(value, prefix+a.name)
			}
		}
	}
}

// OpenCMS lists what nothing covers in a message that [NameCMS] has named,
// beside what its format may leave open.
func OpenCMS(root *Node) (open []Open) {
	add := func(name, change, reason string) {
		for i := range open {
			if o := &open[i]; o.Region == name && o.Reason == reason {
				if !slices.Contains(o.Changes, change) {
					o.Changes = append(o.Changes, change)
				}
				return
			}
		}
		open = append(open, Open{name, []string{change}, reason})
	}
	root.walk(func(n, parent *Node) {
		name := n.Name[strings.LastIndex(n.Name, " ")+1:] // without the prefix
		switch own := parent == nil || n.Name != parent.Name; {
		case own && name == "certificates":
			if len(n.Kids) > 1 {
				add(n.Name, ExchangeElements, "few signers sort the certificates")
				add(n.Name, DeleteElement, "the copy of a root is not needed: the verifier has its own")
			}
		case own && name == "unsignedAttrs" && len(n.Kids) > 1:
			add(n.Name, ExchangeElements, "few signers sort the unsigned attributes")
			add(n.Name, DeleteElement, "nothing says that there was a nested signature")
		case strings.HasPrefix(name, "digestAlgorithm") || name == "signatureAlgorithm":
			if len(n.Kids) > 0 && n.Kids[0].Tag == 6 {
				change := AddElement
				if len(n.Kids) == 2 {
					change = DeleteElement
				}
				add(n.Name, change, "parameters are absent or NULL (RFC 5754, 2), and signers write both")
			}
		}
	})
	return open
}

// walk calls f with each element and its parent.
func (n *Node) walk(f func(n, parent *Node)) {
	f(n, nil)
	n.below(f)
}

func (n *Node) below(f func(n, parent *Node)) {
	for _, k := range n.Kids {
		f(k, n)
		k.below(f)
	}
}
