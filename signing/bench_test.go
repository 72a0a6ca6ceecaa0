package signing

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// bigPE is a PE file of 200 MB: a small one with an overlay that does not
// compress.
func bigPE(b *testing.B) string {
	b.Helper()
	name := filepath.Join(b.TempDir(), "big.exe")
	f, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	w.Write(readFile(b, sample(b, "impbyord.exe")))
	chunk := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{1}).Read(chunk)
	for range 200 {
		w.Write(chunk)
	}
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
	return name
}

// BenchmarkSign200MB times signing a 200 MB program, ours with the new file
// flushed and verified before it appears, against osslsigncode's signing alone.
// Ours reports the peak of its resident memory.
func BenchmarkSign200MB(b *testing.B) {
	w := sharedWorld()
	big := bigPE(b)
	b.Run("hallmark", func(b *testing.B) {
		cmd := exec.Command(os.Args[0], "-test.run=^TestSignChild$")
		dst := filepath.Join(b.TempDir(), "out.exe")
		cmd.Env = append(os.Environ(), childSign+"="+big+"\n"+dst)
		out, err := cmd.CombinedOutput()
		if err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
		var peak float64
		if _, rest, ok := strings.Cut(string(out), "VmHWM:"); ok {
			fmt.Sscan(rest, &peak)
		}
		for b.Loop() {
			if _, err := (Authenticode{}).Sign(b.Context(), big, dst, w.key, nil); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(peak/1024, "peak-MB")
	})
	b.Run("osslsigncode", func(b *testing.B) {
		tool := lookTool(b, "osslsigncode", "osslsigncode")
		certs, private := pemFile(b, w.key.Chain...), keyFile(b, w.key.Signer)
		dst := filepath.Join(b.TempDir(), "out.exe")
		for b.Loop() {
			os.Remove(dst)
			if out, err := run(b, tool, "sign", "-h", "sha256", "-certs", certs, "-key", private, "-in", big, "-out", dst); err != nil {
				b.Fatalf("%v\n%s", err, out)
			}
		}
	})
}

// BenchmarkVerify200MB is the same for verifying.
func BenchmarkVerify200MB(b *testing.B) {
	w := sharedWorld()
	signed := mustSign(b, Authenticode{}, bigPE(b), w.key, w.tsa)
	b.Run("hallmark", func(b *testing.B) {
		for b.Loop() {
			if _, err := (Authenticode{}).Verify(b.Context(), signed, w.trust()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("osslsigncode", func(b *testing.B) {
		tool := lookTool(b, "osslsigncode", "osslsigncode")
		ca, tsaCA := pemFile(b, w.ca.cert), pemFile(b, w.tsaCA.cert)
		for b.Loop() {
			if out, err := run(b, tool, "verify", "-CAfile", ca, "-TSA-CAfile", tsaCA, "-in", signed); err != nil {
				b.Fatalf("%v\n%s", err, out)
			}
		}
	})
}

// childSign names the environment variable that tells TestSignChild what to
// sign.
const childSign = "HALLMARK_TEST_SIGN"

// TestSignChild signs one file in a process of its own and prints that
// process's peak memory. It is part of BenchmarkSign200MB.
func TestSignChild(t *testing.T) {
	src, dst, ok := strings.Cut(os.Getenv(childSign), "\n")
	if !ok {
		return
	}
	w := sharedWorld()
	if _, err := (Authenticode{}).Sign(t.Context(), src, dst, w.key, w.tsa); err != nil {
		t.Fatal(err)
	}
	status := readFile(t, "/proc/self/status")
	_, rest, _ := bytes.Cut(status, []byte("VmHWM:"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	fmt.Printf("VmHWM:%s\n", line)
}
