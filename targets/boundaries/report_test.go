package boundaries

import (
	"bytes"
	"errors"
	"html"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/hallmark-build/hallmark/signing/compat"
	"github.com/hallmark-build/hallmark/targets/page/pagetest"
)

func draw(t *testing.T, m *Map) string {
	t.Helper()
	var b bytes.Buffer
	if err := m.HTML(&b, screens(t)); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Every cell is in the page: its command, what was printed, and in no more than
// one story of operations and one of keys.
func TestReportHasEveryCell(t *testing.T) {
	t.Parallel()
	m := synthetic()
	operations, keys := m.tables()
	seen := map[*Cell]int{}
	for _, t := range append(operations, keys...) {
		for _, l := range t.lines {
			for _, cells := range l.cells {
				for _, c := range cells {
					seen[c]++
				}
			}
		}
	}
	for i := range m.Cells {
		if n := seen[&m.Cells[i]]; n != 1 && !(n == 2 && m.Cells[i].Operation == asSigned) {
			t.Errorf("cell %s is in the tables %d times", cellName(&m.Cells[i]), n)
		}
	}
	text := draw(t, m)
	plain := html.UnescapeString(text)
	for i := range m.Cells {
		if c := m.Cells[i].Command; c != "" && !strings.Contains(plain, c+"</pre>") {
			t.Fatalf("%s is not in the page", c)
		}
	}
	for _, want := range []string{
		"2 of 3086 cells are not as expected.", "<b>16 of 17</b>", "wine: dll, authenticode, rsa3072 sha256, clock back", "crashed: signal: segmentation fault",
		"relic: pe-gui, authenticode, rsa3072 sha256, edit resource, and 5 more", "allowed until 2027-01-31: relic issue 99",
		"confirmed to be wrong", "linux/riscv64 was left out", "qemu-system-x86_64 is not installed (apt package qemu-system-x86)",
		"breakpoints 100, hit 99", `src="data:image/png;base64,`, `Failed &lt;b&gt;&amp;\x1b[31m`, "6.12.57 (IPE)", "It checks digest and signature.",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in the page", want)
		}
	}
	if n := len(text); n > 600*len(m.Cells)+40_000 {
		t.Errorf("%d bytes for %d cells", n, len(m.Cells))
	}
}

// Files that every judge answered alike share a row; one answer apart, they do
// not.
func TestReportFolds(t *testing.T) {
	t.Parallel()
	cell := func(artifact, op, judge, got string, status compat.Status) Cell {
		return Cell{Artifact: artifact, Scheme: "s", Key: "k", Digest: "d", Operation: op, Result: compat.Result{Judge: judge, Scheme: "s", Want: Accept, Got: got, Status: status}}
	}
	m := &Map{Format: Format}
	for _, a := range []string{"a", "b", "c"} {
		for _, op := range []string{asSigned, "flip-text", "flip-data", "strip"} {
			for _, j := range []string{"one", "two"} {
				c := cell(a, op, j, Accept, compat.Pass)
				if a == "b" && op == "strip" && j == "two" {
					c.Status = compat.Fail
				}
				m.Cells = append(m.Cells, c)
			}
		}
	}
	operations, keys := m.tables()
	if len(operations) != 1 || len(keys) != 0 {
		t.Fatalf("%d and %d tables", len(operations), len(keys))
	}
	var got []string
	for _, l := range operations[0].lines {
		got = append(got, l.name()+" ("+l.places()+"): "+l.who())
	}
	want := "as signed (): a, b, c; flip a byte (text, data): a, b, c; strip (): a, c; strip (): b"
	if strings.Join(got, "; ") != want {
		t.Errorf("got %s\nwant %s", strings.Join(got, "; "), want)
	}
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	m := &Map{Format: Format}
	if got := m.verdict(); got != "The map is empty." {
		t.Error(got)
	}
	add := func(s compat.Status, got string) {
		m.Cells = append(m.Cells, Cell{Scheme: "s", Operation: asSigned, Result: compat.Result{Judge: "j", Want: Accept, Got: got, Status: s}})
	}
	for _, step := range []struct {
		status compat.Status
		got    string
		want   string
		good   bool
	}{
		{compat.Pass, Accept, "All 1 cells are as expected.", true},
		{compat.Differ, Refuse, "1 cells are as expected, and 1 are not, which is allowed for a time.", true},
		{compat.Skip, "", "1 cells are as expected; 1 could not be asked.", false},
		{compat.Fail, Refuse, "1 of 4 cells are not as expected.", false},
	} {
		add(step.status, step.got)
		if got := m.verdict(); got != step.want {
			t.Errorf("got %q, want %q", got, step.want)
		}
		if h := (&drawing{Map: m}).head(); h.Good != step.good {
			t.Errorf("%q is good: %t", step.want, h.Good)
		}
	}
	m.Cells, m.Incomplete = m.Cells[:1], "interrupted"
	if got := m.verdict(); got != "All 1 cells are as expected. The map is not whole: interrupted." || (&drawing{Map: m}).head().Good {
		t.Error(got)
	}
}

