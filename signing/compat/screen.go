package compat

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func xvfb() program { return program{name: "Xvfb", pkg: "xvfb"} }

func xdotool() program { return program{name: "xdotool", pkg: "xdotool"} }

// screen is an X server without a monitor.
type screen struct {
	display string // ":0"
	dir     string // of the file that it draws into
	cmd     *exec.Cmd
}

// Size of the screen. Windows of samples are smaller.
const screenWidth, screenHeight = 640, 480

// openScreen starts an X server, which chooses a display that is free.
func openScreen(ctx context.Context) (*screen, error) {
	p := xvfb()
	key, err := p.key()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "hallmark-screen-*")
	if err != nil {
		return nil, err
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	defer read.Close()
	s := &screen{dir: dir}
	// -displayfd 3: the number of the display is written there when it is ready.
	s.cmd = exec.CommandContext(ctx, key.Path, "-displayfd", "3", "-screen", "0", fmt.Sprintf("%dx%dx24", screenWidth, screenHeight),
		"-fbdir", dir, "-nolisten", "tcp", "-noreset")
	s.cmd.Env = environment()
	s.cmd.ExtraFiles = []*os.File{write}
	s.cmd.WaitDelay = waitDelay
	ownGroup(s.cmd)
	err = s.cmd.Start()
	write.Close()
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	number, err := bufio.NewReader(read).ReadString('\n')
	if err != nil {
		err = errors.Join(&CrashError{Tool: p.name, Reason: "it ends before it is ready"}, s.close())
		if ctx.Err() != nil {
			err = &CrashError{Tool: p.name, Reason: "it is not ready within the time limit"}
		}
		return nil, err
	}
	s.display = ":" + strings.TrimSpace(number)
	return s, nil
}

// close ends the server, kindly first: it then takes away its socket and lock.
func (s *screen) close() error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	ended := make(chan struct{})
	go func() { _ = s.cmd.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(waitDelay):
	}
	killGroup(s.cmd)
	<-ended
	return os.RemoveAll(s.dir)
}

// window returns a picture of a window of exactly this title, and what is around
// it, when it is to be seen and holds more than one colour; nil when there is none
// yet.
func (s *screen) window(ctx context.Context, title string) (image.Image, error) {
	p := xdotool()
	p.env = []string{"DISPLAY=" + s.display}
	a, err := p.run(ctx, "", nil, "search", "--onlyvisible", "--name", "^"+regexp.QuoteMeta(title)+"$")
	if err != nil {
		return nil, err
	}
	ids := strings.Fields(a.stdout)
	if a.exit != 0 || len(ids) == 0 {
		return nil, nil // it says nothing when it finds nothing
	}
	a, err = p.run(ctx, "", nil, "getwindowgeometry", "--shell", ids[0])
	if err != nil {
		return nil, err
	}
	var at [4]int
	for i, name := range []string{"X", "Y", "WIDTH", "HEIGHT"} {
		m := regexp.MustCompile(`(?m)^` + name + `=(-?\d{1,6})$`).FindStringSubmatch(a.stdout)
		if m == nil {
			return nil, nil // it has gone meanwhile
		}
		at[i], _ = strconv.Atoi(m[1])
	}
	data, err := os.ReadFile(filepath.Join(s.dir, "Xvfb_screen0"))
	if err != nil {
		return nil, err
	}
	picture, err := readXWD(data)
	if err != nil {
		return nil, err
	}
	place := image.Rect(at[0], at[1], at[0]+at[2], at[1]+at[3])
	if !drawn(picture, place) {
		return nil, nil
	}
	const margin = 16
	return picture.SubImage(place.Inset(-margin)), nil
}

// drawn says whether there is more than one colour in a part of a picture.
func drawn(m *image.RGBA, part image.Rectangle) bool {
	part = part.Intersect(m.Bounds())
	for y := part.Min.Y; y < part.Max.Y; y++ {
		for x := part.Min.X; x < part.Max.X; x++ {
			if m.RGBAAt(x, y) != m.RGBAAt(part.Min.X, part.Min.Y) {
				return true
			}
		}
	}
	return false
}

// readXWD reads an X window dump (X11/XWDFile.h), of the one kind that Xvfb
// makes of a screen of depth 24: version 7, Z pixmap, 32 bits for a pixel, least
// significant byte first. The header is of 32-bit big-endian numbers:
//
//	 0 header_size, with the window's name    28 byte_order, 0
//	 4 file_version, 7                        44 bits_per_pixel, 32
//	 8 pixmap_format, 2                       48 bytes_per_line
//	12 pixmap_depth, 24                       56 red_mask, 60 green, 64 blue
//	16 pixmap_width, 20 pixmap_height         76 ncolors
//
// then ncolors entries of 12 bytes, then the lines from the top.
func readXWD(data []byte) (*image.RGBA, error) {
	const fixed, colour = 100, 12
	bad := func(what string, at int) error {
		return fmt.Errorf("reading an X window dump: %s at offset %d", what, at)
	}
	if len(data) < fixed {
		return nil, bad("it ends", len(data))
	}
	field := func(at int) int { return int(binary.BigEndian.Uint32(data[at:])) }
	for _, f := range []struct {
		at, want int
		name     string
	}{
		{4, 7, "version"}, {8, 2, "pixmap format"}, {12, 24, "depth"}, {28, 0, "byte order"}, {44, 32, "bits per pixel"},
		{56, 0xff0000, "red mask"}, {60, 0xff00, "green mask"}, {64, 0xff, "blue mask"},
	} {
		if field(f.at) != f.want {
			return nil, bad(fmt.Sprintf("%s %#x, not %#x,", f.name, field(f.at), f.want), f.at)
		}
	}
	const most = 1 << 14
	width, height, stride := field(16), field(20), field(48)
	if width < 1 || width > most || height < 1 || height > most || stride < 4*width || stride > 8*most {
		return nil, bad(fmt.Sprintf("size %d×%d, %d bytes a line,", width, height, stride), 16)
	}
	if field(0) < fixed || field(0) > len(data) || field(76) > 1<<16 {
		return nil, bad("header size or number of colours", 0)
	}
	pixels := field(0) + colour*field(76)
	if pixels > len(data) || len(data)-pixels < stride*height {
		return nil, bad("the picture ends", len(data))
	}
	m := image.NewRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		line := data[pixels+y*stride:]
		for x := range width {
			v := binary.LittleEndian.Uint32(line[4*x:])
			m.SetRGBA(x, y, color.RGBA{R: uint8(v >> 16), G: uint8(v >> 8), B: uint8(v), A: 0xff})
		}
	}
	return m, nil
}

// writePNG writes the picture whole or not at all.
func writePNG(file string, m image.Image) error {
	f, err := os.CreateTemp(filepath.Dir(file), ".shot-*")
	if err != nil {
		return fmt.Errorf("keeping the picture of a window: %w", err)
	}
	err = errors.Join(png.Encode(f, m), f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		err = errors.Join(fmt.Errorf("keeping the picture of a window: %w", err), os.Remove(f.Name()))
	}
	return err
}
