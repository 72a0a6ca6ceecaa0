// Package host says what machine this is, which tools the stages of a release find on it, and installs those that
// are missing.
//
// A tool is found by looking for files only: its program on PATH, and the headers without which a C compiler is of no
// use (the distributions only recommend them, so a compiler alone proves nothing). No program is run for that, so that
// Setup takes milliseconds when nothing is missing. Doctor does run each program once, for its version, with a limit
// on time and output.
//
// Nothing here reads a package variable or the process's state behind the caller's back: a system value holds the root
// of the file system, the environment and the user, and tests make their own.
package host

import (
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/hallmark-build/hallmark/build/environ"
)

// Tool is a program that a stage uses.
type Tool struct {
	Name     string   // of the row in the table
	Programs []string // file names looked for on PATH, or with a slash patterns relative to /; the first that is there counts
	Older    []string // names that do too, when none of Programs is there and apt has none of Packages
	Headers  []string // patterns (path.Match, relative to /) of files that must be there too; Linux only
	Packages []string // of Debian and Ubuntu
	Fallback []string // packages to take when apt does not know Packages
	Fedora   []string // packages of Fedora
	Arch     []string // packages of Arch Linux
	Brew     []string // formulas of Homebrew
	Module   string   // PATH@VERSION of a Go program that no distribution packages: Setup builds it
	Kernel   string   // series of a Linux kernel, "6.1", that Packages lead to: Setup fetches it without installing it
	Take     string   // a file of Packages that suffices, relative to /: Setup takes it from the package without installing that
	Purpose  string   // what lacks without it
	Lab      bool     // for the map of boundaries, for judges that are dear to fetch, and for this project's tests; a lean setup leaves it away
	Required bool     // nothing works without it; the stages do without any other, and say what they could not do
	Version  []string // arguments that print the version; nil: it has none
}

// Tools lists what the stages and their tests use on this machine's architecture, compilers first.
func Tools() []Tool { return toolsFor(runtime.GOARCH) }

