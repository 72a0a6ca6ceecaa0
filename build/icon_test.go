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
	ico, err := readIcon("a.png", file.Bytes())
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

// TestAssetsStayInside plays icons and manifests that are links out of the module, or no files.
func TestAssetsStayInside(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "secret.manifest")
	write(t, secret, "<assembly>secret</assembly>")
	dir := copyModule(t, "hello")
	write(t, filepath.Join(dir, "real.manifest"), "<assembly/>")
	for name, to := range map[string]string{"good.manifest": "real.manifest", "out.manifest": secret, "env.manifest": "/proc/self/environ", "folder": filepath.Dir(secret), "device.manifest": "/dev/zero"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Skipf("SKIP: no links here: %v", err)
		}
	}
	for name, good := range map[string]bool{
		"real.manifest": true, "good.manifest": true, filepath.Join(dir, "real.manifest"): true, "out.manifest": false, "env.manifest": false,
		"folder/secret.manifest": false, "device.manifest": false, secret: false, "../x.manifest": false, ".": false,
	} {
		for _, w := range []Windows{{Manifest: name}, {Icon: name}} {
			tg := target(t, "hello", "windows/amd64")
			tg.Windows = w
			b := newBuilder(t, dir)
			err := b.Check(t.Context(), tg)
			if w.Icon == "" && (err == nil) != good || err == nil && w.Icon != "" {
				t.Errorf("%+v: %v", w, err)
			}
			if _, err := b.resourceDigests(tg); (err == nil) != good {
				t.Errorf("%+v: digest: %v", w, err)
			}
		}
	}
}
