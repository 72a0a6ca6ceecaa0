package boundaries

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/hallmark-build/hallmark/signing/compat"
)

// synthetic is a map of the size of a whole one, with every kind of answer. No
// judge said any of it.
func synthetic() *Map {
	m := &Map{
		Format: Format, Made: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC),
		Machine: Machine{What: "linux/amd64, 2 CPUs", Kernel: "6.1.0-40-amd64", Kernels: []string{"6.1.158 (fs-verity, IMA)", "6.12.57 (IPE)"}, Versions: map[string]string{"go": "go1.26.0", "gcc": "12.2.0"}},
		Claims: []Claim{
			{"C4", "PE needs Authenticode with SHA-256 and an RFC 3161 timestamp, or SmartScreen blocks it", "depends on the judge", "7 of 8 judges accept without a timestamp; SmartScreen cannot be asked here"},
			{"C5", "ELF is signed by objcopy --add-section", "refuted", "removing the section gave the signed bytes back 0 times of 6"},
			{"C6", "One PFX cannot sign both", "confirmed to be wrong: it can", "one key, 18 files, all accepted"},
		},
		Notes: []string{"linux/riscv64 was left out: no compiler for it."},
	}
	schemes := map[string][]string{
		"authenticode": {"osslsigncode", "osslsigncode 2.14", "sbverify", "pesign", "chktrust", "wine", "saferwall", "relic", "hallmark"},
		"appended":     {"openssl-cms", "modinfo", "kernel module loader", "hallmark"},
		"verity":       {"fsverity+openssl", "kernel fs-verity", "kernel IPE", "hallmark"},
		"ima":          {"evmctl", "kernel IMA", "hallmark"},
		"p7s":          {"openssl-p7s", "hallmark"},
	}
	pe := []string{"pe-gui", "pe-console", "pe-cgo-mingw", "pe-cgo-clang", "dll", "pe-arm64"}
	elf := []string{"elf-static", "elf-cgo", "elf-pie", "elf-so"}
	operations := []string{"none", "unsigned", "flip-header", "flip-text", "flip-data", "flip-signature", "append", "truncate", "strip", "only-keep-debug", "patchelf",
		"upx", "edit-resource", "copy-tmpfs", "copy-ext4", "zip", "tar", "deb", "rpm", "sign-again", "both-schemes", "other-signature", "expired", "expired-timestamped", "wrong-root", "clock-back"}
	for _, scheme := range []string{"authenticode", "appended", "verity", "ima", "p7s"} {
		artifacts := elf
		if scheme == "authenticode" {
			artifacts = pe
		}
		for _, judge := range schemes[scheme] {
			j := Judge{Name: judge, Scheme: scheme, Version: "2.9", Path: "/usr/bin/" + judge, Limits: "It checks digest and signature. Times are not checked."}
			if judge == "kernel IPE" {
				j.Version, j.Path, j.Missing = "", "", "qemu-system-x86_64 is not installed (apt package qemu-system-x86)"
			}
			m.Judges = append(m.Judges, j)
		}
		cell := func(artifact, key, digest, op, judge string, n int) {
			c := Cell{Artifact: artifact, Scheme: scheme, Key: key, Digest: digest, Operation: op, Why: "The operation " + op + " leaves what is signed as it was, or not."}
			file := fmt.Sprintf("%s/%s/%s/%s/%s", artifact, scheme, key, digest, op)
			c.Result = compat.Result{Judge: judge, Version: "2.9", Path: "/usr/bin/" + judge, Scheme: scheme, Case: file, Want: Accept, Got: Accept, Status: compat.Pass,
				Command: judge + " verify -CAfile world/ca.pem -TSA-CAfile world/tsa.pem -in files/" + file, Seconds: float64(n%90) / 1000}
			switch op {
			case "none", "copy-tmpfs", "copy-ext4", "zip", "tar", "deb", "rpm", "expired-timestamped", "sign-again", "both-schemes":
			default:
				c.Want, c.Got, c.Reason = Refuse, Refuse, "the file's digest is not the signed one"
				c.Output = strings.Repeat(fmt.Sprintf("Current message digest    : %064X\nCalculated message digest : %064X\n", n*7919, n*104729), 3) + "Signature verification: failed\nFailed <b>&\x1b[31m\n"
			}
			switch {
			case judge == "sbverify" && op == "append":
				c.Got, c.Want, c.Output, c.Reason = Accept, Accept, "", ""
			case judge == "chktrust" && strings.HasPrefix(key, "p"):
				c.Want, c.Got, c.Reason = Cannot, Cannot, "chktrust: it reads RSA only"
			case judge == "kernel IPE":
				c.Got, c.Status, c.Reason, c.Output, c.Command, c.Version = "", compat.Skip, "qemu-system-x86_64 is not installed", "", "", ""
			case judge == "wine" && op == "clock-back" && artifact == "dll":
				c.Got, c.Status, c.Reason = Accept, compat.Fail, "it accepts what is to be refused"
			case judge == "saferwall" && op == "upx" && artifact == "pe-arm64":
				c.Got, c.Status, c.Reason = "crashed: signal: segmentation fault", compat.Fail, "saferwall crashed: signal: segmentation fault"
			case judge == "relic" && op == "edit-resource":
				c.Got, c.Status, c.Allowed = Accept, compat.Differ, &compat.Allowed{Judge: "relic", Reason: "relic issue 99", Until: "2027-01-31"}
			}
			if judge == "wine" && artifact == "pe-gui" && op == "none" && key == "rsa3072" {
				c.Screenshot = "screens/pe-gui.png"
			}
			if judge == "modinfo" && op == "none" {
				c.Figures = map[string]float64{"breakpoints": 100, "hit": 99 + float64(n%2)}
			}
			m.Cells = append(m.Cells, c)
		}
		n := 0
		for _, artifact := range artifacts {
			for _, op := range operations {
				for _, judge := range schemes[scheme] {
					n++
					cell(artifact, "rsa3072", "sha256", op, judge, n)
				}
			}
		}
		for _, key := range []string{"rsa2048", "rsa4096", "p256", "p384", "p521"} {
			for _, digest := range []string{"sha256", "sha384", "sha512"} {
				for _, judge := range schemes[scheme] {
					n++
					cell(artifacts[0], key, digest, "none", judge, n)
				}
			}
		}
	}
	return m
}

// screens is the folder with the screenshots of the synthetic map.
func screens(t *testing.T) fs.FS {
	t.Helper()
	picture := image.NewRGBA(image.Rect(0, 0, 320, 200))
	for x := range 320 {
		for y := range 200 {
			picture.Set(x, y, color.RGBA{uint8(x), uint8(y), 140, 255})
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, picture); err != nil {
		t.Fatal(err)
	}
	return fstest.MapFS{"screens/pe-gui.png": &fstest.MapFile{Data: b.Bytes()}}
}