func TestMarkdown(t *testing.T) {
	t.Parallel()
	m := synthetic()
	text := string(m.Markdown())
	for _, want := range []string{
		"2 of 3086 cells are not as expected. 16 of 17 independent judges answered.",
		"| after signing | authenticode | appended | verity | ima | p7s |",
		"| flip a byte | ✕ | ✕ | ✕48 ?16 | ✕ | ✕ |", "| append | ✓6 ✕48 |", "| edit resource | \\~6 ✕48 |", "| upx, clock back | **!1** ✕53 |",
		"- **wine** 2.9: dll, authenticode, rsa3072 sha256, clock back: expected refuse, got accept;", "      wine verify -CAfile world/ca.pem",
		"| **C5** ELF is signed by objcopy --add-section | refuted |", "## authenticode: keys and digests", "| p256 sha384 |",
		"| kernel IPE | verity | qemu-system-x86_64 is not installed", "| kernels as judges | 6.1.158 (fs-verity, IMA) 6.12.57 (IPE) |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%.3000s", want, text)
		}
	}
	if strings.Contains(text, "\x1b") {
		t.Error("an escape of the terminal is in it")
	}
	m.Cells[0].Scheme, m.Cells[0].Reason = "a|b\n# c", "x | y"
	if text := string(m.Markdown()); strings.Contains(text, "\n# c") || !strings.Contains(text, `a\|b # c`) {
		t.Error("a name breaks out of its table")
	}
}

// A map without anything, or with a picture that is gone, is drawn all the same.
func TestReportOfLittle(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	m := &Map{Format: Format}
	if err := m.HTML(&b, fstest.MapFS{}); err != nil || !strings.Contains(b.String(), "The map is empty.") {
		t.Errorf("%v", err)
	}
	m.Markdown()
	m = sample()
	b.Reset()
	if err := m.HTML(&b, fstest.MapFS{}); err != nil || !strings.Contains(b.String(), "A screenshot is not shown: open shots/a.png") {
		t.Errorf("%v", err)
	}
}

func TestReportInBrowser(t *testing.T) {
	t.Parallel()
	look := pagetest.Check(t, []byte(draw(t, synthetic())))
	if look.Panels < 500 {
		t.Errorf("%d panels", look.Panels)
	}
}

func FuzzReport(f *testing.F) {
	f.Add("elf", "appended", "flip-text", "openssl", "refuse", "words\n")
	f.Add("</style>", "a\"b", "flip-", "'", "crashed: x", "```\x00\xff")
	f.Fuzz(func(t *testing.T, artifact, scheme, op, judge, got, output string) {
		m := &Map{Format: Format, Cells: []Cell{{Artifact: artifact, Scheme: scheme, Operation: op, Screenshot: "../" + artifact,
			Result: compat.Result{Judge: judge, Got: got, Want: Accept, Output: output, Command: output, Reason: output}}}}
		var b bytes.Buffer
		if err := m.HTML(&b, fstest.MapFS{}); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(b.String(), "<script") {
			t.Error("a script came in")
		}
		m.Markdown()
	})
}

func TestDraw(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := Draw(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a record: %v", err)
	}
	file, err := synthetic().Write(dir)
	if err != nil {
		t.Fatal(err)
	}
	var drawn [][]byte
	for _, record := range []string{dir, file} {
		paths, err := Draw(record)
		if err != nil || len(paths) != 2 {
			t.Fatalf("%q, %v", paths, err)
		}
		data, err := os.ReadFile(filepath.Join(dir, ReportFile))
		if err != nil {
			t.Fatal(err)
		}
		drawn = append(drawn, data)
	}
	if !bytes.Equal(drawn[0], drawn[1]) || !bytes.Contains(drawn[0], []byte("2 of 3086 cells")) {
		t.Error("drawn from the record again, it is another report")
	}
	if data, err := os.ReadFile(filepath.Join(dir, SummaryFile)); err != nil || !bytes.Contains(data, []byte("2 of 3086 cells")) {
		t.Errorf("%v", err)
	}
}
