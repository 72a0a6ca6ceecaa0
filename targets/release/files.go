package release

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"sync"
)

// hashFile returns the SHA-256 of a file, hex.
func hashFile(ctx context.Context, file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum, err := hashReader(ctx, f)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", file, err)
	}
	return sum, nil
}

func hashReader(ctx context.Context, r io.Reader) (string, error) {
	h := sha256.New()
	if _, err := io.CopyBuffer(h, contextReader{ctx, r}, make([]byte, 256<<10)); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// contextReader ends with the context's error once that is done.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// digest makes the key of a stage from its inputs. Every part is written with
// its length, so that no two lists of parts run together.
type digest struct{ h hash.Hash }

func newDigest(purpose string) digest {
	d := digest{sha256.New()}
	d.add(purpose)
	return d
}

func (d digest) add(parts ...string) {
	for _, p := range parts {
		fmt.Fprintf(d.h, "%d:%s,", len(p), p)
	}
}

func (d digest) sum() string { return hex.EncodeToString(d.h.Sum(nil)) }

func sumBytes(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:])
}

// writeFile writes a file whole or not at all.
func writeFile(file string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(file), ".hallmark-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	return os.Rename(f.Name(), file)
}

// each calls f for every item, at most n at a time, and returns all errors
// joined, in the items' order. An error does not stop the other items; the end
// of the context does.
func each[T any](ctx context.Context, n int, items []T, f func(context.Context, T) error) error {
	errs := make([]error, len(items))
	slots := make(chan struct{}, max(1, n))
	var wg sync.WaitGroup
	for i, item := range items {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			defer func() { <-slots }()
			errs[i] = f(ctx, item)
		})
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	return errors.Join(errs...)
}
