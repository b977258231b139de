package stream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Kafka's numbers for what a batch is compressed with.
const (
	codecNone   = 0
	codecGzip   = 1
	codecSnappy = 2
	codecLZ4    = 3
	codecZstd   = 4
)

var errOversize = errors.New("unpacks into too many bytes")

// codecOf finds a codec we produce with. gzip is only read: it costs five times
// the CPU of zstd and compresses less.
func codecOf(name string) (uint16, error) {
	switch name {
	case "none":
		return codecNone, nil
	case "snappy":
		return codecSnappy, nil
	case "lz4":
		return codecLZ4, nil
	case "zstd":
		return codecZstd, nil
	}
	return 0, fmt.Errorf("is %q, want none, lz4, zstd or snappy", name)
}

// An unpacker decompresses batches. It keeps its machines between calls; the
// zero value is ready.
type unpacker struct {
	in   bytes.Reader
	gzip *gzip.Reader
	lz4  *lz4.Reader
	zstd *zstd.Decoder
}

// unpack appends what src unpacks into, at most maxBatchBytes.
func (u *unpacker) unpack(dst, src []byte, codec uint16) ([]byte, error) {
	u.in.Reset(src)
	switch codec {
	case codecGzip:
		if u.gzip == nil {
			u.gzip = new(gzip.Reader)
		}
		if err := u.gzip.Reset(&u.in); err != nil {
			return nil, fmt.Errorf("gzip: %w", err)
		}
		return readBounded(dst, u.gzip)
	case codecSnappy:
		return unsnappy(dst, src)
	case codecLZ4:
		if u.lz4 == nil {
			u.lz4 = lz4.NewReader(nil)
		}
		u.lz4.Reset(&u.in)
		return readBounded(dst, u.lz4)
	case codecZstd:
		if u.zstd == nil {
			d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
				zstd.WithDecoderMaxMemory(maxBatchBytes), zstd.WithDecoderMaxWindow(maxBatchBytes))
			if err != nil {
				return nil, fmt.Errorf("zstd: %w", err)
			}
			u.zstd = d
		}
		out, err := u.zstd.DecodeAll(src, dst)
		if errors.Is(err, zstd.ErrDecoderSizeExceeded) || errors.Is(err, zstd.ErrWindowSizeExceeded) {
			return nil, errOversize
		}
		return out, err
	}
	return nil, fmt.Errorf("codec %d is not known", codec)
}

func readBounded(dst []byte, r io.Reader) ([]byte, error) {
	for {
		if len(dst) == cap(dst) {
			dst = extend(dst, max(64<<10, len(dst)))[:len(dst)]
		}
		n, err := r.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		if len(dst) > maxBatchBytes {
			return nil, errOversize
		}
		if errors.Is(err, io.EOF) {
			return dst, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// unsnappy reads both forms there are: Java's chain of blocks behind a header
// of 16 bytes, and one bare block.
func unsnappy(dst, src []byte) ([]byte, error) {
	if len(src) < 16 || string(src[:8]) != "\x82SNAPPY\x00" {
		return snappyBlock(dst, src)
	}
	for src = src[16:]; len(src) > 0; {
		if len(src) < 4 {
			return nil, io.ErrUnexpectedEOF
		}
		n := binary.BigEndian.Uint32(src)
		src = src[4:]
		if uint64(n) > uint64(len(src)) {
			return nil, io.ErrUnexpectedEOF
		}
		var err error
		if dst, err = snappyBlock(dst, src[:n]); err != nil {
			return nil, err
		}
		src = src[n:]
	}
	return dst, nil
}

func snappyBlock(dst, src []byte) ([]byte, error) {
	n, err := s2.DecodedLen(src)
	if err != nil {
		return nil, err
	}
	if n > maxBatchBytes-len(dst) {
		return nil, errOversize
	}
	if n > 64*len(src)+64 {
		return nil, s2.ErrCorrupt // no block can hold that much: the length lies
	}
	start := len(dst)
	dst = extend(dst, n)
	if _, err := s2.Decode(dst[start:], src); err != nil {
		return nil, err
	}
	return dst, nil
}

// extend makes b longer by n bytes, whose values are anything.
func extend(b []byte, n int) []byte {
	if cap(b)-len(b) < n {
		grown := make([]byte, len(b), len(b)+max(n, len(b)))
		copy(grown, b)
		b = grown
	}
	return b[:len(b)+n]
}

// A packer compresses batches. It keeps its machines between calls; the zero
// value is ready.
type packer struct {
	lz4  *lz4.Writer
	zstd *zstd.Encoder
}

// pack appends src, compressed, to dst.
func (p *packer) pack(dst, src []byte, codec uint16) ([]byte, error) {
	switch codec {
	case codecSnappy:
		start := len(dst)
		dst = extend(dst, s2.MaxEncodedLen(len(src)))
		return dst[:start+len(s2.EncodeSnappy(dst[start:], src))], nil
	case codecLZ4:
		if p.lz4 == nil {
			p.lz4 = lz4.NewWriter(nil)
		}
		out := appender{dst}
		p.lz4.Reset(&out)
		if _, err := p.lz4.Write(src); err != nil {
			return nil, fmt.Errorf("lz4: %w", err)
		}
		if err := p.lz4.Close(); err != nil {
			return nil, fmt.Errorf("lz4: %w", err)
		}
		return out.b, nil
	case codecZstd:
		if p.zstd == nil {
			e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
			if err != nil {
				return nil, fmt.Errorf("zstd: %w", err)
			}
			p.zstd = e
		}
		return p.zstd.EncodeAll(src, dst), nil
	}
	return append(dst, src...), nil
}

type appender struct{ b []byte }

func (a *appender) Write(p []byte) (int, error) {
	a.b = append(a.b, p...)
	return len(p), nil
}
