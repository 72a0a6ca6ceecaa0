// Serve is the program that mage benchServe puts under load: three handlers of
// net/http, each with work of another kind.
//
// It prints the address that it listens on, serves until its standard input
// ends, and then prints how many requests it has answered, as JSON.
//
// Its go.mod is called go.mod.txt here: a folder with a go.mod is not embedded.
package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// order is what /json is asked for, and answers with.
type order struct {
	ID       int       `json:"id"`
	Customer string    `json:"customer"`
	Placed   time.Time `json:"placed"`
	Lines    []line    `json:"lines"`
}

type line struct {
	Article string  `json:"article"`
	Count   int     `json:"count"`
	Price   float64 `json:"price"`
}

// maxBody bounds what a request may send, in bytes.
const maxBody = 1 << 20

// plain answers with a few bytes: the cost of a request itself.
func plain(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	io.WriteString(w, "hello\n")
}

// sums reads an order, adds it up, and answers with it: parsing, allocation, reflection.
func sums(w http.ResponseWriter, r *http.Request) {
	var o order
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&o); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	total := 0.0
	for _, l := range o.Lines {
		total += float64(l.Count) * l.Price
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(struct {
		order
		Total float64 `json:"total"`
	}{o, total})
}

// hash answers with the digest of what was sent: computing, and reading a body of some size.
func hash(w http.ResponseWriter, r *http.Request) {
	h := sha256.New()
	if _, err := io.Copy(h, http.MaxBytesReader(w, r.Body, maxBody)); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	io.WriteString(w, hex.EncodeToString(h.Sum(nil)))
}

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(in io.Reader, out io.Writer) error {
	var answered atomic.Int64
	counted := func(h http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			answered.Add(1)
			h(w, r)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /plain", counted(plain))
	mux.HandleFunc("POST /json", counted(sums))
	mux.HandleFunc("POST /hash", counted(hash))

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	fmt.Fprintf(out, "%s\n", l.Addr())

	end := make(chan struct{})
	go func() {
		io.Copy(io.Discard, bufio.NewReader(in))
		close(end)
	}()
	select {
	case err := <-served:
		return err
	case <-end:
	}
	// Whoever ends the input has all answers: there is nothing to wait for.
	if err := server.Close(); err != nil {
		return err
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return json.NewEncoder(out).Encode(map[string]int64{"answered": answered.Load(), "peak": peak()})
}

// peak returns the largest resident set of this process in bytes, where the
// kernel tells it (proc(5), VmHWM), and 0 elsewhere. What it tells the parent, by
// getrusage, is at least the parent's own: until exec, a child that was made by
// vfork is the parent.
func peak() (bytes int64) {
	status, _ := os.ReadFile("/proc/self/status")
	if _, after, ok := strings.Cut(string(status), "VmHWM:"); ok {
		fmt.Sscan(after, &bytes)
	}
	return bytes << 10
}
