package boundaries

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-build/hallmark/signing/compat"
)

func sample() *Map {
	return &Map{
		Format: Format, Made: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Machine: Machine{What: "linux/amd64, 2 CPUs", Kernel: "6.1", Versions: map[string]string{"go": "go1.26.8"}},
		Judges:  []Judge{{Name: "openssl", Scheme: "appended", Version: "3.0.17", Limits: "no usage"}},
		Cells: []Cell{{
			Artifact: "elf-static", Scheme: "appended", Key: "rsa3072", Digest: "sha256", Operation: "flip-text", Why: "the content is signed",
			Result:  compat.Result{Judge: "openssl", Scheme: "appended", Case: "a<b", Want: Refuse, Got: Refuse, Status: compat.Pass, Seconds: 0.1},
			Figures: map[string]float64{"hits": 1}, Screenshot: "shots/a.png", Inputs: "00",
		}},
		Claims: []Claim{{ID: "C6", Text: "one cannot sign both", Verdict: "refuted", Why: "it can"}},
	}
}

func TestMapRoundTrip(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new")
	file, err := sample().Write(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(m, sample()) {
		t.Errorf("read %+v", m)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, twin := range [][2]string{
		{`"format": 1`, `"format": 2`},
		{`"notes"`, `"nots"`}, // absent: replaced by what follows
		{`"key": "rsa3072"`, `"kay": "rsa3072"`},
		{`"key": "rsa3072"`, `"KEY": "rsa3072"`},
		{`"key": "rsa3072"`, `"key": "rsa3072", "key": "p256"`},
		{`"want": "refuse"`, `"want": "perhaps"`},
		{`"status": "pass"`, `"status": "passed"`},
		{`"shots/a.png"`, `"../a.png"`},
	} {
		damaged := strings.Replace(string(data), twin[0], twin[1], 1)
		if damaged == string(data) {
			damaged += "{}"
		}
		if _, err := parse([]byte(damaged)); err == nil {
			t.Errorf("%s for %s is let pass", twin[1], twin[0])
		}
	}
	if _, err := Read(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no map: %v", err)
	}
}

func FuzzMap(f *testing.F) {
	dir := f.TempDir()
	file, err := sample().Write(dir)
	if err != nil {
		f.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"format":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parse(data)
		if err != nil {
			return
		}
		if _, err := m.Write(t.TempDir()); err != nil {
			t.Errorf("a map that was read is not written: %v", err)
		}
	})
}
