package compute

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"nosa/dtype"
)

// KVType is the format in which a full block keeps its keys and values.
type KVType uint8

// The formats of --kv-dtype. Q8 and Q4 hold codes of 8 and 4 bits with a
// minimum and a scale: one pair per channel over the block's tokens for K, one
// pair per token over the channels for V (design, section 6).
const (
	KVF32 KVType = iota
	KVBF16
	KVF16
	KVQ8
	KVQ4
)

var kvNames = [...]string{"f32", "bf16", "f16", "q8", "q4"}

func (t KVType) String() string {
	if int(t) < len(kvNames) {
		return kvNames[t]
	}
	return fmt.Sprintf("kvtype(%d)", uint8(t))
}

// ParseKVType reads a value of --kv-dtype.
func ParseKVType(s string) (KVType, error) {
	for i, n := range kvNames {
		if n == s {
			return KVType(i), nil
		}
	}
	return 0, fmt.Errorf("kv dtype %q is unknown: use f32, bf16, f16, q8 or q4", s)
}

// Layout is the shape of a block and of its summary. A block is Block tokens of
// one layer and one KV head, K [Dim, Block] then V [Block, Dim], contiguous. Keys
// lie by channel, so that the logits of neighbouring tokens are the lanes of one
// vector and no sum crosses lanes, and a quantised channel's codes lie together. Its
// summary holds one mean per segment of Stride tokens; a pooling window is
// Kernel/Stride neighbouring segments, so that a summary depends on nothing but
// its own block.
type Layout struct {
	Heads  int // KV heads of a layer
	Dim    int // channels of a head
	Block  int // tokens of a block
	Kernel int // tokens of a pooling window; 0 with Stride 0: no summaries
	Stride int // tokens between windows, and of one segment
	Scores bool
	Type   KVType
}

// ErrLayout is returned for a block shape that the engine cannot hold.
var ErrLayout = errors.New("block layout is not usable")

// Validate checks that blocks divide into segments and windows into segments.
func (l Layout) Validate() error {
	switch {
	case l.Heads <= 0 || l.Dim <= 0 || l.Block <= 0:
		return fmt.Errorf("%w: %d KV heads of %d channels, blocks of %d tokens: all must be positive", ErrLayout, l.Heads, l.Dim, l.Block)
	case l.Heads > 1<<12 || l.Dim > 1<<14 || l.Block > 1<<12:
		return fmt.Errorf("%w: %d KV heads of %d channels, blocks of %d tokens: too large", ErrLayout, l.Heads, l.Dim, l.Block)
	case l.Stride == 0 && l.Kernel == 0:
		return nil
	case l.Stride <= 0 || l.Kernel <= 0 || l.Block%l.Stride != 0 || l.Kernel%l.Stride != 0 || l.Kernel > l.Block:
		return fmt.Errorf("%w: kernel_size %d and kernel_stride %d with block_size %d: the stride must divide both, the kernel be at most a block", ErrLayout, l.Kernel, l.Stride, l.Block)
	}
	return nil
}

// Segments is the number of segments of a block.
func (l Layout) Segments() int {
	if l.Stride == 0 {
		return 0
	}
	return l.Block / l.Stride
}

// Span is the number of segments of a window.
func (l Layout) Span() int {
	if l.Stride == 0 {
		return 0
	}
	return l.Kernel / l.Stride
}

// Windows is the number of complete pooling windows over the first n tokens.
func (l Layout) Windows(n int) int {
	if l.Stride == 0 || n < l.Kernel {
		return 0
	}
	return (n-l.Kernel)/l.Stride + 1
}

// BlockBytes is the size of a full block in the cache's format.
func (l Layout) BlockBytes() int {
	n := l.Block * l.Dim
	switch l.Type {
	case KVF32:
		return 8 * n
	case KVBF16, KVF16:
		return 4 * n
	case KVQ8:
		return 2*n + 8*(l.Dim+l.Block)
	case KVQ4:
		return l.Dim*((l.Block+1)/2) + l.Block*((l.Dim+1)/2) + 8*(l.Dim+l.Block)
	}
	panic("compute: kv type " + l.Type.String())
}

