package bench

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestSlowPlace writes and reads through an emulated latency, and finds the file where it is backed.
func TestSlowPlace(t *testing.T) {
	t.Parallel()
	if f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0); err != nil {
		t.Skipf("SKIP: no FUSE here: %v", err)
	} else {
		f.Close()
	}
	s := &session{root: t.TempDir(), noted: map[string]bool{}, places: map[string]Place{}, unusable: map[string]string{}, result: &Result{},
		options: ToolchainOptions{Config: Config{Places: []Place{{Name: "slow", Cache: "yes", Temp: "yes", Latency: "20ms"}}}}}
	s.openPlaces(t.Context())
	if why := s.unusable["slow"]; why != "" {
		t.Fatal(why)
	}
	p := s.places["slow"]
	file := filepath.Join(p.Cache, "file")
	start := time.Now()
	if err := os.WriteFile(file, []byte("content"), 0o666); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil || string(data) != "content" {
		t.Errorf("%q, %v", data, err)
	}
	if took := time.Since(start); took < 60*time.Millisecond {
		t.Errorf("creating, writing and reading a file took %v, with 20 ms for each call", took)
	}
	if kind := fileSystem(p.Temp); kind != "fuse.hallmark" {
		t.Errorf("the file system is %s", kind)
	}
	if kind := s.result.Machine.FileSystems; len(kind) != 2 || !strings.Contains(kind[0].Type, "emulated latency of 20ms") {
		t.Errorf("the record says %v", kind)
	}
	backed, err := os.ReadFile(filepath.Join(s.root, "slow", "slow", "backing", "cache", "file"))
	if err != nil || string(backed) != "content" {
		t.Errorf("behind it is %q, %v", backed, err)
	}
	if err := s.closePlaces(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("it is still mounted")
	}
}
