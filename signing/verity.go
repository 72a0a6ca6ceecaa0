package signing

import (
	"cmp"
	"context"
	"crypto"
	"encoding/binary"
	"io"
	"runtime"
	"sync"

	"github.com/hallmark-build/hallmark/signing/cms"
	"github.com/hallmark-build/hallmark/signing/key"
)

// Verity signs a file's fs-verity digest, for the kernel's built-in signature
// verification (Documentation/filesystems/fsverity.rst, fs/verity/).
//
// The digest is of a Merkle tree. The file is cut into blocks of 4096 bytes, the
// last one filled with zeros, and each is digested, after the salt, if there is
// one, filled with zeros to the digest's own block (64 bytes for SHA-256, 128
// for SHA-512). The digests, packed into blocks in the same way, are the next
// level, and so on up to one digest, the root; that of an empty file is zeros.
// The file's digest is that of the descriptor, 256 bytes:
//
//	version         uint8   1
//	hash_algorithm  uint8   1 SHA-256, 2 SHA-512
//	log_blocksize   uint8   12
//	salt_size       uint8
//	reserved        4 bytes
//	data_size       uint64  little-endian
//	root_hash       64 bytes, filled with zeros
//	salt            32 bytes, filled with zeros
//	reserved        144 bytes
//
// Signed is "FSVerity", the algorithm and the length of the digest as uint16,
// little-endian, and the digest: by a detached CMS without signed attributes,
// beside the file with the suffix .verity.p7s. Without chain and timestamp it
// has the bytes that `fsverity sign` writes.
//
// A kernel with FS_VERITY_BUILTIN_SIGNATURES checks it when verity is enabled
// on the file (ext4, f2fs, btrfs: FS_IOC_ENABLE_VERITY with the signature),
// against the certificates in the keyring .fs-verity; from then on a changed
// block cannot be read. fs.verity.require_signatures=1 refuses to enable verity
// without, but a file without verity can still be read and run: only IPE or IMA
// demands it, which is why the makers of fs-verity advise against its built-in
// signatures alone. Kernels do not look at dates, key usage or timestamps; this
// verifier does. WSL2's kernel is built without fs-verity.
type Verity struct {
	Hash    crypto.Hash // SHA-256 or SHA-512; 0 means SHA-256, and for Verify the signature's own
	Salt    []byte      // up to 32 bytes; whoever enables verity must give the same
	NoCerts bool        // embed no certificate, as fsverity does; verifiers must know the signer
}

var _ Detached = Verity{}

// Name implements [Detached].
func (Verity) Name() string { return "verity" }

// Suffix implements [Detached].
func (Verity) Suffix() string { return ".verity.p7s" }

const (
	verityBlock      = 4096
	verityDescriptor = 256
	verityMaxSalt    = 32
)

// verityAlgorithm returns the kernel's number for a digest algorithm
// (FS_VERITY_HASH_ALG_*).
func verityAlgorithm(h crypto.Hash) (byte, error) {
	switch h {
	case crypto.SHA256:
		return 1, nil
	case crypto.SHA512:
		return 2, nil
	}
	return 0, fail(Unsupported, RuleContent, 0, "fs-verity has SHA-256 and SHA-512, not %v", h)
}

// Digest returns the fs-verity digest of the first size bytes of r. They are
// read once, by as many goroutines as there are processors, which take some
// 0.5 MiB each; besides that it needs one digest for each 128 (SHA-512: 64)
// blocks.
func (v Verity) Digest(ctx context.Context, r io.ReaderAt, size int64) ([]byte, error) {
	h := cmp.Or(v.Hash, crypto.SHA256)
	algorithm, err := verityAlgorithm(h)
	if err != nil {
		return nil, err
	}
	if len(v.Salt) > verityMaxSalt {
		return nil, fail(Unsupported, RuleContent, 0, "a salt of %d bytes; fs-verity takes up to %d", len(v.Salt), verityMaxSalt)
	}
	root, err := newMerkle(h, v.Salt).root(ctx, r, size)
	if err != nil {
		return nil, err
	}
	var d [verityDescriptor]byte
	d[0], d[1], d[2], d[3] = 1, algorithm, 12, byte(len(v.Salt))
	binary.LittleEndian.PutUint64(d[8:], uint64(size))
	copy(d[16:80], root)
	copy(d[80:112], v.Salt)
	sum := h.New()
	sum.Write(d[:])
	return sum.Sum(nil), nil
}

// formatVerity returns what is signed for a digest: struct
// fsverity_formatted_digest.
func formatVerity(h crypto.Hash, digest []byte) ([]byte, error) {
	algorithm, err := verityAlgorithm(h)
	if err != nil {
		return nil, err
	}
	b := []byte("FSVerity")
	b = binary.LittleEndian.AppendUint16(b, uint16(algorithm))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(digest)))
	return append(b, digest...), nil
}

// merkle digests blocks.
type merkle struct {
	hash crypto.Hash
	salt []byte // filled with zeros
	fan  int    // digests in a block
}

