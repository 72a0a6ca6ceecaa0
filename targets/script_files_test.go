package targets_test

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"
	"software.sslmate.com/src/go-pkcs12"
)

// tree lists a folder: path, mode, time of change and SHA-256 of everything in
// it, hidden files too. `tree FOLDER` followed by `cp stdout FILE`, and later by
// `cmp stdout FILE`, proves that nothing has been touched.
func tree(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: tree FOLDER")
	}
	root := ts.MkAbs(args[0])
	ts.Check(filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() { // its time tells that something was made and removed, which is allowed
			fmt.Fprintf(ts.Stdout(), "%s %s\n", info.Mode(), rel)
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fmt.Fprintf(ts.Stdout(), "%s %s %s %x\n", info.Mode(), rel, info.ModTime().UTC().Format("15:04:05.000000000"), sha256.Sum256(data))
		return nil
	}))
}

// flip inverts the byte in the middle of a file: `flip FILE`, or the byte at
// an offset, counted from the end if it is negative: `flip FILE OFFSET`.
func flip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 && len(args) != 2 {
		ts.Fatalf("usage: flip FILE [OFFSET]")
	}
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_RDWR, 0)
	ts.Check(err)
	defer f.Close()
	info, err := f.Stat()
	ts.Check(err)
	at := info.Size() / 2
	if len(args) == 2 {
		at, err = strconv.ParseInt(args[1], 10, 64)
		ts.Check(err)
	}
	if at < 0 {
		at += info.Size()
	}
	var b [1]byte
	_, err = f.ReadAt(b[:], at)
	ts.Check(err)
	b[0] ^= 0xff
	_, err = f.WriteAt(b[:], at)
	ts.Check(err)
}

// writePKCS12 puts a key and a certificate into a PKCS#12 file even when they do
// not belong together, which OpenSSL refuses: `pkcs12 KEY CERT PASSWORD FILE`.
func writePKCS12(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: pkcs12 KEY CERT PASSWORD FILE")
	}
	read := func(file string) []byte {
		block, _ := pem.Decode([]byte(ts.ReadFile(file)))
		if block == nil {
			ts.Fatalf("%s is not PEM", file)
		}
		return block.Bytes
	}
	key, err := x509.ParsePKCS8PrivateKey(read(args[0]))
	ts.Check(err)
	cert, err := x509.ParseCertificate(read(args[1]))
	ts.Check(err)
	pfx, err := pkcs12.Modern2023.Encode(key, cert, nil, args[2])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[3]), pfx, 0o600))
}

// tmpfs mounts a small file system of its own: `tmpfs FOLDER SIZE`, as in
// `tmpfs dist 8m`. The condition [tmpfs] says whether that is possible.
func tmpfs(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: tmpfs FOLDER SIZE")
	}
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	ts.Check(mountTmpfs(dir, args[1]))
	ts.Defer(func() { ts.Check(unmount(dir)) })
}

// canMount reports whether we may mount, or have to, so that no test is left
// out.
func canMount(dir string) bool {
	if os.Getenv("HALLMARK_STRICT") == "1" {
		return true
	}
	return mountTmpfs(dir, "1m") == nil && unmount(dir) == nil
}

func mountTmpfs(dir, size string) error {
	return mount("mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", dir)
}

func unmount(dir string) error { return mount("umount", dir) }

func mount(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s, which root can: %w: %s", name, err, out)
	}
	return nil
}
