package dist

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
	"unicode"
)

// checkName accepts slash paths that stay inside the folder they are unpacked in, on Windows too, and that a screen
// shows as they are.
func checkName(name string) error {
	if len(name) > maxName {
		return fmt.Errorf("name of %d bytes is longer than %d", len(name), maxName)
	}
	if name == "." || !fs.ValidPath(name) {
		return fmt.Errorf("name %q is not a clean relative slash path", name)
	}
	for _, r := range name {
		// A backslash or a drive's colon would be a path of its own on Windows.
		if r == '\\' || r == ':' || r == unicode.ReplacementChar || invisible(r) {
			return fmt.Errorf("name %q holds %q, which a file system or a screen may take for something else: rename the file", name, r)
		}
	}
	return nil
}

// invisible tells whether a character controls how text is shown rather than being shown itself: control characters,
// line separators, and the format characters (Unicode category Cf), among them those that change the direction of text
// (UAX #9). The two joiners are letters of their scripts.
func invisible(r rune) bool {
	const nonJoiner, joiner = '\u200c', '\u200d'
	return unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp) || unicode.Is(unicode.Cf, r) && r != nonJoiner && r != joiner
}

// checkZipName accepts what checkName does, less the names that Windows gives to a device or changes when it creates a
// file: zip is the format for Windows.
func checkZipName(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	for element := range strings.SplitSeq(name, "/") {
		if err := WindowsName(element); err != nil {
			return fmt.Errorf("name %q in a zip: %w", name, err)
		}
	}
	return nil
}

// WindowsName reports why a file or a folder of this name cannot exist on Windows: a name that ends in a dot or a space,
// which Windows removes, and those of devices, with any extension ("Naming Files, Paths, and Namespaces" of the Windows
// documentation).
func WindowsName(name string) error {
	if strings.HasSuffix(name, ".") || strings.HasSuffix(name, " ") {
		return fmt.Errorf("%q ends in a dot or a space, which Windows removes: rename it", name)
	}
	base, _, _ := strings.Cut(name, ".")
	base = strings.ToUpper(strings.TrimRight(base, " "))
	device := false
	switch base {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$":
		device = true
	default:
		port, isPort := strings.CutPrefix(base, "COM")
		if !isPort {
			port, isPort = strings.CutPrefix(base, "LPT")
		}
		device = isPort && len([]rune(port)) == 1 && strings.Contains("0123456789¹²³", port)
	}
	if device {
		return fmt.Errorf("%q is the name of a device on Windows: rename it", name)
	}
	return nil
}

// maxNames bounds the bytes of all names of an archive, which are remembered to refuse duplicates.
const maxNames = 16 << 20

// maxDirectory bounds the central directory of a zip.
const maxDirectory = 32 << 20

// nameSet holds the names of an archive's files and folders, and refuses what two programs would unpack differently.
type nameSet struct {
	names map[string]nameKind
	fold  bool // names that differ in case only are the same, as on Windows
	bytes int
}

type nameKind byte

const (
	impliedFolder nameKind = iota // named by what is in it
	namedFolder
	namedFile
)

func newNameSet(fold bool) *nameSet { return &nameSet{names: map[string]nameKind{}, fold: fold} }

// add takes one name, which checkName has accepted.
func (s *nameSet) add(name string, folder bool) error {
	kind := namedFile
	if folder {
		kind = namedFolder
	}
	was, ok := s.names[s.key(name)]
	switch {
	case ok && (was == namedFile) != (kind == namedFile):
		return fmt.Errorf("%q is both a file and a folder", name)
	case ok && was != impliedFolder && s.fold:
		return fmt.Errorf("%q is there twice, for Windows, which does not tell capital letters from small ones", name)
	case ok && was != impliedFolder:
		return fmt.Errorf("%q is there twice", name)
	}
	s.names[s.key(name)] = kind
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		was, ok := s.names[s.key(dir)]
		if ok && was == namedFile {
			return fmt.Errorf("%q is both a file and a folder", dir)
		}
		if ok {
			break
		}
		s.names[s.key(dir)] = impliedFolder
	}
	if s.bytes += len(name); s.bytes > maxNames {
		return fmt.Errorf("names of more than %d bytes", maxNames)
	}
	if len(s.names) > maxEntries {
		return fmt.Errorf("more than %d entries", maxEntries)
	}
	return nil
}

func (s *nameSet) key(name string) string {
	if s.fold {
		return strings.ToLower(name)
	}
	return name
}
