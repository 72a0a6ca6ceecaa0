package build

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Platform is an operating system and an instruction set, named as GOOS and GOARCH name them.
type Platform struct {
	OS   string // GOOS: windows or linux
	Arch string // GOARCH: amd64, arm64 or 386

	// Variant is the value of GOAMD64 (v1 to v4), GOARM64 (v8.0 to v9.5, with options) or GO386 (sse2, softfloat).
	// Empty is the oldest one that Go supports: the environment of the caller does not change what is released.
	Variant string
}

// operatingSystems and architectures span the possible platforms, in the order in which messages list them.
func operatingSystems() []string { return []string{"windows", "linux"} }
func architectures() []string    { return []string{"amd64", "arm64", "386"} }

// Platforms returns every platform that hallmark builds for, without variants.
func Platforms() []Platform {
	var all []Platform
	for _, goos := range operatingSystems() {
		for _, goarch := range architectures() {
			all = append(all, Platform{OS: goos, Arch: goarch})
		}
	}
	return all
}

// ParsePlatform reads the text form of a platform: "windows/amd64", "linux/arm64", or with a variant "linux/amd64/v3".
// The error of an unknown one lists what is possible and names the nearest.
func ParsePlatform(s string) (Platform, error) {
	goos, rest, _ := strings.Cut(s, "/")
	goarch, variant, hasVariant := strings.Cut(rest, "/")
	p := Platform{OS: goos, Arch: goarch, Variant: variant}
	if !slices.Contains(operatingSystems(), goos) || !slices.Contains(architectures(), goarch) {
		return Platform{}, unknownPlatform(s)
	}
	if hasVariant && !validVariant(goarch, variant) {
		return Platform{}, fmt.Errorf("platform %q: %s has no variant %q; possible: %s", s, goarch, variant, strings.Join(variants(goarch), ", "))
	}
	return p, nil
}

// String returns the form that ParsePlatform reads.
func (p Platform) String() string {
	s := p.OS + "/" + p.Arch
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// Slug returns the platform as a part of a file name: "linux_arm64", "linux_amd64_v3".
func (p Platform) Slug() string {
	return strings.NewReplacer("/", "_", ",", "_").Replace(p.String())
}

// environment returns what the go command takes the platform from. The variant is always given, so that neither the
// caller's environment nor "go env -w" decides which processors can run a release.
func (p Platform) environment() []string {
	env := []string{"GOOS=" + p.OS, "GOARCH=" + p.Arch}
	variant := p.Variant
	if variant == "" {
		variant = variants(p.Arch)[0]
	}
	return append(env, variantVariable(p.Arch)+"="+variant)
}

// variantVariable names the environment variable that chooses a variant of the architecture.
func variantVariable(arch string) string {
	switch arch {
	case "amd64":
		return "GOAMD64"
	case "arm64":
		return "GOARM64"
	default:
		return "GO386"
	}
}

// variants lists the variants of an architecture, the default first.
func variants(arch string) []string {
	switch arch {
	case "amd64":
		return []string{"v1", "v2", "v3", "v4"}
	case "arm64":
		return []string{"v8.0", "v8.1", "v8.2", "v8.3", "v8.4", "v8.5", "v8.6", "v8.7", "v8.8", "v8.9",
			"v9.0", "v9.1", "v9.2", "v9.3", "v9.4", "v9.5"}
	default:
		return []string{"sse2", "softfloat"}
	}
}

// validVariant tells whether the go command knows the variant. An arm64 one may be followed by ",lse" and ",crypto".
func validVariant(arch, variant string) bool {
	if arch == "arm64" {
		base, options, _ := strings.Cut(variant, ",")
		switch options {
		case "", "lse", "crypto", "lse,crypto", "crypto,lse":
			variant = base
		}
	}
	return slices.Contains(variants(arch), variant)
}

// unknownPlatform explains a platform that hallmark does not build for.
func unknownPlatform(s string) error {
	var names []string
	for _, p := range Platforms() {
		names = append(names, p.String())
	}
	// The names that other tools use for the same things.
	asked := strings.NewReplacer("x86_64", "amd64", "aarch64", "arm64", "i386", "386", "i686", "386", "win64", "windows/amd64",
		"win32", "windows/386", "_", "/", "-", "/").Replace(strings.ToLower(s))
	hint := ""
	if near := nearest(asked, names); near != "" {
		hint = fmt.Sprintf(", did you mean %s?", near)
	}
	return fmt.Errorf("platform %q is unknown%s possible: %s", s, cmp.Or(hint, ";"), strings.Join(names, ", "))
}

// nearest returns the word that is the fewest edits away from s, or "" when none is within two, or a third of its length.
func nearest(s string, words []string) string {
	best, fewest := "", max(2, len(s)/3)+1
	for _, w := range words {
		if d := edits(s, w); d < fewest {
			best, fewest = w, d
		}
	}
	return best
}

// edits is the Levenshtein distance of two words, in bytes.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := diagonal
			if a[i] != b[j] {
				d++
			}
			diagonal = row[j+1]
			row[j+1] = min(d, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
