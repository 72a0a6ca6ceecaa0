package boundaries

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
)

// modulePath is this project's module.
const modulePath = "github.com/hallmark-build/hallmark"

// sourcesOf says which hallmark this is, in some of its folders: what an older
// one has made or heard is not taken over. Where the module has a version, that;
// where somebody works on it, the digest of its Go files; else that of this
// program.
func sourcesOf(folders ...string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range append(info.Deps, &info.Main) {
			if m.Path == modulePath && m.Replace == nil && m.Version != "" && !strings.Contains(m.Version, "devel") && !strings.Contains(m.Version, "+dirty") {
				return m.Version
			}
		}
	}
	if s, err := digestFolders(folders); err == nil {
		return s
	}
	exe, err := os.Executable()
	if err != nil {
		return "unknown"
	}
	s, err := hashFile(exe)
	if err != nil {
		return "unknown"
	}
	return s
}

func digestFolders(folders []string) (string, error) {
	_, file, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(file), "..", "..")
	h := sha256.New()
	for _, folder := range folders {
		n := 0
		err := filepath.WalkDir(filepath.Join(root, filepath.FromSlash(folder)), func(file string, e fs.DirEntry, err error) error {
			name := filepath.ToSlash(file)
			// Judges and expectations do not make files.
			if err == nil && e.IsDir() && strings.HasSuffix(name, "/compat") && !slices.Contains(folders, "signing/compat") {
				return fs.SkipDir
			}
			if err != nil || e.IsDir() || strings.HasSuffix(file, "_test.go") || !strings.HasSuffix(file, ".go") && !strings.HasSuffix(file, ".go.txt") {
				return err
			}
			for _, other := range []string{"/expect.go", "/run.go", "/record.go", "/report.go", "/judges.go", "/counts.go", "/plan.go", "/markdown.go", "/tables.go", "/places.go", "/boundaries.go", "/running.go", "/debugged.go", "/claims.go", "/verdicts.go"} {
				if strings.HasSuffix(name, "targets/boundaries"+other) {
					return nil
				}
			}
			sum, err := hashFile(file)
			fmt.Fprintln(h, strings.TrimPrefix(name, filepath.ToSlash(root)), sum)
			n++
			return err
		})
		if err != nil {
			return "", err
		}
		if n == 0 {
			return "", fs.ErrNotExist
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
