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
// one layer and one KV head, K [Block, Dim] then V [Block, Dim], contiguous. Its
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
		return 2*((n+1)/2) + 8*(l.Dim+l.Block)
	}
	panic("compute: kv type " + l.Type.String())
}

// EncodeBlock writes a full block, k and v [Block, Dim] float32, in the cache's
// format. It is the one place where KV is quantised.
//
// Quantised blocks are stored as: K codes, V codes, then float32 pairs of
// minimum and scale, Dim for K and Block for V; a code c stands for
// minimum + scale·c. Four-bit codes pair two neighbours of a row, low half first.
func (l Layout) EncodeBlock(dst []byte, k, v []float32) {
	n := l.Block * l.Dim
	switch l.Type {
	case KVF32, KVBF16, KVF16:
		half := len(dst) / 2
		dtype.Encode(l.plain(), dst[:half], k[:n])
		dtype.Encode(l.plain(), dst[half:], v[:n])
	default:
		kc, vc, kp, vp := l.parts(dst)
		top := float32(255)
		if l.Type == KVQ4 {
			top = 15
		}
		for d := range l.Dim {
			lo, scale := span(k[d:n], l.Dim, l.Block, top)
			putPair(kp[8*d:], lo, scale)
			for t := range l.Block {
				l.putCode(kc, t*l.Dim+d, code(k[t*l.Dim+d], lo, scale, top))
			}
		}
		for t := range l.Block {
			lo, scale := span(v[t*l.Dim:n], 1, l.Dim, top)
			putPair(vp[8*t:], lo, scale)
			for d := range l.Dim {
				l.putCode(vc, t*l.Dim+d, code(v[t*l.Dim+d], lo, scale, top))
			}
		}
	}
}

// DecodeBlock is the definition of what a full block holds: k and v
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
		for t := range l.Block {
			vlo, vscale := pair(vp[8*t:])
			for d := range l.Dim {
				i := t*l.Dim + d
				lo, scale := pair(kp[8*d:])
				k[i] = lo + float32(scale*float32(l.code(kc, i)))
				v[i] = vlo + float32(vscale*float32(l.code(vc, i)))
			}
		}
	}
}

func (l Layout) plain() dtype.Type {
	return [...]dtype.Type{KVF32: dtype.F32, KVBF16: dtype.BF16, KVF16: dtype.F16}[l.Type]
}

// parts splits a quantised block into codes of K and V and their pairs.
func (l Layout) parts(b []byte) (kc, vc, kp, vp []byte) {
	n := l.Block * l.Dim
	if l.Type == KVQ4 {
		n = (n + 1) / 2
	}
	p := b[2*n:]
	return b[:n], b[n : 2*n], p[:8*l.Dim], p[8*l.Dim : 8*(l.Dim+l.Block)]
}

func (l Layout) putCode(b []byte, i int, c uint8) {
	if l.Type == KVQ8 {
		b[i] = c
		return
	}
	if i%2 == 0 {
		b[i/2] = b[i/2]&0xf0 | c
	} else {
		b[i/2] = b[i/2]&0x0f | c<<4
	}
}

func (l Layout) code(b []byte, i int) uint8 {
	if l.Type == KVQ8 {
		return b[i]
	}
	return b[i/2] >> (4 * (i % 2)) & 15
}

// span is the minimum of n values, step apart, and the scale that maps the
// range onto codes 0 to top.
func span(x []float32, step, n int, top float32) (lo, scale float32) {
	lo, hi := x[0], x[0]
	for i := 1; i < n; i++ {
		lo, hi = min(lo, x[i*step]), max(hi, x[i*step])
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
