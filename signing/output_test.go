package signing

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestCopyOf shows that a copy is the same whether or not the file system can
// share blocks, in files that end within a block and are cut off.
func TestCopyOf(t *testing.T) {
	t.Parallel()
	content := bytes.Repeat([]byte("0123456789abcdef"), 5000)
	in, err := os.Open(writeFile(t, "in", content, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	for _, size := range []int{0, 1, 4096, 5000, len(content)} {
		out, err := newOutput(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		defer out.discard()
		w, err := out.copyOf(in, int64(size))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("blocks are shared: %v", w == nil)
		if w != nil {
			if _, err := w.Write(content[:size]); err != nil {
				t.Fatal(err)
			}
		}
		if got := readFile(t, out.Name()); !bytes.Equal(got, content[:size]) {
			t.Errorf("%d bytes, want %d", len(got), size)
		}
	}
}
