// Package pagetest looks at HTML reports in a real browser: Chromium without a
// window.
package pagetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"image"
	"image/png"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// Phone and Desktop are the widths in pixels that reports are looked at.
const (
	Phone   = 390
	Desktop = 1400
)

// limit is the time for one look. A start takes one or two seconds.
const limit = 2 * time.Minute

// Look is what a browser made of a page.
type Look struct {
	Width    int      // of the window
	Overflow []string // elements that make the page wider than the window
	Panels   int      // that could be opened
	Broken   []string // panels that do not show, and links that lead nowhere
	Text     int      // characters that can be seen
}

// program returns the browser, or skips the test.
func program(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"chromium-headless-shell", "chromium", "google-chrome", "chromium-browser"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("SKIP: no Chromium: install the Debian package chromium-headless-shell")
	return ""
}

// browse runs the browser on a file, with what it may ask of the network led to
// a listener that counts and answers nothing.
func browse(t testing.TB, file string, width, height int, arguments ...string) (out string, requests []string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var (
		mu   sync.Mutex
		done = make(chan struct{})
	)
	go func() {
		defer close(done)
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			c.SetReadDeadline(time.Now().Add(5 * time.Second))
			line := make([]byte, 200)
			n, _ := c.Read(line)
			first, _, _ := strings.Cut(string(line[:n]), "\r\n")
			mu.Lock()
			requests = append(requests, first)
			mu.Unlock()
			c.Close()
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program(t), append([]string{
		"--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
		"--disable-sync", "--disable-dev-shm-usage", "--disable-ipc-flooding-protection", "--hide-scrollbars", "--user-data-dir=" + t.TempDir(),
		"--proxy-server=http://" + listener.Addr().String(), "--proxy-bypass-list=<-loopback>",
		fmt.Sprintf("--window-size=%d,%d", width, height), "--virtual-time-budget=20000",
	}, append(arguments, "file://"+file)...)...)
	cmd.WaitDelay = 5 * time.Second
	var stderr strings.Builder
	cmd.Stderr = &stderr
	data, err := cmd.Output()
	listener.Close()
	<-done
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd.Path, err, &stderr)
	}
	return string(data), requests
}

// measure is run in the test's copy of a page. It writes what it sees into the
// document, which the browser then prints.
const measure = `<script>
addEventListener("load", () => {
  const r = {Width: innerWidth, Overflow: [], Panels: 0, Broken: [], Text: document.body.innerText.length};
  const check = (root) => {
    const wide = document.documentElement.scrollWidth;
    if (wide > innerWidth) for (const e of root.querySelectorAll("*")) {
      const b = e.getBoundingClientRect();
      if (b.right > innerWidth + 1 && !e.closest(".scroll") && r.Overflow.length < 5)
        r.Overflow.push(e.tagName + "." + e.className + " ends at " + Math.round(b.right) + ": " + e.textContent.slice(0, 60));
    }
    if (wide > innerWidth && !r.Overflow.length) r.Overflow.push("the page is " + wide + " wide");
  };
  check(document.body);
  for (const a of document.querySelectorAll("a[href^='#']")) {
    const id = decodeURIComponent(a.getAttribute("href").slice(1));
    if (!document.getElementById(id) && r.Broken.length < 5) r.Broken.push("a link leads to #" + id + ", which is not there");
  }
  for (const p of document.querySelectorAll(".panel")) {
    location.hash = p.id;
    const s = p.querySelector(".sheet"), b = s.getBoundingClientRect();
    if (b.width < 200 || b.height < 60 || b.right > innerWidth + 1 || b.left < -1) { if (r.Broken.length < 5) r.Broken.push("panel " + p.id + " is " + Math.round(b.width) + " x " + Math.round(b.height)); }
    else r.Panels++;
    if (s.scrollWidth > s.clientWidth + 1 && r.Overflow.length < 5) r.Overflow.push("panel " + p.id + " is " + s.scrollWidth + " wide inside of " + s.clientWidth);
  }
  location.hash = "";
  document.documentElement.setAttribute("data-look", JSON.stringify(r));
});
</script>`

