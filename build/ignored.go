package build

import (
	"bytes"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// maxScanned bounds the Go files that are searched for imports and embedded files. Longer ones hold generated data.
const maxScanned = 16 << 20

// goUses is what a Go file makes a build read besides.
type goUses struct {
	imports []string
	embeds  []string // patterns, without "all:"
}

// isProgramText reports whether a file is a Go file that may go into a program.
func isProgramText(file string) bool {
	base := filepath.Base(file)
	return strings.HasSuffix(base, ".go") && !strings.HasSuffix(base, "_test.go") && base[0] != '_' && base[0] != '.'
}

// scanGo reads the imports and the embed patterns of a Go file. It takes any comment that looks like a go:embed
// directive for one: a file too many does no harm.
func scanGo(text []byte) *goUses {
	uses := new(goUses)
	// In a file that does not parse, the imports are those before the mistake.
	file, _ := parser.ParseFile(token.NewFileSet(), "", text, parser.ImportsOnly|parser.SkipObjectResolution)
	if file != nil {
		for _, spec := range file.Imports {
			if p, err := strconv.Unquote(spec.Path.Value); err == nil {
				uses.imports = append(uses.imports, p)
			}
		}
	}
	if !slices.Contains(uses.imports, "embed") {
		return uses
	}
	for line := range bytes.Lines(text) {
		_, args, ok := bytes.Cut(line, []byte("//go:embed"))
		if ok {
			uses.embeds = append(uses.embeds, embedPatterns(string(args))...)
		}
	}
	return uses
}

// embedPatterns splits the arguments of a go:embed directive: patterns divided by blanks, some of them Go strings.
func embedPatterns(args string) []string {
	var patterns []string
	for args = strings.TrimSpace(args); args != ""; args = strings.TrimSpace(args) {
		word, rest := args, ""
		if quoted, err := strconv.QuotedPrefix(args); err == nil {
			rest = args[len(quoted):]
			if word, err = strconv.Unquote(quoted); err != nil {
				return patterns
			}
		} else if i := strings.IndexAny(args, " \t"); i >= 0 {
			word, rest = args[:i], args[i:]
		}
		patterns = append(patterns, strings.TrimPrefix(word, "all:"))
		args = rest
	}
	return patterns
}

// needed adds the files that git ignores but that a build may read: in the folders of packages those that the go command
// compiles, of every system and every build tag; what //go:embed names; packages in ignored folders that others
// import; and, if anything uses cgo, every file that a C compiler or linker may read. The question that go list would
// answer for one platform, in as long as an unchanged release takes, is so answered for all: with no file too few, and
// those too many that belong to another platform.
//
// The batch are files whose uses have not been followed yet. The packages are those that will be built, as patterns of
// the go command.
func (s *sourceFiles) needed(batch []*sourceFile, packages []string) error {
	if len(s.ignored) == 0 {
		return nil
	}
	for _, root := range s.roots.paths {
		s.add(realPath(root)) // a go.work; folders are trees of their own
	}
	for _, m := range s.roots.modules {
		for _, name := range []string{"go.mod", "go.sum", "vendor/modules.txt"} {
			s.add(filepath.Join(m.dir, filepath.FromSlash(name)))
		}
	}
	for _, pattern := range packages {
		if strings.HasPrefix(pattern, ".") || filepath.IsAbs(pattern) {
			s.takePackage(realPath(resolve(s.dir, pattern)))
			continue
		}
		s.takePackage(realPath(resolve(s.dir, pattern))) // a folder without the leading "./", see Builder.pattern
		s.takeImport(pattern)
	}
	for _, f := range batch {
		if f.uses == nil {
			continue
		}
		dir := filepath.Dir(f.path)
		s.takePackage(dir)
		for _, p := range f.uses.imports {
			s.takeImport(p)
		}
		for _, pattern := range f.uses.embeds {
			if err := s.takeEmbedded(dir, pattern); err != nil {
				return err
			}
		}
		if slices.Contains(f.uses.imports, "C") && !s.cgo {
			s.cgo = true
			if err := s.takeForC(); err != nil {
				return err
			}
		}
	}
	return nil
}

// add adds an ignored file.
func (s *sourceFiles) add(file string) {
	if s.have[file] || s.skip[file] {
		return
	}
	info, err := os.Lstat(file)
	if err != nil {
		return
	}
	f := &sourceFile{path: file, mode: "file"}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		f.mode = "link"
	case !info.Mode().IsRegular():
		return
	}
	rel, err := filepath.Rel(s.dir, file)
	if err != nil {
		rel = file
	}
	f.name = filepath.ToSlash(rel)
	s.have[file] = true
	s.files = append(s.files, f)
}

