package policy

import (
	"encoding/binary"
	"math"
	"slices"

	"nosa/compute"
	"nosa/dtype"
)

// residuals is what the encoded tokens of a layer differ from: references, and for each other
// token which of them are near.
type residuals struct {
	stride, sinks, near, bits int
	together                  bool // key and value of a token have one scale
	turns                     *turns
	dim                       int
	numbers                   dtype.Type

	heads  [][]byte // by KV head: the references as the cache held them, [references, 2, dim]
	refs   []int32  // their positions, ascending
	at     []int32  // by token: which reference it is, or −1
	nearby []uint32 // near for each token: references, ascending, and many where there are fewer
}

// many stands for no reference.
const many = math.MaxUint32

func (r *residuals) bytes() int64 {
	n := 4 * int64(cap(r.nearby)+cap(r.at)+cap(r.refs))
	for _, h := range r.heads {
		n += int64(cap(h))
	}
	return n
}

// isReference reports whether a token stays whole.
func (r *residuals) isReference(pos int) bool { return pos < r.sinks || pos%r.stride == 0 }

// add takes in the tokens that follow: rows by KV head, [tokens, 2, dim].
func (r *residuals) add(rows [][]float32) {
	wide := 2 * r.dim
	var refs [][]float64 // all heads', before rotation
	var squares []float64
	learn := func(x []float64) {
		var sum float64
		for _, y := range x {
			sum += y * y
		}
		refs, squares = append(refs, x), append(squares, sum)
	}
	for ref := range r.refs {
		x := make([]float64, 0, wide*len(r.heads))
		for h := range r.heads {
			x = append(x, r.reference(h, ref)...)
		}
		learn(x)
	}
	row := make([]float32, wide)
	for i := range len(rows[0]) / wide {
		pos := len(r.at)
		x := make([]float64, 0, wide*len(r.heads))
		for h := range rows {
			copy(row, rows[h][i*wide:(i+1)*wide])
			x = append(x, r.turns.back(row, pos, r.dim)...)
		}
		if !r.isReference(pos) {
			r.at = append(r.at, -1)
			r.nearby = append(r.nearby, nearest(refs, squares, x, r.near)...)
			continue
		}
		for h := range rows {
			n := len(r.heads[h])
			r.heads[h] = append(r.heads[h], make([]byte, wide*r.numbers.BlockBytes())...)
			dtype.Encode(r.numbers, r.heads[h][n:], rows[h][i*wide:(i+1)*wide])
		}
		r.at = append(r.at, int32(len(r.refs)))
		r.nearby = append(r.nearby, slices.Repeat([]uint32{many}, r.near)...)
		r.refs = append(r.refs, int32(pos))
		learn(x)
	}
}

// nearest lists the n rows of refs that are nearest to x, by their indices, ascending, and many
// where there are fewer. Ties go to the lower one.
func nearest(refs [][]float64, squares, x []float64, n int) []uint32 {
	list, scores := make([]uint32, 0, n+1), make([]float64, 0, n+1) // the best first
	for p, ref := range refs {
		score := -squares[p]
		for d, y := range ref {
			score += 2 * x[d] * y
		}
		if len(list) == n && !(score > scores[n-1]) {
			continue
		}
		at := len(list)
		for at > 0 && score > scores[at-1] {
			at--
		}
		list, scores = slices.Insert(list, at, uint32(p)), slices.Insert(scores, at, score)
		list, scores = list[:min(n, len(list))], scores[:min(n, len(scores))]
	}
	slices.Sort(list)
	for len(list) < n {
		list = append(list, many)
	}
	return list
}

// whole is a head's key and value of a reference as the cache held them.
func (r *residuals) whole(head, ref int) []float32 {
	row := make([]float32, 2*r.dim)
	size := len(row) * r.numbers.BlockBytes()
	dtype.Decode(r.numbers, row, r.heads[head][ref*size:(ref+1)*size])
	return row
}

// reference is a head's key and value of a reference, before rotation.
func (r *residuals) reference(head, ref int) []float64 {
	return r.turns.back(r.whole(head, ref), int(r.refs[ref]), r.dim)
}

// mean is that of the references which are near a token, for a head, before rotation.
func (r *residuals) mean(head, pos int) []float64 {
	sum, n := make([]float64, 2*r.dim), 0.0
	for _, ref := range r.nearby[pos*r.near : (pos+1)*r.near] {
		if ref == many {
			break
		}
		n++
		for d, y := range r.reference(head, int(ref)) {
			sum[d] += y
		}
	}
	for d := range sum {
		sum[d] /= n
	}
	return sum
}

// turns are the angles of all positions so far.
type turns struct {
	rope  *compute.Rope // nil: keys are not rotated
	table []float32     // [positions, 2, pairs]
}

// upTo makes the angles of n positions.
func (t *turns) upTo(n int) {
	if t.rope == nil {
		return
	}
	wide := 2 * len(t.rope.Inv)
	for pos := len(t.table) / wide; pos < n; pos++ {
		t.table = append(t.table, make([]float32, wide)...)
		compute.Angles(t.table[pos*wide:], []int32{int32(pos)}, t.rope)
	}
}

