package build

import (
	"bytes"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"testing"
)

// TestCutIcons checks that Check finds pictures that end early, and takes them whole.
func TestCutIcons(t *testing.T) {
	t.Parallel()
	dir := copyModule(t, "hello")
	picture := image.NewNRGBA(image.Rect(0, 0, 256, 256))
	for i := range picture.Pix {
		picture.Pix[i] = byte(i * i >> 3)
	}
	var file bytes.Buffer
	if err := png.Encode(&file, picture); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "a.png"), file.String())
	ico, err := readIcon(filepath.Join(dir, "a.png"))
	if err != nil {
		t.Fatal(err)
	}
	damaged := bytes.Clone(ico)
	last := len(damaged) - 200
	clear(damaged[last:])
	bitmap := []byte{0, 0, 1, 0, 1, 0, 16, 16, 0, 0, 1, 0, 32, 0, 44, 0, 0, 0, 22, 0, 0, 0,
		40, 0, 0, 0, 16, 0, 0, 0, 32, 0, 0, 0, 1, 0, 32, 0}
	bitmap = append(bitmap, make([]byte, 28)...)
	whole := append(bytes.Clone(bitmap), make([]byte, 16*16*4)...)
	whole[14], whole[15] = byte((len(whole)-22)&0xff), byte((len(whole)-22)>>8)
	for name, test := range map[string]struct {
		data []byte
		good bool
	}{
		"whole.png": {file.Bytes(), true}, "cut.png": {file.Bytes()[:file.Len()/2], false}, "end.png": {file.Bytes()[:file.Len()-20], false},
		"whole.ico": {ico, true}, "cut.ico": {ico[:len(ico)/2], false}, "damaged.ico": {damaged, false},
		"bitmap.ico": {whole, true}, "cutbitmap.ico": {bitmap, false},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), test.data, 0o600); err != nil {
			t.Fatal(err)
		}
		tg := target(t, "hello", "windows/amd64")
		tg.Windows.Icon = name
		if err := newBuilder(t, dir).Check(t.Context(), tg); (err == nil) != test.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}