// At measures a page in a window of a width. Its copy is allowed to run the
// script that measures.
func At(t testing.TB, page []byte, width int) (Look, []string) {
	t.Helper()
	text := strings.Replace(string(page), "default-src 'none';", "default-src 'none'; script-src 'unsafe-inline';", 1)
	if !strings.Contains(text, "</body>") {
		t.Fatal("the page has no end")
	}
	text = strings.Replace(text, "</body>", measure+"</body>", 1)
	out, requests := browse(t, write(t, []byte(text)), width, 900, "--dump-dom")
	m := regexp.MustCompile(`data-look="([^"]*)"`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("the page was not measured: %d bytes came back", len(out))
	}
	var look Look
	if err := json.Unmarshal([]byte(html.UnescapeString(m[1])), &look); err != nil {
		t.Fatal(err)
	}
	return look, requests
}

func write(t testing.TB, page []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(file, page, 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// Shot is a picture of a page as it is, in light or dark.
func Shot(t testing.TB, page []byte, width int, dark bool) (image.Image, []string) {
	t.Helper()
	picture := filepath.Join(t.TempDir(), "shot.png")
	arguments := []string{"--screenshot=" + picture}
	if dark {
		arguments = append(arguments, "--blink-settings=preferredColorScheme=0")
	}
	_, requests := browse(t, write(t, page), width, 900, arguments...)
	f, err := os.Open(picture)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	if keep := os.Getenv("HALLMARK_SCREENSHOTS"); keep != "" { // to be looked at
		name := fmt.Sprintf("%s-%d-%t.png", regexp.MustCompile(`\W+`).ReplaceAllString(t.Name(), "-"), width, dark)
		data, readErr := os.ReadFile(picture)
		if err := errors.Join(readErr, os.MkdirAll(keep, 0o755), os.WriteFile(filepath.Join(keep, name), data, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return img, requests
}

// Colours counts the different colours of a picture, up to 100. A page that was
// not drawn has one.
func Colours(img image.Image) int {
	seen := map[[3]uint32]bool{}
	for y := img.Bounds().Min.Y; y < img.Bounds().Max.Y; y += 2 {
		for x := img.Bounds().Min.X; x < img.Bounds().Max.X && len(seen) < 100; x++ {
			r, g, b, _ := img.At(x, y).RGBA()
			seen[[3]uint32{r >> 8, g >> 8, b >> 8}] = true
		}
	}
	return len(seen)
}

// IsDark reports whether the corner of a picture is.
func IsDark(img image.Image) bool {
	r, g, b, _ := img.At(img.Bounds().Min.X, img.Bounds().Min.Y).RGBA()
	return r+g+b < 3*0x8000
}

// Check looks at a page as a phone and a desktop show it, in light and dark,
// opens each of its panels, and demands that it is drawn, fits, leads nowhere
// else, asks the network for nothing and runs no script.
func Check(t *testing.T, page []byte) Look {
	t.Helper()
	if regexp.MustCompile(`(?i)<script|javascript:|\son[a-z]+\s*=\s*"`).Match(page) {
		t.Error("the page has a script")
	}
	for _, m := range regexp.MustCompile(`(?:src|href|srcset|action)="([^"]*)"`).FindAllSubmatch(page, -1) {
		if link := string(m[1]); !strings.HasPrefix(link, "#") && !strings.HasPrefix(link, "data:") {
			t.Errorf("the page leads to %s", link)
		}
	}
	if !strings.Contains(string(page), `content="default-src 'none';`) {
		t.Error("the page does not forbid itself to load anything")
	}
	var phone Look
	for _, width := range []int{Phone, Desktop} {
		look, requests := At(t, page, width)
		if look.Width != width {
			t.Errorf("the window is %d wide, not %d", look.Width, width)
		}
		for _, what := range append(look.Overflow, look.Broken...) {
			t.Errorf("%d wide: %s", width, what)
		}
		for _, r := range requests {
			t.Errorf("it asks for %s", r)
		}
		if look.Text < 200 {
			t.Errorf("%d wide: %d characters can be seen", width, look.Text)
		}
		if width == Phone {
			phone = look
		}
		for _, dark := range []bool{false, true} {
			img, requests := Shot(t, page, width, dark)
			if n := Colours(img); n < 20 {
				t.Errorf("%d wide: %d colours: it was not drawn", width, n)
			}
			if IsDark(img) != dark {
				t.Errorf("%d wide: dark is %t, not %t", width, IsDark(img), dark)
			}
			for _, r := range requests {
				t.Errorf("it asks for %s", r)
			}
		}
	}
	return phone
}