// takePackage adds the ignored files of a folder that the go command would compile into a package there.
func (s *sourceFiles) takePackage(dir string) {
	if s.packages[dir] {
		return
	}
	s.packages[dir] = true
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // not there: an import of another module
	}
	for _, e := range entries {
		base := e.Name()
		if base[0] == '.' || base[0] == '_' || strings.HasSuffix(base, "_test.go") {
			continue
		}
		if ext := filepath.Ext(base); ext == ".go" || ext == ".syso" || ext == ".pgo" || isForC(base) {
			s.add(filepath.Join(dir, base))
		}
	}
}

// takeImport adds the ignored files of the local packages that an import path may name.
func (s *sourceFiles) takeImport(importPath string) {
	if _, ok := s.imports[importPath]; ok {
		return
	}
	var dirs []string
	for _, m := range s.roots.modules {
		if rest, ok := strings.CutPrefix(importPath, m.path); ok && (rest == "" || rest[0] == '/') {
			dirs = append(dirs, filepath.Join(m.dir, filepath.FromSlash(rest)))
		}
		dirs = append(dirs, filepath.Join(m.dir, "vendor", filepath.FromSlash(importPath)))
	}
	s.imports[importPath] = dirs
	for _, dir := range dirs {
		s.takePackage(dir)
	}
}

// takeEmbedded adds the ignored files that a pattern of go:embed names.
func (s *sourceFiles) takeEmbedded(dir, pattern string) error {
	if !fs.ValidPath(path.Clean(pattern)) {
		return nil // the go command refuses it
	}
	matches, err := fs.Glob(os.DirFS(dir), path.Clean(pattern))
	if err != nil {
		return nil
	}
	for _, m := range matches {
		file := filepath.Join(dir, filepath.FromSlash(m))
		if info, err := os.Lstat(file); err != nil || !info.IsDir() {
			s.add(file)
			continue
		}
		if err := s.addTree(file, func(string) bool { return true }); err != nil {
			return err
		}
	}
	return nil
}

// takeForC adds all ignored files that C compilers and linkers read.
func (s *sourceFiles) takeForC() error {
	for _, ignored := range s.ignored {
		if err := s.addTree(ignored, isForC); err != nil {
			return err
		}
	}
	return nil
}

// addTree adds the ignored files of a folder, or a file, whose names take accepts.
func (s *sourceFiles) addTree(root string, take func(base string) bool) error {
	return filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // may not be read, by the compilers either
		}
		if s.skip[file] || d.Name() == ".git" || d.Name() == ".hg" || strings.HasPrefix(d.Name(), ".hallmark-") {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if d.IsDir() || s.have[file] || !take(d.Name()) {
			return nil
		}
		if s.linked++; s.linked > maxLinked {
			return fmt.Errorf("%s holds more than %d files that git ignores and a build may read, too many to tell when they change; move it out of the module", root, maxLinked)
		}
		s.add(file)
		return nil
	})
}

// isForC reports whether C compilers, assemblers, linkers or SWIG may read a file of the name. The first lines are the
// names of go help packages and cgo; the last are what such files include or link.
func isForC(base string) bool {
	switch strings.ToLower(filepath.Ext(base)) {
	case ".c", ".cc", ".cpp", ".cxx", ".m", ".mm", ".h", ".hh", ".hpp", ".hxx", ".f", ".for", ".f90", ".s", ".sx", ".swig", ".swigcxx", ".syso",
		".c++", ".h++", ".inc", ".inl", ".ipp", ".tcc", ".def", ".i", ".tbl", ".a", ".o", ".obj", ".so", ".dylib", ".dll", ".lib", ".ld", ".map":
		return true
	}
	return strings.Contains(base, ".so.") // libx.so.1
}