func toolsFor(goarch string) []Tool {
	version := []string{"--version"}
	// LLVM 19 is the first whose clang finds Debian's MinGW libraries and whose linked PE files are reproducible.
	llvm := func(name string) []string {
		return []string{name + "-22", name + "-21", name + "-20", name + "-19"}
	}
	tools := []Tool{
		{Name: "git", Programs: []string{"git"}, Packages: []string{"git"}, Fedora: []string{"git-core"}, Arch: []string{"git"}, Brew: []string{"git"},
			Purpose: "version, revision and time of what is built", Required: true, Version: version},
		{Name: "gcc", Programs: []string{"gcc"}, Headers: []string{"usr/include/stdio.h"}, Packages: []string{"gcc", "libc6-dev"},
			Fedora: []string{"gcc", "glibc-devel"}, Arch: []string{"gcc"}, Purpose: "C in Linux targets of toolchain gcc", Version: version},
		{Name: "g++", Programs: []string{"g++"}, Headers: []string{"usr/include/c++/*/iostream"}, Packages: []string{"g++", "libc6-dev"},
			Fedora: []string{"gcc-c++"}, Arch: []string{"gcc"}, Purpose: "C++ in Linux targets of toolchain gcc", Version: version},
		{Name: "clang", Programs: llvm("clang"), Older: []string{"clang"}, Packages: []string{"clang-19", "lld-19"}, Fallback: []string{"clang", "lld"},
			Fedora: []string{"clang", "lld"}, Arch: []string{"clang", "lld"}, Brew: []string{"llvm", "lld"}, Purpose: "targets of toolchain clang and clang-mingw", Version: version},
		{Name: "lld", Programs: llvm("ld.lld"), Older: []string{"ld.lld"}, Packages: []string{"lld-19"}, Fallback: []string{"lld"},
			Fedora: []string{"lld"}, Arch: []string{"lld"}, Brew: []string{"lld"}, Purpose: "linking of toolchain clang and clang-mingw", Version: version},
		{Name: "mold", Programs: []string{"mold"}, Packages: []string{"mold"}, Fedora: []string{"mold"}, Arch: []string{"mold"}, Brew: []string{"mold"},
			Purpose: "linking of toolchain gcc where there is no lld, and a row of benchToolchains", Version: version},
	}
	for _, m := range []struct{ cpu, deb, fedora, what string }{{"x86_64", "x86-64", "mingw64", "windows/amd64"}, {"i686", "i686", "mingw32", "windows/386"}} {
		tools = append(tools,
			Tool{Name: m.cpu + "-w64-mingw32-gcc", Programs: []string{m.cpu + "-w64-mingw32-gcc"}, Packages: []string{"gcc-mingw-w64-" + m.deb},
				Fedora: []string{m.fedora + "-gcc"}, Arch: []string{"mingw-w64-gcc"}, Brew: []string{"mingw-w64"},
				Purpose: "C in " + m.what + " targets of toolchain mingw and clang-mingw", Version: version},
			Tool{Name: m.cpu + "-w64-mingw32-g++", Programs: []string{m.cpu + "-w64-mingw32-g++"}, Packages: []string{"g++-mingw-w64-" + m.deb},
				Fedora: []string{m.fedora + "-gcc-c++"}, Arch: []string{"mingw-w64-gcc"}, Brew: []string{"mingw-w64"},
				Purpose: "C++ in " + m.what + " targets of toolchain mingw and clang-mingw", Version: version})
	}
	tools = append(tools, crossGCC(goarch)...)
	if goarch != "arm64" {
		tools = append(tools, Tool{Name: "qemu-aarch64", Lab: true, Programs: []string{"qemu-aarch64"}, Packages: []string{"qemu-user"}, Fedora: []string{"qemu-user"}, Arch: []string{"qemu-user"},
			Purpose: "signed Linux programs for arm64 are run to see that they still do", Version: version})
	}
	return append(tools,
		Tool{Name: "osslsigncode", Programs: []string{"osslsigncode"}, Packages: []string{"osslsigncode"}, Fedora: []string{"osslsigncode"}, Brew: []string{"osslsigncode"},
			Purpose: "a second judge of signed Windows files, with trust and timestamp", Version: version},
		Tool{Name: "sbverify", Programs: []string{"sbverify"}, Packages: []string{"sbsigntool"}, Fedora: []string{"sbsigntools"}, Arch: []string{"sbsigntools"},
			Purpose: "a third judge of signed Windows files", Version: version},
		Tool{Name: "relic", Lab: true, Programs: []string{"relic"}, Module: "github.com/sassoftware/relic/v7@v7.6.2",
			Purpose: "a judge of signed Windows files, with page hashes, trust and timestamp", Version: version},
		Tool{Name: "pedumper", Lab: true, Programs: []string{"pedumper"}, Module: "github.com/saferwall/pe/cmd@v1.6.5",
			Purpose: "a judge of signed Windows files that wants strict DER", Version: []string{"version"}},
		Tool{Name: "mono", Lab: true, Programs: []string{"mono"}, Packages: []string{"mono-runtime", "libmono-security4.0-cil"}, Fedora: []string{"mono-core"}, Arch: []string{"mono"}, Brew: []string{"mono"},
			Purpose: "runs chktrust", Version: version},
		// mono-devel depends on two hundred packages, and all of them are for other programs.
		Tool{Name: "chktrust", Lab: true, Programs: []string{"usr/lib/mono/4.5/chktrust.exe"}, Packages: []string{"mono-devel"}, Take: "usr/lib/mono/4.5/chktrust.exe", Fedora: []string{"mono-devel"}, Arch: []string{"mono"}, Brew: []string{"mono"},
			Purpose: "a judge of signed Windows files, in C#"},
		Tool{Name: "pesign", Programs: []string{"pesign"}, Packages: []string{"pesign"}, Fedora: []string{"pesign"},
			Purpose: "a judge of the digest in signed Windows files"},
		Tool{Name: "hash-to-efi-sig-list", Programs: []string{"hash-to-efi-sig-list"}, Packages: []string{"efitools"}, Fedora: []string{"efitools"}, Arch: []string{"efitools"},
			Purpose: "another judge of the digest in signed Windows files", Version: version},
		Tool{Name: "openssl", Programs: []string{"openssl"}, Packages: []string{"openssl"}, Fedora: []string{"openssl"}, Arch: []string{"openssl"}, Brew: []string{"openssl"},
			Purpose: "a second judge of signed Linux files", Version: []string{"version"}},
		Tool{Name: "fusermount3", Lab: true, Programs: []string{"fusermount3"}, Packages: []string{"fuse3"}, Fedora: []string{"fuse3"}, Arch: []string{"fuse3"},
			Purpose: "file systems of a set latency in benchToolchains, for a user who is not root", Version: version},
		Tool{Name: "readelf", Programs: []string{"readelf"}, Packages: []string{"binutils"}, Fedora: []string{"binutils"}, Arch: []string{"binutils"}, Brew: []string{"binutils"},
			Purpose: "tests look into Linux files with it", Version: version},
		Tool{Name: "dpkg-deb", Programs: []string{"dpkg-deb"}, Packages: []string{"dpkg"}, Fedora: []string{"dpkg"}, Arch: []string{"dpkg"}, Brew: []string{"dpkg"},
			Purpose: "tests unpack deb packages with it", Version: version},
		Tool{Name: "rpm", Programs: []string{"rpm"}, Packages: []string{"rpm"}, Fedora: []string{"rpm"}, Arch: []string{"rpm-tools"}, Brew: []string{"rpm"},
			Purpose: "tests check rpm packages with it", Version: version},
		Tool{Name: "rpm2archive", Programs: []string{"rpm2archive"}, Packages: []string{"rpm2cpio"}, Fedora: []string{"rpm"}, Arch: []string{"rpm-tools"}, Brew: []string{"rpm"},
			Purpose: "tests unpack rpm packages with it"},
		Tool{Name: "rpmkeys", Programs: []string{"rpmkeys"}, Packages: []string{"rpm"}, Fedora: []string{"rpm"}, Arch: []string{"rpm-tools"}, Brew: []string{"rpm"},
			Purpose: "a judge of rpm packages", Version: version},
		Tool{Name: "debsig-verify", Programs: []string{"debsig-verify"}, Packages: []string{"debsig-verify"},
			Purpose: "a judge of signed deb packages", Version: version},
		Tool{Name: "gpg", Programs: []string{"gpg"}, Packages: []string{"gpg"}, Fedora: []string{"gnupg2"}, Arch: []string{"gnupg"}, Brew: []string{"gnupg"},
			Purpose: "debsig-verify asks it", Version: version},
		Tool{Name: "modinfo", Programs: []string{"modinfo", "usr/sbin/modinfo", "sbin/modinfo"}, Packages: []string{"kmod"}, Fedora: []string{"kmod"}, Arch: []string{"kmod"},
			Purpose: "a judge of signed kernel modules", Version: version},
		Tool{Name: "unzip", Programs: []string{"unzip"}, Packages: []string{"unzip"}, Fedora: []string{"unzip"}, Arch: []string{"unzip"}, Brew: []string{"unzip"},
			Purpose: "tests unpack zip archives with it", Version: []string{"-v"}},
		Tool{Name: "zstd", Programs: []string{"zstd"}, Packages: []string{"zstd"}, Fedora: []string{"zstd"}, Arch: []string{"zstd"}, Brew: []string{"zstd"},
			Purpose: "tests unpack archlinux packages with it", Version: version},
		Tool{Name: "jq", Lab: true, Programs: []string{"jq"}, Packages: []string{"jq"}, Fedora: []string{"jq"}, Arch: []string{"jq"}, Brew: []string{"jq"},
			Purpose: "tests run the step that publishes a release with it", Version: version},
		Tool{Name: "patchelf", Lab: true, Programs: []string{"patchelf"}, Packages: []string{"patchelf"}, Fedora: []string{"patchelf"}, Arch: []string{"patchelf"}, Brew: []string{"patchelf"},
			Purpose: "an operation of the map of boundaries", Version: version},
		Tool{Name: "bindfs", Lab: true, Programs: []string{"bindfs"}, Packages: []string{"bindfs"}, Fedora: []string{"bindfs"}, Arch: []string{"bindfs"},
			Purpose: "the map of boundaries reads files through FUSE with it", Version: version},
		Tool{Name: "debugfs", Lab: true, Programs: []string{"debugfs", "usr/sbin/debugfs"}, Packages: []string{"e2fsprogs"}, Fedora: []string{"e2fsprogs"}, Arch: []string{"e2fsprogs"},
			Purpose: "the map of boundaries copies files out of ext4 with it", Version: []string{"-V"}},
		Tool{Name: "fsverity", Programs: []string{"fsverity"}, Packages: []string{"fsverity"}, Fedora: []string{"fsverity-utils"}, Arch: []string{"fsverity-utils"},
			Purpose: "the fs-verity makers' own signer, with which tests compare byte by byte", Version: version},
		Tool{Name: "evmctl", Programs: []string{"evmctl"}, Packages: []string{"ima-evm-utils"}, Fedora: []string{"ima-evm-utils"},
			Purpose: "a second judge of IMA signatures", Version: version},
		Tool{Name: "lz4", Lab: true, Programs: []string{"lz4"}, Packages: []string{"lz4"}, Fedora: []string{"lz4"}, Arch: []string{"lz4"}, Brew: []string{"lz4"},
			Purpose: "tests unpack the Linux kernel of Debian 12 with it", Version: version},
		Tool{Name: "cosign", Lab: true, Programs: []string{"cosign"}, Module: "github.com/sigstore/cosign/v2/cmd/cosign@v2.6.2", Arch: []string{"cosign"}, Brew: []string{"cosign"},
			Purpose: "a second judge of sigstore bundles", Version: []string{"version"}},
		Tool{Name: "cpio", Lab: true, Programs: []string{"cpio"}, Packages: []string{"cpio"}, Fedora: []string{"cpio"}, Arch: []string{"cpio"},
			Purpose: "tests unpack the file system of a kernel that judges with it", Version: version},
		Tool{Name: "softhsm2-util", Lab: true, Programs: []string{"softhsm2-util"}, Packages: []string{"softhsm2"}, Fedora: []string{"softhsm"}, Arch: []string{"softhsm"}, Brew: []string{"softhsm"},
			Purpose: "a token without hardware, with which tests sign", Version: version},
		Tool{Name: "dlv", Lab: true, Programs: []string{"dlv"}, Module: "github.com/go-delve/delve/cmd/dlv@v1.27.2", Fedora: []string{"delve"}, Arch: []string{"delve"}, Brew: []string{"delve"},
			Purpose: "signed programs are debugged to see that they still can be", Version: []string{"version"}},
		Tool{Name: "wine64", Lab: true, Programs: []string{"wine64", "usr/lib/wine/wine64", "wine"}, Packages: []string{"wine64"}, Fedora: []string{"wine-core"}, Arch: []string{"wine"},
			Purpose: "signed Windows programs are run to see that they still do (100 MB)", Version: version},
		Tool{Name: "Xvfb", Lab: true, Programs: []string{"Xvfb"}, Packages: []string{"xvfb"}, Fedora: []string{"xorg-x11-server-Xvfb"}, Arch: []string{"xorg-server-xvfb"},
			Purpose: "the screen for Windows programs that open windows"},
		Tool{Name: "xdotool", Lab: true, Programs: []string{"xdotool"}, Packages: []string{"xdotool"}, Fedora: []string{"xdotool"}, Arch: []string{"xdotool"},
			Purpose: "finding those windows"},
		Tool{Name: "sign-file", Lab: true, Programs: []string{"usr/lib/linux-kbuild-*/scripts/sign-file", "usr/src/linux-headers-*/scripts/sign-file"},
			Packages: []string{"linux-kbuild-6.1"}, Fallback: []string{"linux-headers-generic"}, Fedora: []string{"kernel-devel"}, Arch: []string{"linux-headers"},
			Purpose: "the kernel's own signer, with which tests compare byte by byte"},
		Tool{Name: "chromium", Lab: true, Programs: []string{"chromium-headless-shell", "chromium", "google-chrome", "chromium-browser"},
			Packages: []string{"chromium-headless-shell"}, Fallback: []string{"chromium"}, Fedora: []string{"chromium-headless"}, Arch: []string{"chromium"},
			Purpose: "tests look at the HTML reports with it", Version: version},
		Tool{Name: "qemu-system-x86_64", Lab: true, Programs: []string{"qemu-system-x86_64"}, Packages: []string{"qemu-system-x86"}, Fedora: []string{"qemu-system-x86-core"}, Arch: []string{"qemu-system-x86"}, Brew: []string{"qemu"},
			Purpose: "boots Linux kernels as judges of signed Linux files", Version: version},
		Tool{Name: "ovmf", Lab: true, Programs: []string{"usr/share/OVMF/OVMF_CODE*.fd", "usr/share/edk2/*/OVMF_CODE*.fd"}, Packages: []string{"ovmf"}, Fedora: []string{"edk2-ovmf"}, Arch: []string{"edk2-ovmf"},
			Purpose: "firmware that gives those kernels certificates to trust"},
		Tool{Name: "mkfs.ext4", Lab: true, Programs: []string{"mkfs.ext4", "usr/sbin/mkfs.ext4", "sbin/mkfs.ext4"}, Packages: []string{"e2fsprogs"}, Fedora: []string{"e2fsprogs"}, Arch: []string{"e2fsprogs"}, Brew: []string{"e2fsprogs"},
			Purpose: "disks with the files that those kernels judge", Version: []string{"-V"}},
		Tool{Name: "debian-archive-keyring", Lab: true, Programs: []string{debianKeys}, Packages: []string{"debian-archive-keyring"}, Fedora: []string{"debian-keyring"}, Arch: []string{"debian-archive-keyring"},
			Purpose: "the keys by which those kernels are known to be Debian's"},
		Tool{Name: "linux 6.1", Lab: true, Kernel: "6.1", Packages: []string{"linux-image-cloud-amd64"},
			Purpose: "the kernel of Debian 12 as a judge of signed Linux files"},
		Tool{Name: "linux 6.12", Lab: true, Kernel: "6.12", Packages: []string{"linux-image-6.12-cloud-amd64"}, Fallback: []string{"linux-image-cloud-amd64"},
			Purpose: "a newer kernel as a judge of signed Linux files, with IPE, ECDSA and SHA-512"},
	)
}

