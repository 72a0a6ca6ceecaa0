package signing

import (
	"context"
	"io"
	"io/fs"
	"os"

	"github.com/hallmark-build/hallmark/signing/key"
)

// openRegular opens a file that can be read more than once.
func openRegular(name string) (*os.File, fs.FileInfo, error) { return key.OpenRegular(name) }

// verifyFile has a scheme's verifier read a file, and names the file in its
// errors.
func verifyFile(ctx context.Context, file string, trust Trust, verify func(context.Context, io.ReaderAt, int64, Trust) (*Signature, error)) (*Signature, error) {
	f, info, err := openRegular(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	sig, err := verify(ctx, f, info.Size(), trust)
	if err != nil {
		return nil, inFile(err, file)
	}
	return sig, nil
}

// blockSize is how much of a file is in memory at a time, twice. It is a
// multiple of every alignment that a scheme asks for.
const blockSize = 1 << 20

// pump reads the first size bytes of r once, in blocks. Each block is given to
// copy at once and to digest on a goroutine of its own, in file order, while
// the next block is read: hashing takes as long as all the rest together. Zeros
// pad the last block to a multiple of align.
func pump(ctx context.Context, r io.ReaderAt, size, align int64, copy func(b []byte) error, digest func(b []byte, at int64)) error {
	type block struct {
		b  []byte
		at int64
	}
	free, full, done := make(chan []byte, 2), make(chan block, 2), make(chan struct{})
	for range cap(free) {
		free <- make([]byte, min(blockSize, (size+align-1)/align*align))
	}
	go func() {
		defer close(done)
		for next := range full {
			digest(next.b, next.at)
			free <- next.b[:cap(next.b)]
		}
	}()
	read := func() error {
		for at := int64(0); at < size; {
			if err := ctx.Err(); err != nil {
				return err
			}
			b := <-free
			n := min(int64(len(b)), size-at)
			if err := readAt(r, b[:n], at, size); err != nil {
				return err
			}
			for ; n%align != 0; n++ {
				b[n] = 0
			}
			b = b[:n]
			full <- block{b, at}
			if err := copy(b); err != nil {
				return err
			}
			at += n
		}
		return nil
	}
	err := read()
	close(full)
	<-done
	return err
}