// key rotates a key to its position.
func (t *turns) key(key []float32, pos int) {
	if t.rope == nil {
		return
	}
	wide := 2 * len(t.rope.Inv)
	compute.Rotate(key, t.table[pos*wide:(pos+1)*wide], 1, len(key), t.rope)
}

// back is a row of a key and a value with the key as before rotation; it writes over the row.
func (t *turns) back(row []float32, pos, dim int) []float64 {
	if t.rope != nil {
		n, square := len(t.rope.Inv), t.rope.Factor*t.rope.Factor
		angles := slices.Clone(t.table[pos*2*n : (pos+1)*2*n])
		for i := range n {
			angles[i] /= square
			angles[n+i] /= -square
		}
		compute.Rotate(row[:dim], angles, 1, dim, t.rope)
	}
	x := make([]float64, len(row))
	for d, y := range row {
		x[d] = float64(y)
	}
	return x
}

// residualCodec stores the tokens of a KV head as differences: the index of the first one, then
// for each that is no reference one group of codes, or one for its key and one for its value.
type residualCodec struct {
	r    *residuals
	head int
}

// Bytes of a number of tokens are those of as few references among them as there may be.
func (c *residualCodec) Bytes(cells int) int {
	return 4 + (cells-cells/c.r.stride)*c.tokenBytes()
}

func (c *residualCodec) tokenBytes() int {
	if c.r.together {
		return groupBytes(2*c.r.dim, c.r.bits)
	}
	return 2 * groupBytes(c.r.dim, c.r.bits)
}

func (c *residualCodec) Encode(dst []byte, from int, k, v []float32) {
	r := c.r
	binary.LittleEndian.PutUint32(dst, uint32(from))
	dst = dst[4:]
	row := make([]float32, 2*r.dim)
	for i := range len(k) / r.dim {
		pos := from + i
		if r.at[pos] >= 0 {
			continue
		}
		copy(row, k[i*r.dim:(i+1)*r.dim])
		copy(row[r.dim:], v[i*r.dim:(i+1)*r.dim])
		x := r.turns.back(row, pos, r.dim)
		for d, y := range r.mean(c.head, pos) {
			x[d] -= y
		}
		size := c.tokenBytes()
		if r.together {
			quantize(dst[:size], x, r.bits)
		} else {
			quantize(dst[:size/2], x[:r.dim], r.bits)
			quantize(dst[size/2:size], x[r.dim:], r.bits)
		}
		dst = dst[size:]
	}
}

func (c *residualCodec) Decode(k, v []float32, src []byte) {
	r := c.r
	from := int(binary.LittleEndian.Uint32(src))
	src = src[4:]
	for i := range len(k) / r.dim {
		pos, key, value := from+i, k[i*r.dim:(i+1)*r.dim], v[i*r.dim:(i+1)*r.dim]
		if ref := r.at[pos]; ref >= 0 {
			row := r.whole(c.head, int(ref))
			copy(key, row)
			copy(value, row[r.dim:])
			continue
		}
		x, size := r.mean(c.head, pos), c.tokenBytes()
		if r.together {
			addCodes(x, src[:size], r.bits)
		} else {
			addCodes(x[:r.dim], src[:size/2], r.bits)
			addCodes(x[r.dim:], src[size/2:size], r.bits)
		}
		src = src[size:]
		for d := range key {
			key[d], value[d] = float32(x[d]), float32(x[r.dim+d])
		}
		r.turns.key(key, pos)
	}
}

// groupBytes are those of n codes with their minimum and scale, in half precision.
func groupBytes(n, bits int) int { return 4 + (n*bits+7)/8 }

// quantize writes a group: code c stands for minimum + scale·c.
func quantize(dst []byte, x []float64, bits int) {
	least, most := slices.Min(x), slices.Max(x)
	levels := float64(int(1)<<bits - 1)
	half := dtype.F32ToF16(float32(least))
	binary.LittleEndian.PutUint16(dst, half)
	least = float64(dtype.F16ToF32(half))
	half = dtype.F32ToF16(float32((most - least) / levels))
	binary.LittleEndian.PutUint16(dst[2:], half)
	scale := float64(dtype.F16ToF32(half))
	codes := dst[4:]
	clear(codes)
	for i, y := range x {
		code := uint16(math.RoundToEven(min(max((y-least)/(scale+1e-6), 0), levels)))
		at := i * bits
		code <<= at % 8
		codes[at/8] |= byte(code)
		if code > 255 {
			codes[at/8+1] |= byte(code >> 8)
		}
	}
}

// addCodes adds what a group's codes stand for to x.
func addCodes(x []float64, src []byte, bits int) {
	least := float64(dtype.F16ToF32(binary.LittleEndian.Uint16(src)))
	scale := float64(dtype.F16ToF32(binary.LittleEndian.Uint16(src[2:])))
	codes := src[4:]
	for i := range x {
		at := i * bits
		code := uint16(codes[at/8])
		if at%8+bits > 8 {
			code |= uint16(codes[at/8+1]) << 8
		}
		x[i] += least + scale*float64(code>>(at%8)&(1<<bits-1))
	}
}
