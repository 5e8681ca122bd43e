package convert

import (
	"fmt"
	"io"

	"nosa/dtype"
	"nosa/weights"
)

// batch is the number of elements that are expanded at a time.
const batch = 1 << 16

// recode returns a source that writes t in another number format, with row r of the result taken from row(r) of t; nil
// keeps the order. Rows are those of the last dimension, single elements for a vector.
func recode(t weights.Tensor, to dtype.Type, row func(int) int) weights.Source {
	out := t.Source()
	out.Type = to
	if row == nil && to == t.Type {
		return out
	}
	width := 1
	if len(t.Shape) > 1 {
		width = t.Shape[len(t.Shape)-1]
	}
	if row == nil { // then any whole number of blocks is as good as a row
		width = max(t.Type.Block(), to.Block())
	}
	out.Write = func(w io.Writer) error {
		if t.Elements() == 0 {
			return nil
		}
		r, err := newRecoder(t, to, width)
		if err != nil {
			return err
		}
		return r.run(w, row)
	}
	return out
}

// recoder has the buffers for some rows of a tensor.
type recoder struct {
	t         weights.Tensor
	to        dtype.Type
	width     int // elements of a row
	from, out int // bytes of a row, before and after
	together  int // rows at a time
	values    []float32
	encoded   []byte
}

func newRecoder(t weights.Tensor, to dtype.Type, width int) (*recoder, error) {
	r := &recoder{t: t, to: to, width: width, together: max(1, batch/width)}
	var err error
	if r.from, err = t.Type.Size(width); err != nil {
		return nil, err
	}
	if r.out, err = to.Size(width); err != nil {
		return nil, err
	}
	r.values, r.encoded = make([]float32, width*r.together), make([]byte, r.out*r.together)
	return r, nil
}

func (r *recoder) run(w io.Writer, row func(int) int) error {
	rows := r.t.Elements() / r.width
	for first := 0; first < rows; first += r.together {
		n := min(r.together, rows-first)
		if err := r.rows(first, n, row); err != nil {
			return err
		}
		if _, err := w.Write(r.encoded[:n*r.out]); err != nil {
			return err
		}
	}
	return nil
}

// rows fills encoded with the n rows from first on.
func (r *recoder) rows(first, n int, row func(int) int) error {
	if r.to == r.t.Type { // only the order changes
		for i := range n {
			copy(r.encoded[i*r.out:], r.t.Data[row(first+i)*r.from:][:r.from])
		}
		return nil
	}
	values := r.values[:n*r.width]
	if row == nil {
		dtype.Decode(r.t.Type, values, r.t.Data[first*r.from:])
	} else {
		for i := range n {
			dtype.Decode(r.t.Type, values[i*r.width:(i+1)*r.width], r.t.Data[row(first+i)*r.from:])
		}
	}
	if !dtype.Fits(r.to, values) {
		return fmt.Errorf("a value of it is too large for %s, infinite or no number; F32 takes any: %w", r.to, ErrValue)
	}
	dtype.Encode(r.to, r.encoded, values)
	return nil
}
