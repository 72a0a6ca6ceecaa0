package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// keyVersion changes when Compile makes something else of the same inputs.
const keyVersion = "hallmark build 1"

// Key returns a hex SHA-256 over everything that Compile's output depends on: the target, the source and its state of
// version control, the Go version and its settings, the identity of the C compiler and its linker, and the resource files.
// It runs neither go build nor go list, so that a release in which nothing changed costs nearly nothing.
//
// Of the C libraries that the system has installed the key knows nothing: when they change, clean the dist folder.
func (b *Builder) Key(ctx context.Context, t Target) (string, error) {
	env, err := b.goEnv(ctx, t.Go)
	if err != nil {
		return "", fmt.Errorf("%s: %w", t, err)
	}
	c, err := b.compiler(t)
	if err != nil {
		return "", fmt.Errorf("%s: %w", t, err)
	}
	inputs := struct {
		Version     string
		Target      Target
		Source      Source
		Environment map[string]string
		Tools       []tool
		Resources   map[string]string
		Profile     string `json:",omitempty"`
		Unstamped   bool   `json:",omitempty"`
	}{Version: keyVersion, Target: b.withLinker(t, c), Source: b.src, Environment: keyEnvironment(env, t.cgo())}
	inputs.Source.Dir = "" // -trimpath
	inputs.Unstamped = b.src.unstamped
	if c != nil {
		inputs.Tools = c.tools()
		if name := inputs.Target.linker(); name != "" && name != c.linker.Name {
			inputs.Tools = append(inputs.Tools, c.otherLinker(name, t.Platform))
		}
	}
	if inputs.Resources, err = b.resourceDigests(t); err != nil {
		return "", fmt.Errorf("%s: %w", t, err)
	}
	if inputs.Profile, err = b.profileDigest(env); err != nil {
		return "", fmt.Errorf("%s: %w", t, err)
	}
	data, err := json.Marshal(inputs)
	if err != nil {
		return "", fmt.Errorf("%s: %w", t, err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}

// tools returns the programs that take part.
func (c *compiler) tools() []tool {
	all := []tool{c.cc, c.cxx, c.linker}
	if c.gcc != nil {
		all = append(all, c.gcc.cc) // stands for its libraries
	}
	return all
}

// keyEnvironment returns those settings of the go command that can change what it builds.
func keyEnvironment(env map[string]string, cgo bool) map[string]string {
	kept := make(map[string]string)
	for name, value := range env {
		switch name {
		// What Compile sets itself, or what -trimpath makes of no effect.
		case "GOOS", "GOARCH", "GOAMD64", "GOARM64", "GO386", "GOEXE", "CC", "CXX", "CGO_ENABLED", "GOTOOLCHAIN", "GOMOD", "GOWORK":
			continue
		// Where the go command keeps and gets things. What it gets is fixed by go.sum.
		case "GOCACHE", "GOCACHEPROG", "GOMODCACHE", "GOTMPDIR", "GOPATH", "GOBIN", "GOENV", "GOTELEMETRY", "GOTELEMETRYDIR",
			"GOPROXY", "GOSUMDB", "GONOSUMDB", "GONOPROXY", "GOPRIVATE", "GOINSECURE", "GOAUTH", "GOVCS":
			continue
		// Holds the name of a temporary folder.
		case "GOGCCFLAGS":
			continue
		}
		if c := strings.HasPrefix(name, "CGO_") || name == "AR" || name == "PKG_CONFIG"; c && !cgo {
			continue
		}
		kept[name] = value
	}
	if cgo {
		// Where C compilers and pkg-config look besides their own folders.
		for _, name := range []string{"CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "LIBRARY_PATH", "COMPILER_PATH", "GCC_EXEC_PREFIX",
			"PKG_CONFIG_PATH", "PKG_CONFIG_LIBDIR", "PKG_CONFIG_SYSROOT_DIR"} {
			if value := os.Getenv(name); value != "" {
				kept[name] = value
			}
		}
	}
	return kept
}

// resourceDigests returns the SHA-256 of each file that a Windows target's resources are made of.
func (b *Builder) resourceDigests(t Target) (map[string]string, error) {
	sums := make(map[string]string)
	for _, name := range []string{t.Windows.Icon, t.Windows.Manifest} {
		if name == "" || t.Platform.OS != "windows" {
			continue
		}
		data, err := b.readAsset(name)
		if err != nil {
			return nil, fmt.Errorf("windows resources: %w", err)
		}
		sum := sha256.Sum256(data)
		sums[name] = hex.EncodeToString(sum[:])
	}
	return sums, nil
}

// profileDigest returns the SHA-256 of the profile that GOFLAGS names with -pgo, or "". Git may ignore it, and then it does
// not belong to the source.
func (b *Builder) profileDigest(env map[string]string) (string, error) {
	flags, err := goFlags(env)
	if err != nil {
		return "", err
	}
	profile := ""
	for _, f := range flags {
		if f.name == "pgo" {
			profile = f.value
		}
	}
	if profile == "" || profile == "auto" || profile == "off" {
		return "", nil
	}
	data, err := os.ReadFile(resolve(b.src.Dir, profile))
	if err != nil {
		return "", fmt.Errorf("GOFLAGS: -pgo: %w", err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}