// EncodeBlock writes a full block, k [Dim, Block] and v [Block, Dim] float32, in
// the cache's format. It is the one place where KV is quantised.
//
// Quantised blocks are stored as: K codes, V codes, then float32 pairs of
// minimum and scale, Dim for K and Block for V, one per row; a code c stands for
// minimum + scale·c. A row of n four-bit codes takes (n+1)/2 bytes: the low halves
// hold its first codes, the high halves the rest.
func (l Layout) EncodeBlock(dst []byte, k, v []float32) {
	n := l.Block * l.Dim
	switch l.Type {
	case KVF32, KVBF16, KVF16:
		half := len(dst) / 2
		dtype.Encode(l.plain(), dst[:half], k[:n])
		dtype.Encode(l.plain(), dst[half:], v[:n])
	default:
		kc, vc, kp, vp := l.parts(dst)
		l.encodeRows(kc, kp, k[:n], l.Block)
		l.encodeRows(vc, vp, v[:n], l.Dim)
	}
}

// encodeRows writes the codes and pairs of rows of n values.
func (l Layout) encodeRows(codes, pairs []byte, x []float32, n int) {
	top := float32(255)
	if l.Type == KVQ4 {
		top = 15
	}
	size := l.rowBytes(n)
	for r := range len(x) / n {
		row := x[r*n : (r+1)*n]
		lo, scale := span(row, top)
		putPair(pairs[8*r:], lo, scale)
		for i, v := range row {
			l.putCode(codes[r*size:(r+1)*size], i, code(v, lo, scale, top))
		}
	}
}

// DecodeBlock is the definition of what a full block holds: k [Dim, Block] and v
// [Block, Dim] float32.
func (l Layout) DecodeBlock(k, v []float32, src []byte) {
	n := l.Block * l.Dim
	switch l.Type {
	case KVF32, KVBF16, KVF16:
		half := len(src) / 2
		dtype.Decode(l.plain(), k[:n], src[:half])
		dtype.Decode(l.plain(), v[:n], src[half:])
	default:
		kc, vc, kp, vp := l.parts(src)
		l.decodeRows(k[:n], kc, kp, l.Block)
		l.decodeRows(v[:n], vc, vp, l.Dim)
	}
}

func (l Layout) decodeRows(x []float32, codes, pairs []byte, n int) {
	size := l.rowBytes(n)
	for r := range len(x) / n {
		lo, scale := pair(pairs[8*r:])
		for i := range n {
			x[r*n+i] = lo + float32(scale*float32(l.code(codes[r*size:(r+1)*size], i)))
		}
	}
}

func (l Layout) plain() dtype.Type {
	return [...]dtype.Type{KVF32: dtype.F32, KVBF16: dtype.BF16, KVF16: dtype.F16}[l.Type]
}

// rowBytes is the size of n codes of a row.
func (l Layout) rowBytes(n int) int {
	if l.Type == KVQ4 {
		return (n + 1) / 2
	}
	return n
}

// parts splits a quantised block into codes of K and V and their pairs.
func (l Layout) parts(b []byte) (kc, vc, kp, vp []byte) {
	k, v := l.Dim*l.rowBytes(l.Block), l.Block*l.rowBytes(l.Dim)
	p := b[k+v:]
	return b[:k], b[k : k+v], p[:8*l.Dim], p[8*l.Dim : 8*(l.Dim+l.Block)]
}

// putCode sets code i of a row; codes are set in their order.
func (l Layout) putCode(row []byte, i int, c uint8) {
	switch {
	case l.Type == KVQ8:
		row[i] = c
	case i < len(row):
		row[i] = c
	default:
		row[i-len(row)] |= c << 4
	}
}

func (l Layout) code(row []byte, i int) uint8 {
	switch {
	case l.Type == KVQ8:
		return row[i]
	case i < len(row):
		return row[i] & 15
	}
	return row[i-len(row)] >> 4
}

// span is the minimum of a row and the scale that maps its range onto codes 0 to
// top.
func span(x []float32, top float32) (lo, scale float32) {
	lo, hi := x[0], x[0]
	for _, v := range x[1:] {
		lo, hi = min(lo, v), max(hi, v)
	}
	// Halved before the difference, so that a finite range has a finite scale.
	return lo, 2 * ((hi/2 - lo/2) / top)
}

func code(x, lo, scale, top float32) uint8 {
	if scale == 0 {
		return 0
	}
	c := math.RoundToEven(float64(x/2-lo/2) / (float64(scale) / 2))
	if c != c { // a key that is not a number is for the logits to show
		return 0
	}
	return uint8(min(max(c, 0), float64(top)))
}

func putPair(b []byte, lo, scale float32) {
	binary.LittleEndian.PutUint32(b, math.Float32bits(lo))
	binary.LittleEndian.PutUint32(b[4:], math.Float32bits(scale))
}

func pair(b []byte) (lo, scale float32) {
	return math.Float32frombits(binary.LittleEndian.Uint32(b)), math.Float32frombits(binary.LittleEndian.Uint32(b[4:]))
}