// crossGCC is gcc for the other architectures of Linux targets. Its packages only recommend the C library's headers.
func crossGCC(goarch string) []Tool {
	type cpu struct{ goarch, name, deb, libc string }
	var tools []Tool
	for _, c := range []cpu{{"amd64", "x86_64", "x86-64", "amd64"}, {"arm64", "aarch64", "aarch64", "arm64"}, {"386", "i686", "i686", "i386"}} {
		if c.goarch == goarch || goarch != "amd64" && goarch != "arm64" {
			continue
		}
		tools = append(tools, Tool{
			Name: c.name + "-linux-gnu-gcc", Programs: []string{c.name + "-linux-gnu-gcc"}, Headers: []string{"usr/" + c.name + "-linux-gnu/include/stdio.h"},
			Packages: []string{"gcc-" + c.deb + "-linux-gnu", "libc6-dev-" + c.libc + "-cross"},
			Fedora:   []string{"gcc-" + c.name + "-linux-gnu"}, Arch: []string{c.name + "-linux-gnu-gcc"},
			Purpose: "C in linux/" + c.goarch + " targets", Version: []string{"--version"},
		})
	}
	return tools
}

// system is the machine as this package sees it; tests have their own.
type system struct {
	goos, goarch string
	root         fs.FS    // of "/"
	environ      []string // of this process
	cache        string   // folder of the user's caches; empty: there is none
	euid         int
	terminal     bool // somebody can type a password
}

func here() system {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = ""
	}
	return system{
		cache: cache,
		goos:  runtime.GOOS, goarch: runtime.GOARCH, root: os.DirFS("/"), environ: os.Environ(),
		euid: os.Geteuid(), terminal: stdinIsTerminal(),
	}
}

// getenv returns the last value of a variable, as a process would see it.
func (s system) getenv(name string) string {
	for i := len(s.environ) - 1; i >= 0; i-- {
		if k, v, ok := strings.Cut(s.environ[i], "="); ok && k == name {
			return v
		}
	}
	return ""
}

// childEnv is the environment of every program that is run here but the go
// command, in English.
func (s system) childEnv(add ...string) []string { return s.english(environ.Programs(s.environ), add) }

// toolEnv is the environment of the go command, in English.
func (s system) toolEnv(add ...string) []string {
	return s.english(environ.Config{}.Tools(s.environ), add)
}

func (s system) english(env, add []string) []string {
	env = slices.DeleteFunc(env, func(kv string) bool {
		return strings.HasPrefix(kv, "LC_ALL=") || strings.HasPrefix(kv, "LANGUAGE=")
	})
	return append(append(env, "LC_ALL=C"), add...)
}