func newMerkle(h crypto.Hash, salt []byte) merkle {
	m := merkle{hash: h, fan: verityBlock / h.Size()}
	if len(salt) > 0 {
		block := h.New().BlockSize()
		m.salt = make([]byte, (len(salt)+block-1)/block*block)
		copy(m.salt, salt)
	}
	return m
}

// level appends the digest of each block of b to to. The last block may be
// short; then b must have room for the zeros.
func (m merkle) level(to, b []byte) []byte {
	h := m.hash.New()
	for len(b) > 0 {
		n := min(len(b), verityBlock)
		h.Reset()
		h.Write(m.salt)
		h.Write(b[:n])
		if n < verityBlock {
			h.Write(make([]byte, verityBlock-n))
		}
		to, b = h.Sum(to), b[n:]
	}
	return to
}

// root returns the root of the tree over the first size bytes of r.
func (m merkle) root(ctx context.Context, r io.ReaderAt, size int64) ([]byte, error) {
	if size == 0 {
		return make([]byte, m.hash.Size()), nil
	}
	level, err := m.leaves(ctx, r, size)
	if err != nil {
		return nil, err
	}
	for len(level) > m.hash.Size() {
		level = m.level(nil, level)
	}
	return level, nil
}

// leaves returns the lowest level that is kept: the digests of the blocks, or,
// of a file with more than one block of these, the level above. A part is what
// makes one block of digests.
func (m merkle) leaves(ctx context.Context, r io.ReaderAt, size int64) ([]byte, error) {
	part := int64(m.fan) * verityBlock
	count := (size + part - 1) / part
	if count == 1 {
		b := make([]byte, size)
		if err := readAt(r, b, 0, size); err != nil {
			return nil, err
		}
		return m.level(nil, b), nil
	}
	above := make([]byte, count*int64(m.hash.Size()))
	var (
		workers sync.WaitGroup
		mu      sync.Mutex
		next    int64
		failed  error
	)
	take := func() (int64, bool) {
		mu.Lock()
		defer mu.Unlock()
		if failed == nil {
			failed = ctx.Err()
		}
		next++
		return next - 1, failed == nil && next <= count
	}
	for range min(int64(runtime.GOMAXPROCS(0)), count) {
		workers.Go(func() {
			b, digests := make([]byte, part), make([]byte, 0, verityBlock)
			for i, ok := take(); ok; i, ok = take() {
				n := min(part, size-i*part)
				if err := readAt(r, b[:n], i*part, size); err != nil {
					mu.Lock()
					failed = err
					mu.Unlock()
					return
				}
				digests = m.level(digests[:0], b[:n])
				at := int(i) * m.hash.Size()
				m.level(above[at:at], digests)
			}
		})
	}
	workers.Wait()
	return above, failed
}

// Sign implements [Detached].
func (v Verity) Sign(ctx context.Context, file, dst string, k *key.Key, ts Timestamper) (*Signature, error) {
	h := cmp.Or(v.Hash, crypto.SHA256)
	return signDetached(ctx, v, file, dst, k, ts, func(in io.ReaderAt, size int64) ([]byte, error) {
		digest, err := v.Digest(ctx, in, size)
		if err != nil {
			return nil, err
		}
		formatted, err := formatVerity(h, digest)
		if err != nil {
			return nil, err
		}
		d := h.New()
		d.Write(formatted)
		m := cms.Message{ContentType: cms.OIDData, Digest: d.Sum(nil), Hash: h, Bare: true, NullParams: true}
		if !v.NoCerts {
			m.Certificates = k.Chain
		}
		return m.Sign(k, k.Leaf(), countersigner(ctx, ts, h, cms.OIDTimestampToken))
	})
}

// Verify implements [Detached].
func (v Verity) Verify(ctx context.Context, file, signature string, trust Trust) (*Signature, error) {
	return verifyDetached(ctx, file, signature, trust, func(in io.ReaderAt, size int64, der []byte) (*Signature, error) {
		sd, err := parseBare(der, 0)
		if err != nil {
			return nil, err
		}
		var digest []byte
		sig, err := checkSigner(sd, func(h crypto.Hash) ([]byte, error) {
			w := v
			w.Hash = h
			if digest, err = w.Digest(ctx, in, size); err != nil {
				return nil, err
			}
			formatted, err := formatVerity(h, digest)
			if err != nil {
				return nil, err
			}
			d := h.New()
			d.Write(formatted)
			return d.Sum(nil), nil
		}, trust, tokenAttributes())
		if err != nil {
			return nil, tamperedContent(err, 0)
		}
		if v.Hash != 0 && v.Hash != sd.Hash {
			return nil, fail(Malformed, RuleContent, 0, "the signature is over a %v digest, expected was %v", sd.Hash, v.Hash)
		}
		sig.Scheme, sig.Digest = v.Name(), digest
		return sig, nil
	})
}
